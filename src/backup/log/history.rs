//! What archived logs make possible: from when to when one can go back, and where segments are missing.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::archive::{Archive, LogError};
use super::ranges::{Range, ranges};
use crate::backup::digest::Digest;
use crate::backup::document::DocumentError;
use crate::backup::keys::SigningKey;
use crate::backup::layout::{self, Line, Segment};
use crate::backup::manifest::{LogSpan, Stored};
use crate::backup::repository::Repository;
use crate::backup::store::{Cause, Doing, StoreError, list_all, list_folders};

/// Segments in one seal.
const SEALED_TOGETHER: usize = 64;
/// Of all logs in one repository, as they are held for a moment: those of hundreds of instances, kept for months. Tests have no
/// time for so many.
const MOST_SEGMENTS: usize = if cfg!(test) { 5_000 } else { 6_000_000 };

/// A line of a log as the store shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    pub line: Line,
    /// In order of their numbers.
    pub segments: Vec<Segment>,
    pub ranges: Vec<Range>,
    /// When the newest segment was stored.
    pub newest_at: Option<Timestamp>,
}

impl History {
    pub async fn read(repository: &Repository, line: &Line) -> Result<Self, LogError> {
        let objects = list_all(repository.store(), &line.folder()).await?;
        let folder = line.folder();
        let direct = objects.iter().filter(|object| !object.key.as_str()[folder.len()..].contains('/'));
        let (mut segments, mut newest_at) = (Vec::new(), None);
        for object in direct.filter(|object| !Segment::is_claim(&object.key)) {
            segments.extend(Segment::read(&object.key));
            newest_at = newest_at.max(Some(object.modified));
        }
        segments.sort();
        segments.dedup();
        let ranges = ranges(segments.iter().map(|segment| segment.number));
        Ok(Self { line: line.clone(), segments, ranges, newest_at })
    }

    /// Between its runs: what is missing.
    pub fn gaps(&self) -> Vec<Range> {
        let pairs = self.ranges.windows(2);
        pairs.map(|pair| Range { first: pair[0].last + 1, last: pair[1].first - 1 }).collect()
    }

    fn named(&self, number: u64) -> Option<&Segment> {
        let at = self.segments.binary_search_by_key(&number, |segment| segment.number).ok()?;
        self.segments.get(at)
    }
}

/// Every line of every log.
pub async fn histories(repository: &Repository) -> Result<Vec<History>, LogError> {
    let mut found = Vec::new();
    for system in list_folders(repository.store(), layout::LOGS).await? {
        found.extend(lines(repository, &system).await?);
        within(repository, &found)?;
    }
    Ok(found)
}

/// A store that shows ever more fills nobody's memory.
fn within(repository: &Repository, found: &[History]) -> Result<(), StoreError> {
    if found.iter().map(|history| history.segments.len() + 1).sum::<usize>() <= MOST_SEGMENTS {
        return Ok(());
    }
    let cause = Cause::Unavailable(format!("it shows more than {MOST_SEGMENTS} segments of logs"));
    Err(StoreError::new(&repository.store().address(), Doing::List, layout::LOGS, cause))
}

/// Every line of one system's log.
pub async fn lines(repository: &Repository, system: &str) -> Result<Vec<History>, LogError> {
    let mut found = Vec::new();
    for timeline in list_folders(repository.store(), &format!("{}{system}/", layout::LOGS)).await? {
        if let Some(line) = Line::read(system, &timeline) {
            found.push(History::read(repository, &line).await?);
            within(repository, &found)?;
        }
    }
    Ok(found)
}

/// What is missing between the lines of one system: a timeline begins in a segment of an earlier one, or in the next.
pub fn holes(lines: &[History]) -> Vec<Range> {
    let mut found = Vec::new();
    for history in lines {
        let Some(first) = history.ranges.first().map(|run| run.first) else { continue };
        let earlier = lines.iter().filter(|other| other.line.timeline < history.line.timeline);
        let ends = earlier.flat_map(|other| &other.ranges).filter(|run| run.first <= first).map(|run| run.last);
        if let Some(end) = ends.max().filter(|end| end.saturating_add(1) < first) {
            found.push(Range { first: end + 1, last: first - 1 });
        }
    }
    found
}

/// How far one can go from a backup by replaying its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first number that is missing.
    pub missing: u64,
    /// Every change until then can be brought back.
    pub recoverable_until: Timestamp,
}

/// From a backup's span along its line, and on along later lines of the same system that take it up without a gap.
pub async fn window(
    repository: &Repository,
    span: &LogSpan,
    completed_at: Timestamp,
    histories: &[History],
) -> Result<Option<Window>, LogError> {
    let of_system = |history: &&History| history.line.system == span.line.system;
    let mut lines: Vec<&History> = histories.iter().filter(of_system).collect();
    lines.sort_by_key(|history| history.line.timeline);
    let mut reached: Option<(u64, &History)> = None;
    for history in lines.iter().filter(|history| history.line.timeline >= span.line.timeline) {
        let own = history.line == span.line;
        let from = match reached {
            None if own => span.first,
            None => continue,
            // a new line begins in the segment where the old one ended, or in the next
            Some((last, _)) => history
                .ranges
                .iter()
                .map(|run| run.first)
                .find(|first| *first <= last.saturating_add(1) && *first >= span.first)
                .unwrap_or(u64::MAX),
        };
        let Some(run) = history.ranges.iter().find(|run| run.contains(from)) else {
            if own {
                return Ok(None);
            }
            continue;
        };
        if own && run.last < span.last {
            return Ok(None);
        }
        // also where it ends before: what was written on the old line after that was undone
        reached = Some((run.last, history));
    }
    let Some((last, history)) = reached else { return Ok(None) };
    let Some(segment) = history.named(last) else { return Ok(None) };
    let claim = Archive { repository, line: history.line.clone() }.claim(segment).await?;
    Ok(Some(Window { missing: last.saturating_add(1), recoverable_until: claim.covers_until.max(completed_at) }))
}

/// A run of segments that were read back, signed: from now on none of them can be changed or left out unseen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    pub line: Line,
    pub segments: Vec<SealedSegment>,
    /// Of the seal before it, if the run continues that one.
    pub previous: Option<Digest>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedSegment {
    pub segment: Segment,
    pub sha256: Digest,
    pub stored: Stored,
}

impl Sealed {
    fn range(&self) -> Option<Range> {
        Some(Range { first: self.segments.first()?.segment.number, last: self.segments.last()?.segment.number })
    }
}

/// The seals of a line that can hold segments from this one on, in order, with the digests of their documents. One that cannot
/// be believed is an error.
async fn seals_from(repository: &Repository, line: &Line, from: u64) -> Result<Vec<(Digest, Sealed)>, LogError> {
    let oldest = line.seal(from.saturating_sub(SEALED_TOGETHER as u64 - 1));
    let mut found = Vec::new();
    for object in list_all(repository.store(), &line.seals()).await? {
        if object.key < oldest {
            continue;
        }
        let bytes = repository.store().get(&object.key, None).await?;
        let seal: Sealed = repository.domain().open(&object.key, &bytes, repository.signers())?;
        let named = seal.range().is_some_and(|range| line.seal(range.first) == object.key);
        if seal.line != *line || !named {
            return Err(DocumentError::Forged(object.key).into());
        }
        found.push((Digest::of(&bytes), seal));
    }
    Ok(found)
}

/// Seals what came since the last seal and has no gap. `all`: also a run that may still grow. Reads back every segment.
pub async fn seal(repository: &Repository, line: &Line, key: &SigningKey, all: bool) -> Result<Vec<Range>, LogError> {
    let history = History::read(repository, line).await?;
    let mut before = seals_from(repository, line, 0).await?;
    let is_sealed = |number| before.iter().any(|(_, seal)| seal.range().is_some_and(|range| range.contains(number)));
    let open: Vec<&Segment> = history.segments.iter().filter(|segment| !is_sealed(segment.number)).collect();
    let archive = Archive { repository, line: line.clone() };
    let mut made = Vec::new();
    for run in open.chunk_by(|a, b| a.number.checked_add(1) == Some(b.number)) {
        for part in run.chunks(SEALED_TOGETHER) {
            if part.len() < SEALED_TOGETHER && !all {
                continue;
            }
            let mut segments = Vec::new();
            for segment in part {
                let (claim, stored, _) = archive.stored(segment).await?;
                segments.push(SealedSegment { segment: (*segment).clone(), sha256: claim.sha256, stored });
            }
            let first = part[0].number;
            let continued = before.iter().find(|(_, seal)| seal.range().is_some_and(|range| range.last + 1 == first));
            let previous = continued.map(|(digest, _)| *digest);
            let seal = Sealed { line: line.clone(), segments, previous };
            let place = line.seal(first);
            repository.put_document(&place, &seal, key).await?;
            let digest = Digest::of(&repository.domain().sign(&place, &seal, key));
            made.extend(seal.range());
            before.push((digest, seal));
        }
    }
    Ok(made)
}

/// What is wrong with a line: seals whose segments are gone or were changed. Segments below `from` may have been removed.
/// Those whose numbers are asked for are read as well. By their numbers.
pub async fn check_seals(
    repository: &Repository,
    history: &History,
    from: u64,
    read: &(dyn Fn(u64) -> bool + Sync),
) -> Result<BTreeMap<u64, String>, LogError> {
    let line = &history.line;
    let archive = Archive { repository, line: line.clone() };
    let mut problems = BTreeMap::new();
    for (_, seal) in seals_from(repository, line, from).await? {
        for sealed in seal.segments.iter().filter(|sealed| sealed.segment.number >= from) {
            let number = sealed.segment.number;
            let listed = history.named(number) == Some(&sealed.segment);
            if listed && !read(number) {
                continue;
            }
            // what is not listed may have come since: it is asked for
            let is = match archive.stored(&sealed.segment).await {
                Ok((claim, stored, _)) if stored == sealed.stored && claim.sha256 == sealed.sha256 => continue,
                Ok(_) => "is not what was sealed",
                Err(LogError::NotThere(_)) => "was sealed and is not there any more",
                Err(error) => return Err(error),
            };
            problems.insert(number, format!("{}{} {is}", line.folder(), sealed.segment));
        }
    }
    Ok(problems)
}
