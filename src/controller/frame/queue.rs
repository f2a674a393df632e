//! The backlog with a clock and a bell: many may add, many may wait for the next.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::backlog::Backlog;
use crate::cluster::Key;

/// A queue of objects, shared by those who see changes and those who work.
#[derive(Clone, Default)]
pub struct Queue {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    backlog: Mutex<Backlog>,
    bell: Notify,
}

impl Queue {
    pub fn add(&self, key: &Key) {
        if self.backlog().add(key) {
            self.shared.bell.notify_one();
        }
    }

    /// How many objects wait for a worker.
    pub fn len(&self) -> usize {
        self.backlog().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits for the next object. Cancelling it loses nothing.
    pub(super) async fn next(&self) -> Key {
        loop {
            let (key, next_time) = {
                let mut backlog = self.backlog();
                (backlog.take(Instant::now()), backlog.next_time())
            };
            if let Some(key) = key {
                if !self.is_empty() {
                    self.shared.bell.notify_one();
                }
                return key;
            }
            match next_time {
                None => self.shared.bell.notified().await,
                Some(at) => tokio::select! {
                    () = self.shared.bell.notified() => {}
                    () = tokio::time::sleep_until(at) => {}
                },
            }
        }
    }

    pub(super) fn done(&self, key: Key, again_in: Option<Duration>) {
        self.backlog().done(key, again_in.map(|delay| Instant::now() + delay));
        self.shared.bell.notify_one();
    }

    pub(super) fn failed(&self, key: Key) -> Duration {
        let wait = self.backlog().failed(key, Instant::now());
        self.shared.bell.notify_one();
        wait
    }

    fn backlog(&self) -> MutexGuard<'_, Backlog> {
        self.shared.backlog.lock().expect("no panic while it is held")
    }
}
