//! A repository on this machine, as people have it: for the command line, which compares what they wrote.

use std::path::{Path, PathBuf};

use gix::ObjectId;

use super::error::clean;
use super::tree::{CommitTree, TreeError};

/// Why a local repository cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    #[error("{0} is in no Git repository")]
    NoRepository(String),
    #[error("there is no commit {0} in this repository")]
    NoCommit(String),
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// A clone with its work tree.
pub struct LocalRepository {
    repository: gix::Repository,
}

impl LocalRepository {
    /// The repository that `path` is in.
    pub fn discover(path: &Path) -> Result<Self, LocalError> {
        let missing = |_| LocalError::NoRepository(path.display().to_string());
        Ok(Self { repository: gix::discover(path).map_err(missing)? })
    }

    /// The top of the work tree, where there is one.
    pub fn work_tree(&self) -> Option<PathBuf> {
        self.repository.workdir().map(Path::to_owned)
    }

    /// The commit that a branch, tag, id or expression such as `HEAD~1` names.
    pub fn commit(&self, revision: &str) -> Result<ObjectId, LocalError> {
        let missing = || LocalError::NoCommit(clean(revision, 100));
        let found = self.repository.rev_parse_single(revision).map_err(|_| missing())?;
        let commit = found.object().map_err(|_| missing())?.peel_to_commit().map_err(|_| missing())?;
        Ok(commit.id)
    }

    /// The files of a commit.
    pub fn tree(&self, commit: ObjectId) -> Result<CommitTree, LocalError> {
        Ok(CommitTree::open(self.repository.clone(), commit)?)
    }
}
