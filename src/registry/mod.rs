//! Packages of extensions in an OCI registry: one blob per file, named as in the package, so that `oras push` and
//! `oras pull` make and read the same artifact.

mod artifact;
mod client;
mod login;
mod reference;

pub use artifact::{Artifact, TYPE};
pub use client::{Access, Registry, Settings};
pub use login::Login;
pub use reference::{Reference, SCHEME};

/// Why a registry did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("{text:?} names no package in a registry: {reason}")]
    Reference { text: String, reason: &'static str },
    #[error("{registry} cannot be reached: {reason}")]
    Unreachable { registry: String, reason: String },
    #[error("{0} is not there")]
    Missing(String),
    #[error("{registry} refuses: {said}")]
    Refused { registry: String, said: String },
    #[error("{registry} answered {status}: {said}")]
    Answer { registry: String, status: u16, said: String },
    #[error("{registry} answered what no registry answers: {reason}")]
    Nonsense { registry: String, reason: String },
    #[error("{reference} is no package: {reason}")]
    NotAPackage { reference: String, reason: String },
    #[error("{what} has the digest {found}, but {wanted} was asked for")]
    Digest { what: String, wanted: String, found: String },
    #[error("{what} is larger than {most} bytes")]
    TooLarge { what: String, most: usize },
    #[error("{place}: {reason}")]
    Login { place: String, reason: String },
    #[error("the settings of the connection are wrong: {0}")]
    Settings(String),
}
