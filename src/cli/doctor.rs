//! `midship doctor`: is everything well, and if not, what mends it.

use clap::Args;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use serde::Serialize;

use super::Outcome;
use super::connection::{Connected, Connection};
use super::error::CommandError;
use super::output::{self, Cell, Format, Table, Tone};
use crate::cluster::discovery::{DefinitionState, OptionalKind, definitions, optional_kinds};
use crate::cluster::{Scope, access};
use crate::names::NamespaceName;

/// The oldest Kubernetes that has what Midship cannot do without.
const OLDEST: (u32, u32) = (1, 21);
/// A difference that makes leases and certificates unreliable.
const CLOCK_SKEW_SECONDS: i64 = 5;

#[derive(Args)]
pub struct Arguments {
    /// Namespaces that Midship looks after; the whole cluster where left out.
    #[arg(long, value_delimiter = ',')]
    namespaces: Vec<NamespaceName>,

    /// Namespace Midship is installed in.
    #[arg(long, value_name = "NAME", default_value = "midship-system")]
    installed_in: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
enum Verdict {
    Ok,
    Warning,
    Failed,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    check: &'static str,
    verdict: Verdict,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Check {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, found: found.into(), remedy: None }
    }

    fn warning(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Warning, found: found.into(), remedy: Some(remedy.into()) }
    }

    fn failed(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Failed, found: found.into(), remedy: Some(remedy.into()) }
    }
}

pub async fn run(arguments: &Arguments, connection: &Connection, format: Format) -> Result<Outcome, CommandError> {
    let cluster = connection.connect().await?;
    let server = cluster.config.cluster_url.to_string();
    let scope = Scope::from_namespaces(arguments.namespaces.clone());
    let mut checks = vec![version(&cluster.server_version), clock(&cluster, connection).await?];
    checks.push(definitions_check(&connection.in_time(&server, definitions(&cluster.client)).await?));
    checks.push(permissions(&cluster, connection, &scope, &arguments.installed_in).await?);
    checks.push(leader(&cluster, connection, &arguments.installed_in).await?);
    checks.extend(optional(&cluster).await);
    output::print(format, &checks, || table(&checks))?;
    let failed = checks.iter().filter(|check| check.verdict == Verdict::Failed).count();
    if failed == 0 {
        return Ok(Outcome::Done);
    }
    let checks = if failed == 1 { "one check failed".to_owned() } else { format!("{failed} checks failed") };
    Err(CommandError::new(checks)
        .at(server)
        .remedy("follow the column TO DO from the top; later checks often depend on earlier ones"))
}

fn table(checks: &[Check]) -> Table {
    let mut table = Table::new(&["CHECK", "VERDICT", "FOUND", "TO DO"]);
    for check in checks {
        let (word, tone) = match check.verdict {
            Verdict::Ok => ("ok", Tone::Good),
            Verdict::Warning => ("warning", Tone::Doubtful),
            Verdict::Failed => ("failed", Tone::Bad),
        };
        let remedy = check.remedy.as_deref().unwrap_or("-");
        table.row(vec![check.check.into(), Cell::new(word, tone), check.found.as_str().into(), remedy.into()]);
    }
    table
}

fn version(found: &str) -> Check {
    let mut numbers = found.trim_start_matches('v').split('.').map_while(|part| part.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) >= OLDEST => Check::ok("Kubernetes", found),
        (Some(_), Some(_)) => {
            Check::failed("Kubernetes", found, format!("upgrade the cluster to {}.{} or later", OLDEST.0, OLDEST.1))
        }
        _ => Check::warning("Kubernetes", found, "the version cannot be read; Midship needs 1.21 or later"),
    }
}

/// Compares our clock with the time in the API server's answer.
async fn clock(cluster: &Connected, connection: &Connection) -> Result<Check, CommandError> {
    let server = cluster.config.cluster_url.to_string();
    let request =
        http::Request::get("/version").body(Vec::new()).map_err(|error| CommandError::new(error.to_string()))?;
    let answer = connection.in_time(&server, cluster.client.send(request.map(Into::into))).await?;
    let theirs = answer
        .headers()
        .get(http::header::DATE)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| DateTimeParser::new().parse_timestamp(text).ok());
    let Some(theirs) = theirs else {
        return Ok(Check::warning(
            "clock",
            "the API server does not say its time",
            "make sure that all nodes keep time by NTP",
        ));
    };
    let apart = Timestamp::now().as_second() - theirs.as_second();
    let found = format!("{} s apart from the API server", apart.abs());
    Ok(if apart.abs() <= CLOCK_SKEW_SECONDS {
        Check::ok("clock", found)
    } else {
        Check::failed("clock", found, "set this machine's clock, best by NTP: leases and certificates depend on it")
    })
}

fn definitions_check(states: &[(crate::api::Kind, DefinitionState)]) -> Check {
    let wrong: Vec<String> = states
        .iter()
        .filter_map(|(kind, state)| match state {
            DefinitionState::Ready => None,
            DefinitionState::Missing => Some(format!("{} missing", kind.plural())),
            DefinitionState::NotServed => Some(format!("{} not served yet", kind.plural())),
            DefinitionState::Different => Some(format!("{} of another version", kind.plural())),
        })
        .collect();
    let install = "midship crds | kubectl apply --server-side -f -";
    if wrong.is_empty() {
        return Check::ok("definitions", format!("all {} kinds", states.len()));
    }
    let usable = states.iter().all(|(_, state)| matches!(state, DefinitionState::Ready | DefinitionState::Different));
    if usable {
        Check::warning("definitions", wrong.join(", "), install)
    } else {
        Check::failed("definitions", wrong.join(", "), install)
    }
}

async fn permissions(
    cluster: &Connected,
    connection: &Connection,
    scope: &Scope,
    installed_in: &str,
) -> Result<Check, CommandError> {
    let server = cluster.config.cluster_url.to_string();
    let needed = access::needed(scope, installed_in);
    let number = needed.len();
    let missing = connection.in_time(&server, access::missing(&cluster.client, needed)).await?;
    if missing.is_empty() {
        return Ok(Check::ok("permissions", format!("all {number} for {scope}")));
    }
    let missing: Vec<String> = missing.iter().map(ToString::to_string).collect();
    Ok(Check::warning(
        "permissions",
        format!("you may not {}", missing.join("; ")),
        "nothing if Midship runs as an account of its own; to run it as you, grant these",
    ))
}

async fn leader(cluster: &Connected, connection: &Connection, namespace: &str) -> Result<Check, CommandError> {
    let server = cluster.config.cluster_url.to_string();
    let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), namespace);
    let lease = connection.in_time(&server, leases.get_opt("midship")).await?;
    let spec = lease.and_then(|lease| lease.spec);
    let install =
        format!("install the controller: helm install midship charts/midship -n {namespace} --create-namespace");
    let Some(spec) = spec else {
        return Ok(Check::failed("leader", format!("no lease in namespace {namespace}"), install));
    };
    let look = format!("look at the controller's logs: kubectl logs -n {namespace} -l app.kubernetes.io/name=midship");
    let Some(holder) = spec.holder_identity.filter(|holder| !holder.is_empty()) else {
        return Ok(Check::failed("leader", "nobody holds the lease", look));
    };
    let age = spec.renew_time.map_or(i64::MAX, |renewed| Timestamp::now().as_second() - renewed.0.as_second());
    let valid = i64::from(spec.lease_duration_seconds.unwrap_or(15));
    Ok(if age <= valid + CLOCK_SKEW_SECONDS {
        Check::ok("leader", format!("{holder}, renewed {age} s ago"))
    } else {
        Check::failed("leader", format!("{holder} has not renewed its lease for {age} s"), look)
    })
}

async fn optional(cluster: &Connected) -> Vec<Check> {
    let found = optional_kinds(&cluster.client).await;
    let check = |kind: OptionalKind| {
        let (group_version, plural) = kind.address();
        let name = format!("{plural} ({group_version})");
        if found.contains(&kind) {
            Check::ok("optional", name)
        } else {
            Check::warning(
                "optional",
                format!("{name} not installed"),
                format!("nothing, if you can do without: {}", kind.use_of_it()),
            )
        }
    };
    OptionalKind::ALL.into_iter().map(check).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_clusters_are_told_apart_from_unknown_ones() {
        assert_eq!(version("v1.36.3").verdict, Verdict::Ok);
        assert_eq!(version("v1.20.15").verdict, Verdict::Failed);
        assert_eq!(version("v1.21.0-eks-abc").verdict, Verdict::Ok);
        assert_eq!(version("something").verdict, Verdict::Warning);
    }
}
