//! When nothing may be removed at all, whatever the rules say.

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
    /// At most this share of all backups is condemned at once, in percent,
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
        "{going} of {all} backups would go at once, more than {percent}%: look at the plan and allow it if it is meant"
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
    let going = decisions.iter().filter(|decision| decision.verdict == Verdict::Condemn).count();
    let (all, percent) = (decisions.len(), guards.most_percent);
    let many = going > guards.always && going * 100 > all * percent;
    (many && !guards.allow_many).then_some(Refusal::TooMany { going, all, percent })
}
