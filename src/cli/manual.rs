//! `midship man`: manual pages, made from the same words as `--help`.

use std::path::PathBuf;

use clap::{Args, CommandFactory};

use super::error::CommandError;
use super::{Cli, Outcome};

#[derive(Args)]
pub struct Arguments {
    /// Folder the pages are written to.
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
}

pub fn run(arguments: &Arguments) -> Result<Outcome, CommandError> {
    let failed = |error: std::io::Error| {
        CommandError::new(format!("the manual pages cannot be written: {error}"))
            .at(arguments.to.display().to_string())
            .remedy("name a folder that can be written to")
    };
    std::fs::create_dir_all(&arguments.to).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), &arguments.to).map_err(failed)?;
    Ok(Outcome::Done)
}
