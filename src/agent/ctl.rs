//! `midship-agent ctl`: asks the process manager through its socket, for people, scripts and readiness probes.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::init::protocol::{Code, ExecResult, Notice, Problem, ReadyResult, Request, Response, Status};
use super::init::signals::Signal;
use super::pid1;

#[derive(Debug, thiserror::Error)]
pub enum CtlError {
    #[error("nobody answers at {path}: {source}; is `midship-agent init` PID 1 of this container?")]
    Connect { path: PathBuf, source: io::Error },
    #[error("the connection broke: {0}")]
    Broken(io::Error),
    #[error("the process manager closed the connection without an answer")]
    Closed,
    #[error("cannot understand the answer: {0}")]
    Garbled(serde_json::Error),
    #[error("{}", refused(.0))]
    Refused(Problem),
}

fn refused(problem: &Problem) -> String {
    match &problem.hint {
        Some(hint) => format!("{}; {hint}", problem.message),
        None => problem.message.clone(),
    }
}

/// A connection to the process manager.
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects; every answer is waited for at most so long.
    pub fn connect(path: &Path, patience: Duration) -> Result<Self, CtlError> {
        let failed = |source| CtlError::Connect { path: path.to_owned(), source };
        let stream = UnixStream::connect(path).map_err(failed)?;
        stream.set_read_timeout(Some(patience)).map_err(failed)?;
        stream.set_write_timeout(Some(patience)).map_err(failed)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    pub fn ask(&mut self, request: &Request) -> Result<Value, CtlError> {
        let mut line = serde_json::to_vec(request).map_err(CtlError::Garbled)?;
        line.push(b'\n');
        let sent = self.stream.get_mut().write_all(&line);
        self.answer(sent)
    }

    /// Runs a command that reads and writes what we read and write.
    pub fn exec(&mut self, request: &Request) -> Result<ExecResult, CtlError> {
        let mut line = serde_json::to_vec(request).map_err(CtlError::Garbled)?;
        line.push(b'\n');
        let streams = [io::stdin().as_raw_fd(), io::stdout().as_raw_fd(), io::stderr().as_raw_fd()];
        let sent = pid1::send(self.stream.get_ref().as_raw_fd(), &line, &streams)
            .and_then(|sent| self.stream.get_mut().write_all(&line[sent..]));
        // how long that takes is up to the command
        self.be_patient()?;
        serde_json::from_value(self.answer(sent)?).map_err(CtlError::Garbled)
    }

    fn answer(&mut self, sent: io::Result<()>) -> Result<Value, CtlError> {
        // one that was sent away at once may have said why before it stopped listening
        let response = match (self.line(), sent) {
            (Err(_), Err(error)) => return Err(CtlError::Broken(error)),
            (line, _) => line?.ok_or(CtlError::Closed)?,
        };
        let response: Response = serde_json::from_str(&response).map_err(CtlError::Garbled)?;
        match response.error {
            Some(problem) => Err(CtlError::Refused(problem)),
            None => Ok(response.result.unwrap_or_default()),
        }
    }

    /// The next line, however long it takes within the patience; nothing once the connection is closed.
    pub fn line(&mut self) -> Result<Option<String>, CtlError> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => Ok(None),
            Ok(_) => Ok(Some(line)),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Err(CtlError::Refused(Problem::new(Code::Timeout, "there was no answer in time")))
            }
            Err(error) => Err(CtlError::Broken(error)),
        }
    }

    /// From now on lines may take as long as they like.
    pub fn be_patient(&self) -> Result<(), CtlError> {
        self.stream.get_ref().set_read_timeout(None).map_err(CtlError::Broken)
    }
}

/// Whether the process is ready, and why.
pub fn ready(socket: &Path, request: &Request) -> Result<ReadyResult, CtlError> {
    let answer = Client::connect(socket, Duration::from_secs(1))?.ask(request)?;
    serde_json::from_value(answer).map_err(CtlError::Garbled)
}

/// What a shell would say of a command that ended so.
pub fn exit_status(result: &ExecResult) -> u8 {
    let signal = result.signal.as_deref().and_then(Signal::parse).map_or(1, |signal| 128 + signal.number());
    u8::try_from(result.code.unwrap_or(signal)).unwrap_or(1)
}

/// The status on one page.
pub fn describe(status: &Status) -> String {
    let mut page = String::new();
    let mut line = |name: &str, text: String| {
        let _ = writeln!(page, "{name:<11}{text}");
    };
    line("State", format!("{:?} since {}", status.state, status.since));
    line("Why", status.reason.clone());
    let ready = if status.readiness.ready { "yes" } else { "no" };
    line("Ready", format!("{ready}: {}", status.readiness.reason));
    let started = status.started_at.as_ref().map(|at| format!(", started {at}")).unwrap_or_default();
    let pid = status.pid.map_or("none".to_owned(), |pid| pid.to_string());
    line("Process", format!("{pid}{started}, {} restarts", status.restarts));
    if status.consecutive_crashes > 0 {
        let next = status.next_start_at.as_ref().map(|at| format!(", next start {at}")).unwrap_or_default();
        line("Crashes", format!("{} in a row{next}", status.consecutive_crashes));
    }
    if let Some(operation) = &status.operation {
        line("Under way", operation.clone());
    }
    if let Some(exit) = &status.last_exit {
        line("Last exit", format!("{} {:?}: {}", exit.at, exit.reason, exit.message));
    }
    if let Some(digest) = &status.config.digest {
        line("Config", digest.get(..12).unwrap_or(digest).to_owned());
    }
    if let Some(error) = &status.config.error {
        line("", format!("refused: {error}"));
    }
    for pending in &status.pending_restart {
        line("", format!("needs a restart: {}: {}", pending.field, pending.reason));
    }
    for file in &status.output {
        let error = file.error.as_ref().map(|error| format!(", {error}")).unwrap_or_default();
        line("Output", format!("{}: {} bytes, {} lost{error}", file.path, file.written_bytes, file.dropped_bytes));
    }
    page
}

/// One notice as a line for people.
pub fn describe_notice(notice: &Notice) -> String {
    let pid = notice.pid.map(|pid| format!(" (process {pid})")).unwrap_or_default();
    format!("{} {:?}{pid}: {}", notice.at, notice.state, notice.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_told_on_one_page() {
        let status: Status = serde_json::from_value(serde_json::json!({
            "state": "CrashLoop", "reason": "the process exited with code 3", "since": "2026-11-21T06:00:00Z",
            "wanted": "Run", "nextStartAt": "2026-11-21T06:01:00Z", "restarts": 7, "consecutiveCrashes": 6,
            "crashLoop": true, "readiness": { "ready": false, "reason": "the process does not run" },
            "lastExit": { "at": "2026-11-21T06:00:00Z", "pid": 12, "code": 3, "reason": "Crashed",
                "message": "the process exited with code 3" },
            "history": [], "config": { "digest": "0123456789abcdef", "error": "process.json:1:2: no" },
            "pendingRestart": [{ "field": "env", "reason": "A changed" }],
            "output": [{ "path": "/l", "writtenBytes": 5, "droppedBytes": 6, "error": "No space left" }],
            "init": { "pid": 1, "version": "0", "startedAt": "" }
        }))
        .unwrap();
        insta::assert_snapshot!(describe(&status), @"
        State      CrashLoop since 2026-11-21T06:00:00Z
        Why        the process exited with code 3
        Ready      no: the process does not run
        Process    none, 7 restarts
        Crashes    6 in a row, next start 2026-11-21T06:01:00Z
        Last exit  2026-11-21T06:00:00Z Crashed: the process exited with code 3
        Config     0123456789ab
                   refused: process.json:1:2: no
                   needs a restart: env: A changed
        Output     /l: 5 bytes, 6 lost, No space left
        ");
    }
}
