//! `midship extension new`: the beginning of a package.

use std::path::PathBuf;

use clap::Args;

use super::super::Outcome;
use super::super::error::CommandError;
use super::super::output::printable;
use crate::extension::describe::scaffold;
use crate::names::ExtensionType;

#[derive(Args)]
pub struct Arguments {
    /// The kind of middleware, such as instances will name it.
    #[arg(value_name = "TYPE")]
    type_: ExtensionType,

    /// Folder of packages that the new one is made in.
    #[arg(long, value_name = "FOLDER", default_value = "extensions")]
    to: PathBuf,
}

pub fn run(arguments: &Arguments) -> Result<Outcome, CommandError> {
    let folder = arguments.to.join(arguments.type_.as_str()).join("0.1.0");
    if folder.exists() {
        return Err(CommandError::new("there is a package of this name already")
            .at(folder.display().to_string())
            .remedy("choose another type, or copy that folder to begin a new version of it"));
    }
    let files = scaffold(&arguments.type_);
    super::write(&folder, &files)?;
    for path in files.paths() {
        println!("{}", printable(&folder.join(path).display().to_string()));
    }
    let folder = printable(&folder.display().to_string());
    println!(
        "\nNext: fill in {folder}/extension.yaml, then\n  midship extension lint {folder}\n  midship extension test {folder}"
    );
    Ok(Outcome::Done)
}
