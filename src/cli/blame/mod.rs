//! `midship blame`: each field of an object with the file and line it is written in, and the commit that last changed it.

mod trace;

use std::collections::BTreeSet;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::Outcome;
use super::connection::Connection;
use super::error::CommandError;
use super::history::time;
use super::origin::{Need, Opened, Origin, damaged};
use super::output::{self, Format, Table};
use super::session::{Target, target};
use crate::api::Kind;
use crate::diff::fields::fields;
use crate::extension::parameters::plain;
use crate::extension::problem::{listed, unknown};
use crate::names::NamespaceName;
use crate::plan::source::{Manifest, ObjectId};
use crate::repo::{Limits, TreeError};
use crate::source::{self, Defined};

use trace::Trace;

#[derive(Args)]
pub struct Arguments {
    /// NAME of an instance, KIND NAME, or KIND/NAME.
    #[arg(value_name = "KIND/NAME", num_args = 1..=2, required = true)]
    words: Vec<String>,

    #[command(flatten)]
    origin: Origin,
}

/// One field and who wrote it.
#[derive(Serialize)]
struct Line {
    field: String,
    value: Value,
    path: String,
    #[serde(rename = "line")]
    number: u32,
    commit: String,
    author: String,
    at: i64,
    summary: String,
}

pub async fn run(arguments: &Arguments, connection: &Connection, format: Format) -> Result<Outcome, CommandError> {
    let target = target(&arguments.words, Some(Kind::Instance))?;
    let opened = arguments.origin.open(connection, Need::Watched).await?;
    let namespace = connection.namespace.as_ref().map(NamespaceName::as_str);
    let manifest = find(&opened, opened.tip, &target, namespace)?;
    let lines = blame(&opened, &manifest).map_err(|error| damaged(&opened.place, &error))?;
    let lines = lines.ok_or_else(|| no_document(&manifest))?;
    output::print(format, &lines, || {
        let mut table = Table::new(&["FIELD", "VALUE", "WHERE", "COMMIT", "WHEN", "BY"]);
        for line in &lines {
            let value: String = plain(&line.value).replace('\n', " ").chars().take(40).collect();
            table.row(vec![
                line.field.as_str().into(),
                value.into(),
                format!("{}:{}", line.path, line.number).into(),
                line.commit.chars().take(10).collect::<String>().into(),
                time(line.at).into(),
                line.author.as_str().into(),
            ]);
        }
        table
    })?;
    Ok(Outcome::Done)
}

/// The object as a commit defines it.
pub fn find(
    opened: &Opened,
    commit: crate::repo::ObjectId,
    target: &Target,
    namespace: Option<&str>,
) -> Result<Manifest, CommandError> {
    let all = everything(opened, commit).map_err(|error| damaged(&opened.place, &error))?.objects;
    let of_kind = |id: &ObjectId| id.kind.as_str() == target.kind.as_str();
    let here = |id: &ObjectId| {
        namespace.is_none_or(|namespace| id.namespace.as_deref().is_none_or(|found| found == namespace))
    };
    let found: Vec<&Manifest> =
        all.iter().filter(|one| of_kind(&one.id) && one.id.name == target.name && here(&one.id)).collect();
    match found.as_slice() {
        [only] => Ok((*only).clone()),
        [] => {
            let elsewhere: Vec<&str> = all
                .iter()
                .filter(|one| of_kind(&one.id) && one.id.name == target.name)
                .filter_map(|one| one.id.namespace.as_deref())
                .collect();
            if !elsewhere.is_empty() {
                let here = namespace.unwrap_or("default");
                let what = format!("there is no {} {} in the namespace {here}", target.kind.as_str(), target.name);
                return Err(CommandError::new(what)
                    .at(format!("{} of {}", short(&commit.to_string()), opened.place))
                    .remedy(format!("there is one in {}: name the namespace with -n", listed(elsewhere))));
            }
            // one name may be there in several namespaces
            let names = all.iter().filter(|one| of_kind(&one.id)).map(|one| one.id.name.as_str());
            let names: BTreeSet<&str> = names.collect();
            Err(CommandError::new(unknown(target.kind.as_str(), &target.name, names))
                .at(format!("{} of {}", short(&commit.to_string()), opened.place))
                .remedy("check the name, the namespace (-n) and the branch (--branch)"))
        }
        several => {
            let names: Vec<String> = several.iter().map(|one| one.id.to_string()).collect();
            Err(CommandError::new("there are several objects of this name")
                .at(listed(names.iter().map(String::as_str)))
                .remedy("name the namespace with -n"))
        }
    }
}

/// Everything a commit defines.
pub fn everything(opened: &Opened, commit: crate::repo::ObjectId) -> Result<Defined, TreeError> {
    let tree = opened.history.tree(commit)?.at(&opened.placement.folder)?;
    Ok(source::read(&tree, &Limits::default(), &opened.placement, None)?.defined())
}

pub fn short(commit: &str) -> String {
    commit.chars().take(10).collect()
}

/// For each field the commit that gave it the value it has now; none where no document of the file is the object.
fn blame(opened: &Opened, manifest: &Manifest) -> Result<Option<Vec<Line>>, TreeError> {
    let trace = Trace { history: &opened.history, placement: &opened.placement, id: &manifest.id };
    let tip = opened.history.tree(opened.tip)?.commit().clone();
    let Some(document) = trace.document(&tip, &manifest.path)? else { return Ok(None) };
    let known = fields(&document.value);
    let values = known.iter().map(|(name, field)| (name.clone(), field.value.clone())).collect();
    let authors = trace.authors(tip, &manifest.path, values)?;
    let mut lines: Vec<Line> = known
        .into_iter()
        .filter_map(|(name, field)| {
            let commit = authors.get(&name)?;
            Some(Line {
                number: document.places.key(&field.pointer).line,
                path: manifest.path.to_string(),
                commit: commit.id.to_string(),
                author: commit.author.name.clone(),
                at: commit.author.seconds,
                summary: commit.summary().to_owned(),
                field: name,
                value: field.value,
            })
        })
        .collect();
    lines.sort_by(|a, b| (a.number, &a.field).cmp(&(b.number, &b.field)));
    Ok(Some(lines))
}

/// A package is a folder: no file of it says what its object says.
fn no_document(manifest: &Manifest) -> CommandError {
    let folder = manifest.path.rsplit_once('/').map_or(".", |(folder, _)| folder);
    CommandError::new(format!("{} is made of the files in a folder, and none of them has its fields", manifest.id))
        .at(folder.to_owned())
        .remedy(format!("ask Git who changed them: git log --stat -- {folder}"))
}
