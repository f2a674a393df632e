//! What the controller offers and holds: health, metrics, logs, the leader's lease.

pub mod health;
pub mod lease;
pub mod metrics;
pub mod metrics_server;
pub mod telemetry;
