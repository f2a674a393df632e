//! When a repository is asked again: sources differ a little, so that those that began together, or whose server was away,
//! do not all come at once.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use crate::cluster::Key;

/// The wait after a repository that answered.
pub fn poll(key: &Key, interval: Duration) -> Duration {
    spread(interval, key, 0)
}

/// The wait after one that did not, for so many times in a row.
pub fn retry(key: &Key, failures: u32, interval: Duration) -> Duration {
    spread(back_off(failures, interval), key, failures)
}

/// Doubles with every failure, up to the interval of polls.
fn back_off(failures: u32, interval: Duration) -> Duration {
    let doubled = Duration::from_secs(2).saturating_mul(2u32.saturating_pow(failures.saturating_sub(1).min(10)));
    doubled.min(interval.clamp(Duration::from_secs(5), Duration::from_mins(10)))
}

/// A tenth more or less at the most, always the same for a source.
fn spread(wait: Duration, key: &Key, failures: u32) -> Duration {
    let mut hasher = DefaultHasher::new();
    (key, failures).hash(&mut hasher);
    let permille = u32::try_from(hasher.finish() % 201).unwrap_or_default();
    wait.saturating_mul(900 + permille) / 1000
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn keys() -> impl Iterator<Item = Key> {
        (0..200).map(|n| Key::new("team", &format!("source-{n}")))
    }

    #[test]
    fn waiting_grows_with_failures_and_has_an_end() {
        let waits: Vec<u64> = (1..12).map(|n| back_off(n, MINUTE * 5).as_secs()).collect();
        assert_eq!(waits[..4], [2, 4, 8, 16]);
        assert!(waits.iter().all(|wait| *wait <= 300));
    }

    #[test]
    fn sources_of_one_interval_spread_over_a_tenth_of_it_to_both_sides() {
        let polls: BTreeSet<Duration> = keys().map(|key| poll(&key, MINUTE)).collect();
        let retries: BTreeSet<Duration> = keys().map(|key| retry(&key, 20, MINUTE)).collect();
        for waits in [polls, retries] {
            let (first, last) = (waits.first().copied(), waits.last().copied());
            assert!(first.is_some_and(|wait| (54.0..56.0).contains(&wait.as_secs_f64())), "{first:?}");
            assert!(last.is_some_and(|wait| (64.0..=66.0).contains(&wait.as_secs_f64())), "{last:?}");
            assert!(waits.len() > 50, "{} different waits of 200", waits.len());
        }
    }

    #[test]
    fn a_source_keeps_its_pace_and_comes_back_with_others_each_time() {
        let (one, other) = (Key::new("team", "one"), Key::new("team", "other"));
        assert_eq!(poll(&one, MINUTE), poll(&one, MINUTE));
        assert_ne!(poll(&one, MINUTE), poll(&other, MINUTE));
        let retries: BTreeSet<Duration> = (20..30).map(|failures| retry(&one, failures, MINUTE)).collect();
        assert!(retries.len() > 5, "{retries:?}");
    }

    #[test]
    fn an_interval_without_end_is_no_mistake() {
        assert!(poll(&Key::new("team", "one"), Duration::MAX) > MINUTE);
    }
}
