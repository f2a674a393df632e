//! Which operations of a source were begun, kept in a ConfigMap beside it: it outlives the operations and the controller.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ObjectMeta, Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};

use super::apply::Outcome;
use super::live::Observed;
use super::look::Seen;
use crate::api::{GitSource, labels};
use crate::cluster::problem::Problem;
use crate::controller::frame::Failure;
use crate::plan::source::once::Begun;
use crate::plan::source::{ObjectId, ObjectKind, Plan, What};

const FIELD: &str = "operations.json";

/// What is known of a source's operations.
#[derive(Default)]
pub struct Operations {
    pub begun: Begun,
    loaded: bool,
    unsaved: bool,
}

impl Operations {
    /// Reads what was kept, where the repository has operations. Nothing is begun before that is known.
    pub async fn load(&mut self, source: &GitSource, seen: &Seen, client: &Client) -> Result<(), Failure> {
        if self.loaded || !seen.desired.iter().any(|desired| desired.id.kind == ObjectKind::Operation) {
            return Ok(());
        }
        self.begun = kept(source, client).await?;
        self.loaded = true;
        Ok(())
    }

    /// Remembers what is there and what was just made.
    pub async fn keep(
        &mut self,
        source: &GitSource,
        client: &Client,
        (seen, live, results): (&Seen, &Observed, &[Outcome]),
    ) -> Result<(), Failure> {
        let label = crate::plan::source::source_label(&source.namespace().unwrap_or_default(), &source.name_any());
        let made = |id: &ObjectId| {
            results.iter().any(|result| result.id == *id && result.failure.is_none() && result.what != What::Delete)
        };
        let there = |id: &ObjectId, digest: &str| {
            let live = live.objects.get(id);
            live.is_some_and(|live| live.source.as_ref() == Some(&label) && live.digest.as_deref() == Some(digest))
        };
        for desired in seen.desired.iter().filter(|desired| desired.id.kind == ObjectKind::Operation) {
            if made(&desired.id) || there(&desired.id, &desired.digest) {
                self.unsaved |= self.begun.note(&desired.id, &desired.digest, Timestamp::now().as_second());
            }
        }
        if !self.unsaved {
            return Ok(());
        }
        self.begun.tidy(&seen.desired);
        let name = name(source);
        let all: Vec<_> = self.begun.all().collect();
        let text = serde_json::to_string(&all).expect("texts and numbers");
        let map = ConfigMap {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                owner_references: source.controller_owner_ref(&()).map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            data: Some(BTreeMap::from([(FIELD.to_owned(), text)])),
            ..ConfigMap::default()
        };
        let parameters = PatchParams::apply(labels::MANAGER).force();
        match api(source, client).patch(&name, &parameters, &Patch::Apply(&map)).await {
            Ok(_) => {
                self.unsaved = false;
                Ok(())
            }
            Err(error) => {
                let problem = Problem::from_kube(&error);
                Err(Failure::new("OperationsNotKept", format!("which operations were begun cannot be kept: {problem}")))
            }
        }
    }

    /// Takes out of a plan what was begun before.
    pub fn hold_back(&self, plan: &mut Plan, seen: &Seen) {
        self.begun.hold_back(plan, &seen.desired);
    }
}

/// What was kept of a source's operations.
pub async fn kept(source: &GitSource, client: &Client) -> Result<Begun, Failure> {
    let name = name(source);
    let kept = api(source, client).get_opt(&name).await.map_err(|error| unread(&name, &Problem::from_kube(&error)))?;
    let Some(text) = kept.and_then(|kept| kept.data).and_then(|mut data| data.remove(FIELD)) else {
        return Ok(Begun::default());
    };
    let all: Vec<(String, String, String, i64)> = serde_json::from_str(&text).map_err(|error| {
        let remedy = "delete it where it is beyond repair: operations that are still in the cluster are then \
                      remembered anew, and all others with a file are done again";
        unread(&name, &Problem::new(format!("{FIELD} cannot be read: {error}"), remedy))
    })?;
    Ok(all.into_iter().collect())
}

fn unread(name: &str, problem: &Problem) -> Failure {
    let message =
        format!("which operations were begun cannot be read from the ConfigMap {name}, and none is begun: {problem}");
    Failure::new("OperationsNotRead", message)
}

fn name(source: &GitSource) -> String {
    format!("{}-operations-begun", source.name_any())
}

fn api(source: &GitSource, client: &Client) -> Api<ConfigMap> {
    Api::namespaced(client.clone(), &source.namespace().unwrap_or_default())
}
