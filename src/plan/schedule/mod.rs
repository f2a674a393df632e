//! When backups are made: what is due now, what was missed, what comes next, of which type, and how many at a time.
//!
//! A clock that is put forward takes no nightly backup away (it starts as soon as the clock is past the gap), and one that
//! is put back makes none twice.

mod cadence;
mod turns;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

pub use cadence::{Parent, Type, type_to_make};
pub use turns::{Waiting, admit};

/// A start that was missed by more than this is left out, where nobody says otherwise.
pub const DEADLINE: SignedDuration = SignedDuration::from_hours(1);
/// Beyond this, missed starts are not counted one by one.
const MOST_MISSED: usize = 100;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    #[error("{text:?} is no schedule: {reason}; use five fields as in crontab, such as 30 2 * * *, or @daily")]
    Cron { text: String, reason: String },
    #[error("{0:?} is no time zone; use a name such as Europe/Berlin, or leave it out for UTC")]
    TimeZone(String),
    #[error("{0:?} never happens")]
    Never(String),
}

/// When something starts.
#[derive(Clone, Debug)]
pub struct Schedule {
    cron: Cron,
    text: String,
    zone: TimeZone,
    jitter: SignedDuration,
    deadline: SignedDuration,
}

/// What a schedule says at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The scheduled time of what is to start now. Remember it: it is never due again.
    pub start: Option<Timestamp>,
    /// Scheduled times that have passed and are left out, counted up to a hundred.
    pub missed: usize,
    /// When to look again.
    pub next: Timestamp,
}

impl Schedule {
    pub fn parse(cron: &str, zone: Option<&str>) -> Result<Self, ScheduleError> {
        let malformed = |reason: String| ScheduleError::Cron { text: cron.to_owned(), reason };
        let fields = cron.split_whitespace().count();
        if fields != 5 && !(fields == 1 && cron.starts_with('@')) {
            return Err(malformed(format!("it has {fields} fields")));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let parsed = parser.parse(cron).map_err(|error| malformed(error.to_string()))?;
        // the database of time zones is a constant: where it is looked up makes no plan another one
        let zone = match zone {
            Some(name) => TimeZone::get(name).map_err(|_| ScheduleError::TimeZone(name.to_owned()))?,
            None => TimeZone::UTC,
        };
        let schedule =
            Self { cron: parsed, text: cron.to_owned(), zone, jitter: SignedDuration::ZERO, deadline: DEADLINE };
        schedule.after(Timestamp::UNIX_EPOCH)?;
        Ok(schedule)
    }

    /// Starts up to this much later, differently for each who asks.
    #[must_use]
    pub fn with_jitter(self, jitter: SignedDuration) -> Self {
        Self { jitter: jitter.max(SignedDuration::ZERO), ..self }
    }

    #[must_use]
    pub fn with_deadline(self, deadline: SignedDuration) -> Self {
        Self { deadline: deadline.max(SignedDuration::ZERO), ..self }
    }

    /// What is due for `who`, if everything up to the scheduled time `handled` was dealt with.
    pub fn due(&self, who: &str, handled: Timestamp, now: Timestamp) -> Result<Due, ScheduleError> {
        let shift = self.shift(who);
        let mut passed = Vec::new();
        let mut before = now - shift + SignedDuration::from_secs(1);
        while passed.len() <= MOST_MISSED {
            match self.before(before) {
                Some(at) if at > handled => {
                    passed.push(at);
                    before = at;
                }
                _ => break,
            }
        }
        let start = passed.first().copied().filter(|at| now.duration_since(*at + shift) <= self.deadline);
        let next = self.after((now - shift).max(handled))? + shift;
        Ok(Due { start, missed: passed.len() - usize::from(start.is_some()), next })
    }

    /// The next start of `who`.
    pub fn next(&self, who: &str, now: Timestamp) -> Result<Timestamp, ScheduleError> {
        let shift = self.shift(who);
        Ok(self.after(now - shift)? + shift)
    }

    /// The first scheduled time after this one.
    fn after(&self, at: Timestamp) -> Result<Timestamp, ScheduleError> {
        let found = self.cron.find_next_occurrence(&at.to_zoned(self.zone.clone()), false);
        found.map(|next| next.timestamp()).map_err(|_| ScheduleError::Never(self.text.clone()))
    }

    fn before(&self, at: Timestamp) -> Option<Timestamp> {
        let found = self.cron.find_previous_occurrence(&at.to_zoned(self.zone.clone()), false);
        found.ok().map(|previous| previous.timestamp())
    }

    /// The same for the same asker, spread evenly over all.
    fn shift(&self, who: &str) -> SignedDuration {
        let seconds = u64::try_from(self.jitter.as_secs()).unwrap_or_default();
        if seconds == 0 {
            return SignedDuration::ZERO;
        }
        let digest = Sha256::digest(format!("{}\n{who}", self.text));
        let mut number = [0; 8];
        number.copy_from_slice(&digest[..8]);
        let chosen = u64::from_be_bytes(number) % (seconds + 1);
        SignedDuration::from_secs(i64::try_from(chosen).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn starts(cron: &str, zone: &str, from: &str, to: &str) -> Vec<String> {
        let schedule = Schedule::parse(cron, Some(zone)).expect("a schedule");
        let (mut now, end, mut found) = (at(from), at(to), Vec::new());
        loop {
            now = schedule.next("x", now).expect("it happens");
            if now > end {
                return found;
            }
            found.push(now.to_string());
        }
    }

    #[test]
    fn a_night_with_a_missing_hour_has_its_backup() {
        let found = starts("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", "2026-03-31T00:00:00Z");
        assert_eq!(found, ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
    }

    #[test]
    fn a_night_with_an_hour_twice_has_one_backup() {
        let found = starts("30 2 * * *", "Europe/Berlin", "2026-10-24T00:00:00Z", "2026-10-27T00:00:00Z");
        assert_eq!(found, ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
    }

    #[test]
    fn every_hour_is_every_hour_whatever_the_clock_does() {
        let found = starts("0 * * * *", "Europe/Berlin", "2026-10-24T22:00:00Z", "2026-10-25T03:00:00Z");
        assert_eq!(found.len(), 5, "{found:?}");
    }

    #[test]
    fn what_was_missed_for_long_is_left_out_and_counted() {
        let schedule = Schedule::parse("0 3 * * *", None).expect("a schedule");
        let due = |handled, now| schedule.due("x", at(handled), at(now)).expect("it happens");
        let on_time = due("2026-05-01T03:00:00Z", "2026-05-02T03:00:00Z");
        assert_eq!((on_time.start, on_time.missed), (Some(at("2026-05-02T03:00:00Z")), 0));
        let late = due("2026-05-01T03:00:00Z", "2026-05-04T03:59:00Z");
        assert_eq!((late.start, late.missed), (Some(at("2026-05-04T03:00:00Z")), 2));
        let too_late = due("2026-05-01T03:00:00Z", "2026-05-04T04:01:00Z");
        assert_eq!((too_late.start, too_late.missed, too_late.next), (None, 3, at("2026-05-05T03:00:00Z")));
        let handled = due("2026-05-04T03:00:00Z", "2026-05-04T03:10:00Z");
        assert_eq!((handled.start, handled.missed), (None, 0));
    }

    #[test]
    fn what_is_no_schedule_is_told() {
        for wrong in ["", "* * * *", "* * * * * *", "61 * * * *", "@never", "x y z a b"] {
            assert!(Schedule::parse(wrong, None).is_err(), "{wrong:?}");
        }
        assert!(matches!(Schedule::parse("0 0 30 2 *", None), Err(ScheduleError::Never(_))));
        let error = Schedule::parse("@daily", Some("Berlin")).expect_err("no zone");
        assert!(error.to_string().starts_with("\"Berlin\" is no time zone; use a name such as"), "{error}");
        for right in ["@hourly", "@daily", "@weekly", "@monthly", "@yearly", "*/5 8-18 * * mon-fri"] {
            assert!(Schedule::parse(right, None).is_ok(), "{right:?}");
        }
    }

    proptest! {
        #![proptest_config(crate::chance::fixed())]

        #[test]
        fn looking_often_or_rarely_starts_each_time_once(steps in prop::collection::vec(1i64..5000, 1..60), who in "[a-z]{1,4}") {
            let schedule = Schedule::parse("*/20 * * * *", Some("Europe/Berlin")).expect("a schedule")
                .with_jitter(SignedDuration::from_mins(10)).with_deadline(SignedDuration::from_hours(9000));
            let begin = at("2026-10-25T00:00:00Z");
            let (mut now, mut handled, mut last) = (begin, begin, None);
            for step in steps {
                now += SignedDuration::from_secs(step);
                let due = schedule.due(&who, handled, now).expect("it happens");
                if let Some(start) = due.start {
                    prop_assert!(last.is_none_or(|last| start > last));
                    prop_assert!(start <= now);
                    last = Some(start);
                    handled = start;
                }
                prop_assert!(due.next > now);
                prop_assert_eq!(schedule.due(&who, handled, now).expect("it happens").start, None);
            }
        }
    }
}
