//! Carrying the mirror out: objects are made, told, and removed as the repository has it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::mirror::{Wanted, without};
use crate::api::conditions::merge;
use crate::api::{API_VERSION, Backup, BackupRepository, BackupStatus, Kind, labels};
use crate::backup::read::Catalog;
use crate::cluster::problem::Problem;
use crate::controller::frame::Failure;
use crate::controller::said::merge_patch;

const AT_ONCE: usize = 8;

pub struct Mirror<'a> {
    pub client: &'a Client,
    pub repository: &'a BackupRepository,
    /// The objects of this repository that are there now.
    pub present: Vec<Arc<Backup>>,
}

impl Mirror<'_> {
    /// Makes objects what they are to be. Nothing is written where nothing differs.
    pub async fn carry_out(&self, wanted: &[Wanted], catalog: &Catalog) -> Result<(), Failure> {
        let here: BTreeSet<&str> = wanted.iter().map(|one| one.spec.id.as_str()).collect();
        // by what they show: somebody may have made another one under the name
        let mut shown: BTreeMap<&str, &Backup> = BTreeMap::new();
        for backup in &self.present {
            shown.entry(backup.spec.id.as_str()).or_insert(backup);
        }
        let shows: Vec<_> = wanted.iter().map(|one| self.show(one, shown.get(one.spec.id.as_str()).copied())).collect();
        futures::stream::iter(shows).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
        for backup in self.present.iter().filter(|backup| !here.contains(backup.spec.id.as_str())) {
            let readable = !catalog.problems.iter().any(|problem| problem.object.contains(&backup.spec.id));
            if readable && self.is_ours(backup) {
                self.remove(backup).await?;
            } else {
                let (phase, finding) = without(backup, catalog);
                let before = backup.status.clone().unwrap_or_default();
                let generation = backup.metadata.generation;
                let conditions = merge(&before.conditions, &[finding], generation, &Time(Timestamp::now()));
                let after =
                    BackupStatus { phase: Some(phase), observed_generation: generation, conditions, ..before.clone() };
                self.say(&backup.name_any(), &before, &after).await?;
            }
        }
        Ok(())
    }

    async fn show(&self, wanted: &Wanted, there: Option<&Backup>) -> Result<(), Failure> {
        let now = Time(Timestamp::now());
        if let Some(backup) = there {
            let before = backup.status.clone().unwrap_or_default();
            let after = wanted.status_after(&before, backup.metadata.generation, &now);
            return self.say(&backup.name_any(), &before, &after).await;
        }
        let mut backup = Backup::new(&wanted.name, wanted.spec.clone());
        let mut labels = vec![(labels::MANAGED_BY.to_owned(), labels::MANAGER.to_owned())];
        labels.extend(wanted.spec.instance.name.as_ref().map(|name| (labels::INSTANCE.to_owned(), name.to_string())));
        backup.metadata = ObjectMeta {
            name: Some(wanted.name.clone()),
            labels: Some(labels.into_iter().collect()),
            owner_references: Some(vec![self.owner()]),
            ..ObjectMeta::default()
        };
        let how = PostParams { field_manager: Some(labels::MANAGER.to_owned()), ..PostParams::default() };
        match self.api().create(&how, &backup).await {
            Ok(made) => {
                let after = wanted.status_after(&BackupStatus::default(), made.metadata.generation, &now);
                self.say(&wanted.name, &BackupStatus::default(), &after).await
            }
            // a cache that lags: its change will be told
            Err(kube::Error::Api(error)) if error.code == 409 => Ok(()),
            Err(error) => Err(refused(&error)),
        }
    }

    async fn say(&self, name: &str, before: &BackupStatus, after: &BackupStatus) -> Result<(), Failure> {
        let value = |status: &BackupStatus| serde_json::to_value(status).unwrap_or_default();
        let Some(change) = merge_patch(&value(before), &value(after)) else { return Ok(()) };
        let patch = Patch::Merge(json!({ "status": change }));
        match self.api().patch_status(name, &PatchParams::default(), &patch).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(error)) if error.code == 404 => Ok(()),
            Err(error) => Err(refused(&error)),
        }
    }

    async fn remove(&self, backup: &Backup) -> Result<(), Failure> {
        let preconditions = Preconditions { uid: backup.uid(), resource_version: None };
        let how = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match self.api().delete(&backup.name_any(), &how).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(error)) if error.code == 404 || error.code == 409 => Ok(()),
            Err(error) => Err(refused(&error)),
        }
    }

    /// Made by a mirror, not by a person.
    fn is_ours(&self, backup: &Backup) -> bool {
        let uid = self.repository.uid();
        backup.owner_references().iter().any(|owner| Some(&owner.uid) == uid.as_ref())
    }

    fn owner(&self) -> OwnerReference {
        OwnerReference {
            api_version: API_VERSION.to_owned(),
            kind: Kind::BackupRepository.as_str().to_owned(),
            name: self.repository.name_any(),
            uid: self.repository.uid().unwrap_or_default(),
            controller: Some(true),
            block_owner_deletion: None,
        }
    }

    fn api(&self) -> Api<Backup> {
        Api::namespaced(self.client.clone(), &self.repository.namespace().unwrap_or_default())
    }
}

fn refused(error: &kube::Error) -> Failure {
    Failure::new("NotMirrored", Problem::from_kube(error))
}
