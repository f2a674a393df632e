//! Commands that clients run beside the process, in its surroundings. Where a client sends descriptors along, what the
//! command reads and writes goes straight through them and never through PID 1; else the little that is kept of it does.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::pipe2;

use super::config::{Config, millis};
use super::control::Key;
use super::log::say;
use super::program::{explain, prepare};
use super::protocol::{Code, ExecOrder, ExecResult, Problem, Request, Response, STREAMS};
use super::requests::{MAX_TIMEOUT, problem};
use super::state::{Exit, Millis, Phase, Refusal};
use super::supervisor::Init;
use super::sys::{self, Outcome};

/// Commands at once.
const MAX_EXECS: usize = 8;
/// How long a command may take where nobody says.
const TIMEOUT: Millis = 60_000;
const KEPT_STDOUT: usize = 64 * 1024;
const KEPT_STDERR: usize = 16 * 1024;

/// What a command writes, as far as it is kept.
struct Kept {
    pipe: Option<File>,
    bytes: Vec<u8>,
    dropped: u64,
    most: usize,
    /// Keep the last of it instead of the first.
    last: bool,
}

impl Kept {
    /// And the end that the command writes to.
    fn new(most: usize, last: bool) -> nix::Result<(Self, OwnedFd)> {
        let (pipe, sink) = pipe2(OFlag::O_CLOEXEC)?;
        fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok((Self { pipe: Some(pipe.into()), bytes: Vec::new(), dropped: 0, most, last }, sink))
    }

    /// Takes in what is there, but not for ever.
    fn listen(&mut self) {
        let Some(pipe) = &mut self.pipe else { return };
        let mut buffer = [0; 4096];
        for _ in 0..16 {
            match pipe.read(&mut buffer) {
                Ok(got) if got > 0 => {
                    let room = if self.last { got } else { got.min(self.most - self.bytes.len()) };
                    self.bytes.extend_from_slice(&buffer[..room]);
                    let surplus = self.bytes.len().saturating_sub(self.most);
                    self.bytes.drain(..surplus);
                    self.dropped += (got - room + surplus) as u64;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => {
                    self.pipe = None;
                    return;
                }
            }
        }
    }

    fn told(mut self) -> (Option<String>, Option<u64>) {
        // its process has ended, so that what it wrote is there; bounded by what a pipe holds
        self.listen();
        (Some(String::from_utf8_lossy(&self.bytes).into_owned()), (self.dropped > 0).then_some(self.dropped))
    }
}

/// A command that runs.
pub struct Execution {
    pub pid: i32,
    pub client: Key,
    id: u64,
    pub kill_at: Millis,
    command: String,
    surroundings: Config,
    failure: OwnedFd,
    overdue: bool,
    /// Standard output and error, where the client sent no descriptors.
    kept: Option<(Kept, Kept)>,
}

impl Execution {
    fn start(order: &ExecOrder, surroundings: Config, streams: Vec<OwnedFd>) -> std::io::Result<Self> {
        let (kept, streams) = if let Ok(streams) = <[OwnedFd; STREAMS]>::try_from(streams) {
            (None, streams)
        } else {
            let (stdout, stdout_sink) = Kept::new(KEPT_STDOUT, false)?;
            let (stderr, stderr_sink) = Kept::new(KEPT_STDERR, true)?;
            // in memory as a whole, so that nobody has to wait until the command reads it
            let mut stdin: File = memfd_create(c"stdin", MFdFlags::MFD_CLOEXEC)?.into();
            stdin.write_all(order.stdin.as_ref().map_or("", |text| text.0.as_str()).as_bytes())?;
            stdin.rewind()?;
            (Some((stdout, stderr)), [stdin.into(), stdout_sink, stderr_sink])
        };
        let [stdin, stdout, stderr] = streams.each_ref().map(AsRawFd::as_raw_fd);
        let mut program = prepare(&order.command, &surroundings, Some((stdout, stderr)));
        program.stdin = Some(stdin);
        let spawned = sys::spawn(&program)?;
        Ok(Self {
            pid: spawned.pid,
            client: 0,
            id: 0,
            kill_at: Millis::MAX,
            command: order.command[0].clone(),
            surroundings,
            failure: spawned.failure,
            overdue: false,
            kept,
        })
    }

    pub fn fds(&self) -> impl Iterator<Item = RawFd> {
        let kept = self.kept.iter().flat_map(|(stdout, stderr)| [stdout, stderr]);
        kept.filter_map(|kept| kept.pipe.as_ref()).map(AsRawFd::as_raw_fd)
    }

    pub fn listen(&mut self) {
        if let Some((stdout, stderr)) = &mut self.kept {
            stdout.listen();
            stderr.listen();
        }
    }

    /// Its time is over, or nobody waits for it any more.
    pub fn kill(&mut self, now: Millis) {
        self.overdue = true;
        self.kill_at = now.saturating_add(1_000);
        sys::kill_with_group(self.pid);
    }

    fn result(self, exit: Exit) -> Result<ExecResult, Problem> {
        if let Outcome::Failed(step, error) = sys::outcome(&self.failure) {
            return Err(Problem::new(Code::Failed, explain(step, error, &self.command, &self.surroundings)));
        }
        let (code, signal) = match exit {
            Exit::Code(code) => (Some(code), None),
            Exit::Signal(signal) => (None, Some(super::signals::name(signal).into_owned())),
        };
        let (stdout, stderr) = self.kept.map(|(stdout, stderr)| (stdout.told(), stderr.told())).unwrap_or_default();
        Ok(ExecResult {
            code,
            signal,
            timed_out: self.overdue,
            stdout: stdout.0,
            stderr: stderr.0,
            stdout_dropped: stdout.1,
            stderr_dropped: stderr.1,
        })
    }
}

impl Init {
    /// Begins a command; its end is the answer.
    pub(super) fn exec(&mut self, client: Key, request: &Request) -> Result<(), Problem> {
        let streams = self.server.descriptors(client);
        let Some(order) = &request.exec else {
            return Err(Problem::new(Code::BadRequest, "exec names no command")
                .hint("give \"exec\": {\"command\": [\"program\", \"argument\"]}"));
        };
        if !matches!(streams.len(), 0 | STREAMS) {
            return Err(Problem::new(Code::BadRequest, format!("exec takes {STREAMS} descriptors or none"))
                .hint("send standard input, output and error along with the request"));
        }
        if order.stdin.is_some() && !streams.is_empty() {
            return Err(Problem::new(Code::BadRequest, "stdin goes only without descriptors"));
        }
        if self.state.quit {
            return Err(problem(&Refusal::Terminating));
        }
        if matches!(self.state.phase, Phase::Sweeping { .. }) {
            return Err(Problem::new(Code::Busy, "what the process left behind is being killed").hint("ask again"));
        }
        if self.execs.len() >= MAX_EXECS {
            return Err(Problem::new(Code::TooMany, format!("{MAX_EXECS} commands run already"))
                .hint("wait for one of them to end"));
        }
        let Some(loaded) = &self.config else { return Err(problem(&Refusal::Unconfigured)) };
        let mut surroundings = loaded.config.clone();
        surroundings.command.clone_from(&order.command);
        surroundings.env.extend(order.env.clone());
        if order.working_dir.is_some() {
            surroundings.working_dir.clone_from(&order.working_dir);
        }
        surroundings
            .check()
            .map_err(|(field, message)| Problem::new(Code::BadRequest, format!("{field}: {message}")))?;
        let failed =
            |error: std::io::Error| Problem::new(Code::Failed, format!("cannot start {}: {error}", order.command[0]));
        let mut execution = Execution::start(order, surroundings, streams).map_err(failed)?;
        let timeout = request.timeout.map_or(TIMEOUT, millis).min(MAX_TIMEOUT);
        execution.client = client;
        execution.id = request.id;
        execution.kill_at = self.now().saturating_add(timeout);
        self.execs.push(execution);
        Ok(())
    }

    /// Kills commands whose time is over, or whose client has gone.
    pub(super) fn end_execs(&mut self) {
        let now = self.now();
        for execution in &mut self.execs {
            let alone = !execution.overdue && !self.server.has(execution.client);
            if alone {
                say(&format!("{} is killed: whoever ordered it has gone", execution.command));
            }
            if alone || now >= execution.kill_at {
                execution.kill(now);
            }
        }
    }

    pub(super) fn exec_ended(&mut self, execution: Execution, exit: Exit) {
        let (client, id) = (execution.client, execution.id);
        let response = match execution.result(exit) {
            Ok(result) => Response::done(id, serde_json::to_value(result).unwrap_or_default()),
            Err(problem) => Response::refused(Some(id), problem),
        };
        let now = self.now();
        self.server.answer(client, &response, now);
    }
}
