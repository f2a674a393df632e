//! The steps that put a backup in the place of what is there, and prove it. The agent refuses while the process runs.

use std::time::Duration;

use jiff::SignedDuration;

use super::agents::outcome;
use super::backup::{BEGIN, FOLLOW, outcome_of_failure};
use super::carry_out::Hands;
use super::instance_of;
use crate::cluster::Key;
use crate::controller::repositories::progress::{newest, told};
use crate::controller::repositories::restores::{Around, RestoreError};
use crate::lifecycle::backup::Outcome as Ended;
use crate::names::ObjectName;
use crate::plan::operation::{Outcome, Run};

/// How long the checks may take in one go.
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

    pub(super) async fn fill(&self, run: &Run, pod: &str) -> Outcome {
        let refused = |message: String| Outcome::Failed { message, refused: true };
        let Some(wanted) = &self.operation.spec.restore else { return refused("spec.restore is missing".to_owned()) };
        let namespace = instance_of(self.operation).namespace.unwrap_or_default();
        let agent = match self.agent_unless_cancelled(pod, run).await {
            Ok(agent) => agent,
            Err(outcome) => return outcome,
        };
        let around = Around {
            client: &self.shared.client,
            caches: &self.shared.caches,
            known: &self.shared.known,
            namespace: &namespace,
        };
        // to the end of the second it is told in
        let begun = self.operation.metadata.creation_timestamp.as_ref();
        let begun = begun.and_then(|time| time.0.checked_add(SignedDuration::from_millis(999)).ok());
        let mut restore = match around.order(&wanted.source, agent.key.clone(), begun).await {
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
            Err(problem) => outcome(problem),
        }
    }
}
