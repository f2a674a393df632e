//! GitSource: fetch, read, plan, apply, record, say so.

mod apply;
mod audit;
mod descent;
mod drift;
mod failed;
mod leave;
mod live;
mod look;
mod memory;
pub mod needed;
mod news;
pub mod objects;
pub mod once;
mod pace;
pub mod problem;
pub mod secrets;
pub mod settings;
mod status;
pub mod trust;
mod unusable;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::{Client, ResourceExt};
use tokio::sync::{Semaphore, SemaphorePermit, TryAcquireError};
use tokio::time::Instant;

use super::Options;
use super::caches::Caches;
use super::frame::{Failure, Next, Reconciler};
use super::pushes::Pushes;
use super::queues::Queues;
use crate::api::{GitSource, Kind, labels};
use crate::cluster::Key;
use crate::cluster::events::Events;
use crate::plan::source::{ObjectId, Plan, Situation, What, plan};
use crate::repo::{Remotes, short};
use audit::{Sync, finished};
use descent::Descent;
use drift::Drift;
use leave::Leaving;
use live::{Observed, Part, Settled};
use look::{Look, Seen};
use memory::{Memory, Remembered};
use once::Operations;
use settings::Settings;
use status::Report;

/// Why a sync is tried again that told itself what failed.
const NOT_ALL_APPLIED: &str = "NotAllApplied";
/// Sources that never answered, and sources that did not answer last time, which may be looked at together. Whoever waits
/// for a server holds a worker, and those that are known to answer must find one.
const DOUBTFUL_AT_ONCE: usize = 24;
/// When one that found no place among them asks again.
const NO_PLACE: Duration = Duration::from_secs(1);
/// How long what was just published may take to come back by the watch.
const SETTINGS_SEEN: Duration = Duration::from_secs(20);

/// Brings the cluster to what repositories say.
pub struct GitSources {
    client: Client,
    config: kube::Config,
    caches: Arc<Caches>,
    events: Events,
    queues: Queues,
    pushes: Arc<Pushes>,
    cache_dir: PathBuf,
    cluster_name: String,
    allow_insecure: bool,
    memory: Memory,
    remotes: Remotes,
    started: Instant,
    /// Who may write now; looking at repositories is mostly waiting for servers, and takes no turn.
    turns: Semaphore,
    /// Who may look at a repository that never answered, and who at one that did not last time.
    new: Semaphore,
    failed: Semaphore,
}

impl GitSources {
    pub fn new(
        connection: (Client, kube::Config),
        caches: Arc<Caches>,
        events: Events,
        order: (Queues, Arc<Pushes>),
        options: &Options,
    ) -> Self {
        let ((client, config), (queues, pushes)) = (connection, order);
        let Options { cache_dir, cluster_name, allow_insecure_git, workers, .. } = options;
        Self {
            client,
            config,
            caches,
            events,
            queues,
            pushes,
            cache_dir: cache_dir.clone(),
            cluster_name: cluster_name.to_string(),
            allow_insecure: *allow_insecure_git,
            memory: Memory::default(),
            remotes: Remotes::default(),
            started: Instant::now(),
            turns: Semaphore::new(*workers),
            new: Semaphore::new(DOUBTFUL_AT_ONCE),
            failed: Semaphore::new(DOUBTFUL_AT_ONCE),
        }
    }

    /// The source that has to look again because this object changed, where one wants the object.
    pub fn touched(&self, id: &ObjectId) -> Option<Key> {
        self.memory.touched(id)
    }
}

impl Reconciler for GitSources {
    const KIND: &'static str = "GitSource";

    async fn reconcile(&self, key: &Key) -> Result<Next, Failure> {
        let Some(source) = self.caches.git_sources.get(key) else {
            if let Some(reason) = self.caches.git_sources.unreadable(key) {
                return Err(Failure::new("Unreadable", reason));
            }
            self.released(key).await;
            self.memory.forget(key);
            return Ok(Next::WhenChanged);
        };
        self.forget_another(key, &source).await;
        let remembered = self.memory.of(key);
        let mut remembered = remembered.lock().await;
        remembered.uid.clone_from(&source.metadata.uid);
        let source = remembered.newest(source);
        if source.metadata.deletion_timestamp.is_some() {
            return self.end(key, &source, &mut remembered).await;
        }
        leave::hold(&self.client, &source, leave::takes_along(&source)).await?;
        if source.spec.suspend == Some(true) {
            self.say(&source, &mut remembered, Report::Suspended).await?;
            return Ok(Next::WhenChanged);
        }
        let asked = source.metadata.generation.zip(Some(source.metadata.annotations.clone()));
        let due = |remembered: &Remembered| {
            remembered.poll_at.is_none_or(|at| at <= Instant::now()) || remembered.asked != asked
        };
        let anew = remembered.waited.is_none() && due(&remembered);
        let settings = match remembered.known_settings(&source).filter(|_| !anew) {
            Some(settings) => Ok(settings),
            None => self.settings(&source).await,
        };
        let settings = match settings {
            Ok(settings) => settings,
            Err(problem) => {
                remembered.leave_stale();
                let retry = problem.retry_in();
                self.say(&source, &mut remembered, Report::Unusable(problem)).await?;
                return Ok(Next::After(retry));
            }
        };
        remembered.renew(&settings.secrets);
        if let Some(known) = &mut remembered.settings {
            *known = (source.clone(), settings.clone());
        }
        if due(&remembered) {
            let place = self.place(&source, &remembered);
            remembered.waited = place.is_err().then(Instant::now);
            let Ok(_place) = place else {
                self.keep_up(&source, &settings, &mut remembered).await?;
                return Ok(Next::After(NO_PLACE));
            };
            let poll_at = Instant::now() + pace::poll(key, settings.interval);
            let looked = self.look(&settings, &mut remembered).await;
            // one that was cut off is no answer to whoever asked
            (remembered.asked, remembered.poll_at) = (asked, Some(poll_at));
            if let Err(problem) = looked {
                remembered.failed_looks = remembered.failed_looks.saturating_add(1);
                let retry = pace::retry(key, remembered.failed_looks, settings.interval);
                remembered.poll_at = Some(Instant::now() + retry);
                self.say(&source, &mut remembered, Report::NotFetched(problem)).await?;
                self.keep_up(&source, &settings, &mut remembered).await?;
                return Ok(Next::After(retry));
            }
        }
        let synced = self.sync(&source, &settings, &mut remembered).await;
        self.record(&source, &settings, &mut remembered).await;
        if let Err(failure) = &synced
            && failure.reason != NOT_ALL_APPLIED
        {
            let seen = remembered.seen.clone().filter(|_| remembered.failed_looks == 0);
            let fetched = seen.as_ref().map(|seen| (seen, &settings));
            self.say(&source, &mut remembered, Report::Failed { failure, fetched }).await?;
        }
        let (audit, noted) = (remembered.ledger.status.clone(), remembered.ledger.noted());
        self.say(&source, &mut remembered, Report::Recorded { audit, noted }).await?;
        remembered.settings = Some((source.clone(), settings.clone()));
        synced?;
        let until_poll =
            remembered.poll_at.map_or(settings.interval, |at| at.saturating_duration_since(Instant::now()));
        if std::mem::take(&mut remembered.cut) {
            return Ok(Next::After(Duration::from_millis(100)));
        }
        let until_retry = remembered.ledger.retry_at().map(|at| at.saturating_duration_since(Instant::now()));
        let wait = until_retry.map_or(until_poll, |retry| retry.min(until_poll));
        let until_unwatched =
            remembered.looked_at_unwatched.map(|at| settings.unwatched_look().saturating_sub(at.elapsed()));
        let wait = until_unwatched.map_or(wait, |unwatched| unwatched.min(wait));
        Ok(Next::After(wait.max(Duration::from_millis(100))))
    }
}

impl GitSources {
    async fn settings(&self, source: &GitSource) -> Result<Settings, settings::Problem> {
        Settings::read(source, &self.client, &self.remotes, self.allow_insecure, &self.cluster_name).await
    }

    /// A place among those that may look now: whoever answered last time has one always.
    fn place(
        &self,
        source: &GitSource,
        remembered: &Remembered,
    ) -> Result<Option<SemaphorePermit<'_>>, TryAcquireError> {
        let known = remembered.seen.is_some() || remembered.failed_looks > 0;
        let answers = if known { Some(remembered.failed_looks == 0) } else { status::answered(source) };
        match answers {
            Some(true) => Ok(None),
            Some(false) => self.failed.try_acquire().map(Some),
            None => self.new.try_acquire().map(Some),
        }
    }

    /// A source that is being deleted: with what it applied, or without.
    async fn end(&self, key: &Key, source: &GitSource, remembered: &mut Remembered) -> Result<Next, Failure> {
        let held = source.finalizers().iter().any(|one| one == labels::FINALIZER);
        if held && leave::takes_along(source) {
            let message = if source.spec.suspend == Some(true) {
                "suspended, and so what it applied stays; set spec.suspend to false to delete that too, or spec.deletionPolicy to Orphan to leave it".to_owned()
            } else {
                let account = source.spec.service_account_name.as_ref().map(ToString::to_string);
                let namespace = source.namespace().unwrap_or_default();
                let client = settings::acting(&namespace, account.as_deref(), &self.client, &self.config)?;
                match self.leave(source, &client).await? {
                    Leaving::Gone => String::new(),
                    Leaving::Waits(message) => message,
                }
            };
            if !message.is_empty() {
                self.say(source, remembered, Report::Leaving(message)).await?;
                return Ok(Next::After(Duration::from_secs(2)));
            }
        }
        if held {
            match self.settings(source).await {
                Ok(settings) => self.record_end(source, &settings, remembered).await,
                Err(problem) => tracing::warn!(problem = problem.message, "the end of the source is not recorded"),
            }
            if !leave::takes_along(source) {
                self.let_go(source).await;
            }
            leave::hold(&self.client, source, false).await?;
            // what is known now is done with: there is nothing more to tell when it is gone
            remembered.settings = None;
            self.memory.forget(key);
        }
        // where others still hold it, its end is recorded when it is gone
        Ok(Next::WhenChanged)
    }

    /// A source that went without waiting for anything: that is recorded with what is still known of it.
    async fn released(&self, key: &Key) {
        let remembered = self.memory.of(key);
        let mut remembered = remembered.lock().await;
        if let Some((source, settings)) = remembered.settings.take() {
            if !leave::takes_along(&source) {
                self.let_go(&source).await;
            }
            self.record_end(&source, &settings, &mut remembered).await;
        }
    }

    /// Records that a source is gone, once: nothing waits for a repository that cannot be reached.
    async fn record_end(&self, source: &GitSource, settings: &Settings, remembered: &mut Remembered) {
        let ledger = &mut remembered.ledger;
        let noted = ledger.note_end(source, settings, &self.client, &self.cache_dir).await;
        let problem = match noted {
            Ok(()) => ledger.push(source, settings, &self.client, &self.cache_dir).await,
            Err(problem) => Some(problem),
        };
        if let Some(problem) = problem {
            tracing::warn!(problem, "the end of the source could not be recorded");
        }
    }

    /// What a source said when it was last seen is kept up while nobody can look, and the record of that cannot get lost.
    async fn keep_up(&self, of: &GitSource, settings: &Settings, remembered: &mut Remembered) -> Result<(), Failure> {
        let synced = self.sync(of, settings, remembered).await;
        if !remembered.ledger.is_kept() {
            self.record(of, settings, remembered).await;
        }
        synced
    }

    /// Records what ended, and pushes everything that waits.
    async fn record(&self, source: &GitSource, settings: &Settings, remembered: &mut Remembered) {
        if remembered.take_ended() {
            let ledger = &mut remembered.ledger;
            let noted = ledger.note_ended(source, settings, (&self.client, &self.caches), &self.cache_dir).await;
            if let Err(problem) = noted {
                tracing::warn!(problem, "what ended could not be recorded yet");
                ledger.status.message = Some(problem);
                remembered.leave_ended();
                // too many that waited are told by what everything looks like now
                remembered.unsettled = true;
            }
        }
        let waits = remembered.ledger.push(source, settings, &self.client, &self.cache_dir).await;
        if let Some(cut) = remembered.ledger.take_cut() {
            let told = audit::told_of(&cut);
            tracing::error!(before = cut.before, found = cut.found, "the audit branch was rewritten");
            self.events.warning(source, "AuditRewritten", "Record", told).await;
            // the branch has to say what is applied
            remembered.unsettled = true;
            remembered.cut = true;
        }
        if let Some(problem) = waits {
            tracing::warn!(problem, "the record waits");
            // another reason is another event, with a note of its own
            let action = format!("Record: {}", &problem[..problem.floor_char_boundary(100)]);
            self.events.warning(source, "NotRecorded", &action, problem).await;
        }
    }

    /// The source that tells of an operation or a backup that ended.
    pub fn ended(&self, kind: Kind, key: &Key) -> Option<Key> {
        let source = match kind {
            Kind::Operation => finished::of_operation(&self.caches, self.caches.operations.get(key)?.as_ref()),
            Kind::Backup => finished::of_backup(&self.caches, self.caches.backups.get(key)?.as_ref()),
            _ => None,
        }?;
        self.memory.ended(&source);
        Some(source)
    }

    /// Asks the repository what is new, and reads it.
    async fn look(&self, settings: &Settings, remembered: &mut Remembered) -> Result<(), problem::Problem> {
        let look = Look::new(settings, &self.cache_dir, remembered.seen.take());
        let seen = tokio::task::spawn_blocking(move || look.run()).await.map_err(|_| problem::Problem::panicked())?;
        match seen {
            Ok(seen) => {
                tracing::debug!(commit = %seen.commit.id, "looked");
                remembered.unsettled |= remembered.failed_looks > 0;
                remembered.failed_looks = 0;
                remembered.seen = Some(seen);
                Ok(())
            }
            Err((problem, before)) => {
                remembered.seen = before;
                Err(problem)
            }
        }
    }

    /// Makes the cluster what the repository said when it was last seen. For a new commit that is looked at which it says
    /// something new of, or everything; otherwise only what somebody touched, and now and then what nobody tells of, and
    /// everything if that was more than a status. Where nothing is new and nothing was touched, nothing is looked at.
    async fn sync(&self, source: &GitSource, settings: &Settings, remembered: &mut Remembered) -> Result<(), Failure> {
        // what was read in another way is of no use before it is read anew
        let seen = remembered.seen.clone().filter(|seen| seen.is_read_as(settings));
        let Some(seen) = seen else {
            // nothing is due before that, and nobody comes back for it at once, again and again
            remembered.looked_at_unwatched = None;
            return Ok(());
        };
        // what was done before it was cut off has to be told and recorded, too
        remembered.unsettled |= remembered.begun.is_some();
        let touched = remembered.with_due(Part::Only(remembered.take_touched()), settings.unwatched_look());
        // the same commit can be read anew: with another key it says more
        let planned = remembered.planned.as_ref().is_some_and(|planned| planned.is(&seen));
        let news = !planned || remembered.is_asked_anew();
        if !news && !remembered.unsettled && touched.is_empty() {
            return Ok(());
        }
        remembered.begun = Some(Instant::now());
        let _turn = self.turns.acquire().await.expect("it is never closed");
        let client = settings.acting_client(&self.client, &self.config)?;
        remembered.operations.load(source, &seen, &self.client).await?;
        let part = match touched {
            part if news || remembered.unsettled => news::part(remembered, settings, &seen, part),
            Part::Everything => Part::Everything,
            part => {
                let known = (&mut remembered.settled, &remembered.operations, remembered.failed_looks == 0);
                let (plan, _) = self.decide(&client, settings, &seen, &part, known).await?;
                remembered.plain &= plan.is_plain();
                if plan.is_quiet() {
                    remembered.looked_at(&part);
                    remembered.begun = None;
                    return Ok(());
                }
                // there is something to do, or to tell
                Part::Everything
            }
        };
        let known = (&mut remembered.settled, &remembered.operations, remembered.failed_looks == 0);
        let (mut plan, live, part) = self.decide_from(&client, settings, &seen, part, known).await?;
        remembered.looked_at(&part);
        // deletions that waited and do not any more are told of, too, and whatever else was left as it was and is not now
        let waited = remembered.said.as_ref().is_some_and(|said| !said.held.is_empty());
        let mended = !remembered.plain && plan.is_plain();
        remembered.plain &= plan.is_plain();
        if !news && !remembered.unsettled && plan.is_quiet() && !waited && !mended {
            remembered.begun = None;
            return Ok(());
        }
        remembered.reverts.calm(&mut plan, self.started.elapsed());
        match &part {
            // those that go are waited for, so that the record tells when they are gone
            Part::Everything => {
                let ours = seen.desired.iter().map(|desired| &desired.id).chain(&plan.leaving);
                let ours = ours.filter(|id| !plan.foreign.contains_key(id));
                self.memory.own(&Key::of(source), ours.cloned());
            }
            Part::Unwatched(_) | Part::Only(_) => {
                let ours = part.desired(&seen).into_iter().map(|desired| desired.id.clone());
                self.memory.own_also(&Key::of(source), ours);
            }
        }
        self.assume(source, &seen, remembered).await?;
        let looked = part.desired(&seen).len();
        tracing::debug!(
            looked,
            actions = plan.actions.len(),
            held = plan.held.len(),
            in_sync = plan.in_sync,
            "planned"
        );
        self.say(source, remembered, Report::Applying { seen: &seen, changes: plan.actions.len() }).await?;
        let push = self.pushes.begin(&settings.label, &self.queues);
        let (results, took) = apply::carry_out(&plan, &seen, &live, settings, &client).await;
        let kept = remembered.operations.keep(source, &self.client, (&seen, &live, &results)).await;
        for done in results.iter().filter(|result| result.what == What::Revert && result.failure.is_none()) {
            remembered.reverts.done(&done.id, self.started.elapsed());
        }
        let descent = descent::look(source, settings, &seen, &self.cache_dir).await;
        self.tell(source, &seen, &plan, &results, descent).await;
        let mut drift = Drift::look(&plan, &seen, &client).await;
        // whoever waits for a server that is away keeps others from their turn
        if remembered.failed_looks == 0 {
            drift.propose(&seen, settings, &self.cluster_name, &self.cache_dir, &mut remembered.proposed).await;
        }
        let failed = results.iter().any(|result| result.failure.is_some());
        remembered.unsettled = failed || plan.leaves_open();
        remembered.plain = !failed && plan.is_plain();
        remembered.planned = Some(seen.clone());
        remembered.asked_at_plan.clone_from(&remembered.asked);
        // while the repository cannot be reached that is what there is to say, even though what it said is kept up
        if remembered.failed_looks == 0 {
            let (plan, drift) = (&plan, &drift);
            let report = Report::Synced { seen: &seen, plan, drift, results: &results, settings, descent };
            self.say(source, remembered, report).await?;
        }
        drop(push);
        let rewrite = match descent {
            Some(Descent::Rewritten(rewrite)) => Some(rewrite),
            _ => None,
        };
        let (also, part) = (Vec::new(), &part);
        let done = Sync { seen: &seen, plan: &plan, live: &live, part, results: &results, took, rewrite, also };
        let noted = remembered.ledger.note(source, settings, &self.client, &self.cache_dir, done).await;
        if let Err(problem) = noted {
            tracing::warn!(problem, "what was done could not be recorded yet");
            remembered.ledger.status.message = Some(problem);
            remembered.unsettled = true;
        }
        remembered.begun = None;
        if let Err(failure) = kept {
            remembered.unsettled = true;
            return Err(failure);
        }
        if failed {
            return Err(Failure::new(
                NOT_ALL_APPLIED,
                "some objects could not be applied; the status of the source names them",
            ));
        }
        Ok(())
    }

    /// Says what the repository assumes for environments, and waits until whoever resolves instances can know it: an
    /// instance that is made before would begin as another one.
    async fn assume(&self, source: &GitSource, seen: &Seen, remembered: &mut Remembered) -> Result<(), Failure> {
        let Some(settings) = &seen.settings else { return Ok(()) };
        let assumed = settings.applied();
        let key = Key::of(source);
        let known = || {
            let source = self.caches.git_sources.get(&key);
            source.is_none_or(|source| source.status.clone().unwrap_or_default().settings == assumed)
        };
        if known() {
            return Ok(());
        }
        self.say(source, remembered, Report::Assumes(assumed.clone())).await?;
        let patience = Instant::now() + SETTINGS_SEEN;
        while !known() {
            if Instant::now() >= patience {
                let message = "what midship.yaml says was published, and the watch of GitSources does not show it; \
                               nothing is applied before it does";
                return Err(Failure::new("SettingsNotSeen", message));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// The plan for everything, made from a part where nothing but actions follows from that; and the part it was made from.
    async fn decide_from(
        &self,
        client: &Client,
        settings: &Settings,
        seen: &Seen,
        part: Part,
        (settled, operations, newest): (&mut Settled, &Operations, bool),
    ) -> Result<(Plan, Observed, Part), Failure> {
        if !part.is_everything() {
            let (mut plan, live) = self.decide(client, settings, seen, &part, (settled, operations, newest)).await?;
            if plan.is_plain() {
                plan.in_sync = seen.desired.len().saturating_sub(plan.actions.len() + plan.done.len());
                return Ok((plan, live, part));
            }
        }
        let (plan, live) =
            self.decide(client, settings, seen, &Part::Everything, (settled, operations, newest)).await?;
        Ok((plan, live, Part::Everything))
    }

    /// The plan for a part of the objects, and what it was made from.
    async fn decide(
        &self,
        client: &Client,
        settings: &Settings,
        seen: &Seen,
        part: &Part,
        (settled, operations, newest): (&mut Settled, &Operations, bool),
    ) -> Result<(Plan, Observed), Failure> {
        let live = live::observe(&self.caches, client, settings, seen, part, settled).await?;
        let desired = part.desired(seen);
        let prune = settings.prune(&seen.commit);
        let mut plan = plan(&Situation {
            source: &settings.label,
            desired: &desired,
            live: &live.objects,
            unknown: &seen.unknown,
            untrusted: &|path| seen.is_untrusted(path),
            ignored: &|path| seen.ignored.get(path).cloned(),
            may_be_ignored: seen.may_be_ignored,
            needed: &|id| self.needed_by(id, &settings.label),
            // what a repository says of deletions counts, and cannot be known while it cannot be read; it may define by now
            // what it did not when it was last seen
            whole_tree_read: part.is_everything() && seen.settings.is_some() && newest,
            prune: seen.settings.as_ref().map_or(prune, |settings| settings.limit(prune)),
            drift: settings.drift,
        });
        operations.hold_back(&mut plan, seen);
        Ok((plan, live))
    }

    /// Events for what was done.
    async fn tell(
        &self,
        source: &GitSource,
        seen: &Seen,
        plan: &Plan,
        results: &[apply::Outcome],
        descent: Option<Descent>,
    ) {
        let commit = short(&seen.commit.id);
        if let Some(Descent::Rewritten(rewrite)) = descent {
            tracing::warn!(previous = %rewrite.previous, now = %rewrite.now, "the history was rewritten");
            self.events.warning(source, "HistoryRewritten", &format!("Apply {commit}"), rewrite.told()).await;
        }
        if results.iter().any(|result| result.failure.is_none()) {
            let note = format!("{}@{commit}: {}", seen.branch, apply::summary(results));
            self.events.normal(source, "Applied", &format!("Apply {commit}"), note).await;
        }
        for result in results.iter().filter(|result| result.failure.is_some()).take(10) {
            let reason = result.failure.as_deref().unwrap_or_default();
            self.events.warning(source, "NotApplied", &format!("Apply {}", result.id), reason.to_owned()).await;
        }
        if let Some(because) = &plan.held_because {
            self.events.warning(source, "Held", &format!("Prune {commit}"), because.clone()).await;
        }
    }

    async fn say(&self, source: &GitSource, remembered: &mut Remembered, report: Report<'_>) -> Result<(), Failure> {
        // what stood in the way is told until a sync tells otherwise, even if there is nothing new then
        remembered.unsettled |= matches!(report, Report::Suspended | Report::Unusable(_) | Report::Failed { .. });
        status::publish(&self.client, source, &mut remembered.said, report).await
    }
}
