//! Files of a volume as a tar archive, made and unpacked here, so that the middleware's image needs no program for it.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::sync::oneshot;

use super::BackupError;

/// Our own notes on the volume are no data, and neither is what a file system keeps for itself.
pub(super) const NOT_DATA: [&str; 1] = ["lost+found"];
pub(super) const OUR_NOTES: &str = ".midship";

/// What of a volume is wanted.
pub struct Wanted {
    pub root: PathBuf,
    /// In the volume; all where there are none.
    pub paths: Vec<String>,
    pub exclude: Vec<String>,
}

impl Wanted {
    fn leaves_out(&self, path: &Path) -> bool {
        let first = path.components().next().map(|part| part.as_os_str().to_string_lossy().into_owned());
        let note = first.is_some_and(|name| name.starts_with(OUR_NOTES) || NOT_DATA.contains(&name.as_str()));
        note || self.exclude.iter().any(|left_out| path.starts_with(left_out.trim_matches('/')))
    }
}

/// How it ended.
pub type End = BoxFuture<'static, Result<(), String>>;

/// Begins to pack. Whoever does not read on ends it.
pub fn pack(wanted: Wanted) -> Result<(Receiver, End), BackupError> {
    let root = wanted.root.clone();
    let failed = |error| BackupError::file(&root, error);
    let (reader, writer) = io::pipe().map_err(failed)?;
    let reader = Receiver::from_owned_fd(OwnedFd::from(reader)).map_err(failed)?;
    let (tell, told) = oneshot::channel();
    spawn("tar", move || {
        let mut builder = tar::Builder::new(io::BufWriter::with_capacity(256 << 10, writer));
        builder.follow_symlinks(false);
        let packed = pack_all(&wanted, &mut builder).and_then(|()| builder.into_inner()?.into_inner()?.sync_pipe());
        // nobody waits any more: the backup was given up
        let _ = tell.send(packed.map_err(|error| error.to_string()));
    })
    .map_err(failed)?;
    let end = async { told.await.unwrap_or_else(|_| Err("the archive broke off".to_owned())) };
    Ok((reader, end.boxed()))
}

/// A pipe has nothing to be written out; it is closed when dropped.
trait SyncPipe {
    fn sync_pipe(self) -> io::Result<()>;
}

impl SyncPipe for io::PipeWriter {
    fn sync_pipe(self) -> io::Result<()> {
        drop(self);
        Ok(())
    }
}

fn pack_all(wanted: &Wanted, builder: &mut tar::Builder<impl io::Write>) -> io::Result<()> {
    let all = [String::new()];
    let paths = if wanted.paths.is_empty() { &all[..] } else { &wanted.paths };
    for path in paths {
        let path = path.trim_matches('/');
        let outside = Path::new(path).components().any(|part| part == std::path::Component::ParentDir);
        if outside {
            return Err(io::Error::other(format!("{path:?} leads out of the volume")));
        }
        add(wanted, Path::new(path), builder)?;
    }
    builder.finish()
}

fn add(wanted: &Wanted, path: &Path, builder: &mut tar::Builder<impl io::Write>) -> io::Result<()> {
    if wanted.leaves_out(path) {
        return Ok(());
    }
    let full = wanted.root.join(path);
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", full.display()));
    let metadata = match fs::symlink_metadata(&full) {
        Ok(metadata) => metadata,
        // gone between listing and looking: it was not there when the archive was made
        Err(error) if error.kind() == io::ErrorKind::NotFound && !path.as_os_str().is_empty() => return Ok(()),
        Err(error) => return Err(named(error)),
    };
    let kind = metadata.file_type();
    if kind.is_dir() {
        if !path.as_os_str().is_empty() {
            builder.append_data(&mut header(&metadata), path, io::empty()).map_err(named)?;
        }
        let mut names =
            fs::read_dir(&full).map_err(named)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
        names.sort();
        for name in names {
            add(wanted, &path.join(name), builder)?;
        }
        return Ok(());
    }
    if kind.is_symlink() {
        let to = fs::read_link(&full).map_err(named)?;
        return builder.append_link(&mut header(&metadata), path, to).map_err(named);
    }
    if !kind.is_file() {
        // sockets and the like are made anew by whoever needs them
        return Ok(());
    }
    let file = match File::open(&full) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file.map_err(named)?,
    };
    let metadata = file.metadata().map_err(named)?;
    let exact = Exact { file, left: metadata.len() };
    builder.append_data(&mut header(&metadata), path, exact).map_err(named)
}

fn header(metadata: &Metadata) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_metadata(metadata);
    header
}

/// A file as long as it was when its entry began: an entry that is shorter or longer would spoil the archive.
struct Exact {
    file: File,
    left: u64,
}

impl Read for Exact {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let got = self.file.read(&mut buffer[..most])?;
        if got == 0 {
            return Err(io::Error::other("it became shorter while it was read"));
        }
        self.left -= got as u64;
        Ok(got)
    }
}

/// Begins to unpack what is written; the end comes once that was closed.
pub fn unpack(root: &Path) -> Result<(Sender, End), BackupError> {
    let failed = |error| BackupError::file(root, error);
    let (reader, writer) = io::pipe().map_err(failed)?;
    let writer = Sender::from_owned_fd(OwnedFd::from(writer)).map_err(failed)?;
    let (tell, told) = oneshot::channel();
    let to = root.to_owned();
    spawn("untar", move || {
        let unpack = || {
            let mut archive = tar::Archive::new(io::BufReader::with_capacity(256 << 10, reader));
            archive.set_preserve_permissions(true);
            archive.set_overwrite(true);
            archive.unpack(&to)?;
            // whoever writes is to end by itself, not by our going away
            io::copy(&mut archive.into_inner(), &mut io::sink())?;
            Ok(())
        };
        let _ = tell.send(unpack().map_err(|error: io::Error| error.to_string()));
    })
    .map_err(failed)?;
    let end = async { told.await.unwrap_or_else(|_| Err("the unpacking broke off".to_owned())) };
    Ok((writer, end.boxed()))
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}

/// Removes everything in a directory but what the file system needs.
pub fn clear(root: &Path) -> io::Result<()> {
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        // the notes of what is being replaced outlive what is replaced
        let ours = [super::replaced::NAME, super::volume::NAME].iter().any(|name| entry.file_name() == *name);
        if ours || NOT_DATA.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_volume_comes_back_as_it_was_without_what_is_left_out() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let long = format!("deep/{}/{}", "d".repeat(120), "f".repeat(120));
        for (name, text) in [("a", "one"), (&*long, "two"), (".midship.json", "{}"), ("tmp/x", "no"), ("empty", "")] {
            let path = from.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        std::os::unix::fs::symlink("a", from.path().join("link")).unwrap();
        let wanted = Wanted { root: from.path().to_owned(), paths: Vec::new(), exclude: vec!["tmp".to_owned()] };
        let (mut reader, end) = pack(wanted).unwrap();
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).await.unwrap();
        end.await.unwrap();
        assert!(bytes.len() >= 1024 && bytes[bytes.len() - 1024..].iter().all(|byte| *byte == 0));
        let (mut writer, end) = unpack(to.path()).unwrap();
        writer.write_all(&bytes).await.unwrap();
        drop(writer);
        end.await.unwrap();
        let read = |name: &str| fs::read_to_string(to.path().join(name)).unwrap();
        assert_eq!(
            (read("a"), read(&long), read("empty"), read("link")),
            ("one".into(), "two".into(), String::new(), "one".into())
        );
        assert!(!to.path().join(".midship.json").exists() && !to.path().join("tmp").exists());
        clear(to.path()).unwrap();
        assert_eq!(fs::read_dir(to.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_shrinks_spoils_the_backup_and_not_the_archive() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "short").unwrap();
        let mut exact = Exact { file: File::open(dir.path().join("a")).unwrap(), left: 10 };
        let error = io::copy(&mut exact, &mut io::sink()).unwrap_err().to_string();
        assert_eq!(error, "it became shorter while it was read");
    }
}
