//! Another place that knows nothing but the bucket and the private key: a namespace with a controller and a package of its
//! own, on the same cluster. It has none of the first one's objects, and its controller sees none of them.

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use midship::backup::store::s3::{Credentials, Settings};
use midship::backup::store::{S3, Store, list_all};
use serde_json::json;

use super::super::stage::{NAME, stage_test};
use super::vault::Vault;
use super::{PATIENCE, digest, digest_in, one_pod, redis};
use crate::harness::midship;

#[test]
fn what_one_controller_backed_up_another_restores_from_bucket_and_key_alone() {
    stage_test("redis/1.1.0", "redis-7.0", async |stage| {
        let vault = Vault::new(stage).await;
        vault.policy(stage, json!({})).await;
        stage.create(one_pod("redis", "7.0", "32Mi", "64Mi")).await;
        stage.runs().await;
        let fill = "for i = 1, 500 do redis.call('SET', 'key:' .. i, string.rep(i, 50)) end return 'OK'";
        assert_eq!(redis(stage, NAME, &["EVAL", fill, "0"]).await, "OK");
        let before = digest(stage, NAME).await;
        let made = stage.midship(&["backup", "create", NAME, "--timeout", PATIENCE]);
        assert!(made.code == 0, "{made}");

        nameless(&vault, &stage.scene.namespace).await;

        let other = format!("{}-b", stage.scene.namespace);
        let namespaces: Api<Namespace> = Api::all(stage.scene.client.clone());
        let object = json!({ "metadata": { "name": other, "labels": { "midship.dev/test": "true" } } });
        let object: Namespace = serde_json::from_value(object).expect("a namespace");
        namespaces.create(&PostParams::default(), &object).await.expect("it can be made");
        stage.delete().await;
        stage.kill_controller();
        stage.start_controller_in(&other);

        let Settings { bucket, prefix, region, endpoint, credentials, .. } = &vault.settings;
        let Credentials::Keys { access_key_id, secret_access_key, .. } = credentials else { panic!("there are keys") };
        let restore = midship()
            .env("KUBECONFIG", stage.scene.kubeconfig())
            .env("AWS_ACCESS_KEY_ID", access_key_id)
            .env("AWS_SECRET_ACCESS_KEY", secret_access_key.expose())
            .env("AWS_ENDPOINT_URL", endpoint.as_deref().unwrap_or_default())
            .env("AWS_REGION", region.as_deref().unwrap_or_default())
            .args(["restore", "again", "--instance", NAME, "--from", &format!("s3://{bucket}/{prefix}")])
            .args(["-n", &other, "--timeout", PATIENCE, "--identity"])
            .arg(vault.identity_file());
        let told = restore.output();
        assert!(told.code == 0 && told.stdout.contains("again serves: restored the backup"), "{told}");
        assert_eq!(digest_in(stage, &other, "again").await, before);
        stage.delete_in(&other, "again").await;
        namespaces.delete(&other, &DeleteParams::background()).await.expect("it can be deleted");
        // the package is cleaned up by whoever sees where it was installed
        stage.kill_controller();
        stage.start_controller();
    });
}

/// Neither what objects are called nor what is in them says whose they are.
async fn nameless(vault: &Vault, namespace: &str) {
    let store = S3::new(&vault.settings).expect("settings");
    let objects = list_all(&store, "").await.expect("listed");
    assert!(objects.len() > 5, "{objects:?}");
    for object in objects {
        let bytes = store.get(&object.key, None).await.expect("it is there");
        let says = bytes.windows(namespace.len()).any(|part| part == namespace.as_bytes());
        assert!(!says && !object.key.as_str().contains(namespace), "{} says {namespace}", object.key);
    }
}
