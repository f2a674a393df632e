//! Taking back: an operation that changed the instance and then failed puts the old values back and waits for them.

use jiff::Timestamp;

use super::deed::{Deed, Planned};
use super::machine::waiting;
use super::{is_end, written};
use crate::api::operation::{OperationPhase, OperationStatus};

const BACK: &str = "take the change back";
const SETTLED: &str = "wait until it is taken back";
/// How many steps it takes.
pub const STEPS: usize = 2;

pub fn recall(name: &str, index: usize) -> Option<Planned> {
    match name {
        BACK => Some(Planned::new(BACK, Deed::ChangeBack, index)),
        SETTLED => Some(Planned::new(SETTLED, Deed::SettleBack, index)),
        _ => None,
    }
}

pub fn is_under_way(status: &OperationStatus) -> bool {
    status.steps.iter().any(|step| step.name == BACK)
}

/// Adds the steps; false where there is nothing to take back.
pub fn begin(status: &mut OperationStatus, why: &str, now: Timestamp) -> bool {
    let changed = status.steps.iter().any(|step| step.name == super::kinds::CHANGE && step.attempts > 0);
    if !changed {
        return false;
    }
    for step in status.steps.iter_mut().filter(|step| !is_end(step.phase)) {
        step.phase = OperationPhase::Cancelled;
        step.finished_at = Some(written(now));
    }
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
