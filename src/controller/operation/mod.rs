//! Operation: observe, decide, say, do, say how it went. The object is the log: what is not in its status has not begun.

mod agents;
mod backup;
mod carry_out;
mod change;
mod objects;
mod observe;
mod restore;
mod turns;

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Preconditions};
use kube::{Api, Client, ResourceExt};

use super::agents::Agents;
use super::caches::Caches;
use super::frame::{Failure, Next, Reconciler};
use super::packages::Packages;
use super::queues::Queues;
use super::repositories::known::Known;
use crate::api::operation::{OperationPhase, OperationStatus};
use crate::api::{Kind, Operation};
use crate::cluster::events::Events;
use crate::cluster::problem::Problem;
use crate::cluster::{Cache, Key};
use crate::plan::operation::{Outcome, ended, is_finished, keep, next, turn};
use carry_out::Hands;
use turns::Turns;

/// What is under way is asked about again after so long, so that others have their turn in between.
const GOES_ON: Duration = Duration::from_millis(500);
/// Looks taken in one go; then others are looked at first.
const LOOKS: usize = 64;
/// A deletion that did not work is tried again after so long.
const LATER: Duration = Duration::from_mins(1);

/// Carries operations out.
pub struct Operations {
    client: Client,
    caches: Arc<Caches>,
    queues: Queues,
    events: Events,
    packages: Arc<Packages>,
    agents: Arc<Agents>,
    pods: Arc<Cache<Pod>>,
    known: Arc<Known>,
    turns: Turns,
}

impl Operations {
    pub fn new(
        client: Client,
        caches: Arc<Caches>,
        queues: Queues,
        events: Events,
        packages: Arc<Packages>,
        agents: (Arc<Agents>, Arc<Cache<Pod>>, Arc<Known>),
    ) -> Self {
        let (agents, pods, known) = agents;
        Self { client, caches, queues, events, packages, agents, pods, known, turns: Turns::default() }
    }

    /// An operation changed: its instance shows whether it works on it.
    pub fn touched(&self, key: &Key) {
        let operation = self.caches.operations.get(key);
        let begun = operation.as_ref().filter(|operation| turn::begun(&operation.status.clone().unwrap_or_default()));
        let instance = begun.map(|operation| instance_of(operation));
        if let Some(changed) = self.turns.shows(key, instance) {
            self.queues.of(Kind::Instance).add(&changed);
        }
    }

    /// An instance changed: the operations on it that are not finished look again.
    pub fn instance_touched(&self, instance: &Key) {
        for operation in self.turns.unfinished(instance) {
            self.queues.of(Kind::Operation).add(&operation);
        }
    }

    /// What is over: its turn goes to the next one.
    fn leave(&self, key: &Key) {
        for instance in self.turns.leave(key) {
            self.instance_touched(&instance);
        }
    }

    /// A finished operation stays for a while.
    async fn keep(&self, operation: &Operation) -> Result<Next, Failure> {
        let of_it = |other: &Operation| {
            other.metadata.namespace == operation.metadata.namespace && other.spec.instance == operation.spec.instance
        };
        let all = self.caches.operations.select(of_it);
        let newer = keep::newer(operation, all.iter().map(AsRef::as_ref));
        let Some(until) = keep::until(operation, newer) else { return Ok(Next::WhenChanged) };
        let left = Duration::try_from(until.duration_since(Timestamp::now())).unwrap_or_default();
        if !left.is_zero() {
            return Ok(Next::After(left));
        }
        let preconditions = Preconditions { uid: operation.uid(), resource_version: operation.resource_version() };
        let how = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
        let name = operation.name_any();
        match self.api(operation).delete(&name, &how).await {
            Ok(_) => {
                tracing::info!(operation = name, "it was kept for as long as it said and is deleted");
                Ok(Next::WhenChanged)
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(Next::WhenChanged),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Next::After(LATER)),
            Err(error) => Err(Failure::new("NotDeleted", Problem::from_kube(&error))),
        }
    }

    fn api(&self, operation: &Operation) -> Api<Operation> {
        Api::namespaced(self.client.clone(), &operation.namespace().unwrap_or_default())
    }

    /// Writes a status, and tells what is new in it.
    async fn say(
        &self,
        operation: &Operation,
        before: &OperationStatus,
        after: &OperationStatus,
    ) -> Result<(), Failure> {
        let key = Key::of(operation);
        let mut said = self.turns.said(&key);
        said.say(&self.api(operation), &key.name, before, after.clone()).await?;
        self.turns.keep_said(&key, said);
        if before.phase == after.phase {
            return Ok(());
        }
        let Some(phase) = after.phase else { return Ok(()) };
        let word = format!("{phase:?}");
        let message = after.message.clone().unwrap_or_else(|| after.current_step.clone().unwrap_or_default());
        let warns = matches!(phase, OperationPhase::Failed | OperationPhase::Paused);
        let began = before.started_at.is_none() && after.started_at.is_some();
        let instance = self.caches.instances.get(&instance_of(operation));
        let about = format!("{:?} {}", operation.spec.type_, key.name);
        let note = format!("{about}: {message}");
        if warns {
            self.events.warning(operation, &word, &word, message).await;
        } else {
            self.events.normal(operation, &word, &word, message).await;
        }
        let Some(instance) = instance.filter(|_| began || is_finished(after)) else { return Ok(()) };
        let reason = format!("Operation{}", if began && !is_finished(after) { "Begins" } else { word.as_str() });
        if warns {
            self.events.warning(instance.as_ref(), &reason, &about, note).await;
        } else {
            self.events.normal(instance.as_ref(), &reason, &about, note).await;
        }
        Ok(())
    }

    /// One look: decides, says, does, says how it went.
    async fn look(&self, operation: &Operation) -> Result<Look, Failure> {
        let key = Key::of(operation);
        let before = self.turns.newest(operation);
        let seen = self.observe(operation, &before);
        let world = seen.world(operation, &before);
        let decision = next(&world);
        let begins = before.started_at.is_none() && decision.status.started_at.is_some();
        if turn::begun(&decision.status) && !self.turns.take(&instance_of(operation), &key) {
            // somebody else began a moment ago, and the caches have not heard of it
            return Ok(Look::Later(GOES_ON));
        }
        self.say(operation, &before, &decision.status).await?;
        if begins {
            tracing::info!(operation = %key, steps = decision.status.steps.len(), "it begins");
        }
        if decision.run.is_empty() {
            if is_finished(&decision.status) {
                self.leave(&key);
                return Ok(Look::Later(Duration::ZERO));
            }
            let wait = decision.again.map(|at| Duration::try_from(at.duration_since(Timestamp::now())));
            return Ok(wait.map_or(Look::WhenChanged, |wait| Look::Later(wait.unwrap_or_default())));
        }
        // the first step runs in the look in which the steps are decided, and is told of all of them
        let world = seen.world(operation, &decision.status);
        let hands = Hands { shared: self, operation, world: &world };
        let outcomes = join_all(decision.run.iter().map(|run| hands.carry_out(run))).await;
        let goes = outcomes.iter().any(|outcome| matches!(outcome, Outcome::Goes(_)));
        let seen = self.observe(operation, &decision.status);
        let world = seen.world(operation, &decision.status);
        let mut after = decision.status.clone();
        for (run, outcome) in decision.run.iter().zip(outcomes) {
            if let Outcome::Failed { message, .. } = &outcome {
                tracing::warn!(operation = %key, step = run.planned.name, attempt = run.attempt, message, "a step failed");
                self.events.warning(operation, "StepFailed", &run.planned.name, message.clone()).await;
            }
            after = ended(&world, &after, run, outcome);
        }
        self.say(operation, &decision.status, &after).await?;
        Ok(if goes { Look::Later(GOES_ON) } else { Look::Again })
    }
}

/// When to look again.
enum Look {
    Again,
    Later(Duration),
    WhenChanged,
}

impl Reconciler for Operations {
    const KIND: &'static str = "Operation";

    async fn reconcile(&self, key: &Key) -> Result<Next, Failure> {
        self.touched(key);
        for _ in 0..LOOKS {
            let Some(operation) = self.caches.operations.get(key) else {
                if let Some(reason) = self.caches.operations.unreadable(key) {
                    return Err(Failure::new("Unreadable", reason));
                }
                self.leave(key);
                self.turns.forget(key);
                return Ok(Next::WhenChanged);
            };
            if operation.metadata.deletion_timestamp.is_some() {
                self.leave(key);
                return Ok(Next::WhenChanged);
            }
            if is_finished(&self.turns.newest(&operation)) {
                self.leave(key);
                return self.keep(&operation).await;
            }
            self.turns.is_unfinished(&instance_of(&operation), key);
            match self.look(&operation).await? {
                Look::Again => {}
                Look::Later(wait) => return Ok(Next::After(wait)),
                Look::WhenChanged => return Ok(Next::WhenChanged),
            }
        }
        Ok(Next::After(Duration::ZERO))
    }
}

fn instance_of(operation: &Operation) -> Key {
    Key { namespace: operation.namespace(), name: operation.spec.instance.to_string() }
}
