//! Whose turn it is: one operation works on an instance at a time, the others wait in the order they were asked for.

use jiff::Timestamp;

use super::is_finished;
use crate::api::Operation;
use crate::api::operation::OperationStatus;

/// The operation that goes before this one, where one does. `status` tells the newest status of each.
pub fn ahead<'a>(
    me: &Operation,
    all: impl Iterator<Item = &'a Operation> + Clone,
    status: impl Fn(&Operation) -> OperationStatus,
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
        !stays && other.metadata.deletion_timestamp.is_none() && !is_finished(&status(other))
    };
    let first = others().filter(waits).min_by_key(|other| since(other))?;
    (since(first) < since(me)).then(|| name(first))
}

/// It began and has not ended.
pub fn begun(status: &OperationStatus) -> bool {
    status.started_at.is_some() && !is_finished(status)
}

fn since(operation: &Operation) -> (Timestamp, String) {
    let meta = &operation.metadata;
    (meta.creation_timestamp.as_ref().map(|time| time.0).unwrap_or_default(), meta.name.clone().unwrap_or_default())
}
