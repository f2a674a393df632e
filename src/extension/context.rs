//! What templates and expressions can read. `docs/extensions.md` lists it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::contract::component::ConfigFile;
use super::contract::{Component, Manifest};
use super::naming;
use super::package::Package;
use super::placeholders;
use super::resolved::{Resolved, ResolvedComponent, ResolvedGroup};
use crate::api::instance::ClientCertificates;
use crate::api::values::Resources;

/// The port agents serve.
pub const AGENT_PORT: u16 = 7440;
/// The port on which agents tell the kubelet whether the process is ready, and nothing else.
pub const READY_PORT: u16 = 7441;

/// What steps read of an instance that was created; without it they read that it was not.
pub const CREATED: &str = "created";

/// Where things lie in a pod.
pub mod paths {
    pub const BIN: &str = "/midship/bin";
    pub const CONFIG: &str = "/midship/config";
    pub const FILES: &str = "/midship/files";
    pub const SECRETS: &str = "/midship/secrets";
    pub const SCRIPTS: &str = "/midship/scripts";
    pub const TLS: &str = "/midship/tls";
    pub const RUN: &str = "/midship/run";
    /// Where log files lie.
    pub const LOGS: &str = "/midship/logs";
    /// The agent's own certificate; in its container alone.
    pub const AGENT_TLS: &str = "/midship/agent-tls";
    /// Where steps may read and write files, besides the volumes of the component.
    pub const FOR_STEPS: [&str; 8] = ["/tmp", FILES, RUN, CONFIG, SCRIPTS, SECRETS, TLS, LOGS];
    /// Where neither a volume nor a file of a package is: the agent's key and account, and what the kernel shows of it.
    pub const PRIVATE: [&str; 5] = [AGENT_TLS, "/var/run/secrets", "/run/secrets", "/proc", "/sys"];
}

/// The context of one group's pods.
pub fn group(package: &Package, resolved: &Resolved, component: &ResolvedComponent, group: &ResolvedGroup) -> Value {
    let mut context = instance(package, resolved);
    let declared = package.component(component.name.as_str());
    context.insert("component".to_owned(), json!(component.name));
    let index = component.groups.iter().position(|other| other.name == group.name).unwrap_or(0);
    context.insert("group".to_owned(), json!({ "name": group.name, "index": index, "replicas": group.replicas }));
    context.insert("replicas".to_owned(), json!(group.replicas));
    context.insert("params".to_owned(), json!(group.parameters));
    context.insert("resources".to_owned(), resources(&group.resources));
    context.insert("storage".to_owned(), storage(group));
    let ports: Map<String, Value> =
        component.ports.iter().map(|(name, port)| (name.clone(), json!(port.port))).collect();
    context.insert("ports".to_owned(), Value::Object(ports));
    context.insert("files".to_owned(), json!(declared.map(files).unwrap_or_default()));
    Value::Object(context)
}

/// The part of the context that is the same for every group.
pub fn instance(package: &Package, resolved: &Resolved) -> Map<String, Value> {
    let manifest = &package.manifest;
    let version = manifest.version(resolved.version.as_str());
    let mut context = Map::new();
    let mut put = |name: &str, value: Value| context.insert(name.to_owned(), value);
    put("instance", json!(resolved.name));
    put("namespace", json!(resolved.namespace));
    put("type", json!(resolved.type_));
    put("version", json!(resolved.version));
    put("extension_version", json!(resolved.extension_version));
    put("topology", json!(resolved.topology));
    put("environment", json!(resolved.environment.as_ref().map_or("", |name| name.as_str())));
    put("images", json!(version.map(|version| &version.images)));
    put("values", json!(version.map(|version| &version.values)));
    put("components", components(resolved));
    put("tls", tls(resolved));
    put(
        "username",
        json!(if manifest.credentials.is_some() { placeholders::secret("username") } else { String::new() }),
    );
    put("secret", secrets(manifest, resolved));
    put("pod", placeholders::pod());
    put(
        "paths",
        json!({ "config": paths::FILES, "secrets": paths::SECRETS, "scripts": paths::SCRIPTS,
        "tls": paths::TLS, "run": paths::RUN }),
    );
    put(
        "failover",
        json!({
            "synchronous": resolved.failover.synchronous.unwrap_or(0),
            "automatic": resolved.failover.mode != Some(crate::api::instance::FailoverMode::Manual),
            "timeout": resolved.failover.timeout.map(|timeout| timeout.to_string()).unwrap_or_default(),
        }),
    );
    put(
        "monitoring",
        json!({
            "exporter": resolved.monitoring.exporter.unwrap_or(false),
            "alerts": resolved.monitoring.alerts.unwrap_or(false),
        }),
    );
    put("backup", json!({ "logs": resolved.log_collected }));
    put("network", json!({ "policy": resolved.network.policy.unwrap_or(false) }));
    context
}

fn components(resolved: &Resolved) -> Value {
    let list = resolved.components.iter().map(|component| {
        let mut all = Vec::new();
        let mut groups = Vec::new();
        for group in &component.groups {
            let pods: Vec<Value> = group
                .ordinals()
                .into_iter()
                .map(|ordinal| {
                    let (instance, name, group) =
                        (resolved.name.as_str(), component.name.as_str(), group.name.as_str());
                    json!({
                        "name": naming::pod(instance, name, group, ordinal),
                        "host": naming::host(instance, name, group, ordinal, resolved.namespace.as_str()),
                        "ordinal": ordinal,
                        "group": group,
                    })
                })
                .collect();
            all.extend(pods.clone());
            groups.push(json!({ "name": group.name, "replicas": group.replicas, "pods": pods }));
        }
        let ports: BTreeMap<&String, u16> = component.ports.iter().map(|(name, port)| (name, port.port)).collect();
        let headless = naming::headless(resolved.name.as_str(), component.name.as_str());
        let value = json!({
            "name": component.name,
            "pods": all,
            "groups": groups,
            "ports": ports,
            "service": format!("{headless}.{}.svc", resolved.namespace),
        });
        (component.name.to_string(), value)
    });
    Value::Object(list.collect())
}

fn tls(resolved: &Resolved) -> Value {
    let clients = match resolved.client_certificates() {
        ClientCertificates::None => "none",
        ClientCertificates::Optional => "optional",
        ClientCertificates::Required => "required",
    };
    json!({
        "enabled": resolved.tls.is_some(),
        "directory": paths::TLS,
        "cert": format!("{}/tls.crt", paths::TLS),
        "key": format!("{}/tls.key", paths::TLS),
        "ca": format!("{}/ca.crt", paths::TLS),
        "client_certificates": clients,
    })
}

/// The names of an instance's secrets: keys of `<instance>-credentials`.
pub fn secret_names(manifest: &Manifest, resolved: &Resolved) -> Vec<String> {
    let login = manifest.credentials.iter().flat_map(|_| ["username", "password"]).map(str::to_owned);
    let own = manifest.secrets.keys().cloned();
    let parameters = resolved.components.iter().flat_map(|component| {
        component.secret_parameters.keys().map(move |name| parameter_secret(component.name.as_str(), name.as_str()))
    });
    login.chain(own).chain(parameters).collect()
}

/// The key of a secret parameter. A slash is no part of a Secret's key.
pub fn parameter_secret(component: &str, parameter: &str) -> String {
    format!("parameter.{component}.{}", parameter.replace('/', "_"))
}

fn secrets(manifest: &Manifest, resolved: &Resolved) -> Value {
    let names = secret_names(manifest, resolved);
    Value::Object(names.into_iter().map(|name| (name.clone(), json!(placeholders::secret(&name)))).collect())
}

fn resources(resources: &Resources) -> Value {
    let of = |list: &Option<BTreeMap<String, crate::api::values::Quantity>>, key: &str| {
        list.as_ref().and_then(|list| list.get(key)).map(crate::api::values::Quantity::number)
    };
    let memory_request = of(&resources.requests, "memory");
    let memory_limit = of(&resources.limits, "memory");
    let cpu_request = of(&resources.requests, "cpu");
    let cpu_limit = of(&resources.limits, "cpu");
    json!({
        "cpu": cpu_limit.or(cpu_request).unwrap_or(1.0),
        "memory": whole(memory_limit.or(memory_request).unwrap_or(256.0 * 1024.0 * 1024.0)),
        "cpu_request": cpu_request.unwrap_or(0.0),
        "cpu_limit": cpu_limit.unwrap_or(0.0),
        "memory_request": whole(memory_request.unwrap_or(0.0)),
        "memory_limit": whole(memory_limit.unwrap_or(0.0)),
    })
}

#[allow(clippy::cast_possible_truncation)] // quantities are far below
fn whole(number: f64) -> i64 {
    number as i64
}

fn storage(group: &ResolvedGroup) -> Value {
    let volumes =
        group.storage.iter().map(|(name, volume)| (name.clone(), json!({ "size": whole(volume.size.number()) })));
    Value::Object(volumes.collect())
}

/// The path of each configuration file.
pub fn files(component: &Component) -> BTreeMap<String, String> {
    component.config.iter().map(|(name, config)| (name.clone(), file_path(name, config))).collect()
}

pub fn file_path(name: &str, config: &ConfigFile) -> String {
    config.path.clone().unwrap_or_else(|| format!("{}/{name}", paths::FILES))
}
