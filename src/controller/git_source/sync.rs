//! A sync, from its begin to its end: the cluster becomes what the repository said when it was last seen, and that is told
//! and recorded.

use std::time::Duration;

use kube::Client;
use tokio::time::Instant;

use super::apply::{self, Outcome};
use super::audit;
use super::descent::{self, Descent};
use super::drift::Drift;
use super::live::{Observed, Part};
use super::look::Seen;
use super::memory::Remembered;
use super::settings::Settings;
use super::status::Report;
use super::{GitSources, news};
use crate::api::GitSource;
use crate::cluster::Key;
use crate::controller::frame::Failure;
use crate::plan::source::{ObjectId, Plan, What};
use crate::repo::short;

/// Why a sync is tried again that told itself what failed.
pub const NOT_ALL_APPLIED: &str = "NotAllApplied";
/// How long what was just published may take to come back by the watch.
const SETTINGS_SEEN: Duration = Duration::from_secs(20);

/// What a sync has to do, and what it was decided from.
struct Work {
    plan: Plan,
    live: Observed,
    part: Part,
}

/// What became of it.
struct Done {
    results: Vec<Outcome>,
    took: Duration,
    /// Whether it could be kept which operations were begun by it.
    kept: Result<(), Failure>,
}

impl GitSources {
    /// Makes the cluster what the repository said when it was last seen. For a new commit that is looked at which it says
    /// something new of, or everything; otherwise only what somebody touched, and now and then what nobody tells of, and
    /// everything if that was more than a status. Where nothing is new and nothing was touched, nothing is looked at.
    pub(super) async fn sync(
        &self,
        source: &GitSource,
        settings: &Settings,
        remembered: &mut Remembered,
    ) -> Result<(), Failure> {
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
        let Some(mut work) = self.work(&client, settings, &seen, (touched, news), remembered).await? else {
            remembered.begun = None;
            return Ok(());
        };
        remembered.reverts.calm(&mut work.plan, self.started.elapsed());
        self.own(source, &seen, &work);
        self.assume(source, &seen, remembered).await?;
        let (looked, actions, held) = (work.part.desired(&seen).len(), work.plan.actions.len(), work.plan.held.len());
        tracing::debug!(looked, actions, held, in_sync = work.plan.in_sync, "planned");
        self.say(source, remembered, Report::Applying { seen: &seen, changes: actions }).await?;
        // instances that are made wait until all of it is applied
        let push = self.pushes.begin(&settings.label, &self.queues);
        let done = self.carry_out(source, settings, &seen, (&work, &client), remembered).await;
        // what was as wanted by then counts with what was
        work.plan.in_sync += work.plan.actions.len().saturating_sub(done.results.len());
        let descent = self.conclude(source, settings, &seen, (&work, &done, &client), remembered).await?;
        drop(push);
        self.note(source, settings, (&seen, &work, &done, descent), remembered).await;
        remembered.begun = None;
        if let Err(failure) = done.kept {
            remembered.unsettled = true;
            return Err(failure);
        }
        if done.results.iter().any(|result| result.failure.is_some()) {
            return Err(Failure::new(
                NOT_ALL_APPLIED,
                "some objects could not be applied; the status of the source names them",
            ));
        }
        Ok(())
    }

    /// What there is to do or to tell; none where all is as it was said.
    async fn work(
        &self,
        client: &Client,
        settings: &Settings,
        seen: &Seen,
        (touched, news): (Part, bool),
        remembered: &mut Remembered,
    ) -> Result<Option<Work>, Failure> {
        let newest = remembered.failed_looks == 0;
        let part = match touched {
            part if news || remembered.unsettled => news::part(remembered, settings, seen, part),
            Part::Everything => Part::Everything,
            part => {
                let known = (&mut remembered.settled, &remembered.operations, newest);
                let (plan, _) = self.decide(client, settings, seen, &part, known).await?;
                remembered.plain &= plan.is_plain();
                if plan.is_quiet() {
                    remembered.looked_at(&part);
                    return Ok(None);
                }
                // there is something to do, or to tell
                Part::Everything
            }
        };
        let known = (&mut remembered.settled, &remembered.operations, newest);
        let (plan, live, part) = self.decide_from(client, settings, seen, part, known).await?;
        remembered.looked_at(&part);
        // deletions that waited and do not any more are told of, too, and whatever else was left as it was and is not now
        let waited = remembered.said.as_ref().is_some_and(|said| !said.held.is_empty());
        let mended = !remembered.plain && plan.is_plain();
        remembered.plain &= plan.is_plain();
        let all_is_told = !news && !remembered.unsettled && plan.is_quiet() && !waited && !mended;
        Ok((!all_is_told).then_some(Work { plan, live, part }))
    }

    /// From now on the source hears of each change of what it wants.
    fn own(&self, source: &GitSource, seen: &Seen, Work { plan, part, .. }: &Work) {
        let key = Key::of(source);
        match part {
            // those that go are waited for, so that the record tells when they are gone
            Part::Everything => {
                let ours = seen.desired.iter().map(|desired| &desired.id).chain(&plan.leaving);
                self.memory.own(&key, ours.filter(|id| !plan.foreign.contains_key(id)).cloned());
            }
            Part::Unwatched(_) | Part::Only(_) => {
                let ours = part.desired(seen).into_iter().map(|desired| desired.id.clone());
                self.memory.own_also(&key, ours);
            }
        }
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

    /// Does what is to be done.
    async fn carry_out(
        &self,
        source: &GitSource,
        settings: &Settings,
        seen: &Seen,
        (work, client): (&Work, &Client),
        remembered: &mut Remembered,
    ) -> Done {
        let needed = |id: &ObjectId| self.needed_by(id, &settings.label, &work.live.powerless);
        let (results, took) = apply::carry_out(&work.plan, seen, &work.live, settings, client, &needed).await;
        let kept = remembered.operations.keep(source, &self.client, (seen, &work.live, &results)).await;
        for done in results.iter().filter(|result| result.what == What::Revert && result.failure.is_none()) {
            remembered.reverts.done(&done.id, self.started.elapsed());
        }
        Done { results, took, kept }
    }

    /// Remembers and tells what was done. How the commit relates to the one before, where that is news.
    async fn conclude(
        &self,
        source: &GitSource,
        settings: &Settings,
        seen: &Seen,
        (Work { plan, .. }, Done { results, .. }, client): (&Work, &Done, &Client),
        remembered: &mut Remembered,
    ) -> Result<Option<Descent>, Failure> {
        let descent = descent::look(source, settings, seen, &self.cache_dir).await;
        let mut drift = Drift::look(plan, seen, client).await;
        // whoever waits for a server that is away keeps others from their turn
        let newest = remembered.failed_looks == 0;
        if newest {
            drift.propose(seen, settings, &self.cluster_name, &self.cache_dir, &mut remembered.proposed).await;
        }
        let failed = results.iter().any(|result| result.failure.is_some());
        remembered.unsettled = failed || plan.leaves_open();
        remembered.plain = !failed && plan.is_plain();
        remembered.planned = Some(seen.clone());
        remembered.asked_at_plan.clone_from(&remembered.asked);
        // while the repository cannot be reached that is what there is to say, even though what it said is kept up
        if newest {
            let report = Report::Synced { seen, plan, drift: &drift, results, settings, descent };
            self.say(source, remembered, report).await?;
        }
        self.tell(source, seen, plan, results, descent).await;
        Ok(descent)
    }

    /// Records what was done, or remembers that it has to be.
    async fn note(
        &self,
        source: &GitSource,
        settings: &Settings,
        (seen, work, done, descent): (&Seen, &Work, &Done, Option<Descent>),
        remembered: &mut Remembered,
    ) {
        let rewrite = match descent {
            Some(Descent::Rewritten(rewrite)) => Some(rewrite),
            _ => None,
        };
        let (Work { plan, live, part }, Done { results, took, .. }) = (work, done);
        let sync = audit::Sync { seen, plan, live, part, results, took: *took, rewrite, also: Vec::new() };
        if let Err(problem) = remembered.ledger.note(source, settings, &self.client, &self.cache_dir, sync).await {
            tracing::warn!(problem, "what was done could not be recorded yet");
            remembered.ledger.status.message = Some(problem);
            remembered.unsettled = true;
        }
    }

    /// Events for what was done.
    async fn tell(&self, source: &GitSource, seen: &Seen, plan: &Plan, results: &[Outcome], descent: Option<Descent>) {
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
}
