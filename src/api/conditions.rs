//! Conditions as kstatus reads them: computed purely, and changed only where their meaning changes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The object does what its spec asks for.
pub const READY: &str = "Ready";
/// Midship is working towards the spec. Absent or False once it is done.
pub const RECONCILING: &str = "Reconciling";
/// What a package does once for a new instance was done.
pub const CREATED: &str = "Created";
/// Midship cannot go on until somebody changes something. Absent or False otherwise.
pub const STALLED: &str = "Stalled";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    True,
    False,
    Unknown,
}

/// One aspect of an object's state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What this is about, such as Ready.
    #[serde(rename = "type")]
    pub type_: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// The state in one CamelCase word, for machines.
    pub reason: String,
    /// The state in a sentence, for people.
    pub message: String,
    /// When `status` last changed.
    pub last_transition_time: Time,
    /// The generation of the spec this was said of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// A condition before it is known whether anything changed, and therefore without a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub type_: &'static str,
    pub status: ConditionStatus,
    pub reason: String,
    pub message: String,
}

impl Finding {
    pub fn new(
        type_: &'static str,
        status: ConditionStatus,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self { type_, status, reason: reason.into(), message: message.into() }
    }
}

/// Letters of a message: it is for people, and what specs and packages make of it may be longer than an object can be.
const LONGEST: usize = 8 * 1024;

fn cut(message: &str) -> String {
    match message.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.to_owned(),
    }
}

/// The conditions that follow from `old` and what was found now. Findings replace conditions of their type; a time moves
/// only where the status does. `Reconciling` and `Stalled` that were not found again are dropped: kstatus reads their
/// absence as False.
pub fn merge(old: &[Condition], findings: &[Finding], generation: Option<i64>, now: &Time) -> Vec<Condition> {
    let abnormal = |type_: &str| type_ == RECONCILING || type_ == STALLED;
    let found = |type_: &str| findings.iter().any(|finding| finding.type_ == type_);
    let mut merged: Vec<Condition> =
        old.iter().filter(|condition| !found(&condition.type_) && !abnormal(&condition.type_)).cloned().collect();
    merged.extend(findings.iter().map(|finding| {
        let since = old
            .iter()
            .find(|condition| condition.type_ == finding.type_ && condition.status == finding.status)
            .map_or_else(|| now.clone(), |condition| condition.last_transition_time.clone());
        Condition {
            type_: finding.type_.to_owned(),
            status: finding.status,
            reason: finding.reason.clone(),
            message: cut(&finding.message),
            last_transition_time: since,
            observed_generation: generation,
        }
    }));
    merged.sort_by_key(|condition| (rank(&condition.type_), condition.type_.clone()));
    merged
}

/// The same conditions with one of them found anew.
pub fn merge_into(old: &[Condition], finding: &Finding, generation: Option<i64>, now: &Time) -> Vec<Condition> {
    let others = |condition: &&Condition| {
        [RECONCILING, STALLED].contains(&condition.type_.as_str()) && condition.type_ != finding.type_
    };
    let abnormal = old.iter().filter(others).cloned();
    let mut merged = merge(old, std::slice::from_ref(finding), generation, now);
    merged.extend(abnormal);
    merged.sort_by_key(|condition| (rank(&condition.type_), condition.type_.clone()));
    merged
}

/// The order people read them in: is it well, what is it doing, what is wrong, the rest by name.
fn rank(type_: &str) -> usize {
    [READY, RECONCILING, STALLED].iter().position(|known| *known == type_).unwrap_or(usize::MAX)
}

/// The condition of a type, where there is one.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn at(second: i64) -> Time {
        Time(Timestamp::from_second(second).expect("a time"))
    }

    fn ready(status: ConditionStatus, message: &str) -> Finding {
        Finding::new(READY, status, "Tested", message)
    }

    #[test]
    fn a_message_without_end_is_cut() {
        let told = merge(&[], &[ready(ConditionStatus::False, &"wrong ".repeat(100_000))], Some(1), &at(10));
        assert_eq!(told[0].message.chars().count(), LONGEST + 1);
        assert!(told[0].message.ends_with('…'));
    }

    #[test]
    fn the_time_moves_only_when_the_status_does() {
        let first = merge(&[], &[ready(ConditionStatus::False, "starting")], Some(1), &at(10));
        let second = merge(&first, &[ready(ConditionStatus::False, "still starting")], Some(1), &at(20));
        assert_eq!(second[0].last_transition_time, at(10));
        assert_eq!(second[0].message, "still starting");
        let third = merge(&second, &[ready(ConditionStatus::True, "all well")], Some(1), &at(30));
        assert_eq!(third[0].last_transition_time, at(30));
    }

    #[test]
    fn stalled_goes_away_when_it_is_no_longer_found() {
        let stalled = Finding::new(STALLED, ConditionStatus::True, "Invalid", "no such component");
        let first = merge(&[], &[ready(ConditionStatus::False, "stalled"), stalled], Some(1), &at(10));
        assert!(find(&first, STALLED).is_some());
        let second = merge(&first, &[ready(ConditionStatus::True, "all well")], Some(2), &at(20));
        assert!(find(&second, STALLED).is_none());
    }

    #[test]
    fn what_others_found_is_kept_and_ready_is_read_first() {
        let fetched = Finding::new("Fetched", ConditionStatus::True, "Fetched", "main at 1234567");
        let first = merge(&[], &[fetched], Some(1), &at(10));
        let second = merge(&first, &[ready(ConditionStatus::True, "all well")], Some(1), &at(20));
        assert_eq!(second.iter().map(|c| c.type_.as_str()).collect::<Vec<_>>(), [READY, "Fetched"]);
    }
}
