//! Backups: what is stored, how it is proven, and how it comes back. A library without cluster, agent or command line: they
//! hand in streams and stores.
//!
//! | room | what it is for |
//! |---|---|
//! | `store` | where objects lie: buckets, folders |
//! | `layout`, `document`, `manifest`, `repository` | what lies where, and who signed it |
//! | `keys` | encryption, signatures, epochs, the recovery kit |
//! | `write` | making a backup; its order of writes is the protocol |
//! | `read` | the catalog, chains, restoring |
//! | `log` | archived logs |
//! | `replay` | which backup is put back, and what of its log after it |
//! | `verify`, `sweep`, `locks`, `wish` | proving, removing, keeping locked, and what people want kept |

pub mod clock;
pub mod digest;
pub mod document;
pub mod id;
pub mod keys;
pub mod layout;
pub mod locks;
pub mod log;
pub mod manifest;
pub mod read;
pub mod replay;
pub mod repository;
pub mod store;
pub mod sweep;
#[cfg(test)]
pub(crate) mod tests;
pub mod verify;
pub mod wish;
pub mod words;
pub mod write;
