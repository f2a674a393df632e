//! Wrong packages and wrong instances, each with the exact error its author sees.

mod details;
mod instances;
mod packages;
mod parts;

use serde_json::json;

use super::files::MANIFEST;
use super::*;
use crate::names::{InstanceName, NamespaceName};

/// A package that is right; each case spoils one thing.
pub const MANIFEST_TEXT: &str = r#"type: demo
version: 1.0.0
title: Demo
upgradableFrom: []
versions: [{version: "1.0", image: "demo:1.0"}, {version: "2.0", image: "demo:2.0"}]
upgrades: []
topologies:
  pair: {default: true, components: {server: {replicas: {default: 2, min: 1, max: 5}}, watcher: {replicas: {default: 1, odd: true}}}}
  single: {components: {server: {}}}
  sharded: {components: {server: {groups: {prefix: shard, count: {default: 3, min: 2}}}}}
secrets: {token: 32}
connection: {}
backup: null
monitoring: {thresholds: {memory: 0.9}}
environments: {}
objects: []
components:
  server:
    user: 1000
    command: [demod, "{{ files['demo.conf'] }}"]
    env: {}
    ports: {client: 7000}
    config:
      demo.conf: config/demo.conf.j2
    volumes:
      data: {path: /data, size: 1Gi}
    rules: {schema: params/rules.json}
    parameters:
      count: {type: integer, minimum: 1, maximum: 9, default: 3}
      newer: {type: integer, versions: ">=2.0"}
      shards-only: {type: boolean, when: topology == 'sharded'}
      license: {type: string, secret: true}
      low: {type: integer, default: 1}
      high: {type: integer, default: 5}
  watcher:
    command: [watchd]
"#;
pub const CONFIG: &str = "config/demo.conf.j2";
pub const RULES: &str =
    r#"{"if": {"properties": {"low": {"minimum": 4}}}, "then": {"properties": {"high": {"minimum": 4}}}}"#;

pub fn load(manifest: &str, config: &str, more: Option<&str>) -> Result<Package, Problems> {
    let mut files = vec![(MANIFEST, manifest), (CONFIG, config), ("params/rules.json", RULES)];
    files.extend(more.map(|path| (path, "")));
    let files = files.into_iter().map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
    Package::load(PackageFiles::new(files).expect("plain files"))
}

pub fn refusals(package: &Package, spec: &serde_json::Value) -> String {
    let mut whole = json!({ "type": "demo", "extensionVersion": "1.0.0", "version": "2.0" });
    for (key, value) in spec.as_object().expect("an object") {
        whole[key] = value.clone();
    }
    let spec = serde_json::from_value(whole).expect("a spec");
    let (name, namespace) =
        (InstanceName::parse("sample").expect("a name"), NamespaceName::parse("default").expect("a name"));
    let asked = Asked { name: &name, namespace: &namespace, spec: &spec };
    match cases::preview(package, asked, &Surroundings::default()) {
        Ok(_) => "nothing wrong".to_owned(),
        Err(refusals) => refusals.to_string(),
    }
}

/// Compares all and shows every difference at once.
pub fn compare(found: &[(&str, String, &str)]) {
    let wrong: Vec<String> = found
        .iter()
        .filter(|(_, found, expected)| found != expected)
        .map(|(name, found, expected)| format!("{name}\n   found: {found}\nexpected: {expected}"))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Of each: its name, what of the package is replaced with what (or the file that is added), and what is said of it.
pub fn each_says(cases: &[(&str, &str, &str, &str)]) {
    let found = cases.iter().map(|(name, from, to, expected)| {
        let more = to.strip_prefix("#file ");
        assert!(more.is_some() || MANIFEST_TEXT.contains(from), "{name}: the base has no {from}");
        let manifest = if more.is_some() { MANIFEST_TEXT.to_owned() } else { MANIFEST_TEXT.replacen(from, to, 1) };
        let found = load(&manifest, "count {{ params.count }}\n", more)
            .map_or_else(|problems| problems.to_string(), |_| "nothing wrong".to_owned());
        (*name, found, *expected)
    });
    compare(&found.collect::<Vec<_>>());
}

#[test]
fn the_package_that_the_cases_spoil_is_right() {
    let package =
        load(MANIFEST_TEXT, "count {{ params.count }}\n", None).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(refusals(&package, &json!({})), "nothing wrong");
    assert_eq!(refusals(&package, &json!({ "topology": "sharded" })), "nothing wrong");
}
