//! Objects field by field: `spec.components[cache].replicas`, where items of lists are told by their names.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

/// A single value within an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Where it is written, as a JSON pointer.
    pub pointer: String,
    pub value: Value,
}

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FieldChange {
    pub field: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Value>,
}

/// Every single value of an object by its path. Lists of plain values count as one value.
pub fn fields(object: &Value) -> BTreeMap<String, Field> {
    let mut found = BTreeMap::new();
    collect(object, String::new(), String::new(), &mut found);
    found
}

fn collect(value: &Value, path: String, pointer: String, found: &mut BTreeMap<String, Field>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let plain = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
                let here = match (path.is_empty(), plain) {
                    (true, true) => key.clone(),
                    (false, true) => format!("{path}.{key}"),
                    (_, false) => format!("{path}[\"{key}\"]"),
                };
                let pointer = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
                collect(value, here, pointer, found);
            }
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            for (number, item) in items.iter().enumerate() {
                let name = item.get("name").and_then(Value::as_str);
                let mut here = format!("{path}[{}]", name.map_or_else(|| number.to_string(), str::to_owned));
                // names that are there twice are told by their numbers
                if found.keys().any(|known| known.starts_with(&format!("{here}."))) {
                    here = format!("{path}[{number}]");
                }
                collect(item, here, format!("{pointer}/{number}"), found);
            }
        }
        value => {
            found.insert(path, Field { pointer, value: value.clone() });
        }
    }
}

/// The fields in which two states of an object differ; nothing stands for an object that is not there.
pub fn changes(old: Option<&Value>, new: Option<&Value>) -> Vec<FieldChange> {
    let all = |value: Option<&Value>| value.map(fields).unwrap_or_default();
    let (before, after) = (all(old), all(new));
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    let value = |all: &BTreeMap<String, Field>, name: &str| all.get(name).map(|field| field.value.clone());
    names
        .into_iter()
        .map(|name| FieldChange { field: name.clone(), from: value(&before, name), to: value(&after, name) })
        .filter(|change| change.from != change.to)
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_told_as_people_would() {
        let object =
            json!({ "spec": { "components": [{ "name": "cache", "replicas": 3, "offline": [1, 2] }], "a/b": 1 } });
        let found = fields(&object);
        let names: Vec<(&str, &str)> =
            found.iter().map(|(name, field)| (name.as_str(), field.pointer.as_str())).collect();
        assert_eq!(
            names,
            [
                ("spec.components[cache].name", "/spec/components/0/name"),
                ("spec.components[cache].offline", "/spec/components/0/offline"),
                ("spec.components[cache].replicas", "/spec/components/0/replicas"),
                ("spec[\"a/b\"]", "/spec/a~1b"),
            ]
        );
    }

    #[test]
    fn what_differs_is_named_and_order_in_lists_of_names_does_not_matter() {
        let old = json!({ "c": [{ "name": "a", "n": 1 }, { "name": "b", "n": 1 }] });
        let new = json!({ "c": [{ "name": "b", "n": 2 }, { "name": "a", "n": 1 }] });
        let found = changes(Some(&old), Some(&new));
        assert_eq!(found, [FieldChange { field: "c[b].n".into(), from: Some(json!(1)), to: Some(json!(2)) }]);
        assert_eq!(changes(None, Some(&json!({ "x": 1 })))[0].from, None);
    }
}
