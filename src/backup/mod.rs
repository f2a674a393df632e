//! Backups: what is stored, how it is proven, and how it comes back. A library without cluster, agent or command line: they
//! hand in streams and stores.

pub mod digest;
pub mod id;
pub mod secret;
pub mod store;
