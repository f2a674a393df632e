//! Parameters: whether a value is allowed, what it becomes, and what a change of it needs.

use std::collections::BTreeMap;
use std::sync::Arc;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{ValidationError, Validator};
use serde_json::{Number, Value};

use super::contract::parameter::{Change, OtherParameters, Parameter, ParameterType};
use super::problem::{closest, listed, unknown};
use super::quantity;
use super::rules::{self, NO_PATTERN};
use super::versions;
use crate::api::values::Duration;
use crate::names::ParameterName;

/// One parameter's rule, ready to be applied.
#[derive(Clone, Debug)]
struct Rule {
    parameter: Parameter,
    minimum: Option<f64>,
    maximum: Option<f64>,
    pattern: Option<Arc<Validator>>,
    schema: Option<Arc<Validator>>,
}

/// All parameters of a component.
#[derive(Clone, Debug, Default)]
pub struct ParameterSet {
    rules: BTreeMap<ParameterName, Rule>,
    other: Option<OtherParameters>,
}

/// Why a parameter is refused, and whether because nobody knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    Unknown(String),
    Invalid(String),
}

impl Refused {
    pub fn reason(self) -> String {
        match self {
            Self::Unknown(reason) | Self::Invalid(reason) => reason,
        }
    }
}

impl ParameterSet {
    /// Prepares rules, or says which parameter has one that makes no sense.
    pub fn new(
        parameters: &BTreeMap<ParameterName, Parameter>,
        other: Option<OtherParameters>,
    ) -> Result<Self, Vec<(ParameterName, String)>> {
        let mut rules = BTreeMap::new();
        let mut wrong = Vec::new();
        for (name, parameter) in parameters {
            match Rule::new(parameter) {
                Ok(rule) => {
                    rules.insert(name.clone(), rule);
                }
                Err(reason) => wrong.push((name.clone(), reason)),
            }
        }
        if wrong.is_empty() { Ok(Self { rules, other }) } else { Err(wrong) }
    }

    pub fn get(&self, name: &str) -> Option<&Parameter> {
        self.rules.get(name).map(|rule| &rule.parameter)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&ParameterName, &Parameter)> {
        self.rules.iter().map(|(name, rule)| (name, &rule.parameter))
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.rules.keys().map(ParameterName::as_str)
    }

    /// What a change of a parameter needs.
    pub fn change(&self, name: &str) -> Change {
        match (self.get(name), &self.other) {
            (Some(parameter), _) => parameter.change(),
            (None, Some(other)) => other.change,
            (None, None) => Change::Restart,
        }
    }

    /// The value as templates see it, or why it is refused.
    pub fn check(&self, name: &str, value: &Value, version: &str) -> Result<Value, Refused> {
        let Some(rule) = self.rules.get(name) else {
            if let Err(error) = ParameterName::parse(name) {
                return Err(Refused::Invalid(error.to_string()));
            }
            return match (&self.other, value) {
                (Some(_), Value::String(text)) if text.contains(char::is_control) => {
                    Err(Refused::Invalid(format!("parameter {name}: {ONE_LINE}")))
                }
                (Some(_), Value::String(_) | Value::Number(_) | Value::Bool(_)) => Ok(value.clone()),
                (Some(_), _) => Err(Refused::Invalid(format!("parameter {name}: only text, a number or a boolean"))),
                (None, _) => Err(Refused::Unknown(unknown("parameter", name, self.names()))),
            };
        };
        let refused = |reason: String| Refused::Invalid(format!("parameter {name}: {reason}"));
        if let Some(requirement) = &rule.parameter.versions
            && versions::fulfils(version, requirement) == Ok(false)
        {
            return Err(refused(format!("version {version} does not have it; it needs {requirement}")));
        }
        rule.check(value).map_err(refused)
    }

    /// Reads a value that stands as text in a configuration file.
    pub fn check_text(&self, name: &str, text: &str, version: &str) -> Result<Value, Refused> {
        let value = match self.get(name).map(|parameter| parameter.type_) {
            Some(ParameterType::Integer | ParameterType::Number) => {
                text.parse::<Number>().map_or_else(|_| Value::from(text), Value::Number)
            }
            Some(ParameterType::List | ParameterType::Object) => return Ok(Value::from(text)),
            _ => Value::from(text),
        };
        self.check(name, &value, version)
    }
}

impl Rule {
    fn new(parameter: &Parameter) -> Result<Self, String> {
        let bound = |what: &str, bound: &Option<Value>| match bound {
            None => Ok(None),
            Some(_) if !is_amount(parameter.type_) => {
                Err(format!("{what} is for numbers, bytes and durations, and this is {}", kind_name(parameter.type_)))
            }
            Some(value) => amount(parameter.type_, value)
                .map(Some)
                .ok_or_else(|| format!("{what} {value} is no {}", kind_name(parameter.type_))),
        };
        let compile = |schema: &Value| {
            rules::compile(schema).map(Arc::new).map_err(|wrong| format!("its schema is wrong: {}", wrong.reason))
        };
        let rule = Self {
            minimum: bound("minimum", &parameter.minimum)?,
            maximum: bound("maximum", &parameter.maximum)?,
            pattern: match &parameter.pattern {
                None => None,
                Some(pattern) => Some(
                    compile(&serde_json::json!({ "pattern": pattern }))
                        .map_err(|_| format!("pattern \"{pattern}\" {NO_PATTERN}"))?,
                ),
            },
            schema: parameter.schema.as_ref().map(compile).transpose()?,
            parameter: parameter.clone(),
        };
        if let (Some(minimum), Some(maximum)) = (rule.minimum, rule.maximum)
            && minimum > maximum
        {
            return Err("minimum is above maximum".to_owned());
        }
        if let Some(requirement) = &parameter.versions {
            versions::fulfils("1", requirement)?;
        }
        if parameter.pattern.is_some() && !matches!(parameter.type_, ParameterType::String | ParameterType::Duration) {
            return Err(format!("pattern is for texts, and this is {}", kind_name(parameter.type_)));
        }
        if parameter.secret && parameter.default.is_some() {
            return Err("a secret parameter has no default: a package is no place for secrets".to_owned());
        }
        for value in &parameter.values {
            convert(parameter.type_, value).map_err(|reason| format!("enum: {reason}"))?;
        }
        match &parameter.default {
            Some(Value::String(text)) if text.contains("{{") || text.contains("{%") => {}
            Some(default) => {
                rule.check(default).map_err(|reason| format!("its default is not allowed: {reason}"))?;
            }
            None => {}
        }
        Ok(rule)
    }

    /// The word that somebody wrote without quotes: `off` and `no` are read as boolean by some, kubectl among them.
    fn word<'a>(&'a self, value: &'a Value) -> &'a Value {
        let (ParameterType::String, Value::Bool(said)) = (self.parameter.type_, value) else { return value };
        let words = if *said { ["on", "yes", "true"] } else { ["off", "no", "false"] };
        let fits = |allowed: &&Value| allowed.as_str().is_some_and(|word| words.contains(&word));
        let mut fitting = self.parameter.values.iter().filter(fits);
        match (fitting.next(), fitting.next()) {
            (Some(only), None) => only,
            _ => value,
        }
    }

    fn check(&self, value: &Value) -> Result<Value, String> {
        let parameter = &self.parameter;
        let value = self.word(value);
        let converted = convert(parameter.type_, value)?;
        let allowed = |c: char| !c.is_control() || (parameter.multiline && matches!(c, '\n' | '\r' | '\t'));
        if converted.as_str().is_some_and(|text| !text.chars().all(allowed)) {
            return Err(ONE_LINE.to_owned());
        }
        if !parameter.values.is_empty()
            && !parameter.values.iter().any(|allowed| convert(parameter.type_, allowed).as_ref() == Ok(&converted))
        {
            return Err(not_allowed(value, &parameter.values));
        }
        if let Some(number) = amount(parameter.type_, &converted) {
            if self.minimum.is_some_and(|minimum| number < minimum) {
                return Err(format!("{} is too small; {}", plain(value), self.range()));
            }
            if self.maximum.is_some_and(|maximum| number > maximum) {
                return Err(format!("{} is too large; {}", plain(value), self.range()));
            }
        }
        if let Some(pattern) = &self.pattern
            && !pattern.is_valid(&converted)
        {
            return Err(format!(
                "\"{}\" does not match {}",
                plain(value).escape_default(),
                parameter.pattern.as_deref().unwrap_or_default()
            ));
        }
        if let Some(schema) = &self.schema
            && let Err(error) = schema.validate(&converted)
        {
            return Err(said_of(&error));
        }
        Ok(converted)
    }

    fn range(&self) -> String {
        match (&self.parameter.minimum, &self.parameter.maximum) {
            (Some(minimum), Some(maximum)) => format!("allowed is {} to {}", plain(minimum), plain(maximum)),
            (Some(minimum), None) => format!("allowed is {} and more", plain(minimum)),
            (None, Some(maximum)) => format!("allowed is {} and less", plain(maximum)),
            (None, None) => "any value is allowed".to_owned(),
        }
    }
}

/// A line more could be a setting more.
const ONE_LINE: &str = "line breaks and other control characters are not allowed";

/// What a JSON Schema says of a value, with everything that is allowed where it says that.
pub fn said_of(error: &ValidationError<'_>) -> String {
    match error.kind() {
        ValidationErrorKind::Enum { options } => {
            not_allowed(error.instance(), options.as_array().map(Vec::as_slice).unwrap_or_default())
        }
        _ => error.to_string(),
    }
}

fn not_allowed(value: &Value, allowed: &[Value]) -> String {
    let allowed: Vec<String> = allowed.iter().map(plain).collect();
    let hint = closest(&plain(value), allowed.iter().map(String::as_str))
        .map(|name| format!("; did you mean \"{name}\"?"))
        .unwrap_or_default();
    let shown = plain(value).escape_default().to_string();
    format!("\"{shown}\" is not allowed; allowed are {}{hint}", listed(allowed.iter().map(String::as_str)))
}

/// A value as people write it.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn kind_name(kind: ParameterType) -> &'static str {
    match kind {
        ParameterType::String => "text",
        ParameterType::Integer => "integer",
        ParameterType::Number => "number",
        ParameterType::Boolean => "boolean (true or false)",
        ParameterType::Bytes => "number of bytes (such as 64Mi)",
        ParameterType::Duration => "duration (such as 30s)",
        ParameterType::List => "list",
        ParameterType::Object => "object",
    }
}

/// The value in the form templates see.
fn convert(kind: ParameterType, value: &Value) -> Result<Value, String> {
    let converted = match (kind, value) {
        (ParameterType::String, Value::String(_))
        | (ParameterType::Integer, Value::Number(_))
        | (ParameterType::Boolean, Value::Bool(_))
        | (ParameterType::List, Value::Array(_))
        | (ParameterType::Object, Value::Object(_)) => Some(value.clone()),
        (ParameterType::Number, Value::Number(number)) => Some(Value::Number(number.clone())),
        (ParameterType::String, Value::Number(number)) => Some(Value::String(number.to_string())),
        // YAML 1.1 readers make booleans of these, YAML 1.2 readers text
        (ParameterType::Boolean, Value::String(text)) => match text.to_ascii_lowercase().as_str() {
            "yes" | "on" | "true" => Some(Value::Bool(true)),
            "no" | "off" | "false" => Some(Value::Bool(false)),
            _ => None,
        },
        (ParameterType::Bytes, Value::Number(number)) => quantity::bytes(&number.to_string()).map(Value::from),
        (ParameterType::Bytes, Value::String(text)) => quantity::bytes(text).map(Value::from),
        (ParameterType::Duration, Value::String(text)) => Duration::parse(text).map(|d| Value::from(d.to_string())),
        _ => None,
    };
    converted.filter(|value| kind != ParameterType::Integer || value.as_i64().is_some()).ok_or_else(|| {
        let shown = plain(value).escape_default().to_string();
        let number = matches!(kind, ParameterType::Integer | ParameterType::Number);
        match value {
            Value::String(text) if number && text.parse::<f64>().is_ok() => {
                format!("\"{shown}\" is text; write it without quotes")
            }
            _ => format!("\"{shown}\" is no {}", kind_name(kind)),
        }
    })
}

fn is_amount(kind: ParameterType) -> bool {
    matches!(kind, ParameterType::Integer | ParameterType::Number | ParameterType::Bytes | ParameterType::Duration)
}

/// The value as a number, where it is an amount of something.
#[allow(clippy::cast_precision_loss)] // bounds of parameters are far below
fn amount(kind: ParameterType, value: &Value) -> Option<f64> {
    match kind {
        ParameterType::Integer | ParameterType::Number => value.as_f64(),
        ParameterType::Bytes => match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => quantity::number(text),
            _ => None,
        },
        ParameterType::Duration => value.as_str().and_then(Duration::parse).map(|d| d.0.as_millis() as f64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(text: &str) -> ParameterSet {
        let parameters = serde_saphyr::from_str(text).expect("parameters");
        ParameterSet::new(&parameters, None).expect("rules that make sense")
    }

    #[test]
    fn a_refusal_names_the_parameter_the_rule_and_what_is_allowed() {
        let set = set(
            "policy: {type: string, enum: [none, lru, lfu]}\ncount: {type: integer, minimum: 1, maximum: 16}\n\
             size: {type: bytes, minimum: 1Mi}\nwait: {type: duration, maximum: 1m}\nnew: {type: integer, versions: '>=7'}\n\
             name: {type: string, pattern: '^[a-z]+$'}\nfree: {type: string}\n\
             kinds: {type: list, schema: {items: {enum: [error, warning, notice, debug, all]}}}",
        );
        let cases = [
            (
                "policy",
                json!("lruu"),
                "parameter policy: \"lruu\" is not allowed; allowed are none, lru and lfu; did you mean \"lru\"?",
            ),
            ("count", json!(0), "parameter count: 0 is too small; allowed is 1 to 16"),
            ("count", json!(17), "parameter count: 17 is too large; allowed is 1 to 16"),
            ("count", json!("many"), "parameter count: \"many\" is no integer"),
            ("count", json!("3"), "parameter count: \"3\" is text; write it without quotes"),
            ("free", json!("a\nb"), "parameter free: line breaks and other control characters are not allowed"),
            ("count", json!(1.5), "parameter count: \"1.5\" is no integer"),
            ("size", json!("1Ki"), "parameter size: 1Ki is too small; allowed is 1Mi and more"),
            ("size", json!("big"), "parameter size: \"big\" is no number of bytes (such as 64Mi)"),
            ("wait", json!("2m"), "parameter wait: 2m is too large; allowed is 1m and less"),
            ("new", json!(1), "parameter new: version 6.2 does not have it; it needs >=7"),
            ("name", json!("A"), "parameter name: \"A\" does not match ^[a-z]+$"),
            (
                "kinds",
                json!(["error", "warnings"]),
                "parameter kinds: \"warnings\" is not allowed; allowed are error, warning, notice, debug and all; did you mean \"warning\"?",
            ),
            ("polici", json!("lru"), "there is no parameter \"polici\"; did you mean \"policy\"?"),
        ];
        for (name, value, expected) in cases {
            assert_eq!(set.check(name, &value, "6.2").expect_err("refused").reason(), expected);
        }
    }

    #[test]
    fn values_become_what_templates_need() {
        let set = set(
            "size: {type: bytes}\nflag: {type: boolean}\nwait: {type: duration}\ntext: {type: string}\nlong: {type: string, multiline: true}",
        );
        assert_eq!(set.check("long", &json!("a\nb"), "1"), Ok(json!("a\nb")));
        assert!(set.check("long", &json!("a\u{7}b"), "1").is_err());
        assert_eq!(set.check("size", &json!("64Mi"), "1"), Ok(json!(67_108_864)));
        assert_eq!(set.check("flag", &json!("yes"), "1"), Ok(json!(true)));
        assert_eq!(set.check("wait", &json!("90s"), "1"), Ok(json!("1m30s")));
        assert_eq!(set.check("text", &json!(7), "1"), Ok(json!("7")));
    }

    #[test]
    fn a_word_that_was_read_as_boolean_is_the_one_that_is_allowed() {
        let set =
            set("commit: {type: string, enum: ['off', local, 'on']}\nsync: {type: string, enum: [always, 'no']}\n\
             either: {type: string, enum: ['no', 'off']}\ntext: {type: string}");
        assert_eq!(set.check("commit", &json!(false), "1"), Ok(json!("off")));
        assert_eq!(set.check("commit", &json!(true), "1"), Ok(json!("on")));
        assert_eq!(set.check("sync", &json!(false), "1"), Ok(json!("no")));
        for (name, value) in [("sync", json!(true)), ("either", json!(false)), ("text", json!(true))] {
            let reason = set.check(name, &value, "1").expect_err("nobody can tell which").reason();
            assert_eq!(reason, format!("parameter {name}: \"{value}\" is no text"));
        }
    }

    #[test]
    fn rules_that_make_no_sense_are_found() {
        let cases = [
            ("a: {type: integer, minimum: 5, maximum: 1}", "minimum is above maximum"),
            ("a: {type: integer, default: x}", "its default is not allowed: \"x\" is no integer"),
            (
                "a: {type: string, pattern: '['}",
                "pattern \"[\" is no pattern that can be used: it is wrong, too large, or looks ahead or back",
            ),
            ("a: {type: bytes, minimum: lots}", "minimum \"lots\" is no number of bytes (such as 64Mi)"),
            ("a: {type: integer, versions: seven}", "\"seven\" is no requirement; write it like >=7.0, <8"),
        ];
        for (text, expected) in cases {
            let parameters = serde_saphyr::from_str(text).expect("parameters");
            let wrong = ParameterSet::new(&parameters, None).expect_err("makes no sense");
            assert_eq!(wrong[0].1, expected);
        }
    }
}
