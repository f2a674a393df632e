//! Policies begin backups once for each turn, keep what they say, and tell what they cannot do.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::ListParams;
use midship::api::backup::BackupPhase;
use midship::api::backup_policy::FailedDrill;
use midship::api::conditions::find;
use midship::api::{Backup, BackupPolicy, Instance, Operation};
use serde_json::{Value, json};

use super::kit::{Kit, SOON, backup_test, object};
use crate::harness::wait_for;

fn policy(more: Value) -> Value {
    let mut spec = json!({ "repository": "vault", "instances": ["orders"],
        "schedules": [{ "name": "nightly", "cron": "30 4 * * *", "timeZone": "Europe/Berlin" }],
        "retention": { "count": 7 } });
    spec.as_object_mut().expect("a mapping").extend(more.as_object().expect("a mapping").clone());
    object("BackupPolicy", "daily", spec)
}

async fn operations(kit: &Kit<'_>) -> Vec<Operation> {
    kit.scene.objects::<Operation>().list(&ListParams::default()).await.expect("a list").items
}

#[test]
fn a_policy_tells_what_it_covers_and_when_it_is_next() {
    backup_test(async |kit| {
        kit.folder_repository("vault").await;
        kit.instance("orders").await;
        kit.create::<BackupPolicy>(policy(json!({}))).await;
        let status = wait_for("the policy to cover the instance", SOON, async || {
            let status = kit.policy("daily", "Scheduled").await.status.expect("a status");
            if status.instances == Some(1) { Ok(status) } else { Err(format!("{status:?}")) }
        })
        .await;
        let next = status.next.expect("it comes");
        assert!(next.contains("T04:30:00") && next.contains("Europe/Berlin"), "{next}");
    });
}

#[test]
fn what_a_policy_cannot_do_is_told() {
    backup_test(async |kit| {
        let daily = kit.create::<BackupPolicy>(policy(json!({ "timeout": "5s" }))).await;
        kit.policy("daily", "RepositoryMissing").await;
        // as if the repository had gone while a backup in it was restored as a test, and somebody had made a copy of that
        for (name, owned) in [("copy", false), ("drill-1", true)] {
            let spec = json!({ "type": "cache", "extensionVersion": "1.0.0", "version": "1.0" });
            let mut scratch = object("Instance", name, spec);
            scratch["metadata"]["labels"] = json!({ "midship.dev/backup-policy": daily.uid() });
            scratch["metadata"]["annotations"] = json!({ "midship.dev/drill": "1" });
            if owned {
                scratch["metadata"]["ownerReferences"] = json!([{ "apiVersion": "midship.dev/v1alpha1",
                    "kind": "BackupPolicy", "name": "daily", "uid": daily.uid(), "controller": true }]);
            }
            kit.create::<Instance>(scratch).await;
        }
        let instances = kit.scene.objects::<Instance>();
        wait_for("the scratch instance to go once its time is over", SOON, async || {
            let again =
                json!({ "metadata": { "annotations": { "midship.dev/reconcile-at": Timestamp::now().to_string() } } });
            kit.change::<BackupPolicy>("daily", again).await;
            match instances.get_opt("drill-1").await {
                Ok(None) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        let copy = instances.get("copy").await.expect("it is somebody's");
        assert_eq!(copy.metadata.deletion_timestamp, None);
        let schedules = json!([{ "name": "nightly", "cron": "30 2 * * *", "timeZone": "Mars/Base" }]);
        kit.change::<BackupPolicy>("daily", json!({ "spec": { "schedules": schedules } })).await;
        let wrong = kit.policy("daily", "InvalidSchedule").await.status.expect("a status");
        let message = &find(&wrong.conditions, "Stalled").expect("somebody has to act").message;
        assert!(message.starts_with("schedule nightly: \"Mars/Base\" is no time zone"), "{message}");
    });
}

#[test]
fn a_turn_is_begun_once_also_after_a_crash() {
    backup_test(async |kit| {
        kit.folder_repository("vault").await;
        kit.instance("orders").await;
        let schedules = json!([{ "name": "often", "cron": "* * * * *", "labels": { "kept": "short" } }]);
        kit.create::<BackupPolicy>(policy(json!({ "schedules": schedules, "method": "dump" }))).await;
        // the first turn is at the next full minute
        let first = wait_for("the first backup to be begun", SOON + Duration::from_mins(1), async || {
            operations(kit).await.pop().ok_or("there is none".to_owned())
        })
        .await;
        let backup = first.spec.backup.as_ref().expect("how");
        assert_eq!(
            (backup.method.as_deref(), backup.labels.as_ref().map(std::collections::BTreeMap::len)),
            (Some("dump"), Some(1))
        );
        assert_eq!(backup.repository.as_ref().map(ToString::to_string).as_deref(), Some("vault"));
        kit.change::<BackupPolicy>("daily", json!({ "spec": { "suspend": true } })).await;
        kit.policy("daily", "Suspended").await;
        kit.kill();
        kit.start();
        kit.change::<BackupPolicy>("daily", json!({ "spec": { "suspend": false, "schedules": schedules } })).await;
        // by then the new controller has begun what it takes for due
        kit.policy("daily", "Scheduled").await;
        kit.repository("vault", "Available").await;
        let all = operations(kit).await;
        let mut turns: Vec<&String> =
            all.iter().filter_map(|operation| operation.annotations().get("midship.dev/backup-turn")).collect();
        let count = turns.len();
        turns.sort();
        turns.dedup();
        assert_eq!(
            (turns.len(), all.len()),
            (count, count),
            "each turn once: {:?}",
            all.iter().map(ResourceExt::name_any).collect::<Vec<_>>()
        );
    });
}

#[test]
fn what_nothing_keeps_expires_and_what_is_held_stays() {
    backup_test(async |kit| {
        kit.folder_repository("vault").await;
        kit.repository("vault", "Available").await;
        let orders = kit.instance("orders").await;
        let store = kit.folder_store("vault").await;
        let mut places = Vec::new();
        for rows in [&b"one"[..], b"two", b"three"] {
            places.push(kit.back_up(store.clone(), "vault", &orders, rows).await);
        }
        kit.look_again("vault").await;
        kit.until("all three to be shown", |all| all.len() == 3).await;
        let oldest = format!("vault-{}", places[0].id.to_string().to_lowercase());
        kit.change::<Backup>(&oldest, json!({ "spec": { "hold": true } })).await;
        wait_for("the hold to be in the repository", SOON, async || {
            let catalog = kit.catalog(store.clone()).await;
            if catalog.found.iter().any(|found| found.wish.is_some()) { Ok(()) } else { Err("not yet".to_owned()) }
        })
        .await;
        kit.create::<BackupPolicy>(policy(json!({ "retention": { "count": 1 } }))).await;
        kit.policy("daily", "Scheduled").await;
        kit.look_again("vault").await;
        let phases = |all: &[Backup]| {
            let mut all: Vec<_> =
                all.iter().map(|one| (one.name_any(), one.status.as_ref().and_then(|s| s.phase))).collect();
            all.sort_by(|a, b| a.0.cmp(&b.0));
            all.into_iter().map(|(_, phase)| phase).collect::<Vec<_>>()
        };
        let wanted = [BackupPhase::Completed, BackupPhase::Expiring, BackupPhase::Completed].map(Some);
        kit.until("the one in the middle to expire", |all| phases(all) == wanted).await;
        assert_eq!(kit.catalog(store).await.found.len(), 3, "it waits a day");
    });
}

/// How many scratch instances there are.
async fn drills(kit: &Kit<'_>) -> usize {
    let all = kit.scene.objects::<Instance>().list(&ListParams::default()).await.expect("a list").items;
    all.iter().filter(|one| one.name_any() != "orders").count()
}

/// Waits until a policy with this reason tells of so many drills that failed.
async fn failures(kit: &Kit<'_>, reason: &str, number: usize) -> Vec<FailedDrill> {
    wait_for("what is told of drills", SOON, async || {
        let status = kit.policy("daily", reason).await.status.expect("a status");
        let told = find(&status.conditions, "Restorable").is_some_and(|found| found.reason == "DrillFailed");
        let as_wanted = status.failed_drills.len() == number && told == (number > 0);
        if as_wanted { Ok(status.failed_drills) } else { Err(format!("{status:?}")) }
    })
    .await
}

#[test]
fn a_drill_that_failed_is_told_also_by_the_controller_after_this_one() {
    backup_test(async |kit| {
        kit.folder_repository("vault").await;
        kit.repository("vault", "Available").await;
        let orders = kit.instance("orders").await;
        let store = kit.folder_store("vault").await;
        let place = kit.back_up(store, "vault", &orders, b"rows").await;
        kit.look_again("vault").await;
        kit.until("the backup to be shown", |all| all.len() == 1).await;
        kit.create::<Secret>(json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "key" },
            "stringData": { "identity": kit.identity.secret().expose() } }))
            .await;
        // nothing runs here, and nobody waits for it
        let verification = json!({ "restore": "* * * * *", "identity": { "name": "key" } });
        kit.create::<BackupPolicy>(policy(json!({ "verification": verification, "timeout": "5s" }))).await;
        // it may have come and gone between two looks
        wait_for("a drill", SOON + Duration::from_mins(1), async || {
            let policy = kit.scene.objects::<BackupPolicy>().get("daily").await.map_err(|error| error.to_string())?;
            let failed = policy.status.unwrap_or_default().failed_drills.len();
            if drills(kit).await + failed > 0 { Ok(()) } else { Err("none yet".to_owned()) }
        })
        .await;
        kit.change::<BackupPolicy>("daily", json!({ "spec": { "verification": { "restore": "@yearly" } } })).await;
        let failed = failures(kit, "Scheduled", 1).await;
        assert_eq!(failed[0].backup.as_deref(), Some(place.id.to_string().as_str()));
        assert_eq!((failed[0].instance.as_str(), Some(&failed[0].uid)), ("orders", orders.uid().as_ref()));
        assert!(failed[0].message.contains("could not be proven by restoring it"), "{failed:?}");
        wait_for("the scratch instance to go", SOON, async || {
            if drills(kit).await == 0 { Ok(()) } else { Err("it is there".to_owned()) }
        })
        .await;
        kit.kill();
        kit.start();
        kit.change::<BackupPolicy>("daily", json!({ "spec": { "suspend": true } })).await;
        assert_eq!(failures(kit, "Suspended", 1).await, failed);
        // nobody wants to know any more
        kit.change::<BackupPolicy>("daily", json!({ "spec": { "verification": null } })).await;
        failures(kit, "Suspended", 0).await;
    });
}
