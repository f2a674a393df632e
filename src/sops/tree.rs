//! A document with its values in the order they were written in: the MAC is over them in that order.

use serde_json::Value;

/// A value and all inside it.
#[derive(Clone)]
pub enum Tree {
    Map(Vec<(String, Tree)>),
    List(Vec<Tree>),
    /// Anything that holds nothing else.
    Leaf(Value),
}

impl Tree {
    /// What a mapping has under a key.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(entries) => entries.iter().find(|(found, _)| found == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The same without the order.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Map(entries) => {
                Value::Object(entries.iter().map(|(key, value)| (key.clone(), value.to_value())).collect())
            }
            Self::List(items) => Value::Array(items.iter().map(Self::to_value).collect()),
            Self::Leaf(value) => value.clone(),
        }
    }
}
