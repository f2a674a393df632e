//! `midship extension test`: a package's own tests.

use clap::Args;
use serde::Serialize;

use super::super::Outcome;
use super::super::error::CommandError;
use super::super::output::{self, Cell, Format, Table, Tone, printable};
use super::{Packages, good, times};
use crate::cue::Cue;
use crate::extension::cases;

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    packages: Packages,

    /// Run only tests whose name has these words in it.
    #[arg(long, value_name = "WORDS")]
    filter: Option<String>,
}

#[derive(Serialize)]
struct Case {
    path: String,
    line: usize,
    name: String,
    passed: bool,
    /// Whether it passed without showing what it is about: rules that could not be checked.
    unchecked: bool,
    failures: Vec<String>,
}

pub fn run(arguments: &Arguments, format: Format) -> Result<Outcome, CommandError> {
    let filter = arguments.filter.as_deref().unwrap_or_default();
    let rules = Cue::default();
    let mut unchecked = None;
    let mut all = Vec::new();
    for folder in arguments.packages.folders()? {
        let outcomes = cases::run(&good(&folder)?, &rules);
        if outcomes.is_empty() {
            return Err(CommandError::new("the package has no tests")
                .at(folder.display().to_string())
                .remedy("write one in its folder tests/: an instance, and what must be rendered or refused"));
        }
        unchecked = unchecked.or_else(|| outcomes.iter().find_map(|outcome| outcome.unchecked.clone()));
        all.extend(outcomes.into_iter().filter(|outcome| outcome.name.contains(filter)).map(|outcome| Case {
            path: folder.join(&outcome.path).display().to_string(),
            line: outcome.line,
            passed: outcome.passed(),
            unchecked: outcome.untold,
            name: outcome.name,
            failures: outcome.failures,
        }));
    }
    if all.is_empty() {
        return Err(CommandError::new(format!("no test has the words {filter:?} in its name"))
            .remedy("leave --filter out to see all names"));
    }
    output::print(format, &all, || table(&all))?;
    if let Some(reason) = unchecked {
        eprintln!("note: {}", printable(&reason));
    }
    let failed = all.iter().filter(|case| !case.passed).count();
    if failed == 0 {
        return Ok(Outcome::Done);
    }
    Err(CommandError::new(format!("{failed} of {} failed", times(all.len(), "test")))
        .remedy("the lines below each failed test say what was expected and what was there"))
}

fn table(all: &[Case]) -> Table {
    let mut table = Table::new(&["WHERE", "VERDICT", "TEST"]);
    for case in all {
        let verdict = match (case.passed, case.unchecked) {
            (true, false) => Cell::new("ok", Tone::Good),
            (true, true) => Cell::new("unchecked", Tone::Doubtful),
            (false, _) => Cell::new("failed", Tone::Bad),
        };
        table.row(vec![format!("{}:{}", case.path, case.line).into(), verdict, case.name.as_str().into()]);
        for line in case.failures.iter().flat_map(|failure| failure.lines()) {
            table.row(vec!["".into(), "".into(), format!("  {line}").into()]);
        }
    }
    table
}
