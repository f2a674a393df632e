//! From push to applied.

use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::repository::instance;
use super::{SOON, team_test};
use crate::harness::wait_for;

#[test]
fn a_push_is_applied_and_the_next_one_too() {
    team_test(async |team| {
        team.repository.write("a.yaml", &instance("a", "7.0"));
        team.repository.write("b.yaml", &instance("b", "7.0"));
        team.repository.commit("Two caches");
        team.follow(json!({})).await;
        let message = team.becomes("Applied").await;
        assert!(message.ends_with(": 2 objects applied"), "{message}");
        team.has(&["a 7.0", "b 7.0"]).await;
        team.repository.write("b.yaml", &instance("b", "7.2"));
        let commit = team.repository.commit("Upgrade b");
        team.becomes("Applied").await;
        team.has(&["a 7.0", "b 7.2"]).await;
        let b = team.instances().get("b").await.expect("it is there");
        let annotations = b.metadata.annotations.expect("it says where it comes from");
        assert_eq!(annotations["midship.dev/source-path"], "b.yaml");
        assert_eq!(annotations["midship.dev/source-commit"], commit);
        let a = team.instances().get("a").await.expect("it is there");
        assert_ne!(
            a.metadata.annotations.expect("annotations")["midship.dev/source-commit"],
            commit,
            "a did not change"
        );
    });
}

#[test]
fn a_broken_file_is_told_by_line_and_stops_nothing_else() {
    team_test(async |team| {
        team.repository.write("a.yaml", &instance("a", "7.0"));
        team.repository.commit("A cache");
        team.follow(json!({})).await;
        team.becomes("Applied").await;
        team.repository.write("a.yaml", &instance("a", "7.0").replace("type:", "typ:"));
        team.repository.write("b.yaml", &instance("b", "7.0"));
        team.repository.write("c.yaml", "a: [");
        team.repository.commit("Break two files, add one");
        let message = team.becomes("InvalidFiles").await;
        assert!(
            message.contains("a.yaml:4:7: spec: type is missing") && message.contains("everything else is applied"),
            "{message}"
        );
        // what the broken file defined before stays
        team.has(&["a 7.0", "b 7.0"]).await;
        let errors = team.source().await.status.expect("a status").errors;
        let places: Vec<String> =
            errors.iter().map(|error| format!("{}:{:?} {}", error.path, error.line, error.code)).collect();
        assert_eq!(
            places,
            ["a.yaml:Some(4) missing-field", "a.yaml:Some(4) unknown-field", "c.yaml:Some(1) yaml-syntax"]
        );
        team.repository.write("a.yaml", &instance("a", "7.2"));
        team.repository.remove("c.yaml");
        team.repository.commit("Mend");
        team.becomes("Applied").await;
        team.has(&["a 7.2", "b 7.0"]).await;
        assert!(team.source().await.status.expect("a status").errors.is_empty());
    });
}

#[test]
fn what_somebody_changes_by_hand_is_changed_back() {
    team_test(async |team| {
        team.repository.write("a.yaml", &instance("a", "7.0"));
        team.repository.commit("A cache");
        team.follow(json!({})).await;
        team.has(&["a 7.0"]).await;
        team.scene.kubectl(["patch", "instance", "a", "--type=merge", "-p", r#"{"spec":{"version":"9.9"}}"#]).stdout();
        team.has(&["a 7.0"]).await;
        team.scene.kubectl(["delete", "instance", "a"]).stdout();
        team.has(&["a 7.0"]).await;
    });
}

#[test]
fn drift_is_only_reported_where_the_source_says_so() {
    team_test(async |team| {
        team.repository.write("a.yaml", &instance("a", "7.0"));
        team.repository.commit("A cache");
        team.follow(json!({ "drift": "Report" })).await;
        team.becomes("Applied").await;
        team.scene.kubectl(["patch", "instance", "a", "--type=merge", "-p", r#"{"spec":{"version":"9.9"}}"#]).stdout();
        let drifted = wait_for("the drift to be reported", SOON, async || {
            let status = team.source().await.status.unwrap_or_default();
            status.drifted.first().cloned().ok_or_else(|| format!("{status:#?}"))
        })
        .await;
        assert_eq!(drifted.object, format!("Instance {}/a", team.scene.namespace));
        assert_eq!(drifted.fields, [".spec.version"]);
        assert_eq!(team.running().await, ["a 9.9"]);
    });
}

#[test]
fn fields_of_another_manager_are_reported_by_name_and_not_taken() {
    team_test(async |team| {
        let theirs = json!({ "apiVersion": "midship.dev/v1alpha1", "kind": "Instance", "metadata": { "name": "a" },
            "spec": { "type": "cache", "extensionVersion": "1.0.0", "version": "1.1" } });
        let parameters = PatchParams::apply("somebody-else");
        team.instances().patch("a", &parameters, &Patch::Apply(&theirs)).await.expect("they apply it");
        team.repository.write("a.yaml", &instance("a", "7.0"));
        team.repository.commit("A cache");
        team.follow(json!({})).await;
        let message = team.becomes("NotAllApplied").await;
        assert!(message.contains("somebody-else") && message.contains(".spec.version"), "{message}");
        assert_eq!(team.running().await, ["a 1.1"]);
        team.patch_source(json!({ "spec": { "conflicts": "TakeOver" } })).await;
        team.has(&["a 7.0"]).await;
    });
}

#[test]
fn a_suspended_source_does_nothing_until_it_is_resumed() {
    team_test(async |team| {
        team.repository.write("a.yaml", &instance("a", "7.0"));
        team.repository.commit("A cache");
        team.follow(json!({ "suspend": true })).await;
        team.says("Suspended").await;
        assert!(team.running().await.is_empty());
        team.patch_source(json!({ "spec": { "suspend": false } })).await;
        team.has(&["a 7.0"]).await;
    });
}

#[test]
fn a_poll_without_news_writes_nothing() {
    team_test(async |team| {
        team.repository.write("a.yaml", &instance("a", "7.0"));
        team.repository.commit("A cache");
        team.follow(json!({})).await;
        team.becomes("Applied").await;
        team.recorded(1).await;
        let quiet = wait_for("the source to come to rest", SOON * 3, async || {
            let before = team.source().await.metadata.resource_version;
            let polls = team.polls();
            wait_for("three more polls", SOON, async || {
                let now = team.polls();
                if now >= polls + 3 { Ok(()) } else { Err(format!("{now}")) }
            })
            .await;
            let after = team.source().await.metadata.resource_version;
            if before == after { Ok(after) } else { Err(format!("{before:?} became {after:?}")) }
        })
        .await;
        assert!(quiet.is_some());
        assert_eq!(team.repository.audit().len(), 1);
    });
}
