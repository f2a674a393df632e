//! `midship validate`: are these files what the controller would apply? Needs no cluster.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::Outcome;
use super::error::CommandError;
use super::output::{self, Cell, Format, Table, Tone};
use super::preview::{NoPreview, preview};
use super::repository::Files;
use super::snapshot::Snapshot;
use crate::api::git_source::FileError;
use crate::cue::Cue;
use crate::source::Defined;

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
}

#[derive(Serialize)]
struct Verdict<'a> {
    files: usize,
    objects: usize,
    errors: &'a [FileError],
}

pub fn run(arguments: &Arguments, format: Format) -> Result<Outcome, CommandError> {
    let (files, only) = arguments.files.with_files(&arguments.more)?;
    let snapshot = match &arguments.revision {
        None => files.now()?,
        Some(revision) => files.at(revision)?,
    };
    let refused = refused(&snapshot);
    let Defined { mut objects, mut errors, mut files, mut broken } = snapshot.defined;
    broken.extend(refused.iter().map(|error| error.path.clone()));
    errors.extend(refused);
    if let Some(only) = only {
        // the rest of the folder was read for what these refer to
        objects.retain(|object| only.contains(&*object.path));
        errors.retain(|error| only.contains(&error.path));
        broken.retain(|path| only.contains(path));
        files = only.len();
    }
    let verdict = Verdict { files, objects: objects.len(), errors: &errors };
    if errors.is_empty() && format == Format::Table {
        let (files, number) = (counted(files, "file"), counted(objects.len(), "object"));
        anstream::println!("all is well: {files}, {number}");
        return Ok(Outcome::Done);
    }
    output::print(format, &verdict, || table(&errors))?;
    if errors.is_empty() {
        return Ok(Outcome::Done);
    }
    let place = arguments.files.path.display().to_string();
    let wrong = format!("{} in {}", counted(errors.len(), "error"), counted(broken.len(), "file"));
    Err(CommandError::new(wrong).at(place).remedy("mend the places named above; the controller applies every other file and leaves what these files defined before"))
}

/// Instances that their packages refuse, where the repository has these packages.
fn refused(snapshot: &Snapshot) -> Vec<FileError> {
    let error = |path: &str, line: Option<u32>, code: &str, message: String| FileError {
        path: path.to_owned(),
        line,
        column: line.map(|_| 1),
        code: code.to_owned(),
        message,
    };
    let mut errors = Vec::new();
    let rules = Cue::default();
    for manifest in &snapshot.defined.objects {
        if let Some(Err(NoPreview::Refused(reasons))) = preview(snapshot, manifest, &rules) {
            errors.extend(reasons.into_iter().map(|reason| {
                error(&manifest.path, Some(manifest.line), "refused", format!("{}: {reason}", manifest.id))
            }));
        }
    }
    errors
}

fn counted(number: usize, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}

fn table(errors: &[FileError]) -> Table {
    let mut table = Table::new(&["WHERE", "CODE", "WHAT"]);
    for error in errors {
        let place = match (error.line, error.column) {
            (Some(line), Some(column)) => format!("{}:{line}:{column}", error.path),
            _ => error.path.clone(),
        };
        table.row(vec![place.into(), Cell::new(error.code.clone(), Tone::Bad), error.message.clone().into()]);
    }
    table
}
