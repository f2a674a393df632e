//! Who belongs to the set: what a package does once a pod has joined or has left is done once for each. Those that the set
//! began with are made one by the package's `create`, and need no welcome.

use std::collections::BTreeSet;

use super::Planner;
use super::observed::Attempt;
use super::steps::What;

impl Planner<'_> {
    pub(super) fn members(&mut self) {
        let seen = self.seen;
        if self.held {
            return;
        }
        let Some(known) = seen.members.clone() else { return self.begin_membership() };
        let returns = self.comes_back();
        let has_left = |gone: &u16| !seen.pods.contains_key(gone) && returns != Some(*gone);
        if let Some(ordinal) = known.difference(&self.wanted).copied().find(has_left) {
            return self.tell_of_departure(ordinal, &known);
        }
        let joined =
            self.wanted.difference(&known).copied().find(|new| self.available(*new) && !self.busy.contains(new));
        if let Some(ordinal) = joined {
            self.welcome(ordinal, &known);
        }
    }

    /// Once all are there for the first time.
    fn begin_membership(&mut self) {
        let seen = self.seen;
        let whole = self.wanted.iter().all(|ordinal| self.available(*ordinal))
            && seen.pods.keys().all(|ordinal| self.wanted.contains(ordinal));
        if whole && self.plan.actions.is_empty() {
            let first = self.wanted.first().copied().unwrap_or_default();
            let members = self.wanted.clone();
            self.act(first, What::RecordMembers { members }, "all pods of the set are there");
        }
    }

    fn welcome(&mut self, ordinal: u16, known: &BTreeSet<u16>) {
        let seen = self.seen;
        let (pod, name) = (&seen.pods[&ordinal], seen.pod_name(ordinal));
        let mut members = known.clone();
        members.insert(ordinal);
        if !pod.has_agent {
            return self.act(ordinal, What::RecordMembers { members }, format!("{name} has joined"));
        }
        let uid = pod.uid.clone();
        self.still_failing(ordinal, &uid, Attempt::PostScaleOut, &format!("{name} has joined and is not welcomed yet"));
        self.act(ordinal, What::PostScaleOut { uid, members }, format!("{name} has joined"));
    }

    fn tell_of_departure(&mut self, ordinal: u16, known: &BTreeSet<u16>) {
        let seen = self.seen;
        let name = seen.pod_name(ordinal);
        let mut members = known.clone();
        members.remove(&ordinal);
        let stays = self.wanted.iter().copied().filter(|stays| seen.pods.get(stays).is_some_and(|pod| pod.has_agent));
        let stays: Vec<u16> = stays.collect();
        if stays.is_empty() {
            return self.act(
                ordinal,
                What::RecordMembers { members },
                format!("{name} has left, and nobody is there to be told"),
            );
        }
        let Some(told) = stays.into_iter().find(|stays| self.available(*stays)) else {
            let message = format!("{name} has left; the others are told once one of them is ready");
            self.wait(ordinal, "PostScaleIn", message);
            return;
        };
        let uid = seen.pods[&told].uid.clone();
        self.still_failing(
            ordinal,
            &uid,
            Attempt::PostScaleIn,
            &format!("{name} has left and the others cannot be told"),
        );
        self.act(ordinal, What::PostScaleIn { uid, members }, format!("{name} has left"));
    }

    fn still_failing(&mut self, ordinal: u16, uid: &str, attempt: Attempt, what: &str) {
        if let Some(trouble) = self.seen.trouble(uid, attempt) {
            let message = format!("{what}: {}; it is tried again", trouble.message);
            self.wait(ordinal, "Scaling", message);
        }
    }
}
