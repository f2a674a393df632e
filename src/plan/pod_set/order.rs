//! Who is disturbed first: who serves nobody, then as the pods ask, then by role, then from the highest ordinal down.

use std::cmp::Reverse;

use super::Planner;
use super::observed::{Attempt, Pod};
use super::steps::What;

/// How it is told that nothing hands a role over, and that preScaleIn moves what a pod has.
pub const EMPTIED: &str = "preScaleIn moves what it has";

/// How it is with the role of a pod that is to be disturbed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HandOver {
    /// It has none that Midship could hand over.
    NotNeeded,
    /// It is being handed over, and that is to be waited for.
    Goes,
    /// Nobody takes it, for this reason.
    Fails(String),
}

impl Planner<'_> {
    pub(super) fn in_order(&self, ordinals: impl IntoIterator<Item = u16>) -> Vec<u16> {
        let seen = self.seen;
        let asked = |ordinal: u16| {
            let order = seen.asked_order.as_ref()?;
            order.iter().position(|one| *one == ordinal)
        };
        let mut all: Vec<u16> = ordinals.into_iter().filter(|ordinal| seen.pods.contains_key(ordinal)).collect();
        all.sort_by_key(|ordinal| {
            let pod = &seen.pods[ordinal];
            (pod.ready(), asked(*ordinal).unwrap_or(usize::MAX), seen.rank(pod), Reverse(*ordinal))
        });
        all
    }

    /// Whether a pod serves in the role that is disturbed last.
    pub(super) fn leads(&self, ordinal: u16) -> bool {
        let pod = &self.seen.pods[&ordinal];
        pod.ready() && self.seen.spec.role_order.len() > 1 && pod.role.as_deref() == self.seen.last_role()
    }

    /// The pod that leads, where the pods want it restarted before all others: nobody else is fit to take over from it yet.
    pub(super) fn leads_and_goes_first(&self) -> Option<u16> {
        let first = *self.seen.asked_order.as_ref()?.first()?;
        (self.seen.pods.contains_key(&first) && self.leads(first)).then_some(first)
    }

    /// Hands the role of a pod to another before it is disturbed.
    pub(super) fn hands_over(&mut self, ordinal: u16, why: &str) -> HandOver {
        let seen = self.seen;
        let pod = &seen.pods[&ordinal];
        if !pod.has_agent || seen.holder() != Some(ordinal) || !self.leads(ordinal) {
            return HandOver::NotNeeded;
        }
        let Some(to) = self.heir(ordinal) else {
            return HandOver::Fails("no other pod that stays is ready to take it over".to_owned());
        };
        let (name, role) = (seen.pod_name(ordinal), seen.last_role().unwrap_or_default().to_owned());
        if let Some(trouble) = seen.trouble(&pod.uid, Attempt::Switchover) {
            // neither the agents hand this role out nor does the package
            if trouble.refused {
                return HandOver::NotNeeded;
            }
            let ends = self.patience_ends(trouble.since);
            if ends <= seen.now {
                return HandOver::Fails(trouble.message.clone());
            }
            let message = format!("{name} cannot hand over yet: {}", trouble.message);
            self.wait(ordinal, "Switchover", message).until(ends);
        }
        let reason = format!("{name} is {role} and {why}");
        self.act(ordinal, What::Switchover { uid: pod.uid.clone(), to }, reason);
        HandOver::Goes
    }

    /// Why a pod that leads is not asked to hand over: nobody knows how that is done.
    pub(super) fn never_hands_over(&self, ordinal: u16) -> Option<String> {
        let (seen, pod) = (self.seen, &self.seen.pods[&ordinal]);
        let trouble = seen.trouble(&pod.uid, Attempt::Switchover);
        let trouble = trouble.filter(|trouble| trouble.refused && !trouble.message.contains(EMPTIED))?;
        (self.leads(ordinal) && seen.holder() == Some(ordinal)).then(|| trouble.message.clone())
    }

    /// Whether a pod had the role last, and nobody who stays has shown to have what it has.
    pub(super) fn served_last(&self, ordinal: u16) -> bool {
        let (seen, pod) = (self.seen, &self.seen.pods[&ordinal]);
        let another = seen.holders().iter().any(|holder| *holder != ordinal);
        let last = self.plan.record.last_holder == Some(ordinal);
        pod.has_agent && seen.spec.role_order.len() > 1 && last && !another && !self.leads(ordinal)
    }

    /// Who would take over best: whose data reaches furthest.
    pub(super) fn heir(&self, from: u16) -> Option<u16> {
        let position = |pod: &Pod| pod.report.as_ref().and_then(|report| report.position);
        let can = |ordinal: &u16| *ordinal != from && self.wanted.contains(ordinal) && self.available(*ordinal);
        let all = self.seen.pods.iter().filter(|(ordinal, pod)| can(ordinal) && pod.has_agent);
        all.max_by_key(|(ordinal, pod)| (position(pod), Reverse(**ordinal))).map(|(ordinal, _)| *ordinal)
    }
}
