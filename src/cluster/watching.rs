//! How long a watch is patient: with a server that says nothing, and before it asks again.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use kube::runtime::utils::{Backoff, ResetTimerBackoff};

/// How long the API server may send nothing on a connection where something is waited for. It sends word to every watch once
/// a minute, and ends what takes it longer than a minute: whoever is silent for longer is gone, although nobody said so.
pub const SILENT: Duration = Duration::from_secs(90);

const FIRST: Duration = Duration::from_millis(500);
/// A server that comes back is noticed by all watches within twice this: where events are too old, they ask once more.
const LONGEST: Duration = Duration::from_secs(8);
/// A watch that held for so long begins at the first wait again.
const HELD: Duration = Duration::from_mins(1);

/// The waits of one watch. Those of others differ a little, so that not all of them come at once.
pub fn backoff() -> impl Backoff {
    ResetTimerBackoff::new(Waits { next: FIRST, spread: 1 + RandomState::new().hash_one(0) % 256 }, HELD)
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
}
