//! What a BackupPolicy says of itself: computed purely.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::BackupPolicyStatus;
use crate::api::backup_policy::{FailedDrill, WaitingTurn};
use crate::api::conditions::{ConditionStatus, Finding, READY, RECONCILING, STALLED, merge};
use crate::api::operation::OperationPhase;
use crate::controller::repositories::words::{moment, span};

/// Whether the newest proven backup is younger than somebody wants to be told.
pub const RECENT: &str = "Recent";
/// Whether backups were restored when that was tried.
pub const RESTORABLE: &str = "Restorable";
/// Of how many backups the success rate is told.
const OF: usize = 100;

/// An Operation of the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    pub name: String,
    pub instance: String,
    pub phase: Option<OperationPhase>,
    pub ended_at: Option<Timestamp>,
    pub message: String,
}

/// What there is to say.
pub enum Seen {
    Unusable { reason: &'static str, message: String, passing: bool },
    Works(Box<Works>),
}

#[derive(Default)]
pub struct Works {
    pub instances: usize,
    pub suspended: bool,
    pub operations: Vec<Made>,
    /// When the newest backup of any instance was complete.
    pub newest: Option<Timestamp>,
    /// The instance whose newest proven backup is the oldest, and when it was proven.
    pub oldest_proof: Option<(String, Option<Timestamp>)>,
    /// How old that may be.
    pub alert: Option<SignedDuration>,
    pub next: Option<(Timestamp, TimeZone)>,
    /// What archiving of logs has to say where it does not go well.
    pub logs: Vec<String>,
    /// Whether drills are wanted.
    pub drilled: bool,
    /// How drills ended: whether all went well, and a sentence; nothing where there were none.
    pub restorable: Option<(bool, String)>,
    /// Drills that failed, kept for the controller after this one.
    pub failed_drills: Vec<FailedDrill>,
    /// Turns that wait, kept for it as well.
    pub waiting: Vec<WaitingTurn>,
}

pub fn next(before: &BackupPolicyStatus, generation: Option<i64>, seen: &Seen, now: &Time) -> BackupPolicyStatus {
    let mut status = before.clone();
    status.observed_generation = generation;
    let findings = match seen {
        Seen::Unusable { reason, message, passing } => {
            let also = if *passing { RECONCILING } else { STALLED };
            status.next = None;
            vec![
                Finding::new(READY, ConditionStatus::False, *reason, message),
                Finding::new(also, ConditionStatus::True, *reason, message),
            ]
        }
        Seen::Works(works) => {
            status.instances = Some(i32::try_from(works.instances).unwrap_or(i32::MAX));
            status.last_success = works.newest.map(moment).or(status.last_success);
            status.next = works.next.as_ref().map(|(at, zone)| at.to_zoned(zone.clone()).to_string());
            status.success_rate = success_rate(&works.operations);
            status.failed_drills.clone_from(&works.failed_drills);
            status.waiting.clone_from(&works.waiting);
            let mut findings = vec![ready(works)];
            findings.extend(recent(works, now.0));
            findings.extend(works.restorable.as_ref().map(|(well, message)| {
                let (status, reason) =
                    if *well { (ConditionStatus::True, "Restored") } else { (ConditionStatus::False, "DrillFailed") };
                Finding::new(RESTORABLE, status, reason, message)
            }));
            findings
        }
    };
    status.conditions = merge(&before.conditions, &findings, generation, now);
    if !findings.iter().any(|finding| finding.type_ == RECENT) {
        status.conditions.retain(|condition| condition.type_ != RECENT);
    }
    if matches!(seen, Seen::Works(works) if !works.drilled) {
        status.conditions.retain(|condition| condition.type_ != RESTORABLE);
    }
    status
}

/// In percent, of those that ended; what was cancelled counts neither way.
fn success_rate(operations: &[Made]) -> Option<i32> {
    let mut ended: Vec<&Made> = operations
        .iter()
        .filter(|made| matches!(made.phase, Some(OperationPhase::Succeeded | OperationPhase::Failed)))
        .collect();
    ended.sort_by_key(|made| std::cmp::Reverse(made.ended_at));
    ended.truncate(OF);
    let succeeded = ended.iter().filter(|made| made.phase == Some(OperationPhase::Succeeded)).count();
    (!ended.is_empty()).then(|| i32::try_from(succeeded * 100 / ended.len()).unwrap_or_default())
}

fn ready(works: &Works) -> Finding {
    let mut newest: Vec<&Made> = Vec::new();
    for made in works.operations.iter().filter(|made| made.ended_at.is_some()) {
        match newest.iter_mut().find(|known| known.instance == made.instance) {
            Some(known) if known.ended_at < made.ended_at => *known = made,
            Some(_) => {}
            None => newest.push(made),
        }
    }
    let failed: Vec<&&Made> = newest.iter().filter(|made| made.phase == Some(OperationPhase::Failed)).collect();
    if let [first, rest @ ..] = failed.as_slice() {
        let more = if rest.is_empty() { String::new() } else { format!("; so did those of {} more", rest.len()) };
        let message = format!("the last backup of {} failed ({}): {}{more}", first.instance, first.name, first.message);
        return Finding::new(READY, ConditionStatus::False, "BackupFailed", message);
    }
    if let Some(problem) = works.logs.first() {
        return Finding::new(READY, ConditionStatus::False, "LogsNotArchived", problem);
    }
    let covered = match works.instances {
        0 => "no instance is covered yet".to_owned(),
        1 => "one instance is covered".to_owned(),
        number => format!("{number} instances are covered"),
    };
    if works.suspended {
        return Finding::new(READY, ConditionStatus::True, "Suspended", format!("{covered}; it is suspended"));
    }
    Finding::new(READY, ConditionStatus::True, "Scheduled", covered)
}

fn recent(works: &Works, now: Timestamp) -> Option<Finding> {
    let alert = works.alert?;
    let (instance, proven) = works.oldest_proof.as_ref()?;
    let finding = match proven {
        None => {
            Finding::new(RECENT, ConditionStatus::False, "Absent", format!("{instance} has no backup that was proven"))
        }
        Some(at) if now.duration_since(*at) > alert => {
            let message = format!("the newest proven backup of {instance} is of {}", moment(*at));
            Finding::new(RECENT, ConditionStatus::False, "TooOld", message)
        }
        Some(_) => {
            let message = format!("every instance has a proven backup younger than {}", span(alert));
            Finding::new(RECENT, ConditionStatus::True, "Recent", message)
        }
    };
    Some(finding)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::conditions::find;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn made(instance: &str, phase: OperationPhase, second: i64) -> Made {
        Made {
            name: format!("{instance}-{second}"),
            instance: instance.into(),
            phase: Some(phase),
            ended_at: Some(at(second)),
            message: "the store is full".into(),
        }
    }

    fn told(works: Works) -> BackupPolicyStatus {
        next(&BackupPolicyStatus::default(), Some(1), &Seen::Works(Box::new(works)), &Time(at(1000)))
    }

    #[test]
    fn a_failed_last_backup_is_told_until_one_succeeds() {
        let (failed, good) = (OperationPhase::Failed, OperationPhase::Succeeded);
        let operations = vec![made("a", good, 1), made("a", failed, 2), made("b", good, 3)];
        let status = told(Works { instances: 2, operations, ..Works::default() });
        let ready = find(&status.conditions, READY).expect("it is told");
        assert_eq!(ready.message, "the last backup of a failed (a-2): the store is full");
        assert_eq!(status.success_rate, Some(66));
        let operations = vec![made("a", failed, 2), made("a", good, 4)];
        let status = told(Works { instances: 1, operations, ..Works::default() });
        assert_eq!(find(&status.conditions, READY).expect("it is told").reason, "Scheduled");
    }

    #[test]
    fn absence_and_age_of_proof_are_told_where_somebody_wants_to_know() {
        let works = |proven, alert| Works { oldest_proof: Some(("a".into(), proven)), alert, ..Works::default() };
        let hour = Some(SignedDuration::from_secs(600));
        let reason = |works| find(&told(works).conditions, RECENT).map(|found| found.reason.clone());
        assert_eq!(reason(works(None, hour)).as_deref(), Some("Absent"));
        assert_eq!(reason(works(Some(at(100)), hour)).as_deref(), Some("TooOld"));
        assert_eq!(reason(works(Some(at(900)), hour)).as_deref(), Some("Recent"));
        assert_eq!(reason(works(None, None)), None);
    }

    #[test]
    fn what_is_told_of_drills_stays_until_nobody_wants_any() {
        let says =
            |before: &BackupPolicyStatus, works| next(before, Some(1), &Seen::Works(Box::new(works)), &Time(at(1000)));
        let told = |status: &BackupPolicyStatus| find(&status.conditions, RESTORABLE).map(|found| found.reason.clone());
        let failed_drills = vec![FailedDrill { uid: "u1".into(), ..FailedDrill::default() }];
        let restorable = Some((false, "it could not be restored".to_owned()));
        let none = BackupPolicyStatus::default();
        let failed =
            says(&none, Works { drilled: true, restorable, failed_drills: failed_drills.clone(), ..Works::default() });
        assert_eq!((told(&failed).as_deref(), failed.failed_drills.len()), (Some("DrillFailed"), 1));
        // a controller that has just begun knows of none yet
        let later = says(&failed, Works { drilled: true, failed_drills, ..Works::default() });
        assert_eq!((told(&later).as_deref(), later.failed_drills.len()), (Some("DrillFailed"), 1));
        let never = says(&later, Works::default());
        assert_eq!((told(&never), never.failed_drills.len()), (None, 0));
    }
}
