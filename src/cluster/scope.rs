//! Which namespaces a controller looks after.

use std::fmt;

use kube::core::{ClusterResourceScope, NamespaceResourceScope};
use kube::{Api, Client, Resource};

use crate::names::NamespaceName;

/// The whole cluster, or a few namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    Cluster,
    Namespaces(Vec<NamespaceName>),
}

impl Scope {
    pub fn from_namespaces(namespaces: Vec<NamespaceName>) -> Self {
        if namespaces.is_empty() { Self::Cluster } else { Self::Namespaces(namespaces) }
    }

    /// One entry for each list or watch that covers the scope: `None` is the whole cluster.
    pub fn parts(&self) -> Vec<Option<&str>> {
        match self {
            Self::Cluster => vec![None],
            Self::Namespaces(names) => names.iter().map(|name| Some(name.as_str())).collect(),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster => f.write_str("the whole cluster"),
            Self::Namespaces(names) => {
                let names: Vec<_> = names.iter().map(NamespaceName::as_str).collect();
                write!(f, "namespaces {}", names.join(", "))
            }
        }
    }
}

/// A kind that can be watched in a scope, whether its objects live in namespaces or not.
pub trait Watched: Resource<DynamicType = ()> {
    /// One API for each part of the scope, with the namespace it covers.
    fn apis<T>(client: &Client, scope: &Scope) -> Vec<(Option<String>, Api<T>)>
    where
        T: Resource<DynamicType = (), Scope = Self::Scope>;
}

impl<K> Watched for K
where
    K: Resource<DynamicType = ()>,
    K::Scope: Parts,
{
    fn apis<T>(client: &Client, scope: &Scope) -> Vec<(Option<String>, Api<T>)>
    where
        T: Resource<DynamicType = (), Scope = K::Scope>,
    {
        K::Scope::parts(client, scope)
    }
}

/// How a resource scope divides into watches.
pub trait Parts: Sized {
    fn parts<T: Resource<DynamicType = (), Scope = Self>>(
        client: &Client,
        scope: &Scope,
    ) -> Vec<(Option<String>, Api<T>)>;
}

impl Parts for NamespaceResourceScope {
    fn parts<T: Resource<DynamicType = (), Scope = Self>>(
        client: &Client,
        scope: &Scope,
    ) -> Vec<(Option<String>, Api<T>)> {
        let api = |part: Option<&str>| match part {
            None => (None, Api::all(client.clone())),
            Some(name) => (Some(name.to_owned()), Api::namespaced(client.clone(), name)),
        };
        scope.parts().into_iter().map(api).collect()
    }
}

impl Parts for ClusterResourceScope {
    fn parts<T: Resource<DynamicType = (), Scope = Self>>(client: &Client, _: &Scope) -> Vec<(Option<String>, Api<T>)> {
        vec![(None, Api::all(client.clone()))]
    }
}
