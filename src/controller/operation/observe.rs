//! What an operation is decided from, as caches have it.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use kube::ResourceExt;

use super::{Operations, instance_of};
use crate::api::operation::OperationStatus;
use crate::api::pod_report::PodReport;
use crate::api::{Instance, Operation, PodSet, labels};
use crate::cluster::Key;
use crate::extension::{Package, naming};
use crate::plan::operation::{Pod, World, turn};

/// The world with what it borrows from.
pub struct Seen {
    instance: Option<Arc<Instance>>,
    pods: Vec<Pod>,
    package: Option<Arc<Package>>,
    ahead: Option<String>,
    now: Timestamp,
}

impl Seen {
    pub fn world<'a>(&'a self, operation: &'a Operation, status: &'a OperationStatus) -> World<'a> {
        World {
            operation,
            status,
            instance: self.instance.as_deref(),
            pods: self.pods.clone(),
            package: self.package.clone(),
            ahead: self.ahead.clone(),
            now: self.now,
        }
    }
}

impl Operations {
    pub(super) fn observe(&self, operation: &Operation, status: &OperationStatus) -> Seen {
        let key = instance_of(operation);
        let instance = self.caches.instances.get(&key);
        let begins = status.started_at.is_none();
        Seen {
            pods: self.members(&key),
            package: instance.as_ref().and_then(|instance| self.package(instance)),
            ahead: begins.then(|| self.ahead(operation, instance.as_deref().is_some_and(turn::changes))).flatten(),
            instance,
            now: Timestamp::now(),
        }
    }

    /// Who goes first; `changes` where the instance does.
    fn ahead(&self, operation: &Operation, changes: bool) -> Option<String> {
        let of_it = |other: &Operation| {
            other.spec.instance == operation.spec.instance && other.metadata.namespace == operation.metadata.namespace
        };
        let all = self.caches.operations.select(of_it);
        turn::ahead(operation, all.iter().map(AsRef::as_ref), |other| self.turns.newest(other), changes)
    }

    /// The package that is in force.
    fn package(&self, instance: &Instance) -> Option<Arc<Package>> {
        self.packages.in_force(instance)
    }

    fn members(&self, instance: &Key) -> Vec<Pod> {
        let of_it = |pod: &core::Pod| {
            pod.metadata.namespace == instance.namespace && pod.labels().get(labels::INSTANCE) == Some(&instance.name)
        };
        let mut pods: Vec<Pod> = self.pods.select(of_it).iter().filter_map(|pod| self.member(instance, pod)).collect();
        pods.sort_by(|a, b| a.name.cmp(&b.name));
        pods
    }

    fn member(&self, instance: &Key, pod: &core::Pod) -> Option<Pod> {
        let label = |name: &str| pod.labels().get(name).cloned();
        let (component, group) = (label(labels::COMPONENT)?, label(labels::GROUP)?);
        let set = naming::pod_set(&instance.name, &component, &group);
        let set = self.caches.pod_sets.get(&Key { namespace: instance.namespace.clone(), name: set });
        let role = label(labels::ROLE);
        let place = |set: &PodSet| set.spec.role_order.iter().position(|known| Some(known.as_str()) == role.as_deref());
        let rank = set.as_deref().and_then(place).map_or(0, |place| place + 1);
        let roles = set.as_ref().map_or(0, |set| set.spec.role_order.len());
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
        let ready =
            conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True");
        let report = PodReport::of(pod.metadata.annotations.as_ref()).unwrap_or_default();
        Some(Pod {
            name: pod.name_any(),
            ordinal: label(labels::ORDINAL)?.parse().ok()?,
            leads: roles > 1 && rank == roles,
            rank,
            role,
            ready,
            follows: report.follows.is_some(),
            component,
            group,
            config: report.config_revision,
            pending_restart: !report.pending_restart.is_empty(),
        })
    }
}
