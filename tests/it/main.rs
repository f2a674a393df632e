//! The integration tests, in one binary. Modules named `api` need an API server; the harness finds or starts one.

mod api;
mod chart;
mod harness;
mod layers;
