//! Whether a commit may be applied: it follows from the one that is applied, and somebody trusted signed it.

use std::collections::{BTreeMap, HashSet, VecDeque};

use crate::repo::{
    Bounds, CacheError, CommitTree, History, ObjectId, TreeError, TrustedSigners, VerifyError, follows, short,
};

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

/// The annotation that agrees to a rewritten history, with the commit as its value.
pub const ACCEPT_REWRITE: &str = "midship.dev/accept-rewrite";

impl FastForward {
    /// Whether `new` comes after what is applied, or somebody agreed to it.
    pub fn allows(&self, history: &History, new: ObjectId, bounds: &Bounds) -> Result<bool, CacheError> {
        let named = |accepted: &String| accepted.len() >= 7 && new.to_string().starts_with(accepted.as_str());
        if self.applied == new || self.accepted.as_ref().is_some_and(named) {
            return Ok(true);
        }
        follows(history, new, self.applied, bounds)
    }

    /// Why a commit is held that does not.
    pub fn held(&self, new: ObjectId) -> Problem {
        Problem {
            code: "not-fast-forward",
            message: format!(
                "{} does not follow from the applied commit {}: the history was rewritten, and spec.requireFastForward holds it; \
                 to accept it, set the annotation {ACCEPT_REWRITE}: {new} on the GitSource, or requireFastForward to false",
                short(&new),
                short(&self.applied)
            ),
            passing: false,
        }
    }
}

impl Verification {
    /// Whether history is needed to decide.
    pub fn needs_history(&self) -> bool {
        !self.folders.is_empty()
    }

    /// Checks the commit. Folders that nobody trusted vouches for are returned with the reason; where trust is asked for
    /// everything, that is an error. So is damage, which says nothing of who signed what.
    pub fn check(
        &self,
        history: &History,
        commit: ObjectId,
        bounds: &Bounds,
    ) -> Result<BTreeMap<String, String>, VerifyError> {
        let reason = match self.signers.verify(&history.tree(commit)?, bounds) {
            Ok(_) => return Ok(BTreeMap::new()),
            Err(error) if self.folders.is_empty() || is_about_us(&error) => return Err(error),
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
    fn vouched(&self, history: &History, commit: ObjectId, folder: &str, bounds: &Bounds) -> Result<bool, VerifyError> {
        let wanted = root_of(history, commit, folder)?;
        if wanted.is_none() {
            // a folder that is not there defines nothing, and nothing is deleted for it
            return Ok(false);
        }
        let (mut waiting, mut seen) = (VecDeque::from([commit]), HashSet::from([commit]));
        while let Some(id) = waiting.pop_front() {
            bounds.check()?;
            let Some(tree) = readable(history.tree(id))? else { continue };
            if tree.commit().signed && self.trusts(&tree, bounds)? {
                return Ok(true);
            }
            let parents = history.parents(tree.commit())?;
            let roots = parents.iter().map(|parent| readable(root_of(history, *parent, folder)).map(Option::flatten));
            let roots: Vec<_> = roots.collect::<Result<_, _>>()?;
            let others: Vec<_> = roots.iter().copied().filter(|root| *root != wanted).collect();
            for (parent, root) in parents.iter().zip(&roots) {
                if seen.len() < COMMITS_BACK
                    && *root == wanted
                    && had_all(history, *parent, folder, &others, bounds)?
                    && seen.insert(*parent)
                {
                    waiting.push_back(*parent);
                }
            }
        }
        Ok(false)
    }

    /// Whether somebody trusted signed this commit. That it cannot be found out is no answer.
    fn trusts(&self, tree: &CommitTree, bounds: &Bounds) -> Result<bool, VerifyError> {
        match self.signers.verify(tree, bounds) {
            Ok(_) => Ok(true),
            Err(error @ (VerifyError::Tree(_) | VerifyError::Program(_))) => Err(error),
            Err(_) => Ok(false),
        }
    }
}

/// Whether a file lies in a folder.
pub fn within(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// Whether a folder was once like each of these before a commit: a merge may leave out what was replaced since, and bring
/// back nothing that it replaced.
fn had_all(
    history: &History,
    commit: ObjectId,
    folder: &str,
    roots: &[Option<ObjectId>],
    bounds: &Bounds,
) -> Result<bool, VerifyError> {
    let mut missing: HashSet<_> = roots.iter().copied().collect();
    if missing.is_empty() {
        return Ok(true);
    }
    for before in history.commits(commit)?.take(COMMITS_BACK) {
        bounds.check()?;
        let Some(before) = readable(before)? else { continue };
        let Some(root) = readable(root_of(history, before.id, folder))? else { continue };
        missing.remove(&root);
        if missing.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The id of a folder's tree in a commit, where it is there.
fn root_of(history: &History, commit: ObjectId, folder: &str) -> Result<Option<ObjectId>, TreeError> {
    match history.tree(commit).and_then(|tree| tree.at(folder)) {
        Ok(tree) => Ok(Some(CommitTree::root(&tree))),
        Err(TreeError::NoFolder(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What can be read; none of what is too large to be read, now and later. Damage is neither.
fn readable<T>(read: Result<T, TreeError>) -> Result<Option<T>, TreeError> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(error @ TreeError::Damaged(_)) => Err(error),
        Err(_) => Ok(None),
    }
}

/// Whether an error says nothing of the commit but that it cannot be checked at all.
fn is_about_us(error: &VerifyError) -> bool {
    matches!(error, VerifyError::NobodyTrusted(_) | VerifyError::Tree(_) | VerifyError::Program(_))
}

impl From<VerifyError> for Problem {
    fn from(error: VerifyError) -> Self {
        let passing = matches!(error, VerifyError::Tree(_) | VerifyError::Program(_));
        let message = match &error {
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
        Self { code: error.code(), message, passing }
    }
}
