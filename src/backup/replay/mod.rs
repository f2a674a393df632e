//! Which backup is put back, and what of its log is replayed after it. Read from the store alone, before anything is touched:
//! whoever is to stop a database for it finds out first whether it can be done.

mod route;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::id::Id;
use super::layout::{Line, Owner, Segment, Uid};
use super::log::{Archive, HeaderError, History, Lineage, LogError, history_line, history_segment, lines};
use super::manifest::LogSpan;
use super::read::{Catalog, ChainError, Found, Keyring, Target};
use super::repository::Repository;
use super::store::StoreError;

pub use route::{Route, route};

/// How far a restore goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The backup, and nothing after it.
    Backup,
    /// As far as the log goes.
    Latest,
    /// As it was then.
    Time(Timestamp),
}

#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error("the history of timeline {timeline}: {error}")]
    History { timeline: u32, error: HeaderError },
    #[error("{what} cannot be opened: {reason}")]
    Locked { what: String, reason: String },
    #[error("backup {0} was made without its log: it can be restored as it is alone")]
    NoLog(Id),
    #[error("backup {id} was complete only at {at}")]
    TooLate { id: Id, at: Timestamp },
    #[error(
        "backup {0} holds what was undone later, by a restore or by a server that took over: the log does not go on from it"
    )]
    LedNowhere(Id),
    #[error("segment {0:016X} of the log that the backup needs is not in the store")]
    Needed(u64),
    #[error("the archived log does not reach {wanted}: {far}")]
    Short { wanted: Timestamp, far: String },
    #[error(
        "what there was at {wanted} was undone: timeline {timeline} was left as it was before {from}, and the one after it \
         began at {until}"
    )]
    Undone { wanted: Timestamp, timeline: u32, from: Timestamp, until: Timestamp },
}

impl ReplayError {
    /// What a person can do.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Store(_) | Self::Log(_) => "see whether the store can be reached and its credentials are right",
            Self::Chain(_) => "see which backups there are: midship backup list",
            Self::History { .. } => "choose a backup without a time",
            Self::Locked { .. } => "give the private key of one of the repository's recipients",
            Self::NoLog(_) => "leave the time out, or choose another backup",
            Self::TooLate { .. } => "choose an earlier backup, or a later time",
            Self::LedNowhere(_) => {
                "leave the backup out: the right one is chosen; or restore this one as it is, without a time"
            }
            Self::Needed(_) => "choose another backup",
            Self::Short { .. } => "choose an earlier time",
            Self::Undone { .. } => {
                "choose a time outside of it, or restore the backup that was made for safety before that restore"
            }
        })
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub owner: &'a Owner,
    /// The newest that will do where there is none.
    pub backup: Option<Id>,
    pub until: Until,
}

/// The backup that is asked for, as the last of those it needs, the full one first. `own` says which may be chosen where none
/// is named.
pub async fn choose(
    repository: &Repository,
    ring: &Keyring,
    asked: Asked<'_>,
    own: impl Fn(&Found) -> bool,
) -> Result<Vec<Found>, ReplayError> {
    let Asked { owner, backup, until } = asked;
    let catalog = Catalog::of(repository, owner).await?;
    let undone = if until == Until::Backup { BTreeSet::new() } else { undone(repository, ring, &catalog).await? };
    let target = match (backup, until) {
        (Some(id), _) => Target::Backup(id),
        (None, Until::Time(time)) => Target::By(time),
        (None, Until::Backup | Until::Latest) => Target::Newest,
    };
    let logged = |found: &Found| until == Until::Backup || found.manifest.log.is_some();
    // what it adds to needs no log of its own to be replayed
    let will_do = |found: &Found| own(found) && logged(found) && !undone.contains(&found.place.id);
    let chain = catalog.chain_where(owner, target, will_do)?;
    let Some(found) = chain.last().copied() else { return Err(ChainError::Nothing(String::new()).into()) };
    let id = found.place.id;
    match until {
        Until::Time(time) if found.manifest.completed_at > time => {
            return Err(ReplayError::TooLate { id, at: found.manifest.completed_at });
        }
        Until::Time(_) | Until::Latest if found.manifest.log.is_none() => return Err(ReplayError::NoLog(id)),
        _ => {}
    }
    if undone.contains(&id) {
        return Err(ReplayError::LedNowhere(id));
    }
    Ok(chain.into_iter().cloned().collect())
}

/// Backups from which the log does not go on: their timeline was left before they were complete.
async fn undone(repository: &Repository, ring: &Keyring, catalog: &Catalog) -> Result<BTreeSet<Id>, ReplayError> {
    let spans = || catalog.found.iter().filter_map(|found| Some((found.place.id, found.manifest.log.as_ref()?)));
    let mut undone = BTreeSet::new();
    if spans().next().is_none() {
        return Ok(undone);
    }
    let all = logs(repository, spans().map(|(_, span)| &span.line).collect()).await?;
    let mut known = BTreeMap::new();
    for (id, span) in spans() {
        let system = &span.line.system;
        if !known.contains_key(system)
            && let Some(found) = lineage(repository, ring, &all, span).await?
        {
            known.insert(system, found);
        }
        if let Some((lineage, bytes)) = known.get(system)
            && !lineage.contains(span.line.timeline, span.last, *bytes)
        {
            undone.insert(id);
        }
    }
    Ok(undone)
}

/// The logs that these are lines of, and how their timelines followed from one another. Of others a store may have any number.
async fn logs(repository: &Repository, of: Vec<&Line>) -> Result<Vec<History>, ReplayError> {
    let told = of.iter().filter_map(|line| Some(history_line(line)?.system));
    let systems: BTreeSet<Uid> = of.iter().map(|line| line.system.clone()).chain(told).collect();
    let mut found = Vec::new();
    for system in systems {
        found.extend(lines(repository, system.as_str()).await?);
    }
    Ok(found)
}

/// Along which timelines the log of a backup's system is replayed, and how long its segments are; nothing where it has one
/// timeline only.
async fn lineage(
    repository: &Repository,
    ring: &Keyring,
    all: &[History],
    span: &LogSpan,
) -> Result<Option<(Lineage, u64)>, ReplayError> {
    let Some(own) = history_line(&span.line) else { return Ok(None) };
    let told = all.iter().filter(|history| history.line.system == own.system && !history.segments.is_empty());
    let Some(newest) = told.max_by_key(|history| history.line.timeline) else { return Ok(None) };
    let timeline = newest.line.timeline;
    let bytes = bring(repository, ring, &newest.line, &history_segment(timeline)).await?;
    let read = Lineage::read(timeline, &String::from_utf8_lossy(&bytes));
    let lineage = read.map_err(|error| ReplayError::History { timeline, error })?;
    let line = all.iter().find(|history| history.line == span.line);
    let first = line.and_then(|history| history.segments.iter().find(|segment| segment.number == span.first));
    let Some(first) = first else { return Ok(None) };
    let claim = Archive { repository, line: span.line.clone() }.claim(first).await?;
    Ok(Some((lineage, claim.bytes)))
}

/// A segment as it was.
pub async fn bring(
    repository: &Repository,
    ring: &Keyring,
    line: &Line,
    segment: &Segment,
) -> Result<Vec<u8>, ReplayError> {
    let archive = Archive { repository, line: line.clone() };
    let claim = archive.claim(segment).await?;
    let opener = ring.opener(claim.epoch.as_ref());
    let opener = opener.map_err(|reason| ReplayError::Locked { what: format!("segment {segment}"), reason })?;
    Ok(archive.fetch(segment, &opener).await?)
}
