//! Restarts, batches, switchovers, and everything that can come in between.

use jiff::SignedDuration;
use serde_json::json;

use super::world::{Scene, pod};
use crate::api::instance::ProcessOptions;
use crate::api::operation::OperationPhase;
use crate::api::values::Duration;
use crate::plan::operation::kinds;

#[test]
fn a_restart_goes_one_by_one_and_the_primary_comes_last() {
    let mut scene = Scene::new(json!({ "type": "Restart" }));
    assert_eq!(scene.run(), OperationPhase::Succeeded);
    assert_eq!(scene.log, ["restart a-2", "restart a-1", "restart a-0"]);
    assert_eq!(scene.status.progress.as_deref(), Some("3/3"));
    assert_eq!(scene.message(), "all 3 steps are done");
    assert!(scene.status.finished_at.is_some() && scene.next().run.is_empty());
}

#[test]
fn a_target_narrows_it_and_what_is_not_there_is_refused() {
    let mut scene = Scene::new(json!({ "type": "Restart", "target": { "role": "replica" } }));
    scene.run();
    assert_eq!(scene.log, ["restart a-2", "restart a-1"]);
    let mut scene = Scene::new(json!({ "type": "Restart", "target": { "pods": ["a-7"] } }));
    assert_eq!(scene.run(), OperationPhase::Failed);
    assert!(scene.message().contains("there is no pod \"a-7\"") && scene.log.is_empty());
}

#[test]
fn a_batch_takes_some_at_a_time_and_pauses_in_between() {
    let batch = json!({ "action": "Stop", "concurrency": 2, "interval": "30s" });
    let mut scene = Scene::new(json!({ "type": "Process", "process": batch }));
    scene.look(|| false);
    assert_eq!(scene.log, ["stop a-2", "stop a-1"]);
    let first = scene.now;
    scene.look(|| false);
    assert_eq!(scene.log.len(), 2);
    assert_eq!(scene.message(), "pauses for 30s before the next batch");
    assert_eq!(scene.run(), OperationPhase::Succeeded);
    assert!(scene.log.len() == 3 && scene.now.duration_since(first) >= SignedDuration::from_secs(29));
}

#[test]
fn a_failed_step_is_tried_again_as_often_as_was_asked() {
    let mut scene = Scene::new(json!({ "type": "Restart", "retries": 2 }));
    scene.fails.insert("restart a-1".to_owned(), 2);
    assert_eq!(scene.run(), OperationPhase::Succeeded);
    assert_eq!(scene.log, ["restart a-2", "restart a-1", "restart a-1", "restart a-1", "restart a-0"]);
    let mut scene = Scene::new(json!({ "type": "Restart", "retries": 1 }));
    scene.fails.insert("restart a-1".to_owned(), 2);
    assert_eq!(scene.run(), OperationPhase::Failed);
    assert_eq!(scene.message(), "restart a-1: it broke");
    assert_eq!(scene.status.steps[2].phase, OperationPhase::Cancelled);
}

#[test]
fn failures_are_met_as_was_asked() {
    let failing = |policy: &str| {
        let mut scene = Scene::new(json!({ "type": "Restart", "onFailure": policy }));
        scene.fails.insert("restart a-2".to_owned(), 1);
        scene
    };
    let mut scene = failing("Continue");
    assert_eq!(scene.run(), OperationPhase::Failed);
    assert_eq!(scene.log.len(), 3);
    assert_eq!(scene.message(), "1 of 3 steps failed, first restart a-2: it broke");
    let mut scene = failing("Rollback");
    assert_eq!(scene.run(), OperationPhase::Failed);
    assert_eq!(scene.message(), "restart a-2: it broke; there was nothing to take back");
    let mut scene = failing("Pause");
    assert_eq!(scene.run(), OperationPhase::Paused);
    assert!(scene.message().contains("add a-2 to spec.approve"), "{}", scene.message());
    scene.operation.spec.approve = Some(vec!["a-2".to_owned()]);
    assert_eq!(scene.run(), OperationPhase::Succeeded);
    assert_eq!(scene.log, ["restart a-2", "restart a-1", "restart a-0"]);
}

#[test]
fn it_can_be_suspended_and_cancelled_between_steps() {
    let mut scene = Scene::new(json!({ "type": "Restart" }));
    scene.look(|| false);
    scene.operation.spec.suspend = Some(true);
    assert_eq!(scene.run(), OperationPhase::Paused);
    assert_eq!(scene.log.len(), 1);
    scene.operation.spec.suspend = None;
    scene.look(|| false);
    scene.operation.spec.cancel = Some(true);
    assert_eq!(scene.run(), OperationPhase::Cancelled);
    assert_eq!(scene.log.len(), 2);
    assert_eq!(scene.status.steps[2].phase, OperationPhase::Cancelled);
}

#[test]
fn what_waits_for_its_turn_says_for_whom_and_not_for_ever() {
    let mut scene = Scene::new(json!({ "type": "Restart", "timeout": "5m" }));
    scene.ahead = Some("other".to_owned());
    scene.look(|| false);
    assert_eq!(scene.status.phase, Some(OperationPhase::Pending));
    assert_eq!(scene.message(), "waits for Operation other: one at a time");
    assert_eq!(scene.run(), OperationPhase::Failed);
    assert!(scene.message().starts_with("it did not begin within 5m: waits for Operation other"));
    assert!(scene.log.is_empty());
}

#[test]
fn an_instance_that_is_not_there_is_waited_for_only_a_moment() {
    let mut scene = Scene::new(json!({ "type": "Restart" }));
    scene.instance = None;
    assert_eq!(scene.run(), OperationPhase::Failed);
    assert_eq!(scene.message(), "there is no Instance cache in this namespace");
    assert!(scene.now.duration_since(super::world::begin()) < SignedDuration::from_mins(3));
}

#[test]
fn a_whole_that_takes_too_long_ends() {
    let mut scene = Scene::new(json!({ "type": "Restart", "timeout": "10s" }));
    let decision = scene.next();
    scene.status = decision.status;
    scene.now += SignedDuration::from_secs(11);
    assert_eq!(scene.run(), OperationPhase::Failed);
    assert_eq!(scene.message(), "it did not end within 10s: restart a-2");
}

const MANIFEST: &str = r#"
type: made-up
version: 1.0.0
versions:
  - {version: "1", image: "made-up:1"}
topologies:
  led: {default: true, components: {server: {replicas: 3}}}
components:
  server:
    command: [made-up]
    ports: {client: 8080}
    volumes: {data: {path: /data, size: 1Gi}}
    resources: {requests: {cpu: 50m, memory: 128Mi}, limits: {memory: 128Mi}}
    process: {startTimeout: 30s}
    actions:
      prepare: {timeout: 12h, steps: [{signal: HUP}]}
"#;

#[test]
fn a_pod_that_does_not_come_back_leaves_time_for_the_others() {
    let mut scene = Scene::new(json!({ "type": "Restart", "onFailure": "Continue" })).with_package(MANIFEST);
    scene.status = scene.next().status;
    scene.now += SignedDuration::from_mins(44);
    assert_eq!(scene.run(), OperationPhase::Failed);
    assert_eq!(scene.log, ["restart a-1", "restart a-0"]);
    let told = "1 of 3 steps failed, first restart a-2: it did not end within 43m; see why with midship logs, or delete \
                the pod a-2: it is made anew with the volumes it has";
    assert_eq!(scene.message(), told);
}

#[test]
fn a_process_has_the_time_that_its_package_the_instance_and_the_operation_give_it() {
    let allowed = |scene: &Scene, step: &str| {
        let kind = kinds::of(scene.operation.spec.type_).expect("a type that is carried out");
        (kind.recall)(&scene.seen(), step).and_then(|planned| planned.timeout).map(|time| time.to_string())
    };
    let asked = |asked| Scene::new(asked).with_package(MANIFEST);
    let batch = |action: &str| asked(json!({ "type": "Process", "process": { "action": action } }));
    assert_eq!(allowed(&batch("Stop"), "stop a-2").as_deref(), Some("5m30s"));
    assert_eq!(
        allowed(&batch("Start"), "start a-2").as_deref(),
        Some("42m30s"),
        "half of the hour goes into preparation"
    );
    assert_eq!(allowed(&asked(json!({ "type": "Reload" })), "reload a-2").as_deref(), Some("5m"));
    let patient = asked(json!({ "type": "Restart", "timeout": "1d" }));
    assert_eq!(allowed(&patient, "restart a-2").as_deref(), Some("12h13m"));
    let mut slow = batch("Stop");
    let instance = slow.instance.as_mut().expect("an instance");
    let stop_timeout = Some(Duration::from_secs(3_600));
    instance.spec.components[0].process = Some(ProcessOptions { stop_timeout, ..ProcessOptions::default() });
    assert_eq!(allowed(&slow, "stop a-2").as_deref(), Some("1h5m"));
    assert_eq!(allowed(&Scene::new(json!({ "type": "Reload" })), "reload a-2"), None, "nobody knows what it needs");
    let own = |timeout| {
        let step = json!({ "name": "now", "call": { "action": "stop" }, "timeout": timeout });
        asked(json!({ "type": "Custom", "custom": { "steps": [step] } }))
    };
    assert_eq!(allowed(&own(json!(null)), "now a-2").as_deref(), Some("5m30s"));
    assert_eq!(allowed(&own(json!("20s")), "now a-2").as_deref(), Some("20s"), "a step of one's own says it itself");
}

#[test]
fn a_switchover_names_both_and_refuses_what_makes_no_sense() {
    let mut scene = Scene::new(json!({ "type": "Switchover", "switchover": { "to": "a-2" } }));
    assert_eq!(scene.run(), OperationPhase::Succeeded);
    assert_eq!(scene.log, ["hand over from a-0 to a-2"]);
    let refused = |switchover: serde_json::Value| {
        let mut scene = Scene::new(json!({ "type": "Switchover", "switchover": switchover }));
        assert_eq!(scene.run(), OperationPhase::Failed);
        scene.message().to_owned()
    };
    assert_eq!(refused(json!({ "to": "a-0" })), "a-0 has the role already");
    assert!(refused(json!({ "from": "a-1" })).starts_with("a-1 has the role replica now"));
    assert!(refused(json!({ "force": true })).starts_with("switchover.force needs switchover.to"));
    let mut scene = Scene::new(json!({ "type": "Switchover", "switchover": { "to": "a-2", "force": true } }));
    assert_eq!(scene.run(), OperationPhase::Succeeded);
    assert_eq!(scene.log, ["hand over by force from a-0 to a-2"]);
    // it is not waited for without end
    let mut scene = Scene::new(json!({ "type": "Switchover", "switchover": { "to": "a-2" } }));
    scene.status = scene.next().status;
    scene.now += SignedDuration::from_mins(7);
    assert_eq!(scene.run(), OperationPhase::Failed);
    assert_eq!(scene.message(), "hand over from a-0 to a-2: it did not end within 6m");
    let mut scene = Scene::new(json!({ "type": "Switchover" }));
    scene.pods = vec![pod("a-1", 1, "replica")];
    assert_eq!(scene.run(), OperationPhase::Failed);
    assert!(scene.message().starts_with("no pod has an exclusive role now"));
    let mut scene = Scene::new(json!({ "type": "Switchover" }));
    scene.pods.truncate(1);
    assert_eq!(scene.run(), OperationPhase::Failed);
    assert_eq!(scene.message(), "a-0 is alone in its group: nobody can take the role over");
}

#[test]
fn steps_of_ones_own_go_stage_by_stage() {
    let steps = json!([
        { "name": "first things", "call": { "action": "pre-scale-in", "concurrency": 2 } },
        { "name": "breathe", "wait": { "duration": "1m" } },
        { "name": "again", "call": { "action": "reload" } },
    ]);
    let mut scene = Scene::new(json!({ "type": "Custom", "custom": { "steps": steps } }));
    assert_eq!(scene.run(), OperationPhase::Succeeded);
    let expected = ["first things a-2", "first things a-1", "first things a-0", "again a-2", "again a-1", "again a-0"];
    assert_eq!(scene.log, expected);
    assert!(scene.now.duration_since(super::world::begin()) >= SignedDuration::from_mins(1));
}

#[test]
fn a_type_that_is_not_there_yet_says_so() {
    let mut scene = Scene::new(json!({ "type": "Rotate" }));
    assert!(kinds::of(scene.operation.spec.type_).is_none());
    assert_eq!(scene.run(), OperationPhase::Failed);
    assert!(scene.message().starts_with("operations of type Rotate are not carried out"));
}
