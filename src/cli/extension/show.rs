//! `midship extension show`: a page about a package.

use std::path::PathBuf;

use clap::Args;

use super::super::Outcome;
use super::super::error::CommandError;
use super::super::output::{self, Format, Table, printable};
use super::good;
use crate::extension::describe::page;

#[derive(Args)]
pub struct Arguments {
    /// Folder of the package.
    #[arg(value_name = "FOLDER", default_value = ".")]
    path: PathBuf,
}

pub fn run(arguments: &Arguments, format: Format) -> Result<Outcome, CommandError> {
    let package = good(&arguments.path)?;
    match format {
        Format::Table => print!("{}", printable(&page(&package))),
        Format::Markdown => print!("```\n{}```\n", printable(&page(&package))),
        Format::Json | Format::Yaml => output::print(format, &package.manifest, || Table::new(&[]))?,
    }
    Ok(Outcome::Done)
}
