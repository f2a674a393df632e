//! Templates that were good, kept in the cluster as ControllerRevisions, so that pods can go back to them.

use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::memory::Remembered;
use crate::api::pod_set::PodTemplate;
use crate::api::{PodSet, labels};
use crate::cluster::problem::Problem;
use crate::controller::frame::Failure;
use crate::plan::pod_set::Template;

/// Keeps the template, and has the last good one at hand where that is another.
pub async fn keep(
    client: &Client,
    set: &PodSet,
    remembered: &mut Remembered,
    template: &Template,
) -> Result<(), Failure> {
    let api: Api<ControllerRevision> = Api::namespaced(client.clone(), &set.namespace().unwrap_or_default());
    let name = set.name_any();
    if remembered.stored.as_ref() != Some(&template.revision) {
        let object = json!({
            "apiVersion": "apps/v1",
            "kind": "ControllerRevision",
            "metadata": {
                "name": format!("{name}-{}", template.revision),
                "labels": labels_of(set),
                "ownerReferences": [super::owner_reference(set)],
            },
            "data": template.to_keep(),
            "revision": set.metadata.generation.unwrap_or(1),
        });
        let object: ControllerRevision =
            serde_json::from_value(object).map_err(|error| Failure::new("RevisionNotKept", error))?;
        match api.create(&PostParams::default(), &object).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(Failure::new("RevisionNotKept", Problem::from_kube(&error))),
        }
        remembered.stored = Some(template.revision.clone());
    }
    let good = set.status.as_ref().and_then(|status| status.last_good_revision.clone());
    if let Some(good) = good.filter(|good| *good != template.revision && !remembered.kept.contains_key(good)) {
        let found = api.get_opt(&format!("{name}-{good}")).await;
        let found = found.map_err(|error| Failure::new("RevisionNotRead", Problem::from_kube(&error)))?;
        let kept = found.and_then(|found| serde_json::from_value::<PodTemplate>(found.data?.0).ok());
        if let Some(kept) = kept {
            remembered.kept.insert(good, kept);
        } else {
            tracing::warn!(revision = good, "the last good template was not kept; there is no way back to it");
        }
    }
    Ok(())
}

/// Deletes what was kept and nobody can go back to any more.
pub async fn prune(client: &Client, set: &PodSet, needed: &[&str]) -> Result<(), Failure> {
    let api: Api<ControllerRevision> = Api::namespaced(client.clone(), &set.namespace().unwrap_or_default());
    let selector: Vec<String> = labels_of(set).into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    let all = api.list(&ListParams::default().labels(&selector.join(","))).await;
    let all = all.map_err(|error| Failure::new("RevisionsNotListed", Problem::from_kube(&error)))?;
    let prefix = format!("{}-", set.name_any());
    for old in all {
        let name = old.name_any();
        let owned = old.owner_references().iter().any(|owner| Some(&owner.uid) == set.metadata.uid.as_ref());
        let revision = name.strip_prefix(&prefix);
        if !owned || revision.is_none_or(|revision| needed.contains(&revision)) {
            continue;
        }
        match api.delete(&name, &DeleteParams::default()).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(Failure::new("RevisionNotDeleted", Problem::from_kube(&error))),
        }
    }
    Ok(())
}

fn labels_of(set: &PodSet) -> std::collections::BTreeMap<&'static str, String> {
    std::collections::BTreeMap::from([
        (labels::MANAGED_BY, labels::MANAGER.to_owned()),
        (labels::INSTANCE, set.spec.instance.to_string()),
        (labels::COMPONENT, set.spec.component.to_string()),
        (labels::GROUP, set.spec.group.to_string()),
    ])
}
