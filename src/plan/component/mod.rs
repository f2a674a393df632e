//! The planner of components: from the groups a component consists of to its pod sets.

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::api::component::{ComponentGroup, ComponentSpec};
use crate::api::conditions::{self, ConditionStatus, Finding, READY, RECONCILING, STALLED};
use crate::api::instance::DesiredState;
use crate::api::pod_set::{PodSetSpec, PodSetStatus, PodTemplate};
use crate::api::{ComponentStatus, labels};
use crate::extension::naming::{self, DEFAULT_GROUP};
use crate::plan::pod_set::AGENT;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// What a component is planned from.
pub struct Situation<'a> {
    pub spec: &'a ComponentSpec,
    /// Its pod sets by name.
    pub sets: BTreeMap<String, Set>,
    /// The other components of the instance, by their names in the extension.
    pub others: BTreeMap<String, Other>,
    /// Whether the package has something to do before a group leaves.
    pub moves_shares: bool,
    /// What the package does once for the new instance is still to come: who is there by then has its share from it.
    pub forming: bool,
}

/// A pod set that is there.
#[derive(Clone, Debug, PartialEq)]
pub struct Set {
    pub spec: PodSetSpec,
    pub status: PodSetStatus,
    pub uid: String,
    pub deleting: bool,
    /// The status is about the spec as it is now.
    pub current: bool,
    pub share: Share,
}

/// What a group has of what the component keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Share {
    /// The package was not told yet that the group was added.
    #[default]
    NotYet,
    /// It was there from the beginning, or the package was told.
    Has,
    /// It may go.
    GivenAway,
}

impl Set {
    /// Whether agents run in its pods: without them nothing of the package can be done there.
    fn has_agents(&self) -> bool {
        let spec = self.spec.template.spec.open();
        let containers = spec["containers"].as_array();
        containers.into_iter().flatten().any(|container| container["name"] == AGENT)
    }

    /// Whether no pod of it was ever there that could have taken a share.
    fn never_ran(&self) -> bool {
        self.status.replicas.unwrap_or_default() == 0 && self.status.highest_ordinal.is_none()
    }

    /// Whether it does what is to be done about it.
    fn works(&self) -> bool {
        let reconciling = conditions::find(&self.status.conditions, RECONCILING);
        !self.current || reconciling.is_some_and(|it| it.status == ConditionStatus::True)
    }

    fn ready(&self) -> bool {
        let ready = conditions::find(&self.status.conditions, READY);
        self.current && ready.is_some_and(|ready| ready.status == ConditionStatus::True)
    }
}

/// Another component of the instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Other {
    pub ready: bool,
    pub after: Vec<String>,
    /// How many pods it has.
    pub pods: i32,
    pub stopped: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    pub set: String,
    pub what: What,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq)]
pub enum What {
    Apply(Box<PodSetSpec>),
    Delete {
        uid: String,
    },
    /// What the package does after a group was added.
    Join {
        uid: String,
    },
    /// The group is one of those that were there from the beginning.
    CountIn {
        uid: String,
    },
    /// What the package does before a group leaves.
    Depart {
        uid: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    pub reason: &'static str,
    pub message: String,
    pub stalled: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub actions: Vec<Action>,
    pub waits: Vec<Wait>,
}

pub fn plan(situation: &Situation<'_>) -> Plan {
    let mut plan = Plan::default();
    let spec = situation.spec;
    for group in &spec.groups {
        let name = naming::pod_set(spec.instance.as_str(), spec.component.as_str(), group.name.as_str());
        let live = situation.sets.get(&name);
        if live.is_some_and(|set| set.deleting) {
            let message = format!("pod set {name} is made again once the old one is gone");
            plan.waits.push(Wait { reason: "SetLeaves", message, stalled: false });
            continue;
        }
        let mut wanted = pod_set(spec, group);
        if let Some(reason) = refused(spec, group) {
            let live = live.map(|set| set.spec.replicas);
            let pods = live.map_or("no pod is made".to_owned(), |live| format!("it stays at {live}"));
            let message = format!("replicas of {name}: {reason}; {pods} until that is mended");
            plan.waits.push(Wait { reason: "NotAllowed", message, stalled: true });
            match live {
                Some(live) => wanted.replicas = live,
                None => continue,
            }
        }
        let runs = live.is_some_and(|set| set.spec.state != Some(DesiredState::Stopped));
        if !runs
            && wanted.state != Some(DesiredState::Stopped)
            && let Some(first) = before_start(situation)
        {
            let message = format!("{name} starts once {first} is ready");
            plan.waits.push(Wait { reason: "After", message, stalled: false });
            match live {
                Some(_) => wanted.state = Some(DesiredState::Stopped),
                None => continue,
            }
        }
        if runs
            && wanted.state == Some(DesiredState::Stopped)
            && let Some(first) = before_stop(situation)
        {
            let message = format!("{name} stops once {first} has");
            plan.waits.push(Wait { reason: "After", message, stalled: false });
            wanted.state = None;
        }
        let reason = match live {
            None => format!("group {} is to be", group.name),
            Some(set) if set.spec == wanted => continue,
            Some(set) => format!("its {} changed", changed(&set.spec, &wanted).join(", ")),
        };
        plan.actions.push(Action { set: name, what: What::Apply(Box::new(wanted)), reason });
    }
    remove_groups(situation, &mut plan);
    add_groups(situation, &mut plan);
    plan
}

/// Groups that serve: the package gives its share to each that came later than the first ones.
fn add_groups(situation: &Situation<'_>, plan: &mut Plan) {
    let spec = situation.spec;
    if spec.state == Some(DesiredState::Stopped) || !plan.actions.is_empty() {
        return;
    }
    let wanted = |set: &Set| !set.deleting && spec.groups.iter().any(|group| group.name == set.spec.group);
    let mine = || situation.sets.iter().filter(|(_, set)| wanted(set));
    let runs = |set: &Set| set.ready() && set.spec.state != Some(DesiredState::Stopped);
    if !situation.forming && mine().any(|(_, set)| set.share == Share::Has) {
        // one after another
        if let Some((name, set)) = mine().find(|(_, set)| set.share != Share::Has && runs(set)) {
            let reason = format!("group {} was added", set.spec.group);
            let uid = set.uid.clone();
            let what = if set.has_agents() { What::Join { uid } } else { What::CountIn { uid } };
            plan.actions.push(Action { set: name.clone(), what, reason });
        }
    } else if mine().count() == spec.groups.len() && mine().all(|(_, set)| runs(set)) {
        for (name, set) in mine().filter(|(_, set)| set.share != Share::Has) {
            let reason = format!("group {} is one of the first", set.spec.group);
            plan.actions.push(Action { set: name.clone(), what: What::CountIn { uid: set.uid.clone() }, reason });
        }
    }
}

/// The pod set of a group.
pub fn pod_set(spec: &ComponentSpec, group: &ComponentGroup) -> PodSetSpec {
    let ComponentSpec {
        instance,
        component,
        replicas,
        allowed_replicas: _,
        groups: _,
        state,
        after: _,
        update,
        start,
        deletion_policy,
        service_name,
        role_order,
    } = spec;
    let free = (group.name.as_str() == DEFAULT_GROUP).then_some(*replicas).flatten();
    PodSetSpec {
        instance: instance.clone(),
        component: component.clone(),
        group: group.name.clone(),
        replicas: group.replicas.or(free).unwrap_or(1),
        offline: group.offline.clone(),
        state: *state,
        template: plain(&group.template),
        update: update.clone(),
        start: *start,
        deletion_policy: *deletion_policy,
        service_name: service_name.clone(),
        role_order: role_order.clone(),
    }
}

/// Why a number that somebody else chose is not possible. The instance refuses it as well, and then nothing but this keeps
/// pods and volumes.
fn refused(spec: &ComponentSpec, group: &ComponentGroup) -> Option<String> {
    let free = spec.replicas.filter(|_| group.name.as_str() == DEFAULT_GROUP && group.replicas.is_none())?;
    spec.allowed_replicas?.refuse(free)
}

/// The template as the API server keeps it: without nulls, which it drops.
fn plain(template: &PodTemplate) -> PodTemplate {
    let PodTemplate { config_revision, metadata, spec, volumes } = template.clone();
    PodTemplate {
        config_revision,
        metadata: metadata.map(without_nulls),
        spec: without_nulls(spec.open()).into(),
        volumes,
    }
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key, without_nulls(value)))
            .collect(),
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

/// Who has to be ready before this component starts, and is not.
fn before_start(situation: &Situation<'_>) -> Option<String> {
    let missing = situation.spec.after.iter().find(|name| {
        // one that is not there yet is being made
        situation.others.get(name.as_str()).is_none_or(|other| !other.ready)
    });
    missing.map(ToString::to_string)
}

/// Who starts after this component, and so stops before it.
fn before_stop(situation: &Situation<'_>) -> Option<String> {
    let me = situation.spec.component.as_str();
    let later = situation
        .others
        .iter()
        .find(|(_, other)| other.stopped && other.pods > 0 && other.after.iter().any(|name| name == me));
    later.map(|(name, _)| name.clone())
}

/// Groups that are no longer asked for: their pods leave one by one in order, then the pod set goes.
fn remove_groups(situation: &Situation<'_>, plan: &mut Plan) {
    let spec = situation.spec;
    let extra = situation
        .sets
        .iter()
        .filter(|(_, set)| !set.deleting && !spec.groups.iter().any(|group| group.name == set.spec.group));
    for (name, set) in extra {
        let mut wait = |reason, message: String, stalled| plan.waits.push(Wait { reason, message, stalled });
        if spec.groups.is_empty() {
            wait(
                "NoGroups",
                format!("no group is named, but {name} is there; it stays: name groups to remove others"),
                true,
            );
            continue;
        }
        if spec.state == Some(DesiredState::Stopped) {
            wait("GroupLeaves", format!("{name} goes once the component runs: its data has to be moved first"), false);
            if set.spec.replicas > 0 && set.spec.state != Some(DesiredState::Stopped) {
                let mut stops = set.spec.clone();
                stops.state = Some(DesiredState::Stopped);
                let reason = "the component is to be stopped".to_owned();
                plan.actions.push(Action { set: name.clone(), what: What::Apply(Box::new(stops)), reason });
            }
            continue;
        }
        let empty = set.spec.replicas == 0;
        let has_share = situation.moves_shares && set.has_agents() && set.share != Share::GivenAway && !set.never_ran();
        if empty && set.ready() && set.status.replicas == Some(0) {
            let what = What::Delete { uid: set.uid.clone() };
            let reason = format!("group {} is gone from the spec, and its pods have left", set.spec.group);
            plan.actions.push(Action { set: name.clone(), what, reason });
        } else if empty && set.spec.state.is_none() {
            wait("GroupLeaves", format!("{name} goes once its pods have left"), false);
        } else if has_share && set.spec.state == Some(DesiredState::Stopped) {
            let mut starts = set.spec.clone();
            starts.state = None;
            let reason =
                format!("group {} is gone from the spec, and starts once more to give its share away", set.spec.group);
            plan.actions.push(Action { set: name.clone(), what: What::Apply(Box::new(starts)), reason });
        } else if has_share {
            if set.status.ready_replicas.unwrap_or_default() == 0 {
                let message = format!(
                    "{name} is to go and cannot give its share away while none of its pods is ready; mend it, or name the \
                     group again"
                );
                // one that just starts is no reason for somebody to look
                let starts = set.works();
                wait("GroupLeaves", message, !starts);
                continue;
            }
            let reason = format!("group {} is gone from the spec, and gives its share away first", set.spec.group);
            plan.actions.push(Action { set: name.clone(), what: What::Depart { uid: set.uid.clone() }, reason });
        } else {
            let mut leaving = set.spec.clone();
            leaving.replicas = 0;
            leaving.offline.clear();
            leaving.state = None;
            let reason = format!("group {} is gone from the spec", set.spec.group);
            plan.actions.push(Action { set: name.clone(), what: What::Apply(Box::new(leaving)), reason });
        }
    }
}

/// The fields that differ, as people know them.
fn changed(old: &PodSetSpec, new: &PodSetSpec) -> Vec<&'static str> {
    let all = [
        ("replicas", old.replicas != new.replicas),
        ("offline ordinals", old.offline != new.offline),
        ("state", old.state != new.state),
        ("template", old.template != new.template),
        ("update options", old.update != new.update),
        ("order of start", old.start != new.start),
        ("deletion policy", old.deletion_policy != new.deletion_policy),
        ("Service", old.service_name != new.service_name),
        ("order of roles", old.role_order != new.role_order),
    ];
    all.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

/// What a component says of itself.
pub fn status(
    situation: &Situation<'_>,
    plan: &Plan,
    before: &ComponentStatus,
    generation: Option<i64>,
    failure: Option<&str>,
    now: &Time,
) -> ComponentStatus {
    let spec = situation.spec;
    let sum =
        |count: fn(&PodSetStatus) -> Option<i32>| situation.sets.values().filter_map(|set| count(&set.status)).sum();
    let (replicas, ready): (i32, i32) = (sum(|status| status.replicas), sum(|status| status.ready_replicas));
    ComponentStatus {
        observed_generation: generation,
        replicas: Some(replicas),
        ready_replicas: Some(ready),
        selector: Some(format!("{}={},{}={}", labels::INSTANCE, spec.instance, labels::COMPONENT, spec.component)),
        conditions: conditions::merge(&before.conditions, &findings(situation, plan, ready, failure), generation, now),
    }
}

fn findings(situation: &Situation<'_>, plan: &Plan, ready: i32, failure: Option<&str>) -> Vec<Finding> {
    let not_ready = |reason: &str, message: String, also: &'static str| {
        vec![
            Finding::new(READY, ConditionStatus::False, reason, message.clone()),
            Finding::new(also, ConditionStatus::True, reason, message),
        ]
    };
    if let Some(failure) = failure {
        return not_ready("NotCarriedOut", failure.to_owned(), RECONCILING);
    }
    let stops = situation.spec.state == Some(DesiredState::Stopped);
    if let Some(wait) = plan.waits.iter().find(|wait| wait.stalled && !stops) {
        return not_ready(wait.reason, wait.message.clone(), STALLED);
    }
    // what it said of an earlier spec is no longer so
    let told = |set: &Set| !stops || set.spec.state == Some(DesiredState::Stopped);
    let up_to_date =
        |name: &str, set: &Set| set.current && told(set) && !plan.actions.iter().any(|action| action.set == name);
    for (name, set) in situation.sets.iter().filter(|(name, set)| up_to_date(name, set)) {
        if let Some(stalled) = conditions::find(&set.status.conditions, STALLED) {
            return not_ready(&stalled.reason, format!("{name}: {}", stalled.message), STALLED);
        }
    }
    if let Some(wait) = plan.waits.first() {
        return not_ready(wait.reason, wait.message.clone(), RECONCILING);
    }
    if let Some(action) = plan.actions.first() {
        return not_ready("Applying", format!("{}: {}", action.set, action.reason), RECONCILING);
    }
    for (name, set) in &situation.sets {
        match conditions::find(&set.status.conditions, READY).filter(|_| set.current) {
            Some(condition) if condition.status == ConditionStatus::True => {}
            Some(condition) => {
                return not_ready(&condition.reason, format!("{name}: {}", condition.message), RECONCILING);
            }
            None => return not_ready("Creating", format!("{name} has not been looked at yet"), RECONCILING),
        }
    }
    if situation.spec.state == Some(DesiredState::Stopped) {
        return vec![Finding::new(READY, ConditionStatus::True, "Stopped", "stopped: no pods run")];
    }
    vec![Finding::new(READY, ConditionStatus::True, "Ready", format!("{ready} pods are ready"))]
}
