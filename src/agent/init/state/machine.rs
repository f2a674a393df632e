//! The transitions: what each event does to the state, and which actions it calls for.

use super::{
    Action, After, Done, Ended, Event, Exit, KILL_AGAIN, Millis, Operation, Order, Phase, Policy, QUIT_GRACE, Refusal,
    Rest, Restart, State, Ticket, Wish,
};
use crate::agent::init::signals;

const BURNT: &str = "the process was killed because its permission to run was not renewed in time";

impl State {
    pub(super) fn take(&mut self, event: Event, now: Millis, out: &mut Vec<Action>) {
        match event {
            Event::Boot { policy, run } => self.boot(policy, run, now, out),
            Event::Configured { policy, launch_changed } => self.configured(policy, launch_changed, now, out),
            Event::Ask { ticket, order } => self.ask(ticket, order, now, out),
            Event::Terminate => self.terminate(now, out),
            Event::Spawned { pid } => self.spawned(pid, now, out),
            Event::SpawnFailed { what } => self.spawn_failed(what, now, out),
            Event::Executed { pid } => self.executed(pid, out),
            Event::Exited { pid, exit, what } => self.exited(pid, exit, what.as_deref(), now, out),
            Event::Swept { left } => self.swept(left, now, out),
            Event::Ready { ready } => self.readiness(ready),
            Event::Fuse { at } => self.fuse = at,
            Event::Burnt => self.burn(now, out),
            Event::Tick => self.tick(now, out),
        }
    }

    fn boot(&mut self, policy: Policy, run: bool, now: Millis, out: &mut Vec<Action>) {
        if self.phase != Phase::Idle(Rest::Unconfigured) {
            return;
        }
        self.policy = policy;
        if run && self.wish == Wish::Run && !self.quit {
            self.begin_start(now, out);
        } else {
            self.wish = Wish::Stop;
            self.rest(Rest::Stopped, "starts stopped, as configured");
        }
    }

    fn configured(&mut self, policy: Policy, launch_changed: bool, now: Millis, out: &mut Vec<Action>) {
        let revived = policy.restart != self.policy.restart || launch_changed;
        self.policy = policy;
        if self.quit {
            return;
        }
        match self.phase {
            Phase::Idle(rest @ (Rest::Failed | Rest::Completed)) if self.wish == Wish::Run && revived => {
                let clean = rest == Rest::Completed;
                if launch_changed && !clean || self.restarts_after(clean) {
                    self.forgive();
                    self.begin_start(now, out);
                }
            }
            Phase::Waiting { clean, .. } if !launch_changed && !self.restarts_after(clean) => self.give_up(clean),
            Phase::Waiting { .. } if launch_changed => {
                self.forgive();
                self.begin_start(now, out);
            }
            Phase::Waiting { ref mut until, .. } => *until = (*until).min(now.saturating_add(self.policy.max_delay)),
            _ => {}
        }
    }

    fn ask(&mut self, ticket: Ticket, order: Order, now: Millis, out: &mut Vec<Action>) {
        let refusal = if self.quit {
            Some(Refusal::Terminating)
        } else if matches!(order, Order::Stop { .. }) {
            None
        } else if self.phase == Phase::Idle(Rest::Unconfigured) {
            Some(Refusal::Unconfigured)
        } else {
            self.operation.map(Refusal::Busy)
        };
        if let Some(refusal) = refusal {
            out.push(Action::Answer { ticket, result: Err(refusal) });
            return;
        }
        match order {
            Order::Start => self.ask_start(ticket, now, out),
            Order::Stop { timeout } => self.ask_stop(ticket, timeout, now, out),
            Order::Restart { timeout } => {
                let timeout = timeout.unwrap_or(self.policy.stop_timeout);
                match self.child() {
                    Some((pid, started)) => {
                        self.accept(Operation::Restart, ticket);
                        self.wish = Wish::Run;
                        self.forgive();
                        self.begin_stop(pid, started, timeout, None, now, out);
                        self.because("restarts on request");
                    }
                    None => self.start_anew(Operation::Restart, ticket, now, out),
                }
            }
        }
    }

    fn ask_start(&mut self, ticket: Ticket, now: Millis, out: &mut Vec<Action>) {
        match self.phase {
            Phase::Up { .. } => {
                out.push(Action::Answer { ticket, result: Ok(Done { changed: false, forced: false }) });
            }
            Phase::Hook { .. } | Phase::Starting { .. } => self.accept(Operation::Start, ticket),
            _ => self.start_anew(Operation::Start, ticket, now, out),
        }
    }

    /// Somebody wants the process that does not run to run; what it did before is forgiven.
    fn start_anew(&mut self, operation: Operation, ticket: Ticket, now: Millis, out: &mut Vec<Action>) {
        self.accept(operation, ticket);
        self.wish = Wish::Run;
        self.forgive();
        match &mut self.phase {
            Phase::Idle(_) | Phase::Waiting { .. } => self.begin_start(now, out),
            Phase::Sweeping { after: After::Attempt(ended), .. } => ended.asked = true,
            // a child about to be reported, or one that fails to become ready and is stopped: a start follows anyway
            Phase::Hook { .. } | Phase::Starting { .. } | Phase::Up { .. } | Phase::Sweeping { .. } => {}
            Phase::Stopping { why, .. } => *why = None,
        }
    }

    fn ask_stop(&mut self, ticket: Ticket, timeout: Option<Millis>, now: Millis, out: &mut Vec<Action>) {
        let timeout = timeout.unwrap_or(self.policy.stop_timeout);
        match &mut self.phase {
            Phase::Idle(rest) => {
                let changed = *rest != Rest::Stopped;
                if *rest != Rest::Unconfigured {
                    *rest = Rest::Stopped;
                }
                self.wish = Wish::Stop;
                self.because("stopped on request");
                out.push(Action::Answer { ticket, result: Ok(Done { changed, forced: false }) });
                return;
            }
            Phase::Waiting { .. } => {
                self.wish = Wish::Stop;
                self.rest(Rest::Stopped, "stopped on request");
                out.push(Action::Answer { ticket, result: Ok(Done { changed: true, forced: false }) });
                return;
            }
            Phase::Stopping { kill_at, why, .. } => {
                *kill_at = (*kill_at).min(now.saturating_add(timeout));
                *why = None;
            }
            Phase::Hook { .. } | Phase::Starting { .. } | Phase::Up { .. } | Phase::Sweeping { .. } => {}
        }
        if self.operation != Some(Operation::Stop) {
            self.finish(&Err(Refusal::Superseded), out);
        }
        self.accept(Operation::Stop, ticket);
        self.wish = Wish::Stop;
        self.because("stops on request");
        if !matches!(self.phase, Phase::Stopping { .. })
            && let Some((pid, started)) = self.child()
        {
            self.begin_stop(pid, started, timeout, None, now, out);
        }
        self.tick(now, out);
    }

    fn terminate(&mut self, now: Millis, out: &mut Vec<Action>) {
        if self.quit {
            return;
        }
        self.quit = true;
        self.finish(&Err(Refusal::Terminating), out);
        self.because("the container is being stopped");
        let timeout = self.policy.stop_timeout;
        match &mut self.phase {
            Phase::Idle(Rest::Stopped | Rest::Completed) => out.push(Action::Quit { code: 0 }),
            Phase::Idle(_) | Phase::Waiting { .. } => out.push(Action::Quit { code: self.last_status }),
            Phase::Stopping { kill_at, .. } => *kill_at = (*kill_at).min(now.saturating_add(timeout)),
            Phase::Sweeping { since, .. } => *since = now,
            Phase::Hook { .. } | Phase::Starting { .. } | Phase::Up { .. } => {
                if let Some((pid, started)) = self.child() {
                    self.begin_stop(pid, started, timeout, None, now, out);
                }
            }
        }
    }

    fn spawned(&mut self, new: i32, now: Millis, out: &mut Vec<Action>) {
        match &mut self.phase {
            Phase::Hook { pid, .. } | Phase::Starting { pid, .. } if pid.is_none() => *pid = Some(new),
            _ => return,
        }
        if self.quit || self.wish == Wish::Stop {
            self.begin_stop(new, now, self.policy.stop_timeout, None, now, out);
        }
    }

    fn spawn_failed(&mut self, what: String, now: Millis, out: &mut Vec<Action>) {
        let asked = self.quit || self.wish == Wish::Stop;
        if matches!(self.phase, Phase::Hook { pid: None, .. } | Phase::Starting { pid: None, .. }) {
            self.ended(None, Ended { exit: None, uptime: 0, asked, forced: false, what }, now, out);
        }
    }

    fn executed(&mut self, new: i32, out: &mut Vec<Action>) {
        if let Phase::Starting { pid: Some(pid), since } = self.phase
            && pid == new
        {
            self.phase = Phase::Up { pid, since, ready: false, proven: false };
            self.because("the process runs");
            self.finish(&Ok(Done { changed: true, forced: false }), out);
        }
    }

    fn exited(&mut self, pid: i32, exit: Exit, what: Option<&str>, now: Millis, out: &mut Vec<Action>) {
        let describe = |subject: &str| match (what, exit) {
            (Some(what), _) => what.to_owned(),
            (None, Exit::Code(code)) => format!("{subject} exited with code {code}"),
            (None, Exit::Signal(signal)) => format!("{subject} was ended by {}", signals::name(signal)),
        };
        match &self.phase {
            Phase::Hook { index, hooks, pid: Some(running), overdue, .. } if *running == pid => {
                let (index, hooks) = (*index, hooks.clone());
                if exit == Exit::Code(0) && !overdue {
                    self.sweep(After::Hook { next: index + 1, hooks }, now, out);
                } else {
                    let what = if *overdue {
                        format!("command {} before the start took longer than {} ms", index + 1, hooks[index])
                    } else {
                        describe(&format!("command {} before the start", index + 1))
                    };
                    let ended = Ended { exit: Some(exit), uptime: 0, asked: false, forced: *overdue, what };
                    self.ended(Some(pid), ended, now, out);
                }
            }
            Phase::Starting { pid: Some(running), .. } if *running == pid => {
                let what = describe("the process");
                let ended = Ended { exit: Some(exit), uptime: 0, asked: false, forced: false, what };
                self.ended(Some(pid), ended, now, out);
            }
            Phase::Up { pid: running, since, .. } if *running == pid => {
                let uptime = now.saturating_sub(*since);
                let what = describe("the process");
                self.ended(Some(pid), Ended { exit: Some(exit), uptime, asked: false, forced: false, what }, now, out);
            }
            Phase::Stopping { pid: running, started, forced, why, .. } if *running == pid => {
                let (uptime, forced, asked) = (now.saturating_sub(*started), forced.is_some(), why.is_none());
                let what = why.clone().unwrap_or_else(|| {
                    let how = describe("the process");
                    if self.burnt {
                        BURNT.to_owned()
                    } else if forced {
                        format!("{how} because it did not stop in time")
                    } else {
                        how
                    }
                });
                self.ended(Some(pid), Ended { exit: Some(exit), uptime, asked, forced, what }, now, out);
            }
            _ => {}
        }
    }

    /// An attempt to run the process is over: nothing may follow before all it left behind is gone.
    fn ended(&mut self, pid: Option<i32>, ended: Ended, now: Millis, out: &mut Vec<Action>) {
        self.last_status = ended.exit.map_or(127, Exit::status);
        // nothing runs any more that it could be for
        self.fuse = None;
        out.push(Action::Record { pid, ended: ended.clone() });
        if !ended.asked && self.operation.is_some_and(|operation| operation != Operation::Stop) {
            self.finish(&Err(Refusal::Failed(ended.what.clone())), out);
        }
        if !self.quit && self.wish == Wish::Run && !ended.asked {
            self.reason.clone_from(&ended.what);
        }
        self.sweep(After::Attempt(ended), now, out);
    }

    fn sweep(&mut self, after: After, now: Millis, out: &mut Vec<Action>) {
        self.phase = Phase::Sweeping { since: now, look_at: now, looks: 0, after };
        out.push(Action::KillAll);
    }

    fn swept(&mut self, left: usize, now: Millis, out: &mut Vec<Action>) {
        let Phase::Sweeping { since, look_at, looks, after } = &mut self.phase else { return };
        if left == 0 {
            let after = after.clone();
            self.settle(after, now, out);
        } else if self.quit && now.saturating_sub(*since) >= QUIT_GRACE {
            out.push(Action::Quit { code: self.last_status });
        } else {
            *look_at = now.saturating_add(10 << (*looks / 8).min(7));
            *looks = looks.saturating_add(1);
            if *looks > 40 {
                self.reason = format!("{left} processes that were left behind resist being killed");
            }
        }
    }

    /// Nothing lives any more: what now?
    fn settle(&mut self, after: After, now: Millis, out: &mut Vec<Action>) {
        if self.quit {
            self.phase = Phase::Idle(Rest::Stopped);
            out.push(Action::Quit { code: self.last_status });
        } else if self.wish == Wish::Stop {
            let forced = matches!(&after, After::Attempt(ended) if ended.forced);
            self.rest(Rest::Stopped, "stopped on request");
            self.finish(&Ok(Done { changed: true, forced }), out);
        } else {
            match after {
                After::Hook { next, hooks } => self.after_hook(next, hooks, now, out),
                After::Attempt(ended) if ended.asked => self.begin_start(now, out),
                After::Attempt(ended) => self.after_crash(&ended, now, out),
            }
        }
    }

    fn after_crash(&mut self, ended: &Ended, now: Millis, out: &mut Vec<Action>) {
        let clean = ended.exit == Some(Exit::Code(0));
        if !self.restarts_after(clean) {
            self.give_up(clean);
            if self.policy.exit_with_process {
                self.quit = true;
                out.push(Action::Quit { code: self.last_status });
            }
            return;
        }
        if ended.uptime >= self.policy.stable_after {
            self.crashes = 0;
        }
        self.crashes = self.crashes.saturating_add(1);
        match self.policy.delay_after(self.crashes) {
            0 => self.begin_start(now, out),
            delay => self.phase = Phase::Waiting { until: now.saturating_add(delay), clean },
        }
    }

    fn restarts_after(&self, clean: bool) -> bool {
        match self.policy.restart {
            Restart::Always => true,
            Restart::OnFailure => !clean,
            Restart::Never => false,
        }
    }

    fn give_up(&mut self, clean: bool) {
        self.phase = Phase::Idle(if clean { Rest::Completed } else { Rest::Failed });
    }

    fn because(&mut self, reason: &str) {
        reason.clone_into(&mut self.reason);
    }

    fn rest(&mut self, rest: Rest, reason: &str) {
        self.phase = Phase::Idle(rest);
        self.because(reason);
    }

    fn begin_start(&mut self, now: Millis, out: &mut Vec<Action>) {
        self.burnt = false;
        self.after_hook(0, self.policy.hooks.clone(), now, out);
    }

    fn after_hook(&mut self, index: usize, hooks: Vec<Millis>, now: Millis, out: &mut Vec<Action>) {
        if let Some(limit) = hooks.get(index) {
            let kill_at = now.saturating_add(*limit);
            self.reason = format!("runs command {} of {} before the start", index + 1, hooks.len());
            self.phase = Phase::Hook { index, hooks, pid: None, kill_at, overdue: false };
            out.push(Action::RunHook { index });
        } else {
            self.because("the process starts");
            self.starts += 1;
            self.phase = Phase::Starting { pid: None, since: now };
            out.push(Action::Spawn);
        }
    }

    /// The hook or process that lives and was not told to end yet, and since when.
    fn child(&self) -> Option<(i32, Millis)> {
        match self.phase {
            // counted from its deadline, a hook has no uptime to be proud of
            Phase::Hook { pid: Some(pid), kill_at, .. } => Some((pid, kill_at)),
            Phase::Starting { pid: Some(pid), since } | Phase::Up { pid, since, .. } => Some((pid, since)),
            _ => None,
        }
    }

    fn begin_stop(
        &mut self,
        pid: i32,
        started: Millis,
        timeout: Millis,
        why: Option<String>,
        now: Millis,
        out: &mut Vec<Action>,
    ) {
        let kill_at = now.saturating_add(timeout);
        self.phase = Phase::Stopping { pid, started, kill_at, forced: None, why };
        out.push(Action::SignalStop { pid });
        self.tick(now, out);
    }

    /// The permission to run is over: nothing may go on for a moment longer, and whatever follows begins with the first
    /// command before the start.
    fn burn(&mut self, now: Millis, out: &mut Vec<Action>) {
        self.fuse = None;
        if let Some((pid, started)) = self.child() {
            self.burnt = true;
            self.because(BURNT);
            self.phase = Phase::Stopping { pid, started, kill_at: now, forced: None, why: None };
        }
        match &mut self.phase {
            Phase::Stopping { kill_at, .. } => {
                *kill_at = now;
                self.tick(now, out);
            }
            Phase::Sweeping { after: after @ After::Hook { .. }, .. } => {
                let what = BURNT.to_owned();
                *after = After::Attempt(Ended { exit: None, uptime: 0, asked: true, forced: false, what });
            }
            _ => {}
        }
    }

    fn readiness(&mut self, is: bool) {
        if let Phase::Up { ready, proven, .. } = &mut self.phase {
            *ready = is;
            *proven |= is;
            if is {
                self.overran = 0;
            }
        }
    }

    fn tick(&mut self, now: Millis, out: &mut Vec<Action>) {
        match &mut self.phase {
            Phase::Hook { kill_at, overdue, pid: Some(_), .. } if now >= *kill_at => {
                *overdue = true;
                *kill_at = now.saturating_add(KILL_AGAIN);
                out.push(Action::KillAll);
            }
            Phase::Stopping { kill_at, forced, .. } if now >= *kill_at => {
                let since = *forced.get_or_insert(now);
                if self.quit && now.saturating_sub(since) >= QUIT_GRACE {
                    // not even SIGKILL ends it; the kernel takes it with PID 1
                    out.push(Action::Quit { code: Exit::Signal(9).status() });
                    return;
                }
                *kill_at = now.saturating_add(KILL_AGAIN);
                out.push(Action::KillAll);
            }
            Phase::Up { pid, since, proven, .. } => {
                let (pid, since, proven) = (*pid, *since, *proven);
                if self.crashes > 0 && now.saturating_sub(since) >= self.policy.stable_after {
                    self.crashes = 0;
                }
                if !proven {
                    self.give_up_on(pid, since, now, out);
                }
            }
            Phase::Starting { pid: Some(pid), since } => {
                let (pid, since) = (*pid, *since);
                self.give_up_on(pid, since, now, out);
            }
            Phase::Sweeping { look_at, .. } if now >= *look_at => out.push(Action::KillAll),
            Phase::Waiting { until, .. } if now >= *until => self.begin_start(now, out),
            _ => {}
        }
    }

    /// What was wrong before says nothing about what comes.
    fn forgive(&mut self) {
        (self.crashes, self.overran) = (0, 0);
    }

    /// A process that takes too long to start, be it that the disk with its program does not answer.
    fn give_up_on(&mut self, pid: i32, since: Millis, now: Millis, out: &mut Vec<Action>) {
        if let Some(limit) = self.start_limit().filter(|limit| now.saturating_sub(since) >= *limit) {
            self.overran = self.overran.saturating_add(1);
            let why = format!("the process was not ready within {limit} ms");
            self.because(&why);
            self.begin_stop(pid, since, self.policy.stop_timeout, Some(why), now, out);
        }
    }

    fn accept(&mut self, operation: Operation, ticket: Ticket) {
        self.operation = Some(operation);
        self.tickets.push(ticket);
    }

    fn finish(&mut self, result: &Result<Done, Refusal>, out: &mut Vec<Action>) {
        self.operation = None;
        for ticket in self.tickets.drain(..) {
            out.push(Action::Answer { ticket, result: result.clone() });
        }
    }
}
