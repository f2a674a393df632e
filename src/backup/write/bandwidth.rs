//! A bound on bytes per second, shared by all who hold it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[derive(Clone, Debug)]
pub struct Bandwidth(Arc<Mutex<Bucket>>);

#[derive(Debug)]
struct Bucket {
    per_second: f64,
    /// Bytes that may pass now; less than nothing is a debt.
    left: f64,
    filled_at: Instant,
}

impl Bandwidth {
    pub fn new(bytes_per_second: u64) -> Self {
        #[allow(clippy::cast_precision_loss)]
        let per_second = bytes_per_second.max(1) as f64;
        Self(Arc::new(Mutex::new(Bucket { per_second, left: per_second, filled_at: Instant::now() })))
    }

    /// Lets so many bytes pass, and waits until they are paid for.
    pub async fn pass(&self, bytes: usize) {
        let wait = self.0.lock().expect("nobody panics with it").take(bytes, Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

impl Bucket {
    fn take(&mut self, bytes: usize, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.filled_at = now;
        // what was not used for a second is lost: no burst is larger
        self.left = (self.left + passed * self.per_second).min(self.per_second);
        #[allow(clippy::cast_precision_loss)]
        let bytes = bytes as f64;
        self.left -= bytes;
        if self.left >= 0.0 { Duration::ZERO } else { Duration::from_secs_f64(-self.left / self.per_second) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debts_are_waited_for_and_quiet_seconds_are_not_saved_up() {
        let start = Instant::now();
        let mut bucket = Bucket { per_second: 100.0, left: 100.0, filled_at: start };
        assert_eq!(bucket.take(100, start), Duration::ZERO);
        assert_eq!(bucket.take(250, start), Duration::from_millis(2500));
        let later = start + Duration::from_mins(1);
        assert_eq!(bucket.take(200, later), Duration::from_secs(1));
    }
}
