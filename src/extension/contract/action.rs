//! Actions in the contract: what is done at which moment, as steps over drivers that know protocols and never products.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::step::Step;
use super::text::Expression;
use crate::api::values::Duration;

/// How long an action may take that says nothing else; its steps may ask for more.
pub const ACTION_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);
/// The longest that anybody waits for one that holds up the end of a pod.
const LONGEST: std::time::Duration = std::time::Duration::from_mins(10);

/// Steps that do something.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Action {
    pub description: Option<String>,
    /// When there is anything to do; always where left out.
    pub when: Option<Expression>,
    /// Which pods do it: `pod` (the one it is about; assumed), `any`, `all`, or those with a role.
    pub on: Option<String>,
    /// How long it may take; 30s where left out.
    pub timeout: Option<Duration>,
    /// How often it is tried again when it fails; not at all where left out.
    pub retries: Option<u32>,
    /// What a failure means; Fail where left out.
    pub on_failure: Option<OnFailure>,
    /// One after another.
    pub steps: Vec<Step>,
    /// What it answers, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub result: BTreeMap<String, Expression>,
}

impl Action {
    /// How long it may take with all its tries, as far as its steps name their times.
    pub fn time(&self) -> std::time::Duration {
        let steps = self.steps.iter().filter_map(|step| step.timeout).map(|timeout| timeout.0);
        let once =
            self.timeout.map_or_else(|| steps.fold(ACTION_TIMEOUT, std::time::Duration::saturating_add), |own| own.0);
        once.saturating_mul(self.retries.unwrap_or(0).saturating_add(1))
    }

    /// The same, as far as anybody waits for one that holds up the end of a pod.
    pub fn longest(&self) -> std::time::Duration {
        self.time().min(LONGEST)
    }
}

/// What a failed action means for what it is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnFailure {
    Fail,
    /// Go on as if it had succeeded.
    Ignore,
    /// Stop until a person decides.
    Pause,
}

macro_rules! actions {
    ($($(#[doc = $doc:literal])+ $field:ident = $name:literal,)+) => {
        /// What is done at which moment of a component's life. All are optional.
        #[skip_serializing_none]
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct Actions {
            $($(#[doc = $doc])+ pub $field: Option<Action>,)+
        }

        impl Actions {
            /// Every action's name.
            pub const NAMES: &'static [&'static str] = &[$($name),+];

            /// Those that are declared, by name.
            pub fn declared(&self) -> Vec<(&'static str, &Action)> {
                [$(($name, self.$field.as_ref())),+]
                    .into_iter()
                    .filter_map(|(name, action)| action.map(|action| (name, action)))
                    .collect()
            }

            pub fn is_empty(&self) -> bool {
                self.declared().is_empty()
            }
        }
    };
}

actions! {
    /// Before the process starts, each time: prepare the data directory, join as a replica. `result.rejoined` says in a few
    /// words how the data came to follow another pod, such as "its data was rewound".
    prepare = "prepare",
    /// After the process started, each time, before the pod counts as ready.
    started = "started",
    /// Before the process is stopped, also with its pod; not when it crashes, or when it loses its exclusive role.
    before_stop = "beforeStop",
    /// Once, when all pods of a new instance run: form the cluster.
    create = "create",
    /// Take configuration changes over without a restart. `changed` has the parameters that differ.
    reload = "reload",
    /// Become the pod with the exclusive role.
    promote = "promote",
    /// Give the exclusive role up and accept no more writes.
    demote = "demote",
    /// Follow `primary` from now on.
    follow = "follow",
    /// Hand the exclusive role to `target` without losing anything.
    switchover = "switchover",
    /// Whether it is well in every respect that matters: for people and before risky steps.
    health_check = "healthCheck",
    /// On each pod that is to leave, while it still runs: move its data away.
    pre_scale_in = "preScaleIn",
    /// After pods have left.
    post_scale_in = "postScaleIn",
    /// On each pod that joined.
    post_scale_out = "postScaleOut",
    /// After a group was added, on one of its pods: give it its share.
    post_group_add = "postGroupAdd",
    /// Before a group leaves, on one of its pods: move its share away.
    pre_group_remove = "preGroupRemove",
    /// The order in which pods may be restarted, as `result.order`, a list of pod names. By role where left out.
    restart_order = "restartOrder",
    /// Hold writes for a consistent copy of the volumes.
    freeze = "freeze",
    /// Undo `freeze`. Called whatever happened between.
    unfreeze = "unfreeze",
    /// Before the extension version changes. A failure with onFailure Pause waits for the user.
    pre_extension_upgrade = "preExtensionUpgrade",
    /// After the extension version changed.
    post_extension_upgrade = "postExtensionUpgrade",
    /// Before a change of the extension version is taken back.
    pre_extension_rollback = "preExtensionRollback",
    /// After a change of the extension version was taken back.
    post_extension_rollback = "postExtensionRollback",
    /// Before the middleware version changes.
    pre_version_upgrade = "preVersionUpgrade",
    /// After the middleware version changed.
    post_version_upgrade = "postVersionUpgrade",
    /// Before a change of the middleware version is taken back.
    pre_version_rollback = "preVersionRollback",
    /// After a change of the middleware version was taken back.
    post_version_rollback = "postVersionRollback",
    /// Take over new passwords while running.
    rotate_credentials = "rotateCredentials",
    /// Take over new certificates while running; reload where left out.
    rotate_certificates = "rotateCertificates",
}

/// How it is found out whether a pod is ready and well.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Probes {
    /// Whether it can serve clients. It leaves its Services while not.
    pub ready: Option<Probe>,
    /// Whether the process still lives; it is restarted when not. None where left out.
    pub live: Option<Probe>,
}

/// A question asked again and again.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Probe {
    /// How often; 2s where left out.
    pub every: Option<Duration>,
    /// How long an answer may take; 2s where left out.
    pub timeout: Option<Duration>,
    /// Failures in a row that count; 3 where left out.
    pub failures: Option<u32>,
    /// All have to succeed.
    pub steps: Vec<Step>,
}

/// How a pod's role is found.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RoleProbe {
    /// How often; 1s where left out.
    pub every: Option<Duration>,
    /// How long an answer may take; 2s where left out.
    pub timeout: Option<Duration>,
    /// What is asked.
    pub steps: Vec<Step>,
    /// The role's name, from what the steps saved.
    pub role: Expression,
    /// How far the pod's data reaches, as a number: the highest is promoted.
    pub position: Option<Expression>,
    /// How many bytes it is behind.
    pub lag: Option<Expression>,
    /// The host it follows.
    pub follows: Option<Expression>,
    /// How long a pod that was told to follow may follow nobody and get no further before its process is started anew,
    /// which prepares its data again; for ever where left out.
    pub attach_within: Option<Duration>,
}
