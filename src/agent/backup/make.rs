//! Making a backup: the package's steps, its stream, and what must be there before it counts.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::adding::{self, Parent};
use super::freeze::Freezer;
use super::job::Reporter;
use super::kept::{Kept, patiently};
use super::segments::line;
use super::source::{STREAM, source};
use super::{BackupError, Surroundings, bounded, method, open, with};
use crate::agent::actions::{Actor, Saved, Steps};
use crate::api::labels::{GROUP, PART, SET, SET_SAME};
use crate::api::operation::BackupType;
use crate::backup::clock::Clock;
use crate::backup::digest::Digest;
use crate::backup::id::Id;
use crate::backup::keys::Epoch;
use crate::backup::layout::Owner;
use crate::backup::log::{History, SpanError, check_span};
use crate::backup::manifest::LogSpan;
use crate::backup::read::Catalog;
use crate::backup::repository::Repository;
use crate::backup::write::gate::LEAST_PERCENT;
use crate::backup::write::{Bandwidth, Committed, Request, Settings, WriteError, Writing, void};
use crate::extension::agent::AgentConfig;
use crate::extension::contract::BackupMethod;
use crate::lifecycle::backup::{BackupOrder, JobState, Outcome};

/// What a backup's description calls what is compared with what is restored.
pub const FACTS: &str = "facts";
const MOST_FACTS: usize = 64 << 10;
/// Digits of a digest that fit into the value of a label.
const LABEL: usize = 63;
/// The agent has little memory: fewer bytes in flight than the library would take.
const CHUNK: usize = 8 << 20;
const MEMORY: usize = 64 << 20;
/// For what comes after the last byte was read.
const FINISH: Duration = Duration::from_mins(15);
/// How long the last part of the log may take to reach the store.
const LOG_PATIENCE: Duration = Duration::from_mins(10);
const LOG_LOOK: Duration = Duration::from_secs(1);
/// How long the steps after the reading may take.
const AFTER: Duration = Duration::from_mins(15);
/// For the note that an attempt has failed.
const GIVING_UP: Duration = Duration::from_secs(30);

/// The names that bound the part of the log a backup needs.
struct Marks {
    system: String,
    first: String,
    last: String,
}

/// What the steps of a backup told of it.
struct Learnt {
    marks: Option<Marks>,
    facts: Map<String, Value>,
    /// Digest of how the data is spread over the groups.
    same: Option<String>,
}

/// Makes it. Where an incremental one cannot be made it is a full one, and the outcome says why.
pub async fn make(
    around: &dyn Surroundings,
    freezer: &Arc<Freezer>,
    mut order: BackupOrder,
    reporter: &Reporter,
    cancel: &CancellationToken,
) -> Result<Outcome, BackupError> {
    let (limit, until) = (order.timeout, Instant::now() + order.timeout);
    let actor = around.actor();
    let method = method(actor.config(), &order.method)?;
    check(method, &order)?;
    let prepared = bounded(cancel, until, limit, async {
        let repository = open(&order.repository).await?;
        let epoch = match &order.writer.epoch {
            Some(name) => Some(Epoch::named(&repository, name).await?),
            None => None,
        };
        let catalog = Catalog::of(&repository, &order.owner).await?;
        Ok::<_, BackupError>((repository, epoch, catalog))
    });
    let (repository, epoch, catalog) = prepared.await?;
    let kept = adding::place(around, &actor, method);
    let making = Making {
        around,
        actor: &actor,
        method,
        freezer,
        reporter,
        cancel,
        until,
        repository: &repository,
        epoch,
        catalog: &catalog,
        kept: kept.as_ref().ok(),
    };
    let Some(id) = order.parent else { return making.make(&order, None, None).await };
    let why = match adding::parent(&catalog, &order, engine(actor.config()), &kept, id).await {
        Ok(parent) => match making.make(&order, Some(&parent), None).await {
            Err(error) if adding::refused(&error) => error.to_string(),
            ended => return ended,
        },
        Err(why) => why,
    };
    tracing::warn!(why, "a full backup is made in the place of an incremental one");
    (order.type_, order.parent) = (BackupType::Full, None);
    making.make(&order, None, Some(why)).await
}

/// What attempts are made with.
struct Making<'a> {
    around: &'a dyn Surroundings,
    actor: &'a Actor,
    method: &'a BackupMethod,
    freezer: &'a Arc<Freezer>,
    reporter: &'a Reporter,
    cancel: &'a CancellationToken,
    until: Instant,
    repository: &'a Repository,
    epoch: Option<Epoch>,
    catalog: &'a Catalog,
    /// Where something is left for the next one; none where no method of it adds to others.
    kept: Option<&'a Kept>,
}

impl Making<'_> {
    async fn make(
        &self,
        order: &BackupOrder,
        parent: Option<&Parent>,
        full_because: Option<String>,
    ) -> Result<Outcome, BackupError> {
        let (cancel, until, limit, config) = (self.cancel, self.until, order.timeout, self.actor.config());
        let settings = Settings {
            chunk: CHUNK,
            memory: MEMORY,
            bandwidth: order.bandwidth.map(Bandwidth::new),
            lease: limit.saturating_add(FINISH),
            ..Settings::default()
        };
        let request = request(order, config, self.epoch.clone(), parent);
        let begun = Writing::begin(self.repository, &order.writer.key, Clock::system(), request, settings);
        let mut writing = bounded(cancel, until, limit, begun).await?;
        self.reporter.count(writing.progress());
        let left = self.leave().await;
        let reading = Reading {
            making: self,
            order,
            before: last_size(self.catalog, order, config),
            job: job(order, left.as_deref(), parent),
        };
        let read = reading.read(&mut writing, cancel, until).await;
        let proven = match read {
            Ok(Learnt { marks, facts, same }) => {
                if !facts.is_empty() {
                    writing.describe(FACTS, Value::Object(facts));
                }
                if let Some(same) = same {
                    writing.label(SET_SAME, same);
                }
                self.reporter.stage(JobState::Completing, "waits for the log that the backup needs");
                bounded(cancel, until, limit, span(self.repository, &order.owner, marks)).await
            }
            Err(error) => Err(error),
        };
        match proven {
            Ok(span) => {
                self.reporter.stage(JobState::Completing, "proves what is stored, and commits");
                let Committed { place, manifest, digest } = commit(self.repository, order, writing, span).await?;
                // what an earlier attempt left, and nobody could take away, is not this one's
                if left.is_some() {
                    self.keep(place.id).await;
                }
                let completed_at = manifest.completed_at;
                Ok(Outcome::Committed { id: place.id, manifest: digest, completed_at, full_because })
            }
            Err(error) => {
                let gave_up = tokio::time::timeout(GIVING_UP, writing.give_up(&error.for_the_store())).await;
                if !matches!(gave_up, Ok(Ok(()))) {
                    tracing::warn!(
                        "that the attempt has failed could not be noted in the repository; retention will find it"
                    );
                }
                Err(error)
            }
        }
    }

    /// Where this one leaves something for the next. Without it, the next one is a full one.
    async fn leave(&self) -> Option<PathBuf> {
        let kept = self.kept?.clone();
        let left = patiently(move || kept.begin()).await;
        left.inspect_err(|error| tracing::warn!(%error, "nothing can be left for the next backup")).ok()
    }

    async fn keep(&self, id: Id) {
        let Some(kept) = self.kept.cloned() else { return };
        if let Err(error) = patiently(move || kept.keep(id)).await {
            tracing::warn!(%error, "what the backup left for the next one cannot be kept");
        }
    }
}

/// What steps and commands can read of the order, as `job`.
fn job(order: &BackupOrder, left: Option<&Path>, parent: Option<&Parent>) -> Map<String, Value> {
    let path = |path: Option<&Path>| json!(path.map_or(String::new(), |path| path.display().to_string()));
    let mut told = Map::new();
    told.insert("log".to_owned(), json!(order.with_log));
    told.insert("keep".to_owned(), path(left));
    told.insert("parent".to_owned(), path(parent.map(|parent| parent.left.as_path())));
    told
}

fn engine(config: &AgentConfig) -> &str {
    config.context["version"].as_str().unwrap_or_default()
}

/// Whether the method can do what is asked for.
fn check(method: &BackupMethod, order: &BackupOrder) -> Result<(), BackupError> {
    let full = method.types.is_empty() && order.type_ == BackupType::Full;
    if !full && !method.types.contains(&order.type_) {
        return Err(BackupError::Package(format!("method {} makes no {:?} backups", order.method, order.type_)));
    }
    if order.with_log && method.logs.as_ref().is_none_or(|logs| logs.span.is_none()) {
        return Err(BackupError::Package(format!("method {} does not say which part of a log it needs", order.method)));
    }
    Ok(())
}

fn request(order: &BackupOrder, config: &AgentConfig, epoch: Option<Epoch>, parent: Option<&Parent>) -> Request {
    let mut labels = order.labels.clone();
    labels.insert(GROUP.to_owned(), config.group.to_string());
    labels.remove(SET_SAME);
    if config.backup.get(&order.method).is_some_and(|method| method.each_group) {
        labels.insert(PART.to_owned(), "true".to_owned());
    }
    let mut description: std::collections::BTreeMap<String, Value> = order.description.clone().into_iter().collect();
    for (name, value) in [("component", config.component.as_str()), ("group", config.group.as_str())] {
        description.entry(name.to_owned()).or_insert_with(|| json!(value));
    }
    Request {
        owner: order.owner.clone(),
        type_: order.type_,
        parent: parent.map(|parent| parent.found.clone()),
        method: order.method.clone(),
        engine: engine(config).to_owned(),
        labels,
        description,
        holder: format!("job {}", order.job),
        epoch,
    }
}

/// What the last backup of this kind had, so that one that is nearly empty is noticed.
struct Last {
    bytes: u64,
    /// Digest of how the data was spread over the groups then.
    same: Option<String>,
}

/// The last backup of this kind. One that adds to others has what was changed, which can be nothing.
fn last_size(catalog: &Catalog, order: &BackupOrder, config: &AgentConfig) -> Option<Last> {
    if order.type_ == BackupType::Incremental {
        return None;
    }
    let same = catalog.found.iter().filter(|found| {
        let manifest = &found.manifest;
        let group = manifest.labels.get(GROUP).is_none_or(|group| group == config.group.as_str());
        manifest.method == order.method && manifest.type_ == order.type_ && group
    });
    let last = same.max_by_key(|found| found.manifest.completed_at);
    let found = last?;
    let bytes = found.manifest.streams.iter().find(|stream| stream.name == STREAM)?.bytes;
    Some(Last { bytes, same: found.manifest.labels.get(SET_SAME).cloned() })
}

struct Reading<'a> {
    making: &'a Making<'a>,
    order: &'a BackupOrder,
    before: Option<Last>,
    job: Map<String, Value>,
}

impl Reading<'_> {
    /// Reads the stream. What was begun for it is undone whether that worked or not.
    async fn read(
        &self,
        writing: &mut Writing<'_>,
        cancel: &CancellationToken,
        until: Instant,
    ) -> Result<Learnt, BackupError> {
        let session = self.making.actor.session();
        let mut saved = None;
        let read = bounded(cancel, until, self.order.timeout, async {
            self.making.reporter.stage(JobState::Preparing, "runs the steps before the data is read");
            let extras = self.extras();
            let what =
                Steps { name: "backup.before", steps: &self.making.method.before, timeout: None, session: &session };
            let before = saved.insert(self.making.actor.steps(what, extras).await?);
            if self.making.method.stream.volume.is_some() {
                self.making.freezer.freeze().await?;
            }
            self.making.reporter.stage(JobState::Running, "reads the data");
            let left = until.saturating_duration_since(Instant::now());
            let least = if self.order.may_shrink { 0 } else { LEAST_PERCENT };
            // where groups came or went, less in this one is no loss
            let moved = |last: &&Last| last.same.is_some() && self.spread(before) != last.same;
            let last = self.before.as_ref().filter(|last| !moved(last)).map(|last| last.bytes);
            let source = source(self.making.around, self.making.method, before, left, last, least).await?;
            Ok::<_, BackupError>(writing.stream(source).await?)
        })
        .await;
        let thawed = self.making.freezer.thaw().await;
        let after = Steps { name: "backup.after", steps: &self.making.method.after, timeout: None, session: &session };
        let after = tokio::time::timeout(AFTER, self.making.actor.steps(after, self.extras())).await;
        self.making.actor.end(&session);
        read?;
        thawed?;
        let after = after.map_err(|_| BackupError::TimedOut(AFTER))??;
        let before = saved.ok_or(BackupError::Cancelled)?;
        let same = self.same(&before, &after)?;
        Ok(Learnt { marks: self.marks(&before, &after)?, facts: self.facts(&after.after(&before))?, same })
    }

    /// Digest of how the data is spread over the groups, as steps that saved this found it.
    fn spread(&self, saved: &Saved) -> Option<String> {
        let value = saved.value(&self.making.method.set.as_ref()?.same)?;
        Some(Digest::of(value.to_string().as_bytes()).short(LABEL))
    }

    /// How the data is spread over the groups, where this is a part of a set; it may not have changed meanwhile.
    fn same(&self, before: &Saved, after: &Saved) -> Result<Option<String>, BackupError> {
        let Some(set) = self.making.method.set.as_ref().filter(|_| self.order.labels.contains_key(SET)) else {
            return Ok(None);
        };
        let value = |saved: &Saved, when: &str| {
            let source = &set.same;
            let gives_nothing = || BackupError::Package(format!("set.same: {source} gives nothing {when} the reading"));
            self.spread(saved).ok_or_else(gives_nothing)
        };
        let (first, last) = (value(before, "before")?, value(after, "after")?);
        if first == last {
            return Ok(Some(first));
        }
        Err(BackupError::Precondition {
            message: "the data was spread over the groups anew while it was read; this is no part of a backup"
                .to_owned(),
            hint: "make another backup once groups have come or gone",
        })
    }

    fn extras(&self) -> Map<String, Value> {
        with(self.making.around.extras(), "job", self.job.clone())
    }

    /// What the method wants to be known of the data when it is restored.
    fn facts(&self, saved: &Saved) -> Result<Map<String, Value>, BackupError> {
        let mut facts = Map::new();
        for (name, source) in &self.making.method.facts {
            let value = saved.value(source);
            let value = value.ok_or_else(|| BackupError::Package(format!("facts.{name}: {source} gives nothing")))?;
            facts.insert(name.clone(), value);
        }
        let bytes = serde_json::to_vec(&facts).map_or(usize::MAX, |text| text.len());
        if bytes > MOST_FACTS {
            let reason = format!("its facts have {bytes} bytes, and at most {MOST_FACTS} are kept with a backup");
            return Err(BackupError::Package(reason));
        }
        Ok(facts)
    }

    fn marks(&self, before: &Saved, after: &Saved) -> Result<Option<Marks>, BackupError> {
        let span = self.making.method.logs.as_ref().and_then(|logs| logs.span.as_ref());
        let Some(span) = span.filter(|_| self.order.with_log) else { return Ok(None) };
        let text = |saved: &Saved, source: &str| match saved.value(source) {
            Some(Value::String(text)) if !text.is_empty() => Ok(text),
            Some(Value::Number(number)) => Ok(number.to_string()),
            _ => Err(BackupError::Package(format!("logs.span: {source} gives no name"))),
        };
        Ok(Some(Marks {
            system: text(before, &span.system)?,
            first: text(before, &span.first)?,
            last: text(after, &span.last)?,
        }))
    }
}

/// Waits until the log from the first to the last mark is in the store.
async fn span(repository: &Repository, owner: &Owner, marks: Option<Marks>) -> Result<Option<LogSpan>, BackupError> {
    let Some(Marks { system, first, last }) = marks else { return Ok(None) };
    let timeline = |name: &str| name.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let (Some(begun), Some(ended)) = (timeline(&first), timeline(&last)) else {
        return Err(BackupError::Package(format!("logs.span: {first} or {last} is no name of a file of the log")));
    };
    if begun != ended {
        return Err(BackupError::Package(format!(
            "another server took over while the data was read: the log went from {first} to {last}; make another backup"
        )));
    }
    let line = line(owner, &system, begun)?;
    let give_up = Instant::now() + LOG_PATIENCE;
    loop {
        let history = History::read(repository, &line).await?;
        let number = |name: &str| history.segments.iter().find(|one| one.name.as_str() == name).map(|one| one.number);
        let missing = match (number(&first), number(&last)) {
            (Some(from), Some(to)) => {
                let span = LogSpan { line: line.clone(), first: from, last: to };
                match check_span(repository, &span).await {
                    Ok(()) => return Ok(Some(span)),
                    Err(SpanError::Store(error)) => return Err(error.into()),
                    Err(error) => error.to_string(),
                }
            }
            (None, _) => format!("{first} is not archived"),
            (_, None) => format!("{last} is not archived"),
        };
        if Instant::now() >= give_up {
            return Err(WriteError::Log(missing).into());
        }
        sleep(LOG_LOOK).await;
    }
}

/// Nobody interrupts this: between its first and its last byte it would not be known whether there is a backup.
async fn commit(
    repository: &Repository,
    order: &BackupOrder,
    writing: Writing<'_>,
    span: Option<LogSpan>,
) -> Result<Committed, BackupError> {
    let place = writing.place().clone();
    let committed = tokio::time::timeout(FINISH, writing.commit(span)).await;
    let error = match committed {
        Ok(Ok(committed)) => return Ok(committed),
        Ok(Err(error)) => BackupError::from(error),
        Err(_) => BackupError::TimedOut(FINISH),
    };
    let (reason, now) = (error.for_the_store(), Clock::system().now());
    let noted = void(repository, &order.writer.key, &place, &reason, now);
    if !matches!(tokio::time::timeout(GIVING_UP, noted).await, Ok(Ok(()))) {
        tracing::warn!(id = %place.id, "that the attempt has failed could not be noted in the repository");
    }
    Err(error)
}
