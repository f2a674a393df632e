//! What a repository holds is shown as Backups, and what people want of one is written into the repository.

use kube::ResourceExt;
use kube::api::DeleteParams;
use midship::api::backup::{BackupPhase, Verified};
use midship::api::{Backup, BackupRepository};
use serde_json::json;

use super::kit::{Kit, backup_test, object};
use crate::backup::servers::Server;

#[test]
fn a_repository_is_made_in_a_bucket_and_shows_what_is_in_it() {
    backup_test(async |kit| {
        let settings = Server::start("seaweedfs", false).settings();
        kit.bucket_repository("vault", &settings).await;
        let vault = kit.repository("vault", "Available").await;
        let status = vault.status.expect("a status");
        assert_eq!(status.store, Some(format!("s3://{}/{}", settings.bucket, settings.prefix)));
        assert!(status.capabilities.expect("it was tried").conditional_create);
        assert_eq!((status.backups, status.encrypted), (Some(0), Some(true)));
        let orders = kit.instance("orders").await;
        let store = std::sync::Arc::new(midship::backup::store::S3::new(&settings).expect("a store"));
        let place = kit.back_up(store, "vault", &orders, b"rows").await;
        kit.look_again("vault").await;
        let shown = kit.until("the backup to be shown and proven", listed).await;
        let backup = &shown[0];
        assert_eq!(backup.name_any(), format!("vault-{}", place.id.to_string().to_lowercase()));
        let name = backup.spec.instance.name.as_ref().map(ToString::to_string);
        assert_eq!((name.as_deref(), backup.spec.instance.uid.clone()), (Some("orders"), orders.uid()));
        let status = backup.status.clone().expect("a status");
        assert_eq!((status.phase, status.source_bytes), (Some(BackupPhase::Completed), Some(13)));
    });
}

/// The controller proves each backup once it has seen it.
fn listed(all: &[Backup]) -> bool {
    let verified = |backup: &Backup| backup.status.as_ref().and_then(|status| status.verified);
    all.len() == 1 && verified(&all[0]) == Some(Verified::Listed)
}

async fn one_backup(kit: &Kit<'_>) -> Backup {
    kit.folder_repository("vault").await;
    kit.repository("vault", "Available").await;
    let orders = kit.instance("orders").await;
    let store = kit.folder_store("vault").await;
    kit.back_up(store, "vault", &orders, b"rows").await;
    kit.look_again("vault").await;
    kit.until("the backup to be shown and proven", listed).await.remove(0)
}

#[test]
fn a_hold_outlives_its_object_and_deleting_the_object_deletes_no_data() {
    backup_test(async |kit| {
        let backup = one_backup(kit).await;
        let name = backup.name_any();
        kit.change::<Backup>(&name, json!({ "spec": { "hold": true } })).await;
        let store = kit.folder_store("vault").await;
        crate::harness::wait_for("the hold to be in the repository", super::kit::SOON, async || {
            let catalog = kit.catalog(store.clone()).await;
            let wish = catalog.found[0].wish.clone();
            if wish.as_ref().is_some_and(|wish| wish.hold) { Ok(()) } else { Err(format!("{wish:?}")) }
        })
        .await;
        kit.scene.objects::<Backup>().delete(&name, &DeleteParams::default()).await.expect("it can be deleted");
        let held = |one: &Backup| one.status.as_ref().is_some_and(|status| status.held == Some(true));
        let again = |all: &[Backup]| all.len() == 1 && all[0].uid() != backup.uid() && held(&all[0]);
        kit.until("it to be shown again, and held", again).await;
        assert_eq!(kit.catalog(store).await.found.len(), 1);
    });
}

#[test]
fn a_backup_that_is_gone_from_the_store_is_gone_from_the_cluster() {
    backup_test(async |kit| {
        one_backup(kit).await;
        let place = kit.catalog(kit.folder_store("vault").await).await.found[0].place.clone();
        std::fs::remove_dir_all(kit.folder("vault").join(place.folder())).expect("it can be removed");
        kit.look_again("vault").await;
        kit.until("it not to be shown any more", <[Backup]>::is_empty).await;
    });
}

#[test]
fn a_damaged_backup_is_told() {
    backup_test(async |kit| {
        one_backup(kit).await;
        let place = kit.catalog(kit.folder_store("vault").await).await.found[0].place.clone();
        std::fs::remove_dir_all(kit.folder("vault").join(place.chunks())).expect("it can be removed");
        // what was proven is proven again after the interval
        kit.change::<BackupRepository>("vault", json!({ "spec": { "listInterval": "1s" } })).await;
        let damaged =
            |all: &[Backup]| all.first().and_then(|one| one.status.as_ref()?.phase) == Some(BackupPhase::Damaged);
        let shown = kit.until("it to be damaged", damaged).await;
        let message = shown[0].status.clone().and_then(|status| status.message).expect("why");
        assert!(message.contains("chunk 00000000 is not there"), "{message}");
    });
}

#[test]
fn an_object_made_by_hand_that_shows_nothing_says_so_and_stays() {
    backup_test(async |kit| {
        kit.folder_repository("vault").await;
        kit.repository("vault", "Available").await;
        let spec =
            json!({ "repository": "vault", "id": "01ARZ3NDEKTSV4RRFFQ69G5FAV", "instance": { "name": "orders" } });
        kit.create::<Backup>(object("Backup", "mine", spec)).await;
        kit.look_again("vault").await;
        let failed =
            |all: &[Backup]| all.first().and_then(|one| one.status.as_ref()?.phase) == Some(BackupPhase::Failed);
        let shown = kit.until("it to say that there is no such backup", failed).await;
        let message = &shown[0].status.as_ref().expect("a status").conditions[0].message;
        assert!(message.contains("there is no backup 01ARZ3NDEKTSV4RRFFQ69G5FAV in the repository vault"), "{message}");
    });
}

#[test]
fn other_recipients_get_an_epoch_of_their_own() {
    backup_test(async |kit| {
        kit.folder_repository("vault").await;
        let before = kit.repository("vault", "Available").await.status.expect("a status").epoch;
        let other = midship::backup::keys::Identity::generate().recipient().to_string();
        kit.change::<BackupRepository>("vault", json!({ "spec": { "encryption": { "recipients": [other] } } })).await;
        crate::harness::wait_for("a new epoch", super::kit::SOON, async || {
            let now = kit.repository("vault", "Available").await.status.expect("a status").epoch;
            if now.is_some() && now != before { Ok(()) } else { Err(format!("{now:?}")) }
        })
        .await;
    });
}
