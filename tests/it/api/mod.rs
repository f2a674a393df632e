//! Tests that need an API server and nothing else: what it accepts, what it refuses and how it says so.

mod agents;
mod backup;
mod chart;
mod cli;
mod cluster;
pub mod controller;
mod doctor;
mod extension;
pub mod git_source;
mod harness;
mod instance;
mod kubectl;
mod plugin;
mod pod_set;
mod readme;
mod refused;
mod samples;
