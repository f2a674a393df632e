//! Operations that change the instance: they wait for it, and take the change back where that was asked for.

use serde_json::{Value, json};

use super::world::Scene;
use crate::api::operation::OperationPhase;

fn scale(replicas: u32, more: &Value) -> Value {
    let mut spec =
        json!({ "type": "HorizontalScale", "horizontalScale": { "component": "server", "replicas": replicas } });
    if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more.clone()) {
        spec.extend(more);
    }
    spec
}

/// What the API server does with the change, and how the instance's controller finds it.
fn takes_over(scene: &mut Scene, replicas: u32, phase: &str, stalled: Option<&str>) {
    let mut instance = serde_json::to_value(&scene.instance).expect("an instance");
    instance["spec"]["components"][0]["replicas"] = json!(replicas);
    instance["status"]["phase"] = json!(phase);
    let time = "2026-03-01T12:00:00Z";
    let condition = |type_: &str, status: &str, message: &str| json!({ "type": type_, "status": status, "reason": "R", "message": message, "lastTransitionTime": time });
    let ready = if phase == "Running" { "True" } else { "False" };
    let mut conditions = vec![condition("Ready", ready, "pods")];
    conditions.extend(stalled.map(|why| condition("Stalled", "True", why)));
    instance["status"]["conditions"] = json!(conditions);
    scene.instance = serde_json::from_value(instance).expect("an instance");
}

#[test]
fn it_waits_until_the_instance_is_as_asked() {
    let mut scene = Scene::new(scale(5, &Value::Null));
    scene.look(|| false);
    assert_eq!(scene.log, ["change the instance"]);
    scene.look(|| false);
    assert_eq!(scene.message(), "wait for the instance: the change is not seen yet");
    takes_over(&mut scene, 5, "Updating", None);
    scene.look(|| false);
    assert_eq!(scene.status.phase, Some(OperationPhase::Running));
    takes_over(&mut scene, 5, "Running", None);
    assert_eq!(scene.run(), OperationPhase::Succeeded);
    assert_eq!(scene.log, ["change the instance"]);
}

#[test]
fn a_change_that_somebody_takes_away_fails() {
    let mut scene = Scene::new(scale(5, &Value::Null));
    assert_eq!(scene.run(), OperationPhase::Failed);
    assert!(scene.message().contains("somebody changed spec.components[server].offline and"), "{}", scene.message());
}

#[test]
fn a_refused_change_is_taken_back_where_that_was_asked_for() {
    let mut scene = Scene::new(scale(5, &json!({ "onFailure": "Rollback" })));
    scene.look(|| false);
    let before = json!({ "place": { "component": { "component": "server" } }, "fields": { "replicas": 3 } });
    scene.operation.metadata.annotations = Some([("midship.dev/before".to_owned(), before.to_string())].into());
    takes_over(&mut scene, 5, "Updating", Some("at most 4"));
    scene.look(|| false);
    scene.look(|| false);
    scene.look(|| false);
    assert!(scene.message().ends_with("the change is not seen yet"), "{}", scene.message());
    takes_over(&mut scene, 3, "Running", None);
    assert_eq!(scene.run(), OperationPhase::Failed);
    assert_eq!(scene.log, ["change the instance", "take the change back"]);
    assert_eq!(scene.message(), "wait for the instance: at most 4; the change was taken back");
}

#[test]
fn an_instance_from_git_is_changed_in_git() {
    let mut scene = Scene::new(json!({ "type": "Stop" }));
    let instance = scene.instance.as_mut().expect("an instance");
    let path = "instances/shop/cache.yaml";
    instance.metadata.annotations = Some([("midship.dev/source-path".to_owned(), path.to_owned())].into());
    assert_eq!(scene.run(), OperationPhase::Failed);
    let expected =
        format!("Instance cache comes from Git, and what its file says wins: change spec.state in {path}, and push it");
    assert_eq!(scene.message(), expected);
    assert!(scene.log.is_empty());
}

#[test]
fn an_ordinal_that_is_not_there_is_refused_and_nothing_is_done() {
    let asked = json!({ "component": "server", "replicas": 2, "offline": [7] });
    let mut scene = Scene::new(json!({ "type": "HorizontalScale", "horizontalScale": asked }));
    assert_eq!(scene.run(), OperationPhase::Failed);
    assert!(scene.message().starts_with("there is no ordinal \"7\"") && scene.message().ends_with("nothing is done"));
    assert!(scene.log.is_empty());
}

#[test]
fn an_unknown_component_is_named_with_those_there_are() {
    let asked = json!({ "component": "sever", "replicas": 2 });
    let mut scene = Scene::new(json!({ "type": "HorizontalScale", "horizontalScale": asked }));
    scene.run();
    assert_eq!(scene.message(), "there is no component \"sever\"; did you mean \"server\"?");
}
