//! Changes of the shipped packages' instances, and what people are told of them.

use serde_json::{Value, json};

use super::*;
use crate::extension::cases::preview;
use crate::extension::{Asked, PackageFiles, Surroundings};
use crate::names::{InstanceName, NamespaceName};

const MANIFEST: &str = r#"
type: demo
version: 1.0.0
versions:
  - {version: "1.0", image: "demo:1.0"}
  - {version: "1.1", image: "demo:1.1"}
  - {version: "1.2", image: "demo:1.2"}
upgrades:
  - {from: "1.0", to: "1.1", rollback: false}
  - {from: "1.1", to: "1.2"}
topologies:
  single: {default: true, components: {server: {replicas: 1}}}
  replicated: {components: {server: {replicas: 3}}}
components:
  server:
    command: [demo]
    process: {reloadSignal: SIGHUP}
    ports: {client: 8080}
    config:
      demo.conf: config/demo.conf.j2
      peers.conf: config/peers.conf.j2
      own.conf: {template: config/own.conf.j2, userFile: Replaces}
      quick.conf: {template: config/own.conf.j2, userFile: Replaces, change: reload}
    volumes: {data: {path: /data, size: 1Gi}}
    resources: {requests: {cpu: 50m, memory: 128Mi}, limits: {memory: 128Mi}}
    roles: [replica, {name: primary, exclusive: true}]
    role: {steps: [], role: "'primary'"}
    actions: {promote: {steps: [{signal: HUP}]}SWITCHOVER}
    parameters:
      hot: {type: integer, default: 1, change: reload}
      cold: {type: integer, default: 1}
      deep: {type: integer, default: 1, change: recreate}
      fixed: {type: integer, default: 1, change: immutable}
tls: {switch: immutable}
"#;

fn package(hand_over: bool) -> Package {
    let switchover = if hand_over { ", switchover: {steps: [{signal: HUP}]}" } else { "" };
    let manifest = MANIFEST.replace("SWITCHOVER", switchover);
    let files = [
        ("extension.yaml".to_owned(), manifest.into_bytes()),
        (
            "config/demo.conf.j2".to_owned(),
            b"hot {{ params.hot }}\ncold {{ params.cold }}\n{{ params.deep }}{{ params.fixed }}\n".to_vec(),
        ),
        ("config/own.conf.j2".to_owned(), b"nothing\n".to_vec()),
        (
            "config/peers.conf.j2".to_owned(),
            b"{% for pod in components.server.pods %}{{ pod.host }}\n{% endfor %}".to_vec(),
        ),
    ];
    Package::load(PackageFiles::new(files).expect("plain files")).unwrap_or_else(|problems| panic!("{problems}"))
}

/// What people are told of going from one spec to the other; null for none.
fn told(package: &Package, old: Value, new: Value) -> Vec<String> {
    let name = InstanceName::parse("orders").expect("a name");
    let namespace = NamespaceName::parse("shop").expect("a name");
    let state = |spec: Value| {
        if spec.is_null() {
            return None;
        }
        let mut whole = json!({ "type": "demo", "extensionVersion": "1.0.0", "version": "1.0" });
        whole.as_object_mut().expect("an object").extend(spec.as_object().expect("an object").clone());
        let spec = serde_json::from_value(whole).expect("a spec");
        let asked = Asked { name: &name, namespace: &namespace, spec: &spec };
        Some(preview(package, asked, &Surroundings::default()).unwrap_or_else(|refusals| panic!("{refusals}")))
    };
    let (old, new) = (state(old), state(new));
    let side = |state: &'_ Option<(Resolved, Rendered)>| state.is_some();
    assert!(side(&old) || side(&new));
    let old = old.as_ref().map(|(resolved, rendered)| Side { package, resolved, rendered });
    let new = new.as_ref().map(|(resolved, rendered)| Side { package, resolved, rendered });
    effect(old, new).sentences()
}

fn server(more: Value) -> Value {
    let mut component = json!({ "name": "server" });
    component.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    json!({ "topology": "replicated", "components": [component] })
}

#[test]
fn the_same_disturbs_nobody() {
    assert_eq!(told(&package(true), json!({}), json!({})), ["disturbs no pod"]);
}

#[test]
fn coming_and_going_is_counted_and_volumes_are_told() {
    let package = package(true);
    assert_eq!(told(&package, Value::Null, server(json!({}))), ["creates 3 pods"]);
    assert_eq!(told(&package, json!({}), Value::Null), ["stops and removes 1 pod; its volumes stay"]);
    assert_eq!(
        told(&package, json!({ "deletionPolicy": "Delete" }), Value::Null),
        ["stops and removes 1 pod and its volumes: the data is lost"]
    );
    assert_eq!(
        told(&package, server(json!({})), server(json!({ "replicas": 3, "offline": [1] }))),
        [
            "server: adds 1 pod: orders-server-3",
            "server: removes 1 pod: orders-server-1",
            "server: reloads 2 processes; nothing restarts (because of configuration files)"
        ]
    );
}

#[test]
fn another_fate_of_the_volumes_is_told_before_it_is_met() {
    let (retain, delete) = (json!({ "deletionPolicy": "Retain" }), json!({ "deletionPolicy": "Delete" }));
    let lost = "from now on its volumes are deleted with it: the data is lost when it goes";
    let sentences = told(&package(true), retain.clone(), delete.clone());
    assert!(sentences.iter().any(|sentence| sentence == lost), "{sentences:?}");
    let sentences = told(&package(true), delete, retain);
    assert!(sentences.iter().any(|sentence| sentence == "from now on its volumes stay when it is deleted"));
}

#[test]
fn a_parameter_disturbs_as_far_as_the_package_says() {
    let package = package(true);
    let with = |name: &str| server(json!({ "parameters": { name: 2 } }));
    assert_eq!(
        told(&package, server(json!({})), with("hot")),
        ["server: reloads 3 processes; nothing restarts (because of hot from 1 to 2)"]
    );
    assert_eq!(
        told(&package, server(json!({})), with("cold")),
        [
            "server: restarts 2 replicas, then switches over, then the old primary; no downtime expected (because of cold from 1 to 2)"
        ]
    );
    assert_eq!(
        told(&package, server(json!({})), with("fixed")),
        [
            "will be refused: spec.components[server].parameters.fixed: parameter fixed cannot be changed once the instance exists; it is 1"
        ]
    );
}

#[test]
fn a_parameter_that_needs_new_pods_gets_new_pods() {
    let package = package(true);
    assert_eq!(
        told(&package, server(json!({})), server(json!({ "parameters": { "deep": 2 } }))),
        [
            "server: replaces 2 replicas, then switches over, then the old primary; no downtime expected (because of deep from 1 to 2)"
        ]
    );
}

#[test]
fn files_that_name_other_pods_are_read_again_and_nothing_restarts() {
    let sentences = told(&package(true), server(json!({})), server(json!({ "replicas": 5 })));
    assert_eq!(
        sentences,
        [
            "server: adds 2 pods: orders-server-3 and orders-server-4",
            "server: reloads 3 processes; nothing restarts (because of configuration files)"
        ]
    );
}

#[test]
fn another_file_of_the_user_disturbs_as_far_as_the_package_says() {
    let own = |name: &str, text: &str| server(json!({ "configFiles": { name: { "content": text } } }));
    assert_eq!(
        told(&package(true), own("own.conf", "a"), own("own.conf", "b")),
        [
            "server: restarts 2 replicas, then switches over, then the old primary; no downtime expected (because of another own.conf)"
        ]
    );
    assert_eq!(
        told(&package(true), own("quick.conf", "a"), own("quick.conf", "b")),
        ["server: reloads 3 processes; nothing restarts (because of configuration files)"]
    );
}

#[test]
fn tls_that_stays_as_it_was_begun_is_refused_to_switch() {
    let on = json!({ "topology": "replicated", "tls": { "issuer": "builtin" } });
    assert_eq!(
        told(&package(true), server(json!({})), on),
        [
            "will be refused: spec.tls: TLS is off and cannot be switched on once the instance exists; restore a backup into a new instance"
        ]
    );
}

#[test]
fn who_cannot_hand_over_or_is_alone_is_away_for_a_moment() {
    let cold = json!({ "parameters": { "cold": 2 } });
    assert_eq!(
        told(&package(false), server(json!({})), server(cold.clone())),
        [
            "server: restarts 2 replicas, then the primary; writes wait until another pod takes over (because of cold from 1 to 2)"
        ]
    );
    let mut alone = server(cold);
    alone["topology"] = json!("single");
    assert_eq!(
        told(&package(true), json!({}), alone),
        ["server: restarts its only pod; it does not serve meanwhile (because of cold from 1 to 2)"]
    );
}

#[test]
fn more_memory_and_larger_volumes_disturb_nobody() {
    let resources = json!({ "requests": { "cpu": "50m", "memory": "256Mi" }, "limits": { "memory": "256Mi" } });
    assert_eq!(
        told(&package(true), server(json!({})), server(json!({ "resources": resources }))),
        ["server: resizes 3 pods in place, where the nodes have room (because of CPU and memory of server)"]
    );
    assert_eq!(
        told(&package(true), server(json!({})), server(json!({ "storage": { "data": { "size": "2Gi" } } }))),
        ["server: grows volume data from 1Gi to 2Gi, while it is in use where the storage class can"]
    );
}

#[test]
fn an_upgrade_says_whether_there_is_a_way_back_and_two_steps_are_refused() {
    let package = package(true);
    let sentences = told(&package, server(json!({})), json!({ "topology": "replicated", "version": "1.1" }));
    assert_eq!(sentences[0], "upgrades the middleware from 1.0 to 1.1; there is no way back");
    assert!(
        sentences[1].starts_with("server: restarts 2 replicas with the new image, then switches over"),
        "{sentences:?}"
    );
    let sentences = told(&package, json!({}), json!({ "version": "1.2" }));
    assert!(sentences[0].starts_with("will be refused: spec.version: 1.0 to 1.2 is 2 steps"), "{sentences:?}");
}

#[test]
fn stopping_and_starting_are_told_with_what_stays() {
    let stopped = json!({ "state": "Stopped" });
    let sentences = told(&package(true), json!({}), stopped.clone());
    assert_eq!(sentences, ["stops 1 pod; volumes, Services and Secrets stay; it does not serve until it is started"]);
    assert_eq!(told(&package(true), stopped, json!({})), ["starts 1 pod"]);
}
