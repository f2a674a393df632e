//! `midship get` and `describe`.

use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim};
use kube::api::{Patch, PatchParams, PostParams};
use midship::api::{GitSource, Instance};
use serde_json::json;

use super::{instance, run};
use crate::harness::api_test;

#[test]
fn objects_are_listed_in_the_columns_of_their_definitions() {
    api_test(async |scene| {
        let none = run(scene, &["get"]);
        assert_eq!((none.code, none.stdout.as_str()), (0, ""), "{none}");
        assert!(
            none.stderr.contains(&format!("there are no instances in the namespace {}", scene.namespace)),
            "{none}"
        );
        let instances = scene.objects::<Instance>();
        instances.create(&PostParams::default(), &instance("orders", json!({}))).await.expect("created");
        let status = json!({ "status": { "phase": "Running", "ready": "3/3", "primary": "orders-cache-0" } });
        instances.patch_status("orders", &PatchParams::default(), &Patch::Merge(&status)).await.expect("patched");

        let list = run(scene, &["get"]);
        let words =
            |line: Option<&str>| line.unwrap_or_default().split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let mut lines = list.stdout.lines();
        assert_eq!(words(lines.next()), ["NAME", "VERSION", "PHASE", "READY", "PRIMARY", "AGE"], "{list}");
        assert_eq!(words(lines.next())[..5], ["orders", "7.0", "Running", "3/3", "orders-cache-0"], "{list}");
        for words in [&["get", "inst", "orders"][..], &["get", "instances/orders"], &["get", "inst", "-A"]] {
            assert!(run(scene, words).stdout.contains("Running"), "{words:?}");
        }
        let wide = run(scene, &["get", "inst", "--wide", "-o", "markdown"]);
        assert!(
            wide.stdout.starts_with("| NAME | VERSION | PHASE | READY | PRIMARY | AGE | TYPE | TOPOLOGY |"),
            "{wide}"
        );
        assert!(wide.stdout.contains("| cache |"), "{wide}");
        assert!(
            run(scene, &["get", "inst", "-o", "wide"])
                .stdout
                .lines()
                .next()
                .is_some_and(|line| line.contains("TOPOLOGY"))
        );
        let json = run(scene, &["get", "inst", "orders", "-o", "json"]).stdout;
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(json["status"]["ready"], "3/3");

        let none = run(scene, &["get", "sources"]);
        assert!(none.code == 0 && none.stderr.contains("there are no gitsources in the namespace"), "{none}");
        let url = "https://git.example.com/team/middleware.git";
        let source: GitSource = serde_json::from_value(json!({
            "apiVersion": "midship.dev/v1alpha1", "kind": "GitSource",
            "metadata": { "name": "main" }, "spec": { "url": url }
        }))
        .expect("a source");
        let sources = scene.objects::<GitSource>();
        sources.create(&PostParams::default(), &source).await.expect("created");
        let status = json!({ "status": {
            "applied": "main@9c7d98fec3", "appliedAt": "2026-01-01T00:00:00Z",
            "conditions": [{ "type": "Ready", "status": "True", "reason": "Applied", "message": "2 objects applied",
                             "lastTransitionTime": "2026-01-01T00:00:00Z" }]
        } });
        sources.patch_status("main", &PatchParams::default(), &Patch::Merge(&status)).await.expect("patched");
        for args in [&["get", "sources"][..], &["get", "gs", "main"], &["get", "source/main"]] {
            let output = run(scene, args);
            let mut lines = output.stdout.lines();
            assert_eq!(words(lines.next()), ["NAME", "READY", "APPLIED", "SYNCED", "REASON", "AGE"], "{output}");
            let row = words(lines.next());
            assert_eq!(row[..3], ["main", "True", "main@9c7d98fec3"], "{output}");
            assert_eq!((row.len(), row[4].as_str()), (6, "Applied"), "{output}");
        }
        let wide = run(scene, &["get", "sources", "-o", "wide"]).stdout;
        assert!(wide.contains(url) && wide.contains("2 objects applied"), "{wide}");
        let json: serde_json::Value =
            serde_json::from_str(&run(scene, &["get", "sources", "-o", "json"]).stdout).expect("JSON");
        assert_eq!(json["items"][0]["status"]["applied"], "main@9c7d98fec3");
    });
}

#[test]
fn a_mistyped_name_or_kind_is_answered_with_the_one_that_was_meant() {
    api_test(async |scene| {
        let created = scene.objects::<Instance>().create(&PostParams::default(), &instance("orders", json!({}))).await;
        created.expect("created");
        for args in [&["get", "inst", "ordrs"][..], &["describe", "ordrs"], &["restart", "ordrs"], &["logs", "ordrs"]] {
            let output = run(scene, args);
            assert_eq!(output.code, 1, "{output}");
            assert!(output.stderr.contains("there is no Instance \"ordrs\"; did you mean \"orders\"?"), "{output}");
        }
        let output = run(scene, &["get", "instence"]);
        assert!(output.stderr.contains("there is no kind \"instence\"; did you mean \"instances\"?"), "{output}");
    });
}

#[test]
fn one_page_tells_how_an_instance_is_and_what_it_waits_for() {
    api_test(async |scene| {
        let instances = scene.objects::<Instance>();
        let from = json!({ "midship.dev/source-path": "instances/orders.yaml", "midship.dev/source-commit": "9c7d98fec3aaaaaa" });
        instances.create(&PostParams::default(), &instance("orders", from)).await.expect("created");
        let output = run(scene, &["describe", "inst/orders"]);
        assert!(output.stdout.contains("unknown: no controller looked at it yet"), "{output}");
        let status = json!({ "status": {
            "phase": "Updating", "ready": "1/2",
            "members": [{ "name": "orders-cache-0", "component": "cache", "role": "primary", "ready": true }],
            "conditions": [{ "type": "Ready", "status": "False", "reason": "Updating", "message": "waiting for orders-cache-1",
                             "lastTransitionTime": "2026-01-01T00:00:00Z" }]
        } });
        instances.patch_status("orders", &PatchParams::default(), &Patch::Merge(&status)).await.expect("patched");
        let output = run(scene, &["describe", "orders"]);
        for part in [
            "Phase       Updating, 1/2 pods ready",
            "Waits for   waiting for orders-cache-1",
            "Comes from  instances/orders.yaml at 9c7d98fec3",
            "orders-cache-0   cache       primary   yes",
        ] {
            assert!(output.stdout.contains(part), "no {part:?}: {output}");
        }
        let json = run(scene, &["describe", "orders", "-o", "json"]).stdout;
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(json["pods"][0]["role"], "primary");

        // why a volume cannot be made stands in its events alone
        let name = "data-orders-cache-1";
        let claim = json!({
            "metadata": { "name": name, "labels": { "midship.dev/instance": "orders" } },
            "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
        });
        let claim: PersistentVolumeClaim = serde_json::from_value(claim).expect("a claim");
        scene.objects::<PersistentVolumeClaim>().create(&PostParams::default(), &claim).await.expect("created");
        let about = json!({ "kind": "PersistentVolumeClaim", "namespace": scene.namespace, "name": name });
        let event = json!({ "metadata": { "name": "no-room" }, "involvedObject": about, "type": "Warning",
            "reason": "ProvisioningFailed", "message": "no room is left" });
        let event: Event = serde_json::from_value(event).expect("an event");
        scene.objects::<Event>().create(&PostParams::default(), &event).await.expect("created");
        let output = run(scene, &["describe", "orders"]);
        assert!(output.stdout.contains("no room is left"), "{output}");
    });
}
