//! Steps that change the instance's spec: as somebody who edits it would, and only while nobody else does.

use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::carry_out::Hands;
use crate::api::{Instance, Operation, labels};
use crate::cluster::problem::Problem;
use crate::plan::operation::change::Change;
use crate::plan::operation::{Outcome, kinds};

/// Who changed an instance because of an operation, as its managed fields tell.
pub const CHANGER: &str = "midship-operation";

impl Hands<'_> {
    pub(super) async fn change(&self) -> Outcome {
        let Some(make) = kinds::of(self.operation.spec.type_).and_then(|kind| kind.change) else {
            return Outcome::Failed { message: "this type changes nothing".to_owned(), refused: true };
        };
        let (instance, spec) = match self.instance().await {
            Ok(there) => there,
            Err(outcome) => return outcome,
        };
        let change = match make(&self.operation.spec, &spec) {
            Ok(change) => change,
            Err(message) => return Outcome::Failed { message, refused: true },
        };
        if change.shows(&spec) {
            return Outcome::Done(Some("the instance says so already".to_owned()));
        }
        if let Err(outcome) = self.record(&change.inverse(&spec)).await {
            return outcome;
        }
        self.write(&instance, &change, &spec).await
    }

    pub(super) async fn change_back(&self) -> Outcome {
        let operation = match self.operations().get(&self.operation.name_any()).await {
            Ok(operation) => operation,
            Err(error) => return passing(&error),
        };
        let Some(before) = operation.annotations().get(labels::BEFORE) else {
            return Outcome::Done(Some("nothing had been changed".to_owned()));
        };
        let Ok(before) = serde_json::from_str::<Change>(before) else {
            let message = format!("the annotation {} cannot be read any more", labels::BEFORE);
            return Outcome::Failed { message, refused: true };
        };
        let (instance, spec) = match self.instance().await {
            Ok(there) => there,
            Err(outcome) => return outcome,
        };
        if before.shows(&spec) {
            return Outcome::Done(Some("the instance is as it was".to_owned()));
        }
        self.write(&instance, &before, &spec).await
    }

    /// The instance as it is now, not as it was seen.
    async fn instance(&self) -> Result<(Instance, Value), Outcome> {
        let instance = self.instances().get(self.operation.spec.instance.as_str()).await;
        let instance = instance.map_err(|error| passing(&error))?;
        let spec = serde_json::to_value(&instance.spec);
        let spec = spec.map_err(|error| Outcome::Failed { message: error.to_string(), refused: true })?;
        Ok((instance, spec))
    }

    /// What was there is written down once, before it is changed.
    async fn record(&self, before: &Change) -> Result<(), Outcome> {
        let name = self.operation.name_any();
        let there = self.operations().get(&name).await.map_err(|error| passing(&error))?;
        if there.annotations().contains_key(labels::BEFORE) {
            return Ok(());
        }
        let text = serde_json::to_string(before)
            .map_err(|error| Outcome::Failed { message: error.to_string(), refused: true })?;
        let patch = json!({ "metadata": { "uid": there.uid(), "annotations": { labels::BEFORE: text } } });
        let written = self.operations().patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        written.map(drop).map_err(|error| passing(&error))
    }

    async fn write(&self, instance: &Instance, change: &Change, spec: &Value) -> Outcome {
        let mut patch = change.patch(spec);
        patch["metadata"] = json!({ "resourceVersion": instance.resource_version() });
        let how = PatchParams { field_manager: Some(CHANGER.to_owned()), ..PatchParams::default() };
        match self.instances().patch(&instance.name_any(), &how, &Patch::Merge(&patch)).await {
            Ok(_) => Outcome::Done(None),
            Err(kube::Error::Api(status)) if status.code == 409 => {
                Outcome::Goes("somebody else changed the instance in this moment; it is tried again".to_owned())
            }
            Err(error) => passing(&error),
        }
    }

    fn instances(&self) -> Api<Instance> {
        Api::namespaced(self.shared.client.clone(), &self.operation.namespace().unwrap_or_default())
    }

    pub(super) fn operations(&self) -> Api<Operation> {
        Api::namespaced(self.shared.client.clone(), &self.operation.namespace().unwrap_or_default())
    }
}

/// What an error of the API server means for a step: what it refuses it refuses again, everything else passes.
pub(super) fn passing(error: &kube::Error) -> Outcome {
    let message = Problem::from_kube(error).to_string();
    match error {
        kube::Error::Api(status) if [400, 403, 404, 405, 409, 422].contains(&status.code) => {
            Outcome::Failed { message, refused: true }
        }
        _ => Outcome::Goes(message),
    }
}
