//! What Midship makes for itself: nobody's file takes it over.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::object::ObjectId;
use crate::api::labels;

/// Why an object that no source applied is Midship's own, where it is.
pub fn reserved(id: &ObjectId, metadata: &ObjectMeta, wanted: &Value) -> Option<String> {
    // the files of a package, which others may have installed before
    if wanted["metadata"]["labels"][labels::EXTENSION].is_string() {
        return None;
    }
    let owner = metadata.owner_references.iter().flatten().find(|owner| owner.api_version.starts_with(labels::OURS));
    if let Some(owner) = owner {
        return Some(format!("Midship made it for the {} {}", owner.kind, owner.name));
    }
    let has = |key: &str, value: Option<&str>| {
        let found = metadata.labels.as_ref().and_then(|all| all.get(key));
        found.is_some_and(|found| value.is_none_or(|value| found == value))
    };
    let made = has(labels::MANAGED_BY, Some(labels::MANAGER))
        || [labels::INSTANCE, labels::COMPONENT, labels::EXTENSION].iter().any(|key| has(key, None));
    made.then(|| format!("Midship made this {}, as its labels say", id.kind.as_str()))
}
