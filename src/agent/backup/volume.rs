//! Whether a volume may be written into: one that holds data is left alone unless somebody said that it is replaced. A restore
//! notes that it begins before it changes anything, so that one that was interrupted can go on, and one that failed before
//! is known to have changed nothing.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::tarball::{NOT_DATA, OUR_NOTES};
use super::{BackupError, note};

pub(super) const NAME: &str = ".midship-restoring.json";

/// A restore that has begun to change the volume and has not ended.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// The restore the pod's configuration asked for; nothing where somebody ordered it in the place of data.
    pub restore: Option<String>,
}

impl Begun {
    /// Whether there is a restore that did not end, other than the one the configuration asks for: that one goes on by
    /// itself. `ended` says that a marker is there.
    pub fn interrupted(data: &Path, wanted: Option<&str>, ended: bool) -> bool {
        match Self::read(data) {
            Ok(None) => false,
            Ok(Some(begun)) => !ended && (begun.restore.is_none() || begun.restore.as_deref() != wanted),
            Err(error) => {
                // a start on half of the data would be worse than none
                tracing::error!(%error, "it is not known whether a restore was interrupted");
                !ended
            }
        }
    }

    pub fn read(data: &Path) -> Result<Option<Self>, BackupError> {
        note::read(data, NAME)
    }

    pub fn write(&self, data: &Path) -> Result<(), BackupError> {
        note::write(data, NAME, self)
    }

    pub fn remove(data: &Path) -> Result<(), BackupError> {
        note::remove(data, NAME)
    }
}

/// The first file that is somebody's data. Empty folders, our notes and `but` are none.
pub fn occupied(root: &Path, but: &[PathBuf]) -> Result<Option<PathBuf>, BackupError> {
    let first = |path: &Path| {
        let name = path.strip_prefix(root).ok().and_then(|inside| inside.components().next());
        let name = name.map(|name| name.as_os_str().to_string_lossy().into_owned()).unwrap_or_default();
        name.starts_with(OUR_NOTES) || NOT_DATA.contains(&name.as_str())
    };
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let failed = |error: io::Error| BackupError::file(&folder, error);
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            entries => entries.map_err(failed)?,
        };
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let path = entry.path();
            if first(&path) || but.contains(&path) {
                continue;
            }
            if !entry.file_type().map_err(failed)?.is_dir() {
                return Ok(Some(path));
            }
            folders.push(path);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_anywhere_is_data_and_notes_and_empty_folders_are_none() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for folder in ["archive", "lost+found", "deep/er", ".midship-logs"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        let off = root.join("archive/.off");
        for file in [&off, &root.join("lost+found/x"), &root.join(".midship-logs/1"), &root.join(".midship.json")] {
            std::fs::write(file, "").unwrap();
        }
        assert_eq!(occupied(root, std::slice::from_ref(&off)).unwrap(), None);
        assert_eq!(occupied(root, &[]).unwrap(), Some(off.clone()));
        std::fs::write(root.join("deep/er/data"), "").unwrap();
        assert_eq!(occupied(root, &[off]).unwrap(), Some(root.join("deep/er/data")));
        assert_eq!(occupied(&root.join("nowhere"), &[]).unwrap(), None);
    }

    #[test]
    fn what_has_begun_is_known_until_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Begun::read(dir.path()).unwrap(), None);
        let begun = Begun { restore: Some("r".into()) };
        assert!(!Begun::interrupted(dir.path(), None, false));
        begun.write(dir.path()).unwrap();
        assert_eq!(Begun::read(dir.path()).unwrap(), Some(begun));
        assert!(!Begun::interrupted(dir.path(), Some("r"), false), "it goes on by itself");
        assert!(Begun::interrupted(dir.path(), None, false), "nobody asks for it any more");
        assert!(!Begun::interrupted(dir.path(), None, true), "the marker came first: it was done");
        Begun { restore: None }.write(dir.path()).unwrap();
        assert!(Begun::interrupted(dir.path(), Some("r"), false));
        std::fs::write(dir.path().join(NAME), "{").unwrap();
        assert!(Begun::interrupted(dir.path(), Some("r"), false), "nobody knows");
        Begun::remove(dir.path()).unwrap();
        Begun::remove(dir.path()).unwrap();
        assert_eq!(Begun::read(dir.path()).unwrap(), None);
    }
}
