//! Drivers: the generic ways in which steps reach a middleware. They know protocols and never products.

mod container;
mod file;
mod http;
mod live;
mod net;
mod postgres;
mod resp;
mod tcp;
mod tls;

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use serde_json::Value;
use tokio::time::Instant;

use crate::extension::contract::step::ProcessStep;

pub use container::last_words;
pub use file::Places;
pub use live::Live;

/// What a step wants, with every template rendered. It may hold secrets, so it cannot be printed.
pub enum Call {
    Exec(ExecCall),
    Http(HttpCall),
    Tcp(TcpCall),
    Signal(String),
    Process(ProcessStep),
    File(FileCall),
    Resp(RespCall),
    Postgres(PostgresCall),
}

/// A command in the middleware's container.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ExecCall {
    pub command: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub stdin: Option<String>,
}

/// A server; the pod itself where no host is named.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    pub host: Option<String>,
    pub port: u16,
}

pub struct HttpCall {
    pub target: Target,
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
    /// A text as it is, anything else as JSON.
    pub body: Option<Value>,
    pub login: bool,
    /// Whether the server speaks TLS.
    pub secure: bool,
}

pub struct TcpCall {
    pub target: Target,
    pub send: Option<String>,
    pub read: Option<u32>,
    /// Whether the server speaks TLS.
    pub secure: bool,
}

pub struct FileCall {
    pub path: String,
    pub does: FileDoes,
}

pub enum FileDoes {
    Read,
    Write { content: String, mode: Option<String> },
    Remove,
}

pub struct RespCall {
    pub target: Target,
    pub command: Vec<String>,
    pub login: bool,
}

pub struct PostgresCall {
    pub target: Target,
    pub sql: String,
    pub values: Vec<Value>,
    pub database: Option<String>,
}

impl Call {
    pub fn driver(&self) -> &'static str {
        match self {
            Self::Exec(_) => "exec",
            Self::Http(_) => "http",
            Self::Tcp(_) => "tcp",
            Self::Signal(_) => "signal",
            Self::Process(_) => "process",
            Self::File(_) => "file",
            Self::Resp(_) => "resp",
            Self::Postgres(_) => "postgres",
        }
    }
}

/// What belongs together: steps of one session that speak to the same server share a connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Session {
    /// Questions asked again and again; its connections last.
    Probe,
    /// One run of an action; its connections end with it.
    Run(u64),
    /// What begins in one action and ends in another, such as a freeze.
    Named(String),
}

/// Why a driver could not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct DriverError {
    pub reason: String,
}

impl DriverError {
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

pub type Answer = Result<Value, DriverError>;

/// All drivers together. The caller gives a call up at its deadline by dropping it: what it began is then ended. The
/// deadline is for those who can tell the other side.
pub trait Drivers: Send + Sync {
    fn call<'a>(&'a self, session: &'a Session, call: Call, deadline: Instant) -> BoxFuture<'a, Answer>;

    /// Closes the connections of a session.
    fn end(&self, session: &Session);
}
