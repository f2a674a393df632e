//! `midship backup create`: an Operation of type Backup, followed to its end.

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::super::Outcome;
use super::super::connection::Connection;
use super::super::error::CommandError;
use super::super::operate::{Waiting, made, runs, without_nothing};
use super::super::output::Format;
use super::super::session::Session;
use crate::names::ObjectName;

#[derive(Args)]
pub struct Arguments {
    /// The instance: NAME, or inst/NAME.
    instance: String,

    /// The BackupRepository; the one of the instance's policy where left out.
    #[arg(long, value_name = "NAME")]
    repository: Option<ObjectName>,

    /// The method, as the extension names it; its default where left out.
    #[arg(long, value_name = "NAME")]
    method: Option<String>,

    /// Everything, or what changed since the last backup.
    #[arg(long = "type", value_enum, default_value_t = Kind::Full)]
    kind: Kind,

    /// A label of the backup, NAME=VALUE; retention can keep by it. May be given several times.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,

    /// Retention never removes it.
    #[arg(long)]
    hold: bool,

    /// Believe it although it is less than half as large as the one before, because that much was deleted on purpose.
    #[arg(long)]
    allow_shrink: bool,

    #[command(flatten)]
    waiting: Waiting,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Full,
    Incremental,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

pub async fn run(arguments: &Arguments, connection: &Connection, format: Format) -> Result<Outcome, CommandError> {
    let Arguments { instance, repository, method, kind, labels, hold, allow_shrink, waiting } = arguments;
    let session = Session::open(connection).await?;
    let instance = runs(&session, instance).await?;
    let labels: BTreeMap<&str, &str> = labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let backup = without_nothing(json!({
        "repository": repository,
        "method": method,
        "type": match kind { Kind::Full => "Full", Kind::Incremental => "Incremental" },
        "labels": (!labels.is_empty()).then_some(labels),
        "hold": hold.then_some(true),
        "allowShrink": allow_shrink.then_some(true),
    }));
    made(&session, &instance, "backup", json!({ "type": "Backup", "backup": backup }), waiting, format).await
}
