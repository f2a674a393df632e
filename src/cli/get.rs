//! `midship get`: objects of a kind, in the columns their definitions have.

use clap::Args;
use http::Request;
use kube::Resource;
use kube::api::ListParams;
use kube::core::DynamicObject;
use kube::core::request::Request as Questions;
use serde::Deserialize;
use serde_json::Value;

use super::Outcome;
use super::connection::Connection;
use super::error::CommandError;
use super::output::{self, Cell, Format, Table, Tone};
use super::session::{KindWords, Session, Target, is_namespaced, kind, target};
use crate::api::Kind;

/// Asks the API server for the rows and columns that kubectl shows.
const AS_TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

#[derive(Args)]
pub struct Arguments {
    /// KIND, KIND NAME or KIND/NAME; instances where left out. Kinds by any of their names, sources and repositories too.
    #[arg(value_name = "KIND [NAME]", num_args = 0..=2, value_parser = KindWords, hide_possible_values = true)]
    words: Vec<String>,

    /// In all namespaces.
    #[arg(short = 'A', long)]
    all_namespaces: bool,

    /// Only objects with these labels, such as midship.dev/source=team.main.
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,

    /// With more columns.
    #[arg(long)]
    pub wide: bool,
}

#[derive(Deserialize)]
struct Served {
    #[serde(rename = "columnDefinitions")]
    columns: Vec<Column>,
    #[serde(default)]
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Column {
    name: String,
    #[serde(default)]
    priority: i32,
}

#[derive(Deserialize)]
struct Row {
    cells: Vec<Value>,
    object: Value,
}

pub async fn run(arguments: &Arguments, connection: &Connection, format: Format) -> Result<Outcome, CommandError> {
    let (kind, name) = match arguments.words.as_slice() {
        [] => (Kind::Instance, None),
        [one] if !one.contains('/') => (kind(one)?, None),
        words => {
            let Target { kind, name } = target(words, None)?;
            (kind, Some(name))
        }
    };
    if name.is_some() && (arguments.all_namespaces || arguments.selector.is_some()) {
        return Err(CommandError::new("a name goes neither with --all-namespaces nor with --selector")
            .remedy("leave the name out, or name the namespace with -n"));
    }
    let session = Session::open(connection).await?;
    let resource = kind.resource();
    let everywhere = arguments.all_namespaces || !is_namespaced(kind);
    let namespace = (!everywhere).then_some(session.namespace.as_str());
    let path = DynamicObject::url_path(&resource, namespace);
    let mut parameters = ListParams::default();
    parameters.label_selector.clone_from(&arguments.selector);
    let questions = Questions::new(path);
    let question = match &name {
        Some(name) => {
            // so that a name that is not there is answered with one that is
            session.get(&Target { kind, name: name.clone() }).await?;
            questions.get(name, &kube::api::GetParams::default())
        }
        None => questions.list(&parameters),
    };
    let question = question.map_err(|error| CommandError::new(error.to_string()))?;
    match format {
        Format::Json | Format::Yaml => {
            let answer: Value = session.ask(session.client.request(question)).await?;
            output::print(format, &answer, || Table::new(&[]))?;
        }
        Format::Table | Format::Markdown => {
            let served: Served = session.ask(session.client.request(as_table(question))).await?;
            let namespaces = arguments.all_namespaces && is_namespaced(kind);
            if served.rows.is_empty() {
                let place = namespace.map_or_else(|| "the cluster".to_owned(), |name| format!("the namespace {name}"));
                eprintln!("there are no {} in {place}", kind.plural());
                return Ok(Outcome::Done);
            }
            let table = table(&served, namespaces, arguments.wide);
            print!("{}", table.shown(format));
        }
    }
    Ok(Outcome::Done)
}

fn as_table(mut question: Request<Vec<u8>>) -> Request<Vec<u8>> {
    question.headers_mut().insert(http::header::ACCEPT, http::HeaderValue::from_static(AS_TABLE));
    question
}

fn table(served: &Served, namespaces: bool, wide: bool) -> Table {
    let shown: Vec<usize> =
        (0..served.columns.len()).filter(|column| wide || served.columns[*column].priority == 0).collect();
    let mut headings: Vec<String> = shown.iter().map(|column| served.columns[*column].name.to_uppercase()).collect();
    if namespaces {
        headings.insert(0, "NAMESPACE".to_owned());
    }
    let mut table = Table::new(&headings.iter().map(String::as_str).collect::<Vec<_>>());
    for row in &served.rows {
        let mut cells: Vec<Cell> =
            shown.iter().map(|column| cell(&served.columns[*column].name, row.cells.get(*column))).collect();
        if namespaces {
            let namespace = row.object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
            cells.insert(0, namespace.into());
        }
        table.row(cells);
    }
    table
}

fn cell(column: &str, value: Option<&Value>) -> Cell {
    let text = match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.replace('\n', " "),
        Some(other) => other.to_string(),
    };
    let tone = tone(column, &text);
    Cell::new(text, tone)
}

/// The words that say how well something is.
pub fn tone(column: &str, text: &str) -> Tone {
    match (column, text) {
        ("Ready" | "Phase" | "Status", "True" | "Running" | "Succeeded" | "Completed") => Tone::Good,
        ("Ready" | "Phase" | "Status", "False" | "Failed") => Tone::Bad,
        ("Phase", "Pending" | "Creating" | "Updating" | "Upgrading" | "Stopping" | "Deleting" | "Paused") => {
            Tone::Doubtful
        }
        _ => Tone::Plain,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn served() -> Served {
        serde_json::from_value(json!({
            "columnDefinitions": [{ "name": "Name" }, { "name": "Ready" }, { "name": "Message", "priority": 1 }],
            "rows": [
                { "cells": ["a", "True", "all is\nwell"], "object": { "metadata": { "namespace": "shop" } } },
                { "cells": ["b", null, null], "object": { "metadata": { "namespace": "team" } } }
            ]
        }))
        .expect("a table")
    }

    fn text(table: &Table) -> String {
        table.shown(Format::Markdown)
    }

    #[test]
    fn columns_are_those_of_the_definition_and_more_when_asked() {
        assert_eq!(text(&table(&served(), false, false)), "| NAME | READY |\n| --- | --- |\n| a | True |\n| b |  |\n");
        let wide = text(&table(&served(), true, true));
        assert!(wide.starts_with("| NAMESPACE | NAME | READY | MESSAGE |\n"), "{wide}");
        assert!(wide.contains("| shop | a | True | all is well |"), "{wide}");
    }
}
