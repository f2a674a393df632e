//! A cluster as far as pods and claims go: it does what plans say, and its pods start and stop.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1 as core;
use serde_json::{Value, json};

use super::super::*;
use super::merge;
use crate::api::pod_report::PodReport;
use crate::api::pod_set::{PodSetSpec, PodTemplate};
use crate::api::{PodSetStatus, labels};

pub struct World {
    name: String,
    pub spec: PodSetSpec,
    pub status: PodSetStatus,
    pub pods: BTreeMap<u16, Pod>,
    pub claims: BTreeMap<String, Claim>,
    pub classes: Option<BTreeMap<String, bool>>,
    pub nodes: Option<BTreeMap<String, Node>>,
    pub kept: BTreeMap<String, PodTemplate>,
    pub can_resize: bool,
    pub troubles: Vec<Trouble>,
    pub replaced: BTreeMap<u16, Replaced>,
    pub unwell: BTreeMap<String, Timestamp>,
    pub asked_order: Option<Vec<u16>>,
    pub members: Option<BTreeSet<u16>>,
    pub gives_away: Option<bool>,
    pub now: Timestamp,
    /// Images whose pods never get ready.
    pub bad_images: BTreeSet<String>,
    /// Pods whose nodes do not answer.
    pub lost: BTreeSet<u16>,
    /// What happened, oldest first.
    pub log: Vec<String>,
    counter: u32,
}

impl World {
    pub fn new(spec: PodSetSpec) -> Self {
        let name = naming::pod_set(spec.instance.as_str(), spec.component.as_str(), spec.group.as_str());
        Self {
            name,
            spec,
            status: PodSetStatus::default(),
            pods: BTreeMap::new(),
            claims: BTreeMap::new(),
            classes: Some(BTreeMap::from([("grows".to_owned(), true), ("fixed".to_owned(), false)])),
            nodes: Some((0..4).map(|n| (format!("n{n}"), Node { ready: true, out_of_service: false })).collect()),
            kept: BTreeMap::new(),
            can_resize: true,
            troubles: Vec::new(),
            replaced: BTreeMap::new(),
            unwell: BTreeMap::new(),
            asked_order: None,
            members: None,
            gives_away: Some(false),
            now: Timestamp::from_second(1_800_000_000).expect("a time"),
            bad_images: BTreeSet::new(),
            lost: BTreeSet::new(),
            log: Vec::new(),
            counter: 0,
        }
    }

    /// A world in which the pods of this spec run.
    pub fn running(spec: PodSetSpec) -> Self {
        let mut world = Self::new(spec);
        world.settle();
        world.log.clear();
        world
    }

    pub fn seen(&self) -> Observed<'_> {
        Observed {
            name: &self.name,
            spec: &self.spec,
            status: &self.status,
            pods: self.pods.clone(),
            claims: self.claims.clone(),
            classes: self.classes.clone(),
            nodes: self.nodes.clone(),
            kept: self.kept.clone(),
            can_resize: self.can_resize,
            troubles: self.troubles.clone(),
            replaced: self.replaced.clone(),
            unwell: self.unwell.clone(),
            asked_order: self.asked_order.clone(),
            members: self.members.clone(),
            gives_away: self.gives_away,
            now: self.now,
        }
    }

    pub fn plan(&self) -> Plan {
        plan(&self.seen())
    }

    pub fn change(&mut self, more: Value) {
        let mut all = serde_json::to_value(&self.spec).expect("plain data");
        merge(&mut all, more);
        self.spec = serde_json::from_value(all).expect("a pod set");
    }

    /// Plans, writes the status, does what was planned.
    pub fn step(&mut self) -> Plan {
        let plan = self.plan();
        self.unwell.clone_from(&plan.unwell);
        let status = status::status(&self.seen(), &plan, Some(1), None);
        self.status = status;
        let template = Template::of(&self.spec, &self.spec.template);
        self.kept.insert(template.revision.clone(), template.pod);
        for action in &plan.actions {
            self.log.push(format!("{} {}", action.what.word(), action.ordinal));
            self.carry_out(action);
        }
        plan
    }

    /// Lets everything happen until nothing does any more, and holds that planning again does nothing.
    #[track_caller]
    pub fn settle(&mut self) {
        for _ in 0..400 {
            let planned_at = self.now;
            let plan = self.step();
            let moved = self.tick();
            if plan.actions.is_empty() && !moved {
                let until = plan.waits.iter().filter_map(|wait| wait.until).filter(|until| *until > planned_at).min();
                if let Some(until) = until {
                    self.now = self.now.max(until);
                } else {
                    let before = self.status.clone();
                    let again = self.step();
                    assert!(again.actions.is_empty(), "{again:#?}");
                    assert_eq!(self.status, before, "saying it again says the same");
                    return;
                }
            }
        }
        panic!("it never comes to rest: {:#?}\n{:#?}", self.log, self.plan());
    }

    pub fn later(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    /// What the nodes do in a second. True when something changed.
    pub fn tick(&mut self) -> bool {
        self.later(1);
        let now = self.now;
        let mut changed = false;
        let (lost, bad) = (self.lost.clone(), self.bad_images.clone());
        let main = self.spec.component.to_string();
        let ordinals: Vec<u16> = self.pods.keys().copied().collect();
        for ordinal in ordinals {
            if lost.contains(&ordinal) {
                continue;
            }
            if self.pods[&ordinal].leaving() {
                self.pods.remove(&ordinal);
                changed = true;
                continue;
            }
            self.counter += 1;
            let counter = self.counter;
            let pod = self.pods.get_mut(&ordinal).expect("it is there");
            if pod.phase == Phase::Ended {
                continue;
            }
            if pod.phase == Phase::Pending {
                pod.phase = Phase::Running;
                pod.started = true;
                pod.qos = Some("Burstable".to_owned());
                for (name, container) in &mut pod.containers {
                    container.id = Some(format!("{name}-{counter}"));
                }
                changed = true;
            }
            let replaced: Vec<String> = pod
                .containers
                .iter()
                .filter(|(_, one)| one.id.as_ref().is_some_and(|id| pod.replaces.contains(id)))
                .map(|(name, _)| name.clone())
                .collect();
            for name in replaced {
                pod.containers.get_mut(&name).expect("it is there").id = Some(format!("{name}-{counter}"));
                pod.ready_since = None;
                changed = true;
            }
            let runs = !bad.contains(&pod.containers[&main].image);
            match (runs, pod.ready_since) {
                (true, None) => {
                    pod.ready_since = Some(now);
                    pod.problem = None;
                    changed = true;
                }
                (false, Some(_)) => {
                    pod.ready_since = None;
                    pod.unready_since = Some(now);
                    changed = true;
                }
                (false, None) if pod.problem.is_none() => {
                    pod.problem = Some(format!("{main}: CrashLoopBackOff"));
                    changed = true;
                }
                _ => {}
            }
            let report = pod.report.get_or_insert_default();
            if report.config_revision != pod.config_revision {
                report.config_revision.clone_from(&pod.config_revision);
                changed = true;
            }
        }
        for claim in self.claims.values_mut().filter(|claim| !claim.bound) {
            claim.bound = true;
            changed = true;
        }
        let gone = self.claims.len();
        self.claims.retain(|_, claim| !claim.deleting);
        changed | self.hand_out_roles() | (gone != self.claims.len())
    }

    /// Somebody who is ready leads, where roles differ.
    fn hand_out_roles(&mut self) -> bool {
        if self.spec.role_order.len() < 2 {
            return false;
        }
        let ready = |pod: &Pod| pod.ready_since.is_some() && !pod.leaving();
        let mut changed = false;
        for pod in self.pods.values_mut().filter(|pod| !ready(pod) && pod.role.is_some()) {
            pod.role = None;
            changed = true;
        }
        let leads = self.pods.values().any(|pod| pod.role.as_deref() == Some("primary"));
        let mut free = !leads;
        for pod in self.pods.values_mut().filter(|pod| ready(pod)) {
            let role = if std::mem::take(&mut free) { "primary" } else { "replica" };
            if pod.role.as_deref() != Some("primary") && pod.role.as_deref() != Some(role) {
                pod.role = Some(role.to_owned());
                changed = true;
            }
        }
        changed
    }

    /// Something was tried with a pod, and did not work.
    pub fn fails(&mut self, ordinal: u16, attempt: Attempt, message: &str, refused: bool) {
        let (uid, message, since) = (self.pods[&ordinal].uid.clone(), message.to_owned(), self.now);
        self.troubles.push(Trouble { ordinal, uid, attempt, since, message, refused, due: false });
    }

    fn uid(&mut self) -> String {
        self.counter += 1;
        format!("u{}", self.counter)
    }

    fn carry_out(&mut self, action: &Action) {
        let (ordinal, now) = (action.ordinal, self.now);
        match &action.what {
            What::CreateClaim { name, volume } => {
                let body = manifest::claim("here", name, &self.spec, volume, ordinal).expect("the volume is declared");
                let mut claim: core::PersistentVolumeClaim = serde_json::from_value(body).expect("a claim");
                claim.metadata.uid = Some(self.uid());
                let mut claim = view::claim(&claim, &self.spec);
                claim.class = claim.class.or(Some("grows".to_owned()));
                assert!(self.claims.insert(name.clone(), claim).is_none(), "{name} was there");
            }
            What::GrowClaim { name, size, .. } => self.claim(name).asked = size.bytes(),
            What::LabelClaim { name, labels } => self.claim(name).labels.extend(labels.clone()),
            What::MarkClaim { name, uid } => self.claim(name).to_delete = Some(uid.clone()),
            What::UnmarkClaim { name } => self.claim(name).to_delete = None,
            What::DeleteClaim { name, uid } => {
                assert_eq!(self.claim(name).uid, *uid);
                self.claim(name).deleting = true;
            }
            What::CreatePod { revision } => {
                let current = Template::of(&self.spec, &self.spec.template);
                let template = if *revision == current.revision {
                    current
                } else {
                    Template::of(&self.spec, &self.kept[revision])
                };
                let owner = manifest::Owner { name: &self.name, namespace: "here", uid: "set" };
                let body = manifest::pod(owner, &self.spec, &template, ordinal);
                let mut pod: core::Pod = serde_json::from_value(body).expect("a pod");
                pod.metadata.uid = Some(self.uid());
                let mut pod = view::pod(&pod);
                pod.created = now;
                pod.node = Some(format!("n{}", ordinal % 4));
                assert!(self.pods.insert(ordinal, pod).is_none(), "a second pod of ordinal {ordinal}");
            }
            What::DeletePod { uid } => {
                let pod = self.pods.get_mut(&ordinal).expect("it is there");
                assert_eq!(pod.uid, *uid);
                if pod.phase == Phase::Ended {
                    let times = self.replaced.get(&ordinal).map_or(0, |replaced| replaced.times) + 1;
                    self.replaced.insert(ordinal, Replaced { times, last: now });
                    self.pods.remove(&ordinal);
                } else {
                    pod.leaves_by = Some(now + SignedDuration::from_secs(30));
                }
            }
            What::ForceDelete { .. } => {
                self.pods.remove(&ordinal).expect("it is there");
            }
            What::Patch { patch, .. } => self.patch(ordinal, patch),
            What::Resize { patch, then, .. } => {
                let pod = self.pods.get_mut(&ordinal).expect("it is there");
                for container in patch["spec"]["containers"].as_array().into_iter().flatten() {
                    pod.resources.extend(super::super::template::named_resources(container));
                }
                if then.get("metadata").is_some() {
                    self.patch(ordinal, then);
                }
            }
            What::RestartProcess { for_config, .. } => {
                let pod = self.pods.get_mut(&ordinal).expect("it is there");
                pod.restarted_for = Some(for_config.clone());
                pod.report = Some(PodReport { config_revision: pod.config_revision.clone(), ..PodReport::default() });
            }
            What::Switchover { to, .. } => {
                self.pods.get_mut(&ordinal).expect("it is there").role = Some("replica".to_owned());
                self.pods.get_mut(to).expect("it is there").role = Some("primary".to_owned());
            }
            What::PostScaleOut { members, .. }
            | What::PostScaleIn { members, .. }
            | What::RecordMembers { members } => {
                self.members = Some(members.clone());
            }
            What::PreScaleIn { uid } => self.patch(ordinal, &manifest::annotate(&[(labels::DEPARTED, uid)])),
        }
    }

    pub fn claim(&mut self, name: &str) -> &mut Claim {
        self.claims.get_mut(name).unwrap_or_else(|| panic!("no claim {name}"))
    }

    fn patch(&mut self, ordinal: u16, patch: &Value) {
        let pod = self.pods.get_mut(&ordinal).expect("it is there");
        let apply = |map: &mut BTreeMap<String, String>, changes: &Value| {
            for (key, value) in changes.as_object().into_iter().flatten() {
                match value.as_str() {
                    Some(text) => map.insert(key.clone(), text.to_owned()),
                    None => map.remove(key),
                };
            }
        };
        apply(&mut pod.labels, &patch["metadata"]["labels"]);
        apply(&mut pod.annotations, &patch["metadata"]["annotations"]);
        let read: core::Pod = serde_json::from_value(json!({
            "metadata": { "labels": pod.labels, "annotations": pod.annotations, "uid": pod.uid } }))
        .expect("a pod");
        let read = view::pod(&read);
        pod.revision = read.revision;
        pod.parts = read.parts;
        pod.config_revision = read.config_revision;
        pod.changed_at = read.changed_at;
        pod.replaces = read.replaces;
        pod.departed = read.departed;
        for container in patch["spec"]["containers"].as_array().into_iter().flatten() {
            let name = container["name"].as_str().expect("a name");
            let image = container["image"].as_str().expect("an image").to_owned();
            pod.containers.get_mut(name).expect("it is there").image = image;
        }
    }

    pub fn images(&self) -> Vec<String> {
        self.pods.values().map(|pod| pod.containers["cache"].image.clone()).collect()
    }

    pub fn leader(&self) -> Option<u16> {
        self.pods.iter().find(|(_, pod)| pod.role.as_deref() == Some("primary")).map(|(ordinal, _)| *ordinal)
    }

    /// The reason of the condition Ready.
    pub fn reason(&self) -> String {
        let ready = crate::api::conditions::find(&self.status.conditions, "Ready").expect("it is told");
        ready.reason.clone()
    }

    pub fn message(&self) -> String {
        let ready = crate::api::conditions::find(&self.status.conditions, "Ready").expect("it is told");
        ready.message.clone()
    }

    pub fn happened(&self, what: &str) -> Vec<u16> {
        let all = self.log.iter().filter_map(|line| line.strip_prefix(what)?.trim().parse().ok());
        all.collect()
    }
}
