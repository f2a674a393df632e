//! `midship plan`: what the controller would do in the cluster if these files were pushed, and why.

use clap::Args;
use serde::Serialize;

use super::Outcome;
use super::connection::Connection;
use super::diff::effects;
use super::error::CommandError;
use super::live::{Against, Compared, compare};
use super::output::{self, Cell, Format, Table, Tone, in_markdown, printable};
use super::repository::Files;
use super::validate::{counted, wrong_files};
use crate::cue::Cue;
use crate::plan::source::{ObjectId, What};

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
    /// Why nothing of this would be applied as it is.
    blocked: Vec<String>,
    actions: Vec<ShownAction>,
    /// Deletions that would wait for somebody to agree.
    held: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    held_because: Option<String>,
    /// Objects that the files ask for and that would not be applied.
    refused: Vec<Left>,
    /// Operations that were begun before, and would not be again.
    done: Vec<Left>,
    /// Objects that somebody changed and that would be left so.
    drifted: Vec<Left>,
    /// Objects that another source applied.
    foreign: Vec<Left>,
    /// Folders that no trusted commit vouches for, and objects that stay as they are for that.
    untrusted: Vec<Left>,
    /// Objects that no file defines any more and that are never deleted for that.
    left: Vec<Left>,
    /// Objects that are still being deleted.
    leaving: Vec<Left>,
    unchanged: usize,
    /// Files that define nothing because they are wrong.
    errors: usize,
    /// What could not be found out.
    notes: Vec<String>,
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

impl Left {
    fn of(object: &impl ToString, why: impl Into<String>) -> Self {
        Self { object: object.to_string(), why: why.into() }
    }
}

pub async fn run(arguments: &Arguments, connection: &Connection, format: Format) -> Result<Outcome, CommandError> {
    let Arguments { files, against, revision } = arguments;
    let compared = compare(files, revision.as_deref(), against, connection).await?;
    let shown = shown(&compared);
    match format {
        Format::Table | Format::Markdown => {
            print!("{}", text(&shown, format));
            for note in &shown.notes {
                eprintln!("note: {}", printable(note));
            }
        }
        Format::Json | Format::Yaml => output::print(format, &shown, || Table::new(&[]))?,
    }
    ended(&shown, &compared)
}

/// What the command ends with: a push that does not bring what its files say is a mistake.
fn ended(shown: &Shown, compared: &Compared) -> Result<Outcome, CommandError> {
    if shown.errors > 0 {
        return Err(wrong_files(&compared.snapshot.defined.errors, compared.snapshot.unsettled()));
    }
    if !shown.blocked.is_empty() {
        return Err(CommandError::new("nothing of this would be applied as it is")
            .at(format!("source {}", shown.source))
            .remedy(printable(&shown.blocked.join("; "))));
    }
    if !shown.refused.is_empty() {
        let each: Vec<String> = shown.refused.iter().map(|one| printable(&one.why)).collect();
        let number = counted(each.len(), "object");
        return Err(CommandError::new(format!("{number} would be refused; everything else would be applied"))
            .at(each.join("\n         "))
            .remedy("do what is said of each"));
    }
    let quiet = shown.actions.is_empty() && shown.held.is_empty();
    Ok(if quiet { Outcome::Done } else { Outcome::Changes })
}

fn shown(compared: &Compared) -> Shown {
    let Compared { source, plan, snapshot, live, ignored: _, guards } = compared;
    // asked once of what is alike
    let rules = Cue::default();
    let actions = plan.actions.iter().map(|action| ShownAction {
        action: verb(action.what),
        object: action.id.to_string(),
        reason: action.reason.clone(),
        effects: effects(&action.id, live.get(&action.id), action.what != What::Delete, snapshot, &rules),
    });
    let is_wanted = |id: &ObjectId| snapshot.defined.objects.iter().any(|manifest| manifest.id == *id);
    let leaving = |id: &ObjectId| {
        let again = if is_wanted(id) { ", and is made again once it is gone" } else { "" };
        Left::of(id, format!("it is still being deleted{again}"))
    };
    let folders = guards.untrusted.iter().map(|(folder, reason)| Left::of(&format!("{folder}/"), reason));
    let kept =
        plan.kept.iter().map(|(id, path)| Left::of(id, format!("it was applied from {path}, and stays as it is")));
    Shown {
        source: source.clone(),
        blocked: guards.blocked.clone(),
        actions: actions.collect(),
        held: plan.held.iter().map(ToString::to_string).collect(),
        held_because: plan.held_because.clone(),
        refused: plan.refused.iter().map(|(id, refused)| Left::of(id, &refused.message)).collect(),
        done: plan.done.iter().map(|(id, why)| Left::of(id, why)).collect(),
        drifted: plan
            .drifted
            .iter()
            .map(|(id, fields)| Left::of(id, format!("somebody changed {}", fields.join(", "))))
            .collect(),
        foreign: plan.foreign.iter().map(|(id, by)| Left::of(id, format!("the source {by} applied it"))).collect(),
        untrusted: folders.chain(kept).collect(),
        left: plan.left.iter().map(|(id, why)| Left::of(id, why)).collect(),
        leaving: plan.leaving.iter().map(leaving).collect(),
        unchanged: plan.in_sync,
        errors: snapshot.defined.errors.len(),
        notes: guards.notes.clone(),
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
        row(Cell::new("hold", Tone::Bad), one, "its deletion waits; why is said below");
    }
    let others = [
        ("refuse", Tone::Bad, &shown.refused),
        ("leave", Tone::Bad, &shown.untrusted),
        ("leave", Tone::Doubtful, &shown.drifted),
        ("leave", Tone::Plain, &shown.foreign),
        ("leave", Tone::Plain, &shown.left),
        ("wait", Tone::Doubtful, &shown.leaving),
        ("done", Tone::Plain, &shown.done),
    ];
    for (word, tone, all) in others {
        for one in all {
            row(Cell::new(word, tone), &one.object, &one.why);
        }
    }
    // in Markdown each is a paragraph of its own
    let end = if format == Format::Markdown { "\n\n" } else { "\n" };
    let shown_as = if format == Format::Markdown { in_markdown } else { printable };
    let line = |word: &str, text: &String| format!("{word}: {}{end}", shown_as(text));
    let blocked: String = shown.blocked.iter().map(|reason| line("not applied", reason)).collect();
    let because: String = shown.held_because.iter().map(|because| line("held", because)).collect();
    let changes = counted(shown.actions.len(), "change");
    let summary = format!("source {}: {changes}, {} unchanged\n", shown.source, shown.unchanged);
    let table = if table.is_empty() { String::new() } else { format!("{}\n", table.shown(format)) };
    format!("{table}{blocked}{because}{summary}")
}
