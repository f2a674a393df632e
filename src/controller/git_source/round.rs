//! One round of a source: is it still wanted, is it time to ask the repository, what is there to sync and to record, and when
//! is the next round.

use std::time::Duration;

use tokio::sync::{SemaphorePermit, TryAcquireError};
use tokio::time::Instant;

use super::look::Look;
use super::memory::Remembered;
use super::settings::{self, Settings};
use super::status::{self, Report};
use super::sync::NOT_ALL_APPLIED;
use super::{GitSources, audit, leave, pace, problem};
use crate::api::GitSource;
use crate::cluster::Key;
use crate::controller::frame::{Failure, Next, Reconciler};

/// When one that found no place among those that look asks again.
const NO_PLACE: Duration = Duration::from_secs(1);

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
            let looked = self.look(&source, &settings, &mut remembered).await;
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
    pub(super) async fn settings(&self, source: &GitSource) -> Result<Settings, settings::Problem> {
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

    /// Asks the repository what is new, and reads it.
    async fn look(
        &self,
        source: &GitSource,
        settings: &Settings,
        remembered: &mut Remembered,
    ) -> Result<(), problem::Problem> {
        let look = Look::new(settings, &self.cache_dir, remembered.seen.take());
        let seen = tokio::task::spawn_blocking(move || look.run()).await.map_err(|_| problem::Problem::panicked())?;
        match seen {
            Ok(seen) => {
                tracing::debug!(commit = %seen.commit.id, "looked");
                remembered.unsettled |= remembered.failed_looks > 0;
                remembered.failed_looks = 0;
                remembered.saw(source, seen);
                Ok(())
            }
            Err((problem, before)) => {
                remembered.seen = before;
                Err(problem)
            }
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
}
