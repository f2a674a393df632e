//! A source that is deleted: its objects stay, or go with it, as its spec says. That can be changed until the end.

use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::objects;
use super::{GitSources, live};
use crate::api::git_source::SourceDeletionPolicy;
use crate::api::{GitSource, labels};
use crate::cluster::Key;
use crate::cluster::problem::Problem;
use crate::controller::frame::Failure;
use crate::plan::source::{ObjectId, ObjectKind, source_label};

/// How many objects a message names.
const NAMED: usize = 5;

/// How leaving stands.
pub enum Leaving {
    Gone,
    /// What is still there, and why.
    Waits(String),
}

/// Whether this source takes its objects along.
pub fn takes_along(source: &GitSource) -> bool {
    source.spec.deletion_policy == Some(SourceDeletionPolicy::Delete)
}

/// Holds the source until its objects are gone, or lets it go.
pub async fn hold(client: &Client, source: &GitSource, held: bool) -> Result<(), Failure> {
    let before = source.finalizers();
    if before.iter().any(|one| one == labels::FINALIZER) == held {
        return Ok(());
    }
    let mut finalizers: Vec<&str> = before.iter().map(String::as_str).filter(|one| *one != labels::FINALIZER).collect();
    if held {
        finalizers.push(labels::FINALIZER);
    }
    // the version tells whether somebody else changed them meanwhile
    let version = &source.metadata.resource_version;
    let patch = json!({ "metadata": { "finalizers": finalizers, "resourceVersion": version } });
    let api: Api<GitSource> = Api::namespaced(client.clone(), &source.namespace().unwrap_or_default());
    match api.patch_metadata(&source.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(Failure::new("FinalizerNotWritten", Problem::from_kube(&error))),
    }
}

impl GitSources {
    /// What a source applied is nobody's any more.
    pub(super) async fn let_go(&self, source: &GitSource) {
        let account = source.spec.service_account_name.as_ref().map(ToString::to_string);
        let namespace = source.namespace().unwrap_or_default();
        let problem = match super::settings::acting(&namespace, account.as_deref(), &self.client, &self.config) {
            Ok(client) => self.release(source, &client).await.err().map(|problem| problem.to_string()),
            Err(failure) => Some(failure.message),
        };
        if let Some(problem) = problem {
            tracing::warn!(problem, "what the source applied keeps its name");
        }
    }

    /// Takes the source's name off what it applied, so that another can take it up. What cannot be changed keeps it, and is
    /// free all the same once the source is gone.
    async fn release(&self, source: &GitSource, client: &Client) -> Result<(), Problem> {
        let own = source.namespace().unwrap_or_default();
        let label = source_label(&own, &source.name_any());
        let namespaces = super::settings::allowed(&source.spec.namespaces, &own);
        let found = live::applied(&self.caches, client, &label, namespaces.as_ref())
            .await
            .map_err(|error| Problem::from_kube(&error))?;
        let assumes = source.status.as_ref().is_some_and(|status| status.settings.is_some());
        for (id, uid, _) in found.into_iter().filter(|(id, ..)| !(assumes && self.needs_source(id))) {
            if let Err(error) = free(client, &id, &uid).await {
                tracing::warn!(object = %id, problem = %Problem::from_kube(&error), "it keeps the name of its source");
            }
        }
        Ok(())
    }

    /// An instance that is what it is by what the source's repository assumes for its environment keeps the name: without
    /// it, it would become another one. It says that its source is missing, and what to do.
    fn needs_source(&self, id: &ObjectId) -> bool {
        let key = Key { namespace: id.namespace.clone(), name: id.name.clone() };
        let instance = self.caches.instances.get(&key).filter(|_| id.kind == ObjectKind::Instance);
        let resolved = instance.as_ref().and_then(|instance| instance.status.as_ref()?.resolved.as_ref());
        resolved.is_some_and(|resolved| resolved.environment.is_some())
    }

    /// Deletes what the source applied, the newest kinds first. Namespaces stay: whatever else is in them is not ours. What
    /// another source defines too is left to that one.
    pub(super) async fn leave(&self, source: &GitSource, client: &Client) -> Result<Leaving, Failure> {
        let own = source.namespace().unwrap_or_default();
        let label = source_label(&own, &source.name_any());
        let namespaces = super::settings::allowed(&source.spec.namespaces, &own);
        let found = live::applied(&self.caches, client, &label, namespaces.as_ref())
            .await
            .map_err(|error| Failure::new("NotObserved", Problem::from_kube(&error)))?;
        let assumes = source.status.as_ref().is_some_and(|status| status.settings.is_some());
        let to_go = found.iter().filter(|(id, _, deleting)| id.kind != ObjectKind::Namespace && !deleting);
        let to_go: Vec<ObjectId> = to_go.map(|(id, ..)| id.clone()).collect();
        let powerless = self.powerless(&label, &to_go).await;
        let mut left: Vec<String> = Vec::new();
        let objects = found.into_iter().filter(|(id, ..)| id.kind != ObjectKind::Namespace).rev();
        for (id, uid, deleting) in objects {
            let claimed = match self.claim(&label, &id, &powerless).filter(|_| !deleting) {
                Some(claim) if !claim.certain => {
                    left.push(format!("{id} ({})", claim.told));
                    continue;
                }
                claim => claim.is_some(),
            };
            let keeps = assumes && self.needs_source(&id);
            let ended =
                if deleting { Ok(false) } else { end(client, (&id, uid), (label.as_str(), keeps), claimed).await };
            match ended {
                Ok(true) => {}
                Ok(false) => left.push(id.to_string()),
                Err(error) => left.push(format!("{id} ({})", Problem::from_kube(&error))),
            }
        }
        if left.is_empty() {
            return Ok(Leaving::Gone);
        }
        let number = left.len();
        left.truncate(NAMED);
        let more = if number > NAMED { format!(" and {} more", number - NAMED) } else { String::new() };
        Ok(Leaving::Waits(format!(
            "deleted with what it applied; {} still there{more}. To leave them where they are, set spec.deletionPolicy to Orphan",
            left.join(", ")
        )))
    }
}

/// Deletes an object, or frees it where somebody else claims it, as long as it has the name of this source: others may have
/// taken it over since it was looked at. Whether it need not be waited for.
async fn end(
    client: &Client,
    (id, seen): (&ObjectId, String),
    (label, keeps): (&str, bool),
    claimed: bool,
) -> Result<bool, kube::Error> {
    let api = objects::api(client, id);
    let (uid, resource_version) = match api.get_metadata_opt(&id.name).await {
        Ok(Some(there)) if there.labels().get(labels::SOURCE).is_some_and(|found| found == label) => {
            (there.metadata.uid.unwrap_or(seen), there.metadata.resource_version)
        }
        Ok(_) => return Ok(true),
        // whoever may delete and not look goes by what was seen
        Err(kube::Error::Api(status)) if status.code == 403 => (seen, None),
        Err(error) => return Err(error),
    };
    if claimed {
        // one that keeps its name waits as it is, and is anybody's once this source is gone
        if !keeps {
            free(client, id, &uid).await?;
        }
        return Ok(true);
    }
    let preconditions = Some(Preconditions { uid: Some(uid), resource_version });
    let parameters = DeleteParams { preconditions, ..DeleteParams::background() };
    match api.delete(&id.name, &parameters).await {
        Ok(_) => Ok(false),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(true),
        // it changed in between, and is looked at again
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes the name of its source off exactly the object that was looked at. Where that is not there any more, nothing is to do.
async fn free(client: &Client, id: &ObjectId, uid: &str) -> Result<(), kube::Error> {
    let parameters = PatchParams { field_manager: Some(labels::MANAGER.into()), ..PatchParams::default() };
    let patch = json!({ "metadata": {
        "uid": uid,
        "labels": { (labels::SOURCE): null },
        "annotations": { (labels::SOURCE_PATH): null, (labels::SOURCE_COMMIT): null, (objects::DIGEST): null },
    } });
    match objects::api(client, id).patch(&id.name, &parameters, &Patch::Merge(&patch)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(error),
    }
}
