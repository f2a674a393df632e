//! Which definitions and optional kinds a cluster has. What is missing is reported, never fatal. What nobody could tell is
//! not missing.

use std::collections::BTreeMap;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList;
use kube::{Api, Client, ResourceExt};

use super::problem::Problem;
use super::scope::Scope;
use crate::api::Kind;

/// Kinds of others that Midship uses where they are installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OptionalKind {
    PodMonitor,
    PrometheusRule,
    Certificate,
}

impl OptionalKind {
    pub const ALL: [Self; 3] = [Self::PodMonitor, Self::PrometheusRule, Self::Certificate];

    /// The API group and version, and the plural it serves.
    pub fn address(self) -> (&'static str, &'static str) {
        match self {
            Self::PodMonitor => ("monitoring.coreos.com/v1", "podmonitors"),
            Self::PrometheusRule => ("monitoring.coreos.com/v1", "prometheusrules"),
            Self::Certificate => ("cert-manager.io/v1", "certificates"),
        }
    }

    /// What is missing without it.
    pub fn use_of_it(self) -> &'static str {
        match self {
            Self::PodMonitor => "metrics of instances are offered by annotation only",
            Self::PrometheusRule => "no alert rules are made",
            Self::Certificate => "tls.certManager cannot be used",
        }
    }
}

/// Whether each optional kind is there now, or why nobody can tell.
pub type Answers = BTreeMap<OptionalKind, Result<bool, Problem>>;

/// Asks for every optional kind.
pub async fn optional_kinds(client: &Client) -> Answers {
    let questions = OptionalKind::ALL.map(|kind| async move {
        let (group_version, plural) = kind.address();
        (kind, is_listed(client.list_api_group_resources(group_version).await, plural))
    });
    join_all(questions).await.into_iter().collect()
}

/// Only an answer that says so means that a kind is absent.
fn is_listed(answer: Result<APIResourceList, kube::Error>, plural: &str) -> Result<bool, Problem> {
    match answer {
        Ok(list) => Ok(list.resources.iter().any(|resource| resource.name == plural)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(Problem::from_kube(&error)),
    }
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

/// One of our own definitions, as it is in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    pub kind: Kind,
    pub state: DefinitionState,
    /// The release of Helm it came with.
    pub release: Option<Release>,
}

/// A release of Helm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    pub name: String,
    pub namespace: String,
}

impl Release {
    fn of(crd: &CustomResourceDefinition) -> Option<Self> {
        let helm = crd.labels().get("app.kubernetes.io/managed-by").is_some_and(|by| by == "Helm");
        let said = |name: &str| crd.annotations().get(&format!("meta.helm.sh/{name}")).cloned();
        helm.then_some(())?;
        Some(Self { name: said("release-name")?, namespace: said("release-namespace")? })
    }

    /// Installs or upgrades it, and keeps the values it had; definitions that came by other ways are taken over.
    pub fn install(&self) -> String {
        let Self { name, namespace } = self;
        format!("helm upgrade --install {name} charts/midship -n {namespace} --create-namespace --take-ownership")
    }
}

/// What brings the definitions to this version, on the way they came; with Helm where nothing is there yet and `fresh` is
/// to be installed.
pub fn remedy(definitions: &[Definition], fresh: Option<&Release>) -> String {
    let nothing = definitions.iter().all(|one| one.state == DefinitionState::Missing);
    let release = definitions.iter().find_map(|one| one.release.as_ref()).or(fresh.filter(|_| nothing));
    let by_hand = || "midship crds | kubectl apply --server-side --force-conflicts -f -".to_owned();
    release.map_or_else(by_hand, Release::install)
}

/// The named namespaces that are not there, as far as this account may know.
pub async fn missing_namespaces(client: &Client, scope: &Scope) -> Result<Vec<String>, kube::Error> {
    let api: Api<Namespace> = Api::all(client.clone());
    let mut missing = Vec::new();
    for name in scope.parts().into_iter().flatten() {
        match api.get_opt(name).await {
            Ok(Some(_)) => {}
            Ok(None) => missing.push(name.to_owned()),
            Err(kube::Error::Api(status)) if status.code == 403 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(missing)
}

/// The state of each of our definitions.
pub async fn definitions(client: &Client) -> Result<Vec<Definition>, kube::Error> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut all = Vec::with_capacity(Kind::ALL.len());
    for kind in Kind::ALL {
        let wanted = kind.crd();
        let name = wanted.metadata.name.clone().unwrap_or_default();
        let found = api.get_opt(&name).await?;
        let release = found.as_ref().and_then(Release::of);
        let state = match found {
            None => DefinitionState::Missing,
            Some(found) if !is_served(&found) => DefinitionState::NotServed,
            Some(found) if schema_of(&found) != schema_of(&wanted) => DefinitionState::Different,
            Some(_) => DefinitionState::Ready,
        };
        all.push(Definition { kind, state, release });
    }
    Ok(all)
}

fn is_served(crd: &CustomResourceDefinition) -> bool {
    let conditions = crd.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Established" && one.status == "True"))
}

fn schema_of(crd: &CustomResourceDefinition) -> Option<serde_json::Value> {
    let version = crd.spec.versions.iter().find(|version| version.name == crate::api::VERSION)?;
    serde_json::to_value(&version.schema).ok()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResource;
    use serde_json::json;

    use super::*;

    fn definition(state: DefinitionState, release: Option<Release>) -> Definition {
        Definition { kind: Kind::Instance, state, release }
    }

    #[test]
    fn definitions_are_mended_on_the_way_they_came() {
        let ours = Release { name: "ours".into(), namespace: "ops".into() };
        let missing = [definition(DefinitionState::Missing, None)];
        let helm = "helm upgrade --install ours charts/midship -n ops --create-namespace --take-ownership";
        let by_hand = "midship crds | kubectl apply --server-side --force-conflicts -f -";
        assert_eq!(remedy(&missing, Some(&ours)), helm);
        assert_eq!(remedy(&missing, None), by_hand, "a controller is there, and no release brought definitions");
        let older = [definition(DefinitionState::Different, None), missing[0].clone()];
        assert_eq!(remedy(&older, Some(&ours)), by_hand);
        let of_helm = [missing[0].clone(), definition(DefinitionState::Different, Some(ours))];
        assert_eq!(remedy(&of_helm, None), helm);
    }

    #[test]
    fn only_an_answer_makes_a_kind_absent() {
        let list = |name: &str| APIResourceList {
            resources: vec![APIResource { name: name.into(), ..APIResource::default() }],
            ..APIResourceList::default()
        };
        let refused = |code: u16| {
            let status = kube::core::Status { code, message: "by the test".into(), ..kube::core::Status::default() };
            Err(kube::Error::Api(Box::new(status)))
        };
        let asked = |answer| is_listed(answer, "podmonitors");
        assert_eq!(asked(Ok(list("podmonitors"))), Ok(true));
        assert_eq!(asked(Ok(list("prometheusrules"))), Ok(false), "the group is there without the kind");
        assert_eq!(asked(refused(404)), Ok(false));
        for code in [401, 403, 429, 500, 503] {
            assert!(asked(refused(code)).is_err(), "{code}");
        }
        assert!(asked(Err(kube::Error::LinesCodecMaxLineLengthExceeded)).is_err());
    }

    #[test]
    fn a_definition_says_which_release_it_came_with() {
        let mut crd = Kind::Instance.crd();
        assert_eq!(Release::of(&crd), None);
        crd.metadata = serde_json::from_value(json!({
            "labels": { "app.kubernetes.io/managed-by": "Helm" },
            "annotations": { "meta.helm.sh/release-name": "ours", "meta.helm.sh/release-namespace": "ops" }
        }))
        .expect("metadata");
        assert_eq!(Release::of(&crd), Some(Release { name: "ours".into(), namespace: "ops".into() }));
    }
}
