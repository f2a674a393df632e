//! Accounts with exactly the permissions a test gives them, and kubeconfigs that speak in their name.

use std::path::{Path, PathBuf};

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::api::PostParams;
use kube::config::Kubeconfig;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::create;

/// A ServiceAccount, and a token of it.
pub struct Account {
    pub name: String,
    pub namespace: String,
    pub token: String,
    client: Client,
}

impl Account {
    /// One without any permission.
    pub async fn new(client: &Client, namespace: &str, name: &str) -> Self {
        create::<ServiceAccount>(client, namespace, json!({ "metadata": { "name": name } })).await;
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
        let request = TokenRequest {
            spec: Some(TokenRequestSpec { expiration_seconds: Some(3600), ..TokenRequestSpec::default() }),
            ..TokenRequest::default()
        };
        let answer = accounts.create_token_request(name, &PostParams::default(), &request).await.expect("a token");
        let token = answer.status.and_then(|status| status.token).expect("it is filled in");
        Self { name: name.into(), namespace: namespace.into(), token, client: client.clone() }
    }

    fn subjects(&self) -> Value {
        json!([{ "kind": "ServiceAccount", "name": self.name, "namespace": self.namespace }])
    }

    /// Permissions in one namespace.
    pub async fn grant_in(&self, namespace: &str, rules: Value) {
        let name = format!("{}-{}", self.namespace, self.name);
        let role = json!({ "metadata": { "name": name }, "rules": rules });
        create::<Role>(&self.client, namespace, role).await;
        let binding = json!({ "metadata": { "name": name }, "subjects": self.subjects(),
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name } });
        create::<RoleBinding>(&self.client, namespace, binding).await;
    }

    /// Permissions everywhere, which go when the account's namespace goes.
    pub async fn grant_everywhere(&self, rules: Value) {
        let name = format!("{}-{}", self.namespace, self.name);
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let owner = namespaces.get(&self.namespace).await.expect("it is there").metadata.uid;
        let metadata = json!({ "name": name, "ownerReferences":
            [{ "apiVersion": "v1", "kind": "Namespace", "name": self.namespace, "uid": owner }] });
        let role = json!({ "metadata": metadata, "rules": rules });
        let role: ClusterRole = serde_json::from_value(role).expect("a ClusterRole");
        Api::all(self.client.clone()).create(&PostParams::default(), &role).await.expect("it can be made");
        let binding = json!({ "metadata": metadata, "subjects": self.subjects(),
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name } });
        let binding: ClusterRoleBinding = serde_json::from_value(binding).expect("a ClusterRoleBinding");
        Api::all(self.client.clone()).create(&PostParams::default(), &binding).await.expect("it can be made");
    }

    /// A kubeconfig for the server of another one, in this account's name.
    pub fn kubeconfig(&self, like: &Path, to: &Path) -> PathBuf {
        write(like, to, None, json!({ "token": self.token }));
        to.to_owned()
    }
}

/// Writes a kubeconfig like another one, but for another server or user.
pub fn write(like: &Path, to: &Path, server: Option<&str>, user: Value) {
    let config = Kubeconfig::read_from(like).expect("a kubeconfig");
    let mut config = serde_json::to_value(config).expect("plain data");
    if let Some(server) = server {
        config["clusters"][0]["cluster"]["server"] = json!(server);
    }
    if !user.is_null() {
        config["users"][0]["user"] = user;
    }
    // in one step, so that nobody reads half of it
    let new = to.with_extension("new");
    std::fs::write(&new, config.to_string()).expect("it can be written");
    std::fs::rename(new, to).expect("it can be renamed");
}

/// What the controller needs everywhere even when it looks after a few namespaces only.
pub fn cluster_rules() -> Value {
    json!([
        { "apiGroups": ["midship.dev"], "resources": ["extensions", "extensions/status"], "verbs": ["*"] },
        { "apiGroups": ["apiextensions.k8s.io"], "resources": ["customresourcedefinitions"], "verbs": ["get"] },
        { "apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"] },
        { "apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"] },
    ])
}

/// What it needs where it works.
pub fn namespace_rules() -> Value {
    json!([
        { "apiGroups": ["midship.dev"], "resources": ["*"], "verbs": ["*"] },
        { "apiGroups": [""], "verbs": ["*"],
          "resources": ["configmaps", "secrets", "services", "serviceaccounts", "pods", "pods/resize", "persistentvolumeclaims"] },
        { "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"], "verbs": ["*"] },
        { "apiGroups": ["policy"], "resources": ["poddisruptionbudgets"], "verbs": ["*"] },
        { "apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": ["*"] },
        { "apiGroups": ["apps"], "resources": ["controllerrevisions"], "verbs": ["get", "list", "create", "delete"] },
        { "apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"] },
        { "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update", "patch", "watch"] },
    ])
}
