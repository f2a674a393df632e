//! `midship-agent copy DIR`: puts the program for the middleware's container where that one finds it. Needs nothing but the
//! program itself, so that an image without anything else will do.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::facts::PodFacts;
use super::files::{self, FilesError};
use super::secrets::{Secrets, SecretsError};
use crate::extension::agent::AgentConfig;

/// How it is called there.
const NAME: &str = "midship-agent";
/// The part of this program that is enough there, where it lies beside this one: small, because each pod pays for it.
const PART: &str = "midship-init";

#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("{path} is no directory: mount a volume there")]
    NoDirectory { path: PathBuf },
    #[error("cannot read this program: {0}")]
    Read(io::Error),
    #[error("cannot write {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
    #[error("{path}: cannot be used as the agent's configuration: {reason}")]
    Config { path: PathBuf, reason: String },
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    #[error(transparent)]
    Files(#[from] FilesError),
}

/// Writes the configuration files that the agent's configuration names, with what only this pod knows filled in.
pub fn write_files(config: &Path, secrets: &Path) -> Result<Vec<PathBuf>, CopyError> {
    let failed = |reason: String| CopyError::Config { path: config.to_owned(), reason };
    let text = fs::read(config).map_err(|error| failed(error.to_string()))?;
    let config: AgentConfig = serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))?;
    let secrets = Secrets::read(secrets)?;
    Ok(files::write(&config.files, &secrets, &PodFacts::from_environment(&config))?)
}

/// Copies the program into `dir`, all at once: whoever looks sees the old one or the new one, and runs it.
pub fn copy_program(dir: &Path) -> Result<PathBuf, CopyError> {
    let part = std::env::current_exe().map_err(CopyError::Read)?.with_file_name(PART);
    let program = match File::open(part) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => File::open("/proc/self/exe"),
        found => found,
    };
    copy(&mut program.map_err(CopyError::Read)?, dir)
}

fn copy(program: &mut File, dir: &Path) -> Result<PathBuf, CopyError> {
    if !dir.is_dir() {
        return Err(CopyError::NoDirectory { path: dir.to_owned() });
    }
    let target = dir.join(NAME);
    let fresh = dir.join(format!(".{NAME}.{}", std::process::id()));
    let failed = |source| CopyError::Write { path: target.clone(), source };
    let write = || -> io::Result<()> {
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o755).open(&fresh)?;
        let expected = program.metadata()?.len();
        let written = io::copy(program, &mut file)?;
        if written != expected {
            return Err(io::Error::other(format!("{written} of {expected} bytes were written")));
        }
        // whatever the umask says: the middleware may run as any user
        file.set_permissions(fs::Permissions::from_mode(0o755))?;
        file.sync_all()?;
        fs::rename(&fresh, &target)
    };
    let result = { write }();
    if result.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    result.map_err(failed)?;
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_is_whole_executable_and_alone() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("source");
        fs::write(&source, vec![7; 100_000]).unwrap();
        let target = dir.path().join("volume");
        fs::create_dir(&target).unwrap();
        for _ in 0..2 {
            let made = copy(&mut File::open(&source).unwrap(), &target).unwrap();
            assert_eq!(fs::read(&made).unwrap(), vec![7; 100_000]);
            assert_eq!(fs::metadata(&made).unwrap().permissions().mode() & 0o777, 0o755);
        }
        assert_eq!(fs::read_dir(&target).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_directory_is_refused() {
        let error = copy_program(Path::new("/nowhere/at/all")).unwrap_err().to_string();
        assert_eq!(error, "/nowhere/at/all is no directory: mount a volume there");
    }
}
