//! Readiness at the edge: begins checks when they are due, takes their results, and tells the state machine.

use std::rc::Rc;

use super::config::{Check, Readiness, millis};
use super::helper::{Helper, Job};
use super::probe::{Begun, TcpProbe, look_at_file};
use super::protocol::NoticeKind;
use super::readiness::Judge;
use super::state::{Event, Millis, Phase};
use super::supervisor::Init;

impl Init {
    /// Checks follow the process: a new one is judged anew, one that goes is not ready from that moment on.
    pub(super) fn follow_process(&mut self) {
        let up = self.state.up();
        if up == self.judged {
            return;
        }
        self.judged = up;
        self.forget_checks();
        let was_ready = self.judge.ready;
        self.judge = match (up, &self.config) {
            (Some(_), Some(loaded)) => Judge::begin(&loaded.config.readiness, self.now()),
            _ if matches!(self.state.phase, Phase::Stopping { .. }) => Judge::idle("the process is being stopped"),
            _ => Judge::default(),
        };
        if was_ready {
            self.notice(NoticeKind::Readiness, "the process does not serve");
        }
        // what needs no waiting is known at once
        self.run_checks();
    }

    /// The settings changed.
    pub(super) fn recheck(&mut self) {
        if self.judged.is_some() {
            self.forget_checks();
            self.judge.reconfigured(self.now());
            self.run_checks();
        }
    }

    fn forget_checks(&mut self) {
        self.probe = None;
        let now = self.now();
        for helper in self.helpers.iter_mut().filter(|helper| helper.job == Job::Check) {
            helper.kill(now);
            helper.job = Job::Forgotten;
        }
    }

    fn checking(&self) -> bool {
        self.probe.is_some() || self.helpers.iter().any(|helper| helper.job == Job::Check)
    }

    /// When to look at checks again.
    pub(super) fn check_due(&self) -> Option<Millis> {
        match &self.probe {
            Some(probe) => Some(probe.give_up_at),
            None if self.checking() => None,
            None => self.judge.due,
        }
    }

    /// Begins a check that is due, gives up one that takes too long.
    pub(super) fn run_checks(&mut self) {
        let now = self.now();
        if let Some(probe) = self.probe.take_if(|probe| now >= probe.give_up_at) {
            self.judged(probe.timed_out(), probe.began);
        }
        if self.checking() || self.judge.due.is_none_or(|due| now < due) {
            return;
        }
        let (Some(loaded), Some(launch)) = (self.config.clone(), self.launch.clone()) else { return };
        let settings = &loaded.config.readiness;
        let timeout = millis(settings.timeout);
        match &settings.check {
            Check::Process => {
                self.judged(Ok("the process runs".to_owned()), now);
                // nothing can change until the process does
                self.judge.due = if self.judge.ready { None } else { self.judge.due };
            }
            Check::File(file) => self.judged(look_at_file(file), now),
            Check::Tcp(tcp) => match TcpProbe::begin(tcp, now, timeout) {
                Begun::Now(result) => self.judged(result, now),
                Begun::Later(probe) => self.probe = Some(probe),
            },
            Check::Exec(exec) => match Helper::start(Job::Check, &exec.command, &launch.config, now, timeout) {
                Ok(helper) => self.helpers.push(helper),
                Err(error) => self.judged(Err(error), now),
            },
        }
    }

    pub(super) fn probe_answered(&mut self) {
        if let Some(probe) = self.probe.take() {
            self.judged(probe.finish(), probe.began);
        }
    }

    /// A check has ended.
    pub(super) fn judged(&mut self, result: Result<String, String>, began: Millis) {
        let (Some(_), Some(loaded)) = (self.judged, self.config.as_ref().map(Rc::clone)) else { return };
        let was_ready = self.judge.ready;
        let settings: &Readiness = &loaded.config.readiness;
        self.judge.judge(settings, result, began, self.now());
        if self.judge.ready != was_ready {
            let reason = self.judge.reason.clone();
            self.step(Event::Ready { ready: self.judge.ready });
            self.notice(NoticeKind::Readiness, &reason);
        }
    }
}
