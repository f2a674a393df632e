//! Segments of a log: to which line they belong, and how they come back for a restore.

use std::path::{Path, PathBuf};

use futures::future::BoxFuture;
use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;

use super::BackupError;
use crate::agent::files::write_whole;
use crate::backup::digest::Digest;
use crate::backup::layout::{Line, Owner, Segment, Uid};
use crate::backup::log::{Archive, History, Lineage, Share, histories};
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

/// Fetches what is needed to replay the log from a backup on into a directory. For the backup alone that is how timelines
/// followed from one another: the one that begins with the restore is to be none of them.
pub async fn fetch(
    repository: &Repository,
    ring: &Keyring,
    span: &LogSpan,
    until: Until,
    to: &Path,
) -> Result<(), BackupError> {
    let all = histories(repository).await?;
    let own = history_line(&span.line)?.system;
    for history in all.iter().filter(|history| history.line.system == own) {
        for segment in &history.segments {
            let bytes = bring(repository, ring, &history.line, segment).await?;
            write(&to.join(format!("{}.history", segment.name)), bytes).await?;
        }
    }
    if until == Until::Backup {
        return Ok(());
    }
    let lineage = lineage(repository, ring, &all, span).await?;
    let mut reached: Option<Timestamp> = None;
    for history in all.iter().filter(|history| history.line.system == span.line.system) {
        if history.line.timeline < span.line.timeline {
            continue;
        }
        let share = match &lineage {
            Some((lineage, bytes)) => lineage.share(history.line.timeline, *bytes),
            // no server took over: whatever else is there has not said where it comes from
            None if history.line == span.line => Share::All,
            None => Share::Nothing,
        };
        let run = Run { history, span, share, until };
        reached = reached.max(run.fetch(repository, ring, to).await?);
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

/// Along which timelines the log of a backup's system is replayed, and how long its segments are; nothing where it has one
/// timeline only.
pub async fn lineage(
    repository: &Repository,
    ring: &Keyring,
    all: &[History],
    span: &LogSpan,
) -> Result<Option<(Lineage, u64)>, BackupError> {
    let own = history_line(&span.line)?.system;
    let told = all.iter().filter(|history| history.line.system == own && !history.segments.is_empty());
    let Some(newest) = told.max_by_key(|history| history.line.timeline) else { return Ok(None) };
    let timeline = newest.line.timeline;
    let bytes = bring(repository, ring, &newest.line, &history_segment(timeline)).await?;
    let read = Lineage::read(timeline, &String::from_utf8_lossy(&bytes));
    let file = PathBuf::from(format!("{timeline:08X}.history"));
    let lineage = read.map_err(|error| BackupError::Segment { file, error })?;
    let line = all.iter().find(|history| history.line == span.line);
    let first = line.and_then(|history| history.segments.iter().find(|segment| segment.number == span.first));
    let Some(first) = first else { return Ok(None) };
    let claim = Archive { repository, line: span.line.clone() }.claim(first).await?;
    Ok(Some((lineage, claim.bytes)))
}

/// What is fetched of one line.
struct Run<'a> {
    history: &'a History,
    span: &'a LogSpan,
    share: Share,
    until: Until,
}

impl Run<'_> {
    /// The segments that are needed and follow each other; how far they cover what is replayed.
    async fn fetch(
        &self,
        repository: &Repository,
        ring: &Keyring,
        to: &Path,
    ) -> Result<Option<Timestamp>, BackupError> {
        let Self { history, span, share, until } = self;
        let last = match share {
            Share::All => u64::MAX,
            Share::Until(last) => *last,
            Share::Nothing => return Ok(None),
        };
        let own = history.line == span.line;
        // a later timeline begins where it left the one before
        let mut numbers = history.segments.iter().map(|one| one.number);
        let start = if own { Some(span.first) } else { numbers.find(|number| *number >= span.first) };
        let Some(start) = start else { return Ok(None) };
        let archive = Archive { repository, line: history.line.clone() };
        let (mut wanted, mut covered, mut next, mut enough) = (Vec::new(), None, start, false);
        for segment in history.segments.iter().filter(|segment| (start..=last).contains(&segment.number)) {
            if segment.number != next {
                if own && next <= span.last {
                    return Err(BackupError::Precondition {
                        message: format!("segment {next:016X} of the log that the backup needs is not in the store"),
                        hint: "choose another backup",
                    });
                }
                tracing::warn!(line = history.line.folder(), next, "the log has a gap; it is replayed until there");
                break;
            }
            next += 1;
            wanted.push(segment.clone());
            // one more than is enough, where it is there: on a slow disk a change is dated long before it is written
            if enough {
                break;
            }
            let claim = archive.claim(segment).await?;
            // what came after it was left covers nothing that is replayed
            if segment.number < last {
                covered = covered.max(Some(claim.covers_until));
            }
            enough = matches!(until, Until::Time(time) if covered >= Some(*time));
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
