//! Whether what is applied now follows from what was applied before. This holds up nothing, which is for
//! `spec.requireFastForward`: it is told, so that nobody rewrites history unseen.

use std::path::Path;

use super::look::{Seen, history_cache, told};
use super::problem::Problem;
use super::settings::Settings;
use crate::api::GitSource;
use crate::repo::{Bounds, Commit, Follow, History, ObjectId, follows, short};

/// A commit that does not follow from the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewrite {
    pub previous: ObjectId,
    pub now: ObjectId,
}

impl Rewrite {
    /// In a sentence.
    pub fn told(&self) -> String {
        let (previous, now) = (short(&self.previous), short(&self.now));
        format!(
            "{now} was applied, and the previous revision {previous} is not an ancestor of it: the history was rewritten, or \
             another one took its place"
        )
    }
}

/// How one commit relates to the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descent {
    Follows,
    Rewritten(Rewrite),
}

/// The commit that was looked at before the new one, where the new one should follow from it: tags and fixed commits go
/// wherever somebody points them.
fn previous(source: &GitSource, settings: &Settings, branch: &str) -> Option<ObjectId> {
    let status = source.status.as_ref()?;
    let same = status.applied.as_ref()?.rsplit_once('@').is_some_and(|(before, _)| before == branch);
    let follows = matches!(settings.follow, Follow::Head | Follow::Branch(_));
    // what an earlier controller began, and did not live to record, is told now
    let before = status.applying.as_ref().map_or(status.fetched_commit.as_ref(), |applying| applying.previous.as_ref());
    let before = before.filter(|_| same && follows)?;
    ObjectId::from_hex(before.as_bytes()).ok()
}

/// Finds out. Mostly the one is the other's parent; else the history is fetched, into a folder of its own. Blocks.
fn descent(settings: &Settings, cache_dir: &Path, commit: &Commit, previous: ObjectId) -> Result<Descent, Problem> {
    if commit.id == previous || commit.parents.contains(&previous) {
        return Ok(Descent::Follows);
    }
    let bounds = Bounds::new(settings.timeout).pack_bytes(settings.fetch_bytes).object_bytes(settings.object_bytes);
    let cache = history_cache(settings, cache_dir);
    cache.fetch(settings.remote.open(&bounds)?, commit.id)?;
    let read = |history: &History| follows(history, commit.id, previous, &bounds);
    let follows = told(cache.read_history(&settings.remote, commit.id, &bounds, read)?);
    Ok(if follows { Descent::Follows } else { Descent::Rewritten(Rewrite { previous, now: commit.id }) })
}

/// Finds out without blocking; none where nothing is new, or where it cannot be told.
pub async fn look(source: &GitSource, settings: &Settings, seen: &Seen, cache_dir: &Path) -> Option<Descent> {
    let previous = previous(source, settings, &seen.branch).filter(|previous| *previous != seen.commit.id)?;
    let (settings, cache_dir, commit) = (settings.clone(), cache_dir.to_owned(), seen.commit.clone());
    let found = tokio::task::spawn_blocking(move || descent(&settings, &cache_dir, &commit, previous)).await;
    match found.unwrap_or_else(|_| Err(Problem::panicked())) {
        Ok(descent) => Some(descent),
        Err(problem) => {
            tracing::warn!(problem = problem.message, "whether the commit follows from the one before cannot be told");
            None
        }
    }
}
