//! `Operation`: one thing to be done to an instance, and the record of how it went.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_with::skip_serializing_none;

use super::conditions::Condition;
use super::instance::{BackedUpInstance, RestoreSource};
use super::schema;
use super::values::{Duration, Quantity, Resources};
use crate::names::{
    ComponentName, ExtensionVersion, GroupName, InstanceName, MiddlewareVersion, ObjectName, Ordinal, RoleName,
};

/// What cannot be changed once somebody asked for it.
const ONCE: [&str; 14] = [
    "target",
    "switchover",
    "process",
    "verticalScale",
    "horizontalScale",
    "volumeExpand",
    "configure",
    "upgrade",
    "backup",
    "restore",
    "custom",
    "timeout",
    "retries",
    "onFailure",
];

/// What a failed restore says that changed nothing: what was stopped for it is started again.
pub const UNTOUCHED: &str = "nothing on the volume was changed";

/// What is to be done, to which pods, and how failures are met. It is done once; only `suspend`, `cancel`, `approve` and
/// `ttl` can be changed afterwards.
#[skip_serializing_none]
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "midship.dev",
    version = "v1alpha1",
    kind = "Operation",
    plural = "operations",
    namespaced,
    status = "OperationStatus",
    shortname = "op",
    category = "midship",
    derive = "PartialEq",
    doc = "One operation on an instance: what was asked, its steps, its progress and its result. It is also the operation log.",
    printcolumn(name = "Instance", type_ = "string", json_path = ".spec.instance"),
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.type"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Progress", type_ = "string", json_path = ".status.progress", priority = 1),
    printcolumn(name = "Step", type_ = "string", json_path = ".status.currentStep", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    { "rule": schema::unchanged(&["instance", "type"], &ONCE),
      "message": "an operation is done once: make a new one to do something else (only suspend, cancel, approve and ttl can be changed)" },
    { "rule": "!(has(oldSelf.cancel) && oldSelf.cancel) || (has(self.cancel) && self.cancel)", "message": "cancel cannot be taken back: make a new operation" },
    { "rule": "!has(self.target) || self.type in ['Restart', 'Reload', 'Process', 'Backup', 'Rotate', 'Custom']",
      "message": "target is only for the types Restart, Reload, Process, Backup, Rotate and Custom; the others act on the whole instance or name a component themselves" },
    { "rule": "!has(self.restore) || self.restore.replaceDataOf == self.instance",
      "message": "restore.replaceDataOf must repeat the name of the instance: its present data will be replaced" },
    { "rule": "self.type == 'Switchover' || !has(self.switchover)", "message": "switchover is only for type Switchover" },
    { "rule": "(self.type == 'Process') == has(self.process)", "message": "type Process needs process, and only that type has it" },
    { "rule": "(self.type == 'VerticalScale') == has(self.verticalScale)", "message": "type VerticalScale needs verticalScale, and only that type has it" },
    { "rule": "(self.type == 'HorizontalScale') == has(self.horizontalScale)", "message": "type HorizontalScale needs horizontalScale, and only that type has it" },
    { "rule": "(self.type == 'VolumeExpand') == has(self.volumeExpand)", "message": "type VolumeExpand needs volumeExpand, and only that type has it" },
    { "rule": "(self.type == 'Configure') == has(self.configure)", "message": "type Configure needs configure, and only that type has it" },
    { "rule": "(self.type in ['Upgrade', 'Rollback']) || !has(self.upgrade)", "message": "upgrade is only for the types Upgrade and Rollback" },
    { "rule": "self.type != 'Upgrade' || has(self.upgrade)", "message": "type Upgrade needs upgrade" },
    { "rule": "self.type == 'Backup' || !has(self.backup)", "message": "backup is only for type Backup" },
    { "rule": "(self.type == 'Restore') == has(self.restore)", "message": "type Restore needs restore, and only that type has it" },
    { "rule": "(self.type == 'Custom') == has(self.custom)", "message": "type Custom needs custom, and only that type has it" }]))]
pub struct OperationSpec {
    /// The instance in the same namespace.
    pub instance: InstanceName,
    /// What is to be done. Restart and Reload: to processes, one after another, replicas first. Stop and Start: to the whole
    /// instance. Switchover: hand the exclusive role to another pod. Process: start, stop, restart or reload chosen
    /// processes, some at a time. VerticalScale, HorizontalScale, VolumeExpand, Configure: change the instance. Upgrade:
    /// move to another version. Rollback: take the last upgrade or configuration back. Backup: make one now. Restore: in
    /// place. Rotate: take over new certificates and credentials. Custom: what the extension or you declare.
    #[serde(rename = "type")]
    pub type_: OperationType,
    /// Which of its pods; all of them where left out.
    pub target: Option<Target>,
    /// For Switchover: from whom to whom.
    pub switchover: Option<Switchover>,
    /// For Process: what to do with the processes.
    pub process: Option<ProcessBatch>,
    /// For VerticalScale: the new CPU and memory.
    pub vertical_scale: Option<VerticalScale>,
    /// For HorizontalScale: the new number of pods.
    pub horizontal_scale: Option<HorizontalScale>,
    /// For VolumeExpand: the new sizes.
    pub volume_expand: Option<VolumeExpand>,
    /// For Configure: the new parameters.
    pub configure: Option<Configure>,
    /// For Upgrade: the new versions. For Rollback: which part is taken back.
    pub upgrade: Option<Upgrade>,
    /// For Backup: how.
    pub backup: Option<BackupRequest>,
    /// For Restore: into this instance, in place, after a safety backup.
    pub restore: Option<InPlaceRestore>,
    /// For Custom: an operation that the extension declares, or steps of your own.
    pub custom: Option<CustomOperation>,
    /// How long the whole may take; where left out 48h for a Restore, else 1h.
    pub timeout: Option<Duration>,
    /// How often a failed step is tried again.
    #[schemars(range(min = 0, max = 100))]
    pub retries: Option<i32>,
    /// What a step that failed for good means for the rest: Abort leaves what was done, Continue goes on with the next
    /// step, Rollback takes back what was done, Pause waits for somebody to decide.
    pub on_failure: Option<FailurePolicy>,
    /// The operation goes no further while this is true.
    pub suspend: Option<bool>,
    /// Ends the operation at the next safe point.
    pub cancel: Option<bool>,
    /// Names of checks that said "not ready" and are to be passed over.
    #[schemars(length(max = 16), inner(length(min = 1, max = 63)))]
    pub approve: Option<Vec<String>>,
    /// How long the finished operation is kept; 7d where left out.
    pub ttl: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OperationType {
    /// Restart processes, one after another, replicas first.
    Restart,
    /// Make processes read their configuration again.
    Reload,
    /// Stop the instance.
    Stop,
    /// Start the instance.
    Start,
    /// Hand the exclusive role to another pod.
    Switchover,
    /// Start, stop or restart chosen processes, some at a time.
    Process,
    /// Change CPU and memory.
    VerticalScale,
    /// Change the number of pods.
    HorizontalScale,
    /// Grow volumes.
    VolumeExpand,
    /// Change parameters as one transaction.
    Configure,
    /// Move to another extension or middleware version.
    Upgrade,
    /// Take the last upgrade or configuration back.
    Rollback,
    /// Make a backup now.
    Backup,
    /// Restore in place.
    Restore,
    /// Take over new certificates and credentials.
    Rotate,
    /// Something the extension or you declare.
    Custom,
}

/// Which pods.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Target {
    /// Those of this component.
    pub component: Option<ComponentName>,
    /// Those of this group.
    pub group: Option<GroupName>,
    /// Those that have this role.
    pub role: Option<RoleName>,
    /// Single pods by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "set"))]
    pub pods: Vec<ObjectName>,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [
    { "rule": "!(has(self.from) && has(self.to) && self.from == self.to)", "message": "from and to are the same pod" }]))]
pub struct Switchover {
    /// The pod that has the role now; whoever it is where left out.
    pub from: Option<ObjectName>,
    /// The pod that is to have it; the one furthest ahead where left out.
    pub to: Option<ObjectName>,
    /// Go on although the pod is behind, and lose what it does not have.
    pub force: Option<bool>,
}

#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessBatch {
    /// What is done to the processes.
    pub action: ProcessAction,
    /// How many at a time; 1 where left out.
    #[schemars(range(min = 1, max = 1000))]
    pub concurrency: Option<i32>,
    /// Pause between one batch and the next.
    pub interval: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ProcessAction {
    Start,
    Stop,
    Restart,
    Reload,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VerticalScale {
    /// The component.
    pub component: ComponentName,
    /// The new CPU and memory.
    pub resources: Resources,
}

#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HorizontalScale {
    /// The component.
    pub component: ComponentName,
    /// The group of pods; `default` where left out.
    pub group: Option<GroupName>,
    /// The new number of pods.
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: i32,
    /// Ordinals that are to leave.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::ordinals")]
    pub offline: Vec<Ordinal>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VolumeExpand {
    /// The component.
    pub component: ComponentName,
    /// New size of each volume, by its name.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 8))]
    pub sizes: BTreeMap<String, Quantity>,
}

#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    { "rule": "has(self.parameters) != has(self.revision)", "message": "give parameters, or the revision to go back to" }]))]
pub struct Configure {
    /// The component.
    pub component: ComponentName,
    /// Parameters to change; null takes one back to its default.
    #[serde(default)]
    #[schemars(schema_with = "schema::parameters")]
    pub parameters: Option<BTreeMap<String, Value>>,
    /// Go back to this revision instead.
    #[schemars(length(min = 1, max = 64))]
    pub revision: Option<String>,
    /// Only check, change nothing.
    pub dry_run: Option<bool>,
}

#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    { "rule": "has(self.extensionVersion) != has(self.version)",
      "message": "give extensionVersion or version: they are upgraded one at a time" }]))]
pub struct Upgrade {
    /// The new version of the extension package.
    pub extension_version: Option<ExtensionVersion>,
    /// The new version of the middleware.
    pub version: Option<MiddlewareVersion>,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupRequest {
    /// Repository; the one of the instance's policy where left out.
    pub repository: Option<ObjectName>,
    /// Method, as the extension names it; its default where left out.
    #[schemars(length(min = 1, max = 63))]
    pub method: Option<String>,
    /// Full (assumed) or Incremental.
    #[serde(rename = "type")]
    pub type_: Option<BackupType>,
    /// Labels of the backup; retention can keep by them.
    #[serde(default)]
    #[schemars(schema_with = "schema::labels")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Retention never removes it.
    pub hold: Option<bool>,
    /// Believe it although it is less than half as large as the one before, because that much was deleted on purpose.
    pub allow_shrink: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BackupType {
    Full,
    Incremental,
}

#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InPlaceRestore {
    /// Which backup.
    pub source: RestoreSource,
    /// The instance's name once more, as agreement that its present data is replaced.
    pub replace_data_of: InstanceName,
    /// Do without the safety backup.
    pub skip_safety_backup: Option<bool>,
}

/// An operation that the extension declares (`name`), or steps of your own.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [
    { "rule": "has(self.name) != (has(self.steps) && size(self.steps) > 0)", "message": "give name or steps, not both" }]))]
pub struct CustomOperation {
    /// Its name in the extension.
    #[schemars(length(min = 1, max = 63))]
    pub name: Option<String>,
    /// Its parameters.
    #[serde(default)]
    #[schemars(schema_with = "schema::parameters")]
    pub parameters: Option<BTreeMap<String, Value>>,
    /// Steps, one after another.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub steps: Vec<Step>,
}

/// One step of an operation.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [
    { "rule": "[has(self.apply), has(self.delete), has(self.call), has(self.wait)].exists_one(given, given)",
      "message": "a step does exactly one of apply, delete, call and wait" }]))]
pub struct Step {
    /// A name for it.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Apply this object in the instance's namespace.
    #[serde(default)]
    #[schemars(schema_with = "schema::kubernetes_object")]
    pub apply: Option<Value>,
    /// Delete this object.
    pub delete: Option<ObjectTarget>,
    /// Call the agents.
    pub call: Option<AgentCall>,
    /// Wait until this holds.
    pub wait: Option<WaitFor>,
    /// How long the step may take.
    pub timeout: Option<Duration>,
    /// How often it is tried again.
    #[schemars(range(min = 0, max = 100))]
    pub retries: Option<i32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectTarget {
    /// Its API version, such as v1 or apps/v1.
    #[schemars(length(min = 1, max = 253))]
    pub api_version: String,
    /// Its kind.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// Its name.
    pub name: ObjectName,
}

#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AgentCall {
    /// An action of the lifecycle API, such as reload or pre-scale-in.
    #[schemars(length(min = 1, max = 63))]
    pub action: String,
    /// What is passed to it.
    #[serde(default)]
    #[schemars(schema_with = "schema::parameters")]
    pub parameters: Option<BTreeMap<String, Value>>,
    /// Pods at a time; 1 where left out.
    #[schemars(range(min = 1, max = 1000))]
    pub concurrency: Option<i32>,
    /// Pause between one batch and the next.
    pub interval: Option<Duration>,
}

#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [
    { "rule": "has(self.condition) != has(self.duration)", "message": "give condition or duration, exactly one" }]))]
pub struct WaitFor {
    /// A condition of the instance that must be True.
    #[schemars(length(min = 1, max = 63))]
    pub condition: Option<String>,
    /// Simply so long.
    pub duration: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FailurePolicy {
    /// Stop, and leave what was done.
    Abort,
    /// Go on with the next step.
    Continue,
    /// Take back what was done.
    Rollback,
    /// Wait for somebody to decide.
    Pause,
}

/// How it went.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationStatus {
    /// The generation of the spec that was last looked at.
    pub observed_generation: Option<i64>,
    /// Where it stands, in one word; Paused waits for somebody.
    pub phase: Option<OperationPhase>,
    /// Finished steps of all steps, such as 2/5.
    pub progress: Option<String>,
    /// The step that runs.
    pub current_step: Option<String>,
    /// What it does or waits for, or how it ended.
    pub message: Option<String>,
    /// When it started.
    #[schemars(extend("format" = "date-time"))]
    pub started_at: Option<String>,
    /// When it ended.
    #[schemars(extend("format" = "date-time"))]
    pub finished_at: Option<String>,
    /// Who asked for it, where known.
    pub requested_by: Option<String>,
    /// Each step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepStatus>,
    /// The instance it was restored from, for a restore.
    pub restored_from: Option<BackedUpInstance>,
    /// What is well and what is not: Ready, Reconciling, Stalled and others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OperationPhase {
    Pending,
    Running,
    /// Waits for somebody: suspended, or a check said "not ready".
    Paused,
    Succeeded,
    Failed,
    Cancelled,
}

/// How one step went.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepStatus {
    /// The step.
    pub name: String,
    /// Where it stands.
    pub phase: OperationPhase,
    /// How often it was tried.
    pub attempts: i32,
    /// What it does or waits for, or why it failed.
    pub message: Option<String>,
    /// When it started.
    #[schemars(extend("format" = "date-time"))]
    pub started_at: Option<String>,
    /// When it ended.
    #[schemars(extend("format" = "date-time"))]
    pub finished_at: Option<String>,
}

#[cfg(test)]
mod tests {
    use kube::CustomResourceExt;

    use super::*;

    #[test]
    fn every_field_is_either_fixed_or_meant_to_be_changed() {
        let crd = serde_json::to_value(Operation::crd()).expect("plain data");
        let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
        let known = ["instance", "type", "suspend", "cancel", "approve", "ttl"];
        let unknown: Vec<_> = spec
            .as_object()
            .expect("properties")
            .keys()
            .filter(|field| !ONCE.contains(&field.as_str()) && !known.contains(&field.as_str()))
            .collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}
