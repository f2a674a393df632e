//! Local copies of repositories that are damaged while the controller runs: they are fetched anew, nothing is deleted, and
//! damage is never taken for a commit that nobody trusts.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use kube::ResourceExt;
use serde_json::json;

use super::repository::{Repository, instance};
use super::{SOON, Team, team_test};
use crate::harness::wait_for;

/// The packs of each local copy, oldest first.
fn packs(team: &Team<'_>) -> Vec<Vec<PathBuf>> {
    let copies = fs::read_dir(team.controller.cache_dir()).expect("there are local copies");
    let folders = copies.map(|copy| copy.expect("an entry").path().join("objects/pack"));
    let sorted = |entries: fs::ReadDir| {
        let files = entries.map(|entry| entry.expect("an entry").path());
        let mut packs: Vec<PathBuf> = files.filter(|file| file.extension().is_some_and(|end| end == "pack")).collect();
        packs.sort_by_key(|pack| fs::metadata(pack).and_then(|data| data.modified()).expect("a time"));
        packs
    };
    folders.filter_map(|folder| fs::read_dir(folder).ok()).map(sorted).collect()
}

/// Cuts off the packs of every local copy, but for the newest ones.
fn damage(team: &Team<'_>, but: usize) {
    let mut damaged = 0;
    for packs in packs(team) {
        for pack in &packs[..packs.len().saturating_sub(but)] {
            let bytes = fs::read(pack).expect("it can be read");
            // a new file keeps what is mapped into memory intact
            fs::remove_file(pack).expect("it can be removed");
            fs::write(pack, &bytes[..40]).expect("it can be written");
            damaged += 1;
        }
    }
    assert!(damaged > 0, "there is nothing to damage: {:?}", packs(team));
}

/// How often the log tells of a local copy that was mended while it was read.
fn mended(team: &Team<'_>) -> usize {
    let told = "the local copy was damaged and was fetched anew";
    team.controller.log().iter().filter(|line| line["message"] == told).count()
}

/// Changes an instance that needs no signature, and waits until that is applied and recorded.
async fn grow(team: &Team<'_>, version: &str) {
    team.repository.write("test/b.yaml", &instance("b", version));
    team.repository.commit(&format!("To {version}"));
    settles(team, version).await;
}

/// Waits until the newest commit is applied and recorded: nothing is read or written then.
async fn settles(team: &Team<'_>, version: &str) {
    team.becomes("Applied").await;
    assert_eq!(team.running().await, ["a 1".to_owned(), format!("b {version}")]);
    let head = team.repository.head();
    wait_for(&format!("the record of {head}"), SOON, async || {
        let audit = team.repository.audit();
        let told = audit.last().is_some_and(|last| last.contains(&format!("Midship-Commit: {head}")));
        let known = team.source().await.status.unwrap_or_default().audit.unwrap_or_default();
        let tip = team.repository.git(&["for-each-ref", "--format=%(objectname)", "refs/heads/midship/audit/test"]);
        if told && known.commit.as_ref() == Some(&tip) { Ok(()) } else { Err(format!("{known:?}\n{audit:#?}")) }
    })
    .await;
}

/// Who is who: an instance that was deleted and made again is another.
async fn identities(team: &Team<'_>) -> BTreeMap<String, Option<String>> {
    let list = team.instances().list(&kube::api::ListParams::default()).await.expect("they can be listed");
    list.items.iter().map(|one| (one.name_any(), one.uid())).collect()
}

#[test]
fn damaged_copies_are_fetched_anew_and_nothing_is_deleted_or_taken_for_untrusted() {
    team_test(async |team| {
        let ann = Repository::ssh_key("ann");
        team.trusts("ann", &ann).await;
        team.repository.write("prod/a.yaml", &instance("a", "1"));
        team.repository.write("test/b.yaml", &instance("b", "1"));
        team.repository.commit_signed("Signed", &ann);
        team.follow(json!({ "verification": { "signers": { "name": "signers" }, "paths": ["prod"] } })).await;
        settles(team, "1").await;
        let at_first = identities(team).await;

        // nothing is sent as a difference to what is damaged: the fetch would meet that, and not who reads history
        team.repository.git(&["config", "pack.window", "0"]);
        // the commit that vouches for the folder is damaged, the newest is not
        grow(team, "2").await;
        damage(team, 1);
        grow(team, "3").await;
        assert!(mended(team) > 0, "history was read over the damage");

        // what a rewritten history begins with is damaged
        team.patch_source(json!({ "spec": { "requireFastForward": true } })).await;
        grow(team, "4").await;
        let (good, before) = (team.repository.head(), mended(team));
        damage(team, 1);
        team.repository.git(&["commit", "-q", "--amend", "-m", "Rewritten"]);
        team.says("NotFastForward").await;
        assert!(mended(team) > before, "history was read over the damage");
        assert_eq!(team.running().await, ["a 1", "b 4"]);
        team.repository.git(&["reset", "-q", "--hard", &good]);
        grow(team, "5").await;

        // nothing is asked of history, and everything is damaged, the copy of the record too
        team.patch_source(json!({ "spec": { "requireFastForward": null, "verification": null } })).await;
        wait_for("the plain source to be looked at", SOON, async || {
            let source = team.source().await;
            let observed = source.status.clone().unwrap_or_default().observed_generation;
            if observed == source.metadata.generation { Ok(()) } else { Err(format!("{observed:?}")) }
        })
        .await;
        settles(team, "5").await;
        damage(team, 0);
        grow(team, "6").await;
        assert_eq!(identities(team).await, at_first);
    });
}
