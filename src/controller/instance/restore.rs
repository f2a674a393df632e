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
use crate::controller::repositories::restores::Restore;
use crate::extension::methods;
use crate::lifecycle::backup::Outcome;
use crate::lifecycle::problem::{Code, Problem};
use crate::names::ComponentName;
use crate::plan::drill::NOTHING_DECLARED;

/// The condition that says that the data is there.
pub const RESTORED: &str = "Restored";

/// The condition that says that the package's checks found it whole.
pub const PROVEN: &str = "Proven";

/// How long the end of the checks is waited for before others have their turn: they go on, and are asked about again.
const CHECKS: Duration = Duration::from_secs(20);
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
        if let Some(component) = methods::filled(&going.package, &going.resolved) {
            return self.restore_groups(going, &source, component).await;
        }
        let finding = |status, reason, message: &str| Some(Finding::new(RESTORED, status, reason, message));
        let uid = self.instance.uid().unwrap_or_default();
        let attempt = self.remembered.attempts.get(RESTORED).copied().unwrap_or(0);
        let namespace = self.instance.namespace().unwrap_or_default();
        let restore = match self.around(&namespace).order(&source, format!("restore-{uid}-{attempt}"), None).await {
            Ok(restore) => restore,
            Err(error) => {
                let message = error.to_string();
                return (Some(message.clone()), finding(ConditionStatus::False, "Waits", &message));
            }
        };
        match self.ask(going, &restore, None).await {
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
                let message = self.with_failure(RESTORED, message);
                (Some(message.clone()), finding(ConditionStatus::False, "Restoring", &message))
            }
            Err(Ended::Failed(problem)) => {
                // what was half restored is cleared away by the next attempt
                self.remembered.attempts.insert(RESTORED.to_owned(), attempt + 1);
                self.remembered.failures.insert(RESTORED.to_owned(), problem.to_string());
                let message = format!("the restore failed and is tried again: {problem}");
                let about = format!("attempt {attempt}");
                self.shared.events.warning(self.instance, "RestoreFailed", &about, message.clone()).await;
                (Some(message.clone()), finding(ConditionStatus::False, "Failed", &message))
            }
        }
    }

    /// What is under way, and why it did not come to an end before: whoever stops waiting wants to know that.
    pub(super) fn with_failure(&self, counted: &str, message: String) -> String {
        match self.remembered.failures.get(counted) {
            Some(why) => format!("{message}; before, it failed: {why}"),
            None => message,
        }
    }

    /// Once all pods run: the package's checks of what was restored. What is still to be done, and the condition.
    pub(super) async fn prove(&mut self, going: &Going) -> (Option<String>, Option<Finding>) {
        let holds = |type_| find(&self.before.conditions, type_).is_some_and(|it| it.status == ConditionStatus::True);
        if self.instance.spec.restore.is_none() || !holds(RESTORED) || holds(PROVEN) {
            return (None, None);
        }
        let finding = |status, reason, message: &str| Some(Finding::new(PROVEN, status, reason, message));
        let methods = going.package.manifest.backup.iter().flat_map(|backup| backup.methods.values());
        let mut components: Vec<Option<ComponentName>> = methods.map(|method| method.component.clone()).collect();
        components.sort();
        components.dedup();
        let mut ran = false;
        for (component, group) in Self::proven_in(going, &components) {
            let host = match (self.first(going, component, group), group) {
                (Some(host), _) => host,
                (None, None) => continue,
                (None, Some(group)) => {
                    let message =
                        format!("the data was restored and is not proven: {group} has no pod that can be asked");
                    return (Some(message.clone()), finding(ConditionStatus::False, "Waits", &message));
                }
            };
            let (name, namespace) = (self.instance.name_any(), self.instance.namespace().unwrap_or_default());
            let asked = match self.shared.agents.client(&name, &namespace, &host).await {
                Ok(client) => client.prove(CHECKS).await,
                Err(error) => Err(Problem::new(Code::Unavailable, error.to_string())),
            };
            match asked {
                Ok(done) => ran |= done,
                Err(problem) => {
                    let message = if problem.code == Code::Timeout {
                        "the data was restored, and the package's checks of it go on".to_owned()
                    } else {
                        format!("the data was restored and is not proven: {problem}")
                    };
                    if problem.code == Code::Failed {
                        self.shared.events.warning(self.instance, "CheckFailed", "check", message.clone()).await;
                    }
                    let reason = if problem.code == Code::Failed { "Failed" } else { "Waits" };
                    return (Some(message.clone()), finding(ConditionStatus::False, reason, &message));
                }
            }
        }
        let (reason, message) = if ran {
            ("Checked", "the package's checks found what was restored whole")
        } else {
            (NOTHING_DECLARED, "the package declares no checks of what was restored")
        };
        (None, finding(ConditionStatus::True, reason, message))
    }

    /// The address of the pod that backups are restored to, or a part of one for a group.
    fn first(&self, going: &Going, wanted: Option<&ComponentName>, group: Option<&str>) -> Option<String> {
        let (name, namespace) = (self.instance.name_any(), self.instance.namespace());
        let wanted = wanted.or_else(|| going.package.main_component().filter(|_| group.is_some()));
        // a part goes into no other pod of the group, though that be there before: both would have it
        let lowest = group.and_then(|group| {
            let ordinals = going.resolved.component(wanted?.as_str())?.group(group)?.ordinals();
            ordinals.into_iter().map(u32::from).min()
        });
        let mut pods = self.shared.pods.select(|pod| {
            let component = pod.labels().get(labels::COMPONENT);
            pod.metadata.namespace == namespace
                && pod.metadata.deletion_timestamp.is_none()
                && pod.labels().get(labels::INSTANCE) == Some(&name)
                && wanted.is_none_or(|wanted| component.is_some_and(|of| of == wanted.as_str()))
                && group.is_none_or(|group| pod.labels().get(labels::GROUP).is_some_and(|of| of == group))
        });
        pods.sort_by_key(|pod| ordinal(pod));
        let first = pods.first().filter(|pod| lowest.is_none_or(|lowest| ordinal(pod) == lowest));
        first.and_then(|pod| pod.status.as_ref()?.pod_ip.clone())
    }

    /// What was restored; nothing while there is nobody to ask.
    pub(super) async fn ask(
        &self,
        going: &Going,
        restore: &Restore,
        group: Option<&str>,
    ) -> Result<Option<String>, Ended> {
        let declared = going.package.manifest.backup.as_ref().and_then(|backup| backup.methods.get(&restore.method));
        let Some(method) = declared else {
            let message = format!(
                "the backup was made by the method {}, which {} {} does not have",
                restore.method, going.package.manifest.type_, going.package.manifest.version
            );
            return Err(Ended::Failed(Problem::new(Code::Unsupported, message)));
        };
        if group.is_none() && method.each_group && going.resolved.components.iter().any(|one| one.groups.len() > 1) {
            let message = "the backup is of one group of several, and its package does not put parts together: restore it to an \
                           instance with one group";
            return Err(Ended::Failed(Problem::new(Code::Unsupported, message)));
        }
        let host = self.first(going, method.component.as_ref(), group);
        let Some(host) = host else { return Ok(None) };
        let (name, namespace) = (self.instance.name_any(), self.instance.namespace().unwrap_or_default());
        let client = self.shared.agents.client(&name, &namespace, &host).await;
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
pub(super) enum Ended {
    /// It is under way, or nobody answers.
    Goes(String),
    Failed(Problem),
}
