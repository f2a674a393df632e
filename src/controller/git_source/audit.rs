//! The record of what was applied: a commit for each sync that changed something, on a branch of its own.
//!
//! The branch holds the last applied state of every object. What to commit follows from the difference between that and
//! what is applied now, so that nothing is lost and nothing is told twice when the controller dies in between.

mod record;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::apply::Outcome;
use super::live::Observed;
use super::look::Seen;
use super::settings::Settings;
use crate::api::GitSource;
use crate::api::git_source::AuditStatus;
use crate::diff::Redaction;
use crate::plan::source::{Plan, What};
use crate::repo::{
    Appended, AuditLog, Bounds, Cache, FileTree, Limits, ObjectId as GitId, Record, Remote, Signer, blob_id,
};

/// Records that wait while the remote is away; older ones are folded into what comes after.
const QUEUE: usize = 1000;

/// What is known of one source's record.
#[derive(Default)]
pub struct Ledger {
    /// The files of the branch, as far as they are known.
    files: Option<BTreeMap<String, GitId>>,
    redaction: Option<Arc<Redaction>>,
    queue: Vec<Record>,
    retry_at: Option<Instant>,
    failures: u32,
    told_failures: Vec<String>,
    pub status: AuditStatus,
}

/// What was just done.
pub struct Sync<'a> {
    pub seen: &'a Seen,
    pub plan: &'a Plan,
    pub live: &'a Observed,
    pub results: &'a [Outcome],
}

/// Where records go, and in whose name.
#[derive(Clone)]
pub struct Destination {
    pub remote: Remote,
    pub branch: String,
    pub cluster: String,
    pub committer: (String, String),
    pub signer: Option<Arc<Signer>>,
}

impl Ledger {
    /// When a failed push is tried again.
    pub fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Adds what was done to what has to be recorded.
    pub async fn note(
        &mut self,
        source: &GitSource,
        settings: &Settings,
        client: &Client,
        cache_dir: &Path,
        sync: Sync<'_>,
    ) -> Result<(), String> {
        let Some(destination) = &settings.audit else { return Ok(()) };
        let redaction = match &self.redaction {
            Some(redaction) => redaction.clone(),
            None => self.redaction.insert(Arc::new(redaction_key(source, client).await?)).clone(),
        };
        let before = match self.files.take() {
            Some(files) => files,
            None => self.read_branch(destination.clone(), cache_dir, settings).await?,
        };
        let after = record::files(settings, &sync, &before, &redaction);
        let edits = record::edits(&before, &after);
        let done = sync.results.iter().any(|result| result.failure.is_none());
        let failures: Vec<String> = sync.results.iter().filter_map(|result| result.failure.clone()).collect();
        let failed_anew = !failures.is_empty() && failures != self.told_failures;
        self.told_failures = failures;
        if !edits.is_empty() || done || failed_anew {
            self.queue.push(record::record(settings, destination, &sync, edits));
            if self.queue.len() > QUEUE {
                // what it would have told is in the difference to the branch
                self.queue.clear();
                self.files = None;
                return Err("too many records waited; they are told as one".to_owned());
            }
            self.retry_at = None;
        }
        let mut files = before;
        for (path, content) in after {
            match content {
                Some(content) => files.insert(path, blob_id(&content)),
                None => files.remove(&path),
            };
        }
        self.files = Some(files);
        Ok(())
    }

    /// Pushes what waits, in order.
    pub async fn push(&mut self, settings: &Settings, cache_dir: &Path) {
        let Some(destination) = settings.audit.clone() else {
            self.status = AuditStatus::default();
            return;
        };
        self.status.branch = Some(destination.branch.clone());
        if self.queue.is_empty() || self.retry_at.is_some_and(|at| at > Instant::now()) {
            return;
        }
        let records = self.queue.clone();
        let log = AuditLog::new(destination.remote.clone(), cache(cache_dir, &destination), &destination.branch);
        let bounds = Bounds::new(settings.timeout);
        let signer = destination.signer.clone();
        let pushed = tokio::task::spawn_blocking(move || log.append(&records, signer.as_deref(), &bounds)).await;
        let problem = match pushed {
            Ok(Ok(Appended::Pushed { tip, .. })) => {
                self.queue.clear();
                self.failures = 0;
                self.retry_at = None;
                self.status.commit = tip.map(|tip| tip.to_string()).or(self.status.commit.take());
                self.status.queued = None;
                self.status.message = None;
                return;
            }
            Ok(Ok(Appended::LostRace { .. })) => {
                "somebody else writes to the audit branch; give it to this controller alone".to_owned()
            }
            Ok(Ok(Appended::Refused { reason })) => {
                format!(
                    "the push was refused: {reason}; let these credentials push to {}, name others in spec.audit.credentials, or set spec.audit.enabled to false",
                    destination.branch
                )
            }
            Ok(Ok(Appended::Unreachable(error))) => error.to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "writing the record panicked; this is a defect of Midship, please report it".to_owned(),
        };
        self.failures = self.failures.saturating_add(1);
        let wait = Duration::from_secs(5).saturating_mul(2u32.saturating_pow(self.failures.min(7)));
        self.retry_at = Some(Instant::now() + wait);
        self.status.queued = u32::try_from(self.queue.len()).ok();
        if self.status.message.as_deref() != Some(&problem) {
            tracing::warn!(problem, "the record waits");
        }
        self.status.message = Some(problem);
    }

    /// The files that the branch has now.
    async fn read_branch(
        &self,
        destination: Destination,
        cache_dir: &Path,
        settings: &Settings,
    ) -> Result<BTreeMap<String, GitId>, String> {
        let cache = cache(cache_dir, &destination);
        let (timeout, folder) = (settings.timeout, record::folder(settings));
        let read = move || {
            let bounds = Bounds::new(timeout);
            let dir = cache.dir().to_owned();
            let log = AuditLog::new(destination.remote.clone(), cache, &destination.branch);
            let Some(tip) = log.tip(&bounds).map_err(|error| error.to_string())? else { return Ok(BTreeMap::new()) };
            let tree = Cache::new(dir).tree(tip.id).map_err(|error| error.to_string())?;
            let Ok(tree) = tree.at(&folder) else { return Ok(BTreeMap::new()) };
            let listing = tree.list(&Limits::default(), None).map_err(|error| error.to_string())?;
            Ok(listing.files().into_iter().map(|(path, file)| (path, file.id)).collect())
        };
        tokio::task::spawn_blocking(read).await.map_err(|_| "reading the record panicked".to_owned())?
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
    let name = format!("{}-audit-key", source.name_any());
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
    key.map(|key| Redaction::new(&key.0))
        .ok_or_else(|| format!("Secret {name} has no usable `{KEY}`; delete it, and it is made anew"))
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
