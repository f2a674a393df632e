//! The commands that speak to a cluster, against a real API server.

mod git;
mod install;
mod objects;
mod operate;
mod plan;

use serde_json::{Value, json};

use crate::harness::{Output, Run, Scene, midship};

/// `midship` as somebody who works in the test's namespace.
fn run(scene: &Scene, args: &[&str]) -> Output {
    on(scene).args(args).output()
}

fn on(scene: &Scene) -> Run {
    midship().env("KUBECONFIG", scene.kubeconfig()).env("MIDSHIP_ALLOW_INSECURE_GIT", "true")
}

fn instance(name: &str, annotations: Value) -> midship::api::Instance {
    serde_json::from_value(json!({
        "apiVersion": "midship.dev/v1alpha1", "kind": "Instance",
        "metadata": { "name": name, "annotations": annotations },
        "spec": { "type": "cache", "extensionVersion": "1.0.0", "version": "7.0" }
    }))
    .expect("an instance")
}
