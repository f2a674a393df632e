//! `midship logs`: what the pods of an instance print, together.

use std::io;

use clap::Args;
use futures::{AsyncBufRead, AsyncBufReadExt, Stream, StreamExt, TryFutureExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, LogParams};
use kube::{Api, ResourceExt};

use super::Outcome;
use super::connection::Connection;
use super::error::CommandError;
use super::output::{is_read, printable};
use super::session::{Session, instance_name};
use super::wait::seconds;
use crate::api::labels;
use crate::extension::problem::{listed, unknown};

/// The container of Midship's own in every pod.
const AGENT: &str = "midship";

#[derive(Args)]
pub struct Arguments {
    /// The instance: NAME, or inst/NAME.
    instance: String,

    /// Only pods of this component.
    #[arg(long, value_name = "NAME")]
    component: Option<String>,

    /// Only pods that have this role now.
    #[arg(long, value_name = "NAME")]
    role: Option<String>,

    /// Only this pod; may be given several times.
    #[arg(long, value_name = "NAME")]
    pod: Vec<String>,

    /// Another container than the middleware's own, such as midship for the agent.
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,

    /// Go on as more is printed.
    #[arg(short, long)]
    follow: bool,

    /// Lines from the end; with --follow 10, else all, where left out.
    #[arg(long, value_name = "N")]
    tail: Option<i64>,

    /// Only what was printed in this time until now, such as 5m.
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    since: Option<u64>,

    /// Of the container before its last restart.
    #[arg(short, long, conflicts_with = "follow")]
    previous: bool,

    /// With the time of each line.
    #[arg(long)]
    timestamps: bool,
}

pub async fn run(arguments: &Arguments, connection: &Connection) -> Result<Outcome, CommandError> {
    let name = instance_name(&arguments.instance)?;
    let session = Session::open(connection).await?;
    session.instance(&name).await?;
    let api: Api<Pod> = Api::namespaced(session.client.clone(), &session.namespace);
    let pods = chosen(arguments, &name, &session, &api).await?;
    let prefixed = pods.len() > 1;
    let (session, api) = (&session, &api);
    let mut streams = Vec::new();
    for pod in &pods {
        let parameters = LogParams {
            container: Some(container(pod, arguments.container.as_deref())?),
            follow: arguments.follow,
            previous: arguments.previous,
            tail_lines: arguments.tail.or(arguments.follow.then_some(10)),
            since_seconds: arguments.since.and_then(|since| i64::try_from(since).ok()),
            timestamps: arguments.timestamps,
            ..LogParams::default()
        };
        let pod = pod.name_any();
        let opened = async move {
            let place = format!("Pod {}/{pod}", session.namespace);
            let question = api.log_stream(&pod, &parameters);
            let log = if arguments.follow { session.await_answer(question).await } else { session.ask(question).await };
            let log = log.map_err(|error| error.at(place.clone()))?;
            let prefix = if prefixed { format!("{pod} ") } else { String::new() };
            let lines = lines(Box::pin(log)).map_ok(move |line| format!("{prefix}{line}"));
            Ok::<_, CommandError>(lines.map_err(move |error| {
                CommandError::new(format!("its logs broke off: {error}")).at(place.clone()).remedy("run this again")
            }))
        };
        streams.push(Box::pin(opened.try_flatten_stream()));
    }
    // one after the other what is there, together what comes
    let mut all = if arguments.follow {
        stream::select_all(streams).boxed_local()
    } else {
        stream::iter(streams).flatten().boxed_local()
    };
    let mut whole = true;
    while let Some(next) = all.next().await {
        match next {
            Ok(line) => {
                if !is_read(format_args!("{}\n", printable(&line))) {
                    break;
                }
            }
            // what cannot be had of one pod, such as on a lost node, hides nothing of the others
            Err(error) => {
                error.print();
                whole = false;
            }
        }
    }
    Ok(if whole { Outcome::Done } else { Outcome::Ended(1) })
}

/// The lines of a log. What is no UTF-8 in one is shown as such, and ends nothing.
fn lines(log: impl AsyncBufRead + Unpin) -> impl Stream<Item = io::Result<String>> {
    stream::try_unfold(log, |mut log| async move {
        let mut line = Vec::new();
        if log.read_until(b'\n', &mut line).await? == 0 {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&line);
        Ok::<_, io::Error>(Some((text.trim_end_matches(['\r', '\n']).to_owned(), log)))
    })
}

async fn chosen(
    arguments: &Arguments,
    name: &str,
    session: &Session<'_>,
    api: &Api<Pod>,
) -> Result<Vec<Pod>, CommandError> {
    let ours = ListParams::default().labels(&format!("{}={name}", labels::INSTANCE));
    let mut pods = session.ask(api.list(&ours)).await?.items;
    pods.sort_by_key(ResourceExt::name_any);
    let place = format!("Instance {}/{name}", session.namespace);
    if pods.is_empty() {
        return Err(CommandError::new("the instance has no pods")
            .at(place)
            .remedy(format!("see what it waits for: midship describe inst/{name} -n {}", session.namespace)));
    }
    let names: Vec<String> = pods.iter().map(ResourceExt::name_any).collect();
    for wanted in &arguments.pod {
        if !names.contains(wanted) {
            return Err(CommandError::new(unknown("pod", wanted, names.iter().map(String::as_str))).at(place));
        }
    }
    let has = |pod: &Pod, key: &str, wanted: Option<&String>| {
        wanted.is_none_or(|wanted| pod.labels().get(key) == Some(wanted))
    };
    pods.retain(|pod| {
        has(pod, labels::COMPONENT, arguments.component.as_ref())
            && has(pod, labels::ROLE, arguments.role.as_ref())
            && (arguments.pod.is_empty() || arguments.pod.contains(&pod.name_any()))
    });
    if pods.is_empty() {
        return Err(CommandError::new("no pod is meant by --component, --role and --pod together")
            .at(place)
            .remedy(format!("its pods are {}", listed(names.iter().map(String::as_str)))));
    }
    Ok(pods)
}

/// The container that is meant: the middleware's own is the first, and carries its component's name.
pub fn container(pod: &Pod, wanted: Option<&str>) -> Result<String, CommandError> {
    let containers =
        pod.spec.iter().flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
    let names: Vec<&str> = containers.map(|container| container.name.as_str()).collect();
    let own = pod.labels().get(labels::COMPONENT).map(String::as_str).filter(|own| names.contains(own));
    match wanted {
        Some(wanted) if names.contains(&wanted) => Ok(wanted.to_owned()),
        Some(wanted) => Err(CommandError::new(unknown("container", wanted, names))
            .at(format!("Pod {}/{}", pod.namespace().unwrap_or_default(), pod.name_any()))
            .remedy("leave --container out for the middleware's own")),
        None => own
            .or_else(|| names.iter().find(|name| **name != AGENT).copied())
            .map(str::to_owned)
            .ok_or_else(|| CommandError::new("the pod has no container").at(pod.name_any())),
    }
}
