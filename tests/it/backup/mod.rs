//! Backups against real stores: two S3 servers that have nothing in common, a file system, and the programs a person has.

mod by_hand;
#[path = "../../../src/backup/store/conformance.rs"]
mod conformance;
mod faults;
mod life;
mod locks;
pub mod proxy;
pub mod servers;
mod stores;

/// What the conformance calls a store.
mod subject {
    pub use midship::backup::digest::Digest;
    pub use midship::backup::store::probe::probe;
    pub use midship::backup::store::*;
}
