//! Operations are done once for what their file says: not again when their object was cleaned away, and not for other
//! content under the same name.

use std::collections::{BTreeMap, BTreeSet};

use super::object::{ObjectId, ObjectKind};
use super::sync::{Desired, Plan, Refused, What};

/// How many operations are remembered whose file is gone or says something else; those with a file all are.
const REMEMBERED: usize = 2000;

/// Operations that were begun: what their file said, and when they were last seen, in seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Begun {
    of: BTreeMap<ObjectId, (String, i64)>,
}

impl Begun {
    /// Takes out of a plan what was begun before and is not there any more.
    pub fn hold_back(&self, plan: &mut Plan, desired: &[Desired]) {
        let (again, actions): (Vec<_>, Vec<_>) = std::mem::take(&mut plan.actions)
            .into_iter()
            .partition(|action| action.what == What::Create && self.of.contains_key(&action.id));
        plan.actions = actions;
        if again.is_empty() {
            return;
        }
        let digests: BTreeMap<&ObjectId, &str> =
            desired.iter().map(|desired| (&desired.id, desired.digest.as_str())).collect();
        for action in again {
            let begun = self.of.get(&action.id).map(|(digest, _)| digest.as_str());
            if begun == digests.get(&action.id).copied() {
                plan.done.insert(action.id, "it was begun before, and an operation is done once".to_owned());
            } else {
                let message = format!(
                    "{} was begun before, and its file said something else then: an operation is done once; \
                     give this one a name of its own, or remove the file",
                    action.id
                );
                plan.refused.insert(action.id, Refused { code: "done-once", message });
            }
        }
    }

    /// Remembers an operation; true where that is news.
    pub fn note(&mut self, id: &ObjectId, digest: &str, now: i64) -> bool {
        if id.kind != ObjectKind::Operation || self.of.get(id).is_some_and(|(known, _)| known == digest) {
            return false;
        }
        self.of.insert(id.clone(), (digest.to_owned(), now));
        true
    }

    /// Forgets the oldest of those that no file asks for, so that this stays small.
    pub fn tidy(&mut self, desired: &[Desired]) {
        let wanted: BTreeSet<&ObjectId> = desired.iter().map(|desired| &desired.id).collect();
        let mut others: Vec<(i64, ObjectId)> =
            self.of.iter().filter(|(id, _)| !wanted.contains(id)).map(|(id, (_, at))| (*at, id.clone())).collect();
        if others.len() <= REMEMBERED {
            return;
        }
        others.sort();
        let surplus = others.len() - REMEMBERED;
        for (_, id) in others.into_iter().take(surplus) {
            self.of.remove(&id);
        }
    }

    /// All of them: namespace, name, what the file said, when.
    pub fn all(&self) -> impl Iterator<Item = (&str, &str, &str, i64)> {
        self.of.iter().map(|(id, (digest, at))| {
            (id.namespace.as_deref().unwrap_or_default(), id.name.as_str(), digest.as_str(), *at)
        })
    }
}

impl FromIterator<(String, String, String, i64)> for Begun {
    fn from_iter<I: IntoIterator<Item = (String, String, String, i64)>>(all: I) -> Self {
        let of = |(namespace, name, digest, at)| {
            (ObjectId { kind: ObjectKind::Operation, namespace: Some(namespace), name }, (digest, at))
        };
        Self { of: all.into_iter().map(of).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sync::Action;
    use super::*;

    fn id(name: &str) -> ObjectId {
        ObjectId { kind: ObjectKind::Operation, namespace: Some("shop".into()), name: name.into() }
    }

    fn desired(name: &str, digest: &str) -> Desired {
        Desired { id: id(name), path: format!("operations/{name}.yaml"), digest: digest.into() }
    }

    fn planned(all: &[Desired]) -> Plan {
        let create = |one: &Desired| Action { id: one.id.clone(), what: What::Create, reason: "defined".into() };
        Plan { actions: all.iter().map(create).collect(), ..Plan::default() }
    }

    #[test]
    fn what_was_begun_is_not_begun_again_when_its_object_is_gone() {
        let mut begun = Begun::default();
        assert!(begun.note(&id("restart"), "1", 5) && !begun.note(&id("restart"), "1", 6));
        let all = [desired("restart", "1"), desired("another", "1")];
        let mut plan = planned(&all);
        begun.hold_back(&mut plan, &all);
        assert_eq!(plan.actions.iter().map(|action| &action.id).collect::<Vec<_>>(), [&id("another")]);
        assert!(plan.done.contains_key(&id("restart")) && plan.refused.is_empty());
        let back: Begun = begun.all().map(|(a, b, c, at)| (a.to_owned(), b.to_owned(), c.to_owned(), at)).collect();
        assert_eq!(back, begun);
    }

    #[test]
    fn other_content_under_the_same_name_is_refused_and_not_done() {
        let mut begun = Begun::default();
        begun.note(&id("restart"), "1", 5);
        let all = [desired("restart", "2")];
        let mut plan = planned(&all);
        begun.hold_back(&mut plan, &all);
        assert!(plan.actions.is_empty() && plan.done.is_empty());
        assert!(plan.refused[&id("restart")].message.contains("give this one a name of its own"));
    }

    #[test]
    fn what_files_ask_for_is_never_forgotten_and_of_the_rest_the_oldest() {
        let number = i64::try_from(REMEMBERED).expect("small");
        let mut begun = Begun::default();
        for at in 0..number + 2 {
            begun.note(&id(&format!("o{at}")), "1", at);
        }
        begun.tidy(&[desired("o0", "1")]);
        let left: Vec<&str> = begun.all().map(|(_, name, ..)| name).collect();
        assert_eq!(left.len(), REMEMBERED + 1);
        assert!(left.contains(&"o0") && !left.contains(&"o1") && left.contains(&"o2"));
    }
}
