//! How long a watch is patient: with a server that says nothing, and before it asks again.

use std::hash::{BuildHasher, RandomState};
use std::sync::RwLock;
use std::time::{Duration, Instant};

use kube::Config;
use kube::runtime::utils::{Backoff, ResetTimerBackoff};
use kube::runtime::watcher::Error;

/// How long the API server may send nothing on a connection where something is waited for. It sends word to every watch once
/// a minute, unless it never heard of an object of the kind, and ends what takes it longer than a minute: whoever is silent for
/// longer is gone, although nobody said so. A watch that is ended for nothing goes on where it was.
const SILENT: Duration = Duration::from_secs(90);

/// Ends the patience with a server that is silent. It counts from when something was asked: a connection that was idle
/// and is used again has all of it.
pub fn impatient(mut config: Config) -> Config {
    config.read_timeout = Some(SILENT);
    config.reset_reader_on_write = true;
    config
}

const FIRST: Duration = Duration::from_millis(500);
/// A server that comes back is noticed by all watches within twice this: where events are too old, they ask once more.
const LONGEST: Duration = Duration::from_secs(8);
/// A watch that held for so long begins at the first wait again.
const HELD: Duration = Duration::from_mins(1);
/// A watch that fails says so more often than this, also where each try is waited for in vain. One that runs again may have
/// nothing to say: where nothing changes, nobody hears of it.
const FAILS_AGAIN: Duration = Duration::from_mins(2);
/// A watch that breaks off so soon after the last time did not run meanwhile.
const AT_ONCE: Duration = Duration::from_secs(30);

/// The waits of one watch. Those of others differ a little, so that not all of them come at once.
pub fn backoff() -> impl Backoff {
    ResetTimerBackoff::new(Waits { next: FIRST, spread: 1 + RandomState::new().hash_one(0) % 256 }, HELD)
}

/// What keeps a watch from running.
#[derive(Debug, Default)]
pub struct Trouble(RwLock<Option<Last>>);

/// What went wrong last.
#[derive(Debug)]
struct Last {
    what: String,
    at: Instant,
    /// It keeps the watch from running; one that only broke off goes on.
    keeps: bool,
}

impl Trouble {
    /// Remembers what went wrong, and says it where the watch does not go on by itself.
    pub fn happened(&self, kind: &str, problem: &str, error: &Error) {
        let broke_off = matches!(error, Error::WatchFailed(_));
        if self.add(format!("{kind}: {problem}"), broke_off, Instant::now()) {
            tracing::warn!(kind, problem, "the watch was interrupted");
        } else {
            tracing::debug!(kind, problem, "the watch broke off, and goes on");
        }
    }

    /// Where one that ran broke off, the next try tells whether it runs, unless that breaks off at once, too.
    /// Returns whether it keeps the watch from running.
    fn add(&self, what: String, broke_off: bool, at: Instant) -> bool {
        let mut last = self.0.write().expect("no panic while it is held");
        let again = last.as_ref().is_some_and(|before| at.duration_since(before.at) < AT_ONCE);
        let keeps = !broke_off || again;
        *last = Some(Last { what, at, keeps });
        keeps
    }

    pub fn is_over(&self) {
        self.0.write().expect("no panic while it is held").take();
    }

    pub fn now(&self) -> Option<String> {
        self.at(Instant::now())
    }

    fn at(&self, now: Instant) -> Option<String> {
        let last = self.0.read().expect("no panic while it is held");
        let keeps = last.as_ref().filter(|last| last.keeps && now.duration_since(last.at) < FAILS_AGAIN);
        keeps.map(|last| last.what.clone())
    }
}

struct Waits {
    next: Duration,
    spread: u64,
}

impl Iterator for Waits {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let wait = self.next;
        self.next = (wait * 2).min(LONGEST);
        self.spread = self.spread * 5 % 257;
        let part = u32::try_from(self.spread).unwrap_or_default();
        // between three quarters of it and all
        Some(wait.saturating_sub(wait * part / (4 * 257)))
    }
}

impl Backoff for Waits {
    fn reset(&mut self) {
        self.next = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_differ_and_have_an_end() {
        let waits: Vec<Duration> = backoff().take(40).collect();
        for (n, wait) in (0..40u32).zip(&waits) {
            let most = (FIRST * 2u32.pow(n.min(8))).min(LONGEST);
            assert!(*wait <= most && *wait >= most * 3 / 4, "number {n} is {wait:?}");
        }
        let last: std::collections::BTreeSet<&Duration> = waits[10..].iter().collect();
        assert!(last.len() > 10, "{last:?}");
    }

    #[test]
    fn a_watch_that_held_begins_small_again() {
        let mut waits = Waits { next: LONGEST, spread: 1 };
        waits.reset();
        assert!(waits.next().is_some_and(|wait| wait <= FIRST));
    }

    #[test]
    fn a_watch_that_says_nothing_any_more_runs_again() {
        let trouble = Trouble::default();
        assert_eq!(trouble.now(), None);
        trouble.happened("Pod", "refused", &Error::NoResourceVersion);
        assert_eq!(trouble.now().as_deref(), Some("Pod: refused"));
        let said = Instant::now();
        assert_eq!(trouble.at(said + SILENT + LONGEST).as_deref(), Some("Pod: refused"), "the next try is waited for");
        assert_eq!(trouble.at(said + FAILS_AGAIN), None, "where nothing changes, nothing is heard of it");
        trouble.is_over();
        assert_eq!(trouble.now(), None);
    }

    #[test]
    fn a_watch_that_breaks_off_now_and_then_runs_and_one_that_does_at_once_does_not() {
        let (trouble, begin) = (Trouble::default(), Instant::now());
        for minute in 0..3 {
            let at = begin + SILENT * minute;
            trouble.add("silent".to_owned(), true, at);
            assert_eq!(trouble.at(at), None, "it goes on");
        }
        let at = begin + SILENT * 2 + LONGEST;
        trouble.add("garbled".to_owned(), true, at);
        assert_eq!(trouble.at(at).as_deref(), Some("garbled"));
    }
}
