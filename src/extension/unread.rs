//! What was written and is not in what was read of it: a field nobody knows.

use serde_json::Value;

/// The first field of `written` that is not in what was read of it.
pub fn unread(written: &Value, read: &Value) -> Option<String> {
    let joined = |name: &str, rest: String| match rest.as_str() {
        "" => name.to_owned(),
        rest if rest.starts_with('[') => format!("{name}{rest}"),
        rest => format!("{name}.{rest}"),
    };
    match (written, read) {
        (Value::Object(written), Value::Object(read)) => {
            written.iter().find_map(|(name, value)| match read.get(name) {
                Some(read) => unread(value, read).map(|rest| joined(name, rest)),
                // what says nothing need not be kept
                None if is_empty(value) => None,
                None => Some(name.clone()),
            })
        }
        (Value::Array(written), Value::Array(read)) => {
            let mut pairs = written.iter().zip(read).enumerate();
            pairs.find_map(|(place, (written, read))| {
                unread(written, read).map(|rest| joined(&format!("[{place}]"), rest))
            })
        }
        _ => None,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}
