//! A scratch instance: as the instance is that serves, but alone, small and closed, and with nothing that belongs to that one
//! or would be taken for it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::api::Instance;
use crate::extension::Package;
use crate::extension::contract::Topology;
use crate::names::{ComponentName, TopologyName};

/// What has no meaning for a scratch instance, or is the other one's: its credentials, its backups, its state.
const NOT_OF_IT: [&str; 8] =
    ["state", "suspend", "backup", "credentials", "maintenance", "failover", "monitoring", "network"];
/// What of a component would make others take its pods for those that serve, or act for them: labels that somebody's Service
/// selects, an identity with rights elsewhere, logs that are sent away.
const NOT_OF_A_COMPONENT: [&str; 5] = ["service", "offline", "podMetadata", "serviceAccountName", "logs"];

/// The spec of the scratch instance. `method` is the one the backup was made by, and `restore` names the backup.
pub fn scratch_spec(
    instance: &Instance,
    package: Option<&Package>,
    method: &str,
    restore: Value,
) -> Result<Value, serde_json::Error> {
    let mut spec = serde_json::to_value(&instance.spec)?;
    let Some(fields) = spec.as_object_mut() else { return Ok(spec) };
    for field in NOT_OF_IT {
        fields.remove(field);
    }
    fields.insert("deletionPolicy".to_owned(), json!("Delete"));
    fields.insert("network".to_owned(), json!({ "policy": true }));
    fields.insert("monitoring".to_owned(), json!({ "exporter": false, "podMonitor": false, "alerts": false }));
    fields.insert("restore".to_owned(), restore);
    tls(fields);
    let topology = package.and_then(|package| topology(instance, package));
    let method = package.and_then(|package| package.manifest.backup.as_ref()?.methods.get(method));
    components(fields, topology, method.and_then(|method| method.component.as_ref()));
    Ok(spec)
}

/// A certificate of its own, where the other one's was given by hand, and for none of the other one's names.
fn tls(fields: &mut Map<String, Value>) {
    let Some(tls) = fields.get_mut("tls").and_then(Value::as_object_mut) else { return };
    tls.remove("extraNames");
    if tls.remove("secretName").is_some() {
        tls.insert("issuer".to_owned(), json!("builtin"));
    }
}

fn topology<'a>(instance: &Instance, package: &'a Package) -> Option<&'a Topology> {
    let resolved = instance.status.as_ref().and_then(|status| status.resolved.as_ref()?.topology.clone());
    let wanted = resolved.or_else(|| instance.spec.topology.as_ref().map(ToString::to_string));
    let all = &package.manifest.topologies;
    let named = |name: &TopologyName, topology: &Topology| match &wanted {
        Some(wanted) => name.as_str() == wanted.as_str(),
        None => topology.default || all.len() == 1,
    };
    all.iter().find(|(name, topology)| named(name, topology)).map(|(_, topology)| topology)
}

/// As few pods as the topology allows, wherever the data is; components without data stay as they are.
fn components(fields: &mut Map<String, Value>, topology: Option<&Topology>, data: Option<&ComponentName>) {
    let has_data = |name: &str| data.is_none_or(|data| data.as_str() == name);
    let all = fields.entry("components").or_insert_with(|| json!([]));
    let Some(all) = all.as_array_mut() else { return };
    let declared = topology.map(|topology| &topology.components);
    for name in declared.into_iter().flat_map(BTreeMap::keys) {
        let listed = all.iter().any(|one| one.get("name").and_then(Value::as_str) == Some(name.as_str()));
        if !listed && has_data(name.as_str()) {
            all.push(json!({ "name": name }));
        }
    }
    for one in all.iter_mut().filter_map(Value::as_object_mut) {
        for field in NOT_OF_A_COMPONENT {
            one.remove(field);
        }
        let name = one.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let declared = declared.and_then(|components| {
            components.iter().find(|(known, _)| known.as_str() == name).map(|(_, declared)| declared)
        });
        let Some(declared) = declared.filter(|_| has_data(&name)) else { continue };
        let least = declared.replicas.as_ref().and_then(|count| count.min).unwrap_or(1).max(1);
        match one.get_mut("groups").and_then(Value::as_array_mut) {
            Some(groups) if !groups.is_empty() => {
                for group in groups.iter_mut().filter_map(Value::as_object_mut) {
                    group.remove("offline");
                    group.insert("replicas".to_owned(), json!(least));
                }
            }
            _ => drop(one.insert("replicas".to_owned(), json!(least))),
        }
    }
}
