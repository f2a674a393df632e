//! Tests that need an API server and nothing else: what it accepts, what it refuses and how it says so.

mod chart;
mod cli;
mod controller;
mod doctor;
pub mod git_source;
mod harness;
mod plugin;
mod refused;
mod samples;
