//! Scenarios of the sync planner, and what must hold in all of them.

use proptest::prelude::*;

use super::*;
use crate::plan::source::ObjectKind;

fn id(name: &str) -> ObjectId {
    ObjectId { kind: ObjectKind::Instance, namespace: Some("shop".into()), name: name.into() }
}

fn desired(name: &str, digest: &str) -> Desired {
    Desired { id: id(name), path: format!("instances/shop/{name}.yaml"), digest: digest.into() }
}

fn applied(name: &str, digest: &str) -> (ObjectId, Live) {
    let live = Live {
        source: Some("team".into()),
        path: Some(format!("instances/shop/{name}.yaml")),
        digest: Some(digest.into()),
        differences: vec![],
        deleting: false,
        reserved: None,
    };
    (id(name), live)
}

const PRUNE: Prune = Prune { enabled: true, max_count: 10, max_percent: 30, agreed: 0 };

struct World {
    desired: Vec<Desired>,
    live: BTreeMap<ObjectId, Live>,
    unknown: Unknown,
    whole: bool,
    prune: Prune,
    drift: Drift,
    may_be_ignored: bool,
}

impl World {
    fn new(desired: Vec<Desired>, live: impl IntoIterator<Item = (ObjectId, Live)>) -> Self {
        let live = live.into_iter().collect();
        let (unknown, drift) = (Unknown::default(), Drift::Revert);
        Self { desired, live, unknown, whole: true, prune: PRUNE, drift, may_be_ignored: false }
    }

    fn plan(&self) -> Plan {
        let desired: Vec<&Desired> = self.desired.iter().collect();
        plan(&Situation {
            source: "team",
            desired: &desired,
            live: &self.live,
            unknown: &self.unknown,
            untrusted: &|path| path.starts_with("untrusted/"),
            ignored: &|path| path.ends_with("ignored.yaml").then(|| "midship.yaml:3".to_owned()),
            may_be_ignored: self.may_be_ignored,
            needed: &|id| (id.name == "needed").then(|| "shop/cache uses it".to_owned()),
            whole_tree_read: self.whole,
            prune: self.prune,
            drift: self.drift,
        })
    }

    fn said(&self) -> Vec<String> {
        self.plan().actions.iter().map(|action| format!("{:?} {}: {}", action.what, action.id, action.reason)).collect()
    }

    /// The world after everything that was planned was done.
    fn carry_out(&mut self) {
        for action in self.plan().actions {
            if action.what == What::Delete {
                self.live.remove(&action.id);
                continue;
            }
            let wanted =
                self.desired.iter().find(|desired| desired.id == action.id).expect("only what is wanted is applied");
            let mut live = applied("x", &wanted.digest).1;
            live.path = Some(wanted.path.clone());
            self.live.insert(action.id, live);
        }
    }
}

#[test]
fn what_is_still_being_deleted_is_waited_for_whether_it_is_wanted_or_not() {
    let (wanted, mut there) = applied("wanted", "1");
    let (unwanted, mut also) = applied("unwanted", "1");
    there.deleting = true;
    also.deleting = true;
    let plan = World::new(vec![desired("wanted", "1")], [(wanted.clone(), there), (unwanted.clone(), also)]).plan();
    assert_eq!(plan.actions, []);
    assert_eq!(plan.leaving, BTreeSet::from([unwanted, wanted]));
    assert!(plan.leaves_open());
}

#[test]
fn what_is_missing_is_created_and_what_changed_is_updated() {
    let world = World::new(
        vec![desired("a", "1"), desired("b", "2"), desired("c", "3")],
        [applied("b", "1"), applied("c", "3")],
    );
    assert_eq!(
        world.said(),
        [
            "Create Instance shop/a: instances/shop/a.yaml defines it",
            "Update Instance shop/b: instances/shop/b.yaml changed"
        ]
    );
    assert_eq!(world.plan().in_sync, 1);
}

#[test]
fn what_is_left_out_goes_like_what_is_gone_and_says_by_what_line() {
    let world = World::new(vec![desired("a", "1")], [applied("a", "1"), applied("ignored", "1")]);
    assert_eq!(
        world.said(),
        ["Delete Instance shop/ignored: instances/shop/ignored.yaml is ignored by midship.yaml:3"]
    );
    let mut held = World::new(vec![desired("a", "1")], [applied("a", "1"), applied("ignored", "1")]);
    held.prune.max_count = 0;
    let plan = held.plan();
    assert_eq!(plan.actions, []);
    let because = plan.held_because.expect("it is held");
    assert!(because.ends_with("; instances/shop/ignored.yaml is ignored by midship.yaml:3"), "{because}");
}

#[test]
fn while_nobody_can_tell_what_is_left_out_nothing_is_applied_from_a_new_file() {
    let (moved, mut there) = applied("moved", "1");
    there.path = Some("elsewhere.yaml".into());
    let free = Live { source: None, path: None, digest: None, ..applied("free", "1").1 };
    let mut world = World::new(
        vec![desired("new", "1"), desired("known", "2"), desired("moved", "2"), desired("free", "1")],
        [applied("known", "1"), (moved, there), (id("free"), free)],
    );
    world.may_be_ignored = true;
    world.whole = false;
    assert_eq!(world.said(), ["Update Instance shop/known: instances/shop/known.yaml changed"]);
    let refused = world.plan().refused;
    assert_eq!(refused.keys().map(|id| id.name.as_str()).collect::<Vec<_>>(), ["free", "moved", "new"]);
    assert!(refused.values().all(|refused| refused.code == "settings"));
    world.may_be_ignored = false;
    assert_eq!(world.said().len(), 4);
}

#[test]
fn what_somebody_changed_is_changed_back_or_reported() {
    let mut changed = applied("a", "1");
    changed.1.differences = vec![".spec.version".into()];
    let mut world = World::new(vec![desired("a", "1")], [changed]);
    assert_eq!(world.said(), ["Revert Instance shop/a: somebody changed .spec.version"]);
    world.drift = Drift::Report;
    assert_eq!(world.said(), Vec::<String>::new());
    assert_eq!(world.plan().drifted[&id("a")], [".spec.version"]);
}

#[test]
fn what_another_source_applied_is_left_to_it() {
    let mut other = applied("a", "1");
    other.1.source = Some("other".into());
    let world = World::new(vec![desired("a", "2")], [other]);
    assert!(world.plan().actions.is_empty());
    assert_eq!(world.plan().foreign[&id("a")], "other");
}

#[test]
fn a_file_that_vanishes_deletes_its_object_within_the_budget() {
    let live = (0..10).map(|n| applied(&format!("i{n}"), "1"));
    let wanted = (1..10).map(|n| desired(&format!("i{n}"), "1")).collect();
    let world = World::new(wanted, live);
    assert_eq!(world.said(), ["Delete Instance shop/i0: instances/shop/i0.yaml does not define it any more"]);
}

#[test]
fn more_deletions_than_the_budget_allows_are_held_until_the_commit_agrees() {
    let live: Vec<_> = (0..10).map(|n| applied(&format!("i{n}"), "1")).collect();
    let wanted = (5..10).map(|n| desired(&format!("i{n}"), "1")).collect();
    let mut world = World::new(wanted, live);
    let plan = world.plan();
    assert!(plan.actions.is_empty());
    assert_eq!(plan.held.len(), 5);
    assert!(plan.held_because.expect("a reason").contains("Midship-Allow-Deletions: 5"));
    world.prune.agreed = 5;
    assert_eq!(world.plan().actions.len(), 5);
    world.prune.agreed = 4;
    assert_eq!(world.plan().held.len(), 5);
}

#[test]
fn an_empty_repository_never_deletes() {
    let mut world = World::new(vec![], [applied("a", "1")]);
    world.prune.agreed = 100;
    assert!(world.plan().actions.is_empty());
    assert!(world.plan().held_because.expect("a reason").contains("an empty repository never deletes"));
}

#[test]
fn a_half_read_repository_never_deletes() {
    let mut world = World::new(vec![desired("b", "1")], [applied("a", "1"), applied("b", "1")]);
    world.whole = false;
    assert_eq!(world.plan().held, [id("a")]);
}

#[test]
fn what_was_applied_from_a_broken_file_stays() {
    let mut world = World::new(vec![desired("b", "1")], [applied("a", "1"), applied("b", "1")]);
    world.unknown.places.insert("instances/shop/a.yaml".into());
    let plan = world.plan();
    assert!(plan.actions.is_empty() && plan.held.is_empty());
}

#[test]
fn what_midship_made_for_itself_is_not_taken_over() {
    let (id, mut live) = applied("a", "1");
    (live.source, live.reserved) = (None, Some("Midship made it for the GitSource main".into()));
    let plan = World::new(vec![desired("a", "1")], [(id.clone(), live)]).plan();
    assert!(plan.actions.is_empty());
    assert!(plan.refused[&id].message.ends_with("for the GitSource main; give yours another name"), "{plan:?}");
}

#[test]
fn an_object_that_moved_is_known_by_its_new_file() {
    let mut moved = desired("a", "1");
    moved.path = "instances/shop/moved.yaml".into();
    let mut world = World::new(vec![moved], [applied("a", "1")]);
    assert_eq!(world.said(), ["Update Instance shop/a: it moved to instances/shop/moved.yaml"]);
    world.carry_out();
    assert!(world.plan().is_quiet());
    // it cannot be read any more
    world.desired = vec![desired("b", "1")];
    world.live.extend([applied("b", "1")]);
    world.unknown.places.insert("instances/shop/moved.yaml".into());
    assert!(world.plan().actions.is_empty());
}

#[test]
fn what_a_mistake_is_about_stays_wherever_it_was_defined() {
    let mut world = World::new(vec![desired("b", "1")], [applied("a", "1"), applied("b", "1")]);
    world.unknown.objects.insert(id("a"));
    let plan = world.plan();
    assert!(plan.actions.is_empty() && plan.held.is_empty());
}

#[test]
fn nothing_is_deleted_while_a_new_file_that_cannot_be_read_may_define_it() {
    let mut world = World::new(vec![desired("b", "1")], [applied("a", "1"), applied("b", "1")]);
    for place in ["instances/shop/b.yaml", "instances/shop/new.yaml"] {
        world.unknown.places.insert(place.into());
        world.unknown.unclear.insert(place.into());
    }
    let plan = world.plan();
    assert_eq!((plan.actions.as_slice(), plan.held.as_slice()), (&[][..], &[id("a")][..]));
    let because = plan.held_because.expect("it says why");
    assert!(because.starts_with("instances/shop/new.yaml cannot be read, and may define"), "{because}");
    // of that file something was applied before: it is about that
    world.unknown.unclear.remove("instances/shop/new.yaml");
    assert_eq!(world.said(), ["Delete Instance shop/a: instances/shop/a.yaml does not define it any more"]);
    world.unknown.unclear.insert("instances/shop/new.yaml".into());
    world.prune.agreed = 1;
    assert_eq!(world.said().len(), 1, "somebody agreed");
}

#[test]
fn what_somebody_needs_is_held_and_the_rest_goes() {
    let mut world = World::new(vec![desired("b", "1")], [applied("a", "1"), applied("b", "1"), applied("needed", "1")]);
    world.prune.max_percent = 100;
    let plan = world.plan();
    assert_eq!(plan.held, [id("needed")]);
    assert_eq!(
        plan.held_because.as_deref(),
        Some(
            "Instance shop/needed is not defined any more, and shop/cache uses it; it is deleted once nobody needs it"
        )
    );
    assert_eq!(world.said(), ["Delete Instance shop/a: instances/shop/a.yaml does not define it any more"]);
}

#[test]
fn each_that_is_needed_says_by_whom_also_where_others_wait_for_the_budget() {
    let mut second = applied("needed", "1");
    second.0.kind = ObjectKind::ConfigMap;
    let live = [applied("a", "1"), applied("b", "1"), applied("needed", "1"), second.clone()];
    let mut world = World::new(vec![desired("b", "1")], live);
    let told = "ConfigMap shop/needed is not defined any more, and shop/cache uses it; it is deleted once nobody needs it; \
                1 more are needed, too, and status.held says by whom";
    let by = "shop/cache uses it".to_owned();
    let needed = BTreeMap::from([(second.0.clone(), by.clone()), (id("needed"), by)]);
    let plan = world.plan();
    assert_eq!((plan.needed.clone(), plan.held_because.as_deref()), (needed.clone(), Some(told)));
    assert_eq!(plan.actions.len(), 1, "what nobody needs goes");

    world.whole = false;
    let plan = world.plan();
    assert_eq!((plan.needed, plan.actions), (needed, vec![]));
    assert_eq!(plan.held, [second.0, id("a"), id("needed")]);
    let because = "the repository could not be read in full; nothing is deleted until it can be";
    assert_eq!(plan.held_because, Some(format!("{because}; besides, {told}")));
}

#[test]
fn deletions_come_last_and_backwards() {
    let mut gone = applied("x", "1");
    gone.0 = ObjectId { kind: ObjectKind::Secret, ..id("old") };
    let mut world =
        World::new(vec![desired("new", "1"), desired("keep", "1")], [gone, applied("old", "1"), applied("keep", "1")]);
    world.prune.max_percent = 100;
    let order: Vec<_> = world.plan().actions.iter().map(|action| action.id.to_string()).collect();
    assert_eq!(order, ["Instance shop/new", "Instance shop/old", "Secret shop/old"]);
}

#[test]
fn a_namespace_is_never_deleted_for_its_file_and_takes_nothing_of_the_budget() {
    let mut gone = applied("shop", "1");
    gone.0 = ObjectId { kind: ObjectKind::Namespace, namespace: None, name: "shop".into() };
    let namespace = gone.0.clone();
    let mut world = World::new(vec![desired("keep", "1")], [gone, applied("keep", "1"), applied("old", "1")]);
    let plan = world.plan();
    assert_eq!(plan.actions.iter().map(|action| action.id.clone()).collect::<Vec<_>>(), [id("old")]);
    assert!(plan.left[&namespace].contains("Delete it by hand (kubectl delete namespace shop)"));
    world.prune.enabled = false;
    assert_eq!(world.plan().left.len(), 1);
}

fn live_state() -> impl Strategy<Value = Live> {
    (0u8..3, 0u8..3, any::<bool>(), any::<bool>(), 0u8..6).prop_map(|(source, digest, differs, deleting, path)| Live {
        source: [None, Some("team".to_owned()), Some("other".to_owned())][usize::from(source)].clone(),
        path: Some(format!("instances/shop/i{path}.yaml")),
        digest: Some(digest.to_string()),
        differences: if differs { vec![".spec".into()] } else { vec![] },
        deleting,
        reserved: None,
    })
}

proptest! {
    #![proptest_config(crate::chance::fixed())]

    #[test]
    fn a_plan_that_was_carried_out_leaves_nothing_to_do_and_never_touches_others(
        wanted in prop::collection::btree_map(0u8..6, 0u8..3, 0..6),
        live in prop::collection::btree_map(0u8..6, live_state(), 0..6),
        broken in prop::collection::btree_set(0u8..9, 0..3),
        (unclear, meant) in (any::<bool>(), prop::option::of(0u8..6)),
        (whole, enabled, max_count, max_percent, agreed) in (any::<bool>(), any::<bool>(), 0usize..4, 0usize..101, 0usize..4),
    ) {
        let desired = wanted.iter().map(|(n, digest)| desired(&format!("i{n}"), &digest.to_string())).collect();
        let mut world = World::new(desired, live.into_iter().map(|(n, live)| (id(&format!("i{n}")), live)));
        world.unknown.places = broken.into_iter().map(|n| format!("instances/shop/i{n}.yaml")).collect();
        world.unknown.unclear = if unclear { world.unknown.places.clone() } else { BTreeSet::new() };
        world.unknown.objects = meant.iter().map(|n| id(&format!("i{n}"))).collect();
        let new = (6..9).any(|n| world.unknown.unclear.contains(&format!("instances/shop/i{n}.yaml")));
        world.whole = whole;
        world.prune = Prune { enabled, max_count, max_percent, agreed };
        let first = world.plan();
        for action in &first.actions {
            let live = world.live.get(&action.id);
            let other = live.is_some_and(|live| live.source.as_deref() == Some("other"));
            prop_assert!(!other, "touched what another source applied");
            if action.what == What::Delete {
                let live = live.expect("only what is there is deleted");
                prop_assert_eq!(live.source.as_deref(), Some("team"));
                prop_assert!(whole && enabled && !world.desired.is_empty());
                prop_assert!(!world.unknown.covers(&action.id, live.path.as_deref()));
                prop_assert!(!new || first.actions.iter().filter(|one| one.what == What::Delete).count() <= agreed);
            }
        }
        world.carry_out();
        let second = world.plan();
        prop_assert!(second.actions.is_empty(), "again: {:?}", second.actions);
    }
}
