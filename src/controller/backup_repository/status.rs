//! What a BackupRepository says of itself: computed purely.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::chores::Report;
use crate::api::BackupRepositoryStatus;
use crate::api::backup_repository::{BackupRepositorySpec, Capabilities};
use crate::api::conditions::{ConditionStatus, Finding, READY, RECONCILING, STALLED, merge};
use crate::backup::read::Catalog;
use crate::controller::repositories::open::Opened;
use crate::controller::repositories::place::address;
use crate::controller::repositories::words::{moment, size};

/// Whether what nothing keeps is removed.
pub const RETENTION: &str = "Retention";
/// Whether everything that is stored is what was written.
pub const INTACT: &str = "Intact";

/// Whether what retention keeps stays locked.
pub const LOCKED: &str = "Locked";

/// How it went.
pub enum Seen<'a> {
    Usable {
        opened: &'a Opened,
        catalog: &'a Catalog,
        /// Of the last chores, or why they could not be done.
        chores: Option<&'a Result<Report, String>>,
    },
    Unusable {
        reason: &'static str,
        message: String,
        passing: bool,
    },
}

pub fn next(
    before: &BackupRepositoryStatus,
    spec: &BackupRepositorySpec,
    generation: Option<i64>,
    seen: &Seen<'_>,
    now: &Time,
) -> BackupRepositoryStatus {
    let mut status = before.clone();
    status.observed_generation = generation;
    status.encrypted = Some(!spec.encryption.recipients.is_empty());
    if status.store.is_none() {
        status.store = Some(address(spec)).filter(|text| !text.is_empty());
    }
    let findings = match seen {
        Seen::Usable { opened, catalog, chores } => {
            let repository = &opened.repository;
            let stored = catalog.found.iter().map(|found| found.manifest.chunks.stored_bytes).sum();
            status.store = Some(address(spec)).filter(|text| !text.is_empty());
            status.uuid = Some(repository.uuid().to_string());
            status.signer = Some(repository.root().to_string());
            status.epoch = opened.epoch.as_ref().map(|epoch| epoch.name.to_string());
            status.backups = Some(i32::try_from(catalog.found.len()).unwrap_or(i32::MAX));
            status.size = Some(size(stored));
            status.capabilities = opened.capabilities.map(|tried| Capabilities {
                conditional_create: tried.conditional_create,
                versioning: tried.versioning,
                object_lock: tried.object_lock,
            });
            let mut findings = vec![ready(opened, catalog, stored), intact(opened, catalog, *chores)];
            findings.extend(chores.and_then(retention));
            findings.extend(chores.filter(|_| locks(spec)).map(locked));
            findings
        }
        Seen::Unusable { reason, message, passing } => {
            let also = if *passing { RECONCILING } else { STALLED };
            vec![
                Finding::new(READY, ConditionStatus::False, *reason, message),
                Finding::new(also, ConditionStatus::True, *reason, message),
            ]
        }
    };
    status.conditions = merge(&before.conditions, &findings, generation, now);
    status.conditions.retain(|condition| condition.type_ != LOCKED || locks(spec));
    status
}

fn locks(spec: &BackupRepositorySpec) -> bool {
    spec.s3.as_ref().is_some_and(|s3| s3.lock.is_some())
}

fn ready(opened: &Opened, catalog: &Catalog, stored: u64) -> Finding {
    let newest = catalog.found.iter().map(|found| found.manifest.completed_at).max();
    let newest = newest.map_or("none yet".to_owned(), |at| format!("{}, the newest of {}", size(stored), moment(at)));
    let how = if opened.key.is_some() { "" } else { "; it is only read" };
    let message = format!("{} backups, {newest}{how}", catalog.found.len());
    Finding::new(READY, ConditionStatus::True, "Available", message)
}

fn intact(opened: &Opened, catalog: &Catalog, chores: Option<&Result<Report, String>>) -> Finding {
    let damaged: Vec<String> = catalog
        .found
        .iter()
        .filter_map(|found| Some(format!("{}: {}", found.place.id, found.damage()?.problems.join("; "))))
        .collect();
    let strange = catalog.told().map(|problem| problem.reason.clone());
    let report = chores.and_then(|chores| chores.as_ref().ok());
    let logs = report.into_iter().flat_map(|report| report.logs.values().cloned());
    let keys = report.into_iter().flat_map(|report| report.keys.values().cloned());
    let all: Vec<String> =
        damaged.into_iter().chain(keys).chain(logs).chain(strange).chain(opened.strange.iter().cloned()).collect();
    match all.as_slice() {
        [] => Finding::new(INTACT, ConditionStatus::True, "Verified", "nothing that was looked at is damaged"),
        [first, rest @ ..] => {
            let more = if rest.is_empty() { String::new() } else { format!(", and {} more", rest.len()) };
            Finding::new(INTACT, ConditionStatus::False, "Damaged", format!("{first}{more}"))
        }
    }
}

fn retention(chores: &Result<Report, String>) -> Option<Finding> {
    match chores {
        Err(message) => Some(Finding::new(RETENTION, ConditionStatus::False, "Failed", message)),
        Ok(Report { refusal: Some(refusal), .. }) => {
            Some(Finding::new(RETENTION, ConditionStatus::False, "Refused", format!("nothing is removed: {refusal}")))
        }
        Ok(report) => {
            let done = "what nothing keeps is removed after it waited a day";
            let finding = match (report.swept.problems.first(), report.swept.locked) {
                (Some(problem), _) => (ConditionStatus::False, "Incomplete", problem.clone()),
                (None, 0) => (ConditionStatus::True, "Swept", done.to_owned()),
                (None, locked) => {
                    let message = format!("{done}; {locked} objects are locked, and go when the store lets them");
                    (ConditionStatus::True, "Locked", message)
                }
            };
            let (status, reason, message) = finding;
            Some(Finding::new(RETENTION, status, reason, message))
        }
    }
}

fn locked(chores: &Result<Report, String>) -> Finding {
    let problems = match chores {
        Ok(report) => report.locks.problems.as_slice(),
        // locks end meanwhile
        Err(message) => return Finding::new(LOCKED, ConditionStatus::Unknown, "NotLookedAt", message),
    };
    match problems {
        [] => {
            Finding::new(LOCKED, ConditionStatus::True, "Kept", "what is kept stays locked for as long as it is kept")
        }
        [first, rest @ ..] => {
            let more = if rest.is_empty() { String::new() } else { format!(", and {} more", rest.len()) };
            Finding::new(LOCKED, ConditionStatus::False, "NotLengthened", format!("{first}{more}; it is tried again"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::locks::Locks;

    #[test]
    fn a_lock_that_cannot_be_made_longer_is_told_with_its_reason() {
        let told = |chores| {
            let finding = locked(&chores);
            (finding.status, finding.reason, finding.message)
        };
        let found = |problems: &[&str]| {
            let problems = problems.iter().map(|&problem| problem.to_owned()).collect();
            told(Ok(Report { locks: Locks { lengthened: 0, problems }, ..Report::default() }))
        };
        let kept = "what is kept stays locked for as long as it is kept".to_owned();
        assert_eq!(found(&[]), (ConditionStatus::True, "Kept".to_owned(), kept));
        let first = "c/x: access is denied, and 1 more; it is tried again".to_owned();
        let problems = ["c/x: access is denied", "c/y: access is denied"];
        assert_eq!(found(&problems), (ConditionStatus::False, "NotLengthened".to_owned(), first));
        let away = "the store is away".to_owned();
        assert_eq!(told(Err(away.clone())), (ConditionStatus::Unknown, "NotLookedAt".to_owned(), away));
    }
}
