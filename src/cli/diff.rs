//! `midship diff`: what would change, between two commits, or between a commit and the files as they are.

use anstyle::AnsiColor;
use clap::Args;
use similar::ChangeTag;

use super::Outcome;
use super::error::CommandError;
use super::output::{self, Format, printable};
use super::repository::Files;
use crate::diff::{Changes, Objects, Redaction, compare};
use crate::source::Defined;

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    files: Files,

    /// Commit to compare with.
    #[arg(long, value_name = "REVISION", default_value = "HEAD")]
    base: String,

    /// Commit that is compared; the files as they are where left out.
    #[arg(long, value_name = "REVISION")]
    head: Option<String>,
}

pub fn run(arguments: &Arguments, format: Format) -> Result<Outcome, CommandError> {
    let base = arguments.files.at(&arguments.base)?;
    let head = match &arguments.head {
        None => arguments.files.now()?,
        Some(revision) => arguments.files.at(revision)?,
    };
    let errors = head.errors.len();
    let changes = compare(&objects(base), &objects(head), &Redaction::new(&one_time_key()?));
    print(&changes, format)?;
    if errors > 0 {
        return Err(CommandError::new(
            "some files define nothing because they are wrong; what they would change is not shown",
        )
        .at(arguments.files.path.display().to_string())
        .remedy("`midship validate` names each mistake"));
    }
    Ok(if changes.is_empty() { Outcome::Done } else { Outcome::Changes })
}

fn objects(defined: Defined) -> Objects {
    defined.objects.into_iter().map(|manifest| (manifest.id, manifest.body)).collect()
}

/// Digests of secrets are comparable within one run and never beyond it.
fn one_time_key() -> Result<[u8; 32], CommandError> {
    let mut key = [0; 32];
    aws_lc_rs::rand::fill(&mut key).map_err(|_| CommandError::new("the system gives no random numbers"))?;
    Ok(key)
}

fn print(changes: &Changes, format: Format) -> Result<(), CommandError> {
    match format {
        Format::Table => {
            anstream::print!("{}", changes.text(paint));
            Ok(())
        }
        Format::Markdown => {
            anstream::print!("{}", changes.markdown());
            Ok(())
        }
        Format::Json | Format::Yaml => output::print(format, changes, || output::Table::new(&[])),
    }
}

fn paint(tag: ChangeTag, line: &str) -> String {
    let line = printable(line);
    match tag {
        ChangeTag::Equal => line,
        ChangeTag::Delete => {
            let red = AnsiColor::Red.on_default();
            format!("{red}{line}{red:#}")
        }
        ChangeTag::Insert => {
            let green = AnsiColor::Green.on_default();
            format!("{green}{line}{green:#}")
        }
    }
}
