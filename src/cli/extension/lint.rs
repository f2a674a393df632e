//! `midship extension lint`: is a package right?

use clap::Args;
use serde::Serialize;

use super::super::Outcome;
use super::super::error::CommandError;
use super::super::output::{self, Cell, Format, Table, Tone, printable};
use super::{Packages, proven, times, unchecked_is_refused};
use crate::cue::Cue;
use crate::extension::Problem;
use crate::extension::proof::Proof;

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    packages: Packages,

    /// Fail where something could not be checked, such as rules in CUE.
    #[arg(long)]
    strict: bool,
}

#[derive(Serialize)]
struct Mistake {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    message: String,
}

#[derive(Serialize)]
struct Verdict {
    packages: usize,
    errors: Vec<Mistake>,
    /// What could not be checked, and why.
    unchecked: Vec<String>,
}

pub fn run(arguments: &Arguments, format: Format) -> Result<Outcome, CommandError> {
    let folders = arguments.packages.folders()?;
    let rules = Cue::default();
    let (mut errors, mut unchecked) = (Vec::new(), Vec::new());
    for folder in &folders {
        let Proof { problems, notes, unchecked: _ } = proven(folder, &rules)?;
        unchecked.extend(notes.into_iter().map(|note| format!("{}: {note}", folder.display())));
        errors.extend(problems.into_iter().map(|problem| {
            let Problem { path, line, column, reason } = problem;
            let path = folder.join(path).display().to_string();
            let given = |number: usize| (number > 0).then_some(number);
            Mistake { path, line: given(line), column: given(column), message: reason }
        }));
    }
    let verdict = Verdict { packages: folders.len(), errors, unchecked };
    let well = verdict.errors.is_empty();
    if well && !format.is_for_programs() {
        let but = if verdict.unchecked.is_empty() { "" } else { ", as far as it could be checked" };
        println!("all is well: {}{but}", times(folders.len(), "package"));
    } else {
        output::print(format, &verdict, || table(&verdict.errors))?;
    }
    // elsewhere they are in what is printed
    if matches!(format, Format::Table | Format::Markdown) {
        for note in &verdict.unchecked {
            eprintln!("note: {}", printable(note));
        }
    }
    if !well {
        let number = times(verdict.errors.len(), "error");
        return Err(CommandError::new(format!("{number} in {}", times(folders.len(), "package")))
            .remedy("mend the places named above; docs/extensions.md explains every field"));
    }
    if arguments.strict && !verdict.unchecked.is_empty() {
        return Err(unchecked_is_refused());
    }
    Ok(Outcome::Done)
}

fn table(errors: &[Mistake]) -> Table {
    let mut table = Table::new(&["WHERE", "WHAT"]);
    for Mistake { path, line, column, message } in errors {
        let number = |number: Option<usize>| number.map(|number| format!(":{number}")).unwrap_or_default();
        let place = format!("{path}{}{}", number(*line), number(*column));
        table.row(vec![place.into(), Cell::new(message.as_str(), Tone::Bad)]);
    }
    table
}
