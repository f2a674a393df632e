//! Pods, claims and patches as they are sent to the API server.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::observed::Pod;
use super::template::{OWN_LABELS, Template};
use crate::api::labels;
use crate::api::pod_set::PodSetSpec;
use crate::extension::naming;

/// Who owns the pods.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    pub name: &'a str,
    pub namespace: &'a str,
    pub uid: &'a str,
}

/// A pod of the set.
pub fn pod(owner: Owner<'_>, set: &PodSetSpec, template: &Template, ordinal: u16) -> Value {
    let name = format!("{}-{ordinal}", owner.name);
    let mut spec = template.spec.clone();
    spec["hostname"] = json!(name);
    if let Some(service) = &set.service_name {
        spec["subdomain"] = json!(service);
    }
    let claims = template.pod.volumes.iter().flatten().map(
        |(volume, _)| json!({ "name": volume, "persistentVolumeClaim": { "claimName": naming::claim(volume, &name) } }),
    );
    let volumes: Vec<Value> =
        spec["volumes"].as_array().cloned().unwrap_or_default().into_iter().chain(claims).collect();
    if !volumes.is_empty() {
        spec["volumes"] = json!(volumes);
    }
    let mut pod_labels = template.labels.clone();
    pod_labels.extend(own_labels(set, ordinal));
    pod_labels.insert(labels::REVISION.to_owned(), template.revision.clone());
    let mut annotations = template.annotations.clone();
    annotations.insert(labels::MADE_FROM.to_owned(), json!(template.parts).to_string());
    if let Some(revision) = &set.template.config_revision {
        annotations.insert(labels::CONFIG_REVISION.to_owned(), revision.clone());
    }
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": owner.namespace,
            "labels": pod_labels,
            "annotations": annotations,
            "ownerReferences": [{
                "apiVersion": crate::api::API_VERSION,
                "kind": "PodSet",
                "name": owner.name,
                "uid": owner.uid,
                "controller": true,
                "blockOwnerDeletion": true,
            }],
        },
        "spec": spec,
    })
}

/// What every pod and claim of an ordinal is labelled with.
fn own_labels(set: &PodSetSpec, ordinal: u16) -> BTreeMap<String, String> {
    BTreeMap::from([
        (labels::MANAGED_BY.to_owned(), labels::MANAGER.to_owned()),
        (labels::INSTANCE.to_owned(), set.instance.to_string()),
        (labels::COMPONENT.to_owned(), set.component.to_string()),
        (labels::GROUP.to_owned(), set.group.to_string()),
        (labels::ORDINAL.to_owned(), ordinal.to_string()),
    ])
}

/// The claim of a volume. Nobody owns it: it goes only when that was agreed.
pub fn claim(namespace: &str, name: &str, set: &PodSetSpec, volume: &str, ordinal: u16) -> Option<Value> {
    let storage = set.template.volumes.as_ref()?.get(volume)?;
    let mut spec = json!({
        "accessModes": ["ReadWriteOnce"],
        "resources": { "requests": { "storage": storage.size } },
    });
    if let Some(class) = &storage.storage_class_name {
        spec["storageClassName"] = json!(class);
    }
    Some(json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": { "name": name, "namespace": namespace, "labels": claim_labels(set, volume, ordinal) },
        "spec": spec,
    }))
}

/// The labels of a claim, those of the instance's owner among them.
pub fn claim_labels(set: &PodSetSpec, volume: &str, ordinal: u16) -> BTreeMap<String, String> {
    let storage = set.template.volumes.as_ref().and_then(|volumes| volumes.get(volume));
    let mut all = storage.and_then(|storage| storage.labels.clone()).unwrap_or_default();
    all.extend(own_labels(set, ordinal));
    all.insert(labels::VOLUME.to_owned(), volume.to_owned());
    all
}

/// Labels and annotations of a live pod that come from the template and are not as it says: a merge patch.
pub fn metadata_changes(pod: &Pod, template: &Template) -> Option<Value> {
    let before = pod.parts.clone().unwrap_or_default();
    let labels = changes(&pod.labels, &template.labels, &before.labels, &OWN_LABELS);
    let annotations = changes(&pod.annotations, &template.annotations, &before.annotations, &[]);
    (!labels.is_empty() || !annotations.is_empty()).then(|| json!({ "labels": labels, "annotations": annotations }))
}

fn changes(
    live: &BTreeMap<String, String>,
    wanted: &BTreeMap<String, String>,
    applied: &[String],
    not_ours: &[&str],
) -> Map<String, Value> {
    let set = wanted.iter().filter(|(key, value)| live.get(*key) != Some(value) && !not_ours.contains(&key.as_str()));
    let mut all: Map<String, Value> = set.map(|(key, value)| (key.clone(), json!(value))).collect();
    let gone = applied
        .iter()
        .filter(|key| !wanted.contains_key(*key) && live.contains_key(*key) && !not_ours.contains(&key.as_str()));
    all.extend(gone.map(|key| (key.clone(), Value::Null)));
    all
}

/// The patch that brings a live pod to a template as far as that goes in place, resources apart.
pub fn in_place(pod: &Pod, template: &Template, images: bool, now: Timestamp) -> Value {
    let mut patch = json!({
        "metadata": metadata_changes(pod, template).unwrap_or_else(|| json!({})),
    });
    patch["metadata"]["labels"][labels::REVISION] = json!(template.revision);
    patch["metadata"]["annotations"][labels::MADE_FROM] = json!(json!(template.parts).to_string());
    patch["metadata"]["annotations"][labels::CHANGED_AT] = json!(now.to_string());
    if images {
        let named = |list: &str, only: Option<&str>| -> Vec<Value> {
            let all = template.spec[list].as_array().into_iter().flatten();
            all.filter(|container| only.is_none_or(|only| container["name"] == only))
                .map(|container| json!({ "name": container["name"], "image": container["image"] }))
                .collect()
        };
        patch["spec"] = json!({ "containers": named("containers", None) });
        let replaced = pod.containers.iter().filter(|(name, now)| {
            let mut all = template.spec["containers"].as_array().into_iter().flatten();
            all.any(|then| then["name"] == name.as_str() && then["image"] != now.image.as_str())
        });
        let replaced: Vec<&str> = replaced.filter_map(|(_, now)| now.id.as_deref()).collect();
        patch["metadata"]["annotations"][labels::REPLACES] = json!(replaced.join(","));
        let init = named("initContainers", Some(super::template::INIT));
        if !init.is_empty() {
            patch["spec"]["initContainers"] = json!(init);
        }
    }
    patch
}

/// The patch of the resize subresource.
pub fn resize(template: &Template) -> Value {
    let all = template.spec["containers"].as_array().into_iter().flatten();
    let containers: Vec<Value> = all
        .filter(|container| container.get("resources").is_some())
        .map(|container| json!({ "name": container["name"], "resources": container["resources"] }))
        .collect();
    json!({ "spec": { "containers": containers } })
}

/// The annotations of a pod as a patch.
pub fn annotate(annotations: &[(&str, &str)]) -> Value {
    let all: Map<String, Value> = annotations.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
    json!({ "metadata": { "annotations": all } })
}
