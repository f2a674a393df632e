//! Pod sets from situation to situation, in a cluster that is only imagined; after each, planning again does nothing.

mod changes;
mod faults;
pub mod promises;
mod properties;
mod scaling;
pub mod world;

use serde_json::{Value, json};

use super::*;
use crate::api::pod_set::PodSetSpec;

/// A pod set with defaults where `more` says nothing.
fn spec(more: Value) -> PodSetSpec {
    let mut all = json!({
        "instance": "shop", "component": "cache", "group": "default", "replicas": 3,
        "serviceName": "shop-cache-pods",
        "template": template("1"),
    });
    merge(&mut all, more);
    serde_json::from_value(all).expect("a pod set")
}

fn template(image: &str) -> Value {
    json!({
        "configRevision": "c1",
        "metadata": { "labels": { "app": "cache" }, "annotations": { "note": "one" } },
        "spec": { "containers": [
            { "name": "cache", "image": format!("cache:{image}"),
              "resources": { "requests": { "cpu": "100m", "memory": "1Gi" }, "limits": { "memory": "1Gi" } } },
            { "name": "midship", "image": "agent:1" },
        ] },
        "volumes": { "data": { "size": "1Gi" } },
    })
}

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}
