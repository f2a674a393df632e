//! A component in the contract: one program, its image, ports, files, volumes, parameters, probes and actions.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_with::skip_serializing_none;

use super::action::{Actions, Probes, RoleProbe};
use super::delivery::Service;
use super::parameter::{Change, OtherParameters, Parameter, Rules};
use super::role::Role;
use super::short::{self, short_forms};
use super::step::Exec;
use super::text::{Expression, Template};
use crate::api::instance::ProcessRestart;
use crate::api::pod_set::StartOrder;
use crate::api::values::{Duration, Quantity, Resources, Spread};
use crate::names::{ComponentName, ParameterName, VolumeName};

/// Pods that run the same program.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Component {
    pub description: Option<String>,
    /// Program and arguments. It runs as a child of `midship-agent init`, so it must stay in the foreground.
    pub command: Vec<Template>,
    /// Environment variables. For a secret value write `{{ secret.<name> }}` and nothing else.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Template>,
    /// Ports by name. The first in the order of their names, or the one called `client`, is where clients connect.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<String, Port>,
    /// Configuration files by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, ConfigFile>,
    /// Parameters that users may set.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<ParameterName, Parameter>,
    /// A file of the package with more parameters, written as under `parameters`.
    pub parameters_file: Option<String>,
    /// What becomes of parameters that are not declared; they are refused where left out.
    pub other_parameters: Option<OtherParameters>,
    /// Rules on all parameters together.
    pub rules: Option<Rules>,
    /// Volumes by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<VolumeName, Volume>,
    /// CPU and memory where the instance says nothing.
    pub resources: Option<Resources>,
    /// The user the program runs as; 1001 where left out.
    pub user: Option<User>,
    /// How the process is started and stopped.
    pub process: Option<Process>,
    /// How it is found out whether it is ready and well; a connection to the client port where left out.
    pub probes: Option<Probes>,
    /// Roles its pods can have, from the first to be disturbed to the last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<Role>,
    /// How a pod's role is found.
    pub role: Option<RoleProbe>,
    /// What is done at which moment of its life.
    #[serde(default, skip_serializing_if = "Actions::is_empty")]
    pub actions: Actions,
    /// The middleware's own client, as people run it in the container: `midship connect` opens it.
    pub client: Option<Exec>,
    /// Services. One with all ports, named like the instance for the component clients talk to, where left out.
    pub services: Option<BTreeMap<String, Service>>,
    /// Start pods one after another, or all at once (assumed).
    pub start: Option<StartOrder>,
    /// Components that have to be ready before this one starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<ComponentName>,
    /// How far pods are kept apart where the instance says nothing; `node` where left out.
    pub spread: Option<Spread>,
    /// Additions to the pod as Kubernetes writes it. Objects are merged; containers, volumes, mounts and variables by name.
    pub pod: Option<Value>,
    /// A template of the package that renders such additions.
    pub pod_template: Option<String>,
}

impl Component {
    /// Whether a running process can be told to read its files again.
    pub fn reloads(&self) -> bool {
        self.actions.reload.is_some() || self.process.as_ref().is_some_and(|process| process.reload_signal.is_some())
    }
}

/// A port.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(remote = "Self", rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Port", transform = port_schema)]
pub struct Port {
    #[schemars(range(min = 1, max = 65_535))]
    pub port: u16,
    /// TCP (assumed) or UDP.
    pub protocol: Option<Protocol>,
    /// When the port is open; always where left out.
    pub when: Option<Expression>,
    /// For the instance's own pods only: in no Service that clients use.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub internal: bool,
}

fn port_schema(schema: &mut schemars::Schema) {
    short::or(schema, &serde_json::json!({ "type": "integer", "minimum": 1, "maximum": 65_535 }));
}

short_forms!(Port, "a port number, or port, protocol, when and internal", from_number(number: u64) {
    Some(Self { port: u16::try_from(number).ok().filter(|port| *port > 0)?, ..Self::default() })
});

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    Tcp,
    Udp,
}

/// A configuration file. A bare text is the template's path in the package.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(remote = "Self", rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "ConfigFile", transform = config_schema)]
pub struct ConfigFile {
    /// The template's path in the package, such as `config/server.conf.j2`.
    pub template: String,
    /// Where the program reads it; `/midship/files/<name>` where left out. `{{ files['<name>'] }}` has the path.
    pub path: Option<String>,
    /// When the file exists; always where left out.
    pub when: Option<Expression>,
    /// Whether users may bring a complete file of their own; no where left out.
    pub user_file: Option<UserFile>,
    /// What a change of a user's own file needs: none, reload or restart (assumed).
    pub change: Option<Change>,
    /// What a change needs that neither a parameter nor a user's own file brought about, as when pods come and go: none,
    /// reload (assumed) or restart.
    pub on_change: Option<Change>,
    /// How a user's own file is written, so that the parameters in it can be checked.
    pub format: Option<FileFormat>,
    /// Written once, when it is not there yet, because the program writes to it itself. Its path has to lie on a volume.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub once: bool,
    /// File mode, such as 0600 (assumed).
    pub mode: Option<String>,
}

fn config_schema(schema: &mut schemars::Schema) {
    short::or(schema, &serde_json::json!({ "type": "string" }));
}

impl ConfigFile {
    /// Whether the process has to start anew when a user's own file changes.
    pub fn user_file_restarts(&self) -> bool {
        self.user_file.is_some() && self.change.unwrap_or(Change::Restart) > Change::Reload
    }
}

short_forms!(ConfigFile, "a template's path, or template, path, when, userFile, change, onChange, format, once and mode", from_text(text: &str) {
    Some(Self { template: text.to_owned(), ..Self::default() })
});

/// What a user's own file does to the rendered one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UserFile {
    /// It takes its place.
    Replaces,
    /// The template puts it where `{{ user_file }}` stands.
    Included,
}

/// How a configuration file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FileFormat {
    /// `name value`, a line each.
    Words,
    /// `name = value`, a line each; `[section]` lines are passed over.
    Properties,
    Yaml,
    Json,
}

/// A volume of each pod.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Volume {
    /// Where it is mounted.
    pub path: String,
    /// Size of a lasting volume where the instance says nothing.
    pub size: Option<Quantity>,
    /// What it is: lasting where `size` is given, else gone with the pod.
    pub kind: Option<VolumeKind>,
    /// When the pods have it; always where left out.
    pub when: Option<Expression>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum VolumeKind {
    /// A claim of each pod that outlives it.
    Lasting,
    /// On the node's disk, gone with the pod.
    Scratch,
    /// In memory, gone with the pod.
    Memory,
}

impl Volume {
    pub fn kind(&self) -> VolumeKind {
        self.kind.unwrap_or(if self.size.is_some() { VolumeKind::Lasting } else { VolumeKind::Scratch })
    }
}

/// The user a program runs as. A bare number is both user and group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
#[schemars(rename = "User", transform = user_schema)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
}

fn user_schema(schema: &mut schemars::Schema) {
    short::or(schema, &serde_json::json!({ "type": "integer", "minimum": 1 }));
}

short_forms!(User, "a user's number, or uid and gid", from_number(number: u64) {
    let number = u32::try_from(number).ok()?;
    Some(Self { uid: number, gid: number })
});

impl Default for User {
    fn default() -> Self {
        Self { uid: 1001, gid: 1001 }
    }
}

/// How the process is started and stopped.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Process {
    /// Signal that makes it stop; SIGTERM where left out.
    pub stop_signal: Option<String>,
    /// How long it may take to stop before it is killed; 30s where left out.
    pub stop_timeout: Option<Duration>,
    /// How long it may take to become ready; 60s where left out.
    pub start_timeout: Option<Duration>,
    /// Signal that makes it read its configuration again, where an action `reload` would do only that.
    pub reload_signal: Option<String>,
    /// Whether a process that ended is started again; Always where left out.
    pub restart: Option<ProcessRestart>,
    /// Directory it is started in.
    pub working_directory: Option<Template>,
}
