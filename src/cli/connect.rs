//! `midship connect`: the middleware's own client in the pod that has the exclusive role, another command there, or how to
//! connect by other means.

use std::io::IsTerminal;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use clap::Args;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt};
use serde::Serialize;

use super::Outcome;
use super::connection::Connection;
use super::error::CommandError;
use super::logs::container;
use super::output::{self, Format, Table};
use super::session::{Session, instance_name};
use crate::api::Instance;
use crate::api::instance::InstanceStatus;
use crate::extension::problem::unknown;

#[derive(Args)]
pub struct Arguments {
    /// The instance: NAME, or inst/NAME.
    instance: String,

    /// The pod; the one with the exclusive role, or the first that is ready, where left out.
    #[arg(long, value_name = "NAME")]
    pod: Option<String>,

    /// Open the middleware's own client although this is no terminal; needs kubectl.
    #[arg(long, conflicts_with_all = ["how", "command"])]
    client: bool,

    /// Only say how to connect, although this is a terminal.
    #[arg(long, conflicts_with = "command")]
    how: bool,

    /// A command to run in the middleware's container instead of its own client; needs kubectl. Its exit code is ours.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Becomes the client that the package declares, with what it logs in with.
const CLIENT: [&str; 2] = ["/midship/bin/midship-agent", "client"];

/// How clients connect. Nothing in it is secret.
#[derive(Serialize)]
struct Way {
    host: String,
    port: i32,
    /// The Secret with username, password and uri.
    secret: Option<String>,
    /// From outside the cluster.
    forward: String,
    password: Option<String>,
}

pub async fn run(arguments: &Arguments, connection: &Connection, format: Format) -> Result<Outcome, CommandError> {
    let name = instance_name(&arguments.instance)?;
    let session = Session::open(connection).await?;
    let instance = session.instance(&name).await?;
    let status = instance.status.clone().unwrap_or_default();
    let opens = arguments.client || (!arguments.how && format == Format::Table && at_a_terminal());
    if opens || !arguments.command.is_empty() {
        let pod = pod(arguments, &session, &instance, &status)?;
        let api: Api<Pod> = Api::namespaced(session.client.clone(), &session.namespace);
        let found = session.ask(api.get(&pod)).await?;
        let own = CLIENT.map(str::to_owned);
        let command = if arguments.command.is_empty() { &own[..] } else { &arguments.command };
        return exec(connection, &session.namespace, &pod, &container(&found, None)?, command);
    }
    let told = status.connection.unwrap_or_default();
    let (Some(host), Some(port)) = (told.host, told.port) else {
        return Err(CommandError::new("the instance does not say yet how to connect to it")
            .at(format!("Instance {}/{name}", session.namespace))
            .remedy(format!("see what it waits for: midship describe inst/{name} -n {}", session.namespace)));
    };
    let namespace = &session.namespace;
    let service = host.split('.').next().unwrap_or(&host);
    let way = Way {
        forward: format!("kubectl -n {namespace} port-forward service/{service} {port}:{port}"),
        password: told.secret_name.as_ref().map(|secret| {
            format!("kubectl -n {namespace} get secret {secret} -o jsonpath='{{.data.password}}' | base64 -d")
        }),
        secret: told.secret_name,
        host,
        port,
    };
    output::print(format, &way, || {
        let mut table = Table::new(&["HOW", "WHAT"]);
        table.row(vec!["in the cluster".into(), format!("{}:{}", way.host, way.port).into()]);
        table.row(vec!["from here".into(), way.forward.as_str().into()]);
        if let (Some(secret), Some(password)) = (&way.secret, &way.password) {
            table.row(vec!["credentials".into(), format!("Secret {secret}: username, password, uri").into()]);
            table.row(vec!["password".into(), password.as_str().into()]);
        }
        table.row(vec!["its own client".into(), format!("midship connect inst/{name} -n {namespace} --client").into()]);
        table
    })?;
    Ok(Outcome::Done)
}

fn pod(
    arguments: &Arguments,
    session: &Session<'_>,
    instance: &Instance,
    status: &InstanceStatus,
) -> Result<String, CommandError> {
    let members = || status.members.iter().map(|member| member.name.as_str());
    if let Some(pod) = &arguments.pod {
        return if members().any(|name| name == pod) {
            Ok(pod.clone())
        } else {
            Err(CommandError::new(unknown("pod", pod, members())).remedy("`midship describe` shows its pods"))
        };
    }
    let ready = || status.members.iter().find(|member| member.ready).map(|member| member.name.clone());
    status.primary.clone().or_else(ready).ok_or_else(|| {
        let name = instance.name_any();
        CommandError::new("no pod of the instance is ready")
            .at(format!("Instance {}/{name}", session.namespace))
            .remedy(format!("see why: midship describe inst/{name} -n {}", session.namespace))
    })
}

fn at_a_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// Runs a command in a container through kubectl, which knows how to hand a terminal over.
fn exec(
    connection: &Connection,
    namespace: &str,
    pod: &str,
    container: &str,
    command: &[String],
) -> Result<Outcome, CommandError> {
    let mut kubectl = Command::new("kubectl");
    let target = connection.target();
    let options = [
        ("--kubeconfig", target.kubeconfig.map(|path| path.display().to_string())),
        ("--context", target.context),
        ("--cluster", target.cluster),
        ("--user", target.user),
    ];
    for (option, value) in options {
        if let Some(value) = value {
            kubectl.arg(option).arg(value);
        }
    }
    kubectl.args(["--namespace", namespace, "exec", "--stdin"]);
    if at_a_terminal() {
        kubectl.arg("--tty");
    }
    kubectl.args([pod, "--container", container, "--"]).args(command);
    let ended = kubectl.status().map_err(|error| {
        CommandError::new(format!("kubectl cannot be run: {error}"))
            .at("PATH".to_owned())
            .remedy("install kubectl: a command in a pod is run through it")
    })?;
    // kubectl ends as the command did, and says itself what went wrong
    let code = ended.code().and_then(|code| u8::try_from(code).ok());
    let signal = || ended.signal().and_then(|signal| u8::try_from(signal).ok()).map_or(1, |signal| 128 | signal);
    Ok(Outcome::Ended(code.unwrap_or_else(signal)))
}
