//! Reading history: commit by commit, and what each changed.

use std::path::Path;

use gix::ObjectId;
use gix::revision::walk::Sorting;
use gix::traverse::commit::simple::CommitTimeOrder;

use super::commit::Commit;
use super::error::{chain, clean};
use super::listing::TreeError;
use super::tree::CommitTree;

/// The commits of a local clone or of a cache that was fetched with its history.
pub struct History {
    repository: gix::Repository,
}

/// Why history could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    #[error("{path} is not inside a Git repository: {reason}")]
    NoRepository { path: String, reason: String },
    #[error("there is no commit in this repository yet")]
    NoCommit,
    #[error("`{0}` names no commit of this repository")]
    NoSuchRevision(String),
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// What one commit did to one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touched {
    pub path: String,
    /// The content before; none for a new file.
    pub old: Option<ObjectId>,
    /// The content after; none for a removed file.
    pub new: Option<ObjectId>,
}

impl History {
    /// The repository that `path` is in, as `git` would find it. Nobody's configuration is used.
    pub fn open(path: &Path) -> Result<Self, HistoryError> {
        let isolated = gix::open::Options::isolated;
        let trust = gix::sec::trust::Mapping { full: isolated(), reduced: isolated() };
        let found = gix::ThreadSafeRepository::discover_opts(path, gix::discover::upwards::Options::default(), trust);
        let repository = found
            .map_err(|error| HistoryError::NoRepository { path: path.display().to_string(), reason: chain(&error) })?;
        Ok(Self::of(repository.to_thread_local()))
    }

    pub(super) fn of(mut repository: gix::Repository) -> Self {
        repository.object_cache_size_if_unset(4 << 20);
        Self { repository }
    }

    /// The top of the work tree, where there is one.
    pub fn work_tree(&self) -> Option<&Path> {
        self.repository.workdir()
    }

    /// Whether older commits are left out of it, or may be.
    pub fn is_shallow(&self) -> bool {
        self.repository.is_shallow().unwrap_or(true)
    }

    /// The commit a revision like `HEAD~3`, `main`, `v1.2` or a commit id names.
    pub fn resolve(&self, revision: &str) -> Result<ObjectId, HistoryError> {
        if revision == "HEAD" && self.repository.head().is_ok_and(|head| head.is_unborn()) {
            return Err(HistoryError::NoCommit);
        }
        let missing = || HistoryError::NoSuchRevision(clean(revision, 100));
        let id = self.repository.rev_parse_single(revision).map_err(|_| missing())?;
        let commit = id.object().map_err(|_| missing())?.peel_to_kind(gix::object::Kind::Commit);
        commit.map(|commit| commit.id).map_err(|_| missing())
    }

    /// The references whose full names start with this, and the commits they point to.
    pub fn references(&self, prefix: &str) -> Result<Vec<(String, ObjectId)>, TreeError> {
        let damaged = |reason: String| TreeError::Damaged(clean(&reason, 400));
        let platform = self.repository.references().map_err(|error| damaged(error.to_string()))?;
        let found = platform.prefixed(prefix).map_err(|error| damaged(error.to_string()))?;
        let mut all = Vec::new();
        for reference in found {
            let mut reference = reference.map_err(|error| damaged(error.to_string()))?;
            // what points to no commit is of no use here
            if let Ok(commit) = reference.peel_to_id() {
                all.push((clean(&reference.name().as_bstr().to_string(), 250), commit.detach()));
            }
        }
        all.sort();
        Ok(all)
    }

    /// The tree of a commit.
    pub fn tree(&self, commit: ObjectId) -> Result<CommitTree, TreeError> {
        CommitTree::open(self.repository.clone(), commit)
    }

    /// `tip` and its ancestors, newest first; past a shallow boundary there is nothing more.
    pub fn commits(
        &self,
        tip: ObjectId,
    ) -> Result<impl Iterator<Item = Result<Commit, TreeError>> + use<'_>, TreeError> {
        let damaged = |e: &gix::Error| TreeError::Damaged(chain(e));
        let walk = self.repository.rev_walk([tip]).sorting(Sorting::ByCommitTime(CommitTimeOrder::NewestFirst));
        let walk = walk.all().map_err(|e| damaged(&e))?;
        Ok(walk.map(move |step| {
            let id = step.map_err(|e| damaged(&e))?.id;
            Ok(self.tree(id)?.commit().clone())
        }))
    }

    /// The parents of a commit, as far as they belong here: past a shallow boundary there is nothing more.
    pub fn parents(&self, commit: &Commit) -> Result<Vec<ObjectId>, TreeError> {
        let shallow = self.repository.shallow_commits().map_err(|error| TreeError::Damaged(chain(&error)))?;
        let is_cut = shallow.is_some_and(|cut| cut.contains(&commit.id));
        Ok(if is_cut { Vec::new() } else { commit.parents.clone() })
    }

    /// What a commit changed since its first parent, sorted by path. Folders that did not change are
    /// not entered.
    pub fn changes(&self, commit: &Commit) -> Result<Vec<Touched>, TreeError> {
        let parent = match commit.parents.first() {
            // the parent of a shallow commit is not here: all of it counts as new
            Some(parent) if self.repository.has_object(parent) => Some(self.tree(*parent)?.root()),
            _ => None,
        };
        self.between(parent, commit.tree)
    }

    /// What is different between two trees.
    pub fn between(&self, old: Option<ObjectId>, new: ObjectId) -> Result<Vec<Touched>, TreeError> {
        use gix::object::tree::diff::ChangeDetached as Change;
        let damaged = |e: gix::Error| TreeError::Damaged(chain(&e));
        let tree = |id: ObjectId| self.repository.find_tree(id).map_err(damaged);
        let (old, new) = (old.map(tree).transpose()?, tree(new)?);
        let options = gix::diff::Options::default();
        let changes = self.repository.diff_tree_to_tree(old.as_ref(), Some(&new), options).map_err(damaged)?;
        let mut touched = Vec::new();
        for change in changes {
            let (location, mode, old, new) = match change {
                Change::Addition { location, entry_mode, id, .. } => (location, entry_mode, None, Some(id)),
                Change::Deletion { location, entry_mode, id, .. } => (location, entry_mode, Some(id), None),
                Change::Modification { location, entry_mode, previous_id, id, .. } => {
                    (location, entry_mode, Some(previous_id), Some(id))
                }
                Change::Rewrite { location, entry_mode, source_id, id, .. } => {
                    (location, entry_mode, Some(source_id), Some(id))
                }
            };
            if !mode.is_tree() {
                touched.push(Touched { path: clean(&location.to_string(), 400), old, new });
            }
        }
        touched.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(touched)
    }

    /// The id of the file at `path` in a commit; none where there is none.
    pub fn file(&self, commit: &Commit, path: &str) -> Result<Option<ObjectId>, TreeError> {
        let damaged = |e: gix::Error| TreeError::Damaged(chain(&e));
        let tree = self.repository.find_tree(commit.tree).map_err(damaged)?;
        let entry = tree.lookup_entry(path.split('/')).map_err(damaged)?;
        Ok(entry.filter(|entry| entry.mode().is_blob()).map(|entry| entry.object_id()))
    }

    /// The content of a file, by its id.
    pub fn blob(&self, id: ObjectId, limit: u64) -> Result<Vec<u8>, TreeError> {
        super::tree::read_object(&self.repository, id, gix::objs::Kind::Blob, limit)
    }
}
