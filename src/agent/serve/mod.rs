//! `midship-agent serve`: looks after one pod. Finds out how it is, holds or follows the exclusive role, takes over
//! changed configuration, and does what controllers ask for.

mod backups;
mod config;
mod deeds;
mod disk;
mod engine;
mod farewell;
mod filling;
mod handle;
mod lag;
mod lease;
pub mod mark;
mod observe;
mod parked;
mod peers;
pub mod permit;
mod place;
mod process;
mod publish;
mod readiness;
mod shared;

use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::api;
use super::backup::Backups;
use crate::lifecycle::identity;

pub use handle::Agent;
pub use place::{Place, PlaceError};
use shared::Shared;

/// How long what is under way may take once the agent was told to end, at most; the kubelet's grace is usually shorter.
const FAREWELL: Duration = Duration::from_mins(10);
/// Between two tries to offer the API, for as long as there is no certificate.
const API_RETRY: Duration = Duration::from_secs(2);

/// How `serve` was called.
#[derive(Clone, Debug)]
pub struct Options {
    pub config: PathBuf,
    /// Where PID 1 of the middleware's container listens.
    pub control: PathBuf,
    /// Where the agent listens for those who want to start a process.
    pub socket: PathBuf,
    pub secrets: PathBuf,
    pub tls: PathBuf,
    /// The agent's own certificate.
    pub agent_tls: PathBuf,
    /// A kubeconfig file, where the agent runs in no pod.
    pub kubeconfig: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error("cannot start: {0}")]
    Start(std::io::Error),
    #[error("cannot speak to Kubernetes: {0}")]
    Kubernetes(String),
    #[error("cannot listen on {path}: {source}")]
    Listen { path: PathBuf, source: std::io::Error },
}

/// Runs until told to end.
pub fn run(options: Options) -> Result<(), ServeError> {
    // what its client says of each failed request is told once, with what it means, by whoever asked
    let filter = tracing_subscriber::EnvFilter::new("info,kube_client=off");
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let _ = log.with_ansi(false).with_target(false).try_init();
    // before anything opens a connection: one TLS implementation for all
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // one thread will do: whatever takes long waits for others
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .thread_keep_alive(Duration::from_secs(2))
        .build()
        .map_err(ServeError::Start)?;
    let result = runtime.block_on(serve(options));
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

async fn serve(options: Options) -> Result<(), ServeError> {
    let mut terminated = signal(SignalKind::terminate()).map_err(ServeError::Start)?;
    let mut interrupted = signal(SignalKind::interrupt()).map_err(ServeError::Start)?;
    let (inbox, events) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared::new(options, inbox).await?);
    let listener = permit::listen(&shared.options.socket)
        .map_err(|source| ServeError::Listen { path: shared.options.socket.clone(), source })?;
    let stop = CancellationToken::new();
    let around: Arc<Shared> = Arc::clone(&shared);
    let backups = Backups::new(around);
    tokio::spawn(permit::serve(listener, Arc::clone(&shared), Arc::clone(&backups)));
    tokio::spawn(process::follow(Arc::clone(&shared)));
    if let Some(port) = shared.place().config.ready_port {
        tokio::spawn(readiness::serve(Arc::clone(&shared), port));
    }
    tokio::spawn(observe::run(Arc::clone(&shared)));
    tokio::spawn(lag::run(Arc::clone(&shared)));
    tokio::spawn(filling::run(Arc::clone(&shared)));
    tokio::spawn(config::follow(Arc::clone(&shared)));
    let publisher = tokio::spawn(publish::run(Arc::clone(&shared)));
    if shared.place().handed_out() {
        tokio::spawn(lease::follow(Arc::clone(&shared)));
    }
    let api = tokio::spawn(offer(Arc::clone(&shared), Arc::clone(&backups), stop.clone()));
    let mut engine = tokio::spawn(engine::run(Arc::clone(&shared), events));
    let told = async {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
    };
    tokio::select! {
        () = told => {
            tracing::info!("told to end");
            // what is frozen is thawed while the process still runs
            backups.stop().await;
            farewell::wait(&shared).await;
            shared.stop();
            if tokio::time::timeout(FAREWELL, &mut engine).await.is_err() {
                tracing::warn!("what was under way did not end in time");
            }
        }
        _ = &mut engine => tracing::error!("the agent's work broke off; it ends, so that it is started anew"),
    }
    // what was decided last is still to be told
    shared.say_goodbye();
    let _ = tokio::time::timeout(Duration::from_secs(2), publisher).await;
    stop.cancel();
    api.abort();
    Ok(())
}

/// Offers the API as soon as there is a certificate for it.
async fn offer(shared: Arc<Shared>, backups: Arc<Backups>, stop: CancellationToken) {
    let place = shared.place();
    let settings = api::Settings {
        address: SocketAddr::from((Ipv6Addr::UNSPECIFIED, place.config.port)),
        certificates: shared.options.agent_tls.clone(),
        own_name: identity::agents_of(place.config.instance.as_str(), place.config.namespace.as_str()),
        bounds: api::Bounds::default(),
    };
    let mut said = String::new();
    loop {
        match api::serve(
            Arc::new(Agent::new(Arc::clone(&shared), Arc::clone(&backups))),
            settings.clone(),
            stop.clone(),
        )
        .await
        {
            Ok(serving) => {
                if serving.ended.await.is_err() {
                    tracing::error!("the API broke off; it is offered anew");
                }
            }
            Err(error) => {
                let error = error.to_string();
                if said != error {
                    tracing::warn!(error, "the API cannot be offered yet");
                    said = error;
                }
            }
        }
        if stop.run_until_cancelled(tokio::time::sleep(API_RETRY)).await.is_none() {
            return;
        }
    }
}
