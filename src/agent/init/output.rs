//! Leads the process's output to files and on to the container's own, in a thread of its own: a slow disk must not keep
//! PID 1 from its work.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;

use super::config::{Output, Stream};
use super::log_file::{LogFile, Owner};
use super::protocol::FileStatus;
use super::sys::{self, READABLE, WRITABLE};

const CHUNK: usize = 16 * 1024;
/// A pipe that says it is writable takes this much without waiting.
const PIPE_PART: usize = 4096;
const STACK: usize = 128 * 1024;
/// How long what was still on its way at the end may take.
const LAST_WORDS: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Shared {
    settings: Mutex<Option<(Output, Owner)>>,
    status: Mutex<Vec<FileStatus>>,
    finish: AtomicBool,
}

/// The end of the pipes that processes write to, and the thread at the other end.
pub struct Pump {
    stdout: OwnedFd,
    stderr: OwnedFd,
    wake: File,
    shared: Arc<Shared>,
    finished: Receiver<()>,
}

impl Pump {
    pub fn start(output: &Output, owner: Owner) -> io::Result<Self> {
        let (stdout_from, stdout) = pipe2(OFlag::O_CLOEXEC)?;
        let (stderr_from, stderr) = pipe2(OFlag::O_CLOEXEC)?;
        let (wake_from, wake) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        for from in [&stdout_from, &stderr_from] {
            fcntl(from, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        let shared = Arc::new(Shared::default());
        let (done, finished) = channel();
        let mut worker = Worker {
            lanes: [Lane::new(Stream::Stdout, stdout_from), Lane::new(Stream::Stderr, stderr_from)],
            wake: wake_from.into(),
            shared: Arc::clone(&shared),
            console: true,
            files: Vec::new(),
            buffer: vec![0; CHUNK],
        };
        let pump = Self { stdout, stderr, wake: wake.into(), shared, finished };
        pump.configure(output, owner);
        std::thread::Builder::new().name("output".to_owned()).stack_size(STACK).spawn(move || worker.run(&done))?;
        Ok(pump)
    }

    /// Where a process writes to.
    pub fn streams(&self) -> (RawFd, RawFd) {
        (self.stdout.as_raw_fd(), self.stderr.as_raw_fd())
    }

    pub fn configure(&self, output: &Output, owner: Owner) {
        *lock(&self.shared.settings) = Some((output.clone(), owner));
        self.poke();
    }

    pub fn status(&self) -> Vec<FileStatus> {
        lock(&self.shared.status).clone()
    }

    /// Passes on what is still in the pipes, but does not wait for it for long.
    pub fn finish(&self) {
        self.shared.finish.store(true, Ordering::Release);
        self.poke();
        let _ = self.finished.recv_timeout(LAST_WORDS + Duration::from_millis(200));
    }

    fn poke(&self) {
        // a full pipe means that a wake-up is on its way already
        let _ = (&self.wake).write(&[1]);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One of the two streams.
struct Lane {
    stream: Stream,
    from: File,
    console: RawFd,
    /// Read, in the files already, but not yet taken by the console.
    pending: Vec<u8>,
}

impl Lane {
    fn new(stream: Stream, from: OwnedFd) -> Self {
        let console = match stream {
            Stream::Stdout => io::stdout().as_raw_fd(),
            Stream::Stderr => io::stderr().as_raw_fd(),
        };
        Self { stream, from: from.into(), console, pending: Vec::new() }
    }

    /// The console says it takes something.
    fn pass_on(&mut self) {
        let part = self.pending.len().min(PIPE_PART);
        let done = match self.stream {
            Stream::Stdout => nix::unistd::write(io::stdout(), &self.pending[..part]),
            Stream::Stderr => nix::unistd::write(io::stderr(), &self.pending[..part]),
        };
        match done {
            Ok(done) => drop(self.pending.drain(..done)),
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => {}
            // nobody reads it any more; the process goes on
            Err(_) => self.pending.clear(),
        }
    }
}

struct Worker {
    lanes: [Lane; 2],
    wake: File,
    shared: Arc<Shared>,
    console: bool,
    files: Vec<LogFile>,
    buffer: Vec<u8>,
}

impl Worker {
    fn run(&mut self, done: &Sender<()>) {
        let mut deadline = None;
        loop {
            self.configure();
            if self.shared.finish.load(Ordering::Acquire) {
                deadline.get_or_insert_with(|| Instant::now() + LAST_WORDS);
            }
            let mut fds = [sys::watch(self.wake.as_raw_fd(), READABLE); 3];
            for (slot, lane) in fds[1..].iter_mut().zip(&self.lanes) {
                *slot = match lane.pending.is_empty() {
                    true => sys::watch(lane.from.as_raw_fd(), READABLE),
                    false => sys::watch(lane.console, WRITABLE),
                };
            }
            // at the end, a pipe that is empty right now is empty for good
            let patience = deadline.map(|_| u64::from(self.lanes.iter().any(|lane| !lane.pending.is_empty())) * 50);
            if sys::poll(&mut fds, patience).is_err() {
                break;
            }
            if fds[0].revents != 0 {
                let mut crumbs = [0; 64];
                while matches!(self.wake.read(&mut crumbs), Ok(64)) {}
            }
            let mut moved = false;
            for index in 0..2 {
                if fds[index + 1].revents != 0 {
                    moved = true;
                    self.serve(index);
                }
            }
            let empty = !moved && self.lanes.iter().all(|lane| lane.pending.is_empty());
            if deadline.is_some_and(|at| empty || Instant::now() >= at) {
                break;
            }
        }
        let _ = done.send(());
    }

    fn serve(&mut self, index: usize) {
        let lane = &mut self.lanes[index];
        if !lane.pending.is_empty() {
            lane.pass_on();
            return;
        }
        let Ok(got) = lane.from.read(&mut self.buffer) else { return };
        let bytes = &self.buffer[..got];
        if self.console {
            lane.pending.extend_from_slice(bytes);
        }
        for file in &mut self.files {
            if file.spec().streams.contains(&lane.stream) {
                file.write(bytes);
            }
        }
        self.tell();
    }

    fn configure(&mut self) {
        let Some((output, owner)) = lock(&self.shared.settings).take() else { return };
        self.console = output.console;
        let mut old = std::mem::take(&mut self.files);
        for spec in output.files {
            let file = match old.iter().position(|file| file.spec().path == spec.path) {
                Some(index) => {
                    let mut file = old.swap_remove(index);
                    file.reconfigure(spec, owner);
                    file
                }
                None => LogFile::new(spec, owner),
            };
            self.files.push(file);
        }
        self.tell();
    }

    fn tell(&self) {
        *lock(&self.shared.status) = self.files.iter().map(LogFile::status).collect();
    }
}
