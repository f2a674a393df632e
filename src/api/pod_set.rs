//! `PodSet`: a group of identical pods, managed directly so that single ordinals can leave and roles set the order.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_with::skip_serializing_none;

use super::conditions::Condition;
use super::instance::{DesiredState, UpdateOptions};
use super::packed::Packed;
use super::schema;
use super::values::{DeletionPolicy, Storage};
use crate::names::{ComponentName, GroupName, InstanceName, ObjectName, Ordinal, RoleName};

/// What the Component decided for one group.
#[skip_serializing_none]
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "midship.dev",
    version = "v1alpha1",
    kind = "PodSet",
    plural = "podsets",
    namespaced,
    status = "PodSetStatus",
    shortname = "ps",
    category = "midship",
    derive = "PartialEq",
    doc = "A group of identical pods with stable names and volumes. Made by the Component; change the Instance.",
    printcolumn(name = "Instance", type_ = "string", json_path = ".spec.instance"),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".spec.replicas"),
    printcolumn(name = "Ready", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Updated", type_ = "integer", json_path = ".status.updatedReplicas"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    { "rule": "self.instance == oldSelf.instance && self.component == oldSelf.component && self.group == oldSelf.group",
      "message": "a pod set belongs to its component for good" }]))]
pub struct PodSetSpec {
    /// The instance the pods belong to.
    pub instance: InstanceName,
    /// The component the pods belong to.
    pub component: ComponentName,
    /// The group these pods are.
    pub group: GroupName,
    /// Number of pods that are to run.
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: i32,
    /// Ordinals that are not to run; the pods take the lowest others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::ordinals")]
    pub offline: Vec<Ordinal>,
    /// Running (assumed) or Stopped: no pods, volumes stay.
    pub state: Option<DesiredState>,
    /// What each pod is made from.
    pub template: PodTemplate,
    /// How changes reach the pods.
    pub update: Option<UpdateOptions>,
    /// Start pods one after another, each once the one before it is ready, or all at once.
    pub start: Option<StartOrder>,
    /// What happens to the volumes of pods that go away.
    pub deletion_policy: Option<DeletionPolicy>,
    /// The headless Service that gives the pods their names.
    pub service_name: Option<ObjectName>,
    /// Roles from the first to be disturbed to the last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub role_order: Vec<RoleName>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StartOrder {
    Parallel,
    Ordered,
}

/// What a pod is made from.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodTemplate {
    /// Revision of the configuration the pod runs with.
    #[schemars(length(max = 64))]
    pub config_revision: Option<String>,
    /// Labels and annotations of the pods.
    #[serde(default)]
    #[schemars(schema_with = "schema::any_object")]
    pub metadata: Option<Value>,
    /// The pod, as Kubernetes writes it.
    #[schemars(schema_with = "schema::any_object")]
    pub spec: Packed,
    /// The claims of each pod, by volume name.
    #[schemars(extend("maxProperties" = 8))]
    pub volumes: Option<BTreeMap<String, Storage>>,
}

/// Where the group stands.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodSetStatus {
    /// The generation of the spec that was last looked at.
    pub observed_generation: Option<i64>,
    /// Pods that exist.
    pub replicas: Option<i32>,
    /// Pods that are ready.
    pub ready_replicas: Option<i32>,
    /// Pods that are as the spec says now.
    pub updated_replicas: Option<i32>,
    /// Digest of the template that is being rolled out.
    pub revision: Option<String>,
    /// Digest of the last template that all pods had.
    pub last_good_revision: Option<String>,
    /// Digest of a template that failed; another one clears it.
    pub failed_revision: Option<String>,
    /// The pod that last had the role that is disturbed last; it starts first when all were stopped.
    pub last_holder: Option<Ordinal>,
    /// The highest ordinal there ever was.
    pub highest_ordinal: Option<Ordinal>,
    /// Ordinals that have given away what they had, and whose departure the package was not told of yet. Any other that is
    /// to leave and is taken away before comes back to do so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::ordinals")]
    pub departed: Vec<Ordinal>,
    /// Each pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<PodSetMember>,
    /// What is well and what is not: Ready, Reconciling, Stalled and others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// One pod of the group.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodSetMember {
    /// Its place in the group.
    pub ordinal: Ordinal,
    /// Whether it serves.
    pub ready: bool,
    /// Its confirmed role.
    pub role: Option<String>,
    /// Digest of the template it was made from.
    pub revision: Option<String>,
    /// The node it runs on.
    pub node: Option<String>,
    /// How many bytes of data it is behind, rounded down to a power of two; less than a mebibyte is 0.
    pub lag: Option<i64>,
    /// What it waits for.
    pub reason: Option<String>,
    /// Volumes that are nearly full, and how full each is at least, in percent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub filling: BTreeMap<String, i32>,
}
