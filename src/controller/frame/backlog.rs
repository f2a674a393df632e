//! What waits to be worked on, as a value: no clock, no locks.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::Key;

const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_mins(5);

/// Objects that are ready, that wait for their time, and that are being worked on. An object is worked on once at a time.
#[derive(Default)]
pub(super) struct Backlog {
    ready: VecDeque<Key>,
    is_ready: HashSet<Key>,
    later: BTreeSet<(Instant, Key)>,
    due: HashMap<Key, Instant>,
    in_work: HashMap<Key, Again>,
    failures: HashMap<Key, u32>,
    /// Those whose time had come when they were taken.
    retried: HashSet<Key>,
}

/// Whether an object changed while it was worked on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    No,
    Yes,
}

impl Backlog {
    /// The object changed: it is worked on as soon as possible. True where somebody has to be woken.
    pub(super) fn add(&mut self, key: &Key) -> bool {
        if let Some(again) = self.in_work.get_mut(key) {
            *again = Again::Yes;
            return false;
        }
        self.forget_time(key);
        if self.is_ready.insert(key.clone()) {
            self.ready.push_back(key.clone());
            return true;
        }
        false
    }

    /// The next object to work on.
    pub(super) fn take(&mut self, now: Instant) -> Option<Key> {
        while let Some((at, _)) = self.later.first()
            && *at <= now
        {
            let (_, key) = self.later.pop_first().expect("there is a first one");
            self.due.remove(&key);
            self.retried.insert(key.clone());
            if self.is_ready.insert(key.clone()) {
                self.ready.push_back(key);
            }
        }
        let key = self.ready.pop_front()?;
        self.is_ready.remove(&key);
        self.in_work.insert(key.clone(), Again::No);
        Some(key)
    }

    /// When the next object has its time, if nothing changes before.
    pub(super) fn next_time(&self) -> Option<Instant> {
        self.later.first().map(|(at, _)| *at)
    }

    /// The object was worked on without a failure.
    pub(super) fn done(&mut self, key: Key, again_at: Option<Instant>) {
        self.failures.remove(&key);
        self.retried.remove(&key);
        self.finish(key, again_at);
    }

    /// The object was worked on in vain; returns how long it waits until the next try.
    pub(super) fn failed(&mut self, key: Key, now: Instant) -> Duration {
        let failures = self.failures.entry(key.clone()).or_insert(0);
        // many changes in a short time say nothing of how long it will take
        if self.retried.remove(&key) || *failures == 0 {
            *failures = failures.saturating_add(1);
        }
        let wait = back_off(&key, *failures);
        self.finish(key, Some(now + wait));
        wait
    }

    pub(super) fn len(&self) -> usize {
        self.ready.len()
    }

    fn finish(&mut self, key: Key, again_at: Option<Instant>) {
        let changed = self.in_work.remove(&key) == Some(Again::Yes);
        if changed {
            self.add(&key);
        } else if let Some(at) = again_at
            && !self.is_ready.contains(&key)
        {
            self.forget_time(&key);
            self.due.insert(key.clone(), at);
            self.later.insert((at, key));
        }
    }

    fn forget_time(&mut self, key: &Key) {
        if let Some(at) = self.due.remove(key) {
            self.later.remove(&(at, key.clone()));
        }
    }
}

/// Doubles with every failure, and differs between objects so that they do not come back all at once.
fn back_off(key: &Key, failures: u32) -> Duration {
    let doubled = FIRST_RETRY.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1).min(20))).min(LAST_RETRY);
    let mut hasher = DefaultHasher::new();
    (key, failures).hash(&mut hasher);
    let permille = u32::try_from(hasher.finish() % 400).unwrap_or_default();
    doubled * (800 + permille) / 1000
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(name: &str) -> Key {
        Key::new("ns", name)
    }

    #[test]
    fn an_object_that_changes_while_it_is_worked_on_is_worked_on_again() {
        let now = Instant::now();
        let mut backlog = Backlog::default();
        backlog.add(&key("a"));
        assert_eq!(backlog.take(now), Some(key("a")));
        backlog.add(&key("a"));
        assert_eq!(backlog.take(now), None, "never twice at a time");
        backlog.done(key("a"), None);
        assert_eq!(backlog.take(now), Some(key("a")));
        backlog.done(key("a"), None);
        assert_eq!(backlog.take(now), None);
    }

    #[test]
    fn a_failing_object_waits_longer_each_time_and_delays_no_other() {
        let now = Instant::now();
        let mut backlog = Backlog::default();
        backlog.add(&key("bad"));
        let mut waits = Vec::new();
        let mut at = now;
        for _ in 0..20 {
            assert_eq!(backlog.take(at), Some(key("bad")));
            let wait = backlog.failed(key("bad"), at);
            backlog.add(&key("good"));
            assert_eq!(backlog.take(at), Some(key("good")));
            backlog.done(key("good"), None);
            at += wait;
            waits.push(wait);
        }
        assert!(waits[0] < Duration::from_secs(1));
        assert!(waits[3] > waits[0] * 4);
        assert!(waits.iter().all(|wait| *wait <= LAST_RETRY.mul_f64(1.2)));
    }

    #[test]
    fn a_change_ends_the_wait_of_a_failing_object() {
        let now = Instant::now();
        let mut backlog = Backlog::default();
        backlog.add(&key("a"));
        backlog.take(now);
        backlog.failed(key("a"), now);
        assert_eq!(backlog.take(now), None);
        backlog.add(&key("a"));
        assert_eq!(backlog.take(now), Some(key("a")));
    }

    #[test]
    fn changes_that_do_not_help_make_nobody_wait_longer() {
        let now = Instant::now();
        let mut backlog = Backlog::default();
        let mut waits = HashSet::new();
        for _ in 0..20 {
            backlog.add(&key("a"));
            assert_eq!(backlog.take(now), Some(key("a")));
            waits.insert(backlog.failed(key("a"), now));
        }
        assert_eq!(waits.len(), 1, "{waits:?}");
        let later = now + Duration::from_secs(1);
        assert_eq!(backlog.take(later), Some(key("a")));
        assert!(waits.iter().all(|wait| backlog.failed(key("a"), later) > *wait), "its time had come");
    }

    #[derive(Clone, Debug)]
    enum Step {
        Add(u8),
        Take,
        Done(u8),
        Failed(u8),
        Wait(u16),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0u8..4).prop_map(Step::Add),
            Just(Step::Take),
            (0u8..4).prop_map(Step::Done),
            (0u8..4).prop_map(Step::Failed),
            any::<u16>().prop_map(Step::Wait),
        ]
    }

    proptest! {
        #![proptest_config(crate::chance::fixed())]

        #[test]
        fn no_change_is_ever_forgotten_and_nothing_runs_twice_at_a_time(steps in prop::collection::vec(step(), 0..200)) {
            let mut now = Instant::now();
            let mut backlog = Backlog::default();
            let mut working = HashSet::new();
            let mut unseen = HashSet::new();
            for step in steps {
                match step {
                    Step::Add(n) => {
                        backlog.add(&key(&n.to_string()));
                        unseen.insert(key(&n.to_string()));
                    }
                    Step::Take => {
                        if let Some(key) = backlog.take(now) {
                            unseen.remove(&key);
                            prop_assert!(working.insert(key), "already in work");
                        }
                    }
                    Step::Done(n) if working.remove(&key(&n.to_string())) => backlog.done(key(&n.to_string()), None),
                    Step::Failed(n) if working.remove(&key(&n.to_string())) => {
                        backlog.failed(key(&n.to_string()), now);
                    }
                    Step::Wait(millis) => now += Duration::from_millis(u64::from(millis)),
                    Step::Done(_) | Step::Failed(_) => {}
                }
            }
            for key in working {
                backlog.done(key, None);
            }
            while let Some(key) = backlog.take(now) {
                unseen.remove(&key);
                backlog.done(key, None);
            }
            prop_assert!(unseen.is_empty(), "forgotten: {unseen:?}");
        }
    }
}
