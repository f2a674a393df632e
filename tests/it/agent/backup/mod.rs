//! Backups and restores by the agent: the whole way from a package's method to a repository and back, with real processes.

mod bench;
mod image;
mod incremental;
mod middleware;
mod moments;
mod protocol;
mod stores;
mod throughput;
