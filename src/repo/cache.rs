//! The local copy of a repository: disposable, and mended by fetching anew whatever happened to it.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gix::ObjectId;
use gix::objs::Kind;
use gix::odb::pack::cache::lru::MemoryCappedHashmap;

use super::bounds::Bounds;
use super::commit::Commit;
use super::error::RemoteError;
use super::fetch::{Depth, FetchFailure, fetch, store_pack};
use super::history::History;
use super::listing::TreeError;
use super::remote::Remote;
use super::session::Session;
use super::tree::CommitTree;

/// Each fetch adds a pack; past this many it is cheaper to begin anew than to search them all.
const MAX_PACKS: usize = 40;
/// What is kept of objects that were just read: files that are alike are packed as differences to one another, and each would
/// be put together from the first on.
const UNPACKED_BYTES: usize = 4 << 20;
/// Points to the commit fetched last, which the next fetch builds upon.
const TIP: &str = "refs/midship/tip";

/// A bare repository in a folder of its own, one for each remote repository.
#[derive(Debug)]
pub struct Cache {
    dir: PathBuf,
    depth: Depth,
}

/// How a commit came to be in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// It was there already.
    Present,
    /// It was fetched; bytes received.
    New { bytes: u64 },
    /// The cache was damaged and was fetched anew.
    Mended { bytes: u64, damage: String },
}

/// Why a commit could not be had.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error("{0} is not a commit")]
    NotACommit(ObjectId),
    #[error("the cache in {dir} cannot be written: {reason}; free space or give it a larger volume")]
    Storage { dir: String, reason: String },
    #[error("the repository stays damaged although it was fetched anew: {0}")]
    StaysDamaged(String),
}

impl CacheError {
    /// A short name that does not change, for conditions and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Remote(error) => error.code(),
            Self::Tree(TreeError::NoFolder(_)) => "no-such-path",
            Self::Tree(TreeError::TooMany(_)) => "too-many-files",
            Self::Tree(_) => "tree",
            Self::NotACommit(_) => "not-a-commit",
            Self::Storage { .. } => "cache-storage",
            Self::StaysDamaged(_) => "damaged",
        }
    }
}

impl Cache {
    /// A cache in `dir`, which is made when it is first needed. Nothing else may be kept there.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), depth: Depth::One }
    }

    /// A cache that fetches commits with all their ancestors.
    pub fn with_history(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), depth: Depth::Full }
    }

    /// The commits that are here, as they are: what outlives one look is read with [`Self::read_history`].
    pub fn history(&self) -> Result<History, TreeError> {
        self.open().map(History::of).map_err(TreeError::Damaged)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes sure that `commit` is here, over an open session. Asks the server only when it is not.
    pub fn fetch(&self, session: Session, commit: ObjectId) -> Result<Fetched, CacheError> {
        let (remote, bounds) = (session.remote().clone(), session.bounds().clone());
        let damage = {
            let _lock = self.lock(&bounds)?;
            if self.tree(commit).is_ok() {
                return Ok(Fetched::Present);
            }
            match self.fetch_once(session, commit)? {
                Ok(bytes) => return Ok(Fetched::New { bytes }),
                Err(damage) => damage,
            }
        };
        self.anew(remote.open(&bounds)?, commit, damage)
    }

    /// Reads from `commit`. When that meets damage, the cache is removed, fetched anew, and read once more.
    pub fn read<T>(
        &self,
        remote: &Remote,
        commit: ObjectId,
        bounds: &Bounds,
        mut read: impl FnMut(CommitTree) -> Result<T, TreeError>,
    ) -> Result<(T, Option<Fetched>), CacheError> {
        self.mending(remote, commit, bounds, || self.tree(commit).and_then(&mut read).map_err(CacheError::Tree))
    }

    /// Reads `commit` and what came before it, and mends damage in the same way: a fetch looks at the newest commit
    /// alone, so that nobody else would notice a damaged ancestor.
    pub fn read_history<T>(
        &self,
        remote: &Remote,
        commit: ObjectId,
        bounds: &Bounds,
        mut read: impl FnMut(&History) -> Result<T, CacheError>,
    ) -> Result<(T, Option<Fetched>), CacheError> {
        self.mending(remote, commit, bounds, || read(&self.history()?))
    }

    /// Reads; when that meets damage, everything is fetched anew, and read once more.
    fn mending<T>(
        &self,
        remote: &Remote,
        commit: ObjectId,
        bounds: &Bounds,
        mut read: impl FnMut() -> Result<T, CacheError>,
    ) -> Result<(T, Option<Fetched>), CacheError> {
        let damage = match read() {
            Err(CacheError::Tree(TreeError::Damaged(damage))) => damage,
            other => return other.map(|value| (value, None)),
        };
        let mended = self.anew(remote.open(bounds)?, commit, damage)?;
        match read() {
            Ok(value) => Ok((value, Some(mended))),
            Err(CacheError::Tree(TreeError::Damaged(damage))) => Err(CacheError::StaysDamaged(damage)),
            Err(error) => Err(error),
        }
    }

    /// The tree of a commit that is here. Anything wrong with it is [`TreeError::Damaged`].
    pub fn tree(&self, commit: ObjectId) -> Result<CommitTree, TreeError> {
        let repository = self.open().map_err(TreeError::Damaged)?;
        let tree = CommitTree::open(repository, commit)?;
        tree.check_root()?;
        Ok(tree)
    }

    /// Removes everything. The next fetch begins anew.
    pub fn remove(&self) -> std::io::Result<()> {
        let Some(parent) = self.dir.parent() else {
            return Err(std::io::ErrorKind::InvalidInput.into());
        };
        // out of the way in one step, so that nobody sees half of it
        let name = self.dir.file_name().unwrap_or_default().to_string_lossy();
        let aside = tempfile::Builder::new().prefix(&format!(".{name}-old-")).tempdir_in(parent)?;
        match fs::rename(&self.dir, aside.path().join("cache")) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// The commit fetched or stored last, when it can be read.
    pub(super) fn tip_commit(&self) -> Option<Commit> {
        let text = fs::read_to_string(self.dir.join(TIP)).ok()?;
        let tip = ObjectId::from_hex(text.trim().as_bytes()).ok()?;
        Some(self.tree(tip).ok()?.commit().clone())
    }

    /// Makes an empty repository where there is none.
    pub(super) fn lay_out(&self, bounds: &Bounds) -> Result<(), CacheError> {
        let _lock = self.lock(bounds)?;
        if self.open().is_err() {
            self.remove().map_err(|e| self.storage(&e))?;
        }
        self.prepare().map_err(|e| self.storage(&e))
    }

    /// Adds a pack whose newest commit is `tip`, as if it had been fetched.
    pub(super) fn store(&self, pack: &[u8], tip: ObjectId, bounds: &Bounds) -> Result<(), CacheError> {
        let _lock = self.lock(bounds)?;
        if self.packs() > MAX_PACKS {
            return Err(CacheError::StaysDamaged("too many packs".into()));
        }
        let packs = self.dir.join("objects/pack");
        bounds
            .watching(|stop| {
                let mut rest = pack;
                store_pack(&mut rest, &packs, stop)
            })
            .map_err(|reason| CacheError::Storage { dir: self.dir.display().to_string(), reason })?;
        self.write_tip(tip).map_err(|e| self.storage(&e))
    }

    pub(super) fn repository(&self) -> Result<gix::Repository, String> {
        self.open()
    }

    /// Removes what is damaged and fetches again. Takes the lock, and so is not given it: those who are connected wait for
    /// it, and nobody who has it may wait for a connection.
    fn anew(&self, session: Session, commit: ObjectId, damage: String) -> Result<Fetched, CacheError> {
        let _lock = self.lock(session.bounds())?;
        self.remove().map_err(|e| self.storage(&e))?;
        match self.fetch_once(session, commit)? {
            Ok(bytes) => Ok(Fetched::Mended { bytes, damage }),
            Err(damage) => Err(CacheError::StaysDamaged(damage)),
        }
    }

    /// Fetches, given the lock. The inner error is damage that a fresh cache may not have.
    fn fetch_once(&self, mut session: Session, commit: ObjectId) -> Result<Result<u64, String>, CacheError> {
        if self.packs() > MAX_PACKS {
            self.remove().map_err(|e| self.storage(&e))?;
        }
        self.prepare().map_err(|e| self.storage(&e))?;
        let repository = match self.open() {
            Ok(repository) => repository,
            Err(damage) => return Ok(Err(damage)),
        };
        let have = match self.tip(&repository) {
            Ok(have) => have,
            Err(damage) => return Ok(Err(damage)),
        };
        let received = match fetch(&mut session, &repository, commit, have, self.depth) {
            Ok(received) => received,
            Err(FetchFailure::Remote(error)) => return Err(error.into()),
            Err(FetchFailure::Storage(reason)) => {
                return Err(CacheError::Storage { dir: self.dir.display().to_string(), reason });
            }
            Err(FetchFailure::Local(damage)) => return Ok(Err(damage)),
        };
        if let Ok(header) = self.open().map_err(CacheError::StaysDamaged)?.find_header(commit)
            && header.kind() != Kind::Commit
        {
            return Err(CacheError::NotACommit(commit));
        }
        if let Err(error) = self.tree(commit) {
            return Ok(Err(error.to_string()));
        }
        self.write_tip(commit).map_err(|e| self.storage(&e))?;
        Ok(Ok(received))
    }

    /// The commit that the next pack may build upon. It must be whole, or the pack cannot be resolved.
    fn tip(&self, repository: &gix::Repository) -> Result<Option<ObjectId>, String> {
        let text = match fs::read_to_string(self.dir.join(TIP)) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{TIP}: {error}")),
        };
        let tip = ObjectId::from_hex(text.trim().as_bytes()).map_err(|_| format!("{TIP} is not a commit id"))?;
        CommitTree::open(repository.clone(), tip).map_err(|error| error.to_string())?;
        if self.depth == Depth::Full {
            return Ok(Some(tip));
        }
        // of all commits ever fetched the server only has to know where this one ends
        fs::write(self.dir.join("shallow"), format!("{tip}\n")).map_err(|error| format!("shallow: {error}"))?;
        Ok(Some(tip))
    }

    fn write_tip(&self, commit: ObjectId) -> std::io::Result<()> {
        let path = self.dir.join(TIP);
        let folder = path.parent().unwrap_or(&self.dir);
        fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        writeln!(file, "{commit}")?;
        file.persist(&path).map_err(|error| error.error)?;
        Ok(())
    }

    /// Lays out an empty bare repository where there is none, and clears away what a killed process
    /// left behind: we hold the lock, so nobody is using it.
    fn prepare(&self) -> std::io::Result<()> {
        fs::create_dir_all(self.dir.join("objects/pack"))?;
        fs::create_dir_all(self.dir.join("objects/info"))?;
        fs::create_dir_all(self.dir.join("refs/heads"))?;
        if !self.dir.join("HEAD").exists() {
            fs::write(self.dir.join("config"), "[core]\n\trepositoryformatversion = 0\n\tbare = true\n")?;
            fs::write(self.dir.join("HEAD"), "ref: refs/heads/none\n")?;
        }
        for folder in [self.dir.clone(), self.dir.join("objects/pack"), self.dir.join("refs/midship")] {
            let Ok(entries) = fs::read_dir(folder) else {
                continue;
            };
            for entry in entries.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let stale = Path::new(&name).extension().is_some_and(|e| e == "lock" || e == "keep")
                    || name.starts_with(".tmp")
                    || name.starts_with("tmp_");
                if stale {
                    fs::remove_file(entry.path())?;
                }
            }
        }
        Ok(())
    }

    fn open(&self) -> Result<gix::Repository, String> {
        open_bare(&self.dir)
    }

    fn packs(&self) -> usize {
        fs::read_dir(self.dir.join("objects/pack")).map_or(0, |entries| {
            entries.flatten().filter(|e| e.path().extension().is_some_and(|e| e == "pack")).count()
        })
    }

    /// One fetch at a time for each cache, whichever thread or process. The kernel releases the lock of
    /// a process that died.
    fn lock(&self, bounds: &Bounds) -> Result<File, CacheError> {
        let mut path = self.dir.clone().into_os_string();
        path.push(".lock");
        let path = PathBuf::from(path);
        let open = || {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            File::options().create(true).write(true).truncate(false).open(&path)
        };
        let file = open().map_err(|e| self.storage(&e))?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(error)) => return Err(self.storage(&error)),
                Err(TryLockError::WouldBlock) => {
                    bounds.check()?;
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        }
    }

    fn storage(&self, error: &std::io::Error) -> CacheError {
        CacheError::Storage { dir: self.dir.display().to_string(), reason: error.to_string() }
    }
}

/// Whether `tip` is `ancestor`, or came after it.
pub fn follows(history: &History, tip: ObjectId, ancestor: ObjectId, bounds: &Bounds) -> Result<bool, CacheError> {
    for commit in history.commits(tip)? {
        if commit?.id == ancestor {
            return Ok(true);
        }
        bounds.check()?;
    }
    Ok(false)
}

/// Opens a bare repository without regard to anybody's configuration or environment.
pub(super) fn open_bare(dir: &Path) -> Result<gix::Repository, String> {
    let options = gix::open::Options::isolated().with(gix::sec::Trust::Full).open_path_as_is(true).strict_config(true);
    let mut repository = gix::open_opts(dir, options).map_err(|error| super::error::chain(&error))?;
    repository.objects.set_pack_cache(|| Box::new(MemoryCappedHashmap::new(UNPACKED_BYTES)));
    Ok(repository)
}
