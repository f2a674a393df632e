//! Defaults per environment: the same shape in a package and in a repository's `midship.yaml`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_with::skip_serializing_none;

use crate::api::instance::{Failover, InstanceBackup, Monitoring, Network, Tls, UpdateOptions};
use crate::api::schema;
use crate::api::values::{DeletionPolicy, Resources, Scheduling, Storage};
use crate::names::TopologyName;

/// What instances get where they say nothing.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Defaults {
    pub description: Option<String>,
    pub topology: Option<TopologyName>,
    pub deletion_policy: Option<DeletionPolicy>,
    /// By component; `*` stands for every one, and gives way to what is said by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub components: BTreeMap<String, ComponentDefaults>,
    pub tls: Option<Tls>,
    pub monitoring: Option<Monitoring>,
    pub backup: Option<InstanceBackup>,
    pub network: Option<Network>,
    pub failover: Option<Failover>,
}

/// What components get where the instance says nothing.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ComponentDefaults {
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: Option<i32>,
    pub resources: Option<Resources>,
    pub storage: Option<BTreeMap<String, Storage>>,
    /// Values of parameters.
    #[serde(default)]
    #[schemars(schema_with = "schema::parameters")]
    pub parameters: Option<BTreeMap<String, Value>>,
    pub scheduling: Option<Scheduling>,
    pub update: Option<UpdateOptions>,
}

impl Defaults {
    /// What is said of a component, the weaker first.
    pub fn of(&self, component: &str) -> impl Iterator<Item = &ComponentDefaults> {
        [self.components.get("*"), self.components.get(component)].into_iter().flatten()
    }
}
