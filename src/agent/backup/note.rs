//! Notes that lie on the volume beside the data, for whoever comes after.

use std::io::ErrorKind;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::BackupError;
use crate::agent::files::write_whole;

pub(super) fn read<T: DeserializeOwned>(data: &Path, name: &str) -> Result<Option<T>, BackupError> {
    let path = data.join(name);
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| BackupError::file(&path, error.into())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(BackupError::file(&path, error)),
    }
}

pub(super) fn write(data: &Path, name: &str, note: &impl Serialize) -> Result<(), BackupError> {
    let path = data.join(name);
    let bytes = serde_json::to_vec(note).map_err(|error| BackupError::file(&path, error.into()))?;
    write_whole(&path, &bytes, 0o600).map_err(|error| BackupError::file(&path, error))
}

pub(super) fn remove(data: &Path, name: &str) -> Result<(), BackupError> {
    let path = data.join(name);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(BackupError::file(&path, error)),
        _ => Ok(()),
    }
}
