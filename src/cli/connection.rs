//! The flags that say which cluster is meant, as kubectl has them.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use kube::{Client, Config};
use tokio::time::timeout;

use super::error::CommandError;
use crate::cluster::client::{Target, connect_within};
use crate::cluster::problem::Problem;
use crate::names::NamespaceName;

/// How long a credential plugin may take at a terminal.
const LOGIN: Duration = Duration::from_mins(2);

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
    pub namespace: Option<NamespaceName>,

    /// How long the API server may take to answer.
    #[arg(long, global = true, value_name = "TIME", default_value = "8s")]
    request_timeout: Patience,
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
        // somebody at a terminal may have to log in
        let login = if std::io::stdin().is_terminal() { LOGIN } else { Duration::ZERO };
        let client = connect_within(config.clone(), None, self.request_timeout.0.max(login)).await?;
        let info = self.in_time(&server, client.apiserver_version()).await?;
        Ok(Connected { client, config, server_version: info.git_version })
    }

    /// The answer of the API server at `server`, or why there is none.
    pub async fn in_time<T>(
        &self,
        server: &str,
        question: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, CommandError> {
        Ok(self.within(server, question).await?.map_err(|error| Problem::from_kube(&error).at(server))?)
    }

    /// What ends soon where the API server answers.
    pub async fn within<T>(&self, server: &str, work: impl Future<Output = T>) -> Result<T, CommandError> {
        timeout(self.request_timeout.0, work).await.map_err(|_| {
            CommandError::new(format!("the API server did not answer within {:?}", self.request_timeout.0))
                .at(server)
                .remedy(
                    "check that the cluster runs and that no firewall is in between, or allow more with --request-timeout",
                )
        })
    }
}

/// How long somebody waits: as kubectl takes it, or a bare number of seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience(pub Duration);

impl FromStr for Patience {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let how = "give a time such as 10s or 1m, or a number of seconds";
        let bare = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let time = if bare { format!("{text}s") } else { text.to_owned() };
        let time: jiff::SignedDuration = time.parse().map_err(|_| how.to_owned())?;
        match Duration::try_from(time) {
            Ok(time) if !time.is_zero() => Ok(Self(time)),
            _ => Err(format!("nothing is answered in no time; {how}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_given_as_kubectl_takes_it() {
        for (text, seconds) in [("10", 10), ("10s", 10), ("1m", 60), ("1m30s", 90), ("1h", 3600)] {
            assert_eq!(text.parse(), Ok(Patience(Duration::from_secs(seconds))), "{text}");
        }
        assert_eq!("500ms".parse(), Ok(Patience(Duration::from_millis(500))));
        for text in ["", "0", "0s", "-1s", "soon", "1e3", "99999999999999999999"] {
            let told = text.parse::<Patience>().expect_err(text);
            assert!(told.contains("such as 10s or 1m"), "{text}: {told}");
        }
    }
}
