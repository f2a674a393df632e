//! A short command beside the process: a readiness check or a reload, with a deadline and the end of what it said.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;

use super::config::Config;
use super::control::Key;
use super::program::{explain, prepare};
use super::state::{Exit, Millis};
use super::sys::{self, Outcome};

/// What is kept of its output.
const KEPT: usize = 400;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    Check,
    /// For this client and request.
    Reload(Key, u64),
    /// Nobody wants to know any more.
    Forgotten,
}

pub struct Helper {
    pub pid: i32,
    pub job: Job,
    pub began: Millis,
    pub kill_at: Millis,
    timeout: Millis,
    command: String,
    failure: OwnedFd,
    output: Option<File>,
    said: Vec<u8>,
    overdue: bool,
}

impl Helper {
    pub fn start(job: Job, command: &[String], config: &Config, now: Millis, timeout: Millis) -> Result<Self, String> {
        let begin = || {
            let (output, sink) = pipe2(OFlag::O_CLOEXEC)?;
            fcntl(&output, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
            let fd = sink.as_raw_fd();
            let spawned = sys::spawn(&prepare(command, config, Some((fd, fd))))?;
            Ok::<_, std::io::Error>((spawned, output))
        };
        let (spawned, output) = begin().map_err(|error| format!("cannot start {}: {error}", command[0]))?;
        Ok(Self {
            pid: spawned.pid,
            job,
            began: now,
            kill_at: now.saturating_add(timeout),
            timeout,
            command: command[0].clone(),
            failure: spawned.failure,
            output: Some(output.into()),
            said: Vec::new(),
            overdue: false,
        })
    }

    pub fn fd(&self) -> Option<RawFd> {
        self.output.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// Takes in what it says, of which only the end is kept.
    pub fn listen(&mut self) {
        let Some(output) = &mut self.output else { return };
        let mut buffer = [0; 4096];
        for _ in 0..16 {
            match output.read(&mut buffer) {
                Ok(0) => {
                    self.output = None;
                    break;
                }
                Ok(got) => {
                    self.said.extend_from_slice(&buffer[..got]);
                    let surplus = self.said.len().saturating_sub(KEPT);
                    self.said.drain(..surplus);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.output = None;
                    break;
                }
            }
        }
    }

    /// Its time is over.
    pub fn kill(&mut self, now: Millis) {
        self.overdue = true;
        self.kill_at = now.saturating_add(1_000);
        sys::kill_with_group(self.pid);
    }

    /// What came of it.
    pub fn result(mut self, exit: Exit, config: &Config) -> Result<String, String> {
        self.listen();
        let said = String::from_utf8_lossy(&self.said);
        let last = said.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
        let with = |what: String| if last.is_empty() { what } else { format!("{what}: {last}") };
        if self.overdue {
            return Err(with(format!("{} took longer than {} ms", self.command, self.timeout)));
        }
        if let Outcome::Failed(step, error) = sys::outcome(&self.failure) {
            return Err(explain(step, error, &self.command, config));
        }
        match exit {
            Exit::Code(0) => Ok(with(format!("{} succeeded", self.command))),
            Exit::Code(code) => Err(with(format!("{} exited with code {code}", self.command))),
            Exit::Signal(signal) => {
                Err(with(format!("{} was ended by {}", self.command, super::signals::name(signal))))
            }
        }
    }
}
