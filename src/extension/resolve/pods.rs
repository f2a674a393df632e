//! What an instance says of its pods in the words of Kubernetes: the API takes it as it comes, and this reads it.

use k8s_openapi::api::core::v1::{Affinity, Toleration, TopologySpreadConstraint};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Resolver;
use crate::api::instance::EnvVar;
use crate::api::labels;
use crate::api::values::{ExtraMetadata, Scheduling};
use crate::extension::placeholders;
use crate::extension::problem::Code;
use crate::extension::unread::unread;

impl Resolver<'_> {
    /// `marked` is what Midship marks with labels and annotations of its own.
    pub(super) fn check_metadata(&mut self, extra: Option<&ExtraMetadata>, field: &str, marked: &str) {
        let Some(extra) = extra else { return };
        for (kind, all) in [("labels", &extra.labels), ("annotations", &extra.annotations)] {
            let field = format!("{field}.{kind}");
            for key in all.iter().flatten().map(|(key, _)| key) {
                if key.starts_with(labels::OURS) {
                    let reason = format!("{key} is how Midship marks {marked}; choose another name");
                    self.refuse(&field, Code::Invalid, reason);
                } else {
                    self.check_key(key, &field);
                }
            }
        }
    }

    /// Refuses a key that Kubernetes would refuse with each object that has it.
    fn check_key(&mut self, key: &str, field: &str) {
        if !is_key(key) {
            let reason = format!(
                "\"{}\" is no key for Kubernetes; write at most 63 letters, digits and inner '-', '_' and '.', and before them a domain and '/' where there is one",
                key.escape_default()
            );
            self.refuse(field, Code::Invalid, reason);
        }
    }

    /// A value that is an instance's own is what it says, and nothing that only packages may ask for.
    pub(super) fn check_env(&mut self, env: &[EnvVar], field: &str) {
        for variable in env {
            if let Some(placeholder) = variable.value.as_deref().and_then(placeholders::first) {
                let field = format!("{field}.env[{}].value", variable.name);
                self.refuse(field, Code::Invalid, placeholders::refused(placeholder));
            }
        }
    }

    pub(super) fn check_scheduling(&mut self, scheduling: &Scheduling, field: &str) {
        let field = format!("{field}.scheduling");
        for (key, _) in scheduling.node_selector.iter().flatten() {
            self.check_key(key, &format!("{field}.nodeSelector"));
        }
        if let Some(affinity) = &scheduling.affinity {
            self.check_as::<Affinity>(affinity, &format!("{field}.affinity"));
        }
        for (place, toleration) in scheduling.tolerations.iter().flatten().enumerate() {
            self.check_as::<Toleration>(toleration, &format!("{field}.tolerations[{place}]"));
        }
        for (place, constraint) in scheduling.topology_spread_constraints.iter().flatten().enumerate() {
            let field = format!("{field}.topologySpreadConstraints[{place}]");
            self.check_as::<TopologySpreadConstraint>(constraint, &field);
        }
    }

    /// Refuses what Kubernetes would refuse with each pod, or would not read.
    fn check_as<T: DeserializeOwned + Serialize>(&mut self, written: &Value, field: &str) {
        match serde_json::from_value::<T>(written.clone()) {
            Ok(read) => {
                for unknown in unread(written, &json!(read)) {
                    self.refuse(format!("{field}.{unknown}"), Code::Unknown, "Kubernetes has no such field");
                }
            }
            Err(error) => self.refuse(field, Code::Invalid, format!("Kubernetes cannot read it: {error}")),
        }
    }
}

/// What Kubernetes takes for the key of a label or an annotation.
fn is_key(key: &str) -> bool {
    let within = |text: &str, most: usize, inner: &[u8]| {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric();
        let bytes = text.as_bytes();
        (1..=most).contains(&bytes.len())
            && bytes.iter().all(|byte| plain(byte) || inner.contains(byte))
            && bytes.first().is_some_and(plain)
            && bytes.last().is_some_and(plain)
    };
    match key.split_once('/') {
        None => within(key, 63, b"-_."),
        Some((domain, name)) => {
            within(name, 63, b"-_.") && domain.len() <= 253 && domain.split('.').all(|part| within(part, 63, b"-"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_that_kubernetes_takes() {
        for key in ["a", "team", "example.com/cost-center", "a_b.c", "Example.com/A"] {
            assert!(is_key(key), "{key}");
        }
        let long = "a".repeat(64);
        for key in ["", "a b", "-a", "a-", "a/b/c", "/a", "a/", "a..b/c", "-a.b/c", "a_b/c", "ä", long.as_str()] {
            assert!(!is_key(key), "{key}");
        }
    }
}
