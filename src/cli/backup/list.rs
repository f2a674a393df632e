//! `midship backup list`: from the cluster's Backup objects, or straight from a store.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde::Serialize;
use serde_json::Value;

use super::super::Outcome;
use super::super::connection::Connection;
use super::super::error::CommandError;
use super::super::output::{self, Cell, Format, Table, Tone};
use super::super::session::{Session, instance_name};
use super::source;
use crate::api::instance::BackedUpInstance;
use crate::api::{Backup, labels};
use crate::backup::read::{Catalog, Found};
use crate::controller::repositories::words::{age, size};

#[derive(Args)]
pub struct Arguments {
    /// Only backups of this instance: its name or UID.
    instance: Option<String>,

    #[command(flatten)]
    source: source::SourceArguments,
}

/// A backup as it is listed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    backup: String,
    instance: String,
    /// The group it is of, where it is a part of a set of backups of all groups, and what that set lacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<Part>,
    #[serde(rename = "type")]
    type_: String,
    phase: String,
    size: String,
    verified: String,
    completed_at: Option<Timestamp>,
    expires_at: Option<String>,
    message: Option<String>,
}

/// Which part a backup is.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    group: String,
    set: String,
    size: usize,
    missing: usize,
}

impl Part {
    /// From the labels of the backup; how many others there are is counted later.
    fn of(said: &BTreeMap<String, String>) -> Option<Self> {
        let group = said.get(labels::GROUP)?.clone();
        let (set, size) = (said.get(labels::SET)?.clone(), said.get(labels::SET_SIZE)?.parse().ok()?);
        Some(Self { group, set, size, missing: 0 })
    }

    fn cell(&self) -> Cell {
        let whole = format!("{} of {}", self.group, self.size);
        match self.missing {
            0 => Cell::new(whole, Tone::Good),
            missing => Cell::new(format!("{whole}, {missing} missing"), Tone::Bad),
        }
    }
}

/// Half a set is no backup: how many parts are not there.
fn count(rows: &mut [Row]) {
    let mut there: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for row in rows.iter().filter(|row| ["Completed", "Expiring"].contains(&row.phase.as_str())) {
        let Some(part) = &row.part else { continue };
        there.entry((row.instance.clone(), part.set.clone())).or_default().insert(part.group.clone());
    }
    for row in rows {
        let Some(part) = &mut row.part else { continue };
        let known = there.get(&(row.instance.clone(), part.set.clone())).map_or(0, BTreeSet::len);
        part.missing = part.size.saturating_sub(known);
    }
}

pub async fn run(arguments: &Arguments, connection: &Connection, format: Format) -> Result<Outcome, CommandError> {
    let straight = arguments.source.is_store() || arguments.source.repository.is_some();
    let mut rows =
        if straight { from_store(arguments, connection).await? } else { of_cluster(arguments, connection).await? };
    if rows.is_empty() && !format.is_for_programs() {
        return Ok(Outcome::Done);
    }
    rows.sort_by(|a, b| (&a.instance, a.completed_at, &a.backup).cmp(&(&b.instance, b.completed_at, &b.backup)));
    count(&mut rows);
    output::print(format, &rows, || table(&rows, Timestamp::now()))?;
    Ok(Outcome::Done)
}

fn table(rows: &[Row], now: Timestamp) -> Table {
    let parts = rows.iter().any(|row| row.part.is_some());
    let mut columns = vec!["BACKUP", "INSTANCE", "TYPE", "PHASE", "SIZE", "PROVEN", "AGE", "GOES"];
    if parts {
        columns.insert(2, "PART");
    }
    let mut table = Table::new(&columns);
    for row in rows {
        let tone = match row.phase.as_str() {
            "Completed" => Tone::Good,
            "Damaged" | "Failed" => Tone::Bad,
            _ => Tone::Doubtful,
        };
        let mut cells: Vec<Cell> = vec![
            row.backup.as_str().into(),
            row.instance.as_str().into(),
            row.type_.as_str().into(),
            Cell::new(row.phase.as_str(), tone),
            row.size.as_str().into(),
            row.verified.as_str().into(),
            row.completed_at.map_or(String::new(), |at| age(at, now)).into(),
            row.expires_at.as_deref().unwrap_or_default().into(),
        ];
        if parts {
            cells.insert(2, row.part.as_ref().map_or_else(|| "".into(), Part::cell));
        }
        table.row(cells);
    }
    table
}

async fn of_cluster(arguments: &Arguments, connection: &Connection) -> Result<Vec<Row>, CommandError> {
    let session = Session::open(connection).await.map_err(source::or_the_store_itself)?;
    let api: Api<Backup> = Api::namespaced(session.client.clone(), &session.namespace);
    let all = session.ask(api.list(&ListParams::default())).await?;
    let wanted = arguments.instance.as_deref().map(instance_name).transpose()?;
    let is_of = |backup: &Backup| {
        let BackedUpInstance { name, uid, .. } = &backup.spec.instance;
        wanted.as_ref().is_none_or(|wanted| {
            name.as_ref().is_some_and(|name| name.as_str() == wanted) || uid.as_ref() == Some(wanted)
        })
    };
    let rows: Vec<Row> = all.items.iter().filter(|backup| is_of(backup)).map(of_object).collect();
    if rows.is_empty() {
        let of = wanted.map_or(String::new(), |wanted| format!(" of {wanted}"));
        eprintln!("there are no backups{of} in the namespace {}", session.namespace);
    }
    Ok(rows)
}

fn of_object(backup: &Backup) -> Row {
    let status = backup.status.clone().unwrap_or_default();
    let BackedUpInstance { name, uid, .. } = backup.spec.instance.clone();
    let word = |value: Option<Value>| value.and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default();
    Row {
        backup: backup.name_any(),
        instance: name.map(|name| name.to_string()).or(uid).unwrap_or_default(),
        part: status.labels.as_ref().and_then(Part::of),
        type_: word(status.type_.and_then(|type_| serde_json::to_value(type_).ok())),
        phase: word(status.phase.and_then(|phase| serde_json::to_value(phase).ok())),
        size: status.size.unwrap_or_default(),
        verified: word(status.verified.and_then(|verified| serde_json::to_value(verified).ok())),
        completed_at: status.completed_at.and_then(|at| at.parse().ok()),
        expires_at: status.expires_at,
        message: status.message,
    }
}

async fn from_store(arguments: &Arguments, connection: &Connection) -> Result<Vec<Row>, CommandError> {
    let source = arguments.source.open(connection).await?;
    let catalog = source.catalog().await?;
    tell_problems(&catalog);
    let mut rows = Vec::new();
    for found in &catalog.found {
        let described = source.described(found).await.and_then(Result::ok);
        let name = described.and_then(|described| described.get("instance")?.as_str().map(str::to_owned));
        let uid = found.place.owner.instance.to_string();
        let wanted = arguments.instance.as_deref();
        if wanted.is_none_or(|wanted| Some(wanted) == name.as_deref() || wanted == uid) {
            rows.push(of_found(found, name.unwrap_or(uid)));
        }
    }
    if rows.is_empty() {
        eprintln!("there are no such backups in {}", source.address());
    }
    Ok(rows)
}

fn of_found(found: &Found, instance: String) -> Row {
    let manifest = &found.manifest;
    let damage = found.damage().map(|damage| damage.problems.join("; "));
    Row {
        backup: manifest.id.to_string(),
        instance,
        part: found.set().and_then(|_| Part::of(&manifest.labels)),
        type_: format!("{:?}", manifest.type_),
        phase: format!("{:?}", found.phase()),
        size: size(manifest.chunks.stored_bytes),
        verified: format!("{:?}", found.proof().0),
        completed_at: Some(manifest.completed_at),
        expires_at: None,
        message: damage,
    }
}

/// What cannot be read or believed is told before anything else.
pub fn tell_problems(catalog: &Catalog) {
    for problem in catalog.told() {
        eprintln!("not believed: {}: {}", problem.object, problem.reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(backup: &str, part: Option<(&str, &str)>, phase: &str) -> Row {
        let said = part.map(|(group, set)| {
            let all = [(labels::GROUP, group), (labels::SET, set), (labels::SET_SIZE, "3")];
            all.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
        });
        Row {
            backup: backup.to_owned(),
            instance: "orders".to_owned(),
            part: said.as_ref().and_then(Part::of),
            type_: "Full".to_owned(),
            phase: phase.to_owned(),
            size: "1 KiB".to_owned(),
            verified: "Committed".to_owned(),
            completed_at: None,
            expires_at: None,
            message: None,
        }
    }

    #[test]
    fn half_a_set_is_told_from_a_whole_one() {
        let mut rows = vec![
            row("alone", None, "Completed"),
            row("a", Some(("shard-0", "one")), "Completed"),
            row("b", Some(("shard-1", "one")), "Completed"),
            row("c", Some(("shard-2", "one")), "Expiring"),
            row("d", Some(("shard-0", "two")), "Completed"),
            // its agent was started anew in the middle
            row("e", Some(("shard-0", "two")), "Completed"),
            row("f", Some(("shard-1", "two")), "Damaged"),
        ];
        count(&mut rows);
        let told = rows.iter().map(|row| row.part.as_ref().map(|part| (part.group.as_str(), part.missing)));
        let (one, two) = (|group| Some((group, 0)), |group| Some((group, 2)));
        let wanted =
            [None, one("shard-0"), one("shard-1"), one("shard-2"), two("shard-0"), two("shard-0"), two("shard-1")];
        assert_eq!(told.collect::<Vec<_>>(), wanted);
    }
}
