//! Backups count once they were restored: drills, on a schedule, into instances that nobody sees.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;
use kube::api::ListParams;
use midship::api::backup::Verified;
use midship::api::conditions::find;
use midship::api::instance::Phase;
use midship::api::{Backup, BackupPolicy, BackupPolicyStatus};
use serde_json::json;

use super::super::stage::{IN_TIME, NAME, Stage, stage_test};
use super::vault::{IDENTITY, Vault};
use super::{PATIENCE, one_pod, redis};
use crate::harness::wait_for;

/// Has the newest backup restored as a test, once; the name of the scratch instance.
pub async fn begin(stage: &Stage<'_>, vault: &Vault) -> String {
    let often = json!({ "restore": "* * * * *", "identity": { "name": IDENTITY } });
    vault.change_policy(stage, json!({ "verification": often })).await;
    let scratch = wait_for("a test restore to begin", IN_TIME, async || {
        let all = stage.instances().list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
        let scratch = all.iter().find(|one| one.annotations().contains_key("midship.dev/drill"));
        scratch.map(ResourceExt::name_any).ok_or_else(|| {
            let names: Vec<String> = all.iter().map(ResourceExt::name_any).collect();
            format!("{names:?}")
        })
    })
    .await;
    // this one, and none after it
    vault.change_policy(stage, json!({ "verification": { "restore": "@monthly" } })).await;
    scratch
}

pub fn is_proven(backup: &Backup) -> bool {
    backup.status.as_ref().and_then(|status| status.verified) == Some(Verified::Restored)
}

/// Waits until nothing is left of a scratch instance, and the policy tells how that ended.
pub async fn ended(stage: &Stage<'_>, scratch: &str, reason: &str) -> BackupPolicyStatus {
    wait_for("the scratch instance to be gone", IN_TIME, async || match stage.instances().get_opt(scratch).await {
        Ok(None) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let of_it = ListParams::default().labels(&format!("midship.dev/instance={scratch}"));
    let claims = stage.scene.objects::<PersistentVolumeClaim>().list(&of_it).await.expect("claims can be listed").items;
    assert!(
        claims.iter().all(|claim| claim.metadata.deletion_timestamp.is_some()),
        "its volumes go with it: {claims:?}"
    );
    wait_for("the policy to tell of it", IN_TIME, async || {
        let policy = stage.scene.objects::<BackupPolicy>().get("policy").await.map_err(|error| error.to_string())?;
        let status = policy.status.unwrap_or_default();
        let told = find(&status.conditions, "Restorable").is_some_and(|found| found.reason == reason);
        if told { Ok(status) } else { Err(format!("{status:?}")) }
    })
    .await
}

#[test]
fn the_newest_backup_is_restored_as_a_test_and_nothing_is_left_of_it() {
    stage_test("redis/1.1.0", "redis-7.0", async |stage| {
        let vault = Vault::new(stage).await;
        stage.create(one_pod("redis", "7.0", "32Mi", "64Mi")).await;
        stage.runs().await;
        redis(stage, NAME, &["SET", "greeting", "hello"]).await;
        vault.policy(stage, json!({})).await;
        let made = stage.midship(&["backup", "create", NAME, "--timeout", PATIENCE]);
        assert!(made.code == 0, "{made}");
        let scratch = begin(stage, &vault).await;
        let proven = vault.backup(stage, "a backup that was restored", is_proven).await;
        assert!(proven.status.as_ref().and_then(|status| status.verified_at.as_ref()).is_some(), "{proven:?}");
        let name = proven.name_any();
        stage
            .one_is(NAME, Phase::Running, |status| {
                status.backup.as_ref().is_some_and(|backup| backup.latest_verified.as_ref() == Some(&name))
            })
            .await;
        let told = ended(stage, &scratch, "Restored").await;
        assert_eq!(told.failed_drills, []);
        let all = stage.instances().list(&ListParams::default()).await.expect("a list").items;
        assert_eq!(all.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), [NAME]);
    });
}
