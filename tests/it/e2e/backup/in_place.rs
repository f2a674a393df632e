//! Restores in the place of what is there, and backups that somebody thinks better of.

use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use midship::api::Backup;
use midship::api::backup::BackupPhase;
use midship::api::operation::OperationPhase;
use serde_json::json;

use super::super::stage::{IN_TIME, NAME, PATIENT, stage_test};
use super::vault::Vault;
use super::{PATIENCE, one_pod, redis};
use crate::harness::wait_for;

#[test]
fn a_backup_takes_the_place_of_what_is_there_after_a_backup_of_that() {
    stage_test("redis/1.1.0", "redis-7.0", async |stage| {
        let vault = Vault::new(stage).await;
        vault.policy(stage, json!({})).await;
        let mut spec = one_pod("redis", "7.0", "32Mi", "64Mi");
        (spec["topology"], spec["components"][0]["replicas"]) = (json!("replication"), json!(2));
        spec["failover"] = json!({ "timeout": PATIENT });
        stage.create(spec).await;
        let primary = stage.primary().await;
        let ask = async |command: &[&str]| redis_of(stage, &primary, command).await;
        let fill = "for i = 1, 2000 do redis.call('SET', 'key:' .. i, string.rep(i, 50)) end return 'OK'";
        assert_eq!(ask(&["EVAL", fill, "0"]).await, "OK");
        let made = stage.midship(&["backup", "create", NAME, "--timeout", PATIENCE]);
        assert!(made.code == 0, "{made}");
        let name = vault.backup(stage, "the backup to be shown", |_| true).await.name_any();
        assert_eq!(ask(&["FLUSHALL"]).await, "OK");
        assert_eq!(ask(&["SET", "only", "new"]).await, "OK");

        let refused = vault.midship(stage, &["restore", NAME, "--backup", &name]);
        assert!(refused.code == 1 && refused.stderr.contains("its data is not touched"), "{refused}");
        let agreed = ["restore", NAME, "--backup", &name, "--replace-data-of", NAME, "--timeout", PATIENCE];
        let told = vault.midship(stage, &agreed);
        assert!(told.code == 0 && told.stdout.contains("succeeded"), "{told}");
        stage.runs().await;
        for pod in ["shop-redis-0", "shop-redis-1"] {
            wait_for(&format!("{pod} to have what was restored"), IN_TIME, async || {
                let size = redis_of(stage, pod, &["DBSIZE"]).await;
                let only = redis_of(stage, pod, &["GET", "only"]).await;
                if (size.as_str(), only.as_str()) == ("2000", "") { Ok(()) } else { Err(format!("{size} {only}")) }
            })
            .await;
        }
        // what was replaced is in the backup that was made first
        vault.backup(stage, "the safety backup", |one| one.name_any() != name).await;
    });
}

async fn redis_of(stage: &super::Stage<'_>, pod: &str, command: &[&str]) -> String {
    let password = stage.password().await;
    let mut ask = vec!["redis-cli", "--no-auth-warning", "-a", password.as_str()];
    ask.extend(command);
    stage.answer(&stage.scene.namespace, pod, "redis", &ask).await
}

#[test]
fn a_backup_that_is_cancelled_ends_in_the_pod_too_and_leaves_nothing() {
    stage_test("redis/1.1.0", "redis-7.0", async |stage| {
        let vault = Vault::new(stage).await;
        vault.policy(stage, json!({ "bandwidth": "64Ki" })).await;
        stage.create(one_pod("redis", "7.0", "64Mi", "128Mi")).await;
        stage.runs().await;
        // no two alike, so that nothing is compressed away
        let fill = "for i = 1, 200000 do redis.call('SET', redis.sha1hex(i), redis.sha1hex(-i)) end return 'OK'";
        assert_eq!(redis(stage, NAME, &["EVAL", fill, "0"]).await, "OK");
        let before = size_of(stage).await;
        stage.ask("slow", json!({ "type": "Backup" })).await;
        wait_for("the backup to be under way", IN_TIME, async || {
            let status = stage.operations().get("slow").await.map_err(|error| error.to_string())?.status;
            let status = status.unwrap_or_default();
            let message = status.steps.first().and_then(|step| step.message.clone()).unwrap_or_default();
            if message.contains("KiB") || message.contains("MiB") { Ok(()) } else { Err(format!("{status:?}")) }
        })
        .await;
        let cancel = Patch::Merge(json!({ "spec": { "cancel": true } }));
        stage.operations().patch("slow", &PatchParams::default(), &cancel).await.expect("it can be cancelled");
        stage.ends("slow", OperationPhase::Cancelled).await;
        vault.change_policy(stage, json!({ "bandwidth": null })).await;
        let made = stage.midship(&["backup", "create", NAME, "--timeout", PATIENCE]);
        assert!(made.code == 0, "the pod is free again: {made}");
        let all = stage.scene.objects::<Backup>().list(&ListParams::default()).await.expect("a list").items;
        let completed =
            |one: &&Backup| one.status.as_ref().and_then(|status| status.phase) == Some(BackupPhase::Completed);
        assert!(all.iter().filter(completed).count() <= 1, "{all:?}");
        assert_eq!(size_of(stage).await, before);
    });
}

async fn size_of(stage: &super::Stage<'_>) -> String {
    redis(stage, NAME, &["DBSIZE"]).await
}
