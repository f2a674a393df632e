//! What the agents of an instance may do in the cluster: mark their own pods, and hold the lease of their role.

use serde_json::{Value, json};

use super::{naming, object_metadata};
use crate::extension::resolved::Resolved;

pub fn render(resolved: &Resolved) -> Vec<Value> {
    let name = resolved.name.as_str();
    let leases: Vec<String> = resolved
        .components
        .iter()
        .flat_map(|component| {
            component.groups.iter().map(|group| naming::pod_set(name, component.name.as_str(), group.name.as_str()))
        })
        .collect();
    let mut accounts: Vec<String> = resolved
        .components
        .iter()
        .filter_map(|component| Some(component.service_account.as_ref()?.to_string()))
        .collect();
    let mut objects = Vec::new();
    if resolved.components.iter().any(|component| component.service_account.is_none()) {
        accounts.push(name.to_owned());
        objects.push(json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": object_metadata(resolved, name, None),
            "automountServiceAccountToken": false,
        }));
    }
    accounts.sort();
    accounts.dedup();
    objects.push(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": object_metadata(resolved, name, None),
        "rules": [
            { "apiGroups": [""], "resources": ["pods"], "resourceNames": resolved.pods(), "verbs": ["get", "patch"] },
            { "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": leases,
              "verbs": ["get", "update", "patch", "watch"] },
            { "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"] },
        ],
    }));
    let subjects: Vec<Value> = accounts
        .iter()
        .map(|account| json!({ "kind": "ServiceAccount", "name": account, "namespace": resolved.namespace }))
        .collect();
    objects.push(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": object_metadata(resolved, name, None),
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name },
        "subjects": subjects,
    }));
    objects
}
