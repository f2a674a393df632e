//! The name and password for a registry, as `docker login`, `oras login` and `helm registry login` keep them.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use zeroize::Zeroizing;

use super::RegistryError;

/// A name and a password. It cannot be printed.
pub struct Login {
    user: String,
    password: Zeroizing<String>,
}

impl Login {
    pub fn new(user: String, password: String) -> Self {
        Self { user, password: Zeroizing::new(password) }
    }

    /// The value of the header that logs in with it.
    pub(super) fn basic(&self) -> Zeroizing<String> {
        let plain = Zeroizing::new(format!("{}:{}", self.user, *self.password));
        Zeroizing::new(format!("Basic {}", STANDARD.encode(plain.as_bytes())))
    }

    /// What is kept for a registry in the file that `REGISTRY_AUTH_FILE` or `DOCKER_CONFIG` names, else in
    /// `~/.docker/config.json`; nothing where nothing is.
    pub fn kept(registry: &str) -> Result<Option<Self>, RegistryError> {
        let Some(path) = place() else { return Ok(None) };
        let wrong = |reason: String| RegistryError::Login { place: path.display().to_string(), reason };
        let text = match std::fs::read(&path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(wrong(error.to_string())),
        };
        let file: Value = serde_json::from_slice(&text).map_err(|error| wrong(format!("is no JSON: {error}")))?;
        of(&file, registry).map_err(wrong)
    }
}

fn place() -> Option<PathBuf> {
    let named = |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    named("REGISTRY_AUTH_FILE")
        .or_else(|| named("DOCKER_CONFIG").map(|folder| folder.join("config.json")))
        .or_else(|| named("HOME").map(|home| home.join(".docker/config.json")))
}

fn of(file: &Value, registry: &str) -> Result<Option<Login>, String> {
    let entry = &file["auths"][registry];
    if let Some(encoded) = entry["auth"].as_str().filter(|encoded| !encoded.is_empty()) {
        let unreadable = || format!("auths.{registry}.auth is no name and password; log in again");
        let plain = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| unreadable())?);
        let plain = std::str::from_utf8(&plain).map_err(|_| unreadable())?;
        let (user, password) = plain.split_once(':').ok_or_else(unreadable)?;
        return Ok(Some(Login::new(user.to_owned(), password.to_owned())));
    }
    let helper = file["credHelpers"][registry].as_str().or_else(|| file["credsStore"].as_str());
    match helper.filter(|_| entry.is_object() || file["credHelpers"][registry].is_string()) {
        Some(helper) => Err(format!(
            "the password for {registry} is kept by the credential helper {helper}, which is not asked here; set \
             REGISTRY_AUTH_FILE to a file made by `oras login --registry-config FILE`"
        )),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_kept_login_is_found_by_its_registry() {
        let file = json!({ "auths": { "r.example.com:5000": { "auth": STANDARD.encode("ada:s:cret") } } });
        let login = of(&file, "r.example.com:5000").expect("readable").expect("there");
        assert_eq!(login.basic().as_str(), format!("Basic {}", STANDARD.encode("ada:s:cret")));
        assert!(of(&file, "r.example.com").expect("readable").is_none());
    }

    #[test]
    fn what_cannot_be_read_is_told_without_the_secret() {
        let file = json!({ "auths": { "r": { "auth": STANDARD.encode("secret") }, "s": {} }, "credsStore": "desktop" });
        let error = of(&file, "r").err().expect("no colon");
        assert!(error.contains("log in again") && !error.contains("secret"), "{error}");
        assert!(of(&file, "s").err().expect("a helper").contains("credential helper desktop"));
        assert!(of(&file, "t").expect("readable").is_none());
    }
}
