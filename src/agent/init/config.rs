//! What PID 1 is told to run and how: read from JSON, checked, compared with what runs. `docs/agent.md` explains it.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::libc;
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_with::skip_serializing_none;
use sha2::{Digest, Sha256};

use super::signals::Signal;
use super::state::{self, Millis, Policy};
use crate::api::values::Duration;

/// A ConfigMap holds no more.
const MAX_BYTES: u64 = 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{path}: cannot be read: {source}")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{path}: is no regular file")]
    NoFile { path: PathBuf },
    #[error("{path}: is larger than {MAX_BYTES} bytes")]
    TooLarge { path: PathBuf },
    #[error("{path}:{line}:{column}: {message}")]
    Syntax { path: PathBuf, line: usize, column: usize, message: String },
    #[error("{path}: {field}: {message}")]
    Invalid { path: PathBuf, field: String, message: String },
}

/// A configuration that was read, and the digest of what it was read from.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    pub config: Config,
    pub digest: String,
}

#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// The program and its arguments; a name without a slash is looked for in `PATH`.
    pub command: Vec<String>,
    /// Set besides what the container's environment holds, or instead of it.
    #[serde(default)]
    pub env: BTreeMap<String, EnvValue>,
    #[serde(default = "yes")]
    pub inherit_env: bool,
    pub working_dir: Option<PathBuf>,
    /// Whom the process runs as; only root can change that.
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// Supplementary groups.
    pub groups: Option<Vec<u32>>,
    #[serde(default)]
    pub limits: Limits,
    /// Whether the process starts with the container.
    #[serde(default)]
    pub start: Start,
    /// A process that is not ready by then is stopped and counts as crashed.
    pub start_timeout: Option<Duration>,
    /// Commands that must succeed, in order, before the process starts.
    #[serde(default)]
    pub pre_start: Vec<Hook>,
    #[serde(default)]
    pub stop: Stop,
    #[serde(default)]
    pub restart: Restart,
    pub reload: Option<Reload>,
    #[serde(default)]
    pub readiness: Readiness,
    #[serde(default)]
    pub output: Output,
    #[serde(default)]
    pub control: Control,
    /// PID 1 ends with the process, with its exit code, once the process is not to be restarted.
    #[serde(default)]
    pub exit_with_process: bool,
}

fn yes() -> bool {
    true
}

/// The value of an environment variable; never printed.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct EnvValue(pub String);

impl fmt::Debug for EnvValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl<'de> Deserialize<'de> for EnvValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = EnvValue;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<EnvValue, E> {
                Ok(EnvValue(text.to_owned()))
            }
            // the errors serde makes up would show the value
            fn visit_bool<E: de::Error>(self, _: bool) -> Result<EnvValue, E> {
                Err(E::custom("the value of a variable must be a string: put it in quotes"))
            }
            fn visit_i64<E: de::Error>(self, _: i64) -> Result<EnvValue, E> {
                self.visit_bool(true)
            }
            fn visit_u64<E: de::Error>(self, _: u64) -> Result<EnvValue, E> {
                self.visit_bool(true)
            }
            fn visit_f64<E: de::Error>(self, _: f64) -> Result<EnvValue, E> {
                self.visit_bool(true)
            }
        }
        deserializer.deserialize_any(Text)
    }
}

#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Files the process may have open.
    pub nofile: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Start {
    #[default]
    Run,
    Stopped,
    /// As it was when the container ended: stopped if somebody had stopped it.
    Keep,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hook {
    pub command: Vec<String>,
    #[serde(default = "a_minute")]
    pub timeout: Duration,
}

fn a_minute() -> Duration {
    Duration::from_secs(60)
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Stop {
    pub signal: Signal,
    /// After this the process is killed, and all it started.
    pub timeout: Duration,
    pub target: Target,
}

impl Default for Stop {
    fn default() -> Self {
        Self { signal: Signal::TERM, timeout: Duration::from_secs(25), target: Target::Process }
    }
}

/// Who is told to stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    #[default]
    Process,
    Group,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Restart {
    pub policy: RestartPolicy,
    /// Before the second restart in a row; the first is immediate, each further one waits twice as long.
    pub delay: Duration,
    pub max_delay: Duration,
    pub stable_after: Duration,
    pub crash_loop_after: u32,
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            policy: RestartPolicy::Always,
            delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(60),
            stable_after: Duration::from_secs(60),
            crash_loop_after: 5,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartPolicy {
    Always,
    OnFailure,
    Never,
}

/// How the process is made to read its configuration again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Reload {
    Signal(Signal),
    Exec(Hook),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Readiness {
    pub check: Check,
    pub initial_delay: Duration,
    pub interval: Duration,
    pub timeout: Duration,
    pub success_threshold: u32,
    pub failure_threshold: u32,
}

impl Default for Readiness {
    fn default() -> Self {
        Self {
            check: Check::Process,
            initial_delay: Duration::from_secs(0),
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            success_threshold: 1,
            failure_threshold: 3,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Check {
    /// It runs.
    #[default]
    Process,
    /// It takes connections.
    Tcp(TcpCheck),
    /// A command in the container says so with exit code 0.
    Exec(ExecCheck),
    /// A file is there, and young enough.
    File(FileCheck),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TcpCheck {
    #[serde(default = "loopback")]
    pub host: IpAddr,
    pub port: u16,
}

fn loopback() -> IpAddr {
    IpAddr::V4(Ipv4Addr::LOCALHOST)
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExecCheck {
    pub command: Vec<String>,
}

#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileCheck {
    pub path: PathBuf,
    pub max_age: Option<Duration>,
}

#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Output {
    /// Lead the output through PID 1 even while there are no files, so that files can be added without a restart.
    pub capture: bool,
    /// Pass the output on to the container's own.
    pub console: bool,
    pub files: Vec<OutputFile>,
}

impl Default for Output {
    fn default() -> Self {
        Self { capture: false, console: true, files: Vec::new() }
    }
}

impl Output {
    pub fn captured(&self) -> bool {
        self.capture || !self.console || !self.files.is_empty()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OutputFile {
    pub path: PathBuf,
    #[serde(default = "both_streams")]
    pub streams: Vec<Stream>,
    /// Past this size the file is renamed and a new one begun.
    #[serde(default = "ten_mebibytes")]
    pub max_bytes: u64,
    /// Renamed files that are kept.
    #[serde(default = "three")]
    pub keep: u32,
}

fn both_streams() -> Vec<Stream> {
    vec![Stream::Stdout, Stream::Stderr]
}

fn ten_mebibytes() -> u64 {
    10 * 1024 * 1024
}

fn three() -> u32 {
    3
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Stream {
    Stdout,
    Stderr,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Control {
    /// Users besides PID 1's own and root that may use the control socket.
    pub allow_uids: Vec<u32>,
}

/// A difference between what runs and what is configured that only a restart of the process brings about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pending {
    pub field: String,
    pub reason: String,
}

impl Config {
    /// Reads and checks a file without ever waiting for it.
    pub fn load(path: &Path) -> Result<Loaded, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
        let file =
            std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(unreadable)?;
        if !file.metadata().map_err(unreadable)?.is_file() {
            return Err(ConfigError::NoFile { path: path.to_owned() });
        }
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(ConfigError::TooLarge { path: path.to_owned() });
        }
        Self::parse(path, &bytes)
    }

    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Loaded, ConfigError> {
        let config: Self = serde_json::from_slice(bytes).map_err(|error| {
            let text = error.to_string();
            let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message).to_owned();
            ConfigError::Syntax { path: path.to_owned(), line: error.line(), column: error.column(), message }
        })?;
        config.check().map_err(|(field, message)| ConfigError::Invalid { path: path.to_owned(), field, message })?;
        Ok(Loaded { config, digest: hex::encode(Sha256::digest(bytes)) })
    }

    /// What a command given on the command line amounts to: run it once and end as it ends.
    pub fn ad_hoc(command: &[String]) -> Result<Loaded, ConfigError> {
        let document = serde_json::json!({
            "command": command, "restart": { "policy": "Never" }, "exitWithProcess": true });
        Self::parse(Path::new("the command line"), document.to_string().as_bytes())
    }

    pub(super) fn check(&self) -> Result<(), (String, String)> {
        let fail = |field: &str, message: &str| Err((field.to_owned(), message.to_owned()));
        check_command("command", &self.command)?;
        for (name, value) in &self.env {
            if name.is_empty() || name.contains(['=', '\0']) || value.0.contains('\0') {
                return Err((
                    "env".to_owned(),
                    format!("{name:?} cannot be set: a name has no '=', nothing has a NUL"),
                ));
            }
        }
        if self.working_dir.as_ref().is_some_and(|dir| !dir.is_absolute()) {
            return fail("workingDir", "must be an absolute path");
        }
        if self.groups.as_ref().is_some_and(|groups| groups.len() > 64) {
            return fail("groups", "at most 64 groups");
        }
        if self.limits.nofile == Some(0) {
            return fail("limits.nofile", "must be at least 1");
        }
        if self.pre_start.len() > 16 {
            return fail("preStart", "at most 16 commands");
        }
        for (index, hook) in self.pre_start.iter().enumerate() {
            check_command(&format!("preStart[{index}].command"), &hook.command)?;
            check_span(&format!("preStart[{index}].timeout"), hook.timeout, 1)?;
        }
        if let Some(limit) = self.start_timeout {
            check_span("startTimeout", limit, 100)?;
        }
        if [Signal::CHLD, Signal::STOP].contains(&self.stop.signal) {
            return fail("stop.signal", "this signal stops nothing for good");
        }
        check_span("stop.timeout", self.stop.timeout, 0)?;
        check_span("restart.delay", self.restart.delay, 100)?;
        check_span("restart.maxDelay", self.restart.max_delay, 100)?;
        check_span("restart.stableAfter", self.restart.stable_after, 100)?;
        if self.restart.crash_loop_after == 0 {
            return fail("restart.crashLoopAfter", "must be at least 1");
        }
        match &self.reload {
            Some(Reload::Exec(hook)) => {
                check_command("reload.exec.command", &hook.command)?;
                check_span("reload.exec.timeout", hook.timeout, 1)?;
            }
            Some(Reload::Signal(signal)) if [Signal::KILL, Signal::STOP, Signal::CHLD].contains(signal) => {
                return fail("reload.signal", "no program reloads on this signal");
            }
            Some(Reload::Signal(_)) | None => {}
        }
        self.readiness.check_values()?;
        self.output.check_values()?;
        if self.control.allow_uids.len() > 16 {
            return fail("control.allowUids", "at most 16 users");
        }
        Ok(())
    }

    pub fn policy(&self) -> Policy {
        Policy {
            restart: match self.restart.policy {
                RestartPolicy::Always => state::Restart::Always,
                RestartPolicy::OnFailure => state::Restart::OnFailure,
                RestartPolicy::Never => state::Restart::Never,
            },
            exit_with_process: self.exit_with_process,
            stop_timeout: millis(self.stop.timeout),
            start_timeout: self.start_timeout.map(millis),
            delay: millis(self.restart.delay),
            max_delay: millis(self.restart.max_delay),
            stable_after: millis(self.restart.stable_after),
            crash_loop_after: self.restart.crash_loop_after,
            hooks: self.pre_start.iter().map(|hook| millis(hook.timeout)).collect(),
        }
    }

    /// What a process started from `self` lacks to be what `wanted` says. Values of variables are not told.
    pub fn pending(&self, wanted: &Self) -> Vec<Pending> {
        let mut found = Vec::new();
        let mut note = |field: &str, reason: String| found.push(Pending { field: field.to_owned(), reason });
        if self.command != wanted.command {
            note("command", format!("runs {:?}, configured is {:?}", self.command, wanted.command));
        }
        let changed: Vec<&str> = self
            .env
            .iter()
            .filter(|(name, value)| wanted.env.get(*name) != Some(value))
            .map(|(name, _)| name.as_str())
            .chain(wanted.env.keys().filter(|name| !self.env.contains_key(*name)).map(String::as_str))
            .collect();
        if !changed.is_empty() {
            note("env", format!("{} changed", changed.join(", ")));
        }
        if self.inherit_env != wanted.inherit_env {
            note("inheritEnv", format!("configured is {}", wanted.inherit_env));
        }
        if self.working_dir != wanted.working_dir {
            note("workingDir", format!("runs in {:?}, configured is {:?}", self.working_dir, wanted.working_dir));
        }
        if (self.uid, self.gid, &self.groups) != (wanted.uid, wanted.gid, &wanted.groups) {
            note("uid", "whom the process runs as changed".to_owned());
        }
        if self.limits != wanted.limits {
            note("limits", format!("runs with {:?}, configured is {:?}", self.limits.nofile, wanted.limits.nofile));
        }
        if !self.output.captured() && wanted.output.captured() {
            note("output", "the output of the running process does not go through PID 1".to_owned());
        }
        found
    }
}

impl Readiness {
    fn check_values(&self) -> Result<(), (String, String)> {
        check_span("readiness.initialDelay", self.initial_delay, 0)?;
        check_span("readiness.interval", self.interval, 100)?;
        check_span("readiness.timeout", self.timeout, 10)?;
        for (field, value) in
            [("successThreshold", self.success_threshold), ("failureThreshold", self.failure_threshold)]
        {
            if !(1..=100).contains(&value) {
                return Err((format!("readiness.{field}"), "must be from 1 to 100".to_owned()));
            }
        }
        match &self.check {
            Check::Tcp(tcp) if tcp.port == 0 => {
                Err(("readiness.check.tcp.port".to_owned(), "must be from 1 to 65535".to_owned()))
            }
            Check::Exec(exec) => check_command("readiness.check.exec.command", &exec.command),
            Check::File(file) if !file.path.is_absolute() => {
                Err(("readiness.check.file.path".to_owned(), "must be an absolute path".to_owned()))
            }
            Check::Process | Check::Tcp(_) | Check::File(_) => Ok(()),
        }
    }
}

impl Output {
    fn check_values(&self) -> Result<(), (String, String)> {
        if self.files.len() > 4 {
            return Err(("output.files".to_owned(), "at most 4 files".to_owned()));
        }
        for (index, file) in self.files.iter().enumerate() {
            let fail = |what: &str, message: &str| Err((format!("output.files[{index}].{what}"), message.to_owned()));
            if !file.path.is_absolute() {
                return fail("path", "must be an absolute path");
            }
            if self.files[..index].iter().any(|other| other.path == file.path) {
                return fail("path", "is already written to by another entry; give one entry both streams");
            }
            if file.streams.is_empty() {
                return fail("streams", "name stdout, stderr or both");
            }
            if file.max_bytes < 4096 {
                return fail("maxBytes", "must be at least 4096");
            }
            if file.keep > 100 {
                return fail("keep", "must be at most 100");
            }
        }
        Ok(())
    }
}

pub fn millis(span: Duration) -> Millis {
    u64::try_from(span.0.as_millis()).unwrap_or(u64::MAX)
}

fn check_command(field: &str, command: &[String]) -> Result<(), (String, String)> {
    match command.first() {
        None => Err((field.to_owned(), "must name a program".to_owned())),
        Some(program) if program.is_empty() => Err((field.to_owned(), "the program's name is empty".to_owned())),
        Some(_) if command.iter().any(|word| word.contains('\0')) => {
            Err((field.to_owned(), "must not hold a NUL character".to_owned()))
        }
        Some(_) => Ok(()),
    }
}

fn check_span(field: &str, span: Duration, least: Millis) -> Result<(), (String, String)> {
    let day = 24 * 60 * 60 * 1000;
    if (least..=day).contains(&millis(span)) {
        Ok(())
    } else {
        Err((field.to_owned(), format!("{span} is out of bounds: from {least}ms to 1d")))
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
