//! `midship restart`, `switchover`, `stop`, `start` and `connect`, with the test in the place of the controller.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use midship::api::{Instance, Operation};
use serde_json::{Value, json};

use super::{instance, on, run};
use crate::harness::{Output, Scene, api_test, wait_for};

const SOON: Duration = Duration::from_mins(1);

async fn with_pods(scene: &Scene, annotations: Value) {
    let instances = scene.objects::<Instance>();
    instances.create(&PostParams::default(), &instance("orders", annotations)).await.expect("created");
    let member = |name: &str, role: &str| json!({ "name": name, "component": "cache", "role": role, "ready": true });
    let status = json!({ "status": {
        "phase": "Running", "primary": "orders-cache-0",
        "connection": { "host": "orders.shop.svc", "port": 6379, "secretName": "orders-connection" },
        "members": [member("orders-cache-0", "primary"), member("orders-cache-1", "replica")]
    } });
    instances.patch_status("orders", &PatchParams::default(), &Patch::Merge(&status)).await.expect("patched");
}

/// Runs a command on a thread of its own, so that the test can do the controller's part.
async fn beside(scene: &Scene, args: &[&str], part: impl AsyncFnOnce()) -> Output {
    let run = on(scene).args(args);
    let running = tokio::task::spawn_blocking(move || run.output());
    part().await;
    running.await.expect("it ends")
}

async fn the_operation(scene: &Scene) -> Operation {
    let api = scene.objects::<Operation>();
    wait_for("an operation", SOON, async || {
        let list = api.list(&ListParams::default()).await.expect("they can be listed");
        list.items.into_iter().find(|one| one.status.is_none()).ok_or("none yet")
    })
    .await
}

#[test]
fn an_operation_is_followed_to_its_end() {
    api_test(async |scene| {
        with_pods(scene, json!({})).await;
        for (phase, code) in [("Succeeded", 0), ("Failed", 1)] {
            let output = beside(scene, &["restart", "orders", "--pod", "orders-cache-1"], async || {
                let operation = the_operation(scene).await;
                let target = operation.spec.target.clone().expect("a target");
                assert_eq!(target.pods.iter().map(ToString::to_string).collect::<Vec<_>>(), ["orders-cache-1"]);
                let status =
                    json!({ "status": { "phase": phase, "progress": "1/1", "message": "all processes restarted" } });
                let api = scene.objects::<Operation>();
                let done =
                    api.patch_status(&operation.name_any(), &PatchParams::default(), &Patch::Merge(&status)).await;
                done.expect("patched");
            })
            .await;
            assert_eq!(output.code, code, "{output}");
            assert!(format!("{output}").contains("1/1 all processes restarted"), "{output}");
        }
        let output = beside(scene, &["restart", "orders"], async || {
            let name = the_operation(scene).await.name_any();
            scene.objects::<Operation>().delete(&name, &DeleteParams::default()).await.expect("it can be deleted");
        })
        .await;
        assert_eq!(output.code, 1, "{output}");
        let told = "somebody deleted the operation before it ended; what it had begun may go on";
        assert!(output.stderr.contains(told), "{output}");
        let made: Value = serde_json::from_str(&run(scene, &["restart", "orders", "--no-wait", "-o", "json"]).stdout)
            .expect("an object for programs");
        let name = the_operation(scene).await.name_any();
        assert_eq!((&made["kind"], &made["metadata"]["name"]), (&json!("Operation"), &json!(name)));
    });
}

#[test]
fn an_operation_that_nobody_takes_up_is_withdrawn() {
    api_test(async |scene| {
        with_pods(scene, json!({})).await;
        let output = run(scene, &["switchover", "orders", "--to", "orders-cache-1"]);
        assert_eq!(output.code, 1, "{output}");
        assert!(
            output.stderr.contains("no controller took the operation up within 15 s; it was withdrawn"),
            "{output}"
        );
        let left = scene.objects::<Operation>().list(&ListParams::default()).await.expect("they can be listed");
        assert!(left.items.is_empty(), "{:?}", left.items);
        let output = run(scene, &["switchover", "orders", "--to", "orders-cache-9"]);
        assert!(output.stderr.contains("there is no pod \"orders-cache-9\"; did you mean"), "{output}");
        let output = run(scene, &["switchover", "orders", "--to", "orders-cache-0"]);
        assert_eq!(output.stdout, "orders-cache-0 has the role already\n", "{output}");
    });
}

#[test]
fn an_instance_is_stopped_and_started_by_its_spec() {
    api_test(async |scene| {
        with_pods(scene, json!({})).await;
        let instances = scene.objects::<Instance>();
        let output = run(scene, &["stop", "orders", "--no-wait", "-o", "json"]);
        assert_eq!(output.code, 0, "{output}");
        let shown: Value = serde_json::from_str(&output.stdout).expect("an object for programs");
        assert_eq!(shown["spec"]["state"], "Stopped");
        let stopped = instances.get("orders").await.expect("it is there");
        assert_eq!(serde_json::to_value(stopped.spec.state).expect("plain"), "Stopped");
        assert!(run(scene, &["restart", "orders"]).stderr.contains("the instance is stopped"));
        let output = run(scene, &["start", "orders", "--timeout", "1"]);
        assert!(output.stderr.contains("it is to be Running, but was not within 1 s"), "{output}");
        assert!(instances.get("orders").await.expect("it is there").spec.state.is_none());
    });
}

#[test]
fn what_comes_from_git_is_stopped_in_its_file() {
    api_test(async |scene| {
        with_pods(scene, json!({ "midship.dev/source-path": "instances/shop/orders.yaml" })).await;
        let run = on(scene).args(["stop", "orders"]);
        let file = run.home().join("instances/shop/orders.yaml");
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        std::fs::write(&file, "kind: Instance\nmetadata: {name: orders}\nspec:\n  type: cache\n").expect("written");
        let output = run.output();
        assert_eq!(output.code, 1, "{output}");
        assert!(output.stderr.contains("where: instances/shop/orders.yaml:3\n"), "{output}");
        assert!(output.stderr.contains("set spec.state to Stopped there, and push it"), "{output}");
        // nobody reads the file any more
        let label = json!({ "metadata": { "labels": { "midship.dev/source": format!("{}.gone", scene.namespace) } } });
        let instances = scene.objects::<Instance>();
        instances.patch("orders", &PatchParams::default(), &Patch::Merge(&label)).await.expect("patched");
        for args in [["stop", "orders", "--no-wait"], ["suspend", "inst/orders", "-otable"]] {
            let output = super::run(scene, &args);
            assert_eq!(output.code, 0, "{output}");
        }
    });
}

#[test]
fn a_command_in_a_pod_ends_as_it_ended() {
    api_test(async |scene| {
        with_pods(scene, json!({})).await;
        let pod = json!({ "metadata": { "name": "orders-cache-0" },
            "spec": { "containers": [{ "name": "cache", "image": "example.com/none" }] } });
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        // the namespace's account comes a moment after the namespace
        wait_for("a pod to be made", SOON, async || {
            let made = scene.objects::<Pod>().create(&PostParams::default(), &pod).await;
            made.map(|_| ()).map_err(|error| error.to_string())
        })
        .await;
        let folder = tempfile::tempdir().expect("a folder");
        let fake = folder.path().join("kubectl");
        let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap_or_default());
        for (ends, code) in [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143)] {
            std::fs::write(&fake, format!("#!/bin/sh\n{ends}\n")).expect("it can be written");
            std::fs::set_permissions(&fake, std::fs::Permissions::from_mode(0o755)).expect("it can be run");
            let output = on(scene).args(["connect", "orders", "--", "true"]).env("PATH", &path).output();
            assert_eq!(output.code, code, "{ends}: {output}");
        }
    });
}

#[test]
fn connecting_is_explained_without_showing_a_secret() {
    api_test(async |scene| {
        with_pods(scene, json!({})).await;
        let output = run(scene, &["connect", "orders"]);
        assert_eq!(output.code, 0, "{output}");
        assert!(output.stdout.contains("orders.shop.svc:6379"), "{output}");
        assert!(output.stdout.contains("port-forward service/orders 6379:6379"), "{output}");
        assert!(output.stdout.contains("Secret orders-connection"), "{output}");
        let logs = run(scene, &["logs", "orders"]);
        assert!(logs.stderr.contains("the instance has no pods"), "{logs}");
    });
}
