//! `midship render`: what instances become, seen without a cluster.

use std::path::Path;

use insta::assert_snapshot;

use super::{seen, team};
use crate::api::git_source::repository::Repository;
use crate::harness::midship;

fn render(repository: &Repository, args: &[&str]) -> crate::harness::Output {
    midship().arg("render").args(args).arg(repository.path()).output()
}

#[test]
fn instances_become_objects_and_no_secret_is_shown() {
    let repository = team();
    let output = render(&repository, &["-o", "json"]);
    assert_eq!(output.code, 0, "{output}");
    let list: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
    let items = list["items"].as_array().expect("a list");
    for kind in ["Component", "Service", "ConfigMap", "Secret", "PodDisruptionBudget"] {
        assert!(items.iter().any(|item| item["kind"] == kind), "no {kind}");
    }
    assert!(items.iter().all(|item| item["metadata"]["namespace"] == "shop"));
    assert!(!output.stdout.contains("made-up"), "secrets are made up, and not shown");
}

#[test]
fn one_file_finds_the_packages_of_its_repository() {
    let repository = team();
    let file = repository.path().join("instances/shop/orders.yaml");
    let text = midship().arg("render").arg(&file).stdout();
    assert!(text.starts_with("# Instance shop/orders: redis 7.0, replication\n---\n"), "{text}");
    let elsewhere = tempfile::tempdir().expect("a folder");
    std::fs::copy(&file, elsewhere.path().join("orders.yaml")).expect("it can be copied");
    let alone = midship().arg("render").arg(elsewhere.path().join("orders.yaml")).complaint();
    assert!(alone.contains("no package: there is no type \"redis\"; there are none at all"), "{alone}");
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("extensions");
    let named = midship().arg("render").arg(elsewhere.path()).arg("--extensions").arg(packages).stdout();
    assert!(named.starts_with("# Instance default/orders: redis 7.0, replication\n"), "{named}");
}

#[test]
fn what_is_refused_is_named_with_its_place_and_the_rest_is_rendered() {
    let repository = team();
    let wrong = "apiVersion: midship.dev/v1alpha1\nkind: Instance\nmetadata: {name: wrong}\nspec:\n  type: redis\n  \
                 extensionVersion: 1.0.0\n  version: \"7.0\"\n  components: [{name: redis, parameters: {maxmemory-policy: all}}]\n";
    repository.write("instances/shop/wrong.yaml", wrong);
    let mut output = render(&repository, &[]);
    assert!(output.stdout.starts_with("# Instance shop/orders"), "{output}");
    output.stdout.clear();
    assert_snapshot!(seen(&output, repository.path()));
    let validated = midship().arg("validate").arg(repository.path()).output();
    assert_eq!(validated.code, 1, "{validated}");
    assert!(validated.stdout.contains("instances/shop/wrong.yaml:8:61   refused"), "{validated}");
}

#[test]
fn a_package_that_is_not_in_the_repository_is_a_note_and_no_error() {
    let repository = Repository::new();
    repository.write("instances/shop/orders.yaml", super::ORDERS);
    let output = midship().arg("validate").arg(repository.path()).output();
    assert_eq!((output.code, output.stdout.as_str()), (0, "all is well: 1 file, 1 object\n"), "{output}");
    let note = "note: the package redis 1.0.0 is not in extensions/: what it makes of instances/shop/orders.yaml was not looked at; ";
    assert!(output.stderr.starts_with(note), "{output}");
    let output = midship().args(["validate", "-o", "json"]).arg(repository.path()).output();
    let value: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!((value["notes"].as_array().map(Vec::len), output.stderr.as_str()), (Some(1), ""), "{output}");
}

#[test]
fn two_instances_that_would_make_the_same_object_are_refused() {
    let repository = team();
    let orders = std::fs::read_to_string(repository.path().join("instances/shop/orders.yaml")).expect("it can be read");
    repository.write("instances/shop/second.yaml", &orders.replace("name: orders", "name: orders-replica"));
    let output = midship().arg("validate").arg(repository.path()).output();
    let told = "Service orders-replica is also made by Instance shop/orders (instances/shop/orders.yaml:1); rename one";
    assert!(output.code == 1 && output.stdout.contains(told), "{output}");
}

#[test]
fn rules_that_could_not_be_checked_are_told_and_strict_refuses() {
    let repository = Repository::new();
    let package = "type: demo\nversion: 1.0.0\nversions: [{version: \"1.0\", image: \"demo:1.0\"}]\ncomponents:\n  demo:\n    \
                   command: [demod]\n    rules: {cue: params/rules.cue}\n    parameters: {count: {type: integer, default: 3}}\n";
    repository.write("extensions/demo/1.0.0/extension.yaml", package);
    repository.write("extensions/demo/1.0.0/params/rules.cue", "#Parameters: {count: <2, ...}\n");
    repository.write(
        "instances/shop/one.yaml",
        "apiVersion: midship.dev/v1alpha1\nkind: Instance\nmetadata: {name: one}\n\
         spec: {type: demo, extensionVersion: 1.0.0, version: \"1.0\"}\n",
    );
    let folder = repository.path().join("extensions/demo/1.0.0");
    let folder = folder.to_str().expect("text");
    let root = repository.path().to_str().expect("text");
    for args in [&["validate", root][..], &["extension", "lint", folder]] {
        let run = |more: &[&str]| midship().args(args).args(more).env("MIDSHIP_CUE", "/nonexistent/cue").output();
        let output = run(&[]);
        assert_eq!(output.code, 0, "{output}");
        assert!(output.stdout.contains("as far as it could be checked"), "{output}");
        assert!(output.stderr.contains("the rules of demo could not be checked"), "{output}");
        assert_eq!(run(&["--strict"]).code, 1);
        let value: serde_json::Value = serde_json::from_str(&run(&["-o", "json"]).stdout).expect("JSON");
        assert_eq!(value["unchecked"].as_array().map(Vec::len), Some(1), "{value}");
    }
}

#[test]
fn commits_are_validated_and_rendered_whatever_the_files_are_now() {
    let repository = team();
    let file = "instances/shop/orders.yaml";
    let run = |args: &[&str]| midship().args(args).arg(repository.path()).output();
    let good = repository.head();
    repository.write(file, &super::ORDERS.replace("type: redis", "typ: redis"));
    assert_eq!(run(&["validate"]).code, 1);
    let output = run(&["validate", "--revision", "HEAD"]);
    assert!(output.code == 0 && output.stdout.starts_with("all is well: "), "{output}");
    let bad = repository.commit("Mistype it");
    repository.write(file, super::ORDERS);
    assert_eq!(run(&["validate"]).code, 0);
    let output = run(&["validate", "--revision", &bad, "-o", "json"]);
    assert_eq!(output.code, 1, "{output}");
    let value: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
    let is_it = |error: &serde_json::Value| error["path"] == file && error["line"] == 5;
    assert!(value["errors"].as_array().is_some_and(|errors| errors.iter().any(is_it)), "{output}");
    let output = run(&["validate", "--revision", "v9"]);
    assert!(output.code == 1 && output.stderr.contains("`v9` names no commit of this repository"), "{output}");

    let output = run(&["render", "--revision", &good, "-o", "markdown"]);
    assert_eq!(output.code, 0, "{output}");
    let begin = "<details><summary>Instance shop/orders: redis 7.0, replication</summary>\n\n```yaml\n---\n";
    assert!(output.stdout.starts_with(begin) && output.stdout.ends_with("```\n\n</details>\n"), "{output}");
    assert!(output.stdout.contains("allkeys-lru") && !output.stdout.contains("made-up"), "{output}");
    let output = run(&["render", "--revision", &bad]);
    assert!(output.code == 1 && output.stderr.contains(&format!("{file}:5:3: ")), "{output}");
}

#[test]
fn an_instance_that_is_not_there_is_answered_with_the_one_that_was_meant() {
    let repository = team();
    assert_snapshot!(seen(&render(&repository, &["--instance", "ordrs"]), repository.path()));
}

#[test]
fn who_asks_for_one_instance_is_told_of_that_one_alone() {
    let repository = team();
    let wrong = super::ORDERS.replace("name: orders", "name: wrong").replace("type: redis", "typ: redis");
    repository.write("instances/shop/wrong.yaml", &wrong);
    repository.write("broken.yaml", "a: [\n");
    let good = render(&repository, &["--instance", "orders"]);
    assert!(good.code == 0 && good.stdout.starts_with("# Instance shop/orders: "), "{good}");
    let wrong = render(&repository, &["--instance", "shop/wrong"]);
    let told = "instances/shop/wrong.yaml:5:3: spec.typ: unknown field \"typ\"; did you mean \"type\"?";
    assert!(wrong.code == 1 && wrong.stderr.contains(told), "{wrong}");
    assert!(!wrong.stderr.contains("broken.yaml"), "{wrong}");
    let missing = render(&repository, &["--instance", "ordrs"]);
    let what = "error: there is no instance \"ordrs\"; did you mean \"orders\"?\n";
    let remedy = "to do: or mend the files that are wrong, which may define it: midship validate names them\n";
    assert_eq!(missing.code, 1, "{missing}");
    assert!(missing.stderr.starts_with(what) && missing.stderr.ends_with(remedy), "{missing}");
    // as long as nobody is asked for, all of it is told
    let all = render(&repository, &[]);
    assert!(all.code == 1 && all.stderr.contains("broken.yaml:") && all.stderr.contains(told), "{all}");
}

#[test]
fn an_environment_of_the_repository_decides_what_is_left_out() {
    let repository = team();
    repository.write(
        "midship.yaml",
        "namespaces: {shop: {environment: small}}\nenvironments: {small: {components: {redis: {replicas: 1}}}}\n",
    );
    let file = "instances/shop/orders.yaml";
    let instance = std::fs::read_to_string(repository.path().join(file)).expect("it can be read");
    repository.write(file, &instance.replace("      replicas: 3\n", ""));
    let text = midship().args(["render", "-o", "json"]).arg(repository.path()).stdout();
    let list: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let component = list["items"].as_array().and_then(|items| items.iter().find(|item| item["kind"] == "Component"));
    assert_eq!(component.expect("one")["spec"]["replicas"], 1);
}

#[test]
fn a_file_that_lies_in_a_config_map_is_judged_if_the_repository_has_it_and_told_if_not() {
    let repository = Repository::new();
    let package = "type: demo\nversion: 1.0.0\nversions: [{version: \"1.0\", image: \"demo:1.0\"}]\ncomponents:\n  demo:\n    \
                   command: [demod, \"{{ files['demo.conf'] }}\"]\n    ports: {client: 7000}\n    \
                   config: {demo.conf: {template: config/demo.conf.j2, userFile: Replaces, format: words}}\n    \
                   parameters: {count: {type: integer, maximum: 9, default: 3}}\n";
    repository.write("extensions/demo/1.0.0/extension.yaml", package);
    repository.write("extensions/demo/1.0.0/config/demo.conf.j2", "count {{ params.count }}\n");
    let lies_in = |place: &str| {
        let text = format!(
            "apiVersion: midship.dev/v1alpha1\nkind: Instance\nmetadata: {{name: one, namespace: shop}}\nspec:\n  type: demo\n  \
             extensionVersion: 1.0.0\n  version: \"1.0\"\n  components: [{{name: demo, configFiles: {{demo.conf: {place}}}}}]\n"
        );
        repository.write("instances/shop/one.yaml", &text);
    };
    let validate = |more: &[&str]| midship().arg("validate").args(more).arg(repository.path()).output();
    let not_here = |place: &str| {
        let field = "spec.components[demo].configFiles.demo.conf";
        format!("{field}: it is key mine of {place}, which is not here: what it says was not looked at")
    };

    lies_in("{configMap: {name: files, key: mine}}");
    let elsewhere = validate(&[]);
    assert!(elsewhere.code == 0 && elsewhere.stderr.contains(&not_here("ConfigMap files")), "{elsewhere}");
    assert_eq!(validate(&["--strict"]).code, 1);

    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: files, namespace: shop}\ndata: {mine: \"other x\\ncount 10\\n\"}\n";
    repository.write("instances/shop/files.yaml", map);
    let judged = validate(&[]);
    let told = "demo.conf: line 2: parameter count: 10 is too large; allowed is 9 and less";
    assert!(judged.code == 1 && judged.stdout.contains(told), "{judged}");

    lies_in("{secret: {name: files, key: mine}}");
    let rendered = render(&repository, &[]);
    assert!(rendered.code == 0 && rendered.stderr.contains(&not_here("Secret files")), "{rendered}");
}
