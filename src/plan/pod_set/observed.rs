//! What a plan for a pod set is made from: plain values, so that a plan can be made, tested and shown anywhere.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::template::{Parts, Resources};
use crate::api::pod_report::PodReport;
use crate::api::pod_set::{PodSetSpec, PodSetStatus, PodTemplate};

/// Everything a plan is made from.
pub struct Observed<'a> {
    /// The pod set's name; pods add their ordinal.
    pub name: &'a str,
    pub spec: &'a PodSetSpec,
    pub status: &'a PodSetStatus,
    /// Its pods by ordinal.
    pub pods: BTreeMap<u16, Pod>,
    /// Claims that have the names its pods' claims have, ours or not.
    pub claims: BTreeMap<String, Claim>,
    /// Which storage classes let volumes grow; nothing where they may not be looked at.
    pub classes: Option<BTreeMap<String, bool>>,
    /// Nodes by name; nothing where they may not be looked at.
    pub nodes: Option<BTreeMap<String, Node>>,
    /// Templates of earlier revisions that were kept.
    pub kept: BTreeMap<String, PodTemplate>,
    /// Whether the server can change the resources of running pods.
    pub can_resize: bool,
    /// What did not work when it was last tried.
    pub troubles: Vec<Trouble>,
    /// Pods that ended by themselves and were replaced lately.
    pub replaced: BTreeMap<u16, Replaced>,
    /// Since when pods have not been well, as far as an earlier plan found, by their UIDs.
    pub unwell: BTreeMap<String, Timestamp>,
    /// The order in which the pods themselves want to be disturbed.
    pub asked_order: Option<Vec<u16>>,
    /// The ordinals that belong to the set, as the package was told; nothing until it was whole for the first time.
    pub members: Option<BTreeSet<u16>>,
    /// Whether pods give something away before they leave for good; nothing where their package is not known yet.
    pub gives_away: Option<bool>,
    pub now: Timestamp,
}

/// A pod as far as it matters here.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    pub uid: String,
    pub created: Timestamp,
    /// When it has to be gone, where it is being deleted.
    pub leaves_by: Option<Timestamp>,
    pub phase: Phase,
    /// Since when it is ready, where it is.
    pub ready_since: Option<Timestamp>,
    /// Since when it is not ready, where it was asked.
    pub unready_since: Option<Timestamp>,
    /// Whether any of its containers ever ran.
    pub started: bool,
    pub node: Option<String>,
    pub revision: Option<String>,
    pub parts: Option<Parts>,
    /// The resources of its containers as they are.
    pub resources: Resources,
    pub qos: Option<String>,
    pub resize: Resizing,
    pub config_revision: Option<String>,
    pub changed_at: Option<Timestamp>,
    /// Its containers by name.
    pub containers: BTreeMap<String, Container>,
    /// Containers that have to be gone before a change of images is in effect.
    pub replaces: BTreeSet<String>,
    /// It has handed over what it had.
    pub departed: bool,
    pub restarted_for: Option<String>,
    /// Whether an agent runs beside the program.
    pub has_agent: bool,
    /// The confirmed role.
    pub role: Option<String>,
    pub report: Option<PodReport>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// What others have to take away before it can be gone.
    pub finalizers: Vec<String>,
    /// What stands in its way, as Kubernetes tells it.
    pub problem: Option<String>,
}

/// A container of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    pub image: String,
    /// Nothing while it never ran.
    pub id: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Pending,
    Running,
    /// Ended, whether well or not: it never runs again.
    Ended,
    /// Its node does not say.
    Unknown,
}

/// How far a change of resources in place has got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resizing {
    No,
    InProgress,
    /// The node has no room at the moment.
    Deferred(String),
    /// The node will never have room.
    Infeasible(String),
}

/// A volume's claim as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub uid: String,
    pub deleting: bool,
    /// It carries the labels of this pod set's claims.
    pub ours: bool,
    /// What is asked for, in bytes.
    pub asked: Option<u64>,
    pub class: Option<String>,
    pub bound: bool,
    pub labels: BTreeMap<String, String>,
    /// The recorded intent to delete it: the UID that was meant.
    pub to_delete: Option<String>,
    /// What it waits for while it grows.
    pub growing: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    pub ready: bool,
    /// Somebody declared it dead: nothing runs on it any more.
    pub out_of_service: bool,
}

/// Something that was tried and did not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub ordinal: u16,
    /// The pod or claim it was about.
    pub uid: String,
    pub attempt: Attempt,
    /// When it first failed.
    pub since: Timestamp,
    pub message: String,
    /// The answer is final: trying again changes nothing.
    pub refused: bool,
    /// It was refused long ago: once more, since what it was refused for may have been mended.
    pub due: bool,
}

/// What can be tried in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attempt {
    /// To change resources in place.
    Resize,
    /// To have them at all: a new pod would get no more.
    Allowed,
    Switchover,
    PreScaleIn,
    PostScaleIn,
    PostScaleOut,
    RestartProcess,
    Expand,
}

/// How often a pod of an ordinal ended by itself and was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaced {
    pub times: u32,
    pub last: Timestamp,
}

impl Pod {
    pub fn leaving(&self) -> bool {
        self.leaves_by.is_some()
    }

    /// It runs and serves.
    pub fn ready(&self) -> bool {
        self.ready_since.is_some() && !self.leaving() && self.phase == Phase::Running
    }

    /// Nothing of what was changed in place is still to come.
    pub fn settled(&self) -> bool {
        let waits = self.containers.values().any(|one| one.id.as_ref().is_some_and(|id| self.replaces.contains(id)));
        !waits && self.resize == Resizing::No
    }

    /// Whether it reports this revision of the configuration, where there is one that it could be told of.
    pub fn has_heard(&self, told: Option<&str>) -> bool {
        let reported = self.report.as_ref().and_then(|report| report.config_revision.as_deref());
        told.is_none() || reported == told
    }

    /// When it became what it is now.
    pub fn changed(&self) -> Timestamp {
        self.changed_at.map_or(self.created, |at| at.max(self.created))
    }
}

impl Observed<'_> {
    pub fn pod_name(&self, ordinal: u16) -> String {
        format!("{}-{ordinal}", self.name)
    }

    pub fn trouble(&self, uid: &str, attempt: Attempt) -> Option<&Trouble> {
        self.troubles.iter().find(|trouble| trouble.uid == uid && trouble.attempt == attempt)
    }

    /// What was refused, and is not asked for again yet.
    pub fn refusal(&self, uid: &str, attempt: Attempt) -> Option<&Trouble> {
        self.trouble(uid, attempt).filter(|trouble| trouble.refused && !trouble.due)
    }

    /// The role that is disturbed last, where roles differ.
    pub fn last_role(&self) -> Option<&str> {
        self.spec.role_order.last().map(crate::names::RoleName::as_str)
    }

    /// The pods that have the role that is disturbed last.
    pub fn holders(&self) -> BTreeSet<u16> {
        let Some(role) = self.last_role() else { return BTreeSet::new() };
        self.pods.iter().filter(|(_, pod)| pod.role.as_deref() == Some(role)).map(|(ordinal, _)| *ordinal).collect()
    }

    /// The one pod that has the role that is disturbed last, where roles differ and exactly one has it.
    pub fn holder(&self) -> Option<u16> {
        let holders = self.holders();
        if holders.len() == 1 { holders.first().copied() } else { None }
    }

    /// Where in the order of roles a pod stands; without a confirmed role it comes first.
    pub fn rank(&self, pod: &Pod) -> usize {
        let place = |role: &str| self.spec.role_order.iter().position(|known| known.as_str() == role);
        pod.role.as_deref().and_then(place).map_or(0, |place| place + 1)
    }
}
