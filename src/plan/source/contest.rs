//! Two who change the same field back and forth: after a few rounds the source gives way for a while and says so, instead of
//! writing for ever.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::object::ObjectId;
use super::sync::{Plan, What};

/// How often an object is changed back within [`WINDOW`] before it is left.
const ROUNDS: usize = 5;
const WINDOW: Duration = Duration::from_mins(10);

/// When objects were changed back, counted from any moment that stays the same.
#[derive(Clone, Debug, Default)]
pub struct Reverts {
    of: BTreeMap<ObjectId, VecDeque<Duration>>,
}

impl Reverts {
    /// Takes the reverts out of a plan that have gone on for too long, and says why.
    pub fn calm(&mut self, plan: &mut Plan, now: Duration) {
        self.of.retain(|_, times| {
            times.retain(|time| *time + WINDOW > now);
            !times.is_empty()
        });
        let (contested, actions) = std::mem::take(&mut plan.actions).into_iter().partition(|action| {
            action.what == What::Revert && self.of.get(&action.id).is_some_and(|times| times.len() >= ROUNDS)
        });
        plan.actions = actions;
        let contested: Vec<_> = contested;
        for action in contested {
            let message = format!(
                "{}: {} again and again, and it was changed back {ROUNDS} times within {} minutes; it is left for a while. \
                 Find out who writes there (kubectl get -o yaml --show-managed-fields) and end that, or remove the fields from the file",
                action.id,
                action.reason,
                WINDOW.as_secs() / 60
            );
            plan.contested.insert(action.id, message);
        }
    }

    /// Remembers that an object was changed back.
    pub fn done(&mut self, id: &ObjectId, now: Duration) {
        self.of.entry(id.clone()).or_default().push_back(now);
    }
}

#[cfg(test)]
mod tests {
    use super::super::object::ObjectKind;
    use super::super::sync::Action;
    use super::*;

    fn plan() -> (ObjectId, Plan) {
        let id = ObjectId { kind: ObjectKind::Instance, namespace: Some("shop".into()), name: "a".into() };
        let action = Action { id: id.clone(), what: What::Revert, reason: "somebody changed .spec.version".into() };
        (id, Plan { actions: vec![action], ..Plan::default() })
    }

    #[test]
    fn after_a_few_rounds_it_is_left_and_told_and_later_tried_again() {
        let mut reverts = Reverts::default();
        let at = |second: u64| Duration::from_secs(second);
        for second in 0..5 {
            let (id, mut plan) = plan();
            reverts.calm(&mut plan, at(second));
            assert_eq!(plan.actions.len(), 1, "round {second}");
            reverts.done(&id, at(second));
        }
        let (id, mut contested) = plan();
        reverts.calm(&mut contested, at(10));
        assert!(contested.actions.is_empty());
        assert!(
            contested.contested[&id].starts_with("Instance shop/a: somebody changed .spec.version again and again")
        );
        let (_, mut later) = plan();
        reverts.calm(&mut later, at(700));
        assert_eq!(later.actions.len(), 1);
    }
}
