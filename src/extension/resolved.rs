//! An instance with everything decided: what the spec leaves out is filled from package, environment and repository.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::naming;
use crate::api::component::AllowedReplicas;
use crate::api::instance::{
    self, ClientCertificates, ConfigFile, EnvVar, Failover, Logs, Monitoring, Network, ProcessOptions, ServiceOptions,
    Tls, UpdateOptions,
};
use crate::api::values::{DeletionPolicy, ExtraMetadata, KeyRef, LocalRef, PullPolicy, Resources, Scheduling, Storage};
use crate::names::{
    ComponentName, EnvironmentName, ExtensionType, ExtensionVersion, GroupName, InstanceName, MiddlewareVersion,
    NamespaceName, ObjectName, Ordinal, ParameterName, TopologyName,
};

/// An instance with everything decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    pub name: InstanceName,
    pub namespace: NamespaceName,
    pub type_: ExtensionType,
    pub extension_version: ExtensionVersion,
    pub extension_digest: String,
    pub version: MiddlewareVersion,
    pub topology: TopologyName,
    pub environment: Option<EnvironmentName>,
    pub stopped: bool,
    pub deletion_policy: DeletionPolicy,
    /// Those that run in the topology, in the order of their names.
    pub components: Vec<ResolvedComponent>,
    /// TLS, where it is on.
    pub tls: Option<Tls>,
    pub monitoring: Monitoring,
    pub network: Network,
    pub failover: Failover,
    /// The restore without which its first pods do not start; none once it is done.
    pub restore: Option<String>,
    /// Whether what the package does once for a new instance was done: from then on a pod without data has lost it.
    pub created: bool,
    pub backup_policy: Option<ObjectName>,
    /// Whether a policy collects its log.
    pub log_collected: bool,
    /// The user's own Secret with the administrator's name and password.
    pub credentials: Option<ObjectName>,
    pub image_pull_secrets: Vec<LocalRef>,
    /// What works, but should not stay so.
    pub warnings: Vec<String>,
}

/// A component with everything decided.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedComponent {
    pub name: ComponentName,
    pub image: String,
    pub pull_policy: Option<PullPolicy>,
    /// The instance leaves the number of pods to `kubectl scale` and autoscalers.
    pub free_replicas: bool,
    /// The numbers of pods the topology allows.
    pub allowed_replicas: AllowedReplicas,
    /// Whether users may add and remove groups.
    pub dynamic_groups: bool,
    pub groups: Vec<ResolvedGroup>,
    pub ports: BTreeMap<String, ResolvedPort>,
    pub service: ServiceOptions,
    pub pod_metadata: ExtraMetadata,
    pub service_account: Option<ObjectName>,
    pub env: Vec<EnvVar>,
    pub process: ProcessOptions,
    pub update: UpdateOptions,
    pub logs: Logs,
    pub config_files: BTreeMap<String, ConfigFile>,
    pub secret_parameters: BTreeMap<ParameterName, KeyRef>,
}

/// A port that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResolvedPort {
    pub port: u16,
    pub udp: bool,
    pub internal: bool,
}

/// A group of pods with everything decided.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedGroup {
    pub name: GroupName,
    pub replicas: u16,
    pub offline: Vec<Ordinal>,
    pub resources: Resources,
    /// Lasting volumes.
    pub storage: BTreeMap<String, Storage>,
    pub parameters: BTreeMap<String, Value>,
    /// Where each parameter is set that has more than its package's default.
    pub said: BTreeMap<String, String>,
    pub scheduling: Scheduling,
}

impl Resolved {
    pub fn component(&self, name: &str) -> Option<&ResolvedComponent> {
        self.components.iter().find(|component| component.name.as_str() == name)
    }

    /// Every pod that is to run, in order.
    pub fn pods(&self) -> Vec<String> {
        let mut pods = Vec::new();
        for component in &self.components {
            for group in &component.groups {
                pods.extend(group.ordinals().into_iter().map(|ordinal| {
                    naming::pod(self.name.as_str(), component.name.as_str(), group.name.as_str(), ordinal)
                }));
            }
        }
        pods
    }

    pub fn client_certificates(&self) -> ClientCertificates {
        self.tls.as_ref().and_then(|tls| tls.client_certificates).unwrap_or(ClientCertificates::None)
    }

    /// What was in force before, as far as it limits what may follow: topology, volumes and parameters as `status.resolved`
    /// tells them. Nothing where it tells nothing.
    pub fn as_it_was(&self, status: &instance::Resolved) -> Option<Self> {
        let topology = TopologyName::parse(status.topology.as_deref()?).ok()?;
        let told = status.components.as_ref()?.open();
        let mut before = Self { topology, ..self.clone() };
        before.components.retain_mut(|component| {
            let Some(groups) = told[component.name.as_str()]["groups"].as_array() else { return false };
            component.groups.retain_mut(|group| {
                let Some(was) = groups.iter().find(|was| was["name"] == group.name.as_str()) else { return false };
                let read = |field: &str| was.get(field).cloned().unwrap_or_else(|| json!({}));
                group.storage = serde_json::from_value(read("storage")).unwrap_or_default();
                group.parameters = serde_json::from_value(read("parameters")).unwrap_or_default();
                true
            });
            true
        });
        Some(before)
    }

    /// What `status.resolved` shows.
    pub fn status(&self) -> instance::Resolved {
        let components: serde_json::Map<String, Value> = self
            .components
            .iter()
            .map(|component| {
                let groups: Vec<Value> = component
                    .groups
                    .iter()
                    .map(|group| {
                        json!({
                            "name": group.name,
                            "replicas": group.replicas,
                            "offline": group.offline,
                            "resources": group.resources,
                            "storage": group.storage,
                            "parameters": group.parameters,
                        })
                    })
                    .collect();
                (component.name.to_string(), json!({ "image": component.image, "groups": groups }))
            })
            .collect();
        instance::Resolved {
            topology: Some(self.topology.to_string()),
            environment: self.environment.as_ref().map(ToString::to_string),
            extension_digest: Some(self.extension_digest.clone()),
            version: Some(self.version.to_string()),
            extension_version: Some(self.extension_version.to_string()),
            target: None,
            backup_policy: self.backup_policy.clone(),
            components: Some(Value::Object(components).into()),
        }
    }
}

impl ResolvedGroup {
    pub fn ordinals(&self) -> Vec<u16> {
        naming::ordinals(self.replicas, &self.offline)
    }
}

impl ResolvedComponent {
    pub fn group(&self, name: &str) -> Option<&ResolvedGroup> {
        self.groups.iter().find(|group| group.name.as_str() == name)
    }

    /// Where clients connect: the port called `client`, or the first that is not internal.
    pub fn client_port(&self) -> Option<(&str, ResolvedPort)> {
        self.ports
            .get_key_value("client")
            .or_else(|| self.ports.iter().find(|(_, port)| !port.internal))
            .or_else(|| self.ports.iter().next())
            .map(|(name, port)| (name.as_str(), *port))
    }
}
