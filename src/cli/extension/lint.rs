//! `midship extension lint`: is a package right?

use clap::Args;
use serde::Serialize;

use super::super::Outcome;
use super::super::error::CommandError;
use super::super::output::{self, Cell, Format, Table, Tone};
use super::{Packages, proven, times};
use crate::cue::Cue;
use crate::extension::Problem;

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    packages: Packages,
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
}

pub fn run(arguments: &Arguments, format: Format) -> Result<Outcome, CommandError> {
    let folders = arguments.packages.folders()?;
    let rules = Cue::default();
    let mut errors = Vec::new();
    for folder in &folders {
        if let Err(problems) = proven(folder, &rules)? {
            errors.extend(problems.0.into_iter().map(|problem| {
                let Problem { path, line, column, reason } = problem;
                let path = folder.join(path).display().to_string();
                let given = |number: usize| (number > 0).then_some(number);
                Mistake { path, line: given(line), column: given(column), message: reason }
            }));
        }
    }
    let verdict = Verdict { packages: folders.len(), errors };
    if verdict.errors.is_empty() && format == Format::Table {
        println!("all is well: {}", times(folders.len(), "package"));
        return Ok(Outcome::Done);
    }
    output::print(format, &verdict, || table(&verdict.errors))?;
    match verdict.errors.len() {
        0 => Ok(Outcome::Done),
        errors => Err(CommandError::new(format!("{} in {}", times(errors, "error"), times(folders.len(), "package")))
            .remedy("mend the places named above; docs/extensions.md explains every field")),
    }
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
