//! Whether this account may do what the controller has to do.

use std::collections::HashSet;

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReview,
    SubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
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
    // the authority of the agents
    for verb in ["get", "create", "update"] {
        all.push(permission(verb, "", "secrets", None, Some(lease_namespace)));
    }
    for part in scope.parts() {
        for kind in Kind::ALL {
            let part = if kind == Kind::Extension { None } else { part };
            for verb in ["list", "watch"] {
                all.push(permission(verb, GROUP, &kind.plural(), None, part));
            }
            all.push(permission("patch", GROUP, &kind.plural(), Some("status"), part));
        }
        // what instances are made of: seen by its metadata, applied, and deleted once it is not wanted any more
        for (group, _, _, resource) in super::parts::KINDS {
            for verb in ["get", "list", "watch", "create", "patch", "delete"] {
                all.push(permission(verb, group, resource, None, part));
            }
        }
        for kind in [Kind::Instance, Kind::Extension, Kind::Component] {
            let part = if kind == Kind::Extension { None } else { part };
            all.push(permission("patch", GROUP, &kind.plural(), None, part));
        }
        for verb in ["get", "create", "delete"] {
            all.push(permission(verb, GROUP, &Kind::Component.plural(), None, part));
        }
        // agents are given these, and nobody can give what they have not
        for verb in ["get", "update", "patch", "watch", "create"] {
            all.push(permission(verb, "coordination.k8s.io", "leases", None, part));
        }
        for verb in ["get", "list", "watch", "create", "patch", "delete"] {
            for resource in ["pods", "persistentvolumeclaims"] {
                all.push(permission(verb, "", resource, None, part));
            }
        }
        for verb in ["get", "list", "create", "delete"] {
            all.push(permission(verb, "apps", "controllerrevisions", None, part));
        }
        all.push(permission("create", GROUP, "podsets", None, part));
        all.push(permission("create", "events.k8s.io", "events", None, part));
    }
    let mut seen = HashSet::new();
    all.retain(|permission| seen.insert(permission.to_string()));
    all
}

/// Whose permissions are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Account {
    /// Who is connected.
    Mine,
    ServiceAccount {
        namespace: String,
        name: String,
    },
}

/// Those of `permissions` that the account does not have.
pub async fn missing(
    client: &Client,
    account: &Account,
    permissions: Vec<Permission>,
) -> Result<Vec<Permission>, kube::Error> {
    let ask = async |permission: Permission| {
        let allowed = is_allowed(client, account, attributes(&permission)).await?;
        Ok::<_, kube::Error>((!allowed).then_some(permission))
    };
    stream::iter(permissions).map(ask).buffered(8).try_filter_map(|missing| async { Ok(missing) }).try_collect().await
}

/// Whether it is certain that whoever this client speaks for lacks a permission: for one object where that is named, for all of
/// them otherwise. A server that could not ask everybody who may permit it answers no, and why.
pub async fn lacks(client: &Client, permission: &Permission, name: Option<&str>) -> Result<bool, kube::Error> {
    let what = ResourceAttributes { name: name.map(Into::into), ..attributes(permission) };
    let answer = review(client, &Account::Mine, what).await?;
    Ok(answer.is_some_and(|answer| !answer.allowed && answer.evaluation_error.is_none()))
}

fn attributes(permission: &Permission) -> ResourceAttributes {
    ResourceAttributes {
        verb: Some(permission.verb.into()),
        group: Some(permission.group.into()),
        resource: Some(permission.resource.clone()),
        subresource: permission.subresource.map(Into::into),
        namespace: permission.namespace.clone(),
        ..ResourceAttributes::default()
    }
}

async fn is_allowed(client: &Client, account: &Account, what: ResourceAttributes) -> Result<bool, kube::Error> {
    Ok(review(client, account, what).await?.is_some_and(|answer| answer.allowed))
}

async fn review(
    client: &Client,
    account: &Account,
    what: ResourceAttributes,
) -> Result<Option<SubjectAccessReviewStatus>, kube::Error> {
    let how = PostParams::default();
    Ok(match account {
        Account::Mine => {
            let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(what), ..Default::default() };
            let review = SelfSubjectAccessReview { spec, ..Default::default() };
            Api::<SelfSubjectAccessReview>::all(client.clone()).create(&how, &review).await?.status
        }
        Account::ServiceAccount { namespace, name } => {
            let spec = SubjectAccessReviewSpec {
                user: Some(format!("system:serviceaccount:{namespace}:{name}")),
                groups: Some(vec![
                    "system:serviceaccounts".into(),
                    format!("system:serviceaccounts:{namespace}"),
                    "system:authenticated".into(),
                ]),
                resource_attributes: Some(what),
                ..Default::default()
            };
            let review = SubjectAccessReview { spec, ..Default::default() };
            Api::<SubjectAccessReview>::all(client.clone()).create(&how, &review).await?.status
        }
    })
}

/// Permissions in few words: those that differ in one thing only are said together.
pub fn summary(permissions: &[Permission]) -> Vec<String> {
    type Verbs = Vec<&'static str>;
    type Place<'a> = (&'a Option<String>, &'static str);
    let mut verbs: Vec<(Place, String, Verbs)> = Vec::new();
    for one in permissions {
        let resource = one.subresource.map_or(one.resource.clone(), |sub| format!("{}/{sub}", one.resource));
        let place = (&one.namespace, one.group);
        match verbs.iter_mut().find(|(at, about, _)| *at == place && *about == resource) {
            Some((_, _, verbs)) => verbs.push(one.verb),
            None => verbs.push((place, resource, vec![one.verb])),
        }
    }
    let mut resources: Vec<(Place, Verbs, Vec<String>)> = Vec::new();
    for (place, resource, verbs) in verbs {
        match resources.iter_mut().find(|(at, about, _)| *at == place && *about == verbs) {
            Some((_, _, resources)) => resources.push(resource),
            None => resources.push((place, verbs, vec![resource])),
        }
    }
    let sentence = |((namespace, group), verbs, resources): (Place, Verbs, Vec<String>)| {
        let group = if group.is_empty() { String::new() } else { format!(" ({group})") };
        let place = namespace.as_ref().map_or("everywhere".to_owned(), |namespace| format!("in {namespace}"));
        format!("{} {}{group} {place}", verbs.join(", "), resources.join(", "))
    };
    resources.into_iter().map(sentence).collect()
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

    #[test]
    fn many_permissions_are_said_in_few_words() {
        let scope = Scope::from_namespaces(vec![NamespaceName::parse("shop").expect("a name")]);
        let all = summary(&needed(&scope, "midship-system"));
        assert_eq!(all[0], "get, create, update leases (coordination.k8s.io) in midship-system");
        assert!(all.contains(&"list, watch, patch extensions (midship.dev) everywhere".to_owned()), "{all:#?}");
        assert!(all.contains(&"create events (events.k8s.io) in shop".to_owned()), "{all:#?}");
        assert!(all.len() < 25, "{all:#?}");
    }
}
