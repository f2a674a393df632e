//! `midship plan`: what the controller would do in the cluster if these files were pushed, and why.

use clap::Args;
use serde::Serialize;

use super::Outcome;
use super::connection::Connection;
use super::diff::effects;
use super::error::CommandError;
use super::live::{Against, Compared, compare};
use super::output::{self, Cell, Format, Table, Tone};
use super::repository::Files;
use super::validate::wrong_files;
use crate::plan::source::What;

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    files: Files,

    #[command(flatten)]
    against: Against,

    /// Plan a commit instead of the files as they are.
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    source: String,
    actions: Vec<ShownAction>,
    /// Deletions that would wait for somebody to agree.
    held: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    held_because: Option<String>,
    /// Objects that somebody changed and that would be left so.
    drifted: Vec<Left>,
    /// Objects that another source applied.
    foreign: Vec<Left>,
    unchanged: usize,
    /// Files that define nothing because they are wrong.
    errors: usize,
}

#[derive(Serialize)]
struct ShownAction {
    action: &'static str,
    object: String,
    reason: String,
    effects: Vec<String>,
}

#[derive(Serialize)]
struct Left {
    object: String,
    why: String,
}

pub async fn run(arguments: &Arguments, connection: &Connection, format: Format) -> Result<Outcome, CommandError> {
    let Arguments { files, against, revision } = arguments;
    let compared = compare(files, revision.as_deref(), against, connection).await?;
    let shown = shown(&compared);
    match format {
        Format::Table | Format::Markdown => anstream::print!("{}", text(&shown, format)),
        Format::Json | Format::Yaml => output::print(format, &shown, || Table::new(&[]))?,
    }
    if shown.errors > 0 {
        return Err(wrong_files(&compared.snapshot.defined.errors));
    }
    let quiet = shown.actions.is_empty() && shown.held.is_empty();
    Ok(if quiet { Outcome::Done } else { Outcome::Changes })
}

fn shown(compared: &Compared) -> Shown {
    let plan = &compared.plan;
    let actions = plan.actions.iter().map(|action| ShownAction {
        action: verb(action.what),
        object: action.id.to_string(),
        reason: action.reason.clone(),
        effects: effects(&action.id, compared.live.get(&action.id), action.what != What::Delete, &compared.snapshot),
    });
    let drifted = plan.drifted.iter();
    let foreign = plan.foreign.iter();
    Shown {
        source: compared.source.clone(),
        actions: actions.collect(),
        held: plan.held.iter().map(ToString::to_string).collect(),
        held_because: plan.held_because.clone(),
        drifted: drifted
            .map(|(id, fields)| Left { object: id.to_string(), why: format!("somebody changed {}", fields.join(", ")) })
            .collect(),
        foreign: foreign
            .map(|(id, by)| Left { object: id.to_string(), why: format!("the source {by} applied it") })
            .collect(),
        unchanged: plan.in_sync,
        errors: compared.snapshot.defined.errors.len(),
    }
}

fn verb(what: What) -> &'static str {
    match what {
        What::Create => "create",
        What::Adopt => "adopt",
        What::Update => "update",
        What::Revert => "revert",
        What::Delete => "delete",
    }
}

fn text(shown: &Shown, format: Format) -> String {
    let mut table = Table::new(&["ACTION", "OBJECT", "WHY"]);
    let mut row = |action: Cell, object: &str, why: &str| table.row(vec![action, object.into(), why.into()]);
    for one in &shown.actions {
        let tone = match one.action {
            "create" | "adopt" => Tone::Good,
            "delete" => Tone::Bad,
            _ => Tone::Doubtful,
        };
        row(Cell::new(one.action, tone), &one.object, &one.reason);
        for effect in &one.effects {
            row("".into(), "", &format!("⇒ {effect}"));
        }
    }
    for one in &shown.held {
        row(Cell::new("hold", Tone::Bad), one, "its deletion waits for somebody to agree");
    }
    for one in &shown.drifted {
        row(Cell::new("leave", Tone::Doubtful), &one.object, &one.why);
    }
    for one in &shown.foreign {
        row(Cell::new("leave", Tone::Plain), &one.object, &one.why);
    }
    let because = shown.held_because.as_ref().map(|because| format!("held: {because}\n")).unwrap_or_default();
    let number = shown.actions.len();
    let changes = if number == 1 { "1 change".to_owned() } else { format!("{number} changes") };
    let summary = format!("source {}: {changes}, {} unchanged\n", shown.source, shown.unchanged);
    let table = if table.is_empty() { String::new() } else { format!("{}\n", table.shown(format)) };
    format!("{table}{because}{summary}")
}
