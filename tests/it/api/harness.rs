//! The harness itself: if it misled us, every other test would.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::PostParams;
use kube::{Api, Client};
use midship::api::Instance;
use serde_json::json;

use crate::harness::{Scene, api_test, wait_for};

const SOON: std::time::Duration = std::time::Duration::from_secs(20);

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
