//! `midship backup kit`: the page to print and keep apart.

use clap::Args;
use jiff::Timestamp;

use super::super::Outcome;
use super::super::connection::Connection;
use super::super::error::CommandError;
use super::source;
use crate::backup::keys::Kit;

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    source: source::SourceArguments,
}

pub async fn run(arguments: &Arguments, connection: &Connection) -> Result<Outcome, CommandError> {
    let source = arguments.source.open(connection).await?;
    let kit = Kit::of(&source.repository).await;
    let kit = kit.map_err(|error| CommandError::new(error.to_string()).at(source.address()))?;
    println!("{}", kit.text(Timestamp::now()).trim_end());
    Ok(Outcome::Done)
}
