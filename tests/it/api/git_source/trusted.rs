//! Histories that may not be rewritten, and commits that somebody trusted has to sign.

use serde_json::json;

use super::repository::{OpenPgpKey, Repository, instance};
use super::{SOON, team_test};
use crate::harness::wait_for;

#[test]
fn a_rewritten_history_is_held_until_somebody_agrees() {
    team_test(async |team| {
        team.repository.write("a.yaml", &instance("a", "1"));
        team.repository.commit("First");
        team.follow(json!({ "requireFastForward": true })).await;
        team.becomes("Applied").await;
        team.repository.write("a.yaml", &instance("a", "2"));
        team.repository.commit("Second");
        team.repository.write("a.yaml", &instance("a", "3"));
        let third = team.repository.commit("Third");
        team.becomes("Applied").await;
        team.has(&["a 3"]).await;
        // made aside, so that nobody looks at what it begins with
        team.repository.git(&["checkout", "-q", "-b", "other", "HEAD~2"]);
        team.repository.write("a.yaml", &instance("a", "9"));
        team.repository.commit("Rewritten");
        team.repository.git(&["checkout", "-q", "-B", "main"]);
        let rewritten = team.repository.head();
        let message = team.says("NotFastForward").await;
        assert_eq!(
            message,
            format!(
                "{} does not follow from the applied commit {}: the history was rewritten, and spec.requireFastForward holds it; \
                 to accept it, set the annotation midship.dev/accept-rewrite: {rewritten} on the GitSource, or requireFastForward to false; \
                 main@{} stays applied",
                &rewritten[..10],
                &third[..10],
                &third[..10]
            )
        );
        assert_eq!(team.running().await, ["a 3"]);
        team.patch_source(json!({ "metadata": { "annotations": { "midship.dev/accept-rewrite": rewritten } } })).await;
        team.has(&["a 9"]).await;
        team.becomes("Applied").await;
        // agreeing to one is not agreeing to the next; without the wish nothing is held
        team.repository.git(&["commit", "-q", "--amend", "--allow-empty", "-m", "Again"]);
        team.says("NotFastForward").await;
        team.patch_source(json!({ "spec": { "requireFastForward": false } })).await;
        team.becomes("Applied").await;
    });
}

#[test]
fn only_commits_of_trusted_signers_are_applied() {
    team_test(async |team| {
        let (ann, eve) = (Repository::ssh_key("ann"), Repository::ssh_key("eve"));
        team.trusts("ann", &ann).await;
        team.repository.write("a.yaml", &instance("a", "1"));
        team.repository.commit_signed("Signed", &ann);
        team.follow(json!({ "verification": { "signers": { "name": "signers" } } })).await;
        team.becomes("Applied").await;
        team.has(&["a 1"]).await;
        team.repository.write("a.yaml", &instance("a", "2"));
        let unsigned = team.repository.commit("Not signed");
        let message = team.says("Unsigned").await;
        assert!(
            message.starts_with(&format!(
                "commit {unsigned} is not signed; nothing of it is applied, as spec.verification says; sign the commit"
            )),
            "{message}"
        );
        team.repository.write("a.yaml", &instance("a", "3"));
        team.repository.commit_signed("Signed by a stranger", &eve);
        let message = team.says("SignerNotTrusted").await;
        assert!(message.contains("is signed by nobody among the trusted signers"), "{message}");
        assert_eq!(team.running().await, ["a 1"]);
        team.secret("signers", &[("allowed_signers", "# nobody\n")]).await;
        team.says("NoTrustedSigners").await;
        team.secret("signers", &[("allowed_signers", &format!("eve@example.com {}", eve.public()))]).await;
        team.has(&["a 3"]).await;
        team.scene.kubectl(["delete", "secret", "signers"]).stdout();
        let message = team.says("InvalidCredentials").await;
        assert!(message.starts_with("there is no Secret signers"), "{message}");
    });
}

#[test]
fn commits_signed_with_an_openpgp_key_are_applied_where_the_key_is_among_the_signers() {
    team_test(async |team| {
        let (ann, eve) = (OpenPgpKey::new("ann"), OpenPgpKey::new("eve"));
        team.secret("signers", &[("ann.asc", &ann.public())]).await;
        team.repository.write("a.yaml", &instance("a", "1"));
        team.repository.commit_signed_by("Signed", &ann);
        team.follow(json!({ "verification": { "signers": { "name": "signers" } } })).await;
        team.becomes("Applied").await;
        team.has(&["a 1"]).await;
        team.repository.write("a.yaml", &instance("a", "2"));
        let stranger = team.repository.commit_signed_by("Signed by a stranger", &eve);
        let message = team.says("SignerNotTrusted").await;
        let expected = format!("commit {stranger} is signed by nobody among the trusted signers: ");
        assert!(message.starts_with(&expected) && message.contains("stays applied"), "{message}");
        assert_eq!(team.running().await, ["a 1"]);
        // several keys count, and those of SSH beside them
        let bob = Repository::ssh_key("bob");
        let listed = format!("bob@example.com {}", bob.public());
        team.secret("signers", &[("ann.asc", &ann.public()), ("eve.asc", &eve.public()), ("allowed_signers", &listed)])
            .await;
        team.becomes("Applied").await;
        team.has(&["a 2"]).await;
        team.repository.write("a.yaml", &instance("a", "3"));
        team.repository.commit_signed("Signed with SSH", &bob);
        team.becomes("Applied").await;
        team.has(&["a 3"]).await;
    });
}

#[test]
fn trust_asked_for_some_folders_leaves_the_others_free() {
    team_test(async |team| {
        let ann = Repository::ssh_key("ann");
        team.trusts("ann", &ann).await;
        team.repository.write("prod/a.yaml", &instance("a", "1"));
        team.repository.write("test/b.yaml", &instance("b", "1"));
        team.repository.commit_signed("Signed", &ann);
        team.follow(json!({ "verification": { "signers": { "name": "signers" }, "paths": ["prod"] },
            "prune": { "maxPercent": 100 } }))
            .await;
        team.becomes("Applied").await;
        // elsewhere anybody may change things
        team.repository.write("test/b.yaml", &instance("b", "2"));
        team.repository.commit("Not signed, and need not be");
        team.becomes("Applied").await;
        team.has(&["a 1", "b 2"]).await;
        // in the folder, nobody else may: neither change, nor delete, nor move
        team.repository.write("prod/a.yaml", &instance("a", "2"));
        team.repository.write("test/b.yaml", &instance("b", "3"));
        let unsigned = team.repository.commit("Not signed, and has to be");
        team.becomes("InvalidFiles").await;
        team.has(&["a 1", "b 3"]).await;
        assert_eq!(
            team.errors().await,
            [format!(
                "prod not-verified: commit {unsigned} is not signed, and no trusted commit left this folder as it is; what was applied from it stays"
            )]
        );
        team.repository.remove("prod/a.yaml");
        team.repository.write("test/a.yaml", &instance("a", "6"));
        team.repository.write("test/b.yaml", &instance("b", "4"));
        team.repository.commit("Move it out");
        team.has(&["a 1", "b 4"]).await;
        let kept = format!(
            "test/a.yaml:1:1 not-verified: Instance {}/a was applied from prod/a.yaml, which no trusted commit vouches for now; it stays as it is",
            team.scene.namespace
        );
        wait_for("the source to say why it did not move", SOON, async || {
            let errors = team.errors().await;
            if errors.last() == Some(&kept) { Ok(()) } else { Err(format!("{errors:#?}")) }
        })
        .await;
        team.repository.commit_signed("I agree", &ann);
        team.has(&["a 6", "b 4"]).await;
        wait_for("the audit branch to be whole", SOON, async || {
            let files = team.repository.audit_files();
            if files.len() == 3 { Ok(()) } else { Err(format!("{files:?}")) }
        })
        .await;
    });
}

#[test]
fn an_unsigned_merge_brings_back_nothing_that_a_signed_commit_replaced() {
    team_test(async |team| {
        let ann = Repository::ssh_key("ann");
        team.trusts("ann", &ann).await;
        team.repository.write("prod/a.yaml", &instance("a", "1"));
        let old = team.repository.commit_signed("Old", &ann);
        team.repository.write("prod/a.yaml", &instance("a", "2"));
        let new = team.repository.commit_signed("New", &ann);
        team.follow(json!({ "verification": { "signers": { "name": "signers" }, "paths": ["prod"] },
            "requireFastForward": true, "prune": { "maxPercent": 100 } }))
            .await;
        team.becomes("Applied").await;
        team.has(&["a 2"]).await;
        for parents in [[&new, &old], [&old, &new]] {
            let tree = format!("{old}^{{tree}}");
            let merge = team.repository.git(&["commit-tree", &tree, "-p", parents[0], "-p", parents[1], "-m", "Merge"]);
            team.repository.git(&["reset", "-q", "--hard", &merge]);
            team.becomes("InvalidFiles").await;
            assert_eq!(team.running().await, ["a 2"]);
            team.repository.git(&["reset", "-q", "--hard", &new]);
            team.patch_source(json!({ "metadata": { "annotations": { "midship.dev/accept-rewrite": new } } })).await;
            team.becomes("Applied").await;
        }
        // everyday's merge of a branch that began before is none of that
        team.repository.git(&["checkout", "-q", "-b", "feature", &old]);
        team.repository.write("test/b.yaml", &instance("b", "1"));
        team.repository.commit("A feature");
        team.repository.git(&["checkout", "-q", "main"]);
        team.repository.git(&["merge", "-q", "--no-ff", "-m", "Merge the feature", "feature"]);
        team.becomes("Applied").await;
        team.has(&["a 2", "b 1"]).await;
    });
}

#[test]
fn what_was_moved_into_a_folder_that_asks_for_trust_is_kept_by_it() {
    team_test(async |team| {
        let ann = Repository::ssh_key("ann");
        team.trusts("ann", &ann).await;
        team.repository.write("a.yaml", &instance("a", "1"));
        team.repository.write("b.yaml", &instance("b", "1"));
        team.repository.commit_signed("Signed", &ann);
        team.follow(json!({ "verification": { "signers": { "name": "signers" }, "paths": ["prod"] },
            "prune": { "maxPercent": 100 } }))
            .await;
        team.becomes("Applied").await;
        std::fs::create_dir(team.repository.path().join("prod")).expect("a folder can be made");
        team.repository.git(&["mv", "a.yaml", "prod/a.yaml"]);
        team.repository.commit_signed("Move", &ann);
        team.becomes("Applied").await;
        team.repository.remove("prod/a.yaml");
        team.repository.write("b.yaml", &instance("b", "2"));
        team.repository.commit("Not signed");
        team.has(&["a 1", "b 2"]).await;
        team.becomes("InvalidFiles").await;
        assert_eq!(team.running().await, ["a 1", "b 2"]);
    });
}
