//! The record of what was applied: a commit for each sync that changed something, on a branch of its own.
//!
//! The branch holds the last applied state of every object. What to commit follows from the difference between that and
//! what is applied now, so that nothing is lost and nothing is told twice when the controller dies in between.

mod cut;
pub mod finished;
mod kept;
mod record;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use sha2::{Digest, Sha256};
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
use super::settings::{Destination, Settings};
use crate::api::GitSource;
use crate::api::git_source::{AuditRewrite, AuditStatus};
use crate::api::labels::ACCEPT_AUDIT_REWRITE as ACCEPT_CUT;
use crate::cluster::Key;
use crate::controller::caches::Caches;
use crate::diff::Redaction;
use crate::plan::source::{AUDIT_KEY, Plan, What};
use crate::repo::{
    Appended, AuditLog, Bounds, Cache, CommitTree, Edit, FileTree, Limits, ObjectId as GitId, Record, TreeError,
    blob_id,
};

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

    /// Adds the end of the source itself.
    pub async fn note_end(
        &mut self,
        source: &GitSource,
        settings: &Settings,
        client: &Client,
        cache_dir: &Path,
    ) -> Result<(), String> {
        let Some(destination) = &settings.audit else { return Ok(()) };
        self.prepare(source, destination, client).await?;
        self.know(settings, cache_dir).await?;
        let files = self.files.take().unwrap_or_default();
        let took_along = super::leave::takes_along(source);
        self.add(record::of_end(settings, (destination, self.previous()), took_along, &files))
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
            None => self.redaction.insert(Arc::new(redaction_key(source, client).await?)).clone(),
        };
        if !self.loaded {
            let kept = Kept::new(source, client).load(&redaction).await?;
            let waiting = kept.into_iter().map(|(number, record)| Waiting { record, kept: Some(number) });
            self.queue.splice(0..0, waiting);
            self.loaded = true;
        }
        Ok(redaction)
    }

    /// Finds out which files the branch will have once everything is pushed that waits.
    async fn know(&mut self, settings: &Settings, cache_dir: &Path) -> Result<(), String> {
        let Some(destination) = settings.audit.clone().filter(|_| self.files.is_none()) else { return Ok(()) };
        let Branch { tip, mut files, last, recorded, failed, lost } =
            self.read_branch(destination, cache_dir, settings).await?;
        if let Some(before) = lost {
            // the chain of records goes on from the one that was cut off, and so shows the gap
            self.found_cut(&before, tip);
        } else {
            self.status.record = last.or(self.status.record.take());
        }
        (self.failed, self.recorded) = (failed, recorded);
        let failures = record::failures(&settings.folder());
        for waiting in &self.queue {
            let edits = &waiting.record.draft.edits;
            apply(&mut files, edits);
            if let Some(edit) = edits.iter().find(|edit| edit.path == failures) {
                self.failed.clone_from(&edit.content);
            }
            self.status.record = Some(waiting.record.id.clone());
        }
        self.files = Some(files);
        Ok(())
    }

    /// Where the record goes, and how far it is there as far as that was told. Another place begins anew.
    fn aim(&mut self, source: &GitSource, destination: &Destination) {
        let (branch, repository) = (destination.branch.clone(), destination.remote.url().to_string());
        let is_here = |status: &AuditStatus| {
            status.branch.as_ref() == Some(&branch) && status.repository.as_ref().is_none_or(|told| *told == repository)
        };
        if !self.aimed {
            self.aimed = true;
            let told = source.status.as_ref().and_then(|status| status.audit.clone()).filter(is_here);
            let AuditStatus { commit, record, rewritten, .. } = told.unwrap_or_default();
            self.status = AuditStatus { commit, record, rewritten, ..std::mem::take(&mut self.status) };
        } else if !is_here(&self.status) {
            self.status = AuditStatus::default();
            self.files = None;
        }
        (self.status.branch, self.status.repository) = (Some(branch), Some(repository));
    }

    /// The record that the next one follows.
    fn previous(&self) -> Option<String> {
        self.status.record.clone()
    }

    /// The tip after the last push.
    fn known_tip(&self) -> Option<GitId> {
        self.status.commit.as_deref().and_then(|tip| GitId::from_hex(tip.as_bytes()).ok())
    }

    /// Remembers that others cut the branch; what is on it now is what is built upon.
    fn found_cut(&mut self, before: &GitId, now: Option<GitId>) {
        let cut = AuditRewrite {
            before: before.to_string(),
            found: now.map(|tip| tip.to_string()),
            at: Timestamp::now().to_string(),
        };
        self.status.commit.clone_from(&cut.found);
        self.status.rewritten = Some(cut.clone());
        self.cut = Some(cut);
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

    /// The files that the branch has now.
    async fn read_branch(
        &self,
        destination: Destination,
        cache_dir: &Path,
        settings: &Settings,
    ) -> Result<Branch, String> {
        let cache = cache(cache_dir, &destination);
        let (timeout, folder, known) = (settings.timeout, settings.folder(), self.known_tip());
        let read = move || {
            let bounds = Bounds::new(timeout);
            let log = AuditLog::new(destination.remote.clone(), cache, &destination.branch);
            let Some(tip) = log.tip(&bounds).map_err(|error| error.to_string())? else {
                return Ok(Branch { lost: known, ..Branch::default() });
            };
            let lost = match known {
                Some(known) if !log.follows(tip.id, known, &bounds).map_err(|error| error.to_string())? => Some(known),
                _ => None,
            };
            let most = Limits { file_bytes: MOST_OF_A_RECORD, ..Limits::default() };
            let read = |whole: CommitTree| -> Result<Branch, TreeError> {
                let marker = whole.content(&record::marker(&folder), &most)?;
                let (last, recorded) =
                    (marker.as_deref().map(record::id_of), marker.as_deref().and_then(record::commit_of));
                let failed = whole.content(&record::failures(&folder), &most)?;
                let files = match whole.at(&folder).and_then(|tree| tree.list(&Limits::default(), None)) {
                    Ok(listing) => listing.files().into_iter().map(|(path, file)| (path, file.id)).collect(),
                    Err(TreeError::NoFolder(_)) => BTreeMap::new(),
                    Err(error) => return Err(error),
                };
                Ok(Branch { tip: Some(tip.id), files, last, recorded, failed, lost })
            };
            log.read(tip.id, &bounds, read).map_err(|error| error.to_string())
        };
        tokio::task::spawn_blocking(read).await.map_err(|_| "reading the record panicked".to_owned())?
    }
}

/// More than this is no record of ours.
const MOST_OF_A_RECORD: u64 = 64 << 20;

/// What is on the branch of this source.
#[derive(Default)]
struct Branch {
    tip: Option<GitId>,
    files: BTreeMap<String, GitId>,
    /// The newest record of this source.
    last: Option<String>,
    /// The commit it is of.
    recorded: Option<String>,
    /// What it says is not done.
    failed: Option<Vec<u8>>,
    /// What was pushed before and is not there any more.
    lost: Option<GitId>,
}

/// How a push ended.
enum Pushed {
    All,
    /// Others cut the branch; nothing was pushed.
    Cut,
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

fn cache(cache_dir: &Path, destination: &Destination) -> Cache {
    let name = format!("audit\n{}\n{}", destination.remote.url(), destination.branch);
    Cache::new(cache_dir.join(hex::encode(&Sha256::digest(name.as_bytes())[..16])))
}

/// The key that digests of secrets are made with: random, made once for each source, kept in a Secret beside it.
async fn redaction_key(source: &GitSource, client: &Client) -> Result<Redaction, String> {
    const KEY: &str = "key";
    let api: Api<Secret> = Api::namespaced(client.clone(), &source.namespace().unwrap_or_default());
    let name = format!("{}{AUDIT_KEY}", source.name_any());
    let failed = |error: kube::Error| format!("Secret {name}: {}", crate::cluster::problem::Problem::from_kube(&error));
    let secret = if let Some(secret) = api.get_opt(&name).await.map_err(failed)? {
        secret
    } else {
        let mut key = vec![0; 32];
        aws_lc_rs::rand::fill(&mut key).map_err(|_| "the system gives no random numbers".to_owned())?;
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                owner_references: source.controller_owner_ref(&()).map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            data: Some(BTreeMap::from([(KEY.to_owned(), ByteString(key))])),
            ..Secret::default()
        };
        api.create(&PostParams::default(), &secret).await.map_err(failed)?
    };
    let key = secret.data.and_then(|mut data| data.remove(KEY)).filter(|key| key.0.len() >= 16);
    key.map(|key| Redaction::new(&key.0)).ok_or_else(|| {
        format!(
            "Secret {name} has no usable `{KEY}`: names that end with {AUDIT_KEY} are those of Midship's own keys; keep \
             what is in it under another name, and it is made anew as soon as this one is free"
        )
    })
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
