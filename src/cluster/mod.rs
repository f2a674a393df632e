//! Kubernetes at the edge: connecting, watching, applying, telling. Nothing is decided here.

pub mod access;
pub mod cache;
pub mod client;
pub mod discovery;
pub mod events;
mod guard;
pub mod parts;
pub mod problem;
mod proxy;
pub mod rate_limit;
pub mod scope;
pub mod secrets;
pub mod slim;
pub mod watching;

pub use cache::{Cache, Key};
pub use parts::Parts;
pub use scope::Scope;
