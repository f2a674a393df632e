//! `BackupRepository`: where backups live.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::conditions::Condition;
use super::schema;
use super::values::{Duration, LocalRef, Quantity};
use crate::names::{ObjectName, form};

/// A store, who can read what is in it, and how much of it may be used.
#[skip_serializing_none]
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "midship.dev",
    version = "v1alpha1",
    kind = "BackupRepository",
    plural = "backuprepositories",
    namespaced,
    status = "BackupRepositoryStatus",
    shortname = "repo",
    category = "midship",
    derive = "PartialEq",
    doc = "A place where backups live: S3 or a compatible store, or a file system.",
    printcolumn(name = "Store", type_ = "string", json_path = ".status.store"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Backups", type_ = "integer", json_path = ".status.backups"),
    printcolumn(name = "Size", type_ = "string", json_path = ".status.size"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Encrypted", type_ = "boolean", json_path = ".status.encrypted", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    { "rule": "has(self.s3) != has(self.filesystem)", "message": "give s3 or filesystem, exactly one" },
    { "rule": "has(self.s3) == has(oldSelf.s3)", "message": "a repository stays on its kind of store: make a new one" }]))]
pub struct BackupRepositorySpec {
    /// S3 or a compatible store.
    pub s3: Option<S3Store>,
    /// A file system: a claim or NFS.
    pub filesystem: Option<FilesystemStore>,
    /// Who can read the backups. There is no default key.
    pub encryption: Encryption,
    /// ReadWrite (assumed), or ReadOnly: for restoring from another cluster's backups.
    pub access: Option<Access>,
    /// What backups may use.
    pub limits: Option<RepositoryLimits>,
    /// How often the store is looked through; 24h where left out.
    pub list_interval: Option<Duration>,
}

/// S3 or a compatible store.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    { "rule": schema::unchanged(&["bucket"], &["prefix"]),
      "message": "bucket and prefix cannot be changed, the backups are there: make a new repository" },
    { "rule": "has(self.credentials) != (has(self.webIdentity) && self.webIdentity)", "message": "give credentials, or webIdentity: true, and not both" }]))]
pub struct S3Store {
    /// Bucket.
    #[schemars(length(max = 63), extend("x-kubernetes-validations" = [form(
        r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", "a bucket name of 3 to 63 lower-case letters, digits, '-' and '.'")]))]
    pub bucket: String,
    /// Folder in the bucket.
    #[schemars(length(max = 512), extend("x-kubernetes-validations" = [schema::a_relative_path()]))]
    pub prefix: Option<String>,
    /// Region; us-east-1 where left out.
    #[schemars(length(min = 1, max = 64))]
    pub region: Option<String>,
    /// Address of the store; AWS's own where left out.
    #[schemars(length(max = 1024), extend("x-kubernetes-validations" = [schema::a_web_address()]))]
    pub endpoint: Option<String>,
    /// Put the bucket into the path instead of the host name, as most compatible stores want it.
    pub path_style: Option<bool>,
    /// A Secret with `accessKeyId`, `secretAccessKey` and, where needed, `sessionToken`.
    pub credentials: Option<LocalRef>,
    /// Take the identity of the pod's ServiceAccount.
    pub web_identity: Option<bool>,
    /// A Secret with `ca.crt`, for a store with a certificate of its own.
    pub ca: Option<LocalRef>,
    /// Send checksums as newer stores want it (`WhenSupported`), or only where the protocol demands it; then all is read again.
    pub checksums: Option<Checksums>,
    /// Lock what is written against deletion, in a bucket that was made with object lock; not locked where left out, unless
    /// the bucket has a rule of its own.
    pub lock: Option<ObjectLock>,
}

/// How what is written is locked: nobody deletes it before, neither retention nor somebody with stolen credentials.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectLock {
    /// For how long from when it is written, such as 35d; what is kept for longer is locked for longer.
    pub period: Duration,
    /// Governance (assumed): those with s3:BypassGovernanceRetention may delete; Compliance: nobody may, whatever happens.
    pub mode: Option<LockMode>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LockMode {
    Governance,
    Compliance,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Checksums {
    WhenSupported,
    WhenRequired,
}

/// A file system.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    { "rule": "has(self.claim) != has(self.nfs)", "message": "give claim or nfs, exactly one" },
    { "rule": "self == oldSelf", "message": "the place cannot be changed, the backups are there: make a new repository" }]))]
pub struct FilesystemStore {
    /// A PersistentVolumeClaim that several pods can mount.
    pub claim: Option<ObjectName>,
    /// An NFS export.
    pub nfs: Option<Nfs>,
    /// Folder in it.
    #[schemars(length(max = 512), extend("x-kubernetes-validations" = [schema::a_relative_path()]))]
    pub path: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Nfs {
    /// The server's name or address.
    #[schemars(length(min = 1, max = 253))]
    pub server: String,
    /// The exported folder.
    #[schemars(length(max = 1024), extend("x-kubernetes-validations" = [form(r"^/\S*$", "the exported path, which starts with '/'")]))]
    pub path: String,
}

/// Who can read the backups.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    { "rule": "(has(self.recipients) && size(self.recipients) > 0) != (has(self.disabled) && self.disabled)",
      "message": "name the recipients (age public keys), or say disabled: true" }]))]
pub struct Encryption {
    /// Public keys of age. Their private keys need not be in the cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "set"), extend("items" = schema::texts(62, &form(
        r"^age1[02-9ac-hj-np-z]{58}$", "an age public key: age1 and 58 characters, as age-keygen prints it (never the private key)"))))]
    pub recipients: Vec<String>,
    /// Store backups in the clear.
    pub disabled: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Access {
    ReadWrite,
    ReadOnly,
}

/// What backups may use.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RepositoryLimits {
    /// Bytes per second, for each backup.
    pub bandwidth: Option<Quantity>,
    /// Backups at the same time.
    #[schemars(range(min = 1, max = 100))]
    pub concurrency: Option<i32>,
}

/// What was found in the store.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupRepositoryStatus {
    /// The generation of the spec that was last looked at.
    pub observed_generation: Option<i64>,
    /// The store in short, such as s3://bucket/prefix.
    pub store: Option<String>,
    /// Identity of the repository in the store.
    pub uuid: Option<String>,
    /// The key the repository is signed with: what a recovery kit has to say as well.
    pub signer: Option<String>,
    /// The epoch that new backups are encrypted to.
    pub epoch: Option<String>,
    /// What the store can do, as it was tried.
    pub capabilities: Option<Capabilities>,
    /// Backups in it.
    pub backups: Option<i32>,
    /// Their size.
    pub size: Option<String>,
    /// Whether they are encrypted.
    pub encrypted: Option<bool>,
    /// What is well and what is not: Ready, Reconciling, Stalled and others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// What a store can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// It refuses to write over an object when asked to.
    pub conditional_create: bool,
    /// It keeps old versions.
    pub versioning: bool,
    /// It can lock objects against deletion.
    pub object_lock: bool,
}
