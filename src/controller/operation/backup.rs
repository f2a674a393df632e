//! The step that makes a backup: the repository is found, the pod's agent is asked, and how far it is stands in the
//! operation's status. The same job is made once, however often it is asked for.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;

use super::agents::{Agent, outcome};
use super::carry_out::Hands;
use super::instance_of;
use crate::api::backup::BackupPhase;
use crate::api::labels::BACKUP_POLICY;
use crate::api::operation::{BackupRequest, BackupType, OperationType, UNTOUCHED};
use crate::api::{BackupPolicy, Instance};
use crate::backup::id::Id;
use crate::backup::layout::{Owner, Place};
use crate::backup::manifest::Wish;
use crate::backup::read::{Catalog, Set, SetError};
use crate::backup::wish;
use crate::cluster::Key;
use crate::controller::repositories::coverage::{Coverage, collector, writes};
use crate::controller::repositories::known::{Look, object_name};
use crate::controller::repositories::orders::{self, Wanted};
use crate::controller::repositories::progress::{newest, told};
use crate::controller::repositories::words::{size, span};
use crate::extension::methods;
use crate::lifecycle::Code;
use crate::lifecycle::backup::{BackupOrder, JobProgress, Outcome as Ended};
use crate::names::ObjectName;
use crate::plan::operation::kinds::backup::{is_last, parts};
use crate::plan::operation::{Outcome, Run, patience};

/// How long an agent may take to begin.
pub(super) const BEGIN: Duration = Duration::from_secs(10);
/// How long an agent may take to undo what it began, before it is asked again.
const CANCEL: Duration = Duration::from_secs(15);
/// How long progress is followed before it is told.
pub(super) const FOLLOW: Duration = Duration::from_secs(2);
/// How long the end of a backup is held back until its object shows it, and how often that is looked for.
const SHOWN: Duration = Duration::from_secs(10);
const LOOKS_FOR_IT: Duration = Duration::from_millis(100);

/// Everything a backup is ordered from.
struct Ground<'a> {
    instance: &'a Instance,
    request: BackupRequest,
    repository: Key,
    look: Look,
    policy: Option<std::sync::Arc<BackupPolicy>>,
    owner: Owner,
}

impl Ground<'_> {
    /// Whether a backup is a full one, or nobody has seen yet what it is.
    fn may_be_full(&self, id: Id) -> bool {
        let found = self.look.catalog.get(&Place { owner: self.owner.clone(), id });
        found.is_none_or(|found| found.manifest.type_ == BackupType::Full)
    }
}

impl Hands<'_> {
    pub(super) async fn back_up(&self, run: &Run, pod: &str) -> Outcome {
        let ground = match self.ground().await {
            Ok(ground) => ground,
            Err(outcome) => return outcome,
        };
        let agent = match self.agent_unless_cancelled(pod, run).await {
            Ok(agent) => agent,
            Err(outcome) => return outcome,
        };
        let (order, why) = match self.order(&ground, agent.key.clone()) {
            Ok(order) => order,
            Err(message) => return Outcome::Failed { message, refused: true },
        };
        let progress = match follow(&agent, &order).await {
            Ok(Some(progress)) => progress,
            Ok(None) => return Outcome::Goes("the backup begins".to_owned()),
            Err(outcome) => return outcome,
        };
        match &progress.outcome {
            None => Outcome::Goes(told(&progress)),
            Some(Ended::Failed(problem)) => {
                self.shared.known.changed(&ground.repository);
                outcome_of_failure(problem)
            }
            Some(Ended::Restored { .. }) => {
                let message = "the agent answered as if it had restored a backup".to_owned();
                Outcome::Failed { message, refused: false }
            }
            Some(Ended::Committed { id, full_because, .. }) => {
                if ground.request.hold == Some(true)
                    && let Err(error) = hold(&ground, *id).await
                {
                    return Outcome::Goes(format!("the backup {id} is complete, and not held yet: {error}"));
                }
                self.shared.known.changed(&ground.repository);
                if parts(self.world).is_some()
                    && is_last(self.world, run.index)
                    && let Err(outcome) = whole(&ground, *id).await
                {
                    return outcome;
                }
                self.shown(&ground.repository, *id).await;
                // one that was seen in the store meanwhile is not what it was to add to
                let why = full_because.as_deref().or(why).filter(|_| ground.may_be_full(*id));
                Outcome::Done(Some(summary(&ground, &progress, *id, why)))
            }
        }
    }

    /// Whoever hears that a backup was made is to find it: its object comes with the next look through the store. A store that
    /// takes longer shows it later; the backup is none the worse for it.
    async fn shown(&self, repository: &Key, id: Id) {
        let Ok(name) = repository.name.parse::<ObjectName>() else { return };
        let key = Key { namespace: repository.namespace.clone(), name: object_name(&name, id) };
        let is_shown = || {
            let phase = self.shared.caches.backups.get(&key).and_then(|backup| backup.status.as_ref()?.phase);
            phase.is_some_and(|phase| phase != BackupPhase::Running)
        };
        let wait = async {
            while !is_shown() {
                tokio::time::sleep(LOOKS_FOR_IT).await;
            }
        };
        if tokio::time::timeout(SHOWN, wait).await.is_err() {
            tracing::info!(backup = %key, "it is complete, and the store was not looked through yet");
        }
    }

    /// The pod's agent, for a job that goes on between two looks; where the Operation was cancelled, the job is ended first.
    pub(super) async fn agent_unless_cancelled(&self, pod: &str, run: &Run) -> Result<Agent, Outcome> {
        let agent = self.agent(pod, run).await?;
        if self.operation.spec.cancel == Some(true)
            && let Some(outcome) = cancel(&agent, self.told_of(run)).await
        {
            return Err(outcome);
        }
        Ok(agent)
    }

    /// Whether the job of a step has told something of itself, and so had begun.
    fn told_of(&self, run: &Run) -> bool {
        self.world.status.steps.get(run.index).is_some_and(|step| step.message.is_some())
    }

    async fn ground(&self) -> Result<Ground<'_>, Outcome> {
        let refused = |message: String| Outcome::Failed { message, refused: true };
        let key = instance_of(self.operation);
        let instance = self.world.instance.ok_or_else(|| refused(format!("there is no instance {key} any more")))?;
        let request = self.operation.spec.backup.clone().unwrap_or_default();
        let policy = self.policy(instance, &request);
        let repository = request.repository.clone().or(policy.as_ref().map(|policy| policy.spec.repository.clone()));
        // before a restore in place, and nobody says where to: beside what is restored
        let repository = repository.or_else(|| self.restored_from());
        let repository = repository.ok_or_else(|| {
            refused(format!("no policy covers {key}: name a BackupRepository with spec.backup.repository"))
        })?;
        let repository = Key { namespace: key.namespace.clone(), name: repository.to_string() };
        let object = self.shared.caches.backup_repositories.get(&repository);
        let object = object.ok_or_else(|| refused(format!("there is no BackupRepository {repository}")))?;
        let Some(look) = self.shared.known.renewed(&object).await else {
            let conditions = object.status.clone().unwrap_or_default().conditions;
            let why = conditions.first().map_or("it is about to be".to_owned(), |ready| ready.message.clone());
            return Err(Outcome::Goes(format!("BackupRepository {repository} was not looked through yet: {why}")));
        };
        let cluster = self.shared.known.cluster().await.map_err(|failure| Outcome::Goes(failure.message))?;
        let owner = orders::owner(cluster, instance).map_err(|error| refused(error.to_string()))?;
        Ok(Ground { instance, request, repository, look, policy, owner })
    }

    /// The policy that asked for it, or the one that covers the instance.
    fn policy(&self, instance: &Instance, request: &BackupRequest) -> Option<std::sync::Arc<BackupPolicy>> {
        let asked = self.operation.labels().get(BACKUP_POLICY);
        let mut all = self.shared.caches.backup_policies.select(|policy| match asked {
            Some(uid) => policy.uid().as_ref() == Some(uid),
            None => {
                request.repository.as_ref().is_none_or(|repository| policy.spec.repository == *repository)
                    && Coverage::of(policy).is_ok_and(|coverage| coverage.covers(instance))
            }
        });
        // the one the instance names itself goes before others
        let own = instance.spec.backup.as_ref().map(|own| own.policy.to_string());
        all.sort_by_key(|policy| (Some(policy.name_any()) != own, policy.name_any()));
        all.into_iter().next()
    }

    fn order(&self, ground: &Ground<'_>, job: String) -> Result<(BackupOrder, Option<&'static str>), String> {
        let package = self.world.package.as_ref().ok_or("its package cannot be used")?;
        let method = methods::choose(package, ground.request.method.as_deref()).map_err(|error| error.to_string())?;
        let policy = ground.policy.as_ref().map(|policy| &policy.spec);
        let repository = self.shared.caches.backup_repositories.get(&ground.repository);
        let limit = repository.and_then(|repository| repository.spec.limits.as_ref()?.bandwidth.clone());
        let own = policy.and_then(|policy| policy.bandwidth.clone());
        let bandwidth = [own, limit].into_iter().flatten().filter_map(|quantity| quantity.bytes()).min();
        let archives = policy.and_then(|policy| policy.logs.as_ref()).is_some_and(|logs| logs.enabled);
        // where its log goes somewhere else, a backup would wait for it in vain
        let policies = self.shared.caches.backup_policies.list();
        let collector = collector(
            policies.iter().map(AsRef::as_ref).filter(|policy| writes(&self.shared.caches, policy)),
            ground.instance,
        );
        let comes = collector.is_some_and(|policy| policy.spec.repository.as_str() == ground.repository.name);
        let wanted = Wanted {
            job,
            method,
            type_: ground.request.type_.unwrap_or(BackupType::Full),
            labels: ground.request.labels.clone().unwrap_or_default(),
            bandwidth,
            timeout: patience(&self.operation.spec).0,
            with_log: archives && comes && method.1.logs.is_some(),
            set: parts(self.world).and_then(|parts| Some((self.operation.uid()?, parts))),
        };
        let Look { opened, catalog, .. } = &ground.look;
        let order = orders::backup(wanted, ground.instance, ground.owner.clone(), opened, catalog);
        let (mut order, why) = order.map_err(|error| error.to_string())?;
        // what is lost already is why somebody restores: what is left is kept all the same
        let allowed = ground.request.allow_shrink.unwrap_or_default();
        order.may_shrink = allowed || self.operation.spec.type_ == OperationType::Restore;
        Ok((order, why))
    }
}

/// Ends the job. Nothing where it had its end already, which counts then.
async fn cancel(agent: &Agent, begun: bool) -> Option<Outcome> {
    match agent.client.cancel_backup(&agent.key, CANCEL).await {
        Ok(progress) if matches!(progress.outcome, Some(Ended::Committed { .. } | Ended::Restored { .. })) => None,
        Ok(progress) => Some(Outcome::Failed { message: progress.doing, refused: true }),
        Err(problem) if problem.code == Code::NotFound => {
            let message = if begun {
                "it was cancelled, and its agent no longer knows of it".to_owned()
            } else {
                format!("it was cancelled before it began; {UNTOUCHED}")
            };
            Some(Outcome::Failed { message, refused: true })
        }
        Err(problem) => Some(Outcome::Goes(format!("it is being cancelled: {problem}"))),
    }
}

async fn follow(agent: &Agent, order: &BackupOrder) -> Result<Option<JobProgress>, Outcome> {
    let stream = agent.client.backup(order, BEGIN).await.map_err(outcome)?;
    newest(stream, FOLLOW).await.map_err(outcome)
}

/// A job that failed has failed: only a further attempt, which is another job, can do better.
pub(super) fn outcome_of_failure(problem: &crate::lifecycle::Problem) -> Outcome {
    match outcome(problem.clone()) {
        Outcome::Goes(message) => Outcome::Failed { message, refused: false },
        other => other,
    }
}

async fn hold(ground: &Ground<'_>, id: Id) -> Result<(), String> {
    let key = ground.look.opened.key.as_ref().ok_or("the repository is only read")?;
    let wish = Wish { at: Timestamp::now(), hold: true, labels: None };
    let place = Place { owner: ground.owner.clone(), id };
    // whoever comes back to it finds it held, and writes nothing over what people want by now
    if matches!(wish::newest(&ground.look.opened.repository, &place).await, Ok(Some(there)) if there.hold) {
        return Ok(());
    }
    wish::record(&ground.look.opened.repository, &place, &wish, key).await.map_err(|error| error.to_string())
}

/// Whether the parts that were made are a backup: the repository tells.
async fn whole(ground: &Ground<'_>, id: Id) -> Result<(), Outcome> {
    let read = Catalog::of(&ground.look.opened.repository, &ground.owner).await;
    let catalog = read.map_err(|error| {
        Outcome::Goes(format!("the last part {id} is complete, and the others cannot be looked at: {error}"))
    })?;
    let place = Place { owner: ground.owner.clone(), id };
    let set = catalog.get(&place).and_then(|found| catalog.set_of(found));
    let checked = set.as_ref().map_or(Err(SetError::Nothing), Set::check);
    checked.map_err(|error| Outcome::Failed {
        message: format!("{error}; what was made is no backup of the whole instance, make another one"),
        refused: true,
    })
}

fn summary(ground: &Ground<'_>, progress: &JobProgress, id: Id, why: Option<&str>) -> String {
    let took = progress
        .ended_at
        .map_or(String::new(), |ended| format!(" in {}", span(ended.duration_since(progress.started_at))));
    let full = why.map_or(String::new(), |why| format!("; a full one, because {why}"));
    format!(
        "made the backup {id} in {}: {} of data, {} stored{took}{full}",
        ground.repository.name,
        size(progress.source_bytes),
        size(progress.stored_bytes)
    )
}
