//! `midship controller`: runs the controller until it is told to stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};

use super::Outcome;
use super::connection::Connection;
use super::error::CommandError;
use crate::cluster::Scope;
use crate::cluster::rate_limit::Limits;
use crate::controller::{self, Options};
use crate::names::{ClusterName, NamespaceName, ObjectName};
use crate::serve::telemetry::{self, LogFormat};

/// The image that belongs to this version.
const AGENT_IMAGE: &str = concat!("registry.midship.dev/midship:", env!("CARGO_PKG_VERSION"));

#[derive(Args)]
pub struct Arguments {
    /// Namespaces to look after, separated by commas; the whole cluster where left out.
    #[arg(long, env = "MIDSHIP_NAMESPACES", value_delimiter = ',', value_parser = namespace)]
    namespaces: Vec<Option<NamespaceName>>,

    /// Address of /livez and /readyz.
    #[arg(long, env = "MIDSHIP_HEALTH_ADDRESS", default_value = "0.0.0.0:8081")]
    health_address: SocketAddr,

    /// Address of /metrics (HTTPS, with a ServiceAccount's token); no metrics where left out.
    #[arg(long, env = "MIDSHIP_METRICS_ADDRESS")]
    metrics_address: Option<SocketAddr>,

    /// Address for webhooks of forges, POST /hooks/<namespace>/<GitSource>; none are taken where left out.
    #[arg(long, env = "MIDSHIP_WEBHOOK_ADDRESS")]
    webhook_address: Option<SocketAddr>,

    /// Folder with tls.crt and tls.key for webhooks; without it they come as plain HTTP, for a proxy that ends TLS.
    #[arg(long, env = "MIDSHIP_WEBHOOK_TLS", value_name = "FOLDER", requires = "webhook_address")]
    webhook_tls: Option<PathBuf>,

    /// Work only while this replica holds the lease.
    #[arg(long, env = "MIDSHIP_LEADER_ELECT", default_value_t = true, action = ArgAction::Set)]
    leader_elect: bool,

    /// Namespace of the lease; the pod's own where left out.
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAME")]
    lease_namespace: Option<NamespaceName>,

    /// Name of the lease.
    #[arg(long, env = "MIDSHIP_LEASE_NAME", value_name = "NAME", default_value = "midship")]
    lease_name: ObjectName,

    /// This replica's name in the lease; the host's where left out.
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    identity: Option<String>,

    /// Name of this cluster, for the audit branch.
    #[arg(long, env = "MIDSHIP_CLUSTER_NAME", value_name = "NAME", default_value = "default")]
    cluster_name: ClusterName,

    /// Objects of a kind that are worked on at the same time.
    #[arg(long, env = "MIDSHIP_WORKERS", value_name = "N", default_value_t = 8)]
    workers: usize,

    /// Requests per second to the API server.
    #[arg(long, env = "MIDSHIP_QPS", value_name = "N", default_value_t = 500.0)]
    qps: f64,

    /// Requests that may go at once after a quiet time.
    #[arg(long, env = "MIDSHIP_BURST", value_name = "N", default_value_t = 1000)]
    burst: u32,

    /// Folder for copies of repositories. It may be lost at any time.
    #[arg(long, env = "MIDSHIP_CACHE_DIR", value_name = "FOLDER", default_value = "/var/cache/midship")]
    cache_dir: PathBuf,

    /// Image that agents are copied from into the pods of instances.
    #[arg(long, env = "MIDSHIP_AGENT_IMAGE", value_name = "IMAGE", default_value = AGENT_IMAGE)]
    agent_image: String,

    /// Folder in which the file systems of backup repositories are mounted, as NAMESPACE/REPOSITORY.
    #[arg(long, env = "MIDSHIP_REPOSITORIES_DIR", value_name = "FOLDER", default_value = "/repositories")]
    repositories_dir: PathBuf,

    /// Accept repositories over plain http:// and file://, for development.
    #[arg(long, env = "MIDSHIP_ALLOW_INSECURE_GIT")]
    allow_insecure_git: bool,

    /// Format of the logs.
    #[arg(long, env = "MIDSHIP_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
    log_format: LogFormat,

    /// What is logged: error, warn, info, debug, trace, or a filter such as midship=debug,kube=warn.
    #[arg(long, env = "RUST_LOG", value_name = "LEVEL", default_value = "info")]
    log_level: String,

    /// Collector that traces are sent to by OTLP over HTTP, such as http://otel:4318.
    #[arg(long, env = "MIDSHIP_OTLP_ENDPOINT", value_name = "URL")]
    otlp_endpoint: Option<String>,
}

/// A namespace; an empty word is none, so that an empty environment variable means the whole cluster.
fn namespace(text: &str) -> Result<Option<NamespaceName>, crate::names::NameError> {
    if text.is_empty() { Ok(None) } else { NamespaceName::parse(text).map(Some) }
}

pub fn run(arguments: Arguments, connection: Connection) -> Result<Outcome, CommandError> {
    let Arguments { qps, burst, workers, .. } = arguments;
    if !(qps.is_finite() && qps > 0.0) || burst == 0 || workers == 0 {
        return Err(CommandError::new("nothing could ever be done: --qps, --burst and --workers must be more than 0")
            .at(format!("--qps {qps} --burst {burst} --workers {workers}"))
            .remedy("leave them out: the defaults are right for most clusters"));
    }
    let _telemetry = telemetry::start(arguments.log_format, &arguments.log_level, arguments.otlp_endpoint.as_deref())?;
    let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned());
    let identity = arguments.identity.or_else(|| host().ok()).unwrap_or_else(|| "midship".to_owned());
    let options = Options {
        target: connection.target(),
        scope: Scope::from_namespaces(arguments.namespaces.into_iter().flatten().collect()),
        health_address: arguments.health_address,
        metrics_address: arguments.metrics_address,
        webhook_address: arguments.webhook_address,
        webhook_tls: arguments.webhook_tls,
        leader_election: arguments.leader_elect,
        lease_namespace: arguments.lease_namespace.or(connection.namespace),
        lease_name: arguments.lease_name,
        identity: format!("{identity}_{}", std::process::id()),
        cluster_name: arguments.cluster_name,
        workers,
        limits: Limits { per_second: qps, burst },
        cache_dir: arguments.cache_dir,
        agent_image: arguments.agent_image,
        repositories_dir: arguments.repositories_dir,
        allow_insecure_git: arguments.allow_insecure_git,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(CommandError::runtime)?;
    let ended = runtime.block_on(controller::run(options));
    // a look into a repository that hangs would be waited for
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(ended.map(|()| Outcome::Done)?)
}
