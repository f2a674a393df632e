//! Changes reach pods with the smallest disruption they can do with, in order, and can be taken back.

use serde_json::{Value, json};

use super::world::World;
use super::{spec, template};
use crate::api::pod_report::PodReport;
use crate::plan::pod_set::{Attempt, Resizing};

const ROLES: [&str; 2] = ["replica", "primary"];

#[test]
fn only_images_change_in_place_replicas_first_and_the_leader_last() {
    let mut world = World::running(spec(json!({ "roleOrder": ROLES })));
    world.change(json!({ "template": template("2") }));
    world.settle();
    assert_eq!(world.log, ["ChangeImages 2", "ChangeImages 1", "Switchover 0", "ChangeImages 0"]);
    assert_eq!(world.images(), ["cache:2"; 3]);
    assert_eq!(world.reason(), "Ready");
}

#[test]
fn anything_else_needs_new_pods_one_after_another() {
    let mut world = World::running(spec(json!({})));
    world.change(json!({ "template": { "spec": { "terminationGracePeriodSeconds": 5 } } }));
    let plan = world.step();
    assert_eq!(plan.actions.len(), 1);
    assert!(plan.actions[0].reason.contains("a new pod, because more than images"), "{plan:#?}");
    assert_eq!(world.reason(), "Updating");
    world.settle();
    assert_eq!(world.happened("DeletePod"), [2, 1, 0]);
}

#[test]
fn cpu_and_memory_change_in_place_where_the_server_can() {
    let resources = json!({ "requests": { "cpu": "200m", "memory": "2Gi" }, "limits": { "memory": "2Gi" } });
    let mut changed = template("1");
    changed["spec"]["containers"][0]["resources"] = resources.clone();
    let mut world = World::running(spec(json!({})));
    world.change(json!({ "template": changed }));
    world.settle();
    assert_eq!(world.log, ["ResizePod 2", "ResizePod 1", "ResizePod 0"]);

    let mut world = World::running(spec(json!({})));
    world.can_resize = false;
    world.change(json!({ "template": changed }));
    world.settle();
    assert_eq!(world.happened("DeletePod"), [2, 1, 0]);
}

#[test]
fn resources_that_cannot_change_in_place_need_new_pods_and_say_why() {
    let reason = |containers: serde_json::Value| {
        let mut world = World::running(spec(json!({})));
        world.change(json!({ "template": { "spec": { "containers": containers } } }));
        world.plan().actions[0].reason.clone()
    };
    let with = |resources: serde_json::Value| json!([{ "name": "cache", "image": "cache:1", "resources": resources }, { "name": "midship", "image": "agent:1" }]);
    let said = reason(with(json!({ "requests": { "memory": "1Gi" }, "limits": { "memory": "1Gi" } })));
    assert!(said.contains("the request of cpu of container cache cannot be taken away in place"), "{said}");

    let mut world = World::running(spec(json!({})));
    let mut changed = template("1");
    changed["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("64");
    world.change(json!({ "template": changed }));
    world.fails(2, Attempt::Resize, "the feature is off", true);
    world.step();
    assert_eq!(world.log, ["DeletePod 2", "ResizePod 1"]);

    // a new pod would not get what is denied to the one that runs: it runs on with what it has
    let mut world = World::running(spec(json!({ "replicas": 1 })));
    world.change(json!({ "template": changed }));
    world.fails(0, Attempt::Allowed, "exceeded quota: memory", true);
    world.settle();
    assert!(world.log.is_empty(), "{:?}", world.log);
    assert_eq!(world.reason(), "ResizeRefused");
    assert!(world.message().contains("exceeded quota: memory; ask for less"), "{}", world.message());
    world.troubles[0].due = true;
    world.step();
    assert_eq!(world.log, ["ResizePod 0"]);
}

#[test]
fn a_pod_whose_node_will_never_have_room_moves() {
    let mut world = World::running(spec(json!({})));
    world.pods.get_mut(&1).expect("it is there").resize = Resizing::Infeasible("node n1 has 4 CPU".into());
    world.settle();
    assert_eq!(world.happened("DeletePod"), [1]);
}

#[test]
fn labels_and_annotations_change_at_once_and_disturb_nobody() {
    let mut world = World::running(spec(json!({})));
    world.change(json!({ "template": { "metadata": { "labels": { "app": "cache", "team": "shop" } } } }));
    world.settle();
    assert_eq!(world.log, ["ChangePod 2", "ChangePod 1", "ChangePod 0"]);
    assert!(world.pods.values().all(|pod| pod.labels["team"] == "shop"));
    let mut without = template("1");
    without["metadata"] = json!({ "labels": { "app": "cache" } });
    world.spec.template = serde_json::from_value(without).expect("a template");
    world.settle();
    assert!(world.pods.values().all(|pod| !pod.labels.contains_key("team") && !pod.annotations.contains_key("note")));
    assert_eq!(world.reason(), "Ready");
}

#[test]
fn a_new_configuration_is_told_to_all_and_restarts_only_processes_that_need_it() {
    let mut world = World::running(spec(json!({ "roleOrder": ROLES })));
    world.change(json!({ "template": { "configRevision": "c2" } }));
    world.settle();
    assert_eq!(world.log, ["ChangePod 2", "ChangePod 1", "ChangePod 0"]);
    world.log.clear();
    for pod in world.pods.values_mut() {
        pod.report.get_or_insert_default().pending_restart = vec!["maxclients".into()];
    }
    world.settle();
    assert_eq!(world.log, ["RestartProcess 2", "RestartProcess 1", "Switchover 0", "RestartProcess 0"]);
}

#[test]
fn as_many_as_allowed_are_down_at_a_time() {
    let changed = json!({ "template": { "spec": { "terminationGracePeriodSeconds": 5 } } });
    let mut world = World::running(spec(json!({ "replicas": 5, "update": { "maxUnavailable": 2 } })));
    world.change(changed.clone());
    world.step();
    assert_eq!(world.log, ["DeletePod 4", "DeletePod 3"]);
    world.settle();

    let mut world = World::running(spec(json!({ "replicas": 5, "update": { "strategy": "Parallel" } })));
    world.change(changed.clone());
    assert_eq!(world.plan().actions.len(), 5);

    let mut world = World::running(spec(json!({ "update": { "strategy": "OnDelete" } })));
    world.change(changed);
    world.settle();
    assert!(world.log.is_empty());
    assert_eq!(world.reason(), "OnDelete");
    world.pods.remove(&1);
    world.settle();
    assert_eq!(world.status.updated_replicas, Some(1));
}

#[test]
fn a_changed_pod_has_to_be_well_for_a_while_before_the_next_follows() {
    let mut world = World::running(spec(json!({ "update": { "minReady": "20s" } })));
    world.change(json!({ "template": template("2") }));
    world.step();
    world.tick();
    world.later(10);
    assert!(world.plan().actions.is_empty());
    world.later(10);
    assert_eq!(world.plan().actions.len(), 1);
    world.settle();
    assert_eq!(world.images(), ["cache:2"; 3]);
}

#[test]
fn one_pod_tries_a_change_first() {
    let mut world = World::running(spec(json!({ "replicas": 5, "update": { "maxUnavailable": 3, "canary": true } })));
    world.change(json!({ "template": template("2") }));
    world.step();
    assert_eq!(world.log, ["ChangeImages 4"]);
    world.tick();
    world.step();
    assert_eq!(world.log.len(), 4, "{:?}", world.log);
    world.settle();
}

#[test]
fn a_pod_that_is_lost_while_another_tries_the_change_comes_back_as_it_was() {
    let mut world = World::running(spec(json!({ "update": { "canary": true, "timeout": "5m" } })));
    world.bad_images.insert("cache:2".into());
    world.change(json!({ "template": template("2") }));
    world.step();
    world.tick();
    world.pods.remove(&0);
    world.step();
    assert_eq!(world.images(), ["cache:1", "cache:1", "cache:2"]);
}

#[test]
fn a_change_that_fails_goes_no_further_and_can_be_left_by_another() {
    let mut world = World::running(spec(json!({ "update": { "timeout": "2m" } })));
    world.bad_images.insert("cache:2".into());
    world.change(json!({ "template": template("2") }));
    world.settle();
    assert_eq!(world.images(), ["cache:1", "cache:1", "cache:2"]);
    assert_eq!(world.reason(), "UpdateFailed");
    assert!(world.message().contains("shop-cache-2: cache: CrashLoopBackOff"), "{}", world.message());
    // whoever is lost comes back as it was, also the one that failed
    for lost in [1, 2] {
        world.pods.remove(&lost);
        world.settle();
        assert_eq!(world.images(), ["cache:1", "cache:1", "cache:2"]);
    }
    assert_eq!(world.reason(), "UpdateFailed");
    world.change(json!({ "template": template("3") }));
    world.settle();
    assert_eq!(world.images(), ["cache:3"; 3]);
    assert_eq!((world.reason().as_str(), &world.status.failed_revision), ("Ready", &None));
}

#[test]
fn a_change_that_fails_is_taken_back_where_that_is_asked_for() {
    let mut world = World::running(spec(json!({ "update": { "timeout": "2m", "rollback": true } })));
    world.bad_images.insert("cache:2".into());
    world.change(json!({ "template": template("2") }));
    world.settle();
    assert_eq!(world.images(), ["cache:1"; 3]);
    assert_eq!(world.reason(), "RolledBack");
    assert!(world.message().contains("Change the spec to try again"), "{}", world.message());
    world.bad_images.clear();
    world.settle();
    assert_eq!(world.images(), ["cache:1"; 3], "the same change is not tried again");
    world.change(json!({ "template": template("3") }));
    world.settle();
    assert_eq!(world.images(), ["cache:3"; 3]);
}

#[test]
fn a_change_whose_pod_is_ready_only_now_and_then_fails_too() {
    let update = json!({ "timeout": "2m", "minReady": "1m", "rollback": true });
    let mut world = World::running(spec(json!({ "update": update })));
    world.change(json!({ "template": template("2") }));
    world.step();
    world.tick();
    let began = world.now;
    while world.now.duration_since(began) < jiff::SignedDuration::from_mins(4) {
        world.step();
        world.later(20);
        let now = world.now;
        let pod = world.pods.get_mut(&2).expect("it is there");
        let ready = pod.ready_since.is_none();
        (pod.ready_since, pod.unready_since) = (ready.then_some(now), (!ready).then_some(now));
    }
    assert_eq!(world.reason(), "RolledBack");
}

#[test]
fn pods_that_never_worked_are_mended_together() {
    let mut world = World::new(spec(json!({})));
    world.bad_images.insert("cache:1".into());
    world.settle();
    assert_eq!(world.reason(), "UpdateFailed");
    world.change(json!({ "template": template("2") }));
    world.step();
    assert_eq!(world.log.iter().filter(|line| line.starts_with("ChangeImages")).count(), 3);
    world.settle();
    assert_eq!(world.reason(), "Ready");
}

#[test]
fn the_pods_own_order_comes_before_that_of_roles() {
    let mut world = World::running(spec(json!({})));
    world.asked_order = Some(vec![1, 0, 2]);
    world.change(json!({ "template": template("2") }));
    world.settle();
    assert_eq!(world.happened("ChangeImages"), [1, 0, 2]);
}

/// All pods have a configuration that needs a restart, and want whoever leads to begin.
fn where_the_leader_goes_first() -> World {
    let mut world = World::running(spec(json!({ "roleOrder": ROLES })));
    world.change(json!({ "template": { "configRevision": "c2" } }));
    world.settle();
    world.log.clear();
    world.asked_order = Some(vec![0]);
    for pod in world.pods.values_mut() {
        pod.report.get_or_insert_default().pending_restart = vec!["maxclients".into()];
    }
    world
}

#[test]
fn whoever_leads_is_restarted_in_place_before_the_others_where_the_pods_want_that() {
    let mut world = where_the_leader_goes_first();
    let plan = world.plan();
    let waits: Vec<&str> = plan.waits.iter().map(|wait| wait.message.as_str()).collect();
    let after = |name: &str| format!("{name} changes after shop-cache-0, as the pods want it");
    assert_eq!(waits, [after("shop-cache-2"), after("shop-cache-1")]);
    world.settle();
    assert_eq!(world.log, ["RestartProcess 0", "RestartProcess 2", "RestartProcess 1"]);

    // what takes more than a new start of its process takes the role from it, so that others have to be ready for it
    world.log.clear();
    world.change(json!({ "template": template("2") }));
    world.settle();
    world.log.retain(|line| !line.starts_with("ChangePod "));
    assert_eq!(world.log, ["ChangeImages 2", "ChangeImages 1", "Switchover 0", "ChangeImages 0"]);
}

#[test]
fn others_wait_until_whoever_goes_first_has_heard_of_the_configuration() {
    let mut world = where_the_leader_goes_first();
    for pod in world.pods.values_mut() {
        pod.report.get_or_insert_default().config_revision = Some("c2".into());
    }
    let leader = world.pods.get_mut(&0).expect("it is there");
    let heard = leader.report.replace(PodReport { config_revision: Some("c1".into()), ..PodReport::default() });
    assert!(world.plan().actions.is_empty(), "{:?}", world.plan().actions);

    // one that gets a new pod is told of nothing before, and goes last
    let before = world.pods[&0].clone();
    let leader = world.pods.get_mut(&0).expect("it is there");
    (leader.revision, leader.parts) = (Some("another".to_owned()), None);
    let planned = world.plan().actions;
    let planned: Vec<String> = planned.iter().map(|one| format!("{} {}", one.what.word(), one.ordinal)).collect();
    assert_eq!(planned, ["RestartProcess 2"]);
    world.pods.insert(0, before);

    world.pods.get_mut(&0).expect("it is there").report = heard;
    world.settle();
    assert_eq!(world.log, ["RestartProcess 0", "RestartProcess 2", "RestartProcess 1"]);
}

#[test]
fn a_leader_that_cannot_hand_over_is_disturbed_after_a_time() {
    let mut world = World::running(spec(json!({ "roleOrder": ROLES, "update": { "timeout": "1m" } })));
    world.change(json!({ "template": template("2") }));
    world.fails(0, Attempt::Switchover, "no replica is close enough", false);
    for _ in 0..10 {
        world.step();
        world.tick();
        // it goes on failing
        for pod in world.pods.values_mut() {
            pod.role = Some("replica".into());
        }
        world.pods.get_mut(&0).expect("it is there").role = Some("primary".into());
    }
    assert!(!world.log.contains(&"ChangeImages 0".to_owned()), "{:?}", world.log);
    world.later(60);
    world.step();
    assert!(world.log.contains(&"ChangeImages 0".to_owned()), "{:?}", world.log);
}

#[test]
fn what_failed_is_tried_again_with_the_next_start() {
    let mut world = World::running(spec(json!({ "update": { "timeout": "2m" } })));
    world.bad_images.insert("cache:2".into());
    world.change(json!({ "template": template("2") }));
    world.settle();
    world.change(json!({ "state": "Stopped" }));
    world.settle();
    world.bad_images.clear();
    world.change(json!({ "state": "Running" }));
    world.settle();
    assert_eq!(world.images(), ["cache:2"; 3]);
    assert_eq!((world.reason().as_str(), &world.status.failed_revision), ("Ready", &None));
}

#[test]
fn a_volume_that_is_nearly_full_is_told_of_until_its_agent_says_that_it_is_not() {
    let tell = |world: &mut World, filling: Option<Value>| {
        let report = world.pods.get_mut(&1).expect("it is there").report.get_or_insert_default();
        report.filling = filling.map(|filling| serde_json::from_value(filling).expect("percents"));
        world.settle();
    };
    let told = |world: &World| -> Vec<Value> { world.status.pods.iter().map(|pod| json!(pod.filling)).collect() };
    let (none, some) = (json!({}), json!({ "data": 85 }));
    let mut world = World::running(spec(json!({})));
    tell(&mut world, Some(json!({ "data": 85, "another": 99 })));
    assert_eq!(told(&world), [none.clone(), some.clone(), none.clone()], "it has no other volume");
    tell(&mut world, None);
    assert_eq!(told(&world)[1], some, "its next agent has not looked yet");
    world.pods.remove(&1);
    world.step();
    assert_eq!(told(&world)[1], some, "it is away");
    world.settle();
    assert_eq!(told(&world)[1], some, "it is back");
    tell(&mut world, Some(json!({ "data": 1000 })));
    assert_eq!(told(&world)[1], none, "that cannot be");
    tell(&mut world, Some(some.clone()));
    assert_eq!(told(&world)[1], some);
    tell(&mut world, Some(none.clone()));
    assert_eq!(told(&world), [none.clone(), none.clone(), none], "it has room");
    assert_eq!(json!(world.status.pods[1]).get("filling"), None, "of most nothing is written");
}
