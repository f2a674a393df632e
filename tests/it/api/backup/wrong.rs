//! Stores that cannot be used: each is told apart, with what to do, and taken up again once it is put right.

use std::path::Path;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::DeleteParams;
use midship::api::BackupRepository;
use midship::api::conditions::find;
use serde_json::json;

use super::kit::{SOON, backup_test, object, s3};
use crate::backup::servers::Server;
use crate::harness::wait_for;

fn message(repository: &BackupRepository) -> String {
    let conditions = repository.status.clone().expect("a status").conditions;
    find(&conditions, "Ready").expect("it is told").message.clone()
}

#[test]
fn wrong_credentials_are_told_with_the_key_and_taken_up_when_put_right() {
    backup_test(async |kit| {
        let settings = Server::start("seaweedfs", false).settings();
        let spec = s3("vault", &settings, &kit.identity);
        kit.create::<BackupRepository>(object("BackupRepository", "vault", spec)).await;
        let missing = kit.repository("vault", "SecretMissing").await;
        let wanted = format!("Secret {}/vault-s3 is not there", kit.scene.namespace);
        assert!(message(&missing).starts_with(&wanted), "{}", message(&missing));
        kit.credentials("vault", &settings, Some("wrong")).await;
        let denied = kit.repository("vault", "AccessDenied").await;
        assert!(message(&denied).contains("access is denied"), "{}", message(&denied));
        kit.change::<Secret>("vault-s3", json!({ "data": { "secretAccessKey": null } })).await;
        let incomplete = kit.repository("vault", "SecretIncomplete").await;
        let wanted = "has no key secretAccessKey; it has accessKeyId";
        assert!(message(&incomplete).contains(wanted), "{}", message(&incomplete));
        kit.scene.objects::<Secret>().delete("vault-s3", &DeleteParams::default()).await.expect("it can be deleted");
        kit.credentials("vault", &settings, None).await;
        kit.repository("vault", "Available").await;
        // nobody is to believe that what this bucket holds is locked
        let lock = |period: serde_json::Value| json!({ "spec": { "s3": { "lock": period } } });
        kit.change::<BackupRepository>("vault", lock(json!({ "period": "1d" }))).await;
        let unlocked = kit.repository("vault", "NoObjectLock").await;
        assert!(message(&unlocked).contains("make a bucket with object lock, or leave"), "{}", message(&unlocked));
        kit.change::<BackupRepository>("vault", lock(json!(null))).await;
        kit.repository("vault", "Available").await;
    });
}

#[test]
fn a_bucket_that_is_not_there_is_told() {
    backup_test(async |kit| {
        let mut settings = Server::start("seaweedfs", false).settings();
        settings.bucket = "not-there".to_owned();
        kit.bucket_repository("vault", &settings).await;
        let wrong = kit.repository("vault", "InvalidStore").await;
        assert!(message(&wrong).contains("make the bucket, or correct its name"), "{}", message(&wrong));
    });
}

#[test]
fn a_store_that_does_not_answer_is_told() {
    backup_test(async |kit| {
        let mut settings = Server::start("seaweedfs", false).settings();
        settings.endpoint = Some("http://127.0.0.1:1".to_owned());
        kit.bucket_repository("vault", &settings).await;
        kit.repository("vault", "StoreUnavailable").await;
    });
}

#[test]
fn a_repository_that_disappears_is_not_begun_anew() {
    backup_test(async |kit| {
        kit.folder_repository("vault").await;
        let uuid = kit.repository("vault", "Available").await.status.expect("a status").uuid.expect("a uuid");
        empty(&kit.folder("vault")).await;
        kit.look_again("vault").await;
        let gone = kit.repository("vault", "RepositoryGone").await;
        assert!(message(&gone).contains(&uuid), "{}", message(&gone));
        assert!(!kit.folder("vault").join("repo.json").exists());
        let folder = kit.folder("vault");
        // what was begun before may still write
        wait_for("the folder to be gone", SOON, async || match std::fs::remove_dir_all(&folder) {
            Err(error) if folder.exists() => Err(error),
            _ => Ok(()),
        })
        .await;
        kit.look_again("vault").await;
        let absent = kit.repository("vault", "NotMounted").await;
        assert!(message(&absent).contains("backups.volumes"), "{}", message(&absent));
    });
}

#[test]
fn another_repository_in_its_place_is_noticed() {
    backup_test(async |kit| {
        kit.folder_repository("vault").await;
        kit.folder_repository("other").await;
        kit.repository("vault", "Available").await;
        kit.repository("other", "Available").await;
        std::fs::copy(kit.folder("other").join("repo.json"), kit.folder("vault").join("repo.json")).expect("a copy");
        kit.look_again("vault").await;
        kit.repository("vault", "AnotherRepository").await;
    });
}

#[test]
fn another_cluster_reads_and_asks_before_it_writes() {
    backup_test(async |kit| {
        kit.folder_repository("vault").await;
        let vault = kit.repository("vault", "Available").await;
        // the same store under another name stands for another cluster: it has a key of its own
        let place = kit.folder("copy");
        std::os::unix::fs::symlink(kit.folder("vault"), &place).expect("a link");
        let spec = json!({ "filesystem": { "claim": "backups" },
            "encryption": { "recipients": [kit.identity.recipient().to_string()] } });
        kit.create::<BackupRepository>(object("BackupRepository", "copy", spec)).await;
        let stranger = kit.repository("copy", "NotASigner").await;
        let said = message(&stranger);
        let key = said.split_whitespace().find(|word| word.starts_with("ed25519:")).expect("its key");
        let key = key.trim_end_matches(':').to_owned();
        kit.change::<BackupRepository>("copy", json!({ "spec": { "access": "ReadOnly" } })).await;
        let read = kit.repository("copy", "Available").await;
        assert_eq!(read.status.expect("a status").signer, vault.status.expect("a status").signer);
        let vouch = json!({ "metadata": { "annotations": { "midship.dev/add-signer": key } } });
        kit.change::<BackupRepository>("vault", vouch).await;
        kit.change::<BackupRepository>("copy", json!({ "spec": { "access": "ReadWrite" } })).await;
        let writes = kit.repository("copy", "Available").await;
        assert!(writes.name_any() == "copy");
    });
}

/// Removes everything, also what the controller writes meanwhile.
async fn empty(folder: &Path) {
    let entries = || std::fs::read_dir(folder).expect("a listing").map(|entry| entry.expect("an entry").path());
    wait_for("the folder to be empty", SOON, async || {
        for path in entries() {
            let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            removed.map_err(|error| format!("{}: {error}", path.display()))?;
        }
        entries().next().map_or(Ok(()), |left| Err(left.display().to_string()))
    })
    .await;
}
