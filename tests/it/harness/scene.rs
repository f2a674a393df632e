//! One test's place on the API server: a namespace of its own, gone when the test passed, kept and named when it failed.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use futures::FutureExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::Kubeconfig;
use kube::{Api, Client, Resource, ResourceExt};
use midship::api::{GitSource, Instance};
use serde::de::DeserializeOwned;
use serde_json::json;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::server::{Server, Tier};
use super::{Run, definitions, report};

/// What a test has: a client, a namespace, and programs that see nothing else.
pub struct Scene {
    pub client: Client,
    pub namespace: String,
    kubectl: PathBuf,
    /// Holds the kubeconfig whose namespace is this one.
    folder: TempDir,
}

/// Runs `body` on a server that serves our definitions. When it panics, everything in its namespace is printed and kept.
pub fn api_test(body: impl AsyncFnOnce(&Scene)) {
    test_on(Tier::Api, body);
}

/// Runs `body` on a cluster with nodes, on which nothing of ours is installed by us.
pub fn e2e_test(body: impl AsyncFnOnce(&Scene)) {
    test_on(Tier::Nodes, body);
}

fn test_on(tier: Tier, body: impl AsyncFnOnce(&Scene)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { play(Scene::set(tier).await, body).await });
}

/// Runs `body` on the server of another kubeconfig, in a namespace of this name.
pub async fn on_another(kubeconfig: PathBuf, namespace: &str, body: impl AsyncFnOnce(&Scene)) {
    play(Scene::make(Server::at(kubeconfig).await, namespace.to_owned()).await, body).await;
}

async fn play(scene: Scene, body: impl AsyncFnOnce(&Scene)) {
    match AssertUnwindSafe(body(&scene)).catch_unwind().await {
        Ok(()) => scene.clear().await,
        Err(panic) => {
            eprintln!("{}", report::of_namespace(&scene.client, &scene.namespace).await);
            resume_unwind(panic);
        }
    }
}

impl Scene {
    async fn set(tier: Tier) -> Self {
        let server = Server::find(tier).await;
        if tier == Tier::Api {
            definitions::install(&server.client).await;
        }
        Self::make(server, namespace_for_this_test()).await
    }

    async fn make(server: Server, namespace: String) -> Self {
        let Server { kubeconfig, client, kubectl } = server;
        let object = json!({ "metadata": { "name": namespace, "labels": { "midship.dev/test": "true" } } });
        let object: Namespace = serde_json::from_value(object).expect("a namespace");
        let namespaces: Api<Namespace> = Api::all(client.clone());
        namespaces.create(&PostParams::default(), &object).await.expect("a namespace can be made");
        Self::at(client, namespace, &kubeconfig, kubectl)
    }

    /// A namespace that is there already, on the server of this kubeconfig. It stays.
    pub fn at(client: Client, namespace: String, kubeconfig: &Path, kubectl: PathBuf) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let mut config = Kubeconfig::read_from(kubeconfig).expect("it was read before");
        let current = config.current_context.clone();
        for context in config.contexts.iter_mut().filter(|context| Some(&context.name) == current.as_ref()) {
            if let Some(context) = &mut context.context {
                context.namespace = Some(namespace.clone());
            }
        }
        let text = serde_json::to_vec(&config).expect("a kubeconfig is plain data");
        std::fs::write(folder.path().join("kubeconfig"), text).expect("the kubeconfig can be written");
        Self { client, namespace, kubectl, folder }
    }

    async fn clear(self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let deleted = namespaces.delete(&self.namespace, &DeleteParams::background()).await;
        deleted.unwrap_or_else(|error| panic!("namespace {} cannot be deleted: {error}", self.namespace));
        self.release::<Instance>().await;
        self.release::<GitSource>().await;
    }

    /// The test's controller, which would clean up, has ended: a namespace that waits for it keeps the server busy for ever.
    async fn release<K>(&self)
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
        K::DynamicType: Default,
    {
        let api: Api<K> = self.objects();
        let there = api.list_metadata(&ListParams::default()).await.expect("what is left can be listed");
        for object in there.items.iter().filter(|object| !object.finalizers().is_empty()) {
            let free = json!({ "metadata": { "finalizers": null } });
            match api.patch_metadata(&object.name_any(), &PatchParams::default(), &Patch::Merge(&free)).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                done => {
                    done.unwrap_or_else(|error| panic!("{} cannot be released: {error}", object.name_any()));
                }
            }
        }
    }

    /// Objects of a kind in this test's namespace.
    pub fn objects<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// A kubeconfig for this server, with this test's namespace.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    pub fn kubectl<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Run {
        Run::new(&self.kubectl).env("KUBECONFIG", self.kubeconfig()).args(args)
    }
}

/// Starts with what a person can recognise and ends with what no other test has.
fn namespace_for_this_test() -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let current = std::thread::current();
    let test = std::env::var("NEXTEST_TEST_NAME").ok();
    let test = test.as_deref().or(current.name()).unwrap_or("test");
    let words = test.rsplit("::").next().unwrap_or(test).replace('_', "-");
    let words = words.get(..40).unwrap_or(&words).trim_matches('-').to_owned();
    let unique = format!("{:?} {} {}", SystemTime::now(), std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
    format!("t-{words}-{}", &hex::encode(Sha256::digest(unique))[..6])
}
