//! What stands between a commit and the cluster before any object is looked at: a source that waits, signatures, history.

use std::collections::BTreeMap;
use std::time::Duration;

use super::error::CommandError;
use super::repository::{Files, history_problem};
use super::session::Session;
use crate::api::GitSource;
use crate::controller::git_source::problem::Problem;
use crate::controller::git_source::secrets::Secrets;
use crate::controller::git_source::settings;
use crate::controller::git_source::trust::within;
use crate::repo::{Bounds, History, ObjectId};

/// How long looking at signatures and history may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// What a source asks of a commit, and whether this one has it.
#[derive(Default)]
pub struct Guards {
    /// Why nothing of the commit would be applied.
    pub blocked: Vec<String>,
    /// Folders that no trusted commit vouches for, and why: nothing from them would change.
    pub untrusted: BTreeMap<String, String>,
    /// How many deletions the commit agrees to.
    pub agreed: usize,
    /// What could not be found out.
    pub notes: Vec<String>,
}

impl Guards {
    /// Whether a file lies in a folder that no trusted commit vouches for.
    pub fn is_untrusted(&self, path: &str) -> bool {
        self.untrusted.keys().any(|folder| within(path, folder))
    }
}

/// Looks at a commit as the controller would; the files as they are have none yet.
pub async fn guards(
    session: &Session<'_>,
    source: &GitSource,
    files: &Files,
    revision: Option<&str>,
) -> Result<Guards, CommandError> {
    let mut guards = Guards::default();
    if source.spec.suspend == Some(true) {
        guards.blocked.push("the source is suspended; `midship resume` lets it go on".to_owned());
    }
    let commit = match revision {
        None => None,
        Some(revision) => {
            let history = files.history()?;
            let commit = history.resolve(revision).map_err(|error| history_problem(&error, &files.path))?;
            Some((history, commit))
        }
    };
    if let Some((history, commit)) = &commit {
        let tree = history.tree(*commit).map_err(|error| history_problem(&error.into(), &files.path))?;
        guards.agreed = settings::agreed(tree.commit());
    }
    signed(session, source, commit.as_ref(), &mut guards).await;
    follows(source, files, commit.as_ref(), &mut guards);
    Ok(guards)
}

/// Whether somebody trusted signed it.
async fn signed(session: &Session<'_>, source: &GitSource, commit: Option<&(History, ObjectId)>, guards: &mut Guards) {
    let Some(asked) = &source.spec.verification else { return };
    let Some((history, commit)) = commit else {
        let of = if asked.paths.is_empty() { String::new() } else { format!(" of {}", asked.paths.join(", ")) };
        let note = "only what somebody trusted signed is applied";
        guards.notes.push(format!("{note}{of}: sign the commit (git commit -S), and look at it with --revision"));
        return;
    };
    let unchecked = |why: &str| format!("whether somebody trusted signed the commit was not checked: {why}");
    match settings::verification(source, &mut Secrets::of(source, &session.client)).await {
        Ok(None) => {}
        Ok(Some(verification)) => {
            match verification.check(history, *commit, &Bounds::new(PATIENCE)).map_err(Problem::from) {
                Ok(untrusted) => guards.untrusted = untrusted,
                Err(problem) if problem.passing => guards.notes.push(unchecked(&problem.message)),
                Err(problem) => guards.blocked.push(problem.message),
            }
        }
        Err(problem) => guards.notes.push(unchecked(&problem.message)),
    }
}

/// Whether it follows from what is applied.
fn follows(source: &GitSource, files: &Files, commit: Option<&(History, ObjectId)>, guards: &mut Guards) {
    let Some(fast_forward) = settings::fast_forward(source) else { return };
    let bounds = Bounds::new(PATIENCE);
    if let Some((history, commit)) = commit {
        let unknown = match fast_forward.allows(history, *commit, &bounds) {
            Ok(true) => return,
            Ok(false) if history.is_shallow() => fast_forward.held(*commit).message,
            Ok(false) => {
                guards.blocked.push(fast_forward.held(*commit).message);
                return;
            }
            Err(error) => error.to_string(),
        };
        guards.notes.push(format!(
            "whether the commit follows from the applied one cannot be told from this clone: {unknown}; try git fetch --unshallow"
        ));
        return;
    }
    // the files as they are become a commit upon this one
    let Ok(history) = files.history() else { return };
    let Ok(head) = history.resolve("HEAD") else { return };
    let why = match fast_forward.allows(&history, head, &bounds) {
        Ok(true) => return,
        Ok(false) => fast_forward.held(head).message,
        Err(error) => error.to_string(),
    };
    guards.notes.push(format!("a commit upon HEAD may be held: {why}"));
}
