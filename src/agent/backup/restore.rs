//! Putting a backup back, into a pod whose process does not run. The marker comes last: without it nothing was restored,
//! and the next try begins by clearing what is there.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::job::Reporter;
use super::kept::Kept;
use super::make::FACTS;
use super::marker::Marker;
use super::replaced;
use super::segments::fetch;
use super::source::STREAM;
use super::volume::{self, Begun};
use super::{BackupError, Surroundings, archive, blocking, bounded, data, method, open, tarball, whole, with};
use crate::agent::actions::{Actor, Extras, Steps};
use crate::agent::init::protocol::{Op, Request, Status};
use crate::agent::serve::mark;
use crate::agent::stream::write_to;
use crate::api::labels::GROUP;
use crate::backup::id::Id;
use crate::backup::read::{ChainError, Content, Found, Keyring, ReadError};
use crate::backup::replay::{Asked, choose, route};
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
    let admitted = admitted(around, &actor, &dir, &order).await.map_err(|error| untouched(&dir, error));
    if let Some(marker) = admitted? {
        return Ok(Outcome::Restored { id: marker.backup, until: marker.until });
    }
    let until = Instant::now() + order.timeout;
    let logs = dir.join(LOGS);
    let restored = bounded(cancel, until, order.timeout, put_back(around, &actor, &order, &dir, &logs, reporter)).await;
    // also after a failure: a second try fetches what it needs
    if let Err(error) = remove_dir(&logs).await {
        tracing::warn!(%error, "what was fetched of the log cannot be removed");
    }
    let Back { id, method, facts } = match restored {
        Ok(restored) => restored,
        Err(error) => return Err(untouched(&dir, error)),
    };
    let time = match order.until {
        Until::Time(time) => Some(time),
        Until::Backup | Until::Latest => None,
    };
    let restore = actor.config().restore.clone();
    let target = target(order.until);
    let marker = Marker { restore, backup: id, method: Some(method), until: time, target, facts, at: Timestamp::now() };
    let place = dir.clone();
    blocking(move || {
        marker.write(&place)?;
        replaced::keep_term(&place)?;
        Begun::remove(&place)
    })
    .await?;
    Ok(Outcome::Restored { id, until: time })
}

/// A failure, and that it changed nothing, where that is so: then the process may start again on what it had.
fn untouched(dir: &Path, error: BackupError) -> BackupError {
    match Begun::read(dir) {
        Ok(None) => BackupError::Untouched(Box::new(error)),
        Ok(Some(_)) => error,
        Err(unreadable) => {
            tracing::warn!(error = %unreadable, "it is not known whether the restore changed anything");
            error
        }
    }
}

/// What was restored to this pod, if anything.
pub async fn marked(around: &dyn Surroundings) -> Result<Option<Marker>, BackupError> {
    let dir = data(around.actor().config())?.to_owned();
    blocking(move || Marker::read(&dir)).await
}

/// Runs the checks of the method that the marker names. False where there is none, or it has no checks.
pub async fn prove(around: &dyn Surroundings, marker: &Marker) -> Result<bool, BackupError> {
    let actor = around.actor();
    let Some(name) = &marker.method else { return Ok(false) };
    let method = method(actor.config(), name)?;
    if method.check.is_empty() {
        return Ok(false);
    }
    let mut told = Map::new();
    told.insert("target".to_owned(), json!(marker.target));
    told.insert("backup".to_owned(), json!(marker.backup.to_string()));
    told.insert(FACTS.to_owned(), Value::Object(known(method, &marker.facts)));
    let session = actor.session();
    let steps = Steps { name: "check", steps: &method.check, timeout: None, session: &session };
    let checked = actor.steps(steps, with(around.extras(), "restore", told)).await;
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
            // it was done, and broke off before this went
            Begun::remove(dir)?;
            return Ok(Some(marker));
        }
        let marked = mark::read(dir).map_err(|error| BackupError::Package(error.to_string()))?;
        if let Some(epoch) = marked {
            return Err(BackupError::Precondition {
                message: format!("there is data of term {epoch} on this pod's volume; it is not overwritten"),
                hint: "restore in place with an Operation, which says so",
            });
        }
        if Begun::read(dir)?.is_none_or(|begun| begun.restore.as_ref() != Some(wanted)) {
            empty(around, actor, dir).await?;
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

/// Nobody said that data is replaced: there has to be none.
async fn empty(around: &dyn Surroundings, actor: &Actor, dir: &Path) -> Result<(), BackupError> {
    let config = actor.config();
    let mut roots = vec![dir.to_owned()];
    let mut ours: Vec<PathBuf> = config.files.iter().map(|file| PathBuf::from(&file.path)).collect();
    for method in config.backup.values() {
        let volume = method.restore.volume.as_ref().and_then(|volume| config.volumes.get(volume));
        roots.extend(volume.map(PathBuf::from));
        if let Some(logs) = &method.logs {
            ours.push(
                PathBuf::from(actor.text("logs.directory", &logs.directory, &around.extras())?).join(archive::OFF),
            );
        }
    }
    let found = blocking(move || {
        for root in roots {
            if let Some(found) = volume::occupied(&root, &ours)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    });
    match found.await? {
        None => Ok(()),
        Some(found) => Err(BackupError::Precondition {
            message: format!("there is data on this pod's volume, such as {}; it is not overwritten", found.display()),
            hint: "give the new instance another name, or delete the claims that the old one left; to replace data, restore \
                   in place with an Operation",
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
) -> Result<Back, BackupError> {
    let repository = open(&order.repository).await?;
    let ring = match &order.identity {
        Some(identity) => Keyring::unlock(&repository, identity, order.kit.as_ref()).await?,
        None => Keyring::default(),
    };
    let config = actor.config();
    let own = |found: &Found| {
        let group = found.manifest.labels.get(GROUP);
        let each = config.backup.get(&found.manifest.method).is_some_and(|method| method.each_group);
        !each || group.is_none_or(|group| group == config.group.as_str())
    };
    let asked = Asked { owner: &order.owner, backup: order.backup, until: order.until };
    let chain = choose(&repository, &ring, asked, own).await?;
    let Some(found) = chain.last() else { return Err(ChainError::Nothing(String::new()).into()) };
    let method = method(config, &found.manifest.method)?;
    let contents = whole::open(&repository, &ring, &chain).await?;
    whole::check(&contents, &chain, method, dir).await?;
    let description = contents.last().map(Content::description).transpose()?;
    let facts = match description.and_then(|mut description| description.remove(FACTS)) {
        Some(Value::Object(facts)) => facts,
        _ => Map::new(),
    };
    reporter.stage(JobState::Preparing, format!("prepares to restore backup {}", found.place.id));
    remove_dir(logs).await?;
    if let Some(span) = &found.manifest.log {
        reporter.stage(JobState::Preparing, "fetches the log");
        let route = route(&repository, &ring, span, order.until).await?;
        let place = logs.to_owned();
        blocking(move || std::fs::create_dir_all(&place).map_err(|error| BackupError::file(&place, error))).await?;
        fetch(&repository, &ring, &route, logs).await?;
    }
    // all that can be known beforehand is known: from here on the volume changes
    let (place, replace) = (dir.to_owned(), order.replace);
    let begun = Begun { restore: config.restore.clone().filter(|_| !replace) };
    blocking(move || {
        begun.write(&place)?;
        Kept::below(&place).forget()?;
        if replace {
            replaced::note_term(&place)?;
        }
        Marker::remove(&place)?;
        mark::remove(&place).map_err(|error| BackupError::Package(error.to_string()))
    })
    .await?;
    let mut told = told(order, found, logs, known(method, &facts));
    told.insert("backups".to_owned(), json!(chain.len()));
    let extras = with(around.extras(), "restore", told.clone());
    let session = actor.session();
    let done = async {
        let steps = |name, steps| Steps { name, steps, timeout: None, session: &session };
        actor.steps(steps("restore.before", &method.restore.before), extras.clone()).await?;
        reporter.stage(JobState::Running, "puts the data back");
        let counters = Arc::new(Progress::default());
        counters.expect(chain.iter().map(whole::bytes).sum());
        reporter.count(counters.clone());
        for (index, content) in contents.iter().enumerate() {
            told.insert("index".to_owned(), json!(index));
            let extras = with(around.extras(), "restore", told.clone());
            let counters = counters.clone();
            To { around, actor, method, extras: &extras, counters, timeout: order.timeout }.write(content).await?;
        }
        reporter.stage(JobState::Completing, "runs the steps after the data was put back");
        actor.steps(steps("restore.after", &method.restore.after), extras.clone()).await?;
        Ok::<_, BackupError>(())
    };
    let done = done.await;
    actor.end(&session);
    done.map(|()| Back { id: found.place.id, method: found.manifest.method.clone(), facts })
}

/// What was put back.
struct Back {
    id: Id,
    method: String,
    /// What was known of it when it was made.
    facts: Map<String, Value>,
}

/// What steps and commands of a restore can read, as `restore`.
fn told(order: &RestoreOrder, found: &Found, logs: &Path, facts: Map<String, Value>) -> Map<String, Value> {
    let mut told = Map::new();
    told.insert("target".to_owned(), json!(target(order.until)));
    told.insert("logs".to_owned(), json!(logs.display().to_string()));
    told.insert("backup".to_owned(), json!(found.place.id.to_string()));
    told.insert("version".to_owned(), json!(found.manifest.engine));
    told.insert(FACTS.to_owned(), Value::Object(facts));
    told
}

/// The time that is gone back to, as steps are told: nothing for the backup alone.
fn target(until: Until) -> String {
    match until {
        Until::Backup => String::new(),
        Until::Latest => "latest".to_owned(),
        Until::Time(time) => time.strftime("%Y-%m-%d %H:%M:%S.%6f+00").to_string(),
    }
}

/// Every fact that the method declares, as nothing where the backup was made before it did.
fn known(method: &BackupMethod, facts: &Map<String, Value>) -> Map<String, Value> {
    method.facts.keys().map(|name| (name.clone(), facts.get(name).cloned().unwrap_or_default())).collect()
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
