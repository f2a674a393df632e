//! Where an object in the cluster is not what was wanted. Fields that nobody asked for do not matter.

use serde_json::Value;

/// The places, as dotted paths, where `live` does not have what `desired` asks for. At most `limit` of them.
pub fn differences(desired: &Value, live: &Value, limit: usize) -> Vec<String> {
    let mut found = Vec::new();
    compare(desired, live, &mut String::new(), &mut found, limit);
    found.truncate(limit);
    found
}

fn compare(desired: &Value, live: &Value, path: &mut String, found: &mut Vec<String>, limit: usize) {
    if found.len() >= limit {
        return;
    }
    let before = path.len();
    match (desired, live) {
        (Value::Object(desired), Value::Object(live)) => {
            for (key, value) in desired {
                // a mapping that asks for nothing may be stored or left out, and null means absence
                let nothing = value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
                path.push('.');
                path.push_str(key);
                match live.get(key) {
                    Some(live) => compare(value, live, path, found, limit),
                    None if nothing => {}
                    None => found.push(path.clone()),
                }
                path.truncate(before);
            }
        }
        (Value::Array(desired), Value::Array(live)) if desired.len() == live.len() => {
            for (number, (desired, live)) in desired.iter().zip(live).enumerate() {
                path.push_str(&format!("[{number}]"));
                compare(desired, live, path, found, limit);
                path.truncate(before);
            }
        }
        (Value::Number(desired), Value::Number(live)) if desired.as_f64() == live.as_f64() => {}
        _ if desired == live => {}
        _ => found.push(if path.is_empty() { ".".to_owned() } else { path.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_was_asked_for_matters() {
        let desired = json!({ "spec": { "replicas": 3, "list": [{ "a": 1 }] } });
        let live = json!({ "spec": { "replicas": 3, "list": [{ "a": 1, "b": 2 }], "more": true }, "status": {} });
        assert_eq!(differences(&desired, &live, 10), Vec::<String>::new());
    }

    #[test]
    fn differences_are_named_by_their_path() {
        let desired = json!({ "spec": { "replicas": 3, "list": [1, 2], "name": "x", "empty": {} } });
        let live = json!({ "spec": { "replicas": 2, "list": [1], } });
        assert_eq!(differences(&desired, &live, 10), [".spec.list", ".spec.name", ".spec.replicas"]);
        assert_eq!(differences(&desired, &live, 1).len(), 1);
    }
}
