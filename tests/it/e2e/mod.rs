//! On a cluster with nodes: Midship as people install it, and real middleware in pods.

mod backup;
mod bench;
mod cluster;
mod databases;
mod foreign;
mod images;
mod installed;
mod operations;
mod pods;
mod roles;
mod secured;
mod stage;
mod topologies;
mod versions;

use std::time::Duration;

/// Deadline of what takes seconds on a machine with nothing else to do.
const SOON: Duration = Duration::from_mins(4);
