//! Segments of a log: to which line they belong, and how they come back for a restore.

use std::path::Path;

use futures::future::BoxFuture;
use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;

use super::BackupError;
use crate::agent::files::write_whole;
use crate::backup::digest::Digest;
use crate::backup::layout::{Line, Owner, Segment, Uid};
use crate::backup::log::{Archive, History, histories};
use crate::backup::manifest::LogSpan;
use crate::backup::read::Keyring;
use crate::backup::repository::Repository;
use crate::lifecycle::backup::Until;

/// Segments fetched at the same time; each is in memory as a whole.
const AT_ONCE: usize = 2;
/// Histories of timelines lie in lines of their own.
const HISTORIES: &str = "-h";

/// The line of an owner's log. A copy of a system that was restored elsewhere writes the same names; it is another owner.
pub fn line(owner: &Owner, system: &str, timeline: u32) -> Result<Line, BackupError> {
    let whose = Digest::of(owner.folder().as_bytes()).short(12);
    let system = Uid::parse(&format!("{system}-{whose}"))
        .map_err(|error| BackupError::Package(format!("the system whose log it is: {error}")))?;
    Ok(Line { system, timeline })
}

/// Where the history of a timeline lies: how it came from the ones before it.
pub fn history_line(line: &Line) -> Result<Line, BackupError> {
    let system = Uid::parse(&format!("{}{HISTORIES}", line.system))
        .map_err(|error| BackupError::Package(format!("the system whose log it is: {error}")))?;
    Ok(Line { system, timeline: line.timeline })
}

pub fn history_segment(timeline: u32) -> Segment {
    let name = Uid::parse(&format!("{timeline:08X}")).expect("hexadecimal digits are letters and digits");
    Segment { number: timeline.into(), name }
}

/// Fetches what is needed to replay the log from a backup on into a directory.
pub async fn fetch(
    repository: &Repository,
    ring: &Keyring,
    span: &LogSpan,
    until: Until,
    to: &Path,
) -> Result<(), BackupError> {
    let all = histories(repository).await?;
    let mut reached: Option<Timestamp> = None;
    let later = |history: &&History| history.line.timeline >= span.line.timeline;
    for history in all.iter().filter(|history| history.line.system == span.line.system).filter(later) {
        let covered = fetch_line(repository, ring, history, span, until, to).await?;
        reached = reached.max(covered);
    }
    for history in all.iter().filter(later) {
        let own = history_line(&Line { system: span.line.system.clone(), timeline: history.line.timeline })?;
        if history.line != own {
            continue;
        }
        for segment in &history.segments {
            let bytes = bring(repository, ring, &history.line, segment).await?;
            write(&to.join(format!("{}.history", segment.name)), bytes).await?;
        }
    }
    match (until, reached) {
        (Until::Time(wanted), reached) if reached.is_none_or(|reached| reached < wanted) => {
            let far = reached.map_or("it has none".to_owned(), |reached| format!("it reaches until {reached}"));
            Err(BackupError::Precondition {
                message: format!("the archived log does not reach {wanted}: {far}"),
                hint: "choose an earlier time, or `latest`",
            })
        }
        _ => Ok(()),
    }
}

/// The segments of one line, as far as they are needed and follow each other; how far they cover.
async fn fetch_line(
    repository: &Repository,
    ring: &Keyring,
    history: &History,
    span: &LogSpan,
    until: Until,
    to: &Path,
) -> Result<Option<Timestamp>, BackupError> {
    let first = if history.line == span.line { Some(span.first) } else { None };
    // a later timeline begins where it left the one before
    let Some(start) =
        first.or_else(|| history.segments.iter().map(|one| one.number).find(|number| *number >= span.first))
    else {
        return Ok(None);
    };
    let archive = Archive { repository, line: history.line.clone() };
    let (mut wanted, mut covered, mut next) = (Vec::new(), None, start);
    for segment in history.segments.iter().filter(|segment| segment.number >= start) {
        if segment.number != next {
            if first.is_some() && next <= span.last {
                return Err(BackupError::Precondition {
                    message: format!("segment {next:016X} of the log that the backup needs is not in the store"),
                    hint: "choose another backup",
                });
            }
            tracing::warn!(line = history.line.folder(), next, "the log has a gap; it is replayed until there");
            break;
        }
        next += 1;
        let claim = archive.claim(segment).await?;
        covered = covered.max(Some(claim.covers_until));
        wanted.push(segment.clone());
        if matches!(until, Until::Time(time) if claim.covers_until >= time) {
            break;
        }
    }
    let mut fetches: Vec<BoxFuture<'_, Result<(), BackupError>>> = Vec::new();
    for segment in &wanted {
        fetches.push(Box::pin(async {
            let bytes = bring(repository, ring, &history.line, segment).await?;
            write(&to.join(segment.name.as_str()), bytes).await
        }));
    }
    futures::stream::iter(fetches).buffered(AT_ONCE).try_collect::<()>().await?;
    Ok(covered)
}

async fn bring(
    repository: &Repository,
    ring: &Keyring,
    line: &Line,
    segment: &Segment,
) -> Result<Vec<u8>, BackupError> {
    let archive = Archive { repository, line: line.clone() };
    let claim = archive.claim(segment).await?;
    let opener = ring.opener(claim.epoch.as_ref());
    let opener = opener.map_err(|reason| locked(&format!("segment {segment}"), &reason))?;
    Ok(archive.fetch(segment, &opener).await?)
}

pub fn locked(what: &str, reason: &str) -> BackupError {
    BackupError::Precondition {
        message: format!("{what} cannot be opened: {reason}"),
        hint: "give the private key of one of the repository's recipients",
    }
}

async fn write(path: &Path, bytes: Vec<u8>) -> Result<(), BackupError> {
    let path = path.to_owned();
    super::blocking(move || write_whole(&path, &bytes, 0o600).map_err(|error| BackupError::file(&path, error))).await
}
