//! `midship validate`: are these files what the controller would apply? Needs no cluster.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::Outcome;
use super::doubts;
use super::error::CommandError;
use super::extension::unchecked_is_refused;
use super::output::{self, Cell, Format, Table, Tone, printable};
use super::preview::{NoPreview, preview};
use super::repository::Files;
use super::snapshot::Snapshot;
use super::spot;
use crate::api::git_source::FileError;
use crate::cue::Cue;
use crate::extension::Refusal;
use crate::extension::problem::Code;
use crate::plan::source::Manifest;
use crate::plan::source::manifest::SETTINGS;
use crate::source::Defined;

/// How many files that are left out are named to people.
const NAMED: usize = 10;

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    files: Files,

    /// More files: only what is wrong in these is told, as a hook before a commit asks for.
    #[arg(value_name = "FILE")]
    more: Vec<PathBuf>,

    /// Look at a commit instead of the files as they are.
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,

    /// Fail where something could not be checked, such as rules in CUE.
    #[arg(long)]
    strict: bool,
}

#[derive(Serialize)]
struct Verdict<'a> {
    files: usize,
    objects: usize,
    errors: &'a [FileError],
    /// What could not be looked at, and is no error.
    notes: &'a [String],
    /// Rules that could not be checked, and why.
    unchecked: &'a [String],
    /// Files that the repository leaves out, and the place that says so of each.
    ignored: &'a BTreeMap<String, String>,
}

pub fn run(arguments: &Arguments, format: Format) -> Result<Outcome, CommandError> {
    let (files, only) = arguments.files.with_files(&arguments.more)?;
    let snapshot = match &arguments.revision {
        None => files.now()?,
        Some(revision) => files.at(revision)?,
    };
    let unsettled = snapshot.unsettled();
    let Looked { refused, unchecked, warnings, policies } = look(&snapshot);
    let mut notes = doubts::notes(&snapshot, &policies);
    notes.extend(doubts::few(warnings));
    let Defined { mut objects, mut errors, mut files, mut unknown, mut ignored, .. } = snapshot.defined;
    unknown.places.extend(refused.iter().map(|error| error.path.clone()));
    errors.extend(refused);
    if let Some(only) = only {
        // the rest of the folder was read for what these refer to
        objects.retain(|object| only.contains(&*object.path));
        errors.retain(|error| only.contains(&error.path));
        unknown.places.retain(|path| only.contains(path));
        ignored.retain(|path, _| only.contains(path));
        files = only.len() - ignored.len();
    } else if arguments.revision.is_none() {
        notes.extend(doubts::elsewhere(&arguments.files.path).or_else(|| doubts::nothing_here(files)));
    }
    let verdict = Verdict {
        files,
        objects: objects.len(),
        errors: &errors,
        notes: &notes,
        unchecked: &unchecked,
        ignored: &ignored,
    };
    if errors.is_empty() && !format.is_for_programs() {
        let (files, number) = (counted(files, "file"), counted(objects.len(), "object"));
        let but = if unchecked.is_empty() { "" } else { ", as far as it could be checked" };
        println!("all is well: {files}, {number}{but}");
    } else {
        output::print(format, &verdict, || table(&errors))?;
    }
    tell(&notes, format);
    tell(&unchecked, format);
    tell(&told_ignored(&ignored), format);
    if errors.is_empty() {
        return if arguments.strict && !unchecked.is_empty() { Err(unchecked_is_refused()) } else { Ok(Outcome::Done) };
    }
    let place = arguments.files.path.display().to_string();
    let wrong = format!("{} in {}", counted(errors.len(), "error"), counted(unknown.places.len(), "file"));
    let others = "mend the places named above; the controller applies every other file and leaves what these files defined before";
    Err(CommandError::new(wrong).at(place).remedy(unsettled.map_or_else(|| others.to_owned(), settings_first)))
}

/// What looking at every instance showed.
struct Looked<'a> {
    refused: Vec<FileError>,
    unchecked: Vec<String>,
    /// What works, but should not stay so.
    warnings: Vec<String>,
    /// The policies that instances are backed up by.
    policies: Vec<(&'a Manifest, String)>,
}

/// Instances that their packages refuse, where the repository has these packages, and those that would make the same object.
fn look(snapshot: &Snapshot) -> Looked<'_> {
    let mut refused = doubts::wrong_schedules(snapshot);
    refused.extend(snapshot.unopenable.iter().cloned());
    let mut looked = Looked { refused, unchecked: Vec::new(), warnings: Vec::new(), policies: Vec::new() };
    let mut made: BTreeMap<(String, String, String), &Manifest> = BTreeMap::new();
    let rules = Cue::default();
    for manifest in &snapshot.defined.objects {
        let mut refuse = |refusal: Refusal| looked.refused.push(spot::refused(snapshot, manifest, &refusal));
        match preview(snapshot, manifest, &rules) {
            Some(Err(NoPreview::Refused(refusals))) => refusals.into_iter().for_each(&mut refuse),
            Some(Ok(preview)) => {
                for object in preview.rendered.manifests() {
                    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                    let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
                    let key = (kind, text(&object["metadata"]["namespace"]), name);
                    match made.get(&key) {
                        Some(other) if other.id != manifest.id => {
                            let (kind, _, name) = &key;
                            let place = format!("{}:{}", other.path, other.line);
                            let reason = format!("{kind} {name} is also made by {} ({place}); rename one", other.id);
                            refuse(Refusal::new("metadata.name", Code::Invalid, reason));
                        }
                        _ => {
                            made.insert(key, manifest);
                        }
                    }
                }
                let warned = |warning: &String| format!("{}: {}: {warning}", manifest.path, manifest.id);
                looked.warnings.extend(preview.resolved.warnings.iter().map(warned));
                looked.policies.extend(preview.resolved.backup_policy.map(|policy| (manifest, policy.to_string())));
                looked.unchecked.extend(preview.unchecked);
            }
            Some(Err(NoPreview::Package(_))) | None => {}
        }
    }
    looked.unchecked.sort();
    looked.unchecked.dedup();
    looked
}

/// Which files are left out, and where that is said.
fn told_ignored(ignored: &BTreeMap<String, String>) -> Vec<String> {
    let each = ignored.iter().take(NAMED).map(|(path, place)| format!("{path} is ignored by {place}"));
    let more = ignored.len().saturating_sub(NAMED);
    let more = (more > 0).then(|| format!("{} more ignored; -o json names all", counted_are(more, "file")));
    each.chain(more).collect()
}

fn counted_are(number: usize, word: &str) -> String {
    format!("{} {}", counted(number, word), if number == 1 { "is" } else { "are" })
}

/// Where the notes are not in what is printed already.
pub fn tell(notes: &[String], format: Format) {
    if matches!(format, Format::Table | Format::Markdown) {
        for note in notes {
            eprintln!("note: {}", printable(note));
        }
    }
}

/// What to do where the repository's own settings cannot be read, and what holds until then.
fn settings_first(unsettled: &str) -> String {
    format!("mend {SETTINGS} first: {unsettled}")
}

/// For commands that show what follows from files: the mistakes in them, each with its place. `unsettled` is what holds
/// while the repository's own settings cannot be read.
pub fn wrong_files(errors: &[FileError], unsettled: Option<&str>) -> CommandError {
    let each: Vec<String> =
        errors.iter().map(|error| printable(&format!("{}: {}", place(error), error.message))).collect();
    CommandError::new("some files are wrong; what they would change is not shown, and what they defined before stays")
        .at(each.join("\n         "))
        .remedy(unsettled.map_or_else(|| "mend the places named above".to_owned(), settings_first))
}

/// Where in its file a mistake is, as far as that is known.
pub fn place(error: &FileError) -> String {
    match (error.line, error.column) {
        (Some(line), Some(column)) => format!("{}:{line}:{column}", error.path),
        _ => error.path.clone(),
    }
}

pub fn counted(number: usize, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}

fn table(errors: &[FileError]) -> Table {
    let mut table = Table::new(&["WHERE", "CODE", "WHAT"]);
    for error in errors {
        table.row(vec![place(error).into(), Cell::new(error.code.clone(), Tone::Bad), error.message.clone().into()]);
    }
    table
}
