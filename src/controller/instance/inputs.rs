//! What rendering needs from the cluster: secrets that were given or are made once, and users' own configuration files.

use std::collections::BTreeMap;

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};

use super::memory::{Remembered, Values};
use crate::api::labels;
use crate::api::values::KeyRef;
use crate::cluster::parts::Part;
use crate::cluster::problem::Problem;
use crate::cluster::{Key, Parts};
use crate::controller::frame::Failure;
use crate::extension::contract::delivery::Alphabet;
use crate::extension::render::{SecretSource, UserFileContent, secret_needs};
use crate::extension::secret::SecretValue;
use crate::extension::{Package, Resolved, naming};
use crate::names::ComponentName;

/// Reads Secrets and ConfigMaps for one instance, each once.
pub struct Reader<'a> {
    client: &'a Client,
    parts: &'a Parts,
    namespace: &'a str,
    /// The UID of the instance that is read for.
    owner: String,
    secrets: BTreeMap<String, Option<Values>>,
    maps: BTreeMap<String, Option<BTreeMap<String, String>>>,
    /// Something was read that is not watched and may change.
    pub foreign: bool,
}

impl<'a> Reader<'a> {
    pub fn new(client: &'a Client, parts: &'a Parts, namespace: &'a str, owner: String) -> Self {
        Self { client, parts, namespace, owner, secrets: BTreeMap::new(), maps: BTreeMap::new(), foreign: false }
    }

    /// A Secret that Midship made for an instance. What was known of it before stands in for one that somebody deleted, or
    /// took its name and labels off. Nothing where there is none, or one that the plan leaves to whom it belongs: what is
    /// made anew for it is never written over what is there.
    pub async fn own(&mut self, remembered: &mut Remembered, instance: &str, name: &str) -> Result<Values, Failure> {
        let seen = self.parts.get("Secret", &Key::new(self.namespace, name));
        let version = seen.as_ref().map(|part| part.version.clone());
        if let Some((known, values)) = remembered.secrets.get(name)
            && (version.is_none() || *known == version)
        {
            return Ok(values.clone());
        }
        let Some(secret) = self.get(name).await? else { return Ok(Values::new()) };
        if !is_ours(&Part::of(&secret.metadata), &self.owner, instance) {
            return match (remembered.secrets.get(name), seen) {
                (Some((_, values)), _) => Ok(values.clone()),
                // for the cache it is ours still, so it would be written over
                (None, Some(seen)) if is_ours(&seen, &self.owner, instance) => {
                    let reason = format!(
                        "Secret {name} belongs to somebody else, having neither the owner nor the labels of the instance; \
                         give it its labels back ({}={} and {}={instance}), or delete or rename it",
                        labels::MANAGED_BY,
                        labels::MANAGER,
                        labels::INSTANCE
                    );
                    Err(Failure::new("ForeignSecret", reason))
                }
                (None, _) => Ok(Values::new()),
            };
        }
        let version = Some(crate::cluster::parts::version(&secret.metadata));
        let values = values(&secret);
        remembered.secrets.insert(name.to_owned(), (version, values.clone()));
        Ok(values)
    }

    /// A Secret of somebody else's.
    pub async fn given(&mut self, name: &str) -> Result<Option<Values>, Failure> {
        self.foreign = true;
        if let Some(known) = self.secrets.get(name) {
            return Ok(known.clone());
        }
        let found = self.get(name).await?.map(|secret| values(&secret));
        self.secrets.insert(name.to_owned(), found.clone());
        Ok(found)
    }

    async fn map(&mut self, name: &str) -> Result<Option<BTreeMap<String, String>>, Failure> {
        self.foreign = true;
        if let Some(known) = self.maps.get(name) {
            return Ok(known.clone());
        }
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), self.namespace);
        let found = api.get_opt(name).await.map_err(|error| unreadable("ConfigMap", name, &error))?;
        let found = found.map(|map| map.data.unwrap_or_default());
        self.maps.insert(name.to_owned(), found.clone());
        Ok(found)
    }

    async fn get(&self, name: &str) -> Result<Option<Secret>, Failure> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), self.namespace);
        api.get_opt(name).await.map_err(|error| unreadable("Secret", name, &error))
    }

    /// Every secret value the instance needs, as far as there is one; what is missing is for rendering to say.
    pub async fn secrets(
        &mut self,
        remembered: &mut Remembered,
        package: &Package,
        resolved: &Resolved,
    ) -> Result<Values, Failure> {
        let instance = resolved.name.as_str();
        let kept = self.own(remembered, instance, &naming::credentials(instance)).await?;
        let mut values = Values::new();
        for need in secret_needs(package, resolved) {
            let value = match need.source {
                SecretSource::Fixed(text) => Some(SecretValue::new(text)),
                SecretSource::Given(KeyRef { name, key }) => {
                    self.given(name.as_str()).await?.and_then(|values| values.get(&key).cloned())
                }
                SecretSource::Generated { length, alphabet } => match kept.get(&need.name) {
                    Some(value) => Some(value.clone()),
                    None => Some(generate(length, alphabet)?),
                },
            };
            values.extend(value.map(|value| (need.name, value)));
        }
        // what was made is made once, even where writing it has to be tried again
        remembered.expect(&naming::credentials(instance), &values);
        Ok(values)
    }

    /// The contents of configuration files that lie in ConfigMaps and Secrets.
    pub async fn user_files(
        &mut self,
        resolved: &Resolved,
    ) -> Result<BTreeMap<(ComponentName, String), UserFileContent>, Failure> {
        let mut files = BTreeMap::new();
        for component in &resolved.components {
            for (name, file) in &component.config_files {
                let content = if let Some(KeyRef { name, key }) = &file.config_map {
                    let map = self.map(name.as_str()).await?;
                    map.and_then(|map| Some((SecretValue::new(map.get(key)?.clone()), false)))
                } else if let Some(KeyRef { name, key }) = &file.secret {
                    self.given(name.as_str()).await?.and_then(|values| Some((values.get(key)?.clone(), true)))
                } else {
                    None
                };
                if let Some((text, secret)) = content {
                    files.insert((component.name.clone(), name.clone()), UserFileContent { text, secret });
                }
            }
        }
        Ok(files)
    }
}

/// Whether an object is of the instance: it owns it, or is named by its labels, as what an instance before it left.
fn is_ours(part: &Part, owner: &str, instance: &str) -> bool {
    let labelled = part.labels.get(labels::MANAGED_BY).is_some_and(|by| by == labels::MANAGER)
        && part.labels.get(labels::INSTANCE).is_some_and(|of| of == instance);
    labelled || part.owner.as_ref().is_some_and(|by| by.uid == owner)
}

/// Values that are text. What is none cannot be a password or a file.
fn values(secret: &Secret) -> Values {
    let data = secret.data.iter().flatten();
    data.filter_map(|(key, bytes)| Some((key.clone(), SecretValue::new(String::from_utf8(bytes.0.clone()).ok()?))))
        .collect()
}

fn unreadable(kind: &str, name: &str, error: &kube::Error) -> Failure {
    Failure::new("NotReadable", Problem::from_kube(error).at(format!("{kind} {name}")))
}

/// A new secret of so many letters, each as likely as the others.
pub fn generate(length: u16, alphabet: Alphabet) -> Result<SecretValue, Failure> {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    const HEX: &[u8] = b"0123456789abcdef";
    let length = usize::from(length);
    if alphabet == Alphabet::Base64 {
        let mut text = BASE64.encode(chance(length)?);
        text.truncate(length);
        return Ok(SecretValue::new(text));
    }
    let letters = if alphabet == Alphabet::Hex { HEX } else { LETTERS };
    // numbers above the last whole multiple would make some letters likelier
    let bound = 256 - 256 % letters.len();
    let mut text = String::with_capacity(length);
    while text.len() < length {
        let bytes = chance(length)?;
        let fair = bytes.into_iter().map(usize::from).filter(|byte| *byte < bound);
        text.extend(fair.map(|byte| char::from(letters[byte % letters.len()])).take(length - text.len()));
    }
    Ok(SecretValue::new(text))
}

fn chance(length: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = vec![0; length];
    rand::fill(&mut bytes).map_err(|_| Failure::new("NoRandomNumbers", "there are no random numbers to be had"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_have_their_length_and_alphabet_and_never_repeat() {
        for (alphabet, allowed) in [
            (Alphabet::Alphanumeric, "alphanumeric"),
            (Alphabet::Hex, "0123456789abcdef"),
            (Alphabet::Base64, "alphanumeric+/="),
        ] {
            let one = generate(40, alphabet).expect("chance");
            let two = generate(40, alphabet).expect("chance");
            assert!(one.expose().len() == 40 && one != two);
            let fits = |letter: char| {
                allowed.contains(letter) || (allowed.starts_with("alphanumeric") && letter.is_ascii_alphanumeric())
            };
            assert!(one.expose().chars().all(fits), "{alphabet:?}");
        }
    }
}
