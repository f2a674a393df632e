//! The planner of pod sets: from what is there to the next steps, each with its reason, and to what is waited for.
//!
//! Every plan is one step: it is carried out, the cluster answers, and the next one is made from what is there then. When
//! there is nothing to do, a plan says so, whatever it was made from: that is what the tests hold it to.

mod claims;
mod create;
pub mod manifest;
mod members;
mod observed;
mod order;
mod repair;
mod rollout;
mod scale;
pub mod status;
mod steps;
mod stop;
mod template;
#[cfg(test)]
pub mod tests;
pub mod view;

pub use observed::{Attempt, Claim, Container, Node, Observed, Phase, Pod, Replaced, Resizing, Trouble};
pub use order::EMPTIED;
pub use steps::{Action, Plan, Proof, Record, Wait, What};
pub use template::{AGENT, Parts, Template};

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::api::instance::{DesiredState, UpdateOptions};
use crate::api::values::Duration;
use crate::extension::naming;

/// How long a pod may take where the spec says nothing.
const TIMEOUT: SignedDuration = SignedDuration::from_mins(10);

/// Makes the plan.
pub fn plan(seen: &Observed<'_>) -> Plan {
    let mut planner = Planner::new(seen);
    planner.repair();
    if planner.stopped() {
        planner.stop();
    } else {
        planner.volumes();
        planner.scale_in();
        planner.create();
        planner.rollout();
        planner.members();
    }
    planner.finish()
}

struct Planner<'a> {
    seen: &'a Observed<'a>,
    update: UpdateOptions,
    /// What the spec asks for.
    current: Template,
    /// What pods are brought to: the same, or the last good one after a failure.
    target: Template,
    /// Ordinals that are to run.
    wanted: BTreeSet<u16>,
    /// Scaling was refused; pods stay as they are.
    held: bool,
    /// Pods that this plan already does something about.
    busy: BTreeSet<u16>,
    plan: Plan,
}

impl<'a> Planner<'a> {
    fn new(seen: &'a Observed<'a>) -> Self {
        let spec = seen.spec;
        let current = Template::of(spec, &spec.template);
        let replicas = u16::try_from(spec.replicas.max(0)).unwrap_or(u16::MAX);
        let mut planner = Self {
            seen,
            update: spec.update.clone().unwrap_or_default(),
            target: current.clone(),
            current,
            wanted: naming::ordinals(replicas, &spec.offline).into_iter().collect(),
            held: false,
            busy: BTreeSet::new(),
            plan: Plan::default(),
        };
        planner.plan.record = planner.remembered();
        planner.refuse_unknown();
        planner.judge();
        planner
    }

    fn finish(self) -> Plan {
        let mut plan = self.plan;
        plan.record.target = self.target.revision;
        plan.wanted = self.wanted;
        plan
    }

    /// What is known of earlier rounds and is still true.
    fn remembered(&self) -> Record {
        let (seen, status) = (self.seen, self.seen.status);
        let highest = seen.pods.keys().max().copied();
        let before = status.highest_ordinal.map(crate::names::Ordinal::get);
        let leaves = |holder: &u16| seen.pods[holder].departed && seen.pods[holder].leaving();
        let holder = seen.holder().filter(|holder| !leaves(holder));
        let member = |ordinal: &u16| seen.members.as_ref().is_none_or(|members| members.contains(ordinal));
        let departed = seen.pods.iter().filter(|(_, pod)| pod.departed).map(|(ordinal, _)| *ordinal);
        let departed = departed.chain(status.departed.iter().map(|ordinal| ordinal.get())).filter(member);
        Record {
            revision: self.current.revision.clone(),
            target: self.target.revision.clone(),
            last_good: status.last_good_revision.clone(),
            // a start after a stop is a new attempt, unless the change was taken back
            failed: status.failed_revision.clone().filter(|failed| {
                *failed == self.current.revision && (!self.stopped() || self.update.rollback == Some(true))
            }),
            last_holder: holder.or(status.last_holder.map(crate::names::Ordinal::get)),
            highest: highest.max(before),
            departed: departed.collect(),
        }
    }

    fn stopped(&self) -> bool {
        self.seen.spec.state == Some(DesiredState::Stopped)
    }

    fn timeout(&self) -> SignedDuration {
        self.update.timeout.map_or(TIMEOUT, signed)
    }

    fn min_ready(&self) -> SignedDuration {
        self.update.min_ready.map_or(SignedDuration::ZERO, signed)
    }

    /// Ready for as long as it takes to count.
    fn available(&self, ordinal: u16) -> bool {
        self.seen.pods.get(&ordinal).is_some_and(|pod| {
            pod.ready() && pod.settled() && self.available_from(pod).is_some_and(|at| at <= self.seen.now)
        })
    }

    fn available_from(&self, pod: &Pod) -> Option<Timestamp> {
        let since = pod.ready_since?;
        Some(since.saturating_add(self.min_ready()).unwrap_or(since))
    }

    fn act(&mut self, ordinal: u16, what: What, reason: impl Into<String>) {
        self.busy.insert(ordinal);
        self.plan.actions.push(Action { ordinal, what, reason: reason.into() });
    }

    fn wait(&mut self, ordinal: impl Into<Option<u16>>, reason: &'static str, message: impl Into<String>) -> &mut Wait {
        let wait = Wait { ordinal: ordinal.into(), reason, message: message.into(), until: None, stalled: false };
        self.plan.waits.push(wait);
        self.plan.waits.last_mut().expect("it was just added")
    }

    /// After a time it is not waited for any longer.
    fn patience_ends(&self, since: Timestamp) -> Timestamp {
        since.saturating_add(self.timeout()).unwrap_or(Timestamp::MAX)
    }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration.0).unwrap_or(SignedDuration::MAX)
}
