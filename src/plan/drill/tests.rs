//! What a scratch instance is and is not, and what is told of drills.

use serde_json::{Value, json};

use super::*;
use crate::api::API_VERSION;
use crate::extension::{Package, PackageFiles};

const MANIFEST: &str = r#"
type: demo
version: 1.0.0
versions:
  - {version: "1.0", image: "demo:1.0"}
topologies:
  single: {components: {server: {replicas: 1}}}
  replicated:
    default: true
    components:
      server: {replicas: {default: 3, min: 1, max: 5}}
      watcher: {replicas: {default: 3, min: 3, max: 7, odd: true}}
components:
  server:
    command: [demo]
    ports: {client: 8080}
    volumes: {data: {path: /data, size: 1Gi}}
    resources: {requests: {cpu: 50m, memory: 128Mi}, limits: {memory: 128Mi}}
  watcher:
    command: [watch]
    ports: {watch: 8081}
    resources: {requests: {cpu: 50m, memory: 128Mi}, limits: {memory: 128Mi}}
backup:
  methods:
    files:
      component: server
      stream: {volume: {name: data}}
      restore: {volume: data}
"#;

fn package() -> Package {
    let files = [("extension.yaml".to_owned(), MANIFEST.as_bytes().to_vec())];
    Package::load(PackageFiles::new(files).expect("plain files")).unwrap_or_else(|problems| panic!("{problems}"))
}

fn instance(spec: Value) -> Instance {
    let mut whole = json!({ "type": "demo", "extensionVersion": "1.0.0", "version": "1.0" });
    whole.as_object_mut().expect("an object").extend(spec.as_object().expect("an object").clone());
    let object =
        json!({ "apiVersion": API_VERSION, "kind": "Instance", "metadata": { "name": "orders" }, "spec": whole });
    serde_json::from_value(object).expect("an instance")
}

fn spec(of: Value) -> Value {
    let restore = json!({ "repository": "vault", "id": "b" });
    scratch_spec(&instance(of), Some(&package()), "files", restore).expect("a spec")
}

#[test]
fn it_is_small_also_where_nothing_is_said_of_its_components() {
    let small = json!([{ "name": "server", "replicas": 1 }]);
    assert_eq!(spec(json!({}))["components"], small);
    assert_eq!(spec(json!({ "topology": "single" }))["components"], small);
    let given = json!({ "components": [{ "name": "server", "replicas": 5, "offline": [1, 2] },
        { "name": "watcher", "replicas": 5 }] });
    // who watches holds no data, and a quorum stays one
    let wanted = json!([{ "name": "server", "replicas": 1 }, { "name": "watcher", "replicas": 5 }]);
    assert_eq!(spec(given)["components"], wanted);
    let groups = json!({ "components": [{ "name": "server", "groups": [
        { "name": "shard-0", "replicas": 3, "offline": [0] }, { "name": "shard-1", "replicas": 2 }] }] });
    let wanted = json!([{ "name": "shard-0", "replicas": 1 }, { "name": "shard-1", "replicas": 1 }]);
    assert_eq!(spec(groups)["components"][0]["groups"], wanted);
}

#[test]
fn it_is_closed_and_goes_with_its_volumes() {
    let spec = spec(json!({ "deletionPolicy": "Retain", "network": { "policy": false },
        "monitoring": { "alerts": true, "exporter": true }, "state": "Stopped", "suspend": true }));
    assert_eq!(spec["deletionPolicy"], "Delete");
    assert_eq!(spec["network"], json!({ "policy": true }));
    assert_eq!(spec["monitoring"], json!({ "exporter": false, "podMonitor": false, "alerts": false }));
    assert_eq!(spec["restore"], json!({ "repository": "vault", "id": "b" }));
    assert!(spec.get("state").is_none() && spec.get("suspend").is_none());
}

#[test]
fn it_has_nothing_of_the_one_that_serves() {
    let of = spec(json!({
        "credentials": { "secretName": "orders-admin" },
        "backup": { "policy": "nightly" },
        "tls": { "secretName": "orders-tls", "extraNames": ["orders.example.com"] },
        "components": [{ "name": "server", "serviceAccountName": "orders-cloud",
            "podMetadata": { "labels": { "app": "orders" } }, "service": { "type": "LoadBalancer" } }],
    }));
    let text = of.to_string();
    assert!(!text.contains("orders") && !text.contains("nightly") && !text.contains("LoadBalancer"), "{text}");
    assert_eq!(of["tls"], json!({ "issuer": "builtin" }));
    // what decides whether the data can be read stays
    let of = spec(
        json!({ "components": [{ "name": "server", "parameters": { "a": 1 }, "storage": { "data": { "size": "9Gi" } } }] }),
    );
    let wanted =
        json!({ "name": "server", "replicas": 1, "parameters": { "a": 1 }, "storage": { "data": { "size": "9Gi" } } });
    assert_eq!(of["components"][0], wanted);
}

#[test]
fn without_its_package_it_is_as_the_instance_is() {
    let of = instance(json!({ "components": [{ "name": "server", "replicas": 3 }] }));
    let spec = scratch_spec(&of, None, "files", json!({ "id": "b" })).expect("a spec");
    assert_eq!(spec["components"], json!([{ "name": "server", "replicas": 3 }]));
}

fn scratch(conditions: &[(&str, &str)]) -> Instance {
    let conditions: Vec<Value> = conditions
        .iter()
        .map(|(type_, status)| {
            json!({ "type": type_, "status": status, "reason": "R", "message": format!("{type_} says"),
                "lastTransitionTime": "2026-03-01T12:00:00Z" })
        })
        .collect();
    serde_json::from_value(json!({ "apiVersion": API_VERSION, "kind": "Instance",
        "metadata": { "name": "drill", "creationTimestamp": "2026-03-01T12:00:00Z" },
        "spec": { "type": "t", "extensionVersion": "1.0.0", "version": "1" },
        "status": { "conditions": conditions } }))
    .expect("an instance")
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

#[test]
fn only_data_that_serves_and_was_checked_counts_and_nobody_waits_for_ever() {
    let (soon, late) = (at("2026-03-01T12:10:00Z"), at("2026-03-01T13:10:00Z"));
    let hour = Duration::from_hours(1);
    let all = scratch(&[("Restored", "True"), ("Proven", "True"), ("Ready", "True")]);
    assert_eq!(became(&all, hour, soon), Became::Proven);
    let mut unchecked = all.clone();
    for condition in &mut unchecked.status.as_mut().expect("a status").conditions {
        condition.reason = NOTHING_DECLARED.into();
    }
    let became_unchecked = became(&unchecked, hour, soon);
    assert!(
        matches!(&became_unchecked, Became::Failed(why) if why.contains("declares no checks")),
        "{became_unchecked:?}"
    );
    let unproven = scratch(&[("Restored", "True"), ("Proven", "False"), ("Ready", "False")]);
    assert_eq!(became(&unproven, hour, soon), Became::Goes);
    assert_eq!(became(&unproven, hour, late), Became::Failed("Proven says".into()));
    assert_eq!(became(&scratch(&[]), hour, late), Became::Failed("it was not taken up within 3600s".into()));
}

#[test]
fn only_what_was_filled_from_the_very_backup_can_prove_it() {
    let vault = ObjectName::parse("vault").expect("a name");
    let tried = |restore: Value| {
        let spec = json!({ "type": "t", "extensionVersion": "1.0.0", "version": "1", "restore": restore });
        let object =
            json!({ "apiVersion": API_VERSION, "kind": "Instance", "metadata": { "name": "drill" }, "spec": spec });
        tries(&serde_json::from_value(object).expect("an instance"), &vault, "u1", "B1")
    };
    assert!(tried(
        json!({ "repository": "vault", "instance": { "uid": "u1" }, "id": "B1", "identity": { "name": "key" } })
    ));
    for other in [
        json!({ "repository": "vault", "instance": { "uid": "u1" }, "id": "B2" }),
        json!({ "repository": "vault", "instance": { "uid": "u2" }, "id": "B1" }),
        json!({ "repository": "attic", "instance": { "uid": "u1" }, "id": "B1" }),
        json!({ "backup": "vault-b1" }),
        Value::Null,
    ] {
        assert!(!tried(other.clone()), "{other}");
    }
}

#[test]
fn a_scratch_instance_that_does_not_go_is_told() {
    let mut going = scratch(&[]);
    assert_eq!(lingers(&going, at("2026-03-02T12:00:00Z")), None, "nobody has told it to");
    going.metadata.deletion_timestamp = going.metadata.creation_timestamp.clone();
    assert_eq!(lingers(&going, at("2026-03-01T12:14:59Z")), None);
    let told = lingers(&going, at("2026-03-01T12:15:00Z"));
    let wanted = "the scratch instance drill of the last one has been going since 2026-03-01T12:00:00Z, and is still there; \
                  see `midship describe inst/drill`";
    assert_eq!(told.as_deref(), Some(wanted));
}

fn ended(minute: u32, well: bool) -> Ended {
    let at = at(&format!("2026-03-01T12:{minute:02}:00Z"));
    Ended { at, well, instance: "orders".into(), backup: "B1".into(), note: format!("minute {minute}") }
}

#[test]
fn one_failure_is_told_before_any_success() {
    let told = |results: &[(&str, Ended)]| {
        let results: Results = results.iter().map(|(uid, ended)| ((*uid).to_owned(), ended.clone())).collect();
        telling(&results).map(|ended| ended.note.clone())
    };
    assert_eq!(told(&[]), None);
    assert_eq!(told(&[("a", ended(1, true)), ("b", ended(2, true))]).as_deref(), Some("minute 2"));
    assert_eq!(told(&[("a", ended(1, false)), ("b", ended(2, true))]).as_deref(), Some("minute 1"));
}

#[test]
fn failures_outlive_the_controller_and_successes_end_them() {
    let mut results = Results::from([("a".to_owned(), ended(10, false)), ("b".to_owned(), ended(11, true))]);
    let kept = failures(&results);
    assert_eq!(kept.iter().map(|failed| failed.uid.as_str()).collect::<Vec<_>>(), ["a"]);
    assert_eq!(remembered(&kept), Results::from([("a".to_owned(), ended(10, false))]));
    results.insert("a".to_owned(), ended(12, true));
    assert_eq!(failures(&results), []);
    // many of them stay within bounds: the newest
    let of_second = |second| Ended { at: Timestamp::from_second(second).expect("a time"), ..ended(0, false) };
    let many: Results = (0..300).map(|second| (format!("{second:03}"), of_second(second))).collect();
    let kept = failures(&many);
    assert_eq!((kept.len(), kept[0].uid.as_str()), (KEPT, "200"));
}

#[test]
fn a_scratch_instance_goes_once_its_own_failure_is_written_down() {
    let scratch = scratch(&[]);
    let kept = |minute, uid: &str| {
        let results = Results::from([(uid.to_owned(), ended(minute, false))]);
        is_kept(&failures(&results), "a", "B1", &scratch)
    };
    assert!(kept(5, "a"));
    assert!(!kept(5, "b"), "another instance's");
    let before = Ended { at: at("2026-03-01T11:00:00Z"), ..ended(0, false) };
    let results = Results::from([("a".to_owned(), before)]);
    assert!(!is_kept(&failures(&results), "a", "B1", &scratch), "of a drill before this one");
    assert!(!is_kept(&failures(&Results::from([("a".to_owned(), ended(5, false))])), "a", "B2", &scratch));
}
