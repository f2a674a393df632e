//! Drills: a backup is restored as a test into a scratch instance. What that instance is, what became of it, and what is told
//! of all of them.

mod scratch;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use crate::api::Instance;
use crate::api::backup_policy::FailedDrill;
use crate::api::conditions::{ConditionStatus, READY, find};
use crate::names::ObjectName;

pub use scratch::scratch_spec;

/// The conditions of a scratch instance whose data is there and was found whole.
const PROOFS: [&str; 3] = ["Restored", "Proven", READY];
/// Why a restore counts as proven where the package declares no checks.
pub const NOTHING_DECLARED: &str = "NothingDeclared";
/// How long a scratch instance may take to be gone before that is told.
const GOES: SignedDuration = SignedDuration::from_mins(15);
/// Failures that are kept in the status of the policy; its list and its texts are bounded.
const KEPT: usize = 100;
const LONGEST_NOTE: usize = 1000;

/// What became of a scratch instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Became {
    Goes,
    /// It serves, and the package's checks found its data whole.
    Proven,
    Failed(String),
}

/// `longest` is how long a drill may take.
pub fn became(scratch: &Instance, longest: Duration, now: Timestamp) -> Became {
    let status = scratch.status.clone().unwrap_or_default();
    let holds = |type_: &&str| find(&status.conditions, type_).is_some_and(|it| it.status == ConditionStatus::True);
    if PROOFS.iter().all(&holds) {
        let unchecked = find(&status.conditions, "Proven").is_some_and(|proven| proven.reason == NOTHING_DECLARED);
        let why = "it serves, but its package declares no checks of the data (backup.methods.<name>.check)";
        return if unchecked { Became::Failed(why.to_owned()) } else { Became::Proven };
    }
    if !is_overdue(scratch, longest, now) {
        return Became::Goes;
    }
    let wanting = PROOFS.iter().find(|type_| !holds(type_)).and_then(|type_| find(&status.conditions, type_));
    let why = wanting.or_else(|| find(&status.conditions, READY)).map(|condition| condition.message.clone());
    Became::Failed(why.unwrap_or_else(|| format!("it was not taken up within {longest:?}")))
}

/// Whether it has taken longer than a drill may.
pub fn is_overdue(scratch: &Instance, longest: Duration, now: Timestamp) -> bool {
    let created = scratch.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
    now.duration_since(created).unsigned_abs() >= longest
}

/// What is to be told of one that was to go long ago: no other can be made as long as it is there.
pub fn lingers(scratch: &Instance, now: Timestamp) -> Option<String> {
    let since = scratch.metadata.deletion_timestamp.as_ref()?.0;
    let name = scratch.name_any();
    let why = format!(
        "the scratch instance {name} of the last one has been going since {since}, and is still there; see `midship describe \
         inst/{name}`"
    );
    (now.duration_since(since) >= GOES).then_some(why)
}

/// Whether this very backup went into it: whoever may make instances could make one that passes for its scratch instance, and
/// is filled with something else.
pub fn tries(scratch: &Instance, repository: &ObjectName, of: &str, id: &str) -> bool {
    scratch.spec.restore.as_ref().is_some_and(|source| {
        source.backup.is_none()
            && source.repository.as_ref() == Some(repository)
            && source.instance.as_ref().and_then(|instance| instance.uid.as_deref()) == Some(of)
            && source.id.as_deref() == Some(id)
            && source.point_in_time.is_none()
    })
}

/// How a drill ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub at: Timestamp,
    pub well: bool,
    /// The instance whose backup it was.
    pub instance: String,
    /// Empty where it did not come to that.
    pub backup: String,
    pub note: String,
}

/// How drills ended last, by the UID of the instance.
pub type Results = BTreeMap<String, Ended>;

/// The one to tell of: the newest that failed, else the newest.
pub fn telling(results: &Results) -> Option<&Ended> {
    let failed = results.values().filter(|ended| !ended.well).max_by_key(|ended| ended.at);
    failed.or_else(|| results.values().max_by_key(|ended| ended.at))
}

/// What outlives the controller: failures. What went well is in the repository.
pub fn failures(results: &Results) -> Vec<FailedDrill> {
    let mut failed: Vec<_> = results.iter().filter(|(_, ended)| !ended.well).collect();
    failed.sort_by_key(|(_, ended)| std::cmp::Reverse(ended.at));
    failed.truncate(KEPT);
    // in an order that does not change with each failure
    failed.sort_by_key(|(uid, _)| *uid);
    let kept = failed.into_iter().map(|(uid, ended)| FailedDrill {
        uid: uid.clone(),
        instance: ended.instance.clone(),
        backup: Some(ended.backup.clone()).filter(|id| !id.is_empty()),
        at: ended.at.to_string(),
        message: ended.note.chars().take(LONGEST_NOTE).collect(),
    });
    kept.collect()
}

/// Reads failures back. One whose time cannot be read is of the beginning of time: the next drill is due at once.
pub fn remembered(failures: &[FailedDrill]) -> Results {
    let read = failures.iter().map(|failed| {
        let ended = Ended {
            at: failed.at.parse().unwrap_or(Timestamp::UNIX_EPOCH),
            well: false,
            instance: failed.instance.clone(),
            backup: failed.backup.clone().unwrap_or_default(),
            note: failed.message.clone(),
        };
        (failed.uid.clone(), ended)
    });
    read.collect()
}

/// Whether the failure of this very drill is written down: only then may its scratch instance go.
pub fn is_kept(failures: &[FailedDrill], of: &str, backup: &str, scratch: &Instance) -> bool {
    let begun = scratch.metadata.creation_timestamp.as_ref().map(|time| time.0);
    failures.iter().any(|failed| {
        let at = failed.at.parse::<Timestamp>().ok();
        failed.uid == of && failed.backup.as_deref() == Some(backup) && at >= begun
    })
}
