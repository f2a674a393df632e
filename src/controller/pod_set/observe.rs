//! What there is of a pod set: from the caches and from what was written lately.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::{Resource, ResourceExt};

use super::memory::{Failed, Remembered};
use crate::api::PodSet;
use crate::api::PodSetStatus;
use crate::api::labels;
use crate::controller::workloads::Workloads;
use crate::names::RoleName;
use crate::plan::pod_set::{Attempt, Observed, view};

/// The objects a plan was made from, by name.
#[derive(Default)]
pub struct Live {
    pub pods: BTreeMap<u16, Pod>,
    pub claims: BTreeMap<String, PersistentVolumeClaim>,
}

pub fn observe<'a>(
    name: &'a str,
    set: &'a PodSet,
    status: &'a PodSetStatus,
    workloads: &Workloads,
    gives_away: Option<bool>,
    remembered: &mut Remembered,
) -> (Observed<'a>, Live) {
    let namespace = set.namespace();
    let pods = workloads.pods.select(|pod| {
        pod.metadata.namespace == namespace
            && pod.owner_references().iter().any(|owner| Some(&owner.uid) == set.metadata.uid.as_ref())
    });
    let mut live = Live::default();
    for pod in remembered.pods.overlay(pods) {
        if let Some(ordinal) = view::ordinal(name, &pod.name_any()) {
            live.pods.insert(ordinal, pod.as_ref().clone());
        }
    }
    let claims = workloads.claims.select(|claim| claim.metadata.namespace == namespace && belongs(claim, name));
    for claim in remembered.claims.overlay(claims) {
        live.claims.insert(claim.name_any(), claim.as_ref().clone());
    }
    let known = |uid: &str| {
        live.pods.values().any(|pod| pod.meta().uid.as_deref() == Some(uid))
            || live.claims.values().any(|claim| claim.meta().uid.as_deref() == Some(uid))
    };
    let same = std::mem::replace(&mut remembered.generation, set.metadata.generation) == set.metadata.generation;
    let leading = set.spec.role_order.last().map(RoleName::as_str);
    let leads = |uid: &str| {
        let pod = live.pods.values().find(|pod| pod.meta().uid.as_deref() == Some(uid));
        pod.is_some_and(|pod| pod.labels().get(labels::ROLE).map(String::as_str) == leading)
    };
    remembered.troubles.retain(|failed| {
        let trouble = &failed.trouble;
        // a role that has gone was handed over
        let over = trouble.attempt == Attempt::Switchover && !leads(&trouble.uid);
        known(&trouble.uid) && (same || !trouble.refused) && !over
    });
    let now = Timestamp::now();
    let seen = Observed {
        name,
        spec: &set.spec,
        status,
        pods: live.pods.iter().map(|(ordinal, pod)| (*ordinal, view::pod(pod))).collect(),
        claims: live.claims.iter().map(|(name, claim)| (name.clone(), view::claim(claim, &set.spec))).collect(),
        classes: workloads
            .classes
            .as_ref()
            .map(|classes| classes.list().iter().map(|class| (class.name_any(), view::can_grow(class))).collect()),
        nodes: workloads
            .nodes
            .as_ref()
            .map(|nodes| nodes.list().iter().map(|node| (node.name_any(), view::node(node))).collect()),
        kept: remembered.kept.clone(),
        can_resize: workloads.can_resize,
        troubles: remembered.troubles.iter().map(Failed::seen).collect(),
        replaced: remembered.replaced.clone(),
        unwell: remembered.unwell.clone(),
        members: remembered.members.clone().or_else(|| members(set)),
        gives_away,
        asked_order: remembered.asked_order.as_ref().and_then(|(_, order)| order.clone()),
        now,
    };
    (seen, live)
}

/// Who belongs to the set, where that was recorded.
fn members(set: &PodSet) -> Option<BTreeSet<u16>> {
    let recorded = set.annotations().get(labels::MEMBERS)?;
    Some(recorded.split(',').filter_map(|ordinal| ordinal.parse().ok()).collect())
}

/// Whether a claim has the name that a pod of the set gives it: `<volume>-<set>-<ordinal>`.
fn belongs(claim: &PersistentVolumeClaim, set: &str) -> bool {
    let Some(name) = claim.metadata.name.as_deref() else { return false };
    name.match_indices(set).any(|(at, _)| name[..at].ends_with('-') && view::ordinal(set, &name[at..]).is_some())
}
