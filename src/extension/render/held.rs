//! What objects that a package adds may say: they serve the instance, and reach nothing of anybody else's.

use serde_json::{Value, json};

use super::patch::list;
use super::reach;
use crate::api::labels;
use crate::extension::naming;
use crate::extension::problem::listed;
use crate::extension::resolved::Resolved;

/// Fields of a Service that draw traffic of others.
const DRAWS: [&str; 3] = ["externalIPs", "externalName", "loadBalancerIP"];
/// Files of whoever scrapes, which would be handed to what is scraped.
const SCRAPERS: [&str; 3] = ["bearerTokenFile", "certFile", "keyFile"];

/// Holds an object to its instance, or says which field would reach further.
pub fn hold(kind: &str, object: &mut Value, resolved: &Resolved) -> Result<(), String> {
    if kind == "ConfigMap" {
        return Ok(());
    }
    let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) else {
        return Err("it has no spec".to_owned());
    };
    match kind {
        "Service" => service(spec, resolved),
        "NetworkPolicy" => select(spec, "podSelector", resolved),
        "PodMonitor" | "ServiceMonitor" => monitor(spec, resolved),
        "Certificate" => certificate(spec, resolved),
        "HorizontalPodAutoscaler" => scales(spec, "scaleTargetRef", resolved),
        "VerticalPodAutoscaler" => scales(spec, "targetRef", resolved),
        "Job" => job(spec),
        "CronJob" => job(&spec["jobTemplate"]["spec"]),
        "Ingress" | "HTTPRoute" | "GRPCRoute" | "TCPRoute" | "TLSRoute" => {
            within(spec, &|field, value| leads_elsewhere(field, value, resolved)).map_or(Ok(()), Err)
        }
        _ => Ok(()),
    }
}

fn service(spec: &mut Value, resolved: &Resolved) -> Result<(), String> {
    if let Some(field) = DRAWS.into_iter().find(|field| !spec[*field].is_null()) {
        return Err(format!("spec.{field} would draw traffic that is not the instance's; leave it out"));
    }
    if spec["type"] == "ExternalName" {
        return Err("spec.type ExternalName leads elsewhere than to pods of the instance; choose these".to_owned());
    }
    // without a selector it leads nowhere
    if spec["selector"].is_null() || spec["selector"].as_object().is_some_and(serde_json::Map::is_empty) {
        return Ok(());
    }
    choose(&mut spec["selector"], "spec.selector", resolved)
}

/// Only what is the instance's is chosen.
fn choose(chosen: &mut Value, field: &str, resolved: &Resolved) -> Result<(), String> {
    if chosen.is_null() {
        *chosen = json!({});
    }
    let Some(chosen) = chosen.as_object_mut() else { return Err(format!("{field} is no object")) };
    let own = Value::from(resolved.name.as_str());
    match chosen.insert(labels::INSTANCE.to_owned(), own.clone()) {
        Some(other) if other != own => {
            Err(format!("{field} chooses what is of instance {other}; a package chooses what is of its own"))
        }
        _ => Ok(()),
    }
}

fn select(spec: &mut Value, field: &str, resolved: &Resolved) -> Result<(), String> {
    let selector = &mut spec[field];
    if selector.is_null() {
        *selector = json!({});
    }
    if !selector.is_object() {
        return Err(format!("spec.{field} is no object"));
    }
    choose(&mut selector["matchLabels"], &format!("spec.{field}.matchLabels"), resolved)
}

fn monitor(spec: &mut Value, resolved: &Resolved) -> Result<(), String> {
    let namespaces = &spec["namespaceSelector"];
    if !namespaces.is_null() && *namespaces != json!({ "matchNames": [resolved.namespace] }) {
        return Err("spec.namespaceSelector would look into other namespaces; leave it out".to_owned());
    }
    let file = within(spec, &|field, _| SCRAPERS.contains(&field).then(|| field.to_owned()));
    if let Some(field) = file {
        let name = &resolved.name;
        return Err(format!("{field} would hand out what is Prometheus's own; name a Secret called {name}-… instead"));
    }
    secrets(spec, resolved)?;
    select(spec, "selector", resolved)
}

/// Secrets are referred to by name and key.
fn secrets(spec: &Value, resolved: &Resolved) -> Result<(), String> {
    let refused = |field: &str, value: &Value| {
        let name = value["name"].as_str().filter(|_| field != "configMap" && value["key"].is_string())?;
        reach::secret(resolved, name).map(|reason| format!("{field}: {reason}"))
    };
    within(spec, &refused).map_or(Ok(()), Err)
}

fn certificate(spec: &Value, resolved: &Resolved) -> Result<(), String> {
    let name = spec["secretName"].as_str().unwrap_or_default();
    if !reach::free(resolved, name) {
        return Err(format!(
            "spec.secretName \"{}\" may be somebody else's; call it {}-…, with another end than {}",
            name.escape_default(),
            resolved.name,
            reach::made()
        ));
    }
    if spec["isCA"] == true {
        return Err("spec.isCA would let the instance sign for others; leave it out".to_owned());
    }
    let names = list(spec, "dnsNames").iter().filter_map(Value::as_str);
    if let Some(name) = names.into_iter().find(|name| is_anothers(name, resolved)) {
        let name = name.escape_default();
        return Err(format!("\"{name}\" is a name of the cluster that is not the instance's; leave it out"));
    }
    secrets(spec, resolved)
}

/// Whether a name leads to a Service of somebody else's.
fn is_anothers(name: &str, resolved: &Resolved) -> bool {
    let own = |service: &str| service == resolved.name.as_str() || reach::named(resolved, service);
    let inside = name.strip_suffix(".svc").or_else(|| name.split_once(".svc.").map(|(inside, _)| inside));
    let namespace = resolved.namespace.as_str();
    match (inside, name.rsplit_once('.')) {
        (Some(inside), _) => inside
            .rsplit_once('.')
            .is_some_and(|(rest, of)| of != namespace || !own(rest.rsplit('.').next().unwrap_or(rest))),
        (None, None) => name != "localhost" && !own(name),
        (None, Some((rest, of))) => of == namespace && !own(rest.rsplit('.').next().unwrap_or(rest)),
    }
}

fn scales(spec: &Value, field: &str, resolved: &Resolved) -> Result<(), String> {
    let instance = resolved.name.as_str();
    let components: Vec<String> =
        resolved.components.iter().map(|component| naming::component(instance, component.name.as_str())).collect();
    let target = &spec[field];
    let ours = target["apiVersion"].as_str().is_some_and(|version| version == crate::api::API_VERSION);
    if ours && target["kind"] == "Component" && components.iter().any(|name| target["name"] == name.as_str()) {
        return Ok(());
    }
    let known = listed(components.iter().map(String::as_str));
    Err(format!("spec.{field} is no Component ({}) of the instance; there is {known}", crate::api::API_VERSION))
}

fn job(spec: &Value) -> Result<(), String> {
    if spec["manualSelector"] == true {
        return Err("manualSelector would take over pods of others; leave it out".to_owned());
    }
    let labels = spec["template"]["metadata"]["labels"].as_object().into_iter().flatten();
    match labels.map(|(label, _)| label).find(|label| label.starts_with("midship.dev/")) {
        Some(label) => Err(format!("label {label} of its pod would make it one of an instance; leave it out")),
        None => Ok(()),
    }
}

/// Ways in from outside lead to Services of the instance.
fn leads_elsewhere(field: &str, value: &Value, resolved: &Resolved) -> Option<String> {
    let targets = match field {
        // that of a route's match is a text
        "service" | "backendRef" if value.is_object() => std::slice::from_ref(value),
        "backendRefs" => value.as_array().map_or(&[][..], Vec::as_slice),
        _ => return None,
    };
    let services = targets.iter().filter(|target| target["kind"].is_null() || target["kind"] == "Service");
    services.into_iter().find_map(|target| {
        let name = target["name"].as_str().unwrap_or_default();
        let here = target["namespace"].is_null() || target["namespace"] == resolved.namespace.as_str();
        let own = name == resolved.name.as_str() || reach::named(resolved, name);
        let (instance, name) = (&resolved.name, name.escape_default());
        (!here || !own).then(|| {
            format!("Service \"{name}\" is not the instance's; lead to {instance} or {instance}-… in its own namespace")
        })
    })
}

/// The first field at any depth of which something is found.
fn within(value: &Value, look: &dyn Fn(&str, &Value) -> Option<String>) -> Option<String> {
    match value {
        Value::Object(map) => map.iter().find_map(|(field, item)| look(field, item).or_else(|| within(item, look))),
        Value::Array(items) => items.iter().find_map(|item| within(item, look)),
        _ => None,
    }
}
