//! Backups and restores of one pod, and the archiving of its log: from what the package declares to the repository's
//! protocol. Streams go from the middleware's container straight to the store, in fixed memory.

mod adding;
mod archive;
mod checks;
mod error;
mod freeze;
mod job;
mod kept;
mod make;
mod marker;
mod note;
mod replaced;
mod restore;
mod segments;
mod source;
mod tarball;
mod volume;
mod whole;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::actions::{Actor, Extras};
use super::pid1::Pid1;
use crate::backup::repository::{Repository, Trust};
use crate::backup::store::{Filesystem, Patience, Resilient, S3, Store};
use crate::extension::agent::AgentConfig;
use crate::extension::contract::BackupMethod;
use crate::lifecycle::backup::{
    ArchiveOrder, ArchiveStatus, BackupOrder, JobProgress, Outcome, RepositoryPlace, RestoreOrder, StorePlace,
};
use crate::lifecycle::{Code, Problem};

pub use error::BackupError;
pub use marker::{Facts, Hold, Marker, hold};
pub use volume::Begun;

use archive::Archiver;
use checks::Checks;
use freeze::Freezer;
use job::{Jobs, Kind};

/// How long a job that is cancelled may take to undo what it began.
const FAREWELL: Duration = Duration::from_mins(3);

/// What backups need of the agent around them.
pub trait Surroundings: Send + Sync + 'static {
    /// As the configuration is now.
    fn actor(&self) -> Arc<Actor>;
    fn pid1(&self) -> Pid1;
    /// What actions can read besides the context.
    fn extras(&self) -> Extras;
    /// Where something is written down for an agent that is started anew in the same pod.
    fn records(&self) -> PathBuf;
    /// How archiving goes, whenever that changes.
    fn archives(&self, status: Option<ArchiveStatus>);
}

/// Everything about backups that one pod does.
pub struct Backups {
    around: Arc<dyn Surroundings>,
    jobs: Jobs,
    archiver: Archiver,
    freezer: Arc<Freezer>,
    checks: Checks,
}

impl Backups {
    /// Also undoes what an agent before this one left frozen.
    pub fn new(around: Arc<dyn Surroundings>) -> Arc<Self> {
        let freezer = Arc::new(Freezer::new(around.clone()));
        tokio::spawn(freezer.clone().recover());
        let (jobs, checks) = (Jobs::default(), Checks::default());
        Arc::new(Self { jobs, archiver: Archiver::new(around.clone()), freezer, checks, around })
    }

    pub fn backup(&self, order: BackupOrder) -> Result<watch::Receiver<JobProgress>, Problem> {
        let (around, freezer) = (self.around.clone(), self.freezer.clone());
        let id = order.job.clone();
        self.jobs.begin(Kind::Backup, &id, move |reporter, cancel| async move {
            make::make(&*around, &freezer, order, &reporter, &cancel).await
        })
    }

    pub fn restore(&self, order: RestoreOrder) -> Result<watch::Receiver<JobProgress>, Problem> {
        let around = self.around.clone();
        let id = order.job.clone();
        self.jobs.begin(Kind::Restore, &id, move |reporter, cancel| {
            aside(move || async move { restore::restore(&*around, order, &reporter, &cancel).await })
        })
    }

    /// Ends a job, and waits until it has undone what it began.
    pub async fn cancel(&self, job: &str) -> Result<JobProgress, Problem> {
        self.jobs.cancel(job).await
    }

    /// Runs the checks of the method the data was restored by; false where there is nothing to check.
    pub async fn prove(&self) -> Result<bool, Problem> {
        let Some(marker) = restore::marked(&*self.around).await? else { return Ok(false) };
        let around = self.around.clone();
        self.checks.of(marker, |marker| async move { restore::prove(&*around, &marker).await }).await
    }

    pub async fn archive(&self, order: Option<ArchiveOrder>) -> Result<ArchiveStatus, Problem> {
        Ok(self.archiver.follow(order).await?)
    }

    /// Whether data is being put back now.
    pub fn restores(&self) -> bool {
        self.jobs.runs(Kind::Restore)
    }

    /// The agent ends: whatever is under way is undone first.
    pub async fn stop(&self) {
        self.archiver.stop();
        let Some(job) = self.jobs.running() else { return };
        if tokio::time::timeout(FAREWELL, self.jobs.cancel(&job)).await.is_err() {
            tracing::error!(job, "the job did not end in time");
        }
    }
}

/// Opens the repository, if it is the right one.
async fn open(place: &RepositoryPlace) -> Result<Repository, BackupError> {
    let store: Arc<dyn Store> = match &place.store {
        StorePlace::S3(settings) => Arc::new(S3::new(settings)?),
        StorePlace::Filesystem(path) => Arc::new(Filesystem::open(path).await?),
    };
    let store = Arc::new(Resilient::new(store, Patience::default()));
    Ok(Repository::open(store, &Trust::Keys(vec![place.root])).await?)
}

fn method<'a>(config: &'a AgentConfig, name: &str) -> Result<&'a BackupMethod, BackupError> {
    config.backup.get(name).ok_or_else(|| {
        let known: Vec<&str> = config.backup.keys().map(String::as_str).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        BackupError::NoMethod { name: name.to_owned(), known }
    })
}

/// Where the data lies that a restore puts back.
fn data(config: &AgentConfig) -> Result<&Path, BackupError> {
    let none = || BackupError::Package("the component has no lasting volume to restore to".to_owned());
    Ok(Path::new(config.data.as_deref().ok_or_else(none)?))
}

/// Does work until it is done, cancelled or late.
async fn bounded<T, E: Into<BackupError>>(
    cancel: &CancellationToken,
    until: Instant,
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, BackupError> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(BackupError::Cancelled),
        done = tokio::time::timeout_at(until, work) => match done {
            Ok(done) => done.map_err(Into::into),
            Err(_) => Err(BackupError::TimedOut(limit)),
        },
    }
}

/// Runs a restore on a thread of its own: decrypting and unpacking are to leave the agent's one thread free, on which the
/// exclusive role is kept.
async fn aside<F>(work: impl FnOnce() -> F + Send + 'static) -> Result<Outcome, BackupError>
where
    F: Future<Output = Result<Outcome, BackupError>>,
{
    let (tell, told) = oneshot::channel();
    let runtime = Handle::current();
    let started = std::thread::Builder::new().name("restore".to_owned()).spawn(move || {
        // nobody waits any more: the agent ends
        let _ = tell.send(runtime.block_on(work()));
    });
    started.map_err(|error| BackupError::Package(format!("no thread for the restore: {error}")))?;
    told.await.unwrap_or_else(|_| Err(BackupError::Package("the restore broke off".to_owned())))
}

/// Runs something that blocks, such as work on files.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(BackupError::Package(format!("a worker died: {error}"))))
}

fn with(mut extras: Extras, name: &str, value: Map<String, Value>) -> Extras {
    extras.insert(name.to_owned(), Value::Object(value));
    extras
}

fn no_such_job(job: &str) -> Problem {
    Problem::new(Code::NotFound, format!("there is no job {job:?} here"))
        .hint("an agent that was started anew has forgotten its jobs")
}
