//! From a BackupRepository to its store: Secrets are read by reference, and what is missing is named with its key.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret as KubeSecret;
use kube::{Api, Client};

use crate::api::backup_repository::{
    BackupRepositorySpec, Checksums as WantedChecksums, FilesystemStore, LockMode as WantedLock, S3Store,
};
use crate::backup::store::s3::{Checksums, Credentials, Lock, LockMode, Settings};
use crate::backup::store::{Filesystem, Patience, Resilient, S3, Store, StoreError};
use crate::cluster::problem::Problem;
use crate::secret::Secret;

const ACCESS_KEY_ID: &str = "accessKeyId";
const SECRET_ACCESS_KEY: &str = "secretAccessKey";
const SESSION_TOKEN: &str = "sessionToken";
const CA: &str = "ca.crt";

/// Why it is not known where the backups lie.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    #[error("Secret {namespace}/{name} is not there; make it with {keys}")]
    NoSecret { namespace: String, name: String, keys: &'static str },
    #[error("Secret {namespace}/{name} has no key {key}; it has {there}")]
    NoKey { namespace: String, name: String, key: &'static str, there: String },
    #[error("Secret {namespace}/{name}, key {key}: it is no text")]
    NoText { namespace: String, name: String, key: String },
    #[error(
        "its file system is not mounted here: {0} is not there; mount the claim or the export there in the controller's \
         pod (the chart's `backups.volumes`)"
    )]
    NotMounted(String),
    #[error("it names neither s3 nor filesystem")]
    Nowhere,
    #[error("{}; {}", .0.what, .0.remedy)]
    Cluster(Problem),
}

/// Where the backups of a repository lie, with all that is needed to get there.
#[derive(Clone, Debug)]
pub enum Place {
    S3(Box<Settings>),
    /// A folder that is mounted here.
    Folder(PathBuf),
}

impl Place {
    /// `folders` holds the file systems that are mounted, as `<namespace>/<repository>`.
    pub async fn of(
        client: &Client,
        (namespace, name): (&str, &str),
        spec: &BackupRepositorySpec,
        folders: &Path,
    ) -> Result<Self, PlaceError> {
        match (&spec.s3, &spec.filesystem) {
            (Some(s3), _) => Ok(Self::S3(Box::new(settings(client, namespace, s3).await?))),
            (None, Some(filesystem)) => Ok(Self::Folder(mounted((namespace, name), filesystem, folders)?)),
            (None, None) => Err(PlaceError::Nowhere),
        }
    }

    /// The same with credentials as they are now; nothing where they are still the same, or are not kept in a Secret.
    pub async fn renewed(
        &self,
        client: &Client,
        namespace: &str,
        spec: &BackupRepositorySpec,
    ) -> Result<Option<Self>, PlaceError> {
        let (Self::S3(before), Some(s3)) = (self, &spec.s3) else { return Ok(None) };
        if s3.credentials.is_none() {
            return Ok(None);
        }
        let now = settings(client, namespace, s3).await?;
        Ok((now != **before).then(|| Self::S3(Box::new(now))))
    }

    pub async fn open(&self, patience: Patience) -> Result<Arc<dyn Store>, StoreError> {
        let store: Arc<dyn Store> = match self {
            Self::S3(settings) => Arc::new(S3::new(settings)?),
            Self::Folder(path) => Arc::new(Filesystem::open(path).await?),
        };
        Ok(Arc::new(Resilient::new(store, patience)))
    }
}

/// The store in short, as it is known before it was ever reached.
pub fn address(spec: &BackupRepositorySpec) -> String {
    match (&spec.s3, &spec.filesystem) {
        (Some(s3), _) => {
            let prefix = s3.prefix.as_deref().unwrap_or_default().trim_matches('/');
            let slash = if prefix.is_empty() { "" } else { "/" };
            format!("s3://{}{slash}{prefix}", s3.bucket)
        }
        (None, Some(FilesystemStore { claim: Some(claim), path, .. })) => {
            format!("claim://{claim}/{}", path.as_deref().unwrap_or_default())
        }
        (None, Some(FilesystemStore { nfs: Some(nfs), path, .. })) => {
            format!("nfs://{}{}/{}", nfs.server, nfs.path, path.as_deref().unwrap_or_default())
        }
        _ => String::new(),
    }
}

fn mounted(
    (namespace, name): (&str, &str),
    filesystem: &FilesystemStore,
    folders: &Path,
) -> Result<PathBuf, PlaceError> {
    let root = folders.join(namespace).join(name);
    if !root.is_dir() {
        return Err(PlaceError::NotMounted(root.display().to_string()));
    }
    // its form was checked by the API server: relative, without `..`
    Ok(filesystem.path.as_ref().map_or(root.clone(), |path| root.join(path)))
}

async fn settings(client: &Client, namespace: &str, s3: &S3Store) -> Result<Settings, PlaceError> {
    let S3Store { bucket, prefix, region, endpoint, path_style, credentials, web_identity: _, ca, checksums, lock } =
        s3;
    let credentials = match credentials {
        None => Credentials::WebIdentity,
        Some(reference) => {
            let secret =
                Read::of(client, namespace, reference.name.as_str(), "accessKeyId and secretAccessKey").await?;
            Credentials::Keys {
                access_key_id: secret.required(ACCESS_KEY_ID)?,
                secret_access_key: Secret::new(secret.required(SECRET_ACCESS_KEY)?),
                session_token: secret.text(SESSION_TOKEN)?.map(Secret::new),
            }
        }
    };
    let ca = match ca {
        None => None,
        Some(reference) => Some(Read::of(client, namespace, reference.name.as_str(), CA).await?.required(CA)?),
    };
    Ok(Settings {
        bucket: bucket.clone(),
        prefix: prefix.clone().unwrap_or_default(),
        region: region.clone(),
        endpoint: endpoint.clone(),
        path_style: path_style.unwrap_or_default(),
        credentials,
        ca,
        checksums: match checksums {
            Some(WantedChecksums::WhenRequired) => Checksums::WhenRequired,
            Some(WantedChecksums::WhenSupported) | None => Checksums::WhenSupported,
        },
        lock: lock.as_ref().map(|lock| Lock {
            mode: match lock.mode {
                Some(WantedLock::Compliance) => LockMode::Compliance,
                Some(WantedLock::Governance) | None => LockMode::Governance,
            },
            time: lock.period.0,
        }),
    })
}

/// A Secret that was read.
pub struct Read {
    namespace: String,
    name: String,
    data: BTreeMap<String, ByteString>,
}

impl Read {
    /// `keys` says what has to be in it, for one who has to make it.
    pub async fn of(client: &Client, namespace: &str, name: &str, keys: &'static str) -> Result<Self, PlaceError> {
        let api: Api<KubeSecret> = Api::namespaced(client.clone(), namespace);
        let found = api.get_opt(name).await.map_err(|error| {
            PlaceError::Cluster(Problem::from_kube(&error).at(format!("Secret {namespace}/{name}")))
        })?;
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        match found {
            Some(secret) => Ok(Self { namespace, name, data: secret.data.unwrap_or_default() }),
            None => Err(PlaceError::NoSecret { namespace, name, keys }),
        }
    }

    pub fn text(&self, key: &str) -> Result<Option<String>, PlaceError> {
        let Some(bytes) = self.data.get(key) else { return Ok(None) };
        let text = String::from_utf8(bytes.0.clone()).map_err(|_| PlaceError::NoText {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            key: key.to_owned(),
        })?;
        // files often end in a line break, which is never part of a credential
        Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()).filter(|text| !text.is_empty()))
    }

    pub fn required(&self, key: &'static str) -> Result<String, PlaceError> {
        let there = if self.data.is_empty() {
            "none".to_owned()
        } else {
            self.data.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
        };
        let missing = || PlaceError::NoKey { namespace: self.namespace.clone(), name: self.name.clone(), key, there };
        self.text(key)?.ok_or_else(missing)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Mutex;

    use kube::client::Body;
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn credentials_that_were_rotated_are_read_anew() {
        let kept = Arc::new(Mutex::new("old"));
        let secret = kept.clone();
        let service = tower::service_fn(move |_: http::Request<Body>| {
            let key = *secret.lock().expect("no panic while it is held");
            let data = json!({ "accessKeyId": ByteString(b"me".to_vec()), "secretAccessKey": ByteString(key.into()) });
            let answer = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s3" }, "data": data });
            async move { Ok::<_, Infallible>(http::Response::new(Body::from(answer.to_string().into_bytes()))) }
        });
        let client = Client::new(service, "shop");
        let spec =
            json!({ "s3": { "bucket": "b", "credentials": { "name": "s3" } }, "encryption": { "disabled": true } });
        let spec: BackupRepositorySpec = serde_json::from_value(spec).expect("a repository");
        let place = Place::of(&client, ("shop", "vault"), &spec, Path::new("/")).await.expect("it is there");
        assert!(place.renewed(&client, "shop", &spec).await.expect("read").is_none(), "they are the same");
        *kept.lock().expect("no panic while it is held") = "new";
        let renewed = place.renewed(&client, "shop", &spec).await.expect("read").expect("they are others");
        let Place::S3(settings) = renewed else { panic!("a bucket") };
        let Credentials::Keys { secret_access_key, .. } = settings.credentials else { panic!("keys") };
        assert_eq!(secret_access_key.expose(), "new");
    }
}
