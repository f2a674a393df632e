//! `midship backup describe`: one backup as the store has it.

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::Outcome;
use super::super::connection::Connection;
use super::super::error::CommandError;
use super::super::output::{self, Format, Table};
use super::source;
use crate::backup::log;
use crate::backup::read::{Found, Target};
use crate::controller::repositories::words::{age, size, span};

#[derive(Args)]
pub struct Arguments {
    /// The backup: its identity, or the name of its object.
    backup: String,

    #[command(flatten)]
    source: source::SourceArguments,
}

pub async fn run(arguments: &Arguments, connection: &Connection, format: Format) -> Result<Outcome, CommandError> {
    let source = arguments.source.open(connection).await?;
    let catalog = source.catalog().await?;
    let found = source::find(&catalog, &arguments.backup)?;
    let chain = catalog.chain(&found.place.owner, Target::Backup(found.place.id));
    let window = match &found.manifest.log {
        Some(span) => {
            let histories = log::histories(&source.repository).await;
            let histories = histories.map_err(|error| CommandError::new(error.to_string()).at(source.address()))?;
            let window = log::window(&source.repository, span, found.manifest.completed_at, &histories).await;
            window.map_err(|error| CommandError::new(error.to_string()).at(source.address()))?
        }
        None => None,
    };
    let described = source.described(found).await;
    let chain = match chain {
        Ok(chain) => chain.iter().map(|one| one.place.id.to_string()).collect::<Vec<_>>().join(" → "),
        Err(error) => format!("it cannot be restored: {error}"),
    };
    let until = window.map(|window| window.recoverable_until);
    let all = json!({ "manifest": found.manifest, "verified": found.verified.values().collect::<Vec<_>>(),
        "wish": found.wish, "tombstone": found.tombstone, "chain": chain, "recoverableUntil": until,
        "description": described.as_ref().and_then(|described| described.as_ref().ok()) });
    let facts = facts(found, &chain, until, described.as_ref());
    output::print(format, &all, || {
        let mut table = Table::new(&["WHAT", "HOW IT IS"]);
        for (what, how) in facts {
            table.row(vec![what.into(), how.into()]);
        }
        table
    })?;
    Ok(Outcome::Done)
}

type Described = Result<serde_json::Map<String, Value>, String>;

fn facts(
    found: &Found,
    chain: &str,
    until: Option<Timestamp>,
    described: Option<&Described>,
) -> Vec<(&'static str, String)> {
    let (manifest, now) = (&found.manifest, Timestamp::now());
    let took = span(manifest.completed_at.duration_since(manifest.started_at));
    let (level, proven) = found.proof();
    let mut facts = vec![
        ("Backup", manifest.id.to_string()),
        ("Cluster", manifest.owner.cluster.to_string()),
        ("Instance", manifest.owner.instance.to_string()),
        ("Type", format!("{:?} by the method {}", manifest.type_, manifest.method)),
        ("Engine", manifest.engine.clone()),
        ("Complete", format!("{} ({} ago, in {took})", manifest.completed_at, age(manifest.completed_at, now))),
        ("Data", size(manifest.chunks.source_bytes)),
        ("Stored", format!("{} in {} chunks", size(manifest.chunks.stored_bytes), manifest.chunks.count)),
        ("Encrypted", manifest.epoch.as_ref().map_or("no".to_owned(), |epoch| format!("to the epoch {epoch}"))),
        ("Restored with", chain.to_owned()),
        ("Proven", format!("{level:?} {} ago", age(proven, now))),
    ];
    let streams = manifest.streams.iter();
    facts.extend(streams.map(|one| ("Stream", format!("{} ({}), {}", one.name, one.format, size(one.bytes)))));
    if let Some(span) = &manifest.log {
        let reach = until.map_or("not beyond the backup itself".to_owned(), |until| format!("until {until}"));
        facts.push(("Log", format!("of {}; one can go on {reach}", span.line.system)));
    }
    facts.extend(manifest.labels.iter().map(|(name, value)| ("Label", format!("{name}={value}"))));
    if let Some(wish) = found.wish.as_ref().filter(|wish| wish.hold) {
        facts.push(("Held", format!("since {}", wish.at)));
    }
    facts.extend(found.damage().into_iter().flat_map(|damage| damage.problems.clone()).map(|one| ("Damaged", one)));
    facts.extend(found.tombstone.iter().map(|tombstone| ("Goes", tombstone.reason.clone())));
    match described {
        Some(Ok(described)) => {
            let named = |field: &str| described.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
            facts.push(("Was called", format!("{} in {}", named("instance"), named("namespace"))));
        }
        Some(Err(reason)) => facts.push(("Was called", format!("cannot be read: {reason}"))),
        None => facts.push(("Was called", "only a private key tells: --identity".to_owned())),
    }
    facts
}
