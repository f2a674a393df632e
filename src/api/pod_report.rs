//! What the agent of a pod reports of it, in an annotation: written by the agent alone, read by controllers and people.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// The value of the annotation [`super::labels::REPORT`].
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodReport {
    /// State of the process, as PID 1 names it.
    pub process: Option<String>,
    /// Whether the process serves.
    pub ready: bool,
    /// Why not, or what it waits for.
    pub reason: Option<String>,
    /// The role it was found to have.
    pub role: Option<String>,
    /// Since when.
    pub role_since: Option<String>,
    /// The term of the exclusive role it knows of; each new holder begins a new one.
    pub epoch: Option<u64>,
    /// The term its data is from; nothing where it never had any.
    pub data_epoch: Option<u64>,
    /// How far its data reaches; the greater, the newer.
    pub position: Option<i64>,
    /// How many bytes of data it is behind, rounded down to a power of two, so that a busy database does not write to the API
    /// server all the time.
    pub lag: Option<i64>,
    /// The host it follows.
    pub follows: Option<String>,
    /// Revision of the configuration in effect.
    pub config_revision: Option<String>,
    /// What is configured, but takes effect with the next start of the process.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pending_restart: Vec<String>,
    /// Starts of the process after the first.
    pub restarts: u64,
    /// The backup method whose log is archived.
    pub archives: Option<String>,
    /// Why it cannot be archived.
    pub archive_error: Option<String>,
    /// The restore without which the process may not start.
    pub waits_for_restore: Option<String>,
    /// How the data came to follow another pod when the process last started: kept, rewound, copied anew.
    pub rejoined: Option<String>,
    /// When that was.
    pub rejoined_at: Option<String>,
    /// Volumes that are nearly full, and how full each is at least, in percent; nothing until they were looked at.
    pub filling: Option<BTreeMap<String, i32>>,
    /// Version of the agent.
    pub agent: Option<String>,
}

impl PodReport {
    /// Reads the annotation; nothing where there is none or somebody else wrote it.
    pub fn of(annotations: Option<&BTreeMap<String, String>>) -> Option<Self> {
        serde_json::from_str(annotations?.get(super::labels::REPORT)?).ok()
    }
}
