//! The lease of a pod set in the cluster, as the role's machine reads and writes it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference};
use kube::Api;
use kube::api::{ObjectMeta, PostParams, WatchEvent, WatchParams};
use tokio::time::{sleep, timeout};

use super::shared::{Input, Shared};
use crate::agent::role::{Event, Holder, Record, Seen, Written};
use crate::api::labels;

/// Which pod of that name holds it.
const HOLDER_UID: &str = "midship.dev/holder-uid";
/// The last term in which somebody served.
const SERVED: &str = "midship.dev/served-term";
/// Who served last.
const LAST: &str = "midship.dev/last-holder";
/// How far the data of whoever served last reached.
const POSITION: &str = "midship.dev/last-position";
/// For whom it was released.
const CANDIDATE: &str = "midship.dev/candidate";
/// Who may take it without its being released.
const MEMBERS: &str = "midship.dev/members";

/// After this long a request is sent once more.
const ONCE_MORE: Duration = Duration::from_secs(3);
/// Between two tries to look.
const RETRY: Duration = Duration::from_secs(1);
/// How long a watch is trusted to tell everything.
const WATCH_SECONDS: u32 = 60;

fn leases(shared: &Shared) -> Api<Lease> {
    Api::namespaced(shared.client.clone(), shared.place().config.namespace.as_str())
}

/// Follows the lease for ever.
pub async fn follow(shared: Arc<Shared>) {
    let mut said = String::new();
    loop {
        match watch(&shared).await {
            Ok(()) => said.clear(),
            Err(error) => {
                if said != error {
                    tracing::warn!(error, "the lease cannot be looked at");
                    said = error;
                }
                sleep(RETRY).await;
            }
        }
    }
}

/// Until the API server ends the watch.
async fn watch(shared: &Shared) -> Result<(), String> {
    let name = shared.place().set();
    let version = look(shared).await?;
    let Some(version) = version else {
        // nothing to watch yet
        sleep(RETRY).await;
        return Ok(());
    };
    let params =
        WatchParams::default().fields(&format!("metadata.name={name}")).timeout(WATCH_SECONDS).disable_bookmarks();
    let api = leases(shared);
    let stream = insist(shared, || api.watch(&params, &version)).await?;
    let mut stream = std::pin::pin!(stream.map_err(|error| error.to_string())?);
    // a connection that is silently cut tells nothing; the holder renews much more often
    let silence = Duration::from_millis(shared.place().settings().duration);
    loop {
        match timeout(silence, stream.try_next()).await {
            Ok(Err(error)) => return Err(error.to_string()),
            Ok(Ok(Some(WatchEvent::Added(lease) | WatchEvent::Modified(lease)))) => {
                shared.tell(Input::Role(Event::Lease(Some(seen(lease)))));
            }
            Ok(Ok(Some(WatchEvent::Deleted(_)))) => {
                shared.tell(Input::Role(Event::Lease(None)));
                return Ok(());
            }
            Ok(Ok(Some(WatchEvent::Bookmark(_)))) => {}
            // silent, at its end, or, mostly, too old: look anew
            Err(_) | Ok(Ok(None | Some(WatchEvent::Error(_)))) => return Ok(()),
        }
    }
}

/// Looks now; the version that was seen.
pub async fn look(shared: &Shared) -> Result<Option<String>, String> {
    let name = shared.place().set();
    let api = leases(shared);
    let lease = insist(shared, || api.get_opt(&name)).await?;
    let lease = lease.map_err(|error| error.to_string())?.map(seen);
    let version = lease.as_ref().map(|seen| seen.version.clone());
    shared.tell(Input::Role(Event::Lease(lease)));
    Ok(version)
}

pub async fn write(shared: &Shared, record: &Record, version: Option<String>) -> Written {
    let place = shared.place();
    let name = place.set();
    let mut lease = encode(record, &name);
    let api = leases(shared);
    let params = PostParams::default();
    lease.metadata.owner_references = owners(shared).await;
    // sent once more it does no harm: it names the version that it replaces, so that only one of them can count
    let result = if version.is_some() {
        lease.metadata.resource_version = version;
        insist(shared, || api.replace(&name, &params, &lease)).await
    } else {
        insist(shared, || api.create(&params, &lease)).await
    };
    outcome(result)
}

/// What became of a write. Only a server that says so refused it: whatever else it answers, it may have been written.
fn outcome(result: Result<Result<Lease, kube::Error>, String>) -> Written {
    match result {
        Ok(Ok(lease)) => Written::Done(seen(lease)),
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => Written::Conflict,
        Ok(Err(error)) => Written::Failed(error.to_string()),
        Err(late) => Written::Failed(late),
    }
}

/// The first answer to a request, which may come as late as it can still be of use.
async fn insist<A: Future>(shared: &Shared, request: impl Fn() -> A) -> Result<A::Output, String> {
    let limit = Duration::from_millis(shared.place().settings().fuse());
    first_answer(limit, ONCE_MORE, request)
        .await
        .ok_or_else(|| format!("the API server did not answer within {} s", limit.as_secs()))
}

/// Sends a request again and again until one is answered. Its connection may be dead, which only another one gets around;
/// or the server is slow, and then giving up the first one would end with none answered at all.
async fn first_answer<A: Future>(limit: Duration, once_more: Duration, request: impl Fn() -> A) -> Option<A::Output> {
    let mut under_way = FuturesUnordered::from_iter([request()]);
    let answered = async {
        loop {
            match timeout(once_more, under_way.next()).await {
                Ok(answer) => return answer,
                Err(_) => under_way.push(request()),
            }
        }
    };
    timeout(limit, answered).await.ok().flatten()
}

/// The lease goes with the pod set, so whoever owns the pod owns it too.
async fn owners(shared: &Shared) -> Option<Vec<OwnerReference>> {
    if let Some(known) = shared.owners.get() {
        return Some(known.clone());
    }
    let place = shared.place();
    let pods: Api<Pod> = Api::namespaced(shared.client.clone(), place.config.namespace.as_str());
    let pod = insist(shared, || pods.get(&place.pod)).await.ok()?.ok()?;
    let owners = pod.metadata.owner_references.unwrap_or_default();
    let plain = |owner: OwnerReference| OwnerReference { controller: None, block_owner_deletion: None, ..owner };
    let owners: Vec<OwnerReference> = owners.into_iter().map(plain).collect();
    Some(shared.owners.get_or_init(|| owners).clone())
}

fn encode(record: &Record, name: &str) -> Lease {
    let number = |epoch: u64| i32::try_from(epoch).unwrap_or(i32::MAX);
    let mut annotations = BTreeMap::new();
    let mut note = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            annotations.insert(key.to_owned(), value);
        }
    };
    note(HOLDER_UID, record.holder.as_ref().map(|holder| holder.uid.clone()));
    note(SERVED, record.served.map(|epoch| epoch.to_string()));
    note(LAST, record.last.clone());
    note(POSITION, record.position.map(|position| position.to_string()));
    note(CANDIDATE, record.candidate.clone());
    let members: Vec<&str> = record.members.iter().map(String::as_str).collect();
    note(MEMBERS, Some(members.join(",")).filter(|members| !members.is_empty()));
    Lease {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            annotations: Some(annotations),
            labels: Some(BTreeMap::from([(labels::MANAGED_BY.to_owned(), labels::MANAGER.to_owned())])),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: record.holder.as_ref().map(|holder| holder.pod.clone()),
            lease_duration_seconds: i32::try_from(record.duration.div_ceil(1_000).max(1)).ok(),
            lease_transitions: Some(number(record.epoch)),
            renew_time: Some(MicroTime(Timestamp::now())),
            ..LeaseSpec::default()
        }),
    }
}

fn seen(lease: Lease) -> Seen {
    let spec = lease.spec.unwrap_or_default();
    let annotations = lease.metadata.annotations.unwrap_or_default();
    let text = |key: &str| annotations.get(key).filter(|value| !value.is_empty()).cloned();
    let pod = spec.holder_identity.filter(|holder| !holder.is_empty());
    let record = Record {
        holder: pod.map(|pod| Holder { pod, uid: text(HOLDER_UID).unwrap_or_default() }),
        epoch: spec.lease_transitions.and_then(|epoch| u64::try_from(epoch).ok()).unwrap_or(0),
        served: text(SERVED).and_then(|epoch| epoch.parse().ok()),
        last: text(LAST),
        position: text(POSITION).and_then(|position| position.parse().ok()),
        candidate: text(CANDIDATE),
        members: text(MEMBERS)
            .map(|names| names.split(',').map(str::to_owned).collect::<BTreeSet<_>>())
            .unwrap_or_default(),
        duration: spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(0) * 1_000,
    };
    Seen { record, version: lease.metadata.resource_version.unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::pending;

    use super::*;

    /// Long enough on any machine for an answer that comes.
    const PATIENT: Duration = Duration::from_mins(1);

    /// Which of several requests is the first to be answered; `None` of them never are, nor are further ones, the others
    /// after so many tenths of a second.
    async fn answered(limit: Duration, after: &[Option<u64>]) -> Option<usize> {
        let sent = Cell::new(0);
        let request = || {
            let number = sent.replace(sent.get() + 1);
            async move {
                match after.get(number).copied().flatten() {
                    Some(tenths) => sleep(Duration::from_millis(tenths * 100)).await,
                    None => pending().await,
                }
                number
            }
        };
        first_answer(limit, Duration::from_millis(300), request).await
    }

    #[tokio::test]
    async fn a_request_on_a_dead_connection_is_sent_again_and_a_slow_server_is_waited_for() {
        assert_eq!(answered(PATIENT, &[Some(0)]).await, Some(0));
        assert_eq!(answered(PATIENT, &[None, Some(0)]).await, Some(1), "another connection answers");
        assert_eq!(answered(PATIENT, &[None, None, Some(0)]).await, Some(2));
        assert_eq!(answered(PATIENT, &[Some(5), None]).await, Some(0), "the first is not given up for the second");
        assert_eq!(answered(Duration::from_millis(800), &[]).await, None, "nobody waits for ever");
    }

    #[test]
    fn only_a_conflict_is_one_and_every_other_error_is_asked_about() {
        let answer = |code: u16| {
            let status = kube::core::Status { code, message: "by the test".into(), ..kube::core::Status::default() };
            outcome(Ok(Err(kube::Error::Api(Box::new(status)))))
        };
        for code in [404, 409] {
            assert_eq!(answer(code), Written::Conflict, "{code}");
        }
        for code in [403, 429, 500, 502, 503, 504] {
            assert!(matches!(answer(code), Written::Failed(_)), "{code}");
        }
        assert_eq!(outcome(Err("no answer".to_owned())), Written::Failed("no answer".to_owned()));
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = Record {
            holder: Some(Holder { pod: "a-0".into(), uid: "u".into() }),
            epoch: 7,
            served: Some(6),
            last: Some("a-1".into()),
            position: Some(1 << 40),
            candidate: None,
            members: BTreeSet::from(["a-0".to_owned(), "a-1".to_owned()]),
            duration: 10_000,
        };
        assert_eq!(seen(encode(&record, "a")).record, record);
        let released = Record { holder: None, candidate: Some("a-2".into()), ..record };
        assert_eq!(seen(encode(&released, "a")).record, released);
    }
}
