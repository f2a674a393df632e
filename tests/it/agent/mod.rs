//! The agent as it runs in pods: the real program with real processes, as an ordinary process and as PID 1.
#![allow(clippy::unwrap_used)]

mod api;
mod backup;
mod configuration;
mod control;
mod copy;
pub mod drivers;
mod exec;
mod frugal;
mod fuse;
mod life;
mod output;
mod pod;
mod readiness;
mod tree;
