//! Carries out what the state machine decides, and tells the world what changed.

use std::rc::Rc;

use super::config::{Config, Loaded, Target};
use super::log::say;
use super::output::Pump;
use super::program::{Streams, prepare};
use super::protocol::{EndReason, Ending, Notice, NoticeKind, OrderResult, Response};
use super::record::Running;
use super::requests::problem;
use super::signals;
use super::state::{Action, Ended, Event, Exit, Ticket};
use super::state::{Done, Refusal, Shown};
use super::supervisor::{Child, Init, Told, wall};
use super::{sys, tree};

/// Notices that can still be asked for.
const KEPT_NOTICES: usize = 64;

impl Init {
    /// Does it at once; what came of it is the next event.
    pub(super) fn carry_out(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::RunHook { index } => Some(self.start_child(Some(index))),
            Action::Spawn => Some(self.start_child(None)),
            Action::SignalStop { pid } => {
                self.tell_to_stop(pid);
                None
            }
            Action::KillAll => Some(Event::Swept { left: self.kill_all() }),
            Action::Record { pid, ended } => {
                self.remember(pid, &ended);
                None
            }
            Action::Answer { ticket, result } => {
                self.answer_ticket(ticket, result);
                None
            }
            Action::Quit { code } => {
                self.quit_with(code);
                None
            }
        }
    }

    /// SIGKILL for everything below; how much still lived.
    pub(super) fn kill_all(&self) -> usize {
        let child = self.child.as_ref().map(|child| child.pid);
        let execs = self.execs.iter().map(|execution| execution.pid);
        let awaited: Vec<i32> = self.helpers.iter().map(|helper| helper.pid).chain(execs).chain(child).collect();
        tree::kill_all(child, &awaited)
    }

    /// Starts a hook, or the process; all of one start comes from one configuration.
    fn start_child(&mut self, hook: Option<usize>) -> Event {
        if !self.launch_fixed || hook == Some(0) {
            self.launch = self.config.clone();
        }
        self.launch_fixed = hook.is_some();
        let Some(launch) = self.launch.clone() else {
            return Event::SpawnFailed { what: "there is no configuration".to_owned() };
        };
        let config = &launch.config;
        let command = match hook {
            Some(index) => config.pre_start.get(index).map(|hook| &hook.command),
            None => Some(&config.command),
        };
        let Some(command) = command else {
            return Event::SpawnFailed { what: "the command before the start is not configured any more".to_owned() };
        };
        let streams = match self.streams(&launch) {
            Ok(streams) => streams,
            Err(error) => return Event::SpawnFailed { what: format!("cannot capture the output: {error}") },
        };
        let oom_kills = self.oom.read();
        match sys::spawn(&prepare(command, config, streams)) {
            Ok(spawned) => {
                self.fence.guard(Some(spawned.pid));
                let started_at = wall();
                if hook.is_none() {
                    self.record.running = Some(Running { pid: spawned.pid, started_at: started_at.clone() });
                }
                self.child = Some(Child {
                    pid: spawned.pid,
                    hook: hook.is_some(),
                    command: command[0].clone(),
                    started_at,
                    failure: Some(spawned.failure),
                    why: None,
                    oom_kills,
                    out_of_memory: false,
                });
                Event::Spawned { pid: spawned.pid }
            }
            Err(error) => Event::SpawnFailed { what: format!("cannot start {}: {error}", command[0]) },
        }
    }

    /// Where the output goes: inherited unless it has to be led somewhere.
    fn streams(&mut self, launch: &Rc<Loaded>) -> std::io::Result<Streams> {
        let Config { output, uid, gid, .. } = &launch.config;
        if !output.captured() {
            return Ok(None);
        }
        if self.pump.is_none() {
            self.pump = Some(Pump::start(output, (*uid, *gid))?);
        }
        Ok(self.pump.as_ref().map(Pump::streams))
    }

    fn tell_to_stop(&self, pid: i32) {
        let hook = self.child.as_ref().is_some_and(|child| child.hook);
        let (signal, group) = match &self.config {
            Some(loaded) if !hook => (loaded.config.stop.signal.number(), loaded.config.stop.target == Target::Group),
            _ => (signals::Signal::TERM.number(), true),
        };
        // a child that has no group of its own yet is about to have one
        if !group || sys::send_signal(-pid, signal).is_err() {
            let _ = sys::send_signal(pid, signal);
        }
        // stopped processes take no other signal
        let _ = sys::send_signal(pid, nix::libc::SIGCONT);
    }

    fn remember(&mut self, pid: Option<i32>, ended: &Ended) {
        self.launch_fixed = false;
        self.record.running = None;
        let child = self.ended_child.take();
        let started = child.as_ref().is_some_and(|child| !child.hook && child.why.is_none());
        let reason = match ended.exit {
            _ if self.state.burnt => EndReason::Fenced,
            _ if ended.asked && ended.forced => EndReason::Killed,
            _ if ended.asked => EndReason::Requested,
            _ if !started => EndReason::StartFailed,
            _ if child.as_ref().is_some_and(|child| child.out_of_memory) => EndReason::OutOfMemory,
            Some(Exit::Code(0)) => EndReason::Completed,
            _ => EndReason::Crashed,
        };
        let (code, signal) = match ended.exit {
            Some(Exit::Code(code)) => (Some(code), None),
            Some(Exit::Signal(signal)) => (None, Some(signals::name(signal).into_owned())),
            None => (None, None),
        };
        say(&ended.what);
        self.record.push(Ending {
            at: wall(),
            pid,
            started_at: child.map(|child| child.started_at),
            code,
            signal,
            reason,
            message: ended.what.clone(),
        });
        self.notice(NoticeKind::Exit, &ended.what);
    }

    fn answer_ticket(&mut self, ticket: Ticket, result: Result<Done, Refusal>) {
        let Some(index) = self.waiters.iter().position(|waiter| waiter.ticket == ticket) else { return };
        let waiter = self.waiters.swap_remove(index);
        let response = match result {
            Ok(Done { changed, forced }) => self.done(waiter.id, changed, forced),
            Err(refusal) => Response::refused(Some(waiter.id), problem(&refusal)),
        };
        self.answers.push((waiter.client, response));
    }

    pub(super) fn done(&self, id: u64, changed: bool, forced: bool) -> Response {
        let result = OrderResult { state: self.state.shown(), pid: self.state.pid(), changed, forced };
        Response::done(id, serde_json::to_value(result).unwrap_or_default())
    }

    /// Tells a change of state, if there was one.
    pub(super) fn tell(&mut self) {
        let (state, pid) = (self.state.shown(), self.state.pid());
        if (state, pid) == (self.told.state, self.told.pid) {
            return;
        }
        let since = if state == self.told.state { self.told.since.clone() } else { wall() };
        self.told = Told { state, pid, since };
        let reason = match state {
            Shown::Ready => self.judge.reason.clone(),
            _ => self.state.reason.clone(),
        };
        let who = pid.map(|pid| format!(" (process {pid})")).unwrap_or_default();
        say(&format!("{state:?}{who}: {reason}"));
        self.notice(NoticeKind::State, &reason);
    }

    pub(super) fn notice(&mut self, kind: NoticeKind, message: &str) {
        let notice = Notice {
            seq: self.next_notice,
            at: wall(),
            kind,
            state: self.state.shown(),
            ready: self.judge.ready,
            pid: self.state.pid(),
            message: message.to_owned(),
        };
        self.next_notice += 1;
        let Ok(line) = serde_json::to_string(&notice) else { return };
        if self.server.followed() {
            let now = self.now();
            self.server.publish(&line, now);
        }
        if self.notices.len() >= KEPT_NOTICES {
            self.notices.pop_front();
        }
        self.notices.push_back((notice.seq, line));
    }
}
