//! A commit that says something new of some objects only: those are looked at, and nothing else is forgotten for it.

use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::repository::instance;
use super::{SOON, Team, team_test};
use crate::harness::wait_for;

async fn patch(team: &Team<'_>, name: &str, patch: Value) {
    let patched = team.instances().patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
    patched.expect("it can be changed");
}

/// How many objects were looked at for the last plan that was carried out.
fn looked(team: &Team<'_>) -> Option<u64> {
    let log = team.controller.log();
    log.iter().rev().find(|line| line["message"] == "planned" && !line["looked"].is_null())?["looked"].as_u64()
}

/// Waits until whoever looks after the instances has said how they are, which is a change of them, too, and until that was
/// looked at.
async fn settled(team: &Team<'_>) {
    wait_for("every instance to say how it is", SOON, async || {
        let all = team.instances().list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let silent = all.items.iter().filter(|one| one.status.is_none()).count();
        if silent == 0 { Ok(()) } else { Err(format!("{silent} say nothing")) }
    })
    .await;
    let polls = team.polls();
    wait_for("two more polls", SOON, async || {
        let now = team.polls();
        if now >= polls + 2 { Ok(()) } else { Err(format!("{now}")) }
    })
    .await;
}

async fn runs(team: &Team<'_>, wanted: &[&str]) {
    wait_for(&format!("{wanted:?}"), SOON, async || {
        let found = team.running().await;
        if found == wanted { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

#[test]
fn a_commit_of_one_file_is_one_change_and_everything_else_stays_applied_and_recorded() {
    team_test(async |team| {
        for name in ["a", "b", "c"] {
            team.repository.write(&format!("{name}.yaml"), &instance(name, "7.0"));
        }
        team.repository.commit("Three caches");
        team.follow(json!({})).await;
        let audit = team.recorded(1).await;
        assert!(audit[0].contains(": 3 created\n"), "{}", audit[0]);
        let files = team.repository.audit_files();
        assert!(team.becomes("Applied").await.ends_with(": 3 objects applied"));
        settled(team).await;

        team.repository.write("b.yaml", &instance("b", "7.2"));
        team.repository.commit("Upgrade b");
        let audit = team.recorded(2).await;
        assert!(audit[1].contains(": 1 updated\n"), "{}", audit[1]);
        assert_eq!(looked(team), Some(1), "nothing else was looked at");
        assert!(team.becomes("Applied").await.ends_with(": 3 objects applied"));
        let counts = team.source().await.status.and_then(|status| status.counts).expect("counts");
        assert_eq!((counts.objects, counts.applied, counts.failed), (3, 3, 0));
        assert_eq!(team.repository.audit_files(), files);

        // what somebody changes at the same time is changed back all the same
        patch(team, "a", json!({ "spec": { "version": "9.9" } })).await;
        team.repository.write("c.yaml", &instance("c", "7.2"));
        team.repository.write("d.yaml", &instance("d", "7.0"));
        team.repository.commit("Upgrade c, add d");
        runs(team, &["a 7.0", "b 7.2", "c 7.2", "d 7.0"]).await;

        team.repository.remove("b.yaml");
        team.repository.commit("Nobody needs b");
        runs(team, &["a 7.0", "c 7.2", "d 7.0"]).await;
        assert_eq!(looked(team), Some(3), "what is defined no more asks for a look at everything");
        assert!(team.becomes("Applied").await.ends_with(": 3 objects applied"));
    });
}

#[test]
fn what_is_still_being_deleted_is_told_also_when_another_file_changes() {
    team_test(async |team| {
        for name in ["a", "b"] {
            team.repository.write(&format!("{name}.yaml"), &instance(name, "7.0"));
        }
        team.repository.commit("Two caches");
        team.follow(json!({})).await;
        team.becomes("Applied").await;
        patch(team, "a", json!({ "metadata": { "finalizers": ["example.com/waits"] } })).await;
        team.instances().delete("a", &DeleteParams::default()).await.expect("it can be deleted");

        team.repository.write("b.yaml", &instance("b", "7.2"));
        team.repository.commit("Upgrade b");
        let message = team.becomes("StillDeleting").await;
        assert!(message.contains("/a is still being deleted, and made again once it is gone"), "{message}");
        patch(team, "a", json!({ "metadata": { "finalizers": null } })).await;
        runs(team, &["a 7.0", "b 7.2"]).await;
        team.says("Applied").await;
    });
}
