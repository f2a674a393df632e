//! Whose turn it is: one operation works on an instance at a time, the others wait in the order they were asked for.

use jiff::Timestamp;

use super::{is_finished, kinds};
use crate::api::conditions::{ConditionStatus, RECONCILING, STALLED, find};
use crate::api::operation::OperationStatus;
use crate::api::{Instance, Operation};

/// Whether a change of the instance is under way, for the end of which some operations wait.
pub fn changes(instance: &Instance) -> bool {
    let conditions = instance.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let holds = |type_| find(conditions, type_).is_some_and(|found| found.status == ConditionStatus::True);
    holds(RECONCILING) && !holds(STALLED)
}

/// The operation that goes before this one, where one does. `status` tells the newest status of each. While the instance
/// `changes`, those that wait for the end of that are passed by those that do not: they may be what helps where it hangs.
pub fn ahead<'a>(
    me: &Operation,
    all: impl Iterator<Item = &'a Operation> + Clone,
    status: impl Fn(&Operation) -> OperationStatus,
    changes: bool,
) -> Option<String> {
    if begun(&status(me)) {
        return None;
    }
    let others = || all.clone().filter(|other| other.metadata.uid != me.metadata.uid);
    let name = |other: &Operation| other.metadata.name.clone().unwrap_or_default();
    if let Some(working) = others().find(|other| begun(&status(other))) {
        return Some(name(working));
    }
    let waits = |other: &&Operation| {
        let stays = other.spec.suspend == Some(true) || other.spec.cancel == Some(true);
        let passed = changes && after_changes(other) && !after_changes(me);
        !stays && !passed && other.metadata.deletion_timestamp.is_none() && !is_finished(&status(other))
    };
    let first = others().filter(waits).min_by_key(|other| since(other))?;
    (since(first) < since(me)).then(|| name(first))
}

fn after_changes(operation: &Operation) -> bool {
    kinds::of(operation.spec.type_).is_some_and(|kind| kind.after_changes)
}

/// It began and has not ended.
pub fn begun(status: &OperationStatus) -> bool {
    status.started_at.is_some() && !is_finished(status)
}

fn since(operation: &Operation) -> (Timestamp, String) {
    let meta = &operation.metadata;
    (meta.creation_timestamp.as_ref().map(|time| time.0).unwrap_or_default(), meta.name.clone().unwrap_or_default())
}
