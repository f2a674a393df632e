//! What holds for every component in every state: no group goes with what only it has, and plans come to an end.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use super::tests::{group, settle, spec};
use super::*;
use crate::names::Ordinal;

const GROUPS: [&str; 3] = ["a", "b", "c"];

/// Replicas that are asked for, whether it is stopped, whether agents run in its pods.
type Asked = (i32, bool, bool);
/// Pods, ready ones, and the highest ordinal there ever was.
type Told = (i32, i32, Option<u16>);
/// Whether it is well, whether what it says is about what is asked for, whether it is being deleted, and its share.
type Known = (bool, bool, bool, Share);

fn set(name: &str, asked: Asked, told: Told, known: Known) -> Set {
    let ((replicas, stopped, agents), (pods, ready, highest), (well, current, deleting, share)) = (asked, told, known);
    let mut component = spec(json!({ "groups": [group(name, replicas)] }));
    component.state = stopped.then_some(DesiredState::Stopped);
    let mut made = pod_set(&component, &component.groups[0]);
    if !agents {
        made.template.spec = json!({ "containers": [] }).into();
    }
    let is_well = if well { ConditionStatus::True } else { ConditionStatus::False };
    let finding = Finding::new(READY, is_well, "Told", "told");
    let status = PodSetStatus {
        replicas: Some(pods),
        ready_replicas: Some(ready.min(pods)),
        highest_ordinal: highest.and_then(|highest| Ordinal::new(highest).ok()),
        conditions: conditions::merge(&[], &[finding], Some(1), &Time(jiff::Timestamp::UNIX_EPOCH)),
        ..PodSetStatus::default()
    };
    Set { spec: made, status, uid: format!("uid-{name}"), deleting, current, share }
}

/// Whatever may be there, also what no plan would bring about.
fn live() -> impl Strategy<Value = BTreeMap<String, Set>> {
    let asked = (0..4i32, any::<bool>(), any::<bool>());
    let told = (0..4i32, 0..4i32, prop::option::of(0..4u16));
    let share = prop::sample::select(vec![Share::NotYet, Share::Has, Share::GivenAway]);
    let known = (any::<bool>(), any::<bool>(), prop::bool::weighted(0.1), share);
    let all = prop::collection::btree_map(prop::sample::select(GROUPS.to_vec()), (asked, told, known), 0..4);
    all.prop_map(|all| {
        let named = |name: &str| naming::pod_set("shop", "cache", name);
        all.into_iter().map(|(name, (asked, told, known))| (named(name), set(name, asked, told, known))).collect()
    })
}

fn names(least: usize) -> impl Strategy<Value = BTreeSet<&'static str>> {
    prop::collection::btree_set(prop::sample::select(GROUPS.to_vec()), least..4)
}

proptest! {
    #![proptest_config(crate::chance::fixed())]

    #[test]
    fn no_group_goes_with_its_pods_or_with_a_share_that_only_it_has(
        sets in live(), named in names(0), stopped in any::<bool>(), moves_shares in any::<bool>(), forming in any::<bool>(),
    ) {
        let groups: Vec<Value> = named.iter().map(|name| group(name, 2)).collect();
        let asked = spec(json!({ "groups": groups, "state": if stopped { "Stopped" } else { "Running" } }));
        let situation =
            Situation { spec: &asked, sets: sets.clone(), others: BTreeMap::new(), moves_shares, forming };
        let made = plan(&situation);
        prop_assert_eq!(&made, &plan(&situation), "the same situation leads to the same plan");
        let mut seen = BTreeSet::new();
        for action in &made.actions {
            prop_assert!(seen.insert(action.set.as_str()), "two things at once: {:#?}", made);
            let live = sets.get(&action.set);
            prop_assert!(live.is_none_or(|set| !set.deleting), "it is being deleted: {:#?}", made);
            let leaves = live.filter(|set| !named.contains(set.spec.group.as_str()));
            match (&action.what, leaves) {
                (What::Delete { uid }, Some(set)) => {
                    prop_assert!(set.uid == *uid && !named.is_empty() && !stopped, "{:#?}", made);
                    prop_assert_eq!((set.spec.replicas, set.status.replicas, set.current), (0, Some(0), true));
                }
                (What::Apply(new), Some(set)) if new.replicas != set.spec.replicas => {
                    let has_share = set.has_agents() && set.share != Share::GivenAway && !set.never_ran();
                    prop_assert!(!(moves_shares && has_share), "its share goes with it: {:#?}", made);
                    prop_assert!(new.replicas == 0 && !named.is_empty() && !stopped, "{:#?}", made);
                }
                (What::Depart { uid }, Some(set)) => {
                    prop_assert!(moves_shares && set.uid == *uid && set.share != Share::GivenAway, "{:#?}", made);
                    prop_assert!(set.status.ready_replicas > Some(0), "nobody could do it: {:#?}", made);
                }
                (What::Apply(_), _) => {}
                (What::Join { uid } | What::CountIn { uid }, None) => {
                    let set = live.expect("it is there");
                    prop_assert!(set.uid == *uid && set.share != Share::Has && !stopped, "{:#?}", made);
                }
                _ => return Err(TestCaseError::fail(format!("{action:?} is not to be: {made:#?}"))),
            }
        }
    }

    #[test]
    fn whatever_groups_are_asked_for_it_comes_to_rest_with_them(
        rounds in prop::collection::vec((names(1), 1..4i32, any::<bool>()), 1..6), last in names(1),
    ) {
        let asked = |named: &BTreeSet<&str>, replicas: i32, stopped: bool| {
            let groups: Vec<Value> = named.iter().map(|name| group(name, replicas)).collect();
            spec(json!({ "groups": groups, "state": if stopped { "Stopped" } else { "Running" } }))
        };
        let (mut sets, others) = (BTreeMap::new(), BTreeMap::new());
        for (named, replicas, stopped) in rounds {
            settle(&asked(&named, replicas, stopped), &mut sets, &others);
        }
        settle(&asked(&last, 2, false), &mut sets, &others);
        let wanted: Vec<String> = last.iter().map(|name| naming::pod_set("shop", "cache", name)).collect();
        prop_assert_eq!(sets.keys().cloned().collect::<Vec<_>>(), wanted);
        prop_assert!(sets.values().all(|set| set.share == Share::Has && set.status.replicas == Some(2)), "{:#?}", sets);
    }
}
