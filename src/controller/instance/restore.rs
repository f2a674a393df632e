//! Filling a new instance from a backup: its first pod waits, its agent is asked to restore, and only then the process
//! starts. The others wait for the first one and join it as they always do.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;

use super::Work;
use super::decide::Going;
use crate::api::conditions::{ConditionStatus, Finding, find};
use crate::api::{InstanceStatus, labels};
use crate::controller::repositories::orders::ordinal;
use crate::controller::repositories::progress::{newest, told};
use crate::controller::repositories::restores::{Around, Restore};
use crate::lifecycle::backup::Outcome;
use crate::lifecycle::problem::{Code, Problem};

/// The condition that says that the data is there.
pub const RESTORED: &str = "Restored";

/// How long an agent may take to begin.
const BEGIN: Duration = Duration::from_secs(10);
/// How long progress is followed before others have their turn.
const FOLLOW: Duration = Duration::from_secs(3);

/// Whether there is nothing to be restored any more.
pub fn is_done(before: &InstanceStatus) -> bool {
    find(&before.conditions, RESTORED).is_some_and(|found| found.status == ConditionStatus::True)
}

impl Work<'_> {
    /// What is still to be done, and the condition that tells of it.
    pub(super) async fn restore(&mut self, going: &Going) -> (Option<String>, Option<Finding>) {
        let Some(source) = self.instance.spec.restore.clone().filter(|_| going.resolved.restore.is_some()) else {
            return (None, None);
        };
        let finding = |status, reason, message: &str| Some(Finding::new(RESTORED, status, reason, message));
        let uid = self.instance.uid().unwrap_or_default();
        let attempt = self.remembered.attempts.get(RESTORED).copied().unwrap_or(0);
        let namespace = self.instance.namespace().unwrap_or_default();
        let around = Around {
            client: &self.shared.client,
            caches: &self.shared.caches,
            known: &self.shared.known,
            namespace: &namespace,
        };
        let restore = match around.order(&source, format!("restore-{uid}-{attempt}")).await {
            Ok(restore) => restore,
            Err(error) => {
                let message = error.to_string();
                return (Some(message.clone()), finding(ConditionStatus::False, "Waits", &message));
            }
        };
        match self.ask(going, &restore).await {
            Ok(Some(done)) => {
                let note = format!("restored the backup {} of {}", done, restore.from);
                self.shared.events.normal(self.instance, "Restored", "restore", note.clone()).await;
                (Some("its process may start now".to_owned()), finding(ConditionStatus::True, "Restored", &note))
            }
            Ok(None) => {
                let message = "its first pod is not there yet".to_owned();
                (Some(message.clone()), finding(ConditionStatus::False, "Restoring", &message))
            }
            Err(Ended::Goes(message)) => {
                let message = format!("restores a backup of {}: {message}", restore.from);
                (Some(message.clone()), finding(ConditionStatus::False, "Restoring", &message))
            }
            Err(Ended::Failed(problem)) => {
                // what was half restored is cleared away by the next attempt
                self.remembered.attempts.insert(RESTORED.to_owned(), attempt + 1);
                let message = format!("the restore failed and is tried again: {problem}");
                let about = format!("attempt {attempt}");
                self.shared.events.warning(self.instance, "RestoreFailed", &about, message.clone()).await;
                (Some(message.clone()), finding(ConditionStatus::False, "Failed", &message))
            }
        }
    }

    /// What was restored; nothing while there is nobody to ask.
    async fn ask(&self, going: &Going, restore: &Restore) -> Result<Option<String>, Ended> {
        let declared = going.package.manifest.backup.as_ref().and_then(|backup| backup.methods.get(&restore.method));
        let Some(method) = declared else {
            let message = format!(
                "the backup was made by the method {}, which {} {} does not have",
                restore.method, going.package.manifest.type_, going.package.manifest.version
            );
            return Err(Ended::Failed(Problem::new(Code::Unsupported, message)));
        };
        let (name, namespace) = (self.instance.name_any(), self.instance.namespace());
        let mut pods = self.shared.pods.select(|pod| {
            let component = pod.labels().get(labels::COMPONENT);
            pod.metadata.namespace == namespace
                && pod.metadata.deletion_timestamp.is_none()
                && pod.labels().get(labels::INSTANCE) == Some(&name)
                && method.component.as_ref().is_none_or(|wanted| component.is_some_and(|of| of == wanted.as_str()))
        });
        pods.sort_by_key(|pod| ordinal(pod));
        let host = pods.first().and_then(|pod| pod.status.as_ref()?.pod_ip.clone());
        let Some(host) = host else { return Ok(None) };
        let client = self.shared.agents.client(&name, &namespace.unwrap_or_default(), &host).await;
        let client = client.map_err(|error| Ended::Goes(format!("its agent cannot be asked: {error}")))?;
        let progress = match client.restore(&restore.order, BEGIN).await {
            Ok(stream) => newest(stream, FOLLOW).await,
            Err(problem) => Err(problem),
        };
        match progress {
            Ok(Some(progress)) => match &progress.outcome {
                Some(Outcome::Restored { id, until }) => Ok(Some(done(&id.to_string(), *until))),
                Some(Outcome::Failed(problem)) => Err(Ended::Failed(problem.clone())),
                Some(Outcome::Committed { .. }) => {
                    let problem = Problem::new(Code::Failed, "the agent answered as if it had made a backup");
                    Err(Ended::Failed(problem))
                }
                None => Err(Ended::Goes(told(&progress))),
            },
            Ok(None) => Err(Ended::Goes("it begins".to_owned())),
            Err(problem) => match problem.code {
                Code::Timeout | Code::Unavailable | Code::Busy | Code::TooMany => Err(Ended::Goes(problem.to_string())),
                _ => Err(Ended::Failed(problem)),
            },
        }
    }
}

fn done(id: &str, until: Option<Timestamp>) -> String {
    until.map_or_else(|| id.to_owned(), |until| format!("{id} as it was at {until}"))
}

/// Why a restore is not done.
enum Ended {
    /// It is under way, or nobody answers.
    Goes(String),
    Failed(Problem),
}
