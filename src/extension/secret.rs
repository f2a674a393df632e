//! Secret values, in a type that cannot be printed.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};

/// A secret value. Printing it shows nothing of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretValue(String);

impl SecretValue {
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself: for a Secret, and for nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// A Kubernetes Secret. Printing it shows its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretObject {
    pub name: String,
    pub namespace: String,
    pub labels: BTreeMap<String, String>,
    pub type_: String,
    pub data: BTreeMap<String, SecretValue>,
}

impl SecretObject {
    /// The manifest with its values, for the API server alone.
    pub fn manifest(&self) -> Value {
        self.with(|value| value.expose().to_owned())
    }

    /// The manifest as people may see it.
    pub fn redacted(&self) -> Value {
        self.with(|_| "…".to_owned())
    }

    fn with(&self, show: impl Fn(&SecretValue) -> String) -> Value {
        let data: BTreeMap<&String, String> = self.data.iter().map(|(key, value)| (key, show(value))).collect();
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": self.name, "namespace": self.namespace, "labels": self.labels },
            "type": self.type_,
            "stringData": data,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_shows_its_values() {
        let secret = SecretObject {
            name: "a".into(),
            namespace: "b".into(),
            labels: BTreeMap::new(),
            type_: "Opaque".into(),
            data: [("password".to_owned(), SecretValue::new("hunter2"))].into(),
        };
        assert!(!format!("{secret:?}").contains("hunter2"));
        assert!(!secret.redacted().to_string().contains("hunter2"));
        assert!(secret.manifest().to_string().contains("hunter2"));
    }
}
