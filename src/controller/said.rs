//! Saying the status of an object: only what changed is written, and nothing that others wrote is touched.

use kube::api::{Patch, PatchParams};
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::frame::Failure;
use crate::cluster::parts::resource_version;
use crate::cluster::problem::Problem;

/// The status that was written last, which caches may not have seen yet.
#[derive(Clone, Debug)]
pub struct Said<S> {
    last: Option<(u64, S)>,
}

impl<S> Default for Said<S> {
    fn default() -> Self {
        Self { last: None }
    }
}

impl<S: Clone + Default + PartialEq + Serialize> Said<S> {
    /// The newest status that is known: the one in the cache, or the one that was written since.
    pub fn newest<K: Resource>(&self, object: &K, cached: Option<&S>) -> S {
        match &self.last {
            Some((version, status)) if resource_version(object.meta()) < *version => status.clone(),
            _ => cached.cloned().unwrap_or_default(),
        }
    }

    /// Writes what is new.
    pub async fn say<K>(&mut self, api: &Api<K>, name: &str, before: &S, after: S) -> Result<(), Failure>
    where
        K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let value = |status: &S| serde_json::to_value(status).unwrap_or_default();
        let Some(change) = merge_patch(&value(before), &value(&after)) else { return Ok(()) };
        let patch = json!({ "status": change });
        match api.patch_status(name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Ok(object) => {
                self.last = Some((resource_version(object.meta()), after));
                Ok(())
            }
            // it was deleted meanwhile
            Err(kube::Error::Api(error)) if error.code == 404 => Ok(()),
            Err(error) => Err(Failure::new("StatusNotWritten", Problem::from_kube(&error))),
        }
    }
}

/// A patch after which an object has this status and nothing of the one before, however deep.
pub fn whole<S: Serialize>(status: &S) -> Result<Patch<()>, Failure> {
    let operations = json!([{ "op": "add", "path": "/status", "value": status }]);
    let patch = serde_json::from_value(operations);
    patch.map(Patch::Json).map_err(|error| Failure::new("StatusNotWritten", error))
}

/// The merge patch (RFC 7396) that turns one value into the other; nothing where they are the same.
pub fn merge_patch(before: &Value, after: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        return (before != after).then(|| after.clone());
    };
    let mut patch = Map::new();
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in new {
        match old.get(key) {
            None => {
                patch.insert(key.clone(), value.clone());
            }
            Some(was) => {
                if let Some(change) = merge_patch(was, value) {
                    patch.insert(key.clone(), change);
                }
            }
        }
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_written_and_what_went_is_taken_away() {
        let before = json!({ "phase": "Creating", "resolved": { "a": 1, "b": { "c": 2 } }, "same": [1] });
        let after = json!({ "phase": "Running", "resolved": { "a": 1, "b": {} }, "same": [1] });
        let patch = merge_patch(&before, &after);
        assert_eq!(patch, Some(json!({ "phase": "Running", "resolved": { "b": { "c": null } } })));
        assert_eq!(merge_patch(&after, &after), None);
    }
}
