//! When a process counts as ready: results of checks against thresholds, and when the next check is due. Pure.

use super::config::{Readiness, millis};
use super::state::Millis;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judge {
    pub ready: bool,
    pub reason: String,
    successes: u32,
    failures: u32,
    /// When the next check begins; nothing while nothing is to be checked.
    pub due: Option<Millis>,
}

impl Default for Judge {
    fn default() -> Self {
        Self::idle("the process does not run")
    }
}

impl Judge {
    /// Nobody is ready.
    pub fn idle(reason: &str) -> Self {
        Self { ready: false, reason: reason.to_owned(), successes: 0, failures: 0, due: None }
    }

    /// A process came up.
    pub fn begin(settings: &Readiness, now: Millis) -> Self {
        let due = now.saturating_add(millis(settings.initial_delay));
        Self { due: Some(due), ..Self::idle("not checked yet") }
    }

    /// The settings changed: what was found out stands until the next check, which is due at once.
    pub fn reconfigured(&mut self, now: Millis) {
        (self.successes, self.failures, self.due) = (0, 0, Some(now));
    }

    /// A check that began at `began` has ended.
    pub fn judge(&mut self, settings: &Readiness, result: Result<String, String>, began: Millis, now: Millis) {
        match result {
            Ok(reason) => {
                (self.successes, self.failures) = (self.successes.saturating_add(1), 0);
                if self.ready || self.successes >= settings.success_threshold {
                    (self.ready, self.reason) = (true, reason);
                } else {
                    self.reason =
                        format!("{reason}, {} of {} times in a row", self.successes, settings.success_threshold);
                }
            }
            Err(reason) => {
                (self.successes, self.failures) = (0, self.failures.saturating_add(1));
                if !self.ready || self.failures >= settings.failure_threshold {
                    (self.ready, self.reason) = (false, reason);
                }
            }
        }
        self.due = Some(began.saturating_add(millis(settings.interval)).max(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(successes: u32, failures: u32) -> Readiness {
        Readiness { success_threshold: successes, failure_threshold: failures, ..Readiness::default() }
    }

    fn ok() -> Result<String, String> {
        Ok("answers".to_owned())
    }

    fn bad() -> Result<String, String> {
        Err("refused".to_owned())
    }

    #[test]
    fn it_becomes_ready_after_enough_successes_in_a_row() {
        let settings = settings(2, 1);
        let mut judge = Judge::begin(&settings, 0);
        judge.judge(&settings, ok(), 0, 1);
        assert!(!judge.ready);
        assert_eq!(judge.reason, "answers, 1 of 2 times in a row");
        judge.judge(&settings, bad(), 2, 3);
        judge.judge(&settings, ok(), 4, 5);
        assert!(!judge.ready);
        judge.judge(&settings, ok(), 6, 7);
        assert!(judge.ready);
    }

    #[test]
    fn it_stays_ready_until_enough_failures_in_a_row() {
        let settings = settings(1, 3);
        let mut judge = Judge::begin(&settings, 0);
        for (result, ready) in [(ok(), true), (bad(), true), (bad(), true), (ok(), true), (bad(), true), (bad(), true)]
        {
            judge.judge(&settings, result, 0, 0);
            assert_eq!(judge.ready, ready);
        }
        judge.judge(&settings, bad(), 0, 0);
        assert_eq!((judge.ready, judge.reason.as_str()), (false, "refused"));
    }

    #[test]
    fn checks_keep_their_interval_and_never_overlap() {
        let settings = settings(1, 1);
        let mut judge = Judge::begin(&settings, 100);
        assert_eq!(judge.due, Some(100));
        judge.judge(&settings, ok(), 100, 150);
        assert_eq!(judge.due, Some(2100));
        judge.judge(&settings, ok(), 2100, 9000);
        assert_eq!(judge.due, Some(9000));
    }
}
