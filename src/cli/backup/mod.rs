//! `midship backup`: make, list, show, prove and remove backups, and print the recovery kit.

mod create;
mod describe;
mod kit;
mod list;
mod prune;
pub mod source;
mod verify;

use clap::{Args, Subcommand};

use super::Outcome;
use super::connection::Connection;
use super::error::CommandError;
use super::output::Format;

#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a backup of an instance now.
    Create(create::Arguments),
    /// List backups: of the namespace, or straight from a store.
    List(list::Arguments),
    /// Show one backup: what is in it, what it needs, how well it is proven.
    Describe(describe::Arguments),
    /// Prove that backups are whole: everything is there, and with --read that every byte is what was written.
    Verify(verify::Arguments),
    /// Remove what nothing keeps, or say with --dry-run what would become of each backup and why.
    Prune(prune::Arguments),
    /// Print the recovery kit: with it and one private key, backups can be restored when nothing else is left.
    Kit(kit::Arguments),
}

pub async fn run(arguments: &Arguments, connection: &Connection, format: Format) -> Result<Outcome, CommandError> {
    match &arguments.command {
        Command::Create(arguments) => create::run(arguments, connection, format).await,
        Command::List(arguments) => list::run(arguments, connection, format).await,
        Command::Describe(arguments) => describe::run(arguments, connection, format).await,
        Command::Verify(arguments) => verify::run(arguments, connection, format).await,
        Command::Prune(arguments) => prune::run(arguments, connection, format).await,
        Command::Kit(arguments) => kit::run(arguments, connection).await,
    }
}
