//! Taking over what somebody changed: which values of a file have to become others, so that it says what is there.

use serde_json::Value;

/// One value that is another in the cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Where, as a JSON pointer.
    pub pointer: String,
    pub wanted: Value,
    /// None where somebody removed it.
    pub live: Option<Value>,
}

/// Where `live` is not what `desired` asks for. Fields that nobody asked for do not matter.
pub fn changes(desired: &Value, live: &Value) -> Vec<Change> {
    let mut found = Vec::new();
    compare(desired, live, &mut String::new(), &mut found);
    found
}

fn compare(desired: &Value, live: &Value, pointer: &mut String, found: &mut Vec<Change>) {
    let before = pointer.len();
    let changed = |live: Option<&Value>, pointer: &str| Change {
        pointer: pointer.to_owned(),
        wanted: desired.clone(),
        live: live.cloned(),
    };
    match (desired, live) {
        (Value::Object(desired), Value::Object(live)) => {
            for (key, value) in desired {
                pointer.push('/');
                pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
                let nothing = value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
                match live.get(key) {
                    Some(live) => compare(value, live, pointer, found),
                    None if nothing => {}
                    None => found.push(Change { pointer: pointer.clone(), wanted: value.clone(), live: None }),
                }
                pointer.truncate(before);
            }
        }
        (Value::Array(desired), Value::Array(live)) if desired.len() == live.len() => {
            for (number, (desired, live)) in desired.iter().zip(live).enumerate() {
                pointer.push_str(&format!("/{number}"));
                compare(desired, live, pointer, found);
                pointer.truncate(before);
            }
        }
        (Value::Number(one), Value::Number(other)) if one.as_f64() == other.as_f64() => {}
        _ if desired == live => {}
        _ => found.push(changed(Some(live), pointer)),
    }
}

/// The document with these changes; none where it has not all of the places.
pub fn adopted(document: &Value, changes: &[Change]) -> Option<Value> {
    let mut document = document.clone();
    for change in changes {
        if let Some(live) = &change.live {
            *document.pointer_mut(&change.pointer)? = live.clone();
        } else {
            let (parent, key) = change.pointer.rsplit_once('/')?;
            let key = key.replace("~1", "/").replace("~0", "~");
            document.pointer_mut(parent)?.as_object_mut()?.remove(&key)?;
        }
    }
    Some(document)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_becomes_what_is_there_and_nothing_more() {
        let desired = json!({ "spec": { "version": "7.0", "list": [{ "a": 1 }, { "a": 2 }], "tls": {}, "gone/y": 1 } });
        let live =
            json!({ "spec": { "version": "7.2", "list": [{ "a": 1, "b": 1 }, { "a": 3 }], "more": 1 }, "status": {} });
        let changes = changes(&desired, &live);
        let places: Vec<&str> = changes.iter().map(|change| change.pointer.as_str()).collect();
        assert_eq!(places, ["/spec/gone~1y", "/spec/list/1/a", "/spec/version"]);
        let expected = json!({ "spec": { "version": "7.2", "list": [{ "a": 1 }, { "a": 3 }], "tls": {} } });
        assert_eq!(adopted(&desired, &changes), Some(expected));
    }

    #[test]
    fn a_document_without_the_place_is_left_alone() {
        let changes = changes(&json!({ "a": { "b": 1 } }), &json!({ "a": { "b": 2 } }));
        assert_eq!(adopted(&json!({ "a": 1 }), &changes), None);
    }
}
