//! A package that this repository does not have, made up here: it runs, carries its own operation out, and keeps its data.

use std::fs;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{DeleteParams, ListParams};
use midship::api::instance::Phase;
use serde_json::json;

use super::stage::{NAME, package_test};

const MANIFEST: &str = r#"
type: lantern
version: 1.0.0
title: Lantern
description: Serves the files of its volume.
versions:
  - {version: "1", image: "IMAGE"}
components:
  web:
    user: 1000
    command: [httpd, -f, -v, -p, "{{ ports.http }}", -h, /data]
    ports: {http: 8080}
    volumes: {data: {path: /data, size: 16Mi}}
    resources:
      requests: {cpu: 10m, memory: 16Mi}
      limits: {memory: 32Mi}
    probes:
      ready: {every: 1s, steps: [{tcp: http}]}
operations:
  light:
    description: Writes a page.
    component: web
    concurrency: 2
    parameters:
      words: {type: string, default: hello}
    steps:
      - exec:
          command: [sh, -c, 'printf "%s\n" "$WORDS" > /data/index.html && cat /data/index.html']
          env: {WORDS: "{{ request.words }}"}
        save: written
    result: {words: written.stdout}
"#;

#[test]
fn a_package_from_elsewhere_runs_and_carries_its_own_operations_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let image = super::images::load("busybox");
    fs::write(folder.path().join("extension.yaml"), MANIFEST.replace("IMAGE", &image)).expect("it can be written");
    package_test(folder.path(), "busybox", async |stage| {
        stage.create(json!({ "version": "1", "components": [{ "name": "web", "replicas": 2 }] })).await;
        stage.is(Phase::Running, |status| status.ready.as_deref() == Some("2/2")).await;

        let custom = json!({ "name": "light", "parameters": { "words": "good evening" } });
        let status = stage.done("light", json!({ "type": "Custom", "custom": custom })).await;
        assert_eq!(status.progress.as_deref(), Some("2/2"));
        let pod = format!("{NAME}-web-0");
        let ask = ["wget", "-qO-", "http://127.0.0.1:8080/"];
        assert_eq!(stage.answer(&stage.scene.namespace, &pod, "web", &ask).await, "good evening");
        let unknown = stage.refused("dark", json!({ "type": "Custom", "custom": { "name": "lihgt" } })).await;
        assert_eq!(unknown, "there is no operation \"lihgt\"; did you mean \"light\"?");

        let steps = json!([
            { "name": "again", "call": { "action": "restart" } },
            { "name": "rest", "wait": { "duration": "1s" } },
            { "name": "well", "wait": { "condition": "Ready" } },
            { "name": "note", "apply": { "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "note" }, "data": { "a": "b" } } },
            { "name": "gone", "delete": { "apiVersion": "v1", "kind": "ConfigMap", "name": "note" } },
        ]);
        let status = stage.done("mine", json!({ "type": "Custom", "custom": { "steps": steps } })).await;
        assert_eq!(status.progress.as_deref(), Some("6/6"));
        let more = json!([{ "name": "power", "apply": { "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": { "name": "power" } } }]);
        let refused = stage.refused("power", json!({ "type": "Custom", "custom": { "steps": more } })).await;
        assert!(refused.contains("steps cannot be about rbac.authorization.k8s.io/v1 Role"), "{refused}");

        stage.delete().await;
        let kept = stage.claims().await;
        assert_eq!(kept.len(), 2, "volumes are kept where nobody said otherwise: {kept:?}");
        let claims = stage.scene.objects::<PersistentVolumeClaim>();
        claims.delete_collection(&DeleteParams::default(), &ListParams::default()).await.expect("they can be deleted");
    });
}
