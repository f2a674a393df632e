//! One attempt at a backup, from its first object to its manifest.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::pipeline::Pipeline;
use super::{Progress, Settings, Source, WriteError};
use crate::api::operation::BackupType;
use crate::backup::clock::Clock;
use crate::backup::digest::Digest;
use crate::backup::document::DocumentError;
use crate::backup::id::Id;
use crate::backup::keys::{Epoch, Sealer, SigningKey};
use crate::backup::layout::{Owner, Place};
use crate::backup::log;
use crate::backup::manifest::{
    Attempt, Chunks, Commit, IndexEntry, LogSpan, Manifest, Parent, Stored, Stream, Void, listing_digest,
};
use crate::backup::read::Found;
use crate::backup::repository::{FORMAT, Repository};
use crate::backup::store::{Body, LARGEST_OBJECT, list_all};
use crate::backup::words::in_bytes;

/// How far our clock and the store's may be apart: half of what a condemned backup waits.
const MOST_APART: SignedDuration = SignedDuration::from_hours(12);

/// What is to be backed up, and how.
#[derive(Clone, Debug)]
pub struct Request {
    pub owner: Owner,
    pub type_: BackupType,
    /// For an incremental backup, the one it adds to.
    pub parent: Option<Found>,
    pub method: String,
    pub engine: String,
    pub labels: BTreeMap<String, String>,
    /// What only those with a key may read: names, parameters, where it came from.
    pub description: BTreeMap<String, Value>,
    /// Who does it, for people.
    pub holder: String,
    /// None: in the clear, as somebody wanted it.
    pub epoch: Option<Epoch>,
}

/// A backup that is being made.
pub struct Writing<'a> {
    repository: &'a Repository,
    key: &'a SigningKey,
    clock: Clock,
    request: Request,
    place: Place,
    started_at: Timestamp,
    pipeline: Pipeline,
    streams: Vec<Stream>,
    entries: Vec<IndexEntry>,
}

/// A backup that is there.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    pub place: Place,
    pub manifest: Manifest,
    pub digest: Digest,
}

impl<'a> Writing<'a> {
    /// Begins. From here on retention knows that somebody works on it, and what it needs.
    pub async fn begin(
        repository: &'a Repository,
        key: &'a SigningKey,
        clock: Clock,
        request: Request,
        settings: Settings,
    ) -> Result<Self, WriteError> {
        let started_at = clock.now();
        let place = Place { owner: request.owner.clone(), id: Id::new(started_at) };
        let sealer = match &request.epoch {
            Some(epoch) => {
                epoch.check_canary(repository, None).await?;
                Sealer::To(epoch.recipient.clone())
            }
            None => Sealer::Clear,
        };
        let attempt = Attempt {
            format: FORMAT,
            owner: request.owner.clone(),
            id: place.id,
            type_: request.type_,
            parent: parent(&request)?,
            started_at,
            lease_seconds: i64::try_from(settings.lease.as_secs()).unwrap_or(i64::MAX),
            holder: request.holder.clone(),
        };
        repository.put_document(&place.attempt(), &attempt, key).await?;
        // ages decide what is removed, and the time of a backup what is replayed after it
        let shown = list_all(repository.store(), &place.folder()).await?;
        let stored_at = shown.iter().find(|object| object.key == place.attempt()).map(|object| object.modified);
        if let Some(stored_at) = stored_at
            && started_at.duration_since(stored_at).abs() > MOST_APART
        {
            let error = WriteError::Clock(started_at.duration_since(stored_at).abs());
            void(repository, key, &place, &error.to_string(), stored_at).await?;
            return Err(error);
        }
        // after the attempt is there: from now on retention keeps the parent, unless it had condemned it before
        if let Some(parent) = &request.parent
            && let Err(error) = check_parent(repository, parent).await
        {
            // left open, it would pass for one that is being made, and keep what it was to add to
            void(repository, key, &place, &error.to_string(), clock.now()).await?;
            return Err(error);
        }
        let pipeline = Pipeline {
            store: repository.shared_store(),
            place: place.clone(),
            sealer,
            budget: settings.budget(),
            workers: Arc::new(Semaphore::new(settings.workers.max(1))),
            settings,
            progress: Arc::new(Progress::default()),
        };
        let (streams, entries) = (Vec::new(), Vec::new());
        Ok(Self { repository, key, clock, request, place, started_at, pipeline, streams, entries })
    }

    /// Adds to what only those with a key may read.
    pub fn describe(&mut self, name: &str, value: Value) {
        self.request.description.insert(name.to_owned(), value);
    }

    /// Adds a label: everybody may read it.
    pub fn label(&mut self, name: &str, value: String) {
        self.request.labels.insert(name.to_owned(), value);
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    pub fn progress(&self) -> Arc<Progress> {
        self.pipeline.progress.clone()
    }

    /// Writes a stream. One that fails its gate is an error: the backup cannot be committed any more.
    pub async fn stream(&mut self, source: Source) -> Result<(), WriteError> {
        let named = !source.name.is_empty()
            && source.name.len() <= 64
            && source.name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
            && self.streams.iter().all(|stream| stream.name != source.name);
        if !named {
            return Err(WriteError::StreamName { what: format!("{:?}", source.name) });
        }
        self.in_time()?;
        let first = self.entries.len() as u64;
        let left = self.lease_left();
        let run = tokio::time::timeout(left, self.pipeline.run(source, first)).await;
        let (stream, entries) = run.map_err(|_| WriteError::LeaseOver(self.pipeline.settings.lease))??;
        self.streams.push(stream);
        self.entries.extend(entries);
        Ok(())
    }

    fn lease_left(&self) -> std::time::Duration {
        let passed = self.clock.now().duration_since(self.started_at);
        let lease = SignedDuration::try_from(self.pipeline.settings.lease).unwrap_or(SignedDuration::MAX);
        std::time::Duration::try_from(lease - passed).unwrap_or_default()
    }

    fn in_time(&self) -> Result<(), WriteError> {
        if self.lease_left().is_zero() { Err(WriteError::LeaseOver(self.pipeline.settings.lease)) } else { Ok(()) }
    }

    /// Ends it: proves that everything is there, and writes the manifest.
    pub async fn commit(self, log: Option<LogSpan>) -> Result<Committed, WriteError> {
        if self.streams.is_empty() {
            return Err(WriteError::Nothing);
        }
        if let Some(span) = &log {
            log::check_span(self.repository, span).await.map_err(|error| WriteError::Log(error.to_string()))?;
        }
        let index = self.write_index().await?;
        let listing = self.check_listing().await?;
        self.check_sample(&index).await?;
        let manifest = self.manifest(index, listing, log)?;
        self.in_time()?;
        self.put_manifest(manifest).await
    }

    async fn write_index(&self) -> Result<Stored, WriteError> {
        let mut lines = Vec::new();
        for entry in &self.entries {
            serde_json::to_writer(&mut lines, entry).expect("an entry is plain data");
            lines.push(b'\n');
        }
        let sealer = self.pipeline.sealer.clone();
        let sealed = tokio::task::spawn_blocking(move || sealer.seal(&lines)).await;
        let sealed = sealed.map_err(|error| WriteError::Worker(error.to_string()))?;
        let sealed = sealed.map_err(|error| WriteError::Seal { number: self.entries.len() as u64, error })?;
        if sealed.len() as u64 > LARGEST_OBJECT {
            return Err(WriteError::IndexTooLarge(sealed.len()));
        }
        let body = Body::new(sealed);
        let stored = Stored { bytes: body.bytes.len() as u64, sha256: body.sha256 };
        self.repository.store().put_new(&self.place.index(self.pipeline.sealer.suffix()), body).await?;
        Ok(stored)
    }

    /// The store must show every chunk of the index, with its size, and no other.
    async fn check_listing(&self) -> Result<Digest, WriteError> {
        let suffix = self.pipeline.sealer.suffix();
        let shown = list_all(self.repository.store(), &self.place.chunks()).await?;
        let mut shown = shown.iter();
        for entry in &self.entries {
            let key = self.place.chunk(entry.number, &entry.stored.sha256, suffix);
            match shown.next() {
                Some(object) if object.key == key && object.size == entry.stored.bytes => {}
                Some(object) => {
                    let found = format!(
                        "{key} of {} is wanted, and {} of {} is there",
                        in_bytes(entry.stored.bytes),
                        object.key,
                        in_bytes(object.size)
                    );
                    return Err(WriteError::NotStored(found));
                }
                None => return Err(WriteError::NotStored(format!("{key} is not there"))),
            }
        }
        if let Some(object) = shown.next() {
            return Err(WriteError::NotStored(format!("{} is there, and nobody wrote it", object.key)));
        }
        let entries = self.entries.iter();
        Ok(listing_digest(entries.map(|entry| (entry.number, &entry.stored.sha256, entry.stored.bytes))))
    }

    /// Reads the index and some chunks back; all of them where the store does not check what it is given.
    async fn check_sample(&self, index: &Stored) -> Result<(), WriteError> {
        let suffix = self.pipeline.sealer.suffix();
        let mut sample = vec![(self.place.index(suffix), index.sha256)];
        let object =
            |entry: &IndexEntry| (self.place.chunk(entry.number, &entry.stored.sha256, suffix), entry.stored.sha256);
        if self.repository.store().checks_content() {
            for _ in 0..self.pipeline.settings.sample.min(self.entries.len()) {
                let mut random = [0; 8];
                aws_lc_rs::rand::fill(&mut random).map_err(|_| WriteError::Worker("no random numbers".into()))?;
                let chosen = u64::from_le_bytes(random) % self.entries.len() as u64;
                sample.push(object(&self.entries[usize::try_from(chosen).expect("smaller than a length")]));
            }
        } else {
            sample.extend(self.entries.iter().map(object));
        }
        for (key, digest) in sample {
            let found = self.repository.store().get(&key, None).await?;
            if Digest::of(&found) != digest {
                return Err(WriteError::NotStored(format!("{key} reads back as something else")));
            }
        }
        Ok(())
    }

    fn manifest(&self, index: Stored, listing: Digest, log: Option<LogSpan>) -> Result<Manifest, WriteError> {
        let description = serde_json::to_vec(&self.request.description).expect("a map of plain data");
        let description = self.pipeline.sealer.seal(&description);
        let description = description.map_err(|error| WriteError::Seal { number: self.entries.len() as u64, error })?;
        Ok(Manifest {
            format: FORMAT,
            owner: self.place.owner.clone(),
            id: self.place.id,
            type_: self.request.type_,
            parent: parent(&self.request)?,
            method: self.request.method.clone(),
            engine: self.request.engine.clone(),
            started_at: self.started_at,
            completed_at: self.clock.now(),
            epoch: self.request.epoch.as_ref().map(|epoch| epoch.name.clone()),
            chunks: Chunks {
                count: self.entries.len() as u64,
                source_bytes: self.entries.iter().map(|entry| entry.bytes).sum(),
                stored_bytes: self.entries.iter().map(|entry| entry.stored.bytes).sum(),
                listing,
            },
            streams: self.streams.clone(),
            index,
            log,
            labels: self.request.labels.clone(),
            description: STANDARD.encode(description),
            writer: concat!("midship ", env!("CARGO_PKG_VERSION")).to_owned(),
        })
    }

    async fn put_manifest(self, manifest: Manifest) -> Result<Committed, WriteError> {
        let place = self.place.manifest();
        let commit = Commit::Backup(Box::new(manifest.clone()));
        match self.repository.put_document(&place, &commit, self.key).await {
            Ok(()) => {}
            Err(error) if error.already_exists() => return Err(self.fenced().await),
            Err(error) if error.is_transient() => return Err(WriteError::Unknown(place, error)),
            Err(error) => return Err(error.into()),
        }
        let stored = self.repository.store().get(&place, None).await;
        let stored = stored.map_err(|error| WriteError::Unknown(place.clone(), error))?;
        match self.repository.domain().open(&place, &stored, self.repository.signers())? {
            Commit::Backup(found) if *found == manifest => {}
            _ => return Err(WriteError::NotStored(format!("{place} reads back as something else"))),
        }
        Ok(Committed { place: self.place, manifest, digest: Digest::of(&stored) })
    }

    async fn fenced(&self) -> WriteError {
        match self.repository.document(&self.place.manifest()).await {
            Ok(Commit::Void(void)) => WriteError::Fenced(void.reason),
            Ok(Commit::Backup(_)) => WriteError::Fenced("another backup lies in its place".into()),
            Err(error) => error.into(),
        }
    }

    /// Gives it up: nobody has to wait for the lease to end, and the reason stays to be read.
    pub async fn give_up(self, reason: &str) -> Result<(), WriteError> {
        void(self.repository, self.key, &self.place, reason, self.clock.now()).await
    }
}

/// Puts the end of an attempt in the place of its manifest, unless something is there.
pub(crate) async fn void(
    repository: &Repository,
    key: &SigningKey,
    place: &Place,
    reason: &str,
    at: Timestamp,
) -> Result<(), WriteError> {
    let reason = reason.chars().take(1000).collect();
    let void = Void { format: FORMAT, owner: place.owner.clone(), id: place.id, at, reason };
    Ok(repository.put_document(&place.manifest(), &Commit::Void(void), key).await?)
}

fn parent(request: &Request) -> Result<Option<Parent>, WriteError> {
    match (&request.parent, request.type_) {
        (Some(parent), BackupType::Incremental) if parent.place.owner == request.owner => {
            Ok(Some(Parent { id: parent.place.id, manifest: parent.digest }))
        }
        (None, BackupType::Full) => Ok(None),
        (Some(_), BackupType::Incremental) => Err(WriteError::Parent("it is of another instance".into())),
        (None, BackupType::Incremental) => Err(WriteError::Parent("there is none".into())),
        (Some(_), BackupType::Full) => Err(WriteError::Parent("a full backup has none".into())),
    }
}

/// First the tombstone, then the manifest: whoever removes a backup takes the manifest first and the tombstone last, so that
/// no moment shows a backup that is going as one that stays.
async fn check_parent(repository: &Repository, parent: &Found) -> Result<(), WriteError> {
    match repository.store().head(&parent.place.tombstone()).await {
        Ok(_) => return Err(WriteError::Parent(format!("{} is about to be removed", parent.place.id))),
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(DocumentError::from(error).into()),
    }
    let place = parent.place.manifest();
    match repository.store().get(&place, None).await {
        Ok(bytes) if Digest::of(&bytes) == parent.digest => Ok(()),
        Ok(_) => Err(WriteError::Parent(format!("{place} is another one now"))),
        Err(error) if error.is_not_found() => Err(WriteError::Parent(format!("{place} is gone"))),
        Err(error) => Err(error.into()),
    }
}
