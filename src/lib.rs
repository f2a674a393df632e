//! Midship: middleware on Kubernetes, with Git as its API. `docs/architecture.md` is the map of these rooms.

pub mod agent;
pub mod api;
pub mod backup;
#[cfg(test)]
mod chance;
pub mod cli;
pub mod cluster;
pub mod controller;
pub mod cue;
pub mod diff;
pub mod extension;
pub mod lifecycle;
pub mod names;
pub mod pki;
pub mod plan;
pub mod registry;
pub mod repo;
pub mod secret;
pub mod serve;
pub mod sops;
pub mod source;
