//! Numbers and times of actions, probes, operations and processes: none that could never work, none without an end.

use serde_json::Value;

use super::Lint;
use crate::api::values::Duration;
use crate::extension::yaml::join;

/// More tries than this are an endless loop by mistake.
const MOST_RETRIES: u64 = 1000;
/// Longer than this nothing is waited for: a copy of a very large database takes days.
const LONGEST: Duration = Duration(std::time::Duration::from_hours(7 * 24));

/// More configuration files than this would be rendered for each instance.
const MOST_FILES: usize = 200;

const TIMES: [&str; 5] = ["timeout", "every", "stopTimeout", "startTimeout", "interval"];
/// What is a user's or a server's own within these.
const FOREIGN: [&str; 6] = ["body", "parameters", "values", "headers", "env", "set"];

pub fn check(lint: &mut Lint<'_>) {
    let components = &lint.package.manifest.components;
    let files: usize = components.values().map(|component| component.config.len()).sum();
    if files > MOST_FILES
        && let Some(name) = components.keys().next()
    {
        let field = format!("components.{name}");
        lint.at(&field, format!("{files} configuration files are too many; all components have at most {MOST_FILES}"));
    }
    let manifest = serde_json::to_value(&lint.package.manifest).unwrap_or_default();
    let mut parts =
        vec![("operations".to_owned(), &manifest["operations"]), ("backup".to_owned(), &manifest["backup"])];
    for (name, component) in manifest["components"].as_object().into_iter().flatten() {
        for part in ["actions", "probes", "role", "process"] {
            parts.push((format!("components.{name}.{part}"), &component[part]));
        }
    }
    for (field, value) in parts {
        walk(lint, &field, value);
    }
}

fn walk(lint: &mut Lint<'_>, field: &str, value: &Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map.iter().filter(|(key, _)| !FOREIGN.contains(&key.as_str())) {
                let field = join(field, key);
                match wrong(key, value) {
                    Some(reason) => lint.at(&field, format!("{key}: {reason}")),
                    None => walk(lint, &field, value),
                }
            }
        }
        Value::Array(items) => {
            for (place, item) in items.iter().enumerate() {
                walk(lint, &format!("{field}[{place}]"), item);
            }
        }
        _ => {}
    }
}

fn wrong(key: &str, value: &Value) -> Option<String> {
    if TIMES.contains(&key) {
        let time = Duration::parse(value.as_str()?)?;
        if time.0.is_zero() {
            return Some("has to be longer than nothing".to_owned());
        }
        return (time.0 > LONGEST.0).then(|| format!("{time} is too long; at most {LONGEST} is waited for"));
    }
    let number = value.as_u64()?;
    match key {
        "failures" | "concurrency" if number == 0 => Some("has to be 1 or more".to_owned()),
        "retries" if number > MOST_RETRIES => Some(format!("{number} is too much; at most {MOST_RETRIES} are allowed")),
        _ => None,
    }
}
