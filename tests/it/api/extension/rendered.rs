//! What `midship render` prints is what the controller applies: one planner for both.

use std::collections::BTreeMap;
use std::path::Path;

use kube::api::PostParams;
use midship::api::Instance;
use serde_json::{Map, Value, json};

use super::kit::{Kit, SOON, kit_test_with};
use crate::api::controller::process::Controller;
use crate::harness::{midship, wait_for};

/// What is looked at of an instance's objects.
const KINDS: &str =
    "configmap,secret,service,serviceaccount,role,rolebinding,poddisruptionbudget,components.midship.dev";
/// The image that `render` assumes for agents.
const AGENT: &str = "midship-agent:preview";

#[test]
fn what_is_rendered_of_replicas_in_memory_is_what_is_applied() {
    is_what_is_applied(
        "extensions/redis/1.1.0",
        &json!({ "version": "7.0", "topology": "replication",
            "components": [{ "name": "redis", "replicas": 3, "parameters": { "maxmemory-policy": "allkeys-lru" } }] }),
    );
}

#[test]
fn what_is_rendered_of_a_database_is_what_is_applied() {
    is_what_is_applied("extensions/postgresql/1.1.0", &json!({ "version": "17", "topology": "replication" }));
}

#[test]
fn what_is_rendered_of_shards_is_what_is_applied() {
    let groups = [json!({ "name": "shard-0", "replicas": 2 }), json!({ "name": "shard-1", "replicas": 3 })];
    let data = json!({ "name": "data", "groups": groups, "parameters": { "cache": "64Mi" } });
    is_what_is_applied("tests/packages/sharded/1.0.0", &json!({ "version": "4", "components": [data] }));
}

fn is_what_is_applied(folder: &str, spec: &Value) {
    let start = |identity: &str, kubeconfig: &Path, args: &[&str]| {
        Controller::start(identity, kubeconfig, &[args, &["--agent-image", AGENT]].concat())
    };
    kit_test_with(start, async |kit| {
        let files = kit.package(folder);
        let version = folder.rsplit('/').next().expect("a version");
        let repository = tempfile::tempdir().expect("a folder");
        let write = |path: &str, content: &[u8]| {
            let path = repository.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("it can be made");
            std::fs::write(path, content).expect("it can be written");
        };
        for (path, bytes) in files.iter() {
            write(&format!("extensions/{}/{version}/{path}", kit.type_), bytes);
        }
        let mut instance = json!({ "apiVersion": "midship.dev/v1alpha1", "kind": "Instance",
            "metadata": { "name": "sample", "namespace": kit.scene.namespace }, "spec": spec });
        instance["spec"]["type"] = json!(kit.type_);
        instance["spec"]["extensionVersion"] = json!(version);
        write("sample.yaml", instance.to_string().as_bytes());
        kit.create(&kit.objects_of(files)).await;
        kit.extension(version, "True", "Installed").await;
        let instance: Instance = serde_json::from_value(instance).expect("an instance");
        kit.instances().create(&PostParams::default(), &instance).await.expect("it can be made");
        kit.becomes("sample", "Creating").await;

        let cue = crate::harness::find("cue").expect("MIDSHIP_TEST_BIN names the programs of the tests");
        let printed = midship().args(["render", "-o", "json"]).arg(repository.path()).env("MIDSHIP_CUE", cue).stdout();
        let printed = by_name(&serde_json::from_str(&printed).expect("JSON"));
        assert!(printed.len() > 8, "{:?}", printed.keys());
        wait_for("what was applied to be what is rendered", SOON, async || {
            let live = live(kit);
            let mut wrong = Vec::new();
            for (name, object) in &printed {
                match live.get(name) {
                    Some(live) => differences(name, object, live, &mut wrong),
                    None => wrong.push(format!("{name} is not there")),
                }
            }
            // what only a cluster can make: certificates
            let more = live.keys().filter(|name| !printed.contains_key(*name) && *name != "Secret sample-agent");
            wrong.extend(more.map(|name| format!("{name} was not rendered")));
            if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
        })
        .await;
    });
}

/// The objects of the instance in the cluster.
fn live(kit: &Kit<'_>) -> BTreeMap<String, Value> {
    let list = kit.scene.kubectl(["get", KINDS, "-l", "midship.dev/instance=sample", "-o", "json"]).stdout();
    let mut all = by_name(&serde_json::from_str(&list).expect("JSON"));
    // who owns the others is another object; what keeps passwords is owned by nobody, so that it outlives the instance
    all.retain(|_, object| {
        let owner = &object["metadata"]["ownerReferences"][0]["kind"];
        owner.is_null() || owner == "Instance"
    });
    all
}

/// Objects by kind and name, without what the pods that are there just now decide, and values of secrets.
fn by_name(list: &Value) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for object in list["items"].as_array().expect("a list") {
        let mut object = object.clone();
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        if kind == "Secret" {
            let values = if object["data"].is_null() { &object["stringData"] } else { &object["data"] };
            let keys: Vec<String> = values.as_object().into_iter().flat_map(Map::keys).cloned().collect();
            object = json!({ "labels": object["metadata"]["labels"], "type": object["type"], "keys": keys });
        }
        if kind == "ConfigMap" && name == "sample-metadata" {
            let text = object["data"]["metadata.json"].as_str().expect("a text");
            let mut told: Value = serde_json::from_str(text).expect("JSON");
            told["nodes"] = Value::Null;
            object["data"]["metadata.json"] = told;
        }
        found.insert(format!("{kind} {name}"), object);
    }
    found
}

/// What of an object is not there as it was rendered. What the server adds by itself is no difference.
fn differences(place: &str, rendered: &Value, live: &Value, wrong: &mut Vec<String>) {
    match (rendered, live) {
        (Value::Object(rendered), Value::Object(live)) => {
            for (key, value) in rendered {
                let there = live.get(key).unwrap_or(&Value::Null);
                differences(&format!("{place}/{key}"), value, there, wrong);
            }
        }
        (Value::Array(rendered), Value::Array(live)) if rendered.len() == live.len() => {
            for (number, (rendered, live)) in rendered.iter().zip(live).enumerate() {
                differences(&format!("{place}/{number}"), rendered, live, wrong);
            }
        }
        // what says nothing is not kept
        (Value::Null | Value::Bool(false), Value::Null) | (Value::Null, _) => {}
        (Value::Object(empty), Value::Null) if empty.is_empty() => {}
        (Value::Array(empty), Value::Null) if empty.is_empty() => {}
        _ if rendered == live => {}
        _ => wrong.push(format!("{place}: rendered {rendered}, there is {live}")),
    }
}
