//! The ConfigMap that tells people and pods what the instance is: versions, nodes, effective configuration.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Rendered, Renderer, config_map, naming};

impl Renderer<'_> {
    pub(super) fn metadata(&mut self, rendered: &mut Rendered) {
        let resolved = self.resolved;
        let wanted = resolved.pods();
        let existing = &self.inputs.existing_pods;
        let (normal, adding): (Vec<&String>, Vec<&String>) = wanted.iter().partition(|pod| existing.contains(pod));
        let deleting: Vec<&String> = existing.iter().filter(|pod| !wanted.contains(pod)).collect();
        let configuration: BTreeMap<String, Value> = resolved
            .components
            .iter()
            .flat_map(|component| {
                component.groups.iter().map(|group| {
                    let name = naming::pod_set(resolved.name.as_str(), component.name.as_str(), group.name.as_str());
                    let mut effective = group.parameters.clone();
                    let key = (component.name.clone(), group.name.clone());
                    for (parameter, value) in self.from_files.get(&key).into_iter().flatten() {
                        match value {
                            Some(value) => effective.insert(parameter.clone(), value.clone()),
                            // it stands in a Secret
                            None => effective.remove(parameter),
                        };
                    }
                    (name, json!(effective))
                })
            })
            .collect();
        let data = json!({
            "instance": resolved.name,
            "type": resolved.type_,
            "extensionVersion": resolved.extension_version,
            "version": resolved.version,
            "topology": resolved.topology,
            "nodes": { "normal": normal, "adding": adding, "deleting": deleting },
            "configuration": configuration,
        });
        let text = serde_json::to_string_pretty(&data).unwrap_or_default();
        let data = BTreeMap::from([("metadata.json".to_owned(), text)]);
        rendered.config_maps.push(config_map(resolved, &naming::metadata(resolved.name.as_str()), None, &data));
    }
}
