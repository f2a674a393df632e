//! Which pod a backup is taken from: one whose data is the newest there is.

use std::sync::Arc;

use serde_json::{Value, json};

use super::world::Scene;
use crate::api::operation::OperationPhase;
use crate::extension::{Package, PackageFiles};

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
    roles: [replica, {name: primary, exclusive: true}]
    role: {steps: [], role: "'primary'", follows: "''"}
    actions: {promote: {steps: [{signal: HUP}]}}
backup:
  methods:
    files:
      prefer: replica
      stream: {volume: {name: data}}
      restore: {volume: data}
"#;

/// The steps of a backup where these pods follow nobody and those are not ready, or why there is none.
fn backed_up(detached: &[&str], down: &[&str], more: Value) -> Result<String, String> {
    let mut spec = json!({ "type": "Backup", "backup": {} });
    spec.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    let mut scene = Scene::new(spec);
    let files = [("extension.yaml".to_owned(), MANIFEST.as_bytes().to_vec())];
    let package = Package::load(PackageFiles::new(files).expect("plain files"));
    scene.package = Some(Arc::new(package.unwrap_or_else(|problems| panic!("{problems}"))));
    for pod in &mut scene.pods {
        pod.follows &= !detached.contains(&pod.name.as_str());
        pod.ready &= !down.contains(&pod.name.as_str());
    }
    match scene.run() {
        OperationPhase::Succeeded => Ok(scene.log.join(", ")),
        _ => Err(scene.message().to_owned()),
    }
}

#[test]
fn a_replica_that_lost_its_primary_is_not_backed_up_while_there_is_newer_data() {
    let from = |pod: &str| Ok::<_, String>(format!("back up {pod}"));
    assert_eq!(backed_up(&[], &[], json!({})), from("a-1"));
    assert_eq!(backed_up(&["a-1"], &[], json!({})), from("a-2"));
    assert_eq!(backed_up(&["a-1", "a-2"], &[], json!({})), from("a-0"));
    let replicas = json!({ "target": { "role": "replica" } });
    let refused = backed_up(&["a-1", "a-2"], &[], replicas.clone()).expect_err("their data may be old");
    assert!(refused.contains("gets the newest data: none is connected to the one that has it"), "{refused}");
    // while nobody else has any, what there is is kept
    assert_eq!(backed_up(&["a-1", "a-2"], &["a-0"], json!({})), from("a-1"));
    assert_eq!(backed_up(&["a-1", "a-2"], &["a-0", "a-1"], replicas), from("a-2"));
}
