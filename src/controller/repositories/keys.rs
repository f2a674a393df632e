//! The signing key of a repository, in a Secret beside it. It outlives the BackupRepository: without it, nobody here could
//! add to the backups again. The Secret also remembers whose repository it is, so that another one in its place is noticed.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret as KubeSecret;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use super::place::{PlaceError, Read};
use crate::api::labels;
use crate::backup::keys::{PublicKey, SigningKey};
use crate::backup::layout::Uid;
use crate::backup::repository::{Repository, Trust};
use crate::cluster::problem::Problem;
use crate::secret::Secret;

const PRIVATE: &str = "signing.key";
const PUBLIC: &str = "signing.pub";
const ROOT: &str = "root.pub";
const UUID: &str = "repository";
/// The wish for a new epoch that was granted last.
const EPOCH_ASKED: &str = "epoch-asked";

#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error(transparent)]
    Read(#[from] PlaceError),
    #[error("Secret {0}, key {1}: {2}; restore the Secret from a copy")]
    Malformed(String, &'static str, String),
    #[error("{}; {}", .0.what, .0.remedy)]
    Cluster(Problem),
}

/// What is kept of a repository in the cluster.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// None where nothing is to be written.
    pub signing: Option<Arc<SigningKey>>,
    /// Whom to believe.
    pub root: Option<PublicKey>,
    /// The repository that was found there first.
    pub uuid: Option<Uid>,
    pub epoch_asked: Option<String>,
}

impl Keys {
    pub fn trust(&self) -> Trust {
        self.root.map_or(Trust::Anybody, |root| Trust::Keys(vec![root]))
    }
}

/// The Secret of a repository. A long name gives way to what tells it from others.
pub fn secret_name(repository: &str) -> String {
    const SUFFIX: &str = "-backup-keys";
    const LONGEST: usize = 253;
    if repository.len() + SUFFIX.len() <= LONGEST {
        return format!("{repository}{SUFFIX}");
    }
    let digest = crate::backup::digest::Digest::of(repository.as_bytes()).short(16);
    format!("{}-{digest}{SUFFIX}", &repository[..LONGEST - SUFFIX.len() - digest.len() - 1])
}

/// Reads what is kept; nothing where there is no Secret.
pub async fn read(client: &Client, namespace: &str, repository: &str) -> Result<Option<Keys>, KeysError> {
    let name = secret_name(repository);
    let secret = match Read::of(client, namespace, &name, PRIVATE).await {
        Err(PlaceError::NoSecret { .. }) => return Ok(None),
        answer => answer?,
    };
    let place = format!("{namespace}/{name}");
    let malformed = |key, reason: String| KeysError::Malformed(place.clone(), key, reason);
    let signing = match secret.text(PRIVATE)? {
        Some(text) => {
            let key = SigningKey::parse(&Secret::new(text)).map_err(|reason| malformed(PRIVATE, reason))?;
            Some(Arc::new(key))
        }
        None => None,
    };
    let root = secret.text(ROOT)?.map(|text| text.parse()).transpose().map_err(|reason| malformed(ROOT, reason))?;
    let uuid = secret.text(UUID)?.map(|text| Uid::parse(&text)).transpose();
    let uuid = uuid.map_err(|error| malformed(UUID, error.to_string()))?;
    Ok(Some(Keys { signing, root, uuid, epoch_asked: secret.text(EPOCH_ASKED)? }))
}

/// Reads what is kept, and makes the key where there is none and one is needed. It is written before it signs anything.
pub async fn ensure(client: &Client, namespace: &str, repository: &str, writes: bool) -> Result<Keys, KeysError> {
    for _ in 0..3 {
        let found = read(client, namespace, repository).await?;
        match found {
            Some(keys) if !writes || keys.signing.is_some() => return Ok(keys),
            None if !writes => return Ok(Keys::default()),
            Some(_) => {
                // somebody said beforehand whom to believe
                let key = SigningKey::generate();
                keep(client, namespace, repository, &private(&key)).await?;
            }
            None => create(client, namespace, repository, &private(&SigningKey::generate())).await?,
        }
    }
    let place = format!("{namespace}/{}", secret_name(repository));
    Err(KeysError::Malformed(place, PRIVATE, "it disappears each time it is written".into()))
}

fn private(key: &SigningKey) -> Vec<(&'static str, String)> {
    vec![(PRIVATE, key.secret().expose().to_owned()), (PUBLIC, key.public().to_string())]
}

/// Remembers whose repository was found.
pub async fn pin(client: &Client, namespace: &str, name: &str, found: &Repository) -> Result<(), KeysError> {
    let values = vec![(ROOT, found.root().to_string()), (UUID, found.uuid().to_string())];
    keep(client, namespace, name, &values).await
}

pub async fn remember_epoch_asked(client: &Client, namespace: &str, name: &str, asked: &str) -> Result<(), KeysError> {
    keep(client, namespace, name, &[(EPOCH_ASKED, asked.to_owned())]).await
}

/// Adds values to the Secret, which is made where it is not there.
async fn keep(client: &Client, namespace: &str, name: &str, values: &[(&str, String)]) -> Result<(), KeysError> {
    let api: Api<KubeSecret> = Api::namespaced(client.clone(), namespace);
    let secret = secret_name(name);
    let data: BTreeMap<&str, ByteString> =
        values.iter().map(|(key, value)| (*key, ByteString(value.clone().into_bytes()))).collect();
    let how = PatchParams { field_manager: Some(labels::MANAGER.to_owned()), ..PatchParams::default() };
    match api.patch(&secret, &how, &Patch::Merge(json!({ "data": data }))).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(error)) if error.code == 404 => create(client, namespace, name, values).await,
        Err(error) => Err(refused(namespace, &secret, &error)),
    }
}

/// Makes the Secret; one that somebody else made meanwhile is left as it is.
async fn create(client: &Client, namespace: &str, name: &str, values: &[(&str, String)]) -> Result<(), KeysError> {
    let api: Api<KubeSecret> = Api::namespaced(client.clone(), namespace);
    let secret = secret_name(name);
    let labels = [(labels::MANAGED_BY.to_owned(), labels::MANAGER.to_owned())].into();
    let metadata = ObjectMeta { name: Some(secret.clone()), labels: Some(labels), ..ObjectMeta::default() };
    let data = values.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.clone().into_bytes()))).collect();
    let object = KubeSecret { metadata, data: Some(data), type_: Some("Opaque".to_owned()), ..KubeSecret::default() };
    let how = PostParams { field_manager: Some(labels::MANAGER.to_owned()), ..PostParams::default() };
    match api.create(&how, &object).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(error)) if error.code == 409 => Ok(()),
        Err(error) => Err(refused(namespace, &secret, &error)),
    }
}

fn refused(namespace: &str, secret: &str, error: &kube::Error) -> KeysError {
    KeysError::Cluster(Problem::from_kube(error).at(format!("Secret {namespace}/{secret}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_still_gives_a_secret_of_its_own() {
        assert_eq!(secret_name("vault"), "vault-backup-keys");
        let (one, two) = (format!("{}a", "x".repeat(250)), format!("{}b", "x".repeat(250)));
        assert!(secret_name(&one).len() <= 253 && secret_name(&one) != secret_name(&two));
    }
}
