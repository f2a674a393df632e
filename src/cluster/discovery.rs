//! Which definitions and optional kinds a cluster has. What is missing is reported, never fatal.

use std::collections::BTreeSet;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client};

use crate::api::Kind;

/// Kinds of others that Midship uses where they are installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OptionalKind {
    PodMonitor,
    PrometheusRule,
    Certificate,
    VolumeSnapshot,
}

impl OptionalKind {
    pub const ALL: [Self; 4] = [Self::PodMonitor, Self::PrometheusRule, Self::Certificate, Self::VolumeSnapshot];

    /// The API group and version, and the plural it serves.
    pub fn address(self) -> (&'static str, &'static str) {
        match self {
            Self::PodMonitor => ("monitoring.coreos.com/v1", "podmonitors"),
            Self::PrometheusRule => ("monitoring.coreos.com/v1", "prometheusrules"),
            Self::Certificate => ("cert-manager.io/v1", "certificates"),
            Self::VolumeSnapshot => ("snapshot.storage.k8s.io/v1", "volumesnapshots"),
        }
    }

    /// What is missing without it.
    pub fn use_of_it(self) -> &'static str {
        match self {
            Self::PodMonitor => "metrics of instances are offered by annotation only",
            Self::PrometheusRule => "no alert rules are made",
            Self::Certificate => "tls.certManager cannot be used",
            Self::VolumeSnapshot => "no volume snapshots are made",
        }
    }
}

/// The optional kinds that are there now. A group that cannot be asked counts as absent.
pub async fn optional_kinds(client: &Client) -> BTreeSet<OptionalKind> {
    let mut found = BTreeSet::new();
    for kind in OptionalKind::ALL {
        let (group_version, plural) = kind.address();
        let served = match client.list_api_group_resources(group_version).await {
            Ok(list) => list.resources.iter().any(|resource| resource.name == plural),
            Err(_) => false,
        };
        if served {
            found.insert(kind);
        }
    }
    found
}

/// The state of one of our own definitions in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefinitionState {
    Ready,
    Missing,
    /// It is there, but the API server does not serve it yet.
    NotServed,
    /// Its schema is another one than this program's.
    Different,
}

/// The state of each of our definitions.
pub async fn definitions(client: &Client) -> Result<Vec<(Kind, DefinitionState)>, kube::Error> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut states = Vec::with_capacity(Kind::ALL.len());
    for kind in Kind::ALL {
        let wanted = kind.crd();
        let name = wanted.metadata.name.clone().unwrap_or_default();
        let state = match api.get_opt(&name).await? {
            None => DefinitionState::Missing,
            Some(found) if !is_served(&found) => DefinitionState::NotServed,
            Some(found) if schema_of(&found) != schema_of(&wanted) => DefinitionState::Different,
            Some(_) => DefinitionState::Ready,
        };
        states.push((kind, state));
    }
    Ok(states)
}

fn is_served(crd: &CustomResourceDefinition) -> bool {
    let conditions = crd.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Established" && one.status == "True"))
}

fn schema_of(crd: &CustomResourceDefinition) -> Option<serde_json::Value> {
    let version = crd.spec.versions.iter().find(|version| version.name == crate::api::VERSION)?;
    serde_json::to_value(&version.schema).ok()
}
