//! Whether this account may do what the controller has to do.

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};

use super::scope::Scope;
use crate::api::{GROUP, Kind};

/// One thing that must be permitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    pub verb: &'static str,
    pub group: &'static str,
    pub resource: String,
    pub subresource: Option<&'static str>,
    pub namespace: Option<String>,
}

impl std::fmt::Display for Permission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if let Some(subresource) = self.subresource {
            write!(f, "/{subresource}")?;
        }
        if !self.group.is_empty() {
            write!(f, " ({})", self.group)?;
        }
        match &self.namespace {
            Some(namespace) => write!(f, " in {namespace}"),
            None => f.write_str(" everywhere"),
        }
    }
}

/// What the controller cannot work without.
pub fn needed(scope: &Scope, lease_namespace: &str) -> Vec<Permission> {
    let permission = |verb, group, resource: &str, subresource, namespace: Option<&str>| Permission {
        verb,
        group,
        resource: resource.to_owned(),
        subresource,
        namespace: namespace.map(ToOwned::to_owned),
    };
    let mut all = Vec::new();
    for verb in ["get", "create", "update"] {
        all.push(permission(verb, "coordination.k8s.io", "leases", None, Some(lease_namespace)));
    }
    for part in scope.parts() {
        for kind in Kind::ALL {
            let part = if kind == Kind::Extension { None } else { part };
            for verb in ["list", "watch"] {
                all.push(permission(verb, GROUP, &kind.plural(), None, part));
            }
            all.push(permission("patch", GROUP, &kind.plural(), Some("status"), part));
        }
        for resource in ["configmaps", "secrets", "services", "pods", "persistentvolumeclaims"] {
            all.push(permission("patch", "", resource, None, part));
        }
        all.push(permission("create", "events.k8s.io", "events", None, part));
    }
    all.dedup();
    all
}

/// Those of `permissions` that this account does not have.
pub async fn missing(client: &Client, permissions: Vec<Permission>) -> Result<Vec<Permission>, kube::Error> {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let ask = |permission: Permission| {
        let reviews = reviews.clone();
        async move {
            let review = SelfSubjectAccessReview {
                spec: SelfSubjectAccessReviewSpec {
                    resource_attributes: Some(ResourceAttributes {
                        verb: Some(permission.verb.into()),
                        group: Some(permission.group.into()),
                        resource: Some(permission.resource.clone()),
                        subresource: permission.subresource.map(Into::into),
                        namespace: permission.namespace.clone(),
                        ..ResourceAttributes::default()
                    }),
                    ..SelfSubjectAccessReviewSpec::default()
                },
                ..SelfSubjectAccessReview::default()
            };
            let answer = reviews.create(&PostParams::default(), &review).await?;
            let allowed = answer.status.is_some_and(|status| status.allowed);
            Ok::<_, kube::Error>((!allowed).then_some(permission))
        }
    };
    stream::iter(permissions).map(ask).buffered(8).try_filter_map(|missing| async { Ok(missing) }).try_collect().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::NamespaceName;

    #[test]
    fn with_named_namespaces_only_extensions_are_asked_for_everywhere() {
        let scope = Scope::from_namespaces(vec![NamespaceName::parse("shop").expect("a name")]);
        let everywhere: Vec<String> = needed(&scope, "midship-system")
            .into_iter()
            .filter(|permission| permission.namespace.is_none())
            .map(|permission| permission.resource)
            .collect();
        assert!(everywhere.iter().all(|resource| resource == "extensions"), "{everywhere:?}");
    }

    #[test]
    fn a_permission_reads_like_a_sentence() {
        let all = needed(&Scope::Cluster, "midship-system");
        assert_eq!(all[0].to_string(), "get leases (coordination.k8s.io) in midship-system");
        assert!(all.iter().any(|one| one.to_string() == "patch instances/status (midship.dev) everywhere"));
    }
}
