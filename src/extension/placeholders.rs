//! Values that only a pod knows, or that nobody but the pod may see: rendered as placeholders, filled in by the agent.
//!
//! A placeholder is `${kind:name}` or, for numbers, `${kind:name+1}`. Kinds are `secret` and `pod`.

use std::fmt;

use serde_json::{Map, Value, json};

/// What a placeholder stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source<'a> {
    /// A key of the instance's credentials.
    Secret(&'a str),
    /// A fact about the pod.
    Pod(&'a str),
}

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(name) => write!(f, "secret {name}"),
            Self::Pod(name) => write!(f, "pod {name}"),
        }
    }
}

/// Facts about a pod that templates may name.
pub const POD: &[&str] = &["name", "ordinal", "ip", "host", "group", "node", "zone"];

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    #[error("{0} is not known here")]
    Missing(String),
    #[error("{0} is no number, so nothing can be added to it")]
    NoNumber(String),
}

pub fn secret(name: &str) -> String {
    format!("${{secret:{name}}}")
}

/// The `pod` of templates.
pub fn pod() -> Value {
    Value::Object(POD.iter().map(|name| ((*name).to_owned(), json!(format!("${{pod:{name}}}")))).collect::<Map<_, _>>())
}

/// Whether a text is one secret and nothing else: its name then.
pub fn only_secret(text: &str) -> Option<&str> {
    let name = text.strip_prefix("${secret:")?.strip_suffix('}')?;
    plain(name).then_some(name)
}

pub fn any(text: &str) -> bool {
    text.contains("${secret:") || text.contains("${pod:")
}

pub fn has_secret(text: &str) -> bool {
    text.contains("${secret:")
}

/// The first placeholder in a value that a user gave: nobody but packages may ask for one.
pub fn within(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => first(text).map(str::to_owned),
        Value::Array(items) => items.iter().find_map(within),
        Value::Object(map) => map.iter().find_map(|(key, item)| first(key).map(str::to_owned).or_else(|| within(item))),
        _ => None,
    }
}

/// The first placeholder of a text.
pub fn first(text: &str) -> Option<&str> {
    let start = ["${secret:", "${pod:"].into_iter().filter_map(|kind| text.find(kind)).min()?;
    let end = text[start..].find('}').map_or(text.len(), |end| start + end + 1);
    Some(&text[start..end])
}

/// Why a user's text with a placeholder is refused.
pub fn refused(placeholder: &str) -> String {
    format!(
        "{} would be filled in in the pod, which is for packages alone; write it otherwise, or give secrets in secretParameters",
        placeholder.escape_default()
    )
}

/// The data with every secret made up, of characters that whatever escapes, measures, cuts or changes a text gives away.
pub fn disguised(data: &Value) -> Option<Value> {
    has_secrets(data).then(|| {
        let mut made = data.clone();
        disguise(&mut made);
        made
    })
}

fn has_secrets(data: &Value) -> bool {
    match data {
        Value::String(text) => has_secret(text),
        Value::Array(items) => items.iter().any(has_secrets),
        Value::Object(map) => map.values().any(has_secrets),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn disguise(data: &mut Value) {
    match data {
        Value::String(text) if has_secret(text) => *text = text.replace("${secret:", MARK),
        Value::Array(items) => items.iter_mut().for_each(disguise),
        Value::Object(map) => map.values_mut().for_each(disguise),
        _ => {}
    }
}

/// What a text made of disguised data would be with placeholders.
pub fn undisguised(text: &str) -> String {
    text.replace(MARK, "${secret:")
}

/// Stands for the beginning of a placeholder in disguise.
const MARK: &str = "\u{1}aZ'\"\\<&: ";

/// Replaces each placeholder. What only looks like one stays as it is.
pub fn expand(text: &str, mut value: impl FnMut(Source<'_>) -> Option<String>) -> Result<String, ExpandError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let Some((inner, after)) = rest[2..].split_once('}') else { break };
        let (name, add) = match inner.split_once('+') {
            Some((name, number)) => (name, number.parse::<i64>().ok()),
            None => (inner, None),
        };
        let source = match name.split_once(':') {
            Some(("secret", name)) if plain(name) => Some(Source::Secret(name)),
            Some(("pod", name)) if POD.contains(&name) => Some(Source::Pod(name)),
            _ => None,
        };
        match source {
            Some(source) if add.is_some() == inner.contains('+') => {
                let found = value(source).ok_or_else(|| ExpandError::Missing(source.to_string()))?;
                match add {
                    None => out.push_str(&found),
                    Some(add) => {
                        let number: i64 = found.parse().map_err(|_| ExpandError::NoNumber(source.to_string()))?;
                        out.push_str(&number.saturating_add(add).to_string());
                    }
                }
            }
            _ => {
                out.push_str("${");
                out.push_str(inner);
                out.push('}');
            }
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(source: Source<'_>) -> Option<String> {
        match source {
            Source::Secret("password") => Some("s3cret".to_owned()),
            Source::Pod("ordinal") => Some("2".to_owned()),
            Source::Pod("name") => Some("a-2".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn placeholders_are_filled_in_and_other_dollars_stay() {
        let text = "id ${pod:ordinal+100} ${pod:name} ${secret:password} ${HOME} $x ${pod:color} ${";
        assert_eq!(expand(text, known).as_deref(), Ok("id 102 a-2 s3cret ${HOME} $x ${pod:color} ${"));
    }

    #[test]
    fn what_is_not_known_is_an_error_and_never_left_in_a_file() {
        assert_eq!(expand("${secret:other}", known), Err(ExpandError::Missing("secret other".into())));
        assert_eq!(expand("${pod:name+1}", known), Err(ExpandError::NoNumber("pod name".into())));
    }

    #[test]
    fn what_users_write_is_looked_through_for_placeholders() {
        assert_eq!(within(&json!({ "a": ["x", "b ${pod:ip} c"] })).as_deref(), Some("${pod:ip}"));
        assert_eq!(within(&json!("${secret:open")).as_deref(), Some("${secret:open"));
        assert_eq!(within(&json!("${HOME} $pod {secret:}")), None);
    }

    #[test]
    fn a_disguise_can_be_taken_off_again_and_nothing_else_is_disguised() {
        let data = json!({ "a": { "b": "x ${secret:c} y" }, "d": "${pod:ip}" });
        let disguised = disguised(&data).expect("there is a secret");
        assert_eq!(disguised["d"], data["d"]);
        let text = disguised["a"]["b"].as_str().expect("a text");
        assert!(!has_secret(text));
        assert_eq!(undisguised(text), "x ${secret:c} y");
        assert_eq!(super::disguised(&json!({ "d": "${pod:ip}" })), None);
    }

    #[test]
    fn data_within_data_is_disguised_in_one_pass() {
        let nest = |text: &str| (0..100).fold(json!(text), |inner, _| json!([inner]));
        // each level looked at twice, this would not end
        assert_eq!(super::disguised(&nest("${secret:c}")), Some(nest(&format!("{MARK}c}}"))));
    }

    #[test]
    fn a_filled_in_value_is_not_looked_at_again() {
        let value = |_: Source<'_>| Some("${secret:password}".to_owned());
        assert_eq!(expand("${secret:a}", value).as_deref(), Ok("${secret:password}"));
    }
}
