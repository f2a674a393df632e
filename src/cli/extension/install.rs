//! `midship extension install`: a package into the cluster, as an Extension and immutable ConfigMaps.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::PostParams;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::super::Outcome;
use super::super::connection::Connection;
use super::super::error::CommandError;
use super::super::output::{self, Format, Table, printable};
use super::super::session::Session;
use super::super::wait::{Look, seconds, watch};
use super::registry::{self, Reach};
use super::{good, tested, times};
use crate::api::conditions::{ConditionStatus, READY, STALLED, find};
use crate::api::{Extension, labels};
use crate::extension::Problems;
use crate::extension::install::{Objects, objects};
use crate::names::NamespaceName;

/// How long it is asked whether the namespace is there.
const ASKING: Duration = Duration::from_secs(10);

#[derive(Args)]
pub struct Arguments {
    /// Folder of the package, or where it is in a registry: oci://registry.example.com/middleware/cache:1.0.0.
    #[arg(value_name = "FOLDER", default_value = ".")]
    path: PathBuf,

    #[command(flatten)]
    reach: Reach,

    /// Namespace that holds the package's files: where Midship is installed.
    #[arg(long, value_name = "NAME", default_value = "midship-system")]
    installed_in: NamespaceName,

    /// Only print the objects that would be made.
    #[arg(long)]
    dry_run: bool,

    /// How long to wait for the controller to take it up; 0 not at all.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = seconds)]
    timeout: u64,
}

pub async fn run(arguments: &Arguments, connection: &Connection, format: Format) -> Result<Outcome, CommandError> {
    let (package, origin) = match registry::reference(&arguments.path)? {
        Some(reference) => {
            let (package, from) = registry::pulled(&reference, &arguments.reach).await?;
            (package, Some(from.to_string()))
        }
        None => (good(&arguments.path)?, None),
    };
    tested(&arguments.path, &package)?;
    let made = objects(&package, &arguments.installed_in, origin).map_err(|problems| {
        CommandError::new("the package cannot be put into ConfigMaps")
            .at(Problems(problems).to_string())
            .remedy("shorten or remove the files named above")
    })?;
    if arguments.dry_run {
        return print(&made, format);
    }
    let session = Session::open(connection).await?;
    let extensions: Api<Extension> = Api::all(session.client.clone());
    let name = made.extension.name_any();
    let installed = session.ask(extensions.get_opt(&name)).await?;
    if let Some(other) = installed.as_ref().filter(|found| found.spec.digest != made.extension.spec.digest) {
        return Err(CommandError::new(format!("{name} is installed with other contents, and a version never changes"))
            .at(format!("{} in the cluster, {} in {}", other.spec.digest, package.digest, arguments.path.display()))
            .remedy("give the changed package a new version in its extension.yaml, and install that"));
    }
    namespace_is_there(&session, &arguments.installed_in).await?;
    let parts: Api<ConfigMap> = Api::namespaced(session.client.clone(), arguments.installed_in.as_str());
    // whoever made them, they hold what their name says: it ends with the digest
    let parameters = PostParams { field_manager: Some(labels::MANAGER.to_owned()), ..PostParams::default() };
    for part in &made.parts {
        create(&session, &parts, &parameters, part).await?;
    }
    create(&session, &extensions, &parameters, &made.extension).await?;
    let news = if installed.is_some() { "was installed already" } else { "installed" };
    eprintln!("{name} {news}: {}, {}", times(made.parts.len(), "ConfigMap"), made.extension.spec.digest);
    if arguments.timeout > 0 {
        ready(&session, &extensions, &name, Duration::from_secs(arguments.timeout)).await?;
    }
    Ok(Outcome::Done)
}

/// Who may not ask for namespaces hears of a missing one when the first file is written.
async fn namespace_is_there(session: &Session<'_>, name: &NamespaceName) -> Result<(), CommandError> {
    let namespaces: Api<Namespace> = Api::all(session.client.clone());
    match tokio::time::timeout(ASKING, namespaces.get_opt(name.as_str())).await {
        Ok(Ok(None)) => {
            Err(CommandError::new(format!("there is no namespace {name}, which the package's files go into"))
                .at(session.server.clone())
                .remedy(format!(
                    "install Midship first: helm install midship charts/midship -n {name} --create-namespace"
                ))
                .remedy("where Midship is installed elsewhere, name its namespace: --installed-in NAME"))
        }
        _ => Ok(()),
    }
}

/// Makes an object, unless it is there.
async fn create<K>(session: &Session<'_>, api: &Api<K>, parameters: &PostParams, object: &K) -> Result<(), CommandError>
where
    K: Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    let made = async {
        match api.create(parameters, object).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Err(error) => Err(error),
        }
    };
    session.ask(made).await
}

async fn ready(
    session: &Session<'_>,
    extensions: &Api<Extension>,
    name: &str,
    timeout: Duration,
) -> Result<(), CommandError> {
    let told = watch(timeout, async || {
        let extension = session.ask(extensions.get(name)).await?;
        let status = extension.status.unwrap_or_default();
        let holds =
            |type_: &str| find(&status.conditions, type_).is_some_and(|one| one.status == ConditionStatus::True);
        if holds(READY) {
            return Ok(Look::Ended(status.summary.unwrap_or_default()));
        }
        if holds(STALLED) || !status.errors.is_empty() {
            let reasons = if status.errors.is_empty() {
                find(&status.conditions, STALLED).map(|one| one.message.clone()).into_iter().collect()
            } else {
                status.errors
            };
            return Err(CommandError::new(format!("the controller does not accept {name}"))
                .at(reasons.join("\n         "))
                .remedy("mend the package, give it a new version, and install that"));
        }
        Ok(Look::Waiting(
            find(&status.conditions, READY)
                .map_or_else(|| "the controller did not look at it yet".to_owned(), |ready| ready.message.clone()),
        ))
    })
    .await?;
    match told {
        Look::Ended(summary) => println!("{name} is ready: {}", printable(&summary)),
        Look::Waiting(reason) => {
            return Err(CommandError::new(format!("{name} is installed, but not ready after {} s", timeout.as_secs()))
                .at(printable(&reason))
                .remedy("see whether the controller runs: midship doctor")
                .remedy(format!("see how it goes on: midship describe ext/{name}")));
        }
    }
    Ok(())
}

fn print(made: &Objects, format: Format) -> Result<Outcome, CommandError> {
    let value = |error: serde_json::Error| CommandError::new(format!("an object cannot be printed: {error}"));
    let mut items: Vec<Value> = Vec::new();
    for part in &made.parts {
        items.push(serde_json::to_value(part).map_err(value)?);
    }
    items.push(serde_json::to_value(&made.extension).map_err(value)?);
    if format == Format::Json {
        output::print(format, &json!({ "apiVersion": "v1", "kind": "List", "items": items }), || Table::new(&[]))?;
        return Ok(Outcome::Done);
    }
    for item in items {
        let yaml = serde_saphyr::to_string(&item)
            .map_err(|error| CommandError::new(format!("an object cannot be printed: {error}")))?;
        print!("---\n{}", printable(&yaml));
    }
    Ok(Outcome::Done)
}
