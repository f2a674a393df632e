//! Who is disturbed first: who serves nobody, then as the pods ask, then by role, then from the highest ordinal down.

use std::cmp::Reverse;

use super::Planner;
use super::observed::{Attempt, Pod};
use super::steps::What;

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

    /// Hands the role of a pod to another before it is disturbed. True while that is to be waited for.
    pub(super) fn hands_over(&mut self, ordinal: u16, why: &str) -> bool {
        let seen = self.seen;
        let pod = &seen.pods[&ordinal];
        if !pod.has_agent || seen.holder() != Some(ordinal) || !self.leads(ordinal) {
            return false;
        }
        let Some(to) = self.heir(ordinal) else { return false };
        let (name, role) = (seen.pod_name(ordinal), seen.last_role().unwrap_or_default().to_owned());
        if let Some(trouble) = seen.trouble(&pod.uid, Attempt::Switchover) {
            let ends = self.patience_ends(trouble.since);
            // a clean stop hands over as well, only less gently
            if trouble.refused || ends <= seen.now {
                return false;
            }
            let message = format!("{name} cannot hand over yet: {}", trouble.message);
            self.wait(ordinal, "Switchover", message).until(ends);
        }
        let reason = format!("{name} is {role} and {why}");
        self.act(ordinal, What::Switchover { uid: pod.uid.clone(), to }, reason);
        true
    }

    /// Who would take over best: whose data reaches furthest.
    fn heir(&self, from: u16) -> Option<u16> {
        let position = |pod: &Pod| pod.report.as_ref().and_then(|report| report.position);
        let can = |ordinal: &u16| *ordinal != from && self.wanted.contains(ordinal) && self.available(*ordinal);
        let all = self.seen.pods.iter().filter(|(ordinal, pod)| can(ordinal) && pod.has_agent);
        all.max_by_key(|(ordinal, pod)| (position(pod), Reverse(**ordinal))).map(|(ordinal, _)| *ordinal)
    }
}
