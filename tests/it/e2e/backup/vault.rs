//! What tests of backups need besides the stage: a bucket that pods reach, a key, and the objects that name both.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::Secret as KubeSecret;
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use kube::config::Kubeconfig;
use midship::api::backup::BackupPhase;
use midship::api::conditions::{ConditionStatus, READY, find};
use midship::api::{Backup, BackupPolicy, BackupRepository};
use midship::backup::keys::Identity;
use midship::backup::store::s3::{Credentials, Settings};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::super::stage::{IN_TIME, NAME, Stage};
use crate::backup::servers::Server;
use crate::harness::{Output, Scene, midship, wait_for};

/// The BackupRepository.
const VAULT: &str = "vault";
/// The Secret with the private key.
pub const IDENTITY: &str = "vault-identity";

pub struct Vault {
    pub settings: Settings,
    identity: Identity,
    folder: TempDir,
}

/// The address of this machine that pods reach: that of the API server, which runs here, or the one somebody names.
fn address(scene: &Scene) -> String {
    if let Ok(named) = std::env::var("MIDSHIP_TEST_ADDRESS") {
        return named;
    }
    let config = Kubeconfig::read_from(scene.kubeconfig()).expect("a kubeconfig");
    let server = config.clusters.iter().find_map(|one| one.cluster.as_ref()?.server.clone()).expect("a server");
    let server = server.parse::<axum::http::Uri>().expect("an address");
    server.host().expect("a host").to_owned()
}

impl Vault {
    /// A folder of its own in the bucket, and a BackupRepository for it.
    pub async fn new(stage: &Stage<'_>) -> Self {
        let settings = Server::start_at("seaweedfs", false, &address(stage.scene)).settings();
        let folder = tempfile::tempdir().expect("a folder");
        let vault = Self { settings, identity: Identity::generate(), folder };
        std::fs::write(vault.identity_file(), vault.identity.secret().expose()).expect("it can be written");
        let Credentials::Keys { access_key_id, secret_access_key, .. } = &vault.settings.credentials else {
            panic!("the server has keys");
        };
        let keys = json!({ "accessKeyId": access_key_id, "secretAccessKey": secret_access_key.expose() });
        let secret = |name: &str, data: Value| json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "stringData": data });
        stage.make::<KubeSecret>(secret("vault-store", keys)).await;
        let private = json!({ "identity": vault.identity.secret().expose() });
        stage.make::<KubeSecret>(secret(IDENTITY, private)).await;
        let Settings { bucket, prefix, region, endpoint, .. } = &vault.settings;
        let spec = json!({
            "s3": { "bucket": bucket, "prefix": prefix, "region": region, "endpoint": endpoint, "pathStyle": true,
                "credentials": { "name": "vault-store" } },
            "encryption": { "recipients": [vault.identity.recipient().to_string()] },
        });
        let object = json!({ "kind": "BackupRepository", "metadata": { "name": VAULT }, "spec": spec });
        stage.make::<BackupRepository>(object).await;
        vault
    }

    /// Waits until the controller has made the repository, and looked through it.
    pub async fn is_ready(&self, stage: &Stage<'_>) {
        let api = stage.scene.objects::<BackupRepository>();
        wait_for("the repository to be ready", IN_TIME, async || {
            let status = api.get(VAULT).await.map_err(|error| error.to_string())?.status.unwrap_or_default();
            let ready = find(&status.conditions, READY).is_some_and(|ready| ready.status == ConditionStatus::True);
            if ready { Ok(()) } else { Err(format!("{:?}", status.conditions)) }
        })
        .await;
    }

    /// The file a person keeps, as age-keygen writes it.
    pub fn identity_file(&self) -> PathBuf {
        self.folder.path().join("identity")
    }

    /// A policy for the instance.
    pub async fn policy(&self, stage: &Stage<'_>, more: Value) {
        let mut spec = json!({ "repository": VAULT, "instances": [NAME], "retention": { "count": 7 },
            "schedules": [{ "name": "seldom", "cron": "@monthly" }] });
        spec.as_object_mut().expect("a mapping").extend(more.as_object().expect("a mapping").clone());
        let object = json!({ "kind": "BackupPolicy", "metadata": { "name": "policy" }, "spec": spec });
        stage.make::<BackupPolicy>(object).await;
    }

    pub async fn change_policy(&self, stage: &Stage<'_>, spec: Value) {
        let api = stage.scene.objects::<BackupPolicy>();
        let patch = Patch::Merge(json!({ "spec": spec }));
        let wanted = api.patch("policy", &PatchParams::default(), &patch).await.expect("it can be changed");
        wait_for("the change of the policy to be taken up", IN_TIME, async || {
            let status = api.get("policy").await.map_err(|error| error.to_string())?.status.unwrap_or_default();
            let current = status.observed_generation >= wanted.metadata.generation;
            if current { Ok(()) } else { Err(format!("{status:?}")) }
        })
        .await;
    }

    /// Waits until every backup that was begun is complete; returns the last one.
    pub async fn newest(&self, stage: &Stage<'_>) -> Backup {
        wait_for("every backup that was begun to be complete", IN_TIME, async || {
            let begun = stage.operations().list(&ListParams::default()).await.map_err(|error| error.to_string())?;
            let all = stage.scene.objects::<Backup>().list(&ListParams::default()).await;
            let all = all.map_err(|error| error.to_string())?.items;
            let phases: Vec<_> = all.iter().map(|one| one.status.as_ref().and_then(|status| status.phase)).collect();
            let complete = phases.iter().all(|phase| *phase == Some(BackupPhase::Completed));
            // their names are in the order of their beginning
            match all.into_iter().max_by_key(ResourceExt::name_any) {
                Some(last) if complete && phases.len() == begun.items.len() => Ok(last),
                _ => Err(format!("{} begun, {phases:?}", begun.items.len())),
            }
        })
        .await
    }

    /// Waits for a Backup of the instance that is as wanted.
    pub async fn backup(&self, stage: &Stage<'_>, what: &str, wanted: impl Fn(&Backup) -> bool) -> Backup {
        wait_for(what, IN_TIME, async || {
            let all = stage.scene.objects::<Backup>().list(&ListParams::default()).await;
            let all = all.map_err(|error| error.to_string())?.items;
            let completed = |one: &Backup| {
                one.spec.instance.name.as_ref().is_some_and(|name| name.as_str() == NAME)
                    && one.status.as_ref().and_then(|status| status.phase) == Some(BackupPhase::Completed)
            };
            let found = all.iter().find(|one| completed(one) && wanted(one)).cloned();
            found.ok_or_else(|| {
                let shown = all.iter().map(|one| format!("{}: {:?}", one.name_any(), one.status));
                shown.collect::<Vec<_>>().join("\n")
            })
        })
        .await
    }

    /// `midship` with the private key at hand.
    pub fn midship(&self, stage: &Stage<'_>, args: &[&str]) -> Output {
        let key = self.identity_file();
        midship().env("KUBECONFIG", stage.scene.kubeconfig()).args(args).arg("--identity").arg(key).output()
    }
}
