//! Which pod a backup is taken from: one whose data is the newest there is.

use serde_json::{Value, json};

use super::world::Scene;
use crate::api::labels::BACKUP_POLICY;
use crate::api::operation::OperationPhase;

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

/// A backup where these pods follow nobody and those are not ready.
fn scene(detached: &[&str], down: &[&str], more: Value) -> Scene {
    let mut spec = json!({ "type": "Backup", "backup": {} });
    spec.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    let mut scene = Scene::new(spec).with_package(MANIFEST);
    for pod in &mut scene.pods {
        pod.follows &= !detached.contains(&pod.name.as_str());
        pod.ready &= !down.contains(&pod.name.as_str());
    }
    scene
}

/// Its steps, or why there is none.
fn ended(mut scene: Scene) -> Result<String, String> {
    match scene.run() {
        OperationPhase::Succeeded => Ok(scene.log.join(", ")),
        _ => Err(scene.message().to_owned()),
    }
}

fn backed_up(detached: &[&str], down: &[&str], more: Value) -> Result<String, String> {
    ended(scene(detached, down, more))
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

#[test]
fn what_a_policy_prefers_is_no_reason_to_make_no_backup() {
    let mut scene = scene(&["a-1", "a-2"], &[], json!({ "target": { "role": "replica" } }));
    scene.operation.metadata.labels = Some([(BACKUP_POLICY.to_owned(), "uid".to_owned())].into());
    assert_eq!(ended(scene), Ok("back up a-0".to_owned()));
}
