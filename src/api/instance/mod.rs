//! `Instance`: one middleware instance, as users write it. Here is what is said of the whole of it.

mod component;
mod status;

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_with::skip_serializing_none;

pub use component::{
    ConfigFile, EnvVar, InstanceComponent, InstanceGroup, Logs, ProcessOptions, ProcessRestart, ServiceOptions,
    ServiceType, TrafficPolicy, UpdateOptions, UpdateStrategy,
};
pub use status::{
    BackupSummary, ConfigurationStatus, Connection, InstanceStatus, Member, Phase, Resolved, UpgradeTarget,
};

use super::schema;
use super::values::{Cron, DeletionPolicy, Duration, LocalRef, Quantity};
use crate::names::{
    EnvironmentName, ExtensionType, ExtensionVersion, InstanceName, MiddlewareVersion, NamespaceName, ObjectName,
    TopologyName,
};

/// Type, extension version and middleware version are enough: the extension and the environment decide the rest, which is
/// shown in `status.resolved` and never written here.
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
    printcolumn(name = "Version", type_ = "string", json_path = ".spec.version"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.ready"),
    printcolumn(name = "Primary", type_ = "string", json_path = ".status.primary"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.type", priority = 1),
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
    { "rule": "!has(self.restore) || (has(oldSelf.restore) && self.restore == oldSelf.restore)",
      "message": "restore is only for a new instance: restore in place with an Operation" }]))]
pub struct InstanceSpec {
    /// Kind of middleware, as `kubectl get extensions` names it.
    #[serde(rename = "type")]
    pub type_: ExtensionType,
    /// Exact version of the extension package, kept until this is changed.
    pub extension_version: ExtensionVersion,
    /// Version of the middleware, one of those the extension supports.
    pub version: MiddlewareVersion,
    /// How its pods work together; the extension has a default, and says which can be changed later.
    pub topology: Option<TopologyName>,
    /// Running (assumed) or Stopped, which keeps volumes, Services and Secrets.
    pub state: Option<DesiredState>,
    /// Environment whose defaults apply, such as development or production.
    pub environment: Option<EnvironmentName>,
    /// What happens to the volumes when the instance is deleted: Retain (assumed) or Delete.
    pub deletion_policy: Option<DeletionPolicy>,
    /// Midship leaves the instance exactly as it is while this is true.
    pub suspend: Option<bool>,
    /// Settings of each component; those that are left out get the defaults.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub components: Vec<InstanceComponent>,
    /// Credentials of the middleware's own administrator; generated where left out.
    pub credentials: Option<Credentials>,
    /// TLS for clients and replication; off unless the environment says otherwise.
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
    /// When disruptive changes may happen. Not built yet: they happen at any time, and the condition Warnings says so.
    pub maintenance: Option<Maintenance>,
    /// Secrets with credentials of image registries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub image_pull_secrets: Vec<LocalRef>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DesiredState {
    Running,
    Stopped,
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
    { "rule": "[has(self.issuer), has(self.certManager), has(self.secretName)].exists_one(given, given)",
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
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
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
    /// Labels by which the right Prometheus finds them.
    #[serde(default)]
    #[schemars(schema_with = "schema::labels")]
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
    { "rule": "!has(self.id) || (has(self.repository) && !has(self.pointInTime))", "message": "give id only with repository, and without pointInTime" }]))]
pub struct RestoreSource {
    /// A Backup in this namespace.
    pub backup: Option<ObjectName>,
    /// The BackupRepository with backups of an instance, which need not exist any more.
    pub repository: Option<ObjectName>,
    /// The instance that was backed up: its name, or its UID where several had that name.
    pub instance: Option<BackedUpInstance>,
    /// Which of its backups; where left out, the newest not known to be damaged.
    #[schemars(length(max = 26), extend("x-kubernetes-validations" = [schema::a_backup_id()]))]
    pub id: Option<String>,
    /// The moment to go back to.
    #[schemars(length(max = 40), extend("x-kubernetes-validations" = [schema::a_moment()]))]
    pub point_in_time: Option<String>,
    /// A Secret with `identity`, the private key, and `kit`, the recovery kit, where the repository lost its slots.
    pub identity: Option<LocalRef>,
}

/// An instance as a backup repository knows it.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [
    { "rule": "has(self.name) || has(self.uid)", "message": "give name or uid" }]))]
pub struct BackedUpInstance {
    /// Its name.
    pub name: Option<InstanceName>,
    /// Its namespace, where another of that name was backed up too.
    pub namespace: Option<NamespaceName>,
    /// Its UID.
    #[schemars(length(min = 1, max = 64))]
    pub uid: Option<String>,
}

/// Who may connect.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Network {
    /// Make a NetworkPolicy that lets in only `allowFrom`, the instance's own pods and Midship.
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
    pub window: Cron,
    /// How long it stays open.
    pub duration: Duration,
    /// Time zone of `window`, such as Europe/Berlin; UTC where left out.
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,
}
