//! What the world is told of the pod: its role's label, its report, and the status of the API. Written when it changes.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::Place;
use super::shared::{Findings, Shared};
use crate::agent::init::protocol;
use crate::agent::init::state::Shown;
use crate::agent::role::Summary;
use crate::api::labels;
use crate::api::pod_report::PodReport;
use crate::lifecycle::Status;

/// How long the API server may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two writes: what changes together is told together.
const PAUSE: Duration = Duration::from_millis(100);
const RETRY: Duration = Duration::from_secs(1);
/// How long whoever took the role over may take to be confirmed before it is told without that.
const CONFIRMED: Duration = Duration::from_secs(1);
/// How often the holder looks whether its label is still there: somebody late may have taken it away.
const LOOK: Duration = Duration::from_secs(10);
/// Less lag than this is none, and more is told in powers of two: a busy database would be written about all the time
/// otherwise.
const SMALLEST_LAG: i64 = 1 << 20;

fn pods(shared: &Shared) -> Api<Pod> {
    Api::namespaced(shared.client.clone(), shared.place().config.namespace.as_str())
}

/// For how long a pod keeps the label an agent before this one gave it, until its process says who it is.
const SETTLE: Duration = Duration::from_secs(10);

/// What is told: role, where it is known whether there is one, and report.
type Told = (Option<Option<String>>, String);

pub async fn run(shared: Arc<Shared>) {
    let mut changes = shared.findings.subscribe();
    let mut told: Option<Told> = None;
    let mut looked = Instant::now();
    let settled_at = Instant::now() + SETTLE;
    let mut settled = false;
    let mut said = String::new();
    loop {
        let mut findings = changes.borrow_and_update().clone();
        if is_about_to_serve(&findings) {
            // clients wait for the label: no other write is to be under way by then
            let confirmed = changes.wait_for(|findings| !is_about_to_serve(findings));
            if let Ok(Err(_)) = timeout(CONFIRMED, confirmed).await {
                return;
            }
            findings = changes.borrow_and_update().clone();
        }
        let place = shared.place();
        let status = status(&place, &findings, false);
        shared.status.send_if_modified(|known| {
            let news = **known != status;
            *known = Arc::new(status.clone());
            news
        });
        settled |= is_settled(&place, &findings) || Instant::now() >= settled_at;
        let known = |findings: &Findings| (settled || is_settled(&place, findings)).then(|| role(&place, findings));
        let wanted: Told = (known(&findings), serde_json::to_string(&report(&findings, &status)).unwrap_or_default());
        let mut retry = false;
        if told.as_ref() != Some(&wanted) {
            match tell(&shared, &wanted).await {
                Ok(()) => {
                    told = Some(wanted.clone());
                    looked = Instant::now();
                    said.clear();
                }
                Err(error) => {
                    retry = true;
                    if said != error {
                        tracing::warn!(error, "the pod's label and report cannot be written");
                        said = error;
                    }
                }
            }
        } else if looked.elapsed() >= LOOK {
            looked = Instant::now();
            if holds(&findings) && label(&shared).await.is_some_and(|label| Some(label) != wanted.0) {
                told = None;
                continue;
            }
        }
        if findings.ended {
            return;
        }
        // a role that changed is told at once: clients wait for it
        let mut watched = changes.clone();
        let news = watched.wait_for(|findings| findings.ended || known(findings) != wanted.0);
        // neither is an error: the pause is over, or the sender's end shows below
        let _ = timeout(PAUSE, news).await;
        let wait = if retry || !settled { RETRY } else { LOOK };
        // an error is the sender's end, together with everything else
        if let Ok(Err(_)) = timeout(wait, changes.changed()).await {
            return;
        }
    }
}

fn holds(findings: &Findings) -> bool {
    findings.summary.as_ref().is_some_and(|summary| summary.holds)
}

/// The role was taken over by a process that runs: it is made to serve, or what confirms that it does is being written down.
fn is_about_to_serve(findings: &Findings) -> bool {
    let up = |process: &protocol::Status| matches!(process.state, Shown::Running | Shown::Ready);
    let runs = findings.process.as_ref().is_some_and(up);
    let serves = findings.role.as_ref().is_some_and(|observed| observed.exclusive);
    (runs || serves) && !findings.ended && findings.summary.as_ref().is_some_and(is_unconfirmed)
}

fn is_unconfirmed(summary: &Summary) -> bool {
    summary.holds && summary.role.is_none()
}

/// Whether it is known if the pod has a role: another agent may have labelled it for a process that runs on.
fn is_settled(place: &Place, findings: &Findings) -> bool {
    let runs = findings.process.as_ref().is_none_or(|process| process.pid.is_some());
    findings.ended || !runs || role(place, findings).is_some()
}

/// The role the label says.
fn role(place: &Place, findings: &Findings) -> Option<String> {
    if findings.ended {
        return None;
    }
    if place.handed_out() {
        return findings.summary.as_ref().and_then(|summary| summary.role.clone());
    }
    findings.role.as_ref().map(|observed| observed.role.clone())
}

async fn tell(shared: &Shared, (role, report): &Told) -> Result<(), String> {
    let mut patch = json!({ "metadata": { "annotations": { labels::REPORT: report } } });
    if let Some(role) = role {
        patch["metadata"]["labels"] = json!({ labels::ROLE: role });
    }
    let name = shared.place().pod.clone();
    let api = pods(shared);
    let params = PatchParams::default();
    match timeout(PATIENCE, api.patch(&name, &params, &Patch::Merge(&patch))).await {
        Ok(Ok(_)) => Ok(()),
        // the pod is gone already
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("the API server did not answer within {} s", PATIENCE.as_secs())),
    }
}

/// The label as it is; nothing where nobody says.
async fn label(shared: &Shared) -> Option<Option<String>> {
    let name = shared.place().pod.clone();
    let pod = timeout(PATIENCE, pods(shared).get(&name)).await.ok()?.ok()?;
    Some(pod.metadata.labels.unwrap_or_default().get(labels::ROLE).cloned())
}

/// No other pod of the set is to look as if it had the exclusive role.
pub async fn clear_labels(shared: &Shared) {
    let place = shared.place();
    let Some(exclusive) = place.exclusive_role() else { return };
    let api = pods(shared);
    let clear = place.others().into_iter().map(|name| {
        let api = api.clone();
        async move {
            let Ok(Some(pod)) = api.get_opt(&name).await else { return };
            if pod.metadata.labels.unwrap_or_default().get(labels::ROLE).map(String::as_str) != Some(exclusive) {
                return;
            }
            // another one that was made meanwhile is not meant
            let patch = json!({ "metadata": { "uid": pod.metadata.uid, "labels": { labels::ROLE: null } } });
            if let Err(error) = api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await {
                tracing::warn!(name, %error, "the label of the pod that had the role before cannot be taken away");
            }
        }
    });
    if timeout(PATIENCE, futures::future::join_all(clear)).await.is_err() {
        tracing::warn!("the labels of the other pods could not be looked at in time");
    }
}

/// Everything the API tells; whether the position was asked for since somebody wanted to know it.
pub fn status(place: &Place, findings: &Findings, exact: bool) -> Status {
    let config = &place.config;
    let process = findings.process.as_ref();
    let observed = findings.role.as_ref();
    let summary = findings.summary.as_ref();
    let ready = process.is_some_and(|process| process.readiness.ready);
    Status {
        pod: place.pod.clone(),
        namespace: config.namespace.to_string(),
        instance: config.instance.to_string(),
        component: config.component.to_string(),
        group: config.group.to_string(),
        process: process.map_or("Unknown".to_owned(), |process| format!("{:?}", process.state)),
        ready,
        reason: reason(findings, ready),
        pid: process.and_then(|process| process.pid).and_then(|pid| u32::try_from(pid).ok()),
        restarts: process.map_or(0, |process| process.restarts),
        role: observed.map(|observed| observed.role.clone()),
        role_since: findings.role_since.clone(),
        holder: holds(findings),
        epoch: summary.and_then(|summary| summary.epoch),
        data_epoch: summary.and_then(|summary| summary.data),
        position: observed.and_then(|observed| observed.position),
        position_exact: exact && observed.is_some_and(|observed| observed.position.is_some()),
        lag: observed.and_then(|observed| {
            let asked = findings.lag.filter(|_| !observed.exclusive && observed.position.is_some());
            observed.lag.or(asked)
        }),
        follows: observed.and_then(|observed| observed.follows.clone()).filter(|host| !host.is_empty()),
        config_revision: findings.revision.clone(),
        pending_restart: findings.pending.clone(),
        agent: env!("CARGO_PKG_VERSION").to_owned(),
        archive: findings.archive.clone(),
        waits_for_restore: findings.waits_for_restore.clone(),
    }
}

/// Why it is not ready, or what it waits for.
fn reason(findings: &Findings, ready: bool) -> Option<String> {
    if let Some(error) = &findings.config_error {
        return Some(error.clone());
    }
    let waits = findings.summary.as_ref().map(|summary| summary.reason.clone());
    if ready {
        return waits;
    }
    let process = findings.process.as_ref().map(|process| process.reason.clone());
    let runs = findings.process.as_ref().is_some_and(|process| process.pid.is_some());
    if runs { findings.not_ready.clone().or(process) } else { waits.or(process) }
}

/// The power of two that a lag has reached.
fn rounded(lag: i64) -> i64 {
    if lag < SMALLEST_LAG { 0 } else { 1 << lag.ilog2() }
}

fn report(findings: &Findings, status: &Status) -> PodReport {
    let vacant = findings.summary.as_ref().is_some_and(|summary| summary.vacant);
    PodReport {
        process: Some(status.process.clone()),
        ready: status.ready,
        reason: status.reason.clone(),
        role: status.role.clone(),
        role_since: status.role_since.clone(),
        epoch: status.epoch,
        data_epoch: status.data_epoch,
        // while nobody has the role it decides who gets it; else nobody needs it here
        position: status.position.filter(|_| vacant),
        lag: status.lag.map(rounded),
        follows: status.follows.clone(),
        config_revision: status.config_revision.clone(),
        pending_restart: status.pending_restart.clone(),
        restarts: status.restarts,
        archives: status.archive.as_ref().map(|archive| archive.method.clone()),
        archive_error: status.archive.as_ref().and_then(|archive| archive.error.clone()),
        waits_for_restore: status.waits_for_restore.clone(),
        rejoined: findings.rejoined.as_ref().map(|(how, _)| how.clone()),
        rejoined_at: findings.rejoined.as_ref().map(|(_, at)| at.clone()),
        filling: findings.filling.clone(),
        agent: Some(status.agent.clone()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::agent::role::Observed;

    fn summary(holds: bool, role: Option<&str>) -> Summary {
        Summary {
            holds,
            holder: Some("a-0".to_owned()),
            epoch: Some(3),
            data: Some(3),
            vacant: false,
            role: role.map(str::to_owned),
            reason: "takes the role".to_owned(),
        }
    }

    #[test]
    fn a_new_holder_is_told_of_once_it_is_confirmed() {
        let role = Observed { role: "primary".into(), exclusive: true, position: None, lag: None, follows: None };
        let found = |summary| Findings { role: Some(role.clone()), summary: Some(summary), ..Findings::default() };
        assert!(is_about_to_serve(&found(summary(true, None))));
        assert!(!is_about_to_serve(&found(summary(true, Some("primary")))), "it is");
        assert!(!is_about_to_serve(&found(summary(false, None))), "it does not hold the lease");
        let ends = Findings { ended: true, ..found(summary(true, None)) };
        assert!(!is_about_to_serve(&ends), "the last word is not kept waiting");
        let down = Findings { role: None, ..found(summary(true, None)) };
        assert!(!is_about_to_serve(&down), "a holder whose process does not run is told of at once");
    }

    #[test]
    fn volumes_are_told_of_once_they_were_looked_at() {
        let told = |filling| {
            let found = Findings { filling, ..Findings::default() };
            serde_json::to_value(report(&found, &Status::default())).unwrap()
        };
        assert!(told(None).get("filling").is_none(), "nobody knows");
        assert_eq!(told(Some(BTreeMap::new()))["filling"], json!({}), "they have room");
        assert_eq!(told(Some(BTreeMap::from([("data".to_owned(), 85)])))["filling"], json!({ "data": 85 }));
        let older: PodReport = serde_json::from_str(r#"{"ready":true}"#).unwrap();
        assert_eq!(older.filling, None, "an agent that knows nothing of it");
    }
}
