//! The pod of a group: the middleware under PID 1 of Midship, and the agent beside it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::config::GroupConfig;
use super::objects::script_keys;
use super::{Place, Renderer, naming, object_labels, patch, reach, selector};
use crate::api::labels;
use crate::api::pod_set::PodTemplate;
use crate::api::values::{PullPolicy, Spread};
use crate::extension::agent::{AGENT_FILE, MADE_FOR, PROCESS_FILE};
use crate::extension::context::paths;
use crate::extension::context::{AGENT_PORT, READY_PORT};
use crate::extension::contract::Change;
use crate::extension::contract::component::VolumeKind;
use crate::extension::placeholders;
use crate::extension::problem::{Code, Refusal};
use crate::extension::yaml;

/// The agent in its image, whose entry point is the controller.
const PROGRAM: &str = "/bin/midship-agent";
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// How much longer a pod may take to end than its process, in seconds.
const MARGIN: u64 = 15;

impl Renderer<'_> {
    pub(super) fn pod(&mut self, place: &Place<'_>, config: &GroupConfig) -> PodTemplate {
        let resolved = self.resolved;
        let component = place.component;
        let name = component.name.as_str();
        let mut volumes = vec![
            json!({ "name": "midship-bin", "emptyDir": {} }),
            json!({ "name": "midship-run", "emptyDir": { "medium": "Memory", "sizeLimit": "16Mi" } }),
            json!({ "name": "midship-config", "projected": { "sources": self.config_sources(place, config) } }),
            json!({ "name": "midship-token", "projected": { "sources": [
                { "serviceAccountToken": { "path": "token", "expirationSeconds": 3600 } },
                { "configMap": { "name": "kube-root-ca.crt", "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
                { "downwardAPI": { "items": [
                    { "path": "namespace", "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.namespace" } }] } },
            ] } }),
            json!({ "name": "midship-agent-tls", "secret": {
                "secretName": naming::agent_tls(resolved.name.as_str()), "defaultMode": 0o440 } }),
            json!({ "name": "tmp", "emptyDir": {} }),
        ];
        let mut mounts = vec![
            json!({ "name": "midship-bin", "mountPath": paths::BIN, "readOnly": true }),
            json!({ "name": "midship-config", "mountPath": paths::CONFIG, "readOnly": true }),
            json!({ "name": "midship-run", "mountPath": paths::RUN }),
        ];
        let mut mount = |name: &str, path: &str, read_only: bool, volume: Option<Value>| {
            let mut mounted = json!({ "name": name, "mountPath": path });
            if read_only {
                mounted["readOnly"] = json!(true);
            }
            mounts.push(mounted);
            volumes.extend(volume);
        };
        if config.has_files {
            let volume = json!({ "name": "midship-files", "emptyDir": { "medium": "Memory", "sizeLimit": "16Mi" } });
            mount("midship-files", paths::FILES, false, Some(volume));
        }
        let needs = super::secret_needs(self.package, resolved);
        if !needs.is_empty() {
            let source = naming::credentials(resolved.name.as_str());
            let volume = json!({ "name": "midship-secrets", "secret": { "secretName": source, "defaultMode": 0o440 } });
            mount("midship-secrets", paths::SECRETS, true, Some(volume));
        }
        if let Some(tls) = &resolved.tls {
            let source =
                tls.secret_name.as_ref().map_or_else(|| naming::tls(resolved.name.as_str()), ToString::to_string);
            let volume = json!({ "name": "midship-tls", "secret": { "secretName": source, "defaultMode": 0o440 } });
            mount("midship-tls", paths::TLS, true, Some(volume));
        }
        let scripts = script_keys(&self.package.files);
        if !scripts.is_empty() {
            let source = naming::scripts(resolved.name.as_str());
            let mut volume =
                json!({ "name": "midship-scripts", "configMap": { "name": source, "defaultMode": 0o555 } });
            if scripts.iter().any(|(key, name)| key != name) {
                let items = scripts.iter().map(|(key, name)| json!({ "key": key, "path": name }));
                volume["configMap"]["items"] = items.collect();
            }
            mount("midship-scripts", paths::SCRIPTS, true, Some(volume));
        }
        if component.logs.files == Some(true) {
            mount("midship-logs", paths::LOGS, false, Some(json!({ "name": "midship-logs", "emptyDir": {} })));
        }
        let mut has_tmp = false;
        for (volume, declared) in &place.declared.volumes {
            let field = format!("components.{name}.volumes.{volume}.when");
            if !self.holds(&field, declared.when.as_deref(), &place.context) {
                continue;
            }
            has_tmp |= declared.path.trim_end_matches('/') == "/tmp";
            let made = match declared.kind() {
                VolumeKind::Lasting => None,
                VolumeKind::Scratch => Some(scratch(volume.as_str(), declared.size.as_ref(), None)),
                VolumeKind::Memory => Some(scratch(volume.as_str(), declared.size.as_ref(), Some("Memory"))),
            };
            mount(volume.as_str(), &declared.path, false, made);
        }
        if !has_tmp {
            mount("tmp", "/tmp", false, None);
        } else if let Some(own) = volumes.iter().position(|volume| volume["name"] == "tmp") {
            // the package's may be called so too, and stands after it
            volumes.remove(own);
        }

        let main = Self::main_container(place, config, &mounts);
        let agent = self.agent_container(&mounts);
        let mut init = json!({
            "name": "midship-init",
            "image": self.inputs.agent_image,
            "command": [PROGRAM],
            "args": ["copy", paths::BIN],
            "resources": small(),
            "securityContext": restricted(),
            "volumeMounts": [{ "name": "midship-bin", "mountPath": paths::BIN }],
        });
        if config.has_files {
            // the same agent writes the files, so that the process finds them when it starts
            let args = json!(["copy", paths::BIN, "--files", format!("{}/{AGENT_FILE}", paths::CONFIG)]);
            init["args"] = args;
            init["env"] = downward();
            let writable = mounts.iter().filter(|mount| mount["name"] != "midship-bin").cloned();
            init["volumeMounts"] =
                writable.chain([json!({ "name": "midship-bin", "mountPath": paths::BIN })]).collect();
        }
        let user = place.declared.user.unwrap_or_default();
        let account = component.service_account.as_ref().map_or(resolved.name.as_str(), |name| name.as_str());
        let mut spec = json!({
            "serviceAccountName": account,
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": config.stop_timeout.0.as_secs() + farewell(place).unwrap_or(0) + MARGIN,
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": user.uid,
                "runAsGroup": user.gid,
                "fsGroup": user.gid,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": { "type": "RuntimeDefault" },
            },
            "initContainers": [init],
            "containers": [main, agent],
            "volumes": volumes,
        });
        if !resolved.image_pull_secrets.is_empty() {
            spec["imagePullSecrets"] = json!(resolved.image_pull_secrets);
        }
        self.exporter(place, &mut spec);
        self.scheduling(place, &mut spec);
        self.additions(place, &mut spec);
        PodTemplate {
            config_revision: Some(config.revision.revision.clone()),
            metadata: Some(self.pod_metadata(place)),
            spec: spec.into(),
            volumes: (!place.group.storage.is_empty())
                .then(|| place.group.storage.iter().map(|(name, storage)| (name.clone(), storage.clone())).collect()),
        }
    }

    fn config_sources(&self, place: &Place<'_>, config: &GroupConfig) -> Vec<Value> {
        let name =
            naming::config(self.resolved.name.as_str(), place.component.name.as_str(), place.group.name.as_str());
        let mut sources = vec![json!({ "configMap": { "name": name } })];
        if config.has_secret_files {
            sources.push(json!({ "secret": { "name": name } }));
        }
        sources
    }

    fn main_container(place: &Place<'_>, config: &GroupConfig, mounts: &[Value]) -> Value {
        let component = place.component;
        let directory = if config.process_is_written { paths::RUN } else { paths::CONFIG };
        let mut env: Vec<Value> = downward().as_array().cloned().unwrap_or_default();
        if let Some(digest) = made_for(place) {
            env.push(json!({ "name": MADE_FOR, "value": digest }));
        }
        env.extend(config.secret_env.iter().map(|(name, source)| json!({ "name": name, "valueFrom": source })));
        let ports: Vec<Value> = component
            .ports
            .iter()
            .map(|(name, port)| {
                json!({ "name": name, "containerPort": port.port, "protocol": if port.udp { "UDP" } else { "TCP" } })
            })
            .collect();
        let agent = format!("{}/midship-agent", paths::BIN);
        let mut container = json!({
            "name": component.name,
            "image": component.image,
            "command": [&agent, "init", "--config", format!("{directory}/{PROCESS_FILE}")],
            "env": env,
            "ports": ports,
            "resources": place.group.resources,
            "readinessProbe": {
                "httpGet": { "path": "/ready", "port": READY_PORT },
                "periodSeconds": 1,
                "timeoutSeconds": 2,
                // an agent that is started anew takes no well process out of service
                "failureThreshold": 3,
            },
            "securityContext": restricted(),
            "volumeMounts": mounts,
        });
        if let Some(seconds) = farewell(place) {
            // the kubelet waits for it, then tells PID 1 to end
            let command = [agent, "leave".to_owned(), "--timeout".to_owned(), format!("{seconds}s")];
            container["lifecycle"] = json!({ "preStop": { "exec": { "command": command } } });
        }
        if let Some(policy) = component.pull_policy {
            container["imagePullPolicy"] = json!(match policy {
                PullPolicy::Always => "Always",
                PullPolicy::IfNotPresent => "IfNotPresent",
                PullPolicy::Never => "Never",
            });
        }
        container
    }

    fn agent_container(&self, mounts: &[Value]) -> Value {
        let mut mounts = mounts.to_vec();
        mounts.retain(|mount| mount["name"] != "midship-bin");
        mounts.push(json!({ "name": "midship-token", "mountPath": TOKEN, "readOnly": true }));
        mounts.push(json!({ "name": "midship-agent-tls", "mountPath": paths::AGENT_TLS, "readOnly": true }));
        json!({
            "name": "midship",
            "image": self.inputs.agent_image,
            "command": [PROGRAM],
            "args": ["serve", "--config", format!("{}/{AGENT_FILE}", paths::CONFIG)],
            "env": downward(),
            "ports": [{ "name": "midship", "containerPort": AGENT_PORT, "protocol": "TCP" }],
            "resources": small(),
            "securityContext": restricted(),
            "volumeMounts": mounts,
        })
    }

    fn scheduling(&self, place: &Place<'_>, spec: &mut Value) {
        let scheduling = &place.group.scheduling;
        let chosen = json!({ "matchLabels": selector(self.resolved, Some(place.component.name.as_str()), None, None) });
        let constraints: Vec<Value> = if let Some(own) = &scheduling.topology_spread_constraints {
            own.iter()
                .cloned()
                .map(|mut constraint| {
                    if constraint.get("labelSelector").is_none() {
                        constraint["labelSelector"] = chosen.clone();
                    }
                    constraint
                })
                .collect()
        } else {
            let keys: &[&str] = match scheduling.spread {
                Some(Spread::None) => &[],
                None | Some(Spread::Node) => &["kubernetes.io/hostname"],
                Some(Spread::Zone) => &["topology.kubernetes.io/zone", "kubernetes.io/hostname"],
            };
            let otherwise = if scheduling.strict == Some(true) { "DoNotSchedule" } else { "ScheduleAnyway" };
            keys.iter()
                .map(|key| {
                    json!({ "maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": otherwise, "labelSelector": chosen })
                })
                .collect()
        };
        let fields: [(&str, Option<Value>); 7] = [
            ("topologySpreadConstraints", (!constraints.is_empty()).then(|| json!(constraints))),
            ("nodeSelector", scheduling.node_selector.as_ref().map(|selector| json!(selector))),
            ("tolerations", scheduling.tolerations.as_ref().map(|tolerations| json!(tolerations))),
            ("affinity", scheduling.affinity.clone()),
            ("priorityClassName", scheduling.priority_class_name.as_ref().map(|name| json!(name))),
            ("schedulerName", scheduling.scheduler_name.as_ref().map(|name| json!(name))),
            ("runtimeClassName", scheduling.runtime_class_name.as_ref().map(|name| json!(name))),
        ];
        for (field, value) in fields {
            if let Some(value) = value {
                spec[field] = value;
            }
        }
    }

    /// What the package adds to the pod in Kubernetes' own words.
    fn additions(&mut self, place: &Place<'_>, spec: &mut Value) {
        let name = place.component.name.as_str();
        let mut patches = Vec::new();
        if let Some(pod) = &place.declared.pod {
            patches.push(self.value(&format!("components.{name}.pod"), pod, &place.context));
        }
        if let Some(path) = &place.declared.pod_template {
            let text = self.file(path, &place.context);
            if !text.trim().is_empty() {
                match yaml::value(path, &text) {
                    Ok(value) => patches.push(value),
                    Err(problem) => {
                        let reason = format!("{path}: renders no YAML: line {}: {}", problem.line, problem.reason);
                        self.refusals.push(Refusal::new("", Code::Package, reason));
                    }
                }
            }
        }
        let account = spec["serviceAccountName"].clone();
        let lasting: Vec<&str> = place.group.storage.keys().map(String::as_str).collect();
        let mut wrong = None;
        for addition in &patches {
            wrong = wrong.or_else(|| patch::refused(addition, spec, name, &lasting));
            wrong = wrong.or_else(|| reach::pod(addition, self.resolved));
            wrong = wrong.or_else(|| {
                let placeholder = placeholders::within(addition)?;
                Some(format!(
                    "{placeholder} would stay as it is: nobody fills it in here; refer to a Secret with secretKeyRef ({} and its key), to the \
                     pod with fieldRef",
                    naming::credentials(self.resolved.name.as_str())
                ))
            });
            patch::apply(spec, addition);
        }
        patch::restrict(spec);
        let wrong = wrong.or_else(|| patch::forbidden(spec, &account)).or_else(|| patch::lacking(spec, &lasting));
        if let Some(reason) = wrong {
            let part = if place.declared.pod.is_some() { "pod" } else { "podTemplate" };
            let problem = self.package.at(&format!("components.{name}.{part}"), reason);
            self.refusals.push(Refusal::new("", Code::Package, problem.to_string()));
        }
    }

    fn pod_metadata(&self, place: &Place<'_>) -> Value {
        let extra = &place.component.pod_metadata;
        let mut all: BTreeMap<String, String> = extra.labels.clone().unwrap_or_default();
        all.extend(object_labels(self.resolved, Some(place.component.name.as_str())));
        all.insert(labels::GROUP.to_owned(), place.group.name.to_string());
        let mut metadata = Map::new();
        metadata.insert("labels".to_owned(), json!(all));
        if let Some(annotations) = &extra.annotations {
            metadata.insert("annotations".to_owned(), json!(annotations));
        }
        Value::Object(metadata)
    }
}

/// Tells apart what pods were made for, so that they are made anew when a parameter changes that needs it.
fn made_for(place: &Place<'_>) -> Option<String> {
    let needs = |name: &str| {
        let declared = place.declared.parameters.iter().find(|(known, _)| known.as_str() == name);
        let other = || place.declared.other_parameters.as_ref().map(|other| other.change);
        declared.map_or_else(other, |(_, declared)| Some(declared.change())) == Some(Change::Recreate)
    };
    let values: BTreeMap<&String, &Value> =
        place.group.parameters.iter().filter(|(name, _)| needs(name.as_str())).collect();
    let mut digest = hex::encode(Sha256::digest(json!(values).to_string()));
    digest.truncate(10);
    (!values.is_empty()).then_some(digest)
}

/// What the agent needs; measured, with room.
pub(super) fn small() -> Value {
    json!({ "requests": { "cpu": "10m", "memory": "24Mi" }, "limits": { "memory": "256Mi" } })
}

/// How many seconds the package may take before its process is stopped, where there is anything to do before.
fn farewell(place: &Place<'_>) -> Option<u64> {
    let longest = place.declared.actions.before_stop.as_ref()?.longest();
    Some(longest.as_secs() + u64::from(longest.subsec_nanos() > 0))
}

/// The "restricted" Pod Security Standard, and a root file system nobody writes to.
pub(super) fn restricted() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "capabilities": { "drop": ["ALL"] },
        "readOnlyRootFilesystem": true,
    })
}

/// What a pod knows of itself. The PodSet labels each pod with its ordinal.
pub(super) fn downward() -> Value {
    let field = |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    json!([
        field("MIDSHIP_POD", "metadata.name"),
        field("MIDSHIP_POD_UID", "metadata.uid"),
        field("MIDSHIP_NAMESPACE", "metadata.namespace"),
        field("MIDSHIP_POD_IP", "status.podIP"),
        field("MIDSHIP_NODE", "spec.nodeName"),
        field("MIDSHIP_ORDINAL", &format!("metadata.labels['{}']", labels::ORDINAL)),
    ])
}

fn scratch(name: &str, size: Option<&crate::api::values::Quantity>, medium: Option<&str>) -> Value {
    let mut dir = json!({});
    if let Some(size) = size {
        dir["sizeLimit"] = json!(size);
    }
    if let Some(medium) = medium {
        dir["medium"] = json!(medium);
    }
    json!({ "name": name, "emptyDir": dir })
}
