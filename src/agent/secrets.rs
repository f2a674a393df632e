//! The instance's secrets as they lie in the pod, a file each: read when they are needed, never printed.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::facts::PodFacts;
use crate::extension::placeholders::{self, ExpandError, Source};
use crate::extension::secret::SecretValue;

/// A value this short is found in too many innocent words to be taken out of them.
const SHORTEST_HIDDEN: usize = 5;

#[derive(Debug, thiserror::Error)]
#[error("cannot read the secrets in {path}: {source}")]
pub struct SecretsError {
    path: PathBuf,
    source: io::Error,
}

/// Secrets by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secrets(BTreeMap<String, SecretValue>);

impl Secrets {
    /// Reads what is there; a directory that is not there has none.
    pub fn read(dir: &Path) -> Result<Self, SecretsError> {
        let failed = |path: &Path, source| SecretsError { path: path.to_owned(), source };
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(failed(dir, error)),
        };
        let mut found = BTreeMap::new();
        for entry in entries {
            let entry = entry.map_err(|error| failed(dir, error))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            // names with two dots are how the kubelet replaces all files at once
            if name.starts_with("..") {
                continue;
            }
            match std::fs::read(entry.path()) {
                Ok(bytes) => {
                    found.insert(name, SecretValue::new(String::from_utf8_lossy(&bytes)));
                }
                // replaced between listing and reading, or no file at all
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory) => {}
                Err(error) => return Err(failed(&entry.path(), error)),
            }
        }
        Ok(Self(found))
    }

    pub fn get(&self, name: &str) -> Option<&SecretValue> {
        self.0.get(name)
    }

    /// Fills in every placeholder of a text.
    pub fn expand(&self, text: &str, facts: &PodFacts) -> Result<String, ExpandError> {
        placeholders::expand(text, |source| match source {
            Source::Secret(name) => self.get(name).map(|value| value.expose().to_owned()),
            Source::Pod(name) => facts.get(name).map(str::to_owned),
        })
    }

    /// Fills in the placeholders of a whole value. What cannot be filled in is taken out, so that whoever reads it is
    /// told that it is not there.
    pub fn fill(&self, value: &Value, facts: &PodFacts) -> Option<Value> {
        Some(match value {
            Value::String(text) if placeholders::any(text) => Value::String(self.expand(text, facts).ok()?),
            Value::Array(list) => {
                Value::Array(list.iter().map(|item| self.fill(item, facts).unwrap_or_default()).collect())
            }
            Value::Object(map) => Value::Object(
                map.iter().filter_map(|(key, value)| Some((key.clone(), self.fill(value, facts)?))).collect(),
            ),
            other => other.clone(),
        })
    }

    /// The text without any secret in it.
    pub fn redact(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        let hidden = self
            .0
            .iter()
            .filter(|(name, value)| name.as_str() != "username" && value.expose().len() >= SHORTEST_HIDDEN);
        for (_, value) in hidden {
            if clean.contains(value.expose()) {
                clean = clean.replace(value.expose(), "…");
            }
        }
        clean
    }
}

/// What a server was logged in to with last: one that was not told of new passwords yet knows the old ones.
#[derive(Debug, Default)]
pub struct LastKnown(Mutex<Option<Secrets>>);

impl LastKnown {
    pub fn worked(&self, secrets: &Secrets) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(secrets.clone());
    }

    /// The ones of before, where they are others.
    pub fn before(&self, secrets: &Secrets) -> Option<Secrets> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone().filter(|known| known != secrets)
    }
}

impl FromIterator<(String, SecretValue)> for Secrets {
    fn from_iter<I: IntoIterator<Item = (String, SecretValue)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn some() -> Secrets {
        [("username", "admin"), ("password", "hunter2-hunter2")]
            .map(|(name, value)| (name.to_owned(), SecretValue::new(value)))
            .into_iter()
            .collect()
    }

    #[test]
    fn placeholders_anywhere_in_a_value_are_filled_in_and_unknown_ones_taken_out() {
        let context = json!({ "secret": { "password": "${secret:password}", "other": "${secret:other}" }, "n": 1,
            "list": ["${secret:username}", "${secret:other}"] });
        assert_eq!(
            some().fill(&context, &PodFacts::default()),
            Some(json!({ "secret": { "password": "hunter2-hunter2" }, "n": 1, "list": ["admin", null] }))
        );
    }

    #[test]
    fn no_secret_is_left_in_what_is_told() {
        assert_eq!(some().redact("admin said hunter2-hunter2!"), "admin said …!");
        assert!(!format!("{:?}", some()).contains("hunter2"));
    }

    #[test]
    fn secrets_are_read_as_the_kubelet_lays_them_down() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("..2026");
        std::fs::create_dir(&data).unwrap();
        std::fs::write(data.join("password"), "p w\n").unwrap();
        std::os::unix::fs::symlink("..2026", dir.path().join("..data")).unwrap();
        std::os::unix::fs::symlink("..data/password", dir.path().join("password")).unwrap();
        let secrets = Secrets::read(dir.path()).unwrap();
        assert_eq!(secrets.get("password").map(SecretValue::expose), Some("p w\n"));
        assert_eq!(secrets.0.len(), 1);
        assert_eq!(Secrets::read(&dir.path().join("none")).unwrap(), Secrets::default());
    }
}
