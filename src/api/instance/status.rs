//! What Midship says of an instance: what was decided, what runs, how to connect.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::api::conditions::Condition;
use crate::api::packed::Packed;
use crate::api::schema;
use crate::names::ObjectName;

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
    /// What was decided for all that the spec leaves out.
    pub resolved: Option<Resolved>,
    /// How clients connect.
    pub connection: Option<Connection>,
    /// Each pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<Member>,
    /// Each component's configuration: its revision, and how the last change ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub configuration: Vec<ConfigurationStatus>,
    /// The Operation that works on the instance now.
    pub operation: Option<String>,
    /// The latest backups.
    pub backup: Option<BackupSummary>,
    /// What is well and what is not: Ready, Reconciling, Stalled and others.
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
    /// The middleware version that runs; during an upgrade not yet the spec's.
    pub version: Option<String>,
    /// The extension version that is in force.
    pub extension_version: Option<String>,
    /// Where an upgrade leads that is under way.
    pub target: Option<UpgradeTarget>,
    /// The BackupPolicy that the instance names, or its repository for it.
    pub backup_policy: Option<ObjectName>,
    /// Replicas, resources, storage and parameters of each component.
    #[serde(default)]
    #[schemars(schema_with = "schema::any_object")]
    pub components: Option<Packed>,
}

/// The versions an upgrade leads to.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpgradeTarget {
    /// The middleware version.
    pub version: Option<String>,
    /// The extension version.
    pub extension_version: Option<String>,
}

/// How clients connect.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    /// The host name inside the cluster.
    pub host: Option<String>,
    /// The port.
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
    /// The component it belongs to.
    pub component: String,
    /// Its confirmed role.
    pub role: Option<String>,
    /// Whether it serves.
    pub ready: bool,
    /// The node it runs on.
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
    /// The component.
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
