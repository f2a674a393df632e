//! The controller as a process: what it says while it waits, who leads, what it writes, what it shows, how it ends.

pub mod account;
mod causes;
pub mod door;
mod idle;
mod leading;
mod metrics;
pub mod process;
pub mod scratch;
mod signals;
mod stopping;
mod unreadable;

use k8s_openapi::NamespaceResourceScope;
use kube::api::PostParams;
use kube::{Api, Client, Resource};
use midship::api::GitSource;
use midship::api::conditions::ConditionStatus;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::harness::Run;

/// Makes an object in a namespace from what is usual in YAML.
pub async fn create<K>(client: &Client, namespace: &str, object: Value) -> K
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + DeserializeOwned
        + Serialize
        + std::fmt::Debug,
{
    let object: K = serde_json::from_value(object).expect("an object of this kind");
    let created = Api::namespaced(client.clone(), namespace).create(&PostParams::default(), &object).await;
    created.unwrap_or_else(|error| panic!("{}: {error}", K::kind(&())))
}

pub async fn create_namespace(client: &Client, name: &str) {
    let object = serde_json::from_value(json!({ "metadata": { "name": name } })).expect("a namespace");
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client.clone());
    namespaces.create(&PostParams::default(), &object).await.expect("a namespace can be made");
}

/// A repository in a folder, with one ConfigMap for `namespace` in it.
fn repository(namespace: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let map = json!({ "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "from-git", "namespace": namespace }, "data": { "key": "value" } });
    std::fs::write(folder.path().join("map.yaml"), map.to_string()).expect("it can be written");
    let commands =
        "git init -q -b main && git add . && git -c user.name=me -c user.email=me@example.com commit -qm first";
    Run::new("sh").args(["-c".to_owned(), format!("cd \"$0\" && {commands}")]).arg(folder.path()).stdout();
    let url = format!("file://{}", folder.path().display());
    (folder, url)
}

fn git_source(name: &str, url: &str) -> Value {
    json!({ "metadata": { "name": name }, "spec": { "url": url } })
}

/// Whether a source says that it is ready, and if not, what it says.
fn readiness(source: &GitSource) -> Result<(), String> {
    let Some(status) = &source.status else { return Err("it has no status".into()) };
    match status.conditions.iter().find(|condition| condition.type_ == "Ready") {
        Some(ready) if ready.status == ConditionStatus::True => Ok(()),
        Some(ready) => Err(format!("{}: {}", ready.reason, ready.message)),
        None => Err("it does not say whether it is ready".into()),
    }
}
