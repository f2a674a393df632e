//! A comparison as people and programs read it: the changes, what waits, and which files are wrong.

use std::fmt::Write;

use anstyle::AnsiColor;
use serde::Serialize;
use similar::ChangeTag;

use super::super::error::CommandError;
use super::super::output::{self, Format, in_markdown, printable};
use super::super::validate::{counted, place};
use crate::api::git_source::FileError;
use crate::diff::{Changes, ObjectChange};
use crate::plan::source::Plan;

/// How many mistakes a comment names, and how many letters of each: it has an end.
const NAMED: usize = 10;
const LETTERS: usize = 300;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown<'a> {
    pub changes: &'a [ObjectChange],
    unchanged: usize,
    /// Deletions that would wait.
    held: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    held_because: Option<String>,
    /// Files that are wrong: what they would change is among none of these.
    pub errors: &'a [FileError],
    #[serde(skip)]
    all: &'a Changes,
}

impl<'a> Shown<'a> {
    pub fn new(all: &'a Changes, plan: &Plan, errors: &'a [FileError]) -> Self {
        let held = plan.held.iter().map(ToString::to_string).collect();
        let held_because = plan.held_because.clone();
        Self { changes: &all.changes, unchanged: all.unchanged, held, held_because, errors, all }
    }

    /// The same where no cluster was asked: what a GitSource says of deletions is not in its repository.
    #[must_use]
    pub fn alone(mut self, plan: &Plan) -> Self {
        let needed_by_nobody = plan.held.iter().any(|id| !plan.needed.contains_key(id));
        if let Some(because) = self.held_because.as_mut().filter(|_| needed_by_nobody) {
            because.push_str("; `midship plan` knows what the GitSource itself says of deletions");
        }
        self
    }

    pub fn print(&self, format: Format) -> Result<(), CommandError> {
        match format {
            Format::Table => {
                print(self.all, format)?;
                if let Some(because) = &self.held_because {
                    println!("held: {}", printable(because));
                }
            }
            Format::Markdown => print!("{}", self.markdown()),
            Format::Json | Format::Yaml => output::print(format, self, || output::Table::new(&[]))?,
        }
        Ok(())
    }

    /// What waits and what is wrong stand below the summary: the rest may be too long for a comment.
    fn markdown(&self) -> String {
        let text = self.all.markdown();
        let (summary, rest) = text.split_once('\n').unwrap_or((text.as_str(), ""));
        let mut shown = format!("{summary}\n");
        if let Some(because) = &self.held_because {
            let _ = writeln!(shown, "\n**held:** {}", plain(because));
        }
        if !self.errors.is_empty() {
            let number = counted(self.errors.len(), "error");
            let _ = writeln!(
                shown,
                "\n**{number}: what these files would change is not shown, and what they defined before stays**\n"
            );
        }
        for error in self.errors.iter().take(NAMED) {
            let _ = writeln!(shown, "- {}: {}", plain(&place(error)), plain(&error.message));
        }
        if self.errors.len() > NAMED {
            let _ = writeln!(shown, "- and {} more", self.errors.len() - NAMED);
        }
        shown + rest
    }
}

/// Text from files within a line of a comment.
fn plain(text: &str) -> String {
    let whole = text.chars().count() <= LETTERS;
    let short: String = text.chars().take(LETTERS).collect();
    format!("{}{}", in_markdown(&short).replace('`', "'"), if whole { "" } else { "…" })
}

pub fn print(changes: &Changes, format: Format) -> Result<(), CommandError> {
    match format {
        Format::Table => {
            print!("{}", changes.text(paint));
            Ok(())
        }
        Format::Markdown => {
            print!("{}", changes.markdown());
            Ok(())
        }
        Format::Json | Format::Yaml => output::print(format, changes, || output::Table::new(&[])),
    }
}

fn paint(tag: ChangeTag, line: &str) -> String {
    let line = printable(line);
    match tag {
        ChangeTag::Equal => line,
        ChangeTag::Delete => {
            let red = AnsiColor::Red.on_default();
            format!("{red}{line}{red:#}")
        }
        ChangeTag::Insert => {
            let green = AnsiColor::Green.on_default();
            format!("{green}{line}{green:#}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::source::{ObjectId, ObjectKind};

    fn error(number: u32) -> FileError {
        FileError {
            path: "a<b.yaml".into(),
            line: Some(number),
            column: Some(5),
            code: "wrong".into(),
            message: format!("`{}", "x".repeat(400)),
        }
    }

    #[test]
    fn a_comment_tells_what_waits_and_what_is_wrong_right_below_its_summary() {
        let id = ObjectId { kind: ObjectKind::Extension, namespace: None, name: "demo-1.0.0".into() };
        let plan = Plan { held: vec![id], held_because: Some("shop/a uses it".into()), ..Plan::default() };
        let errors: Vec<FileError> = (1..13).map(error).collect();
        let changes = Changes::default();
        let shown = Shown::new(&changes, &plan, &errors[..1]);
        let told = format!(
            "**0 to create, 0 to change, 0 to delete, 0 unchanged**\n\n**held:** shop/a uses it\n\n\
             **1 error: what these files would change is not shown, and what they defined before stays**\n\n\
             - a&lt;b.yaml:1:5: '{}…\n",
            "x".repeat(299)
        );
        assert_eq!(shown.markdown(), told);
        let value = serde_json::to_value(&shown).expect("JSON");
        assert_eq!(value["heldBecause"], "shop/a uses it");
        assert_eq!(value["held"][0], "Extension demo-1.0.0");
        assert_eq!(value["errors"][0]["path"], "a<b.yaml");
        assert!(Shown::new(&changes, &Plan::default(), &errors).markdown().ends_with("\n- and 2 more\n"));
    }
}
