//! The other agents of the set: asked over their API, and where that does not work, read from what they reported.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::time::timeout;

use super::Place;
use super::shared::Shared;
use crate::agent::api;
use crate::agent::role::Peer;
use crate::api::pod_report::PodReport;
use crate::lifecycle::client::Address;
use crate::lifecycle::{Client, Code, Plea, Problem, Status, identity};

/// How long one agent may take before its report is read instead.
const PATIENCE: Duration = Duration::from_millis(600);
/// How long it may take in all to find out how one pod is. Who cannot be asked in time keeps nobody else from being heard.
const IN_ALL: Duration = Duration::from_secs(1);
/// After so long a connection is made anew, with the certificate of by then.
const CERTIFICATES_LAST: Duration = Duration::from_mins(10);
/// How long the API server may take to say whether a pod is there.
const LOOK: Duration = Duration::from_secs(3);

/// Those that could be asked.
pub async fn ask(shared: &Shared) -> BTreeMap<String, Peer> {
    let place = shared.place();
    let others = place.others();
    let asked = others.iter().map(|name| {
        let place = &place;
        async move {
            let find = async {
                match over_api(shared, place, name).await {
                    Some(peer) => Some(peer),
                    None => reported(shared, place, name).await,
                }
            };
            Some((name.clone(), timeout(IN_ALL, find).await.ok()??))
        }
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// A connection to another agent: the one there is, or a new one.
fn client(shared: &Shared, place: &Place, name: &str) -> Option<Client> {
    let mut all = shared.peers.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((client, made)) = all.get(name)
        && made.elapsed() < CERTIFICATES_LAST
    {
        return Some(client.clone());
    }
    let pod = place.pod(name);
    let address = Address {
        host: pod["host"].as_str()?.to_owned(),
        port: place.config.port,
        name: identity::agents_of(place.config.instance.as_str(), place.config.namespace.as_str()),
    };
    let tls = api::identity(&shared.options.agent_tls).ok()?.client().ok()?;
    let client = Client::new(address, Arc::new(tls)).ok()?;
    all.insert(name.to_owned(), (client.clone(), Instant::now()));
    Some(client)
}

/// What did not answer may be the way there: the next question takes another one.
fn forget(shared: &Shared, name: &str) {
    shared.peers.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
}

/// Those that promise to leave the lease to this pod, its holder.
pub async fn plead(shared: &Shared, pods: &BTreeSet<String>, epoch: u64, duration: Duration) -> BTreeSet<String> {
    let place = shared.place();
    let asked = pods.iter().map(|name| {
        let plea = Plea { pod: place.pod.clone(), uid: place.uid.clone(), epoch, duration };
        let client = client(shared, &place, name);
        async move {
            // twice before the fuse ends the process
            match client?.promise(plea, duration * 3 / 20).await {
                Ok(promised) if promised.pod == *name => Some(name.clone()),
                Ok(promised) => {
                    forget(shared, name);
                    tracing::warn!(
                        name,
                        answered = promised.pod,
                        "another pod answers under this name; its promise is none"
                    );
                    None
                }
                Err(problem) => {
                    if problem.code != Code::Precondition {
                        forget(shared, name);
                    }
                    tracing::warn!(name, %problem, "does not promise to wait");
                    None
                }
            }
        }
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// Those of these pods that are not there any more. One that Kubernetes was told to forget by force counts as ended.
pub async fn gone(shared: &Shared, pods: &BTreeSet<String>) -> BTreeSet<String> {
    let api: Api<Pod> = Api::namespaced(shared.client.clone(), shared.place().config.namespace.as_str());
    let looked = pods.iter().map(|name| {
        let api = api.clone();
        async move {
            let found = timeout(LOOK, api.get_metadata_opt(name)).await;
            matches!(found, Ok(Ok(None))).then(|| name.clone())
        }
    });
    join_all(looked).await.into_iter().flatten().collect()
}

async fn over_api(shared: &Shared, place: &Place, name: &str) -> Option<Peer> {
    let answer: Result<Status, Problem> = client(shared, place, name)?.status(PATIENCE).await;
    if answer.is_err() {
        forget(shared, name);
    }
    let status = answer.ok()?;
    (status.pod == name).then_some(Peer {
        up: matches!(status.process.as_str(), "Running" | "Ready"),
        data: status.data_epoch,
        position: status.position,
        exact: status.position_exact,
        lag: status.lag,
        follows: followed(place, status.follows),
    })
}

/// How far the data of another pod reaches, as its agent says now.
pub async fn position(shared: &Shared, place: &Place, name: &str) -> Option<i64> {
    over_api(shared, place, name).await?.position
}

/// What the pod's annotation says. A pod that is about to end, or does not run, takes nothing over.
async fn reported(shared: &Shared, place: &Place, name: &str) -> Option<Peer> {
    let pods: Api<Pod> = Api::namespaced(shared.client.clone(), place.config.namespace.as_str());
    let pod = pods.get_opt(name).await.ok()??;
    let running = pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
    if pod.metadata.deletion_timestamp.is_some() || !running || !answers(&pod) {
        return None;
    }
    let report = PodReport::of(pod.metadata.annotations.as_ref())?;
    Some(Peer {
        up: matches!(report.process.as_deref(), Some("Running" | "Ready")),
        data: report.data_epoch,
        position: report.position,
        exact: false,
        lag: report.lag,
        follows: followed(place, report.follows),
    })
}

/// Whom a pod follows, where the package tells: nobody is told by leaving it out.
fn followed(place: &Place, told: Option<String>) -> Option<String> {
    place.config.role.as_ref()?.follows.as_ref()?;
    Some(told.map(|host| place.pod_at(&host)).unwrap_or_default())
}

/// As the kubelet sees it; a node that is gone says so after a while.
fn answers(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.and_then(|all| all.iter().find(|condition| condition.type_ == "Ready"));
    ready.is_none_or(|ready| ready.reason.as_deref() != Some("NodeNotReady"))
}
