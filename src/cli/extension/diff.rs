//! `midship extension diff`: how two packages differ.

use std::path::PathBuf;

use anstyle::{AnsiColor, Style};
use clap::Args;
use serde::Serialize;

use super::super::Outcome;
use super::super::error::CommandError;
use super::super::output::{self, Format, Table, printable};
use super::good;
use crate::extension::compare::differences;

#[derive(Args)]
pub struct Arguments {
    /// Folder of the older package.
    #[arg(value_name = "OLD")]
    old: PathBuf,

    /// Folder of the newer package.
    #[arg(value_name = "NEW")]
    new: PathBuf,
}

#[derive(Serialize)]
struct Difference {
    from: String,
    to: String,
    differences: Vec<String>,
}

pub fn run(arguments: &Arguments, format: Format) -> Result<Outcome, CommandError> {
    let (old, new) = (good(&arguments.old)?, good(&arguments.new)?);
    let result = Difference { from: old.name(), to: new.name(), differences: differences(&old, &new) };
    let Difference { from, to, differences } = &result;
    match format {
        Format::Table => {
            for line in differences {
                let style = style(line);
                println!("{style}{}{style:#}", printable(line));
            }
            println!("{from} to {to}: {}", super::times(differences.len(), "difference"));
        }
        Format::Markdown => {
            println!("**{from} to {to}: {}**\n", super::times(differences.len(), "difference"));
            for line in differences {
                println!("- `{}`", printable(line).replace('`', "'"));
            }
        }
        Format::Json | Format::Yaml => output::print(format, &result, || Table::new(&[]))?,
    }
    Ok(if differences.is_empty() { Outcome::Done } else { Outcome::Changes })
}

fn style(line: &str) -> Style {
    match line.chars().next() {
        Some('+') => AnsiColor::Green.on_default(),
        Some('-') => AnsiColor::Red.on_default(),
        _ => AnsiColor::Yellow.on_default(),
    }
}
