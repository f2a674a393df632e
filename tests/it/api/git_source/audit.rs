//! The audit branch: what happened, once each, and nothing secret.

use std::path::Path;

use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use midship::api::conditions::find;
use midship::api::operation::OperationPhase;
use midship::api::{Backup, Operation};
use serde_json::{Value, json};

use super::repository::{Repository, SshKey, instance};
use super::{SOON, Team, team_test};
use crate::harness::{midship, wait_for};

const SECRET: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: correct-horse}\n";

#[test]
fn every_sync_that_changed_something_is_one_commit_that_people_and_programs_can_read() {
    team_test(async |team| {
        team.repository.write("a.yaml", &instance("a", "7.0"));
        let first = team.repository.commit("A cache");
        team.follow(json!({})).await;
        team.recorded(1).await;
        team.repository.write("a.yaml", &instance("a", "7.2"));
        team.repository.write("b.yaml", &instance("b", "7.0"));
        let second = team.repository.commit("Upgrade a, add b");
        let audit = team.recorded(2).await;
        assert!(audit[0].starts_with(&format!("main@{}: 1 created\n", &first[..10])), "{}", audit[0]);
        assert!(audit[1].starts_with(&format!("main@{}: 1 created, 1 updated\n", &second[..10])), "{}", audit[1]);
        assert!(audit[1].contains("Upgrade a, add b (Ada Lovelace)") && audit[1].contains("Midship-Result: applied"));
        let namespace = &team.scene.namespace;
        let folder = format!("{namespace}/main");
        assert_eq!(
            team.repository.audit_files(),
            [
                format!("{folder}/objects/{namespace}/instance/a.yaml"),
                format!("{folder}/objects/{namespace}/instance/b.yaml"),
                format!("{folder}/record.json")
            ]
        );
        let record = team.repository.git(&["show", &format!("midship/audit/test:{folder}/record.json")]);
        let record: Value = serde_json::from_str(&record).expect("JSON");
        assert_eq!(record["commit"], second);
        assert_eq!(record["author"], "Ada Lovelace <ada@example.com>");
        let actions = record["actions"].as_array().cloned().unwrap_or_default();
        let why: Vec<&Value> = actions.iter().map(|action| &action["why"]).collect();
        assert_eq!(why, ["a.yaml changed", "b.yaml defines it"], "{record:#}");
        let whole = record["tookMs"].as_u64().expect("it took its time");
        assert!(actions.iter().all(|one| one["tookMs"].as_u64().is_some_and(|took| took <= whole)), "{record:#}");
        let author = team.repository.git(&["log", "-1", "--format=%an by %cn", "midship/audit/test"]);
        assert_eq!(author, "Ada Lovelace by Midship");
        team.repository.git(&["fsck", "--strict"]);
    });
}

#[test]
fn values_of_secrets_are_nowhere_but_in_the_secret() {
    team_test(async |team| {
        team.repository.write("s.yaml", SECRET);
        team.repository.commit("A secret");
        team.follow(json!({})).await;
        team.recorded(1).await;
        let stored = team.scene.kubectl(["get", "secret", "s", "-o", "jsonpath={.data.password}"]).stdout();
        assert_eq!(stored, "Y29ycmVjdC1ob3JzZQ==");
        team.repository.write("s.yaml", &SECRET.replace("correct", "battery"));
        team.repository.commit("Another password");
        team.recorded(2).await;
        let audit = team.repository.git(&["log", "-p", "midship/audit/test"]);
        let source = serde_json::to_string(&team.source().await).expect("JSON");
        let events = team.scene.kubectl(["get", "events", "-o", "yaml"]).stdout();
        for (place, text) in
            [("audit", audit.as_str()), ("status", &source), ("events", &events), ("log", &team.controller.log_text())]
        {
            for value in ["correct-horse", "battery-horse", "Y29ycmVjdC1ob3JzZQ", "YmF0dGVyeS1ob3JzZQ"] {
                assert!(!text.contains(value), "{value} stands in the {place}");
            }
        }
        assert!(
            audit.contains("-  password: (secret ") && audit.contains("+  password: (secret "),
            "that it changed is told: {audit}"
        );
    });
}

#[test]
fn records_that_cannot_be_pushed_outlive_the_controller_and_are_pushed_in_order() {
    team_test(async |team| {
        let elsewhere = Repository::new();
        elsewhere.commit("Begin");
        let (here, away) = (elsewhere.path().join(".git"), elsewhere.path().join("away"));
        team.repository.write("a.yaml", &instance("a", "7.0"));
        let first = team.repository.commit("A cache");
        team.follow(json!({ "audit": { "url": elsewhere.url() } })).await;
        let told = async || team.source().await.status.unwrap_or_default().audit.unwrap_or_default();
        // once the source tells of it, nobody works on the branch any more
        wait_for("the first record", SOON, async || {
            let (audit, told) = (elsewhere.audit(), told().await);
            if audit.len() == 1 && told.commit.is_some() { Ok(()) } else { Err(format!("{audit:?} {told:?}")) }
        })
        .await;
        std::fs::rename(&here, &away).expect("it can be moved");
        let mut commits = vec![first];
        for (number, version) in [(1, "7.2"), (2, "7.4")] {
            team.repository.write("a.yaml", &instance("a", version));
            commits.push(team.repository.commit(&format!("To {version}")));
            wait_for(&format!("{number} records to be kept and told of"), SOON, async || {
                let kept =
                    team.scene.kubectl(["get", "configmaps", "-l", "midship.dev/audit-of", "-o", "name"]).stdout();
                let told = told().await;
                let queued = told.queued.and_then(|queued| usize::try_from(queued).ok());
                let all = kept.lines().count() == number && queued == Some(number) && told.message.is_some();
                if all { Ok(()) } else { Err(format!("{kept} {told:?}")) }
            })
            .await;
        }
        team.controller.signal(nix::sys::signal::Signal::SIGKILL);
        team.controller.exit(SOON).await;
        team.start_again();
        // what happens while nobody knows what is on the branch is recorded as well
        team.repository.write("b.yaml", &instance("b", "1"));
        commits.push(team.repository.commit("One more"));
        team.has(&["a 7.4", "b 1"]).await;
        std::fs::rename(&away, &here).expect("it can be moved back");
        wait_for("the records to be pushed", SOON * 3, async || {
            let audit = elsewhere.audit();
            let told = |(number, commit): (usize, &String)| {
                audit.get(number).is_some_and(|message| message.contains(&format!("Midship-Commit: {commit}")))
            };
            if audit.len() == 4 && commits.iter().enumerate().all(told) { Ok(()) } else { Err(format!("{audit:#?}")) }
        })
        .await;
        // the last was made while nobody knew the branch, and yet tells of what changed alone
        let touched = elsewhere.git(&["show", "--format=", "--name-only", "midship/audit/test"]);
        assert!(touched.contains("/instance/b.yaml") && !touched.contains("/instance/a.yaml"), "{touched}");
        wait_for("nothing to be kept any more", SOON, async || {
            let kept = team.scene.kubectl(["get", "configmaps", "-l", "midship.dev/audit-of", "-o", "name"]).stdout();
            if kept.is_empty() { Ok(()) } else { Err(kept) }
        })
        .await;
        elsewhere.git(&["fsck", "--strict"]);
    });
}

/// Waits for so many audit commits.
async fn audited(team: &Team<'_>, number: usize) -> Vec<String> {
    wait_for(&format!("{number} audit commits"), SOON, async || {
        let audit = team.repository.audit();
        if audit.len() == number { Ok(audit) } else { Err(format!("{audit:#?}")) }
    })
    .await
}

/// Two backups of the instance a begin; one is completed, and then the other fails. Two audit commits are there before.
async fn two_backups(team: &Team<'_>) {
    let backups: kube::Api<Backup> = team.scene.objects();
    let says = async |name: &str, status: Value| {
        let patch = Patch::Merge(json!({ "status": status }));
        backups.patch_status(name, &PatchParams::default(), &patch).await.expect("it can be patched");
    };
    for (name, id) in [("one", "01JD3F7K2M8Q5R9T1V4W6X0Y2Z"), ("two", "01JD3F7K2M8Q5R9T1V4W6X0Y3Z")] {
        let backup = json!({ "apiVersion": "midship.dev/v1alpha1", "kind": "Backup", "metadata": { "name": name },
            "spec": { "repository": "nowhere", "id": id, "instance": { "name": "a" } } });
        let backup: Backup = serde_json::from_value(backup).expect("a backup");
        backups.create(&PostParams::default(), &backup).await.expect("it can be made");
        says(name, json!({ "phase": "Running", "startedAt": "2026-01-02T03:04:05Z" })).await;
    }
    says("one", json!({ "phase": "Completed", "completedAt": "2026-01-02T03:05:06Z", "storedBytes": 13 })).await;
    let namespace = &team.scene.namespace;
    let audit = audited(team, 3).await;
    assert!(audit[2].starts_with(&format!("Backup {namespace}/one completed\n")), "{}", audit[2]);
    assert!(audit[2].contains("Midship-Result: done"), "{}", audit[2]);
    says("two", json!({ "phase": "Failed", "message": "the bucket is full" })).await;
    let audit = audited(team, 4).await;
    assert!(audit[3].starts_with(&format!("Backup {namespace}/two failed: the bucket is full\n")), "{}", audit[3]);
    assert!(audit[3].contains("Midship-Result: failed"), "{}", audit[3]);
    let file = format!("midship/audit/test:{namespace}/main/finished/{namespace}/backup/one.json");
    let told: Value = serde_json::from_str(&team.repository.git(&["show", &file])).expect("JSON");
    assert_eq!((&told["result"], &told["storedBytes"]), (&json!("Completed"), &json!(13)));
    // that it will be removed is no news of how it ended
    says("one", json!({ "phase": "Expiring" })).await;
}

#[test]
fn operations_and_backups_that_ended_are_recorded_once() {
    team_test(async |team| {
        team.repository.write("a.yaml", &instance("a", "7.0"));
        team.repository.commit("A cache");
        team.follow(json!({})).await;
        team.recorded(1).await;
        let operations: kube::Api<Operation> = team.scene.objects();
        let operation = json!({ "apiVersion": "midship.dev/v1alpha1", "kind": "Operation", "metadata": { "name": "again" },
            "spec": { "instance": "a", "type": "Restart", "suspend": true } });
        let operation: Operation = serde_json::from_value(operation).expect("an operation");
        operations.create(&PostParams::default(), &operation).await.expect("it can be made");
        // the controller has nothing to say of it afterwards
        wait_for("the operation to be looked at", SOON, async || {
            let status = operations.get("again").await.map_err(|error| error.to_string())?.status.unwrap_or_default();
            if status.phase == Some(OperationPhase::Paused) { Ok(()) } else { Err(format!("{status:?}")) }
        })
        .await;
        let ended = json!({ "status": { "phase": "Succeeded", "finishedAt": "2026-01-02T03:04:05Z", "message": "2 of 2 pods" } });
        operations
            .patch_status("again", &PatchParams::default(), &Patch::Merge(&ended))
            .await
            .expect("it can be patched");
        let audit = audited(team, 2).await;
        let namespace = &team.scene.namespace;
        assert!(audit[1].starts_with(&format!("Operation {namespace}/again succeeded")), "{}", audit[1]);
        let file = format!("{namespace}/main/finished/{namespace}/operation/again.json");
        let told = team.repository.git(&["show", &format!("midship/audit/test:{file}")]);
        let told: Value = serde_json::from_str(&told).expect("JSON");
        assert_eq!((&told["result"], &told["instance"]), (&json!("Succeeded"), &json!("a")));
        two_backups(team).await;
        team.controller.signal(nix::sys::signal::Signal::SIGKILL);
        team.controller.exit(SOON).await;
        team.start_again();
        team.repository.write("a.yaml", &instance("a", "7.2"));
        team.repository.commit("Newer");
        let audit = team.recorded(5).await;
        assert!(audit[4].contains("1 updated"), "{}", audit[4]);
        // the end of the source is the last that is told
        team.sources().delete("main", &DeleteParams::default()).await.expect("it can be deleted");
        wait_for("the end of the source to be recorded", SOON, async || {
            let audit = team.repository.audit();
            let expected = format!("GitSource {namespace}/main was deleted: the object it applied stays");
            if audit.len() == 6 && audit[5].starts_with(&expected) { Ok(()) } else { Err(format!("{audit:#?}")) }
        })
        .await;
        team.repository.git(&["fsck", "--strict"]);
    });
}

#[test]
fn a_record_that_cannot_be_pushed_waits_and_stops_nothing() {
    team_test(async |team| {
        let elsewhere = Repository::new();
        elsewhere.commit("Begin");
        let (here, away) = (elsewhere.path().join(".git"), elsewhere.path().join("away"));
        std::fs::rename(&here, &away).expect("it can be moved");
        team.repository.write("a.yaml", &instance("a", "7.0"));
        team.repository.commit("A cache");
        team.follow(json!({ "audit": { "url": elsewhere.url() } })).await;
        team.has(&["a 7.0"]).await;
        wait_for("the status to say that the record waits", SOON, async || {
            let status = team.source().await.status.unwrap_or_default();
            match status.audit.as_ref().and_then(|audit| audit.message.as_ref()) {
                Some(_) => Ok(()),
                None => Err(format!("{status:#?}")),
            }
        })
        .await;
        team.repository.write("a.yaml", &instance("a", "7.2"));
        let last = team.repository.commit("Upgrade");
        team.has(&["a 7.2"]).await;
        std::fs::rename(&away, &here).expect("it can be moved back");
        wait_for("the record to be pushed", SOON * 2, async || {
            let audit = elsewhere.audit();
            if audit.last().is_some_and(|message| message.contains(&last)) { Ok(()) } else { Err(format!("{audit:?}")) }
        })
        .await;
    });
}

#[test]
fn a_branch_that_others_cut_is_told_of_and_says_again_what_is_applied() {
    team_test(async |team| {
        for (number, name) in ["a", "b", "c"].into_iter().enumerate() {
            team.repository.write(&format!("{name}.yaml"), &instance(name, "1"));
            team.repository.commit(&format!("Add {name}"));
            if number == 0 {
                team.follow(json!({})).await;
            }
            team.recorded(number + 1).await;
        }
        let tip = team.repository.git(&["rev-parse", "midship/audit/test"]);
        let first = team.repository.git(&["rev-parse", "midship/audit/test~2"]);
        team.repository.git(&["update-ref", "refs/heads/midship/audit/test", &first]);
        team.repository.write("a.yaml", &instance("a", "2"));
        team.repository.commit("Upgrade a");
        let told = wait_for("the cut to be told of", SOON, async || {
            let status = team.source().await.status.unwrap_or_default();
            let cut = find(&status.conditions, "AuditRewritten").filter(|one| one.reason == "Rewritten");
            match (cut, status.audit.as_ref().and_then(|audit| audit.rewritten.clone())) {
                (Some(told), Some(rewritten)) if rewritten.before == tip => Ok(told.message.clone()),
                _ => Err(format!("{status:#?}")),
            }
        })
        .await;
        assert!(told.contains(&tip[..10]) && told.contains(&first[..10]), "{told}");
        let objects = wait_for("the branch to say what is applied", SOON, async || {
            let files = team.repository.audit_files();
            if files.iter().filter(|path| path.contains("/objects/")).count() == 3 {
                Ok(files)
            } else {
                Err(format!("{files:?}"))
            }
        })
        .await;
        assert!(objects.iter().any(|path| path.ends_with("/instance/b.yaml")), "{objects:?}");
        let events = team.scene.kubectl(["get", "events", "-o", "jsonpath={.items[*].reason}"]).stdout();
        assert!(events.contains("AuditRewritten"), "{events}");
        let verified = midship().args(["audit", "verify", "--repo"]).arg(team.repository.path()).output();
        assert_eq!(verified.code, 1, "{verified}");
        assert!(verified.stdout.contains("what was recorded in between was taken off the branch"), "{verified}");

        team.patch_source(json!({ "metadata": { "annotations": { "midship.dev/accept-audit-rewrite": tip } } })).await;
        wait_for("the cut to be known", SOON, async || {
            let status = team.source().await.status.unwrap_or_default();
            let known = find(&status.conditions, "AuditRewritten").is_some_and(|one| one.reason == "Known");
            if known { Ok(()) } else { Err(format!("{status:#?}")) }
        })
        .await;
    });
}

/// Waits until a Secret that the spec names is refused; returns the message.
async fn refused(team: &Team<'_>, secret: &str) -> String {
    wait_for(&format!("the Secret {secret} to be refused"), SOON, async || {
        let message = team.says("InvalidSpec").await;
        if message.contains(&format!("Secret {secret}: ")) { Ok(message) } else { Err(message) }
    })
    .await
}

#[test]
fn a_record_is_signed_by_the_key_that_is_named_which_is_never_one_of_midships_own() {
    team_test(async |team| {
        let (ours, other) = (Repository::ssh_key("midship"), Repository::ssh_key("eve"));
        team.secret("signing", &[("identity", &ours.private())]).await;
        // somebody keeps a key where Midship keeps its own
        team.secret("main-audit-key", &[("identity", "kept")]).await;
        team.repository.write("a.yaml", &instance("a", "7.0"));
        team.repository.commit("A cache");
        team.follow(json!({ "audit": { "credentials": { "name": "other-audit-key" } } })).await;
        refused(team, "other-audit-key").await;
        let signing = json!({ "credentials": null, "signingKey": { "name": "main-audit-key" } });
        team.patch_source(json!({ "spec": { "audit": signing } })).await;
        let message = refused(team, "main-audit-key").await;
        assert!(message.contains("keep yours in a Secret of another name, and name that one in the spec"), "{message}");

        team.patch_source(json!({ "spec": { "audit": { "signingKey": { "name": "signing" } } } })).await;
        let message = wait_for("the record to wait for a Secret of its own", SOON, async || {
            let audit = team.source().await.status.unwrap_or_default().audit.unwrap_or_default();
            audit.message.filter(|message| message.contains("Secret main-audit-key")).ok_or("no word of it")
        })
        .await;
        assert!(message.contains("keep what is in it under another name"), "{message}");
        let kept = team.scene.kubectl(["get", "secret", "main-audit-key", "-o", "jsonpath={.data.identity}"]).stdout();
        assert_eq!(kept, "a2VwdA==", "nobody touches it");
        team.scene.kubectl(["delete", "secret", "main-audit-key"]).stdout();
        team.recorded(1).await;
        team.repository.write("a.yaml", &instance("a", "7.2"));
        team.repository.commit("Newer");
        team.recorded(2).await;

        // without the key nothing is recorded unsigned, and what is applied does not wait for it
        team.scene.kubectl(["delete", "secret", "signing"]).stdout();
        team.repository.write("a.yaml", &instance("a", "7.4"));
        team.repository.commit("Newest");
        team.becomes("Applied").await;
        assert_eq!(team.running().await, ["a 7.4"]);
        let namespace = &team.scene.namespace;
        let missing = format!("there is no Secret signing in the namespace {namespace}; create it");
        wait_for("the record to wait for the key", SOON, async || {
            let audit = team.source().await.status.unwrap_or_default().audit.unwrap_or_default();
            match (audit.message, audit.queued) {
                (Some(message), Some(1)) if message == missing => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        team.secret("signing", &[("identity", &ours.private())]).await;
        team.recorded(3).await;

        let folder = tempfile::tempdir().expect("a folder");
        let signers = |name: &str, key: &SshKey| {
            let file = folder.path().join(name);
            std::fs::write(&file, format!("midship@localhost {}\n", key.public())).expect("it can be written");
            file
        };
        let (right, wrong) = (signers("right", &ours), signers("wrong", &other));
        let trusting = format!("gpg.ssh.allowedSignersFile={}", right.display());
        for commit in team.repository.git(&["rev-list", "midship/audit/test"]).lines() {
            team.repository.git(&["-c", &trusting, "verify-commit", commit]);
        }
        let verify = |signers: &Path| {
            let verify = midship().args(["audit", "verify", "--repo"]).arg(team.repository.path());
            verify.arg("--allowed-signers").arg(signers).output()
        };
        let verified = verify(&right);
        assert_eq!(verified.code, 0, "{verified}");
        let told = "all is well: 3 commits on midship/audit/test, 3 of them signed";
        assert!(verified.stdout.starts_with(told), "{verified}");
        let strange = verify(&wrong);
        assert_eq!(strange.code, 1, "{strange}");
        assert!(strange.stdout.contains("is signed by nobody among the trusted signers"), "{strange}");
    });
}
