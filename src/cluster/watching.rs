//! How long a watch is patient: with a server that says nothing, and before it asks again.

use std::hash::{BuildHasher, RandomState};
use std::sync::RwLock;
use std::time::{Duration, Instant};

use kube::Config;
use kube::runtime::utils::{Backoff, ResetTimerBackoff};

/// How long the API server may send nothing on a connection where something is waited for. It sends word to every watch once
/// a minute, and ends what takes it longer than a minute: whoever is silent for longer is gone, although nobody said so.
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

/// The waits of one watch. Those of others differ a little, so that not all of them come at once.
pub fn backoff() -> impl Backoff {
    ResetTimerBackoff::new(Waits { next: FIRST, spread: 1 + RandomState::new().hash_one(0) % 256 }, HELD)
}

/// What keeps a watch from running.
#[derive(Debug, Default)]
pub struct Trouble(RwLock<Option<(String, Instant)>>);

impl Trouble {
    pub fn happened(&self, what: String) {
        *self.0.write().expect("no panic while it is held") = Some((what, Instant::now()));
    }

    pub fn is_over(&self) {
        self.0.write().expect("no panic while it is held").take();
    }

    pub fn now(&self) -> Option<String> {
        self.at(Instant::now())
    }

    fn at(&self, now: Instant) -> Option<String> {
        let last = self.0.read().expect("no panic while it is held");
        last.as_ref().filter(|(_, said)| now.duration_since(*said) < FAILS_AGAIN).map(|(what, _)| what.clone())
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
        Some(wait - wait * part / (4 * 257))
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
        trouble.happened("refused".to_owned());
        assert_eq!(trouble.now().as_deref(), Some("refused"));
        let said = Instant::now();
        assert_eq!(trouble.at(said + SILENT + LONGEST).as_deref(), Some("refused"), "the next try is waited for");
        assert_eq!(trouble.at(said + FAILS_AGAIN), None, "where nothing changes, nothing is heard of it");
        trouble.is_over();
        assert_eq!(trouble.now(), None);
    }
}
