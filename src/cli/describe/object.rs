//! The page about an object that is no instance: what it asks for, its conditions, its events.

use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::Value;

use super::super::error::CommandError;
use super::super::output::{Format, printable};
use super::page::{age, conditions, events, facts, shown};
use super::seen::EventSeen;
use crate::api::conditions::Condition;
use crate::api::{Kind, labels};

pub fn page(
    kind: Kind,
    object: &DynamicObject,
    happened: &[EventSeen],
    now: Timestamp,
    format: Format,
) -> Result<String, CommandError> {
    let name = match object.namespace() {
        Some(namespace) => format!("{namespace}/{}", object.name_any()),
        None => object.name_any(),
    };
    let mut text = match format {
        Format::Markdown => format!("### {} {name}\n\n", kind.as_str()),
        _ => format!("{0}{1} {name}{0:#}\n", anstyle::Style::new().bold(), kind.as_str()),
    };
    let age = object.creation_timestamp().map(|time| age(time.0, now)).unwrap_or_default();
    let from = object.annotations().get(labels::SOURCE_PATH).cloned().unwrap_or_default();
    text.push_str(&facts(&[("Age", age), ("Comes from", from)], format));
    let status = object.data.get("status").cloned().unwrap_or(Value::Null);
    let conditions_of = |status: &Value| -> Vec<Condition> {
        status.get("conditions").cloned().and_then(|all| serde_json::from_value(all).ok()).unwrap_or_default()
    };
    let found = conditions_of(&status);
    let mut rest = status;
    if let Value::Object(map) = &mut rest {
        map.remove("conditions");
        map.remove("observedGeneration");
    }
    for (title, value) in [("Spec", object.data.get("spec").cloned().unwrap_or(Value::Null)), ("Status", rest)] {
        if value.as_object().is_none_or(serde_json::Map::is_empty) {
            continue;
        }
        let yaml = serde_saphyr::to_string(&value)
            .map_err(|error| CommandError::new(format!("the object cannot be printed: {error}")))?;
        let yaml = printable(&yaml);
        if format == Format::Markdown {
            text.push_str(&format!("\n**{title}**\n\n```yaml\n{}```\n", yaml.replace("```", "'''")));
        } else {
            text.push_str(&format!("\n{0}{title}{0:#}\n", anstyle::Style::new().bold()));
            text.extend(yaml.lines().map(|line| format!("  {line}\n")));
        }
    }
    text.push_str(&shown("Conditions", &conditions(&found, now), format));
    text.push_str(&shown("Events", &events(happened, now), format));
    Ok(text)
}
