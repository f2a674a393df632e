//! Where the agent is: its configuration, its pod, the other pods of its set.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::agent::facts::PodFacts;
use crate::agent::role::{Holder, Member, Settings};
use crate::extension::agent::AgentConfig;
use crate::extension::naming;

/// How long the holder of a role may be silent where the instance does not say.
const SILENCE: Duration = Duration::from_secs(10);
/// A shorter one would be over before a busy API server has answered.
const SHORTEST_SILENCE: Duration = Duration::from_secs(3);
/// No configuration is nearly as large.
const MAX_CONFIG: u64 = 4 * 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}: {source}")]
    Parse { path: PathBuf, source: serde_json::Error },
    #[error("{0} is not set; the pod's template has to say which pod this is")]
    Variable(&'static str),
}

/// One configuration, and what it means for this pod.
#[derive(Clone, Debug)]
pub struct Place {
    pub config: std::sync::Arc<AgentConfig>,
    pub pod: String,
    pub uid: String,
    pub facts: PodFacts,
}

/// The configuration in a file.
pub fn read(path: &Path) -> Result<AgentConfig, PlaceError> {
    use std::io::Read;
    let failed = |source| PlaceError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(failed)?.take(MAX_CONFIG).read_to_end(&mut bytes).map_err(failed)?;
    serde_json::from_slice(&bytes).map_err(|source| PlaceError::Parse { path: path.to_owned(), source })
}

impl Place {
    /// As the file and the container's environment say.
    pub fn find(path: &Path) -> Result<Self, PlaceError> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let pod = variable("MIDSHIP_POD").ok_or(PlaceError::Variable("MIDSHIP_POD"))?;
        let uid = variable("MIDSHIP_POD_UID").ok_or(PlaceError::Variable("MIDSHIP_POD_UID"))?;
        let config = read(path)?;
        let facts = PodFacts::from_environment(&config);
        Ok(Self { config: config.into(), pod, uid, facts })
    }

    /// The same pod with another configuration.
    #[must_use]
    pub fn with(&self, config: AgentConfig) -> Self {
        let facts = PodFacts::from_environment(&config);
        Self { config: config.into(), facts, ..self.clone() }
    }

    /// Whether Midship hands out an exclusive role here.
    pub fn handed_out(&self) -> bool {
        self.config.failover
    }

    /// The pod set: also the name of its lease.
    pub fn set(&self) -> String {
        let config = &self.config;
        naming::pod_set(config.instance.as_str(), config.component.as_str(), config.group.as_str())
    }

    /// The pods of the set as templates know them, each with `name` and `host`.
    pub fn pods(&self) -> Vec<Value> {
        let component = &self.config.context["components"][self.config.component.as_str()];
        let groups = component["groups"].as_array().cloned().unwrap_or_default();
        let own = groups.into_iter().find(|group| group["name"] == self.config.group.as_str());
        own.and_then(|group| group["pods"].as_array().cloned()).unwrap_or_default()
    }

    /// A pod of the set as templates know it.
    pub fn pod(&self, name: &str) -> Value {
        let known = self.pods().into_iter().find(|pod| pod["name"] == name);
        known.unwrap_or_else(|| json!({ "name": name, "host": name }))
    }

    pub fn others(&self) -> Vec<String> {
        let names = self.pods().into_iter().filter_map(|pod| Some(pod["name"].as_str()?.to_owned()));
        names.filter(|name| *name != self.pod).collect()
    }

    /// The pod behind a host that a process says it follows.
    pub fn pod_at(&self, host: &str) -> String {
        let first = host.split('.').next().unwrap_or(host);
        let matches = |pod: &Value| pod["host"] == host || pod["name"] == host || pod["name"] == first;
        let found = self.pods().into_iter().find(matches);
        found.and_then(|pod| pod["name"].as_str().map(str::to_owned)).unwrap_or_else(|| host.to_owned())
    }

    pub fn exclusive(&self, role: &str) -> bool {
        self.config.roles.iter().any(|known| known.exclusive && known.name.as_str() == role)
    }

    /// The name of the exclusive role.
    pub fn exclusive_role(&self) -> Option<&str> {
        self.config.roles.iter().find(|role| role.exclusive).map(|role| role.name.as_str())
    }

    pub fn settings(&self) -> Settings {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let handing = &self.config.handing;
        let silence = handing.timeout.map_or(SILENCE, |timeout| timeout.0).max(SHORTEST_SILENCE);
        let mut pods: Vec<Member> = self
            .pods()
            .iter()
            .filter_map(|pod| {
                let ordinal = pod["ordinal"].as_u64().and_then(|ordinal| u16::try_from(ordinal).ok())?;
                Some(Member { name: pod["name"].as_str()?.to_owned(), ordinal })
            })
            .collect();
        if !pods.iter().any(|pod| pod.name == self.pod) {
            // about to leave, or only just added
            let ordinal = self.facts.get("ordinal").and_then(|ordinal| ordinal.parse().ok()).unwrap_or(u16::MAX);
            pods.push(Member { name: self.pod.clone(), ordinal });
        }
        Settings {
            me: Holder { pod: self.pod.clone(), uid: self.uid.clone() },
            pods,
            duration: millis(silence),
            automatic: !handing.manual,
            lasting: self.config.data.is_some(),
            synchronous: usize::try_from(handing.synchronous).unwrap_or(usize::MAX),
            max_lag: handing.max_lag.and_then(|lag| i64::try_from(lag).ok()),
            attach_within: self
                .config
                .role
                .as_ref()
                .and_then(|probe| probe.attach_within)
                .map(|within| millis(within.0)),
        }
    }

    /// What actions can read besides the context.
    pub fn extras(&self, role: Option<&str>, is_primary: bool, primary: Option<&str>) -> Map<String, Value> {
        let mut extras = Map::new();
        extras.insert("role".to_owned(), json!(role.unwrap_or_default()));
        extras.insert("is_primary".to_owned(), json!(is_primary));
        extras.insert("primary".to_owned(), primary.map(|name| self.pod(name)).unwrap_or_default());
        extras.insert("members".to_owned(), json!(self.pods()));
        extras
    }
}
