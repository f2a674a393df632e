//! What is never deleted, and what waits for somebody to agree.

use kube::api::ListParams;
use midship::api::conditions::{ConditionStatus, find};
use serde_json::json;

use super::repository::instance;
use super::{SOON, Team, team_test};
use crate::harness::{Random, wait_for};

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("i{number}")).collect()
}

#[test]
fn a_file_that_vanishes_takes_its_object_along() {
    team_test(async |team| {
        team.repository.write("a.yaml", &instance("a", "7.0"));
        team.repository.write("b.yaml", &instance("b", "7.0"));
        team.repository.commit("Two caches");
        team.follow(json!({})).await;
        team.has(&["a 7.0", "b 7.0"]).await;
        team.repository.remove("a.yaml");
        team.repository.commit("Drop a");
        team.becomes("Applied").await;
        team.has(&["b 7.0"]).await;
    });
}

#[test]
fn more_deletions_than_the_budget_allows_wait_for_a_commit_that_agrees() {
    team_test(async |team| {
        for name in names(6) {
            team.repository.write(&format!("{name}.yaml"), &instance(&name, "7.0"));
        }
        team.repository.commit("Six caches");
        team.follow(json!({ "prune": { "maxCount": 2, "maxPercent": 100 } })).await;
        team.becomes("Applied").await;
        for name in names(3) {
            team.repository.remove(&format!("{name}.yaml"));
        }
        team.repository.write("new.yaml", &instance("new", "7.0"));
        team.repository.commit("Drop three, add one");
        let message = team.becomes("Held").await;
        assert!(message.contains("3 of 7 objects would be deleted"), "{message}");
        assert!(message.contains("Midship-Allow-Deletions: 3"), "{message}");
        assert_eq!(team.running().await.len(), 7, "nothing is deleted, the new one is there");
        assert_eq!(team.source().await.status.expect("a status").held.len(), 3);
        team.repository.commit("Yes, drop them\n\nMidship-Allow-Deletions: 3");
        team.becomes("Applied").await;
        team.has(&["i3 7.0", "i4 7.0", "i5 7.0", "new 7.0"]).await;
    });
}

#[test]
fn an_emptied_repository_deletes_nothing() {
    team_test(async |team| {
        team.repository.write("a.yaml", &instance("a", "7.0"));
        team.repository.commit("A cache");
        team.follow(json!({})).await;
        team.becomes("Applied").await;
        team.repository.remove("a.yaml");
        team.repository.commit("Nothing left\n\nMidship-Allow-Deletions: 100");
        let message = team.becomes("Held").await;
        assert!(message.contains("an empty repository never deletes"), "{message}");
        assert_eq!(team.running().await, ["a 7.0"]);
    });
}

#[test]
fn a_repository_that_is_gone_leaves_everything_and_says_so() {
    team_test(async |team| {
        team.repository.write("a.yaml", &instance("a", "7.0"));
        let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: map}\ndata: {a: x}\n";
        team.repository.write("map.yaml", map);
        team.repository.commit("A cache");
        team.follow(json!({})).await;
        team.becomes("Applied").await;
        let (here, away) = (team.repository.path().join(".git"), team.repository.path().join("away"));
        std::fs::rename(&here, &away).expect("it can be moved");
        let message = team.says("RepositoryNotFound").await;
        assert!(message.contains("stays applied"), "{message}");
        assert_eq!(team.running().await, ["a 7.0"]);
        // somebody hands something over that it may define by now
        let label = format!("midship.dev/source={}.main", team.scene.namespace);
        team.scene.kubectl(["create", "configmap", "given"]).stdout();
        team.scene.kubectl(["label", "configmap", "given", &label]).stdout();
        let given = || team.scene.kubectl(["get", "configmap", "given", "--ignore-not-found", "-o", "name"]).stdout();
        // what it said is kept up, also where nobody tells of a change
        team.scene.kubectl(["patch", "configmap", "map", "-p", r#"{"data": {"a": "y"}}"#]).stdout();
        wait_for("the map to be changed back", SOON * 2, async || {
            let map = team.scene.kubectl(["get", "configmap", "map", "-o", "jsonpath={.data.a}"]).stdout();
            if map == "x" { Ok(()) } else { Err(map) }
        })
        .await;
        team.says("RepositoryNotFound").await;
        assert_eq!(given().trim(), "configmap/given", "nothing is deleted for what nobody can ask");
        std::fs::rename(&away, &here).expect("it can be moved back");
        team.becomes("Applied").await;
        wait_for("what it does not define to go", SOON, async || {
            let given = given();
            if given.trim().is_empty() { Ok(()) } else { Err(given) }
        })
        .await;
    });
}

/// The identities of all instances, in the order of their names.
async fn identities(team: &Team<'_>) -> Vec<String> {
    let list = team.instances().list(&ListParams::default()).await.expect("they can be listed");
    list.items.into_iter().filter_map(|one| one.metadata.uid).collect()
}

/// Waits until the source gives this reason, and looks at what it says and at what is there; then goes back to a commit
/// that is well.
async fn stays(team: &Team<'_>, (reason, said): (&str, &str), before: &[String], well: &str) {
    let message = team.says(reason).await;
    assert!(message.contains(said) && message.contains("stays applied"), "{message}");
    let status = team.source().await.status.unwrap_or_default();
    let fetched = find(&status.conditions, "Fetched").expect("it is told");
    assert_eq!((fetched.status, fetched.reason.as_str()), (ConditionStatus::False, reason));
    assert_eq!(identities(team).await, before, "{reason}");
    team.repository.git(&["checkout", "-q", "-f", "-B", "main", well]);
    // nobody has to wait for the next attempt
    team.patch_source(json!({ "metadata": { "annotations": { "midship.dev/reconcile-at": reason } } })).await;
    team.becomes("Applied").await;
}

#[test]
fn what_is_missing_or_too_much_to_be_read_deletes_nothing_even_where_the_commit_agrees() {
    const AGREED: &str = "Half of it is gone\n\nMidship-Allow-Deletions: 9";
    team_test(async |team| {
        let repository = &team.repository;
        for name in ["a", "b"] {
            repository.write(&format!("apps/{name}.yaml"), &instance(name, "1"));
        }
        let well = repository.commit("Two caches");
        team.follow(json!({ "path": "apps", "limits": { "files": 3, "fetchSize": "64Ki" } })).await;
        team.becomes("Applied").await;
        team.recorded(1).await;
        let before = identities(team).await;

        repository.git(&["checkout", "-q", "--detach"]);
        repository.git(&["branch", "-q", "-D", "main"]);
        stays(team, ("NoSuchRef", "there is no branch `main`"), &before, &well).await;

        repository.git(&["mv", "apps", "elsewhere"]);
        repository.commit(AGREED);
        stays(team, ("NoSuchPath", "there is no folder `apps` in this commit"), &before, &well).await;

        repository.remove("apps/a.yaml");
        for number in 0..4 {
            repository.write(&format!("apps/{number}.txt"), "One of many.\n");
        }
        repository.commit(AGREED);
        stays(team, ("TooManyFiles", "the tree has more than 3 files and folders"), &before, &well).await;

        let mut random = Random::new();
        let noise: Vec<u8> = (0..1 << 17).map(|_| u8::try_from(random.below(256)).expect("a byte")).collect();
        repository.remove("apps/a.yaml");
        repository.write_bytes("apps/noise", &noise);
        repository.commit(AGREED);
        stays(team, ("TooLarge", "raise spec.limits.fetchSize of the GitSource"), &before, &well).await;

        // another history altogether: what it defines is applied, and what it does not know is held
        repository.git(&["checkout", "-q", "--orphan", "unrelated"]);
        repository.git(&["rm", "-r", "-q", "-f", "."]);
        repository.write("apps/c.yaml", &instance("c", "1"));
        repository.git(&["add", "-A"]);
        repository.git(&["commit", "-q", "-m", "Unrelated"]);
        repository.git(&["checkout", "-q", "-B", "main"]);
        let message = team.becomes("Held").await;
        assert!(message.contains("2 of 3 objects would be deleted"), "{message}");
        let status = team.source().await.status.unwrap_or_default();
        assert_eq!(status.held.len(), 2, "{status:#?}");
        let told = find(&status.conditions, "HistoryRewritten").expect("it is told");
        assert!(told.message.contains(&well[..10]), "{told:?}");
        assert_eq!(team.running().await, ["a 1", "b 1", "c 1"]);
        assert_eq!(identities(team).await[..2], before[..]);
        let audit = team.recorded(2).await;
        assert!(audit[1].contains(": 1 created, 2 held\n") && audit[1].contains("\nHistory: "), "{}", audit[1]);
    });
}

#[test]
fn a_branch_that_is_not_there_is_named() {
    team_test(async |team| {
        team.follow(json!({ "ref": { "branch": "mian" } })).await;
        let message = wait_for_message(team).await;
        assert!(message.contains("there is no branch `mian`"), "{message}");
    });
}

async fn wait_for_message(team: &Team<'_>) -> String {
    team.says("NoSuchRef").await
}

#[test]
fn an_object_outside_the_allowed_namespaces_is_refused_with_its_line() {
    team_test(async |team| {
        team.repository
            .write("a.yaml", &instance("a", "7.0").replace("{name: a}", "{name: a, namespace: kube-system}"));
        team.repository.write("b.yaml", &instance("b", "7.0"));
        team.repository.commit("One too far");
        team.follow(json!({})).await;
        let message = team.becomes("InvalidFiles").await;
        assert!(
            message.contains("a.yaml:3:") && message.contains("may not write to the namespace kube-system"),
            "{message}"
        );
        team.has(&["b 7.0"]).await;
    });
}

#[test]
fn what_midship_made_for_itself_is_not_taken_over() {
    team_test(async |team| {
        team.repository.write("a.yaml", &instance("a", "7.0"));
        team.repository.commit("A cache");
        team.follow(json!({})).await;
        team.recorded(1).await;
        team.scene.kubectl(["create", "secret", "generic", "made", "--from-literal=password=x"]).stdout();
        team.scene.kubectl(["label", "secret", "made", "midship.dev/instance=a"]).stdout();
        let secret = |name: &str| {
            format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\nstringData: {{key: stolen}}\n")
        };
        team.repository.write("key.yaml", &secret("main-audit-key"));
        team.repository.write("made.yaml", &secret("made"));
        let labelled = instance("b", "7.0").replace("{name: b}", "{name: b, labels: {midship.dev/extension: x}}");
        team.repository.write("b.yaml", &labelled);
        let annotated =
            instance("c", "7.0").replace("{name: c}", "{name: c, annotations: {midship.dev/delete-anyway: \"true\"}}");
        team.repository.write("c.yaml", &annotated);
        team.repository.commit("Three that may not, and one that may");
        team.becomes("InvalidFiles").await;
        let errors = team.errors().await;
        assert_eq!(errors.len(), 3, "{errors:#?}");
        for (place, said) in [
            ("b.yaml:3:", "metadata.labels.midship.dev.extension: is written by Midship itself"),
            ("key.yaml:3:", "names that end with -audit-key are those of Midship's own keys"),
            ("made.yaml:1:1 reserved: ", "/made is not taken over: Midship made this Secret, as its labels say"),
        ] {
            assert!(
                errors.iter().any(|error| error.starts_with(place) && error.contains(said)),
                "{place} {said}: {errors:#?}"
            );
        }
        team.has(&["a 7.0", "c 7.0"]).await;
        let kept = team.scene.kubectl(["get", "secret", "made", "-o", "jsonpath={.data}"]).stdout();
        assert_eq!(kept, r#"{"password":"eA=="}"#);
    });
}

#[test]
fn the_branch_that_is_followed_is_never_written_to_even_where_only_the_repository_says_which_it_is() {
    team_test(async |team| {
        team.repository.write("a.yaml", &instance("a", "7.0"));
        let head = team.repository.commit("A cache");
        let object = team.source_object(json!({ "audit": { "branch": "main" } }));
        let mut object = object;
        object.spec.ref_ = None;
        team.sources().create(&kube::api::PostParams::default(), &object).await.expect("it can be made");
        let message = team.says("AuditBranch").await;
        assert!(message.contains("the record would go to main, the branch that is followed"), "{message}");
        assert_eq!(team.repository.head(), head);
    });
}

#[test]
fn an_instance_in_a_namespace_that_is_not_there_says_what_to_do() {
    team_test(async |team| {
        let missing = format!("{}-missing", team.scene.namespace);
        team.repository.write(&format!("instances/{missing}/a.yaml"), &instance("a", "7.0"));
        team.repository.commit("Too early");
        team.follow(json!({ "namespaces": [missing] })).await;
        let message = team.becomes("NotAllApplied").await;
        assert!(message.contains("define the Namespace in the repository, or create it"), "{message}");
    });
}

#[test]
fn what_a_quota_or_a_namespace_that_goes_keeps_out_is_told_as_that_and_all_else_is_applied() {
    team_test(async |team| {
        let namespace = team.scene.namespace.clone();
        let going = format!("{namespace}-going");
        let kubectl = |args: &[&str]| team.scene.kubectl(args.iter().copied());
        kubectl(&["create", "namespace", &going]).stdout();
        // something in it keeps it from being gone at once
        kubectl(&["-n", &going, "create", "configmap", "held"]).stdout();
        let finalizers = |all: &str| format!(r#"{{"metadata":{{"finalizers":[{all}]}}}}"#);
        let hold = finalizers(r#""example.com/held""#);
        kubectl(&["-n", &going, "patch", "configmap", "held", "--type=merge", "-p", &hold]).stdout();
        kubectl(&["delete", "namespace", &going, "--wait=false"]).stdout();
        kubectl(&["create", "quota", "none", "--hard=count/configmaps=0"]).stdout();
        let used = r#"{"status":{"hard":{"count/configmaps":"0"},"used":{"count/configmaps":"0"}}}"#;
        kubectl(&["patch", "quota", "none", "--subresource=status", "--type=merge", "-p", used]).stdout();
        wait_for("the quota to be held", SOON, async || {
            let tried = kubectl(&["create", "configmap", "probe"]).output();
            if tried.stderr.contains("exceeded quota: none") {
                return Ok(());
            }
            kubectl(&["delete", "configmap", "probe", "--ignore-not-found"]).stdout();
            Err(tried)
        })
        .await;

        team.repository.write("a.yaml", &instance("a", "1"));
        team.repository.write("map.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: map}\ndata: {a: x}\n");
        team.repository.write(&format!("instances/{going}/b.yaml"), &instance("b", "1"));
        team.repository.commit("One has room");
        team.follow(json!({ "namespaces": [namespace, going] })).await;
        team.becomes("NotAllApplied").await;
        let errors = team.errors().await;
        let expected = [
            (
                format!(
                    "instances/{going}/b.yaml:1:1 not-applied: Instance {going}/b: the namespace is being deleted: "
                ),
                "because it is being terminated; wait until it is gone and make it anew, or take what belongs there out of it",
            ),
            (
                format!("map.yaml:1:1 not-applied: ConfigMap {namespace}/map: the namespace's quota is used up: "),
                "; free some of it or have it raised: kubectl describe resourcequota",
            ),
        ];
        assert_eq!(errors.len(), expected.len(), "{errors:#?}");
        for (begins, ends) in expected {
            let told = |error: &String| error.starts_with(&begins) && error.ends_with(ends);
            assert!(errors.iter().any(told), "{begins} … {ends}: {errors:#?}");
        }
        assert_eq!(team.running().await, ["a 1"]);
        kubectl(&["delete", "quota", "none"]).stdout();
        team.repository.remove(&format!("instances/{going}/b.yaml"));
        team.repository.commit("Not there");
        team.becomes("Applied").await;
        kubectl(&["-n", &going, "patch", "configmap", "held", "--type=merge", "-p", &finalizers("")]).stdout();
    });
}
