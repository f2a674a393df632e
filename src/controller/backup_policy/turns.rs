//! Whose backup is due, by which schedule: computed purely from what was begun before. One turn of one schedule has one
//! name, so that it is never begun twice.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::api::backup_policy as api;
use crate::api::operation::BackupType;
use crate::controller::repositories::coverage::signed;
use crate::plan::schedule::{Schedule, ScheduleError};

/// An instance that is backed up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asker {
    pub name: String,
    pub uid: String,
    /// Nothing before this was its turn: it, or the policy, was not there yet.
    pub since: Timestamp,
}

/// The last scheduled time that was dealt with, by the UID of the instance and the name of the schedule.
pub type Handled = BTreeMap<(String, String), Timestamp>;

/// A backup that is to be begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    pub instance: String,
    pub uid: String,
    /// Its place among the policy's schedules.
    pub schedule: usize,
    pub name: String,
    /// When it was scheduled for.
    pub at: Timestamp,
    /// When it was last its turn: of those that wait, the longest forgotten goes first.
    pub last: Timestamp,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    pub turns: Vec<Turn>,
    /// Turns that passed while nobody looked, and are left out: how many, by instance and schedule.
    pub missed: Vec<(String, String, usize)>,
    /// What to remember as dealt with where something was missed.
    pub passed: Handled,
    /// The next start, and the zone it is told in.
    pub next: Option<(Timestamp, TimeZone)>,
}

/// A policy's schedules, read.
pub struct Schedules(Vec<(String, Schedule, TimeZone)>);

impl Schedules {
    pub fn of(schedules: &[api::Schedule]) -> Result<Self, (String, ScheduleError)> {
        let read = |one: &api::Schedule| {
            let zone = one.time_zone.as_deref();
            let mut schedule = Schedule::parse(&one.cron.0, zone)?;
            if let Some(jitter) = one.jitter {
                schedule = schedule.with_jitter(signed(jitter));
            }
            if let Some(deadline) = one.deadline {
                schedule = schedule.with_deadline(signed(deadline));
            }
            let zone = zone.and_then(|name| TimeZone::get(name).ok()).unwrap_or(TimeZone::UTC);
            Ok((one.name.to_string(), schedule, zone))
        };
        let all = schedules.iter().map(|one| read(one).map_err(|error| (one.name.to_string(), error)));
        all.collect::<Result<_, _>>().map(Self)
    }

    /// Turns that came in time and wait for a place (`waiting`) do not lapse.
    pub fn due(
        &self,
        askers: &[Asker],
        handled: &Handled,
        waiting: &Handled,
        now: Timestamp,
    ) -> Result<Due, ScheduleError> {
        let mut due = Due::default();
        for asker in askers {
            for (place, (name, schedule, zone)) in self.0.iter().enumerate() {
                let key = (asker.uid.clone(), name.clone());
                let handled = handled.get(&key).copied().unwrap_or(asker.since).max(asker.since);
                let found = schedule.due(&asker.uid, handled, now)?;
                let waits = waiting.get(&key).copied().filter(|at| *at > handled && found.start.is_none());
                let start = found.start.or(waits);
                let missed = found.missed - usize::from(waits.is_some()).min(found.missed);
                if due.next.as_ref().is_none_or(|(next, _)| found.next < *next) {
                    due.next = Some((found.next, zone.clone()));
                }
                if missed > 0 {
                    due.missed.push((asker.name.clone(), name.clone(), missed));
                    if start.is_none() {
                        due.passed.insert(key, now);
                    }
                }
                due.turns.extend(start.map(|at| Turn {
                    instance: asker.name.clone(),
                    uid: asker.uid.clone(),
                    schedule: place,
                    name: name.clone(),
                    at,
                    last: handled,
                }));
            }
        }
        due.turns.sort_by(|a, b| (a.at, &a.instance, a.schedule).cmp(&(b.at, &b.instance, b.schedule)));
        Ok(due)
    }
}

/// Whether a backup is what a schedule asks for: then its turn until that was begun was dealt with, whoever made it.
pub fn is_as_asked(schedule: &api::Schedule, type_: BackupType, labels: &BTreeMap<String, String>) -> bool {
    let enough = type_ == BackupType::Full || schedule.type_ == Some(BackupType::Incremental);
    enough && schedule.labels.iter().flatten().all(|(name, value)| labels.get(name) == Some(value))
}

/// The list of a status is bounded.
const MOST_TOLD: usize = 1000;

/// Turns that wait, as the status tells them: the controller after this one goes on from there.
pub fn told(waiting: &Handled, handled: &Handled) -> Vec<api::WaitingTurn> {
    let open = waiting.iter().filter(|(key, at)| handled.get(*key).is_none_or(|handled| handled < *at));
    let turns = open.map(|((uid, schedule), at)| api::WaitingTurn {
        uid: uid.clone(),
        schedule: schedule.clone(),
        at: at.to_string(),
    });
    turns.take(MOST_TOLD).collect()
}

/// Reads them back. One whose time cannot be read waits no more.
pub fn recalled(told: &[api::WaitingTurn]) -> Handled {
    let read =
        |turn: &api::WaitingTurn| Some(((turn.uid.clone(), turn.schedule.clone()), turn.at.parse::<Timestamp>().ok()?));
    told.iter().filter_map(read).collect()
}

impl Turn {
    /// The name of its Operation: the same whoever computes it, and however often.
    pub fn operation(&self, policy_uid: &str) -> String {
        let short: String = policy_uid.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
        format!("{}-{}-{}-{short}", self.instance, self.name, self.at.strftime("%Y%m%d%H%M"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn schedules() -> Schedules {
        let all: Vec<api::Schedule> = serde_json::from_value(json!([
            { "name": "nightly", "cron": "0 2 * * *", "timeZone": "Europe/Berlin" },
            { "name": "hourly", "cron": "@hourly", "type": "Incremental" },
        ]))
        .expect("schedules");
        Schedules::of(&all).unwrap_or_else(|(name, error)| panic!("{name}: {error}"))
    }

    fn asker(since: &str) -> Asker {
        Asker { name: "orders".into(), uid: "1".into(), since: at(since) }
    }

    #[test]
    fn a_turn_is_due_once() {
        let now = at("2026-06-01T00:05:00Z");
        let first =
            schedules().due(&[asker("2026-05-31T23:30:00Z")], &Handled::new(), &Handled::new(), now).expect("a plan");
        let names: Vec<&str> = first.turns.iter().map(|turn| turn.name.as_str()).collect();
        assert_eq!(names, ["nightly", "hourly"]);
        assert_eq!(first.turns[0].operation("0a1b2c3d-99"), "orders-nightly-202606010000-0a1b2c3d");
        let handled = first.turns.iter().map(|turn| ((turn.uid.clone(), turn.name.clone()), turn.at)).collect();
        let second = schedules().due(&[asker("2026-05-31T23:30:00Z")], &handled, &Handled::new(), now).expect("a plan");
        assert!(second.turns.is_empty() && second.missed.is_empty(), "{second:?}");
        assert_eq!(second.next.map(|(next, _)| next), Some(at("2026-06-01T01:00:00Z")));
    }

    #[test]
    fn what_was_due_before_somebody_was_there_is_nobodys_turn() {
        let due = schedules().due(
            &[asker("2026-06-01T00:01:00Z")],
            &Handled::new(),
            &Handled::new(),
            at("2026-06-01T00:05:00Z"),
        );
        assert!(due.expect("a plan").turns.is_empty());
    }

    #[test]
    fn what_was_missed_by_far_is_left_out_and_told_once() {
        let (asker, now) = ([asker("2026-05-30T00:30:00Z")], at("2026-06-01T05:30:00Z"));
        let due = schedules().due(&asker, &Handled::new(), &Handled::new(), now).expect("a plan");
        assert_eq!(due.turns.len(), 1, "the newest hour is not late yet: {due:?}");
        assert!(due.missed.contains(&("orders".into(), "nightly".into(), 2)), "{due:?}");
        let again = schedules().due(&asker, &due.passed, &Handled::new(), now).expect("a plan");
        assert!(!again.missed.iter().any(|(_, name, _)| name == "nightly"), "{again:?}");
    }

    #[test]
    fn a_turn_that_waits_for_a_place_does_not_lapse_and_the_longest_forgotten_goes_first() {
        let asker = [asker("2026-05-31T23:30:00Z")];
        let nightly = ("1".to_owned(), "nightly".to_owned());
        let waiting = Handled::from([(nightly, at("2026-06-01T00:00:00Z"))]);
        let due = schedules().due(&asker, &Handled::new(), &waiting, at("2026-06-01T05:30:00Z")).expect("a plan");
        let turn = due.turns.iter().find(|turn| turn.name == "nightly").expect("it is still its turn");
        assert_eq!((turn.at, turn.last), (at("2026-06-01T00:00:00Z"), at("2026-05-31T23:30:00Z")));
        assert!(!due.missed.iter().any(|(_, name, _)| name == "nightly"), "{due:?}");
    }

    #[test]
    fn a_turn_that_waits_does_so_for_the_controller_after_this_one_as_well() {
        let key = |uid: &str| (uid.to_owned(), "nightly".to_owned());
        let turn = at("2026-06-01T00:00:00Z");
        let waiting = Handled::from([(key("1"), turn), (key("2"), turn), (key("3"), turn)]);
        let handled = Handled::from([(key("1"), turn), (key("2"), at("2026-05-31T00:00:00Z"))]);
        let kept = told(&waiting, &handled);
        assert_eq!(recalled(&kept), Handled::from([(key("2"), turn), (key("3"), turn)]));
        let odd = [api::WaitingTurn { at: "yesterday".into(), ..kept[0].clone() }];
        assert!(recalled(&odd).is_empty());
    }

    #[test]
    fn a_backup_counts_for_the_schedules_that_ask_for_one_like_it() {
        let asks = |more: serde_json::Value| -> api::Schedule {
            let mut schedule = json!({ "name": "monthly", "cron": "@monthly" });
            schedule.as_object_mut().expect("a mapping").extend(more.as_object().expect("a mapping").clone());
            serde_json::from_value(schedule).expect("a schedule")
        };
        let labels = BTreeMap::from([("tier".to_owned(), "monthly".to_owned())]);
        let (plain, labelled) = (asks(json!({})), asks(json!({ "labels": { "tier": "monthly" } })));
        assert!(is_as_asked(&plain, BackupType::Full, &labels) && is_as_asked(&labelled, BackupType::Full, &labels));
        assert!(!is_as_asked(&labelled, BackupType::Full, &BTreeMap::new()));
        assert!(!is_as_asked(&plain, BackupType::Incremental, &labels));
        assert!(is_as_asked(&asks(json!({ "type": "Incremental" })), BackupType::Incremental, &labels));
    }

    #[test]
    fn a_schedule_that_cannot_be_read_is_named() {
        let wrong: Vec<api::Schedule> =
            serde_json::from_value(json!([{ "name": "nightly", "cron": "@daily", "timeZone": "Mars/Base" }]))
                .expect("schedules");
        let (name, error) = Schedules::of(&wrong).err().expect("no such zone");
        assert_eq!((name.as_str(), error.to_string().contains("Mars/Base")), ("nightly", true));
    }
}
