//! A tree of files to read from, whatever it lies in: a commit, a folder, memory.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use gix::ObjectId;

use super::bounds::Limits;
use super::commit::Commit;
use super::error::{clean, in_bytes};
use super::listing::{File, Listing, Refusal, TreeError};
use super::walk::{Node, Raw, Source, walk};

/// Files that can be listed and read. Both refuse what could do harm: links, other modes than plain
/// files, names that are not what they seem, and anything too large.
pub trait FileTree {
    /// Everything there is. What has not changed since `previous` is taken from there.
    fn list(&self, limits: &Limits, previous: Option<&Listing>) -> Result<Listing, TreeError>;

    /// The content of one listed file.
    fn read(&self, path: &str, file: &File, limits: &Limits) -> Result<Vec<u8>, TreeError>;
}

/// The tree of a commit, or a folder of it.
pub struct CommitTree {
    repository: gix::Repository,
    commit: Commit,
    root: ObjectId,
    prefix: String,
}

impl CommitTree {
    pub(super) fn open(repository: gix::Repository, id: ObjectId) -> Result<Self, TreeError> {
        let raw = read_object(&repository, id, gix::objs::Kind::Commit, MAX_COMMIT_BYTES)?;
        let commit = Commit::decode(id, &raw).ok_or_else(|| TreeError::Damaged(format!("{id} cannot be decoded")))?;
        Ok(Self { root: commit.tree, repository, commit, prefix: String::new() })
    }

    /// Fails when not even the first tree object can be read.
    pub(super) fn check_root(&self) -> Result<(), TreeError> {
        self.root_object().map(drop)
    }

    /// The first tree object as it is stored.
    pub(super) fn root_object(&self) -> Result<Vec<u8>, TreeError> {
        read_object(&self.repository, self.root, gix::objs::Kind::Tree, MAX_TREE_BYTES)
    }

    pub fn commit(&self) -> &Commit {
        &self.commit
    }

    /// The commit as it is stored.
    pub(super) fn commit_object(&self) -> Result<Vec<u8>, TreeError> {
        read_object(&self.repository, self.commit.id, gix::objs::Kind::Commit, MAX_COMMIT_BYTES)
    }

    /// The id of the tree that is listed.
    pub fn root(&self) -> ObjectId {
        self.root
    }

    /// The id of the file at this path, counted from the top of what this is narrowed down to; none where there is none.
    pub fn find(&self, path: &str) -> Result<Option<ObjectId>, TreeError> {
        let (mut folder, mut parts) = (self.root, path.split('/').peekable());
        while let Some(part) = parts.next() {
            let found = self.entries(&folder)?.into_iter().find(|raw| raw.name == part.as_bytes());
            match (found.map(|raw| (raw.node, raw.handle)), parts.peek()) {
                (Some((Node::Folder(Some(id)), _)), Some(_)) => folder = id,
                (Some((Node::File { .. }, id)), None) => return Ok(Some(id)),
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    /// The content of the file at this path, where there is one.
    pub fn content(&self, path: &str, limits: &Limits) -> Result<Option<Vec<u8>>, TreeError> {
        let Some(id) = self.find(path)? else { return Ok(None) };
        read_object(&self.repository, id, gix::objs::Kind::Blob, limits.file_bytes).map(Some)
    }

    /// Narrows down to a folder like `clusters/production`; listed paths still begin at the top.
    pub fn at(mut self, folder: &str) -> Result<Self, TreeError> {
        for part in folder.split('/').filter(|part| !part.is_empty() && *part != ".") {
            self.prefix.push_str(part);
            let next = self
                .entries(&self.root)?
                .into_iter()
                .find_map(|raw| match raw.node {
                    Node::Folder(id) if raw.name == part.as_bytes() => id,
                    _ => None,
                })
                .ok_or_else(|| TreeError::NoFolder(clean(&self.prefix, 200)))?;
            self.root = next;
            self.prefix.push('/');
        }
        Ok(self)
    }
}

const MAX_COMMIT_BYTES: u64 = 1 << 20;
const MAX_TREE_BYTES: u64 = 16 << 20;

pub(super) fn read_object(
    repository: &gix::Repository,
    id: ObjectId,
    kind: gix::objs::Kind,
    limit: u64,
) -> Result<Vec<u8>, TreeError> {
    let damaged = |what: &str| TreeError::Damaged(format!("{kind} {id} {what}"));
    let header = repository.find_header(id).map_err(|_| damaged("is missing or unreadable"))?;
    if header.kind() != kind {
        return Err(damaged(&format!("is a {}", header.kind())));
    }
    if header.size() > limit {
        return Err(TreeError::Io {
            path: format!("{kind} {id}"),
            reason: format!("has {}, more than {limit}", in_bytes(header.size())),
        });
    }
    let data = repository.find_object(id).map_err(|_| damaged("cannot be read"))?.detach().data;
    // packs are checked when they arrive, not when they are read: a disk can lie in between
    match gix::objs::compute_hash(id.kind(), kind, &data) {
        Ok(actual) if actual == id => Ok(data),
        _ => Err(damaged("does not have the content its id says")),
    }
}

impl Source for CommitTree {
    type Handle = ObjectId;

    fn entries(&self, folder: &ObjectId) -> Result<Vec<Raw<ObjectId>>, TreeError> {
        use gix::objs::tree::EntryKind;
        let data = read_object(&self.repository, *folder, gix::objs::Kind::Tree, MAX_TREE_BYTES)?;
        gix::objs::TreeRefIter::from_bytes(&data, folder.kind())
            .map(|entry| {
                let entry = entry.map_err(|_| TreeError::Damaged(format!("tree {folder} cannot be decoded")))?;
                let id = entry.oid.to_owned();
                let node = match entry.mode.kind() {
                    EntryKind::Tree => Node::Folder(Some(id)),
                    EntryKind::Blob => Node::File { executable: false },
                    EntryKind::BlobExecutable => Node::File { executable: true },
                    EntryKind::Link => Node::Symlink,
                    // everything that is none of the others counts as one
                    EntryKind::Commit if entry.mode.value() != EntryKind::Commit as u16 => Node::Special,
                    EntryKind::Commit => Node::Submodule,
                };
                Ok(Raw { name: entry.filename.to_vec(), node, handle: id })
            })
            .collect()
    }

    fn identify(&self, handle: &ObjectId, _limit: u64) -> Result<(ObjectId, u64), TreeError> {
        let header = self
            .repository
            .find_header(*handle)
            .map_err(|_| TreeError::Damaged(format!("blob {handle} is missing or unreadable")))?;
        Ok((*handle, header.size()))
    }
}

impl FileTree for CommitTree {
    fn list(&self, limits: &Limits, previous: Option<&Listing>) -> Result<Listing, TreeError> {
        walk(self, &self.root, Some(self.root), &self.prefix, limits, previous)
    }

    fn read(&self, path: &str, file: &File, limits: &Limits) -> Result<Vec<u8>, TreeError> {
        if file.size > limits.file_bytes {
            return Err(TreeError::Refused(Refusal::too_large(path, file.size, limits.file_bytes)));
        }
        read_object(&self.repository, file.id, gix::objs::Kind::Blob, limits.file_bytes)
    }
}

/// A plain folder on disk. `.git` is not part of it.
pub struct FolderTree {
    root: PathBuf,
}

impl FolderTree {
    /// The folder itself may be named through a link; nothing inside is followed.
    pub fn open(path: &Path) -> Result<Self, TreeError> {
        let failed = |reason: String| TreeError::Io { path: path.display().to_string(), reason };
        let root = fs::canonicalize(path).map_err(|e| failed(e.to_string()))?;
        if !root.is_dir() {
            return Err(failed("is not a folder".into()));
        }
        Ok(Self { root })
    }

    fn open_file(&self, path: &Path, limit: u64) -> Result<Vec<u8>, TreeError> {
        let failed = |reason: String| TreeError::Io {
            path: path.strip_prefix(&self.root).unwrap_or(path).display().to_string(),
            reason,
        };
        let file = fs::OpenOptions::new()
            .read(true)
            .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
            .open(path)
            .map_err(|e| failed(e.to_string()))?;
        if !file.metadata().map_err(|e| failed(e.to_string()))?.is_file() {
            return Err(failed("is not a plain file".into()));
        }
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes).map_err(|e| failed(e.to_string()))?;
        if bytes.len() as u64 > limit {
            return Err(failed(format!("is larger than {}", in_bytes(limit))));
        }
        Ok(bytes)
    }
}

/// Whether a folder is the work tree of a repository of its own.
fn is_repository(folder: &Path) -> bool {
    fs::symlink_metadata(folder.join(".git")).is_ok()
}

impl Source for FolderTree {
    type Handle = PathBuf;

    fn entries(&self, folder: &PathBuf) -> Result<Vec<Raw<PathBuf>>, TreeError> {
        use std::os::unix::ffi::OsStrExt;
        let failed = |e: std::io::Error| TreeError::Io {
            path: folder.strip_prefix(&self.root).unwrap_or(folder).display().to_string(),
            reason: e.to_string(),
        };
        let mut entries = Vec::new();
        for entry in fs::read_dir(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_name() == ".git" {
                continue;
            }
            let data = fs::symlink_metadata(entry.path()).map_err(failed)?;
            let node = match data.file_type() {
                kind if kind.is_symlink() => Node::Symlink,
                // as Git sees it, whether it knows the repository or not
                kind if kind.is_dir() && is_repository(&entry.path()) => Node::Submodule,
                kind if kind.is_dir() => Node::Folder(None),
                kind if kind.is_file() => Node::File { executable: data.mode() & 0o100 != 0 },
                _ => Node::Special,
            };
            entries.push(Raw { name: entry.file_name().as_bytes().to_vec(), node, handle: entry.path() });
        }
        Ok(entries)
    }

    fn identify(&self, handle: &PathBuf, limit: u64) -> Result<(ObjectId, u64), TreeError> {
        let size = fs::symlink_metadata(handle).map_or(0, |data| data.len());
        if size > limit {
            return Ok((ObjectId::null(gix::hash::Kind::Sha1), size));
        }
        let bytes = self.open_file(handle, limit)?;
        Ok((blob_id(&bytes), bytes.len() as u64))
    }
}

impl FileTree for FolderTree {
    fn list(&self, limits: &Limits, previous: Option<&Listing>) -> Result<Listing, TreeError> {
        walk(self, &self.root, None, "", limits, previous)
    }

    fn read(&self, path: &str, file: &File, limits: &Limits) -> Result<Vec<u8>, TreeError> {
        if file.size > limits.file_bytes {
            return Err(TreeError::Refused(Refusal::too_large(path, file.size, limits.file_bytes)));
        }
        self.open_file(&self.root.join(path), limits.file_bytes)
    }
}

/// Files in memory, for what was never on disk.
#[derive(Clone, Debug, Default)]
pub struct MemoryTree {
    files: BTreeMap<String, Vec<u8>>,
}

impl MemoryTree {
    #[must_use]
    pub fn with(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.insert(path.to_owned(), content.into());
        self
    }
}

impl<P: Into<String>, C: Into<Vec<u8>>> FromIterator<(P, C)> for MemoryTree {
    fn from_iter<I: IntoIterator<Item = (P, C)>>(files: I) -> Self {
        Self { files: files.into_iter().map(|(path, content)| (path.into(), content.into())).collect() }
    }
}

impl Source for MemoryTree {
    /// The path of a file, or of a folder with a slash at its end.
    type Handle = String;

    fn entries(&self, folder: &String) -> Result<Vec<Raw<String>>, TreeError> {
        let mut entries: Vec<Raw<String>> = Vec::new();
        for path in self.files.keys() {
            let Some(rest) = path.strip_prefix(folder.as_str()) else {
                continue;
            };
            let (name, node) = match rest.split_once('/') {
                Some((name, _)) => (name, Node::Folder(None)),
                None => (rest, Node::File { executable: false }),
            };
            let is_folder = matches!(node, Node::Folder(_));
            if is_folder && entries.iter().any(|e| e.name == name.as_bytes()) {
                continue;
            }
            entries.push(Raw {
                name: name.as_bytes().to_vec(),
                node,
                handle: format!("{folder}{name}{}", if is_folder { "/" } else { "" }),
            });
        }
        Ok(entries)
    }

    fn identify(&self, handle: &String, _limit: u64) -> Result<(ObjectId, u64), TreeError> {
        let bytes = self.files.get(handle).map(Vec::as_slice).unwrap_or_default();
        Ok((blob_id(bytes), bytes.len() as u64))
    }
}

impl FileTree for MemoryTree {
    fn list(&self, limits: &Limits, previous: Option<&Listing>) -> Result<Listing, TreeError> {
        walk(self, &String::new(), None, "", limits, previous)
    }

    fn read(&self, path: &str, _file: &File, limits: &Limits) -> Result<Vec<u8>, TreeError> {
        match self.files.get(path) {
            Some(bytes) if bytes.len() as u64 > limits.file_bytes => {
                Err(TreeError::Refused(Refusal::too_large(path, bytes.len() as u64, limits.file_bytes)))
            }
            Some(bytes) => Ok(bytes.clone()),
            None => Err(TreeError::Io { path: path.to_owned(), reason: "is not there".into() }),
        }
    }
}

/// The id Git gives to this content.
pub fn blob_id(bytes: &[u8]) -> ObjectId {
    gix::objs::compute_hash(gix::hash::Kind::Sha1, gix::objs::Kind::Blob, bytes)
        .unwrap_or_else(|_| ObjectId::null(gix::hash::Kind::Sha1))
}
