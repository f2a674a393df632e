//! Proving what is stored, without any private key: everything is there and nothing else (`list`), and what is read is what
//! was written (`read`). Restoring needs a key and an engine, and is somebody else's; `record` takes what they found.

use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;

use super::digest::Digest;
use super::document::DocumentError;
use super::keys::{CLEAR, ENCRYPTED, SigningKey};
use super::layout::{Place, read_chunk_name};
use super::log;
use super::manifest::{Level, SHARES, Verification, listing_digest};
use super::read::{Catalog, Found};
use super::repository::Repository;
use super::store::{Key, StoreError, list_all, list_notes};
use crate::backup::words::in_bytes;

const AT_ONCE: usize = 4;

#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Log(#[from] log::LogError),
}

/// Everything is there, with its size, and nothing else; the chain and the log it needs too.
pub async fn list(repository: &Repository, catalog: &Catalog, found: &Found) -> Result<Vec<String>, VerifyError> {
    let manifest = &found.manifest;
    let mut problems = Vec::new();
    let mut chunks = Vec::new();
    for object in list_all(repository.store(), &found.place.chunks()).await? {
        match read_chunk_name(&object.key) {
            Some((number, digest)) => chunks.push((number, digest, object.size)),
            None => problems.push(format!("{} does not belong there", object.key)),
        }
    }
    if listing_digest(chunks.iter().map(|(number, digest, size)| (*number, digest, *size))) != manifest.chunks.listing {
        problems.push(describe(found, &chunks));
    }
    let index = found.place.index(suffix(found));
    match repository.store().head(&index).await {
        Ok(object) if object.size == manifest.index.bytes => {}
        Ok(object) => {
            problems.push(format!("{index} has {} instead of {}", in_bytes(object.size), manifest.index.bytes));
        }
        Err(error) if error.is_not_found() => problems.push(format!("{index} is not there")),
        Err(error) if error.is_about_object() => problems.push(error.to_string()),
        Err(error) => return Err(error.into()),
    }
    if let Some(parent) = &manifest.parent {
        let target = super::read::Target::Backup(parent.id);
        if let Err(error) = catalog.chain(&found.place.owner, target) {
            problems.push(format!("it adds to {}: {error}", parent.id));
        }
    }
    if let Some(span) = &manifest.log {
        match log::check_span(repository, span).await {
            Ok(()) => {}
            Err(log::SpanError::Store(error)) => return Err(error.into()),
            Err(error) => problems.push(error.to_string()),
        }
    }
    Ok(problems)
}

/// What differs, as far as sizes and numbers tell.
fn describe(found: &Found, chunks: &[(u64, Digest, u64)]) -> String {
    let wanted = &found.manifest.chunks;
    let stored: u64 = chunks.iter().map(|(_, _, size)| size).sum();
    let missing = (0..wanted.count).find(|number| !chunks.iter().any(|(there, _, _)| there == number));
    let first = missing.map_or(String::new(), |number| format!("; chunk {number:08} is not there"));
    format!(
        "{} shows {} chunks of {}, and the manifest has {} of {}{first}",
        found.place.chunks(),
        chunks.len(),
        in_bytes(stored),
        wanted.count,
        in_bytes(wanted.stored_bytes)
    )
}

/// Reads the index and those chunks whose turn it is, or all of them, and compares what their bytes come to.
pub async fn read(repository: &Repository, found: &Found, part: Option<u64>) -> Result<Vec<String>, VerifyError> {
    let shares = found.manifest.chunks.shares();
    let mut objects: Vec<(Key, Digest)> = vec![(found.place.index(suffix(found)), found.manifest.index.sha256)];
    for object in list_all(repository.store(), &found.place.chunks()).await? {
        if let Some((number, digest)) = read_chunk_name(&object.key)
            && part.is_none_or(|part| number % shares == part % shares)
        {
            objects.push((object.key, digest));
        }
    }
    let looks = objects.into_iter().map(|(key, digest)| async move {
        match repository.store().get(&key, None).await {
            Ok(bytes) => {
                let right = tokio::task::spawn_blocking(move || Digest::of(&bytes) == digest).await.unwrap_or(false);
                Ok((!right).then(|| format!("{key} is damaged: its bytes are not those that were written")))
            }
            Err(error) if error.is_not_found() => Ok(Some(format!("{key} is not there"))),
            // what cannot be read cannot be restored; the others are looked at all the same
            Err(error) if error.is_about_object() => Ok(Some(error.to_string())),
            Err(error) => Err(error),
        }
    });
    let problems: Vec<Option<String>> = futures::stream::iter(looks).buffered(AT_ONCE).try_collect().await?;
    Ok(problems.into_iter().flatten().collect())
}

pub(super) fn suffix(found: &Found) -> &'static str {
    if found.manifest.epoch.is_some() { ENCRYPTED } else { CLEAR }
}

/// The share whose turn it is to be read, after the one that was read last. Damage that was found before is gone only when
/// all of it is read again.
pub fn turn(found: &Found) -> Option<u64> {
    let last = found.verified.get(&Level::Read);
    if last.is_some_and(|last| !last.problems.is_empty()) {
        return None;
    }
    Some(last.and_then(|last| last.part).map_or(0, |part| (part + 1) % found.manifest.chunks.shares()))
}

/// Writes down what was looked at and what was found.
pub async fn record(
    repository: &Repository,
    found: &Found,
    (level, part): (Level, Option<u64>),
    problems: Vec<String>,
    key: &SigningKey,
    at: Timestamp,
) -> Result<Verification, DocumentError> {
    let last = found.verified.get(&level).filter(|last| last.problems.is_empty());
    // who read all of it has read every share; who did not count may have read of other ones
    let before = last.map_or(0, |last| last.part.map_or(SHARES, |_| last.in_a_row.unwrap_or(0)));
    let in_a_row = part.map(|_| if problems.is_empty() { before.saturating_add(1).min(SHARES) } else { 0 });
    let verification = Verification { at, level, part, in_a_row, problems };
    let name = format!("{level:?}").to_lowercase();
    let same = format!(".{name}.json");
    let mut before = list_notes(repository.store(), &found.place.verifications()).await?;
    before.retain(|object| object.key.as_str().ends_with(&same));
    let at = Place::after(at, before.iter().map(|object| object.key.name()));
    repository.put_document(&found.place.verification(at, &name), &verification, key).await?;
    // only the newest of a level is ever read; the others would pile up day by day
    for object in before {
        match repository.store().delete(&object.key).await {
            Err(error) if error.is_refusal() => {
                tracing::debug!(%error, "an old verification stays");
            }
            done => done?,
        }
    }
    Ok(verification)
}
