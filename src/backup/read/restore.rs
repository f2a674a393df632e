//! The streams of a backup, as they were. Chunks are fetched ahead and handed out in order; each is checked before a byte
//! of it leaves, and every error names the object and what is wrong with it.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::{StreamExt, TryStreamExt};
use serde_json::Value;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::Found;
use crate::backup::digest::Digest;
use crate::backup::keys::{Opener, SealError, Sealer};
use crate::backup::manifest::{IndexEntry, Stored, Stream, listing_digest};
use crate::backup::repository::Repository;
use crate::backup::store::{Key, StoreError, list_all};
use crate::backup::words::in_bytes;

/// An index of the longest backup there can be, opened.
const LARGEST_INDEX: u64 = 512 << 20;
const LARGEST_DESCRIPTION: u64 = 4 << 20;

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{} has {} and {} are wanted: it was cut or changed", .0, in_bytes(*.1), .2)]
    Size(Key, u64, u64),
    #[error("{0} is damaged or was changed: its digest is not the one that was signed")]
    Digest(Key),
    #[error("{0}: {1}")]
    Seal(Key, SealError),
    #[error("{0} opens, and what is in it is not what was written: another chunk was put into its place")]
    Content(Key),
    #[error("{0}: {1}")]
    Malformed(Key, String),
    #[error("this backup has no stream {0:?}; it has {1}")]
    NoStream(String, String),
    #[error("what was restored cannot be handed on: {0}")]
    Output(std::io::Error),
    #[error("a worker died: {0}")]
    Worker(String),
}

/// A backup whose index was read.
pub struct Content<'a> {
    repository: &'a Repository,
    found: &'a Found,
    opener: Opener,
    suffix: &'static str,
    index: Vec<IndexEntry>,
}

impl<'a> Content<'a> {
    pub async fn open(repository: &'a Repository, found: &'a Found, opener: Opener) -> Result<Self, ReadError> {
        let suffix = match &found.manifest.epoch {
            Some(_) => crate::backup::keys::ENCRYPTED,
            None => Sealer::Clear.suffix(),
        };
        let key = found.place.index(suffix);
        let plain = fetch(repository, &key, &found.manifest.index, &opener, LARGEST_INDEX).await?;
        let malformed = |reason: String| ReadError::Malformed(key.clone(), reason);
        let mut index = Vec::new();
        for line in plain.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            index.push(serde_json::from_slice(line).map_err(|error| malformed(error.to_string()))?);
        }
        let content = Self { repository, found, opener, suffix, index };
        content.check().map_err(malformed)?;
        Ok(content)
    }

    /// The index must be the one the manifest was signed for, chunk by chunk.
    fn check(&self) -> Result<(), String> {
        let manifest = &self.found.manifest;
        let listing = self.index.iter().map(|entry| (entry.number, &entry.stored.sha256, entry.stored.bytes));
        if listing_digest(listing) != manifest.chunks.listing {
            return Err("it names other chunks than the manifest".into());
        }
        let mut next = 0;
        for stream in &manifest.streams {
            let run = self.run(stream).ok_or("it has fewer chunks than the manifest")?;
            let right = stream.first == next
                && run.iter().zip(next..).all(|(entry, number)| entry.number == number)
                && run.iter().map(|entry| entry.bytes).sum::<u64>() == stream.bytes;
            if !right {
                return Err(format!("the chunks of stream {:?} are not those of the manifest", stream.name));
            }
            next += stream.chunks;
        }
        if next != self.index.len() as u64 {
            return Err("it has more chunks than the manifest".into());
        }
        Ok(())
    }

    fn run(&self, stream: &Stream) -> Option<&[IndexEntry]> {
        let first = usize::try_from(stream.first).ok()?;
        let end = usize::try_from(stream.first.checked_add(stream.chunks)?).ok()?;
        self.index.get(first..end)
    }

    pub fn streams(&self) -> &[Stream] {
        &self.found.manifest.streams
    }

    /// What only those with a key may read.
    pub fn description(&self) -> Result<BTreeMap<String, Value>, ReadError> {
        let key = self.found.place.manifest();
        let malformed = |reason: String| ReadError::Malformed(key.clone(), format!("its description: {reason}"));
        let sealed = STANDARD.decode(&self.found.manifest.description).map_err(|error| malformed(error.to_string()))?;
        let plain = self.opener.open(&sealed, LARGEST_DESCRIPTION);
        let plain = plain.map_err(|error| ReadError::Seal(key.clone(), error))?;
        serde_json::from_slice(&plain).map_err(|error| malformed(error.to_string()))
    }

    /// The first chunk that the store does not have as it was written, and what is wrong with it. What lies there besides does no
    /// harm, and what a listing leaves out is asked for.
    pub async fn missing(&self) -> Result<Option<String>, StoreError> {
        let store = self.repository.store();
        let shown = list_all(store, &self.found.place.chunks()).await?;
        let shown: BTreeMap<Key, u64> = shown.into_iter().map(|object| (object.key, object.size)).collect();
        for entry in &self.index {
            let key = self.found.place.chunk(entry.number, &entry.stored.sha256, self.suffix);
            let size = match shown.get(&key) {
                Some(size) => *size,
                None => match store.head(&key).await {
                    Ok(object) => object.size,
                    Err(error) if error.is_not_found() => return Ok(Some(format!("{key} is not there"))),
                    Err(error) if error.is_about_object() => return Ok(Some(error.to_string())),
                    Err(error) => return Err(error),
                },
            };
            if size != entry.stored.bytes {
                let wanted = in_bytes(entry.stored.bytes);
                return Ok(Some(format!("{key} has {} instead of {wanted}", in_bytes(size))));
            }
        }
        Ok(None)
    }

    /// Hands out a stream, with so many chunks fetched ahead. Memory is that many chunks, twice.
    pub async fn restore(
        &self,
        stream: &str,
        to: &mut (dyn AsyncWrite + Send + Unpin),
        ahead: usize,
    ) -> Result<u64, ReadError> {
        let names = || self.streams().iter().map(|stream| stream.name.as_str()).collect::<Vec<_>>().join(", ");
        let missing = || ReadError::NoStream(stream.to_owned(), names());
        let wanted = self.streams().iter().find(|one| one.name == stream).ok_or_else(missing)?;
        let run = self.run(wanted).unwrap_or_default();
        let mut chunks = futures::stream::iter(run).map(|entry| self.chunk(entry)).buffered(ahead.max(1));
        let mut written = 0;
        while let Some(plain) = chunks.try_next().await? {
            to.write_all(&plain).await.map_err(ReadError::Output)?;
            written += plain.len() as u64;
        }
        to.flush().await.map_err(ReadError::Output)?;
        Ok(written)
    }

    async fn chunk(&self, entry: &IndexEntry) -> Result<Vec<u8>, ReadError> {
        let key = self.found.place.chunk(entry.number, &entry.stored.sha256, self.suffix);
        let plain = fetch(self.repository, &key, &entry.stored, &self.opener, entry.bytes).await?;
        if plain.len() as u64 != entry.bytes || Digest::of(&plain) != entry.sha256 {
            return Err(ReadError::Content(key));
        }
        Ok(plain)
    }
}

/// Reads an object and opens it, if it is the one that was stored.
pub(crate) async fn fetch(
    repository: &Repository,
    key: &Key,
    stored: &Stored,
    opener: &Opener,
    most: u64,
) -> Result<Vec<u8>, ReadError> {
    let sealed = repository.store().get(key, None).await?;
    if sealed.len() as u64 != stored.bytes {
        return Err(ReadError::Size(key.clone(), sealed.len() as u64, stored.bytes));
    }
    let (expected, opener) = (stored.sha256, opener.clone());
    let opened = tokio::task::spawn_blocking(move || {
        if Digest::of(&sealed) == expected { Ok(opener.open(&sealed, most)) } else { Err(()) }
    });
    match opened.await.map_err(|error| ReadError::Worker(error.to_string()))? {
        Ok(plain) => plain.map_err(|error| ReadError::Seal(key.clone(), error)),
        Err(()) => Err(ReadError::Digest(key.clone())),
    }
}
