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
fn a_wrong_package_hides_none_of_those_beside_it() {
    let folder = tempfile::tempdir().expect("a folder");
    begun(folder.path());
    midship().args(["extension", "new", "alpha", "--to"]).arg(folder.path()).stdout();
    let manifest = folder.path().join("alpha/0.1.0/extension.yaml");
    let text = std::fs::read_to_string(&manifest).expect("it can be read");
    std::fs::write(&manifest, text.replace("type: integer", "type: integr")).expect("it can be written");
    let all = folder.path().display().to_string();
    let run = |args: &[&str]| midship().arg("extension").args(args).arg(&all).output();
    let wrong = format!("error: the package is wrong in 1 place\n  where: {}:20:27: ", manifest.display());
    let listed = run(&["list"]);
    assert!(listed.code == 1 && listed.stderr.starts_with(&wrong), "{listed}");
    assert!(listed.stdout.contains("\nbroker   0.1.0"), "{listed}");
    let tested = run(&["test"]);
    assert!(tested.code == 1 && tested.stderr.starts_with(&wrong), "{tested}");
    assert!(tested.stdout.contains("ok        connections are in the configuration file"), "{tested}");
    for (command, field) in [("list", "version"), ("test", "passed")] {
        let output = run(&[command, "-o", "json"]);
        let value: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
        let entries = value.as_array().expect("a list");
        assert!(output.code == 1 && entries.iter().any(|one| !one[field].is_null()), "{output}");
        let told = entries.iter().find(|one| one["errors"].is_array()).expect("the wrong one");
        assert_eq!(told["path"], folder.path().join("alpha/0.1.0").display().to_string(), "{output}");
        let place = format!("{}:20:27: ", manifest.display());
        assert!(told["errors"][0].as_str().is_some_and(|error| error.starts_with(&place)), "{output}");
    }
    // one that nobody tests is told beside those that fail
    std::fs::write(&manifest, text).expect("it can be written");
    std::fs::remove_dir_all(folder.path().join("alpha/0.1.0/tests")).expect("it is there");
    let untested = run(&["test"]);
    assert!(untested.stdout.contains("ok        connections are in the configuration file"), "{untested}");
    assert!(untested.code == 1 && untested.stderr.starts_with("error: the package has no tests\n"), "{untested}");
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
fn a_folder_of_packages_is_told_from_a_package_and_a_manifest_stands_for_its_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let package = begun(folder.path());
    let complaint = midship().args(["extension", "show"]).arg(folder.path()).complaint();
    assert!(complaint.contains("this is a folder of packages, and one is needed"), "{complaint}");
    assert!(complaint.contains("broker/0.1.0"), "{complaint}");
    let linted = midship().args(["extension", "lint", &format!("{package}/extension.yaml")]).stdout();
    assert_eq!(linted, "all is well: 1 package\n");
}

#[test]
fn what_only_rendering_shows_is_found_before_anything_is_installed() {
    let folder = tempfile::tempdir().expect("a folder");
    let package = begun(folder.path());
    let config = Path::new(&package).join("config/server.conf.j2");
    std::fs::write(&config, "listen = {{ ports.client | upcase }}\n").expect("it can be written");
    for command in ["lint", "install"] {
        let told = midship().args(["extension", command, &package]).output();
        assert_eq!(told.code, 1, "{told}");
        let all = format!("{}{}", told.stdout, told.stderr);
        assert!(all.contains("config/server.conf.j2:1") && all.contains("filter upcase is unknown"), "{told}");
    }
}

#[test]
fn a_test_of_rules_that_nobody_checks_is_not_called_right() {
    let folder = tempfile::tempdir().expect("a folder");
    let package = begun(folder.path());
    let write = |path: &str, text: &str| {
        let path = Path::new(&package).join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("it can be made");
        std::fs::write(path, text).expect("it can be written");
    };
    let manifest = std::fs::read_to_string(Path::new(&package).join("extension.yaml")).expect("it can be read");
    write(
        "extension.yaml",
        &manifest.replace("    parameters:\n", "    rules: {cue: params/rules.cue}\n    parameters:\n"),
    );
    write("params/rules.cue", "#Parameters: {connections: <50, ...}\n");
    let case = "cases:\n  - name: fifty are too many\n    spec: {}\n    errors: [\"spec.components[broker].parameters: too many\"]\n";
    write("tests/render.yaml", case);
    let tested = midship().args(["extension", "test", &package]).env("MIDSHIP_CUE", "/nonexistent/cue").output();
    assert_eq!(tested.code, 0, "{tested}");
    assert!(tested.stdout.contains("unchecked   fifty are too many"), "{tested}");
    assert!(tested.stderr.contains("install cue, or name it in MIDSHIP_CUE"), "{tested}");
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
    assert!(
        page.contains("\n  maxmemory-policy  string, default noeviction, one of noeviction allkeys-lru "),
        "{page}"
    );
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

#[test]
fn the_name_of_a_type_is_answered_with_the_folders_of_its_packages() {
    let repository = super::team();
    let output = midship().args(["extension", "show", "redis"]).within(repository.path()).output();
    assert!(
        output.code == 1 && output.stderr.contains("to do: or is one of these meant? extensions/redis/1.0.0"),
        "{output}"
    );
    let output = midship().args(["extension", "show"]).within(&repository.path().join("instances")).output();
    assert!(output.code == 1 && output.stderr.starts_with("error: there is no package here\n"), "{output}");
}
