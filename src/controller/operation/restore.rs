//! The steps that put a backup in the place of what is there, and prove it. The agent refuses while the process runs.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::agents::outcome;
use super::backup::{BEGIN, FOLLOW, outcome_of_failure};
use super::carry_out::Hands;
use super::instance_of;
use crate::cluster::Key;
use crate::controller::repositories::progress::{newest, told};
use crate::controller::repositories::restores::{Around, RestoreError};
use crate::lifecycle::Code;
use crate::lifecycle::backup::Outcome as Ended;
use crate::names::ObjectName;
use crate::plan::operation::{Outcome, Run};

/// How long looking at a backup may take.
const EXAMINE: Duration = Duration::from_mins(1);
/// How long the end of the checks is waited for in one go.
const CHECKS: Duration = Duration::from_mins(5);

impl Hands<'_> {
    /// The repository of the backup that is to be restored.
    pub(super) fn restored_from(&self) -> Option<ObjectName> {
        let source = &self.operation.spec.restore.as_ref()?.source;
        source.repository.clone().or_else(|| {
            let key =
                Key { namespace: instance_of(self.operation).namespace, name: source.backup.as_ref()?.to_string() };
            Some(self.shared.caches.backups.get(&key)?.spec.repository.clone())
        })
    }

    /// Before anything is stopped: a typing mistake is to cost nothing.
    pub(super) async fn examine(&self) -> Outcome {
        let refused = |message: String| Outcome::Failed { message, refused: true };
        if self.operation.spec.cancel == Some(true) {
            return refused("it was cancelled".to_owned());
        }
        let Some(wanted) = &self.operation.spec.restore else { return refused("spec.restore is missing".to_owned()) };
        let namespace = instance_of(self.operation).namespace.unwrap_or_default();
        let around = self.around(&namespace);
        match tokio::time::timeout(EXAMINE, around.examine(&wanted.source, self.begun())).await {
            Ok(Ok(id)) => Outcome::Done(Some(format!("the backup {id} can be restored"))),
            Ok(Err(error @ RestoreError::NotLooked(..))) => Outcome::Goes(error.to_string()),
            Ok(Err(error)) => Outcome::Failed { message: error.to_string(), refused: false },
            Err(_) => {
                let message = format!("it was not found out within {EXAMINE:?} whether the backup can be restored");
                Outcome::Failed { message, refused: false }
            }
        }
    }

    fn around<'a>(&'a self, namespace: &'a str) -> Around<'a> {
        let shared = self.shared;
        Around { client: &shared.client, caches: &shared.caches, known: &shared.known, namespace }
    }

    /// To the end of the second it is told in.
    fn begun(&self) -> Option<Timestamp> {
        let begun = self.operation.metadata.creation_timestamp.as_ref();
        begun.and_then(|time| time.0.checked_add(SignedDuration::from_millis(999)).ok())
    }

    pub(super) async fn fill(&self, run: &Run, pod: &str) -> Outcome {
        let refused = |message: String| Outcome::Failed { message, refused: true };
        let Some(wanted) = &self.operation.spec.restore else { return refused("spec.restore is missing".to_owned()) };
        let namespace = instance_of(self.operation).namespace.unwrap_or_default();
        let agent = match self.agent_unless_cancelled(pod, run).await {
            Ok(agent) => agent,
            Err(outcome) => return outcome,
        };
        let around = self.around(&namespace);
        let mut restore = match around.order(&wanted.source, agent.key.clone(), self.begun()).await {
            Ok(restore) => restore,
            // it is looked through soon
            Err(error @ RestoreError::NotLooked(..)) => return Outcome::Goes(error.to_string()),
            Err(error) => return Outcome::Failed { message: error.to_string(), refused: false },
        };
        restore.order.replace = true;
        let stream = match agent.client.restore(&restore.order, BEGIN).await {
            Ok(stream) => stream,
            Err(problem) => return outcome(problem),
        };
        match newest(stream, FOLLOW).await {
            Ok(Some(progress)) => match &progress.outcome {
                None => Outcome::Goes(told(&progress)),
                Some(Ended::Restored { id, until: None }) => Outcome::Done(Some(format!("restored the backup {id}"))),
                Some(Ended::Restored { id, until: Some(until) }) => {
                    Outcome::Done(Some(format!("restored the backup {id} as it was at {until}")))
                }
                Some(Ended::Committed { .. }) => refused("the agent answered as if it had made a backup".to_owned()),
                Some(Ended::Failed(problem)) => outcome_of_failure(problem),
            },
            Ok(None) => Outcome::Goes("the restore begins".to_owned()),
            Err(problem) => outcome(problem),
        }
    }

    pub(super) async fn prove(&self, run: &Run, pod: &str) -> Outcome {
        let agent = match self.agent(pod, run).await {
            Ok(agent) => agent,
            Err(outcome) => return outcome,
        };
        match agent.client.prove(CHECKS).await {
            Ok(true) => Outcome::Done(Some("the package's checks found the data whole".to_owned())),
            Ok(false) => Outcome::Done(Some("the package declares no checks".to_owned())),
            Err(problem) if problem.code == Code::Timeout => {
                Outcome::Goes("the package's checks of the data go on".to_owned())
            }
            Err(problem) => outcome(problem),
        }
    }
}
