//! What has to be there before anything can be done: a configuration, a cluster, our definitions, our permissions. What
//! is missing is said within seconds and waited for.

use std::pin::pin;
use std::time::Duration;

use kube::Client;
use tokio::time::{sleep, timeout};

use super::Options;
use crate::cluster::discovery::{self, Definition, DefinitionState, definitions, optional_kinds};
use crate::cluster::problem::Problem;
use crate::cluster::{access, client, watching};
use crate::serve::health::Readiness;

/// The readiness gate this room keeps.
pub const GATE: &str = "cluster";

/// How long the API server may take for one of these questions.
const PATIENCE: Duration = Duration::from_secs(6);
/// When all of them together take longer, that is said: nobody waits ten seconds for a word. A cluster that is slow can be
/// worked with all the same.
const SAID_AFTER: Duration = Duration::from_secs(8);
const RETRY: Duration = Duration::from_secs(1);

/// A cluster that can be worked with.
pub struct Usable {
    pub client: Client,
    /// For the lease and for checks, which must not wait behind other requests.
    pub unlimited: Client,
    pub config: kube::Config,
    pub lease_namespace: String,
}

/// Tries until the cluster is usable.
pub async fn wait(options: &Options, readiness: &Readiness) -> Usable {
    let say = |problem: &Problem| {
        if readiness.waits(GATE, problem.to_string()) {
            tracing::error!(place = problem.place, remedy = problem.remedy, "waiting: {}", problem.what);
        }
    };
    loop {
        let mut trying = pin!(attempt(options));
        let outcome = if let Ok(outcome) = timeout(SAID_AFTER, trying.as_mut()).await {
            outcome
        } else {
            say(&late(format!("the API server is slow: not all was answered within {} s", SAID_AFTER.as_secs())));
            trying.await
        };
        match outcome {
            Ok(usable) => {
                readiness.passed(GATE);
                return usable;
            }
            Err(problem) => say(&problem),
        }
        sleep(RETRY).await;
    }
}

async fn attempt(options: &Options) -> Result<Usable, Problem> {
    let config = watching::impatient(options.target.config().await?);
    let server = config.cluster_url.to_string();
    let lease_namespace = options.lease_namespace.as_ref().map(ToString::to_string);
    let lease_namespace = lease_namespace.unwrap_or_else(|| config.default_namespace.clone());
    let unlimited = client::connect_within(config.clone(), None, PATIENCE).await?;
    in_time(&server, unlimited.apiserver_version()).await?;
    check_definitions(&in_time(&server, definitions(&unlimited)).await?)?;
    let needed = access::needed(&options.scope, &lease_namespace);
    check_permissions(&in_time(&server, access::missing(&unlimited, &access::Account::Mine, needed)).await?)?;
    for namespace in in_time(&server, discovery::missing_namespaces(&unlimited, &options.scope)).await? {
        let remedy = "create it, or take it out of --namespaces";
        tracing::warn!(namespace, remedy, "a namespace to be looked after is not there");
    }
    let optional = timeout(PATIENCE, optional_kinds(&unlimited)).await;
    if optional.is_err() {
        tracing::warn!("the API server does not say which optional kinds are installed");
    }
    for (kind, answer) in optional.into_iter().flatten() {
        match answer {
            Ok(true) => {}
            Ok(false) => tracing::info!(?kind, consequence = kind.use_of_it(), "an optional kind is not installed"),
            Err(problem) => tracing::warn!(?kind, %problem, "nobody can tell whether an optional kind is installed"),
        }
    }
    let client = client::connect_within(config.clone(), Some(options.limits), PATIENCE).await?;
    Ok(Usable { client, unlimited, config, lease_namespace })
}

/// The answer of the API server at `place`, or why there is none.
async fn in_time<T>(place: &str, question: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Problem> {
    match timeout(PATIENCE, question).await {
        Ok(answer) => answer.map_err(|error| Problem::from_kube(&error).at(place)),
        Err(_) => Err(late(format!("the API server did not answer within {} s", PATIENCE.as_secs())).at(place)),
    }
}

fn late(what: String) -> Problem {
    Problem::new(what, "check that the cluster runs, that its address is right and that no firewall is in between")
}

fn check_definitions(definitions: &[Definition]) -> Result<(), Problem> {
    let named = |wanted: DefinitionState| {
        let kinds = definitions.iter().filter(|one| one.state == wanted).map(|one| one.kind.plural());
        kinds.collect::<Vec<_>>().join(", ")
    };
    let install = discovery::remedy(definitions, None);
    let missing = named(DefinitionState::Missing);
    if !missing.is_empty() {
        return Err(Problem::new(format!("the cluster lacks the definitions of {missing}"), install));
    }
    let not_served = named(DefinitionState::NotServed);
    if !not_served.is_empty() {
        return Err(Problem::new(
            format!("the cluster does not serve {not_served} yet"),
            "this passes by itself; if not, look at the conditions of the definitions: kubectl describe crd",
        ));
    }
    let different = named(DefinitionState::Different);
    if !different.is_empty() {
        tracing::warn!(kinds = different, remedy = install, "the cluster's definitions are not this version's");
    }
    Ok(())
}

fn check_permissions(missing: &[access::Permission]) -> Result<(), Problem> {
    if missing.is_empty() {
        return Ok(());
    }
    let all = access::summary(missing);
    let more = if all.len() > 6 { format!(" and {} more", all.len() - 6) } else { String::new() };
    let shown: Vec<_> = all.into_iter().take(6).collect();
    Err(Problem::new(
        format!("this account may not {}{more}", shown.join("; ")),
        "grant it: the Helm chart's roles hold everything; `midship doctor` lists all that is missing",
    ))
}
