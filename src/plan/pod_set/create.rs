//! Pods that are wanted and not there, each after its volumes.

use std::collections::BTreeSet;

use super::Planner;
use super::steps::What;
use crate::api::pod_set::StartOrder;
use crate::extension::naming;

impl Planner<'_> {
    pub(super) fn create(&mut self) {
        let seen = self.seen;
        let ordered = seen.spec.start == Some(StartOrder::Ordered);
        let mut before: Option<u16> = None;
        for ordinal in self.starting_order() {
            if !seen.pods.contains_key(&ordinal) {
                if let Some(before) = before.filter(|_| ordered) {
                    let (name, first) = (seen.pod_name(ordinal), seen.pod_name(before));
                    self.wait(ordinal, "StartsInOrder", format!("{name} starts once {first} is ready"));
                    continue;
                }
                self.create_one(ordinal);
            }
            if before.is_none() && self.keeps_others_waiting(ordinal) {
                before = Some(ordinal);
            }
        }
    }

    /// The pod that last had the leading role is the first when nothing runs.
    fn starting_order(&self) -> Vec<u16> {
        let mut all: Vec<u16> = self.wanted.union(&self.come_back()).copied().collect();
        let nothing_runs = !all.iter().any(|ordinal| self.seen.pods.get(ordinal).is_some_and(|pod| pod.started));
        if let Some(first) = self.plan.record.last_holder.filter(|first| nothing_runs && all.contains(first)) {
            all.sort_by_key(|ordinal| (*ordinal != first, *ordinal));
        }
        all
    }

    /// Pods that are to leave and were taken away before they could do so in order: off a drained node, or while the set was
    /// stopped. With their volumes they may have what nobody else has, and leave once that is given away. Whoever means to
    /// go on without deletes the volumes.
    pub(super) fn come_back(&self) -> BTreeSet<u16> {
        let seen = self.seen;
        if self.wanted.is_empty() || self.held || !self.current.has_agent() {
            return BTreeSet::new();
        }
        let vacant = seen.spec.role_order.len() > 1 && seen.holders().is_empty();
        let led = self.plan.record.last_holder.filter(|last| vacant && self.keeps_volumes(*last));
        let with_shares = seen.members.iter().flatten().copied().filter(|ordinal| self.has_share(*ordinal));
        let away = |ordinal: &u16| !self.wanted.contains(ordinal) && !seen.pods.contains_key(ordinal);
        with_shares.chain(led).filter(away).collect()
    }

    /// Whether a pod belongs to the set and has what its package wants given away before it leaves. Where all are to leave,
    /// nobody is to have it.
    pub(super) fn has_share(&self, ordinal: u16) -> bool {
        self.seen.gives_away == Some(true) && self.may_have_share(ordinal)
    }

    /// The same where the package is not known yet: nothing may be lost by then.
    pub(super) fn may_have_share(&self, ordinal: u16) -> bool {
        let member = self.seen.members.as_ref().is_some_and(|members| members.contains(&ordinal));
        let may = self.seen.gives_away != Some(false) && !self.plan.record.departed.contains(&ordinal);
        !self.wanted.is_empty() && member && may && self.keeps_volumes(ordinal)
    }

    /// Whether all volumes of an ordinal are there, and nobody means to delete them.
    fn keeps_volumes(&self, ordinal: u16) -> bool {
        let volumes = self.claim_names(ordinal);
        let kept = |name: &String| {
            let claim = self.seen.claims.get(name).filter(|claim| claim.ours && !claim.deleting);
            claim.is_some_and(|claim| claim.to_delete.is_none())
        };
        !volumes.is_empty() && volumes.iter().all(kept)
    }

    /// In an ordered start: a pod that starts, but not for ever.
    fn keeps_others_waiting(&mut self, ordinal: u16) -> bool {
        let seen = self.seen;
        let Some(pod) = seen.pods.get(&ordinal) else { return true };
        if self.available(ordinal) {
            return false;
        }
        let ends = self.patience_ends(pod.changed());
        ends > seen.now
    }

    fn create_one(&mut self, ordinal: u16) {
        let seen = self.seen;
        let name = seen.pod_name(ordinal);
        if let Some(until) = self.pause(ordinal) {
            self.wait(ordinal, "PodEnds", format!("{name} is tried again at {until}")).until(until);
            return;
        }
        let template = self.template_for_new(ordinal);
        let volumes: Vec<String> = template.pod.volumes.iter().flatten().map(|(volume, _)| volume.clone()).collect();
        let revision = template.revision.clone();
        let mut missing = Vec::new();
        for volume in volumes {
            let claim = naming::claim(&volume, &name);
            match seen.claims.get(&claim) {
                None => missing.push((claim, volume)),
                Some(found) if found.deleting => {
                    let message = format!("{name} waits until the old claim {claim} is gone");
                    self.wait(ordinal, "VolumeLeaves", message);
                    return;
                }
                Some(found) if !found.ours => {
                    let message = format!(
                        "claim {claim} is somebody else's; {name} cannot use it: delete or rename it, or label it with instance, component and group to hand it over"
                    );
                    self.wait(ordinal, "ForeignVolume", message).stalled();
                    return;
                }
                Some(_) => {}
            }
        }
        for (claim, volume) in missing {
            let reason = format!("{name} needs its volume {volume}");
            self.act(ordinal, What::CreateClaim { name: claim, volume }, reason);
        }
        let reason = if self.wanted.contains(&ordinal) {
            format!("{name} is one of the {} that are to run", self.wanted.len())
        } else if self.plan.record.last_holder == Some(ordinal) {
            format!("{name} had the role last, and hands it over before it leaves")
        } else {
            format!("{name} was taken away before it gave away what it has, and does so before it leaves")
        };
        self.act(ordinal, What::CreatePod { revision }, reason);
    }
}
