//! Data that was put in the place of other data: it counts as newer than all the set had, so that the pod leads it again. The
//! term is noted before the mark is taken away, for a restore that is interrupted and begins anew.

use std::io::ErrorKind;
use std::path::Path;

use super::BackupError;
use crate::agent::files::write_whole;
use crate::agent::serve::mark;

pub(super) const NAME: &str = ".midship-replaced";

/// Writes down of which term the data is that goes.
pub fn note_term(data: &Path) -> Result<(), BackupError> {
    let Some(epoch) = mark::read(data).map_err(|error| BackupError::Package(error.to_string()))? else {
        return Ok(());
    };
    let path = data.join(NAME);
    write_whole(&path, epoch.to_string().as_bytes(), 0o600).map_err(|error| BackupError::file(&path, error))
}

/// What came in its place is what the others are to have: it counts as of the term after that, and waits for nobody.
pub fn keep_term(data: &Path) -> Result<(), BackupError> {
    let path = data.join(NAME);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(BackupError::file(&path, error)),
    };
    let wrong = |_| BackupError::Package(format!("{}: {text:?} is no term", path.display()));
    let epoch = text.trim().parse::<u64>().map_err(wrong)?;
    mark::write(data, epoch.saturating_add(1)).map_err(|error| BackupError::Package(error.to_string()))?;
    std::fs::remove_file(&path).map_err(|error| BackupError::file(&path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_replaces_data_counts_as_newer_also_after_an_interruption() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path();
        keep_term(data).unwrap();
        assert_eq!(mark::read(data).unwrap(), None, "nothing is made up");
        mark::write(data, 5).unwrap();
        note_term(data).unwrap();
        mark::remove(data).unwrap();
        // begun anew, after the mark was gone
        note_term(data).unwrap();
        keep_term(data).unwrap();
        assert_eq!(mark::read(data).unwrap(), Some(6));
        keep_term(data).unwrap();
        assert_eq!(mark::read(data).unwrap(), Some(6));
    }
}
