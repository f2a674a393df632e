//! Pods end, nodes are lost.

use serde_json::json;

use super::spec;
use super::world::World;
use crate::api::conditions::{READY, RECONCILING, STALLED, find};
use crate::plan::pod_set::{Node, Phase, status, view};

#[test]
fn a_pod_that_ended_is_replaced_and_ever_more_slowly() {
    let mut world = World::running(spec(json!({})));
    let end = |world: &mut World| {
        let pod = world.pods.get_mut(&1).expect("it is there");
        pod.phase = Phase::Ended;
        pod.ready_since = None;
        pod.problem = Some("Evicted: the node was low on memory".into());
    };
    end(&mut world);
    let plan = world.plan();
    assert_eq!(plan.actions[0].reason, "shop-cache-1 ended: Evicted: the node was low on memory");
    world.step();
    assert!(world.plan().actions.is_empty(), "a moment's pause");
    world.settle();
    assert_eq!(world.reason(), "Ready");
    for _ in 0..3 {
        end(&mut world);
        world.settle();
    }
    end(&mut world);
    world.step();
    world.later(10);
    assert!(world.plan().actions.is_empty(), "a longer pause");
    assert!(world.plan().waits.iter().any(|wait| wait.reason == "PodEnds" && wait.until.is_some()));
}

#[test]
fn a_pod_on_a_lost_node_has_no_second_until_that_is_proven_safe() {
    let mut world = World::running(spec(json!({})));
    world.lost.insert(1);
    world.nodes.as_mut().expect("known").insert("n1".into(), Node { ready: false, out_of_service: false });
    let leaves_by = world.now;
    let pod = world.pods.get_mut(&1).expect("it is there");
    pod.ready_since = None;
    pod.leaves_by = Some(leaves_by);
    world.later(3600);
    world.settle();
    assert!(world.log.is_empty(), "{:?}", world.log);
    assert_eq!(world.reason(), "PodStuck");
    assert!(world.message().contains("node n1 does not answer"), "{}", world.message());

    world.nodes.as_mut().expect("known").insert("n1".into(), Node { ready: false, out_of_service: true });
    world.step();
    assert_eq!(world.log, ["ForceDeletePod 1"]);
    world.lost.clear();
    world.nodes.as_mut().expect("known").insert("n1".into(), Node { ready: true, out_of_service: false });
    world.settle();
    assert_eq!(world.reason(), "Ready");
}

#[test]
fn a_node_that_is_gone_takes_its_pods_with_it() {
    let mut world = World::running(spec(json!({})));
    world.lost.insert(2);
    world.nodes.as_mut().expect("known").remove("n2");
    world.step();
    assert_eq!(world.log, ["ForceDeletePod 2"]);
}

#[test]
fn where_nodes_may_not_be_looked_at_nothing_is_taken_for_proof() {
    let mut world = World::running(spec(json!({})));
    world.nodes = None;
    world.lost.insert(2);
    let leaves_by = world.now;
    world.pods.get_mut(&2).expect("it is there").leaves_by = Some(leaves_by);
    world.later(3600);
    world.settle();
    assert!(world.log.is_empty());
    assert!(world.message().contains("its node does not say that it stopped"), "{}", world.message());
}

#[test]
fn a_pod_that_somebody_else_holds_says_by_what() {
    let mut world = World::running(spec(json!({})));
    world.lost.insert(2);
    let leaves_by = world.now;
    let pod = world.pods.get_mut(&2).expect("it is there");
    (pod.leaves_by, pod.finalizers) = (Some(leaves_by), vec!["example.com/keeper".to_owned()]);
    world.later(3600);
    world.settle();
    assert!(world.log.is_empty(), "{:?}", world.log);
    assert_eq!(world.reason(), "PodStuck");
    let told = "the finalizer example.com/keeper holds it, which whoever set it has to take away";
    assert!(world.message().contains(told), "{}", world.message());
}

#[test]
fn a_stuck_pod_does_not_keep_the_leader_from_stopping() {
    let mut world = World::running(spec(json!({ "roleOrder": ["replica", "primary"] })));
    world.lost.insert(2);
    world.change(json!({ "state": "Stopped" }));
    world.settle();
    assert_eq!(world.log, ["DeletePod 2", "DeletePod 1", "DeletePod 0"]);
    assert_eq!(world.pods.len(), 1);
    // and somebody has to look after it: that is no work that ends by itself
    assert_eq!(world.reason(), "PodStuck");
    let stalled = find(&world.status.conditions, STALLED).expect("it is told");
    assert!(stalled.message.starts_with("shop-cache-2 should be gone"), "{}", stalled.message);
    world.lost.clear();
    world.settle();
    assert_eq!(world.reason(), "Stopped");
}

#[test]
fn whoever_deletes_the_claim_of_a_pod_that_no_node_takes_gets_it_an_empty_volume() {
    let mut world = World::running(spec(json!({})));
    let pod = world.pods.get_mut(&1).expect("it is there");
    (pod.phase, pod.ready_since, pod.started, pod.node) = (Phase::Pending, None, false, None);
    pod.problem = Some("Unschedulable: 1 node(s) had volume node affinity conflict".into());
    world.lost.insert(1);
    assert!(world.plan().actions.is_empty(), "{:#?}", world.plan());
    world.claims.remove("data-shop-cache-1");
    let plan = world.step();
    assert_eq!(plan.actions[0].reason, "shop-cache-1 cannot start without its volume data, which is gone");
    assert_eq!(world.log, ["CreateVolume 1"]);
    assert!(world.plan().actions.is_empty(), "{:#?}", world.plan());
    // one that runs has its volume, whatever becomes of the claim
    world.claims.remove("data-shop-cache-2");
    assert!(world.plan().actions.is_empty(), "{:#?}", world.plan());
}

#[test]
fn what_stands_in_a_pod_s_way_is_told_with_a_way_out() {
    let problem = |status: serde_json::Value| {
        let pod = json!({ "metadata": { "name": "shop-cache-0" }, "spec": { "containers": [] }, "status": status });
        view::pod(&serde_json::from_value(pod).expect("a pod")).problem
    };
    let unscheduled = |message: &str| {
        problem(json!({ "phase": "Pending", "conditions": [
            { "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message }] }))
    };
    assert_eq!(
        unscheduled("0/3 nodes are available: 3 Insufficient cpu.").as_deref(),
        Some("Unschedulable: 0/3 nodes are available: 3 Insufficient cpu.")
    );
    assert_eq!(
        unscheduled("0/1 nodes are available: 1 node(s) had volume node affinity conflict.").as_deref(),
        Some(
            "Unschedulable: 0/1 nodes are available: 1 node(s) had volume node affinity conflict.; its volume can be used on \
             other nodes only, none of which takes it now: bring them back, or make room there. Where that cannot be, delete \
             the claim: what the volume has is lost then, and the pod begins with an empty one"
        )
    );
    let waiting = |reason: &str| {
        json!([{ "name": "cache", "image": "cache:1", "imageID": "", "ready": false, "restartCount": 0,
            "state": { "waiting": { "reason": reason, "message": "no such image" } } }])
    };
    assert_eq!(
        problem(json!({ "phase": "Pending", "containerStatuses": waiting("ErrImagePull") })).as_deref(),
        Some("cache: ErrImagePull: no such image")
    );
    let prepared = |status: &str| {
        problem(json!({ "phase": "Pending", "containerStatuses": waiting("ContainerCreating"), "conditions": [
            { "type": "PodReadyToStartContainers", "status": status }] }))
    };
    assert_eq!(
        prepared("False").as_deref(),
        Some(
            "its volumes, its Secrets or its network are not there yet; where that lasts, `kubectl describe pod` tells why"
        )
    );
    assert_eq!(prepared("True"), None);
}

#[test]
fn what_is_refused_for_long_is_somebody_s_to_mend() {
    let world = World::running(spec(json!({})));
    let plan = world.plan();
    let said = |minutes: i64| {
        let since = world.now - jiff::SignedDuration::from_mins(minutes);
        let undone = status::Undone { why: "exceeded quota: none", since };
        let conditions = status::status(&world.seen(), &plan, Some(1), Some(undone)).conditions;
        [READY, RECONCILING, STALLED].map(|type_| find(&conditions, type_).map(|found| found.message.clone()))
    };
    let why = Some("exceeded quota: none".to_owned());
    assert_eq!(said(9), [why.clone(), why.clone(), None]);
    assert_eq!(said(10), [why.clone(), None, why]);
}
