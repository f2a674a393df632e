//! Git over the pipes of a child process that can always be ended: no read or write outlives the deadline.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gix_transport::client::blocking_io::{RequestWriter, SetServiceResponse, Transport};
use gix_transport::client::git::{ConnectMode, blocking_io::Connection};
use gix_transport::client::{Error, MessageKind, TransportWithoutIO, WriteMode};
use gix_transport::{Protocol, Service};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{BoxedTransport, RemoteError, Wire};
use crate::repo::child::bare_command;
use crate::repo::error::clean;

/// How much of what the child complains about is kept.
const MAX_COMPLAINT: usize = 8192;

/// Turns the exit code and the last words of a child into a reason.
pub(super) type Explain = Box<dyn Fn(Option<i32>, &str) -> RemoteError + Send + Sync>;

pub(super) fn connect_local(path: &Path, service: Service, wire: &Wire) -> Result<BoxedTransport, RemoteError> {
    let mut command = bare_command("git");
    command.arg(service.as_git_subcommand()).arg("--").arg(path);
    if service == Service::UploadPack {
        command.env("GIT_PROTOCOL", "version=2");
    }
    let shown = path.display().to_string();
    let explain = move |_code: Option<i32>, words: &str| {
        if words.contains("not appear to be a git repository") || words.contains("No such file") {
            RemoteError::NotFound { url: format!("file://{shown}") }
        } else {
            RemoteError::Protocol { host: format!("file://{shown}"), reason: clean(words, 300) }
        }
    };
    Ok(Box::new(start(command, Box::new(explain), None, wire)?))
}

/// Starts `command` and speaks Git with it. `keep` lives as long as the connection (key files).
pub(super) fn start(
    mut command: Command,
    explain: Explain,
    keep: Option<tempfile::TempDir>,
    wire: &Wire,
) -> Result<ProcessTransport, RemoteError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed =
        |error: io::Error| RemoteError::Local { what: format!("starting `{program}`"), reason: error.to_string() };
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(failed)?;
    let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(failed(io::ErrorKind::BrokenPipe.into()));
    };
    let lines =
        Arc::new(Lines { child: Mutex::new(child), complaint: Mutex::new(Vec::new()), explain, wire: wire.clone() });
    non_blocking(&stdin).and_then(|()| non_blocking(&stderr)).map_err(failed)?;
    let reader = Output { stdout, stderr: Some(stderr), lines: Arc::clone(&lines) };
    let writer = Input { stdin, lines: Arc::clone(&lines) };
    let connection =
        Connection::new(reader, writer, Protocol::V2, "", None::<(String, Option<u16>)>, ConnectMode::Process, false);
    Ok(ProcessTransport { connection, lines, _keep: keep })
}

fn non_blocking(pipe: &impl AsFd) -> io::Result<()> {
    fcntl(pipe.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(())
}

/// gix's connection over our pipes; the child ends with it.
pub(super) struct ProcessTransport {
    connection: Connection<Output, Input>,
    lines: Arc<Lines>,
    _keep: Option<tempfile::TempDir>,
}

impl Drop for ProcessTransport {
    fn drop(&mut self) {
        self.lines.end_child();
    }
}

/// What both pipes share.
struct Lines {
    child: Mutex<Child>,
    complaint: Mutex<Vec<u8>>,
    explain: Explain,
    wire: Wire,
}

impl Lines {
    fn end_child(&self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(child.try_wait(), Ok(Some(_))) {
            if let Ok(pid) = i32::try_from(child.id()) {
                // the whole group: ssh may have helpers of its own
                let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// The child closed its output. When that was not in good order, its last words are the reason.
    fn ended(&self) {
        let give_up = Instant::now() + Duration::from_secs(2).min(self.wire.bounds.left());
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break Some(status),
                Ok(None) if Instant::now() < give_up => std::thread::sleep(Duration::from_millis(2)),
                Ok(None) | Err(_) => break None,
            }
        };
        if let Some(status) = status.filter(|status| !status.success()) {
            let words = self.complaint.lock().unwrap_or_else(PoisonError::into_inner);
            self.wire.fail((self.explain)(status.code(), &String::from_utf8_lossy(&words)));
        }
    }
}

fn wait_for(fds: &mut [PollFd<'_>]) -> io::Result<()> {
    match poll(fds, PollTimeout::from(50u8)) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn is_ready(fd: &PollFd<'_>) -> bool {
    fd.revents().is_some_and(|events| !events.is_empty())
}

struct Output {
    stdout: ChildStdout,
    stderr: Option<ChildStderr>,
    lines: Arc<Lines>,
}

impl Output {
    fn listen_to_complaints(&mut self) {
        let mut chunk = [0; 2048];
        let Some(stderr) = &mut self.stderr else {
            return;
        };
        match stderr.read(&mut chunk) {
            Ok(0) => self.stderr = None,
            Ok(count) => {
                let mut kept = self.lines.complaint.lock().unwrap_or_else(PoisonError::into_inner);
                let room = MAX_COMPLAINT.saturating_sub(kept.len());
                kept.extend_from_slice(&chunk[..count.min(room)]);
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => self.stderr = None,
        }
    }

    /// Everything that is still in the pipe once the child is gone.
    fn drain_complaints(&mut self) {
        let give_up = Instant::now() + Duration::from_secs(1);
        while let Some(stderr) = &self.stderr
            && Instant::now() < give_up
        {
            let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLIN)];
            if wait_for(&mut fds).is_err() {
                break;
            }
            if is_ready(&fds[0]) {
                self.listen_to_complaints();
            }
        }
    }
}

impl Read for Output {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            self.lines.wire.check()?;
            let mut fds = vec![PollFd::new(self.stdout.as_fd(), PollFlags::POLLIN)];
            if let Some(stderr) = &self.stderr {
                fds.push(PollFd::new(stderr.as_fd(), PollFlags::POLLIN));
            }
            wait_for(&mut fds)?;
            let (output, complaint) = (is_ready(&fds[0]), fds.get(1).is_some_and(is_ready));
            drop(fds);
            if complaint {
                self.listen_to_complaints();
            }
            if output {
                let count = self.stdout.read(out)?;
                if count == 0 {
                    self.drain_complaints();
                    self.lines.ended();
                } else {
                    self.lines.wire.count(count)?;
                }
                return Ok(count);
            }
        }
    }
}

struct Input {
    stdin: ChildStdin,
    lines: Arc<Lines>,
}

impl Write for Input {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            self.lines.wire.check()?;
            match self.stdin.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wait_for(&mut [PollFd::new(self.stdin.as_fd(), PollFlags::POLLOUT)])?;
                }
                // the other side has stopped listening; why, it has said or will say on its output
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(bytes.len()),
                other => return other,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TransportWithoutIO for ProcessTransport {
    fn to_url(&self) -> std::borrow::Cow<'_, gix::bstr::BStr> {
        self.connection.to_url()
    }

    fn connection_persists_across_multiple_requests(&self) -> bool {
        true
    }

    fn configure(&mut self, _config: &dyn std::any::Any) -> Result<(), gix::Error> {
        Ok(())
    }
}

impl Transport for ProcessTransport {
    fn handshake<'a>(
        &mut self,
        service: Service,
        extra_parameters: &'a [(&'a str, Option<&'a str>)],
    ) -> Result<SetServiceResponse<'_>, Error> {
        self.connection.handshake(service, extra_parameters)
    }

    fn request(
        &mut self,
        write_mode: WriteMode,
        on_into_read: MessageKind,
        trace: bool,
    ) -> Result<RequestWriter<'_>, Error> {
        self.connection.request(write_mode, on_into_read, trace)
    }
}
