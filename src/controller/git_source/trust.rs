//! Whether a commit may be applied: it follows from the one that is applied, and somebody trusted signed it.

use std::collections::{BTreeMap, HashSet, VecDeque};

use crate::repo::{Bounds, CommitTree, History, ObjectId, TreeError, TrustedSigners, VerifyError, short};

use super::problem::Problem;

/// How far back a signed commit is looked for that left a folder as it is now.
const COMMITS_BACK: usize = 1000;

/// Which commits are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    pub signers: TrustedSigners,
    /// Folders that this is asked for, without a slash at the end; none means everything.
    pub folders: Vec<String>,
}

/// What the applied commit has to be to a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FastForward {
    pub applied: ObjectId,
    /// A commit that somebody agreed to although it does not follow.
    pub accepted: Option<String>,
}

/// The code of a commit that does not follow.
pub const NOT_FAST_FORWARD: &str = "not-fast-forward";

/// The annotation that agrees to a rewritten history, with the commit as its value.
pub const ACCEPT_REWRITE: &str = "midship.dev/accept-rewrite";

impl FastForward {
    /// Whether `new` comes after what is applied.
    pub fn check(&self, history: &History, new: ObjectId, bounds: &Bounds) -> Result<(), Problem> {
        let named = |accepted: &String| accepted.len() >= 7 && new.to_string().starts_with(accepted.as_str());
        if self.applied == new || self.accepted.as_ref().is_some_and(named) {
            return Ok(());
        }
        let unreadable = |error: TreeError| Problem { code: "tree", message: error.to_string(), passing: true };
        for commit in history.commits(new).map_err(unreadable)? {
            if commit.map_err(unreadable)?.id == self.applied {
                return Ok(());
            }
            bounds.check()?;
        }
        Err(Problem {
            code: NOT_FAST_FORWARD,
            message: format!(
                "{} does not follow from the applied commit {}: the history was rewritten, and spec.requireFastForward holds it; \
                 to accept it, set the annotation {ACCEPT_REWRITE}: {new} on the GitSource, or requireFastForward to false",
                short(&new),
                short(&self.applied)
            ),
            passing: false,
        })
    }
}

impl Verification {
    /// Whether history is needed to decide.
    pub fn needs_history(&self) -> bool {
        !self.folders.is_empty()
    }

    /// Checks the commit. Folders that nobody trusted vouches for are returned with the reason; where trust is asked for
    /// everything, that is an error.
    pub fn check(
        &self,
        history: &History,
        commit: ObjectId,
        bounds: &Bounds,
    ) -> Result<BTreeMap<String, String>, Problem> {
        let tree = history.tree(commit).map_err(|error| problem(&error.into()))?;
        let reason = match self.signers.verify(&tree, bounds) {
            Ok(_) => return Ok(BTreeMap::new()),
            Err(error) if self.folders.is_empty() => return Err(problem(&error)),
            Err(error) if is_about_us(&error) => return Err(problem(&error)),
            Err(error) => error.to_string(),
        };
        let mut untrusted = BTreeMap::new();
        for folder in &self.folders {
            if !self.vouched(history, commit, folder, bounds)? {
                untrusted.insert(
                    folder.clone(),
                    format!(
                        "{reason}, and no trusted commit left this folder as it is; what was applied from it stays"
                    ),
                );
            }
        }
        Ok(untrusted)
    }

    /// Whether a trusted commit left the folder as it is in `commit`, with nothing but such commits in between.
    fn vouched(&self, history: &History, commit: ObjectId, folder: &str, bounds: &Bounds) -> Result<bool, Problem> {
        let unreadable = |error: TreeError| problem(&error.into());
        let wanted = root_of(history, commit, folder).map_err(unreadable)?;
        if wanted.is_none() {
            // a folder that is not there defines nothing, and nothing is deleted for it
            return Ok(false);
        }
        let (mut waiting, mut seen) = (VecDeque::from([commit]), HashSet::from([commit]));
        while let Some(id) = waiting.pop_front() {
            bounds.check()?;
            let Ok(tree) = history.tree(id) else { continue };
            let parents = tree.commit().parents.clone();
            if tree.commit().signed && self.signers.verify(&tree, bounds).is_ok() {
                return Ok(true);
            }
            let roots: Vec<_> = parents.iter().map(|parent| root_of(history, *parent, folder).ok().flatten()).collect();
            let others: Vec<_> = roots.iter().copied().filter(|root| *root != wanted).collect();
            for (parent, root) in parents.iter().zip(&roots) {
                let newer = || others.iter().all(|other| had(history, *parent, folder, *other, bounds));
                if seen.len() < COMMITS_BACK && *root == wanted && newer() && seen.insert(*parent) {
                    waiting.push_back(*parent);
                }
            }
        }
        Ok(false)
    }
}

/// Whether a file lies in a folder.
pub fn within(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// Whether a folder was once like this before a commit: a merge may leave out what was replaced since, and bring back
/// nothing that it replaced.
fn had(history: &History, commit: ObjectId, folder: &str, root: Option<ObjectId>, bounds: &Bounds) -> bool {
    let Ok(commits) = history.commits(commit) else { return false };
    let mut commits = commits.take(COMMITS_BACK).take_while(|_| bounds.check().is_ok());
    commits
        .any(|commit| commit.is_ok_and(|commit| root_of(history, commit.id, folder).is_ok_and(|found| found == root)))
}

/// The id of a folder's tree in a commit, where it is there.
fn root_of(history: &History, commit: ObjectId, folder: &str) -> Result<Option<ObjectId>, TreeError> {
    match history.tree(commit).and_then(|tree| tree.at(folder)) {
        Ok(tree) => Ok(Some(CommitTree::root(&tree))),
        Err(TreeError::NoFolder(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether an error says nothing of the commit but that it cannot be checked at all.
fn is_about_us(error: &VerifyError) -> bool {
    matches!(error, VerifyError::NobodyTrusted(_) | VerifyError::Tree(_) | VerifyError::Program(_))
}

fn problem(error: &VerifyError) -> Problem {
    let passing = matches!(error, VerifyError::Tree(_) | VerifyError::Program(_));
    let message = match error {
        VerifyError::Unsigned { .. }
        | VerifyError::NotTrusted { .. }
        | VerifyError::Wrong { .. }
        | VerifyError::Unknown { .. } => {
            format!(
                "{error}; nothing of it is applied, as spec.verification says; sign the commit, or add its signer to the Secret that spec.verification.signers names"
            )
        }
        error => error.to_string(),
    };
    Problem { code: error.code(), message, passing }
}
