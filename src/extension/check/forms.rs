//! Rules that say what a text looks like, and nothing else: most rules are. Each pattern is read once here; what evaluates
//! all other rules would read it anew for each text, which costs more than everything else that is done with a spec.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value};

/// Where a schema has its rules.
const RULES: &str = "x-kubernetes-validations";

/// What the texts of a value have to look like, place by place.
#[derive(Default)]
pub struct Forms {
    own: Vec<Form>,
    fields: BTreeMap<String, Forms>,
    items: Option<Box<Forms>>,
    /// Of the fields of a mapping whose keys anybody may choose.
    entries: Option<Box<Forms>>,
}

struct Form {
    pattern: Regex,
    /// Whether a text has to match it, or must not.
    wanted: bool,
    message: String,
}

/// Patterns that were read: many texts have to look alike.
type Known = BTreeMap<String, Regex>;

impl Forms {
    /// Takes these rules out of a schema; what is left in it is for those who understand any rule.
    pub fn taken_from(schema: &mut Value) -> Self {
        Self::take(schema, &mut Known::new())
    }

    fn take(schema: &mut Value, known: &mut Known) -> Self {
        let Value::Object(schema) = schema else { return Self::default() };
        let mut forms = Self { own: own(schema, known), ..Self::default() };
        if let Some(items) = schema.get_mut("items") {
            forms.items = Self::take(items, known).unless_empty();
        }
        if let Some(Value::Object(fields)) = schema.get_mut("properties") {
            for (name, field) in fields {
                let inner = Self::take(field, known);
                if !inner.is_empty() {
                    forms.fields.insert(name.clone(), inner);
                }
            }
        } else if let Some(entries) = schema.get_mut("additionalProperties") {
            forms.entries = Self::take(entries, known).unless_empty();
        }
        forms
    }

    fn is_empty(&self) -> bool {
        self.own.is_empty() && self.fields.is_empty() && self.items.is_none() && self.entries.is_none()
    }

    fn unless_empty(self) -> Option<Box<Self>> {
        (!self.is_empty()).then(|| Box::new(self))
    }

    /// The places of a value, as JSON pointers, in which something does not look as it has to, and what is said of it.
    pub fn broken(&self, value: &Value) -> Vec<(String, String)> {
        let mut broken = Vec::new();
        self.look("", value, &mut broken);
        broken
    }

    fn look(&self, pointer: &str, value: &Value, broken: &mut Vec<(String, String)>) {
        for form in self.own.iter().filter(|form| !form.holds(value)) {
            broken.push((pointer.to_owned(), form.message.clone()));
        }
        match value {
            Value::Object(fields) => {
                for (name, field) in fields {
                    if let Some(inner) = self.fields.get(name).or(self.entries.as_deref()) {
                        let name = name.replace('~', "~0").replace('/', "~1");
                        inner.look(&format!("{pointer}/{name}"), field, broken);
                    }
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    if let Some(inner) = &self.items {
                        inner.look(&format!("{pointer}/{index}"), item, broken);
                    }
                }
            }
            _ => {}
        }
    }
}

/// The rules of one place that say what a text looks like.
fn own(schema: &mut Map<String, Value>, known: &mut Known) -> Vec<Form> {
    let mut own = Vec::new();
    if schema.get("type").and_then(Value::as_str) != Some("string") {
        return own;
    }
    if let Some(Value::Array(rules)) = schema.get_mut(RULES) {
        rules.retain(|rule| match Form::of(rule, known) {
            Some(form) => {
                own.push(form);
                false
            }
            None => true,
        });
    }
    own
}

impl Form {
    /// What a rule asks for, where it asks for this alone.
    fn of(rule: &Value, known: &mut Known) -> Option<Self> {
        let rule = rule.as_object().filter(|rule| rule.keys().all(|key| key == "rule" || key == "message"))?;
        let (text, message) = (rule.get("rule")?.as_str()?, rule.get("message")?.as_str()?);
        let (asked, wanted) = match text.strip_prefix('!') {
            Some(asked) => (asked, false),
            None => (text, true),
        };
        let pattern = asked.strip_prefix("self.matches(r'")?.strip_suffix("')")?;
        if pattern.contains('\'') {
            return None;
        }
        let read = match known.get(pattern) {
            Some(read) => read.clone(),
            None => known.entry(pattern.to_owned()).or_insert(Regex::new(pattern).ok()?).clone(),
        };
        Some(Self { pattern: read, wanted, message: message.to_owned() })
    }

    fn holds(&self, value: &Value) -> bool {
        let matches = match value {
            Value::String(text) => self.pattern.is_match(text),
            // where these may stand for a text, they are the text they are written as
            Value::Number(_) | Value::Bool(_) => self.pattern.is_match(&value.to_string()),
            _ => return true,
        };
        matches == self.wanted
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::Kind;

    fn text(rule: &str) -> Value {
        json!({ "type": "string", "x-kubernetes-validations": [{ "rule": rule, "message": "use another" }] })
    }

    #[test]
    fn no_pattern_of_our_definitions_is_read_anew_for_each_text() {
        for kind in Kind::ALL {
            let crd = serde_json::to_value(kind.crd()).expect("plain data");
            let mut schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].clone();
            Forms::taken_from(&mut schema);
            assert!(!schema.to_string().contains("self.matches("), "{kind:?}: {schema}");
        }
    }

    #[test]
    fn a_text_that_looks_otherwise_is_told_with_its_place() {
        let name = text("self.matches(r'^[a-z]+$')");
        let mut schema = json!({ "type": "object", "properties": {
            "name": name,
            "address": text("!self.matches(r'@')"),
            "list": { "type": "array", "items": name },
            "map": { "type": "object", "additionalProperties": name },
        } });
        let forms = Forms::taken_from(&mut schema);
        assert!(!schema.to_string().contains("matches"), "{schema}");
        let good = json!({ "name": "a", "address": "b", "list": ["c"], "map": { "D": "d" }, "other": "E" });
        assert_eq!(forms.broken(&good), []);
        let bad = json!({ "name": 7, "address": "a@b", "list": ["c", "C"], "map": { "x/y": "D" } });
        let mut places: Vec<String> = forms.broken(&bad).into_iter().map(|(place, _)| place).collect();
        places.sort();
        assert_eq!(places, ["/address", "/list/1", "/map/x~1y", "/name"]);
    }

    #[test]
    fn a_rule_that_says_more_stays_in_the_schema() {
        for rule in [
            "size(self) > 3",
            "self.matches(r'^a') && self.matches(r'b$')",
            "self.matches(r'^a', 1)",
            "self.matches(r'(')",
            "self == oldSelf",
        ] {
            let mut schema = text(rule);
            let forms = Forms::taken_from(&mut schema);
            assert!(forms.is_empty(), "{rule}");
            assert_eq!(schema, text(rule));
        }
    }
}
