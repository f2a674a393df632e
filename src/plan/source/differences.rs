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

/// What is there without the entries of lists that were not asked for; none where there are no such entries.
pub fn without_foreign_entries(desired: &Value, live: &Value) -> Option<Value> {
    let mut mended = live.clone();
    take_out(desired, &mut mended).then_some(mended)
}

/// Whether anything was taken out.
fn take_out(desired: &Value, live: &mut Value) -> bool {
    match (desired, live) {
        (Value::Object(desired), Value::Object(live)) => {
            let mut changed = false;
            for (key, value) in desired {
                changed |= live.get_mut(key).is_some_and(|live| take_out(value, live));
            }
            changed
        }
        (Value::Array(desired), Value::Array(live)) => {
            // every entry that was asked for claims the first that has all of it, or all but foreign entries further inside
            let mut claimed = vec![None; live.len()];
            for (number, wanted) in desired.iter().enumerate() {
                let fits = |found: &Value| {
                    let inside = without_foreign_entries(wanted, found);
                    differences(wanted, inside.as_ref().unwrap_or(found), 1).is_empty()
                };
                let place = (0..live.len()).find(|at| claimed[*at].is_none() && fits(&live[*at]));
                let Some(place) = place else { return false };
                claimed[place] = Some(number);
            }
            let mut changed = claimed.iter().any(Option::is_none);
            let found = std::mem::take(live);
            for (mut entry, claim) in found.into_iter().zip(claimed) {
                if let Some(number) = claim {
                    changed |= take_out(&desired[number], &mut entry);
                    live.push(entry);
                }
            }
            changed
        }
        _ => false,
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
    fn entries_that_nobody_asked_for_are_taken_out_at_any_depth_and_nothing_else() {
        let desired = json!({ "list": [{ "name": "a", "set": ["x"] }, { "name": "b" }], "more": { "set": [1, 2] } });
        let live = json!({
            "list": [{ "name": "c" }, { "name": "a", "set": ["w", "x"], "others": 1 }, { "name": "b", "list": [1] }],
            "more": { "set": [2, 1, 3] }, "unasked": [1],
        });
        let expected = json!({
            "list": [{ "name": "a", "set": ["x"], "others": 1 }, { "name": "b", "list": [1] }],
            "more": { "set": [2, 1] }, "unasked": [1],
        });
        assert_eq!(without_foreign_entries(&desired, &live), Some(expected.clone()));
        assert_eq!(without_foreign_entries(&desired, &expected), None);
        // what is missing is no foreign entry
        assert_eq!(without_foreign_entries(&json!([1, 2]), &json!([3, 4])), None);
    }

    #[test]
    fn differences_are_named_by_their_path() {
        let desired = json!({ "spec": { "replicas": 3, "list": [1, 2], "name": "x", "empty": {} } });
        let live = json!({ "spec": { "replicas": 2, "list": [1], } });
        assert_eq!(differences(&desired, &live, 10), [".spec.list", ".spec.name", ".spec.replicas"]);
        assert_eq!(differences(&desired, &live, 1).len(), 1);
    }
}
