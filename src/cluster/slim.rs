//! What watch caches keep of an object. Volumes, probes and environments make up most of a pod in memory, and images that of
//! a node: nobody reads them here.

use k8s_openapi::api::core::v1::{
    Container, ContainerStatus, Node, NodeSpec, NodeStatus, PersistentVolumeClaim, Pod, PodSpec, PodStatus,
};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::ObjectMeta;

use crate::api::{
    Backup, BackupPolicy, BackupRepository, Component, Extension, GitSource, Instance, Operation, PodSet,
};

/// An object that can be kept without what nobody reads.
pub trait Slim {
    /// Drops that.
    fn slim(&mut self);
}

/// Kinds that are kept whole.
macro_rules! whole {
    ($($kind:ty),+ $(,)?) => {
        $(impl Slim for $kind {
            fn slim(&mut self) {}
        })+
    };
}

whole!(
    Backup,
    BackupPolicy,
    BackupRepository,
    Component,
    Extension,
    GitSource,
    Instance,
    Operation,
    PersistentVolumeClaim,
    PodSet,
    StorageClass,
);

impl Slim for Pod {
    fn slim(&mut self) {
        self.metadata.managed_fields = None;
        if let Some(spec) = self.spec.take() {
            let containers = spec.containers.into_iter().map(|container| Container {
                name: container.name,
                image: container.image,
                resources: container.resources,
                ..Container::default()
            });
            self.spec =
                Some(PodSpec { containers: containers.collect(), node_name: spec.node_name, ..PodSpec::default() });
        }
        if let Some(status) = self.status.take() {
            self.status = Some(PodStatus {
                conditions: status.conditions,
                container_statuses: status.container_statuses.map(slim_statuses),
                init_container_statuses: status.init_container_statuses.map(slim_statuses),
                message: status.message,
                phase: status.phase,
                pod_ip: status.pod_ip,
                qos_class: status.qos_class,
                reason: status.reason,
                ..PodStatus::default()
            });
        }
    }
}

fn slim_statuses(statuses: Vec<ContainerStatus>) -> Vec<ContainerStatus> {
    let slim = statuses.into_iter().map(|status| ContainerStatus {
        container_id: status.container_id,
        name: status.name,
        ready: status.ready,
        restart_count: status.restart_count,
        state: status.state,
        ..ContainerStatus::default()
    });
    slim.collect()
}

impl Slim for Node {
    fn slim(&mut self) {
        let meta = std::mem::take(&mut self.metadata);
        self.metadata = ObjectMeta {
            name: meta.name,
            uid: meta.uid,
            resource_version: meta.resource_version,
            deletion_timestamp: meta.deletion_timestamp,
            ..ObjectMeta::default()
        };
        let taints = self.spec.take().and_then(|spec| spec.taints);
        self.spec = Some(NodeSpec { taints, ..NodeSpec::default() });
        let conditions = self.status.take().and_then(|status| status.conditions);
        self.status = Some(NodeStatus { conditions, ..NodeStatus::default() });
    }
}
