//! How long finished operations are kept: by age, as each says, and by number.

use jiff::Timestamp;
use kube::ResourceExt;

use super::{is_finished, later, read};
use crate::api::values::Duration;
use crate::api::{Operation, labels};

/// Kept for so long where it says nothing.
pub const TTL: Duration = Duration(std::time::Duration::from_hours(7 * 24));
/// Finished operations of an instance that are kept at most, the newest ones.
pub const MOST: usize = 100;

/// When a finished operation goes; nothing where it stays. One that came from Git stays as long as its file: made anew, it
/// would be done again.
pub fn until(operation: &Operation, newer: usize) -> Option<Timestamp> {
    let status = operation.status.as_ref()?;
    if !is_finished(status) || operation.labels().contains_key(labels::SOURCE) {
        return None;
    }
    let ended = read(status.finished_at.as_ref())?;
    if newer >= MOST {
        return Some(ended);
    }
    Some(later(ended, operation.spec.ttl.unwrap_or(TTL)))
}

/// How many finished operations of the same instance ended after this one.
pub fn newer<'a>(operation: &Operation, all: impl Iterator<Item = &'a Operation>) -> usize {
    let ended = |operation: &Operation| {
        let status = operation.status.as_ref().filter(|status| is_finished(status))?;
        read(status.finished_at.as_ref())
    };
    let Some(mine) = ended(operation) else { return 0 };
    all.filter(|other| ended(other).is_some_and(|theirs| theirs > mine)).count()
}
