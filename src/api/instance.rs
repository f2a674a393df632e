//! `Instance`: one middleware instance, as users write it.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_with::skip_serializing_none;

use super::conditions::Condition;
use super::schema;
use super::values::{
    DeletionPolicy, Duration, ExtraMetadata, ImageOverride, KeyRef, LocalRef, Quantity, Resources, Scheduling, Storage,
};
use crate::names::{
    ComponentName, EnvironmentName, ExtensionType, ExtensionVersion, GroupName, InstanceName, MiddlewareVersion,
    NamespaceName, ObjectName, Ordinal, TopologyName,
};

/// What an instance is to be. Type, extension version and middleware version are enough; everything else has a default
/// that the extension and the environment decide, shown in `status.resolved` and never written here.
#[skip_serializing_none]
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "midship.dev",
    version = "v1alpha1",
    kind = "Instance",
    plural = "instances",
    namespaced,
    status = "InstanceStatus",
    shortname = "inst",
    category = "midship",
    derive = "PartialEq",
    doc = "One middleware instance: a cache, a database, a broker. This is what users write; everything else follows from it.",
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.type"),
    printcolumn(name = "Version", type_ = "string", json_path = ".spec.version"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.ready"),
    printcolumn(name = "Primary", type_ = "string", json_path = ".status.primary"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Topology", type_ = "string", json_path = ".status.resolved.topology", priority = 1),
    printcolumn(name = "Extension", type_ = "string", json_path = ".spec.extensionVersion", priority = 1),
    printcolumn(
        name = "Commit",
        type_ = "string",
        json_path = ".metadata.annotations.midship\\.dev/source-commit",
        priority = 1
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    { "rule": "self.type == oldSelf.type", "message": "type cannot be changed: another type is another instance; create a new one and move the data" },
    { "rule": "!(has(self.restore) && !has(oldSelf.restore))", "message": "restore is only for a new instance; restore in place with an Operation" }]))]
pub struct InstanceSpec {
    /// Kind of middleware, such as an installed extension names it: `kubectl get extensions`.
    #[serde(rename = "type")]
    pub type_: ExtensionType,
    /// Exact version of the extension package. The instance stays on it until this is changed.
    pub extension_version: ExtensionVersion,
    /// Version of the middleware, one of those the extension supports.
    pub version: MiddlewareVersion,
    /// How its pods work together; the extension's default where left out. The extension says which can be changed later.
    pub topology: Option<TopologyName>,
    /// Running (assumed) or Stopped. A stopped instance keeps its volumes, Services and Secrets.
    pub state: Option<DesiredState>,
    /// Environment whose defaults apply, such as development or production.
    pub environment: Option<EnvironmentName>,
    /// What happens to the volumes when the instance is deleted; Retain where left out.
    pub deletion_policy: Option<DeletionPolicy>,
    /// Midship leaves the instance exactly as it is while this is true.
    pub suspend: Option<bool>,
    /// Settings of each component; components that are left out get the defaults.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub components: Vec<InstanceComponent>,
    /// Credentials of the middleware's own administrator; generated where left out.
    pub credentials: Option<Credentials>,
    /// TLS for clients and replication; off where left out, unless the environment says otherwise.
    pub tls: Option<Tls>,
    /// Metrics, alerts and dashboards.
    pub monitoring: Option<Monitoring>,
    /// Scheduled backups.
    pub backup: Option<InstanceBackup>,
    /// Fill the new instance from a backup.
    pub restore: Option<RestoreSource>,
    /// Who may connect.
    pub network: Option<Network>,
    /// When and how a new primary is chosen.
    pub failover: Option<Failover>,
    /// When disruptive changes may happen; at any time where left out.
    pub maintenance: Option<Maintenance>,
    /// Secrets with credentials of image registries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub image_pull_secrets: Vec<LocalRef>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DesiredState {
    Running,
    Stopped,
}

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
    #[schemars(length(max = 8))]
    pub storage: Option<BTreeMap<String, Storage>>,
    /// Parameters of the middleware. The extension says which exist, their ranges, and what changing one needs.
    #[serde(default)]
    #[schemars(schema_with = "schema::parameters")]
    pub parameters: Option<BTreeMap<String, Value>>,
    /// Parameters whose values are secret, each from a key of a Secret.
    #[schemars(length(max = 64))]
    pub secret_parameters: Option<BTreeMap<String, KeyRef>>,
    /// Complete configuration files in place of the rendered ones, where the extension allows it.
    #[schemars(length(max = 16))]
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
    /// Environment variables to add.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
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
    #[schemars(length(max = 8))]
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
    { "rule": "(has(self.content) ? 1 : 0) + (has(self.configMap) ? 1 : 0) + (has(self.secret) ? 1 : 0) == 1",
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
    #[schemars(length(max = 64))]
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
    { "rule": "(has(self.value) ? 1 : 0) + (has(self.secret) ? 1 : 0) + (has(self.configMap) ? 1 : 0) == 1",
      "message": "give exactly one of value, secret and configMap" }]))]
pub struct EnvVar {
    #[schemars(regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]{0,127}$"))]
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
    /// How long the process may take to stop before it is killed.
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
    #[schemars(regex(pattern = r"^([0-9]{1,4}|[0-9]{1,2}%|100%)$"))]
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

/// Credentials of the administrator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// A Secret with the keys `username` and `password`.
    pub secret_name: ObjectName,
}

/// TLS for clients and replication.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    { "rule": "(has(self.issuer) ? 1 : 0) + (has(self.certManager) ? 1 : 0) + (has(self.secretName) ? 1 : 0) == 1",
      "message": "give exactly one of issuer, certManager and secretName" }]))]
pub struct Tls {
    /// `builtin`: a certificate authority of the instance's own; `none`: no TLS.
    pub issuer: Option<TlsIssuer>,
    /// An issuer of cert-manager.
    pub cert_manager: Option<CertManagerIssuer>,
    /// A Secret with `tls.crt`, `tls.key` and `ca.crt` that somebody else renews.
    pub secret_name: Option<ObjectName>,
    /// Whether clients must show a certificate.
    pub client_certificates: Option<ClientCertificates>,
    /// Names and addresses to add to the certificate.
    #[schemars(length(max = 64))]
    pub extra_names: Option<Vec<String>>,
    /// How long certificates are valid.
    pub duration: Option<Duration>,
    /// How long before their end they are renewed.
    pub renew_before: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TlsIssuer {
    Builtin,
    None,
}

#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CertManagerIssuer {
    /// The issuer's name.
    pub name: ObjectName,
    /// Issuer (in the namespace of the instance) or ClusterIssuer.
    pub kind: Option<IssuerKind>,
    /// API group, for issuers from outside cert-manager.
    #[schemars(length(max = 253))]
    pub group: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum IssuerKind {
    Issuer,
    ClusterIssuer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClientCertificates {
    None,
    Optional,
    Required,
}

/// Metrics, alerts and dashboards.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Monitoring {
    /// Run the extension's exporter.
    pub exporter: Option<bool>,
    /// Make a PodMonitor, where Prometheus Operator is installed.
    pub pod_monitor: Option<bool>,
    /// Make alert rules from the extension's templates.
    pub alerts: Option<bool>,
    /// Thresholds of alerts, by the names the extension gives them.
    #[serde(default)]
    #[schemars(schema_with = "schema::parameters")]
    pub thresholds: Option<BTreeMap<String, Value>>,
    /// Make a ConfigMap with the extension's Grafana dashboard.
    pub dashboard: Option<bool>,
    /// How often metrics are read.
    pub interval: Option<Duration>,
    /// Labels of the monitoring objects, so that the right Prometheus finds them.
    #[schemars(length(max = 32))]
    pub labels: Option<BTreeMap<String, String>>,
}

/// Scheduled backups of this instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceBackup {
    /// The BackupPolicy that says when, where to and for how long.
    pub policy: ObjectName,
}

/// Where a new instance gets its data from.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    { "rule": "has(self.backup) != has(self.repository)", "message": "give backup, or repository with instance, not both" },
    { "rule": "has(self.repository) == has(self.instance)", "message": "repository and instance belong together" },
    { "rule": "!(has(self.id) && has(self.pointInTime))", "message": "give id or pointInTime, not both" }]))]
pub struct RestoreSource {
    /// A Backup in this namespace.
    pub backup: Option<ObjectName>,
    /// The BackupRepository that holds backups of an instance that need not exist any more.
    pub repository: Option<ObjectName>,
    /// The instance that was backed up: its name, or its UID where several had that name.
    pub instance: Option<BackedUpInstance>,
    /// Which of its backups; the newest verified one where left out.
    #[schemars(regex(pattern = r"^[0-9A-HJKMNP-TV-Z]{26}$"))]
    pub id: Option<String>,
    /// The moment to go back to.
    #[schemars(extend("format" = "date-time"))]
    pub point_in_time: Option<String>,
    /// A Secret with the key `identity`: the private key backups are decrypted with.
    pub identity: Option<LocalRef>,
}

/// An instance as a backup repository knows it.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [
    { "rule": "has(self.name) || has(self.uid)", "message": "give name or uid" }]))]
pub struct BackedUpInstance {
    pub name: Option<InstanceName>,
    pub namespace: Option<NamespaceName>,
    #[schemars(length(min = 1, max = 64))]
    pub uid: Option<String>,
}

/// Who may connect.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Network {
    /// Make a NetworkPolicy that lets in only what `allowFrom` names, the instance's own pods and Midship.
    pub policy: Option<bool>,
    /// Peers that may connect, as in a NetworkPolicy's `from`.
    #[serde(default)]
    #[schemars(schema_with = "schema::any_objects")]
    pub allow_from: Option<Vec<Value>>,
}

/// When and how a new primary is chosen.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failover {
    /// Automatic (assumed), or only when somebody asks.
    pub mode: Option<FailoverMode>,
    /// How long a primary may be silent before it is replaced.
    pub timeout: Option<Duration>,
    /// How far a replica may be behind and still be chosen, in bytes.
    pub max_lag: Option<Quantity>,
    /// Replicas that must confirm a write before the client hears of it.
    #[schemars(range(min = 0, max = 100))]
    pub synchronous: Option<i32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FailoverMode {
    Automatic,
    Manual,
}

/// When disruptive changes may happen.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Maintenance {
    /// When the window opens: five fields as in crontab.
    #[schemars(length(min = 9, max = 100))]
    pub window: String,
    /// How long it stays open.
    pub duration: Duration,
    /// Time zone of `window`, such as Europe/Berlin; UTC where left out.
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,
}

/// Where the instance stands.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceStatus {
    /// The generation of the spec that was last looked at.
    pub observed_generation: Option<i64>,
    /// What is happening, in one word.
    pub phase: Option<Phase>,
    /// Ready pods of all pods, such as 3/3.
    pub ready: Option<String>,
    /// The pod that has the exclusive role, where there is one.
    pub primary: Option<String>,
    /// The values that were decided for everything the spec leaves out.
    pub resolved: Option<Resolved>,
    /// How clients connect.
    pub connection: Option<Connection>,
    /// Each pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<Member>,
    /// Configuration of each component: which revision runs, and how the last change ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub configuration: Vec<ConfigurationStatus>,
    /// The Operation that works on the instance now.
    pub operation: Option<String>,
    /// The latest backups.
    pub backup: Option<BackupSummary>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// What is happening to an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    Pending,
    Creating,
    Running,
    Updating,
    Upgrading,
    Stopping,
    Stopped,
    Failed,
    Deleting,
}

/// Values that were decided from extension, environment and spec.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resolved {
    /// The topology in force.
    pub topology: Option<String>,
    /// The environment whose defaults apply.
    pub environment: Option<String>,
    /// Digest of the extension package.
    pub extension_digest: Option<String>,
    /// The middleware version that runs, which is not yet the spec's while it is being upgraded.
    pub version: Option<String>,
    /// The extension version that is in force.
    pub extension_version: Option<String>,
    /// Replicas, resources, storage and parameters of each component.
    #[serde(default)]
    #[schemars(schema_with = "schema::any_object")]
    pub components: Option<Value>,
}

/// How clients connect.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    pub host: Option<String>,
    pub port: Option<i32>,
    /// The Secret with host, port, username, password, uri and ca.
    pub secret_name: Option<String>,
}

/// One pod of the instance.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// The pod's name.
    pub name: String,
    pub component: String,
    pub role: Option<String>,
    pub ready: bool,
    pub node: Option<String>,
    /// Normal, Adding or Deleting.
    pub state: Option<String>,
    /// How far it is behind, in bytes.
    pub lag: Option<i64>,
    /// Why it is not ready.
    pub reason: Option<String>,
}

/// The configuration of one component.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigurationStatus {
    pub component: String,
    /// The revision that runs.
    pub revision: Option<String>,
    /// Applied, Applying, Rejected or RolledBack.
    pub state: Option<String>,
    /// Why, in a sentence.
    pub message: Option<String>,
}

/// The latest backups of the instance.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupSummary {
    /// The newest complete backup.
    pub latest: Option<String>,
    /// The newest backup that was restored as a test.
    pub latest_verified: Option<String>,
    /// The earliest moment that can be gone back to.
    pub recoverable_from: Option<String>,
    /// The latest moment that can be gone back to.
    pub recoverable_until: Option<String>,
}
