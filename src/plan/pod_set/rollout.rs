//! Bringing pods to the template: with the smallest disruption each change can do with, in order, never more at a time than
//! the spec allows, and back to the last good template where that is asked for and the new one fails.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::observed::{Attempt, Pod, Resizing};
use super::order::HandOver;
use super::steps::What;
use super::{Planner, Template, manifest};
use crate::api::instance::UpdateStrategy;
use crate::api::labels;

/// What a pod needs to be as the template says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Need {
    Nothing,
    /// Labels and annotations.
    Metadata,
    /// More or less CPU and memory, while it runs.
    Resize,
    /// The process starts anew, the pod stays: for these parameters.
    Restart {
        for_config: String,
        parameters: Vec<String>,
    },
    /// Containers start anew from other images.
    Images {
        resize: bool,
    },
    /// A new pod.
    Recreate(String),
}

impl Planner<'_> {
    /// Judges how the rollout goes, and decides what pods are brought to.
    pub(super) fn judge(&mut self) {
        if self.stopped() {
            return;
        }
        let seen = self.seen;
        self.plan.unwell = self.unwell();
        let mut late = None;
        let mut unwell = false;
        for ordinal in &self.wanted {
            let Some(pod) = seen.pods.get(ordinal) else { continue };
            if pod.revision.as_ref() != Some(&self.current.revision) || self.available(*ordinal) {
                continue;
            }
            unwell = true;
            let since = self.plan.unwell.get(&pod.uid).copied().unwrap_or(pod.changed());
            let ends = self.patience_ends(since).saturating_add(self.min_ready()).unwrap_or(since);
            if ends <= seen.now && !pod.leaving() {
                late = late.or(Some(*ordinal));
            } else if self.in_progress() {
                let name = seen.pod_name(*ordinal);
                let message = reason_of(pod).map_or(format!("{name} gets ready"), |why| format!("{name}: {why}"));
                self.plan.waits.push(super::Wait {
                    ordinal: Some(*ordinal),
                    reason: "NotReadyYet",
                    message,
                    until: Some(ends),
                    stalled: false,
                });
            }
        }
        let failed_before = self.plan.record.failed.is_some();
        if !failed_before && late.is_some() && self.in_progress() {
            self.plan.record.failed = Some(self.current.revision.clone());
        } else if failed_before && !self.may_roll_back() && !unwell && self.any_current() {
            self.plan.record.failed = None;
        }
        if self.plan.record.failed.is_some() {
            self.fail(late);
        }
        let all_good = !self.wanted.is_empty()
            && self.wanted.iter().all(|ordinal| {
                let at_target =
                    seen.pods.get(ordinal).is_some_and(|pod| pod.revision.as_ref() == Some(&self.target.revision));
                at_target && self.available(*ordinal)
            });
        if all_good {
            self.plan.record.last_good = Some(self.target.revision.clone());
        }
    }

    /// Since when each pod has not been well. One that gets ready and unready in turns is not well in between.
    fn unwell(&self) -> BTreeMap<String, Timestamp> {
        let unwell = self.seen.pods.iter().filter(|(ordinal, _)| !self.available(**ordinal));
        let since = unwell.map(|(_, pod)| {
            let turned = [pod.ready_since, pod.unready_since].into_iter().flatten().max();
            let since = self.seen.unwell.get(&pod.uid).copied().or(turned).unwrap_or(pod.changed());
            (pod.uid.clone(), since.max(pod.changed()))
        });
        since.collect()
    }

    fn fail(&mut self, late: Option<u16>) {
        let seen = self.seen;
        let who = late.map_or_else(
            || "a pod did not get ready in time".to_owned(),
            |ordinal| {
                let why = reason_of(&seen.pods[&ordinal]).unwrap_or_else(|| "it did not get ready in time".to_owned());
                format!("{}: {why}", seen.pod_name(ordinal))
            },
        );
        let revision = self.current.revision.clone();
        if let Some(good) = self.last_good_template().filter(|_| self.may_roll_back()) {
            let message = format!(
                "revision {revision} failed ({who}); pods go back to {}. Change the spec to try again",
                good.revision
            );
            self.target = good;
            self.wait(None, "RolledBack", message).stalled();
        } else {
            let message = format!("revision {revision} failed ({who}); no further pod gets it until that is mended");
            self.wait(None, "UpdateFailed", message).stalled();
        }
    }

    fn may_roll_back(&self) -> bool {
        self.update.rollback == Some(true)
            && self
                .plan
                .record
                .last_good
                .as_ref()
                .is_some_and(|good| *good != self.current.revision && self.seen.kept.contains_key(good))
    }

    fn last_good_template(&self) -> Option<Template> {
        let good = self.plan.record.last_good.as_ref()?;
        let kept = self.seen.kept.get(good)?;
        Some(Template::of(self.seen.spec, kept)).filter(|template| template.revision == *good)
    }

    /// Whether the spec asks for something that not all pods have proven to be well with.
    fn in_progress(&self) -> bool {
        self.plan.record.last_good.as_ref() != Some(&self.current.revision)
    }

    fn any_current(&self) -> bool {
        self.seen.pods.values().any(|pod| pod.revision.as_ref() == Some(&self.current.revision))
    }

    /// The template of pods that are missing: while one pod tries the new one, the others stay with the old, and so they do
    /// where it failed. Whoever failed with it may try again.
    pub(super) fn template_for_new(&self, ordinal: u16) -> Template {
        let target = &self.target.revision;
        let before = self.seen.status.pods.iter().find(|member| member.ordinal.get() == ordinal);
        let had_it = before.is_some_and(|member| member.revision.as_ref() == Some(target));
        let failed = self.plan.record.failed.as_ref() == Some(target) && !had_it;
        if failed || self.tries_one() {
            self.last_good_template().unwrap_or_else(|| self.target.clone())
        } else {
            self.target.clone()
        }
    }

    /// A single pod tries the template, and has not been well for long enough.
    fn tries_one(&self) -> bool {
        if self.update.canary != Some(true) || self.plan.record.last_good.is_none() || !self.in_progress() {
            return false;
        }
        let tried = |ordinal: &u16| {
            self.seen.pods.get(ordinal).is_some_and(|pod| pod.revision.as_ref() == Some(&self.target.revision))
        };
        let mut updated = self.wanted.iter().filter(|ordinal| tried(ordinal)).peekable();
        updated.peek().is_some() && !updated.any(|ordinal| self.available(*ordinal))
    }

    pub(super) fn rollout(&mut self) {
        let seen = self.seen;
        let mut disruptive = Vec::new();
        let here = |planner: &Self, ordinal: &u16| {
            !planner.busy.contains(ordinal) && seen.pods.get(ordinal).is_some_and(|pod| !pod.leaving())
        };
        let wanted: Vec<u16> = self.wanted.iter().copied().filter(|ordinal| here(self, ordinal)).collect();
        for ordinal in self.in_order(wanted) {
            let pod = &seen.pods[&ordinal];
            let need = self.need(pod);
            if !matches!(need, Need::Recreate(_)) {
                self.tell_configuration(ordinal, pod);
            }
            match need {
                Need::Nothing => {}
                Need::Metadata => {
                    let patch = manifest::in_place(pod, &self.target, false, seen.now);
                    let what = What::Patch { uid: pod.uid.clone(), patch, restarts: false };
                    self.plan.actions.push(super::Action {
                        ordinal,
                        what,
                        reason: "its labels and annotations change".into(),
                    });
                }
                need => disruptive.push((ordinal, need)),
            }
        }
        self.disturb(disruptive);
    }

    /// A new configuration reaches the pod's files once the pod is told of it.
    fn tell_configuration(&mut self, ordinal: u16, pod: &Pod) {
        let Some(revision) = &self.seen.spec.template.config_revision else { return };
        if pod.config_revision.as_ref() != Some(revision) {
            let patch = manifest::annotate(&[(labels::CONFIG_REVISION, revision)]);
            let what = What::Patch { uid: pod.uid.clone(), patch, restarts: false };
            let reason = format!("configuration {revision} is in place");
            self.plan.actions.push(super::Action { ordinal, what, reason });
            return;
        }
        let told = pod.report.as_ref().and_then(|report| report.config_revision.as_ref());
        if pod.has_agent && pod.ready() && told.is_some_and(|told| told != revision) {
            let name = self.seen.pod_name(ordinal);
            self.wait(ordinal, "Configuring", format!("{name} takes configuration {revision} over"));
        }
    }

    fn disturb(&mut self, candidates: Vec<(u16, Need)>) {
        let seen = self.seen;
        let strategy = self.update.strategy.unwrap_or(UpdateStrategy::Rolling);
        let most = match strategy {
            _ if self.update.canary == Some(true) && !self.any_well_at_target() => 1,
            UpdateStrategy::Parallel => usize::MAX,
            UpdateStrategy::Rolling | UpdateStrategy::OnDelete => {
                usize::try_from(self.update.max_unavailable.unwrap_or(1).max(1)).unwrap_or(1)
            }
        };
        let mut down: Vec<u16> = self.wanted.iter().copied().filter(|ordinal| !self.available(*ordinal)).collect();
        // whoever is about to go is as good as gone
        down.extend(self.plan.actions.iter().filter(|action| action.what.disrupts()).map(|action| action.ordinal));
        down.sort_unstable();
        down.dedup();
        let failed = self.plan.record.failed.as_ref() == Some(&self.target.revision);
        let all: Vec<u16> = candidates.iter().map(|(ordinal, _)| *ordinal).collect();
        let mut resizing = seen.pods.values().any(|pod| pod.resize != Resizing::No);
        // in place, with its role, and nobody before it: that is only to be had where its process alone starts anew
        let leader = self.leads_and_goes_first();
        let first = leader.filter(|leader| {
            candidates.iter().any(|(ordinal, need)| ordinal == leader && matches!(need, Need::Restart { .. }))
        });
        // whoever gets a new pod, or leaves, is told of nothing before: who waited for that would wait for ever
        let will_be = leader.filter(|leader| {
            !seen.pods[leader].has_heard(seen.spec.template.config_revision.as_deref())
                && self.wanted.contains(leader)
                && candidates.iter().all(|(ordinal, _)| ordinal != leader)
        });
        for (ordinal, need) in candidates {
            let pod = &seen.pods[&ordinal];
            let name = seen.pod_name(ordinal);
            if failed && pod.revision.as_ref() != Some(&self.target.revision) {
                self.wait(ordinal, "Held", format!("{name} keeps its revision, because the new one failed"));
                continue;
            }
            if need == Need::Resize {
                if resizing && strategy != UpdateStrategy::Parallel {
                    self.wait(ordinal, "ItsTurn", format!("{name} is resized after the others"));
                } else {
                    resizing = true;
                    self.carry_out(ordinal, pod, need);
                }
                continue;
            }
            if strategy == UpdateStrategy::OnDelete {
                self.wait(
                    ordinal,
                    "OnDelete",
                    format!("{name} changes when somebody deletes it ({})", describe(&need)),
                );
                continue;
            }
            if self.takes_over(ordinal) {
                self.wait(
                    ordinal,
                    "ItsTurn",
                    format!("{name} changes once it has taken over from the pod that leaves"),
                );
                continue;
            }
            let others_down = down.iter().filter(|one| **one != ordinal).count();
            // a pod that serves nobody may be changed at any time, unless another one tries the change first
            let another_tries = self.tries_one() && others_down > 0;
            let free = !pod.ready() && !another_tries;
            if !free {
                let others_left = all.iter().any(|one| *one != ordinal && !self.leads(*one));
                if first != Some(ordinal) && self.leads(ordinal) && (others_left || others_down > 0) {
                    let role = pod.role.clone().unwrap_or_default();
                    self.wait(ordinal, "GoesLast", format!("{name} is {role} and changes after the others"));
                    continue;
                }
                let before = first.or(will_be.filter(|_| matches!(need, Need::Restart { .. })));
                if let Some(before) = before.filter(|before| *before != ordinal) {
                    let message = format!("{name} changes after {}, as the pods want it", seen.pod_name(before));
                    self.wait(ordinal, "ItsTurn", message);
                    continue;
                }
                if others_down >= most {
                    let message = format!(
                        "{name} changes once {most} or fewer are down; now {others_down} are ({})",
                        describe(&need)
                    );
                    self.wait(ordinal, "ItsTurn", message);
                    continue;
                }
                // where nobody takes it: a clean stop hands over as well, only less gently, and the pod comes back
                if first != Some(ordinal) && self.hands_over(ordinal, "is to be changed") == HandOver::Goes {
                    continue;
                }
            }
            if !down.contains(&ordinal) {
                down.push(ordinal);
            }
            self.carry_out(ordinal, pod, need);
        }
        if let Some(until) = self.next_available() {
            let since = self.wait(None, "MinReady", "a changed pod has to be well for a while");
            since.until(until);
        }
    }

    /// Whether this very plan hands a role over to a pod. Where that failed before, its change may be what mends it.
    fn takes_over(&self, ordinal: u16) -> bool {
        let to_it = |what: &What| match what {
            What::Switchover { uid, to } => *to == ordinal && self.seen.trouble(uid, Attempt::Switchover).is_none(),
            _ => false,
        };
        self.plan.actions.iter().any(|action| to_it(&action.what))
    }

    fn any_well_at_target(&self) -> bool {
        self.wanted.iter().any(|ordinal| {
            let at_target =
                self.seen.pods.get(ordinal).and_then(|pod| pod.revision.as_ref()) == Some(&self.target.revision);
            at_target && self.available(*ordinal)
        })
    }

    /// When the next pod that is ready will have been so for long enough.
    fn next_available(&self) -> Option<Timestamp> {
        let pods = self.wanted.iter().filter_map(|ordinal| self.seen.pods.get(ordinal));
        let times = pods.filter(|pod| pod.ready() && pod.settled()).filter_map(|pod| self.available_from(pod));
        times.filter(|at| *at > self.seen.now).min()
    }

    fn carry_out(&mut self, ordinal: u16, pod: &Pod, need: Need) {
        let (seen, uid) = (self.seen, pod.uid.clone());
        let revision = self.target.revision.clone();
        let reason = format!("revision {revision}: {}", describe(&need));
        match need {
            Need::Nothing | Need::Metadata => {}
            Need::Resize | Need::Images { resize: true } if !self.allowed(ordinal, &uid) => {}
            Need::Resize => {
                let then = manifest::in_place(pod, &self.target, false, seen.now);
                self.act(ordinal, What::Resize { uid, patch: manifest::resize(&self.target), then }, reason);
            }
            Need::Restart { for_config, parameters } => {
                let reason = format!("configuration {for_config}: {} needs a new start", parameters.join(", "));
                if let Some(trouble) = seen.trouble(&uid, Attempt::RestartProcess) {
                    let message = format!("{} cannot be restarted yet: {}", seen.pod_name(ordinal), trouble.message);
                    self.wait(ordinal, "RestartProcess", message);
                }
                self.act(ordinal, What::RestartProcess { uid, for_config, parameters }, reason);
            }
            Need::Images { resize } => {
                let patch = manifest::in_place(pod, &self.target, true, seen.now);
                if resize {
                    let what =
                        What::Resize { uid: uid.clone(), patch: manifest::resize(&self.target), then: json!({}) };
                    self.act(ordinal, what, reason.clone());
                }
                self.act(ordinal, What::Patch { uid, patch, restarts: true }, reason);
            }
            Need::Recreate(_) => self.act(ordinal, What::DeletePod { uid }, reason),
        }
    }

    /// Whether a pod may be asked to have other resources. Those that were denied to it would be denied to a new pod too,
    /// and then none would run.
    fn allowed(&mut self, ordinal: u16, uid: &str) -> bool {
        let seen = self.seen;
        let Some(trouble) = seen.trouble(uid, Attempt::Allowed) else { return true };
        let message = format!(
            "{} keeps its CPU and memory: {}; ask for less, or raise what is allowed: a new pod would be denied them too",
            seen.pod_name(ordinal),
            trouble.message
        );
        self.wait(ordinal, "ResizeRefused", message).stalled();
        seen.refusal(uid, Attempt::Allowed).is_none()
    }

    /// The least that brings a pod to the template.
    fn need(&self, pod: &Pod) -> Need {
        if pod.revision.as_ref() != Some(&self.target.revision) {
            return self.difference(pod);
        }
        match &pod.resize {
            Resizing::Infeasible(why) => return Need::Recreate(format!("its node will not have room: {why}")),
            Resizing::Deferred(why) if self.patience_ends(pod.changed()) <= self.seen.now => {
                return Need::Recreate(format!("its node has no room: {why}"));
            }
            Resizing::Deferred(_) | Resizing::InProgress | Resizing::No => {}
        }
        let Some(report) = &pod.report else { return Need::Nothing };
        let told = &self.seen.spec.template.config_revision;
        let pending = &report.pending_restart;
        match &report.config_revision {
            Some(active) if !pending.is_empty() && told.as_ref() == Some(active) => {
                // certificates are renewed without another revision
                let what = hex::encode(Sha256::digest(pending.join("\n")));
                let for_config = format!("{active}-{}", &what[..8]);
                if pod.restarted_for.as_ref() == Some(&for_config) {
                    return Need::Nothing;
                }
                Need::Restart { for_config, parameters: pending.clone() }
            }
            _ => Need::Nothing,
        }
    }

    fn difference(&self, pod: &Pod) -> Need {
        let Some(parts) = &pod.parts else {
            return Need::Recreate("it does not say what it was made from".to_owned());
        };
        let wanted = &self.target.parts;
        if parts.spec != wanted.spec {
            return Need::Recreate("more than images and resources changes".to_owned());
        }
        let (images, resize) = (parts.images != wanted.images, parts.resources != wanted.resources);
        if resize {
            let not_in_place = if !self.seen.can_resize {
                Some("this server changes resources only with a new pod".to_owned())
            } else if !pod.started {
                Some("it has not started yet".to_owned())
            } else if let Some(trouble) = self.seen.trouble(&pod.uid, Attempt::Resize).filter(|trouble| trouble.refused)
            {
                Some(trouble.message.clone())
            } else {
                self.target.not_in_place(&pod.resources, pod.qos.as_deref())
            };
            if let Some(why) = not_in_place {
                return Need::Recreate(format!("resources change, and not in place: {why}"));
            }
        }
        match (images, resize) {
            (true, resize) => Need::Images { resize },
            (false, true) => Need::Resize,
            (false, false) => Need::Metadata,
        }
    }
}

/// What a pod says of itself, or Kubernetes of it.
pub fn reason_of(pod: &Pod) -> Option<String> {
    pod.problem.clone().or_else(|| {
        let report = pod.report.as_ref()?;
        if report.ready { None } else { report.reason.clone() }
    })
}

fn describe(need: &Need) -> String {
    match need {
        Need::Nothing => "nothing changes".to_owned(),
        Need::Metadata => "labels and annotations change".to_owned(),
        Need::Resize => "CPU and memory change in place".to_owned(),
        Need::Restart { parameters, .. } => format!("{} needs a new start of the process", parameters.join(", ")),
        Need::Images { resize: false } => "images change in place".to_owned(),
        Need::Images { resize: true } => "images, CPU and memory change in place".to_owned(),
        Need::Recreate(why) => format!("a new pod, because {why}"),
    }
}
