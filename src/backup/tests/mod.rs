//! The whole of it at work: repositories in memory, with faults where one wants them and a clock that is set.

mod faults;
mod interleaved;
mod keys;
mod killed;
mod listings;
mod locked;
mod logs;
mod lost_keys;
mod tampered;
pub mod world;
mod wrong;
