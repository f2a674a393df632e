//! What a tree contains: files, refusals, and the difference to another listing by object id.

use std::fmt;
use std::sync::Arc;

use gix::ObjectId;

use super::bounds::Limits;
use super::error::in_bytes;

/// One readable file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// The id of its content.
    pub id: ObjectId,
    pub size: u64,
    pub executable: bool,
}

/// Why an entry is not read. Stable names: people and machines refer to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    Symlink,
    Submodule,
    SpecialFile,
    NameNotUtf8,
    NameUnsafe,
    NameControl,
    DuplicateName,
    CaseCollision,
    PathTooLong,
    TooDeep,
    TooLarge,
}

impl Code {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Symlink => "symlink",
            Self::Submodule => "submodule",
            Self::SpecialFile => "special-file",
            Self::NameNotUtf8 => "name-not-utf8",
            Self::NameUnsafe => "name-unsafe",
            Self::NameControl => "name-control",
            Self::DuplicateName => "duplicate-name",
            Self::CaseCollision => "case-collision",
            Self::PathTooLong => "path-too-long",
            Self::TooDeep => "too-deep",
            Self::TooLarge => "too-large",
        }
    }
}

/// One entry that is not read, or (a warning) better had another name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub path: String,
    pub code: Code,
    pub reason: String,
}

impl Refusal {
    pub(super) fn new(path: String, code: Code, reason: String) -> Self {
        Self { path, code, reason }
    }

    pub(super) fn too_large(path: &str, size: u64, limit: u64) -> Self {
        let reason = format!("has {}, more than {limit}; split it or raise the limit", in_bytes(size));
        Self::new(path.to_owned(), Code::TooLarge, reason)
    }
}

/// Why a tree, or one file of it, could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// The local copy is broken; fetching anew may mend it.
    #[error("the local copy of the repository is damaged: {0}")]
    Damaged(String),
    #[error("there is no folder `{0}` in this commit")]
    NoFolder(String),
    #[error("the tree has more than {0} files and folders; use a `path` or raise the limit")]
    TooMany(usize),
    #[error("{0}")]
    Refused(Refusal),
    #[error("{path}: {reason}")]
    Io { path: String, reason: String },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.path, self.reason, self.code.as_str())
    }
}

/// A folder. Folders that did not change are shared between listings.
#[derive(Debug)]
pub(super) struct Folder {
    /// The id of the tree object; none outside of Git.
    pub id: Option<ObjectId>,
    /// Sorted by name.
    entries: Vec<Entry>,
    refused: Vec<Refusal>,
    warnings: Vec<Refusal>,
    /// Everything the walk counted here and below.
    pub entries_below: usize,
    files_below: usize,
    remarks_below: usize,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub name: Box<str>,
    pub content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    File(File),
    Folder(Arc<Folder>),
}

impl Folder {
    pub fn new(id: Option<ObjectId>, entries: Vec<Entry>, refused: Vec<Refusal>, warnings: Vec<Refusal>) -> Self {
        let mut folder = Self {
            id,
            entries_below: entries.len() + refused.len(),
            files_below: 0,
            remarks_below: refused.len() + warnings.len(),
            entries,
            refused,
            warnings,
        };
        for entry in &folder.entries {
            match &entry.content {
                Content::File(_) => folder.files_below += 1,
                Content::Folder(inner) => {
                    folder.entries_below += inner.entries_below;
                    folder.files_below += inner.files_below;
                    folder.remarks_below += inner.remarks_below;
                }
            }
        }
        folder
    }

    fn get(&self, name: &str) -> Option<&Content> {
        let at = self.entries.binary_search_by(|entry| (*entry.name).cmp(name)).ok()?;
        Some(&self.entries[at].content)
    }

    pub fn folder(&self, name: &str) -> Option<&Arc<Folder>> {
        match self.get(name)? {
            Content::Folder(folder) => Some(folder),
            Content::File(_) => None,
        }
    }

    fn each_file<'a>(&'a self, path: &str, visit: &mut impl FnMut(String, &'a File)) {
        for entry in &self.entries {
            match &entry.content {
                Content::File(file) => visit(format!("{path}{}", entry.name), file),
                Content::Folder(folder) => folder.each_file(&format!("{path}{}/", entry.name), visit),
            }
        }
    }

    fn each_remark<'a>(&'a self, visit: &mut impl FnMut(&'a Self)) {
        if self.remarks_below == 0 {
            return;
        }
        visit(self);
        for entry in &self.entries {
            if let Content::Folder(folder) = &entry.content {
                folder.each_remark(visit);
            }
        }
    }
}

/// Everything in a tree. Cheap to keep and to clone: a listing made from a previous one shares all
/// folders that did not change.
#[derive(Clone, Debug)]
pub struct Listing {
    root: Arc<Folder>,
    prefix: String,
    limits: Limits,
}

impl Listing {
    pub(super) fn new(root: Arc<Folder>, prefix: String, limits: Limits) -> Self {
        Self { root, prefix, limits }
    }

    pub(super) fn root(&self) -> &Arc<Folder> {
        &self.root
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How many files can be read.
    pub fn len(&self) -> usize {
        self.root.files_below
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All files with their paths, sorted within each folder.
    pub fn files(&self) -> Vec<(String, &File)> {
        let mut files = Vec::with_capacity(self.len());
        self.root.each_file(&self.prefix, &mut |path, file| files.push((path, file)));
        files
    }

    /// The file at this path.
    pub fn get(&self, path: &str) -> Option<&File> {
        let mut folder = &self.root;
        let mut parts = path.strip_prefix(self.prefix.as_str())?.split('/').peekable();
        while let Some(part) = parts.next() {
            match (folder.get(part)?, parts.peek()) {
                (Content::File(file), None) => return Some(file),
                (Content::Folder(inner), Some(_)) => folder = inner,
                _ => return None,
            }
        }
        None
    }

    /// What is not read, and why.
    pub fn refused(&self) -> Vec<&Refusal> {
        let mut all = Vec::new();
        self.root.each_remark(&mut |folder| all.extend(&folder.refused));
        all
    }

    /// What is read although it may surprise.
    pub fn warnings(&self) -> Vec<&Refusal> {
        let mut all = Vec::new();
        self.root.each_remark(&mut |folder| all.extend(&folder.warnings));
        all
    }

    /// What has to be done to `self` to become `new`. Folders with the same id are not entered.
    pub fn diff(&self, new: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.prefix == new.prefix {
            compare(&self.root, &new.root, &self.prefix, &mut changes);
        } else {
            all(&self.root, &self.prefix, Side::Old, &mut changes);
            all(&new.root, &new.prefix, Side::New, &mut changes);
        }
        changes
    }
}

/// One file that differs between two listings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub path: String,
    pub old: Option<File>,
    pub new: Option<File>,
}

#[derive(Clone, Copy)]
enum Side {
    Old,
    New,
}

fn all(folder: &Folder, path: &str, side: Side, changes: &mut Vec<Change>) {
    folder.each_file(path, &mut |path, file| changes.push(one(path, file, side)));
}

fn one(path: String, file: &File, side: Side) -> Change {
    let (old, new) = match side {
        Side::Old => (Some(file.clone()), None),
        Side::New => (None, Some(file.clone())),
    };
    Change { path, old, new }
}

fn compare(old: &Arc<Folder>, new: &Arc<Folder>, path: &str, changes: &mut Vec<Change>) {
    if Arc::ptr_eq(old, new) || (old.id.is_some() && old.id == new.id) {
        return;
    }
    let (mut a, mut b) = (old.entries.iter().peekable(), new.entries.iter().peekable());
    loop {
        let order = match (a.peek(), b.peek()) {
            (None, None) => return,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(a), Some(b)) => a.name.cmp(&b.name),
        };
        let before = if order.is_le() { a.next() } else { None };
        let after = if order.is_ge() { b.next() } else { None };
        compare_entries(before, after, path, changes);
    }
}

fn compare_entries(old: Option<&Entry>, new: Option<&Entry>, path: &str, changes: &mut Vec<Change>) {
    if let (Some(old), Some(new)) = (old, new) {
        match (&old.content, &new.content) {
            (Content::Folder(a), Content::Folder(b)) => {
                return compare(a, b, &format!("{path}{}/", old.name), changes);
            }
            (Content::File(a), Content::File(b)) => {
                if a != b {
                    changes.push(Change {
                        path: format!("{path}{}", old.name),
                        old: Some(a.clone()),
                        new: Some(b.clone()),
                    });
                }
                return;
            }
            // a file became a folder or the other way round
            _ => {}
        }
    }
    for (entry, side) in [(old, Side::Old), (new, Side::New)] {
        let Some(entry) = entry else { continue };
        match &entry.content {
            Content::File(file) => changes.push(one(format!("{path}{}", entry.name), file, side)),
            Content::Folder(folder) => all(folder, &format!("{path}{}/", entry.name), side, changes),
        }
    }
}
