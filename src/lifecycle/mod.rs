//! The lifecycle API between controllers and the agents of pods: its values, its errors, how both sides prove who they
//! are, and the client. The server is in `agent/api`; `docs/agent.md` and `docs/agent-openapi.yaml` explain it to people.

pub mod backup;
mod backup_client;
pub mod backup_messages;
pub mod client;
pub mod identity;
pub mod messages;
pub mod problem;
pub mod tls;
pub mod trust;
pub mod values;

pub use backup::ArchiveStatus;
pub use client::Client;
pub use identity::Peer;
pub use problem::{Code, Problem};
pub use values::{
    Capabilities, Capability, Health, Order, Plea, ProcessResult, Promised, Status, Switched, Task, Transfer,
};

/// What the `.proto` became.
#[allow(clippy::all, clippy::pedantic, clippy::unwrap_used)]
pub mod proto {
    tonic::include_proto!("midship.lifecycle.v1");
}

/// The code of the REST API, among the metadata of an error of gRPC.
pub const CODE_KEY: &str = "midship-code";
/// What to do about an error, among its metadata.
pub const HINT_KEY: &str = "midship-hint-bin";
/// How long a caller of the REST API waits.
pub const TIMEOUT_HEADER: &str = "midship-timeout";
/// Has a call made once, over the REST API.
pub const KEY_HEADER: &str = "idempotency-key";
/// `true` where an answer is that of an earlier call.
pub const REPLAYED_HEADER: &str = "idempotency-replayed";
