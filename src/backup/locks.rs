//! Locks that end are made longer where retention keeps what they are on: the objects of a backup, and its log from where the
//! backup needs it. None is made shorter, and none longer than by the period. Whoever is interrupted goes on where he was.

use std::collections::BTreeMap;

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};

use super::layout::{Segment, read_chunk_name};
use super::log::History;
use super::read::Found;
use super::repository::Repository;
use super::store::{Key, Store, StoreError, list_all};
use super::verify::suffix;

const AT_ONCE: usize = 8;
/// A lock is made longer once less than this part of the period is left of it: enough for a store that is away for days.
const LAST: i32 = 3;
/// One that was given within this part of the period is as good as new.
const NEW: i32 = 12;
/// Segments of a log that are looked at as one.
const SEGMENTS: u64 = 64;
/// After so many in a row that could not be locked, it is the store that does not let us.
const GIVES_UP: usize = 3;

#[derive(Debug, thiserror::Error)]
enum LockError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "the lock of {0} ends at {1}, and the store does not make it longer: it may be of another mode, or s3:PutObjectRetention is missing"
    )]
    Stays(Key, Timestamp),
    #[error("the store does not say until when {0} is locked: s3:GetObjectRetention may be missing")]
    Unsaid(Key),
}

impl LockError {
    /// Whether others may be locked all the same: those of another mode are the oldest ones, and come first.
    fn is_about_object(&self) -> bool {
        match self {
            Self::Store(error) => error.is_not_found(),
            Self::Stays(..) => true,
            Self::Unsaid(_) => false,
        }
    }
}

/// A backup that stays.
#[derive(Clone, Copy, Debug)]
pub struct Kept<'a> {
    pub found: &'a Found,
    /// When retention lets it go, as far as that is known.
    pub until: Option<Timestamp>,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locks {
    /// Objects whose locks were made longer.
    pub lengthened: usize,
    /// What could not be locked, and why. It is tried again.
    pub problems: Vec<String>,
}

/// Makes longer what ends soon of the locks on what is kept, where the store locks.
pub async fn lengthen(repository: &Repository, kept: &[Kept<'_>], histories: &[History], now: Timestamp) -> Locks {
    let store = repository.store();
    let Some(period) = store.locks_for() else { return Locks::default() };
    let mut keeper = Keeper { store, period, now, locks: Locks::default(), in_a_row: 0 };
    // by system: from where its log is needed, and until when
    let mut logs: BTreeMap<&str, (u64, Option<Timestamp>)> = BTreeMap::new();
    for kept in kept {
        if let Some(span) = &kept.found.manifest.log {
            let (first, until) = logs.entry(span.line.system.as_str()).or_insert((span.first, kept.until));
            *first = span.first.min(*first);
            *until = until.zip(kept.until).map(|(one, other)| one.max(other));
        }
        let done = keeper.backup(kept).await;
        if !keeper.goes_on(done) {
            return keeper.locks;
        }
    }
    for history in histories {
        let Some((first, until)) = logs.get(history.line.system.as_str()) else { continue };
        if !keeper.log(history, *first, *until).await {
            break;
        }
    }
    keeper.locks
}

/// Objects that are needed together. The lock of the last one tells of all, for it is made longer after theirs.
struct Group {
    others: Vec<Key>,
    last: Key,
}

struct Keeper<'a> {
    store: &'a dyn Store,
    period: SignedDuration,
    now: Timestamp,
    locks: Locks,
    in_a_row: usize,
}

impl Keeper<'_> {
    async fn backup(&self, kept: &Kept<'_>) -> Result<usize, LockError> {
        let (place, manifest) = (&kept.found.place, &kept.found.manifest);
        // its first chunk was written, and locked, so long before its manifest
        let took = manifest.completed_at.duration_since(manifest.started_at);
        let took = took.max(SignedDuration::ZERO).min(self.period / LAST);
        let last = place.manifest();
        if !self.ends_soon(&last, took, kept.until).await? {
            return Ok(0);
        }
        let mut others = vec![place.index(suffix(kept.found))];
        let chunks = list_all(self.store, &place.chunks()).await?;
        others.extend(chunks.into_iter().map(|object| object.key).filter(|key| read_chunk_name(key).is_some()));
        self.lock(Group { others, last }).await
    }

    /// Whether to go on with the next one.
    async fn log(&mut self, history: &History, first: u64, until: Option<Timestamp>) -> bool {
        let objects = match list_all(self.store, &history.line.folder()).await {
            Ok(objects) => objects,
            Err(error) => return self.goes_on(Err(error.into())),
        };
        // written one after the other, and about as old
        let cell = (self.period / NEW).max(SignedDuration::from_secs(1));
        let mut claims: BTreeMap<u64, Vec<Key>> = BTreeMap::new();
        let mut cells: BTreeMap<(u64, i64), Vec<(u64, Key)>> = BTreeMap::new();
        for object in objects {
            let Some(number) = Segment::read(&object.key).map(|segment| segment.number) else { continue };
            if number < first {
                continue;
            }
            if Segment::is_claim(&object.key) {
                claims.entry(number).or_default().push(object.key);
            } else {
                let written = object.modified.as_second().div_euclid(cell.as_secs());
                cells.entry((number / SEGMENTS, written)).or_default().push((number, object.key));
            }
        }
        for mut segments in cells.into_values() {
            let Some((number, last)) = segments.pop() else { continue };
            let done = match self.ends_soon(&last, cell, until).await {
                Ok(false) => Ok(0),
                Ok(true) => {
                    // a claim without a segment may have to give way, and stays as it is
                    let numbers = segments.iter().map(|(number, _)| *number).chain([number]);
                    let mut others: Vec<Key> = numbers.filter_map(|number| claims.remove(&number)).flatten().collect();
                    others.extend(segments.into_iter().map(|(_, key)| key));
                    self.lock(Group { others, last }).await
                }
                Err(error) => Err(error),
            };
            if !self.goes_on(done) {
                return false;
            }
        }
        true
    }

    /// What came of a group is taken down. Whether the next one is tried.
    fn goes_on(&mut self, done: Result<usize, LockError>) -> bool {
        match done {
            Ok(longer) => {
                self.locks.lengthened += longer;
                self.in_a_row = 0;
            }
            Err(error) => {
                self.in_a_row += usize::from(!error.is_about_object());
                self.locks.problems.push(error.to_string());
            }
        }
        self.in_a_row < GIVES_UP
    }

    /// Whether what this lock tells of is needed for longer than it is locked, and not for long any more. That of another
    /// object may end `sooner` by so much.
    async fn ends_soon(&self, last: &Key, sooner: SignedDuration, until: Option<Timestamp>) -> Result<bool, LockError> {
        let Some(ends) = self.store.locked_until(last).await? else { return Ok(true) };
        let left = ends.duration_since(self.now) - sooner;
        let needed = until.map(|until| until.duration_since(self.now));
        Ok(left < self.period / LAST && needed.is_none_or(|needed| left < needed))
    }

    /// How many of them had to be locked for longer. The first one shows whether the store does it at all.
    async fn lock(&self, group: Group) -> Result<usize, LockError> {
        let Group { others, last } = group;
        let mut others = others.into_iter();
        let mut longer = 0;
        if let Some(first) = others.next() {
            longer += usize::from(self.extend_and_look(&first).await?);
        }
        let mut rest =
            futures::stream::iter(others).map(|key| async move { self.extend(&key).await }).buffer_unordered(AT_ONCE);
        while let Some(done) = rest.next().await {
            longer += usize::from(done?);
        }
        Ok(longer + usize::from(self.extend_and_look(&last).await?))
    }

    fn is_new(&self, ends: Timestamp) -> bool {
        ends.duration_since(self.now) >= self.period - self.period / NEW
    }

    /// Whether it had to be locked for longer. What is locked for as long by a stricter rule, or since a moment, is not.
    async fn extend(&self, key: &Key) -> Result<bool, LockError> {
        if self.store.locked_until(key).await?.is_some_and(|ends| self.is_new(ends)) {
            return Ok(false);
        }
        self.store.lock(key).await?;
        Ok(true)
    }

    async fn extend_and_look(&self, key: &Key) -> Result<bool, LockError> {
        let longer = self.extend(key).await?;
        if longer {
            let ends = self.store.locked_until(key).await?.ok_or_else(|| LockError::Unsaid(key.clone()))?;
            if !self.is_new(ends) {
                return Err(LockError::Stays(key.clone(), ends));
            }
        }
        Ok(longer)
    }
}
