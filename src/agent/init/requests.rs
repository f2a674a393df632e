//! What clients of the control socket ask, and what they are told.

use serde_json::{Value, json};

use super::config::{Pending, Reload, millis};
use super::control::Key;
use super::helper::{Helper, Job};
use super::protocol::{Code, ConfigStatus, InitStatus, Op, Problem, ReadyResult, Request, Response, Status, Wanted};
use super::signals::Signal;
use super::state::{Event, Millis, Operation, Order, Phase, Refusal, Wish};
use super::supervisor::{Init, Waiter};
use super::sys;

/// Nobody waits longer than this for a process to stop.
pub(super) const MAX_TIMEOUT: Millis = 24 * 60 * 60 * 1000;

/// What to tell people about a refused order.
pub(super) fn problem(refusal: &Refusal) -> Problem {
    let message = refusal.to_string();
    match refusal {
        Refusal::Busy(Operation::Stop) => Problem::new(Code::Busy, message).hint("wait for it to end, then ask again"),
        Refusal::Busy(_) => Problem::new(Code::Busy, message).hint("wait for it to end; only a stop may come between"),
        Refusal::Terminating => Problem::new(Code::Terminating, message),
        Refusal::Superseded => Problem::new(Code::Superseded, message).hint("start it when it is wanted again"),
        Refusal::Unconfigured => {
            Problem::new(Code::NotConfigured, message).hint("status says what is wrong with the file")
        }
        Refusal::Failed(_) => Problem::new(Code::Failed, message).hint("status says whether it is tried again"),
    }
}

impl Init {
    pub(super) fn request(&mut self, client: Key, request: &Request) {
        let now = self.now();
        let id = request.id;
        self.busy = true;
        let response = match self.handle(client, request) {
            Ok(Some(result)) => Response::done(id, result),
            Ok(None) => return,
            Err(problem) => Response::refused(Some(id), problem),
        };
        if request.op == Op::Events && response.ok {
            let since = request.since.unwrap_or(u64::MAX);
            let backlog: Vec<String> =
                self.notices.iter().filter(|(seq, _)| *seq > since).map(|(_, line)| line.clone()).collect();
            self.server.follow(client, &response, &backlog, now);
        } else {
            self.server.answer(client, &response, now);
        }
    }

    /// The answer, or nothing where it comes later.
    fn handle(&mut self, client: Key, request: &Request) -> Result<Option<Value>, Problem> {
        let misplaced =
            |field: &str, ops: &str| Err(Problem::new(Code::BadRequest, format!("{field} goes only with {ops}")));
        if request.timeout.is_some() && !matches!(request.op, Op::Stop | Op::Restart | Op::Exec) {
            return misplaced("timeout", "stop, restart and exec");
        }
        if request.signal.is_some() && request.op != Op::Signal {
            return misplaced("signal", "signal");
        }
        if request.since.is_some() && request.op != Op::Events {
            return misplaced("since", "events");
        }
        if request.deadline.is_some() && request.op != Op::Fuse {
            return misplaced("deadline", "fuse");
        }
        if request.exec.is_some() && request.op != Op::Exec {
            return misplaced("exec", "exec");
        }
        let timeout = request.timeout.map(|timeout| millis(timeout).min(MAX_TIMEOUT));
        match request.op {
            Op::Status => Ok(Some(serde_json::to_value(self.status()).unwrap_or_default())),
            Op::Ready => Ok(Some(serde_json::to_value(self.readiness()).unwrap_or_default())),
            Op::Events => Ok(Some(json!({ "seq": self.next_notice - 1 }))),
            Op::Start | Op::Stop | Op::Restart => {
                let order = match request.op {
                    Op::Start => Order::Start,
                    Op::Stop => Order::Stop { timeout },
                    _ => Order::Restart { timeout },
                };
                self.order(client, request.id, order);
                Ok(None)
            }
            Op::Fuse => {
                // one that is over is over, however late it is moved on
                self.look_at_fuse();
                self.step(Event::Fuse { at: request.deadline });
                // one that is over already takes effect before anybody is told
                self.look_at_fuse();
                Ok(Some(
                    json!({ "state": self.state.shown(), "pid": self.state.pid(), "armed": self.state.fuse.is_some() }),
                ))
            }
            Op::Reload => self.reload(client, request.id),
            Op::Signal => self.signal(request),
            Op::Exec => self.exec(client, request).map(|()| None),
        }
    }

    fn order(&mut self, client: Key, id: u64, order: Order) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waiters.push(Waiter { ticket, client, id });
        self.step(Event::Ask { ticket, order });
    }

    /// The process, if it runs and nothing else is being done with it.
    fn running(&self) -> Result<i32, Problem> {
        if let Some(operation) = self.state.operation {
            return Err(problem(&Refusal::Busy(operation)));
        }
        self.state.up().ok_or_else(|| {
            Problem::new(Code::NotRunning, format!("the process does not run: {}", self.state.reason))
                .hint("start it first")
        })
    }

    fn signal(&self, request: &Request) -> Result<Option<Value>, Problem> {
        let Some(signal) = request.signal else {
            return Err(Problem::new(Code::BadRequest, "signal names no signal").hint("give \"signal\": \"HUP\""));
        };
        if [Signal::KILL, Signal::STOP, Signal::TERM, Signal::CHLD].contains(&signal) {
            return Err(Problem::new(Code::Unsupported, format!("{signal} is not passed on"))
                .hint("stop and restart end the process, with a timeout after which it is killed"));
        }
        let pid = self.running()?;
        sys::send_signal(pid, signal.number())
            .map_err(|error| Problem::new(Code::Failed, format!("cannot send {signal}: {error}")))?;
        Ok(Some(json!({ "pid": pid })))
    }

    fn reload(&mut self, client: Key, id: u64) -> Result<Option<Value>, Problem> {
        let pid = self.running()?;
        let (Some(loaded), Some(launch)) = (self.config.clone(), self.launch.clone()) else {
            return Err(problem(&Refusal::Unconfigured));
        };
        match &loaded.config.reload {
            None => Err(Problem::new(Code::Unsupported, "the configuration does not say how to reload")
                .hint("set reload, or restart the process")),
            Some(Reload::Signal(signal)) => {
                sys::send_signal(pid, signal.number())
                    .map_err(|error| Problem::new(Code::Failed, format!("cannot send {signal}: {error}")))?;
                Ok(Some(json!({ "pid": pid, "message": format!("{signal} sent") })))
            }
            Some(Reload::Exec(hook)) => {
                if self.helpers.iter().any(|helper| matches!(helper.job, Job::Reload(..))) {
                    return Err(Problem::new(Code::Busy, "a reload is under way").hint("wait for it to end"));
                }
                let job = Job::Reload(client, id);
                let helper = Helper::start(job, &hook.command, &launch.config, self.now(), millis(hook.timeout))
                    .map_err(|error| Problem::new(Code::Failed, error))?;
                self.helpers.push(helper);
                Ok(None)
            }
        }
    }

    /// A command that reloads has ended.
    pub(super) fn reloaded(&mut self, client: Key, id: u64, result: Result<String, String>) {
        let response = match result {
            Ok(message) => Response::done(id, json!({ "pid": self.state.pid(), "message": message })),
            Err(error) => Response::refused(Some(id), Problem::new(Code::Failed, error)),
        };
        let now = self.now();
        self.server.answer(client, &response, now);
    }

    fn readiness(&self) -> ReadyResult {
        let reason = match (self.judged, &self.state.phase) {
            (None, Phase::Stopping { .. }) | (Some(_), _) => self.judge.reason.clone(),
            (None, _) => format!("{:?}: {}", self.state.shown(), self.state.reason),
        };
        ReadyResult { ready: self.judge.ready, reason }
    }

    fn status(&self) -> Status {
        let child = self.child.as_ref().filter(|child| !child.hook);
        let config = self.config.as_deref();
        let launch = self.launch.as_deref().filter(|_| child.is_some());
        let differs = launch.zip(config).filter(|(launch, config)| launch.digest != config.digest);
        let pending: Vec<Pending> =
            differs.map(|(launch, config)| launch.config.pending(&config.config)).unwrap_or_default();
        Status {
            state: self.state.shown(),
            reason: self.state.reason.clone(),
            since: self.told.since.clone(),
            wanted: match self.state.wish {
                Wish::Run => Wanted::Run,
                Wish::Stop => Wanted::Stopped,
            },
            pid: self.state.pid(),
            started_at: child.map(|child| child.started_at.clone()),
            next_start_at: match self.state.phase {
                Phase::Waiting { until, .. } => Some(self.wall_at(until)),
                _ => None,
            },
            restarts: self.state.starts.saturating_sub(1),
            consecutive_crashes: self.state.crashes,
            crash_loop: self.state.in_crash_loop(),
            fuse_at: self
                .state
                .fuse
                .map(|at| self.wall_at(self.now().saturating_add(at.saturating_sub(sys::boottime())))),
            operation: self.state.operation.map(|operation| operation.to_string()),
            readiness: self.readiness(),
            last_exit: self.record.history.last().cloned(),
            history: self.record.history.clone(),
            config: ConfigStatus {
                path: self.config_path.as_ref().map(|path| path.display().to_string()),
                digest: config.map(|config| config.digest.clone()),
                loaded_at: self.config_loaded_at.clone(),
                process_digest: differs.map(|(launch, _)| launch.digest.clone()),
                error: self.config_error.clone(),
            },
            pending_restart: pending,
            output: self.pump.as_ref().map(super::output::Pump::status).unwrap_or_default(),
            init: InitStatus {
                pid: std::process::id(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                started_at: self.started_at.clone(),
            },
        }
    }
}
