//! Two templates of the same pods: what differs, and how far that disturbs them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Disturbance;
use crate::api::component::ComponentGroup;
use crate::extension::agent::MADE_FOR;

/// What differs. `explained` says that changed parameters are known already: they are why the configuration differs.
/// `reloads` says that running processes can take new files over.
pub fn differences(
    old: &ComponentGroup,
    new: &ComponentGroup,
    explained: bool,
    reloads: bool,
) -> Vec<(Disturbance, String)> {
    let (old, new) = (&old.template, &new.template);
    let mut found = Vec::new();
    let mut paths = BTreeSet::new();
    compare(&old.spec.open(), &new.spec.open(), &mut Vec::new(), &mut paths);
    for path in paths {
        let parts: Vec<&str> = path.iter().map(String::as_str).collect();
        if explained && matches!(parts.as_slice(), ["containers", _, "env", MADE_FOR, ..]) {
            continue;
        }
        found.push(match parts.as_slice() {
            ["containers", name, "resources", ..] => (Disturbance::Resize, format!("CPU and memory of {name}")),
            ["containers", name, "image"] => (Disturbance::Image, format!("image of {name}")),
            ["containers" | "initContainers", name, "env", ..] => {
                (Disturbance::Recreate, format!("environment variables of {name}"))
            }
            ["containers" | "initContainers", name, rest, ..] => (Disturbance::Recreate, format!("{rest} of {name}")),
            [first, ..] => (Disturbance::Recreate, format!("{first} of the pods")),
            [] => (Disturbance::Recreate, "the pods".to_owned()),
        });
    }
    if old.metadata != new.metadata {
        found.push((Disturbance::None, "labels and annotations of the pods".to_owned()));
    }
    if old.config_revision != new.config_revision && !explained && found.is_empty() {
        // only parameters restart a process; files that differ for another reason are written and read again
        let disturbance = if reloads { Disturbance::Reload } else { Disturbance::None };
        found.push((disturbance, "configuration files".to_owned()));
    }
    found.sort();
    found.dedup();
    found
}

/// The paths that differ; items of lists are told by their names.
fn compare(old: &Value, new: &Value, path: &mut Vec<String>, found: &mut BTreeSet<Vec<String>>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for key in keys {
                path.push(key.clone());
                compare(old.get(key).unwrap_or(&Value::Null), new.get(key).unwrap_or(&Value::Null), path, found);
                path.pop();
            }
        }
        (Value::Array(old), Value::Array(new)) if named(old) && named(new) => {
            let names: BTreeSet<&str> = old.iter().chain(new).filter_map(|item| item["name"].as_str()).collect();
            let find = |list: &'_ [Value], name: &str| list.iter().find(|item| item["name"] == name).cloned();
            for name in names {
                path.push(name.to_owned());
                let (old, new) = (find(old, name), find(new, name));
                compare(&old.unwrap_or(Value::Null), &new.unwrap_or(Value::Null), path, found);
                path.pop();
            }
        }
        (old, new) if old != new => {
            found.insert(path.clone());
        }
        _ => {}
    }
}

fn named(list: &[Value]) -> bool {
    list.iter().all(|item| item["name"].is_string())
}
