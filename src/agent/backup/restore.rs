//! Putting a backup back, into a pod whose process does not run. The marker comes last: without it nothing was restored,
//! and the next try begins by clearing what is there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, json};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::job::Reporter;
use super::make::GROUP;
use super::marker::Marker;
use super::replaced;
use super::segments::{fetch, lineage, locked};
use super::source::STREAM;
use super::{BackupError, Surroundings, blocking, bounded, data, method, open, tarball, with};
use crate::agent::actions::{Actor, Extras, Steps};
use crate::agent::init::protocol::{Op, Request, Status};
use crate::agent::serve::mark;
use crate::agent::stream::write_to;
use crate::backup::id::Id;
use crate::backup::log::histories;
use crate::backup::read::{Catalog, Content, Found, Keyring, ReadError, Target};
use crate::backup::repository::Repository;
use crate::backup::write::Progress;
use crate::extension::contract::BackupMethod;
use crate::lifecycle::backup::{JobState, Outcome, RestoreOrder, Until};

/// Chunks fetched ahead; memory is twice as many chunks.
const AHEAD: usize = 2;
/// How long PID 1 may take to say whether the process runs.
const ASKING: Duration = Duration::from_secs(5);
/// Where segments of a log lie while they are replayed.
const LOGS: &str = ".midship-logs";

pub async fn restore(
    around: &dyn Surroundings,
    order: RestoreOrder,
    reporter: &Reporter,
    cancel: &CancellationToken,
) -> Result<Outcome, BackupError> {
    let actor = around.actor();
    let dir = data(actor.config())?.to_owned();
    if let Some(marker) = admitted(around, &actor, &dir, &order).await? {
        return Ok(Outcome::Restored { id: marker.backup, until: marker.until });
    }
    let until = Instant::now() + order.timeout;
    let logs = dir.join(LOGS);
    let restored = bounded(cancel, until, order.timeout, put_back(around, &actor, &order, &dir, &logs, reporter)).await;
    // also after a failure: a second try fetches what it needs
    if let Err(error) = remove_dir(&logs).await {
        tracing::warn!(%error, "what was fetched of the log cannot be removed");
    }
    let (id, method) = restored?;
    let time = match order.until {
        Until::Time(time) => Some(time),
        Until::Backup | Until::Latest => None,
    };
    let restore = actor.config().restore.clone();
    let marker = Marker { restore, backup: id, method: Some(method), until: time, at: Timestamp::now() };
    let place = dir.clone();
    blocking(move || {
        marker.write(&place)?;
        replaced::keep_term(&place)
    })
    .await?;
    Ok(Outcome::Restored { id, until: time })
}

/// Runs the checks of the method that the marker names. False where there is none, or it has no checks.
pub async fn prove(around: &dyn Surroundings) -> Result<bool, BackupError> {
    let actor = around.actor();
    let dir = data(actor.config())?.to_owned();
    let Some(marker) = blocking(move || Marker::read(&dir)).await? else { return Ok(false) };
    let Some(name) = marker.method else { return Ok(false) };
    let method = method(actor.config(), &name)?;
    if method.check.is_empty() {
        return Ok(false);
    }
    let session = actor.session();
    let steps = Steps { name: "check", steps: &method.check, timeout: None, session: &session };
    let checked = actor.steps(steps, around.extras()).await;
    actor.end(&session);
    checked?;
    Ok(true)
}

/// Whether it may be done. The marker where it was done already.
async fn admitted(
    around: &dyn Surroundings,
    actor: &Actor,
    dir: &Path,
    order: &RestoreOrder,
) -> Result<Option<Marker>, BackupError> {
    let wanted = actor.config().restore.as_ref();
    if !order.replace {
        let Some(wanted) = wanted else {
            return Err(BackupError::Precondition {
                message: "this pod is not to be restored: its configuration asks for no restore".to_owned(),
                hint: "restore to a new instance with spec.restore, or in place with an Operation",
            });
        };
        if let Some(marker) = Marker::read(dir)?.filter(|marker| marker.restore.as_ref() == Some(wanted)) {
            return Ok(Some(marker));
        }
        let marked = mark::read(dir).map_err(|error| BackupError::Package(error.to_string()))?;
        if let Some(epoch) = marked {
            return Err(BackupError::Precondition {
                message: format!("there is data of term {epoch} on this pod's volume; it is not overwritten"),
                hint: "restore in place with an Operation, which says so",
            });
        }
    }
    let answer = around.pid1().ask(&Request::new(Op::Status), Instant::now() + ASKING).await;
    let answer = answer.map_err(|error| BackupError::Command { what: "PID 1", error: error.into() })?;
    let status: Status = serde_json::from_value(answer)
        .map_err(|error| BackupError::Package(format!("cannot understand PID 1: {error}")))?;
    match status.pid {
        None => Ok(None),
        Some(pid) => Err(BackupError::Precondition {
            message: format!("the process runs (pid {pid}); nothing is restored beneath it"),
            hint: "stop it first",
        }),
    }
}

async fn put_back(
    around: &dyn Surroundings,
    actor: &Actor,
    order: &RestoreOrder,
    dir: &Path,
    logs: &Path,
    reporter: &Reporter,
) -> Result<(Id, String), BackupError> {
    let repository = open(&order.repository).await?;
    let ring = match &order.identity {
        Some(identity) => Keyring::unlock(&repository, identity, None).await?,
        None => Keyring::default(),
    };
    let found = choose(&repository, &ring, actor, order).await?;
    let method = method(actor.config(), &found.manifest.method)?;
    let opener = ring.opener(found.manifest.epoch.as_ref());
    let opener = opener.map_err(|reason| locked(&format!("backup {}", found.place.id), &reason))?;
    let content = Content::open(&repository, &found, opener).await?;
    reporter.stage(JobState::Preparing, format!("prepares to restore backup {}", found.place.id));
    let place = dir.to_owned();
    let replace = order.replace;
    blocking(move || {
        if replace {
            replaced::note_term(&place)?;
        }
        Marker::remove(&place)?;
        mark::remove(&place).map_err(|error| BackupError::Package(error.to_string()))
    })
    .await?;
    remove_dir(logs).await?;
    if order.until != Until::Backup && found.manifest.log.is_none() {
        return Err(BackupError::Precondition {
            message: format!("backup {} was made without its log: it can be restored as it is alone", found.place.id),
            hint: "leave the time out, or choose another backup",
        });
    }
    if let Some(span) = &found.manifest.log {
        reporter.stage(JobState::Preparing, "fetches the log");
        let place = logs.to_owned();
        blocking(move || std::fs::create_dir_all(&place).map_err(|error| BackupError::file(&place, error))).await?;
        fetch(&repository, &ring, span, order.until, logs).await?;
    }
    let extras = extras(around, order, &found, logs);
    let session = actor.session();
    let done = async {
        let steps = |name, steps| Steps { name, steps, timeout: None, session: &session };
        actor.steps(steps("restore.before", &method.restore.before), extras.clone()).await?;
        reporter.stage(JobState::Running, "puts the data back");
        let counters = Arc::new(Progress::default());
        counters.expect(content.streams().iter().map(|stream| stream.bytes).sum());
        reporter.count(counters.clone());
        let target = To { around, actor, method, extras: &extras, counters, timeout: order.timeout };
        target.write(&content).await?;
        reporter.stage(JobState::Completing, "runs the steps after the data was put back");
        actor.steps(steps("restore.after", &method.restore.after), extras.clone()).await?;
        Ok::<_, BackupError>(())
    };
    let done = done.await;
    actor.end(&session);
    done.map(|()| (found.place.id, found.manifest.method.clone()))
}

/// The backup that is asked for. One that adds to others is not taken.
async fn choose(
    repository: &Repository,
    ring: &Keyring,
    actor: &Actor,
    order: &RestoreOrder,
) -> Result<Found, BackupError> {
    let mut catalog = Catalog::of(repository, &order.owner).await?;
    let undone =
        if order.until == Until::Backup { BTreeSet::new() } else { undone(repository, ring, &catalog).await? };
    let config = actor.config();
    let own = |found: &Found| {
        let group = found.manifest.labels.get(GROUP);
        let each = config.backup.get(&found.manifest.method).is_some_and(|method| method.each_group);
        !each || group.is_none_or(|group| group == config.group.as_str())
    };
    let target = match (order.backup, order.until) {
        (Some(id), _) => Target::Backup(id),
        (None, Until::Time(time)) => Target::By(time),
        (None, Until::Backup | Until::Latest) => Target::Newest,
    };
    if order.backup.is_none() {
        let logged = |found: &Found| order.until == Until::Backup || found.manifest.log.is_some();
        catalog.found.retain(|found| own(found) && logged(found) && !undone.contains(&found.place.id));
    }
    let chain = catalog.chain(&order.owner, target)?;
    match chain[..] {
        [found] => {
            if let Until::Time(time) = order.until
                && found.manifest.completed_at > time
            {
                return Err(BackupError::Precondition {
                    message: format!("backup {} was complete only at {}", found.place.id, found.manifest.completed_at),
                    hint: "choose an earlier backup, or a later time",
                });
            }
            if undone.contains(&found.place.id) {
                return Err(BackupError::Precondition {
                    message: format!(
                        "backup {} holds what was undone later, by a restore or by a server that took over: the log does \
                         not go on from it",
                        found.place.id
                    ),
                    hint: "leave the backup out: the right one is chosen; or restore this one as it is, without a time",
                });
            }
            Ok(found.clone())
        }
        _ => Err(BackupError::Package("this agent restores no incremental backups; choose a full one".to_owned())),
    }
}

/// Backups from which the log does not go on: their timeline was left before they were complete.
async fn undone(repository: &Repository, ring: &Keyring, catalog: &Catalog) -> Result<BTreeSet<Id>, BackupError> {
    let spans = || catalog.found.iter().filter_map(|found| Some((found.place.id, found.manifest.log.as_ref()?)));
    let mut undone = BTreeSet::new();
    if spans().next().is_none() {
        return Ok(undone);
    }
    let all = histories(repository).await?;
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

/// What steps and commands of a restore can read, as `restore`.
fn extras(around: &dyn Surroundings, order: &RestoreOrder, found: &Found, logs: &Path) -> Extras {
    let target = match order.until {
        Until::Backup => String::new(),
        Until::Latest => "latest".to_owned(),
        Until::Time(time) => time.strftime("%Y-%m-%d %H:%M:%S.%6f+00").to_string(),
    };
    let mut told = Map::new();
    told.insert("target".to_owned(), json!(target));
    told.insert("logs".to_owned(), json!(logs.display().to_string()));
    told.insert("backup".to_owned(), json!(found.place.id.to_string()));
    told.insert("version".to_owned(), json!(found.manifest.engine));
    with(around.extras(), "restore", told)
}

async fn remove_dir(path: &Path) -> Result<(), BackupError> {
    let path = path.to_owned();
    blocking(move || match std::fs::remove_dir_all(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(BackupError::file(&path, error)),
        _ => Ok(()),
    })
    .await
}

/// Where the stream goes.
struct To<'a> {
    around: &'a dyn Surroundings,
    actor: &'a Actor,
    method: &'a BackupMethod,
    extras: &'a Extras,
    counters: Arc<Progress>,
    timeout: Duration,
}

impl To<'_> {
    async fn write(&self, content: &Content<'_>) -> Result<(), BackupError> {
        let restore = &self.method.restore;
        if let Some(exec) = &restore.exec {
            let call = self.actor.command("restore.exec", exec, self.extras)?;
            let failed = |error| BackupError::Command { what: "the restore's command", error };
            let (sink, ending) = write_to(&self.around.pid1(), &call, self.timeout).await.map_err(failed)?;
            let written = self.pour(content, sink).await;
            // a command that has failed tells more than the pipe it left
            match (ending.wait().await, written) {
                (Err(error), Ok(()) | Err(BackupError::Read(ReadError::Output(_)))) => Err(failed(error)),
                (_, written) => written,
            }
        } else if let Some(volume) = &restore.volume {
            let root = self.actor.config().volumes.get(volume).map(PathBuf::from);
            let root = root.ok_or_else(|| BackupError::Package(format!("there is no volume {volume}")))?;
            let place = root.clone();
            blocking(move || tarball::clear(&place).map_err(|error| BackupError::file(&place, error))).await?;
            let (sink, end) = tarball::unpack(&root)?;
            let written = self.pour(content, sink).await;
            let failed = |reason: String| BackupError::file(&root, std::io::Error::other(reason));
            match (end.await, written) {
                (Err(reason), Ok(()) | Err(BackupError::Read(ReadError::Output(_)))) => Err(failed(reason)),
                (_, written) => written,
            }
        } else if let Some(file) = &restore.file {
            let path = PathBuf::from(self.actor.text("restore.file", file, self.extras)?);
            let fresh = path.with_extension("midship-new");
            let failed = |error| BackupError::file(&path, error);
            let file = tokio::fs::File::create(&fresh).await.map_err(failed)?;
            let file = self.pour(content, file).await.map(|()| fresh);
            let fresh = file?;
            let synced = tokio::fs::File::open(&fresh).await.map_err(failed)?;
            synced.sync_all().await.map_err(failed)?;
            tokio::fs::rename(&fresh, &path).await.map_err(failed)
        } else {
            Err(BackupError::Package("the method does not say where a backup is put back".to_owned()))
        }
    }

    /// All of the stream, and its end.
    async fn pour(&self, content: &Content<'_>, sink: impl AsyncWrite + Send + Unpin) -> Result<(), BackupError> {
        let mut counted = Counted { sink, counters: self.counters.clone() };
        content.restore(STREAM, &mut counted, AHEAD).await?;
        counted.shutdown().await.map_err(ReadError::Output)?;
        Ok(())
    }
}

/// Counts what goes through.
struct Counted<W> {
    sink: W,
    counters: Arc<Progress>,
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Counted<W> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let me = self.get_mut();
        let written = Pin::new(&mut me.sink).poll_write(cx, bytes);
        if let Poll::Ready(Ok(written)) = &written {
            me.counters.read(*written as u64);
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().sink).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().sink).poll_shutdown(cx)
    }
}
