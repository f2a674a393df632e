//! Texts for people: they stand in terminals and tables, so that they hide nothing and move nothing.

use serde_json::Value;

use super::Lint;
use crate::extension::Problem;
use crate::extension::files::MANIFEST;
use crate::extension::yaml::{self, Positions, join};

/// Fields that people read, on one line of a table at most of them.
const LINES: [&str; 6] = ["title", "homepage", "license", "keywords", "note", "summary"];
/// The one that may have several lines.
const DESCRIPTION: &str = "description";

pub fn check(lint: &mut Lint<'_>) {
    let package = lint.package;
    let more = package.manifest.components.values().filter_map(|component| component.parameters_file.as_deref());
    for path in [MANIFEST].into_iter().chain(more) {
        let Ok(text) = package.files.text(path) else { continue };
        let Ok(value) = yaml::value(path, text) else { continue };
        let positions = Positions::read(text);
        let mut found = Vec::new();
        look(&value, "", None, &mut found);
        lint.problems.extend(found.into_iter().map(|(field, reason)| {
            let (line, column) = positions.of(&field);
            Problem::new(path, line, column, reason)
        }));
    }
}

/// What is wrong with texts in a value, with their places; `name` is the last field on the way to it.
fn look(value: &Value, field: &str, name: Option<&str>, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                look(value, &join(field, name), Some(name), found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                look(item, &format!("{field}[{index}]"), name, found);
            }
        }
        Value::String(text) => {
            let several = name == Some(DESCRIPTION);
            if !several && !name.is_some_and(|name| LINES.contains(&name)) {
                return;
            }
            if let Some(hidden) = text.chars().find(|one| hides(*one, several)) {
                let name = name.unwrap_or_default();
                let reason = format!("{name} has the invisible character U+{:04X}; leave it out", u32::from(hidden));
                found.push((field.to_owned(), reason));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Control characters, what turns the direction of a text, and what takes no room.
fn hides(one: char, several_lines: bool) -> bool {
    let breaks = several_lines && one == '\n';
    let formats = matches!(one, '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    (one.is_control() && !breaks) || formats
}
