//! What is on the audit branch: read when it is not known, and followed from then on, with everything that waits for it.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::{Ledger, apply, record};
use crate::api::GitSource;
use crate::api::git_source::{AuditRewrite, AuditStatus};
use crate::controller::git_source::settings::{Destination, Settings};
use crate::repo::{AuditLog, Bounds, Cache, CommitTree, FileTree, Limits, ObjectId as GitId, TreeError};

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
    /// The source whose end it tells.
    ended: Option<String>,
    /// What it says is not done.
    failed: Option<Vec<u8>>,
    /// What was pushed before and is not there any more.
    lost: Option<GitId>,
}

impl Ledger {
    /// Finds out which files the branch will have once everything is pushed that waits.
    pub(super) async fn know(&mut self, settings: &Settings, cache_dir: &Path) -> Result<(), String> {
        let Some(destination) = settings.audit.clone().filter(|_| self.files.is_none()) else { return Ok(()) };
        let Branch { tip, mut files, last, recorded, ended, failed, lost } =
            self.read_branch(destination, cache_dir, settings).await?;
        if let Some(before) = lost {
            // the chain of records goes on from the one that was cut off, and so shows the gap
            self.found_cut(&before, tip);
        } else {
            self.status.record = last.or(self.status.record.take());
        }
        (self.failed, self.recorded, self.ended) = (failed, recorded, ended);
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
    pub(super) fn aim(&mut self, source: &GitSource, destination: &Destination) {
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

    /// The tip after the last push.
    pub(super) fn known_tip(&self) -> Option<GitId> {
        self.status.commit.as_deref().and_then(|tip| GitId::from_hex(tip.as_bytes()).ok())
    }

    /// Remembers that others cut the branch; what is on it now is what is built upon.
    pub(super) fn found_cut(&mut self, before: &GitId, now: Option<GitId>) {
        let cut = AuditRewrite {
            before: before.to_string(),
            found: now.map(|tip| tip.to_string()),
            at: Timestamp::now().to_string(),
        };
        self.status.commit.clone_from(&cut.found);
        self.status.rewritten = Some(cut.clone());
        self.cut = Some(cut);
    }

    /// The files that the branch has now.
    async fn read_branch(
        &self,
        destination: Destination,
        cache_dir: &Path,
        settings: &Settings,
    ) -> Result<Branch, String> {
        destination.usable()?;
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
                let marker = marker.as_deref();
                let (last, recorded) = (marker.map(record::id_of), marker.and_then(record::commit_of));
                let ended = marker.and_then(record::ended_of);
                let failed = whole.content(&record::failures(&folder), &most)?;
                let files = match whole.at(&folder).and_then(|tree| tree.list(&Limits::default(), None)) {
                    Ok(listing) => listing.files().into_iter().map(|(path, file)| (path, file.id)).collect(),
                    Err(TreeError::NoFolder(_)) => BTreeMap::new(),
                    Err(error) => return Err(error),
                };
                Ok(Branch { tip: Some(tip.id), files, last, recorded, ended, failed, lost })
            };
            log.read(tip.id, &bounds, read).map_err(|error| error.to_string())
        };
        tokio::task::spawn_blocking(read).await.map_err(|_| "reading the record panicked".to_owned())?
    }
}

/// The local copy of the branch.
pub fn cache(cache_dir: &Path, destination: &Destination) -> Cache {
    let name = format!("audit\n{}\n{}", destination.remote.url(), destination.branch);
    Cache::new(cache_dir.join(hex::encode(&Sha256::digest(name.as_bytes())[..16])))
}
