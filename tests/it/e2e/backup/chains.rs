//! A backup that adds to another one counts once both were restored together, and is nothing without the other.

use midship::api::Backup;
use midship::api::conditions::find;
use midship::api::operation::BackupType;
use midship::backup::store::{S3, Store, list_all};
use serde_json::json;

use super::super::stage::{IN_TIME, NAME, Stage};
use super::vault::Vault;
use super::{PATIENCE, drills};
use crate::harness::wait_for;

/// Makes a backup that adds to the one there is, and has both restored as a test; the name of the scratch instance.
pub async fn begin(stage: &Stage<'_>, vault: &Vault) -> String {
    let made = stage.midship(&["backup", "create", NAME, "--type", "incremental", "--timeout", PATIENCE]);
    assert!(made.code == 0 && !made.stdout.contains("a full one"), "{made}");
    // the newest that is known is tried, and on a busy machine that may still be the one before
    vault.backup(stage, "what was added to be shown", adds).await;
    drills::begin(stage, vault).await
}

fn adds(one: &Backup) -> bool {
    one.status.as_ref().and_then(|status| status.type_) == Some(BackupType::Incremental)
}

pub async fn is_proven(stage: &Stage<'_>, vault: &Vault, scratch: &str, full: &Backup) {
    let added = vault.backup(stage, "what was added to be proven", |one| adds(one) && drills::is_proven(one)).await;
    let parent = added.status.and_then(|status| status.parent);
    assert_eq!(parent.as_deref(), Some(full.spec.id.as_str()));
    let told = drills::ended(stage, scratch, "Restored").await;
    assert_eq!(told.failed_drills, []);
}

/// The chunks of the full one are lost, and nobody has seen it yet: a test restore of what was added says so, and goes.
pub async fn is_nothing_without_the_full_one(stage: &Stage<'_>, vault: &Vault, full: &Backup) {
    let store = S3::new(&vault.settings).expect("settings");
    let of_full = format!("/b/{}/", full.spec.id);
    // whoever has looked at it looks at it again tomorrow
    let objects = wait_for("the full one to be looked at", IN_TIME, async || {
        let mut objects = list_all(&store, "").await.map_err(|error| error.to_string())?;
        objects.retain(|object| object.key.as_str().contains(&of_full));
        let listed = objects.iter().any(|object| object.key.as_str().ends_with(".listed.json"));
        if listed { Ok(objects) } else { Err(format!("{objects:?}")) }
    })
    .await;
    for object in objects.iter().filter(|object| object.key.as_str().contains("/chunks/")) {
        store.delete(&object.key).await.expect("it can be deleted");
    }
    let scratch = drills::begin(stage, vault).await;
    let damaged = format!("backup {} is damaged: ", full.spec.id);
    wait_for("the test restore to fail", IN_TIME, async || {
        let status = stage.instances().get(&scratch).await.map_err(|error| error.to_string())?.status;
        let restored = find(&status.unwrap_or_default().conditions, "Restored").cloned();
        let failed = restored.as_ref().is_some_and(|restored| restored.message.contains(&damaged));
        if failed { Ok(()) } else { Err(format!("{restored:?}")) }
    })
    .await;
    // which is tried again until its time is over
    vault.change_policy(stage, json!({ "timeout": "5s" })).await;
    let failed = drills::ended(stage, &scratch, "DrillFailed").await.failed_drills;
    let told = failed.first().map_or("", |failed| failed.message.as_str());
    assert!(told.contains(&damaged) && told.contains("is not there"), "{failed:?}");
    assert_eq!(failed.len(), 1, "{failed:?}");
}
