//! `midship extension test`: a package's own tests.

use clap::Args;
use serde::Serialize;

use super::super::Outcome;
use super::super::error::CommandError;
use super::super::output::{self, Cell, Format, Table, Tone, printable};
use super::{Entry, Packages, Wrong, all_wrong, entries, load, times};
use crate::cue::Cue;
use crate::extension::cases;

const UNTESTED: &str = "the package has no tests";

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
    let (mut all, mut wrong, mut untested) = (Vec::new(), Vec::new(), Vec::new());
    for folder in arguments.packages.folders()? {
        let package = match load(&folder)? {
            Ok(package) => package,
            Err(problems) => {
                wrong.push(Wrong::new(&folder, &problems));
                continue;
            }
        };
        let outcomes = cases::run(&package, &rules);
        if outcomes.is_empty() {
            untested.push(Wrong { path: folder.display().to_string(), errors: vec![UNTESTED.to_owned()] });
            continue;
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
    if all.is_empty() && wrong.is_empty() && untested.is_empty() {
        return Err(CommandError::new(format!("no test has the words {filter:?} in its name"))
            .remedy("leave --filter out to see all names"));
    }
    if format.is_for_programs() || !all.is_empty() {
        let mut items = entries(&all, &wrong);
        items.extend(untested.iter().map(Entry::Wrong));
        output::print(format, &items, || table(&all))?;
    }
    if let Some(reason) = unchecked {
        eprintln!("note: {}", printable(&reason));
    }
    let failed = all.iter().filter(|case| !case.passed).count();
    ended(failed, all.len(), &wrong, &untested)
}

/// Everything that went wrong, in any of the packages.
fn ended(failed: usize, all: usize, wrong: &[Wrong], untested: &[Wrong]) -> Result<Outcome, CommandError> {
    let failed = (failed > 0).then(|| format!("{failed} of {} failed", times(all, "test")));
    let untested: Vec<&str> = untested.iter().map(|one| one.path.as_str()).collect();
    if failed.is_some() || !wrong.is_empty() {
        for folder in &untested {
            eprintln!("note: {}: {UNTESTED}", printable(folder));
        }
    }
    let below = "the lines below each failed test say what was expected and what was there";
    match (failed, wrong, untested.as_slice()) {
        (None, [], []) => Ok(Outcome::Done),
        (None, [], folders) => Err(CommandError::new(UNTESTED)
            .at(folders.join("\n         "))
            .remedy("write one in its folder tests/: an instance, and what must be rendered or refused")),
        (Some(failed), [], _) => Err(CommandError::new(failed).remedy(below)),
        (None, wrong, _) => Err(all_wrong(wrong)),
        (Some(failed), wrong, _) => {
            let mut error = all_wrong(wrong).remedy(below);
            error.what = format!("{failed}, and {}", error.what);
            Err(error)
        }
    }
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
