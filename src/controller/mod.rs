//! The controller: waits until the cluster is usable, takes part in the election, and while it leads keeps every object
//! of ours on its way.

pub mod agents;
mod backup;
mod backup_policy;
pub mod backup_repository;
mod caches;
mod component;
mod extension;
pub mod frame;
pub mod git_source;
mod hooks;
mod instance;
mod kept;
mod operation;
pub mod packages;
mod pod_set;
mod pushes;
mod queues;
pub mod repositories;
mod said;
mod startup;
mod workloads;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use kube::Client;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::api::Kind;
use crate::cluster::client::Target;
use crate::cluster::events::Events;
use crate::cluster::parts::OnChange as OnPart;
use crate::cluster::rate_limit::Limits;
use crate::cluster::secrets::{OnChange as OnSecret, Secrets};
use crate::cluster::{Key, Scope};
use crate::cue::Cue;
use crate::names::{ClusterName, NamespaceName, ObjectName};
use crate::plan::source::{ObjectId, ObjectKind};
use crate::serve::health::{self, Readiness};
use crate::serve::lease::{Elector, Lost, Timing};
use crate::serve::metrics::Metrics;
use crate::serve::{metrics_server, webhook};
use agents::Agents;
use backup::Backups;
use backup_policy::{Around, BackupPolicies};
use backup_repository::BackupRepositories;
use caches::{Caches, OnChange};
use component::Components;
use extension::Extensions;
use frame::{Bounds, Reconciler};
use git_source::GitSources;
use hooks::Hooks;
use instance::Instances;
use operation::Operations;
use pod_set::PodSets;
use pod_set::agents::Remote;
use pushes::Pushes;
use queues::Queues;
use repositories::known::Known;
use startup::Usable;
use workloads::Workloads;

/// Everything that can be chosen from outside.
#[derive(Clone, Debug)]
pub struct Options {
    pub target: Target,
    pub scope: Scope,
    pub health_address: SocketAddr,
    pub metrics_address: Option<SocketAddr>,
    /// Where forges say that a repository changed.
    pub webhook_address: Option<SocketAddr>,
    /// A folder with tls.crt and tls.key for it.
    pub webhook_tls: Option<PathBuf>,
    pub leader_election: bool,
    pub lease_namespace: Option<NamespaceName>,
    pub lease_name: ObjectName,
    pub identity: String,
    pub cluster_name: ClusterName,
    pub workers: usize,
    pub limits: Limits,
    pub cache_dir: PathBuf,
    /// The image that agents are copied from into pods.
    pub agent_image: String,
    /// Where the file systems of backup repositories are mounted, as `<namespace>/<repository>`.
    pub repositories_dir: PathBuf,
    /// Repositories without encryption or on this machine, for development.
    pub allow_insecure_git: bool,
}

/// The readiness gate of the election.
const LEASE: &str = "lease";

/// Objects that may be worked on together where each can wait a minute for somebody who does not answer, a server or an agent
/// on a node that is gone: no other may wait with it.
const WAITING_AT_ONCE: usize = 64;
/// The same of what holds templates of pods meanwhile, which take room in memory.
const TEMPLATES_AT_ONCE: usize = 24;

/// How long one reconcile may take.
const RECONCILE_DEADLINE: Duration = Duration::from_mins(5);

/// The same of a repository: looking through a store with thousands of backups takes its time.
const STORE_DEADLINE: Duration = Duration::from_hours(1);

/// How long that may take which was begun before a stop: less than the 30 s after which Kubernetes kills, so that there is
/// time left to release the lease.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(20);

/// Why the controller ended without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    #[error("cannot listen on {address} for health checks: {source}")]
    Health { address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Metrics(#[from] metrics_server::ServeError),
    #[error(transparent)]
    Webhook(#[from] webhook::ServeError),
    #[error("signals cannot be received: {0}")]
    Signals(std::io::Error),
    #[error("{by} leads now; this replica ends and starts afresh")]
    LeaseTaken { by: String },
}

/// Runs until a signal says stop. Whatever goes wrong with the cluster is waited out.
pub async fn run(options: Options) -> Result<(), ControllerError> {
    let stop = stop_on_signal()?;
    let readiness = Readiness::default();
    let metrics = Metrics::new();
    let (client_sender, client) = watch::channel(None);
    health::serve(options.health_address, readiness.clone(), stop.clone())
        .await
        .map_err(|source| ControllerError::Health { address: options.health_address, source })?;
    if let Some(address) = options.metrics_address {
        metrics_server::serve(address, metrics.clone(), client.clone(), stop.clone()).await?;
    }
    if let Some(address) = options.webhook_address {
        webhook::serve(address, options.webhook_tls.clone(), client, stop.clone()).await?;
    }
    let context = Context { options, readiness, metrics, stop, client: client_sender };
    tracing::info!(scope = %context.options.scope, version = env!("CARGO_PKG_VERSION"), "the controller starts");
    loop {
        match Box::pin(context.term()).await {
            Lost::Stopped => break,
            Lost::Taken { by } => return Err(ControllerError::LeaseTaken { by }),
            Lost::NotRenewed { problem } => {
                context.metrics.set_leading(false);
                tracing::error!(problem, "the lease could not be renewed; nothing is worked on until it can be");
            }
        }
    }
    tracing::info!("the controller ends");
    Ok(())
}

struct Context {
    options: Options,
    readiness: Readiness,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    client: watch::Sender<Option<Client>>,
}

impl Context {
    /// One term: from waiting for a usable cluster to the end of leading it.
    async fn term(&self) -> Lost {
        self.readiness.forget(caches::GATE);
        self.readiness.waits(startup::GATE, "it is not known yet whether the cluster can be used");
        if self.options.leader_election {
            self.readiness.waits(LEASE, "it is not known yet who leads");
        }
        let usable = self.stop.run_until_cancelled(Box::pin(startup::wait(&self.options, &self.readiness))).await;
        let Some(Usable { client, unlimited, config, lease_namespace }) = usable else { return Lost::Stopped };
        self.client.send_replace(Some(unlimited.clone()));
        if !self.options.leader_election {
            Box::pin(self.work(client, config, lease_namespace)).await;
            return Lost::Stopped;
        }
        let Options { lease_name, identity, .. } = &self.options;
        let mut elector = Elector::new(unlimited, &lease_namespace, lease_name.as_str(), identity, Timing::default());
        if self.stop.run_until_cancelled(self.win(&mut elector)).await.is_none() {
            return Lost::Stopped;
        }
        tracing::info!(identity, "this replica leads");
        let finished = CancellationToken::new();
        let work = async {
            Box::pin(self.work(client, config, lease_namespace.clone())).await;
            finished.cancel();
            std::future::pending().await
        };
        tokio::select! {
            // this drops the work and so ends it at once: without the lease nothing may be written. After the work has
            // finished by itself, it releases the lease, so that the next leader need not wait for its end
            lost = elector.hold(&finished) => lost,
            lost = work => lost,
        }
    }

    async fn win(&self, elector: &mut Elector) {
        let mut known = None;
        let standing_by = |seen: Result<&str, &str>| match seen {
            Ok(holder) => {
                self.readiness.passed(LEASE);
                if known.as_deref() != Some(holder) {
                    tracing::info!(leader = holder, "another replica leads; standing by");
                    known = Some(holder.to_owned());
                }
            }
            Err(problem) => {
                if self.readiness.waits(LEASE, problem) {
                    tracing::warn!(problem, "waiting for the lease");
                }
            }
        };
        elector.acquire(standing_by).await;
    }

    /// Works on everything until told to stop, then ends what was begun.
    async fn work(&self, client: Client, config: kube::Config, home: String) {
        self.readiness.waits(caches::GATE, "all objects are being listed");
        self.readiness.passed(LEASE);
        self.metrics.set_leading(true);
        let queues = Queues::default();
        // weak: they hold the caches, whose watches tell them, and all of it has to end with this term
        let sources: Arc<OnceLock<Weak<GitSources>>> = Arc::default();
        let neighbours: Arc<OnceLock<Weak<Components>>> = Arc::default();
        let users: Arc<OnceLock<Weak<Instances>>> = Arc::default();
        let at_work: Arc<OnceLock<Weak<Operations>>> = Arc::default();
        let on_change: OnChange = {
            let (queues, sources, neighbours) = (queues.clone(), sources.clone(), neighbours.clone());
            let (users, at_work) = (users.clone(), at_work.clone());
            Arc::new(move |kind, key, meta| {
                queues.changed(kind, key, meta);
                match (kind, at_work.get().and_then(Weak::upgrade)) {
                    (Kind::Operation, Some(operations)) => operations.touched(key),
                    (Kind::Instance, Some(operations)) => operations.instance_touched(key),
                    _ => {}
                }
                if let (Kind::Component, Some(components)) = (kind, neighbours.get().and_then(Weak::upgrade)) {
                    components.neighbours(key).iter().for_each(|other| queues.of(kind).add(other));
                }
                let users = users.get().and_then(Weak::upgrade);
                if let (Kind::GitSource, Some(instances)) = (kind, &users) {
                    instances.of_changed_source(key).iter().for_each(|one| queues.of(Kind::Instance).add(one));
                }
                if let (Kind::BackupPolicy, Some(instances)) = (kind, &users) {
                    instances.of_changed_policy(key).iter().for_each(|one| queues.of(Kind::Instance).add(one));
                }
                let sources = sources.get().and_then(Weak::upgrade);
                let touched = sources.as_ref().and_then(|sources| sources.touched(&id_of(kind, key)?));
                let ended = sources.as_ref().and_then(|sources| sources.ended(kind, key));
                for source in touched.into_iter().chain(ended) {
                    queues.of(Kind::GitSource).add(&source);
                }
            })
        };
        let on_part: OnPart = {
            let queues = queues.clone();
            Arc::new(move |meta| queues.part_changed(Some(meta)))
        };
        let caches = Arc::new(Caches::start(&client, &self.options.scope, &on_change, &on_part));
        let workloads = Workloads::start(&client, &self.options.scope, &queues);
        let Some(workloads) = self.stop.run_until_cancelled(workloads).await else { return };
        let measure = caches.clone().measure(self.metrics.clone(), self.readiness.clone());
        let _measuring = AbortOnDropHandle::new(tokio::spawn(measure));
        let synced = async { tokio::join!(caches.synced(), workloads.synced()) };
        if self.stop.run_until_cancelled(synced).await.is_none() {
            return;
        }
        tracing::info!(objects = caches.len(), "all objects are known");
        let narrow = matches!(self.options.scope, Scope::Namespaces(_));
        let events = Events::new(client.clone(), &self.options.identity, narrow.then_some(home.as_str()));
        let (scope, agent_image) = (self.options.scope.clone(), self.options.agent_image.clone());
        let shared = || (client.clone(), caches.clone(), queues.clone(), events.clone());
        let agents = Arc::new(Agents::new(client.clone(), &home));
        let known = Arc::new(Known::new(client.clone(), queues.clone()));
        let rules: Arc<Cue> = Arc::default();
        let pushes: Arc<Pushes> = Arc::default();
        let (extensions, instances, operations) = {
            let (client, caches, queues, events) = shared();
            let extensions = Extensions::new(client, caches, queues, events, (scope, home.clone()), rules.clone());
            let (client, caches, queues, events) = shared();
            let packages = extensions.packages();
            let agents = (agents.clone(), workloads.pods.clone(), known.clone());
            let (shelf, place) = ((packages.clone(), rules), (home, agent_image));
            let order = (queues, pushes.clone());
            let told = (events, self.metrics.clone());
            let instances = Instances::new(client, caches, order, told, shelf, agents.clone(), place);
            let (client, caches, queues, events) = shared();
            let operations = Operations::new(client, caches, queues, events, packages, agents);
            (Arc::new(extensions), Arc::new(instances), Arc::new(operations))
        };
        let _ = users.set(Arc::downgrade(&instances));
        let _ = at_work.set(Arc::downgrade(&operations));
        let _noticing = AbortOnDropHandle::new(tokio::spawn(instances.clone().notice_kinds()));
        let hooks = Hooks::new(caches.clone(), extensions.packages(), workloads.pods.clone(), agents.clone());
        let hooks = Arc::new(hooks);
        let components = Components::new(client.clone(), caches.clone(), events.clone(), hooks.clone());
        let components = Arc::new(components);
        let _ = neighbours.set(Arc::downgrade(&components));
        let backups = Backups::new(caches.clone(), events.clone(), known.clone());
        let folders = self.options.repositories_dir.clone();
        let repositories = {
            let (client, caches, _, events) = shared();
            BackupRepositories::new(client, caches, events, known.clone(), folders)
        };
        let policies = {
            let (client, caches, _, events) = shared();
            let (pods, agents, metrics) = (workloads.pods.clone(), agents.clone(), self.metrics.clone());
            let around = Around { caches, pods, agents, packages: extensions.packages(), known, metrics };
            BackupPolicies::new(client, events, around)
        };
        let pod_sets =
            PodSets::new(client.clone(), caches.clone(), workloads, events.clone(), Remote::new(agents, hooks));
        let _secrets = {
            let (queues, sources) = (queues.clone(), sources.clone());
            let on_secret: OnSecret = Arc::new(move |secret| {
                let sources = sources.get().and_then(Weak::upgrade);
                let readers = sources.map(|sources| sources.secret_changed(secret)).unwrap_or_default();
                for source in &readers {
                    queues.of(Kind::GitSource).add(source);
                }
            });
            Secrets::start(&client, &self.options.scope, &on_secret)
        };
        let git_sources =
            Arc::new(GitSources::new((client, config), caches, events, (queues.clone(), pushes), &self.options));
        let _ = sources.set(Arc::downgrade(&git_sources));
        let bounds = Bounds { workers: self.options.workers, deadline: RECONCILE_DEADLINE, grace: SHUTDOWN_GRACE };
        let run = Run { queues, bounds, metrics: self.metrics.clone(), stop: self.stop.clone() };
        let waiting = Bounds { workers: bounds.workers.max(WAITING_AT_ONCE), ..bounds };
        let templates = Bounds { workers: bounds.workers.max(TEMPLATES_AT_ONCE), ..bounds };
        let stores = Bounds { deadline: STORE_DEADLINE, ..waiting };
        tokio::join!(
            run.each_within(waiting, git_sources, Kind::GitSource),
            run.each(extensions, Kind::Extension),
            run.each(instances, Kind::Instance),
            run.each_within(templates, components, Kind::Component),
            run.each_within(templates, Arc::new(pod_sets), Kind::PodSet),
            run.each_within(stores, Arc::new(repositories), Kind::BackupRepository),
            run.each(Arc::new(policies), Kind::BackupPolicy),
            run.each(Arc::new(backups), Kind::Backup),
            run.each_within(waiting, operations, Kind::Operation),
        );
        self.metrics.set_leading(false);
    }
}

/// What the controllers of all kinds share while they run.
struct Run {
    queues: Queues,
    bounds: Bounds,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
}

impl Run {
    /// Works on every object of a kind until told to stop.
    async fn each<R: Reconciler>(&self, reconciler: Arc<R>, kind: Kind) {
        self.each_within(self.bounds, reconciler, kind).await;
    }

    async fn each_within<R: Reconciler>(&self, bounds: Bounds, reconciler: Arc<R>, kind: Kind) {
        let queue = self.queues.of(kind).clone();
        frame::run(reconciler, queue, bounds, self.metrics.clone(), self.stop.clone()).await;
    }
}

/// The object as sources name it, where a repository may hold its kind.
fn id_of(kind: Kind, key: &Key) -> Option<ObjectId> {
    let kind = ObjectKind::ALL.into_iter().find(|known| known.ours() == Some(kind))?;
    Some(ObjectId { kind, namespace: key.namespace.clone(), name: key.name.clone() })
}

/// A token that SIGTERM and SIGINT cancel. A second one ends the process at once.
fn stop_on_signal() -> Result<CancellationToken, ControllerError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(ControllerError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ControllerError::Signals)?;
    let stop = CancellationToken::new();
    let cancelled = stop.clone();
    tokio::spawn(async move {
        for first in [true, false] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if first {
                tracing::info!("asked to stop; ending what was begun");
                cancelled.cancel();
            } else {
                std::process::exit(130);
            }
        }
    });
    Ok(stop)
}
