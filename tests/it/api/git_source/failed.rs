//! What failed and where: the audit branch and the status tell it, once each time it changes.

use std::time::Instant;

use serde_json::{Value, json};

use super::repository::instance;
use super::{SOON, Team, team_test};
use crate::harness::wait_for;

fn failures(team: &Team<'_>) -> Vec<Value> {
    let file = format!("midship/audit/test:{}/main/failed.json", team.scene.namespace);
    let told = crate::harness::Run::new("git").arg("-C").arg(team.repository.path()).args(["show", &file]).output();
    serde_json::from_str(&told.stdout).unwrap_or_default()
}

#[test]
fn the_record_tells_what_failed_and_where_once_for_each_change_of_it() {
    team_test(async |team| {
        let missing = format!("{}-missing", team.scene.namespace);
        let (nowhere, broken) = (format!("instances/{missing}/b.yaml"), "broken.yaml");
        team.repository.write("a.yaml", &instance("a", "1"));
        team.repository.write(&nowhere, &instance("b", "1"));
        team.repository.commit("One good, one too early");
        team.follow(json!({ "namespaces": [missing, team.scene.namespace] })).await;
        let audit = team.recorded(1).await;
        assert!(audit[0].contains(": 1 created, 1 failed\n"), "{}", audit[0]);
        assert!(audit[0].contains(&format!("Failed:\n- {nowhere}:1:1: Instance {missing}/b: ")), "{}", audit[0]);
        assert!(audit[0].contains("Midship-Result: partly applied"), "{}", audit[0]);
        let told = failures(team);
        assert_eq!(told.len(), 1, "{told:#?}");
        assert_eq!(told[0]["object"], format!("Instance {missing}/b"));
        assert_eq!((&told[0]["path"], &told[0]["code"]), (&json!(nowhere), &json!("not-applied")));

        // nothing is applied by this, and it fails: that is told as well
        team.repository.write(broken, "kind: [\n");
        team.repository.commit("A file with a mistake");
        let audit = team.recorded(2).await;
        assert!(audit[1].contains(": 2 failed\n") && audit[1].contains("\n- broken.yaml:"), "{}", audit[1]);

        // it is tried again and again, by another controller too, and is no news
        let before = team.polls();
        wait_for("it to be tried again", SOON, async || {
            let now = team.polls();
            if now >= before + 3 { Ok(()) } else { Err(format!("{now}")) }
        })
        .await;
        team.controller.signal(nix::sys::signal::Signal::SIGKILL);
        team.controller.exit(SOON).await;
        team.start_again();
        team.repository.remove(broken);
        team.repository.remove(&nowhere);
        team.repository.commit("Mended");
        team.becomes("Applied").await;
        let audit = team.recorded(3).await;
        assert!(audit[2].contains(": record what is applied\n") && !audit[2].contains("Failed:"), "{}", audit[2]);
        assert_eq!(failures(team), Vec::<Value>::new());
        team.repository.git(&["fsck", "--strict"]);
    });
}

#[test]
fn the_log_and_kubectl_alone_tell_what_is_applied_since_when_by_whom_and_what_failed_where() {
    team_test(async |team| {
        team.repository.write("a.yaml", &instance("a", "7.0"));
        let first = team.repository.commit("A cache");
        team.follow(json!({})).await;
        team.recorded(1).await;
        let before = Instant::now();
        team.repository.write("a.yaml", &instance("a", "7.2"));
        team.repository.write("c.yaml", &instance("c", "7.0").replace("\"}", "\", topolgy: x}"));
        team.repository.git(&["add", "-A"]);
        team.repository.git(&["commit", "-q", "--author", "Bob <bob@example.com>", "-m", "Upgrade a, try c"]);
        let second = team.repository.head();
        team.becomes("InvalidFiles").await;
        team.recorded(2).await;
        let seen = |kubectl: &[&str]| team.scene.kubectl(kubectl.iter().copied()).stdout();
        let log = || team.repository.git(&["log", "midship/audit/test"]);

        let table = seen(&["get", "gs"]);
        let row: Vec<&str> = table.lines().nth(1).unwrap_or_default().split_whitespace().collect();
        let [_, ready, applied, synced, reason, _] = row[..] else { panic!("{table}") };
        let what = format!("main@{}", &second[..10]);
        assert_eq!((ready, applied, reason), ("False", what.as_str(), "InvalidFiles"), "{table}");
        let since = synced.strip_suffix('s').and_then(|seconds| seconds.parse().ok());
        assert!(since.is_some_and(|since: u64| since <= before.elapsed().as_secs() + 1), "{table}");
        let place = "c.yaml:4:62: spec.topolgy: unknown field";
        let wide = seen(&["get", "gs", "-o", "wide"]);
        assert!(wide.contains(&format!("{what}: {place}")) && wide.contains("everything else is applied"), "{wide}");

        let log_text = log();
        let [newest, oldest] = log_text.split("\ncommit ").collect::<Vec<_>>()[..] else { panic!("{log_text}") };
        let namespace = &team.scene.namespace;
        for said in [
            "Author: Bob <bob@example.com>",
            &format!("    {what}: 1 updated, 1 failed"),
            "    Upgrade a, try c (Bob)",
            &format!("    - Update Instance {namespace}/a"),
            &format!("    Failed:\n    - {place}"),
        ] {
            assert!(newest.contains(said), "{said:?} is not in {newest}");
        }
        assert!(oldest.contains("Author: Ada Lovelace") && !oldest.contains("Failed:"), "{oldest}");
        assert!(oldest.contains(&format!("    main@{}: 1 created", &first[..10])), "{oldest}");

        team.repository.write("c.yaml", &instance("c", "7.0"));
        let third = team.repository.commit("Mend c");
        team.becomes("Applied").await;
        team.recorded(3).await;
        let what = format!("main@{}", &third[..10]);
        let table = seen(&["get", "gs"]);
        assert!(table.contains(&format!("   {what}   ")) && table.contains("   True   "), "{table}");
        let log_text = log();
        let newest = log_text.split("\ncommit ").next().unwrap_or_default();
        assert!(newest.contains(&format!("    {what}: 1 created\n")) && !newest.contains("Failed:"), "{newest}");
    });
}

#[test]
fn deletions_that_wait_stand_in_the_record() {
    team_test(async |team| {
        for name in ["a", "b", "c"] {
            team.repository.write(&format!("{name}.yaml"), &instance(name, "1"));
        }
        team.repository.commit("Three");
        team.follow(json!({ "prune": { "maxCount": 1, "maxPercent": 100 } })).await;
        team.recorded(1).await;
        for name in ["a", "b"] {
            team.repository.remove(&format!("{name}.yaml"));
        }
        team.repository.commit("Drop two");
        let audit = team.recorded(2).await;
        assert!(audit[1].contains(": 2 held\n"), "{}", audit[1]);
        assert!(
            audit[1].contains("Held:\n- Instance ") && audit[1].contains("Midship-Allow-Deletions: 2"),
            "{}",
            audit[1]
        );
        assert!(audit[1].contains("Midship-Result: applied"), "{}", audit[1]);
    });
}

#[test]
fn what_is_asked_for_and_not_built_is_told() {
    team_test(async |team| {
        team.repository.write("a.yaml", &instance("a", "1"));
        team.repository.commit("A cache");
        team.follow(json!({ "forge": { "provider": "GitHub", "credentials": { "name": "forge" } } })).await;
        team.becomes("Applied").await;
        let told = team.scene.kubectl([
            "get",
            "gs",
            "main",
            "-o",
            "jsonpath={.status.conditions[?(@.type==\"ForgeReports\")].reason}",
        ]);
        assert_eq!(told.stdout(), "NotBuilt");
    });
}
