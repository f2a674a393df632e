//! `midship backup prune`: what retention decides, each backup with its reason, and doing it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::NamespaceResourceScope;
use kube::api::ListParams;
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::Outcome;
use super::super::connection::Connection;
use super::super::error::CommandError;
use super::super::output::{self, Cell, Format, Table, Tone};
use super::super::session::Session;
use super::list::tell_problems;
use super::source;
use crate::api::{BackupPolicy, BackupRepository, Instance};
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

    /// Where the repository's file system is mounted here: file:///FOLDER.
    #[arg(long, value_name = "ADDRESS", requires = "repository")]
    from: Option<String>,
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
    let Arguments { repository, from, .. } = arguments;
    let place = source::SourceArguments {
        repository: repository.clone(),
        from: from.clone(),
        ..source::SourceArguments::default()
    };
    let source = place.open(connection).await?;
    let session = Session::open(connection).await?;
    let cluster = session.within(cluster(&session.client)).await??;
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
    if swept.locked > 0 {
        eprintln!("{} objects stay for now: the store keeps them locked", swept.locked);
    }
    if format == Format::Table {
        println!(
            "{} condemned, {} kept after all, {} removed, {} attempts cleared away, {} segments of logs removed",
            swept.condemned, swept.revived, swept.removed, swept.cleared, swept.segments
        );
    }
    Ok(Outcome::Done)
}

/// The rules of all policies whose backups go to this store, whichever BackupRepository they name, and the names of
/// instances, by UID.
async fn wanted(
    session: &Session<'_>,
    source: &source::Source,
) -> Result<(BTreeMap<String, Rules>, BTreeMap<String, String>), CommandError> {
    let uuid = source.repository.uuid().as_str();
    let repositories: Vec<BackupRepository> = everywhere(session).await?;
    let shows_it =
        |one: &&BackupRepository| one.status.as_ref().is_some_and(|status| status.uuid.as_deref() == Some(uuid));
    let own = source.home.as_ref().map(|home| &home.object);
    let leading: BTreeSet<(Option<String>, String)> =
        repositories.iter().filter(shows_it).chain(own).map(|one| (one.namespace(), one.name_any())).collect();
    let policies: Vec<BackupPolicy> = everywhere(session).await?;
    let instances: Vec<Instance> = everywhere(session).await?;
    let leads = |policy: &&BackupPolicy| leading.contains(&(policy.namespace(), policy.spec.repository.to_string()));
    let mut all = BTreeMap::new();
    for policy in policies.iter().filter(leads) {
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

/// The objects of all namespaces; of this one alone for who may not look further.
async fn everywhere<K>(session: &Session<'_>) -> Result<Vec<K>, CommandError>
where
    K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    K::DynamicType: Default,
{
    let all: Api<K> = Api::all(session.client.clone());
    if let Ok(list) = session.ask(all.list(&ListParams::default())).await {
        return Ok(list.items);
    }
    let here: Api<K> = Api::namespaced(session.client.clone(), &session.namespace);
    Ok(session.ask(here.list(&ListParams::default())).await?.items)
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
