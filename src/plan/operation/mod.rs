//! The planner of operations: from what somebody asked for and what is there to the next steps.
//!
//! An operation is expanded into steps once, when it starts. From then on its status is all there is to know: which steps
//! ended, which were begun, how often. A step is begun in the status before anything is done about it, and whatever is done
//! carries a key made of operation, step and attempt, so that a controller that was killed between any two calls goes on
//! where it was: what was done is not done again, and what was not is not left out.

pub mod change;
mod deed;
pub mod keep;
pub mod kinds;
mod machine;
mod report;
mod rollback;
#[cfg(test)]
mod tests;
pub mod turn;
mod waits;
mod world;

pub use deed::{Deed, Pace, Planned, Task, key};
pub use machine::{Decision, Outcome, Run, ended, next};
pub use world::{Pod, World, pods_of};

use jiff::{SignedDuration, Timestamp};

use crate::api::operation::{OperationPhase, OperationSpec, OperationStatus, OperationType};
use crate::api::values::Duration;

/// How long an operation may take where it says nothing.
const TIMEOUT: Duration = Duration(std::time::Duration::from_hours(1));
/// A backup for safety's sake and a restore may take a day each: one that is given up in between leaves everything stopped.
const RESTORE_TIMEOUT: Duration = Duration(std::time::Duration::from_hours(48));

/// How long an operation may take.
pub fn patience(spec: &OperationSpec) -> Duration {
    let restores = spec.type_ == OperationType::Restore;
    spec.timeout.unwrap_or(if restores { RESTORE_TIMEOUT } else { TIMEOUT })
}

/// Whether nothing of it is still to come.
pub fn is_finished(status: &OperationStatus) -> bool {
    status.phase.is_some_and(is_end)
}

fn is_end(phase: OperationPhase) -> bool {
    matches!(phase, OperationPhase::Succeeded | OperationPhase::Failed | OperationPhase::Cancelled)
}

/// A time as statuses have it.
fn written(at: Timestamp) -> String {
    at.round(jiff::Unit::Millisecond).unwrap_or(at).to_string()
}

fn read(at: Option<&String>) -> Option<Timestamp> {
    at?.parse().ok()
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration.0).unwrap_or(SignedDuration::MAX)
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.saturating_add(signed(by)).unwrap_or(Timestamp::MAX)
}
