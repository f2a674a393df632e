//! `Component`: pods that run the same binary. Instances make them; its `scale` subresource is for people and autoscalers.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::conditions::Condition;
use super::instance::{DesiredState, UpdateOptions};
use super::pod_set::{PodTemplate, StartOrder};
use super::schema;
use super::values::DeletionPolicy;
use crate::names::{ComponentName, GroupName, InstanceName, ObjectName, Ordinal, RoleName};

/// What the Instance decided for one component.
#[skip_serializing_none]
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "midship.dev",
    version = "v1alpha1",
    kind = "Component",
    plural = "components",
    namespaced,
    status = "ComponentStatus",
    shortname = "comp",
    category = "midship",
    derive = "PartialEq",
    doc = "The pods of an instance that run the same binary. Made by the Instance; change the Instance, or scale this.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Instance", type_ = "string", json_path = ".spec.instance"),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".status.replicas"),
    printcolumn(name = "Ready", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    { "rule": "self.instance == oldSelf.instance && self.component == oldSelf.component",
      "message": "a component belongs to its instance for good" }]))]
pub struct ComponentSpec {
    /// The instance this belongs to.
    pub instance: InstanceName,
    /// The component's name in the extension.
    pub component: ComponentName,
    /// Pods of the group `default`, where the instance leaves the number free.
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: Option<i32>,
    /// The numbers of pods that the package allows, where the instance leaves the number free.
    pub allowed_replicas: Option<AllowedReplicas>,
    /// The groups of pods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub groups: Vec<ComponentGroup>,
    /// Running (assumed) or Stopped: no pods, volumes stay.
    pub state: Option<DesiredState>,
    /// Components of the instance that have to be ready before this one starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub after: Vec<ComponentName>,
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

/// Numbers of pods that are possible.
#[skip_serializing_none]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AllowedReplicas {
    /// The smallest.
    #[schemars(range(min = 0, max = 1000))]
    pub min: i32,
    /// The largest.
    #[schemars(range(min = 0, max = 1000))]
    pub max: i32,
    /// Only odd ones, as for a quorum.
    pub odd: Option<bool>,
}

impl AllowedReplicas {
    /// Why a number is not possible, where it is not.
    pub fn refuse(&self, number: i32) -> Option<String> {
        let (min, max) = (self.min, self.max);
        if !(min..=max).contains(&number) {
            let odd = if self.odd == Some(true) { ", odd" } else { "" };
            return Some(format!("{number} is not allowed; allowed is {min} to {max}{odd}"));
        }
        let even = self.odd == Some(true) && number % 2 == 0 && number > 0;
        even.then(|| format!("{number} is even, and a majority needs an odd number"))
    }
}

/// One group of pods.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComponentGroup {
    /// The group's name.
    pub name: GroupName,
    /// Number of pods; `spec.replicas` decides for the group `default` where left out.
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: Option<i32>,
    /// Ordinals that are not to run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::ordinals")]
    pub offline: Vec<Ordinal>,
    /// What each pod is made from.
    pub template: PodTemplate,
}

/// Where the component stands.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComponentStatus {
    /// The generation of the spec that was last looked at.
    pub observed_generation: Option<i64>,
    /// Pods that exist.
    pub replicas: Option<i32>,
    /// Pods that are ready.
    pub ready_replicas: Option<i32>,
    /// Selects the pods, as text; autoscalers read it.
    pub selector: Option<String>,
    /// What is well and what is not: Ready, Reconciling, Stalled and others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
