//! Segments of a log: to which line they belong, and how they come back for a restore.

use std::path::Path;

use futures::future::BoxFuture;
use futures::{StreamExt as _, TryStreamExt as _};

use super::BackupError;
use crate::agent::files::write_whole;
use crate::backup::digest::Digest;
use crate::backup::layout::{Line, Owner, Uid};
use crate::backup::read::Keyring;
use crate::backup::replay::{Route, bring};
use crate::backup::repository::Repository;

/// Segments fetched at the same time; each is in memory as a whole.
const AT_ONCE: usize = 2;

/// The line of an owner's log. A copy of a system that was restored elsewhere writes the same names; it is another owner.
pub fn line(owner: &Owner, system: &str, timeline: u32) -> Result<Line, BackupError> {
    let whose = Digest::of(owner.folder().as_bytes()).short(12);
    let system = Uid::parse(&format!("{system}-{whose}"))
        .map_err(|error| BackupError::Package(format!("the system whose log it is: {error}")))?;
    Ok(Line { system, timeline })
}

/// Fetches what a replay needs into a directory.
pub async fn fetch(repository: &Repository, ring: &Keyring, route: &Route, to: &Path) -> Result<(), BackupError> {
    let histories = route.histories.iter().map(|(line, segment)| (line, segment, format!("{}.history", segment.name)));
    let segments = route.segments.iter().map(|(line, segment)| (line, segment, segment.name.to_string()));
    let mut fetches: Vec<BoxFuture<'_, Result<(), BackupError>>> = Vec::new();
    for (line, segment, name) in histories.chain(segments) {
        fetches.push(Box::pin(async move {
            let bytes = bring(repository, ring, line, segment).await?;
            write(&to.join(name), bytes).await
        }));
    }
    futures::stream::iter(fetches).buffered(AT_ONCE).try_collect().await
}

async fn write(path: &Path, bytes: Vec<u8>) -> Result<(), BackupError> {
    let path = path.to_owned();
    super::blocking(move || write_whole(&path, &bytes, 0o600).map_err(|error| BackupError::file(&path, error))).await
}
