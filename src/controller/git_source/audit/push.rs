//! Pushing records, in their order; what cannot be pushed is kept in the cluster, and tried again.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use tokio::time::Instant;

use super::Ledger;
use super::branch::cache;
use super::kept::Kept;
use crate::api::GitSource;
use crate::api::git_source::AuditStatus;
use crate::controller::git_source::settings::{Destination, Settings};
use crate::repo::{Appended, AuditLog, Bounds, Record};

/// How a push ended.
enum Pushed {
    All,
    /// Others cut the branch; nothing was pushed.
    Cut,
}

impl Ledger {
    /// Pushes what waits, in order. What cannot be pushed is kept in the cluster. Returns why it waits, when that is new.
    pub async fn push(
        &mut self,
        source: &GitSource,
        settings: &Settings,
        client: &Client,
        cache_dir: &Path,
    ) -> Option<String> {
        let Some(destination) = settings.audit.clone() else {
            // what is on a branch by the time that somebody wants one again is read then, and no push is waited for
            (self.status, self.aimed, self.files) = (AuditStatus::default(), false, None);
            self.push_now();
            return None;
        };
        self.aim(source, &destination);
        self.agree(source);
        self.forget_pushed(source, client).await;
        if self.queue.is_empty() || self.retry_at.is_some_and(|at| at > Instant::now()) {
            return None;
        }
        let problem = self.try_push(settings, &destination, cache_dir).await.err();
        let Some(mut problem) = problem else {
            self.pushed.extend(self.queue.drain(..).filter_map(|waiting| waiting.kept));
            self.pushed.append(&mut self.superseded);
            self.failures = 0;
            self.retry_at = None;
            self.status.queued = None;
            self.status.message = None;
            self.forget_pushed(source, client).await;
            return None;
        };
        self.failures = self.failures.saturating_add(1);
        let wait = Duration::from_secs(5).saturating_mul(2u32.saturating_pow(self.failures.min(7)));
        self.retry_at = Some(Instant::now() + wait);
        match self.keep(source, client).await {
            Ok(()) => self.pushed.append(&mut self.superseded),
            Err(unkept) => problem = format!("{problem}; {unkept}"),
        }
        self.status.queued = u32::try_from(self.queue.len()).ok();
        let news = self.status.message.as_deref() != Some(&problem);
        self.status.message = Some(problem.clone());
        news.then_some(problem)
    }

    async fn try_push(
        &mut self,
        settings: &Settings,
        destination: &Destination,
        cache_dir: &Path,
    ) -> Result<(), String> {
        destination.usable()?;
        // it is cut once at most between two looks at it
        if let Pushed::Cut = self.try_once(settings, destination, cache_dir).await?
            && let Pushed::Cut = self.try_once(settings, destination, cache_dir).await?
        {
            return Err("others rewrite the audit branch all the time; give it to this controller alone".to_owned());
        }
        Ok(())
    }

    async fn try_once(
        &mut self,
        settings: &Settings,
        destination: &Destination,
        cache_dir: &Path,
    ) -> Result<Pushed, String> {
        let records: Vec<Record> = self.queue.iter().map(|waiting| waiting.record.clone()).collect();
        let log = AuditLog::new(destination.remote.clone(), cache(cache_dir, destination), &destination.branch);
        let log = log.after(self.known_tip());
        let bounds = Bounds::new(settings.timeout);
        let signer = destination.signer.clone();
        match tokio::task::spawn_blocking(move || log.append(&records, signer.as_deref(), &bounds)).await {
            Ok(Ok(Appended::Pushed { tip, .. })) => {
                self.status.commit = tip.map(|tip| tip.to_string()).or(self.status.commit.take());
                Ok(Pushed::All)
            }
            Ok(Ok(Appended::Rewritten { before, now })) => {
                self.found_cut(&before, now);
                // what the branch has now is read when the next record is made
                self.files = None;
                Ok(Pushed::Cut)
            }
            Ok(Ok(Appended::LostRace { .. })) => {
                Err("others write to the audit branch all the time; give it to this controller alone".to_owned())
            }
            Ok(Ok(Appended::Refused { reason })) => Err(format!(
                "the push was refused: {reason}; let these credentials push to {}, name others in spec.audit.credentials, or set spec.audit.enabled to false",
                destination.branch
            )),
            Ok(Ok(Appended::Unreachable(error))) => Err(error.to_string()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("writing the record panicked; this is a defect of Midship, please report it".to_owned()),
        }
    }

    /// Keeps in the cluster what could not be pushed.
    async fn keep(&mut self, source: &GitSource, client: &Client) -> Result<(), String> {
        let Some(redaction) = self.redaction.clone() else { return Ok(()) };
        let kept = Kept::new(source, client);
        let there = self.superseded.iter().chain(&self.pushed).copied();
        let last = self.queue.iter().filter_map(|waiting| waiting.kept).chain(there).max().unwrap_or_default();
        // later than what was kept before, whatever the clock says
        let first = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default().max(last + 1);
        let unkept = self.queue.iter_mut().filter(|waiting| waiting.kept.is_none());
        for (number, waiting) in (first..).zip(unkept) {
            kept.keep(number, &waiting.record, &redaction).await?;
            waiting.kept = Some(number);
        }
        Ok(())
    }

    /// Removes from the cluster what is on the branch now; what fails is tried again with the next push.
    async fn forget_pushed(&mut self, source: &GitSource, client: &Client) {
        let kept = Kept::new(source, client);
        while let Some(number) = self.pushed.last() {
            if let Err(problem) = kept.forget(*number).await {
                tracing::warn!(problem, "a record is on the branch and still kept in the cluster");
                return;
            }
            self.pushed.pop();
        }
    }
}
