//! Stopping: first the pods that may go at any time, then the one with the role that is disturbed last. Volumes stay.

use super::Planner;
use super::steps::What;

impl Planner<'_> {
    pub(super) fn stop(&mut self) {
        self.wanted.clear();
        let seen = self.seen;
        let here = |ordinal: &u16| seen.pods.get(ordinal).is_some_and(|pod| !pod.leaving());
        let (last, others): (Vec<u16>, Vec<u16>) =
            self.in_order(seen.pods.keys().copied()).into_iter().partition(|ordinal| self.leads(*ordinal));
        let still_there = others.iter().filter(|ordinal| !self.overdue(&seen.pods[*ordinal])).count();
        for ordinal in others.into_iter().filter(here) {
            self.remove(ordinal, "the pods are to be stopped");
        }
        for ordinal in last.into_iter().filter(here) {
            if still_there == 0 {
                self.remove(ordinal, "the pods are to be stopped, and the others are");
            } else {
                let name = seen.pod_name(ordinal);
                self.wait(ordinal, "StopsLast", format!("{name} stops once the others have"));
            }
        }
    }

    /// Deletes a pod unless something is done about it already.
    pub(super) fn remove(&mut self, ordinal: u16, reason: &str) {
        if self.busy.contains(&ordinal) {
            return;
        }
        let uid = self.seen.pods[&ordinal].uid.clone();
        self.act(ordinal, What::DeletePod { uid }, reason);
    }
}
