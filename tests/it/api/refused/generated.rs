//! Wrong components and pod sets. Midship makes them, but people scale them, and a mistake of ours must not be stored.

use midship::api::Kind;
use serde_json::{Value, json};

use super::{accepted_changes, refused, refused_changes};

fn spec(changes: Value) -> Value {
    json!({ "spec": changes })
}

fn component() -> Value {
    json!({ "apiVersion": "midship.dev/v1alpha1", "kind": "Component", "metadata": { "name": "orders-cache-cache" },
        "spec": { "instance": "orders-cache", "component": "cache", "replicas": 3 } })
}

fn pod_set() -> Value {
    json!({ "apiVersion": "midship.dev/v1alpha1", "kind": "PodSet", "metadata": { "name": "orders-cache-cache" }, "spec": {
        "instance": "orders-cache", "component": "cache", "group": "default", "replicas": 3,
        "template": { "spec": { "containers": [{ "name": "cache", "image": "cache:7.0" }] } } } })
}

#[test]
fn a_component_belongs_to_its_instance() {
    refused(Kind::Component, &component(), &[
        ("to none", spec(json!({ "instance": null })),
            "spec.instance: Required value"),
        ("fewer than no pods", spec(json!({ "replicas": -1 })),
            ".spec.replicas: Invalid value: -1: should be a non-negative integer; spec.replicas: Invalid value: -1: spec.replicas in body should be greater than or equal to 0"),
        ("a group without a template", spec(json!({ "groups": [{ "name": "default" }] })),
            "spec.groups[0].template: Required value"),
    ]);
    refused_changes(Kind::Component, &component(), &[
        ("to another", json!({}), spec(json!({ "instance": "other" })),
            "spec: Invalid value: a component belongs to its instance for good"),
        ("as another", json!({}), spec(json!({ "component": "broker" })),
            "spec: Invalid value: a component belongs to its instance for good"),
    ]);
    accepted_changes(Kind::Component, &component(), &[("scaled", json!({}), spec(json!({ "replicas": 5 })))]);
}

#[test]
fn a_pod_set_belongs_to_its_component() {
    refused(Kind::PodSet, &pod_set(), &[
        ("no number of pods", spec(json!({ "replicas": null })),
            "spec.replicas: Required value"),
        ("no pod", spec(json!({ "template": { "spec": null } })),
            "spec.template.spec: Required value"),
        ("an ordinal that is none", spec(json!({ "offline": [-1] })),
            "spec.offline[0]: Invalid value: -1: spec.offline[0] in body should be greater than or equal to 0"),
        ("a start order that does not exist", spec(json!({ "start": "Random" })),
            r#"spec.start: Unsupported value: "Random": supported values: "Parallel", "Ordered""#),
    ]);
    refused_changes(Kind::PodSet, &pod_set(), &[
        ("as another group", json!({}), spec(json!({ "group": "shard-1" })),
            "spec: Invalid value: a pod set belongs to its component for good"),
    ]);
}
