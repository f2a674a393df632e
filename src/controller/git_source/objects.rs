//! Objects of any kind that a repository may hold, as the API server addresses them.

use kube::api::DynamicObject;
use kube::core::ApiResource;
use kube::{Api, Client};

use crate::plan::source::{ObjectId, ObjectKind};

/// The annotation with the digest of what was applied.
pub const DIGEST: &str = "midship.dev/source-digest";

/// What the API server calls objects of a kind.
pub fn resource(kind: ObjectKind) -> ApiResource {
    if let Some(kind) = kind.ours() {
        return kind.resource();
    }
    let plural = match kind {
        ObjectKind::Namespace => "namespaces",
        ObjectKind::Secret => "secrets",
        _ => "configmaps",
    };
    ApiResource {
        group: String::new(),
        version: "v1".into(),
        api_version: "v1".into(),
        kind: kind.as_str().into(),
        plural: plural.into(),
    }
}

/// Where an object is read and written.
pub fn api(client: &Client, id: &ObjectId) -> Api<DynamicObject> {
    within(client, id.kind, id.namespace.as_deref())
}

/// Where objects of a kind are listed: in a namespace, or everywhere.
pub fn within(client: &Client, kind: ObjectKind, namespace: Option<&str>) -> Api<DynamicObject> {
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource(kind)),
        None => Api::all_with(client.clone(), &resource(kind)),
    }
}
