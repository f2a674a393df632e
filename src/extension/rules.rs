//! JSON Schemas of packages, compiled within bounds: a few references to references can take for ever to check.

use std::collections::BTreeMap;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, Validator};
use serde_json::{Map, Value};

use super::yaml::join;

/// What is said of a pattern that is not taken.
pub const NO_PATTERN: &str = "is no pattern that can be used: it is wrong, too large, or looks ahead or back";

/// Parts that may be looked at for one value, where each reference counts as what it refers to.
const MOST: u64 = 5_000;
/// Bytes of a pattern once it is compiled.
const LARGEST_PATTERN: usize = 1024 * 1024;
/// Parts within parts, those that are referred to included: each is read and checked within the one before.
const DEEPEST: usize = 128;
/// What in a schema holds a schema, or several.
const HOLDS: [&str; 16] = [
    "additionalItems",
    "additionalProperties",
    "allOf",
    "anyOf",
    "contains",
    "contentSchema",
    "else",
    "if",
    "items",
    "not",
    "oneOf",
    "prefixItems",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
];
/// What in a schema holds schemas by name.
const HOLDS_NAMED: [&str; 4] = ["properties", "patternProperties", "dependentSchemas", "dependencies"];

/// Why a schema cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The field of the schema that is to blame.
    pub field: String,
    pub reason: String,
    /// Whether it is a schema, and one that is not taken.
    pub refused: bool,
}

/// Compiles a schema that takes no longer to check than it looks.
pub fn compile(schema: &Value) -> Result<Validator, Wrong> {
    let mut measure =
        Measure { root: schema, known: BTreeMap::new(), within: vec!["#".to_owned()], depth: 0, deepest: 0 };
    measure.schema(schema, "")?;
    // the other engine goes back and forth
    let built =
        jsonschema::options().with_pattern_options(PatternOptions::regex().size_limit(LARGEST_PATTERN)).build(schema);
    built.map_err(|error| {
        let pointer = error.instance_path().to_string();
        let field = pointer.split('/').skip(1).fold(String::new(), |field, part| match part.parse::<usize>() {
            Ok(number) => format!("{field}[{number}]"),
            Err(_) => join(&field, &part.replace("~1", "/").replace("~0", "~")),
        });
        match error.kind() {
            ValidationErrorKind::Format { format } if format == "regex" => {
                refused(&field, format!("{} {NO_PATTERN}", error.instance()))
            }
            _ => Wrong { field, reason: error.to_string(), refused: false },
        }
    })
}

/// What checking a schema takes.
struct Measure<'a> {
    root: &'a Value,
    /// What is referred to, what that takes, and how many parts are within each other there.
    known: BTreeMap<String, (u64, usize)>,
    /// References that are being followed.
    within: Vec<String>,
    /// Parts that are being looked at, each within the one before.
    depth: usize,
    /// The most of them since the reference that is being followed.
    deepest: usize,
}

impl Measure<'_> {
    fn schema(&mut self, schema: &Value, field: &str) -> Result<u64, Wrong> {
        let Value::Object(map) = schema else { return Ok(1) };
        self.depth += 1;
        self.reached(self.depth, field)?;
        let mut all: u64 = 1;
        for (key, value) in map {
            let field = join(field, key);
            all = all.saturating_add(self.keyword(key, value, &field)?);
            if all > MOST {
                let reason = format!(
                    "takes too long to check: more than {MOST} parts would be looked at, each reference counted as what it refers to"
                );
                return Err(refused(&field, reason));
            }
        }
        self.depth -= 1;
        Ok(all)
    }

    /// What is no schema counts nothing, and what nobody refers to.
    fn keyword(&mut self, key: &str, value: &Value, field: &str) -> Result<u64, Wrong> {
        match (key, value) {
            ("$ref", Value::String(address)) => self.reference(address, field),
            ("$id" | "id", Value::String(_)) if self.depth > 1 => {
                Err(refused(field, "gives a part an address of its own; refer to it as #/$defs/name".to_owned()))
            }
            ("$anchor" | "$dynamicAnchor" | "$dynamicRef" | "$recursiveAnchor" | "$recursiveRef", _) => {
                Err(refused(field, format!("{key} is not available; refer to a part as #/$defs/name")))
            }
            (_, Value::Object(parts)) if HOLDS_NAMED.contains(&key) => self.parts(parts, field),
            (_, Value::Object(_)) if HOLDS.contains(&key) => self.schema(value, field),
            (_, Value::Array(items)) if HOLDS.contains(&key) => {
                let mut sum: u64 = 0;
                for (number, item) in items.iter().enumerate() {
                    sum = sum.saturating_add(self.schema(item, &format!("{field}[{number}]"))?);
                }
                Ok(sum)
            }
            _ => Ok(0),
        }
    }

    fn parts(&mut self, parts: &Map<String, Value>, field: &str) -> Result<u64, Wrong> {
        let mut sum: u64 = 0;
        for (name, part) in parts {
            sum = sum.saturating_add(self.schema(part, &join(field, name))?);
        }
        Ok(sum)
    }

    fn reference(&mut self, address: &str, field: &str) -> Result<u64, Wrong> {
        if let Some((takes, deep)) = self.known.get(address).copied() {
            self.reached(self.depth + deep, field)?;
            return Ok(takes);
        }
        let Some(pointer) = address.strip_prefix('#') else {
            let reason = format!("refers to {address}, but nothing is fetched: write it into this file under $defs");
            return Err(refused(field, reason));
        };
        if self.within.iter().any(|one| one == address) {
            return Err(refused(field, format!("refers to {address}, which leads back here: it would never end")));
        }
        let root = self.root;
        let Some(target) = root.pointer(pointer) else {
            return Err(refused(field, format!("refers to {address}, which is not in this file")));
        };
        self.within.push(address.to_owned());
        let before = std::mem::replace(&mut self.deepest, self.depth);
        let takes = self.schema(target, field)?;
        self.known.insert(address.to_owned(), (takes, self.deepest - self.depth));
        self.deepest = self.deepest.max(before);
        self.within.pop();
        Ok(takes)
    }

    fn reached(&mut self, depth: usize, field: &str) -> Result<(), Wrong> {
        if depth > DEEPEST {
            return Err(refused(field, format!("lies too deep: more than {DEEPEST} parts are within each other")));
        }
        self.deepest = self.deepest.max(depth);
        Ok(())
    }
}

fn refused(field: &str, reason: String) -> Wrong {
    Wrong { field: field.to_owned(), reason, refused: true }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(schema: &Value) -> String {
        compile(schema).map_or_else(|wrong| format!("{}: {}", wrong.field, wrong.reason), |_| "fine".to_owned())
    }

    #[test]
    fn a_schema_that_would_never_be_checked_is_refused_before_it_is_tried() {
        let mut parts = Map::new();
        for level in 0..40 {
            let next = format!("#/$defs/a{}", level + 1);
            parts.insert(format!("a{level}"), json!({ "allOf": [{ "$ref": next }, { "$ref": next }] }));
        }
        parts.insert("a40".to_owned(), json!({ "required": ["x"] }));
        let bomb = told(&json!({ "$defs": parts, "$ref": "#/$defs/a0" }));
        assert!(bomb.contains("takes too long to check: more than 5000 parts would be looked at"), "{bomb}");
        let back = json!({ "$defs": { "a": { "allOf": [{ "$ref": "#/$defs/b" }] }, "b": { "$ref": "#/$defs/a" } }, "$ref": "#/$defs/a" });
        assert!(
            told(&back).ends_with("refers to #/$defs/a, which leads back here: it would never end"),
            "{}",
            told(&back)
        );
        assert_eq!(told(&json!({ "$ref": "#" })), "$ref: refers to #, which leads back here: it would never end");
    }

    #[test]
    fn a_schema_that_goes_deeper_than_the_stack_is_refused_however_its_parts_are_known() {
        let mut parts = Map::new();
        for level in 0..100 {
            let next = format!("#/$defs/{:03}", level + 1);
            parts.insert(format!("{level:03}"), json!({ "not": { "not": { "$ref": next } } }));
        }
        parts.insert("100".to_owned(), json!({ "required": ["x"] }));
        let known: Vec<Value> = (0..=100).rev().map(|level| json!({ "$ref": format!("#/$defs/{level:03}") })).collect();
        let said = told(&json!({ "$defs": parts, "allOf": known }));
        assert!(said.ends_with("lies too deep: more than 128 parts are within each other"), "{said}");
    }

    #[test]
    fn what_a_schema_refers_to_is_in_its_file_and_named_by_its_place() {
        for (schema, expected) in [
            (
                json!({ "$ref": "https://example.com/a" }),
                "$ref: refers to https://example.com/a, but nothing is fetched: write it into this file under $defs",
            ),
            (json!({ "$ref": "#/$defs/a" }), "$ref: refers to #/$defs/a, which is not in this file"),
            (
                json!({ "properties": { "a": { "$anchor": "x" } } }),
                "properties.a.$anchor: $anchor is not available; refer to a part as #/$defs/name",
            ),
            (
                json!({ "properties": { "a": { "$id": "x" } } }),
                "properties.a.$id: gives a part an address of its own; refer to it as #/$defs/name",
            ),
            (
                json!({ "$id": "https://example.com/own", "$defs": { "a": { "minimum": 1 } },
                    "x-docs": { "id": "own", "$ref": "https://example.com/a" },
                    "properties": { "$ref": { "$ref": "#/$defs/a" }, "enum": { "enum": [{ "$ref": "data" }] } } }),
                "fine",
            ),
            (
                json!({ "properties": { "a": { "pattern": "^(?!b)" } } }),
                "properties.a.pattern: \"^(?!b)\" is no pattern that can be used: it is wrong, too large, or looks ahead or back",
            ),
        ] {
            assert_eq!(told(&schema), expected);
        }
    }
}
