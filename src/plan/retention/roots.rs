//! What is kept and why: roots, and everything they add to.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::Reason;
use super::facts::{BackupFacts, Facts, Remains, Rules};

pub type Kept<'a> = BTreeMap<&'a str, Vec<Reason>>;
type ById<'a> = BTreeMap<&'a str, &'a BackupFacts>;

pub fn kept<'a>(facts: &'a Facts, rules: &BTreeMap<String, Rules>, now: Timestamp) -> Kept<'a> {
    let mut kept = Kept::new();
    let by_id: ById<'a> = facts.backups.iter().map(|backup| (backup.id.as_str(), backup)).collect();
    let mut groups: BTreeMap<(&str, Option<&str>), Vec<&BackupFacts>> = BTreeMap::new();
    for backup in &facts.backups {
        groups.entry((backup.instance.as_str(), backup.group.as_deref())).or_default().push(backup);
    }
    for ((instance, _), mut backups) in groups {
        backups.sort_by(|a, b| (b.completed_at, &b.id).cmp(&(a.completed_at, &a.id)));
        of_group(facts, &by_id, instance, &backups, rules.get(instance), now, &mut kept);
    }
    for attempt in facts.attempts.iter().filter(|attempt| attempt.remains == Remains::Open) {
        if let Some(parent) = facts.backups.iter().find(|backup| Some(&backup.id) == attempt.parent.as_ref()) {
            kept.entry(&parent.id).or_default().push(Reason::AttemptAddsToIt(attempt.id.clone()));
        }
    }
    with_what_is_needed(facts, &by_id, kept)
}

/// How long the other parts of a set may take to come: an operation does not go on for longer.
const UNFINISHED: SignedDuration = SignedDuration::from_hours(48);

fn of_group<'a>(
    facts: &Facts,
    by_id: &ById<'a>,
    instance: &str,
    newest_first: &[&'a BackupFacts],
    rules: Option<&Rules>,
    now: Timestamp,
    kept: &mut Kept<'a>,
) {
    let mut keep = |backup: &'a BackupFacts, reason| kept.entry(backup.id.as_str()).or_default().push(reason);
    // damaged ones take no place among the newest so many: they would push out what can be restored
    let there = || newest_first.iter().filter(|backup| backup.sound && chain_is_sound(by_id, backup));
    // and neither does a part of what lacks others
    let sound = || there().filter(|backup| backup.set.as_ref().is_none_or(|set| set.whole));
    let newest = sound().next().or_else(|| there().next());
    // parts that were made by themselves do not take the place of what is whole
    let whole = sound().find(|backup| backup.set.is_some());
    for one in newest.into_iter().chain(whole.filter(|whole| newest.is_none_or(|newest| newest.id != whole.id))) {
        keep(one, Reason::Newest);
    }
    for backup in newest_first.iter().filter(|backup| backup.set.as_ref().is_some_and(|set| set.lacks)) {
        let until = backup.completed_at.checked_add(UNFINISHED).unwrap_or(Timestamp::MAX);
        if until > now {
            keep(backup, Reason::Unfinished { until });
        }
    }
    let restored = sound().filter(|backup| backup.restored_at.is_some()).max_by_key(|backup| backup.completed_at);
    if let Some(restored) = restored {
        keep(restored, Reason::NewestRestored);
    }
    for backup in newest_first.iter().filter(|backup| backup.hold) {
        keep(backup, Reason::Hold);
    }
    let Some(rules) = rules.filter(|rules| !rules.is_empty()) else {
        for backup in newest_first {
            keep(backup, Reason::NoRules);
        }
        return;
    };
    if let Some(count) = rules.count {
        for (place, backup) in sound().take(count).enumerate() {
            keep(backup, Reason::Count { place: place + 1, of: count });
        }
    }
    for backup in newest_first {
        let after = |age| backup.completed_at.checked_add(age).unwrap_or(Timestamp::MAX);
        if let Some(until) = rules.age.map(after).filter(|until| *until > now) {
            keep(backup, Reason::Age { until });
        }
        for (label, value, age) in &rules.by_label {
            let until = after(*age);
            if backup.labels.get(label) == Some(value) && until > now {
                keep(backup, Reason::Label { label: label.clone(), value: value.clone(), until });
            }
        }
    }
    // which group it was of is not known: it counts for each that has no newer backup
    let newest = newest_first.first().map(|backup| backup.completed_at);
    let failed = facts.attempts.iter().any(|attempt| {
        let over = matches!(attempt.remains, Remains::Over { .. } | Remains::Note { .. });
        over && attempt.instance == instance && newest.is_none_or(|newest| attempt.started_at > newest)
    });
    if failed {
        for backup in newest_first {
            keep(backup, Reason::LastAttemptFailed);
        }
    }
}

/// A backup can be restored only with all it adds to.
fn chain_is_sound(by_id: &ById<'_>, backup: &BackupFacts) -> bool {
    let mut next = backup;
    for _ in 0..=by_id.len() {
        if !next.sound {
            return false;
        }
        let Some(parent) = &next.parent else { return true };
        match by_id.get(parent.as_str()) {
            Some(&parent) => next = parent,
            None => return false,
        }
    }
    false
}

/// What a kept backup adds to is kept, and what that adds to, to the full one; and with a part all of its set.
fn with_what_is_needed<'a>(facts: &'a Facts, by_id: &ById<'a>, mut kept: Kept<'a>) -> Kept<'a> {
    let mut sets: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for backup in &facts.backups {
        if let Some(set) = &backup.set {
            sets.entry(set.id.as_str()).or_default().push(backup.id.as_str());
        }
    }
    let mut waiting: Vec<&str> = kept.keys().copied().collect();
    while let Some(id) = waiting.pop() {
        let Some(backup) = by_id.get(id) else { continue };
        let parent = backup.parent.as_deref().and_then(|parent| by_id.get(parent));
        let parent = parent.map(|parent| (parent.id.as_str(), Reason::NeededBy(id.to_owned())));
        // one reason is enough for each part, and the part it names has one of its own
        let parts = backup.set.as_ref().and_then(|set| sets.get(set.id.as_str()));
        let parts = parts.into_iter().flatten().filter(|part| !kept.contains_key(**part));
        let parts = parts.map(|part| (*part, Reason::PartStays(id.to_owned())));
        let needed: Vec<(&str, Reason)> = parent.into_iter().chain(parts).collect();
        for (id, reason) in needed {
            let reasons = kept.entry(id).or_default();
            if reasons.is_empty() {
                waiting.push(id);
            }
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
    }
    kept
}
