//! `midship history`: what happened to an object: what changed, by which commit, by whom, and how it ended.

mod read;

use clap::Args;
use jiff::Timestamp;

use super::Outcome;
use super::connection::Connection;
use super::error::CommandError;
use super::origin::{Need, Origin};
use super::output::{self, Cell, Format, Table, Tone};
use super::session::target;
use crate::api::Kind;
use crate::diff::fields::FieldChange;
use crate::extension::parameters::plain;
use crate::names::NamespaceName;
use read::{Entry, entries};

#[derive(Args)]
pub struct Arguments {
    /// NAME of an instance, KIND NAME, or KIND/NAME.
    #[arg(value_name = "KIND/NAME", num_args = 1..=2, required = true)]
    words: Vec<String>,

    /// How many events are shown, the newest first.
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,

    #[command(flatten)]
    origin: Origin,
}

pub async fn run(arguments: &Arguments, connection: &Connection, format: Format) -> Result<Outcome, CommandError> {
    let target = target(&arguments.words, Some(Kind::Instance))?;
    let opened = arguments.origin.open(connection, Need::Audit).await?;
    let namespace = connection.namespace.as_ref().map(NamespaceName::as_str);
    let entries = entries(&opened, &target, namespace, arguments.limit)?;
    if entries.is_empty() {
        return Err(CommandError::new(format!("the record tells nothing of {} {}", target.kind.as_str(), target.name))
            .at(format!("{} of {}", opened.branch, opened.place))
            .remedy("check the name and the namespace (-n); the record begins with the first sync of its GitSource"));
    }
    match format {
        Format::Table | Format::Markdown => print!("{}", table(&entries).shown(format)),
        Format::Json | Format::Yaml => output::print(format, &entries, || Table::new(&[]))?,
    }
    Ok(Outcome::Done)
}

fn table(entries: &[Entry]) -> Table {
    let mut table = Table::new(&["WHEN", "WHAT", "COMMIT", "BY", "CHANGE"]);
    for entry in entries {
        let mut lines: Vec<String> = entry.changes.iter().map(line).collect();
        if let Some(reason) = &entry.reason {
            lines.insert(0, reason.clone());
        }
        let tone = if entry.result == "failed" { Tone::Bad } else { Tone::Plain };
        let what = if entry.result == "failed" { format!("{} FAILED", entry.action) } else { entry.action.clone() };
        let mut lines = lines.into_iter();
        table.row(vec![
            time(entry.at).into(),
            Cell::new(what, tone),
            entry.commit.chars().take(10).collect::<String>().into(),
            entry.author.clone().into(),
            lines.next().unwrap_or_else(|| entry.summary.clone()).into(),
        ]);
        for line in lines {
            table.row(vec!["".into(), "".into(), "".into(), "".into(), line.into()]);
        }
    }
    table
}

/// `2026-01-31 12:00`, in UTC.
pub fn time(at: i64) -> String {
    Timestamp::from_second(at).map_or_else(|_| at.to_string(), |at| at.strftime("%Y-%m-%d %H:%M").to_string())
}

fn line(change: &FieldChange) -> String {
    let shown = |value: &serde_json::Value| {
        let text = plain(value).replace('\n', " ");
        if text.chars().count() > 60 { format!("{}…", text.chars().take(60).collect::<String>()) } else { text }
    };
    match (&change.from, &change.to) {
        (None, Some(to)) => format!("+ {}: {}", change.field, shown(to)),
        (Some(from), None) => format!("- {}: {}", change.field, shown(from)),
        (Some(from), Some(to)) => format!("{}: {} → {}", change.field, shown(from), shown(to)),
        (None, None) => change.field.clone(),
    }
}
