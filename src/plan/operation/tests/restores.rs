//! A restore in place: what it does in which order, and what it refuses before anything is touched.

use serde_json::{Value, json};

use super::world::{Scene, pod};
use crate::api::operation::{OperationPhase, UNTOUCHED};
use crate::plan::operation::patience;

const MANIFEST: &str = r#"
type: made-up
version: 1.0.0
versions:
  - {version: "1", image: "made-up:1"}
topologies:
  led: {default: true, components: {server: {replicas: 3}}}
  electing: {failover: Middleware, components: {server: {replicas: 3}}}
components:
  server:
    command: [made-up]
    ports: {client: 8080}
    volumes: {data: {path: /data, size: 1Gi}}
    resources: {requests: {cpu: 50m, memory: 128Mi}, limits: {memory: 128Mi}}
backup:
  methods:
    files:
      stream: {volume: {name: data}}
      restore: {volume: data}
"#;

fn scene(topology: &str, restore: Value) -> Scene {
    let mut whole =
        json!({ "source": { "repository": "vault", "instance": { "name": "cache" } }, "replaceDataOf": "cache" });
    whole.as_object_mut().expect("an object").extend(restore.as_object().expect("an object").clone());
    let mut scene = Scene::new(json!({ "type": "Restore", "restore": whole })).with_package(MANIFEST);
    let status = scene.instance.as_mut().and_then(|instance| instance.status.as_mut()).expect("a status");
    status.resolved.as_mut().expect("resolved").topology = Some(topology.to_owned());
    scene
}

fn refused(mut scene: Scene) -> String {
    assert_eq!(scene.run(), OperationPhase::Failed);
    assert_eq!(scene.log, [""; 0], "nothing may be touched");
    scene.message().to_owned()
}

#[test]
fn the_one_that_leads_is_filled_between_the_last_stop_and_the_first_start() {
    let mut scene = scene("led", json!({}));
    assert_eq!(scene.run(), OperationPhase::Succeeded, "{}", scene.message());
    let [look, first, rest @ ..] = scene.log.as_slice() else { panic!("{:?}", scene.log) };
    assert!(look == "look at the backup" && first.starts_with("back up "), "{look}, {first}");
    let at = |name: &str| rest.iter().position(|step| step == name).unwrap_or_else(|| panic!("{name} in {rest:?}"));
    let order = ["stop a-0, the last one", "restore a-0", "start a-0, the first one", "check a-0"].map(at);
    assert!(order.is_sorted(), "{rest:?}");
    assert!(at("stop a-1") < order[0] && at("stop a-2") < order[0], "{rest:?}");
    assert!(at("start a-1") > order[3] && at("start a-2") > order[3], "{rest:?}");
}

#[test]
fn a_backup_that_cannot_be_restored_stops_nothing() {
    let mut scene = scene("led", json!({}));
    scene.fails.insert("look at the backup".to_owned(), 1);
    assert_eq!(scene.run(), OperationPhase::Failed);
    assert_eq!(scene.log, ["look at the backup"]);
    assert_eq!(scene.message(), "look at the backup: it broke");
}

#[test]
fn what_was_stopped_starts_again_where_nothing_was_changed() {
    for (step, untouched) in [("stop a-1", true), ("restore a-0", true), ("restore a-0", false)] {
        let mut scene = scene("led", json!({}));
        scene.fails.insert(step.to_owned(), 1);
        scene.failure = if untouched { format!("it broke; {UNTOUCHED}") } else { "it broke".to_owned() };
        assert_eq!(scene.run(), OperationPhase::Failed);
        let started: Vec<&String> = scene.log.iter().filter(|step| step.starts_with("start ")).collect();
        if untouched {
            let last = step.starts_with("restore ").then_some("start a-0, again");
            assert_eq!(started.first().map(|step| step.as_str()), last.or(Some("start a-2, again")), "{:?}", scene.log);
            assert_eq!(started.len(), if last.is_some() { 3 } else { scene.stops() });
            assert!(scene.message().ends_with("what was stopped was started again"), "{}", scene.message());
            assert!(scene.message().starts_with(&format!("{step}: it broke")), "{}", scene.message());
        } else {
            assert!(started.is_empty(), "half of the data is there: {:?}", scene.log);
        }
    }
}

#[test]
fn nobody_goes_on_past_a_failure_and_an_hour_is_not_the_end() {
    for policy in ["Continue", "Pause"] {
        let mut goes_on = scene("led", json!({}));
        goes_on.operation.spec.on_failure = serde_json::from_value(json!(policy)).expect("a policy");
        let said = refused(goes_on);
        assert!(said.contains(&format!("onFailure: {policy} would go on although")), "{said}");
    }
    let mut spec = scene("led", json!({})).operation.spec;
    assert!(patience(&spec).0 > std::time::Duration::from_hours(24));
    spec.timeout = crate::api::values::Duration::parse("2h");
    assert_eq!(patience(&spec).0, std::time::Duration::from_hours(2));
}

#[test]
fn one_that_is_cancelled_leaves_nothing_stopped() {
    let until = |step: &str| {
        let mut scene = scene("led", json!({}));
        while !scene.log.iter().any(|done| done == step) {
            assert!(scene.look(|| false), "{:?}", scene.log);
        }
        scene
    };
    let started = |scene: &Scene| scene.log.iter().filter(|step| step.starts_with("start ")).count();
    for step in ["stop a-1", "stop a-0, the last one", "restore a-0"] {
        let mut scene = match step {
            "restore a-0" => {
                let mut scene = until("stop a-0, the last one");
                scene.fails.insert(step.to_owned(), 1);
                scene.failure = format!("it was cancelled; {UNTOUCHED}");
                scene.look(|| false);
                scene
            }
            _ => until(step),
        };
        scene.operation.spec.cancel = Some(true);
        assert_eq!(scene.run(), OperationPhase::Cancelled);
        assert_eq!(started(&scene), scene.stops(), "{:?}", scene.log);
        assert!(scene.message().starts_with("cancelled; nothing was changed, and"), "{}", scene.message());
    }
    // before anything was stopped it just ends
    let mut scene = until("look at the backup");
    scene.operation.spec.cancel = Some(true);
    assert_eq!((scene.run(), started(&scene)), (OperationPhase::Cancelled, 0));
    // and once the data is there, the way out is at the end
    let mut scene = until("restore a-0");
    scene.operation.spec.cancel = Some(true);
    assert_eq!((scene.run(), started(&scene)), (OperationPhase::Succeeded, 3));
    // half of the data is there: nothing starts on that
    let mut scene = until("stop a-0, the last one");
    scene.fails.insert("restore a-0".to_owned(), 1);
    scene.look(|| false);
    scene.operation.spec.cancel = Some(true);
    assert_eq!((scene.run(), started(&scene)), (OperationPhase::Cancelled, 0));
    assert_eq!(scene.message(), "cancelled; restore a-0: it broke; what was done stays");
}

#[test]
fn that_something_does_not_start_again_is_told() {
    let mut scene = scene("led", json!({}));
    scene.failure = format!("it broke; {UNTOUCHED}");
    scene.fails.extend([("restore a-0".to_owned(), 1), ("start a-0, again".to_owned(), 1)]);
    assert_eq!(scene.run(), OperationPhase::Failed);
    assert!(scene.message().ends_with("not all that was stopped could be started again"), "{}", scene.message());
}

#[test]
fn who_chooses_its_primary_by_itself_is_not_restored_in_place() {
    let said = refused(scene("electing", json!({})));
    assert!(said.contains("chooses its primary by itself") && said.contains("make a new instance"), "{said}");
    // alone it has nobody to choose from
    let mut alone = scene("electing", json!({}));
    alone.pods = vec![pod("a-0", 0, "primary")];
    assert_eq!(alone.run(), OperationPhase::Succeeded, "{}", alone.message());
}

#[test]
fn several_groups_with_data_are_not_restored_in_place() {
    let mut groups = scene("led", json!({}));
    groups.pods[2].group = "shard-1".to_owned();
    let said = refused(groups);
    assert!(said.contains("several groups with data of their own"), "{said}");
}

#[test]
fn the_data_that_is_replaced_is_named_exactly() {
    let said = refused(scene("led", json!({ "replaceDataOf": "orders" })));
    assert!(said.contains("replaceDataOf says orders, and the instance is cache"), "{said}");
    let mut gone = scene("led", json!({}));
    gone.pods.clear();
    let said = refused(gone);
    assert!(said.contains("start it first"), "{said}");
}
