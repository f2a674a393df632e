//! All that a restore needs, looked at before anything is changed: the backup, and those it adds to.

use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;

use super::source::STREAM;
use super::{BackupError, blocking};
use crate::api::operation::BackupType;
use crate::backup::read::{Content, Found, Keyring};
use crate::backup::replay::ReplayError;
use crate::backup::repository::Repository;
use crate::backup::words::in_bytes;
use crate::extension::contract::BackupMethod;

/// What is in each of them.
pub async fn open<'a>(
    repository: &'a Repository,
    ring: &Keyring,
    chain: &'a [Found],
) -> Result<Vec<Content<'a>>, BackupError> {
    let mut contents = Vec::new();
    for found in chain {
        let locked = |reason| ReplayError::Locked { what: format!("backup {}", found.place.id), reason };
        let opener = ring.opener(found.manifest.epoch.as_ref()).map_err(locked)?;
        contents.push(Content::open(repository, found, opener).await?);
    }
    Ok(contents)
}

/// Whether each is there, and whether several can be put together here: the method knows how, and there is room.
pub async fn check(
    contents: &[Content<'_>],
    chain: &[Found],
    method: &BackupMethod,
    dir: &Path,
) -> Result<(), BackupError> {
    let knows_how = method.types.contains(&BackupType::Incremental) && method.restore.exec.is_some();
    if chain.len() > 1 && !knows_how {
        return Err(BackupError::Precondition {
            message: format!(
                "{} backups have to be put together, and the method {} of this version of the package does not say how",
                chain.len(),
                chain[0].manifest.method
            ),
            hint: "upgrade the package, or restore a full backup",
        });
    }
    for (found, content) in chain.iter().zip(contents) {
        if let Some(problem) = content.missing().await? {
            return Err(BackupError::Precondition {
                message: format!("backup {} is damaged: {problem}", found.place.id),
                hint: "restore an earlier backup, and see which are damaged: midship backup list",
            });
        }
    }
    let [full, _, ..] = chain else { return Ok(()) };
    let all: u64 = chain.iter().map(bytes).sum();
    // what comes of them is about as large as the full one
    room(dir.to_owned(), all.saturating_add(bytes(full)), chain.len()).await
}

/// What a backup has before it is stored.
pub fn bytes(found: &Found) -> u64 {
    let data = found.manifest.streams.iter().filter(|stream| stream.name == STREAM);
    data.map(|stream| stream.bytes).sum()
}

/// Refuses what could not even be put together on a volume with nothing else on it.
async fn room(dir: PathBuf, needed: u64, backups: usize) -> Result<(), BackupError> {
    let size = blocking(move || {
        let found = statvfs(&dir).map_err(|error| BackupError::file(&dir, error.into()))?;
        Ok(found.blocks().saturating_mul(found.fragment_size()))
    });
    let size = size.await?;
    if needed <= size {
        return Ok(());
    }
    Err(BackupError::Precondition {
        message: format!(
            "{backups} backups are put together from {}, and the volume has {}",
            in_bytes(needed),
            in_bytes(size)
        ),
        hint: "restore into an instance with a larger volume, or restore a full backup",
    })
}
