//! `midship plan` and `diff --live`: what a push would do, by the planner that does it.

use serde_json::json;

use super::run;
use crate::api::git_source::repository::instance;
use crate::api::git_source::team::{Team, team_test};
use crate::harness::Output;

fn plan(team: &Team<'_>, args: &[&str]) -> Output {
    let path = team.repository.path().display().to_string();
    run(team.scene, &[args, &[&path]].concat())
}

#[test]
fn the_plan_says_what_a_push_will_do_and_nothing_is_left_afterwards() {
    team_test(async |team| {
        team.follow(json!({})).await;
        team.becomes("Applied").await;
        team.repository.write("instances/a.yaml", &instance("a", "7.0"));
        team.repository.write("instances/b.yaml", &instance("b", "7.0"));
        let before = plan(team, &["plan"]);
        assert_eq!(before.code, 2, "{before}");
        assert!(before.stdout.contains("instances/a.yaml defines it"), "{before}");
        assert!(before.stdout.ends_with("/main: 2 changes, 0 unchanged\n"), "{before}");

        team.repository.commit("Two");
        team.has(&["a 7.0", "b 7.0"]).await;
        let after = plan(team, &["plan"]);
        assert_eq!(after.code, 0, "{after}");
        assert!(after.stdout.ends_with("/main: 0 changes, 2 unchanged\n"), "{after}");
        assert_eq!(plan(team, &["diff", "--live"]).code, 0);

        team.repository.write("instances/a.yaml", &instance("a", "7.2"));
        team.repository.remove("instances/b.yaml");
        let output = plan(team, &["diff", "--live"]);
        assert_eq!(output.code, 2, "{output}");
        assert!(
            output.stdout.contains("-   version: \"7.0\"") && output.stdout.contains("+   version: \"7.2\""),
            "{output}"
        );
        assert!(output.stdout.contains(&format!("delete Instance {}/b", team.scene.namespace)), "{output}");
        let output = plan(team, &["plan", "-o", "json"]);
        let value: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
        let actions: Vec<_> =
            value["actions"].as_array().expect("a list").iter().map(|one| one["action"].clone()).collect();
        assert_eq!(actions, ["update", "delete"], "{output}");
        let committed = plan(team, &["plan", "--revision", "HEAD"]);
        assert_eq!(committed.code, 0, "{committed}");
    });
}

#[test]
fn files_that_are_wrong_are_no_plan() {
    team_test(async |team| {
        team.follow(json!({})).await;
        team.repository.write("instances/a.yaml", "kind: [");
        let output = plan(team, &["plan"]);
        assert_eq!(output.code, 1, "{output}");
        assert!(output.stderr.contains("where: instances/a.yaml:1:"), "{output}");
        // what only the source knows is told as well
        team.repository
            .write("instances/a.yaml", &instance("a", "7.0").replace("name: a", "name: a, namespace: elsewhere"));
        for command in [&["plan"][..], &["diff", "--live"]] {
            let output = plan(team, command);
            assert_eq!(output.code, 1, "{output}");
            let refused = "where: instances/a.yaml:3:32: metadata.namespace: this source may not write to the namespace elsewhere";
            assert!(output.stderr.contains(refused), "{output}");
        }
        let output = plan(team, &["plan", "--source", "mian"]);
        assert!(output.stderr.contains("there is no GitSource \"mian\"; did you mean \"main\"?"), "{output}");
    });
}
