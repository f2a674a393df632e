//! From the files of a repository to the objects they define, and from those to what has to be done in the cluster.

pub mod adopt;
pub mod contest;
pub mod differences;
pub mod manifest;
pub mod object;
pub mod once;
mod reach;
pub mod reserved;
pub mod settings;
pub mod sync;
pub mod unknown;

pub use manifest::{AUDIT_KEY, Manifest, Placement, Reading, read};
pub use object::{ObjectId, ObjectKind, source_label};
pub use settings::RepositorySettings;
pub use sync::{Action, Desired, Live, Plan, Prune, Refused, Situation, What, plan};
pub use unknown::Unknown;
