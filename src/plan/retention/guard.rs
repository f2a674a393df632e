//! When nothing may be removed at all, whatever the rules say.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;

use super::facts::Facts;
use super::{Decision, Verdict};

/// Bounds that keep a mistake from becoming a loss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guards {
    /// How long a condemned backup waits.
    pub grace: SignedDuration,
    /// How long the note of a failed attempt stays.
    pub memory: SignedDuration,
    pub most_skew: SignedDuration,
    /// At most this share of all backups is condemned at once, in percent; what stays and goes together counts once,
    pub most_percent: usize,
    /// but so many always may be.
    pub always: usize,
    /// Somebody looked at the plan and wants it so.
    pub allow_many: bool,
}

impl Default for Guards {
    fn default() -> Self {
        Self {
            grace: SignedDuration::from_hours(24),
            memory: SignedDuration::from_hours(30 * 24),
            most_skew: SignedDuration::from_mins(5),
            most_percent: 30,
            always: 2,
            allow_many: false,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{} objects cannot be read or believed, the first: {}; nobody knows what they need", .0.len(), .0[0])]
    Unreadable(Vec<String>),
    #[error("the clock of the store and ours are {0} apart: ages cannot be believed")]
    Clock(SignedDuration),
    #[error(
        "{going} of {all} backups would go at once, more than {percent}%, where each chain and each set counts as one: look at \
         the plan and allow it if it is meant"
    )]
    TooMany { going: usize, all: usize, percent: usize },
}

pub fn check(facts: &Facts, decisions: &[Decision], guards: &Guards) -> Option<Refusal> {
    if !facts.unreadable.is_empty() {
        return Some(Refusal::Unreadable(facts.unreadable.clone()));
    }
    if facts.clock_skew.abs() > guards.most_skew {
        return Some(Refusal::Clock(facts.clock_skew));
    }
    let units = units(facts);
    let count = |of: &dyn Fn(&Decision) -> bool| {
        let those = decisions.iter().filter(|decision| of(decision));
        those.filter_map(|decision| units.get(decision.id.as_str())).collect::<BTreeSet<_>>().len()
    };
    let going = count(&|decision| decision.verdict == Verdict::Condemn);
    let (all, percent) = (count(&|_| true), guards.most_percent);
    let many = going > guards.always && going * 100 > all * percent;
    (many && !guards.allow_many).then_some(Refusal::TooMany { going, all, percent })
}

/// Which backups are one, by a number for each: what adds to something, and the parts of a set. A chain goes when its last
/// backup may, all of it, and that is no sign of a mistake.
fn units(facts: &Facts) -> BTreeMap<&str, usize> {
    let places: BTreeMap<&str, usize> =
        facts.backups.iter().enumerate().map(|(at, backup)| (backup.id.as_str(), at)).collect();
    let mut sets: BTreeMap<&str, usize> = BTreeMap::new();
    let mut joined: Vec<usize> = (0..facts.backups.len()).collect();
    for (at, backup) in facts.backups.iter().enumerate() {
        let parent = backup.parent.as_deref().and_then(|parent| places.get(parent).copied());
        let part = backup.set.as_ref().map(|set| *sets.entry(set.id.as_str()).or_insert(at));
        for other in parent.into_iter().chain(part) {
            let (one, other) = (first(&joined, at), first(&joined, other));
            joined[one.max(other)] = one.min(other);
        }
    }
    places.into_iter().map(|(id, at)| (id, first(&joined, at))).collect()
}

/// The first of all that are joined with this one: each names one before it, or itself.
fn first(joined: &[usize], mut at: usize) -> usize {
    while joined[at] != at {
        at = joined[at];
    }
    at
}
