//! The integration tests, in one binary. Modules named `api` need an API server, `e2e` a full cluster; all else runs anywhere.

mod agent;
mod api;
mod backup;
mod chart;
mod cli;
mod cue;
mod definitions;
mod e2e;
mod extension;
mod forge;
mod harness;
mod layers;
mod registry;
mod samples;
mod sops;
