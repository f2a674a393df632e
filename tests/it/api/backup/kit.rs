//! A controller with a folder of file systems, and what tests ask of repositories and what is in them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret as KubeSecret;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource, ResourceExt};
use midship::api::conditions::{Condition, find};
use midship::api::operation::BackupType;
use midship::api::{Backup, BackupPolicy, BackupRepository, Instance};
use midship::backup::clock::Clock;
use midship::backup::keys::{Epoch, Identity, SigningKey};
use midship::backup::layout::{Owner, Place, Uid};
use midship::backup::read::Catalog;
use midship::backup::repository::{Repository, Trust};
use midship::backup::store::s3::{Credentials, Settings};
use midship::backup::store::{Filesystem, Store};
use midship::backup::write::{EndMark, Gate, Request, Settings as Writes, Source, SourceEnd, Writing};
use midship::secret::Secret;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::api::controller::process::Controller;
use crate::harness::{Scene, api_test, wait_for};

/// Deadline of what takes a second or two on a machine with nothing else to do. A store that could not be used is tried
/// again within a minute.
pub const SOON: Duration = Duration::from_mins(2);
const END: &[u8] = b"-- end --";

pub struct Kit<'a> {
    pub scene: &'a Scene,
    pub folders: TempDir,
    pub identity: Identity,
    pub controller: Option<Controller>,
}

/// Runs `body` with a controller that looks after one namespace.
pub fn backup_test(body: impl AsyncFnOnce(&mut Kit<'_>)) {
    api_test(async |scene| {
        let folders = tempfile::tempdir().expect("a folder");
        let mut kit = Kit { scene, folders, identity: Identity::generate(), controller: None };
        kit.start();
        body(&mut kit).await;
    });
}

impl Kit<'_> {
    pub fn start(&mut self) {
        let namespace = self.scene.namespace.as_str();
        let folders = self.folders.path().to_string_lossy().into_owned();
        let args = ["--namespaces", namespace, "--lease-namespace", namespace, "--leader-elect=false"];
        let args: Vec<&str> = args.into_iter().chain(["--repositories-dir", &folders]).collect();
        self.controller = Some(Controller::start("controller", &self.scene.kubeconfig(), &args));
    }

    /// As after kill -9.
    pub fn kill(&mut self) {
        drop(self.controller.take());
    }

    pub fn folder(&self, repository: &str) -> PathBuf {
        self.folders.path().join(&self.scene.namespace).join(repository)
    }

    pub async fn create<K>(&self, object: Value) -> K
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + serde::Serialize + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let object: K = serde_json::from_value(object).expect("an object");
        self.scene.objects::<K>().create(&PostParams::default(), &object).await.expect("it can be made")
    }

    pub async fn change<K>(&self, name: &str, patch: Value) -> K
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let changed = self.scene.objects::<K>().patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        changed.expect("it can be changed")
    }

    /// A repository in a folder that is mounted for it.
    pub async fn folder_repository(&self, name: &str) -> BackupRepository {
        std::fs::create_dir_all(self.folder(name)).expect("a folder");
        self.create(object(
            "BackupRepository",
            name,
            json!({
                "filesystem": { "claim": "backups" },
                "encryption": { "recipients": [self.identity.recipient().to_string()] },
            }),
        ))
        .await
    }

    /// A repository in a bucket, with its credentials in a Secret.
    pub async fn bucket_repository(&self, name: &str, settings: &Settings) -> BackupRepository {
        self.credentials(name, settings, None).await;
        self.create(object("BackupRepository", name, s3(name, settings, &self.identity))).await
    }

    pub async fn credentials(&self, name: &str, settings: &Settings, secret_key: Option<&str>) -> KubeSecret {
        let Credentials::Keys { access_key_id, secret_access_key, .. } = &settings.credentials else {
            panic!("the server has keys");
        };
        let secret_key = secret_key.unwrap_or(secret_access_key.expose());
        let data = json!({ "accessKeyId": access_key_id, "secretAccessKey": secret_key });
        let metadata = json!({ "name": format!("{name}-s3") });
        self.create(json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data })).await
    }

    /// Waits until the newest spec was looked at and Ready has this reason.
    pub async fn repository(&self, name: &str, reason: &str) -> BackupRepository {
        wait_for(&format!("{name} to be {reason}"), SOON, async || {
            let found: BackupRepository =
                self.scene.objects().get(name).await.map_err(|error: kube::Error| error.to_string())?;
            let status = found.status.clone().unwrap_or_default();
            if status.observed_generation != found.metadata.generation {
                return Err(format!("generation {:?} was looked at", status.observed_generation));
            }
            is(find(&status.conditions, "Ready"), reason).map(|()| found)
        })
        .await
    }

    pub async fn policy(&self, name: &str, reason: &str) -> BackupPolicy {
        wait_for(&format!("{name} to be {reason}"), SOON, async || {
            let found: BackupPolicy =
                self.scene.objects().get(name).await.map_err(|error: kube::Error| error.to_string())?;
            let status = found.status.clone().unwrap_or_default();
            if status.observed_generation != found.metadata.generation {
                return Err(format!("generation {:?} was looked at", status.observed_generation));
            }
            is(find(&status.conditions, "Ready"), reason).map(|()| found)
        })
        .await
    }

    /// An instance of a type that is not installed: nothing runs.
    pub async fn instance(&self, name: &str) -> Instance {
        self.create(object("Instance", name, json!({ "type": "cache", "extensionVersion": "1.0.0", "version": "1.0" })))
            .await
    }

    pub async fn backups(&self) -> Vec<Backup> {
        self.scene.objects::<Backup>().list(&kube::api::ListParams::default()).await.expect("a list").items
    }

    /// Waits until the Backups that are there are as wanted.
    pub async fn until(&self, what: &str, wanted: impl Fn(&[Backup]) -> bool) -> Vec<Backup> {
        wait_for(what, SOON, async || {
            let all = self.backups().await;
            let shown = all.iter().map(|one| (one.name_any(), one.spec.clone(), one.status.clone()));
            if wanted(&all) { Ok(all) } else { Err(format!("{:?}", shown.collect::<Vec<_>>())) }
        })
        .await
    }

    pub async fn look_again(&self, repository: &str) {
        let at = Timestamp::now().to_string();
        let patch = json!({ "metadata": { "annotations": { "midship.dev/reconcile-at": at } } });
        self.change::<BackupRepository>(repository, patch).await;
    }

    pub async fn folder_store(&self, repository: &str) -> Arc<dyn Store> {
        Arc::new(Filesystem::open(&self.folder(repository)).await.expect("the folder is there"))
    }

    /// The key the controller made for a repository.
    pub async fn signing(&self, repository: &str) -> SigningKey {
        let secrets: Api<KubeSecret> = self.scene.objects();
        let secret = secrets.get(&format!("{repository}-backup-keys")).await.expect("the Secret of the keys");
        let key = secret.data.expect("keys").remove("signing.key").expect("the private key");
        SigningKey::parse(&Secret::new(String::from_utf8(key.0).expect("text"))).expect("a key")
    }

    pub async fn cluster(&self) -> Uid {
        let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(self.scene.client.clone());
        let uid = namespaces.get("kube-system").await.expect("every cluster has it").uid().expect("a UID");
        Uid::parse(&uid).expect("an identity")
    }

    /// Makes a backup as an agent would.
    pub async fn back_up(&self, store: Arc<dyn Store>, name: &str, instance: &Instance, bytes: &[u8]) -> Place {
        let key = self.signing(name).await;
        let repository = Repository::open(store, &Trust::Keys(vec![key.public()])).await.expect("it is ours");
        let epoch = Epoch::all(&repository).await.expect("epochs").sound.pop();
        let instance_uid = Uid::parse(&instance.uid().expect("a UID")).expect("an identity");
        let request = Request {
            owner: Owner { cluster: self.cluster().await, instance: instance_uid },
            type_: BackupType::Full,
            parent: None,
            method: "stream".into(),
            engine: "1.0".into(),
            labels: [("kept".to_owned(), "short".to_owned())].into(),
            description: [("instance".to_owned(), json!(instance.name_any()))].into(),
            holder: "a test".into(),
            epoch,
        };
        let writes = Writes { chunk: 1 << 10, memory: 8 << 10, ..Writes::default() };
        let begun = Writing::begin(&repository, &key, Clock::system(), request, writes).await;
        let mut writing = begun.expect("it begins");
        let bytes = [bytes, END].concat();
        let source = Source {
            name: "data".into(),
            format: "test".into(),
            reader: Box::pin(std::io::Cursor::new(bytes)),
            end: Box::pin(async { Ok(SourceEnd { code: Some(0), said: String::new() }) }),
            gate: Gate::new(EndMark::Ends(END.to_vec())),
            expected: None,
        };
        writing.stream(source).await.expect("it is read");
        writing.commit(None).await.expect("it is complete").place
    }

    pub async fn catalog(&self, store: Arc<dyn Store>) -> Catalog {
        let repository = Repository::open(store, &Trust::Anybody).await.expect("it opens");
        Catalog::read(&repository).await.expect("it can be read")
    }
}

pub fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({ "apiVersion": "midship.dev/v1alpha1", "kind": kind, "metadata": { "name": name }, "spec": spec })
}

pub fn s3(name: &str, settings: &Settings, identity: &Identity) -> Value {
    json!({
        "s3": { "bucket": settings.bucket, "prefix": settings.prefix, "region": settings.region,
            "endpoint": settings.endpoint, "pathStyle": true, "credentials": { "name": format!("{name}-s3") } },
        "encryption": { "recipients": [identity.recipient().to_string()] },
    })
}

pub fn is(ready: Option<&Condition>, reason: &str) -> Result<(), String> {
    match ready {
        Some(found) if found.reason == reason => Ok(()),
        other => Err(format!("{other:?}")),
    }
}
