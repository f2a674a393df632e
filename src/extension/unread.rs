//! What was written and is not in what was read of it: fields nobody knows.

use serde_json::Value;

/// The fields of `written` that are not in what was read of it.
pub fn unread(written: &Value, read: &Value) -> Vec<String> {
    let joined = |name: &str, rest: &str| match rest {
        rest if rest.starts_with('[') => format!("{name}{rest}"),
        rest => format!("{name}.{rest}"),
    };
    let below = |name: &str, written: &Value, read: &Value| -> Vec<String> {
        unread(written, read).iter().map(|rest| joined(name, rest)).collect()
    };
    match (written, read) {
        (Value::Object(written), Value::Object(read)) => {
            let fields = written.iter().flat_map(|(name, value)| match read.get(name) {
                Some(read) => below(name, value, read),
                // what says nothing need not be kept
                None if is_empty(value) => Vec::new(),
                None => vec![name.clone()],
            });
            fields.collect()
        }
        (Value::Array(written), Value::Array(read)) => {
            let pairs = written.iter().zip(read).enumerate();
            pairs.flat_map(|(place, (written, read))| below(&format!("[{place}]"), written, read)).collect()
        }
        _ => Vec::new(),
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
