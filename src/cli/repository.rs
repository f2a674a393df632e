//! The files a command works on: a folder, or a commit of the repository it is in.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;

use super::error::CommandError;
use super::snapshot::{self, Snapshot};
use crate::names::NamespaceName;
use crate::plan::source::Placement;
use crate::repo::{CommitTree, FolderTree, History, HistoryError, TreeError};

/// What helps a clone that lacks something.
const DAMAGED: &str =
    "repair the clone: git fsck; one that was made with --filter lacks files, and has to be made without";

#[derive(Args, Clone, Debug)]
pub struct Files {
    /// Folder with the files; some commands take single files as well.
    #[arg(default_value = ".")]
    pub path: PathBuf,

    /// Namespace of objects that name none.
    #[arg(long, value_name = "NAME", default_value = "default")]
    default_namespace: String,

    /// Namespaces that may be written to, separated by commas; any where left out.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    allowed_namespaces: Vec<String>,
}

impl Files {
    /// The same of another folder.
    pub fn of(&self, path: PathBuf) -> Self {
        Self { path, ..self.clone() }
    }

    /// Files by themselves, and where that is what was given: the folder they belong to, the top of their repository where
    /// they are in one, and their paths in it.
    pub fn with_files(&self, more: &[PathBuf]) -> Result<(Self, Option<BTreeSet<String>>), CommandError> {
        if more.is_empty() && !self.path.is_file() {
            return Ok((self.clone(), None));
        }
        let wrong = |path: &Path, what: String| {
            CommandError::new(what)
                .at(path.display().to_string())
                .remedy("name one folder, or files of one repository that exist and can be read")
        };
        let full = |path: &Path| {
            let full = path.canonicalize().map_err(|error| wrong(path, error.to_string()))?;
            if full.is_file() { Ok(full) } else { Err(wrong(path, "among several paths this is no file".to_owned())) }
        };
        let mut named: Vec<&PathBuf> = more.iter().collect();
        let top = if self.path.is_dir() {
            // the folder, and files in it
            self.path.canonicalize().map_err(|error| wrong(&self.path, error.to_string()))?
        } else {
            named.insert(0, &self.path);
            let first = full(&self.path)?;
            let parent = first.parent().unwrap_or(&first).to_owned();
            let top = History::open(&parent).ok().and_then(|history| history.work_tree()?.canonicalize().ok());
            top.unwrap_or(parent)
        };
        let mut inside = BTreeSet::new();
        for path in named {
            let full = full(path)?;
            let path = full.strip_prefix(&top).map_err(|_| {
                CommandError::new(format!("this file is not below {}", top.display()))
                    .at(path.display().to_string())
                    .remedy("name files of one repository at a time")
            })?;
            inside.insert(path.to_string_lossy().into_owned());
        }
        Ok((self.of(top), Some(inside)))
    }

    fn placement(&self) -> Result<Placement, CommandError> {
        let given = self.allowed_namespaces.iter().map(|name| ("--allowed-namespaces", name));
        for (option, name) in given.chain([("--default-namespace", &self.default_namespace)]) {
            NamespaceName::parse(name).map_err(|error| {
                CommandError::new(error.to_string()).at(option).remedy("name a namespace as Kubernetes does")
            })?;
        }
        let allowed = (!self.allowed_namespaces.is_empty()).then(|| self.allowed_namespaces.iter().cloned().collect());
        Ok(Placement {
            default_namespace: self.default_namespace.clone(),
            allowed,
            folder: String::new(),
            // what the source may do is known in the cluster
            sources: true,
        })
    }

    /// The files as they are now.
    pub fn now(&self) -> Result<Snapshot, CommandError> {
        self.now_placed(&self.placement()?)
    }

    fn now_placed(&self, placement: &Placement) -> Result<Snapshot, CommandError> {
        let tree = FolderTree::open(&self.path).map_err(|error| unreadable(&error, &self.path))?;
        snapshot::read(&tree, placement).map_err(|error| unreadable(&error, &self.path))
    }

    /// The files as they are, or in a commit, placed as a source does it. Paths begin with the source's folder, which is
    /// below ours or is ours.
    pub fn placed(&self, revision: Option<&str>, placement: &Placement) -> Result<Snapshot, CommandError> {
        let below = self.path.join(&placement.folder);
        let files = if below.is_dir() { self.of(below) } else { self.clone() };
        let own = Placement { folder: String::new(), ..placement.clone() };
        let snapshot = match revision {
            None => files.now_placed(&own)?,
            Some(revision) => files.at_placed(revision, &own)?,
        };
        Ok(snapshot.seen_from(|path| format!("{}{path}", placement.folder)))
    }

    /// The files as they were in a commit.
    pub fn at(&self, revision: &str) -> Result<Snapshot, CommandError> {
        self.at_placed(revision, &self.placement()?)
    }

    fn at_placed(&self, revision: &str, placement: &Placement) -> Result<Snapshot, CommandError> {
        let explain = |error: HistoryError| history_problem(&error, &self.path);
        let repository = History::open(&self.path).map_err(explain)?;
        let commit = repository.resolve(revision).map_err(explain)?;
        let folder = self.folder_in(&repository)?;
        let tree = repository.tree(commit).and_then(|tree| tree.at(&folder));
        let tree: CommitTree = match tree {
            Ok(tree) => tree,
            // the folder is new
            Err(TreeError::NoFolder(_)) => return Ok(Snapshot::default()),
            Err(error) => return Err(unreadable(&error, &self.path)),
        };
        let folder = if folder.is_empty() { folder } else { format!("{folder}/") };
        let placement = Placement { folder: folder.clone(), ..placement.clone() };
        let snapshot = snapshot::read(&tree, &placement).map_err(|error| unreadable(&error, &self.path))?;
        Ok(snapshot.seen_from(|path| path.strip_prefix(folder.as_str()).unwrap_or(path).to_owned()))
    }

    /// The history that the files are in.
    pub fn history(&self) -> Result<History, CommandError> {
        History::open(&self.path).map_err(|error| history_problem(&error, &self.path))
    }

    /// Where in the repository the folder is.
    fn folder_in(&self, repository: &History) -> Result<String, CommandError> {
        let full = |path: &Path| {
            path.canonicalize().map_err(|error| CommandError::new(error.to_string()).at(path.display().to_string()))
        };
        let Some(top) = repository.work_tree() else { return Ok(String::new()) };
        let inside = full(&self.path)?;
        Ok(inside.strip_prefix(full(top)?).map(|path| path.display().to_string()).unwrap_or_default())
    }
}

/// Why history could not be read, and what to do.
pub fn history_problem(error: &HistoryError, path: &Path) -> CommandError {
    if !path.exists() {
        // somebody used to git may have named a commit
        return CommandError::new("there is no such folder")
            .at(path.display().to_string())
            .remedy("name a folder that exists; commits are named by options, such as --base and --revision");
    }
    let remedy = match error {
        HistoryError::NoRepository { .. } => "run this inside a clone",
        HistoryError::NoCommit => "commit something first; `midship validate` and `midship render` need no commit",
        HistoryError::NoSuchRevision(_) => {
            "check the name with `git log --all`; a shallow clone may have to be deepened: git fetch --unshallow"
        }
        HistoryError::Tree(_) => DAMAGED,
    };
    CommandError::new(error.to_string()).at(path.display().to_string()).remedy(remedy)
}

pub fn unreadable(error: &TreeError, path: &Path) -> CommandError {
    let remedy = match error {
        TreeError::TooMany(_) => "name the folder that the GitSource reconciles, or one with less in it",
        TreeError::Damaged(_) => DAMAGED,
        TreeError::NoFolder(_) | TreeError::Refused(_) | TreeError::Io { .. } => {
            "name a folder that exists and can be read"
        }
    };
    CommandError::new(error.to_string()).at(path.display().to_string()).remedy(remedy)
}
