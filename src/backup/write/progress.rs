//! How far a backup is, how fast it goes, and when it will be done.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Rates are those of the last half minute.
const WINDOW: Duration = Duration::from_secs(30);

/// Counted by the one who writes, read by whoever wants to know.
#[derive(Debug, Default)]
pub struct Progress {
    source: AtomicU64,
    stored: AtomicU64,
    chunks: AtomicU64,
    expected: AtomicU64,
    samples: Mutex<VecDeque<(Instant, u64)>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub source_bytes: u64,
    pub stored_bytes: u64,
    pub chunks: u64,
    /// What the sources said they would give; none where one did not say.
    pub expected_bytes: Option<u64>,
    pub bytes_per_second: Option<u64>,
    pub left: Option<Duration>,
}

impl Progress {
    pub fn expect(&self, bytes: u64) {
        self.expected.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn read(&self, bytes: u64) {
        self.source.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn stored(&self, bytes: u64) {
        self.stored.fetch_add(bytes, Ordering::Relaxed);
        self.chunks.fetch_add(1, Ordering::Relaxed);
    }

    pub fn snapshot(&self, now: Instant) -> Snapshot {
        let source = self.source.load(Ordering::Relaxed);
        let expected = Some(self.expected.load(Ordering::Relaxed)).filter(|bytes| *bytes > 0);
        let mut samples = self.samples.lock().expect("nobody panics with it");
        samples.push_back((now, source));
        while samples.len() > 2 && now.saturating_duration_since(samples[1].0) >= WINDOW {
            samples.pop_front();
        }
        let (since, before) = samples[0];
        let passed = now.saturating_duration_since(since).as_millis();
        let rate = u128::from(source - before.min(source)) * 1000;
        let rate = rate.checked_div(passed).and_then(|rate| u64::try_from(rate).ok());
        let missing = expected.map(|expected| expected.saturating_sub(source));
        let left =
            missing.zip(rate.filter(|rate| *rate > 0)).map(|(missing, rate)| Duration::from_secs(missing / rate));
        Snapshot {
            source_bytes: source,
            stored_bytes: self.stored.load(Ordering::Relaxed),
            chunks: self.chunks.load(Ordering::Relaxed),
            expected_bytes: expected,
            bytes_per_second: rate,
            left,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_half_minute() {
        let progress = Progress::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        progress.expect(10_000);
        assert_eq!(progress.snapshot(at(0)).bytes_per_second, None);
        progress.read(1000);
        assert_eq!(progress.snapshot(at(10)).bytes_per_second, Some(100));
        let quiet = progress.snapshot(at(40));
        assert_eq!((quiet.bytes_per_second, quiet.left), (Some(0), None));
        progress.read(4000);
        let late = progress.snapshot(at(80));
        assert_eq!((late.bytes_per_second, late.left), (Some(100), Some(Duration::from_secs(50))));
    }
}
