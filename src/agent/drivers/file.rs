//! Files that the middleware's container and the agent's both see: volumes, files, memory.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::libc::O_NONBLOCK;
use serde_json::{Value, json};

use super::{Answer, DriverError, FileCall, FileDoes};
use crate::agent::files::write_whole;
use crate::extension::agent::AgentConfig;
use crate::extension::context::paths;

/// The largest file that is read.
const MAX_CONTENT: u64 = 1024 * 1024;
const MODE: u32 = 0o600;

/// Folders in which a package's files lie: its volumes, `/tmp`, and what the middleware's container has of Midship's.
#[derive(Clone, Debug, Default)]
pub struct Places(Vec<PathBuf>);

impl Places {
    pub fn of(config: &AgentConfig) -> Self {
        let volumes = config.volumes.values().map(PathBuf::from);
        Self(volumes.chain(paths::FOR_STEPS.iter().map(PathBuf::from)).collect())
    }

    /// The path is one without links.
    fn have(&self, path: &Path) -> bool {
        let below = |folder: &PathBuf| {
            path.starts_with(folder) || folder.canonicalize().is_ok_and(|folder| path.starts_with(folder))
        };
        self.0.iter().any(below) && !paths::PRIVATE.iter().any(|folder| path.starts_with(folder))
    }

    /// A link of the middleware's may lead to what only the agent's container has: what counts is the file that was opened.
    pub fn hold(&self, file: &impl AsRawFd) -> io::Result<()> {
        let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        if self.have(&path) { Ok(()) } else { Err(outside(&path)) }
    }

    /// What is not there yet lies where its folder does.
    fn hold_new(&self, path: &Path) -> io::Result<()> {
        let folder = path.ancestors().skip(1).find_map(|folder| folder.canonicalize().ok());
        let folder = folder.unwrap_or_else(|| PathBuf::from("/"));
        let climbs = path.components().any(|part| part == std::path::Component::ParentDir);
        if !climbs && self.have(&folder) { Ok(()) } else { Err(outside(&folder)) }
    }
}

fn outside(path: &Path) -> io::Error {
    io::Error::other(format!(
        "{} is no place for a package's files; they lie on volumes, in /tmp and below {}",
        path.display(),
        paths::FILES
    ))
}

pub fn call(call: &FileCall, places: &Places) -> Answer {
    let path = Path::new(&call.path);
    if !path.is_absolute() {
        return Err(DriverError::new(format!("{} is no absolute path", call.path)));
    }
    let failed = |what: &str, error: io::Error| DriverError::new(format!("cannot {what} {}: {error}", call.path));
    match &call.does {
        FileDoes::Read => match read(path, places) {
            Ok(Some(content)) => Ok(json!({ "exists": true, "content": content })),
            Ok(None) => Ok(json!({ "exists": false, "content": null })),
            Err(error) => Err(failed("read", error)),
        },
        FileDoes::Write { content, mode } => {
            let mode = mode.as_deref().map_or(Some(MODE), |mode| u32::from_str_radix(mode, 8).ok());
            let mode = mode.ok_or_else(|| DriverError::new("mode has to be octal digits, such as 0600"))?;
            let written = places.hold_new(path).and_then(|()| write_whole(path, content.as_bytes(), mode));
            written.map_err(|error| failed("write", error))?;
            Ok(json!({ "exists": true, "content": null }))
        }
        FileDoes::Remove => {
            // where there is no folder there is nothing, wherever it would lie
            let there = path.parent().is_some_and(Path::exists);
            let removed = if there { places.hold_new(path).and_then(|()| fs::remove_file(path)) } else { Ok(()) };
            match removed {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("remove", error)),
                _ => Ok(json!({ "exists": false, "content": Value::Null })),
            }
        }
    }
}

fn read(path: &Path, places: &Places) -> io::Result<Option<String>> {
    // a FIFO that nobody writes to is not waited for
    let file = match OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    places.hold(&file)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_CONTENT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_CONTENT {
        return Err(io::Error::other(format!("it is larger than {MAX_CONTENT} bytes")));
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn steps_reach_files_of_the_package_and_none_of_the_agents_however_they_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let (volume, private) = (dir.path().join("data"), dir.path().join("private"));
        for folder in [&volume, &private] {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join("a"), "text").unwrap();
        }
        symlink(volume.join("a"), volume.join("near")).unwrap();
        symlink(private.join("a"), volume.join("far")).unwrap();
        symlink(&private, volume.join("folder")).unwrap();
        let places = Places(vec![volume.clone()]);
        let does = |path: PathBuf, does: FileDoes| call(&FileCall { path: path.display().to_string(), does }, &places);
        let write = || FileDoes::Write { content: "new".to_owned(), mode: None };
        for name in ["a", "near"] {
            assert_eq!(does(volume.join(name), FileDoes::Read).unwrap()["content"], "text", "{name}");
        }
        assert_eq!(does(volume.join("none"), FileDoes::Read).unwrap()["exists"], false);
        does(volume.join("new/b"), write()).unwrap();
        does(volume.join("new/b"), FileDoes::Remove).unwrap();
        for path in [volume.join("far"), volume.join("folder/a"), volume.join("../private/a"), private.join("a")] {
            let error = does(path.clone(), FileDoes::Read).unwrap_err().to_string();
            assert!(error.ends_with("they lie on volumes, in /tmp and below /midship/files"), "{error}");
        }
        for path in [volume.join("folder/a"), volume.join("../private/a"), private.join("b")] {
            assert!(does(path.clone(), write()).is_err() && does(path, FileDoes::Remove).is_err());
        }
        assert_eq!(fs::read_to_string(private.join("a")).unwrap(), "text");
        let own = Places(vec![PathBuf::from("/proc")]);
        let call = super::call(&FileCall { path: "/proc/self/status".to_owned(), does: FileDoes::Read }, &own);
        assert!(call.is_err(), "processes are nobody's volume");
    }
}
