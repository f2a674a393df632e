//! What the next step of an operation is decided from.

use std::cmp::Reverse;
use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::Value;

use super::change::Change;
use crate::api::conditions::{Condition, ConditionStatus, find};
use crate::api::operation::{OperationSpec, OperationStatus, Target};
use crate::api::{Instance, Operation, labels};
use crate::extension::Package;

/// Everything that decides.
pub struct World<'a> {
    pub operation: &'a Operation,
    /// The newest status, which may be newer than that of `operation`.
    pub status: &'a OperationStatus,
    /// Nothing where there is none of that name.
    pub instance: Option<&'a Instance>,
    /// The pods of the instance.
    pub pods: Vec<Pod>,
    /// The package in force; nothing where it cannot be used.
    pub package: Option<Arc<Package>>,
    /// The operation that works on the instance before this one may.
    pub ahead: Option<String>,
    pub now: Timestamp,
}

/// A pod as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // facts about one pod, each by itself
pub struct Pod {
    pub name: String,
    pub component: String,
    pub group: String,
    pub ordinal: u16,
    /// The confirmed role.
    pub role: Option<String>,
    /// Where its role stands among those of its component, from the first to be disturbed to the last.
    pub rank: usize,
    /// Whether it has the role that is disturbed last, where roles differ.
    pub leads: bool,
    pub ready: bool,
    /// Whether it gets its data from another pod, where its package tells.
    pub follows: bool,
    /// Revision of the configuration that is in effect, where its agent tells.
    pub config: Option<String>,
    /// Something of it takes effect only with the next start of the process.
    pub pending_restart: bool,
}

impl World<'_> {
    pub fn spec(&self) -> &OperationSpec {
        &self.operation.spec
    }

    /// The instance's spec as it is written.
    pub fn instance_spec(&self) -> Value {
        self.instance.map_or(Value::Null, |instance| serde_json::to_value(&instance.spec).unwrap_or_default())
    }

    pub fn condition(&self, type_: &str) -> Option<&Condition> {
        find(&self.instance?.status.as_ref()?.conditions, type_)
    }

    pub fn holds(&self, type_: &str) -> bool {
        self.condition(type_).is_some_and(|condition| condition.status == ConditionStatus::True)
    }

    /// What the controller of instances says is about the spec as it is now.
    pub fn instance_is_current(&self) -> bool {
        self.instance.is_some_and(|instance| {
            let observed = instance.status.as_ref().and_then(|status| status.observed_generation);
            observed.is_some() && observed >= instance.metadata.generation
        })
    }

    /// What the operation changed, as it was before.
    pub fn before(&self) -> Option<Change> {
        serde_json::from_str(self.operation.annotations().get(labels::BEFORE)?).ok()
    }

    pub fn pod(&self, name: &str) -> Option<&Pod> {
        self.pods.iter().find(|pod| pod.name == name)
    }

    /// Where the instance is written down, if it comes from Git.
    pub fn file(&self) -> Option<String> {
        let instance = self.instance?;
        let path = instance.annotations().get(labels::SOURCE_PATH)?;
        let source = instance.labels().get(labels::SOURCE);
        Some(source.map_or_else(|| path.clone(), |source| format!("{path} of the source {source}")))
    }

    /// Whether there is each pod that a target names.
    pub fn has_named(&self, target: Option<&Target>) -> Result<(), String> {
        for name in target.iter().flat_map(|target| &target.pods) {
            if !self.pods.iter().any(|pod| pod.name == name.as_str()) {
                let known = self.pods.iter().map(|pod| pod.name.as_str());
                return Err(crate::extension::problem::unknown("pod", name.as_str(), known));
            }
        }
        Ok(())
    }

    /// The pods that a target means, in the order in which they are disturbed: replicas first.
    pub fn targeted(&self, target: Option<&Target>) -> Result<Vec<&Pod>, String> {
        let instance = &self.spec().instance;
        self.has_named(target)?;
        let mut found = pods_of(&self.pods, target);
        if found.is_empty() {
            let reason = if self.pods.is_empty() { "it has none" } else { "none of its pods is meant by spec.target" };
            return Err(format!("there is nothing to do to a pod of {instance}: {reason}"));
        }
        found.sort_by_key(|pod| (pod.component.clone(), pod.rank, pod.group.clone(), Reverse(pod.ordinal)));
        // the last of a component is never disturbed before the others of any component
        found.sort_by_key(|pod| pod.leads);
        Ok(found)
    }
}

/// Those that a target names.
pub fn pods_of<'p>(pods: &'p [Pod], target: Option<&Target>) -> Vec<&'p Pod> {
    let Some(Target { component, group, role, pods: names }) = target else { return pods.iter().collect() };
    let meant = |pod: &&Pod| {
        component.as_ref().is_none_or(|component| pod.component == component.as_str())
            && group.as_ref().is_none_or(|group| pod.group == group.as_str())
            && role.as_ref().is_none_or(|role| pod.role.as_deref() == Some(role.as_str()))
            && (names.is_empty() || names.iter().any(|name| name.as_str() == pod.name))
    };
    pods.iter().filter(meant).collect()
}
