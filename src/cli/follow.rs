//! `midship sync`, `suspend` and `resume`: looking at a repository now, and leaving things as they are for a while.

use std::time::Duration;

use clap::Args;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::Outcome;
use super::connection::Connection;
use super::error::CommandError;
use super::live::find_source;
use super::output::{self, Format, printable};
use super::session::{Session, Target, target};
use super::wait::{Look, seconds, watch};
use crate::api::conditions::{ConditionStatus, READY, find};
use crate::api::git_source::GitSourceStatus;
use crate::api::{GitSource, Kind, labels};
use crate::plan::source::source_label;

/// In whose name fields are changed that people ask to change.
const PERSON: &str = "midship-cli";

#[derive(Args)]
pub struct Sync {
    /// The GitSource: NAME, KIND/NAME or NAMESPACE/NAME; the only one there is where left out.
    #[arg(value_name = "SOURCE")]
    source: Option<String>,

    /// Wait until this commit is applied: its id, or the first digits of it.
    #[arg(long, value_name = "COMMIT")]
    commit: Option<String>,

    /// Ask, and do not wait until the repository was looked at.
    #[arg(long, conflicts_with = "commit")]
    no_wait: bool,

    /// How long to wait.
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = seconds)]
    timeout: u64,
}

#[derive(Args)]
pub struct Suspension {
    /// NAME of a GitSource, or KIND/NAME of a GitSource or an instance.
    #[arg(value_name = "KIND/NAME")]
    word: String,
}

pub async fn sync(arguments: &Sync, connection: &Connection, format: Format) -> Result<Outcome, CommandError> {
    let session = Session::open(connection).await?;
    let source = named(&session, arguments.source.as_deref()).await?;
    let there = session.in_namespace(&source.namespace().unwrap_or_default());
    let name = source.name_any();
    if source.spec.suspend == Some(true) {
        return Err(CommandError::new("the source is suspended: nobody looks at its repository")
            .at(format!("GitSource {}/{name}", there.namespace))
            .remedy(format!("midship resume source/{name} -n {}", there.namespace)));
    }
    let now = jiff::Timestamp::now().to_string();
    let patch = json!({ "metadata": { "annotations": { labels::RECONCILE_AT: now } } });
    patched(&there, Kind::GitSource, &name, &patch).await?;
    let timeout = Duration::from_secs(arguments.timeout);
    match &arguments.commit {
        Some(wanted) => applied(&there, &name, &wanted.to_lowercase(), timeout, format).await,
        None if arguments.no_wait => {
            let before = told(&source.status.unwrap_or_default());
            let asked = format!("asked {}/{name} to look at its repository now", there.namespace);
            let sentence = format!("{asked}; before: {}", printable(&before));
            output::told(format, &there.source(&name).await?, &sentence)?;
            Ok(Outcome::Done)
        }
        None => handled(&there, &name, &now, timeout, format).await,
    }
}

/// Waits until the controller looked after this request, or a later one.
async fn handled(
    session: &Session<'_>,
    name: &str,
    asked: &str,
    timeout: Duration,
    format: Format,
) -> Result<Outcome, CommandError> {
    let time = |text: &str| text.parse::<jiff::Timestamp>().ok();
    let seen = watch(timeout, async || {
        let status = session.source(name).await?.status.unwrap_or_default();
        let handled = status.handled_reconcile_at.as_deref();
        if handled == Some(asked) || handled.and_then(time).zip(time(asked)).is_some_and(|(at, asked)| at >= asked) {
            return Ok(Look::Ended((is_ready(&status), told(&status))));
        }
        Ok(Look::Waiting(told(&status)))
    })
    .await?;
    let late = CommandError::new(format!("the repository was not looked at within {} s", timeout.as_secs()))
        .remedy("see whether the controller runs: midship doctor");
    verdict((session, name), seen, "the repository", late, format).await
}

/// How it ended with a source, of which `what` was looked at; `late` where it did not come to that.
async fn verdict(
    (session, name): (&Session<'_>, &str),
    seen: Look<(bool, String)>,
    what: &str,
    late: CommandError,
    format: Format,
) -> Result<Outcome, CommandError> {
    let at = |told: &str| format!("GitSource {}/{name}: {}", session.namespace, printable(told));
    match seen {
        Look::Ended((true, told)) => {
            output::told(format, &session.source(name).await?, &printable(&told))?;
            Ok(Outcome::Done)
        }
        Look::Ended((false, told)) => Err(CommandError::new(format!("{what} was looked at, but not all is well"))
            .at(at(&told))
            .remedy(format!("midship describe source/{name} -n {}", session.namespace))),
        Look::Waiting(told) => Err(late.at(at(&told))),
    }
}

fn is_ready(status: &GitSourceStatus) -> bool {
    find(&status.conditions, READY).is_some_and(|ready| ready.status == ConditionStatus::True)
}

async fn named(session: &Session<'_>, word: Option<&str>) -> Result<GitSource, CommandError> {
    let known = word.and_then(|word| word.split_once('/')).filter(|(kind, _)| super::session::kind(kind).is_ok());
    match (known, word) {
        (Some(_), Some(word)) => {
            let Target { kind, name } = target(&[word.to_owned()], None)?;
            if kind != Kind::GitSource {
                return Err(CommandError::new(format!("{word} is no GitSource")).remedy("write source/NAME"));
            }
            session.source(&name).await
        }
        (None, word) => find_source(session, word).await,
        (Some(_), None) => find_source(session, None).await,
    }
}

async fn applied(
    session: &Session<'_>,
    name: &str,
    wanted: &str,
    timeout: Duration,
    format: Format,
) -> Result<Outcome, CommandError> {
    let seen = watch(timeout, async || {
        let status = session.source(name).await?.status.unwrap_or_default();
        let is = |commit: Option<&String>| commit.is_some_and(|commit| commit.starts_with(wanted));
        // what the API server refused is tried again
        let refused = find(&status.conditions, READY).is_some_and(|ready| ready.reason == "NotAllApplied");
        if is(status.fetched_commit.as_ref()) && is(status.applied_commit.as_ref()) && !refused {
            return Ok(Look::Ended((is_ready(&status), told(&status))));
        }
        Ok(Look::Waiting(told(&status)))
    })
    .await?;
    let late = CommandError::new(format!("{wanted} was not applied within {} s", timeout.as_secs())).remedy(
        "check that the commit is on the branch the source follows, and that the controller runs: midship doctor",
    );
    verdict((session, name), seen, wanted, late, format).await
}

/// Where a source stands, in a sentence.
fn told(status: &GitSourceStatus) -> String {
    match find(&status.conditions, READY) {
        Some(ready) => ready.message.clone(),
        None => "the controller did not look at it yet".to_owned(),
    }
}

pub async fn suspend(
    arguments: &Suspension,
    connection: &Connection,
    suspend: bool,
    format: Format,
) -> Result<Outcome, CommandError> {
    let target = target(std::slice::from_ref(&arguments.word), Some(Kind::GitSource))?;
    if !matches!(target.kind, Kind::GitSource | Kind::Instance | Kind::BackupPolicy | Kind::Operation) {
        return Err(CommandError::new(format!("a {} cannot be suspended", target.kind.as_str()))
            .remedy("suspend the GitSource or the instance it follows from"));
    }
    let session = Session::open(connection).await?;
    let object = session.get(&target).await?;
    let of = object.labels().get(labels::SOURCE);
    // a source that applies itself leaves itself alone once it is suspended; anything else would be changed back
    let own = source_label(&session.namespace, &target.name);
    if let (Some(source), Some(path)) = (of, object.annotations().get(labels::SOURCE_PATH))
        && !(target.kind == Kind::GitSource && *source == own)
        && !session.is_gone(source).await
    {
        let (namespace, name) = source.split_once('.').unwrap_or((session.namespace.as_str(), source.as_str()));
        return Err(CommandError::new(format!(
            "{} {} comes from Git, which would change it back",
            target.kind.as_str(),
            target.name
        ))
        .at(format!("{path} of the source {source}"))
        .remedy(format!("set spec.suspend to {suspend} in that file, and push it"))
        .remedy(format!("or suspend the source: midship suspend source/{name} -n {namespace}")));
    }
    let before = object.data.pointer("/spec/suspend").and_then(serde_json::Value::as_bool).unwrap_or(false);
    let state = if suspend { "suspended" } else { "going on" };
    if before == suspend {
        let sentence = format!("{} {} was {state} already", target.kind.as_str(), target.name);
        output::told(format, &object, &sentence)?;
        return Ok(Outcome::Done);
    }
    patched(&session, target.kind, &target.name, &json!({ "spec": { "suspend": suspend.then_some(true) } })).await?;
    let sentence = format!("{} {} is {state}", target.kind.as_str(), target.name);
    output::told(format, &session.get(&target).await?, &sentence)?;
    Ok(Outcome::Done)
}

/// Changes an object as a person would.
pub async fn patched(
    session: &Session<'_>,
    kind: Kind,
    name: &str,
    patch: &serde_json::Value,
) -> Result<(), CommandError> {
    let parameters = PatchParams { field_manager: Some(PERSON.to_owned()), ..PatchParams::default() };
    let api = session.objects(kind);
    session.ask(api.patch(name, &parameters, &Patch::Merge(patch))).await.map(drop)
}
