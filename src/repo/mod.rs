//! Git: remotes, fetching, reading trees and files, audit commits. Knows nothing of Kubernetes.
//!
//! Everything here blocks; call it from a thread that may (`spawn_blocking`).

mod audit;
mod bounds;
mod cache;
mod child;
mod commit;
mod credentials;
pub mod documents;
mod draft;
mod error;
mod fetch;
mod history;
mod http_client;
mod listing;
mod parse;
mod push;
mod remote;
mod resolve;
mod session;
mod sign;
mod transport;
mod tree;
mod url;
mod verify;
mod walk;

#[cfg(test)]
mod audit_tests;
#[cfg(test)]
mod cache_tests;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod history_tests;
#[cfg(test)]
mod verify_tests;
#[cfg(test)]
mod walk_tests;

pub use gix::ObjectId;

pub use audit::{Appended, AuditError, AuditLog, RECORD_TRAILER, Record, propose};
pub use bounds::{Bounds, Limits};
pub use cache::{Cache, CacheError, Fetched, follows};
pub use commit::{Commit, Person, short};
pub use credentials::{Access, ClientCertificate, Credentials, CredentialsError, Proxy, Secret};
pub use draft::{Draft, DraftError, Edit};
pub use error::{RemoteError, plain};
pub use history::{History, HistoryError, Touched};
pub use listing::{Change, Code, File, Listing, Refusal, TreeError};
pub use parse::{Document, ParseLimits, Places, Position, Problem, ProblemCode, parse};
pub use push::PushOutcome;
pub use remote::{Remote, Remotes};
pub use resolve::{Follow, ResolveError, Resolved};
pub use session::Session;
pub use sign::{SignError, Signer};
pub use tree::{CommitTree, FileTree, FolderTree, MemoryTree, blob_id};
pub use url::{RemoteUrl, UrlError};
pub use verify::{Signature, TrustedSigners, VerifyError};
