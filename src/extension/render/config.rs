//! The configuration of one group: its files, and what the agent is told.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{ConfigRevision, Known, Place, Rendered, Renderer, config_map, naming, object_labels};
use crate::api::instance::FailoverMode;
use crate::api::values::Duration;
use crate::extension::agent::{AGENT_FILE, AgentConfig, FilePlan, Handing, PROCESS_FILE};
use crate::extension::context::{self, paths};
use crate::extension::context::{AGENT_PORT, CREATED, READY_PORT};
use crate::extension::contract::component::{ConfigFile, UserFile, VolumeKind};
use crate::extension::contract::step::{Step, Tcp};
use crate::extension::contract::{BackupMethod, Change, Operation, Probe};
use crate::extension::files::is_template;
use crate::extension::placeholders;
use crate::extension::problem::{Code, Refusal};
use crate::extension::secret::{SecretObject, SecretValue};
use crate::extension::user_file;

/// What a ConfigMap or a Secret can hold, in bytes.
const MOST: usize = 1024 * 1024;

/// The configuration of a group, and what its pods need because of it.
pub struct GroupConfig {
    pub revision: ConfigRevision,
    /// Whether the agent writes files before the process starts.
    pub has_files: bool,
    /// Whether what PID 1 is told has placeholders, so that the agent writes it too.
    pub process_is_written: bool,
    /// Whether some files lie in a Secret.
    pub has_secret_files: bool,
    /// Variables whose values are secret or come from elsewhere: name and key.
    pub secret_env: BTreeMap<String, Value>,
    pub stop_timeout: Duration,
}

/// A configuration file.
struct Made {
    text: SecretValue,
    /// Whether it has to stay secret.
    secret: bool,
    /// What tells the user's own file from another one, where there is one.
    own: Option<String>,
    /// What changes with all but parameters and the user's own file, where that needs a start.
    mark: Option<String>,
}

fn short_digest(text: &str) -> String {
    let mut digest = hex::encode(Sha256::digest(text));
    digest.truncate(10);
    digest
}

impl Renderer<'_> {
    pub(super) fn config(&mut self, place: &Place<'_>, rendered: &mut Rendered) -> GroupConfig {
        let (instance, component) = (self.resolved.name.as_str(), place.component.name.as_str());
        let group = place.group.name.as_str();
        let mut files = BTreeMap::new();
        let mut secret_files = BTreeMap::new();
        let mut plans = Vec::new();
        let mut user_files = BTreeMap::new();
        for (name, config) in &place.declared.config {
            let field = format!("components.{component}.config.{name}.when");
            if !self.holds(&field, config.when.as_deref(), &place.context) {
                continue;
            }
            plans.push(FilePlan {
                source: format!("{}/{name}", paths::CONFIG),
                path: context::file_path(name, config),
                mode: config.mode.clone().unwrap_or_else(|| "0600".to_owned()),
                once: config.once,
                quiet: config.on_change == Some(Change::None),
            });
            let made = self.config_file(place, name, config);
            let own = made.own.filter(|_| config.user_file_restarts());
            let marks: Vec<String> = own.into_iter().chain(made.mark).collect();
            if !marks.is_empty() {
                user_files.insert(name.clone(), marks.join(" "));
            }
            if made.secret {
                secret_files.insert(name.clone(), made.text);
            } else {
                files.insert(name.clone(), made.text.expose().to_owned());
            }
        }
        let (env, secret_env) = self.environment(place);
        let process = self.process(place, &env);
        let process_text = pretty(&process);
        let process_is_written = placeholders::any(&process_text);
        if process_is_written {
            plans.push(FilePlan {
                source: format!("{}/{PROCESS_FILE}", paths::CONFIG),
                path: format!("{}/{PROCESS_FILE}", paths::RUN),
                mode: "0600".to_owned(),
                once: false,
                quiet: false,
            });
        }
        let mut hash = Sha256::new();
        for (name, text) in files
            .iter()
            .map(|(name, text)| (name, text.as_str()))
            .chain(secret_files.iter().map(|(name, text)| (name, text.expose())))
        {
            hash.update((name.len() as u64).to_be_bytes());
            hash.update(name.as_bytes());
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        }
        hash.update(process_text.as_bytes());
        let mut revision = hex::encode(hash.finalize());
        revision.truncate(10);

        let mut agent = self.agent(place, plans.clone(), &revision);
        agent.user_files = user_files;
        let name = naming::config(instance, component, group);
        let mut data = files.clone();
        data.insert(PROCESS_FILE.to_owned(), process_text);
        data.insert(AGENT_FILE.to_owned(), json!(agent).to_string());
        let size: usize = data.iter().map(|(name, text)| name.len() + text.len()).sum();
        let secret_size: usize = secret_files.iter().map(|(name, text)| name.len() + text.expose().len()).sum();
        if let Some(size) = [size, secret_size].into_iter().find(|size| *size > MOST) {
            let reason =
                format!("the files of a group of {component} have {size} bytes together; Kubernetes keeps {MOST}");
            let field = format!("spec.components[{component}].configFiles");
            let given = !place.component.config_files.is_empty();
            let (field, code) = if given { (field, Code::Invalid) } else { (String::new(), Code::Package) };
            self.refusals.push(Refusal::new(field, code, reason));
        }
        let mut map = config_map(self.resolved, &name, Some(component), &data);
        map["metadata"]["labels"][crate::api::labels::GROUP] = json!(group);
        rendered.config_maps.push(map);
        let has_secret_files = !secret_files.is_empty();
        if has_secret_files {
            rendered.secrets.push(SecretObject {
                name,
                namespace: self.resolved.namespace.to_string(),
                labels: object_labels(self.resolved, Some(component)),
                type_: "Opaque".to_owned(),
                data: secret_files,
            });
        }
        GroupConfig {
            revision: ConfigRevision { component: component.to_owned(), group: group.to_owned(), revision, files },
            has_files: !plans.is_empty(),
            process_is_written,
            has_secret_files,
            secret_env,
            stop_timeout: Self::stop_timeout(place),
        }
    }

    fn config_file(&mut self, place: &Place<'_>, name: &str, config: &ConfigFile) -> Made {
        let component = place.component.name.as_str();
        let given = place.component.config_files.get(name).map(|given| match &given.content {
            Some(text) => Some((SecretValue::new(text.clone()), false)),
            None => self
                .inputs
                .user_files
                .get(&(place.component.name.clone(), name.to_owned()))
                .map(|content| (content.text.clone(), content.secret)),
        });
        let field = format!("spec.components[{component}].configFiles.{name}");
        let (own, secret) = match given {
            None => (None, false),
            Some(Some((text, secret))) => (Some(text), secret),
            Some(None) => {
                self.refusals.push(Refusal::new(field, Code::Missing, format!("the content of {name} is not there")));
                return Made { text: SecretValue::new(""), secret: false, own: None, mark: None };
            }
        };
        let digest = own.as_ref().map(|text| short_digest(text.expose()));
        let mut data = own.is_some().then(|| place.data.clone());
        if let (Some(text), Some(format)) = (&own, config.format) {
            let set = self.package.parameters(component);
            let found = user_file::read(format, text.expose(), set, self.resolved.version.as_str());
            for wrong in found.wrong {
                let reason = format!("{name}: {}", wrong.told(secret));
                self.refusals.push(Refusal::new(&field, Code::Invalid, reason));
            }
            for (parameter, value) in found.set {
                match place.group.said.get(&parameter) {
                    // which of the two counts would depend on the program
                    Some(said)
                        if place.group.parameters.get(&parameter).is_none_or(|set| !user_file::same(set, &value)) =>
                    {
                        let reason =
                            format!("{name}: sets parameter {parameter} otherwise than {said}; set it in one place");
                        self.refusals.push(Refusal::new(&field, Code::Invalid, reason));
                    }
                    Some(_) => {}
                    // nobody set the default, so the file is not overridden by it
                    None => {
                        if let Some(params) = data.as_mut().and_then(|data| data["params"].as_object_mut()) {
                            params.remove(&parameter);
                        }
                        self.from_files.entry(place.key()).or_default().insert(parameter, (!secret).then_some(value));
                    }
                }
            }
        }
        if let Some(placeholder) = own.as_ref().and_then(|text| placeholders::first(text.expose())) {
            let reason = format!("{name}: {}", placeholders::refused(placeholder));
            self.refusals.push(Refusal::new(&field, Code::Invalid, reason));
        }
        if config.user_file == Some(UserFile::Replaces)
            && let Some(text) = own
        {
            return Made { text, secret, own: digest, mark: None };
        }
        let known;
        let context = match &mut data {
            Some(data) => {
                data["user_file"] = json!(own.as_ref().map(SecretValue::expose));
                known = Known::new(data);
                &known
            }
            None => place.without_user_file(),
        };
        let before = self.budget.left();
        let text = self.file(&config.template, context);
        let took = before - self.budget.left();
        let mark = (config.on_change == Some(Change::Restart)).then(|| {
            let data = data.unwrap_or_else(|| place.data.clone());
            self.mark(component, &config.template, data, (&text, took))
        });
        Made { text: SecretValue::new(text), secret, own: digest, mark }
    }

    /// Tells apart what a file says besides parameters: it is rendered with nothing but their defaults. Where the template
    /// needs others, those count along.
    fn mark(&self, component: &str, template: &str, mut data: Value, (text, took): (&str, u64)) -> String {
        let declared = self.package.parameters(component);
        let default = |name: &str| {
            let default = declared.get(name)?.default.as_ref()?;
            // a template may be no value of its type yet
            declared.check(name, default, self.resolved.version.as_str()).ok()
        };
        data["user_file"] = Value::Null;
        let mut bare = data.clone();
        if let (Some(all), Some(defaults)) = (data["params"].as_object_mut(), bare["params"].as_object_mut()) {
            defaults.clear();
            for (name, value) in all {
                if let Some(default) = default(name) {
                    value.clone_from(&default);
                    defaults.insert(name.clone(), default);
                }
            }
        }
        // it takes about as much as the file did; where it fails, which is no mistake, nobody knows what it took
        let most = took.saturating_mul(4).saturating_add(2_000);
        let plain = [bare, data]
            .iter()
            .filter(|_| is_template(template) && !self.budget.is_spent())
            .find_map(|data| self.package.engine.attempt(template, &Known::new(data).context, most, self.budget));
        short_digest(plain.as_deref().unwrap_or(text))
    }

    /// Where the data of these pods lies.
    pub(super) fn data(place: &Place<'_>) -> Option<String> {
        let mut lasting = place.declared.volumes.iter().filter(|(name, volume)| {
            volume.kind() == VolumeKind::Lasting && place.group.storage.contains_key(name.as_str())
        });
        lasting.next().map(|(_, volume)| volume.path.clone())
    }

    /// Whether Midship hands out the exclusive role of these pods.
    pub(super) fn failover(&self, place: &Place<'_>) -> bool {
        let topology = self.package.manifest.topologies.get(&self.resolved.topology);
        topology.is_some_and(crate::extension::contract::Topology::failover_by_midship)
            && place.declared.roles.iter().any(|role| role.exclusive)
    }

    /// The package's probe, or a connection to the client port.
    pub(super) fn ready_probe(place: &Place<'_>) -> Option<Probe> {
        let declared = place.declared.probes.as_ref().and_then(|probes| probes.ready.clone());
        declared.or_else(|| {
            let (name, port) = place.component.client_port()?;
            (!port.udp).then(|| Probe {
                steps: vec![Step { tcp: Some(Tcp { port: name.to_owned(), ..Tcp::default() }), ..Step::default() }],
                ..Probe::default()
            })
        })
    }

    fn agent(&mut self, place: &Place<'_>, files: Vec<FilePlan>, revision: &str) -> AgentConfig {
        let failover = &self.resolved.failover;
        let handing = Handing {
            manual: failover.mode == Some(FailoverMode::Manual),
            timeout: failover.timeout,
            max_lag: failover.max_lag.as_ref().and_then(crate::api::values::Quantity::bytes),
            synchronous: failover.synchronous.and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
        };
        let set = self.package.parameters(place.component.name.as_str());
        let changes = place.group.parameters.keys().map(|name| (name.clone(), set.change(name))).collect();
        let manifest = &self.package.manifest;
        let name = &place.component.name;
        let main = self.package.main_component();
        let mine = |component: Option<&crate::names::ComponentName>| component.or(main) == Some(name);
        let operations: BTreeMap<String, Operation> = manifest
            .operations
            .iter()
            .filter(|(_, operation)| mine(operation.component.as_ref()))
            .map(|(name, operation)| (name.clone(), operation.clone()))
            .collect();
        let backup: BTreeMap<String, BackupMethod> = manifest
            .backup
            .iter()
            .flat_map(|backup| &backup.methods)
            .filter(|(_, method)| mine(method.component.as_ref()))
            .filter(|(name, method)| {
                self.holds(&format!("backup.methods.{name}.when"), method.when.as_deref(), &place.context)
            })
            .map(|(name, method)| (name.clone(), method.clone()))
            .collect();
        let volumes = place.declared.volumes.iter().map(|(name, volume)| (name.clone(), volume.path.clone())).collect();
        let database = manifest.connection.as_ref().and_then(|connection| connection.database.clone());
        let database = database.map(|text| self.text("connection.database", &text, &place.context));
        let mut ports: BTreeMap<String, u16> = BTreeMap::new();
        for component in &self.resolved.components {
            ports.extend(component.ports.iter().map(|(name, port)| (name.clone(), port.port)));
        }
        ports.extend(place.component.ports.iter().map(|(name, port)| (name.clone(), port.port)));
        AgentConfig {
            instance: self.resolved.name.clone(),
            namespace: self.resolved.namespace.clone(),
            component: name.clone(),
            group: place.group.name.clone(),
            port: AGENT_PORT,
            ready_port: Some(READY_PORT),
            client_port: place.component.client_port().map(|(_, port)| port.port),
            ports,
            tls: self.resolved.tls.is_some(),
            login: manifest.credentials.is_some(),
            database,
            files,
            roles: place.declared.roles.clone(),
            failover: self.failover(place),
            handing,
            data: Self::data(place),
            revision: revision.to_owned(),
            changes,
            user_files: BTreeMap::new(),
            reload_signal: place.declared.process.as_ref().and_then(|process| process.reload_signal.clone()),
            renewal: manifest.tls.as_ref().filter(|_| self.resolved.tls.is_some()).and_then(|tls| tls.renewal),
            role: place.declared.role.clone(),
            ready: Self::ready_probe(place),
            live: place.declared.probes.as_ref().and_then(|probes| probes.live.clone()),
            actions: place.declared.actions.clone(),
            client: place.declared.client.clone(),
            operations,
            backup,
            volumes,
            restore: self.resolved.restore.clone(),
            context: self.known_to_steps(place),
        }
    }

    /// What steps can read. That the instance was created is none of its files' business: none changes with it.
    fn known_to_steps(&self, place: &Place<'_>) -> Value {
        let mut context = place.data.clone();
        if self.resolved.created {
            context[CREATED] = json!(true);
        }
        context
    }
}

fn pretty(value: &Value) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}
