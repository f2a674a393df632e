//! How two versions of a package differ, as far as people who run it care.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::describe::parameter_text;
use super::files::MANIFEST;
use super::package::Package;
use super::parameters::plain;

/// Longer values are not shown.
const SHOWN: usize = 60;

/// What a lasting volume that is gone means.
const LEFT_BEHIND: &str = "instances that have it cannot change to this package, since their data would stay behind";

/// One line per difference: `+` for what is new, `-` for what is gone, `~` for what is otherwise.
pub fn differences(old: &Package, new: &Package) -> Vec<String> {
    let (before, after) = (facts(old), facts(new));
    let mut lines = Vec::new();
    for (fact, value) in &after {
        match before.get(fact) {
            None => lines.push(with(format!("+ {fact}"), &told(new, fact, value))),
            Some(was) if was != value => lines.push(format!("~ {fact}: {}", changed(was, value))),
            Some(_) => {}
        }
    }
    let gone = before.iter().filter(|(fact, _)| !after.contains_key(*fact));
    lines.extend(gone.map(|(fact, value)| {
        let kept = value["kind"].is_null() || value["kind"] == "Lasting";
        let lasting = fact.starts_with("volume ") && !value["size"].is_null() && kept;
        with(format!("- {fact}"), if lasting { LEFT_BEHIND } else { "" })
    }));
    for path in new.files.paths().filter(|path| *path != MANIFEST) {
        match old.files.get(path) {
            None => lines.push(format!("+ file {path}")),
            Some(was) if Some(was) != new.files.get(path) => lines.push(format!("~ file {path}")),
            Some(_) => {}
        }
    }
    lines.extend(old.files.paths().filter(|path| new.files.get(path).is_none()).map(|path| format!("- file {path}")));
    lines
}

fn with(line: String, more: &str) -> String {
    if more.is_empty() { line } else { format!("{line}: {more}") }
}

/// What a package says, by what it says it of.
fn facts(package: &Package) -> BTreeMap<String, Value> {
    let manifest = &package.manifest;
    let mut facts = BTreeMap::new();
    for version in &manifest.versions {
        facts.insert(format!("version {}", version.version), without(json!(version), &["version"]));
    }
    for upgrade in &manifest.upgrades {
        let back = if upgrade.rollback == Some(false) { "no way back" } else { "and back" };
        facts.insert(format!("upgrade {} to {}", upgrade.from, upgrade.to), json!(back));
    }
    let mut insert_all = |what: &str, named: Value| {
        for (name, value) in named.as_object().into_iter().flatten() {
            facts.insert(format!("{what} {name}"), value.clone());
        }
    };
    insert_all("topology", json!(manifest.topologies));
    insert_all("secret", json!(manifest.secrets));
    insert_all("operation", json!(manifest.operations));
    insert_all("environment", json!(manifest.environments));
    if let Some(backup) = &manifest.backup {
        insert_all("backup method", json!(backup.methods));
    }
    if let Some(monitoring) = &manifest.monitoring {
        insert_all("alert", json!(monitoring.alerts));
    }
    for (name, component) in &manifest.components {
        let parts = [
            ("parameter", json!(component.parameters)),
            ("port", json!(component.ports)),
            ("volume", json!(component.volumes)),
            ("configuration file", json!(component.config)),
            ("action", json!(component.actions)),
            ("variable", json!(component.env)),
        ];
        for (what, named) in parts {
            for (part, value) in named.as_object().into_iter().flatten() {
                facts.insert(format!("{what} {name}.{part}"), without(value.clone(), &["description"]));
            }
        }
        let taken = ["description", "parameters", "parametersFile", "ports", "volumes", "config", "actions", "env"];
        facts.insert(format!("component {name}"), without(json!(component), &taken));
    }
    let taken = [
        "type",
        "version",
        "versions",
        "upgrades",
        "topologies",
        "secrets",
        "operations",
        "environments",
        "components",
        "description",
        "backup",
        "monitoring",
    ];
    facts.insert("package".to_owned(), without(json!(manifest), &taken));
    facts
}

fn without(mut value: Value, keys: &[&str]) -> Value {
    if let Value::Object(map) = &mut value {
        for key in keys {
            map.remove(*key);
        }
    }
    value
}

/// What is new, in a few words.
fn told(package: &Package, fact: &str, value: &Value) -> String {
    let declared = fact.strip_prefix("parameter ").and_then(|name| {
        let (component, parameter) = name.split_once('.')?;
        package.parameters(component).get(parameter)
    });
    if let Some(declared) = declared {
        return parameter_text(declared);
    }
    if let Some(steps) = value.get("steps").and_then(Value::as_array) {
        return format!("{} step{}", steps.len(), if steps.len() == 1 { "" } else { "s" });
    }
    let shown: Vec<String> =
        leaves(value).into_iter().filter_map(|(path, leaf)| Some(join(&path, &short(&leaf)?))).collect();
    shown.join(", ")
}

/// `maximum 10 becomes 20; pattern is gone`.
fn changed(old: &Value, new: &Value) -> String {
    let (before, after) = (leaves(old), leaves(new));
    let mut parts = Vec::new();
    for (path, value) in &after {
        let was = before.get(path);
        if was == Some(value) {
            continue;
        }
        parts.push(match (was.map(short), short(value)) {
            (Some(Some(was)), Some(is)) => format!("{} becomes {is}", join(path, &was)),
            (None, Some(is)) => format!("{} is new", join(path, &is)),
            (None, None) => format!("{path} is new"),
            (Some(_), _) => join(path, "changes"),
        });
    }
    parts.extend(before.keys().filter(|path| !after.contains_key(*path)).map(|path| format!("{path} is gone")));
    parts.join("; ")
}

fn join(path: &str, text: &str) -> String {
    if path.is_empty() { text.to_owned() } else { format!("{path} {text}") }
}

/// Every value that is no object, by its path. Lists are values.
fn leaves(value: &Value) -> BTreeMap<String, Value> {
    fn walk(path: &str, fields: &Map<String, Value>, found: &mut BTreeMap<String, Value>) {
        for (name, value) in fields {
            let path = super::yaml::join(path, name);
            match value {
                Value::Object(fields) => walk(&path, fields, found),
                value => {
                    found.insert(path, value.clone());
                }
            }
        }
    }
    let mut found = BTreeMap::new();
    match value {
        Value::Object(fields) => walk("", fields, &mut found),
        value => {
            found.insert(String::new(), value.clone());
        }
    }
    found
}

/// The value, where it is short enough to be read.
fn short(value: &Value) -> Option<String> {
    let text = match value {
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => return None,
        Value::Array(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(", ")),
        value => plain(value),
    };
    (text.chars().count() <= SHOWN && !text.contains('\n')).then_some(text)
}
