//! The end of an instance, in order: pods, volumes where three things agree, everything else by its owner.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::apply::Hand;
use super::observe::Observed;
use crate::api::{API_VERSION, Instance, Kind, labels};
use crate::cluster::problem::Problem;
use crate::controller::frame::Failure;
use crate::extension::naming;
use crate::plan::instance::parts::PartId;
use crate::plan::instance::removal::{Remains, Step, next};

/// After so long somebody is asked to look.
const OVERDUE: Duration = Duration::from_mins(10);
/// Pods that end are looked at again after so long.
pub const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// How far it came.
pub enum Progress {
    /// The finalizer is gone, and the object with it.
    Gone,
    Waits {
        message: String,
        overdue: bool,
    },
}

/// Does what can be done now.
pub async fn remove(client: &Client, instance: &Instance, observed: &Observed) -> Result<Progress, Failure> {
    if !instance.finalizers().iter().any(|one| one == labels::FINALIZER) {
        return Ok(Progress::Gone);
    }
    let (namespace, name) = (instance.namespace().unwrap_or_default(), instance.name_any());
    let hand = Hand { client, namespace: &namespace, instance: &name };
    let mut remains = look(client, instance, observed).await?;
    // each step changes what is left; a deletion that was asked for is waited for
    for _ in 0..4 {
        match next(&remains) {
            Step::Record(volumes) => {
                record(client, instance, &volumes).await?;
                remains.intent = Some(volumes);
            }
            Step::DeleteComponents(components) => {
                for component in &components {
                    hand.delete(&PartId::new(API_VERSION, Kind::Component.as_str(), component), None).await?;
                    remains.components.insert(component.clone(), true);
                }
            }
            Step::Wait(message) => return Ok(waits(instance, message)),
            Step::DeleteVolumes(volumes) => {
                for (volume, uid) in &volumes {
                    delete_volume(client, &namespace, volume, uid).await?;
                    remains.volumes.remove(volume);
                }
            }
            Step::Release { keep_credentials } => {
                if keep_credentials {
                    keep(client, &namespace, &naming::credentials(&name)).await?;
                }
                release(client, instance).await?;
                return Ok(Progress::Gone);
            }
        }
    }
    Ok(waits(instance, "it is being deleted".to_owned()))
}

fn waits(instance: &Instance, message: String) -> Progress {
    let since = instance.metadata.deletion_timestamp.as_ref().map(|time| time.0);
    let age = since.map(|since| Timestamp::now().duration_since(since));
    let overdue = age.is_some_and(|age| age.unsigned_abs() > OVERDUE);
    let hint = "; to delete it without waiting and keep its volumes: kubectl annotate instance";
    let message = if overdue {
        format!("{message}{hint} {} {}=true", instance.name_any(), labels::DELETE_ANYWAY)
    } else {
        message
    };
    Progress::Waits { message, overdue }
}

async fn look(client: &Client, instance: &Instance, observed: &Observed) -> Result<Remains, Failure> {
    let (namespace, name) = (instance.namespace().unwrap_or_default(), instance.name_any());
    let ours = ListParams::default().labels(&format!("{}={name}", labels::INSTANCE));
    let failed = |error: kube::Error| Failure::new("NotReadable", Problem::from_kube(&error));
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let pods = pods.list_metadata(&ours).await.map_err(failed)?;
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &namespace);
    let claims = claims.list_metadata(&ours).await.map_err(failed)?;
    let annotations = instance.annotations();
    let recorded = annotations.get(labels::VOLUMES_TO_DELETE);
    let claims = claims.items.iter().filter(|claim| claim.metadata.deletion_timestamp.is_none());
    Ok(Remains {
        policy: instance.spec.deletion_policy,
        policy_in_force: observed.components.iter().find_map(|component| component.spec.deletion_policy),
        // what cannot be read agrees to nothing
        intent: recorded.map(|text| serde_json::from_str(text).unwrap_or_default()),
        components: observed
            .components
            .iter()
            .map(|component| (component.name_any(), component.metadata.deletion_timestamp.is_some()))
            .collect(),
        pod_sets: observed.pod_sets.len(),
        pods: pods.items.iter().map(ResourceExt::name_any).collect(),
        volumes: claims.map(|claim| (claim.name_any(), claim.uid().unwrap_or_default())).collect(),
        anyway: annotations.get(labels::DELETE_ANYWAY).is_some_and(|value| value == "true"),
    })
}

async fn record(client: &Client, instance: &Instance, volumes: &BTreeMap<String, String>) -> Result<(), Failure> {
    let text = serde_json::to_string(volumes).unwrap_or_default();
    patch(client, instance, json!({ "metadata": { "annotations": { labels::VOLUMES_TO_DELETE: text } } })).await
}

async fn release(client: &Client, instance: &Instance) -> Result<(), Failure> {
    let left: Vec<&String> = instance.finalizers().iter().filter(|one| *one != labels::FINALIZER).collect();
    patch(client, instance, json!({ "metadata": { "finalizers": left } })).await
}

/// Changes the metadata of an instance; one that is gone needs no change.
pub async fn patch(client: &Client, instance: &Instance, patch: Value) -> Result<(), Failure> {
    let api: Api<Instance> = Api::namespaced(client.clone(), &instance.namespace().unwrap_or_default());
    let parameters = PatchParams { field_manager: Some(labels::MANAGER.to_owned()), ..PatchParams::default() };
    match api.patch_metadata(&instance.name_any(), &parameters, &Patch::Merge(&patch)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(error)) if error.code == 404 => Ok(()),
        Err(error) => Err(Failure::new("NotWritten", Problem::from_kube(&error))),
    }
}

async fn delete_volume(client: &Client, namespace: &str, name: &str, uid: &str) -> Result<(), Failure> {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    let preconditions = Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None });
    match api.delete(name, &DeleteParams { preconditions, ..DeleteParams::background() }).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(error)) if error.code == 404 || error.code == 409 => Ok(()),
        Err(error) => Err(Failure::new("VolumeNotDeleted", Problem::from_kube(&error).at(format!("volume {name}")))),
    }
}

/// Volumes are of no use without the passwords of those who wrote to them.
async fn keep(client: &Client, namespace: &str, name: &str) -> Result<(), Failure> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let parameters = PatchParams { field_manager: Some(labels::MANAGER.to_owned()), ..PatchParams::default() };
    let patch = Patch::Merge(json!({ "metadata": { "ownerReferences": null } }));
    match api.patch_metadata(name, &parameters, &patch).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(error)) if error.code == 404 => Ok(()),
        Err(error) => Err(Failure::new("NotWritten", Problem::from_kube(&error).at(format!("Secret {name}")))),
    }
}
