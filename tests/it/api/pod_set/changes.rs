//! Changes reach pods in order and with as little disruption as they can do with, also across the controller's death.

use kube::ResourceExt;
use kube::api::ListParams;
use midship::api::PodSet;
use midship::api::conditions::find;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{SOON, Stage, stage_test, start, template};
use crate::harness::wait_for;

fn images(pods: &[k8s_openapi::api::core::v1::Pod]) -> Vec<String> {
    let image = |pod: &k8s_openapi::api::core::v1::Pod| {
        pod.spec.as_ref().and_then(|spec| spec.containers[0].image.clone()).unwrap_or_default()
    };
    pods.iter().map(image).collect()
}

async fn have_images(stage: &Stage<'_>, wanted: [&str; 3]) {
    wait_for(&format!("pods with {wanted:?}"), SOON, async || {
        let pods = stage.pods().list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let found = images(&pods.items);
        if found == wanted { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

#[test]
fn images_change_in_place() {
    stage_test(async |stage| {
        stage.apply(json!({})).await;
        stage.becomes("Ready").await;
        let before = stage.uids().await;
        stage.group(json!({ "template": template("store:2") })).await;
        have_images(stage, ["store:2"; 3]).await;
        stage.becomes("Ready").await;
        assert_eq!(stage.uids().await, before, "the pods are the same");
    });
}

#[test]
fn a_new_configuration_is_told_to_the_pods_and_a_new_label_disturbs_nobody() {
    stage_test(async |stage| {
        stage.apply(json!({})).await;
        stage.becomes("Ready").await;
        let before = stage.uids().await;
        let mut changed = template("store:1");
        changed["configRevision"] = json!("c2");
        changed["metadata"]["labels"] = json!({ "tier": "gold" });
        stage.group(json!({ "template": changed })).await;
        wait_for("the pods to be told", SOON, async || {
            let pods = stage.pods().list(&ListParams::default()).await.map_err(|error| error.to_string())?;
            let told = |pod: &k8s_openapi::api::core::v1::Pod| {
                pod.annotations().get("midship.dev/config-revision").map(String::as_str) == Some("c2")
                    && pod.labels().get("tier").map(String::as_str) == Some("gold")
                    && !pod.labels().contains_key("team")
            };
            if pods.iter().all(told) { Ok(()) } else { Err(format!("{:?}", pods.items[0].metadata)) }
        })
        .await;
        stage.becomes("Ready").await;
        assert_eq!(stage.uids().await, before);
    });
}

#[test]
fn other_changes_make_new_pods_one_after_another_even_if_the_controller_is_killed() {
    stage_test(async |stage| {
        stage.apply(json!({})).await;
        stage.becomes("Ready").await;
        let before = stage.uids().await;
        let mut changed = template("store:1");
        changed["spec"]["containers"][0]["command"] = json!(["sleep", "1000000"]);
        stage.nodes.refuse("store:1");
        stage.group(json!({ "template": changed, "replicas": 3 })).await;
        wait_for("the first pod to be made anew", SOON, async || {
            let now = stage.uids().await;
            match now.get("shop-store-2") {
                Some(uid) if *uid != before["shop-store-2"] => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        stage.controller.signal(Signal::SIGKILL);
        stage.controller.exit(SOON).await;
        stage.nodes.accept("store:1");
        stage.controller = start(stage.scene);
        stage.becomes("Ready").await;
        let after = stage.uids().await;
        assert!(after.iter().all(|(name, uid)| before[name] != *uid), "{before:?} {after:?}");
    });
}

#[test]
fn a_change_that_fails_is_taken_back() {
    stage_test(async |stage| {
        let update = |timeout: &str| json!({ "rollback": true, "timeout": timeout });
        let group =
            |image: &str| -> Value { json!([{ "name": "default", "replicas": 3, "template": template(image) }]) };
        stage.apply(json!({ "update": update("1m"), "groups": group("store:1") })).await;
        stage.becomes("Ready").await;
        stage.nodes.refuse("store:2");
        stage.apply(json!({ "update": update("3s"), "groups": group("store:2") })).await;
        let message = stage.becomes("RolledBack").await;
        assert!(
            message.contains("ImagePullBackOff: no store:2 anywhere") || message.contains("pods go back to"),
            "{message}"
        );
        have_images(stage, ["store:1"; 3]).await;
        wait_for("the pod set to say which revision failed", SOON, async || {
            let set: PodSet = stage.set().await;
            let status = set.status.expect("a status");
            let told = status.failed_revision == status.revision && find(&status.conditions, "Stalled").is_some();
            if told { Ok(()) } else { Err(format!("{status:?}")) }
        })
        .await;
        stage.apply(json!({ "update": update("1m"), "groups": group("store:3") })).await;
        have_images(stage, ["store:3"; 3]).await;
        stage.becomes("Ready").await;
    });
}
