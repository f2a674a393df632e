//! A user's own configuration file: the parameters in it are held to the same rules as those in the spec.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::contract::component::FileFormat;
use super::parameters::{ParameterSet, Refused};

/// What a user's own file says of parameters.
#[derive(Debug, Default, PartialEq)]
pub struct Found {
    /// Everything wrong with it. Settings that are not parameters are the user's own business.
    pub wrong: Vec<Wrong>,
    /// Parameters it sets, as templates see them; the last of several counts.
    pub set: BTreeMap<String, Value>,
}

/// Something wrong in a user's own file.
#[derive(Debug, PartialEq, Eq)]
pub struct Wrong {
    /// From 1; 0 where it is not known.
    line: usize,
    /// The parameter, where one is to blame.
    parameter: Option<String>,
    /// Why, with the value that is not allowed.
    reason: String,
}

impl Wrong {
    /// As people may read it. Of a file that is secret no value is shown.
    pub fn told(&self, secret: bool) -> String {
        let place = if self.line > 0 { format!("line {}: ", self.line) } else { String::new() };
        match &self.parameter {
            Some(parameter) if secret => {
                let why = "its value is not allowed, and not shown: the file lies in a Secret";
                format!("{place}parameter {parameter}: {why}; `midship extension show` tells what is")
            }
            _ => format!("{place}{}", self.reason),
        }
    }
}

/// Reads a user's own file.
pub fn read(format: FileFormat, text: &str, set: &ParameterSet, version: &str) -> Found {
    let unreadable = |line: usize, reason: &str| {
        let wrong = Wrong { line, parameter: None, reason: reason.to_owned() };
        Found { wrong: vec![wrong], ..Found::default() }
    };
    let settings = match format {
        FileFormat::Words => lines(text, |line| line.split_once(char::is_whitespace).unwrap_or((line, ""))),
        FileFormat::Properties => lines(text, |line| line.split_once('=').unwrap_or((line, ""))),
        FileFormat::Yaml => match serde_saphyr::from_str::<Value>(text) {
            Ok(value) => flatten(&value),
            Err(error) => {
                let line = error.location().map(|place| usize::try_from(place.line()).unwrap_or(0));
                return unreadable(line.unwrap_or(0), "is no YAML");
            }
        },
        FileFormat::Json => match serde_json::from_str::<Value>(text) {
            Ok(value) => flatten(&value),
            Err(error) => return unreadable(error.line(), "is no JSON"),
        },
    };
    let mut found = Found::default();
    for (line, name, value) in settings {
        let checked = match &value {
            Value::String(text) => set.check_text(&name, text, version),
            other => set.check(&name, other, version),
        };
        match checked {
            Ok(value) => {
                found.set.insert(name, value);
            }
            Err(Refused::Invalid(reason)) => found.wrong.push(Wrong { line, parameter: Some(name), reason }),
            Err(Refused::Unknown(_)) => {}
        }
    }
    found
}

/// Whether two values of a parameter mean the same, however they are written.
pub fn same(one: &Value, other: &Value) -> bool {
    one == other || one.as_f64().is_some_and(|number| other.as_f64() == Some(number))
}

type Setting = (usize, String, Value);

fn lines(text: &str, split: impl Fn(&str) -> (&str, &str)) -> Vec<Setting> {
    text.lines()
        .enumerate()
        .map(|(number, line)| (number + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with(['#', ';', '[', '!']))
        .map(|(number, line)| {
            let (name, value) = split(line);
            let value = value.trim();
            let quoted = |mark: char| value.len() > 1 && value.starts_with(mark) && value.ends_with(mark);
            let value = if quoted('"') || quoted('\'') { &value[1..value.len() - 1] } else { value };
            (number, name.trim().to_owned(), Value::from(value))
        })
        .collect()
}

/// `a: {b: 1}` becomes `a.b`.
fn flatten(value: &Value) -> Vec<Setting> {
    fn walk(path: &str, map: &Map<String, Value>, found: &mut BTreeMap<String, Value>) {
        for (key, value) in map {
            let path = super::yaml::join(path, key);
            match value {
                Value::Object(inner) => walk(&path, inner, found),
                other => {
                    found.insert(path, other.clone());
                }
            }
        }
    }
    let mut found = BTreeMap::new();
    if let Value::Object(map) = value {
        walk("", map, &mut found);
    }
    found.into_iter().map(|(name, value)| (0, name, value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(format: FileFormat, text: &str) -> Vec<String> {
        let parameters = serde_saphyr::from_str(
            "count: {type: integer, maximum: 16}\nsize: {type: bytes, maximum: 1Gi}\nlog.level: {type: string, enum: [a, b]}",
        );
        let set = ParameterSet::new(&parameters.expect("parameters"), None).expect("rules");
        read(format, text, &set, "1.0").wrong.iter().map(|wrong| wrong.told(false)).collect()
    }

    #[test]
    fn of_a_secret_file_the_line_and_the_parameter_are_told_and_no_value() {
        let parameters = serde_saphyr::from_str("level: {type: string, enum: [a, b]}").expect("parameters");
        let set = ParameterSet::new(&parameters, None).expect("rules");
        let found = read(FileFormat::Words, "other x\nlevel hunter2\n", &set, "1.0");
        let told: Vec<String> = found.wrong.iter().map(|wrong| wrong.told(true)).collect();
        let wanted = "line 2: parameter level: its value is not allowed, and not shown: the file lies in a Secret; `midship \
                      extension show` tells what is";
        assert_eq!(told, [wanted]);
        let broken = read(FileFormat::Json, "{\"level\": hunter2}", &set, "1.0");
        assert_eq!(broken.wrong[0].told(true), "line 1: is no JSON");
    }

    #[test]
    fn each_wrong_line_is_named_and_unknown_settings_pass() {
        let words = "# hello\ncount 17\nother x y z\nsize 2Gi\n";
        assert_eq!(
            errors(FileFormat::Words, words),
            [
                "line 2: parameter count: 17 is too large; allowed is 16 and less",
                "line 4: parameter size: 2Gi is too large; allowed is 1Gi and less"
            ]
        );
        assert_eq!(errors(FileFormat::Properties, "[main]\ncount = '3'\n"), [] as [&str; 0]);
        assert_eq!(
            errors(FileFormat::Yaml, "log: {level: c}"),
            ["parameter log.level: \"c\" is not allowed; allowed are a and b"]
        );
        assert_eq!(errors(FileFormat::Json, "{\n,"), ["line 2: is no JSON"]);
    }
}
