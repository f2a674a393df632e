//! The mark on a pod's lasting volume: which term its data is from. A pod without it is empty, whatever lies there.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::agent::files::write_whole;

const NAME: &str = ".midship.json";

#[derive(Serialize, Deserialize)]
struct Mark {
    epoch: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct MarkError {
    path: PathBuf,
    source: std::io::Error,
}

/// The term in the mark; nothing where there is no mark.
pub fn read(data: &Path) -> Result<Option<u64>, MarkError> {
    let path = data.join(NAME);
    let failed = |source| MarkError { path: path.clone(), source };
    match std::fs::read(&path) {
        Ok(bytes) => {
            let mark: Mark = serde_json::from_slice(&bytes).map_err(|error| failed(error.into()))?;
            Ok(Some(mark.epoch))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

pub fn write(data: &Path, epoch: u64) -> Result<(), MarkError> {
    let path = data.join(NAME);
    let bytes = serde_json::to_vec(&Mark { epoch }).unwrap_or_default();
    write_whole(&path, &bytes, 0o600).map_err(|source| MarkError { path, source })
}

/// From now on the data counts as nobody's.
pub fn remove(data: &Path) -> Result<(), MarkError> {
    let path = data.join(NAME);
    match std::fs::remove_file(&path) {
        Err(source) if source.kind() != ErrorKind::NotFound => Err(MarkError { path, source }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_found_again_and_rubbish_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), None);
        write(dir.path(), 7).unwrap();
        assert_eq!(read(dir.path()).unwrap(), Some(7));
        std::fs::write(dir.path().join(NAME), "{").unwrap();
        assert!(read(dir.path()).is_err());
    }
}
