//! What the controller offers and holds: health, metrics, webhooks, logs, the leader's lease.

mod backup_metrics;
mod connections;
pub mod health;
pub mod lease;
pub mod metrics;
pub mod metrics_server;
pub mod telemetry;
mod volume_metrics;
pub mod webhook;
