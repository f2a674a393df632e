//! Steps that agents carry out. Every call has a key, and the same key twice does a thing once.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod as PodObject;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};

use super::carry_out::Hands;
use super::instance_of;
use crate::api::labels;
use crate::api::operation::{OperationType, ProcessAction};
use crate::cluster::Key;
use crate::lifecycle::Client;
use crate::lifecycle::client::NOT_REACHED;
use crate::lifecycle::problem::{Code, Problem};
use crate::lifecycle::values::{Order, Task as Asked, Transfer};
use crate::plan::operation::{Deed, Outcome, Pod, Run, Task, key};

/// How long one call is waited for. What was begun goes on, and the same key asks for its end.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a role that is handed over is waited for before it is told what that waits for.
const HANDED: Duration = Duration::from_secs(3);
/// How long an agent may take to tell how it is.
const TOLD: Duration = Duration::from_secs(2);
/// A process that was started is asked so often whether it serves.
const LOOK: Duration = Duration::from_millis(100);
/// So long an agent may be out of reach before a step is given up: its node may be gone.
const UNREACHABLE: SignedDuration = SignedDuration::from_mins(5);
/// So long a step may go on of an operation that is cancelled; what it began is not taken back.
const CANCELLED: SignedDuration = SignedDuration::from_mins(1);
/// How it is told that a pod was asked to take a role over.
const SHOWS_NOT: &str = " is to take the role over and does not show it yet";
/// States of a process that does not come up by itself.
const BROKEN: [&str; 2] = ["CrashLoop", "Failed"];

/// An agent that can be called for a step.
pub(super) struct Agent {
    pub(super) client: Client,
    pub(super) key: String,
}

impl Hands<'_> {
    pub(super) async fn agent(&self, pod: &str, run: &Run) -> Result<Agent, Outcome> {
        let instance = instance_of(self.operation);
        let namespace = instance.namespace.clone().unwrap_or_default();
        let there = self.shared.pods.get(&Key { namespace: instance.namespace.clone(), name: pod.to_owned() });
        let Some(there) = there else {
            return Err(Outcome::Failed { message: format!("there is no pod {pod} any more"), refused: false });
        };
        let address = there.status.as_ref().and_then(|status| status.pod_ip.as_deref());
        let address = address.ok_or_else(|| Outcome::Goes(format!("{pod} has no address yet")))?;
        let client = self.shared.agents.client(&instance.name, &namespace, address).await;
        let client = client.map_err(|error| Outcome::Goes(format!("its agent {NOT_REACHED}: {error}")))?;
        let operation = self.operation.uid().unwrap_or_default();
        let pod = there.uid().unwrap_or_default();
        Ok(Agent { client, key: key(&operation, run.index, run.attempt, &pod) })
    }

    /// A step of an operation that is cancelled, or whose agent cannot be asked, is not waited for without end. A restore
    /// has its own ends, but for what it stops: that has to run again.
    pub(super) fn unless_given_up(&self, run: &Run, outcome: Outcome) -> Outcome {
        let Outcome::Goes(message) = outcome else { return outcome };
        let silent = message.contains(NOT_REACHED);
        let step = (run.index, run.attempt);
        let unreached = self.shared.turns.unreached(&Key::of(self.operation), step, silent, self.world.now);
        let restores = self.operation.spec.type_ == OperationType::Restore;
        if restores && !matches!(run.planned.deed, Deed::Process { action: ProcessAction::Stop, .. }) {
            return Outcome::Goes(message);
        }
        let step = self.world.status.steps.get(run.index).filter(|step| step.attempts == run.attempt);
        let begun = step.and_then(|step| step.started_at.as_ref()?.parse::<Timestamp>().ok());
        let goes_on = begun.map_or(SignedDuration::ZERO, |begun| self.world.now.duration_since(begun));
        if self.operation.spec.cancel == Some(true) && goes_on >= CANCELLED {
            let message = format!("{message}; it was cancelled, and what was begun may go on");
            return Outcome::Failed { message, refused: true };
        }
        if unreached >= UNREACHABLE {
            return Outcome::Failed { message, refused: false };
        }
        Outcome::Goes(message)
    }

    pub(super) async fn process(&self, run: &Run, pod: &str, action: ProcessAction) -> Outcome {
        let agent = match self.agent(pod, run).await {
            Ok(agent) => agent,
            Err(outcome) => return outcome,
        };
        let (order, starts) = match action {
            ProcessAction::Start => (Order::Start, true),
            ProcessAction::Stop => (Order::Stop, false),
            ProcessAction::Restart => (Order::Restart, true),
            ProcessAction::Reload => (Order::Reload, false),
        };
        let until = Instant::now() + PATIENCE;
        let done = match agent.client.process(order, None, Some(&agent.key), PATIENCE).await {
            Ok(done) => done,
            Err(problem) => return outcome(problem),
        };
        if starts {
            return serves(&agent.client, until).await;
        }
        Outcome::Done((!done.changed).then(|| format!("nothing to do: the process is {}", done.process)))
    }

    pub(super) async fn hand_over(&self, run: &Run, from: &str, to: Option<&str>, force: bool) -> Outcome {
        let agent = match self.agent(from, run).await {
            Ok(agent) => agent,
            Err(outcome) => return outcome,
        };
        let transfer = Transfer { target: to.map(str::to_owned), force };
        let problem = match agent.client.switchover(transfer, Some(&agent.key), HANDED).await {
            Ok(switched) => return Outcome::Done(Some(format!("{} has the role now", switched.holder))),
            Err(problem) => problem,
        };
        match problem.code {
            // what the agent no longer remembers shows in the roles
            Code::Precondition => self.has_it_already(from, to).unwrap_or_else(|| outcome(problem)),
            Code::Timeout => {
                self.have_files_brought(from, &agent.key).await;
                let status = agent.client.status(TOLD).await;
                status.ok().and_then(|status| status.reason).map_or_else(|| outcome(problem), Outcome::Goes)
            }
            Code::Unsupported => self.have_it_handed_over(run, agent, from, to).await,
            _ => outcome(problem),
        }
    }

    /// Which pods there are stands in a file, and kubelets bring changed files with the next change of a pod, or within a
    /// minute or two: whoever was only just added may not be heard of yet. Once for each attempt: the same value is no change.
    async fn have_files_brought(&self, pod: &str, key: &str) {
        let namespace = self.operation.namespace().unwrap_or_default();
        let pods: Api<PodObject> = Api::namespaced(self.shared.client.clone(), &namespace);
        let patch = json!({ "metadata": { "annotations": { labels::FILES_BROUGHT_FOR: key } } });
        if let Err(error) = pods.patch(pod, &PatchParams::default(), &Patch::Merge(&patch)).await {
            tracing::warn!(pod, %error, "its kubelet could not be asked to bring its files");
        }
    }

    /// Where the middleware hands the role out by itself, its package asks it to; that it was done shows in the roles.
    async fn have_it_handed_over(&self, run: &Run, mut agent: Agent, from: &str, to: Option<&str>) -> Outcome {
        if let Some(holder) = self.holder_since(from) {
            return match to {
                Some(to) if to != holder => {
                    let message = format!("{holder} has the role now, and not {to}: the middleware chose by itself");
                    Outcome::Failed { message, refused: true }
                }
                _ => Outcome::Done(Some(format!("{holder} has the role now"))),
            };
        }
        // whoever was chosen stays so while that goes on
        let step = self.world.status.steps.get(run.index);
        let told = step.and_then(|step| step.message.as_deref()?.strip_suffix(SHOWS_NOT));
        let told = told.filter(|name| self.world.pod(name).is_some());
        let Some(to) = to.or(told).or_else(|| self.next_best(from)).map(str::to_owned) else {
            return Outcome::Goes(format!("no other pod of the group of {from} is ready to take its role over"));
        };
        let mut parameters = Map::new();
        parameters.insert("target".to_owned(), Value::String(to.clone()));
        // whoever is chosen may be another one at the next look, and that is another request
        let chosen = self.world.pod(&to).map_or(0, |pod| pod.ordinal);
        agent.key = format!("{}/{chosen}", agent.key);
        match self.ask(&agent, &Asked::Action("switchover".to_owned()), parameters).await {
            Outcome::Done(_) => Outcome::Goes(format!("{to}{SHOWS_NOT}")),
            other => other,
        }
    }

    /// Where the role went meanwhile.
    fn has_it_already(&self, from: &str, to: Option<&str>) -> Option<Outcome> {
        let holder = self.holder_since(from)?;
        let meant = to.is_none_or(|to| to == holder);
        meant.then(|| Outcome::Done(Some(format!("{holder} has the role now"))))
    }

    /// Who leads in the place of a pod that no longer does.
    fn holder_since(&self, from: &str) -> Option<&str> {
        let before = self.world.pod(from).filter(|pod| !pod.leads)?;
        self.beside(before).find(|pod| pod.leads).map(|pod| pod.name.as_str())
    }

    /// The first ready pod that could take the role of a pod over.
    fn next_best(&self, from: &str) -> Option<&str> {
        let ready = self.beside(self.world.pod(from)?).filter(|pod| pod.ready);
        ready.min_by_key(|pod| pod.ordinal).map(|pod| pod.name.as_str())
    }

    /// The other pods of a pod's group.
    fn beside<'p>(&'p self, one: &'p Pod) -> impl Iterator<Item = &'p Pod> {
        let place = (&one.component, &one.group);
        self.world.pods.iter().filter(move |pod| pod.name != one.name && (&pod.component, &pod.group) == place)
    }

    pub(super) async fn call(&self, run: &Run, pod: &str, task: &Task, parameters: &Map<String, Value>) -> Outcome {
        let agent = match self.agent(pod, run).await {
            Ok(agent) => agent,
            Err(outcome) => return outcome,
        };
        let task = match task {
            Task::Action(name) => Asked::Action(name.clone()),
            Task::Operation(name) => Asked::Operation(name.clone()),
        };
        self.ask(&agent, &task, parameters.clone()).await
    }

    async fn ask(&self, agent: &Agent, task: &Asked, parameters: Map<String, Value>) -> Outcome {
        match agent.client.run(task, parameters, Some(&agent.key), PATIENCE).await {
            Ok(None) => Outcome::Done(Some("there was nothing to do".to_owned())),
            Ok(Some(Value::Object(answer))) if !answer.is_empty() => {
                Outcome::Done(Some(short(&Value::Object(answer).to_string())))
            }
            Ok(Some(_)) => Outcome::Done(None),
            Err(problem) => outcome(problem),
        }
    }
}

/// Waits until a process that was started serves.
async fn serves(client: &Client, until: Instant) -> Outcome {
    let begun = Timestamp::now();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let status = match client.status(left.max(LOOK)).await {
            Ok(status) => status,
            Err(problem) => return outcome(problem),
        };
        if status.ready && status.up() {
            return Outcome::Done(status.pid.map(|pid| format!("serves with PID {pid}")));
        }
        let why = status.reason.unwrap_or_else(|| format!("the process is {}", status.process));
        if BROKEN.contains(&status.process.as_str()) {
            return Outcome::Failed { message: why, refused: false };
        }
        if Instant::now() + LOOK >= until {
            let waited = Timestamp::now().duration_since(begun).as_secs();
            return Outcome::Goes(format!("started, and does not serve after {waited} s: {why}"));
        }
        sleep(LOOK).await;
    }
}

/// What an agent's refusal means for the step.
pub(super) fn outcome(problem: Problem) -> Outcome {
    let message = problem.to_string();
    match problem.code {
        Code::Timeout | Code::Unavailable | Code::Busy | Code::TooMany => Outcome::Goes(message),
        Code::BadRequest | Code::Forbidden | Code::NotFound | Code::MethodNotAllowed | Code::Unsupported => {
            Outcome::Failed { message, refused: true }
        }
        Code::TooLarge | Code::KeyReused | Code::Precondition | Code::Failed | Code::Unhealthy => {
            Outcome::Failed { message, refused: false }
        }
    }
}

/// As much of an answer as a status has room for.
fn short(answer: &str) -> String {
    const MOST: usize = 500;
    if answer.len() <= MOST {
        return answer.to_owned();
    }
    format!("{}…", &answer[..answer.floor_char_boundary(MOST)])
}
