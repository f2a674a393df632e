//! `midship stop` and `start`: the state an instance is to be in. Where its file is in Git, the file says it.

use std::path::Path;
use std::time::Duration;

use clap::Args;
use kube::ResourceExt;
use serde_json::json;

use super::super::Outcome;
use super::super::connection::Connection;
use super::super::error::CommandError;
use super::super::follow::patched;
use super::super::output::{self, Format, printable};
use super::super::session::{Session, instance_name};
use super::super::wait::{Look, watch};
use super::Waiting;
use crate::api::conditions::{READY, find};
use crate::api::instance::{DesiredState, Phase};
use crate::api::{Instance, Kind, labels};
use crate::repo::{ParseLimits, parse};

#[derive(Args)]
pub struct State {
    /// The instance: NAME, or inst/NAME.
    instance: String,

    #[command(flatten)]
    waiting: Waiting,
}

pub fn is_stopped(instance: &Instance) -> bool {
    instance.spec.state == Some(DesiredState::Stopped)
}

pub async fn stop(arguments: &State, connection: &Connection, format: Format) -> Result<Outcome, CommandError> {
    become_(arguments, connection, DesiredState::Stopped, format).await
}

pub async fn start(arguments: &State, connection: &Connection, format: Format) -> Result<Outcome, CommandError> {
    become_(arguments, connection, DesiredState::Running, format).await
}

async fn become_(
    arguments: &State,
    connection: &Connection,
    wanted: DesiredState,
    format: Format,
) -> Result<Outcome, CommandError> {
    let session = Session::open(connection).await?;
    let name = instance_name(&arguments.instance)?;
    let instance = session.instance(&name).await?;
    let stopped = wanted == DesiredState::Stopped;
    if is_stopped(&instance) != stopped {
        let gone = match instance.labels().get(labels::SOURCE) {
            Some(label) => session.is_gone(label).await,
            None => false,
        };
        if let Some(path) = instance.annotations().get(labels::SOURCE_PATH).filter(|_| !gone) {
            return Err(in_git(&instance, path, wanted));
        }
        // a state that is not said is Running
        let state = stopped.then_some(DesiredState::Stopped);
        patched(&session, Kind::Instance, &name, &json!({ "spec": { "state": state } })).await?;
    }
    if arguments.waiting.no_wait {
        let sentence = format!("Instance {}/{name} is to be {wanted:?}", session.namespace);
        output::told(format, &session.instance(&name).await?, &sentence)?;
        return Ok(Outcome::Done);
    }
    wait(&session, &name, wanted, arguments.waiting.timeout, format).await
}

/// Which line says it.
fn in_git(instance: &Instance, path: &str, wanted: DesiredState) -> CommandError {
    let name = instance.name_any();
    let line = line(path, &name).map(|line| format!(":{line}")).unwrap_or_default();
    let source = instance.labels().get(labels::SOURCE).map(|source| format!(" of the source {source}"));
    let change = match wanted {
        DesiredState::Stopped => "set spec.state to Stopped there, and push it",
        DesiredState::Running => "remove spec.state there or set it to Running, and push it",
    };
    CommandError::new(format!("Instance {name} comes from Git: what its file says counts"))
        .at(format!("{path}{line}{}", source.unwrap_or_default()))
        .remedy(change)
}

/// The line of the instance's state, or of its spec, where the file is here too.
fn line(path: &str, name: &str) -> Option<u32> {
    let here = std::env::current_dir().ok()?;
    let file =
        here.ancestors().map(|folder| folder.join(path)).find(|file: &std::path::PathBuf| Path::is_file(file))?;
    let documents = parse(path, &std::fs::read(file).ok()?, &ParseLimits::default()).ok()?;
    let document = documents
        .iter()
        .find(|document| document.value["kind"] == "Instance" && document.value["metadata"]["name"] == name)?;
    let pointer = if document.value.pointer("/spec/state").is_some() { "/spec/state" } else { "/spec" };
    Some(document.places.key(pointer).line)
}

async fn wait(
    session: &Session<'_>,
    name: &str,
    wanted: DesiredState,
    timeout: u64,
    format: Format,
) -> Result<Outcome, CommandError> {
    let seen = watch(Duration::from_secs(timeout), async || {
        let instance = match session.glance(session.instances().get_opt(name)).await? {
            Ok(Some(instance)) => instance,
            Ok(None) => session.instance(name).await?,
            // it goes on without anybody who watches
            Err(away) => return Ok(Look::Waiting(away)),
        };
        let status = instance.status.clone().unwrap_or_default();
        let current =
            status.observed_generation.is_some() && status.observed_generation >= instance.metadata.generation;
        let there = match wanted {
            DesiredState::Stopped => status.phase == Some(Phase::Stopped),
            DesiredState::Running => status.phase == Some(Phase::Running),
        };
        if current && there {
            return Ok(Look::Ended(instance));
        }
        let phase =
            status.phase.map_or_else(|| "no controller looked at it yet".to_owned(), |phase| format!("{phase:?}"));
        let message = find(&status.conditions, READY).map(|ready| format!(": {}", ready.message));
        Ok(Look::Waiting(format!("{phase}{}", message.unwrap_or_default())))
    })
    .await?;
    match seen {
        Look::Ended(instance) => {
            let ready = instance.status.as_ref().and_then(|status| status.ready.as_ref());
            let pods = ready.map_or_else(String::new, |ready| format!(", {ready} pods ready"));
            let sentence = format!("Instance {}/{name} is {wanted:?}{pods}", session.namespace);
            output::told(format, &instance, &sentence)?;
            Ok(Outcome::Done)
        }
        Look::Waiting(told) => {
            Err(CommandError::new(format!("it is to be {wanted:?}, but was not within {timeout} s"))
                .at(format!("Instance {}/{name}: {}", session.namespace, printable(&told)))
                .remedy(format!("midship describe inst/{name} -n {}", session.namespace))
                .remedy("see whether the controller runs: midship doctor"))
        }
    }
}
