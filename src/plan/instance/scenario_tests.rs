//! Scenarios of applying and deleting, played against a small cluster; after each, planning again finds nothing to do.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::parts::{Applied, Live, PartId, Plan, Situation, Why, plan};

const OWNER: &str = "instance-uid";

/// A cluster as far as it matters here, and what the controller remembers.
#[derive(Default)]
struct World {
    live: BTreeMap<PartId, Live>,
    applied: BTreeMap<PartId, Applied>,
    wanted: Vec<(PartId, String)>,
    held: BTreeSet<PartId>,
    counter: u64,
}

fn id(name: &str) -> PartId {
    PartId::new("v1", "ConfigMap", name)
}

impl World {
    fn want(&mut self, list: &[(&str, &str)]) {
        self.wanted = list.iter().map(|(name, digest)| (id(name), (*digest).to_owned())).collect();
    }

    fn plan(&self) -> Plan {
        let Self { live, applied, wanted, held, .. } = self;
        plan(Situation { owner: OWNER, wanted, held, live, applied })
    }

    fn touch(&mut self, name: &str) {
        self.counter += 1;
        let live = self.live.get_mut(&id(name)).expect("it is there");
        live.counter = self.counter;
        live.version = Some(format!("by somebody {}", self.counter));
    }

    fn is_of(&mut self, name: &str, owner: Option<&str>, labelled: bool) {
        self.counter += 1;
        let live = Live {
            uid: format!("uid {name} {}", self.counter),
            owner: owner.map(|owner| (owner.to_owned(), format!("Instance {owner}"))),
            version: Some("theirs".to_owned()),
            counter: self.counter,
            deleting: false,
            labelled,
        };
        self.live.insert(id(name), live);
    }

    /// Does what is planned, as the controller does, and returns why each object was applied.
    fn act(&mut self) -> Vec<(String, Why)> {
        let plan = self.plan();
        for (id, why) in &plan.apply {
            self.counter += 1;
            let digest = self.wanted.iter().find(|(known, _)| known == id).expect("it is wanted").1.clone();
            // an apply that changes nothing is no change to the API server
            let same = self.live.get(id).filter(|live| live.version == Some(digest.clone()) && *why == Why::Unverified);
            let uid = self.live.get(id).map_or_else(|| format!("uid {}", self.counter), |live| live.uid.clone());
            let counter = same.map_or(self.counter, |live| live.counter);
            let owner = Some((OWNER.to_owned(), "Instance".to_owned()));
            let live = Live {
                uid: uid.clone(),
                owner,
                version: Some(digest.clone()),
                counter,
                deleting: false,
                labelled: true,
            };
            self.applied.insert(id.clone(), Applied { version: digest.clone(), digest, uid, counter });
            self.live.insert(id.clone(), live);
        }
        for (id, _) in &plan.delete {
            self.live.remove(id);
            self.applied.remove(id);
        }
        plan.apply.into_iter().map(|(id, why)| (id.name, why)).collect()
    }

    #[track_caller]
    fn is_at_rest(&self) {
        let plan = self.plan();
        assert!(plan.is_quiet(), "planning again: {plan:?}");
    }
}

#[test]
fn what_is_new_is_applied_once_and_then_left_alone() {
    let mut world = World::default();
    world.want(&[("a", "1"), ("b", "1")]);
    assert_eq!(world.act(), [("a".to_owned(), Why::Missing), ("b".to_owned(), Why::Missing)]);
    world.is_at_rest();
}

#[test]
fn only_what_changed_is_applied_and_what_is_not_wanted_any_more_goes() {
    let mut world = World::default();
    world.want(&[("a", "1"), ("b", "1"), ("c", "1")]);
    world.act();
    world.want(&[("a", "1"), ("b", "2")]);
    assert_eq!(world.plan().delete.len(), 1);
    assert_eq!(world.act(), [("b".to_owned(), Why::Changed)]);
    assert!(!world.live.contains_key(&id("c")));
    world.is_at_rest();
}

#[test]
fn what_somebody_changed_or_deleted_is_repaired() {
    let mut world = World::default();
    world.want(&[("a", "1"), ("b", "1")]);
    world.act();
    world.touch("a");
    world.live.remove(&id("b"));
    assert_eq!(world.act(), [("a".to_owned(), Why::Drifted), ("b".to_owned(), Why::Missing)]);
    world.is_at_rest();
}

#[test]
fn a_controller_that_starts_looks_at_everything_once() {
    let mut world = World::default();
    world.want(&[("a", "1")]);
    world.act();
    world.applied.clear();
    assert_eq!(world.act(), [("a".to_owned(), Why::Unverified)]);
    world.is_at_rest();
}

#[test]
fn old_news_is_no_drift() {
    let mut world = World::default();
    world.want(&[("a", "1")]);
    world.act();
    let before = world.live.clone();
    world.want(&[("a", "2")]);
    world.act();
    world.live = before;
    world.is_at_rest();
}

#[test]
fn what_belongs_to_somebody_else_is_never_touched() {
    let mut world = World::default();
    world.is_of("a", Some("another"), true);
    world.is_of("b", None, false);
    world.is_of("c", None, true);
    world.want(&[("a", "1"), ("b", "1"), ("c", "1")]);
    let plan = world.plan();
    assert_eq!(plan.foreign, [(id("a"), "Instance another".to_owned()), (id("b"), "somebody else".to_owned())]);
    assert_eq!(world.act(), [("c".to_owned(), Why::Unverified)]);
    world.want(&[]);
    assert_eq!(world.plan().delete.len(), 1, "only what is ours is deleted");
}

#[test]
fn what_is_held_is_neither_applied_nor_deleted() {
    let mut world = World::default();
    world.want(&[("a", "1"), ("b", "1")]);
    world.act();
    world.want(&[("a", "1")]);
    world.held.insert(id("b"));
    world.is_at_rest();
    world.held.clear();
    assert_eq!(world.plan().delete.len(), 1, "it goes when it is not wanted any more");
}

proptest! {
    #![proptest_config(crate::chance::fixed())]

    #[test]
    fn whatever_happens_one_pass_brings_it_to_rest(
        rounds in prop::collection::vec(
            (prop::collection::btree_map("[a-d]", "[12]", 0..4), prop::option::of("[a-d]"), any::<bool>()), 1..12)
    ) {
        let mut world = World::default();
        for (wanted, touched, restarts) in rounds {
            world.wanted = wanted.into_iter().map(|(name, digest)| (id(&name), digest)).collect();
            if restarts {
                world.applied.clear();
            }
            if let Some(name) = touched.filter(|name| world.live.contains_key(&id(name))) {
                world.touch(&name);
            }
            world.act();
            prop_assert!(world.plan().is_quiet(), "{:?}", world.plan());
            let there: Vec<&PartId> = world.live.keys().collect();
            let mut wanted: Vec<&PartId> = world.wanted.iter().map(|(id, _)| id).collect();
            wanted.sort();
            prop_assert_eq!(there, wanted);
        }
    }
}
