//! Services, disruption budgets and network policies.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Known;
use super::{Rendered, Renderer, naming, object_metadata, selector};
use crate::api::instance::{ServiceType, TrafficPolicy};
use crate::extension::context;
use crate::extension::context::AGENT_PORT;
use crate::extension::contract::Component as Declared;
use crate::extension::contract::Service;
use crate::extension::resolved::{Resolved, ResolvedComponent, ResolvedPort};

impl Renderer<'_> {
    pub(super) fn services(&mut self, component: &ResolvedComponent, declared: &Declared, rendered: &mut Rendered) {
        let resolved = self.resolved;
        let name = component.name.as_str();
        let mut ports: Vec<Value> = component.ports.iter().map(|(name, port)| service_port(name, *port)).collect();
        ports.push(json!({ "name": "midship", "port": AGENT_PORT, "targetPort": "midship", "protocol": "TCP" }));
        rendered.services.push(json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": object_metadata(resolved, &naming::headless(resolved.name.as_str(), name), Some(name)),
            "spec": {
                "clusterIP": "None",
                "publishNotReadyAddresses": true,
                "selector": selector(resolved, Some(name), None, None),
                "ports": ports,
            },
        }));
        let Some(group) = component.groups.first() else { return };
        let data = context::group(self.package, resolved, component, group);
        let known = Known::new(&data);
        for (service_name, service) in self.declared_services(component, declared) {
            let field = format!("components.{name}.services.{service_name}.when");
            if !self.holds(&field, service.when.as_deref(), &known) {
                continue;
            }
            let ports: Vec<Value> = component
                .ports
                .iter()
                .filter(
                    |(name, port)| {
                        if service.ports.is_empty() { !port.internal } else { service.ports.contains(name) }
                    },
                )
                .map(|(name, port)| service_port(name, *port))
                .collect();
            if ports.is_empty() {
                continue;
            }
            let role = service.role.as_ref().map(AsRef::as_ref);
            if service.per_pod {
                for group in &component.groups {
                    for ordinal in group.ordinals() {
                        let pod = naming::pod(resolved.name.as_str(), name, group.name.as_str(), ordinal);
                        let mut chosen = selector(resolved, Some(name), Some(group.name.as_str()), role);
                        chosen[crate::api::labels::ORDINAL] = json!(ordinal.to_string());
                        rendered.services.push(client_service(resolved, component, &pod, &chosen, &ports));
                    }
                }
            } else {
                let chosen = selector(resolved, Some(name), None, role);
                let name = naming::service(resolved.name.as_str(), &service_name);
                rendered.services.push(client_service(resolved, component, &name, &chosen, &ports));
            }
        }
    }

    /// What the package says; else one Service for the instance and one per role.
    fn declared_services(&self, component: &ResolvedComponent, declared: &Declared) -> BTreeMap<String, Service> {
        if let Some(services) = &declared.services {
            return services.clone();
        }
        let is_main = self.package.main_component() == Some(&component.name);
        let exclusive = declared.roles.iter().find(|role| role.exclusive).map(|role| role.name.clone());
        let first = if is_main { naming::MAIN_SERVICE.to_owned() } else { component.name.to_string() };
        let mut services = BTreeMap::from([(first, Service { role: exclusive, ..Service::default() })]);
        if is_main {
            for role in declared.roles.iter().filter(|role| !role.exclusive) {
                let service = Service { role: Some(role.name.clone()), ..Service::default() };
                services.insert(role.name.to_string(), service);
            }
        }
        services
    }

    pub(super) fn disruption_budgets(&mut self, component: &ResolvedComponent, rendered: &mut Rendered) {
        let resolved = self.resolved;
        let allowed = component.update.disruption_budget.as_deref().unwrap_or("1");
        if allowed == "100%" {
            return;
        }
        for group in component.groups.iter().filter(|group| group.replicas > 1) {
            let name = component.name.as_str();
            let pod_set = naming::pod_set(resolved.name.as_str(), name, group.name.as_str());
            // the other way round, and as a number: for `maxUnavailable` and percentages Kubernetes asks whoever owns the pods
            // how many there should be, which it can do for its own kinds alone
            let stay = group.replicas.saturating_sub(at_once(allowed, group.replicas));
            rendered.disruption_budgets.push(json!({
                "apiVersion": "policy/v1",
                "kind": "PodDisruptionBudget",
                "metadata": object_metadata(resolved, &pod_set, Some(name)),
                "spec": {
                    "minAvailable": stay,
                    "selector": { "matchLabels": selector(resolved, Some(name), Some(group.name.as_str()), None) },
                },
            }));
        }
    }

    pub(super) fn network(&mut self, rendered: &mut Rendered) {
        let resolved = self.resolved;
        if resolved.network.policy != Some(true) {
            return;
        }
        for component in &resolved.components {
            let mut ingress =
                vec![json!({ "from": [{ "podSelector": { "matchLabels": selector(resolved, None, None, None) } }] })];
            if let Some(namespace) = &self.inputs.controller_namespace {
                ingress.push(json!({
                    "from": [{ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace } } }],
                    "ports": [{ "port": AGENT_PORT, "protocol": "TCP" }],
                }));
            }
            let ports: Vec<Value> = component
                .ports
                .values()
                .filter(|port| !port.internal)
                .map(|port| json!({ "port": port.port, "protocol": protocol(*port) }))
                .collect();
            let peers = resolved.network.allow_from.clone().unwrap_or_default();
            if !peers.is_empty() && !ports.is_empty() {
                ingress.push(json!({ "from": peers, "ports": ports }));
            }
            let name = component.name.as_str();
            rendered.network_policies.push(json!({
                "apiVersion": "networking.k8s.io/v1",
                "kind": "NetworkPolicy",
                "metadata": object_metadata(resolved, &naming::component(resolved.name.as_str(), name), Some(name)),
                "spec": {
                    "podSelector": { "matchLabels": selector(resolved, Some(name), None, None) },
                    "policyTypes": ["Ingress"],
                    "ingress": ingress,
                },
            }));
        }
    }
}

fn client_service(
    resolved: &Resolved,
    component: &ResolvedComponent,
    name: &str,
    chosen: &Value,
    ports: &[Value],
) -> Value {
    let options = &component.service;
    let kind = match options.type_ {
        None | Some(ServiceType::ClusterIp) => "ClusterIP",
        Some(ServiceType::NodePort) => "NodePort",
        Some(ServiceType::LoadBalancer) => "LoadBalancer",
    };
    let mut metadata = object_metadata(resolved, name, Some(component.name.as_str()));
    if let Some(extra) = &options.metadata {
        // as on pods, those by which it is known stay
        let known = metadata["labels"].clone();
        for (label, value) in extra.labels.iter().flatten().filter(|(label, _)| known.get(label.as_str()).is_none()) {
            metadata["labels"][label] = json!(value);
        }
        if let Some(annotations) = &extra.annotations {
            metadata["annotations"] = json!(annotations);
        }
    }
    let mut spec = json!({ "type": kind, "selector": chosen, "ports": ports });
    if let Some(class) = &options.load_balancer_class {
        spec["loadBalancerClass"] = json!(class);
    }
    if let Some(ranges) = &options.load_balancer_source_ranges {
        spec["loadBalancerSourceRanges"] = json!(ranges);
    }
    // only Services that are reachable from outside have it
    if let (Some(policy), "NodePort" | "LoadBalancer") = (options.external_traffic_policy, kind) {
        let policy = match policy {
            TrafficPolicy::Cluster => "Cluster",
            TrafficPolicy::Local => "Local",
        };
        spec["externalTrafficPolicy"] = json!(policy);
    }
    json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec })
}

fn service_port(name: &str, port: ResolvedPort) -> Value {
    json!({ "name": name, "port": port.port, "targetPort": name, "protocol": protocol(port) })
}

fn protocol(port: ResolvedPort) -> &'static str {
    if port.udp { "UDP" } else { "TCP" }
}

/// How many of these pods may be away at once, by a number or a percentage, which rounds up as Kubernetes does.
fn at_once(allowed: &str, replicas: u16) -> u16 {
    match allowed.strip_suffix('%').map(str::parse::<u32>) {
        Some(Ok(percent)) => u16::try_from((u32::from(replicas) * percent.min(100)).div_ceil(100)).unwrap_or(replicas),
        _ => allowed.parse().unwrap_or(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_a_number_or_a_share_that_rounds_up() {
        assert_eq!([at_once("1", 3), at_once("34%", 3), at_once("10%", 3), at_once("50%", 5)], [1, 2, 1, 3]);
        assert_eq!([at_once("0", 3), at_once("200%", 3), at_once("9", 3)], [0, 3, 9]);
    }
}
