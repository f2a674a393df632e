//! The audit branch: one reference, one writer, commits appended in order, each record exactly once.

use gix::ObjectId;

use super::bounds::Bounds;
use super::cache::{Cache, CacheError, follows};
use super::commit::Commit;
use super::draft::{Draft, DraftError, Workbench};
use super::error::RemoteError;
use super::history::History;
use super::listing::TreeError;
use super::push::{PushOutcome, packed, push};
use super::remote::Remote;
use super::sign::Signer;
use super::tree::{CommitTree, blob_id};

/// Names the record of a commit, so that one that was pushed is never pushed again.
pub const RECORD_TRAILER: &str = "Midship-Record";
/// How often a lost race is retried from the new tip.
const ATTEMPTS: usize = 3;

/// One thing to be remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Unique, and the same when the record is appended again after a crash.
    pub id: String,
    /// A file that each record of the same writer replaces by another: what it holds tells which of them was the last,
    /// whoever else writes to the branch.
    pub marker: String,
    pub draft: Draft,
}

impl Record {
    /// What the marker holds after this record.
    fn mark(&self) -> Option<ObjectId> {
        let edit = self.draft.edits.iter().find(|edit| edit.path == self.marker)?;
        edit.content.as_deref().map(blob_id)
    }
}

/// How appending ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appended {
    /// All records are on the branch: the commits made now, and its tip.
    Pushed {
        commits: Vec<(String, ObjectId)>,
        tip: Option<ObjectId>,
    },
    /// Somebody else keeps moving the branch.
    LostRace {
        now: Option<ObjectId>,
    },
    /// What was pushed before is not on the branch any more: its tip then, and its tip now, none where it is gone.
    Rewritten {
        before: ObjectId,
        now: Option<ObjectId>,
    },
    Refused {
        reason: String,
    },
    Unreachable(RemoteError),
}

/// Why appending could not even be tried.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error(transparent)]
    Draft(#[from] DraftError),
    #[error(transparent)]
    Cache(CacheError),
}

/// A reference that records are appended to.
#[derive(Debug)]
pub struct AuditLog {
    remote: Remote,
    cache: Cache,
    reference: String,
    known: Option<ObjectId>,
}

impl AuditLog {
    /// `branch` like `midship/audit/production`; `cache` is for this branch alone.
    pub fn new(remote: Remote, cache: Cache, branch: &str) -> Self {
        Self { remote, cache, reference: format!("refs/heads/{branch}"), known: None }
    }

    /// The tip after the last push: it has to stay on the branch.
    #[must_use]
    pub fn after(mut self, known: Option<ObjectId>) -> Self {
        self.known = known;
        self
    }

    pub fn reference(&self) -> &str {
        &self.reference
    }

    /// The last commit of the branch, asked from the server.
    pub fn tip(&self, bounds: &Bounds) -> Result<Option<Commit>, CacheError> {
        let mut session = self.remote.open(bounds)?;
        let found = session.find(&self.reference)?;
        let Some(id) = found else { return Ok(None) };
        self.cache.fetch(session, id)?;
        self.read(id, bounds, |tree| Ok(Some(tree.commit().clone())))
    }

    /// Reads from a commit of the branch.
    pub fn read<T>(
        &self,
        commit: ObjectId,
        bounds: &Bounds,
        read: impl FnMut(CommitTree) -> Result<T, TreeError>,
    ) -> Result<T, CacheError> {
        self.cache.read(&self.remote, commit, bounds, read).map(|(value, _)| value)
    }

    /// Whether the branch still has the commit that was its tip before: others may add to it, and nobody takes away.
    pub fn follows(&self, tip: ObjectId, before: ObjectId, bounds: &Bounds) -> Result<bool, CacheError> {
        if self.chain(tip, before) {
            return Ok(true);
        }
        // what lies in between was written by others and is not here: it is fetched, into a copy with ancestors
        let mut folder = self.cache.dir().to_owned().into_os_string();
        folder.push("-history");
        let whole = Cache::with_history(folder);
        whole.fetch(self.remote.open(bounds)?, tip)?;
        let read = |history: &History| follows(history, tip, before, bounds);
        whole.read_history(&self.remote, tip, bounds, read).map(|(follows, _)| follows)
    }

    /// Whether the commits that are here lead from one to the other.
    fn chain(&self, tip: ObjectId, before: ObjectId) -> bool {
        let mut at = Some(tip);
        while let Some(id) = at {
            if id == before {
                return true;
            }
            at = self.cache.tree(id).ok().and_then(|tree| tree.commit().parents.first().copied());
        }
        false
    }

    /// Appends records in order, one commit each, with one push. Records that are on the branch already,
    /// from a push whose end nobody saw, are left out. The branch is made when it is not there. Nothing is appended
    /// to a branch that lost what was on it before.
    pub fn append(&self, records: &[Record], signer: Option<&Signer>, bounds: &Bounds) -> Result<Appended, AuditError> {
        // what we pushed last is most likely still the tip; if not, the push itself tells
        let mut base = self.cache.tip_commit();
        let mut lost = None;
        for attempt in 0..ATTEMPTS {
            if attempt > 0 || base.is_none() {
                base = match self.tip(bounds) {
                    Ok(tip) => tip,
                    Err(CacheError::Remote(error)) => return Ok(refused_or_unreachable(error)),
                    Err(error) => return Err(AuditError::Cache(error)),
                };
                let now = base.as_ref().map(|tip| tip.id);
                match self.known.map(|known| (known, self.still_has(now, known, bounds))) {
                    None | Some((_, Ok(true))) => {}
                    Some((before, Ok(false))) => return Ok(Appended::Rewritten { before, now }),
                    Some((_, Err(CacheError::Remote(error)))) => return Ok(refused_or_unreachable(error)),
                    Some((_, Err(error))) => return Err(AuditError::Cache(error)),
                }
            }
            match self.append_to(base.as_ref(), records, signer, bounds) {
                Ok(Appended::LostRace { now }) => lost = now,
                Err(AuditError::Draft(DraftError::Tree(TreeError::Damaged(_)))) if attempt + 1 < ATTEMPTS => {
                    let _ = self.cache.remove();
                }
                other => return other,
            }
        }
        Ok(Appended::LostRace { now: lost })
    }

    fn still_has(&self, tip: Option<ObjectId>, known: ObjectId, bounds: &Bounds) -> Result<bool, CacheError> {
        tip.map_or(Ok(false), |tip| self.follows(tip, known, bounds))
    }

    fn append_to(
        &self,
        base: Option<&Commit>,
        records: &[Record],
        signer: Option<&Signer>,
        bounds: &Bounds,
    ) -> Result<Appended, AuditError> {
        let done = match base {
            Some(tip) => self.done(tip, records)?,
            None => 0,
        };
        let old = base.map(|tip| tip.id);
        if done == records.len() {
            return Ok(Appended::Pushed { commits: Vec::new(), tip: old });
        }
        if old.is_none() {
            self.cache.lay_out(bounds).map_err(AuditError::Cache)?;
        }
        let bench = Workbench::new(&self.cache).map_err(DraftError::from)?;
        let mut tip = old;
        let mut commits = Vec::new();
        for record in &records[done..] {
            let mut draft = record.draft.clone();
            draft.trailers.push((RECORD_TRAILER.to_owned(), record.id.clone()));
            let id = bench.commit(tip, &draft, signer, bounds)?;
            commits.push((record.id.clone(), id));
            tip = Some(id);
        }
        let Some(new) = tip else { return Ok(Appended::Pushed { commits, tip }) };
        let pack = packed(&bench.into_objects());
        Ok(match push(&self.remote, &self.reference, old, new, &pack, bounds) {
            PushOutcome::Pushed => {
                // the next commit builds upon this one; without it, it is fetched
                if self.cache.store(&pack, new, bounds).is_err() {
                    let _ = self.cache.remove();
                }
                Appended::Pushed { commits, tip }
            }
            PushOutcome::LostRace { now } => Appended::LostRace { now },
            PushOutcome::Refused { reason } => Appended::Refused { reason },
            PushOutcome::Unreachable(error) => Appended::Unreachable(error),
        })
    }
}

impl AuditLog {
    /// How many of these records are on the branch already.
    fn done(&self, tip: &Commit, records: &[Record]) -> Result<usize, AuditError> {
        let written = tip.trailer(RECORD_TRAILER);
        if let Some(at) = written.and_then(|id| records.iter().position(|record| record.id == id)) {
            return Ok(at + 1);
        }
        let tree = self.cache.tree(tip.id).map_err(DraftError::from)?;
        for (at, record) in records.iter().enumerate().rev() {
            let mark = record.mark();
            if mark.is_some() && tree.find(&record.marker).map_err(DraftError::from)? == mark {
                return Ok(at + 1);
            }
        }
        Ok(0)
    }
}

fn refused_or_unreachable(error: RemoteError) -> Appended {
    if error.is_refusal() { Appended::Refused { reason: error.to_string() } } else { Appended::Unreachable(error) }
}

/// Puts one commit onto a new branch, for a pull request. The branch must not be there yet, unless it
/// already has exactly this commit.
pub fn propose(
    remote: &Remote,
    cache: &Cache,
    base: ObjectId,
    branch: &str,
    draft: &Draft,
    signer: Option<&Signer>,
    bounds: &Bounds,
) -> Result<(ObjectId, PushOutcome), DraftError> {
    let bench = Workbench::new(cache)?;
    let new = bench.commit(Some(base), draft, signer, bounds)?;
    let outcome = push(remote, &format!("refs/heads/{branch}"), None, new, &packed(&bench.into_objects()), bounds);
    Ok(match outcome {
        PushOutcome::LostRace { now } if now == Some(new) => (new, PushOutcome::Pushed),
        outcome => (new, outcome),
    })
}
