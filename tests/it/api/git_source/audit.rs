//! The audit branch: what happened, once each, and nothing secret.

use serde_json::{Value, json};

use super::repository::instance;
use super::{SOON, team_test};
use crate::harness::wait_for;

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
        assert_eq!(record["actions"].as_array().map(Vec::len), Some(2));
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
fn a_record_that_cannot_be_pushed_waits_and_stops_nothing() {
    team_test(async |team| {
        let elsewhere = super::repository::Repository::new();
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
