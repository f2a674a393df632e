//! Which backups stay and which go, each with the reason. Mark and sweep: what any rule keeps is a root, what a root needs
//! stays with it, and only what nothing needs is condemned, waits, and is removed later.

mod facts;
mod guard;
#[cfg(test)]
mod property;
mod roots;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::{SignedDuration, Timestamp};

pub use facts::{AttemptFacts, BackupFacts, Facts, LogNeed, PartOf, Remains, Rules};
pub use guard::{Guards, Refusal};

/// Why a backup stays.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Its place among the newest, from 1.
    Count {
        place: usize,
        of: usize,
    },
    Age {
        until: Timestamp,
    },
    Label {
        label: String,
        value: String,
        until: Timestamp,
    },
    Hold,
    /// A backup that stays adds to it.
    NeededBy(String),
    /// A backup that is being made adds to it.
    AttemptAddsToIt(String),
    /// Another part of its set stays.
    PartStays(String),
    /// The other parts of its set may still come.
    Unfinished {
        until: Timestamp,
    },
    /// The newest of its instance that is not known to be damaged.
    Newest,
    /// The newest of its instance that was restored as a test.
    NewestRestored,
    /// Nobody said how long backups of this instance are kept.
    NoRules,
    /// The last attempt of its instance failed: what there is, is all there is.
    LastAttemptFailed,
}

/// What becomes of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Keep(Vec<Reason>),
    /// It was condemned, and a rule keeps it again.
    Revive(Vec<Reason>),
    /// Nothing keeps it: it gets a tombstone.
    Condemn,
    /// Its tombstone is too young.
    Wait {
        until: Timestamp,
    },
    Remove,
}

/// What becomes of what is not a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptVerdict {
    /// Somebody may be working on it.
    Leave { until: Timestamp },
    /// Nobody works on it any more: it is declared over, so that nobody can commit it.
    Void,
    /// It is over: what it left is removed, the note that it failed stays.
    Clear,
    /// It was over long ago: the note goes as well.
    Forget,
    /// The note stays for a while.
    Remember { until: Timestamp },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub id: String,
    pub instance: String,
    pub bytes: u64,
    pub verdict: Verdict,
}

/// The whole plan. With a refusal, nothing of it may be done; the decisions still explain what would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub refusal: Option<Refusal>,
    pub decisions: Vec<Decision>,
    pub attempts: Vec<(String, AttemptVerdict)>,
    /// For each system, the first segment that something needs; what is older can go. A system that is not named keeps all.
    pub logs: BTreeMap<String, u64>,
}

/// Decides. The same facts at the same time give the same plan.
pub fn plan(facts: &Facts, rules: &BTreeMap<String, Rules>, guards: &Guards, now: Timestamp) -> Plan {
    let kept = roots::kept(facts, rules, now);
    let mut decisions = Vec::new();
    for backup in facts.backups.iter().filter(|backup| backup.ours) {
        let reasons = kept.get(backup.id.as_str()).cloned().unwrap_or_default();
        let verdict = match (reasons.is_empty(), backup.condemned_at) {
            (false, None) => Verdict::Keep(reasons),
            (false, Some(_)) => Verdict::Revive(reasons),
            (true, None) => Verdict::Condemn,
            (true, Some(at)) => match after(at, guards.grace) {
                until if until > now => Verdict::Wait { until },
                _ => Verdict::Remove,
            },
        };
        decisions.push(Decision {
            id: backup.id.clone(),
            instance: backup.instance.clone(),
            bytes: backup.bytes,
            verdict,
        });
    }
    children_first(facts, &mut decisions, guards, now);
    let attempts = facts.attempts.iter().filter(|attempt| attempt.ours);
    let attempts = attempts.map(|attempt| (attempt.id.clone(), attempt_verdict(attempt, guards, now))).collect();
    let refusal = guard::check(facts, &decisions, guards);
    Plan { refusal, logs: logs(facts), attempts, decisions }
}

/// What another backup adds to goes with it or after it, never before: as long as one is shown, it can be restored.
fn children_first(facts: &Facts, decisions: &mut [Decision], guards: &Guards, now: Timestamp) {
    loop {
        let going: BTreeSet<&str> =
            decisions.iter().filter(|one| one.verdict == Verdict::Remove).map(|one| one.id.as_str()).collect();
        let staying = facts.backups.iter().filter(|backup| !going.contains(backup.id.as_str()));
        let needed: BTreeSet<&str> = staying.filter_map(|backup| backup.parent.as_deref()).collect();
        let held_up = |one: &Decision| one.verdict == Verdict::Remove && needed.contains(one.id.as_str());
        let held_up: Vec<usize> = (0..decisions.len()).filter(|at| held_up(&decisions[*at])).collect();
        if held_up.is_empty() {
            return;
        }
        for at in held_up {
            decisions[at].verdict = Verdict::Wait { until: after(now, guards.grace) };
        }
    }
}

fn attempt_verdict(attempt: &AttemptFacts, guards: &Guards, now: Timestamp) -> AttemptVerdict {
    match attempt.remains {
        // the writer stops at the end of its lease; an hour more is for clocks that differ
        Remains::Open => {
            let ends = after(attempt.started_at, attempt.lease).max(attempt.active_at);
            let until = after(ends, guards.grace.min(HOUR));
            if until > now { AttemptVerdict::Leave { until } } else { AttemptVerdict::Void }
        }
        Remains::Over { at } if after(at, guards.grace) > now => {
            AttemptVerdict::Remember { until: after(at, guards.grace) }
        }
        Remains::Note { at } if after(at, guards.memory) > now => {
            AttemptVerdict::Remember { until: after(at, guards.memory) }
        }
        Remains::Note { .. } => AttemptVerdict::Forget,
        Remains::Over { .. } | Remains::Leftover => AttemptVerdict::Clear,
    }
}

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// What would be after all times is at the last one: nobody who was given that long stops retention for all others.
fn after(at: Timestamp, time: SignedDuration) -> Timestamp {
    at.checked_add(time).unwrap_or(Timestamp::MAX)
}

/// A backup's log is needed as long as the backup is there, whatever was decided about it: only what is gone needs nothing.
/// One that is being made begins later in the log than any that is there.
fn logs(facts: &Facts) -> BTreeMap<String, u64> {
    let mut first: BTreeMap<String, u64> = BTreeMap::new();
    for need in facts.backups.iter().filter_map(|backup| backup.log.as_ref()) {
        let entry = first.entry(need.system.clone()).or_insert(need.first);
        *entry = need.first.min(*entry);
    }
    first
}

impl Plan {
    /// What stays, and until when, where that is known: until the last of its reasons ends, and of those of what adds to it.
    pub fn stays(&self) -> BTreeMap<&str, Option<Timestamp>> {
        let kept = self.decisions.iter().filter_map(|decision| match &decision.verdict {
            Verdict::Keep(reasons) | Verdict::Revive(reasons) => Some((decision.id.as_str(), reasons.as_slice())),
            Verdict::Condemn | Verdict::Wait { .. } | Verdict::Remove => None,
        });
        let kept: BTreeMap<&str, &[Reason]> = kept.collect();
        last_ends(&kept)
    }

    /// Whether doing it would change anything.
    pub fn is_idle(&self) -> bool {
        let quiet = |decision: &Decision| matches!(decision.verdict, Verdict::Keep(_) | Verdict::Wait { .. });
        let still = |verdict: &AttemptVerdict| {
            matches!(verdict, AttemptVerdict::Leave { .. } | AttemptVerdict::Remember { .. })
        };
        self.refusal.is_some()
            || (self.decisions.iter().all(quiet) && self.attempts.iter().all(|(_, verdict)| still(verdict)))
    }
}

/// When something ends; never is later than any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    At(Timestamp),
    Never,
}

/// When the last reason of each backup ends. Ends are handed on, the latest first, to what stays because of it: chains of sets
/// have more ways through them than could ever be walked.
fn last_ends<'a>(kept: &BTreeMap<&'a str, &'a [Reason]>) -> BTreeMap<&'a str, Option<Timestamp>> {
    let mut ends: BTreeMap<&'a str, End> = BTreeMap::new();
    let mut because_of: BTreeMap<&'a str, Vec<&'a str>> = BTreeMap::new();
    for (&id, &reasons) in kept {
        for reason in reasons {
            let end = match reason {
                Reason::Age { until } | Reason::Label { until, .. } | Reason::Unfinished { until } => End::At(*until),
                Reason::NeededBy(other) | Reason::PartStays(other) if kept.contains_key(other.as_str()) => {
                    because_of.entry(other.as_str()).or_default().push(id);
                    continue;
                }
                Reason::NeededBy(_)
                | Reason::PartStays(_)
                | Reason::Count { .. }
                | Reason::Hold
                | Reason::AttemptAddsToIt(_)
                | Reason::Newest
                | Reason::NewestRestored
                | Reason::NoRules
                | Reason::LastAttemptFailed => End::Never,
            };
            let last = ends.entry(id).or_insert(end);
            *last = end.max(*last);
        }
    }
    let mut waiting: Vec<(End, &'a str)> = ends.iter().map(|(id, end)| (*end, *id)).collect();
    waiting.sort_unstable();
    while let Some((end, id)) = waiting.pop() {
        for stays in because_of.get(id).into_iter().flatten().copied() {
            if ends.get(stays).is_none_or(|known| *known < end) {
                ends.insert(stays, end);
                waiting.push((end, stays));
            }
        }
    }
    let told = |id: &'a str| match ends.get(id) {
        Some(End::At(until)) => Some(*until),
        Some(End::Never) | None => None,
    };
    kept.keys().map(|&id| (id, told(id))).collect()
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count { place, of } => write!(f, "number {place} of the newest {of}"),
            Self::Age { until } => write!(f, "young enough until {until}"),
            Self::Label { label, value, until } => write!(f, "label {label}={value} keeps it until {until}"),
            Self::Hold => f.write_str("it is held"),
            Self::NeededBy(id) => write!(f, "{id} adds to it"),
            Self::AttemptAddsToIt(id) => write!(f, "{id}, which is being made, adds to it"),
            Self::PartStays(id) => write!(f, "{id}, another part of its set, stays"),
            Self::Unfinished { until } => write!(f, "other parts of its set may still come until {until}"),
            Self::Newest => f.write_str("the newest sound one of its instance"),
            Self::NewestRestored => f.write_str("the newest one that was restored as a test"),
            Self::NoRules => f.write_str("nobody said how long backups of this instance are kept"),
            Self::LastAttemptFailed => f.write_str("the last attempt at a backup of its instance failed"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = |reasons: &[Reason]| reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        match self {
            Self::Keep(reasons) => write!(f, "stays: {}", all(reasons)),
            Self::Revive(reasons) => write!(f, "stays after all: {}", all(reasons)),
            Self::Condemn => f.write_str("goes: nothing keeps it; it waits with a tombstone first"),
            Self::Wait { until } => write!(f, "goes: it is removed after {until}, unless something keeps it again"),
            Self::Remove => f.write_str("is removed: nothing kept it while it waited"),
        }
    }
}
