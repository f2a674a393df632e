//! Archiving the log: finished files of a directory go to the store, each once, in order, and only then are removed.

use std::collections::HashSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use regex::Regex;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::segments::line;
use super::{BackupError, Surroundings, blocking, method, open};
use crate::agent::actions::Steps;
use crate::backup::keys::{Epoch, Sealer};
use crate::backup::layout::{Line, Segment};
use crate::backup::log::{Archive, Header, History, history_line, history_segment, holes, lines, seal};
use crate::backup::repository::Repository;
use crate::backup::store::LARGEST_OBJECT;
use crate::lifecycle::ArchiveStatus;
use crate::lifecycle::backup::ArchiveOrder;

/// How often the directory is looked at.
const LOOK: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Between two looks for gaps and runs to seal, in segments.
const SEAL_EVERY: u32 = 64;
/// While something is missing, it is looked at this often whether it came after all.
const MISSING: Duration = Duration::from_mins(1);
/// A change is dated before it is written: one dated just before the end of a segment may be in the next.
const MARGIN: SignedDuration = SignedDuration::from_secs(1);
/// While this file is in the directory, nothing has to be put there.
pub(super) const OFF: &str = ".off";
const HISTORY: &str = ".history";

pub struct Archiver {
    around: Arc<dyn Surroundings>,
    running: Mutex<Option<Running>>,
    kept: Arc<Mutex<Kept>>,
}

/// Who archives, and by which order.
struct Running {
    order: ArchiveOrder,
    watched: Watched,
    task: AbortOnDropHandle<()>,
}

/// What the package says about its log.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Watched {
    directory: PathBuf,
    pattern: String,
    remove: bool,
}

impl Watched {
    fn of(around: &dyn Surroundings, name: &str) -> Result<Self, BackupError> {
        let actor = around.actor();
        let logs = method(actor.config(), name)?.logs.as_ref();
        let logs = logs.ok_or_else(|| BackupError::Package(format!("method {name} has no log to archive")))?;
        let directory = PathBuf::from(actor.text("logs.directory", &logs.directory, &around.extras())?);
        Ok(Self { directory, pattern: logs.pattern.clone(), remove: logs.remove })
    }

    /// The engine may put files there.
    async fn open(&self) -> Result<(), BackupError> {
        let place = self.directory.clone();
        blocking(move || {
            std::fs::create_dir_all(&place).map_err(|error| BackupError::file(&place, error))?;
            match std::fs::remove_file(place.join(OFF)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(BackupError::file(place.join(OFF), error)),
                _ => Ok(()),
            }
        })
        .await
    }
}

/// What outlives an order: orders come again and again.
struct Kept {
    /// When the file that was being written was finished last.
    cut: Instant,
    /// How it went last.
    status: ArchiveStatus,
}

impl Archiver {
    pub fn new(around: Arc<dyn Surroundings>) -> Self {
        let kept = Kept { cut: Instant::now(), status: ArchiveStatus::default() };
        Self { around, running: Mutex::new(None), kept: Arc::new(Mutex::new(kept)) }
    }

    pub fn stop(&self) {
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Archives by this order from now on. What cannot work at all is told at once.
    pub async fn follow(&self, order: Option<ArchiveOrder>) -> Result<ArchiveStatus, BackupError> {
        let Some(order) = order else {
            self.stop();
            self.end().await?;
            self.kept.lock().unwrap_or_else(PoisonError::into_inner).status = ArchiveStatus::default();
            self.around.archives(None);
            return Ok(ArchiveStatus::default());
        };
        let watched = Watched::of(&*self.around, &order.method)?;
        watched.open().await?;
        // the same again: who is at work is not disturbed, however long one segment takes
        if self.works_by(&order, &watched) {
            return Ok(self.kept.lock().unwrap_or_else(PoisonError::into_inner).status.clone());
        }
        let worker = Worker::prepare(self.around.clone(), order.clone(), watched.clone(), self.kept.clone()).await?;
        let status = worker.status.clone();
        // the one before ends first: two would read the same files
        self.stop();
        self.around.archives(Some(status.clone()));
        let task = AbortOnDropHandle::new(tokio::spawn(worker.run()));
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(Running { order, watched, task });
        Ok(status)
    }

    fn works_by(&self, order: &ArchiveOrder, watched: &Watched) -> bool {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.as_ref().is_some_and(|running| {
            running.order == *order && running.watched == *watched && !running.task.is_finished()
        })
    }

    /// Nobody collects any more: without a note the directory would fill up.
    async fn end(&self) -> Result<(), BackupError> {
        let actor = self.around.actor();
        for method in actor.config().backup.values() {
            let Some(logs) = &method.logs else { continue };
            let directory = actor.text("logs.directory", &logs.directory, &self.around.extras())?;
            let pattern = pattern(&logs.pattern)?;
            blocking(move || {
                let directory = Path::new(&directory);
                let off = directory.join(OFF);
                std::fs::create_dir_all(directory)
                    .and_then(|()| std::fs::write(&off, ""))
                    .map_err(|error| BackupError::file(&off, error))?;
                for name in names(directory, &pattern)? {
                    let path = directory.join(name);
                    std::fs::remove_file(&path).map_err(|error| BackupError::file(&path, error))?;
                }
                Ok(())
            })
            .await?;
        }
        Ok(())
    }
}

fn pattern(text: &str) -> Result<Regex, BackupError> {
    Regex::new(text).map_err(|error| BackupError::Package(format!("logs.pattern: {error}")))
}

/// Finished files, the oldest first.
fn names(directory: &Path, pattern: &Regex) -> Result<Vec<String>, BackupError> {
    let failed = |error| BackupError::file(directory, error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        found.extend(name.into_string().ok().filter(|name| pattern.is_match(name)));
    }
    found.sort();
    Ok(found)
}

struct Worker {
    around: Arc<dyn Surroundings>,
    order: ArchiveOrder,
    repository: Repository,
    sealer: Sealer,
    watched: Watched,
    pattern: Regex,
    status: ArchiveStatus,
    /// Archived, and still there.
    done: HashSet<String>,
    /// The line of the last segment: histories do not say whose they are.
    line: Option<Line>,
    /// When that segment was written.
    line_at: Timestamp,
    since_seal: u32,
    looked: Instant,
    kept: Arc<Mutex<Kept>>,
}

impl Worker {
    async fn prepare(
        around: Arc<dyn Surroundings>,
        order: ArchiveOrder,
        watched: Watched,
        kept: Arc<Mutex<Kept>>,
    ) -> Result<Self, BackupError> {
        let pattern = pattern(&watched.pattern)?;
        let repository = open(&order.repository).await?;
        let sealer = match &order.writer.epoch {
            Some(name) => {
                let epoch = Epoch::named(&repository, name).await?;
                epoch.check_canary(&repository, None).await?;
                Sealer::To(epoch.recipient)
            }
            None => Sealer::Clear,
        };
        let before = kept.lock().unwrap_or_else(PoisonError::into_inner).status.clone();
        // what went wrong before is told until it goes well
        let status = if before.method == order.method {
            before
        } else {
            ArchiveStatus { method: order.method.clone(), ..ArchiveStatus::default() }
        };
        Ok(Self {
            around,
            order,
            repository,
            sealer,
            watched,
            pattern,
            status,
            done: HashSet::new(),
            line: None,
            line_at: Timestamp::MIN,
            since_seal: SEAL_EVERY,
            looked: Instant::now(),
            kept,
        })
    }

    async fn run(mut self) {
        let mut pause = LOOK;
        loop {
            match self.round().await {
                Ok(()) => {
                    pause = LOOK;
                    self.status.error = None;
                }
                Err(error) => {
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    let error = error.to_string();
                    if self.status.error.as_ref() != Some(&error) {
                        tracing::error!(error, "the log cannot be archived; it is tried again");
                    }
                    self.status.error = Some(error);
                }
            }
            self.tell();
            sleep(pause).await;
        }
    }

    async fn round(&mut self) -> Result<(), BackupError> {
        let (directory, pattern) = (self.watched.directory.clone(), self.pattern.clone());
        let mut waiting = blocking(move || names(&directory, &pattern)).await?;
        self.done.retain(|name| waiting.binary_search(name).is_ok());
        waiting.retain(|name| !self.done.contains(name));
        // histories wait for a segment that says whose they are
        let (histories, segments): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|name| name.ends_with(HISTORY));
        self.status.pending = (histories.len() + segments.len()) as u64;
        for name in segments {
            self.segment(&name).await?;
            self.archived(name).await?;
        }
        for name in histories {
            if self.history(&name).await? {
                self.archived(name).await?;
            }
        }
        let missing = self.status.missing > 0 && self.looked.elapsed() >= MISSING;
        if self.since_seal >= SEAL_EVERY || missing {
            self.seal().await?;
        }
        self.cut().await
    }

    /// Finishes the file that is being written, once it is time.
    async fn cut(&self) -> Result<(), BackupError> {
        let last = self.kept.lock().unwrap_or_else(PoisonError::into_inner).cut;
        if self.order.interval.is_none_or(|interval| last.elapsed() < interval) {
            return Ok(());
        }
        let actor = self.around.actor();
        let method = method(actor.config(), &self.order.method)?;
        let steps = method.logs.as_ref().map_or(&[][..], |logs| logs.cut.as_slice());
        if !steps.is_empty() {
            let session = actor.session();
            let steps = Steps { name: "logs.cut", steps, timeout: None, session: &session };
            let done = actor.steps(steps, self.around.extras()).await;
            actor.end(&session);
            done?;
        }
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).cut = Instant::now();
        Ok(())
    }

    async fn segment(&mut self, name: &str) -> Result<(), BackupError> {
        let (bytes, written_at) = self.read(name).await?;
        let file = self.watched.directory.join(name);
        let header = Header::read(&bytes, name).map_err(|error| BackupError::Segment { file, error })?;
        let line = line(&self.order.owner, header.line().system.as_str(), header.timeline)?;
        let covers_until = written_at.checked_sub(MARGIN).unwrap_or(written_at);
        self.push(&line, &header.segment(), bytes, covers_until).await?;
        if self.line.as_ref() != Some(&line) {
            self.line = Some(line);
            self.since_seal = SEAL_EVERY;
        }
        self.line_at = written_at;
        Ok(())
    }

    /// False where it is not known yet whose it is: a segment that was written after it says so. Those before it may be of data
    /// that was replaced by another system's.
    async fn history(&self, name: &str) -> Result<bool, BackupError> {
        let Some(line) = &self.line else { return Ok(false) };
        let timeline = name.strip_suffix(HISTORY).and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let wrong = || BackupError::Package(format!("{name} is no history of a timeline"));
        let timeline = timeline.ok_or_else(wrong)?;
        let (bytes, written_at) = self.read(name).await?;
        if self.line_at < written_at {
            return Ok(false);
        }
        let place = history_line(&Line { system: line.system.clone(), timeline });
        let place = place.ok_or_else(|| BackupError::Package(format!("{}: its name is too long", line.system)))?;
        self.push(&place, &history_segment(timeline), bytes, written_at).await?;
        Ok(true)
    }

    async fn push(
        &self,
        line: &Line,
        segment: &Segment,
        bytes: Vec<u8>,
        covers_until: Timestamp,
    ) -> Result<(), BackupError> {
        let writer = &self.order.writer;
        let archive = Archive { repository: &self.repository, line: line.clone() };
        let pushed = archive.push(segment, bytes, covers_until, &self.sealer, writer.epoch.as_ref(), &writer.key);
        let arrival = pushed.await?;
        tracing::debug!(%segment, ?arrival, "archived");
        Ok(())
    }

    /// What is in a file, and when it was written last.
    async fn read(&self, name: &str) -> Result<(Vec<u8>, Timestamp), BackupError> {
        let path = self.watched.directory.join(name);
        blocking(move || {
            let read = || {
                let mut file = std::fs::File::open(&path)?;
                let modified = file.metadata()?.modified()?;
                let mut bytes = Vec::new();
                file.by_ref().take(LARGEST_OBJECT + 1).read_to_end(&mut bytes)?;
                let modified = Timestamp::try_from(modified).map_err(io::Error::other)?;
                Ok((bytes, modified))
            };
            read().map_err(|error: io::Error| BackupError::file(&path, error))
        })
        .await
    }

    async fn archived(&mut self, name: String) -> Result<(), BackupError> {
        if self.watched.remove {
            let path = self.watched.directory.join(&name);
            blocking(move || std::fs::remove_file(&path).map_err(|error| BackupError::file(&path, error))).await?;
        } else {
            self.done.insert(name.clone());
        }
        self.status.pending = self.status.pending.saturating_sub(1);
        // a history comes after the segments it is of, and says nothing of how far they reach
        if !name.ends_with(HISTORY) || self.status.last.is_none() {
            self.status.last = Some(name);
            self.status.last_at = Some(Timestamp::now());
        }
        self.since_seal = self.since_seal.saturating_add(1);
        self.tell();
        Ok(())
    }

    fn tell(&self) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).status = self.status.clone();
        self.around.archives(Some(self.status.clone()));
    }

    /// Seals what is complete, and counts what is missing.
    async fn seal(&mut self) -> Result<(), BackupError> {
        let Some(line) = self.line.clone() else { return Ok(()) };
        seal(&self.repository, &line, &self.order.writer.key, false).await?;
        let lines = lines(&self.repository, line.system.as_str()).await?;
        let own = lines.iter().filter(|history| history.line == line).flat_map(History::gaps);
        self.status.missing = own.chain(holes(&lines)).map(|gap| gap.len()).sum();
        (self.since_seal, self.looked) = (0, Instant::now());
        Ok(())
    }
}
