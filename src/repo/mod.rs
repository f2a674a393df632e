//! Git: remotes, fetching, reading trees and files, audit commits. Knows nothing of Kubernetes.
//!
//! Everything here blocks; call it from a thread that may (`spawn_blocking`).

mod bounds;
mod cache;
mod commit;
mod credentials;
mod error;
mod fetch;
mod listing;
mod local;
mod parse;
mod remote;
mod resolve;
mod transport;
mod tree;
mod url;
mod walk;

#[cfg(test)]
mod cache_tests;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod walk_tests;

pub use gix::ObjectId;

pub use bounds::Bounds;
pub use cache::{Cache, CacheError, Fetched};
pub use commit::{Commit, Person};
pub use credentials::{Access, ClientCertificate, Credentials, CredentialsError, Proxy, Secret};
pub use error::RemoteError;
pub use listing::{Change, Code, File, Listing, Refusal};
pub use local::{LocalError, LocalRepository};
pub use parse::{Document, ParseLimits, Places, Position, Problem, ProblemCode, parse};
pub use remote::{Remote, Session};
pub use resolve::{Follow, ResolveError, Resolved};
pub use tree::{CommitTree, FileTree, FolderTree, MemoryTree, TreeError, blob_id};
pub use url::{RemoteUrl, UrlError};
pub use walk::Limits;
