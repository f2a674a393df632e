//! Reads a package's YAML so that every error has a line, a column, the field it is about and a way out.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_saphyr::Error;
use serde_saphyr::granit_parser::{Event, Parser};

use super::check::{Checker, field_of};
use super::problem::{Problem, listed, unknown};

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 64,
            max_nodes: 50_000,
            max_events: 200_000,
            max_aliases: 100,
            max_anchors: 100,
            max_documents: 1024,
            max_total_scalar_bytes: 2 * 1024 * 1024,
        },
        strict_booleans: true,
        with_snippet: false,
    }
}

/// Reads one document as what it has to be, or says everything that its form has wrong.
pub fn read<T: DeserializeOwned + JsonSchema>(path: &str, text: &str) -> Result<T, Vec<Problem>> {
    let error = match plain::<T>(path, text) {
        Ok(read) => return Ok(read),
        Err(error) => error,
    };
    // who reads stops at the first mistake; the schema knows the others
    let positions = Positions::read(text);
    let mut problems = match plain::<Value>(path, text) {
        Ok(value) => misshapen::<T>(path, &value, &positions),
        Err(_) => Vec::new(),
    };
    if problems.is_empty() {
        let mut first = error.problem;
        if let Some(field) = positions.at((first.line, first.column), error.of_key) {
            first.reason = format!("{field}: {}", first.reason);
        }
        problems.push(first);
    }
    problems.sort();
    Err(problems)
}

/// Reads one document, whatever it is.
pub fn value(path: &str, text: &str) -> Result<Value, Problem> {
    plain(path, text).map_err(|error| error.problem)
}

/// Reads all documents of a file; empty ones are left out.
pub fn values(path: &str, text: &str) -> Result<Vec<Value>, Problem> {
    serde_saphyr::from_multiple_with_options(text, options()).map_err(|error| explain(path, &error).problem)
}

/// The first thing that keeps a document from being read.
struct Mistaken {
    problem: Problem,
    /// Whether its place is that of a field's name.
    of_key: bool,
}

fn plain<T: DeserializeOwned>(path: &str, text: &str) -> Result<T, Mistaken> {
    if text.trim().is_empty() {
        return Err(Mistaken { problem: Problem::new(path, 1, 1, "the file is empty"), of_key: false });
    }
    serde_saphyr::from_str_with_options(text, options()).map_err(|error| explain(path, &error))
}

fn misshapen<T: JsonSchema>(path: &str, value: &Value, positions: &Positions) -> Vec<Problem> {
    let placed = |mistake: super::check::Mistake| {
        let field = field_of(value, &mistake.pointer);
        // what is missing or too much is told by name, everything else by value
        let by_name = matches!(mistake.code, "unknown-field" | "bad-name" | "missing-field" | "duplicate");
        let (line, column) = if by_name { positions.of(&field) } else { positions.of_value(&field) };
        let field = if field.is_empty() { field } else { format!("{field}: ") };
        Problem::new(path, line, column, format!("{field}{}", mistake.message))
    };
    Checker::of_file::<T>().mistakes(value).into_iter().map(placed).collect()
}

fn explain(path: &str, error: &Error) -> Mistaken {
    let error = error.without_snippet();
    let (line, column) = error.location().map_or((0, 0), |location| {
        (usize::try_from(location.line()).unwrap_or(0), usize::try_from(location.column()).unwrap_or(0))
    });
    let of_key = matches!(error, Error::SerdeUnknownField { .. } | Error::DuplicateMappingKey { .. });
    let reason = match error {
        Error::SerdeUnknownField { field, expected, .. } => unknown("field", field, expected.iter().copied()),
        Error::SerdeMissingField { field, .. } => format!("\"{field}\" is missing"),
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            format!("\"{}\" is not one of {}", variant.escape_default(), listed(expected.iter().copied()))
        }
        Error::SerdeInvalidType { unexpected, expected, .. }
        | Error::SerdeInvalidValue { unexpected, expected, .. } => {
            format!("found {unexpected}, expected {expected}")
        }
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("\"{}\" is there twice", key.escape_default()),
        Error::MultipleDocuments { .. } => "a second document begins here; this file holds one".to_owned(),
        Error::Unexpected { expected, .. } => format!("expected {}", kind_of(expected)),
        Error::InvalidScalar { ty, .. } => format!("expected {}", kind_of(ty)),
        Error::Message { msg, .. } => msg.clone(),
        other => {
            let text = first_line(&other.render());
            if text.contains("flow mapping") || text.contains("flow sequence") {
                format!("{text}; within {{ }} and [ ] put texts that have brackets, braces or commas in quotes")
            } else {
                text
            }
        }
    };
    Mistaken { problem: Problem::new(path, line, column, reason), of_key }
}

/// What the parser calls by its own names, as people write it.
fn kind_of(expected: &str) -> &str {
    match expected {
        "mapping start" => "fields, written as name: value",
        "sequence start" => "a list, written as [one, two]",
        "string scalar" => "a text",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number that is not negative",
        "i8" | "i16" | "i32" | "i64" => "a whole number",
        "f32" | "f64" => "a number",
        other => other,
    }
}

/// The message without the parser's own idea of a place in front of or behind it.
fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let line = line.split(" at line ").next().unwrap_or(line);
    let unplaced = line.strip_prefix("line ").and_then(|rest| rest.split_once(": ")).map_or(line, |(_, rest)| rest);
    unplaced.to_owned()
}

/// Line and column.
type Place = (usize, usize);

/// Where each value of a document stands: `components.cache.ports[0]` to line and column.
#[derive(Clone, Debug, Default)]
pub struct Positions {
    /// Of fields, where their names stand.
    named: BTreeMap<String, Place>,
    /// Where values themselves begin.
    values: BTreeMap<String, Place>,
}

enum Level {
    Map { path: String, key: Option<String> },
    List { path: String, next: usize },
}

impl Positions {
    /// Reads positions of the first document; a text that does not parse has none beyond the error.
    pub fn read(text: &str) -> Self {
        let (mut named, mut values) = (BTreeMap::new(), BTreeMap::new());
        let mut levels: Vec<Level> = Vec::new();
        for event in Parser::new_from_str(text) {
            let Ok((event, span)) = event else { break };
            let place = (span.start.line(), span.start.col() + 1);
            match event {
                Event::Scalar(..) | Event::Alias(..) | Event::MappingStart(..) | Event::SequenceStart(..) => {
                    let scalar = if let Event::Scalar(text, ..) = &event { Some(text.to_string()) } else { None };
                    let path = match levels.last_mut() {
                        None => String::new(),
                        Some(Level::Map { path, key: key @ None }) => {
                            let name = scalar.unwrap_or_default();
                            named.insert(join(path, &name), place);
                            *key = Some(name);
                            continue;
                        }
                        Some(Level::Map { path, key }) => join(path, &key.take().unwrap_or_default()),
                        Some(Level::List { path, next }) => {
                            *next += 1;
                            format!("{path}[{}]", *next - 1)
                        }
                    };
                    named.entry(path.clone()).or_insert(place);
                    values.entry(path.clone()).or_insert(place);
                    match event {
                        Event::MappingStart(..) => levels.push(Level::Map { path, key: None }),
                        Event::SequenceStart(..) => levels.push(Level::List { path, next: 0 }),
                        _ => {}
                    }
                }
                Event::MappingEnd | Event::SequenceEnd => {
                    levels.pop();
                }
                Event::DocumentEnd => break,
                _ => {}
            }
        }
        Self { named, values }
    }

    /// Line and column of a field, or of the nearest thing around it that is written.
    pub fn of(&self, field: &str) -> (usize, usize) {
        let mut field = field;
        loop {
            if let Some(place) = self.named.get(field) {
                return *place;
            }
            match field.rfind(['.', '[']) {
                Some(end) => field = &field[..end],
                None => return self.named.get("").copied().unwrap_or((1, 1)),
            }
        }
    }

    /// Where a value itself begins, or the nearest thing around it.
    fn of_value(&self, field: &str) -> Place {
        self.values.get(field).copied().unwrap_or_else(|| self.of(field))
    }

    /// The field whose value, or whose name, begins at this place.
    fn at(&self, place: Place, of_key: bool) -> Option<String> {
        let among =
            |all: &BTreeMap<String, Place>| all.iter().find(|(_, at)| **at == place).map(|(field, _)| field.clone());
        let (value, key) = (|| among(&self.values), || among(&self.named));
        // a mapping begins where the name of its first field does
        let found = if of_key { key().or_else(value) } else { value().or_else(key) };
        found.filter(|field| !field.is_empty())
    }
}

/// The path of a field within an object.
pub fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::super::problem::Problems;
    use super::*;

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    struct Sample {
        #[allow(dead_code)]
        image_name: String,
        #[allow(dead_code)]
        count: Option<u32>,
    }

    #[test]
    fn errors_say_where_and_what_was_meant() {
        let cases = [
            ("count: many", "f:1:1: imageName is missing\nf:1:8: count: \"many\" is not a whole number"),
            (
                "imageNam: a\nimageName: a\ncont: 2",
                "f:1:1: imageNam: unknown field \"imageNam\"; did you mean \"imageName\"?\n\
                 f:3:1: cont: unknown field \"cont\"; did you mean \"count\"?",
            ),
            ("imageName: a\nimageName: b", "f:2:1: imageName: \"imageName\" is there twice"),
            ("imageName: [", "f:1:12: imageName: expected a text"),
            ("imageName: 7.0\ncount: -1", "f:2:8: count: -1 is less than 0"),
            ("imageName: a\ncount: 7777777777", "f:2:8: count: expected a whole number that is not negative"),
            ("- imageName: a", "f:1:1: a list is not a mapping"),
            ("imageName: a\n---\nimageName: b", "f:3:1: a second document begins here; this file holds one"),
            (" \n", "f:1:1: the file is empty"),
        ];
        for (text, expected) in cases {
            let problems = Problems(read::<Sample>("f", text).expect_err("wrong")).to_string();
            assert!(problems.starts_with(expected), "{text:?} gave {problems}");
        }
    }

    #[test]
    fn an_alias_bomb_is_refused() {
        let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n\
                    d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d]";
        assert!(value("f", bomb).is_err());
    }

    #[test]
    fn positions_point_at_keys_and_items() {
        let positions = Positions::read("a:\n  b: 1\n  c:\n    - x\n    - y: 2\n");
        assert_eq!(positions.of("a.b"), (2, 3));
        assert_eq!(positions.of("a.c[0]"), (4, 7));
        assert_eq!(positions.of("a.c[1].y"), (5, 7));
        assert_eq!(positions.of("a.b.not.there"), (2, 3));
    }
}
