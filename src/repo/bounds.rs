//! How long and how much: the limits every operation on a remote carries with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::error::RemoteError;

/// The limits of one operation. Cloning shares the interrupt.
#[derive(Clone, Debug)]
pub struct Bounds {
    deadline: Instant,
    time: Duration,
    interrupt: Arc<AtomicBool>,
    /// The largest pack (and ref list) that is received, in bytes.
    pub pack_bytes: u64,
    /// The largest single object, unpacked, in bytes.
    pub object_bytes: u64,
}

impl Bounds {
    /// Limits for an operation that starts now and may take `time`.
    pub fn new(time: Duration) -> Self {
        Self {
            deadline: Instant::now() + time,
            time,
            interrupt: Arc::default(),
            pack_bytes: 512 << 20,
            object_bytes: 64 << 20,
        }
    }

    /// Uses `flag` as the interrupt: setting it ends the operation within a tenth of a second.
    #[must_use]
    pub fn interrupted_by(mut self, flag: Arc<AtomicBool>) -> Self {
        self.interrupt = flag;
        self
    }

    #[must_use]
    pub fn pack_bytes(mut self, limit: u64) -> Self {
        self.pack_bytes = limit;
        self
    }

    #[must_use]
    pub fn object_bytes(mut self, limit: u64) -> Self {
        self.object_bytes = limit;
        self
    }

    /// Time left, at least nothing.
    pub fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Fails when the time is over or somebody interrupted.
    pub fn check(&self) -> Result<(), RemoteError> {
        if self.interrupt.load(Ordering::Relaxed) {
            Err(RemoteError::Interrupted)
        } else if self.left().is_zero() {
            Err(RemoteError::Deadline { time: self.time })
        } else {
            Ok(())
        }
    }

    /// Runs `work` with a flag that turns true at the deadline or the interrupt, for code that
    /// computes without touching the network.
    pub(super) fn watching<T>(&self, work: impl FnOnce(&AtomicBool) -> T) -> T {
        let stop = AtomicBool::new(false);
        let (done, finished) = std::sync::mpsc::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // the sender is dropped when the work is done, however it ended
                let finished = finished;
                while let Err(std::sync::mpsc::RecvTimeoutError::Timeout) =
                    finished.recv_timeout(Duration::from_millis(50))
                {
                    if self.check().is_err() {
                        stop.store(true, Ordering::Relaxed);
                        break;
                    }
                }
            });
            let _done = done;
            work(&stop)
        })
    }
}

/// How much of a tree is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Files and folders together.
    pub entries: usize,
    /// Folders inside one another.
    pub depth: usize,
    pub path_bytes: usize,
    pub file_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 100_000, depth: 20, path_bytes: 400, file_bytes: 1 << 20 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_that_is_over_stops() {
        let bounds = Bounds::new(Duration::ZERO);
        assert!(matches!(bounds.check(), Err(RemoteError::Deadline { .. })));
    }

    #[test]
    fn an_interrupt_reaches_computing_code() {
        let flag = Arc::new(AtomicBool::new(false));
        let bounds = Bounds::new(Duration::from_hours(1)).interrupted_by(Arc::clone(&flag));
        let give_up = Instant::now() + Duration::from_mins(1);
        let reached = bounds.watching(|stop| {
            flag.store(true, Ordering::Relaxed);
            while !stop.load(Ordering::Relaxed) && Instant::now() < give_up {
                std::thread::yield_now();
            }
            stop.load(Ordering::Relaxed)
        });
        assert!(reached);
        assert!(matches!(bounds.check(), Err(RemoteError::Interrupted)));
    }

    #[test]
    fn work_that_is_done_does_not_wait_for_its_watcher() {
        let bounds = Bounds::new(Duration::from_mins(1));
        assert_eq!(bounds.watching(|_| 7), 7);
    }
}
