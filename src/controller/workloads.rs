//! The watch caches of what pod sets are made of: pods and claims with our label, and, where this account may look at
//! them, nodes and storage classes.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Client;
use kube::api::ObjectMeta;

use super::queues::Queues;
use crate::api::{Kind, labels};
use crate::cluster::access::{self, Account, Permission};
use crate::cluster::cache::OnChange;
use crate::cluster::{Cache, Key, Scope};
use crate::extension::naming;

/// Pods, claims, and where they are.
pub struct Workloads {
    pub pods: Arc<Cache<Pod>>,
    pub claims: Cache<PersistentVolumeClaim>,
    /// Nothing where this account may not look at nodes.
    pub nodes: Option<Cache<Node>>,
    /// Nothing where this account may not look at storage classes.
    pub classes: Option<Cache<StorageClass>>,
    /// Whether the server can change the resources of running pods.
    pub can_resize: bool,
}

impl Workloads {
    /// Starts watching, and tells pod sets of what they are made of.
    pub async fn start(client: &Client, scope: &Scope, queues: &Queues) -> Arc<Self> {
        let ours = format!("{}={}", labels::MANAGED_BY, labels::MANAGER);
        let pods = {
            let queues = queues.clone();
            Cache::selected(
                client,
                scope,
                Some(&ours),
                &(Arc::new(move |_: &Key, meta: Option<&ObjectMeta>| {
                    queues.part_changed(meta);
                }) as _),
            )
        };
        let claims = {
            let queues = queues.clone();
            Cache::selected(
                client,
                scope,
                Some(&ours),
                &(Arc::new(move |_: &Key, meta: Option<&ObjectMeta>| {
                    if let Some(set) = meta.and_then(set_of_claim) {
                        queues.of(Kind::PodSet).add(&set);
                    }
                }) as _),
            )
        };
        let pods = Arc::new(pods);
        let on_node: OnChange = {
            let (pods, queues) = (pods.clone(), queues.clone());
            Arc::new(move |node: &Key, _: Option<&ObjectMeta>| {
                let there = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()) == Some(&node.name);
                for pod in pods.select(there) {
                    queues.part_changed(Some(&pod.metadata));
                }
            })
        };
        let on_class: OnChange = {
            let (pods, queues) = (pods.clone(), queues.clone());
            Arc::new(move |_: &Key, _: Option<&ObjectMeta>| {
                for pod in pods.list() {
                    queues.part_changed(Some(&pod.metadata));
                }
            })
        };
        let may_nodes = may_watch(client, "", "nodes").await;
        let may_classes = may_watch(client, "storage.k8s.io", "storageclasses").await;
        if !may_nodes || !may_classes {
            tracing::info!(
                nodes = may_nodes,
                storage_classes = may_classes,
                "what may not be looked at is not decided upon: pods on lost nodes wait, volumes find out whether they can grow by trying"
            );
        }
        Arc::new(Self {
            pods,
            claims,
            nodes: may_nodes.then(|| Cache::start(client, &Scope::Cluster, &on_node)),
            classes: may_classes.then(|| Cache::start(client, &Scope::Cluster, &on_class)),
            can_resize: can_resize(client).await,
        })
    }

    /// Returns once everything has been seen.
    pub async fn synced(&self) {
        self.pods.synced().await;
        self.claims.synced().await;
        if let Some(nodes) = &self.nodes {
            nodes.synced().await;
        }
        if let Some(classes) = &self.classes {
            classes.synced().await;
        }
    }
}

/// The pod set a claim was made for.
fn set_of_claim(meta: &ObjectMeta) -> Option<Key> {
    let label = |name: &str| meta.labels.as_ref()?.get(name);
    let name = naming::pod_set(label(labels::INSTANCE)?, label(labels::COMPONENT)?, label(labels::GROUP)?);
    Some(Key { namespace: meta.namespace.clone(), name })
}

async fn may_watch(client: &Client, group: &'static str, resource: &str) -> bool {
    let permission =
        |verb| Permission { verb, group, resource: resource.to_owned(), subresource: None, namespace: None };
    let asked = access::missing(client, &Account::Mine, vec![permission("list"), permission("watch")]).await;
    match asked {
        Ok(missing) => missing.is_empty(),
        Err(error) => {
            tracing::warn!(%error, resource, "it could not be found out whether this may be looked at");
            false
        }
    }
}

async fn can_resize(client: &Client) -> bool {
    match client.list_core_api_resources("v1").await {
        Ok(list) => list.resources.iter().any(|resource| resource.name == "pods/resize"),
        Err(error) => {
            tracing::warn!(%error, "it could not be found out whether pods can be resized; they are made anew instead");
            false
        }
    }
}
