//! `midship extension list`: packages of a folder, or those that are installed.

use std::path::PathBuf;

use clap::Args;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde::Serialize;

use super::super::Outcome;
use super::super::connection::Connection;
use super::super::error::CommandError;
use super::super::output::{self, Cell, Format, Table, Tone};
use super::registry::{self, Reach};
use super::{Packages, Wrong, all_wrong, entries, load};
use crate::api::Extension;
use crate::api::conditions::{ConditionStatus, READY, find};
use crate::extension::describe::Summary;
use crate::extension::versions::order;

#[derive(Args)]
pub struct Arguments {
    /// Folders of packages, or a repository of a registry, such as oci://registry.example.com/middleware/cache; what is
    /// installed in the cluster where left out.
    #[arg(value_name = "FOLDER")]
    paths: Vec<PathBuf>,

    /// Only packages with these words in their type, title, description or keywords.
    #[arg(long, value_name = "WORDS")]
    search: Option<String>,

    #[command(flatten)]
    reach: Reach,
}

pub fn run(arguments: &Arguments, connection: &Connection, format: Format) -> Result<Outcome, CommandError> {
    if arguments.paths.is_empty() {
        return super::super::in_background(installed(arguments, connection, format));
    }
    if let [path] = arguments.paths.as_slice()
        && let Some(reference) = registry::reference(path)?
    {
        return super::super::in_background(registry::list(&reference, &arguments.reach, format));
    }
    let (mut summaries, mut wrong) = (Vec::new(), Vec::new());
    for folder in (Packages { paths: arguments.paths.clone() }).folders()? {
        let package = match load(&folder)? {
            Ok(package) => package,
            Err(problems) => {
                wrong.push(Wrong::new(&folder, &problems));
                continue;
            }
        };
        let summary = Summary::of(&package.manifest);
        if arguments.search.as_deref().is_none_or(|search| summary.matches(search)) {
            summaries.push(summary);
        }
    }
    summaries.sort_by(|a, b| a.type_.cmp(&b.type_).then_with(|| order(&a.version, &b.version)));
    if format.is_for_programs() || !summaries.is_empty() || wrong.is_empty() {
        output::print(format, &entries(&summaries, &wrong), || table(&summaries))?;
    }
    if wrong.is_empty() { Ok(Outcome::Done) } else { Err(all_wrong(&wrong)) }
}

fn table(summaries: &[Summary]) -> Table {
    let mut table = Table::new(&["TYPE", "VERSION", "RUNS", "DESCRIPTION"]);
    for summary in summaries {
        let cells = [&summary.type_, &summary.version, &summary.line(), &summary.description];
        table.row(cells.into_iter().map(|text| text.as_str().into()).collect());
    }
    table
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Installed {
    #[serde(rename = "type")]
    type_: String,
    version: String,
    ready: bool,
    runs: String,
    instances: i32,
    digest: String,
    errors: Vec<String>,
}

async fn installed(arguments: &Arguments, connection: &Connection, format: Format) -> Result<Outcome, CommandError> {
    let cluster = connection.connect().await?;
    let api: Api<Extension> = Api::all(cluster.client.clone());
    let list =
        connection.in_time(cluster.config.cluster_url.to_string().as_str(), api.list(&ListParams::default())).await?;
    let mut all: Vec<Installed> = list.items.iter().map(of).collect();
    if let Some(search) = &arguments.search {
        let text = |one: &Installed| format!("{} {} {}", one.type_, one.version, one.runs).to_lowercase();
        all.retain(|one| search.split_whitespace().all(|word| text(one).contains(&word.to_lowercase())));
    }
    all.sort_by(|a, b| a.type_.cmp(&b.type_).then_with(|| order(&a.version, &b.version)));
    if all.is_empty() && format == Format::Table {
        let what =
            if arguments.search.is_some() { "no installed package has these words" } else { "no package is installed" };
        eprintln!("{what}; to install one: midship extension install FOLDER");
        return Ok(Outcome::Done);
    }
    output::print(format, &all, || {
        let mut table = Table::new(&["TYPE", "VERSION", "READY", "INSTANCES", "RUNS"]);
        for one in &all {
            let ready = if one.ready { Cell::new("True", Tone::Good) } else { Cell::new("False", Tone::Bad) };
            let runs = one.errors.first().unwrap_or(&one.runs);
            table.row(vec![
                one.type_.as_str().into(),
                one.version.as_str().into(),
                ready,
                one.instances.to_string().into(),
                runs.as_str().into(),
            ]);
        }
        table
    })?;
    Ok(Outcome::Done)
}

fn of(extension: &Extension) -> Installed {
    let status = extension.status.clone().unwrap_or_default();
    let ready = find(&status.conditions, READY);
    let mut errors = status.errors;
    if errors.is_empty() {
        let not = ready.filter(|ready| ready.status != ConditionStatus::True).map(|ready| ready.message.clone());
        errors.extend(not);
        if ready.is_none() {
            errors.push(format!("{} was not looked at by a controller yet", extension.name_any()));
        }
    }
    Installed {
        type_: extension.spec.type_.to_string(),
        version: extension.spec.version.to_string(),
        ready: ready.is_some_and(|ready| ready.status == ConditionStatus::True),
        runs: status.summary.unwrap_or_default(),
        instances: status.instances.unwrap_or_default(),
        digest: extension.spec.digest.clone(),
        errors,
    }
}
