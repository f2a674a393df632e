//! `midship backup verify`: is everything still there, and is it what was written? Needs no private key.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use serde::Serialize;

use super::super::Outcome;
use super::super::connection::Connection;
use super::super::error::CommandError;
use super::super::output::{self, Cell, Format, Table, Tone};
use super::list::tell_problems;
use super::source;
use crate::backup::keys::KeyCheck;
use crate::backup::manifest::Level;
use crate::backup::verify;

#[derive(Args)]
pub struct Arguments {
    /// Backups, by identity or name; all where left out.
    backups: Vec<String>,

    /// Read every byte.
    #[arg(long)]
    read: bool,

    /// Write down in the repository what was found, as the controller does.
    #[arg(long)]
    record: bool,

    #[command(flatten)]
    source: source::SourceArguments,
}

#[derive(Serialize)]
struct Verdict {
    backup: String,
    level: Level,
    problems: Vec<String>,
}

pub async fn run(arguments: &Arguments, connection: &Connection, format: Format) -> Result<Outcome, CommandError> {
    let source = arguments.source.open(connection).await?;
    let key = arguments.record.then(|| source.signing()).transpose()?;
    let catalog = source.catalog().await?;
    tell_problems(&catalog);
    let chosen = if arguments.backups.is_empty() {
        catalog.found.iter().collect()
    } else {
        arguments.backups.iter().map(|word| source::find(&catalog, word)).collect::<Result<Vec<_>, _>>()?
    };
    let bar = bar(chosen.len());
    let failed = |error: verify::VerifyError| CommandError::new(error.to_string()).at(source.address());
    let mut keys = KeyCheck::with(source.kit.as_ref(), source.identity.as_ref());
    let (mut verdicts, mut unseen) = (Vec::new(), BTreeSet::new());
    for found in chosen {
        bar.set_message(found.place.id.to_string());
        let mut looks = vec![(Level::Listed, verify::list(&source.repository, &catalog, found).await.map_err(failed)?)];
        if arguments.read {
            looks.push((Level::Read, verify::read(&source.repository, found, None).await.map_err(failed)?));
        }
        let (mut level, mut all) = (Level::Listed, Vec::new());
        for (looked, problems) in looks {
            if let Some(key) = &key {
                let (what, now) = ((looked, None), Timestamp::now());
                let recorded = verify::record(&source.repository, found, what, problems.clone(), key, now).await;
                recorded.map_err(|error| CommandError::new(error.to_string()).at(source.address()))?;
            }
            level = looked;
            all.extend(problems);
        }
        match keys.problems(&source.repository, found.manifest.epoch.as_ref()).await {
            Ok(locked) => all.extend(locked),
            // what we may not read is no damage
            Err(error) if error.is_about_object() => {
                unseen.insert(error.to_string());
            }
            Err(error) => return Err(failed(error.into())),
        }
        verdicts.push(Verdict { backup: found.place.id.to_string(), level, problems: all });
        bar.inc(1);
    }
    bar.finish_and_clear();
    for error in unseen {
        eprintln!("keys could not be looked at: {error}");
    }
    output::print(format, &verdicts, || table(&verdicts))?;
    let bad = verdicts.iter().filter(|verdict| !verdict.problems.is_empty()).count();
    let strange = catalog.told().count();
    if bad + strange > 0 {
        return Err(CommandError::new(format!(
            "{bad} of {} backups are damaged, and {} objects are not believed",
            verdicts.len(),
            strange
        ))
        .at(source.address())
        .remedy("restore from one that is whole, and find out who changed the store"));
    }
    if format == Format::Table {
        let how = if arguments.read { "every byte of them is what was written" } else { "everything is there" };
        println!("{} backups: {how}", verdicts.len());
    }
    Ok(Outcome::Done)
}

/// On a terminal alone.
fn bar(length: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} {elapsed}").expect("a fixed template");
    let bar = ProgressBar::new(length as u64).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

fn table(verdicts: &[Verdict]) -> Table {
    let mut table = Table::new(&["BACKUP", "LOOKED", "FOUND"]);
    for verdict in verdicts {
        let found = match verdict.problems.as_slice() {
            [] => Cell::new("whole", Tone::Good),
            problems => Cell::new(problems.join("; "), Tone::Bad),
        };
        table.row(vec![verdict.backup.as_str().into(), format!("{:?}", verdict.level).into(), found]);
    }
    table
}
