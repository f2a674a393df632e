//! Who belongs to the set: what a package does once a pod has joined or has left is done once for each. Those that the set
//! began with are made one by the package's `create`, and need no welcome.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use serde_json::json;

use super::Planner;
use super::observed::Attempt;
use super::steps::What;
use crate::api::labels;

/// When it is looked again whether a package is known by now.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(10);

impl Planner<'_> {
    pub(super) fn members(&mut self) {
        let seen = self.seen;
        if self.held {
            return;
        }
        let Some(known) = seen.members.clone() else { return self.begin_membership() };
        // whatever comes of telling others: what it is given from now on is not given away yet
        if self.stays_after_all(&known) {
            return;
        }
        let returns = self.come_back();
        let has_left = |gone: &u16| !seen.pods.contains_key(gone) && !returns.contains(gone);
        if let Some(ordinal) = known.difference(&self.wanted).copied().find(has_left) {
            if seen.gives_away.is_none() && self.current.has_agent() && self.may_have_share(ordinal) {
                let name = seen.pod_name(ordinal);
                let message = format!("{name} has left; its package is not known yet, which may want it back first");
                self.wait(ordinal, "PackageUnknown", message)
                    .until(seen.now.saturating_add(LOOK_AGAIN).unwrap_or(seen.now));
                return;
            }
            return self.tell_of_departure(ordinal, &known);
        }
        let joined =
            self.wanted.difference(&known).copied().find(|new| self.available(*new) && !self.busy.contains(new));
        if let Some(ordinal) = joined {
            self.welcome(ordinal, &known);
        }
    }

    /// Whoever gave away what it had and is wanted again begins anew: it is no member until it is welcomed, and what it is
    /// given then it gives away again before it leaves.
    fn stays_after_all(&mut self, known: &BTreeSet<u16>) -> bool {
        let seen = self.seen;
        let again = self.plan.record.departed.iter().copied().find(|ordinal| self.wanted.contains(ordinal));
        if let Some(ordinal) = again {
            let mut members = known.clone();
            members.remove(&ordinal);
            let name = seen.pod_name(ordinal);
            self.act(ordinal, What::RecordMembers { members }, format!("{name} gave away what it had, and joins anew"));
            return true;
        }
        let marked = self.wanted.iter().copied().find(|ordinal| {
            let pod = seen.pods.get(ordinal).filter(|pod| pod.departed && !pod.leaving());
            pod.is_some() && !self.busy.contains(ordinal)
        });
        if let Some(ordinal) = marked {
            let uid = seen.pods[&ordinal].uid.clone();
            let patch = json!({ "metadata": { "annotations": { labels::DEPARTED: null } } });
            let reason = format!("{} is to stay after all", seen.pod_name(ordinal));
            self.act(ordinal, What::Patch { uid, patch, restarts: false }, reason);
        }
        marked.is_some()
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
