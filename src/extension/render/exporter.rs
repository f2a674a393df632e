//! The exporter of metrics beside the middleware. No agent fills its texts in: Kubernetes does, by variables.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::pod::{downward, restricted, small};
use super::{Place, Renderer, naming};
use crate::extension::context::paths;
use crate::extension::placeholders::{self, Source};
use crate::extension::problem::{Code, Refusal};

/// What a variable for a secret within a text is called, before its number.
const SECRET: &str = "MIDSHIP_SECRET_";

impl Renderer<'_> {
    pub(super) fn exporter(&mut self, place: &Place<'_>, spec: &mut Value) {
        if self.resolved.monitoring.exporter != Some(true) {
            return;
        }
        let manifest = &self.package.manifest;
        let Some(exporter) = manifest.monitoring.as_ref().and_then(|monitoring| monitoring.exporter.clone()) else {
            let reason = format!("{} has no exporter", manifest.type_);
            self.refusals.push(Refusal::new("spec.monitoring.exporter", Code::Invalid, reason));
            return;
        };
        if exporter.component.as_ref().or(self.package.main_component()) != Some(&place.component.name) {
            return;
        }
        let image_name = exporter.image.as_deref().unwrap_or("exporter");
        let version = manifest.version(self.resolved.version.as_str());
        let Some(image) = version.and_then(|version| version.images.get(image_name)) else {
            let reason = format!("version {} names no image \"{image_name}\" for the exporter", self.resolved.version);
            self.refusals.push(Refusal::new("spec.monitoring.exporter", Code::Invalid, reason));
            return;
        };
        let mut secrets = BTreeMap::new();
        let command: Vec<String> = exporter
            .command
            .iter()
            .enumerate()
            .map(|(index, word)| self.filled(&format!("monitoring.exporter.command[{index}]"), word, place, None))
            .collect();
        let credentials = naming::credentials(self.resolved.name.as_str());
        let from_secret = |name: &str, key: &str| {
            let reference = json!({ "name": credentials, "key": key });
            json!({ "name": name, "valueFrom": { "secretKeyRef": reference } })
        };
        let mut own = Vec::new();
        for (name, source) in &exporter.env {
            let field = format!("monitoring.exporter.env.{name}");
            let text = self.text(&field, source, &place.context);
            own.push(match placeholders::only_secret(&text) {
                Some(key) => from_secret(name, key),
                None => json!({ "name": name, "value": self.filled(&field, source, place, Some(&mut secrets)) }),
            });
        }
        let said = json!([command, own]).to_string();
        let mut env: Vec<Value> = downward().as_array().cloned().unwrap_or_default();
        env.retain(|variable| variable["name"].as_str().is_some_and(|name| said.contains(&format!("$({name})"))));
        // a variable can be named in those that follow it
        env.extend(secrets.iter().map(|(key, name)| from_secret(name, key)));
        env.extend(own);
        let mut container = json!({
            "name": "exporter",
            "image": image,
            "env": env,
            "ports": [{ "name": "exporter", "containerPort": exporter.port, "protocol": "TCP" }],
            "resources": exporter.resources.as_ref().map_or_else(small, |resources| json!(resources)),
            "securityContext": restricted(),
        });
        if !command.is_empty() {
            container["command"] = json!(command);
        }
        if self.resolved.tls.is_some() {
            container["volumeMounts"] = json!([{ "name": "midship-tls", "mountPath": paths::TLS, "readOnly": true }]);
        }
        if let Some(containers) = spec["containers"].as_array_mut() {
            containers.push(container);
        }
    }

    /// A text with variables of Kubernetes for what only the pod knows; where secrets are allowed, these are given names.
    fn filled(
        &mut self,
        field: &str,
        source: &str,
        place: &Place<'_>,
        secrets: Option<&mut BTreeMap<String, String>>,
    ) -> String {
        let (allowed, mut none) = (secrets.is_some(), BTreeMap::new());
        let known = secrets.unwrap_or(&mut none);
        let text = self.text(field, source, &place.context);
        let component = place.component.name.as_str();
        let headless = naming::headless(self.resolved.name.as_str(), component);
        let expanded = placeholders::expand(&text, |source| match source {
            Source::Secret(_) if !allowed => None,
            Source::Secret(key) => {
                let next = format!("{SECRET}{}", known.len());
                Some(format!("$({})", known.entry(key.to_owned()).or_insert(next)))
            }
            Source::Pod("name") => Some("$(MIDSHIP_POD)".to_owned()),
            Source::Pod("ordinal") => Some("$(MIDSHIP_ORDINAL)".to_owned()),
            Source::Pod("ip") => Some("$(MIDSHIP_POD_IP)".to_owned()),
            Source::Pod("node") => Some("$(MIDSHIP_NODE)".to_owned()),
            Source::Pod("host") => Some(format!("$(MIDSHIP_POD).{headless}.{}.svc", self.resolved.namespace)),
            Source::Pod("group") => Some(place.group.name.to_string()),
            Source::Pod(_) => None,
        });
        expanded.unwrap_or_else(|error| {
            let reason = if !allowed && placeholders::has_secret(&text) {
                "a secret in the command would be seen by everybody who lists processes; put it into a variable"
                    .to_owned()
            } else {
                format!("{error}: nobody fills it in in a container of another image; leave it out")
            };
            let problem = self.package.at(field, reason);
            self.refusals.push(Refusal::new("", Code::Package, problem.to_string()));
            String::new()
        })
    }
}
