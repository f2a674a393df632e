//! A restore in place: what it does in which order, and what it refuses before anything is touched.

use std::sync::Arc;

use serde_json::{Value, json};

use super::world::{Scene, pod};
use crate::api::operation::OperationPhase;
use crate::extension::{Package, PackageFiles};

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
    let mut scene = Scene::new(json!({ "type": "Restore", "restore": whole }));
    let files = [("extension.yaml".to_owned(), MANIFEST.as_bytes().to_vec())];
    let package = Package::load(PackageFiles::new(files).expect("plain files"));
    scene.package = Some(Arc::new(package.unwrap_or_else(|problems| panic!("{problems}"))));
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
    let (first, rest) = scene.log.split_first().expect("steps");
    assert!(first.starts_with("back up "), "{first}");
    let at = |name: &str| rest.iter().position(|step| step == name).unwrap_or_else(|| panic!("{name} in {rest:?}"));
    let order = ["stop a-0, the last one", "restore a-0", "start a-0, the first one", "check a-0"].map(at);
    assert!(order.is_sorted(), "{rest:?}");
    assert!(at("stop a-1") < order[0] && at("stop a-2") < order[0], "{rest:?}");
    assert!(at("start a-1") > order[3] && at("start a-2") > order[3], "{rest:?}");
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
