//! What a backup left on the pod's volume for one that adds to it. An agent cannot read what it has stored: it has no key for
//! that. Nothing here is believed: whoever makes the backup has to find out whether it fits the data.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{BackupError, blocking};
use crate::backup::id::Id;

/// Beside the data, and not taken for some.
const FOLDER: &str = ".midship-kept";
/// Of a backup that is not there yet.
const FRESH: &str = "new";
/// Of how many backups it is kept: an instance can be backed up to more than one repository in turn.
const MOST: usize = 4;
/// A volume that hangs holds up no backup.
const PATIENCE: Duration = Duration::from_secs(30);

/// Does something with what is kept, unless the volume hangs.
pub async fn patiently<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    let done = tokio::time::timeout(PATIENCE, blocking(work)).await;
    done.unwrap_or(Err(BackupError::TimedOut(PATIENCE)))
}

/// Where it lies in a pod.
#[derive(Clone, Debug)]
pub struct Kept(PathBuf);

impl Kept {
    pub fn below(data: &Path) -> Self {
        Self(data.join(FOLDER))
    }

    /// What this backup left, if it is here.
    pub fn of(&self, id: Id) -> Result<Option<PathBuf>, BackupError> {
        let path = self.0.join(id.to_string());
        match fs::metadata(&path) {
            Ok(found) => Ok((found.is_file() && found.len() > 0).then_some(path)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(BackupError::file(path, error)),
        }
    }

    /// The file that a backup may leave something in, which is not there yet.
    pub fn begin(&self) -> Result<PathBuf, BackupError> {
        let fresh = self.0.join(FRESH);
        let made = fs::create_dir_all(&self.0).and_then(|()| gone(fs::remove_file(&fresh)));
        made.map(|()| fresh.clone()).map_err(|error| BackupError::file(fresh, error))
    }

    /// The backup is there. True where it left something.
    pub fn keep(&self, id: Id) -> Result<bool, BackupError> {
        let fresh = self.0.join(FRESH);
        match fs::rename(&fresh, self.0.join(id.to_string())) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(BackupError::file(fresh, error)),
        }
        let old = self.ids().map_err(|error| BackupError::file(&self.0, error))?.into_iter().rev().skip(MOST);
        for id in old {
            let path = self.0.join(id.to_string());
            gone(fs::remove_file(&path)).map_err(|error| BackupError::file(path, error))?;
        }
        Ok(true)
    }

    /// The data becomes another one, to which none of it belongs.
    pub fn forget(&self) -> Result<(), BackupError> {
        gone(fs::remove_dir_all(&self.0)).map_err(|error| BackupError::file(&self.0, error))
    }

    /// The oldest first.
    fn ids(&self) -> io::Result<Vec<Id>> {
        let mut ids = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            ids.extend(entry?.file_name().to_str().and_then(|name| name.parse::<Id>().ok()));
        }
        ids.sort_unstable();
        Ok(ids)
    }
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::*;

    #[test]
    fn only_what_a_backup_that_is_there_left_is_found_and_not_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept::below(dir.path());
        let id = |day: i64| Id::new(Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * day));
        let ids: Vec<Id> = (1..=6).map(id).collect();
        assert_eq!(kept.of(ids[0]).unwrap(), None);
        kept.forget().unwrap();
        for one in &ids[..5] {
            fs::write(kept.begin().unwrap(), one.to_string()).unwrap();
            assert!(kept.keep(*one).unwrap());
        }
        assert_eq!(kept.of(ids[0]).unwrap(), None, "there are four newer ones");
        let found = kept.of(ids[1]).unwrap().expect("the fourth");
        assert_eq!(fs::read_to_string(found).unwrap(), ids[1].to_string());
        // of one that failed nothing is taken for another one's, and one that left nothing has nothing
        fs::write(kept.begin().unwrap(), "half").unwrap();
        kept.begin().unwrap();
        assert!(!kept.keep(ids[5]).unwrap());
        assert_eq!(kept.of(ids[5]).unwrap(), None);
        kept.forget().unwrap();
        assert_eq!(kept.of(ids[4]).unwrap(), None);
    }
}
