//! A file that output is written to: rotated by size and count, and given up for a while whenever it cannot be written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::libc;

use super::config::OutputFile;
use super::protocol::FileStatus;

/// How long to leave a file alone that could not be written.
const RETRY: Duration = Duration::from_secs(2);

/// Whom new files belong to, where that is not us.
pub type Owner = (Option<u32>, Option<u32>);

pub struct LogFile {
    spec: OutputFile,
    owner: Owner,
    file: Option<File>,
    size: u64,
    retry_at: Option<Instant>,
    error: Option<String>,
    written: u64,
    dropped: u64,
}

impl LogFile {
    pub fn new(spec: OutputFile, owner: Owner) -> Self {
        Self { spec, owner, file: None, size: 0, retry_at: None, error: None, written: 0, dropped: 0 }
    }

    pub fn spec(&self) -> &OutputFile {
        &self.spec
    }

    /// Other bounds for the same file.
    pub fn reconfigure(&mut self, spec: OutputFile, owner: Owner) {
        if (&self.spec, self.owner) != (&spec, owner) {
            (self.spec, self.owner, self.retry_at) = (spec, owner, None);
        }
    }

    pub fn status(&self) -> FileStatus {
        FileStatus {
            path: self.spec.path.display().to_string(),
            written_bytes: self.written,
            dropped_bytes: self.dropped,
            error: self.error.clone(),
        }
    }

    /// Writes all of it or counts what was lost; rotates between lines where there are any.
    pub fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if let Err(error) = self.write_some(&mut bytes) {
                self.error = Some(error.to_string());
                self.retry_at = Some(Instant::now() + RETRY);
                self.file = None;
            }
            if self.file.is_none() && self.retry_at.is_some_and(|at| Instant::now() < at) {
                self.dropped += bytes.len() as u64;
                return;
            }
        }
    }

    fn write_some(&mut self, bytes: &mut &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            self.open()?;
        }
        let room = usize::try_from(self.spec.max_bytes.saturating_sub(self.size)).unwrap_or(usize::MAX);
        let part = if bytes.len() <= room {
            bytes.len()
        } else {
            match bytes[..room].iter().rposition(|byte| *byte == b'\n') {
                Some(end) => end + 1,
                None if self.size > 0 => return self.rotate(),
                None => room,
            }
        };
        let Some(file) = &mut self.file else { return Ok(()) };
        let done = file.write(&bytes[..part])?;
        if done == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        *bytes = &bytes[done..];
        (self.size, self.written) = (self.size + done as u64, self.written + done as u64);
        (self.error, self.retry_at) = (None, None);
        Ok(())
    }

    /// Opens what is there, but follows no link and waits for nobody: the directory may belong to the process.
    fn open(&mut self) -> io::Result<()> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o640)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(&self.spec.path)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::other("is no regular file"));
        }
        if self.owner != (None, None) && nix::unistd::geteuid().is_root() {
            let (uid, gid) = self.owner;
            nix::unistd::fchown(&file, uid.map(Into::into), gid.map(Into::into))?;
        }
        (self.size, self.file) = (meta.len(), Some(file));
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file = None;
        let keep = self.spec.keep;
        // a lower count than before leaves more files than are to be kept
        for number in keep.. {
            if number > 0 && !gone(fs::remove_file(self.numbered(number)))? {
                continue;
            }
            if number > keep {
                break;
            }
        }
        for number in (1..keep).rev() {
            gone(fs::rename(self.numbered(number), self.numbered(number + 1)))?;
        }
        if keep == 0 {
            fs::remove_file(&self.spec.path)?;
        } else {
            fs::rename(&self.spec.path, self.numbered(1))?;
        }
        self.open()
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut path = self.spec.path.clone().into_os_string();
        path.push(format!(".{number}"));
        path.into()
    }
}

/// Whether there was nothing to do it to.
fn gone(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::agent::init::config::Stream;

    fn file(path: &Path, max_bytes: u64, keep: u32) -> LogFile {
        let spec = OutputFile { path: path.to_owned(), streams: vec![Stream::Stdout], max_bytes, keep };
        LogFile::new(spec, (None, None))
    }

    #[test]
    fn files_are_rotated_between_lines_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = file(&path, 30, 2);
        (0..10).for_each(|number| log.write(format!("line number {number}\n").as_bytes()));
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(read("log"), "line number 8\nline number 9\n");
        assert_eq!(read("log.1"), "line number 6\nline number 7\n");
        assert_eq!(read("log.2"), "line number 4\nline number 5\n");
        assert!(!dir.path().join("log.3").exists());
        assert_eq!((log.status().written_bytes, log.status().dropped_bytes), (140, 0));
    }

    #[test]
    fn a_line_longer_than_a_file_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = file(&path, 10, 1);
        log.write(&[b'x'; 25]);
        assert_eq!(fs::read(&path).unwrap().len(), 5);
        assert_eq!(fs::read(dir.path().join("log.1")).unwrap().len(), 10);
    }

    #[test]
    fn fewer_kept_files_leave_no_old_ones_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = file(&path, 10, 4);
        (0..10).for_each(|_| log.write(b"123456789\n"));
        assert!(dir.path().join("log.4").exists());
        let spec = OutputFile { keep: 1, ..log.spec().clone() };
        log.reconfigure(spec, (None, None));
        log.write(b"abc\n");
        let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["log", "log.1"]);
    }

    #[test]
    fn a_full_disk_loses_output_but_blocks_nobody() {
        let mut log = file(Path::new("/dev/full"), 100, 1);
        log.write(b"hello\n");
        assert_eq!(log.status().dropped_bytes, 6);
        assert!(log.status().error.is_some());
    }

    #[test]
    fn links_fifos_and_missing_directories_are_not_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("target");
        fs::write(&target, "").unwrap();
        let (link, fifo) = (dir.path().join("link"), dir.path().join("fifo"));
        std::os::unix::fs::symlink(&target, &link).unwrap();
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [link, fifo, dir.path().join("none/log")] {
            let mut log = file(&path, 100, 1);
            log.write(b"hello\n");
            assert_eq!(log.status().dropped_bytes, 6, "{}", path.display());
        }
        assert_eq!(fs::read(&target).unwrap(), b"");
    }
}
