//! The record of what was applied: a commit for each sync that changed something, on a branch of its own.
//!
//! The branch holds the last applied state of every object. What to commit follows from the difference between that and
//! what is applied now, so that nothing is lost and nothing is told twice when the controller dies in between.

mod branch;
mod cut;
pub mod finished;
mod kept;
mod key;
mod push;
mod record;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kube::{Client, ResourceExt};
use tokio::time::Instant;

pub use cut::{finding, told_of};
use finished::News;
use kept::Kept;
pub use record::committer;
use waiting::{Waiting, commits_of, files_of, may_wait};

use super::apply::Outcome;
use super::descent::Rewrite;
use super::failed;
use super::live::{Observed, Part};
use super::look::Seen;
use super::remaining::Remaining;
use super::settings::{Destination, Settings};
use crate::api::GitSource;
use crate::api::git_source::{AuditRewrite, AuditStatus};
use crate::api::labels::ACCEPT_AUDIT_REWRITE as ACCEPT_CUT;
use crate::cluster::Key;
use crate::controller::caches::Caches;
use crate::diff::Redaction;
use crate::plan::source::{ObjectId, Plan, What};
use crate::repo::{Edit, ObjectId as GitId, Record, blob_id};

/// What is known of one source's record.
#[derive(Default)]
pub struct Ledger {
    /// The files of the branch with everything that waits, as far as they are known.
    files: Option<BTreeMap<String, GitId>>,
    redaction: Option<Arc<Redaction>>,
    /// Records that are not pushed yet, in their order.
    queue: Vec<Waiting>,
    /// Whether it is known how far the branch was.
    aimed: bool,
    /// Whether those were read that an earlier controller kept.
    loaded: bool,
    /// Records that were pushed and are still kept.
    pushed: Vec<u64>,
    retry_at: Option<Instant>,
    failures: u32,
    /// What the branch says is not done, with everything that waits, as far as it is known.
    failed: Option<Vec<u8>>,
    /// The commit that was looked at for the last record.
    noted: Option<String>,
    /// The commits of records that were too many to wait, until another record names them.
    folded: Vec<String>,
    /// Where those are kept until the one that tells of them is.
    superseded: Vec<u64>,
    /// The commit of the newest record on the branch, as it was when the branch was read.
    recorded: Option<String>,
    /// The source whose end is the newest record on the branch, as it was when the branch was read.
    ended: Option<String>,
    /// What was found of a branch that others cut, until it was told.
    cut: Option<AuditRewrite>,
    pub status: AuditStatus,
}

/// What was just done.
pub struct Sync<'a> {
    pub seen: &'a Seen,
    pub plan: &'a Plan,
    pub live: &'a Observed,
    /// What was looked at; everything else is as the record says.
    pub part: &'a Part,
    pub results: &'a [Outcome],
    /// How long it took to do all that was planned.
    pub took: Duration,
    /// The commit does not follow from the one before it.
    pub rewrite: Option<Rewrite>,
    /// Commits before it that began to be applied, and nobody lived to record that.
    pub also: Vec<String>,
}

impl Ledger {
    /// Whether it is known which files the branch has; where it is not, more may be missing than one sync did.
    pub fn knows_branch(&self) -> bool {
        self.files.is_some()
    }

    /// When a failed push is tried again.
    pub fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// What stood in a push's way may be gone, or nothing is pushed any more: no time is waited for.
    pub fn push_now(&mut self) {
        (self.retry_at, self.failures) = (None, 0);
    }

    /// The same with a time to wait for.
    #[cfg(test)]
    pub fn push_at(&mut self, at: Option<Instant>) {
        self.retry_at = at;
    }

    /// The commit that was looked at for the last record, once nothing of that can get lost.
    pub fn noted(&self) -> Option<String> {
        self.noted.clone().filter(|_| self.is_kept())
    }

    /// Whether everything that waits is kept in the cluster, too.
    pub fn is_kept(&self) -> bool {
        self.queue.iter().all(|waiting| waiting.kept.is_some())
    }

    /// What began to be applied before this commit, where no record tells of it.
    fn unrecorded(&self, source: &GitSource, commit: &str) -> Vec<String> {
        let mut told: BTreeSet<String> = self.queue.iter().filter_map(Waiting::commit).collect();
        told.extend([Some(commit.to_owned()), self.noted.clone(), self.recorded.clone()].into_iter().flatten());
        let applying = source.status.iter().filter_map(|status| status.applying.as_ref());
        let begun = applying.flat_map(|applying| applying.unrecorded.iter().chain([&applying.commit]));
        self.folded.iter().chain(begun).filter(|begun| told.insert((*begun).clone())).cloned().collect()
    }

    /// Adds what was done to what has to be recorded.
    pub async fn note(
        &mut self,
        source: &GitSource,
        settings: &Settings,
        client: &Client,
        cache_dir: &Path,
        mut sync: Sync<'_>,
    ) -> Result<(), String> {
        let commit = sync.seen.commit.id.to_string();
        let Some(destination) = &settings.audit else {
            self.noted = Some(commit);
            return Ok(());
        };
        let redaction = self.prepare(source, destination, client).await?;
        let known = self.know(settings, cache_dir).await;
        sync.also = self.unrecorded(source, &commit);
        // while nobody knows what is on the branch, what was done is told with all there is that does not wait already, and
        // nothing else is
        let before = self.files.take().unwrap_or_else(|| files_of(&self.queue));
        let failed = failed::with_held(failed::all(sync.seen, sync.plan, sync.results), sync.plan);
        let told = failed::file(&failed, self.failed.as_deref());
        let mut after = record::files(settings, &sync, &before, &redaction);
        if told.is_some() || before.contains_key(&record::failures(&settings.folder())) {
            after.insert(record::failures(&settings.folder()), told.clone());
        }
        let edits = record::edits(&before, after);
        let done = sync.results.iter().any(|result| result.failure.is_none());
        let failed_anew = told.is_some() && told != self.failed;
        self.failed = told;
        let lost = sync.rewrite.is_some() || !sync.also.is_empty();
        let mut files = before;
        apply(&mut files, &edits);
        if done || failed_anew || lost || (!edits.is_empty() && known.is_ok()) {
            let record = record::record(settings, (destination, self.previous()), &sync, &failed, edits);
            self.folded.clear();
            self.add(record)?;
        }
        if known.is_ok() {
            self.files = Some(files);
        }
        self.noted = Some(commit);
        known
    }

    /// Adds what ended: operations and backups.
    pub async fn note_ended(
        &mut self,
        source: &GitSource,
        settings: &Settings,
        (client, caches): (&Client, &Caches),
        cache_dir: &Path,
    ) -> Result<(), String> {
        let Some(destination) = &settings.audit else { return Ok(()) };
        self.prepare(source, destination, client).await?;
        self.know(settings, cache_dir).await?;
        let Some(files) = &mut self.files else { return Ok(()) };
        let News { ended, gone } = finished::news(caches, settings, &Key::of(source), files);
        if ended.is_empty() {
            return Ok(());
        }
        let previous = self.status.record.clone();
        let record = record::of_ended(settings, (destination, previous), &ended, &gone);
        apply(files, &record.draft.edits);
        self.add(record)
    }

    /// The objects that the record has of a source that ends; none where nobody records, or its end is told already.
    pub async fn ends(
        &mut self,
        source: &GitSource,
        settings: &Settings,
        client: &Client,
        cache_dir: &Path,
    ) -> Result<Option<BTreeSet<ObjectId>>, String> {
        let Some(destination) = &settings.audit else { return Ok(None) };
        self.prepare(source, destination, client).await?;
        self.know(settings, cache_dir).await?;
        let told = match self.queue.last() {
            Some(last) => last.ended(),
            None => self.ended.clone(),
        };
        if told.is_some() && told == source.metadata.uid {
            return Ok(None);
        }
        let files = self.files.iter().flat_map(BTreeMap::keys);
        Ok(Some(files.filter_map(|path| record::object_at(settings, path)).collect()))
    }

    /// Adds the end of the source itself, with what remains of what it took along, where it did.
    pub fn note_end(
        &mut self,
        source: &GitSource,
        settings: &Settings,
        remaining: Option<&Remaining>,
    ) -> Result<(), String> {
        let Some(destination) = &settings.audit else { return Ok(()) };
        let files = self.files.take().unwrap_or_default();
        let end = record::End { uid: source.metadata.uid.as_deref(), remaining };
        self.add(record::of_end(settings, (destination, self.previous()), &end, &files))
    }

    /// The key of digests, and what an earlier controller left to be pushed.
    async fn prepare(
        &mut self,
        source: &GitSource,
        destination: &Destination,
        client: &Client,
    ) -> Result<Arc<Redaction>, String> {
        self.aim(source, destination);
        let redaction = match &self.redaction {
            Some(redaction) => redaction.clone(),
            None => self.redaction.insert(Arc::new(key::redaction_key(source, client).await?)).clone(),
        };
        if !self.loaded {
            let kept = Kept::new(source, client).load(&redaction).await?;
            let waiting = kept.into_iter().map(|(number, record)| Waiting { record, kept: Some(number) });
            self.queue.splice(0..0, waiting);
            self.loaded = true;
        }
        Ok(redaction)
    }

    /// The record that the next one follows.
    fn previous(&self) -> Option<String> {
        self.status.record.clone()
    }

    /// What was found of a branch that others cut, once: everything has to be looked at again, so that the branch tells
    /// what is applied.
    pub fn take_cut(&mut self) -> Option<AuditRewrite> {
        self.cut.take()
    }

    /// Somebody may have agreed to what was cut off.
    fn agree(&mut self, source: &GitSource) {
        let agreed = source.annotations().get(ACCEPT_CUT);
        let named = |cut: &AuditRewrite| agreed.is_some_and(|id| id.len() >= 7 && cut.before.starts_with(id.as_str()));
        if self.status.rewritten.as_ref().is_some_and(named) {
            self.status.rewritten = None;
        }
    }

    fn add(&mut self, record: Record) -> Result<(), String> {
        self.status.record = Some(record.id.clone());
        self.queue.push(Waiting { record, kept: None });
        self.retry_at = None;
        if may_wait(&self.queue) {
            return Ok(());
        }
        // what they would have told is in the difference to the branch, and what comes next names their commits
        self.folded = commits_of(&self.queue);
        // the chain goes on from the one before them
        self.status.record = self.queue.first().and_then(Waiting::previous);
        self.superseded.extend(self.queue.drain(..).filter_map(|waiting| waiting.kept));
        (self.files, self.noted) = (None, None);
        Err("too many records waited; they are told as one".to_owned())
    }
}

/// What a branch holds after edits.
fn apply(files: &mut BTreeMap<String, GitId>, edits: &[Edit]) {
    for Edit { path, content } in edits {
        match content {
            Some(content) => files.insert(path.clone(), blob_id(content)),
            None => files.remove(path),
        };
    }
}

/// What was done to an object, as people say it.
fn verb(what: What) -> &'static str {
    match what {
        What::Create => "Create",
        What::Adopt => "Adopt",
        What::Update => "Update",
        What::Revert => "Revert",
        What::Delete => "Delete",
    }
}
