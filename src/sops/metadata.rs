//! What SOPS writes beside the values: for whom the data key is, which values are encrypted, and the MAC.

use regex::{Regex, RegexBuilder};
use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::cipher::looks_encrypted;
use super::keys::Keys;

/// How much a compiled pattern may take.
const PATTERN_BYTES: usize = 1 << 20;

#[derive(Deserialize)]
pub struct Metadata {
    #[serde(default)]
    age: Option<Vec<AgeKey>>,
    #[serde(default)]
    key_groups: Option<Vec<Value>>,
    #[serde(rename = "lastmodified")]
    pub last_modified: String,
    pub mac: String,
    #[serde(default)]
    unencrypted_suffix: Option<String>,
    #[serde(default)]
    encrypted_suffix: Option<String>,
    #[serde(default)]
    unencrypted_regex: Option<String>,
    #[serde(default)]
    encrypted_regex: Option<String>,
    #[serde(default)]
    unencrypted_comment_regex: Option<String>,
    #[serde(default)]
    encrypted_comment_regex: Option<String>,
    #[serde(default)]
    pub mac_only_encrypted: bool,
}

#[derive(Deserialize)]
struct AgeKey {
    recipient: String,
    enc: String,
}

impl Metadata {
    pub fn read(value: &Value) -> Result<Self, (String, String)> {
        for field in ["lastmodified", "mac"] {
            if !value.get(field).is_some_and(Value::is_string) {
                let message = format!("{field} is missing or no text; the file was not written by sops, or was cut");
                return Err((String::new(), message));
            }
        }
        serde_json::from_value(value.clone())
            .map_err(|error| (String::new(), format!("the metadata is not as sops writes it: {}", wanted(&error))))
    }

    /// Whether an age identity could open it.
    pub fn has_recipients(&self) -> bool {
        self.age.as_ref().is_some_and(|recipients| !recipients.is_empty())
    }

    /// The key that the values are encrypted with.
    pub fn data_key(&self, keys: &Keys) -> Result<Zeroizing<[u8; 32]>, (&'static str, &'static str, String)> {
        if self.key_groups.as_ref().is_some_and(|groups| !groups.is_empty()) {
            let message = "the data key is split over key groups, which is not supported; encrypt it for one group of age recipients";
            return Err(("/key_groups", "sops-key", message.to_owned()));
        }
        let recipients = self.age.as_deref().unwrap_or_default();
        if recipients.is_empty() {
            let message = format!(
                "the file is encrypted for no age recipient; add one: sops rotate -i --add-age {} FILE",
                keys.recipients().join(",")
            );
            return Err(("", "sops-key", message));
        }
        let opened = recipients.iter().find_map(|recipient| keys.open(&recipient.enc));
        let Some(opened) = opened else {
            let names: Vec<&str> = recipients.iter().map(|one| one.recipient.as_str()).collect();
            let names: String = names.join(", ").chars().take(300).filter(|c| !c.is_control()).collect();
            let message = format!(
                "it is encrypted for {names}, and this source has the identity of {}; add the identity to the Secret that spec.decryption names, or the recipient to the file: sops rotate -i --add-age {} FILE",
                keys.recipients().join(", "),
                keys.recipients().join(",")
            );
            return Err(("/age", "sops-key", message));
        };
        let key = <[u8; 32]>::try_from(opened.as_slice());
        key.map(Zeroizing::new).map_err(|_| ("/age", "sops-key", "the data key does not have 32 bytes".to_owned()))
    }
}

/// What is wanted of a value, without the value: somebody may have put a secret there.
fn wanted(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(", expected ") {
        Some((_, wanted)) => format!("expected {wanted}"),
        None if text.starts_with("missing field ") => text,
        None => "a value is of another type".to_owned(),
    }
}

/// Whether the data key is for keys that are no age identities as well. Each kind has a list of its own, and newer versions of
/// sops know more kinds.
pub fn is_for_others(metadata: &Value) -> bool {
    let is_list = |value: &Value| value.as_array().is_some_and(|keys| !keys.is_empty());
    metadata.as_object().is_some_and(|fields| fields.iter().any(|(kind, keys)| kind != "age" && is_list(keys)))
}

/// Which values are encrypted. A path is the keys that lead to a value.
pub struct Rules {
    unencrypted_suffix: Option<String>,
    encrypted_suffix: Option<String>,
    unencrypted: Option<Regex>,
    encrypted: Option<Regex>,
    /// Comments decide, which are not read: each value shows whether it is encrypted, and the MAC covers that.
    by_comment: bool,
    pub only_encrypted: bool,
}

impl Rules {
    pub fn new(metadata: &Metadata) -> Result<Self, (String, String)> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let pattern = |field: &str, text: &Option<String>| {
            let Some(text) = given(text) else { return Ok(None) };
            let compiled = RegexBuilder::new(&text).size_limit(PATTERN_BYTES).build();
            compiled.map(Some).map_err(|_| (format!("/{field}"), format!("{field} is no pattern that can be used")))
        };
        Ok(Self {
            unencrypted_suffix: given(&metadata.unencrypted_suffix),
            encrypted_suffix: given(&metadata.encrypted_suffix),
            unencrypted: pattern("unencrypted_regex", &metadata.unencrypted_regex)?,
            encrypted: pattern("encrypted_regex", &metadata.encrypted_regex)?,
            by_comment: given(&metadata.unencrypted_comment_regex).is_some()
                || given(&metadata.encrypted_comment_regex).is_some(),
            only_encrypted: metadata.mac_only_encrypted,
        })
    }

    pub fn encrypted(&self, path: &[String], value: &Value) -> bool {
        if self.by_comment {
            return looks_encrypted(value);
        }
        let mut encrypted = true;
        let ends = |suffix: &str| path.iter().any(|key| key.ends_with(suffix));
        let matches = |pattern: &Regex| path.iter().any(|key| pattern.is_match(key));
        if let Some(suffix) = &self.unencrypted_suffix {
            encrypted &= !ends(suffix);
        }
        if let Some(suffix) = &self.encrypted_suffix {
            encrypted = ends(suffix);
        }
        if let Some(pattern) = &self.unencrypted {
            encrypted &= !matches(pattern);
        }
        if let Some(pattern) = &self.encrypted {
            encrypted = matches(pattern);
        }
        encrypted
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_wrong_with_the_metadata_is_told_without_its_values() {
        let said = |age: Value| {
            let read = Metadata::read(&json!({ "lastmodified": "now", "mac": "x", "age": age }));
            read.err().map(|(_, message)| message)
        };
        let told = |reason: &str| Some(format!("the metadata is not as sops writes it: {reason}"));
        assert_eq!(said(json!("Tr0ub4dor")), told("expected a sequence"));
        assert_eq!(said(json!([{ "recipient": 4711, "enc": "x" }])), told("expected a string"));
        assert_eq!(said(json!([{ "recipient": "x" }])), told("missing field `enc`"));
        assert_eq!(said(json!([])), None);
    }

    #[test]
    fn keys_of_kinds_that_came_later_are_others() {
        assert!(is_for_others(&json!({ "age": null, "later_kms": [{ "enc": "x" }], "mac": "x" })));
        assert!(!is_for_others(&json!({ "age": [{ "enc": "x" }], "kms": [], "pgp": null, "mac": "x" })));
        assert!(!is_for_others(&Value::Null));
    }
}
