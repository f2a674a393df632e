//! The package contract: what may stand in `extension.yaml`. Everything optional has a default that suits most.

pub mod action;
pub mod component;
pub mod delivery;
pub mod extras;
pub mod parameter;
pub mod role;
pub mod short;
pub mod step;
pub mod text;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_with::skip_serializing_none;

use crate::names::{ComponentName, EnvironmentName, ExtensionType, ExtensionVersion, MiddlewareVersion, TopologyName};

pub use action::{Action, Actions, OnFailure, Probe, Probes, RoleProbe};
pub use component::{Component, ConfigFile, Port, Process, User, UserFile, Volume};
pub use delivery::{Connection, Credentials, SecretSpec, Service, TlsSupport};
pub use extras::{
    Alert, Backup, BackupMethod, Exporter, Incremental, LogStream, Metrics, Monitoring, ObjectTemplate, Operation,
    PartSet, Stream, StreamFormat,
};
pub use parameter::{Change, OtherParameters, Parameter, ParameterType, Rules};
pub use role::Role;
pub use step::Step;
pub use text::{Expression, Template};

use super::defaults::Defaults;
use short::short_forms;

/// What a kind of middleware is, and how it is run: the whole of `extension.yaml`.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "Midship extension")]
pub struct Manifest {
    /// The contract this file is written for; v1 where left out.
    pub contract: Option<Contract>,
    /// Kind of middleware. Instances name it in `spec.type`.
    #[serde(rename = "type")]
    pub type_: ExtensionType,
    /// Version of this package. Once published, it never changes.
    pub version: ExtensionVersion,
    /// Its name as people write it.
    pub title: Option<String>,
    /// What it is, in a sentence.
    pub description: Option<String>,
    /// Where to read more.
    pub homepage: Option<String>,
    /// Licence of the package.
    pub license: Option<String>,
    /// Words to find it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keywords: Vec<String>,
    /// Package versions an instance can be moved from to this one, each in one step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upgradable_from: Vec<ExtensionVersion>,
    /// Versions of the middleware it can run.
    pub versions: Vec<Version>,
    /// Steps from one middleware version to another. An instance takes one at a time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upgrades: Vec<VersionUpgrade>,
    /// The programs it is made of.
    pub components: BTreeMap<ComponentName, Component>,
    /// The ways in which components work together. One called `standalone`, with every component, where left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub topologies: BTreeMap<TopologyName, Topology>,
    /// The administrator's name and password: generated, or given by the user. No authentication where left out.
    pub credentials: Option<Credentials>,
    /// More secrets, each generated once: replication passwords, cookies, cluster keys.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, SecretSpec>,
    /// How clients connect; becomes the Secret `<instance>-connection`.
    pub connection: Option<Connection>,
    /// TLS, where the middleware can do it.
    pub tls: Option<TlsSupport>,
    /// Operations of its own, for `Operation` objects of type Custom.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub operations: BTreeMap<String, Operation>,
    /// How it is backed up and restored.
    pub backup: Option<Backup>,
    /// Metrics, alerts and dashboard.
    pub monitoring: Option<Monitoring>,
    /// Defaults per environment, such as development and production.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environments: BTreeMap<EnvironmentName, Defaults>,
    /// Further Kubernetes objects of each instance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<ObjectTemplate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Contract {
    V1,
}

/// A version of the middleware.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Version {
    /// The version, as instances name it. Quote it: a bare 7.0 is a number.
    pub version: MiddlewareVersion,
    /// The image its components run, with tag or digest.
    pub image: Option<String>,
    /// Other images, by component or by a name of your own (`{{ images.<name> }}`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<String, String>,
    /// Why it should not be used for new instances.
    pub deprecated: Option<String>,
    /// Values that differ from version to version: `{{ values.<name> }}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, Value>,
}

/// One step from a middleware version to another. Pods take it one after another.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VersionUpgrade {
    pub from: MiddlewareVersion,
    pub to: MiddlewareVersion,
    /// Whether the old version can still read the data afterwards; true where left out.
    pub rollback: Option<bool>,
    /// What a person should know before.
    pub note: Option<String>,
}

/// A way in which components work together.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Topology {
    pub description: Option<String>,
    /// Whether instances that name none get this one. The only one needs no mark.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub default: bool,
    /// The components that run in it.
    pub components: BTreeMap<ComponentName, TopologyComponent>,
    /// Who replaces a primary that is gone: Midship (assumed) or the middleware itself.
    pub failover: Option<FailoverBy>,
    /// Topologies a running instance can be changed to from this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub change_to: Vec<TopologyName>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FailoverBy {
    Midship,
    Middleware,
}

/// How many pods of a component a topology has.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TopologyComponent {
    /// Pods, or pods of each group where there are groups; 1 where left out. A bare number is the default.
    pub replicas: Option<Count>,
    /// Groups that users may add, change and remove, such as shards. One group called `default` where left out.
    pub groups: Option<Groups>,
}

/// A number with a default and limits.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(remote = "Self", rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Count", transform = count_schema)]
pub struct Count {
    /// The number where an instance gives none.
    pub default: u16,
    /// The smallest number allowed; 0 where left out.
    pub min: Option<u16>,
    /// The largest number allowed; 1000 where left out.
    pub max: Option<u16>,
    /// Whether it has to be odd, as for a quorum.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub odd: bool,
}

fn count_schema(schema: &mut schemars::Schema) {
    short::or(schema, &serde_json::json!({ "type": "integer", "minimum": 0, "maximum": 1000 }));
}

short_forms!(Count, "a number, or default, min, max and odd", from_number(number: u64) {
    Some(Self { default: u16::try_from(number).ok()?, ..Self::default() })
});

/// Groups of pods that come and go at run time.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Groups {
    /// What their names start with: `shard` gives shard-0, shard-1, …
    pub prefix: String,
    /// How many there are where an instance lists none, and limits.
    pub count: Count,
}

impl Manifest {
    /// The topology of instances that name none.
    pub fn default_topology(&self) -> Option<(&TopologyName, &Topology)> {
        self.topologies.iter().find(|(_, topology)| topology.default).or_else(|| self.topologies.iter().next())
    }

    pub fn version(&self, version: &str) -> Option<&Version> {
        self.versions.iter().find(|known| known.version.as_str() == version)
    }
}

impl Topology {
    pub fn failover_by_midship(&self) -> bool {
        self.failover != Some(FailoverBy::Middleware)
    }
}
