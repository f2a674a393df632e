//! `GitSource`: a repository being reconciled.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_with::skip_serializing_none;

use super::conditions::Condition;
use super::schema;
use super::values::{Duration, LocalRef, Quantity};
use crate::names::{CommitId, EnvironmentName, NamespaceName, ObjectName, form};

/// Which repository, what of it, how it may act, and where its record goes.
#[skip_serializing_none]
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "midship.dev",
    version = "v1alpha1",
    kind = "GitSource",
    plural = "gitsources",
    namespaced,
    status = "GitSourceStatus",
    shortname = "gs",
    category = "midship",
    derive = "PartialEq",
    doc = "A Git repository being reconciled: Git proposes, the cluster disposes, Git remembers.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Applied", type_ = "string", json_path = ".status.applied"),
    printcolumn(name = "Synced", type_ = "date", json_path = ".status.appliedAt"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "URL", type_ = "string", json_path = ".spec.url", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    { "rule": "!(has(self.audit) && has(self.audit.branch) && !has(self.audit.url) && has(self.ref) && has(self.ref.branch)) || self.audit.branch != self.ref.branch",
      "message": "audit.branch is the branch that is followed, and that one is never written to: name another" }]))]
pub struct GitSourceSpec {
    /// Address of the repository: `https://…`, `ssh://…` or `user@host:path`, without credentials in it.
    #[schemars(length(max = 1024), extend("x-kubernetes-validations" = [schema::a_repository(), schema::no_secret_inside()]))]
    pub url: String,
    /// What to follow; the branch the repository calls its default where left out.
    #[serde(rename = "ref")]
    pub ref_: Option<GitRef>,
    /// Folder to reconcile; the whole repository where left out. Several clusters share a repository by a path each.
    #[schemars(length(max = 512), extend("x-kubernetes-validations" = [schema::a_relative_path()]))]
    pub path: Option<String>,
    /// How often the repository is asked for something new; 1m where left out. Webhooks make it sooner.
    pub interval: Option<Duration>,
    /// How long one fetch or push may take; 1m where left out.
    pub timeout: Option<Duration>,
    /// Nothing is fetched or applied while this is true.
    pub suspend: Option<bool>,
    /// A Secret with what the repository asks for: `username` and `password`, or `token`; `ca.crt`; `tls.crt` and
    /// `tls.key`; for SSH `identity` and `known_hosts`.
    pub credentials: Option<LocalRef>,
    /// A proxy for HTTPS, to this repository and to that of the record.
    pub proxy: Option<Proxy>,
    /// Which commits are trusted.
    pub verification: Option<Verification>,
    /// Namespaces it may write to; its own alone where left out, every one with `*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("items" = schema::texts(63, &form(
        r"^([*]|[a-z0-9]([-a-z0-9]*[a-z0-9])?)$", "names of namespaces, or * for every one"))), extend("x-kubernetes-list-type" = "set"))]
    pub namespaces: Vec<String>,
    /// Namespace of objects that name none, outside `instances/<namespace>/`; the source's own where left out.
    pub default_namespace: Option<NamespaceName>,
    /// ServiceAccount in the source's namespace as whom it acts; Midship's own where left out.
    pub service_account_name: Option<ObjectName>,
    /// Environment whose defaults apply to instances that name none.
    pub environment: Option<EnvironmentName>,
    /// What happens to objects whose file is gone.
    pub prune: Option<Prune>,
    /// What happens when somebody changes an applied object: Revert (assumed) changes it back, Report leaves it, Adopt
    /// commits the change to a branch for a pull request.
    pub drift: Option<Drift>,
    /// What happens to a field that another manager owns: it is reported, or taken over.
    pub conflicts: Option<Conflicts>,
    /// Do not apply a commit that does not follow from the applied one.
    pub require_fast_forward: Option<bool>,
    /// What happens to applied objects when this source is deleted: they stay (assumed), or go with it.
    pub deletion_policy: Option<SourceDeletionPolicy>,
    /// The record of what was applied.
    pub audit: Option<Audit>,
    /// A Secret with age identities (`*.agekey`) that decrypt SOPS files.
    pub decryption: Option<LocalRef>,
    /// Push webhooks: a hint to look now.
    pub webhook: Option<Webhook>,
    /// Plans on pull requests and statuses on commits. It is accepted and not acted on yet, which the condition
    /// ForgeReports says.
    pub forge: Option<Forge>,
    /// What a repository may cost.
    pub limits: Option<Limits>,
}

/// What to follow.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [
    { "rule": "[has(self.branch), has(self.tag), has(self.semver), has(self.commit)].exists_one(given, given)",
      "message": "give exactly one of branch, tag, semver and commit" }]))]
pub struct GitRef {
    /// A branch.
    #[schemars(length(max = 255), extend("x-kubernetes-validations" = [schema::a_git_name()]))]
    pub branch: Option<String>,
    /// A tag.
    #[schemars(length(max = 255), extend("x-kubernetes-validations" = [schema::a_git_name()]))]
    pub tag: Option<String>,
    /// The highest tag in a range, such as `>=1.2, <2`.
    #[schemars(length(min = 1, max = 255))]
    pub semver: Option<String>,
    /// One commit.
    pub commit: Option<CommitId>,
}

#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Proxy {
    /// Address of the proxy.
    #[schemars(length(max = 1024), extend("x-kubernetes-validations" = [schema::a_web_address()]))]
    pub url: String,
    /// A Secret with `username` and `password`.
    pub credentials: Option<LocalRef>,
}

/// Which commits are trusted.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// A Secret with `allowed_signers` (SSH) or `*.asc` (GPG public keys).
    pub signers: LocalRef,
    /// Folders to which this applies; everything where left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("items" = schema::texts(512, &schema::a_relative_path())))]
    pub paths: Vec<String>,
}

/// What happens to objects whose file is gone.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Prune {
    /// Delete them (assumed), or leave them where they are.
    pub enabled: Option<bool>,
    /// Deletions one commit may cause; more are held until somebody agrees. 10 where left out.
    #[schemars(range(min = 0, max = 100_000))]
    pub max_count: Option<i32>,
    /// The same as a share of the applied objects; 30 where left out. At least one deletion is always within the share.
    #[schemars(range(min = 0, max = 100))]
    pub max_percent: Option<i32>,
}

// No doc comment: it would be shown in place of what the field of this type says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Drift {
    Revert,
    Report,
    Adopt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Conflicts {
    Report,
    TakeOver,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SourceDeletionPolicy {
    Orphan,
    Delete,
}

/// The record of what was applied.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Audit {
    /// Write audit commits (assumed), or not.
    pub enabled: Option<bool>,
    /// Branch; `midship/audit/<cluster>` where left out.
    #[schemars(length(max = 255), extend("x-kubernetes-validations" = [schema::a_git_name()]))]
    pub branch: Option<String>,
    /// Another repository for the record.
    #[schemars(length(max = 1024), extend("x-kubernetes-validations" = [schema::a_repository(), schema::no_secret_inside()]))]
    pub url: Option<String>,
    /// Credentials of that repository, or ones that may push to this one.
    pub credentials: Option<LocalRef>,
    /// A Secret with `identity`, an SSH private key that signs the commits.
    pub signing_key: Option<LocalRef>,
    /// Name in the commits; Midship where left out.
    #[schemars(length(min = 1, max = 128))]
    pub author_name: Option<String>,
    /// Address in the commits.
    #[schemars(length(max = 254), extend("x-kubernetes-validations" = [form(r"^[^@\s<>]+@[^@\s<>]+$", "an address such as midship@example.com")]))]
    pub author_email: Option<String>,
}

/// Push webhooks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Webhook {
    /// A Secret with `secret`, which signs each delivery.
    pub secret: LocalRef,
}

/// The forge that hosts the repository.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Forge {
    /// What kind of forge it is.
    pub provider: ForgeProvider,
    /// Address of its API, where it is not on the repository's host.
    #[schemars(length(max = 1024), extend("x-kubernetes-validations" = [schema::a_web_address()]))]
    pub url: Option<String>,
    /// A Secret with `token`.
    pub credentials: LocalRef,
    /// Post the plan of each pull request.
    pub pull_requests: Option<bool>,
    /// Set a status on each commit.
    pub commit_status: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ForgeProvider {
    GitHub,
    GitLab,
    Gitea,
}

/// What a repository may cost.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Size of what one fetch may bring; 256Mi where left out.
    pub fetch_size: Option<Quantity>,
    /// Size of one file; 1Mi where left out.
    pub file_size: Option<Quantity>,
    /// Size of any one object of the repository, also of files that are not read; 64Mi where left out.
    pub object_size: Option<Quantity>,
    /// Number of files and folders; 100000 where left out.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub files: Option<i32>,
}

/// Where the source stands.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GitSourceStatus {
    /// The generation of the spec that was last looked at.
    pub observed_generation: Option<i64>,
    /// The request in the annotation midship.dev/reconcile-at that was last looked after.
    #[schemars(length(max = 64))]
    pub handled_reconcile_at: Option<String>,
    /// What is applied, as `branch@commit` in short.
    pub applied: Option<String>,
    /// The commit that is applied.
    pub applied_commit: Option<String>,
    /// Since when.
    #[schemars(extend("format" = "date-time"))]
    pub applied_at: Option<String>,
    /// The commit that was last fetched.
    pub fetched_commit: Option<String>,
    /// The commit whose application began, until that is recorded.
    pub applying: Option<Applying>,
    /// What was counted at the last sync.
    pub counts: Option<SyncCounts>,
    /// What the repository's midship.yaml says of environments; instances are resolved with it.
    pub settings: Option<AppliedSettings>,
    /// Files and objects that are not applied, and why; the first fifty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FileError>,
    /// Deletions that wait, and for whom where somebody else needs the object; the first fifty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<String>,
    /// Objects that somebody changed, and who; the first fifty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drifted: Vec<DriftedObject>,
    /// The record.
    pub audit: Option<AuditStatus>,
    /// What is well and what is not: Ready, Reconciling, Stalled and others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// A commit whose application began.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Applying {
    /// The commit.
    pub commit: String,
    /// The one that was fetched before it.
    pub previous: Option<String>,
    /// Those that began between the two, and that no record tells of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unrecorded: Vec<String>,
}

/// What a repository's midship.yaml says of environments.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AppliedSettings {
    /// The environment of instances that name none, by namespace.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub namespaces: BTreeMap<String, String>,
    /// What instances get where they say nothing, by environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::any_object")]
    pub environments: BTreeMap<String, Value>,
}

/// What was counted at a sync.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SyncCounts {
    /// Files that were read.
    pub files: u32,
    /// Objects they define.
    pub objects: u32,
    /// Objects that are as the repository says.
    pub applied: u32,
    /// Objects that could not be applied.
    pub failed: u32,
    /// Objects that wait: their deletion is held.
    pub held: u32,
}

/// Why a file or one of its objects is not applied.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileError {
    /// The file.
    pub path: String,
    /// The line, from 1.
    pub line: Option<u32>,
    /// The column, from 1.
    pub column: Option<u32>,
    /// The kind of error in one word, for machines.
    pub code: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// An object that somebody changed.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DriftedObject {
    /// The object, as `kind namespace/name`.
    pub object: String,
    /// The fields that differ.
    pub fields: Vec<String>,
    /// Who changed them, where the API server knows.
    pub manager: Option<String>,
}

/// The state of the record.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditStatus {
    /// The branch it is on.
    pub branch: Option<String>,
    /// The repository that has the branch.
    #[schemars(length(max = 1024))]
    pub repository: Option<String>,
    /// The newest audit commit.
    pub commit: Option<String>,
    /// The newest record, which the next one names as the one before it.
    #[schemars(length(max = 64))]
    pub record: Option<String>,
    /// Somebody took commits off the branch, until somebody agrees to it with the annotation
    /// midship.dev/accept-audit-rewrite.
    pub rewritten: Option<AuditRewrite>,
    /// Records that wait to be pushed.
    pub queued: Option<u32>,
    /// Why they wait.
    pub message: Option<String>,
}

/// What somebody did to the audit branch.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditRewrite {
    /// The tip that was pushed before and is not on the branch any more.
    pub before: String,
    /// The tip that was found instead; none where the branch was gone.
    pub found: Option<String>,
    /// When that was found.
    #[schemars(extend("format" = "date-time"))]
    pub at: String,
}
