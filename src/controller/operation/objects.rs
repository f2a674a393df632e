//! Steps of one's own that apply or delete objects. Whoever may make Operations may not do more by them than with
//! instances: only kinds without power over others are possible.

use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use kube::{Api, ResourceExt};
use serde_json::Value;

use super::carry_out::Hands;
use super::change::{CHANGER, passing};
use crate::api::API_VERSION;
use crate::api::operation::ObjectTarget;
use crate::plan::operation::Outcome;

/// Kinds that steps can be about: version, kind, plural.
const KINDS: [(&str, &str, &str); 4] = [
    ("v1", "ConfigMap", "configmaps"),
    (API_VERSION, "Instance", "instances"),
    (API_VERSION, "BackupPolicy", "backuppolicies"),
    (API_VERSION, "BackupRepository", "backuprepositories"),
];

impl Hands<'_> {
    pub(super) async fn apply(&self, object: &Value) -> Outcome {
        let text = |field: &str| object[field].as_str().unwrap_or_default();
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let api = match self.objects(text("apiVersion"), text("kind")) {
            Ok(api) => api,
            Err(message) => return Outcome::Failed { message, refused: true },
        };
        let namespace = object["metadata"]["namespace"].as_str();
        if name.is_empty() || namespace.is_some_and(|named| Some(named) != self.operation.namespace().as_deref()) {
            let message = "the object needs a name, and can be in no namespace but that of the operation".to_owned();
            return Outcome::Failed { message, refused: true };
        }
        match api.patch(name, &PatchParams::apply(CHANGER), &Patch::Apply(object)).await {
            Ok(_) => Outcome::Done(None),
            Err(error) => passing(&error),
        }
    }

    pub(super) async fn delete(&self, target: &ObjectTarget) -> Outcome {
        let api = match self.objects(&target.api_version, &target.kind) {
            Ok(api) => api,
            Err(message) => return Outcome::Failed { message, refused: true },
        };
        match api.delete(target.name.as_str(), &DeleteParams::background()).await {
            Ok(_) => Outcome::Done(None),
            Err(kube::Error::Api(status)) if status.code == 404 => {
                Outcome::Done(Some("it was not there any more".to_owned()))
            }
            Err(error) => passing(&error),
        }
    }

    fn objects(&self, api_version: &str, kind: &str) -> Result<Api<DynamicObject>, String> {
        let known = KINDS.iter().find(|(version, known, _)| *version == api_version && *known == kind);
        let Some((_, _, plural)) = known else {
            let possible: Vec<&str> = KINDS.iter().map(|(_, kind, _)| *kind).collect();
            return Err(format!(
                "steps cannot be about {api_version} {kind}, only about {}: apply other kinds yourself, or in Git",
                crate::extension::problem::listed(possible)
            ));
        };
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            plural: (*plural).to_owned(),
        };
        let namespace = self.operation.namespace().unwrap_or_default();
        Ok(Api::namespaced_with(self.shared.client.clone(), &namespace, &resource))
    }
}
