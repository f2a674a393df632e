//! Components from situation to situation.

use serde_json::{Value, json};

use super::*;
use crate::names::Ordinal;

pub fn spec(more: Value) -> ComponentSpec {
    let mut all = json!({
        "instance": "shop", "component": "cache", "replicas": 3,
        "groups": [{ "name": "default", "template": { "spec": { "containers": [] } } }],
    });
    for (key, value) in more.as_object().cloned().unwrap_or_default() {
        all[key] = value;
    }
    serde_json::from_value(all).expect("a component")
}

pub fn group(name: &str, replicas: i32) -> Value {
    json!({ "name": name, "replicas": replicas, "template": { "spec": { "containers": [{ "name": "midship" }] } } })
}

fn ready(pods: i32) -> PodSetStatus {
    let finding = Finding::new(READY, ConditionStatus::True, "Ready", "all pods are ready");
    let conditions = conditions::merge(&[], &[finding], Some(1), &Time(jiff::Timestamp::UNIX_EPOCH));
    PodSetStatus { replicas: Some(pods), ready_replicas: Some(pods), conditions, ..PodSetStatus::default() }
}

/// Carries plans out until there is nothing to do, as if pods came and went at once.
pub fn settle(spec: &ComponentSpec, sets: &mut BTreeMap<String, Set>, others: &BTreeMap<String, Other>) -> Vec<String> {
    let mut log = Vec::new();
    for _ in 0..20 {
        let plan =
            plan(&Situation { spec, sets: sets.clone(), others: others.clone(), moves_shares: true, forming: false });
        if plan.actions.is_empty() {
            return log;
        }
        for action in plan.actions {
            match action.what {
                What::Apply(spec) => {
                    let stopped = spec.state == Some(DesiredState::Stopped);
                    let replicas = if stopped { 0 } else { spec.replicas };
                    log.push(format!("{} {replicas}", action.set));
                    let before = sets.get(&action.set).cloned();
                    let highest = before.as_ref().and_then(|set| set.status.highest_ordinal);
                    let mut status = ready(replicas);
                    status.highest_ordinal = u16::try_from(replicas - 1).ok().and_then(|last| Ordinal::new(last).ok());
                    status.highest_ordinal = status.highest_ordinal.max(highest);
                    let set = Set {
                        spec: *spec,
                        status,
                        uid: action.set.clone(),
                        deleting: false,
                        current: true,
                        share: before.map(|set| set.share).unwrap_or_default(),
                    };
                    sets.insert(action.set, set);
                }
                What::Join { .. } | What::CountIn { .. } => {
                    if matches!(action.what, What::Join { .. }) {
                        log.push(format!("{} joins", action.set));
                    }
                    sets.get_mut(&action.set).expect("it is there").share = Share::Has;
                }
                What::Depart { .. } => {
                    log.push(format!("{} departs", action.set));
                    sets.get_mut(&action.set).expect("it is there").share = Share::GivenAway;
                }
                What::Delete { uid } => {
                    assert_eq!(uid, action.set);
                    assert_eq!(sets[&uid].status.replicas, Some(0), "pods were still there");
                    sets.remove(&uid);
                    log.push(format!("{uid} deleted"));
                }
            }
        }
    }
    panic!("it never comes to rest: {log:?}");
}

#[test]
fn groups_become_pod_sets_and_free_replicas_are_those_of_the_default_group() {
    let (mut sets, others) = (BTreeMap::new(), BTreeMap::new());
    assert_eq!(settle(&spec(json!({})), &mut sets, &others), ["shop-cache 3"]);
    assert_eq!(settle(&spec(json!({ "replicas": 5 })), &mut sets, &others), ["shop-cache 5"]);
    let named = json!({ "groups": [group("default", 2), group("shard-1", 1)] });
    assert_eq!(
        settle(&spec(named), &mut sets, &others),
        ["shop-cache 2", "shop-cache-shard-1 1", "shop-cache-shard-1 joins"]
    );
}

#[test]
fn a_number_that_is_not_allowed_changes_nothing() {
    let (mut sets, others) = (BTreeMap::new(), BTreeMap::new());
    let allowed = |replicas: i32, odd: bool| {
        spec(json!({ "replicas": replicas, "allowedReplicas": { "min": 1, "max": 5, "odd": odd } }))
    };
    // nothing is made for a number that cannot be
    assert!(settle(&allowed(0, false), &mut sets, &others).is_empty());
    assert_eq!(settle(&allowed(3, false), &mut sets, &others), ["shop-cache 3"]);
    for (refused, told) in [
        (
            allowed(0, false),
            "replicas of shop-cache: 0 is not allowed; allowed is 1 to 5; it stays at 3 until that is mended",
        ),
        (
            allowed(6, false),
            "replicas of shop-cache: 6 is not allowed; allowed is 1 to 5; it stays at 3 until that is mended",
        ),
        (
            allowed(2, true),
            "replicas of shop-cache: 2 is even, and a majority needs an odd number; it stays at 3 until that is mended",
        ),
    ] {
        assert!(settle(&refused, &mut sets, &others).is_empty());
        let situation = Situation {
            spec: &refused,
            sets: sets.clone(),
            others: others.clone(),
            moves_shares: true,
            forming: false,
        };
        let plan = plan(&situation);
        assert_eq!((plan.waits[0].message.as_str(), plan.waits[0].stalled), (told, true));
    }
    // whatever else changes goes on
    let mut stopped = allowed(0, false);
    stopped.state = Some(DesiredState::Stopped);
    assert_eq!(settle(&stopped, &mut sets, &others), ["shop-cache 0"]);
    assert_eq!(sets["shop-cache"].spec.replicas, 3);
}

#[test]
fn a_group_that_is_removed_loses_its_pods_first() {
    let (mut sets, others) = (BTreeMap::new(), BTreeMap::new());
    settle(&spec(json!({ "groups": [group("a", 2), group("b", 2)] })), &mut sets, &others);
    let log = settle(&spec(json!({ "groups": [group("a", 2)] })), &mut sets, &others);
    assert_eq!(log, ["shop-cache-b departs", "shop-cache-b 0", "shop-cache-b deleted"]);
}

#[test]
fn a_group_that_leaves_and_has_no_pod_is_not_thrown_away_with_its_share() {
    let both = || json!([group("a", 2), group("b", 2)]);
    let (mut sets, others) = (BTreeMap::new(), BTreeMap::new());
    settle(&spec(json!({ "groups": both() })), &mut sets, &others);
    let one = spec(json!({ "groups": [group("a", 2)] }));
    // a pod is made anew, or is kept out by a quota
    let without = |sets: &BTreeMap<String, Set>, share: Share| {
        let mut sets = sets.clone();
        let set = sets.get_mut("shop-cache-b").expect("it is there");
        (set.status.replicas, set.status.ready_replicas, set.share) = (Some(0), Some(0), share);
        plan(&Situation { spec: &one, sets, others: others.clone(), moves_shares: true, forming: false })
    };
    for share in [Share::Has, Share::NotYet] {
        let told = without(&sets, share);
        assert!(told.actions.is_empty() && told.waits[0].stalled, "{told:#?}");
        assert!(told.waits[0].message.contains("name the group again"), "{told:#?}");
    }
    assert_eq!(without(&sets, Share::GivenAway).actions.len(), 1);
    // one that never had a pod has nothing to give away
    let mut new = sets.clone();
    new.get_mut("shop-cache-b").expect("it is there").status.highest_ordinal = None;
    assert_eq!(without(&new, Share::NotYet).actions.len(), 1);
    // one that is stopped starts once more
    settle(&spec(json!({ "state": "Stopped", "groups": both() })), &mut sets, &others);
    let log = settle(&one, &mut sets, &others);
    let leaves = ["shop-cache-b 2", "shop-cache-b departs", "shop-cache-b 0", "shop-cache-b deleted"];
    assert_eq!(log.into_iter().filter(|line| line.starts_with("shop-cache-b")).collect::<Vec<_>>(), leaves);
}

#[test]
fn a_group_that_is_added_later_gets_its_share_and_the_first_ones_do_not() {
    let (mut sets, others) = (BTreeMap::new(), BTreeMap::new());
    let log = settle(&spec(json!({ "groups": [group("a", 2), group("b", 2)] })), &mut sets, &others);
    assert_eq!(log, ["shop-cache-a 2", "shop-cache-b 2"]);
    let grown = spec(json!({ "groups": [group("a", 2), group("b", 2), group("c", 2)] }));
    assert_eq!(settle(&grown, &mut sets, &others), ["shop-cache-c 2", "shop-cache-c joins"]);
    // stopping and starting makes nobody new
    let stopped = spec(json!({ "state": "Stopped", "groups": [group("a", 2), group("b", 2), group("c", 2)] }));
    settle(&stopped, &mut sets, &others);
    let log = settle(&grown, &mut sets, &others);
    assert!(log.iter().all(|line| !line.contains("joins")), "{log:?}");
}

#[test]
fn a_group_that_comes_before_the_instance_is_formed_waits_for_nobody() {
    let (mut sets, others) = (BTreeMap::new(), BTreeMap::new());
    settle(&spec(json!({ "groups": [group("a", 2), group("b", 2)] })), &mut sets, &others);
    let grown = spec(json!({ "groups": [group("a", 2), group("b", 2), group("c", 2)] }));
    let first = |sets: &BTreeMap<String, Set>, forming| {
        let situation =
            Situation { spec: &grown, sets: sets.clone(), others: others.clone(), moves_shares: true, forming };
        plan(&situation).actions.into_iter().map(|action| (action.set, action.what)).next()
    };
    let Some((name, What::Apply(spec))) = first(&sets, true) else { panic!("it is to be") };
    let set =
        Set { spec: *spec, status: ready(2), uid: name.clone(), deleting: false, current: true, share: Share::NotYet };
    sets.insert(name.clone(), set);
    // to join it would need what is formed only once it is ready
    assert_eq!(first(&sets, true), Some((name.clone(), What::CountIn { uid: name.clone() })));
    assert_eq!(first(&sets, false), Some((name.clone(), What::Join { uid: name })));
}

#[test]
fn a_group_without_a_ready_pod_keeps_its_share() {
    let (mut sets, others) = (BTreeMap::new(), BTreeMap::new());
    settle(&spec(json!({ "groups": [group("a", 2), group("b", 2)] })), &mut sets, &others);
    sets.get_mut("shop-cache-b").expect("it is there").status.ready_replicas = Some(0);
    let spec = spec(json!({ "groups": [group("a", 2)] }));
    let told = plan(&Situation {
        spec: &spec,
        sets: sets.clone(),
        others: others.clone(),
        moves_shares: true,
        forming: false,
    });
    assert!(told.actions.is_empty() && told.waits[0].stalled, "{told:#?}");
    // where the package has nothing to move it just goes
    let told = plan(&Situation { spec: &spec, sets, others, moves_shares: false, forming: false });
    assert_eq!(told.actions.len(), 1, "{told:#?}");
}

#[test]
fn a_group_whose_pods_cannot_leave_stays() {
    let (mut sets, others) = (BTreeMap::new(), BTreeMap::new());
    settle(&spec(json!({ "groups": [group("a", 2), group("b", 2)] })), &mut sets, &others);
    let set = sets.get_mut("shop-cache-b").expect("it is there");
    set.spec.replicas = 0;
    set.status = ready(1);
    let spec = spec(json!({ "groups": [group("a", 2)] }));
    let plan = plan(&Situation { spec: &spec, sets, others, moves_shares: true, forming: false });
    assert!(plan.actions.is_empty(), "{plan:#?}");
    assert_eq!(plan.waits[0].message, "shop-cache-b goes once its pods have left");
}

#[test]
fn no_groups_at_all_remove_nothing() {
    let (mut sets, others) = (BTreeMap::new(), BTreeMap::new());
    settle(&spec(json!({})), &mut sets, &others);
    let spec = spec(json!({ "groups": [] }));
    let plan = plan(&Situation { spec: &spec, sets, others, moves_shares: true, forming: false });
    assert!(plan.actions.is_empty() && plan.waits[0].stalled, "{plan:#?}");
}

#[test]
fn a_component_starts_after_those_it_needs_and_stops_before_them() {
    let mut sets = BTreeMap::new();
    let store = |ready| Other { ready, pods: 3, ..Other::default() };
    let after = json!({ "after": ["store"] });
    assert!(settle(&spec(after.clone()), &mut sets, &BTreeMap::new()).is_empty(), "the store is not made yet");
    let mut others = BTreeMap::from([("store".to_owned(), store(false))]);
    assert!(settle(&spec(after.clone()), &mut sets, &others).is_empty());
    others.insert("store".to_owned(), store(true));
    assert_eq!(settle(&spec(after.clone()), &mut sets, &others), ["shop-cache 3"]);
    // later it does not matter whether the other is ready
    others.insert("store".to_owned(), store(false));
    let mut changed = after;
    changed["replicas"] = json!(4);
    assert_eq!(settle(&spec(changed), &mut sets, &others), ["shop-cache 4"]);

    let proxy = Other { after: vec!["cache".into()], pods: 1, stopped: true, ready: false };
    let mut others = BTreeMap::from([("proxy".to_owned(), proxy.clone())]);
    let stopped = spec(json!({ "state": "Stopped", "replicas": 4, "after": ["store"] }));
    assert!(settle(&stopped, &mut sets, &others).is_empty(), "the proxy still has a pod");
    others.insert("proxy".to_owned(), Other { pods: 0, ..proxy });
    assert_eq!(settle(&stopped, &mut sets, &others), ["shop-cache 0"]);
}

#[test]
fn a_component_says_what_its_pod_sets_say() {
    let mut sets = BTreeMap::new();
    let (spec, others) = (spec(json!({})), BTreeMap::new());
    settle(&spec, &mut sets, &others);
    let situation = Situation { spec: &spec, sets, others, moves_shares: true, forming: false };
    let before = ComponentStatus::default();
    let status = status(&situation, &plan(&situation), &before, Some(1), None, &Time(jiff::Timestamp::UNIX_EPOCH));
    assert_eq!((status.replicas, status.ready_replicas), (Some(3), Some(3)));
    assert_eq!(status.selector.as_deref(), Some("midship.dev/instance=shop,midship.dev/component=cache"));
    assert_eq!(status.conditions[0].message, "3 pods are ready");
}
