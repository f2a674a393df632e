//! `midship diff`: what changes, and what that means for pods.

use insta::assert_snapshot;

use super::{seen, team};
use crate::api::git_source::repository::Repository;
use crate::harness::{Output, midship};

fn diff(repository: &Repository, args: &[&str]) -> Output {
    midship().arg("diff").args(args).arg(repository.path()).output()
}

/// Changes the instance's file.
fn edit(repository: &Repository, from: &str, to: &str) {
    let path = "instances/shop/orders.yaml";
    let text = std::fs::read_to_string(repository.path().join(path)).expect("it can be read");
    assert!(text.contains(from), "{text}");
    repository.write(path, &text.replace(from, to));
}

#[test]
fn a_change_says_what_it_means_for_pods() {
    let repository = team();
    edit(&repository, "allkeys-lru", "allkeys-lru, databases: 32");
    assert_snapshot!("restart", seen(&diff(&repository, &[]), repository.path()));
    assert_snapshot!("restart-markdown", seen(&diff(&repository, &["-o", "markdown"]), repository.path()));
}

#[test]
fn a_change_that_will_be_refused_says_so_before_it_is_pushed() {
    let repository = team();
    edit(&repository, "version: \"7.0\"", "version: \"8.0\"");
    let output = diff(&repository, &["-o", "json"]);
    let value: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
    let effect = value["changes"][0]["effects"][0].as_str().expect("a sentence");
    assert!(effect.starts_with("will be refused: spec.version: 7.0 to 8.0 is 3 steps"), "{effect}");
    assert_eq!(output.code, 2, "{output}");
}

#[test]
fn two_commits_are_compared_whatever_the_files_are_now() {
    let repository = team();
    let base = repository.head();
    edit(&repository, "replicas: 3", "replicas: 5");
    let head = repository.commit("Grow");
    edit(&repository, "type: redis", "type: [redis");
    let between = |base: &str, head: &str| {
        let output = diff(&repository, &["--base", base, "--head", head, "-o", "json"]);
        let value: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
        (output.code, value)
    };
    for (base, head, before, after) in [(&base, &head, 3, 5), (&head, &base, 5, 3)] {
        let (code, value) = between(base, head);
        let change = &value["changes"][0];
        assert_eq!((code, value["changes"].as_array().map(Vec::len)), (2, Some(1)), "{value}");
        assert!(change["object"] == "Instance shop/orders" && change["fate"] == "update", "{value}");
        let replicas = |side: &str| change[side]["spec"]["components"][0]["replicas"].as_i64();
        assert_eq!((replicas("before"), replicas("after")), (Some(before), Some(after)), "{value}");
        assert!(change["effects"][0].is_string() && value["unchanged"].as_u64() > Some(0), "{value}");
    }
    let (code, value) = between(&head, &head);
    assert_eq!((code, value["changes"].as_array().map(Vec::len)), (0, Some(0)), "{value}");
}

#[test]
fn without_the_package_nothing_is_claimed_about_pods() {
    let repository = team();
    edit(&repository, "type: redis", "type: unheard");
    let output = diff(&repository, &[]);
    assert!(output.stdout.contains("what it means for pods is not known here: no package"), "{output}");
}

#[test]
fn a_broken_file_is_an_error_and_never_shown_as_a_deletion() {
    let repository = team();
    edit(&repository, "type: redis", "type: [redis");
    for args in [&[][..], &["--rendered"]] {
        let output = diff(&repository, args);
        assert_eq!(output.code, 1, "{output}");
        assert!(output.stdout.starts_with("0 to create, 0 to change, 0 to delete, "), "{output}");
        assert!(output.stderr.contains("what they defined before stays"), "{output}");
    }
}

#[test]
fn rendered_objects_can_be_compared() {
    let repository = team();
    edit(&repository, "allkeys-lru", "allkeys-lfu");
    let output = diff(&repository, &["--rendered"]);
    assert_eq!(output.code, 2, "{output}");
    assert!(output.stdout.contains("change ConfigMap shop/orders-redis-config"), "{output}");
    assert!(output.stdout.contains('+') && output.stdout.contains("allkeys-lfu"), "{output}");
    assert_eq!(diff(&repository, &["--rendered", "--head", "HEAD"]).code, 0);
}
