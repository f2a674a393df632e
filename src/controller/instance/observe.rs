//! What is there of an instance: its objects, its components, its pods.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kube::ResourceExt;

use crate::api::conditions::{self, ConditionStatus, READY, STALLED};
use crate::api::{API_VERSION, Component, Instance, Kind, PodSet, labels};
use crate::cluster::parts;
use crate::controller::caches::Caches;
use crate::extension::naming;
use crate::names::ComponentName;
use crate::plan::instance::health::ComponentSeen;
use crate::plan::instance::parts::{Live, PartId};
use crate::plan::operation::turn::begun;

/// Everything that caches know of one instance.
pub struct Observed {
    pub live: BTreeMap<PartId, Live>,
    pub components: Vec<Arc<Component>>,
    pub pod_sets: Vec<Arc<PodSet>>,
    /// The operation that works on it now.
    pub operation: Option<String>,
}

/// Whether objects of this kind are watched: what is not known of them is not there.
pub fn is_watched(id: &PartId) -> bool {
    id.kind == Kind::Component.as_str() || parts::is_watched(&id.kind)
}

pub fn observe(caches: &Caches, instance: &Instance) -> Observed {
    let (namespace, name) = (instance.namespace().unwrap_or_default(), instance.name_any());
    let here = |meta: &kube::api::ObjectMeta| meta.namespace.as_deref() == Some(namespace.as_str());
    let components =
        caches.components.select(|component| here(&component.metadata) && component.spec.instance.as_str() == name);
    let pod_sets = caches.pod_sets.select(|set| here(&set.metadata) && set.spec.instance.as_str() == name);
    let mut live = BTreeMap::new();
    for component in &components {
        let id = PartId::new(API_VERSION, Kind::Component.as_str(), &component.name_any());
        live.insert(id, live_of(&parts::Part::of(&component.metadata), &name));
    }
    for (kind, part_name, part) in caches.parts.labelled(&namespace, labels::INSTANCE, &name) {
        if part.labels.contains_key(labels::EXTENSION) {
            continue;
        }
        if let Some(inventory) = part.inventory.as_deref().filter(|_| part_name == naming::metadata(&name)) {
            for id in inventory.lines().filter_map(PartId::from_listed) {
                live.insert(
                    id,
                    Live {
                        uid: String::new(),
                        owner: None,
                        version: None,
                        counter: 0,
                        deleting: false,
                        labelled: true,
                    },
                );
            }
        }
        live.insert(PartId::new(&parts::api_version(kind), kind, &part_name), live_of(&part, &name));
    }
    let at_work = caches.operations.select(|operation| {
        operation.status.as_ref().is_some_and(begun)
            && here(&operation.metadata)
            && operation.spec.instance.as_str() == name
    });
    Observed { live, components, pod_sets, operation: at_work.first().map(|operation| operation.name_any()) }
}

/// What is known of an object that may belong to somebody else.
pub fn live_of(part: &parts::Part, instance: &str) -> Live {
    Live {
        uid: part.uid.clone(),
        owner: part.owner.as_ref().map(|owner| (owner.uid.clone(), format!("{} {}", owner.kind, owner.name))),
        version: Some(part.version.clone()),
        counter: part.resource_version,
        deleting: part.deleting,
        labelled: part.labels.get(labels::MANAGED_BY).is_some_and(|by| by == labels::MANAGER)
            && part.labels.get(labels::INSTANCE).is_some_and(|of| of == instance),
    }
}

impl Observed {
    /// Replicas that people and autoscalers chose.
    pub fn chosen_replicas(&self) -> BTreeMap<ComponentName, u16> {
        let chosen = self.components.iter().filter_map(|component| {
            let replicas = u16::try_from(component.spec.replicas?).ok()?;
            Some((component.spec.component.clone(), replicas))
        });
        chosen.collect()
    }

    /// The components as their own controller sees them. What was written and not yet looked at is neither updated nor ready.
    pub fn seen(&self, newest: &BTreeMap<PartId, u64>) -> Vec<ComponentSeen> {
        let seen = self.components.iter().map(|component| {
            let id = PartId::new(API_VERSION, Kind::Component.as_str(), &component.name_any());
            let known = newest.get(&id).is_none_or(|version| parts::resource_version(&component.metadata) >= *version);
            let status = component.status.clone().unwrap_or_default();
            let current = known && status.observed_generation == component.metadata.generation;
            let condition = |type_| conditions::find(&status.conditions, type_);
            let holds = |type_| condition(type_).is_some_and(|found| found.status == ConditionStatus::True);
            let sets: Vec<&Arc<PodSet>> =
                self.pod_sets.iter().filter(|set| set.spec.component == component.spec.component).collect();
            ComponentSeen {
                name: component.spec.component.to_string(),
                updated: current && sets.iter().all(|set| is_updated(set)),
                ready: current && holds(READY),
                message: condition(READY).map(|found| found.message.clone()).unwrap_or_default(),
                stalled: condition(STALLED).filter(|_| current && holds(STALLED)).map(|found| found.message.clone()),
            }
        });
        seen.collect()
    }

    /// Whether a pod is known to have served once.
    pub fn served(&self) -> bool {
        self.pod_sets.iter().filter_map(|set| set.status.as_ref()).any(|status| {
            let ready = status.ready_replicas.unwrap_or_default() > 0;
            ready || status.last_good_revision.is_some() || status.last_holder.is_some()
        })
    }

    /// The names of pods that are there.
    pub fn pods(&self) -> BTreeSet<String> {
        let pods = self.pod_sets.iter().flat_map(|set| {
            let members = set.status.iter().flat_map(|status| &status.pods);
            members.map(|member| format!("{}-{}", set.name_any(), member.ordinal))
        });
        pods.collect()
    }
}

fn is_updated(set: &PodSet) -> bool {
    let Some(status) = &set.status else { return false };
    status.observed_generation == set.metadata.generation && status.updated_replicas == status.replicas
}
