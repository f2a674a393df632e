//! The watch caches of what pod sets are made of: pods and claims with our label, and, where this account may look at
//! them, nodes and storage classes.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Client;
use kube::api::ObjectMeta;
use tokio::time::{sleep, timeout};

use super::queues::Queues;
use crate::api::{Kind, labels};
use crate::cluster::access::{self, Account, Permission};
use crate::cluster::cache::OnChange;
use crate::cluster::{Cache, Key, Scope};
use crate::extension::naming;

/// How long an answer of the API server may take, behind other requests of ours too, and when it is asked again.
const PATIENCE: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_secs(1);

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
    told(&format!("{resource} may be looked at"), async || {
        let wanted = vec![permission("list"), permission("watch")];
        Ok::<_, kube::Error>(access::missing(client, &Account::Mine, wanted).await?.is_empty())
    })
    .await
}

async fn can_resize(client: &Client) -> bool {
    told("pods can be resized, and need not be made anew", async || {
        let list = client.list_core_api_resources("v1").await?;
        Ok::<_, kube::Error>(list.resources.iter().any(|resource| resource.name == "pods/resize"))
    })
    .await
}

/// Asks until the API server says whether something is so: what is made up here would stand for as long as this one leads.
async fn told(what: &str, question: impl AsyncFn() -> Result<bool, kube::Error>) -> bool {
    loop {
        let problem = match timeout(PATIENCE, question()).await {
            Ok(Ok(so)) => return so,
            Ok(Err(error)) if is_refused(&error) => {
                tracing::warn!(%error, "it may not be found out whether {what}");
                return false;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
        };
        tracing::warn!(problem, "nobody can tell yet whether {what}; it is asked again");
        sleep(RETRY).await;
    }
}

/// Whether the API server has spoken, and would say the same again.
fn is_refused(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if [403, 404].contains(&status.code))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;

    use super::*;
    use crate::cluster::slim::Slim;
    use crate::plan::pod_set::view;

    fn error(code: u16) -> kube::Error {
        let status = kube::core::Status { code, message: "by the test".into(), ..kube::core::Status::default() };
        kube::Error::Api(Box::new(status))
    }

    #[tokio::test]
    async fn an_error_is_no_answer() {
        let asked = AtomicUsize::new(0);
        let answer = told("it is so", async || match asked.fetch_add(1, Ordering::Relaxed) {
            0 => Err(error(500)),
            _ => Ok(true),
        });
        assert!(answer.await);
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        for code in [403, 404] {
            assert!(!told("it is so", async || Err::<bool, _>(error(code))).await, "{code} is one");
        }
        assert!([401, 429, 500, 503].into_iter().all(|code| !is_refused(&error(code))));
    }

    #[test]
    fn a_pod_that_is_kept_slim_is_the_same_to_plans() {
        let whole: Pod = serde_json::from_value(json!({
            "metadata": { "name": "shop-cache-0", "uid": "u1", "labels": { "midship.dev/ordinal": "0" },
                "annotations": { "midship.dev/replaces": "a,b", "midship.dev/departed": "u1" } },
            "spec": {
                "nodeName": "n1",
                "containers": [
                    { "name": "cache", "image": "cache:1", "env": [{ "name": "A", "value": "B" }],
                      "resources": { "requests": { "cpu": "100m" }, "limits": { "memory": "1Gi" } },
                      "volumeMounts": [{ "name": "data", "mountPath": "/data" }] },
                    { "name": "midship", "image": "agent:1" },
                ],
                "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": "data-shop-cache-0" } }],
            },
            "status": {
                "phase": "Running", "qosClass": "Burstable", "podIP": "10.0.0.1", "reason": "R", "message": "M",
                "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" }],
                "initContainerStatuses": [{ "name": "i", "image": "i", "imageID": "i", "ready": false, "restartCount": 0,
                    "state": { "waiting": { "reason": "ImagePullBackOff", "message": "no such image" } } }],
                "containerStatuses": [{ "name": "cache", "image": "cache:1", "imageID": "x", "ready": true, "restartCount": 2,
                    "containerID": "c1", "state": { "running": { "startedAt": "2026-01-01T00:00:00Z" } } }],
            },
        }))
        .expect("a pod");
        let mut slim = whole.clone();
        slim.slim();
        assert_eq!(view::pod(&slim), view::pod(&whole));
        assert_eq!(slim.status.as_ref().and_then(|status| status.pod_ip.as_deref()), Some("10.0.0.1"));
        let spec = slim.spec.expect("a spec");
        assert!(spec.volumes.is_none() && spec.containers.iter().all(|one| one.env.is_none()), "{spec:?}");
    }

    #[test]
    fn a_node_that_is_kept_slim_is_the_same_to_plans() {
        let whole: Node = serde_json::from_value(json!({
            "metadata": { "name": "n1", "labels": { "a": "b" } },
            "spec": { "taints": [{ "key": "node.kubernetes.io/out-of-service", "effect": "NoExecute" }] },
            "status": { "conditions": [{ "type": "Ready", "status": "Unknown" }], "images": [{ "names": ["a"] }] },
        }))
        .expect("a node");
        let mut slim = whole.clone();
        slim.slim();
        assert_eq!(view::node(&slim), view::node(&whole));
        assert!(view::node(&slim).out_of_service && !view::node(&slim).ready);
        assert_eq!(slim.status.and_then(|status| status.images), None);
    }
}
