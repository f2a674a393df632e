//! Templates of pods in parts, each with a digest: what differs decides how little a change has to disturb.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::api::labels;
use crate::api::pod_set::{PodSetSpec, PodTemplate};
use crate::api::values::Quantity;

/// The init container that brings Midship's own program. Its image takes effect when the pod next starts, so that a
/// newer one is no reason to start it.
pub const INIT: &str = "midship-init";
/// The container of the agent.
pub const AGENT: &str = "midship";
/// Resources that Kubernetes can change while a container runs.
const ELASTIC: [&str; 2] = ["cpu", "memory"];

/// Digests of the parts of a template, and which labels and annotations came from it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Parts {
    /// Everything that can only be had by a new pod.
    pub spec: String,
    pub images: String,
    pub resources: String,
    pub labels: Vec<String>,
    pub annotations: Vec<String>,
}

/// Requests and limits of each container.
pub type Resources = BTreeMap<String, ContainerResources>;

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ContainerResources {
    pub requests: BTreeMap<String, Quantity>,
    pub limits: BTreeMap<String, Quantity>,
}

/// A template with what follows from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    pub pod: PodTemplate,
    /// Its pods as Kubernetes writes them.
    pub spec: Value,
    /// Digest of all but the revision of the configuration and the sizes of volumes.
    pub revision: String,
    pub parts: Parts,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
}

impl Template {
    pub fn of(spec: &PodSetSpec, pod: &PodTemplate) -> Self {
        let metadata = pod.metadata.clone().unwrap_or_default();
        let (labels, annotations) = (texts(&metadata["labels"]), texts(&metadata["annotations"]));
        let whole = pod.spec.open();
        let mut rest = whole.clone();
        let images = take(&mut rest, &["containers", "initContainers"], |container, list| {
            let in_place = list == "containers" || container["name"] == INIT;
            in_place.then(|| container.remove("image")).flatten()
        });
        let resources = take(&mut rest, &["containers"], |container, _| {
            let taken = container.get_mut("resources").and_then(elastic);
            if container.get("resources").is_some_and(|left| left.as_object().is_some_and(Map::is_empty)) {
                container.remove("resources");
            }
            taken
        });
        let volumes: Vec<&String> = pod.volumes.iter().flat_map(BTreeMap::keys).collect();
        let parts = Parts {
            spec: digest(&json!({ "pod": rest, "volumes": volumes, "subdomain": spec.service_name })),
            images: digest(&images),
            resources: digest(&resources),
            labels: labels.keys().cloned().collect(),
            annotations: annotations.keys().cloned().collect(),
        };
        let revision = digest(&json!([parts.spec, parts.images, parts.resources, labels, annotations]));
        Self { pod: pod.clone(), spec: whole, revision, parts, labels, annotations }
    }

    /// What is kept of it for later.
    pub fn to_keep(&self) -> Value {
        json!({ "metadata": self.pod.metadata, "spec": self.spec, "volumes": self.pod.volumes })
    }

    pub fn has_agent(&self) -> bool {
        containers(&self.spec).any(|container| container["name"] == AGENT)
    }

    /// Requests and limits as Kubernetes completes them: a limit without a request is one.
    pub fn resources(&self) -> Resources {
        containers(&self.spec).filter_map(named_resources).collect()
    }

    /// Why the resources of a running pod cannot become these, where they cannot.
    pub fn not_in_place(&self, live: &Resources, qos: Option<&str>) -> Option<String> {
        let wanted = self.resources();
        for (name, now) in live {
            let Some(then) = wanted.get(name) else { continue };
            for (kind, before, after) in
                [("request", &now.requests, &then.requests), ("limit", &now.limits, &then.limits)]
            {
                let gone = before.keys().find(|key| ELASTIC.contains(&key.as_str()) && !after.contains_key(*key));
                if let Some(gone) = gone {
                    return Some(format!("the {kind} of {gone} of container {name} cannot be taken away in place"));
                }
            }
        }
        let after = quality(&wanted, containers(&self.spec).count());
        let before = qos?;
        (before != after).then(|| format!("its quality of service would change from {before} to {after}"))
    }
}

fn containers(spec: &Value) -> impl Iterator<Item = &Value> {
    spec["containers"].as_array().into_iter().flatten()
}

/// The resources of one container, by its name.
pub fn named_resources(container: &Value) -> Option<(String, ContainerResources)> {
    let name = container["name"].as_str()?.to_owned();
    let mut resources: ContainerResources =
        container.get("resources").and_then(|given| serde_json::from_value(given.clone()).ok()).unwrap_or_default();
    for (key, limit) in &resources.limits {
        resources.requests.entry(key.clone()).or_insert_with(|| limit.clone());
    }
    Some((name, resources))
}

/// The class of quality of service Kubernetes would give.
fn quality(all: &Resources, containers: usize) -> &'static str {
    let none = |one: &ContainerResources| {
        !ELASTIC.iter().any(|key| one.requests.contains_key(*key) || one.limits.contains_key(*key))
    };
    let whole = |one: &ContainerResources| {
        ELASTIC.iter().all(|key| {
            let amount =
                |of: &BTreeMap<String, Quantity>| of.get(*key).and_then(|q| crate::extension::quantity::number(&q.0));
            one.limits.contains_key(*key) && amount(&one.limits) == amount(&one.requests)
        })
    };
    if all.values().all(none) {
        "BestEffort"
    } else if all.len() == containers && all.values().all(whole) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

/// Takes something out of every container of these lists, by list and name.
fn take(
    spec: &mut Value,
    lists: &[&str],
    mut part: impl FnMut(&mut Map<String, Value>, &str) -> Option<Value>,
) -> Value {
    let mut taken = Map::new();
    for list in lists {
        for container in spec.get_mut(*list).and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(container) = container.as_object_mut() else { continue };
            let name = container.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
            if let Some(part) = part(container, list) {
                taken.insert(format!("{list}/{name}"), part);
            }
        }
    }
    Value::Object(taken)
}

/// Takes CPU and memory out of a container's resources.
fn elastic(resources: &mut Value) -> Option<Value> {
    let mut taken = Map::new();
    for part in ["requests", "limits"] {
        let Some(amounts) = resources.get_mut(part).and_then(Value::as_object_mut) else { continue };
        let mut own = Map::new();
        for key in ELASTIC {
            if let Some(amount) = amounts.remove(key) {
                own.insert(key.to_owned(), amount);
            }
        }
        taken.insert(part.to_owned(), Value::Object(own));
        if amounts.is_empty() {
            resources.as_object_mut()?.remove(part);
        }
    }
    (!taken.is_empty()).then_some(Value::Object(taken))
}

fn texts(map: &Value) -> BTreeMap<String, String> {
    let texts = map.as_object().into_iter().flatten();
    texts.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// Ten digits that stand for a value.
fn digest(value: &Value) -> String {
    let mut text = hex::encode(Sha256::digest(value.to_string()));
    text.truncate(10);
    text
}

/// The labels of a pod that are not the template's own.
pub const OWN_LABELS: [&str; 6] =
    [labels::INSTANCE, labels::COMPONENT, labels::GROUP, labels::ORDINAL, labels::REVISION, labels::MANAGED_BY];
