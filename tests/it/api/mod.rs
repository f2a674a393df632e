//! Tests that need an API server and nothing else: what it accepts, what it refuses and how it says so.

mod agents;
mod chart;
mod controller;
mod doctor;
mod extension;
mod git_source;
mod harness;
mod instance;
mod plugin;
mod refused;
mod samples;
