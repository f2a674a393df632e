//! What goes over the control socket: one JSON document per line, each way. `docs/agent.md` explains it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_with::skip_serializing_none;

use super::config::{EnvValue, Pending};
use super::signals::Signal;
use super::state::Shown;
use crate::api::values::Duration;

/// Longest request; they are small.
pub const MAX_REQUEST: usize = 4096;
/// Longest request that begins with [`EXEC_BEGINS`]: a command may have long arguments.
pub const MAX_EXEC_REQUEST: usize = 128 * 1024;
pub const EXEC_BEGINS: &[u8] = br#"{"op":"exec""#;
/// Descriptors that may come with `exec`: standard input, output and error.
pub const STREAMS: usize = 3;
pub const DEFAULT_SOCKET: &str = "/midship/run/init.sock";

#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    pub op: Op,
    /// Comes back with the answer.
    #[serde(default)]
    pub id: u64,
    /// For `stop` and `restart`: when to kill, if not when the configuration says. For `exec`: when to kill.
    pub timeout: Option<Duration>,
    /// For `signal`.
    pub signal: Option<Signal>,
    /// For `fuse`: when to kill the process unless told otherwise before, in milliseconds of CLOCK_BOOTTIME, which all
    /// containers of a machine share; never, where left out.
    pub deadline: Option<u64>,
    /// For `events`: also those after this number, as far as they are still known.
    pub since: Option<u64>,
    /// For `exec`.
    pub exec: Option<ExecOrder>,
}

/// A command to run beside the process, in its surroundings.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExecOrder {
    pub command: Vec<String>,
    /// Besides what the process has.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, EnvValue>,
    pub working_dir: Option<PathBuf>,
    /// What it reads, where no descriptors come with the request.
    pub stdin: Option<EnvValue>,
}

/// How a command ended.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecResult {
    pub code: Option<i32>,
    pub signal: Option<String>,
    /// It was killed because its time was over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub timed_out: bool,
    /// The first of what it wrote, where no descriptors came with the request.
    pub stdout: Option<String>,
    /// The last of it.
    pub stderr: Option<String>,
    /// Bytes that are not in `stdout`.
    pub stdout_dropped: Option<u64>,
    /// Bytes that are not in `stderr`.
    pub stderr_dropped: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Op {
    Status,
    Ready,
    Start,
    Stop,
    Restart,
    Reload,
    Signal,
    Fuse,
    Events,
    Exec,
}

impl Request {
    pub fn new(op: Op) -> Self {
        Self { op, id: 1, timeout: None, signal: None, deadline: None, since: None, exec: None }
    }
}

/// The answer to one request.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// Nothing where the request could not be read.
    pub id: Option<u64>,
    pub ok: bool,
    pub result: Option<Value>,
    pub error: Option<Problem>,
}

#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    pub code: Code,
    pub message: String,
    pub hint: Option<String>,
}

/// What went wrong, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    BadRequest,
    TooLong,
    Forbidden,
    TooMany,
    Busy,
    Superseded,
    Terminating,
    NotRunning,
    NotConfigured,
    Unsupported,
    Failed,
    Timeout,
}

impl Problem {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl Response {
    pub fn done(id: u64, result: Value) -> Self {
        Self { id: Some(id), ok: true, result: Some(result), error: None }
    }

    pub fn refused(id: Option<u64>, error: Problem) -> Self {
        Self { id, ok: false, result: None, error: Some(error) }
    }
}

/// What `start`, `stop` and `restart` answer.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderResult {
    pub state: Shown,
    pub pid: Option<i32>,
    /// False where there was nothing to do.
    pub changed: bool,
    /// The process did not stop in time and was killed.
    pub forced: bool,
}

#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReadyResult {
    pub ready: bool,
    pub reason: String,
}

/// What `status` answers.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    pub state: Shown,
    /// Why, in a sentence.
    pub reason: String,
    /// Since when it is in this state.
    pub since: String,
    /// `Run` or `Stopped`, as was last asked for.
    pub wanted: Wanted,
    /// Of the process.
    pub pid: Option<i32>,
    pub started_at: Option<String>,
    /// When a process that waits is started again.
    pub next_start_at: Option<String>,
    /// Starts after the first, in the life of this container's volume.
    pub restarts: u64,
    pub consecutive_crashes: u32,
    pub crash_loop: bool,
    /// When the process is killed unless its permission to run is renewed.
    pub fuse_at: Option<String>,
    /// The order under way.
    pub operation: Option<String>,
    pub readiness: ReadyResult,
    pub last_exit: Option<Ending>,
    /// Youngest last.
    pub history: Vec<Ending>,
    pub config: ConfigStatus,
    /// What is configured but needs a restart of the process.
    pub pending_restart: Vec<Pending>,
    pub output: Vec<FileStatus>,
    pub init: InitStatus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wanted {
    Run,
    Stopped,
}

/// How a process (or the attempt to start one) ended.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ending {
    pub at: String,
    pub pid: Option<i32>,
    pub started_at: Option<String>,
    pub code: Option<i32>,
    pub signal: Option<String>,
    pub reason: EndReason,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndReason {
    /// Stopped or restarted because somebody asked.
    Requested,
    /// As requested, but only SIGKILL did it.
    Killed,
    /// By itself, with exit code 0.
    Completed,
    Crashed,
    OutOfMemory,
    /// Killed because its permission to run was not renewed in time.
    Fenced,
    /// There was no process to end.
    StartFailed,
    /// PID 1 was killed together with it: out of memory, node failure, or killed from outside.
    Lost,
}

#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigStatus {
    pub path: Option<String>,
    /// SHA-256 of the file in effect.
    pub digest: Option<String>,
    pub loaded_at: Option<String>,
    /// What the process runs with, where that is another one.
    pub process_digest: Option<String>,
    /// Why a newer file is not in effect.
    pub error: Option<String>,
}

#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileStatus {
    pub path: String,
    pub written_bytes: u64,
    /// What could not be written.
    pub dropped_bytes: u64,
    pub error: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InitStatus {
    pub pid: u32,
    pub version: String,
    pub started_at: String,
}

/// One line of the stream that `events` begins.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// Counts up by one; a gap means that some were missed.
    pub seq: u64,
    pub at: String,
    #[serde(rename = "type")]
    pub kind: NoticeKind,
    pub state: Shown,
    pub ready: bool,
    pub pid: Option<i32>,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NoticeKind {
    State,
    Readiness,
    Exit,
    Config,
}
