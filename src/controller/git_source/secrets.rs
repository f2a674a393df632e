//! The Secrets that a source names: which they are, what is in them, and which versions of them were read.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt};
use sha2::{Digest, Sha256};

use super::GitSources;
use super::unusable::Problem;
use crate::api::{GitSource, GitSourceSpec};
use crate::cluster::Key;
use crate::cluster::problem::Problem as ClusterProblem;
use crate::plan::source::AUDIT_KEY;

/// The versions of Secrets, by their names.
pub type Versions = BTreeMap<String, String>;

/// Reads the Secrets of one source, each of them once.
pub struct Secrets<'a> {
    client: &'a Client,
    namespace: String,
    read: BTreeMap<String, Secret>,
}

impl<'a> Secrets<'a> {
    pub fn of(source: &GitSource, client: &'a Client) -> Self {
        Self { client, namespace: source.namespace().unwrap_or_default(), read: BTreeMap::new() }
    }

    /// The entries of a Secret.
    pub async fn entries(&mut self, name: &str) -> Result<BTreeMap<String, Vec<u8>>, Problem> {
        if name.ends_with(AUDIT_KEY) {
            return Err(Problem::of_spec(format!(
                "Secret {name}: names that end with {AUDIT_KEY} are those of Midship's own keys; keep yours in a Secret \
                 of another name, and name that one in the spec"
            )));
        }
        let secret = if let Some(secret) = self.read.get(name) {
            secret.clone()
        } else {
            let secret = self.get(name).await?;
            self.read.insert(name.to_owned(), secret.clone());
            secret
        };
        Ok(secret.data.unwrap_or_default().into_iter().map(|(key, ByteString(value))| (key, value)).collect())
    }

    async fn get(&self, name: &str) -> Result<Secret, Problem> {
        let place = &self.namespace;
        match Api::<Secret>::namespaced(self.client.clone(), place).get_opt(name).await {
            Ok(Some(secret)) => Ok(secret),
            Ok(None) => {
                Err(Problem::of_secret(format!("there is no Secret {name} in the namespace {place}; create it")))
            }
            Err(error) => Err(Problem::of_secret(format!("Secret {name}: {}", ClusterProblem::from_kube(&error)))),
        }
    }

    /// The versions of those that were read.
    pub fn versions(self) -> Versions {
        self.read.into_iter().map(|(name, secret)| (name, version(&secret))).collect()
    }
}

/// What changes with the entries alone: others write annotations again and again.
fn version(secret: &Secret) -> String {
    let mut digest = Sha256::new();
    for (key, ByteString(value)) in secret.data.iter().flatten() {
        for part in [key.as_bytes(), value.as_slice()] {
            digest.update(part.len().to_be_bytes());
            digest.update(part);
        }
    }
    hex::encode(digest.finalize())
}

impl GitSources {
    /// The sources that work with this Secret, and so have to read it again.
    pub fn secret_changed(&self, secret: &Key) -> Vec<Key> {
        let reads =
            |source: &GitSource| source.metadata.namespace == secret.namespace && names(&source.spec, &secret.name);
        let readers: Vec<_> =
            self.caches.git_sources.select(reads).iter().map(|source| Key::of(source.as_ref())).collect();
        for source in &readers {
            self.memory.secret_changed(source);
        }
        readers
    }
}

/// Whether a sync of the source reads this Secret of its namespace.
fn names(spec: &GitSourceSpec, secret: &str) -> bool {
    let audit = spec.audit.as_ref();
    let all = [
        spec.credentials.as_ref(),
        spec.proxy.as_ref().and_then(|proxy| proxy.credentials.as_ref()),
        spec.verification.as_ref().map(|verification| &verification.signers),
        spec.decryption.as_ref(),
        audit.and_then(|audit| audit.credentials.as_ref()),
        audit.and_then(|audit| audit.signing_key.as_ref()),
    ];
    all.into_iter().flatten().any(|named| named.name.as_str() == secret)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn another_version_is_one_with_other_entries() {
        let secret = |entries: &[(&str, &str)], note: &str| -> Secret {
            let data = entries.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec())));
            let mut secret = Secret { data: Some(data.collect()), ..Secret::default() };
            secret.metadata.resource_version = Some(note.to_owned());
            secret
        };
        let before = version(&secret(&[("username", "ada"), ("password", "x")], "1"));
        assert_eq!(version(&secret(&[("username", "ada"), ("password", "x")], "2")), before);
        for entries in [&[("username", "ada"), ("password", "y")][..], &[("username", "adap"), ("assword", "x")], &[]] {
            assert_ne!(version(&secret(entries, "1")), before, "{entries:?}");
        }
        assert!(!before.contains("ada"));
    }

    #[test]
    fn every_secret_that_a_sync_reads_is_known_by_name() {
        let named = |name: &str| json!({ "name": name });
        let spec: GitSourceSpec = serde_json::from_value(json!({
            "url": "https://git.example.com/app.git",
            "credentials": named("login"),
            "proxy": { "url": "http://proxy:3128", "credentials": named("way-out") },
            "verification": { "signers": named("signers") },
            "decryption": named("keys"),
            "audit": { "credentials": named("pusher"), "signingKey": named("pen") },
            "webhook": { "secret": named("hook") },
        }))
        .expect("a spec");
        for name in ["login", "way-out", "signers", "keys", "pusher", "pen"] {
            assert!(names(&spec, name), "{name}");
        }
        // each delivery looks that one up, and somebody else's is nobody's
        assert!(!names(&spec, "hook") && !names(&spec, "other"));
    }
}
