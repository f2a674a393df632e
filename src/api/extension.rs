//! `Extension`: one installed version of one middleware type. Its contents lie in immutable ConfigMaps and Secrets.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::conditions::Condition;
use super::schema;
use crate::names::{ExtensionType, ExtensionVersion, NamespaceName, ObjectName};

/// Which package this is, and where its files are.
#[skip_serializing_none]
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "midship.dev",
    version = "v1alpha1",
    kind = "Extension",
    plural = "extensions",
    status = "ExtensionStatus",
    shortname = "ext",
    category = "midship",
    derive = "PartialEq",
    doc = "One installed version of one middleware type, named <type>-<version>. A published version never changes.",
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.type"),
    printcolumn(name = "Version", type_ = "string", json_path = ".spec.version"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Instances", type_ = "integer", json_path = ".status.instances"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Runs", type_ = "string", json_path = ".status.summary", priority = 1),
    printcolumn(name = "Digest", type_ = "string", json_path = ".spec.digest", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    { "rule": "self.type == oldSelf.type && self.version == oldSelf.version",
      "message": "an installed version never changes: publish the change under a new version" },
    { "rule": "self.digest == oldSelf.digest",
      "message": "an installed version never changes: publish the change under a new version",
      "messageExpression": "'an installed version never changes: it was installed as ' + oldSelf.digest + ', and this is ' + self.digest + '; publish the change under a new version'" }]))]
pub struct ExtensionSpec {
    /// Kind of middleware.
    #[serde(rename = "type")]
    pub type_: ExtensionType,
    /// Version of the package.
    pub version: ExtensionVersion,
    /// Digest of the package's files, the same wherever it comes from.
    #[schemars(length(max = 71), extend("x-kubernetes-validations" = [schema::a_digest()]))]
    pub digest: String,
    /// The objects that hold the files.
    #[schemars(length(min = 1, max = 64))]
    pub parts: Vec<PackagePart>,
    /// Where the package came from: a repository and commit, or an OCI reference.
    #[schemars(length(max = 512))]
    pub origin: Option<String>,
}

/// An object that holds some of a package's files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PackagePart {
    /// ConfigMap, or Secret for what is secret.
    pub kind: PartKind,
    /// Its namespace.
    pub namespace: NamespaceName,
    /// Its name.
    pub name: ObjectName,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PartKind {
    ConfigMap,
    Secret,
}

/// What the package turned out to be.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExtensionStatus {
    /// The generation of the spec that was last looked at.
    pub observed_generation: Option<i64>,
    /// What it runs, in one line, such as `6.2, 7.0 · standalone, replication`.
    pub summary: Option<String>,
    /// What it says of itself.
    pub description: Option<String>,
    /// Middleware versions it supports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<String>,
    /// Topologies it offers, the default first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topologies: Vec<String>,
    /// Package versions that can be upgraded to this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upgradable_from: Vec<String>,
    /// Instances that use it.
    pub instances: Option<i32>,
    /// What is wrong with it, as `path:line: reason`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
    /// What is well and what is not: Ready, Reconciling, Stalled and others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
