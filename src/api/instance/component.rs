//! What an instance says of one component: pods, volumes, configuration, and how they are kept.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_with::skip_serializing_none;

use crate::api::schema;
use crate::api::values::{Duration, ExtraMetadata, ImageOverride, KeyRef, Quantity, Resources, Scheduling, Storage};
use crate::names::{ComponentName, GroupName, ObjectName, Ordinal, form};

/// Settings of one component.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    { "rule": "!(has(self.groups) && size(self.groups) > 0 && (has(self.replicas) || has(self.offline)))",
      "message": "give replicas and offline here, or in each of groups, not both" }]))]
pub struct InstanceComponent {
    /// The component's name in the extension.
    pub name: ComponentName,
    /// Number of pods: short for one group called `default`. Left out, `kubectl scale` and autoscalers decide.
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: Option<i32>,
    /// Ordinals that are not to run: scales in exactly these, their numbers stay free.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::ordinals")]
    pub offline: Vec<Ordinal>,
    /// Groups of pods, such as shards: the long form of `replicas`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub groups: Vec<InstanceGroup>,
    /// CPU and memory of each pod.
    pub resources: Option<Resources>,
    /// Volumes of each pod, by the name the extension gives them.
    #[schemars(extend("maxProperties" = 8))]
    pub storage: Option<BTreeMap<String, Storage>>,
    /// Parameters of the middleware. The extension says which exist, their ranges, and what changing one needs.
    #[serde(default)]
    #[schemars(schema_with = "schema::parameters")]
    pub parameters: Option<BTreeMap<String, Value>>,
    /// Secret parameters, each from a key of a Secret.
    #[schemars(extend("maxProperties" = 64))]
    pub secret_parameters: Option<BTreeMap<String, KeyRef>>,
    /// Complete configuration files in place of the rendered ones, where the extension allows it.
    #[schemars(extend("maxProperties" = 16))]
    pub config_files: Option<BTreeMap<String, ConfigFile>>,
    /// Where the pods run.
    pub scheduling: Option<Scheduling>,
    /// How clients reach the component.
    pub service: Option<ServiceOptions>,
    /// Another image than the extension's.
    pub image: Option<ImageOverride>,
    /// Labels and annotations of the pods.
    pub pod_metadata: Option<ExtraMetadata>,
    /// ServiceAccount of the pods; one of their own where left out.
    pub service_account_name: Option<ObjectName>,
    /// Environment variables to add: each a value, or a key of a Secret or ConfigMap.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub env: Vec<EnvVar>,
    /// How the process in the pod is kept; takes effect without a restart.
    pub process: Option<ProcessOptions>,
    /// How changes reach the pods.
    pub update: Option<UpdateOptions>,
    /// Log files: rotation and export.
    pub logs: Option<Logs>,
}

/// A group of identical pods.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceGroup {
    /// The group's name.
    pub name: GroupName,
    /// Number of pods.
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: i32,
    /// Ordinals that are not to run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::ordinals")]
    pub offline: Vec<Ordinal>,
    /// CPU and memory, where this group differs.
    pub resources: Option<Resources>,
    /// Volumes, where this group differs.
    #[schemars(extend("maxProperties" = 8))]
    pub storage: Option<BTreeMap<String, Storage>>,
    /// Parameters, where this group differs.
    #[serde(default)]
    #[schemars(schema_with = "schema::parameters")]
    pub parameters: Option<BTreeMap<String, Value>>,
    /// Where its pods run, where this group differs.
    pub scheduling: Option<Scheduling>,
}

/// A complete configuration file.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    { "rule": "[has(self.content), has(self.configMap), has(self.secret)].exists_one(given, given)",
      "message": "give exactly one of content, configMap and secret" }]))]
pub struct ConfigFile {
    /// The file itself.
    #[schemars(length(max = 262_144))]
    pub content: Option<String>,
    /// A key of a ConfigMap that holds it.
    pub config_map: Option<KeyRef>,
    /// A key of a Secret that holds it.
    pub secret: Option<KeyRef>,
}

/// How clients reach a component.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    { "rule": "!has(self.loadBalancerClass) || (has(self.type) && self.type == 'LoadBalancer')",
      "message": "loadBalancerClass needs type LoadBalancer" },
    { "rule": "!has(self.loadBalancerSourceRanges) || (has(self.type) && self.type == 'LoadBalancer')",
      "message": "loadBalancerSourceRanges needs type LoadBalancer" }]))]
pub struct ServiceOptions {
    /// Type of the client Services; ClusterIP where left out.
    #[serde(rename = "type")]
    pub type_: Option<ServiceType>,
    /// Labels and annotations of the client Services.
    pub metadata: Option<ExtraMetadata>,
    /// Class of the load balancer.
    #[schemars(length(min = 1, max = 253))]
    pub load_balancer_class: Option<String>,
    /// Addresses that may reach the load balancer.
    #[schemars(length(max = 64), extend("items" = schema::texts(64, &form(
        r"^[0-9a-fA-F:.]+/[0-9]{1,3}$", "ranges such as 10.0.0.0/8"))))]
    pub load_balancer_source_ranges: Option<Vec<String>>,
    /// Whether outside traffic may hop between nodes.
    pub external_traffic_policy: Option<TrafficPolicy>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceType {
    #[serde(rename = "ClusterIP")]
    ClusterIp,
    NodePort,
    LoadBalancer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TrafficPolicy {
    Cluster,
    Local,
}

/// An environment variable: a value, or a key of a Secret or ConfigMap.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    { "rule": "[has(self.value), has(self.secret), has(self.configMap)].exists_one(given, given)",
      "message": "give exactly one of value, secret and configMap" }]))]
pub struct EnvVar {
    /// Its name.
    #[schemars(length(max = 128), extend("x-kubernetes-validations" = [
        form(r"^[A-Za-z_][A-Za-z0-9_]*$", "letters, digits and '_', not starting with a digit")]))]
    pub name: String,
    /// The value, where it is no secret.
    #[schemars(length(max = 32_768))]
    pub value: Option<String>,
    /// A key of a Secret.
    pub secret: Option<KeyRef>,
    /// A key of a ConfigMap.
    pub config_map: Option<KeyRef>,
}

/// How the process manager in the pod treats the middleware's process.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProcessOptions {
    /// Whether a process that ended is started again.
    pub restart: Option<ProcessRestart>,
    /// How long it may take to stop before it is killed.
    pub stop_timeout: Option<Duration>,
    /// How long it may take to start before that counts as a failure.
    pub start_timeout: Option<Duration>,
    /// How often it is asked whether it is well.
    pub probe_interval: Option<Duration>,
    /// Failed probes in a row until it counts as unhealthy.
    #[schemars(range(min = 1, max = 100))]
    pub failure_threshold: Option<i32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ProcessRestart {
    Always,
    OnFailure,
    Never,
}

/// How changes reach the pods.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateOptions {
    /// One after another, all at once, or only pods that somebody deletes.
    pub strategy: Option<UpdateStrategy>,
    /// How many pods may be down at a time while rolling; 1 where left out.
    #[schemars(range(min = 1, max = 1000))]
    pub max_unavailable: Option<i32>,
    /// Change one pod first and go on only if it stays well.
    pub canary: Option<bool>,
    /// How long a changed pod must be well before the next one follows.
    pub min_ready: Option<Duration>,
    /// Take a change back when it fails.
    pub rollback: Option<bool>,
    /// How long one pod may take before the change has failed.
    pub timeout: Option<Duration>,
    /// Pods that may be down for node maintenance, as for a PodDisruptionBudget; none is made when 100%.
    #[schemars(length(max = 4), extend("x-kubernetes-validations" = [form(r"^([0-9]{1,4}|[0-9]{1,2}%|100%)$", "a number or a percentage")]))]
    pub disruption_budget: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UpdateStrategy {
    Rolling,
    Parallel,
    OnDelete,
}

/// Log files of the middleware.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Logs {
    /// Write logs to files as well as to standard output.
    pub files: Option<bool>,
    /// Size at which a file is rotated.
    pub max_size: Option<Quantity>,
    /// Number of old files kept.
    #[schemars(range(min = 1, max = 100))]
    pub keep: Option<i32>,
}
