//! Further objects a package has templates for, the scripts, and the certificate an instance needs.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use super::{
    CertificateNeed, Known, Rendered, Renderer, config_map, held, naming, object_labels, object_metadata, patch, reach,
};
use crate::api::instance::IssuerKind;
use crate::extension::problem::{Code, Refusal, listed};
use crate::extension::yaml;
use crate::extension::{PackageFiles, context, install, placeholders};

/// Objects that the templates of a package may make for an instance.
const MOST: usize = 1000;

/// Kinds a package may add, with their groups. They live in the instance's namespace and give nobody any rights.
const KINDS: [(&str, &str); 17] = [
    ("cert-manager.io", "Certificate"),
    ("", "ConfigMap"),
    ("batch", "CronJob"),
    ("gateway.networking.k8s.io", "GRPCRoute"),
    ("gateway.networking.k8s.io", "Gateway"),
    ("gateway.networking.k8s.io", "HTTPRoute"),
    ("autoscaling", "HorizontalPodAutoscaler"),
    ("networking.k8s.io", "Ingress"),
    ("batch", "Job"),
    ("networking.k8s.io", "NetworkPolicy"),
    ("monitoring.coreos.com", "PodMonitor"),
    ("monitoring.coreos.com", "PrometheusRule"),
    ("", "Service"),
    ("monitoring.coreos.com", "ServiceMonitor"),
    ("gateway.networking.k8s.io", "TCPRoute"),
    ("gateway.networking.k8s.io", "TLSRoute"),
    ("autoscaling.k8s.io", "VerticalPodAutoscaler"),
];

/// The value of the Helm chart that lets Midship make objects of a kind, where it may not without.
pub fn grant(group: &str, kind: &str) -> Option<&'static str> {
    match (group, kind) {
        ("networking.k8s.io", "Ingress") => Some("integrations.ingress"),
        ("gateway.networking.k8s.io", _) => Some("integrations.gateway"),
        ("batch", _) => Some("integrations.jobs"),
        ("autoscaling" | "autoscaling.k8s.io", _) => Some("integrations.autoscaling"),
        ("monitoring.coreos.com", _) => Some("integrations.prometheusOperator"),
        ("cert-manager.io", _) => Some("integrations.certManager"),
        _ => None,
    }
}

/// The scripts below their folder, each with its key: where some lie in folders, keys stand for paths.
pub(super) fn script_keys(files: &PackageFiles) -> Vec<(String, &str)> {
    let names: Vec<&str> = files.below("scripts").filter_map(|path| path.strip_prefix("scripts/")).collect();
    let folders = names.iter().any(|name| name.contains('/'));
    let key = |name: &str| if folders { install::key(name) } else { name.to_owned() };
    names.into_iter().map(|name| (key(name), name)).collect()
}

impl Renderer<'_> {
    pub(super) fn objects(&mut self, rendered: &mut Rendered) {
        for (place, object) in self.package.manifest.objects.iter().enumerate() {
            let main = self.package.main_component().and_then(|name| self.resolved.component(name.as_str()));
            let main = main.or_else(|| self.resolved.components.first());
            let Some((component, group)) = main.and_then(|main| Some((main, main.groups.first()?))) else { return };
            let mut data = context::group(self.package, self.resolved, component, group);
            for (name, value) in &object.values {
                data[name] = value.clone();
            }
            let known = Known::new(&data);
            if !self.holds(&format!("objects[{place}].when"), object.when.as_deref(), &known) {
                continue;
            }
            let text = self.file(&object.template, &known);
            match yaml::values(&object.template, &text) {
                Ok(made) => {
                    for value in made.into_iter().filter(|value| !value.is_null()) {
                        if rendered.objects.len() >= MOST {
                            let reason =
                                format!("makes too many objects; all templates of an instance make at most {MOST}");
                            let problem = self.package.at(&format!("objects[{place}]"), reason);
                            self.refusals.push(Refusal::new("", Code::Package, problem.to_string()));
                            return;
                        }
                        match self.one(value) {
                            Ok(value) => {
                                let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                                self.own_objects
                                    .insert((word(&value["kind"]), word(&value["metadata"]["name"])), place);
                                rendered.objects.push(value);
                            }
                            Err(reason) => {
                                let reason = format!("{}: {reason}", object.template);
                                self.refusals.push(Refusal::new("", Code::Package, reason));
                            }
                        }
                    }
                }
                Err(problem) => {
                    let reason =
                        format!("{}: renders no YAML: line {}: {}", problem.path, problem.line, problem.reason);
                    self.refusals.push(Refusal::new("", Code::Package, reason));
                }
            }
        }
    }

    /// Puts an object where it belongs, or says why it may not be.
    fn one(&self, mut value: Value) -> Result<Value, String> {
        let kind = value["kind"].as_str().unwrap_or_default().to_owned();
        let version = value["apiVersion"].as_str().unwrap_or_default();
        if version.is_empty() || kind.is_empty() {
            return Err("an object needs apiVersion and kind".to_owned());
        }
        let group = version.split_once('/').map_or("", |(group, _)| group);
        let groups: Vec<&str> = KINDS.iter().filter(|(_, known)| *known == kind).map(|(group, _)| *group).collect();
        if groups.is_empty() {
            let known = listed(KINDS.iter().map(|(_, kind)| *kind));
            return Err(format!("a package cannot add a {kind}; it can add {known}"));
        }
        if !groups.contains(&group) {
            let known = groups.first().copied().filter(|group| !group.is_empty()).unwrap_or("v1");
            return Err(format!("a {kind} of {version} cannot be added; that of {known} can"));
        }
        if placeholders::any(&value.to_string()) {
            return Err(format!(
                "{kind}: `secret`, `username` and `pod` are filled in in pods alone; nobody would do it here"
            ));
        }
        for field in ["finalizers", "ownerReferences"] {
            if !value["metadata"][field].is_null() {
                return Err(format!("{kind}: {field} is not a package's to decide"));
            }
        }
        let pods = match kind.as_str() {
            "Job" => Some("/spec/template"),
            "CronJob" => Some("/spec/jobTemplate/spec/template"),
            _ => None,
        };
        if let Some(pointer) = pods {
            let Some(template) = value.pointer_mut(pointer).filter(|template| template.is_object()) else {
                return Err(format!("{kind}: it has no pod at {pointer}"));
            };
            self.restricted(&mut template["spec"]).map_err(|reason| format!("{kind}: {reason}"))?;
        }
        held::hold(&kind, &mut value, self.resolved).map_err(|reason| format!("{kind}: {reason}"))?;
        let name = value["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let instance = self.resolved.name.as_str();
        if name != instance && !name.starts_with(&format!("{instance}-")) {
            return Err(format!(
                "{kind} \"{name}\" has to be called {instance} or {instance}-…, so that instances keep apart"
            ));
        }
        if value["metadata"].get("namespace").is_some_and(|namespace| namespace != self.resolved.namespace.as_str()) {
            return Err(format!("{kind} {name} is in another namespace"));
        }
        let metadata = object_metadata(self.resolved, &name, None);
        value["metadata"]["namespace"] = metadata["namespace"].clone();
        if !value["metadata"]["labels"].is_object() {
            value["metadata"]["labels"] = Value::Object(serde_json::Map::new());
        }
        for (label, text) in object_labels(self.resolved, None) {
            value["metadata"]["labels"][label] = text.into();
        }
        Ok(value)
    }

    /// Pods of jobs keep to what pods of instances keep to, and run under the instance's account.
    fn restricted(&self, pod: &mut Value) -> Result<(), String> {
        if !pod.is_object() {
            return Err("its pod has no spec".to_owned());
        }
        if !pod["securityContext"].is_null() && !pod["securityContext"].is_object() {
            return Err("securityContext of its pod is no object".to_owned());
        }
        let account = Value::from(self.resolved.name.as_str());
        if pod["serviceAccountName"].is_null() {
            pod["serviceAccountName"] = account.clone();
        }
        if pod["automountServiceAccountToken"].is_null() {
            pod["automountServiceAccountToken"] = Value::Bool(false);
        }
        if pod["securityContext"]["runAsNonRoot"].is_null() {
            pod["securityContext"]["runAsNonRoot"] = Value::Bool(true);
        }
        if pod["securityContext"]["seccompProfile"].is_null() {
            pod["securityContext"]["seccompProfile"] = serde_json::json!({ "type": "RuntimeDefault" });
        }
        patch::restrict(pod);
        let wrong = patch::forbidden(pod, &account).or_else(|| reach::pod(pod, self.resolved));
        wrong.or_else(|| patch::lacking(pod, &[])).map_or(Ok(()), Err)
    }

    pub(super) fn scripts(&mut self, rendered: &mut Rendered) {
        let (mut texts, mut binary) = (BTreeMap::new(), BTreeMap::new());
        for (key, name) in script_keys(&self.package.files) {
            let Some(bytes) = self.package.files.get(&format!("scripts/{name}")) else { continue };
            match std::str::from_utf8(bytes) {
                Ok(text) => texts.insert(key, text.to_owned()),
                Err(_) => binary.insert(key, BASE64.encode(bytes)),
            };
        }
        if texts.is_empty() && binary.is_empty() {
            return;
        }
        let name = naming::scripts(self.resolved.name.as_str());
        let mut map = config_map(self.resolved, &name, None, &texts);
        if !binary.is_empty() {
            map["binaryData"] = serde_json::json!(binary);
        }
        rendered.config_maps.push(map);
    }

    pub(super) fn certificate(&mut self, rendered: &mut Rendered) {
        let Some(tls) = &self.resolved.tls else { return };
        if tls.secret_name.is_some() {
            return;
        }
        let (instance, namespace) = (self.resolved.name.as_str(), self.resolved.namespace.as_str());
        let mut names = vec!["localhost".to_owned()];
        for service in &rendered.services {
            if let Some(name) = service["metadata"]["name"].as_str() {
                let headless = service["spec"]["clusterIP"] == "None";
                names.extend([format!("{name}.{namespace}.svc"), format!("{name}.{namespace}"), name.to_owned()]);
                if headless {
                    names.push(format!("*.{name}.{namespace}.svc"));
                    names.push(format!("*.{name}.{namespace}.svc.cluster.local"));
                } else {
                    names.push(format!("{name}.{namespace}.svc.cluster.local"));
                }
            }
        }
        names.extend(tls.extra_names.iter().flatten().cloned());
        names.sort();
        names.dedup();
        let secret_name = naming::tls(instance);
        if let Some(issuer) = &tls.cert_manager {
            let hours = |time: crate::api::values::Duration| format!("{}h", time.0.as_secs() / 3600);
            let mut spec = serde_json::json!({
                "secretName": secret_name,
                "dnsNames": names,
                "usages": ["server auth", "client auth", "digital signature", "key encipherment"],
                "issuerRef": {
                    "name": issuer.name,
                    "kind": issuer.kind.unwrap_or(IssuerKind::Issuer),
                    "group": issuer.group.as_deref().unwrap_or("cert-manager.io"),
                },
            });
            if let Some(duration) = tls.duration {
                spec["duration"] = hours(duration).into();
            }
            if let Some(before) = tls.renew_before {
                spec["renewBefore"] = hours(before).into();
            }
            rendered.objects.push(serde_json::json!({
                "apiVersion": "cert-manager.io/v1",
                "kind": "Certificate",
                "metadata": object_metadata(self.resolved, &secret_name, None),
                "spec": spec,
            }));
        } else {
            rendered.certificate = Some(CertificateNeed { secret_name, names });
        }
    }
}
