//! Taking back: an operation that changed the instance and then failed puts the old values back and waits for them; one that
//! stopped processes and then failed before it changed anything starts them again.

use jiff::Timestamp;

use super::deed::{Deed, Planned};
use super::machine::waiting;
use super::{is_end, written};
use crate::api::operation::{OperationPhase, OperationStatus};

const BACK: &str = "take the change back";
const SETTLED: &str = "wait until it is taken back";

pub fn recall(name: &str, index: usize) -> Option<Planned> {
    match name {
        BACK => Some(Planned::new(BACK, Deed::ChangeBack, index)),
        SETTLED => Some(Planned::new(SETTLED, Deed::SettleBack, index)),
        _ => None,
    }
}

/// The first of its steps, once it has begun.
pub fn first(status: &OperationStatus) -> Option<usize> {
    let again = |name: &str| name.starts_with("start ") && name.ends_with(super::kinds::AGAIN);
    status.steps.iter().position(|step| step.name == BACK || again(&step.name))
}

/// Whether it takes a change back, and does more than to start again what was stopped.
pub fn changes(status: &OperationStatus) -> bool {
    status.steps.iter().any(|step| step.name == BACK)
}

/// How it is told that it succeeded, and that it did not.
pub fn told(status: &OperationStatus) -> (&'static str, &'static str) {
    if changes(status) {
        ("the change was taken back", "the change could not be taken back")
    } else {
        (
            "nothing was changed, and what was stopped was started again",
            "not all that was stopped could be started again",
        )
    }
}

/// Adds the steps that start again what was stopped.
pub fn resume(status: &mut OperationStatus, steps: &[Planned], why: &str, now: Timestamp) {
    cancel_rest(status, now);
    status.steps.extend(steps.iter().map(|planned| waiting(&planned.name)));
    status.phase = Some(OperationPhase::Running);
    status.message = Some(why.to_owned());
}

fn cancel_rest(status: &mut OperationStatus, now: Timestamp) {
    for step in status.steps.iter_mut().filter(|step| !is_end(step.phase)) {
        step.phase = OperationPhase::Cancelled;
        step.finished_at = Some(written(now));
    }
}

/// Adds the steps; false where there is nothing to take back.
pub fn begin(status: &mut OperationStatus, why: &str, now: Timestamp) -> bool {
    let changed = status.steps.iter().any(|step| step.name == super::kinds::CHANGE && step.attempts > 0);
    if !changed {
        return false;
    }
    cancel_rest(status, now);
    status.steps.push(waiting(BACK));
    status.steps.push(waiting(SETTLED));
    status.phase = Some(OperationPhase::Running);
    status.message = Some(why.to_owned());
    true
}

/// Why it was taken back.
pub fn why(status: &OperationStatus) -> String {
    let failed = status.steps.iter().find(|step| step.phase == OperationPhase::Failed);
    failed.map_or_else(
        || "it did not end in time".to_owned(),
        |step| format!("{}: {}", step.name, step.message.clone().unwrap_or_default()),
    )
}
