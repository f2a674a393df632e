//! Volumes grow, are refused, are kept, and go only when that was agreed.

use serde_json::{Value, json};

use super::{SOON, Stage, stage_test, template};
use crate::harness::wait_for;

async fn class(stage: &Stage<'_>, grows: bool) -> String {
    let name = format!("{}-{grows}", stage.scene.namespace);
    let object = json!({ "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": { "name": name },
        "provisioner": "test.example.com", "allowVolumeExpansion": grows });
    let class: k8s_openapi::api::storage::v1::StorageClass = serde_json::from_value(object).expect("a class");
    let api = kube::Api::all(stage.scene.client.clone());
    api.create(&kube::api::PostParams::default(), &class).await.expect("it can be made");
    name
}

fn with(class: &str, size: &str) -> Value {
    let mut all = template("store:1");
    all["volumes"]["data"] = json!({ "size": size, "storageClassName": class });
    json!({ "template": all, "replicas": 2 })
}

async fn sizes(stage: &Stage<'_>, wanted: &str) {
    wait_for(&format!("volumes of {wanted}"), SOON, async || {
        let claims = stage.claims().list(&kube::api::ListParams::default()).await.map_err(|error| error.to_string())?;
        let sizes: Vec<String> = claims
            .iter()
            .map(|claim| json!(claim.spec)["resources"]["requests"]["storage"].as_str().unwrap_or_default().to_owned())
            .collect();
        if sizes.iter().all(|size| size == wanted) { Ok(()) } else { Err(format!("{sizes:?}")) }
    })
    .await;
}

#[test]
fn volumes_grow_where_their_class_lets_them_and_pods_stay() {
    stage_test(async |stage| {
        let class = class(stage, true).await;
        stage.group(with(&class, "64Mi")).await;
        stage.becomes("Ready").await;
        let before = stage.uids().await;
        stage.group(with(&class, "128Mi")).await;
        sizes(stage, "128Mi").await;
        assert_eq!(stage.uids().await, before);
        stage.group(with(&class, "32Mi")).await;
        let message = stage.becomes("VolumeCannotShrink").await;
        assert!(message.contains("cannot shrink to 32Mi"), "{message}");
        stage.scene.kubectl(["delete", "storageclass", &class]).stdout();
    });
}

#[test]
fn a_class_that_does_not_let_volumes_grow_is_named() {
    stage_test(async |stage| {
        let class = class(stage, false).await;
        stage.group(with(&class, "64Mi")).await;
        stage.becomes("Ready").await;
        stage.group(with(&class, "128Mi")).await;
        let message = stage.becomes("VolumeCannotGrow").await;
        assert!(message.contains(&format!("storage class {class} does not let volumes grow")), "{message}");
        sizes(stage, "64Mi").await;
        stage.scene.kubectl(["delete", "storageclass", &class]).stdout();
    });
}

#[test]
fn a_volume_goes_with_its_pod_only_where_the_policy_says_so() {
    stage_test(async |stage| {
        let group =
            |replicas: i32| json!([{ "name": "default", "replicas": replicas, "template": template("store:1") }]);
        stage.apply(json!({ "deletionPolicy": "Delete", "groups": group(3) })).await;
        stage.becomes("Ready").await;
        stage.apply(json!({ "deletionPolicy": "Delete", "groups": group(2) })).await;
        wait_for("the volume to go", SOON, async || {
            let claim = stage.claims().get_opt("data-shop-store-2").await.map_err(|error| error.to_string())?;
            match claim {
                None => Ok(()),
                // nobody takes the protection off where no controllers of Kubernetes run
                Some(claim) if claim.metadata.deletion_timestamp.is_some() => Ok(()),
                Some(claim) => Err(format!("{:?}", claim.metadata)),
            }
        })
        .await;
        stage.apply(json!({ "groups": group(1) })).await;
        stage.runs(&["0"]).await;
        stage.becomes("Ready").await;
        let kept = stage.claims().get("data-shop-store-1").await.expect("it is kept");
        assert!(kept.metadata.deletion_timestamp.is_none());
    });
}
