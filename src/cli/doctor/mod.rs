//! `midship doctor`: is everything well, and if not, what mends it.

mod home;

use clap::Args;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use serde::Serialize;

use super::Outcome;
use super::connection::{Connected, Connection};
use super::error::CommandError;
use super::output::{self, Cell, Format, Table, Tone};
use crate::cluster::access::{self, Account};
use crate::cluster::discovery::{
    Definition, DefinitionState, OptionalKind, definitions, missing_namespaces, optional_kinds, remedy,
};
use crate::cluster::problem::Problem;
use crate::names::{NamespaceName, ObjectName};
use home::Home;

/// The oldest Kubernetes that has what Midship cannot do without.
const OLDEST: (u32, u32) = (1, 29);
/// A difference that makes leases and certificates unreliable.
const CLOCK_SKEW_SECONDS: i64 = 5;

#[derive(Args)]
pub struct Arguments {
    /// Namespaces that Midship looks after; those of its Deployment where left out.
    #[arg(long, value_delimiter = ',')]
    namespaces: Vec<NamespaceName>,

    /// Namespace Midship is installed in; that of its Deployment, or midship-system, where left out.
    #[arg(long, value_name = "NAME")]
    installed_in: Option<NamespaceName>,

    /// Name of the controller's lease and ServiceAccount there; those of its Deployment, or midship, where left out.
    #[arg(long, value_name = "NAME")]
    installed_as: Option<ObjectName>,
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
    #[serde(rename = "check")]
    about: &'static str,
    verdict: Verdict,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Check {
    fn ok(about: &'static str, found: impl Into<String>) -> Self {
        Self { about, verdict: Verdict::Ok, found: found.into(), remedy: None }
    }

    fn warning(about: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { about, verdict: Verdict::Warning, found: found.into(), remedy: Some(remedy.into()) }
    }

    fn failed(about: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { about, verdict: Verdict::Failed, found: found.into(), remedy: Some(remedy.into()) }
    }
}

pub async fn run(arguments: &Arguments, connection: &Connection, format: Format) -> Result<Outcome, CommandError> {
    let cluster = connection.connect().await?;
    let server = cluster.config.cluster_url.to_string();
    let found = Home::find(&cluster.client, &server, connection, arguments).await;
    let home = found.as_ref().map_or_else(|_| Home::assumed(arguments), Clone::clone);
    let states = connection.in_time(&server, definitions(&cluster.client)).await;
    let mut checks = vec![version(&cluster.server_version), or_unknown("clock", clock(&cluster, connection).await)];
    checks.extend(found.err().map(|error| or_unknown("controller", Err(error))));
    checks.push(or_unknown("definitions", states.map(|states| definitions_check(&states, &home))));
    checks.extend(namespaces(&cluster, connection, &home).await);
    checks.push(or_unknown("permissions", permissions(&cluster, connection, &home).await));
    checks.push(or_unknown("leader", leader(&cluster, connection, &home).await));
    checks.extend(optional(&cluster, connection).await);
    output::print(format, &checks, || if format == Format::Markdown { wide(&checks) } else { narrow(&checks) })?;
    let failed = checks.iter().filter(|check| check.verdict == Verdict::Failed).count();
    if failed == 0 {
        return Ok(Outcome::Done);
    }
    let checks = if failed == 1 { "one check failed".to_owned() } else { format!("{failed} checks failed") };
    Err(CommandError::new(checks)
        .at(server)
        .remedy("do what is said above, from the top; later checks often depend on earlier ones"))
}

/// The check, or that it could not be made: one answer that is refused says nothing of the others.
fn or_unknown(check: &'static str, result: Result<Check, CommandError>) -> Check {
    result.unwrap_or_else(|error| Check::failed(check, error.what, error.remedies.join("; ")))
}

fn verdict(check: &Check) -> Cell {
    match check.verdict {
        Verdict::Ok => Cell::new("ok", Tone::Good),
        Verdict::Warning => Cell::new("warning", Tone::Doubtful),
        Verdict::Failed => Cell::new("failed", Tone::Bad),
    }
}

/// For pull requests: a row for each check.
fn wide(checks: &[Check]) -> Table {
    let mut table = Table::new(&["CHECK", "VERDICT", "FOUND", "TO DO"]);
    for check in checks {
        let remedy = check.remedy.as_deref().unwrap_or("-");
        table.row(vec![check.about.into(), verdict(check), check.found.as_str().into(), remedy.into()]);
    }
    table
}

/// For terminals: what to do stands below what was found.
fn narrow(checks: &[Check]) -> Table {
    let mut table = Table::new(&["CHECK", "VERDICT", "FOUND"]);
    for check in checks {
        let mut lines = wrapped(&check.found).into_iter();
        table.row(vec![check.about.into(), verdict(check), lines.next().unwrap_or_default().into()]);
        // what is to be done may be a command, which people copy: it stays on one line
        for line in lines.chain(check.remedy.iter().map(|remedy| format!("to do: {remedy}"))) {
            table.row(vec!["".into(), "".into(), line.into()]);
        }
    }
    table
}

/// Lines of a width that is easy to read.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is always one");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= 100 {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

fn version(found: &str) -> Check {
    let mut numbers = found.trim_start_matches('v').split('.').map_while(|part| part.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) >= OLDEST => Check::ok("Kubernetes", found),
        (Some(_), Some(_)) => {
            Check::failed("Kubernetes", found, format!("upgrade the cluster to {}.{} or later", OLDEST.0, OLDEST.1))
        }
        _ => {
            let remedy = format!("the version cannot be read; Midship needs {}.{} or later", OLDEST.0, OLDEST.1);
            Check::warning("Kubernetes", found, remedy)
        }
    }
}

/// Asks for an answer of the API server, which says its time.
async fn clock(cluster: &Connected, connection: &Connection) -> Result<Check, CommandError> {
    let server = cluster.config.cluster_url.to_string();
    let request =
        http::Request::get("/version").body(Vec::new()).map_err(|error| CommandError::new(error.to_string()))?;
    let answer = connection.in_time(&server, cluster.client.send(request.map(Into::into))).await?;
    let said = answer.headers().get(http::header::DATE).and_then(|value| value.to_str().ok());
    Ok(clock_check(Timestamp::now(), said))
}

/// Compares our clock with the time that an answer has in its head.
fn clock_check(ours: Timestamp, said: Option<&str>) -> Check {
    let theirs = said.and_then(|text| DateTimeParser::new().parse_timestamp(text).ok());
    let Some(theirs) = theirs else {
        let remedy = "make sure that all nodes keep time by NTP";
        return Check::warning("clock", "the API server does not say its time", remedy);
    };
    let apart = ours.as_second() - theirs.as_second();
    let found = format!("{} s apart from the API server", apart.abs());
    if apart.abs() <= CLOCK_SKEW_SECONDS {
        Check::ok("clock", found)
    } else {
        Check::failed("clock", found, "set this machine's clock, best by NTP: leases and certificates depend on it")
    }
}

fn definitions_check(definitions: &[Definition], home: &Home) -> Check {
    let wrong: Vec<String> = definitions
        .iter()
        .filter_map(|one| match one.state {
            DefinitionState::Ready => None,
            DefinitionState::Missing => Some(format!("{} missing", one.kind.plural())),
            DefinitionState::NotServed => Some(format!("{} not served yet", one.kind.plural())),
            DefinitionState::Different => Some(format!("{} of another version", one.kind.plural())),
        })
        .collect();
    if wrong.is_empty() {
        return Check::ok("definitions", format!("all {} kinds", definitions.len()));
    }
    let fresh = (!home.installed).then(|| home.release());
    Check::failed("definitions", wrong.join(", "), remedy(definitions, fresh.as_ref()))
}

/// Named namespaces that are not there; nothing where all are.
async fn namespaces(cluster: &Connected, connection: &Connection, home: &Home) -> Option<Check> {
    let server = cluster.config.cluster_url.to_string();
    let missing = match connection.in_time(&server, missing_namespaces(&cluster.client, &home.scope)).await {
        Ok(missing) if missing.is_empty() => return None,
        Ok(missing) => missing,
        Err(error) => return Some(or_unknown("namespaces", Err(error))),
    };
    Some(Check::failed(
        "namespaces",
        format!("{} to be looked after, and not there", missing.join(", ")),
        format!("kubectl create namespace {}, or name others with --namespaces", missing[0]),
    ))
}

async fn permissions(cluster: &Connected, connection: &Connection, home: &Home) -> Result<Check, CommandError> {
    let server = cluster.config.cluster_url.to_string();
    let Home { namespace, account, scope, .. } = home;
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client.clone(), namespace);
    let there = connection.in_time(&server, accounts.get_opt(account)).await?.is_some();
    if home.installed && !there {
        return Ok(Check::failed(
            "permissions",
            format!("the controller's ServiceAccount {namespace}/{account} is not there"),
            format!(
                "kubectl create serviceaccount {account} -n {namespace}, or have the Helm chart make it (serviceAccount.create)"
            ),
        ));
    }
    let (as_whom, who) = if there {
        let as_whom = Account::ServiceAccount { namespace: namespace.clone(), name: account.clone() };
        (as_whom, format!("ServiceAccount {namespace}/{account}"))
    } else {
        (Account::Mine, "you".to_owned())
    };
    let needed = access::needed(scope, namespace);
    let number = needed.len();
    let missing = connection.in_time(&server, access::missing(&cluster.client, &as_whom, needed)).await?;
    if missing.is_empty() && there {
        return Ok(Check::ok("permissions", format!("{who} may do all that is needed for {scope} ({number} things)")));
    }
    if missing.is_empty() {
        return Ok(Check::warning(
            "permissions",
            format!(
                "checked as you, not as the controller, of which nothing was found in {namespace}: you may do all that is needed for {scope}"
            ),
            "say where it is with --installed-in and --installed-as, or install it",
        ));
    }
    let remedy = if there {
        "grant this with the Helm chart's roles (helm upgrade; rbac.create), or say with --namespaces which namespaces it looks after"
    } else {
        "install the controller with its own account by the Helm chart, or have this granted to run it as you"
    };
    Ok(Check::failed("permissions", format!("{who} may not {}", access::summary(&missing).join("; ")), remedy))
}

async fn leader(cluster: &Connected, connection: &Connection, home: &Home) -> Result<Check, CommandError> {
    let server = cluster.config.cluster_url.to_string();
    let Home { namespace, lease: name, .. } = home;
    let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), namespace);
    let lease = connection.in_time(&server, leases.get_opt(name)).await?;
    let look = format!("look at the controller's logs: kubectl logs -n {namespace} -l app.kubernetes.io/name=midship");
    let Some(spec) = lease.and_then(|lease| lease.spec) else {
        let remedy = if home.installed { look } else { home.release().install() };
        return Ok(Check::failed("leader", format!("no lease {name} in namespace {namespace}"), remedy));
    };
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

async fn optional(cluster: &Connected, connection: &Connection) -> Vec<Check> {
    let server = cluster.config.cluster_url.to_string();
    let question = async { Ok::<_, kube::Error>(optional_kinds(&cluster.client).await) };
    match connection.in_time(&server, question).await {
        Ok(answers) => answers.into_iter().map(|(kind, answer)| optional_check(kind, answer)).collect(),
        Err(error) => vec![or_unknown("optional", Err(error))],
    }
}

fn optional_check(kind: OptionalKind, answer: Result<bool, Problem>) -> Check {
    let (group_version, plural) = kind.address();
    let name = format!("{plural} ({group_version})");
    match answer {
        Ok(true) => Check::ok("optional", name),
        Ok(false) => Check::warning(
            "optional",
            format!("{name} not installed"),
            format!("nothing, if you can do without: {}", kind.use_of_it()),
        ),
        Err(problem) => Check::warning(
            "optional",
            format!("nobody can tell whether {name} is installed: {}", problem.what),
            problem.remedy,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_judged_by_how_far_they_are_apart_either_way() {
        let said = Some("Sun, 22 Nov 2026 12:00:00 GMT");
        let seen_at = |ours: &str| clock_check(ours.parse().expect("a time"), said);
        for (ours, verdict, found) in [
            ("2026-11-22T12:00:00.9Z", Verdict::Ok, "0 s apart"),
            ("2026-11-22T12:00:05Z", Verdict::Ok, "5 s apart"),
            ("2026-11-22T12:00:06Z", Verdict::Failed, "6 s apart"),
            ("2026-11-22T11:59:55Z", Verdict::Ok, "5 s apart"),
            ("2026-11-22T11:59:54Z", Verdict::Failed, "6 s apart"),
            ("2026-11-22T13:00:00Z", Verdict::Failed, "3600 s apart"),
        ] {
            let check = seen_at(ours);
            assert_eq!(check.verdict, verdict, "{ours}");
            assert!(check.found.starts_with(found), "{ours}: {}", check.found);
            assert_eq!(check.remedy.is_some(), verdict == Verdict::Failed, "{ours}");
        }
        for said in [None, Some(""), Some("noon")] {
            let check = clock_check(Timestamp::UNIX_EPOCH, said);
            assert_eq!(check.verdict, Verdict::Warning, "{said:?}");
            assert!(check.remedy.is_some(), "{said:?}");
        }
    }

    #[test]
    fn what_nobody_could_tell_is_not_called_missing() {
        let asked = |answer| optional_check(OptionalKind::Certificate, answer);
        assert_eq!(asked(Ok(true)).verdict, Verdict::Ok);
        assert!(asked(Ok(false)).found.contains("not installed"));
        let unknown = asked(Err(Problem::new("the API server refused: by the test", "try again")));
        assert_eq!((unknown.verdict, unknown.remedy.as_deref()), (Verdict::Warning, Some("try again")));
        assert!(unknown.found.starts_with("nobody can tell whether certificates (cert-manager.io/v1)"));
    }

    #[test]
    fn long_findings_are_wrapped_between_words() {
        let text = "word ".repeat(50);
        let lines = wrapped(text.trim_end());
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines.iter().all(|line| line.len() <= 100));
        assert_eq!(lines.join(" "), text.trim_end());
        assert_eq!(wrapped("short"), ["short"]);
    }

    #[test]
    fn old_clusters_are_told_apart_from_unknown_ones() {
        assert_eq!(version("v1.36.3").verdict, Verdict::Ok);
        assert_eq!(version("v1.28.15").verdict, Verdict::Failed);
        assert_eq!(version("v1.29.0-eks-abc").verdict, Verdict::Ok);
        assert_eq!(version("something").verdict, Verdict::Warning);
    }
}
