//! Pods that are to leave for good: chosen by their ordinals, one after another, each once it has handed over its role and
//! its data. Its volumes stay, unless deleting them was agreed three times: by the policy of the spec, by an intent that is
//! recorded on the very claim, and by a departure in order.

use std::collections::BTreeSet;

use super::Planner;
use super::observed::{Attempt, Phase, Pod};
use super::order::HandOver;
use super::steps::What;
use crate::api::values::DeletionPolicy;
use crate::names::Ordinal;

impl Planner<'_> {
    /// An ordinal that never was cannot be taken offline: then nobody leaves and nobody comes.
    pub(super) fn refuse_unknown(&mut self) {
        let seen = self.seen;
        let existing: BTreeSet<u16> =
            seen.pods.keys().copied().chain(seen.status.pods.iter().map(|member| member.ordinal.get())).collect();
        if existing.is_empty() || existing == self.wanted || self.stopped() {
            return;
        }
        let highest = self.plan.record.highest.max(self.wanted.last().copied());
        let unknown: Vec<String> =
            seen.spec.offline.iter().filter(|ordinal| Some(ordinal.get()) > highest).map(ToString::to_string).collect();
        if unknown.is_empty() {
            return;
        }
        let here: Vec<String> = existing.iter().map(ToString::to_string).collect();
        let message = format!(
            "offline names {}, which never was; there are {}. Nothing is scaled until that is mended",
            unknown.join(", "),
            here.join(", ")
        );
        self.wanted = existing;
        self.held = true;
        self.wait(None, "UnknownOrdinal", message).stalled();
    }

    pub(super) fn scale_in(&mut self) {
        let seen = self.seen;
        let leaving: Vec<u16> = seen.pods.keys().copied().filter(|ordinal| !self.wanted.contains(ordinal)).collect();
        self.claims_left();
        if leaving.iter().any(|ordinal| seen.pods[ordinal].leaving()) {
            return;
        }
        if let Some(ordinal) = self.in_order(leaving).first().copied()
            && !self.busy.contains(&ordinal)
        {
            self.leave(ordinal);
        }
    }

    fn leave(&mut self, ordinal: u16) {
        let seen = self.seen;
        let (pod, name) = (&seen.pods[&ordinal], seen.pod_name(ordinal));
        let why = if seen.spec.offline.iter().any(|offline| offline.get() == ordinal) {
            format!("ordinal {ordinal} is to be offline")
        } else {
            format!("{} pods are to run", seen.spec.replicas)
        };
        if !self.may_take_its_role_along(ordinal) {
            return;
        }
        // whoever would come back for what it has goes only without its volume
        let way_out = if self.may_have_share(ordinal) {
            format!("delete {} by hand to go on without what it has", self.claim_names(ordinal).join(" and "))
        } else {
            "delete the pod by hand".to_owned()
        };
        if pod.has_agent && !pod.departed && !ran(pod) && (self.may_have_data(ordinal) || self.may_have_share(ordinal))
        {
            let way_out = if self.may_have_share(ordinal) { way_out } else { format!("{way_out}: its volumes stay") };
            let message = format!(
                "{name} is to leave and cannot hand over its data while it does not run; mend it, scale back, or {way_out}"
            );
            // one that was just made anew may run in a moment
            let ends = self.patience_ends(pod.changed());
            let wait = self.wait(ordinal, "PreScaleIn", message);
            if ends > seen.now {
                wait.until(ends);
            } else {
                wait.stalled();
            }
            return;
        }
        if pod.has_agent && ran(pod) && !pod.departed && !self.volume_given_up(ordinal) {
            if let Some(trouble) = seen.trouble(&pod.uid, Attempt::PreScaleIn) {
                let message = format!(
                    "{name} is to leave and cannot hand over its data: {}; mend it, scale back, or {way_out}",
                    trouble.message
                );
                self.wait(ordinal, "PreScaleIn", message).stalled = trouble.refused;
                if seen.refusal(&pod.uid, Attempt::PreScaleIn).is_some() {
                    return;
                }
            }
            self.act(
                ordinal,
                What::PreScaleIn { uid: pod.uid.clone() },
                format!("{why}; {name} hands over its data first"),
            );
            return;
        }
        if self.may_delete_volumes() {
            for name in self.claim_names(ordinal) {
                let Some(claim) = seen.claims.get(&name).filter(|claim| claim.ours) else { continue };
                if claim.to_delete.as_ref() != Some(&claim.uid) {
                    let what = What::MarkClaim { name, uid: claim.uid.clone() };
                    self.act(ordinal, what, "the deletion policy is Delete and its pod leaves in order");
                }
            }
        }
        // it leaves in order, and has nothing any more that it would have to come back for
        if self.plan.record.last_holder == Some(ordinal) && !self.wanted.is_empty() {
            self.plan.record.last_holder = None;
        }
        self.plan.actions.push(super::Action { ordinal, what: What::DeletePod { uid: pod.uid.clone() }, reason: why });
        self.busy.insert(ordinal);
    }

    /// A pod leaves for good, and with it what nobody else has: the one that leads stays until another one does, unless all
    /// are to leave.
    fn may_take_its_role_along(&mut self, ordinal: u16) -> bool {
        let (uid, name) = (self.seen.pods[&ordinal].uid.clone(), self.seen.pod_name(ordinal));
        let why = match self.hands_over(ordinal, "is to leave") {
            HandOver::Goes => return false,
            HandOver::Fails(why) => Some(why),
            HandOver::NotNeeded if self.served_last(ordinal) => {
                Some("it had it last, and no other pod has it now".to_owned())
            }
            HandOver::NotNeeded => self.never_hands_over(ordinal),
        };
        let Some(why) = why.filter(|_| !self.wanted.is_empty()) else { return true };
        // who is about to take it over shows in a moment
        let passes = !self.leads(ordinal) && self.heir(ordinal).is_some();
        let message = format!(
            "{name} is to leave and cannot hand over its role: {why}; mend that, scale back, or delete the pod and its \
             volumes by hand to go on without what only it has"
        );
        self.wait(ordinal, "NoHeir", message).stalled = !passes;
        let asked = self.leads(ordinal) && self.seen.refusal(&uid, Attempt::Switchover).is_none();
        if let Some(to) = self.heir(ordinal).filter(|_| asked) {
            self.act(ordinal, What::Switchover { uid, to }, format!("{name} is to leave"));
        }
        false
    }

    /// Claims whose pods have left.
    fn claims_left(&mut self) {
        let seen = self.seen;
        for (name, claim) in &seen.claims {
            let label = claim.labels.get(crate::api::labels::ORDINAL);
            let Some(ordinal) = label.and_then(|text| text.parse::<Ordinal>().ok()).map(Ordinal::get) else { continue };
            let Some(meant) = &claim.to_delete else { continue };
            if !claim.ours || claim.deleting {
                continue;
            }
            if self.wanted.contains(&ordinal) || !self.may_delete_volumes() {
                let why = "its pod is to run again, or volumes are to be kept";
                self.act(ordinal, What::UnmarkClaim { name: name.clone() }, why);
                self.busy.remove(&ordinal);
            } else if *meant != claim.uid {
                let message = format!("claim {name} is kept: another one of its name was meant to be deleted");
                self.wait(None, "VolumeKept", message);
            } else if !seen.pods.contains_key(&ordinal) {
                let what = What::DeleteClaim { name: name.clone(), uid: claim.uid.clone() };
                self.act(ordinal, what, "its pod left in order and the deletion policy is Delete");
            }
        }
    }

    /// Whether a pod that has not run yet may have data all the same: an earlier pod of its ordinal left a volume, and
    /// nobody is there to have the same. Where all are to leave, nobody is to have it.
    fn may_have_data(&self, ordinal: u16) -> bool {
        let seen = self.seen;
        let member = seen.members.as_ref().is_some_and(|members| members.contains(&ordinal));
        let bound =
            |name: &String| seen.claims.get(name).is_some_and(|claim| claim.ours && claim.bound && !claim.deleting);
        let copied = seen.holders().iter().any(|holder| *holder != ordinal);
        !self.wanted.is_empty() && member && !copied && self.claim_names(ordinal).iter().any(bound)
    }

    /// Whether somebody deletes a volume of a pod that cannot give away what it has: then it goes without.
    fn volume_given_up(&self, ordinal: u16) -> bool {
        let seen = self.seen;
        let tried = seen.trouble(&seen.pods[&ordinal].uid, Attempt::PreScaleIn).is_some();
        let given_up = |name: &String| seen.claims.get(name).is_some_and(|claim| claim.ours && claim.deleting);
        tried && self.claim_names(ordinal).iter().any(given_up)
    }

    fn may_delete_volumes(&self) -> bool {
        self.seen.spec.deletion_policy == Some(DeletionPolicy::Delete) && !self.held
    }
}

/// Whether a pod ran at some time.
fn ran(pod: &Pod) -> bool {
    pod.started || pod.phase == Phase::Running || pod.phase == Phase::Unknown
}
