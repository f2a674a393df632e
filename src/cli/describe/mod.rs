//! `midship describe`: one page about an object: how it is, what it is made of, what it waits for, what happened.

mod object;
mod page;
mod seen;

use clap::Args;

use super::Outcome;
use super::connection::Connection;
use super::error::CommandError;
use super::output::{self, Format, Table};
use super::session::{KindWords, Session, target};
use crate::api::Kind;

#[derive(Args)]
pub struct Arguments {
    /// NAME of an instance, KIND NAME, or KIND/NAME.
    #[arg(value_name = "KIND/NAME", num_args = 1..=2, required = true, value_parser = KindWords, hide_possible_values = true)]
    words: Vec<String>,
}

pub async fn run(arguments: &Arguments, connection: &Connection, format: Format) -> Result<Outcome, CommandError> {
    let target = target(&arguments.words, Some(Kind::Instance))?;
    let session = Session::open(connection).await?;
    let now = jiff::Timestamp::now();
    if target.kind == Kind::Instance {
        let seen = seen::look(&session, &target.name).await?;
        match format {
            Format::Table | Format::Markdown => print!("{}", page::page(&seen, now, format)),
            Format::Json | Format::Yaml => output::print(format, &seen, || Table::new(&[]))?,
        }
        return Ok(Outcome::Done);
    }
    let object = session.get(&target).await?;
    let events = seen::events(&session, &[target.name.as_str()]).await?;
    match format {
        Format::Table | Format::Markdown => {
            print!("{}", object::page(target.kind, &object, &events, now, format)?);
        }
        Format::Json | Format::Yaml => output::print(format, &object, || Table::new(&[]))?,
    }
    Ok(Outcome::Done)
}
