//! What a pod set says of itself, from what is there and what is planned.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::TIMEOUT;
use super::observed::Observed;
use super::rollout::reason_of;
use super::steps::Plan;
use crate::api::PodSetStatus;
use crate::api::conditions::{self, ConditionStatus, Finding, READY, RECONCILING, STALLED};
use crate::api::instance::DesiredState;
use crate::api::pod_set::PodSetMember;
use crate::names::Ordinal;

/// What could not be carried out, and since when nothing of this spec could.
#[derive(Clone, Copy, Debug)]
pub struct Undone<'a> {
    pub why: &'a str,
    pub since: Timestamp,
}

/// The status that follows. `failure` is what could not be carried out.
pub fn status(seen: &Observed<'_>, plan: &Plan, generation: Option<i64>, failure: Option<Undone<'_>>) -> PodSetStatus {
    let ordinals: BTreeSet<u16> = seen.pods.keys().chain(&plan.wanted).copied().collect();
    let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    let ready = plan.wanted.iter().filter(|ordinal| is_ready(seen, **ordinal)).count();
    let updated = plan.wanted.iter().filter(|ordinal| is_updated(seen, plan, **ordinal)).count();
    let findings = findings(seen, plan, ready, updated, failure);
    PodSetStatus {
        observed_generation: generation,
        replicas: Some(count(seen.pods.len())),
        ready_replicas: Some(count(ready)),
        updated_replicas: Some(count(updated)),
        revision: Some(plan.record.revision.clone()),
        last_good_revision: plan.record.last_good.clone(),
        failed_revision: plan.record.failed.clone(),
        last_holder: plan.record.last_holder.and_then(|ordinal| Ordinal::new(ordinal).ok()),
        highest_ordinal: plan.record.highest.and_then(|ordinal| Ordinal::new(ordinal).ok()),
        departed: plan.record.departed.iter().filter_map(|ordinal| Ordinal::new(*ordinal).ok()).collect(),
        pods: ordinals.into_iter().filter_map(|ordinal| member(seen, plan, ordinal)).collect(),
        conditions: conditions::merge(&seen.status.conditions, &findings, generation, &Time(seen.now)),
    }
}

fn is_ready(seen: &Observed<'_>, ordinal: u16) -> bool {
    seen.pods.get(&ordinal).is_some_and(super::Pod::ready)
}

fn is_updated(seen: &Observed<'_>, plan: &Plan, ordinal: u16) -> bool {
    seen.pods.get(&ordinal).is_some_and(|pod| pod.revision.as_ref() == Some(&plan.record.revision))
}

fn member(seen: &Observed<'_>, plan: &Plan, ordinal: u16) -> Option<PodSetMember> {
    let pod = seen.pods.get(&ordinal);
    let ready = pod.is_some_and(super::Pod::ready);
    let planned = || {
        let action = plan.actions.iter().find(|action| action.ordinal == ordinal && pod.is_none())?;
        Some(action.reason.clone())
    };
    let waits = plan.waits.iter().filter(|wait| wait.ordinal == Some(ordinal));
    let name = seen.pod_name(ordinal);
    // said of this pod: it need not be named
    let of_this = |message: &str| {
        let rest =
            message.strip_prefix(name.as_str()).and_then(|rest| rest.strip_prefix(": ").or(rest.strip_prefix(' ')));
        rest.unwrap_or(message).to_owned()
    };
    let waits = waits.min_by_key(|wait| !wait.stalled).map(|wait| of_this(&wait.message));
    Some(PodSetMember {
        ordinal: Ordinal::new(ordinal).ok()?,
        ready,
        role: pod.and_then(|pod| pod.role.clone()),
        // what is away comes back as it was
        revision: pod.map_or_else(
            || {
                let before = seen.status.pods.iter().find(|member| member.ordinal.get() == ordinal);
                before.and_then(|member| member.revision.clone())
            },
            |pod| pod.revision.clone(),
        ),
        node: pod.and_then(|pod| pod.node.clone()),
        lag: pod.and_then(|pod| pod.report.as_ref()?.lag),
        reason: waits.or_else(|| pod.filter(|_| !ready).and_then(reason_of)).or_else(planned),
        filling: filling(seen, ordinal),
    })
}

/// How full a pod's volumes are, where its agent says so. Those of a pod that is away, or whose agent has not looked yet,
/// are as they were.
fn filling(seen: &Observed<'_>, ordinal: u16) -> BTreeMap<String, i32> {
    let told = seen.pods.get(&ordinal).and_then(|pod| pod.report.as_ref()?.filling.clone());
    let before = || seen.status.pods.iter().find(|member| member.ordinal.get() == ordinal);
    let mut filling = told.or_else(|| before().map(|member| member.filling.clone())).unwrap_or_default();
    // who can write to the pod can write anything there
    let lasting = seen.spec.template.volumes.as_ref();
    let is_one = |volume: &str| lasting.is_some_and(|lasting| lasting.contains_key(volume));
    filling.retain(|volume, percent| is_one(volume) && matches!(*percent, 1..=100));
    filling
}

fn findings(
    seen: &Observed<'_>,
    plan: &Plan,
    ready: usize,
    updated: usize,
    failure: Option<Undone<'_>>,
) -> Vec<Finding> {
    let wanted = plan.wanted.len();
    if let Some(Undone { why, since }) = failure {
        // what is refused for that long, such as by a quota, does not pass by itself
        let lasts = seen.now.duration_since(since) >= TIMEOUT;
        return vec![
            Finding::new(READY, ConditionStatus::False, "NotCarriedOut", why),
            Finding::new(if lasts { STALLED } else { RECONCILING }, ConditionStatus::True, "NotCarriedOut", why),
        ];
    }
    let stopped = seen.spec.state == Some(DesiredState::Stopped);
    if stopped && seen.pods.is_empty() {
        let message = "stopped: no pods run, the volumes are kept";
        return vec![Finding::new(READY, ConditionStatus::True, "Stopped", message)];
    }
    if let Some(stalled) = plan.waits.iter().find(|wait| wait.stalled) {
        return vec![
            Finding::new(READY, ConditionStatus::False, stalled.reason, stalled.message.clone()),
            Finding::new(STALLED, ConditionStatus::True, stalled.reason, stalled.message.clone()),
        ];
    }
    if stopped {
        let message = told(seen, plan).unwrap_or_else(|| format!("{} pods have to stop", seen.pods.len()));
        return working("Stopping", message);
    }
    let missing = plan.wanted.iter().any(|ordinal| !seen.pods.contains_key(ordinal));
    let leaving = seen.pods.keys().any(|ordinal| !plan.wanted.contains(ordinal));
    let left_alone = plan.waits.iter().any(|wait| wait.reason == "OnDelete");
    let waiting = plan.waits.iter().find(|wait| wait.reason != "OnDelete");
    let counted = format!("{ready} of {wanted} pods are ready");
    let reason = if missing && plan.record.last_good.is_none() {
        "Creating"
    } else if missing || leaving {
        "Scaling"
    } else if updated < wanted && !left_alone {
        "Updating"
    } else if ready < wanted {
        "PodsNotReady"
    } else if plan.actions.is_empty() && waiting.is_none() {
        let reason = if left_alone { "OnDelete" } else { "Ready" };
        return vec![Finding::new(READY, ConditionStatus::True, reason, counted)];
    } else {
        waiting.map_or("Working", |wait| wait.reason)
    };
    let message = told(seen, plan).map_or_else(|| counted.clone(), |told| format!("{counted}; {told}"));
    working(reason, message)
}

fn working(reason: &str, message: String) -> Vec<Finding> {
    vec![
        Finding::new(READY, ConditionStatus::False, reason, message.clone()),
        Finding::new(RECONCILING, ConditionStatus::True, reason, message),
    ]
}

/// What is most worth knowing: what is waited for, what is done, what a pod says.
fn told(seen: &Observed<'_>, plan: &Plan) -> Option<String> {
    let wait = plan.waits.first().map(|wait| wait.message.clone());
    let action = || plan.actions.first().map(|action| action.reason.clone());
    let pod = || {
        let mut unwell = seen.pods.iter().filter(|(_, pod)| !pod.ready());
        unwell.find_map(|(ordinal, pod)| Some(format!("{}: {}", seen.pod_name(*ordinal), reason_of(pod)?)))
    };
    wait.or_else(action).or_else(pod)
}
