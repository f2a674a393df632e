//! The process manager that is PID 1 in the middleware's container. It starts the process, stops, restarts and reloads
//! it on request, starts it again after a crash, reaps orphans, and tells over a local socket how things stand.
//!
//! `state` decides; everything else is the edge around it: one loop over `poll`, no threads but the one that writes
//! output files and the one that watches the fuse, and little memory.

mod carry_out;
mod checks;
pub mod config;
mod control;
mod exec;
mod fence;
mod helper;
mod log;
mod log_file;
mod memory;
mod output;
mod own_files;
mod probe;
mod program;
pub mod protocol;
mod readiness;
mod record;
mod requests;
pub mod signals;
pub mod state;
mod supervisor;
mod sys;
mod tree;
mod watch;

pub use supervisor::{Options, run};
pub use sys::boottime;
