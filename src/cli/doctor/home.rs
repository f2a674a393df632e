//! Where the controller is installed, and with which settings: read from its Deployment, unless flags say otherwise.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Container;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

use super::Arguments;
use crate::cli::connection::Connection;
use crate::cli::error::CommandError;
use crate::cluster::Scope;
use crate::cluster::discovery::Release;
use crate::names::NamespaceName;

/// What the chart labels its Deployment with.
const LABEL: &str = "app.kubernetes.io/name=midship";
/// The label with the chart's own name and version, which no value changes.
const CHART: &str = "helm.sh/chart";
const NAMESPACE: &str = "midship-system";
const NAME: &str = "midship";

/// The controller as it is installed, or as it would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    pub namespace: String,
    pub lease: String,
    pub account: String,
    pub scope: Scope,
    /// Whether a Deployment says all this.
    pub installed: bool,
}

impl Home {
    /// The release of Helm that is meant.
    pub fn release(&self) -> Release {
        Release { name: self.lease.clone(), namespace: self.namespace.clone() }
    }

    /// Looks for the Deployment; what the flags say goes before what it says.
    pub async fn find(
        client: &Client,
        server: &str,
        connection: &Connection,
        arguments: &Arguments,
    ) -> Result<Self, CommandError> {
        let list = async |namespace: Option<&str>, labels: &str| {
            let api: Api<Deployment> = match namespace {
                Some(namespace) => Api::namespaced(client.clone(), namespace),
                None => Api::all(client.clone()),
            };
            let parameters = ListParams::default().labels(labels);
            connection.in_time(server, async { api.list(&parameters).await.map(|list| list.items) }).await
        };
        let named = arguments.installed_in.as_ref().map(NamespaceName::as_str);
        let mut found = match (named, list(named, LABEL).await) {
            // who may not look everywhere may look where it usually is
            (None, Err(_)) => list(Some(NAMESPACE), LABEL).await.unwrap_or_default(),
            (_, found) => found?,
        };
        if found.is_empty() {
            // installed with `nameOverride`
            found = list(named, CHART).await.unwrap_or_default();
            found.retain(is_of_chart);
        }
        choose(found.iter().filter_map(read).collect(), arguments)
    }

    /// What is assumed where nothing is installed.
    pub fn assumed(arguments: &Arguments) -> Self {
        let home = Self {
            namespace: NAMESPACE.to_owned(),
            lease: NAME.to_owned(),
            account: NAME.to_owned(),
            scope: Scope::Cluster,
            installed: false,
        };
        home.with(arguments)
    }

    fn with(mut self, arguments: &Arguments) -> Self {
        if let Some(namespace) = &arguments.installed_in {
            self.namespace = namespace.to_string();
        }
        if let Some(name) = &arguments.installed_as {
            self.lease = name.to_string();
            self.account = name.to_string();
        }
        if !arguments.namespaces.is_empty() {
            self.scope = Scope::from_namespaces(arguments.namespaces.clone());
        }
        self
    }
}

fn is_of_chart(deployment: &Deployment) -> bool {
    deployment.labels().get(CHART).is_some_and(|chart| chart.starts_with("midship-"))
}

/// The one that is meant of several.
fn choose(mut homes: Vec<Home>, arguments: &Arguments) -> Result<Home, CommandError> {
    if let Some(name) = &arguments.installed_as {
        homes.retain(|home| home.lease == name.as_str());
    }
    if homes.iter().any(|home| home.namespace == NAMESPACE) {
        homes.retain(|home| home.namespace == NAMESPACE);
    }
    match homes.as_slice() {
        [] => Ok(Home::assumed(arguments)),
        [home] => Ok(home.clone().with(arguments)),
        several => {
            let names: Vec<String> = several.iter().map(|home| format!("{}/{}", home.namespace, home.lease)).collect();
            Err(CommandError::new(format!("there are several controllers: {}", names.join(", ")))
                .remedy("say which one is meant with --installed-in and --installed-as"))
        }
    }
}

/// What a Deployment says of the controller in it.
fn read(deployment: &Deployment) -> Option<Home> {
    let pod = deployment.spec.as_ref()?.template.spec.as_ref()?;
    let runs = |container: &&Container| arguments(container).first().is_some_and(|first| first == "controller");
    let container = pod.containers.iter().find(runs)?;
    let namespaces = setting(container, "--namespaces", "MIDSHIP_NAMESPACES").unwrap_or_default();
    let namespaces = namespaces.split(',').filter_map(|name| NamespaceName::parse(name.trim()).ok()).collect();
    let own = deployment.namespace().unwrap_or_default();
    Some(Home {
        namespace: setting(container, "--lease-namespace", "POD_NAMESPACE").unwrap_or(own),
        lease: setting(container, "--lease-name", "MIDSHIP_LEASE_NAME").unwrap_or_else(|| NAME.to_owned()),
        account: pod.service_account_name.clone().unwrap_or_else(|| "default".to_owned()),
        scope: Scope::from_namespaces(namespaces),
        installed: true,
    })
}

fn arguments(container: &Container) -> &[String] {
    container.args.as_deref().unwrap_or_default()
}

/// A flag as `--flag=value` or `--flag value`, or else its variable where that is written out.
fn setting(container: &Container, flag: &str, variable: &str) -> Option<String> {
    let args = arguments(container);
    let given = args.iter().enumerate().find_map(|(at, arg)| match arg.strip_prefix(flag)? {
        "" => args.get(at + 1).cloned(),
        rest => rest.strip_prefix('=').map(ToOwned::to_owned),
    });
    let of_variable = || {
        let found = container.env.iter().flatten().find(|one| one.name == variable)?;
        found.value.clone()
    };
    given.or_else(of_variable).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::names::ObjectName;

    fn deployment(namespace: &str, args: &[&str]) -> Home {
        let deployment: Deployment = serde_json::from_value(json!({
            "metadata": { "namespace": namespace, "name": "ours" },
            "spec": { "selector": {}, "template": { "spec": {
                "serviceAccountName": "keeper",
                "containers": [
                    { "name": "beside", "args": ["proxy"] },
                    { "name": "midship", "args": args, "env": [
                        { "name": "POD_NAMESPACE", "valueFrom": { "fieldRef": { "fieldPath": "metadata.namespace" } } },
                        { "name": "MIDSHIP_LEASE_NAME", "value": "by-variable" }
                    ] }
                ]
            } } }
        }))
        .expect("a Deployment");
        read(&deployment).expect("a controller")
    }

    fn none() -> Arguments {
        Arguments { namespaces: Vec::new(), installed_in: None, installed_as: None }
    }

    #[test]
    fn the_deployment_says_how_the_controller_runs() {
        let home = deployment("ops", &["controller", "--namespaces=shop,team", "--lease-name", "mine"]);
        assert_eq!((home.namespace.as_str(), home.lease.as_str(), home.account.as_str()), ("ops", "mine", "keeper"));
        assert_eq!(home.scope.parts(), [Some("shop"), Some("team")]);
        let home = deployment("ops", &["controller"]);
        assert_eq!((home.lease.as_str(), home.scope), ("by-variable", Scope::Cluster));
    }

    #[test]
    fn flags_go_before_what_is_found() {
        let found = deployment("ops", &["controller", "--namespaces=shop", "--lease-name=mine"]);
        let arguments = Arguments { namespaces: vec![NamespaceName::parse("team").expect("a name")], ..none() };
        let home = choose(vec![found.clone()], &arguments).expect("one");
        assert_eq!((home.lease.as_str(), home.scope.parts()), ("mine", vec![Some("team")]));
        let other = Arguments { installed_as: Some(ObjectName::parse("other").expect("a name")), ..none() };
        assert!(!choose(vec![found], &other).expect("what is assumed").installed);
    }

    #[test]
    fn several_controllers_have_to_be_told_apart() {
        let (one, two) = (deployment("ops", &["controller"]), deployment("team", &["controller"]));
        let told = choose(vec![one.clone(), two.clone()], &none()).expect_err("two");
        assert!(told.what.contains("ops/by-variable, team/by-variable"), "{}", told.what);
        let usual = deployment(NAMESPACE, &["controller"]);
        assert_eq!(choose(vec![one, usual.clone(), two], &none()).expect("the usual one"), usual);
    }
}
