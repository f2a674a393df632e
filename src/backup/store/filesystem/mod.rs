//! A store in a folder: a claim, NFS, a disk. An object is written beside its place, made durable, and then linked to its
//! name, which fails when the name is taken: no reader ever sees half an object, and no writer ever replaces one.

mod walk;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use jiff::Timestamp;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use super::{
    Body, Cause, Doing, Features, Key, LARGEST_OBJECT, List, ObjectInfo, Page, Store, StoreError, StoreFuture,
};
use crate::backup::digest::Digest;

/// Where objects are written before they get their names. Keys cannot begin with a dot.
const INCOMING: &str = ".incoming";
/// What is older there was left by a writer that is gone.
const LEFT_BEHIND: Duration = Duration::from_hours(48);
/// A folder that is emptied while something is written into it is made anew this often.
const FOLDER_TRIES: usize = 8;

#[derive(Clone, Debug)]
pub struct Filesystem {
    root: Arc<Path>,
}

impl Filesystem {
    /// `root` must be there: a volume that is not mounted must not become a folder on the disk of the pod.
    pub async fn open(root: &Path) -> Result<Self, StoreError> {
        let root = root.to_path_buf();
        let address = format!("file://{}", root.display());
        let opened = tokio::task::spawn_blocking(move || prepare(&root).map(|()| root)).await;
        match opened.map_err(io::Error::other).and_then(|done| done) {
            Ok(root) => Ok(Self { root: root.into() }),
            Err(error) => Err(StoreError::new(&address, Doing::Open, "the folder", cause(&error))),
        }
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.root.join(key.as_str())
    }

    fn on_disk<T: Send + 'static>(
        &self,
        doing: Doing,
        object: String,
        work: impl FnOnce(&Path) -> Result<T, Failure> + Send + 'static,
    ) -> StoreFuture<'_, T> {
        let root = self.root.clone();
        Box::pin(async move {
            let done = tokio::task::spawn_blocking(move || work(&root)).await;
            let failure = match done {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(Failure::Io(error))) => cause(&error),
                Ok(Err(Failure::Cause(cause))) => cause,
                Err(error) => Cause::Unavailable(error.to_string()),
            };
            Err(StoreError::new(&self.address(), doing, object, failure))
        })
    }
}

enum Failure {
    Io(io::Error),
    Cause(Cause),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Store for Filesystem {
    fn address(&self) -> String {
        format!("file://{}", self.root.display())
    }

    fn put_new<'a>(&'a self, key: &'a Key, body: Body) -> StoreFuture<'a, ()> {
        let path = self.path(key);
        self.on_disk(Doing::Write, key.to_string(), move |root| write_new(root, &path, &body))
    }

    fn get<'a>(&'a self, key: &'a Key, range: Option<Range<u64>>) -> StoreFuture<'a, Bytes> {
        let path = self.path(key);
        self.on_disk(Doing::Read, key.to_string(), move |_| read(&path, range))
    }

    fn head<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, ObjectInfo> {
        let (path, key) = (self.path(key), key.clone());
        self.on_disk(Doing::LookAt, key.to_string(), move |_| {
            let found = fs::metadata(&path)?;
            if !found.is_file() {
                return Err(Failure::Cause(Cause::NotFound));
            }
            Ok(ObjectInfo { key, size: found.len(), modified: modified(&found)? })
        })
    }

    fn list<'a>(&'a self, list: &'a List) -> StoreFuture<'a, Page> {
        let wanted = list.clone();
        self.on_disk(Doing::List, list.prefix.clone(), move |root| Ok(walk::page(root, &wanted)?))
    }

    fn delete<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, ()> {
        let path = self.path(key);
        self.on_disk(Doing::Delete, key.to_string(), move |root| Ok(remove(root, &path)?))
    }

    fn features(&self) -> StoreFuture<'_, Features> {
        Box::pin(async { Ok(Features::default()) })
    }
}

fn prepare(root: &Path) -> io::Result<()> {
    if !fs::metadata(root)?.is_dir() {
        return Err(io::Error::new(io::ErrorKind::NotADirectory, "it is no folder"));
    }
    // whoever only reads may not even be able to make a folder: it is made with the first write
    let entries = match fs::read_dir(root.join(INCOMING)) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
            return Ok(());
        }
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let age = entry.metadata().and_then(|found| found.modified()).map(|at| at.elapsed().unwrap_or_default());
        if age.is_ok_and(|age| age > LEFT_BEHIND) {
            // whoever else opens the store removes it as well
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

fn write_new(root: &Path, path: &Path, body: &Body) -> Result<(), Failure> {
    if Digest::of(&body.bytes) != body.sha256 {
        return Err(Failure::Cause(Cause::Checksum("its digest is another one".into())));
    }
    let incoming = root.join(INCOMING);
    make_folders(root, &incoming)?;
    let mut temporary = tempfile::NamedTempFile::new_in(incoming)?;
    temporary.write_all(&body.bytes)?;
    temporary.as_file().sync_all()?;
    let folder = path.parent().unwrap_or(root);
    for attempt in 1..=FOLDER_TRIES {
        make_folders(root, folder)?;
        match link_new(temporary.path(), path) {
            Ok(()) => break,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(Failure::Cause(Cause::AlreadyExists));
            }
            // the folder was empty for a moment and somebody took it away
            Err(error) if error.kind() == io::ErrorKind::NotFound && attempt < FOLDER_TRIES => {}
            Err(error) => return Err(error.into()),
        }
    }
    // after a rename it is not there any more; what cannot be removed is removed when it is old
    let _ = temporary.close();
    Ok(sync_folder(folder)?)
}

/// Gives a file its name, unless the name is taken.
fn link_new(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Err(error) if matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EPERM | Errno::EOPNOTSUPP)) => {
            // a file system without hard links
            renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE).map_err(Into::into)
        }
        done => done,
    }
}

/// Makes a folder and those above it, each of them durable.
fn make_folders(root: &Path, folder: &Path) -> io::Result<()> {
    if folder == root || folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().unwrap_or(root);
    for _ in 0..FOLDER_TRIES {
        make_folders(root, above)?;
        match fs::create_dir(folder) {
            Ok(()) => return sync_folder(above),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, "its folder is removed again and again"))
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        // emptied and removed by somebody who deleted what was in it
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn read(path: &Path, range: Option<Range<u64>>) -> Result<Bytes, Failure> {
    let mut file = OpenOptions::new().read(true).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(Failure::Cause(Cause::NotFound));
    }
    let range = range.map_or(0..found.len(), |range| range.start.min(found.len())..range.end.min(found.len()));
    let size = range.end.saturating_sub(range.start);
    if size > LARGEST_OBJECT {
        return Err(Failure::Cause(Cause::TooLarge { size, most: LARGEST_OBJECT }));
    }
    file.seek(SeekFrom::Start(range.start))?;
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    file.take(size).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

fn remove(root: &Path, path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut folder = path.parent();
    if let Some(folder) = folder {
        sync_folder(folder)?;
    }
    while let Some(empty) = folder.filter(|folder| *folder != root) {
        if fs::remove_dir(empty).is_err() {
            break;
        }
        folder = empty.parent();
    }
    Ok(())
}

fn modified(found: &fs::Metadata) -> io::Result<Timestamp> {
    let at: SystemTime = found.modified()?;
    Timestamp::try_from(at).map_err(io::Error::other)
}

fn cause(error: &io::Error) -> Cause {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::NotFound | Kind::NotADirectory => Cause::NotFound,
        Kind::AlreadyExists => Cause::AlreadyExists,
        Kind::PermissionDenied | Kind::ReadOnlyFilesystem => Cause::Denied(error.to_string()),
        Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge => Cause::Full(error.to_string()),
        Kind::Unsupported | Kind::InvalidInput => Cause::Setting(error.to_string()),
        _ => Cause::Unavailable(error.to_string()),
    }
}
