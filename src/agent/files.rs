//! Configuration files as the middleware reads them: placeholders filled in, written all at once.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::facts::PodFacts;
use super::secrets::Secrets;
use crate::extension::agent::FilePlan;
use crate::extension::placeholders::ExpandError;

/// A ConfigMap holds no more, and secrets are short.
const MAX_SOURCE: u64 = 2 * 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
    #[error("{path}: {source}")]
    Expand { path: PathBuf, source: ExpandError },
    #[error("{path}: mode \"{mode}\" has to be octal digits, such as 0600")]
    Mode { path: PathBuf, mode: String },
}

/// Writes the files that are not yet as they should be; says which these were.
///
/// What cannot be filled in leaves every file as it is: the middleware never sees a placeholder, nor half of a change.
pub fn write(plans: &[FilePlan], secrets: &Secrets, facts: &PodFacts) -> Result<Vec<PathBuf>, FilesError> {
    let mut ready = Vec::with_capacity(plans.len());
    for plan in plans {
        let (source, path) = (Path::new(&plan.source), PathBuf::from(&plan.path));
        let mode = u32::from_str_radix(&plan.mode, 8)
            .map_err(|_| FilesError::Mode { path: path.clone(), mode: plan.mode.clone() })?;
        if plan.once && path.symlink_metadata().is_ok() {
            continue;
        }
        let text = read(source).map_err(|error| FilesError::Read { path: source.to_owned(), source: error })?;
        let text = secrets
            .expand(&text, facts)
            .map_err(|error| FilesError::Expand { path: source.to_owned(), source: error })?;
        if !is_there(&path, text.as_bytes(), mode) {
            ready.push((path, text, mode));
        }
    }
    let mut written = Vec::with_capacity(ready.len());
    for (path, text, mode) in ready {
        write_whole(&path, text.as_bytes(), mode).map_err(|source| FilesError::Write { path: path.clone(), source })?;
        written.push(path);
    }
    Ok(written)
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_SOURCE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_SOURCE {
        return Err(io::Error::other(format!("it is larger than {MAX_SOURCE} bytes")));
    }
    Ok(text)
}

fn is_there(path: &Path, content: &[u8], mode: u32) -> bool {
    let look = || {
        let metadata = path.symlink_metadata()?;
        let same = metadata.is_file()
            && metadata.len() == content.len() as u64
            && metadata.permissions().mode() & 0o7777 == mode;
        Ok::<_, io::Error>(same && fs::read(path)? == content)
    };
    look().unwrap_or(false)
}

/// Writes a file all at once: whoever reads it sees the old one or the new one. Directories are made on the way.
pub fn write_whole(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| io::Error::other("it names no file"))?;
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let fresh = path.with_file_name(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    let write = || {
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&fresh)?;
        file.write_all(content)?;
        // whatever the umask says
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&fresh, path)
    };
    let written = write();
    if written.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extension::secret::SecretValue;

    fn secrets(password: &str) -> Secrets {
        [("password".to_owned(), SecretValue::new(password))].into_iter().collect()
    }

    fn plan(dir: &Path, name: &str, once: bool) -> FilePlan {
        FilePlan {
            source: dir.join(format!("{name}.source")).display().to_string(),
            path: dir.join("out").join(name).display().to_string(),
            mode: "0640".to_owned(),
            once,
            quiet: false,
        }
    }

    #[test]
    fn files_are_written_when_they_change_and_only_then() {
        let dir = tempfile::tempdir().unwrap();
        let plans = [plan(dir.path(), "a", false), plan(dir.path(), "b", true)];
        for plan in &plans {
            fs::write(&plan.source, "pass ${secret:password} ${HOME}\n").unwrap();
        }
        let facts = PodFacts::default();
        assert_eq!(write(&plans, &secrets("one"), &facts).unwrap().len(), 2);
        assert_eq!(fs::read_to_string(&plans[0].path).unwrap(), "pass one ${HOME}\n");
        assert_eq!(fs::metadata(&plans[0].path).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(write(&plans, &secrets("one"), &facts).unwrap().is_empty());
        let written = write(&plans, &secrets("two"), &facts).unwrap();
        assert_eq!(written, [PathBuf::from(&plans[0].path)], "the other one is written once");
        assert_eq!(fs::read_to_string(&plans[1].path).unwrap(), "pass one ${HOME}\n");
        assert_eq!(fs::read_dir(dir.path().join("out")).unwrap().count(), 2);
    }

    #[test]
    fn nothing_is_written_while_something_is_not_known() {
        let dir = tempfile::tempdir().unwrap();
        let plans = [plan(dir.path(), "a", false), plan(dir.path(), "b", false)];
        fs::write(&plans[0].source, "fine").unwrap();
        fs::write(&plans[1].source, "${secret:other}").unwrap();
        let error = write(&plans, &secrets("one"), &PodFacts::default()).unwrap_err().to_string();
        assert_eq!(error, format!("{}: secret other is not known here", plans[1].source));
        assert!(!dir.path().join("out").exists());
    }
}
