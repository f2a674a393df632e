//! The flags that say which cluster is meant, as kubectl has them.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use kube::{Client, Config};
use tokio::time::timeout;

use super::error::CommandError;
use crate::cluster::client::{Target, connect};
use crate::cluster::problem::Problem;

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Cluster")]
pub struct Connection {
    /// File with the cluster's address and credentials.
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig.
    #[arg(long, global = true, value_name = "NAME")]
    context: Option<String>,

    /// Cluster of the kubeconfig.
    #[arg(long, global = true, value_name = "NAME")]
    cluster: Option<String>,

    /// User of the kubeconfig.
    #[arg(long, global = true, value_name = "NAME")]
    user: Option<String>,

    /// Namespace; the context's own where left out.
    #[arg(short, long, global = true, value_name = "NAME")]
    pub namespace: Option<String>,

    /// How long the API server may take to answer.
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 8)]
    request_timeout: u64,
}

/// A cluster that answers.
pub struct Connected {
    pub client: Client,
    pub config: Config,
    pub server_version: String,
}

impl Connection {
    pub fn target(&self) -> Target {
        Target {
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
            cluster: self.cluster.clone(),
            user: self.user.clone(),
        }
    }

    /// Connects, and makes sure that there is an API server.
    pub async fn connect(&self) -> Result<Connected, CommandError> {
        let config = self.target().config().await?;
        let server = config.cluster_url.to_string();
        let client = connect(config.clone(), None)?;
        let info = self.in_time(&server, client.apiserver_version()).await?;
        Ok(Connected { client, config, server_version: info.git_version })
    }

    /// The answer of the API server at `server`, or why there is none.
    pub async fn in_time<T>(
        &self,
        server: &str,
        question: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, CommandError> {
        match timeout(Duration::from_secs(self.request_timeout), question).await {
            Ok(answer) => Ok(answer.map_err(|error| Problem::from_kube(&error).at(server))?),
            Err(_) => Err(CommandError::new(format!(
                "the API server did not answer within {} s",
                self.request_timeout
            ))
            .at(server)
            .remedy(
                "check that the cluster runs and that no firewall is in between, or allow more with --request-timeout",
            )),
        }
    }
}
