//! The connection to the API server.

use std::path::PathBuf;
use std::time::Duration;

use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tower::buffer::BufferLayer;

use super::problem::Problem;
use super::rate_limit::{Limits, RateLimit};

/// Which cluster is meant: what kubectl calls `--kubeconfig`, `--context`, `--cluster` and `--user`.
#[derive(Clone, Debug, Default)]
pub struct Target {
    pub kubeconfig: Option<PathBuf>,
    pub context: Option<String>,
    pub cluster: Option<String>,
    pub user: Option<String>,
}

impl Target {
    /// Reads the configuration anew: a named kubeconfig, `KUBECONFIG`, `~/.kube/config`, or the pod's own account.
    pub async fn config(&self) -> Result<Config, Problem> {
        let options =
            KubeConfigOptions { context: self.context.clone(), cluster: self.cluster.clone(), user: self.user.clone() };
        let chosen = self.context.is_some() || self.cluster.is_some() || self.user.is_some();
        let mut config = match &self.kubeconfig {
            Some(path) => {
                let kubeconfig = Kubeconfig::read_from(path).map_err(|error| Problem::kubeconfig(path, &error))?;
                Config::from_custom_kubeconfig(kubeconfig, &options)
                    .await
                    .map_err(|error| Problem::kubeconfig(path, &error))?
            }
            None if chosen => {
                Config::from_kubeconfig(&options).await.map_err(|error| Problem::no_kubeconfig(&error))?
            }
            None => Config::infer().await.map_err(|error| Problem::no_kubeconfig(&error))?,
        };
        config.connect_timeout = Some(Duration::from_secs(5));
        Ok(config)
    }
}

/// A client that waits its turn where limits are given.
pub fn connect(config: Config, limits: Option<Limits>) -> Result<Client, Problem> {
    let server = config.cluster_url.to_string();
    let builder = ClientBuilder::try_from(config).map_err(|error| Problem::from_kube(&error).at(&server))?;
    Ok(match limits {
        None => builder.build(),
        Some(limits) => builder.with_layer(&BufferLayer::new(1024)).with_layer(&RateLimit::new(limits)).build(),
    })
}
