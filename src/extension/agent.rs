//! What the agent of a pod is told: `agent.json`, beside the `process.json` of PID 1. Rendered here, read by the agent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_with::skip_serializing_none;

use super::contract::step::Exec;
use super::contract::{Action, Actions, BackupMethod, Change, Operation, Probe, Role, RoleProbe};
use crate::api::values::Duration;
use crate::names::{ComponentName, GroupName, InstanceName, NamespaceName, VolumeName};

/// The file's name in `/midship/config`.
pub const AGENT_FILE: &str = "agent.json";
/// PID 1's configuration.
pub const PROCESS_FILE: &str = "process.json";
/// The variable that tells pods apart by parameters that need new ones.
pub const MADE_FOR: &str = "MIDSHIP_MADE_FOR";

/// Everything an agent needs to know of its package and its place.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentConfig {
    pub instance: InstanceName,
    pub namespace: NamespaceName,
    pub component: ComponentName,
    pub group: GroupName,
    /// The port the agent serves.
    pub port: u16,
    /// Where the kubelet asks whether the process is ready.
    pub ready_port: Option<u16>,
    /// The port its drivers use where a step names none.
    pub client_port: Option<u16>,
    /// Ports by name, of all components.
    pub ports: BTreeMap<String, u16>,
    /// Whether the middleware speaks TLS.
    pub tls: bool,
    /// Whether drivers log in with the secrets `username` and `password`.
    pub login: bool,
    /// The database drivers connect to.
    pub database: Option<String>,
    /// Files to be written before the process starts, and whenever their source changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FilePlan>,
    /// From the first to be disturbed to the last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<Role>,
    /// Whether Midship hands out the exclusive role; else the agent only reports it.
    pub failover: bool,
    /// When and to whom it moves.
    #[serde(default)]
    pub handing: Handing,
    /// Where data lies that outlives the pod; nothing where there is none.
    pub data: Option<String>,
    /// Digest of what the process reads.
    #[serde(default)]
    pub revision: String,
    /// What a changed parameter needs, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub changes: BTreeMap<String, Change>,
    /// What tells files from others, by name, where only a start takes another one over: users' own, and those that say so.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub user_files: BTreeMap<String, String>,
    /// The signal on which the process reads its files again, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload_signal: Option<String>,
    /// What renewed certificates need where no action takes them over; reload where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal: Option<Change>,
    pub role: Option<RoleProbe>,
    pub ready: Option<Probe>,
    pub live: Option<Probe>,
    #[serde(default, skip_serializing_if = "Actions::is_empty")]
    pub actions: Actions,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub operations: BTreeMap<String, Operation>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub backup: BTreeMap<String, BackupMethod>,
    /// The middleware's own client, as people run it.
    pub client: Option<Exec>,
    /// Where volumes lie, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<VolumeName, String>,
    /// The restore without which the first pod does not start, and the others not before it.
    pub restore: Option<String>,
    /// What templates and expressions of steps can read. Placeholders in their results are filled in by the agent.
    pub context: Value,
}

/// How the exclusive role is handed out.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Handing {
    /// Only when somebody asks.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub manual: bool,
    /// How long its holder may be silent; 10s where left out.
    pub timeout: Option<Duration>,
    /// How many bytes a pod may be behind and still be chosen.
    pub max_lag: Option<u64>,
    /// How many others confirm each write.
    #[serde(skip_serializing_if = "is_zero")]
    pub synchronous: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's way of asking
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A file the agent writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FilePlan {
    /// Where its template lies: placeholders in it are filled in.
    pub source: String,
    pub path: String,
    /// Octal digits.
    pub mode: String,
    /// Only when it is not there yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub once: bool,
    /// The process need not hear of a change.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quiet: bool,
}

impl AgentConfig {
    /// The names an agent answers to under `/capabilities`.
    pub fn capabilities(&self) -> Vec<&'static str> {
        self.actions.declared().into_iter().map(|(name, _)| name).collect()
    }

    /// How long the process may be waited with before it is stopped, where there is anything to do before.
    pub fn farewell(&self) -> Option<std::time::Duration> {
        self.actions.before_stop.as_ref().map(Action::longest)
    }

    pub fn action(&self, name: &str) -> Option<&Action> {
        self.actions.declared().into_iter().find(|(known, _)| *known == name).map(|(_, action)| action)
    }
}
