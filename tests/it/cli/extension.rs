//! `midship extension` on packages on disk.

use std::path::Path;

use insta::assert_snapshot;

use super::seen;
use crate::harness::midship;

fn shipped(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("extensions").join(path).display().to_string()
}

/// A folder with a package that was just begun.
fn begun(folder: &Path) -> String {
    midship().args(["extension", "new", "broker", "--to"]).arg(folder).stdout();
    folder.join("broker/0.1.0").display().to_string()
}

#[test]
fn a_new_package_is_right_and_passes_its_test() {
    let folder = tempfile::tempdir().expect("a folder");
    let package = begun(folder.path());
    let all = folder.path().display().to_string();
    assert_eq!(midship().args(["extension", "lint", &all]).stdout(), "all is well: 1 package\n");
    let tested = midship().args(["extension", "test", &package]).stdout();
    assert!(tested.contains("ok        connections are in the configuration file"), "{tested}");
    let again = midship().args(["extension", "new", "broker", "--to", &all]).output();
    assert_eq!(again.code, 1, "{again}");
    assert!(again.stderr.contains("there is a package of this name already"), "{again}");
}

#[test]
fn a_mistake_in_a_package_is_told_with_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let package = begun(folder.path());
    let manifest = Path::new(&package).join("extension.yaml");
    let text = std::fs::read_to_string(&manifest).expect("it can be read");
    std::fs::write(&manifest, text.replace("type: integer", "type: integr")).expect("it can be written");
    assert_snapshot!("lint", seen(&midship().args(["extension", "lint", &package]).output(), folder.path()));
    assert_snapshot!("wrong-package", seen(&midship().args(["extension", "test", &package]).output(), folder.path()));
    let json = midship().args(["extension", "lint", &package, "-o", "json"]).output();
    let value: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!((json.code, &value["errors"][0]["line"]), (1, &serde_json::json!(20)), "{json}");
}

#[test]
fn a_test_that_fails_says_what_was_expected() {
    let folder = tempfile::tempdir().expect("a folder");
    let package = begun(folder.path());
    let cases = Path::new(&package).join("tests/render.yaml");
    let text = std::fs::read_to_string(&cases).expect("it can be read");
    std::fs::write(&cases, text.replace("connections = 7]", "connections = 8]")).expect("it can be written");
    assert_snapshot!(seen(&midship().args(["extension", "test", &package]).output(), folder.path()));
    let nothing = midship().args(["extension", "test", &package, "--filter", "nothing like it"]).complaint();
    assert!(nothing.contains("no test has the words"), "{nothing}");
}

#[test]
fn a_folder_without_packages_says_what_to_do() {
    let run = midship();
    let home = run.home().to_owned();
    assert_snapshot!(seen(&run.args(["extension", "lint"]).output(), &home));
}

#[test]
fn packages_are_listed_searched_and_compared() {
    let list = midship().args(["extension", "list", &shipped("")]).stdout();
    assert!(list.lines().any(|line| line.starts_with("redis        1.1.0")), "{list}");
    let found = midship().args(["extension", "list", &shipped(""), "--search", "relational", "-o", "json"]).stdout();
    let found: serde_json::Value = serde_json::from_str(&found).expect("JSON");
    assert!(found.as_array().expect("a list").iter().all(|one| one["type"] == "postgresql"), "{found}");

    let diff = midship().args(["extension", "diff", &shipped("redis/1.0.0"), &shipped("redis/1.1.0")]).output();
    assert_eq!(diff.code, 2, "{diff}");
    assert!(diff.stdout.contains("+ upgrade 8.0 to 8.2: and back\n"), "{diff}");
    let same = midship().args(["extension", "diff", &shipped("redis/1.0.0"), &shipped("redis/1.0.0")]).output();
    assert_eq!((same.code, same.stdout.as_str()), (0, "redis-1.0.0 to redis-1.0.0: 0 differences\n"));
}

#[test]
fn a_page_explains_every_parameter() {
    let page = midship().args(["extension", "show", &shipped("redis/1.1.0")]).stdout();
    assert!(page.starts_with("Redis 1.1.0 (sha256:"), "{page}");
    assert!(page.contains("\n  maxmemory-policy  string, default noeviction, change: reload."), "{page}");
    let manifest = midship().args(["extension", "show", &shipped("redis/1.1.0"), "-o", "json"]).stdout();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).expect("JSON");
    assert_eq!(manifest["type"], "redis");
}

#[test]
fn what_installing_would_make_can_be_seen_without_a_cluster() {
    let args = ["extension", "install", &shipped("memcached/1.0.0"), "--dry-run", "-o", "json"];
    let list: serde_json::Value = serde_json::from_str(&midship().args(args).stdout()).expect("JSON");
    let kinds: Vec<&str> =
        list["items"].as_array().expect("a list").iter().filter_map(|item| item["kind"].as_str()).collect();
    assert_eq!(kinds, ["ConfigMap", "Extension"]);
    assert_eq!(list["items"][0]["immutable"], true);
    assert_eq!(list["items"][1]["metadata"]["name"], "memcached-1.0.0");
}
