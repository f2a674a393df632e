//! Backups count once they were restored: drills, on a schedule, into instances that nobody sees.

use kube::ResourceExt;
use kube::api::ListParams;
use midship::api::backup::Verified;
use midship::api::conditions::find;
use midship::api::instance::Phase;
use midship::api::{BackupPolicy, Instance};
use serde_json::json;

use super::super::stage::{IN_TIME, NAME, stage_test};
use super::vault::{IDENTITY, Vault};
use super::{PATIENCE, one_pod, redis};
use crate::harness::wait_for;

#[test]
fn the_newest_backup_is_restored_as_a_test_and_nothing_is_left_of_it() {
    stage_test("redis/1.1.0", "redis-7.0", async |stage| {
        let vault = Vault::new(stage).await;
        stage.create(one_pod("redis", "7.0", "32Mi", "64Mi")).await;
        stage.runs().await;
        redis(stage, NAME, &["SET", "greeting", "hello"]).await;
        let verification = json!({ "restore": "* * * * *", "identity": { "name": IDENTITY } });
        vault.policy(stage, json!({ "verification": verification })).await;
        let made = stage.midship(&["backup", "create", NAME, "--timeout", PATIENCE]);
        assert!(made.code == 0, "{made}");
        let proven = vault
            .backup(stage, "a backup that was restored", |one| {
                one.status.as_ref().and_then(|status| status.verified) == Some(Verified::Restored)
            })
            .await;
        vault.change_policy(stage, json!({ "verification": { "restore": "@monthly" } })).await;
        assert!(proven.status.as_ref().and_then(|status| status.verified_at.as_ref()).is_some(), "{proven:?}");
        let name = proven.name_any();
        stage
            .one_is(NAME, Phase::Running, |status| {
                status.backup.as_ref().is_some_and(|backup| backup.latest_verified.as_ref() == Some(&name))
            })
            .await;
        wait_for("the scratch instance to be gone", IN_TIME, async || {
            let all = stage.scene.objects::<Instance>().list(&ListParams::default()).await.expect("a list").items;
            let names: Vec<String> = all.iter().map(ResourceExt::name_any).collect();
            if names == [NAME] { Ok(()) } else { Err(format!("{names:?}")) }
        })
        .await;
        wait_for("the policy to tell of it", IN_TIME, async || {
            let policy =
                stage.scene.objects::<BackupPolicy>().get("policy").await.map_err(|error| error.to_string())?;
            let conditions = policy.status.unwrap_or_default().conditions;
            let told = find(&conditions, "Restorable").is_some_and(|found| found.reason == "Restored");
            if told { Ok(()) } else { Err(format!("{conditions:?}")) }
        })
        .await;
    });
}
