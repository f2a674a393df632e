//! Another cluster that knows nothing but the bucket and the private key: an API server, a store, a node, a controller and a
//! package of its own. Its nodes do not reach those of the first one.

use std::path::Path;

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, ResourceExt};
use midship::backup::store::s3::{Credentials, Settings};
use midship::backup::store::{S3, Store, list_all};
use serde_json::json;

use super::super::cluster::{self, Beside};
use super::super::images;
use super::super::stage::{IN_TIME, NAME, Stage, stage_test};
use super::vault::Vault;
use super::{PATIENCE, digest, one_pod, redis};
use crate::harness::{Scene, midship, on_another, skip, wait_for};

const PACKAGE: &str = "redis/1.1.0";
const IMAGE: &str = "redis-7.0";

#[test]
fn what_one_cluster_backed_up_another_restores_from_bucket_and_key_alone() {
    if cluster::program().is_none() {
        return skip("another_cluster", "a second cluster can be started beside one of the tests' own alone");
    }
    stage_test(PACKAGE, IMAGE, async |stage| {
        let vault = Vault::new(stage).await;
        vault.policy(stage, json!({})).await;
        stage.create(one_pod("redis", "7.0", "32Mi", "64Mi")).await;
        stage.runs().await;
        let fill = "for i = 1, 500 do redis.call('SET', 'key:' .. i, string.rep(i, 50)) end return 'OK'";
        assert_eq!(redis(stage, NAME, &["EVAL", fill, "0"]).await, "OK");
        let before = digest(stage, NAME).await;
        let made = stage.midship(&["backup", "create", NAME, "--timeout", PATIENCE]);
        assert!(made.code == 0, "{made}");
        // the end of a backup is held back until then, but not for ever
        wait_for("whoever made it to find it", IN_TIME, async || {
            let listed = stage.midship(&["backup", "list", NAME]);
            if listed.stdout.contains("Completed") { Ok(()) } else { Err(listed) }
        })
        .await;
        nameless(&vault, &stage.scene.namespace).await;

        stage.kill_controller();
        let beside = Beside::up();
        for image in ["midship", IMAGE] {
            images::load_with(Some(beside.program()), image);
        }
        // the type of the package is made from the last word of the namespace, and a backup names the type it needs
        let word = stage.scene.namespace.rsplit('-').next().unwrap_or_default();
        on_another(beside.kubeconfig(), &format!("elsewhere-{word}"), async |scene| {
            assert_ne!(identity(scene).await, identity(stage.scene).await, "it is another cluster");
            let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("extensions").join(PACKAGE);
            let there = Stage::set(scene, &package, IMAGE).await;
            there.start_controller();
            there.install();
            let told = restore(&there, &vault);
            assert!(told.code == 0 && told.stdout.contains("again serves: restored the backup"), "{told}");
            assert_eq!(digest(&there, "again").await, before);
        })
        .await;
        drop(beside);
        // it cleans up
        stage.start_controller();
    });
}

/// As a person does it who has a new cluster, the address of the bucket, its credentials, and the private key.
fn restore(there: &Stage<'_>, vault: &Vault) -> crate::harness::Output {
    let Settings { bucket, prefix, region, endpoint, credentials, .. } = &vault.settings;
    let Credentials::Keys { access_key_id, secret_access_key, .. } = credentials else { panic!("there are keys") };
    let restore = midship()
        .env("KUBECONFIG", there.scene.kubeconfig())
        .env("AWS_ACCESS_KEY_ID", access_key_id)
        .env("AWS_SECRET_ACCESS_KEY", secret_access_key.expose())
        .env("AWS_ENDPOINT_URL", endpoint.as_deref().unwrap_or_default())
        .env("AWS_REGION", region.as_deref().unwrap_or_default())
        .args(["restore", "again", "--instance", NAME, "--from", &format!("s3://{bucket}/{prefix}")])
        .args(["--timeout", PATIENCE, "--identity"])
        .arg(vault.identity_file());
    restore.output()
}

/// What tells clusters apart, as backups have it.
async fn identity(scene: &Scene) -> Option<String> {
    let namespaces: Api<Namespace> = Api::all(scene.client.clone());
    namespaces.get("kube-system").await.expect("every cluster has it").uid()
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
