//! The harness itself: if it misled us, every other test would.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Pod};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use midship::api::Instance;
use serde_json::json;

use crate::api::controller::create;
use crate::harness::{Scene, api_test, report, wait_for};

const SOON: std::time::Duration = std::time::Duration::from_mins(1);

async fn phase(client: &Client, namespace: &str) -> Option<String> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let found = namespaces.get_opt(namespace).await.expect("namespaces can be read")?;
    found.status.and_then(|status| status.phase)
}

fn some_instance(name: &str) -> Instance {
    serde_json::from_value(json!({
        "apiVersion": "midship.dev/v1alpha1", "kind": "Instance", "metadata": { "name": name },
        "spec": { "type": "cache", "extensionVersion": "1.0.0", "version": "7.0" }
    }))
    .expect("an instance")
}

#[test]
fn a_test_that_passed_leaves_no_namespace() {
    let used = Mutex::new(String::new());
    api_test(async |scene| *used.lock().expect("no panic") = scene.namespace.clone());
    let used = used.into_inner().expect("no panic");
    assert!(used.starts_with("t-a-test-that-passed-leaves-no-namespace-"), "{used}");
    api_test(async |scene| {
        wait_for("the namespace to go", SOON, async || match phase(&scene.client, &used).await.as_deref() {
            None | Some("Terminating") => Ok(()),
            Some(phase) => Err(phase.to_owned()),
        })
        .await;
    });
}

#[test]
fn a_test_that_failed_keeps_its_namespace() {
    let used = Mutex::new(String::new());
    let failing = || {
        api_test(async |scene| {
            *used.lock().expect("no panic") = scene.namespace.clone();
            scene.objects::<Instance>().create(&PostParams::default(), &some_instance("left")).await.expect("created");
            panic!("on purpose");
        });
    };
    let panic = catch_unwind(AssertUnwindSafe(failing)).expect_err("the test failed");
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"on purpose"));
    let used = used.into_inner().expect("no panic");
    api_test(async |scene| {
        assert_eq!(phase(&scene.client, &used).await.as_deref(), Some("Active"));
        let left: Api<Instance> = Api::namespaced(scene.client.clone(), &used);
        left.get("left").await.expect("the instance is still there");
        scene.kubectl(["delete", "namespace", &used, "--wait=false"]).stdout();
    });
}

/// What `api_test` prints when a test fails.
#[test]
fn a_failure_is_told_with_the_status_the_events_and_the_logs_of_what_is_left() {
    api_test(async |scene| {
        let (client, namespace) = (&scene.client, scene.namespace.as_str());
        let instances = scene.objects::<Instance>();
        instances.create(&PostParams::default(), &some_instance("left")).await.expect("created");
        let status = Patch::Merge(json!({ "status": { "phase": "Upgrading", "primary": "left-0" } }));
        instances.patch_status("left", &PatchParams::default(), &status).await.expect("patched");
        let event = json!({ "metadata": { "name": "left.1" }, "type": "Warning", "reason": "Refused",
            "message": "not like this", "involvedObject": { "kind": "Instance", "name": "left", "namespace": namespace } });
        create::<Event>(client, namespace, event).await;
        let pod = json!({ "metadata": { "name": "left-0" },
            "spec": { "containers": [{ "name": "server", "image": "registry.example.com/server:1.0" }] } });
        let pod: Pod = serde_json::from_value(pod).expect("a Pod");
        // the namespace's account comes a moment after the namespace
        wait_for("a pod to be made", SOON, async || {
            let made = scene.objects::<Pod>().create(&PostParams::default(), &pod).await;
            made.map(|_| ()).map_err(|error| error.to_string())
        })
        .await;
        let told = report::of_namespace(client, namespace).await;
        let head = format!("=== namespace {namespace} is kept; remove it with: kubectl delete namespace {namespace}\n");
        for part in [
            head.as_str(),
            "\n--- Instance left\n",
            "\nphase: Upgrading\n",
            "\n--- Pod left-0\n",
            "\nevent: Warning Instance left: Refused: not like this\n",
            "\n--- log of left-0, container server\n",
            "=== end of what is in it\n",
        ] {
            assert!(told.contains(part), "{part:?} is not in\n{told}");
        }
    });
}

#[test]
fn programs_see_the_tests_own_namespace() {
    api_test(async |scene: &Scene| {
        let map: ConfigMap = serde_json::from_value(json!({ "metadata": { "name": "mine" } })).expect("a ConfigMap");
        scene.objects::<ConfigMap>().create(&PostParams::default(), &map).await.expect("created");
        let seen = scene.kubectl(["get", "configmap", "mine", "-o", "jsonpath={.metadata.namespace}"]).stdout();
        assert_eq!(seen, scene.namespace);
    });
}

#[test]
fn two_tests_never_share_a_namespace() {
    api_test(async |one| api_test_in_a_thread(&one.namespace));
}

fn api_test_in_a_thread(taken: &str) {
    std::thread::scope(|threads| {
        threads.spawn(|| api_test(async |two| assert_ne!(two.namespace, taken)));
    });
}
