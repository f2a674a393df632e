//! `midship restart`, `reload`, `process` and `switchover`: an Operation is made, and its progress shown until it ends.

mod follow;
mod state;

use clap::{Args, ValueEnum};
use kube::ResourceExt;
use kube::api::PostParams;
use serde_json::{Value, json};

use super::Outcome;
use super::connection::Connection;
use super::error::CommandError;
use super::output::{self, Format};
use super::session::{Session, instance_name};
use super::wait::seconds;
use crate::api::instance::InstanceStatus;
use crate::api::values::Duration;
use crate::api::{API_VERSION, Instance, Operation, labels};
use crate::extension::problem::unknown;
use crate::names::{ComponentName, GroupName, ObjectName, RoleName};

pub use state::{State, start, stop};

#[derive(Args)]
pub struct Waiting {
    /// Do not wait for the end.
    #[arg(long)]
    pub(super) no_wait: bool,

    /// How long it may take.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = seconds)]
    pub(super) timeout: u64,
}

// for `restart` and `reload`
#[derive(Args)]
pub struct Processes {
    /// The instance: NAME, or inst/NAME.
    instance: String,

    #[command(flatten)]
    chosen: Chosen,

    #[command(flatten)]
    waiting: Waiting,
}

#[derive(Args)]
pub struct Batch {
    /// What is done to the processes.
    #[arg(value_enum)]
    action: Action,

    /// The instance: NAME, or inst/NAME.
    instance: String,

    #[command(flatten)]
    chosen: Chosen,

    /// How many at a time.
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=1000))]
    concurrency: i32,

    /// Pause between one batch and the next, such as 30s.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    interval: Option<Duration>,

    #[command(flatten)]
    waiting: Waiting,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Action {
    Start,
    Stop,
    Restart,
    Reload,
}

// which processes of the instance
#[derive(Args)]
struct Chosen {
    /// Only processes of this component.
    #[arg(long, value_name = "NAME")]
    component: Option<ComponentName>,

    /// Only processes of this group.
    #[arg(long, value_name = "NAME")]
    group: Option<GroupName>,

    /// Only processes that have this role now.
    #[arg(long, value_name = "NAME")]
    role: Option<RoleName>,

    /// Only the process in this pod; may be given several times.
    #[arg(long, value_name = "NAME")]
    pod: Vec<ObjectName>,
}

#[derive(Args)]
pub struct Switchover {
    /// The instance: NAME, or inst/NAME.
    instance: String,

    /// The pod that is to have the role; the one furthest ahead where left out.
    #[arg(long, value_name = "POD")]
    to: Option<ObjectName>,

    /// The pod that has the role now, so that nothing happens if it is another one.
    #[arg(long, value_name = "POD")]
    from: Option<ObjectName>,

    /// Go on although the pod is behind, and lose what it does not have.
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    waiting: Waiting,
}

fn duration(text: &str) -> Result<Duration, String> {
    Duration::parse(text).ok_or_else(|| format!("{text:?} is no duration; write it like 30s, 5m or 1h30m"))
}

pub async fn restart(arguments: &Processes, connection: &Connection, format: Format) -> Result<Outcome, CommandError> {
    one_by_one(arguments, connection, ("restart", "Restart"), format).await
}

pub async fn reload(arguments: &Processes, connection: &Connection, format: Format) -> Result<Outcome, CommandError> {
    one_by_one(arguments, connection, ("reload", "Reload"), format).await
}

async fn one_by_one(
    arguments: &Processes,
    connection: &Connection,
    (verb, type_): (&str, &str),
    format: Format,
) -> Result<Outcome, CommandError> {
    let Processes { instance, chosen, waiting } = arguments;
    let session = Session::open(connection).await?;
    let instance = runs(&session, instance).await?;
    let spec = targeted(json!({ "type": type_ }), chosen, &instance)?;
    made(&session, &instance, verb, spec, waiting, format).await
}

pub async fn process(arguments: &Batch, connection: &Connection, format: Format) -> Result<Outcome, CommandError> {
    let Batch { action, instance, chosen, concurrency, interval, waiting } = arguments;
    let session = Session::open(connection).await?;
    let instance = runs(&session, instance).await?;
    let batch = json!({ "action": format!("{action:?}"), "concurrency": concurrency, "interval": interval });
    let spec = json!({ "type": "Process", "process": without_nothing(batch) });
    made(&session, &instance, "process", targeted(spec, chosen, &instance)?, waiting, format).await
}

/// What is asked for, only of the processes that were chosen.
fn targeted(mut spec: Value, chosen: &Chosen, instance: &Instance) -> Result<Value, CommandError> {
    let Chosen { component, group, role, pod } = chosen;
    let status = instance.status.clone().unwrap_or_default();
    let components = status.members.iter().map(|member| member.component.as_str());
    known("component", component.as_ref().map(ComponentName::as_str), components, &status)?;
    for pod in pod {
        known("pod", Some(pod.as_str()), pods(&status), &status)?;
    }
    let target = without_nothing(json!({ "component": component, "group": group, "role": role, "pods": pod }));
    if target.as_object().is_some_and(|target| !target.is_empty()) {
        spec["target"] = target;
    }
    Ok(spec)
}

pub async fn switchover(
    arguments: &Switchover,
    connection: &Connection,
    format: Format,
) -> Result<Outcome, CommandError> {
    let Switchover { instance, to, from, force, waiting } = arguments;
    let session = Session::open(connection).await?;
    let instance = runs(&session, instance).await?;
    let status = instance.status.clone().unwrap_or_default();
    for pod in [to, from].into_iter().flatten() {
        known("pod", Some(pod.as_str()), pods(&status), &status)?;
    }
    if let (Some(to), Some(primary)) = (to, &status.primary)
        && to.as_str() == primary
    {
        output::told(format, &Value::Null, &format!("{primary} has the role already"))?;
        return Ok(Outcome::Done);
    }
    let asked = without_nothing(json!({ "from": from, "to": to, "force": force.then_some(true) }));
    let spec = json!({ "type": "Switchover", "switchover": asked });
    made(&session, &instance, "switchover", spec, waiting, format).await
}

fn pods(status: &InstanceStatus) -> impl Iterator<Item = &str> {
    status.members.iter().map(|member| member.name.as_str())
}

/// A name that the instance has, where it tells its names.
fn known<'a>(
    what: &str,
    name: Option<&str>,
    all: impl Iterator<Item = &'a str>,
    status: &InstanceStatus,
) -> Result<(), CommandError> {
    let all: Vec<&str> = all.collect();
    match name {
        Some(name) if !status.members.is_empty() && !all.contains(&name) => {
            Err(CommandError::new(unknown(what, name, all))
                .remedy("`midship describe` shows the instance's components and pods"))
        }
        _ => Ok(()),
    }
}

pub fn without_nothing(mut value: Value) -> Value {
    if let Value::Object(map) = &mut value {
        map.retain(|_, value| !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty()));
    }
    value
}

/// The instance, which has to have processes.
pub async fn runs(session: &Session<'_>, word: &str) -> Result<Instance, CommandError> {
    let name = instance_name(word)?;
    let instance = session.instance(&name).await?;
    let place = format!("Instance {}/{name}", session.namespace);
    if state::is_stopped(&instance) {
        return Err(CommandError::new("the instance is stopped: it has no processes")
            .at(place)
            .remedy(format!("midship start inst/{name} -n {}", session.namespace)));
    }
    if let Some(operation) = instance.status.as_ref().and_then(|status| status.operation.as_ref()) {
        eprintln!("Operation {operation} works on the instance; this one waits for its turn");
    }
    Ok(instance)
}

/// Makes an Operation, and follows it to its end.
pub async fn made(
    session: &Session<'_>,
    instance: &Instance,
    verb: &str,
    mut spec: Value,
    waiting: &Waiting,
    format: Format,
) -> Result<Outcome, CommandError> {
    let name = instance.name_any();
    spec["instance"] = json!(name);
    spec["timeout"] = json!(format!("{}s", waiting.timeout));
    let object = json!({
        "apiVersion": API_VERSION,
        "kind": "Operation",
        "metadata": {
            "generateName": format!("{}-{verb}-", name.chars().take(40).collect::<String>()),
            "labels": { labels::INSTANCE: name },
        },
        "spec": spec,
    });
    let operation: Operation = serde_json::from_value(object)
        .map_err(|error| CommandError::new(format!("the operation cannot be written down: {error}")))?;
    let made = session.ask(session.operations().create(&PostParams::default(), &operation)).await?;
    if waiting.no_wait {
        let sentence = format!("Operation {}/{} is asked for", session.namespace, made.name_any());
        output::told(format, &made, &sentence)?;
        return Ok(Outcome::Done);
    }
    follow::to_its_end(session, &made, waiting.timeout, format).await
}
