//! Pods come, leave, stop and start.

use serde_json::json;

use super::spec;
use super::world::World;
use crate::plan::pod_set::{Attempt, EMPTIED, Trouble, status};

#[test]
fn pods_and_volumes_come_into_being_and_then_nothing_happens() {
    let mut world = World::new(spec(json!({})));
    let plan = world.step();
    assert_eq!(plan.actions.len(), 6, "{plan:#?}");
    assert_eq!(world.reason(), "Creating");
    world.settle();
    assert_eq!(world.pods.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
    assert!(world.claims.contains_key("data-shop-cache-2"));
    assert_eq!((world.reason().as_str(), world.message().as_str()), ("Ready", "3 of 3 pods are ready"));
}

#[test]
fn an_ordered_start_waits_for_each_pod_to_be_ready() {
    let mut world = World::new(spec(json!({ "start": "Ordered" })));
    world.step();
    assert_eq!(world.pods.len(), 1);
    world.tick();
    world.step();
    assert_eq!(world.pods.len(), 2);
    world.settle();
    assert_eq!(world.happened("CreatePod"), [0, 1, 2]);
}

#[test]
fn an_ordered_start_does_not_wait_for_ever() {
    let mut world = World::new(spec(json!({ "start": "Ordered", "update": { "timeout": "1m" } })));
    world.bad_images.insert("cache:1".into());
    world.settle();
    assert_eq!(world.pods.len(), 3);
    assert_eq!(world.reason(), "UpdateFailed");
}

#[test]
fn the_highest_pod_leaves_after_it_handed_over_its_data_and_its_volume_stays() {
    let mut world = World::running(spec(json!({})));
    world.change(json!({ "replicas": 2 }));
    world.settle();
    assert_eq!(world.log, ["PrepareToLeave 2", "DeletePod 2", "TellOfDeparture 2"]);
    assert!(world.claims.contains_key("data-shop-cache-2"), "Retain is assumed");
    assert_eq!(world.reason(), "Ready");
}

#[test]
fn whoever_joins_later_is_welcomed_once_and_the_first_ones_are_not() {
    let mut world = World::new(spec(json!({})));
    world.settle();
    assert_eq!(world.happened("Welcome"), [0u16; 0]);
    assert_eq!(world.happened("RecordMembers"), [0]);
    world.log.clear();
    world.change(json!({ "replicas": 4 }));
    world.settle();
    assert_eq!(world.happened("Welcome"), [3]);
    // one that is made anew has belonged to the set before
    world.pods.remove(&1);
    world.settle();
    assert_eq!(world.happened("Welcome"), [3]);
    // one that left and comes again has not
    world.change(json!({ "replicas": 3, "offline": [1] }));
    world.settle();
    world.change(json!({ "replicas": 4, "offline": [] }));
    world.settle();
    assert_eq!((world.happened("TellOfDeparture"), world.happened("Welcome")), (vec![1], vec![3, 1]));
}

#[test]
fn a_pod_that_is_not_welcomed_yet_is_said_and_tried_again() {
    let mut world = World::running(spec(json!({})));
    world.change(json!({ "replicas": 4 }));
    world.step();
    world.tick();
    world.tick();
    world.fails(3, Attempt::PostScaleOut, "the cluster is down", false);
    let plan = world.step();
    assert_eq!(plan.actions.len(), 1, "{plan:#?}");
    assert_eq!(world.reason(), "Scaling");
    assert!(world.message().contains("the cluster is down"), "{}", world.message());
}

#[test]
fn exactly_the_offline_ordinal_leaves() {
    let mut world = World::running(spec(json!({})));
    world.change(json!({ "replicas": 2, "offline": [1] }));
    world.settle();
    assert_eq!(world.pods.keys().copied().collect::<Vec<_>>(), [0, 2]);
    world.change(json!({ "replicas": 3, "offline": [1] }));
    world.settle();
    assert_eq!(world.pods.keys().copied().collect::<Vec<_>>(), [0, 2, 3]);
    world.change(json!({ "offline": [] }));
    world.settle();
    assert_eq!(world.pods.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn an_unknown_ordinal_is_refused_and_nothing_happens() {
    let mut world = World::running(spec(json!({})));
    world.change(json!({ "replicas": 2, "offline": [7] }));
    world.settle();
    assert!(world.log.is_empty(), "{:?}", world.log);
    assert_eq!(world.reason(), "UnknownOrdinal");
    assert_eq!(
        world.message(),
        "offline names 7, which never was; there are 0, 1, 2. Nothing is scaled until that is mended"
    );
    // what breaks meanwhile is mended all the same
    world.pods.remove(&1);
    world.settle();
    assert_eq!(world.happened("CreatePod"), [1]);
    world.change(json!({ "offline": [2] }));
    world.settle();
    assert_eq!(world.pods.keys().copied().collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn an_ordinal_that_left_stays_known_even_without_its_volume() {
    let mut world = World::running(spec(json!({ "deletionPolicy": "Delete" })));
    world.change(json!({ "replicas": 2, "offline": [2] }));
    world.settle();
    assert!(!world.claims.contains_key("data-shop-cache-2"));
    world.change(json!({ "replicas": 1 }));
    world.settle();
    assert_eq!(world.pods.keys().copied().collect::<Vec<_>>(), [0]);
}

#[test]
fn a_volume_goes_only_by_policy_recorded_intent_and_a_departure_in_order() {
    let mut world = World::running(spec(json!({ "deletionPolicy": "Delete" })));
    world.change(json!({ "replicas": 2 }));
    world.settle();
    let in_order = ["PrepareToLeave 2", "AgreeToDeleteVolume 2", "DeletePod 2", "DeleteVolume 2", "TellOfDeparture 2"];
    assert_eq!(world.log, in_order);

    // a pod that vanished by itself has not left in order
    world.pods.remove(&1);
    world.change(json!({ "replicas": 1 }));
    world.log.clear();
    world.settle();
    assert_eq!(world.log, ["TellOfDeparture 1"]);
    assert!(world.claims.contains_key("data-shop-cache-1"));

    // an intent that was recorded for another volume of the same name is none
    world.claim("data-shop-cache-1").to_delete = Some("somebody-elses".into());
    world.settle();
    assert!(world.claims.contains_key("data-shop-cache-1"));

    // whoever is wanted again keeps its volume
    let uid = world.claim("data-shop-cache-1").uid.clone();
    world.claim("data-shop-cache-1").to_delete = Some(uid);
    world.change(json!({ "replicas": 2 }));
    world.settle();
    assert_eq!(world.claim("data-shop-cache-1").to_delete, None);
}

#[test]
fn a_pod_that_cannot_hand_over_its_data_stays_and_says_why() {
    let mut world = World::running(spec(json!({})));
    world.change(json!({ "replicas": 2 }));
    world.fails(2, Attempt::PreScaleIn, "slots cannot be moved", true);
    world.settle();
    assert!(world.log.is_empty(), "{:?}", world.log);
    assert!(world.message().contains("slots cannot be moved"), "{}", world.message());
    // what was refused long ago is asked for once more, and still told of
    world.troubles[0].due = true;
    world.step();
    assert_eq!(world.log, ["PrepareToLeave 2"]);
    assert!(world.message().contains("slots cannot be moved"), "{}", world.message());
}

#[test]
fn the_leader_hands_over_before_it_leaves() {
    let mut world = World::running(spec(json!({ "roleOrder": ["replica", "primary"] })));
    world.change(json!({ "offline": [0], "replicas": 2 }));
    assert_eq!(world.leader(), Some(0));
    world.settle();
    assert_eq!(world.log, ["Switchover 0", "PrepareToLeave 0", "DeletePod 0", "TellOfDeparture 0"]);
    assert_eq!(world.leader(), Some(1));
}

#[test]
fn whoever_is_to_take_over_is_not_changed_by_the_same_plan() {
    let mut world = World::running(spec(json!({ "replicas": 2, "roleOrder": ["replica", "primary"] })));
    world.pods.get_mut(&0).expect("it is there").role = Some("replica".into());
    world.pods.get_mut(&1).expect("it is there").role = Some("primary".into());
    world.change(json!({ "replicas": 1, "template": super::template("2") }));
    let plan = world.step();
    assert_eq!(world.log, ["Switchover 1"]);
    let told = plan.waits.iter().map(|wait| wait.message.as_str()).collect::<Vec<_>>();
    assert_eq!(told, ["shop-cache-0 changes once it has taken over from the pod that leaves"]);
    world.settle();
    assert_eq!((world.images(), world.leader()), (vec!["cache:2".to_owned()], Some(0)));
}

#[test]
fn a_leader_with_nobody_to_take_over_stays_and_so_does_its_volume() {
    let led_by_the_highest = || {
        let spec = spec(json!({ "replicas": 2, "deletionPolicy": "Delete", "roleOrder": ["replica", "primary"] }));
        let mut world = World::running(spec);
        world.pods.get_mut(&0).expect("it is there").role = Some("replica".into());
        world.pods.get_mut(&1).expect("it is there").role = Some("primary".into());
        world.step();
        world.log.clear();
        world
    };
    // what moves away with preScaleIn need not be handed over, and does not come back
    let mut world = World::running(spec(json!({ "replicas": 2, "roleOrder": ["replica", "primary"] })));
    world.pods.get_mut(&0).expect("it is there").role = Some("replica".into());
    world.pods.get_mut(&1).expect("it is there").role = Some("primary".into());
    world.step();
    world.fails(1, Attempt::Switchover, EMPTIED, true);
    world.change(json!({ "replicas": 1 }));
    world.step();
    world.step();
    assert_eq!(world.log[world.log.len() - 2..], ["PrepareToLeave 1", "DeletePod 1"]);
    world.step();
    world.pods.remove(&1);
    world.step();
    assert_eq!(world.pods.len(), 1, "{:?}", world.log);
    // the one that stays is not well
    let mut world = led_by_the_highest();
    let (ready, hold) = (world.pods[&0].ready_since, world.now);
    world.lost.insert(0);
    world.pods.get_mut(&0).expect("it is there").ready_since = None;
    world.change(json!({ "replicas": 1 }));
    world.settle();
    assert!(world.log.is_empty(), "{:?}", world.log);
    assert_eq!((world.reason().as_str(), world.pods.len(), world.claims.len()), ("NoHeir", 2, 2));
    assert!(world.message().contains("no other pod that stays is ready to take it over"), "{}", world.message());
    // nor does anybody else have what it has once its process is down
    let leader = world.pods.get_mut(&1).expect("it is there");
    (leader.role, leader.ready_since) = (None, None);
    world.lost.insert(1);
    world.settle();
    assert!(world.log.is_empty(), "{:?}", world.log);
    assert_eq!(world.reason(), "NoHeir");
    let leader = world.pods.get_mut(&1).expect("it is there");
    (leader.role, leader.ready_since) = (Some("primary".into()), Some(hold));
    world.lost.clear();
    world.pods.get_mut(&0).expect("it is there").ready_since = ready;
    world.settle();
    let left = ["Switchover 1", "PrepareToLeave 1", "AgreeToDeleteVolume 1", "DeletePod 1", "DeleteVolume 1"];
    assert_eq!(world.log[..5], left);

    // it is asked again and again, however long that takes
    let mut world = led_by_the_highest();
    world.fails(1, Attempt::Switchover, "shop-cache-0 does not follow shop-cache-1 yet", false);
    world.later(3600);
    world.change(json!({ "replicas": 1 }));
    let plan = world.plan();
    let words: Vec<&str> = plan.actions.iter().map(|action| action.what.word()).collect();
    assert_eq!(words, ["Switchover"], "{plan:#?}");
    assert!(plan.waits.iter().any(|wait| wait.reason == "NoHeir" && wait.stalled), "{plan:#?}");
    // nor does it leave with what only it has where neither the agents nor the package know how to hand its role over
    world.troubles[0].refused = true;
    world.troubles[0].message = "the package declares no action \"switchover\"".to_owned();
    world.log.clear();
    world.settle();
    assert!(world.log.is_empty(), "{:?}", world.log);
    assert_eq!(world.reason(), "NoHeir");
    assert!(world.message().contains("declares no action"), "{}", world.message());
    world.troubles[0].due = true;
    world.step();
    assert_eq!(world.log, ["Switchover 1"]);
}

#[test]
fn a_leader_that_is_taken_away_while_it_is_to_leave_comes_back_and_hands_over() {
    let spec = spec(json!({ "deletionPolicy": "Delete", "roleOrder": ["replica", "primary"] }));
    let mut world = World::running(spec);
    let lead = |world: &mut World| {
        world.pods.get_mut(&0).expect("it is there").role = Some("replica".into());
        world.pods.get_mut(&2).expect("it is there").role = Some("primary".into());
    };
    lead(&mut world);
    world.step();
    // it goes on serving while the others have stopped already, and the next start is to be without it
    world.change(json!({ "state": "Stopped" }));
    world.settle();
    world.change(json!({ "state": "Running", "replicas": 1 }));
    world.log.clear();
    world.step();
    assert_eq!(world.happened("CreatePod"), [2, 0]);
    world.tick();
    lead(&mut world);
    world.settle();
    assert_eq!((world.leader(), world.pods.len()), (Some(0), 1));
    let left = ["Switchover 2", "PrepareToLeave 2", "AgreeToDeleteVolume 2", "DeletePod 2", "DeleteVolume 2"];
    let about_it = world.log[2..].iter().filter(|line| line.ends_with(" 2") && !line.starts_with("TellOf"));
    assert_eq!(about_it.collect::<Vec<_>>(), left);

    // so it is where it was taken off its node meanwhile, unless somebody deletes its volume
    for (deleted, comes) in [(false, vec![1u16]), (true, vec![])] {
        let mut world = World::running(super::spec(json!({ "replicas": 2, "roleOrder": ["replica", "primary"] })));
        world.pods.get_mut(&0).expect("it is there").role = Some("replica".into());
        world.pods.get_mut(&1).expect("it is there").role = Some("primary".into());
        world.step();
        world.log.clear();
        world.pods.remove(&1);
        world.claim("data-shop-cache-1").deleting = deleted;
        world.change(json!({ "replicas": 1 }));
        world.step();
        assert_eq!(world.happened("CreatePod"), comes);
    }
}

#[test]
fn a_pod_that_does_not_run_and_may_have_data_stays_and_so_does_its_volume() {
    let mut world = World::running(spec(json!({ "deletionPolicy": "Delete" })));
    // it is made anew, and its node does not take it
    world.pods.remove(&2);
    world.step();
    world.lost.insert(2);
    world.log.clear();
    world.change(json!({ "replicas": 2 }));
    world.settle();
    assert!(world.log.is_empty(), "{:?}", world.log);
    assert_eq!(world.reason(), "PreScaleIn");
    assert!(world.message().contains("cannot hand over its data while it does not run"), "{}", world.message());
    // whoever takes it away by hand goes on without, and its volume is kept
    world.pods.remove(&2);
    world.settle();
    assert_eq!(world.log, ["TellOfDeparture 2"]);
    assert!(world.claims.contains_key("data-shop-cache-2"));
    // one that has just been asked for has nothing
    world.lost.insert(3);
    world.change(json!({ "replicas": 4 }));
    world.step();
    world.log.clear();
    world.change(json!({ "replicas": 3 }));
    world.settle();
    assert_eq!(world.happened("DeletePod"), [3]);
}

#[test]
fn a_pod_that_is_drained_away_comes_back_to_give_its_share_away_before_it_leaves() {
    let sharing = || {
        let mut world = World::running(spec(json!({ "deletionPolicy": "Delete" })));
        world.gives_away = Some(true);
        world
    };
    let in_order = ["CreatePod 2", "PrepareToLeave 2", "AgreeToDeleteVolume 2", "DeletePod 2", "DeleteVolume 2"];
    // its node is drained while it is to leave
    let mut world = sharing();
    world.change(json!({ "replicas": 2 }));
    world.pods.remove(&2);
    let plan = world.plan();
    let reason = "shop-cache-2 was taken away before it gave away what it has, and does so before it leaves";
    assert_eq!(plan.actions[0].reason, reason);
    world.settle();
    assert_eq!(world.log[..5], in_order);
    assert_eq!(world.log[5..], ["TellOfDeparture 2"]);
    assert_eq!(world.reason(), "Ready");

    // so it is where it was scaled in while nobody ran
    let mut world = sharing();
    world.change(json!({ "state": "Stopped" }));
    world.settle();
    world.change(json!({ "state": "Running", "replicas": 2 }));
    world.log.clear();
    world.settle();
    let about_it: Vec<&String> = world.log.iter().filter(|line| line.ends_with(" 2")).collect();
    assert_eq!(about_it[..5], in_order);

    // one that has given it away already does not: that is known without the pod
    let mut world = sharing();
    world.change(json!({ "replicas": 2 }));
    world.step();
    assert_eq!(world.log, ["PrepareToLeave 2"]);
    let plan = world.plan();
    let told = status::status(&world.seen(), &plan, Some(1), None);
    world.status = told;
    assert_eq!(world.status.departed.iter().map(ToString::to_string).collect::<Vec<_>>(), ["2"]);
    world.pods.remove(&2);
    world.settle();
    assert_eq!(world.log, ["PrepareToLeave 2", "TellOfDeparture 2"]);
    assert!(world.status.departed.is_empty(), "{:?}", world.status.departed);

    // one that is wanted merely moves, and keeps its volume
    let mut world = sharing();
    world.pods.remove(&2);
    world.settle();
    assert_eq!(world.log, ["CreatePod 2"]);
}

#[test]
fn whoever_deletes_the_volume_goes_on_without_a_share_that_nobody_can_give_away() {
    let mut world = World::running(spec(json!({})));
    world.gives_away = Some(true);
    world.lost.insert(2);
    world.pods.remove(&2);
    world.change(json!({ "replicas": 2 }));
    world.settle();
    assert_eq!((world.log.as_slice(), world.reason().as_str()), (["CreatePod 2".to_owned()].as_slice(), "PreScaleIn"));
    assert_eq!(
        world.message(),
        "shop-cache-2 is to leave and cannot hand over its data while it does not run; mend it, scale back, or delete \
         data-shop-cache-2 by hand to go on without what it has"
    );
    world.claim("data-shop-cache-2").deleting = true;
    let plan = world.step();
    assert_eq!(plan.actions.iter().map(|action| action.what.word()).collect::<Vec<_>>(), ["DeletePod"], "{plan:#?}");
    world.lost.clear();
    world.settle();
    assert_eq!(world.log, ["CreatePod 2", "DeletePod 2", "TellOfDeparture 2"]);

    // also where it runs and its agent cannot do it
    let mut world = World::running(spec(json!({})));
    world.gives_away = Some(true);
    world.change(json!({ "replicas": 2 }));
    world.fails(2, Attempt::PreScaleIn, "slots cannot be moved", true);
    world.settle();
    assert!(world.message().ends_with("or delete data-shop-cache-2 by hand to go on without what it has"));
    world.claim("data-shop-cache-2").deleting = true;
    world.step();
    assert_eq!(world.log, ["DeletePod 2"]);
}

#[test]
fn a_pod_that_gave_its_share_away_and_is_wanted_again_joins_anew_and_gives_away_again_before_it_leaves() {
    let mut world = World::running(spec(json!({})));
    world.change(json!({ "replicas": 2 }));
    world.step();
    world.change(json!({ "replicas": 3 }));
    world.settle();
    assert_eq!(world.log, ["PrepareToLeave 2", "RecordMembers 2", "ChangePod 2", "Welcome 2"]);
    world.log.clear();
    world.change(json!({ "replicas": 2 }));
    world.settle();
    assert_eq!(world.log, ["PrepareToLeave 2", "DeletePod 2", "TellOfDeparture 2"]);
}

#[test]
fn nobody_is_told_of_a_departure_while_the_package_may_want_the_pod_back() {
    let mut world = World::running(spec(json!({})));
    world.gives_away = None;
    world.pods.remove(&2);
    world.change(json!({ "replicas": 2 }));
    world.step();
    assert!(world.log.is_empty(), "{:?}", world.log);
    assert_eq!(world.reason(), "PackageUnknown");
    world.gives_away = Some(true);
    world.step();
    assert_eq!(world.log, ["CreatePod 2"]);

    // nor does one that came back leave before it could run, and its volume with it
    let mut world = World::running(spec(json!({ "deletionPolicy": "Delete", "roleOrder": ["replica", "primary"] })));
    world.pods.remove(&2);
    world.step();
    world.lost.insert(2);
    world.log.clear();
    world.change(json!({ "replicas": 2 }));
    world.gives_away = None;
    world.settle();
    assert!(world.log.is_empty(), "{:?}", world.log);
    assert_eq!(world.reason(), "PreScaleIn");
    world.gives_away = Some(false);
    world.step();
    assert_eq!(world.log, ["AgreeToDeleteVolume 2", "DeletePod 2"]);
}

#[test]
fn a_group_of_which_nobody_stays_leaves_with_its_leader() {
    let mut world = World::running(spec(json!({ "roleOrder": ["replica", "primary"] })));
    world.change(json!({ "replicas": 0 }));
    world.settle();
    assert_eq!(world.happened("DeletePod"), [2, 1, 0]);
}

#[test]
fn stopping_ends_with_the_leader_and_starting_begins_with_it() {
    let mut world = World::running(spec(json!({ "roleOrder": ["replica", "primary"], "start": "Ordered" })));
    world.pods.get_mut(&0).expect("it is there").role = Some("replica".into());
    world.pods.get_mut(&2).expect("it is there").role = Some("primary".into());
    world.change(json!({ "state": "Stopped" }));
    world.settle();
    assert_eq!(world.log, ["DeletePod 1", "DeletePod 0", "DeletePod 2"]);
    assert_eq!((world.reason().as_str(), world.claims.len()), ("Stopped", 3));
    world.log.clear();
    world.change(json!({ "state": "Running" }));
    world.settle();
    assert_eq!(world.happened("CreatePod"), [2, 0, 1]);
}

#[test]
fn a_claim_of_somebody_else_is_never_taken() {
    let mut world = World::new(spec(json!({ "replicas": 1 })));
    world.settle();
    world.pods.clear();
    world.claim("data-shop-cache-0").ours = false;
    world.settle();
    assert!(world.pods.is_empty());
    assert_eq!(world.reason(), "ForeignVolume");
}

#[test]
fn volumes_grow_where_their_class_lets_them_and_are_refused_clearly_where_not() {
    let mut world = World::running(spec(json!({})));
    world.change(json!({ "template": { "volumes": { "data": { "size": "2Gi" } } } }));
    world.settle();
    assert_eq!(world.happened("GrowVolume"), [0, 1, 2]);
    assert!(world.claims.values().all(|claim| claim.asked == Some(2 << 30)));
    world.log.clear();

    world.claim("data-shop-cache-1").class = Some("fixed".into());
    world.change(json!({ "template": { "volumes": { "data": { "size": "3Gi" } } } }));
    world.settle();
    assert_eq!(world.happened("GrowVolume"), [0, 2]);
    assert_eq!(
        world.message(),
        "volume data-shop-cache-1 cannot grow to 3Gi: storage class fixed does not let volumes grow (allowVolumeExpansion)"
    );
    world.change(json!({ "template": { "volumes": { "data": { "size": "1Gi" } } } }));
    world.settle();
    assert_eq!(world.reason(), "VolumeCannotShrink");
    // what the server refuses is told, and asked for once more after a while
    world.change(json!({ "template": { "volumes": { "data": { "size": "4Gi" } } } }));
    world.claim("data-shop-cache-1").class = Some("grows".into());
    let (uid, since) = (world.claim("data-shop-cache-0").uid.clone(), world.now);
    let message = "exceeded quota".to_owned();
    let trouble = Trouble { ordinal: 0, uid, attempt: Attempt::Expand, since, message, refused: true, due: false };
    world.troubles.push(trouble);
    world.log.clear();
    world.settle();
    assert_eq!(world.happened("GrowVolume"), [1, 2]);
    assert_eq!(world.message(), "volume data-shop-cache-0 cannot grow to 4Gi: exceeded quota");
    world.troubles[0].due = true;
    world.settle();
    assert_eq!(world.happened("GrowVolume"), [1, 2, 0]);
    assert_eq!(world.reason(), "Ready");
    assert!(world.happened("DeletePod").is_empty(), "sizes are no reason for new pods");
}
