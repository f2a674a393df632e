//! `midship backup prune`: what retention decides, each backup with its reason, and doing it.

use std::collections::BTreeMap;

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde::Serialize;

use super::super::Outcome;
use super::super::connection::Connection;
use super::super::error::CommandError;
use super::super::output::{self, Cell, Format, Table, Tone};
use super::super::session::Session;
use super::list::tell_problems;
use super::source;
use crate::api::{BackupPolicy, Instance};
use crate::backup::log;
use crate::backup::store::probe::probe;
use crate::backup::sweep;
use crate::controller::backup_repository::chores::decide;
use crate::controller::repositories::coverage::{Coverage, add, rules};
use crate::controller::repositories::known::cluster;
use crate::controller::repositories::words::size;
use crate::plan::retention::{Guards, Plan, Rules, Verdict};

#[derive(Args)]
pub struct Arguments {
    /// Only say what would become of each backup, and why.
    #[arg(long)]
    dry_run: bool,

    /// Also when more than a third of all backups would go at once.
    #[arg(long)]
    allow_many: bool,

    /// The BackupRepository; the only one in the namespace where left out.
    #[arg(long, value_name = "NAME")]
    repository: Option<String>,
}

#[derive(Serialize)]
struct Row {
    backup: String,
    instance: String,
    size: String,
    verdict: String,
    #[serde(skip)]
    goes: bool,
}

pub async fn run(arguments: &Arguments, connection: &Connection, format: Format) -> Result<Outcome, CommandError> {
    let place =
        source::SourceArguments { repository: arguments.repository.clone(), ..source::SourceArguments::default() };
    let source = place.open(connection).await?;
    let session = Session::open(connection).await?;
    let cluster = cluster(&session.client).await?;
    let (rules, names) = wanted(&session, &source).await?;
    let catalog = source.catalog().await?;
    tell_problems(&catalog);
    let (seen_at, key) = (Timestamp::now(), if arguments.dry_run { None } else { Some(source.signing()?) });
    let clock_ahead = if key.is_some() {
        probe(source.repository.store(), Timestamp::now).await?.clock_ahead
    } else {
        SignedDuration::ZERO
    };
    let guards = Guards { allow_many: arguments.allow_many, ..Guards::default() };
    let plan = decide(&catalog, &cluster, &rules, clock_ahead, guards, seen_at);
    let rows = rows(&plan, &names);
    if rows.is_empty() && format == Format::Table {
        println!("there are no backups of this cluster in {}", source.address());
    } else {
        output::print(format, &rows, || table(&rows))?;
    }
    let Some(key) = key else {
        if let Some(refusal) = &plan.refusal {
            eprintln!("nothing of it would be done: {refusal}");
        }
        return Ok(if plan.is_idle() { Outcome::Done } else { Outcome::Changes });
    };
    let failed = |error: &dyn std::fmt::Display| CommandError::new(error.to_string()).at(source.address());
    let now = Timestamp::now();
    let swept = sweep::sweep(&source.repository, &key, &catalog, &plan, seen_at, now).await;
    let mut swept = swept.map_err(|error| failed(&error))?;
    let histories = log::histories(&source.repository).await.map_err(|error| failed(&error))?;
    sweep::sweep_logs(&source.repository, &plan, &histories, &mut swept).await.map_err(|error| failed(&error))?;
    for problem in &swept.problems {
        eprintln!("it stays for now: {problem}");
    }
    if format == Format::Table {
        println!(
            "{} condemned, {} kept after all, {} removed, {} attempts cleared away, {} segments of logs removed",
            swept.condemned, swept.revived, swept.removed, swept.cleared, swept.segments
        );
    }
    Ok(Outcome::Done)
}

/// The rules of the policies of this repository, and the names of instances, by UID.
async fn wanted(
    session: &Session<'_>,
    source: &source::Source,
) -> Result<(BTreeMap<String, Rules>, BTreeMap<String, String>), CommandError> {
    let repository = source.home.as_ref().map(|home| home.object.name_any()).unwrap_or_default();
    let policies: Api<BackupPolicy> = Api::namespaced(session.client.clone(), &session.namespace);
    let policies = session.ask(policies.list(&ListParams::default())).await?.items;
    let instances: Vec<Instance> = session.ask(session.instances().list(&ListParams::default())).await?.items;
    let mut all = BTreeMap::new();
    for policy in policies.iter().filter(|policy| policy.spec.repository.as_str() == repository) {
        let coverage = Coverage::of(policy);
        let coverage = coverage
            .map_err(|error| CommandError::new(error.to_string()).at(format!("BackupPolicy {}", policy.name_any())))?;
        for instance in instances.iter().filter(|instance| coverage.covers(instance)) {
            add(&mut all, &instance.uid().unwrap_or_default(), rules(&policy.spec.retention));
        }
    }
    let names = instances.iter().map(|one| (one.uid().unwrap_or_default(), one.name_any())).collect();
    Ok((all, names))
}

fn rows(plan: &Plan, names: &BTreeMap<String, String>) -> Vec<Row> {
    let row = |decision: &crate::plan::retention::Decision| Row {
        backup: decision.id.rsplit('/').next().unwrap_or_default().to_owned(),
        instance: names.get(&decision.instance).unwrap_or(&decision.instance).clone(),
        size: size(decision.bytes),
        verdict: decision.verdict.to_string(),
        goes: !matches!(decision.verdict, Verdict::Keep(_) | Verdict::Revive(_)),
    };
    plan.decisions.iter().map(row).collect()
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&["BACKUP", "INSTANCE", "SIZE", "WHAT BECOMES OF IT"]);
    for row in rows {
        let tone = if row.goes { Tone::Doubtful } else { Tone::Plain };
        table.row(vec![
            row.backup.as_str().into(),
            row.instance.as_str().into(),
            row.size.as_str().into(),
            Cell::new(row.verdict.as_str(), tone),
        ]);
    }
    table
}
