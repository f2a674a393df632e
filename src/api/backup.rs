//! `Backup`: a backup that was found in a repository. The repository is the truth; this shows it.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::conditions::Condition;
use super::instance::BackedUpInstance;
use super::operation::BackupType;
use super::schema;
use crate::names::ObjectName;

/// Which backup this is.
#[skip_serializing_none]
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "midship.dev",
    version = "v1alpha1",
    kind = "Backup",
    plural = "backups",
    namespaced,
    status = "BackupStatus",
    shortname = "bak",
    category = "midship",
    derive = "PartialEq",
    doc = "A backup that was found in a repository. Deleting this object deletes no data; expiry and `midship backup prune` do.",
    printcolumn(name = "Instance", type_ = "string", json_path = ".spec.instance.name"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Verified", type_ = "string", json_path = ".status.verified"),
    printcolumn(name = "Age", type_ = "date", json_path = ".status.completedAt"),
    printcolumn(name = "Type", type_ = "string", json_path = ".status.type", priority = 1),
    printcolumn(name = "Size", type_ = "string", json_path = ".status.size", priority = 1),
    printcolumn(name = "Repository", type_ = "string", json_path = ".spec.repository", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    { "rule": "self.repository == oldSelf.repository && self.id == oldSelf.id && self.instance == oldSelf.instance",
      "message": "a backup cannot become another one; only hold and labels can be changed" }]))]
pub struct BackupSpec {
    /// The BackupRepository in the same namespace.
    pub repository: ObjectName,
    /// Its identity in the repository.
    #[schemars(length(max = 26), extend("x-kubernetes-validations" = [schema::a_backup_id()]))]
    pub id: String,
    /// The instance that was backed up.
    pub instance: BackedUpInstance,
    /// True keeps retention from removing it, false lets it; where left out, what the repository has stands.
    pub hold: Option<bool>,
    /// Labels in place of those the repository has, by which retention can keep; where left out, those stand.
    #[serde(default)]
    #[schemars(schema_with = "schema::labels")]
    pub labels: Option<BTreeMap<String, String>>,
}

/// What the repository says of it.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupStatus {
    /// The generation of the spec that was last looked at.
    pub observed_generation: Option<i64>,
    /// Where it stands; Damaged has failed verification, Expiring is about to be removed.
    pub phase: Option<BackupPhase>,
    /// Full or Incremental.
    #[serde(rename = "type")]
    pub type_: Option<BackupType>,
    /// Method, as the extension names it.
    pub method: Option<String>,
    /// The backup this one adds to.
    pub parent: Option<String>,
    /// When it started.
    #[schemars(extend("format" = "date-time"))]
    pub started_at: Option<String>,
    /// When it was committed.
    #[schemars(extend("format" = "date-time"))]
    pub completed_at: Option<String>,
    /// Bytes in the repository, for people.
    pub size: Option<String>,
    /// Bytes before compression.
    pub source_bytes: Option<i64>,
    /// Bytes in the repository.
    pub stored_bytes: Option<i64>,
    /// How well it is proven: Committed, Listed, Read or Restored.
    pub verified: Option<Verified>,
    /// When that was proven.
    #[schemars(extend("format" = "date-time"))]
    pub verified_at: Option<String>,
    /// Why it failed, or what is wrong with it.
    pub message: Option<String>,
    /// Whether retention leaves it alone.
    pub held: Option<bool>,
    /// Its labels.
    #[serde(default)]
    #[schemars(schema_with = "schema::labels")]
    pub labels: Option<BTreeMap<String, String>>,
    /// When retention will remove it.
    #[schemars(extend("format" = "date-time"))]
    pub expires_at: Option<String>,
    /// What is well and what is not: Ready, Reconciling, Stalled and others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BackupPhase {
    Running,
    Completed,
    Failed,
    Damaged,
    Expiring,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Verified {
    Committed,
    Listed,
    Read,
    Restored,
}
