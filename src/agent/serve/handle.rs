//! The agent as its API sees it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout};

use super::deeds::PROCESS_PATIENCE;
use super::shared::{Findings, Input, Shared};
use super::{process, publish};
use crate::agent::actions::{ActionError, FailureKind};
use crate::agent::api;
use crate::agent::backup::Backups;
use crate::agent::init::protocol::{self, Op, OrderResult, Request};
use crate::agent::init::state::Shown;
use crate::agent::pid1::Pid1Error;
use crate::agent::role::Event;
use crate::lifecycle::backup::{ArchiveOrder, ArchiveStatus, BackupOrder, JobProgress, RestoreOrder};
use crate::lifecycle::{
    Capabilities, Code, Health, Order, Plea, Problem, ProcessResult, Promised, Status, Switched, Task, Transfer,
};

/// How long the process may take to say how far its data reaches; whoever asks has little more time.
const PROBED: Duration = Duration::from_millis(400);

/// What controllers and people can ask of a pod.
pub struct Agent {
    shared: Arc<Shared>,
    backups: Arc<Backups>,
}

impl Agent {
    pub fn new(shared: Arc<Shared>, backups: Arc<Backups>) -> Self {
        Self { shared, backups }
    }

    /// Variables of an action, with what the caller gave: a pod's name becomes the pod.
    fn extras(&self, parameters: Map<String, Value>) -> Map<String, Value> {
        let mut extras = self.shared.extras();
        if let Some(target) = parameters.get("target").and_then(Value::as_str) {
            extras.insert("target".to_owned(), self.shared.place().pod(target));
        }
        for name in ["changed", "old"] {
            if let Some(value) = parameters.get(name) {
                extras.insert(name.to_owned(), value.clone());
            }
        }
        extras.insert("request".to_owned(), Value::Object(parameters));
        extras
    }

    fn as_it_is(&self) -> ProcessResult {
        let status = self.shared.status.borrow();
        ProcessResult { process: status.process.clone(), pid: status.pid, changed: true, forced: false }
    }

    /// Whether the package wants this pod restarted before all others: then nobody else is fit to take over from it yet.
    async fn goes_first(&self) -> bool {
        match self.shared.actor().run("restartOrder", self.shared.extras()).await {
            Ok(answer) => {
                let first = answer.as_ref().and_then(|answer| answer.get("order")?.get(0)?.as_str());
                first == Some(self.shared.place().pod.as_str())
            }
            Err(error) => {
                tracing::warn!(%error, "in which order pods are restarted cannot be found out; it goes by role");
                false
            }
        }
    }

    /// Before a restart: another pod that has all of the data goes on, since what comes up again may have less. Something
    /// where the process was started anew for that, so that nothing is left to be done.
    async fn hand_over_first(&self) -> Option<ProcessResult> {
        let place = self.shared.place();
        let before = {
            let findings = self.shared.findings.borrow();
            let holds = findings.summary.as_ref().is_some_and(|summary| summary.holds);
            which(&findings).filter(|_| holds && place.handed_out() && !place.others().is_empty())?
        };
        if self.goes_first().await {
            return None;
        }
        if let Err(problem) = api::Agent::switchover(self, Transfer { target: None, force: false }).await {
            tracing::warn!(%problem, "nobody can take the role over; the process is restarted with it");
            return None;
        }
        if let Err(error) = process::ask(&self.shared).await {
            tracing::warn!(%error, "it cannot be found out how the process is");
        }
        // where it was stopped to give the role up, it comes again to follow
        let mut findings = self.shared.findings.subscribe();
        let runs = findings.wait_for(|findings| which(findings).is_some());
        let now = timeout(PROCESS_PATIENCE, runs).await.ok()?.ok().and_then(|findings| which(&findings))?;
        (now != before).then(|| {
            let (pid, _) = now;
            ProcessResult { process: "Running".to_owned(), pid: u32::try_from(pid).ok(), changed: true, forced: false }
        })
    }
}

/// A process by what no other one has; nothing while none runs.
fn which(findings: &Findings) -> Option<(i32, String)> {
    let process = findings.process.as_ref()?;
    let runs = matches!(process.state, Shown::Running | Shown::Ready);
    process.pid.filter(|_| runs).zip(process.started_at.clone())
}

fn failed(error: ActionError) -> Problem {
    let code = match error.kind {
        FailureKind::Unknown => Code::NotFound,
        FailureKind::Invalid => Code::Unsupported,
        // an answer that does not come in time is another matter: there the work goes on
        FailureKind::Failed | FailureKind::GivenUp | FailureKind::TimedOut => Code::Failed,
    };
    Problem::new(code, error.to_string())
}

fn refused(error: Pid1Error) -> Problem {
    let Pid1Error::Refused(problem) = error else {
        let code = if matches!(error, Pid1Error::TimedOut) { Code::Timeout } else { Code::Unavailable };
        return Problem::new(code, error.to_string());
    };
    let code = match problem.code {
        protocol::Code::Busy | protocol::Code::Superseded => Code::Busy,
        protocol::Code::NotRunning | protocol::Code::NotConfigured | protocol::Code::Terminating => Code::Precondition,
        protocol::Code::Unsupported => Code::Unsupported,
        protocol::Code::TooMany => Code::TooMany,
        protocol::Code::Timeout => Code::Timeout,
        _ => Code::Failed,
    };
    let mut told = Problem::new(code, problem.message);
    told.hint = problem.hint;
    told
}

impl api::Agent for Agent {
    fn capabilities(&self) -> Capabilities {
        api::capabilities(&self.shared.place().config)
    }

    fn status(&self) -> watch::Receiver<Arc<Status>> {
        self.shared.status.subscribe()
    }

    async fn newest(&self) -> Status {
        let (asked, place) = (Instant::now(), self.shared.place());
        // what was found since nobody has the role will do: nothing was written after that
        let asked = self.shared.vacant.borrow().map_or(asked, |since| since.min(asked));
        let runs = |process: &protocol::Status| matches!(process.state, Shown::Running | Shown::Ready);
        let runs = self.shared.findings.borrow().process.as_ref().is_some_and(runs);
        let mut exact = false;
        if runs && place.config.role.is_some() {
            let mut probed = self.shared.probed.subscribe();
            if probed.borrow().is_none_or(|at| at < asked) {
                self.shared.role_changed.notify_one();
            }
            let since = probed.wait_for(|at| at.is_some_and(|at| at >= asked));
            exact = matches!(timeout(PROBED, since).await, Ok(Ok(_)));
        }
        publish::status(&place, &self.shared.findings.borrow(), exact)
    }

    async fn health(&self) -> Result<Health, Problem> {
        let status = Arc::clone(&self.shared.status.borrow());
        if !status.ready {
            let reason = status.reason.clone().unwrap_or_else(|| format!("the process is {}", status.process));
            return Ok(Health { healthy: false, reason, details: None });
        }
        match self.shared.actor().run("healthCheck", self.shared.extras()).await {
            Ok(answer) => {
                let details = answer.and_then(|answer| answer.as_object().cloned()).filter(|map| !map.is_empty());
                Ok(Health { healthy: true, reason: "it serves".to_owned(), details })
            }
            Err(error) => Ok(Health { healthy: false, reason: error.to_string(), details: None }),
        }
    }

    async fn run(&self, task: Task, parameters: Map<String, Value>) -> Result<Option<Value>, Problem> {
        let actor = self.shared.actor();
        match task {
            Task::Action(name) => actor.run(&name, self.extras(parameters)).await.map_err(failed),
            Task::Operation(name) => {
                actor.operation(&name, parameters, self.shared.extras()).await.map(Some).map_err(failed)
            }
        }
    }

    async fn process(&self, order: Order, kill_after: Option<Duration>) -> Result<ProcessResult, Problem> {
        let op = match order {
            Order::Start => Op::Start,
            Order::Stop => Op::Stop,
            Order::Restart => Op::Restart,
            Order::Reload => Op::Reload,
        };
        if order == Order::Reload && self.shared.place().config.actions.reload.is_some() {
            let mut extras = self.shared.extras();
            extras.insert("changed".to_owned(), json!([]));
            self.shared.actor().run("reload", extras).await.map_err(failed)?;
            return Ok(self.as_it_is());
        }
        if matches!(order, Order::Stop | Order::Restart) {
            if order == Order::Restart
                && let Some(done) = self.hand_over_first().await
            {
                return Ok(done);
            }
            self.shared.actor().run("beforeStop", self.shared.extras()).await.map_err(failed)?;
            if order == Order::Restart {
                self.shared.tell(Input::Role(Event::Restarting));
            }
        }
        let mut request = Request::new(op);
        request.timeout =
            kill_after.filter(|_| matches!(order, Order::Stop | Order::Restart)).map(crate::api::values::Duration);
        let answer = self.shared.pid1.ask(&request, Instant::now() + PROCESS_PATIENCE).await.map_err(|error| {
            if order == Order::Restart {
                self.shared.tell(Input::Role(Event::NotSpared));
            }
            refused(error)
        })?;
        if order == Order::Reload {
            return Ok(self.as_it_is());
        }
        let done: OrderResult = serde_json::from_value(answer)
            .map_err(|error| Problem::new(Code::Failed, format!("cannot understand PID 1: {error}")))?;
        Ok(ProcessResult {
            process: format!("{:?}", done.state),
            pid: done.pid.and_then(|pid| u32::try_from(pid).ok()),
            changed: done.changed,
            forced: done.forced,
        })
    }

    async fn switchover(&self, transfer: Transfer) -> Result<Switched, Problem> {
        let (answer, answered) = oneshot::channel();
        self.shared.tell(Input::Switchover { transfer, answer });
        let result = answered.await.map_err(|_| Problem::new(Code::Unavailable, "the agent ends"))?;
        result.map_err(|reason| Problem::new(Code::Precondition, reason))?;
        let summary = self.shared.findings.borrow().summary.clone();
        let (holder, epoch) = summary.map(|summary| (summary.holder, summary.epoch)).unwrap_or_default();
        Ok(Switched { holder: holder.unwrap_or_default(), epoch })
    }

    async fn promise(&self, plea: Plea) -> Result<Promised, Problem> {
        let (answer, answered) = oneshot::channel();
        self.shared.tell(Input::Plea { plea, answer });
        let result = answered.await.map_err(|_| Problem::new(Code::Unavailable, "the agent ends"))?;
        result.map_err(|reason| Problem::new(Code::Precondition, reason))?;
        Ok(Promised { pod: self.shared.place().pod.clone() })
    }

    async fn backup(&self, order: BackupOrder) -> Result<watch::Receiver<JobProgress>, Problem> {
        self.backups.backup(order)
    }

    async fn restore(&self, order: RestoreOrder) -> Result<watch::Receiver<JobProgress>, Problem> {
        self.backups.restore(order)
    }

    async fn cancel_backup(&self, job: &str) -> Result<JobProgress, Problem> {
        self.backups.cancel(job).await
    }

    async fn prove(&self) -> Result<bool, Problem> {
        self.backups.prove().await
    }

    async fn archive(&self, order: Option<ArchiveOrder>) -> Result<ArchiveStatus, Problem> {
        self.backups.archive(order).await
    }
}
