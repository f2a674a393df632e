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
                self.check_names(&kubeconfig).map_err(|problem| problem.at(path.display().to_string()))?;
                Config::from_custom_kubeconfig(kubeconfig, &options)
                    .await
                    .map_err(|error| Problem::kubeconfig(path, &error))?
            }
            // a pod's own account, unless somebody asks for more
            None if !chosen && in_pod() && !kubeconfig_exists() => {
                Config::incluster().map_err(|error| Problem::own_account(&error))?
            }
            None => {
                let kubeconfig = Kubeconfig::read().map_err(|error| Problem::no_kubeconfig(&places(), &error))?;
                self.check_names(&kubeconfig).map_err(|problem| problem.at(places()))?;
                Config::from_custom_kubeconfig(kubeconfig, &options)
                    .await
                    .map_err(|error| Problem::no_kubeconfig(&places(), &error))?
            }
        };
        config.connect_timeout = Some(Duration::from_secs(5));
        Ok(config)
    }

    /// Every name that was given has to be in the kubeconfig.
    fn check_names(&self, kubeconfig: &Kubeconfig) -> Result<(), Problem> {
        let contexts: Vec<&str> = kubeconfig.contexts.iter().map(|context| context.name.as_str()).collect();
        let clusters: Vec<&str> = kubeconfig.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
        let users: Vec<&str> = kubeconfig.auth_infos.iter().map(|user| user.name.as_str()).collect();
        check_name("context", self.context.as_deref(), &contexts)?;
        check_name("cluster", self.cluster.as_deref(), &clusters)?;
        check_name("user", self.user.as_deref(), &users)
    }
}

fn in_pod() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

fn kubeconfig_exists() -> bool {
    std::env::var_os("KUBECONFIG").is_some_and(|value| !value.is_empty())
        || home_kubeconfig().is_some_and(|path| path.exists())
}

fn home_kubeconfig() -> Option<PathBuf> {
    std::env::home_dir().map(|home| home.join(".kube/config"))
}

/// Where a kubeconfig is looked for.
fn places() -> String {
    let named = std::env::var("KUBECONFIG").ok().filter(|value| !value.is_empty());
    let home = || home_kubeconfig().map_or_else(|| "~/.kube/config".to_owned(), |path| path.display().to_string());
    named.map_or_else(home, |named| format!("KUBECONFIG={named}"))
}

fn check_name(what: &str, wanted: Option<&str>, known: &[&str]) -> Result<(), Problem> {
    let Some(wanted) = wanted.filter(|wanted| !known.contains(wanted)) else { return Ok(()) };
    let meant = known.iter().min_by_key(|name| strsim::damerau_levenshtein(wanted, name));
    let remedy = match meant {
        Some(meant) if strsim::damerau_levenshtein(wanted, meant) <= 3 => format!("did you mean {meant:?}?"),
        Some(_) => format!("choose one of: {}", known.join(", ")),
        None => "name another kubeconfig with --kubeconfig or KUBECONFIG: this one has none".to_owned(),
    };
    Err(Problem::new(format!("the kubeconfig has no {what} {wanted:?}"), remedy))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_name_is_answered_with_the_one_that_was_meant() {
        let problem = check_name("context", Some("stagin"), &["production", "staging"]).expect_err("it is not there");
        assert_eq!(problem.to_string(), "the kubeconfig has no context \"stagin\"; did you mean \"staging\"?");
        let problem = check_name("user", Some("somebody"), &["admin", "me"]).expect_err("it is not there");
        assert_eq!(problem.remedy, "choose one of: admin, me");
        assert!(check_name("user", Some("me"), &["admin", "me"]).is_ok());
        assert!(check_name("user", None, &[]).is_ok());
    }
}
