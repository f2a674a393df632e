//! A JSON value that is kept as text. As a tree of small maps it would take ten times the memory, and controllers keep
//! templates of pods by the hundreds.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// The text of a value, shared by its clones.
#[derive(Clone)]
pub struct Packed(Arc<str>);

impl Packed {
    /// The value.
    pub fn open(&self) -> Value {
        // serde_json reads what it wrote
        serde_json::from_str(&self.0).unwrap_or_default()
    }
}

impl From<Value> for Packed {
    fn from(value: Value) -> Self {
        Self(value.to_string().into())
    }
}

impl Default for Packed {
    fn default() -> Self {
        Self::from(Value::Null)
    }
}

/// The same value may be written in another order.
impl PartialEq for Packed {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 || self.open() == other.open()
    }
}

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Packed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.open().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Packed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_comes_out_as_it_went_in_and_its_order_does_not_matter() {
        let value = json!({ "b": [1, 2.5, null, "text \"quoted\"\n"], "a": { "deep": { "er": true } } });
        let packed = Packed::from(value.clone());
        assert_eq!(packed.open(), value);
        assert_eq!(serde_json::to_value(&packed).expect("plain data"), value);
        assert_eq!(serde_json::from_value::<Packed>(value).expect("any value"), packed);
        let [one, two] = [r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#].map(|text| Packed(text.into()));
        assert_eq!(one, two);
        assert_ne!(one, Packed::default());
    }
}
