//! The network API of an agent: one port, mutual TLS, gRPC for controllers and REST for people and scripts. It knows
//! nothing of what an agent does: whatever implements [`Agent`] is served. `docs/agent.md` explains it to people.

mod calls;
mod capabilities;
mod credentials;
mod deadline;
mod gate;
mod grpc;
mod listen;
mod memory;
mod rest;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::watch;

use crate::lifecycle::backup::{ArchiveOrder, ArchiveStatus, BackupOrder, JobProgress, RestoreOrder};
use crate::lifecycle::{
    Capabilities, Code, Health, Order, Plea, Problem, ProcessResult, Promised, Status, Switched, Task, Transfer,
};

pub use capabilities::capabilities;
pub use credentials::{CredentialsError, identity};
pub use listen::{ServeError, Serving, serve};
pub use rest::ROUTES;

/// What is served.
///
/// Calls are let run to their end: whoever hangs up or waits no longer does not end what he ordered. Each has to end by
/// itself within the time [`Capabilities`] or [`Bounds`] name; after that it is dropped.
pub trait Agent: Send + Sync + 'static {
    /// What the package can do.
    fn capabilities(&self) -> Capabilities;

    /// How the pod is, now and from now on.
    fn status(&self) -> watch::Receiver<Arc<Status>>;

    /// The same, where the process runs with the position it has after the question.
    fn newest(&self) -> impl Future<Output = Status> + Send {
        let status = self.status().borrow().as_ref().clone();
        async { status }
    }

    /// Runs the package's `healthCheck` where there is one.
    fn health(&self) -> impl Future<Output = Result<Health, Problem>> + Send;

    /// Runs what was found among the capabilities; nothing where there was nothing to do.
    fn run(
        &self,
        task: Task,
        parameters: Map<String, Value>,
    ) -> impl Future<Output = Result<Option<Value>, Problem>> + Send;

    fn process(
        &self,
        order: Order,
        kill_after: Option<Duration>,
    ) -> impl Future<Output = Result<ProcessResult, Problem>> + Send;

    /// Hands the exclusive role to the pod `target`, or to the best candidate.
    fn switchover(&self, transfer: Transfer) -> impl Future<Output = Result<Switched, Problem>> + Send;

    /// Whether this pod leaves the role's lease to its holder for a while. Answered at once.
    fn promise(&self, plea: Plea) -> impl Future<Output = Result<Promised, Problem>> + Send;

    /// Begins a backup, or finds the one of the same job; how it goes.
    fn backup(&self, order: BackupOrder) -> impl Future<Output = Result<watch::Receiver<JobProgress>, Problem>> + Send {
        let _ = order;
        async { Err(no_backups()) }
    }

    /// Begins a restore, or finds the one of the same job; how it goes.
    fn restore(
        &self,
        order: RestoreOrder,
    ) -> impl Future<Output = Result<watch::Receiver<JobProgress>, Problem>> + Send {
        let _ = order;
        async { Err(no_backups()) }
    }

    /// Ends a backup or a restore; how it ended.
    fn cancel_backup(&self, job: &str) -> impl Future<Output = Result<JobProgress, Problem>> + Send {
        let _ = job;
        async { Err(no_backups()) }
    }

    /// Whether the checks found restored data whole; false where there was nothing to check.
    fn prove(&self) -> impl Future<Output = Result<bool, Problem>> + Send {
        async { Err(no_backups()) }
    }

    /// Archives from now on, or no more where there is no order.
    fn archive(&self, order: Option<ArchiveOrder>) -> impl Future<Output = Result<ArchiveStatus, Problem>> + Send {
        let _ = order;
        async { Err(no_backups()) }
    }
}

fn no_backups() -> Problem {
    Problem::new(Code::Unsupported, "this agent makes no backups").hint("use a newer agent")
}

/// Where and for whom.
#[derive(Clone, Debug)]
pub struct Settings {
    pub address: SocketAddr,
    /// Holds `tls.crt`, `tls.key` and `ca.crt`; read anew when they change.
    pub certificates: PathBuf,
    /// The name in the certificates of this instance's agents: [`crate::lifecycle::identity::agents_of`].
    pub own_name: String,
    pub bounds: Bounds,
}

/// How much at once, and for how long.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Connections that have not shown a certificate yet: of all, and from one address.
    pub handshakes: usize,
    pub handshakes_of_one: usize,
    pub handshake: Duration,
    /// Connections of controllers, of siblings, and of those who may ask nothing but have to be told so.
    pub controllers: usize,
    pub siblings: usize,
    pub strangers: usize,
    /// After this a connection is ended in peace, so that everybody shows a certificate again.
    pub connection: Duration,
    /// For what is under way on a connection that ends.
    pub farewell: Duration,
    /// For the head of a request, and for its body.
    pub reading: Duration,
    pub body: usize,
    /// Calls that do something, at once.
    pub calls: usize,
    /// Those who follow the status.
    pub followers: usize,
    /// How long orders to the process, a health check and a switchover may take.
    pub process: Duration,
    pub health: Duration,
    pub switchover: Duration,
    /// Answers kept for repeated calls: how many, how large together, how long.
    pub answers: usize,
    pub answer_bytes: usize,
    pub answer_age: Duration,
    /// How often certificates are looked at, at most.
    pub look: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            handshakes: 64,
            handshakes_of_one: 8,
            handshake: Duration::from_secs(5),
            controllers: 16,
            siblings: 32,
            strangers: 4,
            connection: Duration::from_mins(30),
            farewell: Duration::from_secs(10),
            reading: Duration::from_secs(10),
            // orders about backups carry the authorities that are trusted for the store: as many as a system has
            body: 512 << 10,
            calls: 8,
            followers: 8,
            process: Duration::from_mins(15),
            health: Duration::from_secs(30),
            switchover: Duration::from_mins(5),
            answers: 128,
            answer_bytes: 512 << 10,
            answer_age: Duration::from_mins(15),
            look: Duration::from_secs(1),
        }
    }
}
