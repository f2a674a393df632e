//! The end of an instance: what stays, what goes, and in which order.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret, Service};
use kube::ResourceExt;
use kube::api::{DeleteParams, PostParams};
use midship::api::{Component, Instance};
use serde_json::json;

use crate::api::extension::kit::{Kit, kit_test};

/// A volume as pod sets make them.
async fn volume(kit: &Kit<'_>, name: &str) {
    let claim: PersistentVolumeClaim = serde_json::from_value(json!({
        "metadata": { "name": name, "labels": {
            "app.kubernetes.io/managed-by": "midship", "midship.dev/instance": "cache" } },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } } }))
    .expect("a claim");
    kit.scene.objects::<PersistentVolumeClaim>().create(&PostParams::default(), &claim).await.expect("it can be made");
}

#[test]
fn volumes_and_the_passwords_to_read_them_stay() {
    kit_test(async |kit| {
        kit.install("1.0.0", "").await;
        kit.instance("cache", json!({ "state": "Stopped" })).await;
        kit.becomes("cache", "Stopped").await;
        volume(kit, "kept-cache-server-9").await;
        let password = kit.there::<Secret>("cache-credentials").await.data.expect("values")["password"].clone();
        kit.instances().delete("cache", &DeleteParams::default()).await.expect("it can be deleted");
        kit.gone::<Instance>("cache").await;
        kit.gone::<Component>("cache-server").await;
        kit.gone::<Service>("cache").await;
        kit.gone::<Secret>("cache-connection").await;
        let claim: PersistentVolumeClaim = kit.there("kept-cache-server-9").await;
        assert!(claim.metadata.deletion_timestamp.is_none());
        assert!(kit.there::<Secret>("cache-credentials").await.owner_references().is_empty());

        kit.instance("cache", json!({ "state": "Stopped" })).await;
        kit.becomes("cache", "Stopped").await;
        let again = kit.there::<Secret>("cache-credentials").await;
        assert_eq!(again.data.as_ref().expect("values")["password"], password, "the next one takes them over");
        assert_eq!(again.owner_references().len(), 1);
    });
}

#[test]
fn volumes_go_with_the_instance_where_that_was_agreed() {
    kit_test(async |kit| {
        kit.install("1.0.0", "").await;
        kit.instance("cache", json!({ "state": "Stopped", "deletionPolicy": "Delete" })).await;
        kit.becomes("cache", "Stopped").await;
        volume(kit, "gone-cache-server-9").await;
        kit.instances().delete("cache", &DeleteParams::default()).await.expect("it can be deleted");
        kit.gone::<Instance>("cache").await;
        let claims = kit.scene.objects::<PersistentVolumeClaim>();
        let claim = claims.get_opt("gone-cache-server-9").await.expect("it answers");
        assert!(claim.is_none_or(|claim| claim.metadata.deletion_timestamp.is_some()));
        kit.gone::<Secret>("cache-credentials").await;
    });
}

#[test]
fn an_instance_that_never_came_to_be_can_be_deleted() {
    kit_test(async |kit| {
        kit.instance("cache", json!({})).await;
        kit.becomes("cache", "ExtensionMissing").await;
        kit.instances().delete("cache", &DeleteParams::default()).await.expect("it can be deleted");
        kit.gone::<Instance>("cache").await;
    });
}
