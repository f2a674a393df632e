//! The fuse, watched by a thread that does nothing else: whatever PID 1 waits for at that moment, be it a disk that does
//! not answer, nothing runs on for longer than it was permitted to.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::state::Millis;
use super::sys::{self, FuseTimer, READABLE};
use super::tree;

const STACK: usize = 128 * 1024;
/// PID 1 sees to it itself as a rule; also between two kills while it does not.
const GRACE: Duration = Duration::from_millis(50);

struct Armed {
    timer: FuseTimer,
    at: Option<Millis>,
    /// The process whose group dies first, until it is collected: after that its number may be another one's.
    child: Option<i32>,
}

/// When everything that runs below PID 1 is killed, by whoever is there.
pub struct Fence {
    armed: Arc<Mutex<Armed>>,
    timer: RawFd,
}

impl Fence {
    pub fn start() -> io::Result<Self> {
        let timer = FuseTimer::new()?;
        let fd = timer.as_raw_fd();
        let armed = Arc::new(Mutex::new(Armed { timer, at: None, child: None }));
        let watched = Arc::clone(&armed);
        std::thread::Builder::new().name("fence".to_owned()).stack_size(STACK).spawn(move || keep(&watched, fd))?;
        Ok(Self { armed, timer: fd })
    }

    pub fn set(&self, at: Option<Millis>) {
        let mut armed = lock(&self.armed);
        armed.at = at;
        armed.timer.set(at);
    }

    /// Whom it is about; to be told that there is nobody before the child is collected.
    pub fn guard(&self, child: Option<i32>) {
        lock(&self.armed).child = child;
    }
}

impl AsRawFd for Fence {
    fn as_raw_fd(&self) -> RawFd {
        self.timer
    }
}

fn lock(armed: &Mutex<Armed>) -> MutexGuard<'_, Armed> {
    armed.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The timer is never closed while this runs: both own what it is in.
fn keep(armed: &Mutex<Armed>, timer: RawFd) {
    loop {
        let waited = sys::poll(&mut [sys::watch(timer, READABLE)], None);
        std::thread::sleep(GRACE);
        let armed = lock(armed);
        if waited.is_ok() && armed.at.is_some_and(|at| sys::boottime() >= at) {
            tree::kill_only(armed.child);
        }
    }
}
