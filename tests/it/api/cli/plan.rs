//! `midship plan` and `diff --live`: what a push would do, by the planner that does it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::run;
use crate::api::git_source::repository::{Repository, instance};
use crate::api::git_source::team::{Team, team_test};
use crate::harness::Output;
use crate::sops::Person;

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

fn secret(name: &str, password: &str) -> String {
    format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\nstringData: {{password: {password}}}\n")
}

#[test]
fn values_of_secrets_are_in_no_difference_and_no_plan() {
    team_test(async |team| {
        let (before, after) = ("correct-horse-battery", "yellow-horse-battery");
        let person = Person::new();
        let sealed = |name: &str, password: &str| {
            person.encrypt(&secret(name, password), "yaml", &["--encrypted-regex", "^(data|stringData)$"])
        };
        team.secret("keys", &[("main.agekey", &person.key_file())]).await;
        for name in ["plain", "gone"] {
            team.repository.write(&format!("secrets/{name}.yaml"), &secret(name, before));
        }
        for name in ["sealed", "same"] {
            team.repository.write(&format!("secrets/{name}.yaml"), &sealed(name, before));
        }
        team.repository.commit("Four secrets");
        team.follow(json!({ "decryption": { "name": "keys" } })).await;
        team.becomes("Applied").await;
        // what is in an encrypted file is not known here, and that it is the file that was applied is
        let quiet = plan(team, &["plan"]);
        assert!(quiet.code == 0 && quiet.stdout.ends_with("/main: 0 changes, 4 unchanged\n"), "{quiet}");
        assert!(quiet.stderr.contains("whether somebody changed 2 Secrets of encrypted files is not known"), "{quiet}");
        assert_eq!(plan(team, &["diff", "--live"]).code, 0);

        for name in ["plain", "new"] {
            team.repository.write(&format!("secrets/{name}.yaml"), &secret(name, after));
        }
        team.repository.write("secrets/sealed.yaml", &sealed("sealed", after));
        team.repository.remove("secrets/gone.yaml");
        for command in [&["diff"][..], &["diff", "--live"], &["plan"]] {
            for format in ["table", "markdown", "json", "yaml"] {
                let output = plan(team, &[command, &["-o", format]].concat());
                assert_eq!(output.code, 2, "{output}");
                let text = format!("{}{}", output.stdout, output.stderr);
                for name in ["plain", "sealed", "gone", "new"] {
                    assert!(text.contains(&format!("Secret {}/{name}", namespace(team, command))), "no {name}: {text}");
                }
                assert!(!text.contains("/same"), "{text}");
                for value in [before, after] {
                    let shown = text.contains(value) || text.contains(&STANDARD.encode(value));
                    assert!(!shown && !text.contains("horse"), "{value} is shown by {output}");
                }
            }
        }
    });
}

/// Where a command without a cluster, or with one, sees objects that name no namespace.
fn namespace<'a>(team: &'a Team<'_>, command: &[&str]) -> &'a str {
    if command == ["diff"] { "default" } else { &team.scene.namespace }
}

const RESTART: &str = "apiVersion: midship.dev/v1alpha1\nkind: Operation\nmetadata: {name: restart}\n\
                       spec: {instance: a, type: Restart, suspend: true, ttl: 1d}\n";

#[test]
fn what_would_be_refused_left_out_or_was_done_is_told() {
    team_test(async |team| {
        team.repository.write("a.yaml", &instance("a", "1"));
        team.repository.write("b.yaml", &instance("b", "1"));
        team.repository.write("operations/restart.yaml", RESTART);
        team.repository.commit("Two, and a restart");
        team.follow(json!({})).await;
        team.becomes("Applied").await;
        team.scene.kubectl(["delete", "operation", "restart"]).stdout();
        let output = plan(team, &["plan"]);
        assert_eq!(output.code, 0, "{output}");
        let done = output.stdout.lines().find(|line| line.starts_with("done"));
        assert!(done.is_some_and(|line| line.contains("an operation is done once")), "{output}");

        team.repository.write("operations/restart.yaml", &RESTART.replace("1d", "2d"));
        team.scene.kubectl(["create", "secret", "generic", "made", "--from-literal=password=x"]).stdout();
        team.scene.kubectl(["label", "secret", "made", "midship.dev/instance=a"]).stdout();
        let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: made}\nstringData: {key: stolen}\n";
        team.repository.write("made.yaml", secret);
        team.repository.write("midship.yaml", "ignore: [/b.yaml]\nprune: {maxCount: 0}\n");
        let output = plan(team, &["plan", "-o", "json"]);
        assert_eq!(output.code, 1, "{output}");
        let value: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
        let refused = value["refused"].as_array().expect("a list");
        assert_eq!(refused.len(), 2, "{output}");
        assert!(refused[0]["why"].as_str().is_some_and(|why| why.contains("Midship made this Secret")), "{output}");
        assert!(refused[1]["why"].as_str().is_some_and(|why| why.contains("a name of its own")), "{output}");
        // what the repository itself says of deletions counts as well
        let because = value["heldBecause"].as_str().unwrap_or_default();
        assert!(because.contains("b.yaml is ignored by midship.yaml:1"), "{output}");
        let output = plan(team, &["plan", "-o", "markdown"]);
        assert!(output.stdout.contains("| refuse | Secret "), "{output}");
        assert!(output.stderr.contains("2 objects would be refused"), "{output}");
        let output = plan(team, &["diff", "--live"]);
        assert!(output.stdout.contains("b.yaml is ignored by midship.yaml:1"), "{output}");
    });
}

#[test]
fn a_commit_that_would_be_held_as_a_whole_says_why() {
    team_test(async |team| {
        let ann = Repository::ssh_key("ann");
        team.trusts("ann", &ann).await;
        team.repository.write("a.yaml", &instance("a", "1"));
        let first = team.repository.commit_signed("Signed", &ann);
        team.follow(json!({ "requireFastForward": true, "verification": { "signers": { "name": "signers" } } })).await;
        team.becomes("Applied").await;
        let output = plan(team, &["plan", "--revision", "HEAD"]);
        assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output}");

        team.repository.write("a.yaml", &instance("a", "2"));
        let output = plan(team, &["plan"]);
        assert_eq!(output.code, 2, "{output}");
        assert!(
            output.stderr.contains("note: only what somebody trusted signed is applied: sign the commit"),
            "{output}"
        );
        let unsigned = team.repository.commit("Not signed");
        let output = plan(team, &["plan", "--revision", "HEAD"]);
        assert_eq!(output.code, 1, "{output}");
        assert!(output.stdout.contains(&format!("not applied: commit {unsigned} is not signed")), "{output}");
        assert!(output.stderr.contains("nothing of this would be applied as it is"), "{output}");

        team.repository.git(&["checkout", "-q", "--orphan", "other", &first]);
        team.repository.commit_signed("Another history", &ann);
        team.patch_source(json!({ "spec": { "suspend": true } })).await;
        let output = plan(team, &["plan", "--revision", "other", "-o", "json"]);
        assert_eq!(output.code, 1, "{output}");
        let value: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
        let blocked = value["blocked"].to_string();
        assert!(blocked.contains("does not follow from the applied commit"), "{output}");
        assert!(blocked.contains("the source is suspended"), "{output}");
        team.repository.git(&["checkout", "-q", "main"]);
    });
}

#[test]
fn a_plan_that_nobody_reads_is_no_defect() {
    team_test(async |team| {
        team.follow(json!({})).await;
        team.becomes("Applied").await;
        team.repository.write("a.yaml", &instance("a", "1"));
        let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").expect("it is there");
        let command = |args: &[&str]| {
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_midship"));
            command.args(args).arg(team.repository.path()).env("KUBECONFIG", team.scene.kubeconfig());
            command
        };
        for args in [&["plan"][..], &["plan", "-o", "json"], &["diff", "--live"]] {
            let output = command(args).stdout(full()).output().expect("it runs");
            assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
            assert!(String::from_utf8_lossy(&output.stderr).contains("the result cannot be written"), "{output:?}");
            let (reader, writer) = std::io::pipe().expect("a pipe");
            drop(reader);
            let output = command(args).stdout(writer).stderr(full()).output().expect("it runs");
            assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
        }
    });
}
