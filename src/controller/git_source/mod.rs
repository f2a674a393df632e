//! GitSource: fetch, read, plan, apply, record, say so.
//!
//! Where to begin: `round.rs` is one round of a source, from the queue's word to the time of the next one. It asks the
//! repository (`look.rs`) and goes on into `sync.rs`, which has the steps of a sync in their order: what to look at
//! (`news.rs`), what to do (`decide.rs`), doing it (`apply.rs`), telling it (`status.rs`) and recording it (`audit.rs`). A
//! source that is deleted goes to `end.rs` instead. `memory.rs` is what is kept from round to round.

mod apply;
mod audit;
mod brief;
mod decide;
mod descent;
mod drift;
mod end;
mod failed;
mod leave;
mod live;
mod look;
mod memory;
pub mod needed;
mod news;
pub mod objects;
pub mod once;
mod pace;
pub mod problem;
mod remaining;
mod rights;
mod round;
pub mod secrets;
pub mod settings;
mod status;
mod sync;
pub mod trust;
mod unusable;

use std::path::PathBuf;
use std::sync::Arc;

use kube::Client;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::Options;
use super::caches::Caches;
use super::frame::Failure;
use super::pushes::Pushes;
use super::queues::Queues;
use crate::api::{GitSource, Kind};
use crate::cluster::Key;
use crate::cluster::events::Events;
use crate::plan::source::ObjectId;
use crate::repo::Remotes;
use audit::finished;
use memory::{Memory, Remembered};
use status::Report;

/// Sources that never answered, and sources that did not answer last time, which may be looked at together. Whoever waits
/// for a server holds a worker, and those that are known to answer must find one.
const DOUBTFUL_AT_ONCE: usize = 24;

/// Brings the cluster to what repositories say.
pub struct GitSources {
    client: Client,
    config: kube::Config,
    caches: Arc<Caches>,
    events: Events,
    queues: Queues,
    pushes: Arc<Pushes>,
    cache_dir: PathBuf,
    cluster_name: String,
    allow_insecure: bool,
    memory: Memory,
    remotes: Remotes,
    started: Instant,
    /// Who may write now; looking at repositories is mostly waiting for servers, and takes no turn.
    turns: Semaphore,
    /// Who may look at a repository that never answered, and who at one that did not last time.
    new: Semaphore,
    failed: Semaphore,
}

impl GitSources {
    pub fn new(
        connection: (Client, kube::Config),
        caches: Arc<Caches>,
        events: Events,
        order: (Queues, Arc<Pushes>),
        options: &Options,
    ) -> Self {
        let ((client, config), (queues, pushes)) = (connection, order);
        let Options { cache_dir, cluster_name, allow_insecure_git, workers, .. } = options;
        Self {
            client,
            config,
            caches,
            events,
            queues,
            pushes,
            cache_dir: cache_dir.clone(),
            cluster_name: cluster_name.to_string(),
            allow_insecure: *allow_insecure_git,
            memory: Memory::default(),
            remotes: Remotes::default(),
            started: Instant::now(),
            turns: Semaphore::new(*workers),
            new: Semaphore::new(DOUBTFUL_AT_ONCE),
            failed: Semaphore::new(DOUBTFUL_AT_ONCE),
        }
    }

    /// The source that has to look again because this object changed, where one wants the object.
    pub fn touched(&self, id: &ObjectId) -> Option<Key> {
        self.memory.touched(id)
    }

    /// The source that tells of an operation or a backup that ended.
    pub fn ended(&self, kind: Kind, key: &Key) -> Option<Key> {
        let source = match kind {
            Kind::Operation => finished::of_operation(&self.caches, self.caches.operations.get(key)?.as_ref()),
            Kind::Backup => finished::of_backup(&self.caches, self.caches.backups.get(key)?.as_ref()),
            _ => None,
        }?;
        self.memory.ended(&source);
        Some(source)
    }

    pub(super) async fn say(
        &self,
        source: &GitSource,
        remembered: &mut Remembered,
        report: Report<'_>,
    ) -> Result<(), Failure> {
        // what stood in the way is told until a sync tells otherwise, even if there is nothing new then
        remembered.unsettled |= matches!(report, Report::Suspended | Report::Unusable(_) | Report::Failed { .. });
        status::publish(&self.client, source, &mut remembered.said, report).await
    }
}
