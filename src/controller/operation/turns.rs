//! Who works on which instance, as this process knows it before its caches do, and what it said last of each operation.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard};

use jiff::{SignedDuration, Timestamp};

use crate::api::Operation;
use crate::api::operation::OperationStatus;
use crate::cluster::Key;
use crate::controller::said::Said;

/// All of it can be lost: it is read from statuses again.
#[derive(Default)]
pub struct Turns {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Instances and the operation that works on each.
    taken: BTreeMap<Key, Key>,
    /// Instances and operations on them that are not finished.
    unfinished: BTreeMap<Key, BTreeSet<Key>>,
    /// What instances show: operations that work on them.
    shown: BTreeMap<Key, Key>,
    said: HashMap<Key, Said<OperationStatus>>,
    /// Since when the agent of a step, by its place and attempt, does not answer.
    unreached: HashMap<Key, BTreeMap<(usize, i32), Timestamp>>,
}

impl Turns {
    /// False where another operation works on the instance.
    pub fn take(&self, instance: &Key, operation: &Key) -> bool {
        let mut state = self.state();
        state.taken.entry(instance.clone()).or_insert_with(|| operation.clone()) == operation
    }

    /// The operation is over; the instances whose next one may begin.
    pub fn leave(&self, operation: &Key) -> Vec<Key> {
        let mut state = self.state();
        state.unreached.remove(operation);
        for all in state.unfinished.values_mut() {
            all.remove(operation);
        }
        state.unfinished.retain(|_, all| !all.is_empty());
        let left: Vec<Key> =
            state.taken.iter().filter(|(_, by)| *by == operation).map(|(instance, _)| instance.clone()).collect();
        for instance in &left {
            state.taken.remove(instance);
        }
        left
    }

    pub fn is_unfinished(&self, instance: &Key, operation: &Key) {
        self.state().unfinished.entry(instance.clone()).or_default().insert(operation.clone());
    }

    pub fn unfinished(&self, instance: &Key) -> Vec<Key> {
        self.state().unfinished.get(instance).into_iter().flatten().cloned().collect()
    }

    /// Remembers on which instance an operation works, and tells the instance that has to show something else now.
    pub fn shows(&self, operation: &Key, instance: Option<Key>) -> Option<Key> {
        let mut state = self.state();
        if state.shown.get(operation) == instance.as_ref() {
            return None;
        }
        match instance {
            Some(instance) => {
                state.shown.insert(operation.clone(), instance.clone());
                Some(instance)
            }
            None => state.shown.remove(operation),
        }
    }

    /// The newest status, which caches may not have seen yet.
    pub fn newest(&self, operation: &Operation) -> OperationStatus {
        self.said(&Key::of(operation)).newest(operation, operation.status.as_ref())
    }

    pub fn said(&self, operation: &Key) -> Said<OperationStatus> {
        self.state().said.get(operation).cloned().unwrap_or_default()
    }

    pub fn keep_said(&self, operation: &Key, said: Said<OperationStatus>) {
        self.state().said.insert(operation.clone(), said);
    }

    pub fn forget(&self, operation: &Key) {
        let mut state = self.state();
        state.said.remove(operation);
        state.unreached.remove(operation);
    }

    /// For how long the agent of a step has not answered.
    pub fn unreached(&self, operation: &Key, step: (usize, i32), silent: bool, now: Timestamp) -> SignedDuration {
        let mut state = self.state();
        let steps = state.unreached.entry(operation.clone()).or_default();
        if !silent {
            steps.remove(&step);
            return SignedDuration::ZERO;
        }
        now.duration_since(*steps.entry(step).or_insert(now))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while it is held")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_taken_by_one_operation_until_that_is_over() {
        let turns = Turns::default();
        let (instance, one, two) = (Key::new("shop", "cache"), Key::new("shop", "one"), Key::new("shop", "two"));
        assert!(turns.take(&instance, &one) && turns.take(&instance, &one));
        assert!(!turns.take(&instance, &two));
        assert_eq!(turns.leave(&two), []);
        assert_eq!(turns.leave(&one), std::slice::from_ref(&instance));
        assert!(turns.take(&instance, &two));
    }

    #[test]
    fn an_instance_hears_when_an_operation_begins_and_ends() {
        let turns = Turns::default();
        let (instance, one) = (Key::new("shop", "cache"), Key::new("shop", "one"));
        assert_eq!(turns.shows(&one, None), None);
        assert_eq!(turns.shows(&one, Some(instance.clone())), Some(instance.clone()));
        assert_eq!(turns.shows(&one, Some(instance.clone())), None);
        assert_eq!(turns.shows(&one, None), Some(instance));
    }
}
