//! Where in a file a field of an instance stands, which a package names when it refuses the instance.

use serde_json::Value;

use super::snapshot::Snapshot;
use crate::api::git_source::FileError;
use crate::extension::Refusal;
use crate::extension::problem::Code;
use crate::plan::source::Manifest;
use crate::repo::{ParseLimits, Position, parse};

/// The place of what is refused, or the closest thing around it that is written; the document's where nothing is.
pub fn of(manifest: &Manifest, text: Option<&[u8]>, refusal: &Refusal) -> Position {
    let start = Position { line: manifest.line, column: 1 };
    let documents = text.and_then(|text| parse(&manifest.path, text, &ParseLimits::default()).ok()).unwrap_or_default();
    let found = documents.iter().find(|document| document.places.start().line == manifest.line);
    let pointer = found.map(|document| (document, pointer(&document.value, &refusal.field)));
    match pointer {
        Some((document, pointer)) if !pointer.is_empty() => match refusal.code {
            // a name that nobody knows is wrong itself
            Code::Unknown => document.places.key(&pointer),
            _ => document.places.value(&pointer),
        },
        _ => start,
    }
}

/// What is refused of an object, at its place in the file.
pub fn refused(snapshot: &Snapshot, manifest: &Manifest, refusal: &Refusal) -> FileError {
    let place = of(manifest, snapshot.text(&manifest.path), refusal);
    FileError {
        path: manifest.path.to_string(),
        line: Some(place.line),
        column: Some(place.column),
        code: "refused".to_owned(),
        message: format!("{}: {refusal}", manifest.id),
    }
}

/// `spec.components[cache].parameters.max.size` as a JSON pointer, as far as there is such a value. Items of lists are named
/// by their name or their number, and names of fields may have dots in them.
fn pointer(value: &Value, field: &str) -> String {
    let (mut here, mut rest, mut pointer) = (value, field, String::new());
    loop {
        let (step, next, after) = match here {
            Value::Array(items) => {
                let Some((name, after)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) else { break };
                let named = items.iter().position(|item| item["name"] == name);
                let Some(index) = named.or_else(|| name.parse().ok()).filter(|index| *index < items.len()) else {
                    break;
                };
                (index.to_string(), &items[index], after)
            }
            Value::Object(fields) => {
                let rest = rest.strip_prefix('.').unwrap_or(rest);
                let ends = |after: &str| after.is_empty() || after.starts_with(['.', '[']);
                let fits = fields.iter().filter_map(|(name, value)| {
                    let after = rest.strip_prefix(name.as_str()).filter(|after| ends(after))?;
                    Some((name, value, after))
                });
                let Some((name, next, after)) = fits.max_by_key(|(name, ..)| name.len()) else { break };
                (name.replace('~', "~0").replace('/', "~1"), next, after)
            }
            _ => break,
        };
        pointer = format!("{pointer}/{step}");
        (here, rest) = (next, after);
    }
    pointer
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_found_by_names_with_dots_and_items_by_theirs() {
        let value = json!({ "spec": { "version": "7", "components": [
            { "name": "a" }, { "name": "b", "parameters": { "log": 1, "log.size": { "x": 2 } }, "offline": [4] }] } });
        let cases = [
            ("spec.version", "/spec/version"),
            ("spec.components[b].parameters.log.size", "/spec/components/1/parameters/log.size"),
            ("spec.components[b].parameters.log", "/spec/components/1/parameters/log"),
            ("spec.components[b].offline[0]", "/spec/components/1/offline/0"),
            ("spec.components[b].storage.data.size", "/spec/components/1"),
            ("spec.components[c].replicas", "/spec/components"),
            ("defaults of environment production, component a.replicas", ""),
            ("", ""),
        ];
        for (field, expected) in cases {
            assert_eq!(pointer(&value, field), expected, "{field}");
        }
    }
}
