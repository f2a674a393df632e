//! `midship diff`: what changes, and what that means for pods.

use insta::assert_snapshot;
use serde_json::{Value, json};

use super::{seen, team};
use crate::api::git_source::repository::Repository;
use crate::harness::{Output, midship};

fn diff(repository: &Repository, args: &[&str]) -> Output {
    midship().arg("diff").args(args).arg(repository.path()).output()
}

/// The code it ends with, and what it tells programs.
fn value(repository: &Repository, args: &[&str]) -> (i32, Value) {
    let output = diff(repository, &[args, &["-o", "json"]].concat());
    (output.code, serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output}")))
}

/// What is said of an object that changes.
fn effects(value: &Value, object: &str) -> Vec<String> {
    let changes = value["changes"].as_array().expect("a list");
    let change = changes.iter().find(|change| change["object"] == object).unwrap_or_else(|| panic!("{value}"));
    let all = change["effects"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().map(|effect| effect.as_str().expect("a sentence").to_owned()).collect()
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
fn wrong_files_are_told_to_programs_and_in_comments_as_well() {
    let repository = team();
    edit(&repository, "type: redis", "type: [redis");
    let (code, told) = value(&repository, &[]);
    assert_eq!((code, &told["errors"][0]["path"]), (1, &Value::from("instances/shop/orders.yaml")), "{told}");
    let output = diff(&repository, &["-o", "markdown"]);
    let says = "\n**1 error: what these files would change is not shown, and what they defined before stays**\n\n- instances/shop/orders.yaml:";
    assert!(output.stdout.contains(says), "{output}");
    let (code, told) = value(&team(), &[]);
    assert_eq!((code, told["errors"].as_array().map(Vec::len)), (0, Some(0)), "{told}");
}

const SETTINGS: &str =
    "namespaces: {shop: {environment: production}}\nenvironments: {production: {deletionPolicy: Retain}}\n";

#[test]
fn what_the_settings_of_the_repository_change_is_a_change_of_its_instances() {
    let repository = team();
    repository.write("midship.yaml", SETTINGS);
    repository.commit("Say what is assumed");
    assert_eq!(value(&repository, &[]).0, 0);
    repository.write("midship.yaml", &SETTINGS.replace("Retain", "Delete"));
    let (code, told) = value(&repository, &[]);
    assert_eq!((code, told["changes"].as_array().map(Vec::len)), (2, Some(1)), "{told}");
    let lost = "from now on its volumes are deleted with it: the data is lost when it goes";
    assert!(effects(&told, "Instance shop/orders").iter().any(|effect| effect == lost), "{told}");
    let assumed = |side: &str| told["changes"][0][side]["midship.yaml"]["assumes"][0]["deletionPolicy"].clone();
    assert_eq!((assumed("before"), assumed("after")), (Value::from("Retain"), Value::from("Delete")), "{told}");
    // settings that say nothing of an instance change none
    repository.write("midship.yaml", &format!("{SETTINGS}prune: {{maxCount: 3}}\n"));
    assert_eq!(value(&repository, &[]).0, 0);
}

#[test]
fn settings_that_cannot_be_read_change_nothing_and_are_to_be_mended_first() {
    let repository = team();
    repository.write("midship.yaml", SETTINGS);
    repository.commit("Say what is assumed");
    repository.write("midship.yaml", ": [");
    let new = std::fs::read_to_string(repository.path().join("instances/shop/orders.yaml")).expect("it can be read");
    repository.write("instances/shop/new.yaml", &new.replace("name: orders", "name: new"));
    let remedy = "mend midship.yaml first: until it can be read, nothing is applied from a new file, nothing is deleted, \
                  and instances keep the settings they had";
    for args in [&[][..], &["--rendered"]] {
        let output = diff(&repository, args);
        assert_eq!(output.code, 1, "{output}");
        assert!(output.stdout.starts_with("0 to create, 0 to change, 0 to delete, "), "{output}");
        assert!(output.stderr.contains(remedy), "{output}");
    }
    let output = midship().arg("validate").arg(repository.path()).output();
    assert!(output.code == 1 && output.stderr.contains(remedy), "{output}");
}

#[test]
fn what_there_is_while_the_settings_cannot_be_read_is_not_told_as_nothing() {
    let repository = team();
    repository.write("midship.yaml", ": [");
    repository.commit("Break it");
    repository.write("midship.yaml", SETTINGS);
    let unknown = "what it means for pods is not known here: midship.yaml cannot be read";
    for args in [&[][..], &["--rendered"]] {
        let (code, told) = value(&repository, args);
        assert_eq!((code, told["changes"].as_array().map(Vec::len)), (2, Some(1)), "{told}");
        assert_eq!(effects(&told, "Instance shop/orders"), [unknown], "{told}");
    }
    let (_, told) = value(&repository, &[]);
    let assumed = |side: &str| told["changes"][0][side]["midship.yaml"].clone();
    assert_eq!(assumed("before"), json!({ "wrong": "midship.yaml cannot be read" }), "{told}");
    assert_eq!(assumed("after")["environment"], "production", "{told}");
    repository.remove("instances/shop/orders.yaml");
    let (code, told) = value(&repository, &["--rendered"]);
    assert_eq!((code, &told["changes"][0]["fate"]), (2, &Value::from("delete")), "{told}");
    assert_eq!(effects(&told, "Instance shop/orders"), [unknown], "{told}");
}

#[test]
fn what_a_suspended_instance_would_do_is_not_told_as_if_it_did() {
    let repository = team();
    edit(&repository, "spec:\n", "spec:\n  suspend: true\n");
    edit(&repository, "allkeys-lru", "allkeys-lfu");
    let (code, told) = value(&repository, &[]);
    assert_eq!(code, 2, "{told}");
    assert_eq!(effects(&told, "Instance shop/orders"), ["suspended: nothing is done until it is resumed"]);
}

const PACKAGE: &str = "extensions/redis/1.0.0";

#[test]
fn a_published_package_that_changes_is_told_as_refused() {
    let repository = team();
    let path = format!("{PACKAGE}/extension.yaml");
    let text = std::fs::read_to_string(repository.path().join(&path)).expect("it can be read");
    repository.write(&path, &format!("{text}# more\n"));
    let begin = "will be refused: an installed version never changes: it was installed as sha256:";
    let end = "; publish the change under a new version";
    for args in [&[][..], &["--rendered"]] {
        let (code, told) = value(&repository, args);
        let effects = effects(&told, "Extension redis-1.0.0");
        assert_eq!((code, effects.len()), (2, 1), "{told}");
        assert!(effects[0].starts_with(begin) && effects[0].ends_with(end), "{effects:?}");
    }
}

#[test]
fn a_package_that_goes_is_held_while_an_instance_uses_it() {
    let repository = team();
    std::fs::remove_dir_all(repository.path().join(PACKAGE)).expect("it is there");
    let (code, told) = value(&repository, &[]);
    assert_eq!(code, 2, "{told}");
    assert_eq!(effects(&told, "Extension redis-1.0.0"), ["will be held: shop/orders uses it"]);
    let because =
        "Extension redis-1.0.0 is not defined any more, and shop/orders uses it; it is deleted once nobody needs it";
    assert_eq!(told["heldBecause"], because, "{told}");
    let held = told["held"].as_array().map(Vec::as_slice).unwrap_or_default();
    assert_eq!(held, ["Extension redis-1.0.0"]);
}

#[test]
fn more_deletions_than_the_settings_allow_are_told_as_held_until_a_commit_agrees() {
    let repository = team();
    repository.write("midship.yaml", "prune: {maxCount: 0}\n");
    let base = repository.commit("Be careful");
    repository.remove("instances/shop/orders.yaml");
    let held = "held: 1 of 11 objects would be deleted, more than the 0 that the budget allows (prune.maxCount 0, \
                prune.maxPercent 30); to agree, push a commit with the trailer Midship-Allow-Deletions: 1, or raise the \
                budget; `midship plan` knows what the GitSource itself says of deletions\n";
    let output = diff(&repository, &[]);
    assert!(output.code == 2 && output.stdout.ends_with(held), "{output}");
    let (_, told) = value(&repository, &[]);
    let effects_of = |told: &Value| effects(told, "Instance shop/orders");
    let gone = "stops and removes 3 pods; their volumes stay";
    assert_eq!(effects_of(&told), ["will be held: its deletion waits", format!("once it is deleted: {gone}").as_str()]);
    repository.commit("Remove it\n\nMidship-Allow-Deletions: 1");
    let (code, told) = value(&repository, &["--base", &base, "--head", "HEAD"]);
    assert_eq!((code, effects_of(&told)), (2, vec![gone.to_owned()]), "{told}");
    assert!(told["heldBecause"].is_null(), "{told}");
}

#[test]
fn files_that_define_nothing_any_more_delete_nothing() {
    let repository = team();
    repository.write("midship.yaml", "ignore: [\"*\"]\n");
    let output = diff(&repository, &[]);
    assert!(output.stdout.contains("\nheld: the repository defines no object any more; an empty"), "{output}");
    assert!(output.stdout.contains("⇒ will be held: it goes with Extension redis-1.0.0\n"), "{output}");
}

#[test]
fn what_is_refused_keeps_the_objects_it_became_before() {
    let refused = "⇒ will be refused: spec.components[redis].parameters.maxmemory-policy";
    let unknown = "⇒ what it means for pods is not known here: there is no version 1.5.0 of the package redis";
    for (from, to, told) in [("allkeys-lru", "allkeys-lruu", refused), ("1.0.0", "1.5.0", unknown)] {
        let repository = team();
        edit(&repository, from, to);
        let output = diff(&repository, &["--rendered"]);
        assert_eq!(output.code, 2, "{output}");
        assert!(output.stdout.contains("\n0 to create, 1 to change, 0 to delete, "), "{output}");
        assert!(output.stdout.contains(told), "{output}");
        // and what was so before is no news
        repository.commit("Say so");
        assert_eq!(diff(&repository, &["--rendered"]).code, 0);
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
