//! What agents are asked and answer, as JSON shows it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use serde_with::skip_serializing_none;

use super::backup::ArchiveStatus;

/// What the holder of the exclusive role asks of others while it cannot renew its lease: not to take it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plea {
    /// The holder, as the lease names it.
    pub pod: String,
    pub uid: String,
    /// The term of the role.
    pub epoch: u64,
    /// From the moment it arrives.
    pub duration: Duration,
}

/// The answer to a plea: this pod does not take the role for as long as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promised {
    pub pod: String,
}

/// How a pod is, as its agent knows it.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    pub pod: String,
    pub namespace: String,
    pub instance: String,
    pub component: String,
    pub group: String,
    /// State of the process, as PID 1 names it; `Unknown` where that cannot be asked.
    pub process: String,
    pub ready: bool,
    /// Why not, or what it waits for.
    pub reason: Option<String>,
    pub pid: Option<u32>,
    /// Starts of the process after the first.
    pub restarts: u64,
    /// The role it was found to have.
    pub role: Option<String>,
    pub role_since: Option<String>,
    /// Whether it holds the lease of the exclusive role.
    pub holder: bool,
    /// The term of the exclusive role it knows of.
    pub epoch: Option<u64>,
    /// The term its data is from; nothing where it never was a member: such a pod never takes the exclusive role over.
    pub data_epoch: Option<u64>,
    /// How far its data reaches; the greater, the newer.
    pub position: Option<i64>,
    /// Whether the position was asked for after the question came, which only agents of the same instance are told.
    pub position_exact: bool,
    /// Bytes of data it is behind.
    pub lag: Option<i64>,
    /// The host it follows.
    pub follows: Option<String>,
    /// Revision of the configuration in effect.
    pub config_revision: Option<String>,
    /// What is configured, but takes effect with the next start of the process.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending_restart: Vec<String>,
    /// Version of the agent.
    pub agent: String,
    /// How archiving the log goes; nothing where nobody asked for it since the agent started.
    pub archive: Option<ArchiveStatus>,
    /// The restore without which the process may not start.
    pub waits_for_restore: Option<String>,
}

impl Status {
    /// Whether there is a process.
    pub fn up(&self) -> bool {
        self.pid.is_some()
    }

    /// Without what changes all the time in a busy pod: whoever follows changes is told of nothing else.
    #[must_use]
    pub fn without_progress(&self) -> Self {
        let archive = self.archive.as_ref().map(|archive| ArchiveStatus {
            last: None,
            last_at: None,
            pending: 0,
            ..archive.clone()
        });
        Self { position: None, position_exact: false, lag: None, archive, ..self.clone() }
    }
}

/// To whom an exclusive role is to go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transfer {
    /// The best candidate where left out.
    pub target: Option<String>,
    /// Go on although it is behind, and lose what it does not have.
    pub force: bool,
}

/// Something the package can do.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capability {
    pub name: String,
    pub description: Option<String>,
    /// It is ended after so long, all attempts together.
    pub timeout_millis: u64,
}

impl Capability {
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_millis)
    }
}

/// What an agent can be asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    pub actions: Vec<Capability>,
    pub operations: Vec<Capability>,
    /// Whether the agents hand out the exclusive role.
    pub switchover: bool,
    /// From the first to be disturbed to the last.
    pub roles: Vec<String>,
    /// Version of the agent.
    pub agent: String,
}

/// An action or operation of the package, to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    Action(String),
    Operation(String),
}

impl Task {
    pub fn name(&self) -> &str {
        match self {
            Self::Action(name) | Self::Operation(name) => name,
        }
    }

    /// `action` or `operation`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Action(_) => "action",
            Self::Operation(_) => "operation",
        }
    }

    /// What the agent says about it, where the package has it.
    pub fn declared<'a>(&self, capabilities: &'a Capabilities) -> Option<&'a Capability> {
        self.list(capabilities).iter().find(|known| known.name == self.name())
    }

    /// All of its kind.
    pub fn list<'a>(&self, capabilities: &'a Capabilities) -> &'a [Capability] {
        match self {
            Self::Action(_) => &capabilities.actions,
            Self::Operation(_) => &capabilities.operations,
        }
    }
}

/// Whether a pod is well.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Health {
    pub healthy: bool,
    /// In a sentence.
    pub reason: String,
    /// What the package's `healthCheck` answered.
    pub details: Option<Map<String, Value>>,
}

/// What can be done with the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    Start,
    Stop,
    Restart,
    Reload,
}

impl Order {
    pub const ALL: [Self; 4] = [Self::Start, Self::Stop, Self::Restart, Self::Reload];

    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Reload => "reload",
        }
    }
}

/// What became of the process.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessResult {
    /// Its state, as PID 1 names it.
    pub process: String,
    pub pid: Option<u32>,
    /// False where there was nothing to do.
    pub changed: bool,
    /// It did not stop in time and was killed.
    pub forced: bool,
}

/// Who has the exclusive role now.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switched {
    /// The pod.
    pub holder: String,
    pub epoch: Option<u64>,
}
