//! Line after line of a log, each of which takes up the one before it without a hole, as far as is wanted.

use jiff::Timestamp;

use super::{ReplayError, Until, lineage, logs};
use crate::backup::layout::{Line, Segment};
use crate::backup::log::{Archive, History, Left, Lineage, Share, history_line, history_segment};
use crate::backup::manifest::LogSpan;
use crate::backup::read::Keyring;
use crate::backup::repository::Repository;

/// What is fetched for a replay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// How timelines followed from one another.
    pub histories: Vec<(Line, Segment)>,
    pub segments: Vec<(Line, Segment)>,
    /// The first segment that is missing, where the log goes on behind it.
    pub hole: Option<u64>,
}

/// What is needed to replay the log from a backup on. For the backup alone that is how timelines followed from one another:
/// the one that begins with the restore is to be none of them.
pub async fn route(
    repository: &Repository,
    ring: &Keyring,
    span: &LogSpan,
    until: Until,
) -> Result<Route, ReplayError> {
    let all = logs(repository, vec![&span.line]).await?;
    let mut route = Route::default();
    if let Some(own) = history_line(&span.line) {
        for history in all.iter().filter(|history| history.line.system == own.system) {
            route.histories.extend(history.segments.iter().map(|segment| (history.line.clone(), segment.clone())));
        }
    }
    if until == Until::Backup {
        return Ok(route);
    }
    let lineage = lineage(repository, ring, &all, span).await?;
    let mut walk = Walk { repository, span, until, next: span.first, covered: None, enough: false, route };
    if let (Some((lineage, bytes)), Until::Time(time)) = (&lineage, until) {
        walk.refuse_undone(&all, lineage, *bytes, time).await?;
    }
    let mut lines: Vec<&History> = all.iter().filter(|history| history.line.system == span.line.system).collect();
    lines.sort_by_key(|history| history.line.timeline);
    for history in lines.into_iter().filter(|history| history.line.timeline >= span.line.timeline) {
        let share = match &lineage {
            Some((lineage, bytes)) => lineage.share(history.line.timeline, *bytes),
            // no server took over: whatever else is there has not said where it comes from
            None if history.line == span.line => Share::All,
            None => Share::Nothing,
        };
        let last = match share {
            Share::All => u64::MAX,
            Share::Until(last) => last,
            Share::Nothing => continue,
        };
        let had_enough = walk.enough;
        if !walk.along(history, last).await? || had_enough {
            break;
        }
    }
    walk.ends()
}

struct Walk<'a> {
    repository: &'a Repository,
    span: &'a LogSpan,
    until: Until,
    /// The number the log goes on with.
    next: u64,
    /// How far what was found covers what is replayed.
    covered: Option<Timestamp>,
    enough: bool,
    route: Route,
}

impl Walk<'_> {
    /// What is needed of one line, up to the segment it was left in. False where there is a hole before it or in it.
    async fn along(&mut self, history: &History, last: u64) -> Result<bool, ReplayError> {
        let own = history.line == self.span.line;
        // a later timeline begins in the segment where it left the one before, or in the next
        let mut numbers = history.segments.iter().map(|one| one.number);
        let start = if own { Some(self.span.first) } else { numbers.find(|number| *number >= self.span.first) };
        let Some(start) = start else { return Ok(true) };
        if start > self.next {
            self.route.hole = Some(self.next);
            tracing::warn!(line = history.line.folder(), next = self.next, "the log has a hole before this timeline");
            return Ok(false);
        }
        let (mut run, mut next) = (Vec::new(), start);
        let mut whole = true;
        for segment in history.segments.iter().filter(|segment| (start..=last).contains(&segment.number)) {
            if segment.number != next {
                whole = false;
                break;
            }
            next = next.saturating_add(1);
            run.push(segment);
        }
        if own && next <= self.span.last {
            return Err(ReplayError::Needed(next));
        }
        let archive = Archive { repository: self.repository, line: history.line.clone() };
        let mut taken = run.len();
        if let Until::Time(time) = self.until {
            // what came after it was left covers nothing that is replayed
            let counts = run.partition_point(|segment| segment.number < last);
            match reaches(&archive, &run[..counts], time).await? {
                // one more than is enough, where it is there: on a slow disk a change is dated long before it is written
                Reaches::By(index, at) => {
                    (self.covered, self.enough, taken) = (self.covered.max(Some(at)), true, (index + 2).min(run.len()));
                }
                Reaches::Only(at) => self.covered = self.covered.max(at),
            }
        }
        self.route.segments.extend(run[..taken].iter().map(|segment| (history.line.clone(), (*segment).clone())));
        // also where it ends before: what was written on the old line after that was undone
        self.next = next;
        if !whole && !self.enough {
            self.route.hole = Some(next);
            tracing::warn!(line = history.line.folder(), next, "the log has a gap; it is replayed until there");
        }
        Ok(whole)
    }

    /// A time on a part of a timeline that was left for another one: what a replay gives is not what there was then.
    async fn refuse_undone(
        &self,
        all: &[History],
        lineage: &Lineage,
        bytes: u64,
        wanted: Timestamp,
    ) -> Result<(), ReplayError> {
        for (left, next) in lineage.steps().filter(|(left, _)| left.timeline >= self.span.line.timeline) {
            let Some(until) = self.began(all, next).await? else { continue };
            let Some(from) = self.left_at(all, left, bytes).await? else { continue };
            if from <= wanted && wanted < until {
                return Err(ReplayError::Undone { wanted, timeline: left.timeline, from, until });
            }
        }
        Ok(())
    }

    /// When a timeline began: its history is written then.
    async fn began(&self, all: &[History], timeline: u32) -> Result<Option<Timestamp>, ReplayError> {
        let Some(own) = history_line(&self.span.line) else { return Ok(None) };
        let line = Line { timeline, ..own };
        let there = all.iter().any(|history| history.line == line && !history.segments.is_empty());
        if !there {
            return Ok(None);
        }
        let claim = Archive { repository: self.repository, line }.claim(&history_segment(timeline)).await?;
        Ok(Some(claim.covers_until))
    }

    /// From when on changes of a timeline that was left do not count; nothing where it had none.
    async fn left_at(&self, all: &[History], left: &Left, bytes: u64) -> Result<Option<Timestamp>, ReplayError> {
        if left.stopped_at.is_some() {
            return Ok(left.stopped_at);
        }
        let line = Line { timeline: left.timeline, ..self.span.line.clone() };
        let Some(history) = all.iter().find(|history| history.line == line) else { return Ok(None) };
        let last = left.address / bytes.max(1);
        // it went on after it was left
        if history.segments.iter().all(|segment| segment.number <= last) {
            return Ok(None);
        }
        let Some(end) = history.segments.iter().rfind(|segment| segment.number <= last) else { return Ok(None) };
        let claim = Archive { repository: self.repository, line }.claim(end).await?;
        Ok(Some(claim.covers_until))
    }

    fn ends(self) -> Result<Route, ReplayError> {
        let Until::Time(wanted) = self.until else { return Ok(self.route) };
        if self.enough {
            return Ok(self.route);
        }
        let hole = self.route.hole.map_or(String::new(), |next| format!("; segment {next:016X} is missing there"));
        let far = self.covered.map_or("it has none".to_owned(), |reached| format!("it reaches until {reached}"));
        Err(ReplayError::Short { wanted, far: far + &hole })
    }
}

enum Reaches {
    /// By the segment with this index, which covers everything until then.
    By(usize, Timestamp),
    /// All of them, until then, which is not enough.
    Only(Option<Timestamp>),
}

/// The first of the segments that covers a time; each covers more than the one before.
async fn reaches(archive: &Archive<'_>, run: &[&Segment], time: Timestamp) -> Result<Reaches, ReplayError> {
    let Some(end) = run.last() else { return Ok(Reaches::Only(None)) };
    let most = archive.claim(end).await?.covers_until;
    if most < time {
        return Ok(Reaches::Only(Some(most)));
    }
    let (mut low, mut high, mut at) = (0, run.len() - 1, most);
    while low < high {
        let middle = usize::midpoint(low, high);
        let covers = archive.claim(run[middle]).await?.covers_until;
        if covers >= time {
            (high, at) = (middle, covers);
        } else {
            low = middle + 1;
        }
    }
    Ok(Reaches::By(high, at))
}
