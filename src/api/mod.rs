//! The objects of `midship.dev/v1alpha1`: one file per kind, and what they share.

pub mod backup;
pub mod backup_policy;
pub mod backup_repository;
pub mod component;
pub mod conditions;
pub mod extension;
pub mod git_source;
pub mod instance;
pub mod kinds;
pub mod labels;
pub mod operation;
pub mod packed;
pub mod pod_report;
pub mod pod_set;
pub mod schema;
pub mod values;

pub use backup::{Backup, BackupSpec, BackupStatus};
pub use backup_policy::{BackupPolicy, BackupPolicySpec, BackupPolicyStatus};
pub use backup_repository::{BackupRepository, BackupRepositorySpec, BackupRepositoryStatus};
pub use component::{Component, ComponentSpec, ComponentStatus};
pub use extension::{Extension, ExtensionSpec, ExtensionStatus};
pub use git_source::{GitSource, GitSourceSpec, GitSourceStatus};
pub use instance::{Instance, InstanceSpec, InstanceStatus};
pub use kinds::{Kind, crds};
pub use operation::{Operation, OperationSpec, OperationStatus};
pub use pod_set::{PodSet, PodSetSpec, PodSetStatus};

/// The API group of every kind of ours.
pub const GROUP: &str = "midship.dev";
/// The version that is served and stored.
pub const VERSION: &str = "v1alpha1";
/// `apiVersion` as it stands in a manifest.
pub const API_VERSION: &str = "midship.dev/v1alpha1";
