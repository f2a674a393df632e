//! What can be called, whichever protocol the caller speaks: deadlines, repeated calls, how many at once.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout};

use super::memory::{Found, Key, Memory, Outcome, Ticket, Waiting};
use super::{Agent, Bounds};
use crate::lifecycle::backup::{ArchiveOrder, ArchiveStatus, BackupOrder, JobProgress, RestoreOrder};
use crate::lifecycle::{
    Capabilities, Code, Health, Order, Peer, Plea, Problem, ProcessResult, Promised, Status, Switched, Task, Transfer,
};

/// Who asks, and how long he waits. Goes with each request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Nothing where the certificate gives no right to anything here.
    pub peer: Option<Peer>,
    /// The first name of the certificate.
    pub name: Arc<str>,
    pub waits: Option<Duration>,
}

/// An answer, and whether it is that of an earlier call.
#[derive(Debug)]
pub struct Answer<T> {
    pub value: T,
    pub replayed: bool,
}

pub struct Calls<A> {
    agent: Arc<A>,
    memory: Memory,
    places: Arc<Semaphore>,
    followers: Arc<Semaphore>,
    bounds: Bounds,
}

impl<A: Agent> Calls<A> {
    pub fn new(agent: Arc<A>, bounds: Bounds) -> Self {
        Self {
            agent,
            memory: Memory::new(bounds.answers, bounds.answer_bytes, bounds.answer_age),
            places: Arc::new(Semaphore::new(bounds.calls)),
            followers: Arc::new(Semaphore::new(bounds.followers)),
            bounds,
        }
    }

    pub fn status(&self) -> Status {
        self.agent.status().borrow().as_ref().clone()
    }

    /// The status for an agent of the same instance: who has most of the data is decided by it.
    pub async fn status_for(&self, caller: &Caller) -> Status {
        if caller.peer == Some(Peer::Sibling) { self.agent.newest().await } else { self.status() }
    }

    /// The status to follow, for as long as the permit is held.
    pub fn follow(&self) -> Result<(watch::Receiver<Arc<Status>>, OwnedSemaphorePermit), Problem> {
        let permit = self.follower("the status")?;
        Ok((self.agent.status(), permit))
    }

    fn follower(&self, what: &str) -> Result<OwnedSemaphorePermit, Problem> {
        self.followers.clone().try_acquire_owned().map_err(|_| {
            Problem::new(
                Code::TooMany,
                format!("{} others follow already; {what} is told to no more", self.bounds.followers),
            )
        })
    }

    pub fn capabilities(&self) -> Capabilities {
        self.agent.capabilities()
    }

    pub async fn health(&self, caller: &Caller) -> Result<Health, Problem> {
        let agent = self.agent.clone();
        let call = Call { what: "the health check".to_owned(), request: String::new(), longest: self.bounds.health };
        Ok(self.once(caller, "", call, async move { agent.health().await }).await?.value)
    }

    pub async fn run(
        &self,
        caller: &Caller,
        key: &str,
        task: Task,
        parameters: Map<String, Value>,
    ) -> Result<Answer<Option<Value>>, Problem> {
        let capabilities = self.agent.capabilities();
        let Some(declared) = task.declared(&capabilities) else {
            let known: Vec<&str> = task.list(&capabilities).iter().map(|known| known.name.as_str()).collect();
            let problem =
                Problem::new(Code::NotFound, format!("the package declares no {} {:?}", task.kind(), task.name()));
            return Err(match known[..] {
                [] => problem.hint(format!("it declares no {} at all", task.kind())),
                _ => problem.hint(format!("it declares {}", known.join(", "))),
            });
        };
        let what = format!("the {} {}", task.kind(), task.name());
        let request = json!(["run", task.kind(), task.name(), parameters]).to_string();
        let call = Call { what, request, longest: declared.timeout() };
        let agent = self.agent.clone();
        // wrapped, so that "nothing to do" and "nothing to say" stay apart
        let work = async move { Ok(agent.run(task, parameters).await?.map(|result| [result])) };
        let answer: Answer<Option<[Value; 1]>> = self.once(caller, key, call, work).await?;
        Ok(Answer { value: answer.value.map(|[result]| result), replayed: answer.replayed })
    }

    pub async fn process(
        &self,
        caller: &Caller,
        key: &str,
        order: Order,
        kill_after: Option<Duration>,
    ) -> Result<Answer<ProcessResult>, Problem> {
        if kill_after.is_some_and(|time| time > self.bounds.process) {
            return Err(Problem::new(Code::BadRequest, "the timeout is longer than a call may take")
                .hint(format!("give at most {}s", self.bounds.process.as_secs())));
        }
        let what = format!("the {} of the process", order.name());
        let request = json!(["process", order.name(), kill_after]).to_string();
        let call = Call { what, request, longest: self.bounds.process };
        let agent = self.agent.clone();
        self.once(caller, key, call, async move { agent.process(order, kill_after).await }).await
    }

    pub async fn switchover(
        &self,
        caller: &Caller,
        key: &str,
        transfer: Transfer,
    ) -> Result<Answer<Switched>, Problem> {
        if !self.agent.capabilities().switchover {
            return Err(Problem::new(Code::Unsupported, "no agent hands out an exclusive role here")
                .hint("what this middleware does by itself is among its actions and operations"));
        }
        let request = json!(["switchover", transfer.target, transfer.force]).to_string();
        let call = Call { what: "the switchover".to_owned(), request, longest: self.bounds.switchover };
        let agent = self.agent.clone();
        self.once(caller, key, call, async move { agent.switchover(transfer).await }).await
    }

    /// Not kept for whoever asks again: a promise counts from when it was asked for.
    pub async fn promise(&self, caller: &Caller, plea: Plea) -> Result<Promised, Problem> {
        if caller.peer != Some(Peer::Sibling) {
            return Err(Problem::new(Code::Forbidden, "only agents of the same instance may ask for a promise"));
        }
        let late = || Problem::new(Code::Timeout, "the promise could not be given in time");
        timeout(self.bounds.reading, self.agent.promise(plea)).await.map_err(|_| late())?
    }

    /// How a backup goes, for as long as the permit is held.
    pub async fn backup(
        &self,
        order: BackupOrder,
    ) -> Result<(watch::Receiver<JobProgress>, OwnedSemaphorePermit), Problem> {
        let permit = self.follower("the progress of jobs")?;
        Ok((self.agent.backup(order).await?, permit))
    }

    pub async fn restore(
        &self,
        order: RestoreOrder,
    ) -> Result<(watch::Receiver<JobProgress>, OwnedSemaphorePermit), Problem> {
        let permit = self.follower("the progress of jobs")?;
        Ok((self.agent.restore(order).await?, permit))
    }

    pub async fn cancel_backup(&self, caller: &Caller, job: &str) -> Result<JobProgress, Problem> {
        self.in_time(caller, "the end of the job", self.agent.cancel_backup(job)).await
    }

    pub async fn prove(&self, caller: &Caller) -> Result<bool, Problem> {
        self.in_time(caller, "the end of the checks", self.agent.prove()).await
    }

    pub async fn archive(&self, caller: &Caller, order: Option<ArchiveOrder>) -> Result<ArchiveStatus, Problem> {
        self.in_time(caller, "the beginning of the archiving", self.agent.archive(order)).await
    }

    /// For what can be asked again without harm.
    async fn in_time<T>(
        &self,
        caller: &Caller,
        what: &str,
        work: impl Future<Output = Result<T, Problem>>,
    ) -> Result<T, Problem> {
        let longest = self.bounds.process;
        let waits = caller.waits.map_or(longest, |asked| asked.min(longest));
        let late = |_| {
            Problem::new(Code::Timeout, format!("{what} did not come within {waits:?}"))
                .hint("ask again and wait longer")
        };
        timeout(waits, work).await.map_err(late)?
    }

    /// Has the work done, unless the key says that it was or is being done, and waits for its outcome.
    async fn once<T: Serialize + DeserializeOwned + Send + 'static>(
        &self,
        caller: &Caller,
        key: &str,
        call: Call,
        work: impl Future<Output = Result<T, Problem>> + Send + 'static,
    ) -> Result<Answer<T>, Problem> {
        let key = Key::parse(&caller.name, key)?;
        let longest = call.longest;
        let what = call.what.clone();
        let (waiting, replayed) = match self.memory.find(key.as_ref(), &call.request) {
            Found::Known(waiting) => (waiting, true),
            Found::Other => {
                return Err(Problem::new(Code::KeyReused, "this idempotency key stands for another request")
                    .hint("use a new key for each new request"));
            }
            Found::New(ticket, waiting) => {
                let place = self.places.clone().try_acquire_owned().map_err(|_| {
                    Problem::new(Code::TooMany, format!("{} calls are under way already", self.bounds.calls))
                        .hint("ask again when one of them has ended")
                })?;
                tokio::spawn(carry_out(caller.name.clone(), call, work, ticket, place));
                (waiting, false)
            }
        };
        let waits = caller.waits.map_or(longest, |asked| asked.min(longest));
        let outcome = answered(waiting, waits, &what, key.is_some()).await?;
        let value = T::deserialize(&outcome)
            .map_err(|error| Problem::new(Code::Failed, format!("the answer cannot be read: {error}")))?;
        Ok(Answer { value, replayed })
    }
}

/// What is to be done.
struct Call {
    what: String,
    /// Everything that makes it this call.
    request: String,
    longest: Duration,
}

/// To its end, whoever still waits for it.
async fn carry_out<T: Serialize>(
    caller: Arc<str>,
    call: Call,
    work: impl Future<Output = Result<T, Problem>>,
    ticket: Ticket,
    place: OwnedSemaphorePermit,
) {
    let begun = Instant::now();
    let outcome: Outcome = match timeout(call.longest, work).await {
        Ok(Ok(value)) => serde_json::to_value(value)
            .map_err(|error| Problem::new(Code::Failed, format!("the answer cannot be written: {error}"))),
        Ok(Err(problem)) => Err(problem),
        Err(_) => {
            let message = format!("{} did not end within {}s and was given up", call.what, call.longest.as_secs());
            Err(Problem::new(Code::Failed, message))
        }
    };
    let millis = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    match &outcome {
        Ok(_) => tracing::info!(what = call.what, by = &*caller, millis, "done"),
        Err(problem) => tracing::warn!(what = call.what, by = &*caller, millis, %problem, "not done"),
    }
    // first the place, then the answer: who asks again after an answer finds a place
    drop(place);
    ticket.ended(outcome);
}

async fn answered(mut waiting: Waiting, waits: Duration, what: &str, again: bool) -> Result<Value, Problem> {
    let late = || {
        let problem = Problem::new(Code::Timeout, format!("{what} did not end within {waits:?}; it goes on"));
        let hint = if again {
            "ask again with the same idempotency key for its outcome"
        } else {
            "wait longer, and send an idempotency key, so that its outcome can be asked for again"
        };
        problem.hint(hint)
    };
    let outcome = match timeout(waits, waiting.wait_for(Option::is_some)).await {
        Err(_) => return Err(late()),
        Ok(Err(_)) => None,
        Ok(Ok(outcome)) => outcome.as_ref().map(|outcome| outcome.as_ref().clone()),
    };
    outcome.unwrap_or_else(|| Err(Problem::new(Code::Failed, format!("{what} broke off; see the agent's log"))))
}
