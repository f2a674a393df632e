//! `midship history`, `blame`, `audit verify`, `rollback`, `sync`, `suspend` and `resume` with a controller at work.

use serde_json::json;

use super::{on, run};
use crate::api::git_source::repository::instance;
use crate::api::git_source::team::team_test;

#[test]
fn the_record_tells_what_happened_and_holds_against_tampering() {
    team_test(async |team| {
        team.repository.write("instances/a.yaml", &instance("a", "7.0"));
        let first = team.repository.commit("Begin with a");
        team.follow(json!({})).await;
        team.recorded(1).await;
        team.repository.write("instances/a.yaml", &instance("a", "7.2"));
        let second = team.repository.commit("Newer");
        team.recorded(2).await;

        let history = run(team.scene, &["history", "inst/a"]);
        assert_eq!(history.code, 0, "{history}");
        let text = &history.stdout;
        assert!(text.contains("spec.version: 7.0 → 7.2") && text.contains("Ada Lovelace"), "{history}");
        assert!(text.find(&second[..10]) < text.find(&first[..10]), "the newest is first: {history}");
        let json = run(team.scene, &["history", "a", "-o", "json", "--limit", "1"]).stdout;
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!((&json[0]["action"], &json[0]["commit"]), (&json!("Update"), &json!(second)));
        let nothing = run(team.scene, &["history", "inst/b"]);
        assert!(nothing.stderr.contains("the record tells nothing of Instance b"), "{nothing}");

        let blame = run(team.scene, &["blame", "inst/a"]);
        assert!(
            blame.stdout.lines().any(|line| line.starts_with("spec.version") && line.contains(&second[..10])),
            "{blame}"
        );

        let verified = run(team.scene, &["audit", "verify"]);
        assert!(verified.stdout.starts_with("all is well: 2 commits on midship/audit/test"), "{verified}");
        let as_json = |args: &[&str]| -> serde_json::Value {
            let output = run(team.scene, &[args, &["-o", "json"]].concat());
            serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output}"))
        };
        let told = as_json(&["audit", "verify"]);
        assert_eq!((&told["commits"], &told["problems"]), (&json!(2), &json!([])), "{told}");
        let told = as_json(&["blame", "inst/a"]);
        let version = told.as_array().and_then(|all| all.iter().find(|one| one["field"] == "spec.version"));
        let version = version.unwrap_or_else(|| panic!("{told}"));
        assert_eq!((&version["path"], &version["line"]), (&json!("instances/a.yaml"), &json!(4)), "{told}");
        assert_eq!(version["commit"], second.as_str(), "{told}");
        let markdown = |args: &[&str]| run(team.scene, &[args, &["-o", "markdown"]].concat()).stdout;
        let text = markdown(&["audit", "verify"]);
        assert!(text.starts_with("all is well: 2 commits on "), "no empty table: {text}");
        let text = markdown(&["history", "inst/a"]);
        assert!(text.starts_with("| WHEN | WHAT | COMMIT | BY | CHANGE |\n| --- |"), "{text}");
        assert!(text.contains("| Ada Lovelace | spec.version: 7.0 → 7.2 |\n"), "{text}");
        let text = markdown(&["blame", "inst/a"]);
        assert!(text.contains(&format!("| spec.version | 7.2 | instances/a.yaml:4 | {} |", &second[..10])), "{text}");
        // somebody rewrites what was recorded
        team.repository.git(&["checkout", "-q", "midship/audit/test"]);
        let record = format!("{}/main/record.json", team.scene.namespace);
        let told = std::fs::read_to_string(team.repository.path().join(&record)).expect("a record");
        team.repository.write(&record, &told.replace("Ada Lovelace", "Nobody"));
        team.repository.git(&["commit", "-q", "-a", "--amend", "--no-edit"]);
        team.repository.git(&["checkout", "-q", "main"]);
        let tampered = run(team.scene, &["audit", "verify"]);
        assert_eq!(tampered.code, 1, "{tampered}");
        assert!(tampered.stdout.contains("record.json is not what was recorded"), "{tampered}");
        assert!(tampered.stdout.contains("history was rewritten or cut off"), "{tampered}");
        let problems = as_json(&["audit", "verify"])["problems"].as_array().map_or(0, Vec::len);
        assert!(problems >= 2, "{tampered}");
    });
}

#[test]
fn rollback_makes_a_branch_that_takes_effect_once_it_is_merged() {
    team_test(async |team| {
        team.repository.write("instances/a.yaml", &instance("a", "7.0"));
        let first = team.repository.commit("Begin with a");
        team.follow(json!({})).await;
        team.has(&["a 7.0"]).await;
        team.repository.write("instances/a.yaml", &instance("a", "7.2"));
        team.repository.commit("Newer");
        team.has(&["a 7.2"]).await;
        let args =
            ["rollback", "inst/a", "--to", &first, "--author", "Grace Hopper <grace@example.com>", "--on", "back"];
        let output = run(team.scene, &args);
        assert_eq!(output.code, 2, "{output}");
        assert_eq!(team.running().await, ["a 7.2"], "nothing has changed yet");
        team.repository.git(&["merge", "-q", "--ff-only", "back"]);
        team.has(&["a 7.0"]).await;
    });
}

#[test]
fn a_source_is_asked_waited_for_suspended_and_resumed() {
    team_test(async |team| {
        team.follow(json!({ "interval": "1h" })).await;
        team.becomes("Applied").await;
        team.repository.write("instances/a.yaml", &instance("a", "7.0"));
        let commit = team.repository.commit("Begin with a");
        let output = run(team.scene, &["sync", "source/main", "--commit", &commit]);
        assert_eq!(output.code, 0, "{output}");
        team.has(&["a 7.0"]).await;

        team.repository.write("instances/a.yaml", &instance("a", "7.2"));
        team.repository.commit("Newer");
        let output = run(team.scene, &["sync"]);
        assert_eq!(output.code, 0, "{output}");
        assert!(
            output.stdout.contains(&format!("main@{}: 1 object applied", &team.repository.head()[..10])),
            "{output}"
        );
        assert_eq!(team.running().await, ["a 7.2"], "it waited until that was done");
        team.repository.write("bad.yaml", "a: [");
        team.repository.commit("A mistake");
        let output = run(team.scene, &["sync", "main"]);
        assert_eq!(output.code, 1, "{output}");
        assert!(
            output.stderr.contains("looked at, but not all is well") && output.stderr.contains("bad.yaml:1:"),
            "{output}"
        );
        team.repository.remove("bad.yaml");
        team.repository.commit("Mended");
        assert!(run(team.scene, &["sync", "main", "--no-wait"]).stdout.starts_with("asked "));

        let output = run(team.scene, &["suspend", "main"]);
        assert_eq!((output.code, output.stdout.as_str()), (0, "GitSource main is suspended\n"), "{output}");
        team.says("Suspended").await;
        assert!(run(team.scene, &["sync", "main"]).stderr.contains("midship resume source/main"));
        let output = run(team.scene, &["suspend", "inst/a"]);
        assert_eq!(output.code, 1, "{output}");
        assert!(output.stderr.contains("instances/a.yaml of the source"), "{output}");
        assert_eq!(run(team.scene, &["resume", "main"]).stdout, "GitSource main is going on\n");
        team.says("Applied").await;
        let never = on(team.scene).args(["sync", "main", "--commit", "0000000", "--timeout", "1"]).complaint();
        assert!(never.contains("0000000 was not applied within 1 s"), "{never}");
    });
}
