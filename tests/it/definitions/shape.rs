//! The shape of the definitions, a line for each field: its type and the rules it has to keep. And what of it takes less than
//! another shape took.

use std::collections::BTreeMap;

use midship::api::{Kind, VERSION};
use serde_json::{Map, Value, json};

/// What is said of a field, by its place in the kind: `[]` for the items of a list, `{}` for the values of a map.
pub type Shape = BTreeMap<String, Facts>;
type Facts = BTreeMap<String, Value>;

const AT_MOST: [&str; 4] = ["maximum", "maxLength", "maxItems", "maxProperties"];
const AT_LEAST: [&str; 4] = ["minimum", "minLength", "minItems", "minProperties"];
/// What may go, but neither change nor come.
const AS_BEFORE: [&str; 6] = ["pattern", "format", "list", "keys", "embedded", "uniqueItems"];
/// What tools and people rely on to find the objects.
const FOR_EVER: [&str; 3] = ["plural", "scope", "scale"];

/// What the schema calls otherwise.
const NAMED: [(&str, &str); 4] = [
    ("list", "x-kubernetes-list-type"),
    ("keys", "x-kubernetes-list-map-keys"),
    ("open", "x-kubernetes-preserve-unknown-fields"),
    ("embedded", "x-kubernetes-embedded-resource"),
];

pub fn of_all() -> Shape {
    let mut shape = Shape::new();
    for kind in Kind::ALL {
        let definition = serde_json::to_value(kind.crd()).expect("plain data");
        let spec = &definition["spec"];
        let versions = spec["versions"].as_array().expect("versions");
        let version = versions.iter().find(|version| version["name"] == VERSION).expect("the version that is stored");
        walk(kind.as_str().to_owned(), &version["schema"]["openAPIV3Schema"], false, &mut shape);
        let root = shape.get_mut(kind.as_str()).expect("it was walked");
        root.insert("plural".to_owned(), spec["names"]["plural"].clone());
        root.insert("scope".to_owned(), spec["scope"].clone());
        let scale = &version["subresources"]["scale"]["specReplicasPath"];
        if !scale.is_null() {
            root.insert("scale".to_owned(), scale.clone());
        }
    }
    shape
}

pub fn read(text: &str) -> Shape {
    text.lines()
        .map(|line| {
            let (place, facts) = line.split_once(' ').expect("a place and what is said of it");
            (place.to_owned(), serde_json::from_str(facts).unwrap_or_else(|error| panic!("{line}: {error}")))
        })
        .collect()
}

pub fn write(shape: &Shape) -> String {
    let line =
        |(place, facts): (&String, &Facts)| format!("{place} {}\n", serde_json::to_string(facts).expect("plain data"));
    shape.iter().map(line).collect()
}

fn walk(place: String, schema: &Value, required: bool, shape: &mut Shape) {
    let Value::Object(map) = schema else { return };
    let required_inside: Vec<&str> = map.get("required").into_iter().flat_map(texts).collect();
    for (name, field) in map.get("properties").and_then(Value::as_object).into_iter().flatten() {
        walk(format!("{place}.{name}"), field, required_inside.contains(&name.as_str()), shape);
    }
    for (inner, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if let Some(inner) = map.get(inner) {
            walk(format!("{place}{mark}"), inner, false, shape);
        }
    }
    shape.insert(place, facts(map, required));
}

fn facts(schema: &Map<String, Value>, required: bool) -> Facts {
    let mut facts = Facts::new();
    let mut say = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            facts.insert(name.to_owned(), value);
        }
    };
    let either = schema.get("x-kubernetes-int-or-string") == Some(&json!(true));
    say("type", if either { Some(json!("int-or-string")) } else { schema.get("type").cloned() });
    for name in AT_MOST.iter().chain(&AT_LEAST).chain(&["pattern", "format", "uniqueItems"]) {
        say(name, schema.get(*name).cloned());
    }
    for (name, key) in NAMED {
        say(name, schema.get(key).cloned());
    }
    say("enum", schema.get("enum").map(|values| sorted(texts(values))));
    let rules = schema.get("x-kubernetes-validations").and_then(Value::as_array);
    say("rules", rules.map(|rules| sorted(rules.iter().filter_map(|rule| rule["rule"].as_str()))));
    say("required", required.then_some(json!(true)));
    facts
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn sorted<'a>(texts: impl Iterator<Item = &'a str>) -> Value {
    let mut texts: Vec<&str> = texts.collect();
    texts.sort_unstable();
    json!(texts)
}

/// What `now` no longer takes that `before` took, each with its place.
pub fn broken(before: &Shape, now: &Shape) -> Vec<String> {
    let mut broken = Vec::new();
    let mut gone: Vec<&str> = Vec::new();
    for (place, was) in before {
        match now.get(place) {
            Some(is) => broken.extend(narrower(was, is).into_iter().map(|what| format!("{place} {what}"))),
            None if gone.iter().any(|gone| is_inside(place, gone)) => {}
            None => {
                gone.push(place.as_str());
                broken.push(format!("{place} was taken away"));
            }
        }
    }
    for (place, is) in now.iter().filter(|(place, _)| !before.contains_key(*place)) {
        let asked_of_old = place.rsplit_once('.').is_some_and(|(parent, _)| before.contains_key(parent));
        if asked_of_old && is.contains_key("required") {
            broken.push(format!("{place} is new, and has to be there"));
        }
    }
    broken
}

fn is_inside(place: &str, outer: &str) -> bool {
    place.strip_prefix(outer).is_some_and(|rest| rest.starts_with(['.', '[', '{']))
}

/// Whether the second type takes all of the first.
fn is_wider(was: &str, is: &str) -> bool {
    matches!((was, is), ("integer" | "string", "int-or-string") | ("integer", "number"))
}

fn narrower(was: &Facts, is: &Facts) -> Vec<String> {
    let mut found = Vec::new();
    let had =
        |name: &str| was.get(name).map_or_else(|| format!("had no {name}"), |value| format!("had {name} {value}"));
    match (was.get("type").and_then(Value::as_str), is.get("type").and_then(Value::as_str)) {
        (Some(was), Some(is)) if was != is && !is_wider(was, is) => {
            found.push(format!("was of type {was}, and is of type {is}"));
        }
        (None, Some(is)) => found.push(format!("was of any type, and is of type {is}")),
        _ => {}
    }
    if is.contains_key("required") && !was.contains_key("required") {
        found.push("could be left out, and has to be there".to_owned());
    }
    match (was.get("enum"), is.get("enum")) {
        (None, Some(is)) => found.push(format!("could be anything, and may only be one of {is}")),
        (Some(was), Some(is)) => {
            let gone = texts(was).filter(|value| !texts(is).any(|one| one == *value));
            found.extend(gone.map(|value| format!("could be {value:?}, and may not be any more")));
        }
        _ => {}
    }
    let limits = AT_MOST.iter().map(|name| (*name, 1.0)).chain(AT_LEAST.iter().map(|name| (*name, -1.0)));
    for (name, sign) in limits {
        let number = |facts: &Facts| facts.get(name).and_then(Value::as_f64).map(|number| number * sign);
        if let Some(limit) = number(is)
            && number(was).is_none_or(|before| limit < before)
        {
            found.push(format!("{}, and has {}", had(name), is[name]));
        }
    }
    for name in AS_BEFORE {
        if let Some(value) = is.get(name)
            && was.get(name) != Some(value)
        {
            found.push(format!("{}, and has {value}", had(name)));
        }
    }
    for name in FOR_EVER {
        if let Some(value) = was.get(name)
            && is.get(name) != Some(value)
        {
            found.push(format!("{}, and has {}", had(name), is.get(name).unwrap_or(&Value::Null)));
        }
    }
    if was.contains_key("open") && !is.contains_key("open") {
        found.push("took fields of any name, and takes only its own".to_owned());
    }
    let known: Vec<&str> = was.get("rules").into_iter().flat_map(texts).collect();
    let rules = is.get("rules").into_iter().flat_map(texts).filter(|rule| !known.contains(rule));
    found.extend(rules.map(|rule| format!("has to keep the rule {rule:?}, which is new")));
    found
}
