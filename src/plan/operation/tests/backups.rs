//! Which pod a backup is taken from: one whose data is the newest there is.

use serde_json::{Value, json};

use super::world::{Scene, pod};
use crate::api::labels::BACKUP_POLICY;
use crate::api::operation::OperationPhase;
use crate::plan::operation::Pod;
use crate::plan::operation::kinds::backup::{is_last, parts};

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
    // each of those that are named has all of it
    assert_eq!(backed_up(&[], &[], json!({ "target": { "pods": ["gone", "a-2"] } })), from("a-2"));
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

/// An instance of which three groups are wanted, and those with these pods are there.
fn in_shards(pods: &[(&str, &str)], more: Value) -> Scene {
    let look = "[{exec: [look], save: spread}]";
    let method = format!(
        "prefer: replica\n      eachGroup: true\n      set: {{same: spread.stdout}}\n      before: {look}\n      after: {look}\n"
    );
    let mut scene = scene(&[], &[], more).with_package(&MANIFEST.replace("prefer: replica\n", &method));
    scene.pods =
        pods.iter().map(|(name, group)| Pod { group: (*group).to_owned(), ..pod(name, 0, "primary") }).collect();
    let groups = json!([{ "name": "shard-0" }, { "name": "shard-1" }, { "name": "shard-2" }]);
    let status = scene.instance.as_mut().and_then(|instance| instance.status.as_mut()).expect("a status");
    let resolved = status.resolved.as_mut().expect("what is in force");
    resolved.components = Some(json!({ "server": { "groups": groups } }).into());
    scene
}

const ALL: [(&str, &str); 3] = [("a-0", "shard-0"), ("b-0", "shard-1"), ("c-0", "shard-2")];

#[test]
fn a_part_of_each_group_is_made_or_none_at_all() {
    let mut all = in_shards(&ALL, json!({}));
    assert_eq!(all.run(), OperationPhase::Succeeded, "{}", all.message());
    assert_eq!(all.log, ["back up a-0", "back up b-0", "back up c-0"]);
    assert_eq!(parts(&all.seen()), Some(3));
    assert_eq!([0, 1, 2].map(|index| is_last(&all.seen(), index)), [false, false, true]);
    // a group that comes or goes has a part of the data that would be missing
    let refused = ended(in_shards(&ALL[..2], json!({}))).expect_err("one is missing");
    let wanted =
        "cache is to have 3 groups, and 2 of them have pods that can be backed up: a backup of it needs a part of each";
    assert!(refused.contains(wanted), "{refused}");
    // who means one of them has one part, which is no set
    for one in [json!({ "group": "shard-1" }), json!({ "pods": ["b-0"] })] {
        let mut one = in_shards(&ALL, json!({ "target": one }));
        assert_eq!(one.run(), OperationPhase::Succeeded, "{}", one.message());
        assert_eq!((one.log.join(", ").as_str(), parts(&one.seen())), ("back up b-0", None));
    }
}

#[test]
fn parts_of_several_groups_belong_together_whatever_they_were_chosen_by() {
    for all in [json!({ "component": "server" }), json!({ "pods": ["a-0", "b-0", "c-0"] })] {
        let mut all = in_shards(&ALL, json!({ "target": all }));
        assert_eq!(all.run(), OperationPhase::Succeeded, "{}", all.message());
        assert_eq!(all.log, ["back up a-0", "back up b-0", "back up c-0"]);
        assert_eq!(parts(&all.seen()), Some(3));
    }
    let of_component = json!({ "target": { "component": "server" } });
    let refused = ended(in_shards(&ALL[..2], of_component)).expect_err("one is missing");
    let wanted = "cache is to have 3 groups, and 2 of them have pods that can be backed up";
    assert!(refused.contains(wanted), "{refused}");
    let refused = ended(in_shards(&ALL, json!({ "target": { "pods": ["a-0", "c-0"] } }))).expect_err("one is left out");
    let wanted = "spec.target names pods of 2 of the 3 groups of cache: a backup of several groups needs a part of each; name \
                  pods of all of them, or of one";
    assert!(refused.contains(wanted), "{refused}");
    // what is left of those that were named does not pass for what was meant
    let refused =
        ended(in_shards(&ALL[..1], json!({ "target": { "pods": ["a-0", "b-0"] } }))).expect_err("one is gone");
    assert!(refused.contains("there is no pod \"b-0\""), "{refused}");
}
