//! The agent's hands: runs what a package declares (actions, operations, probes, the question for the role) over
//! drivers that know protocols and no product.

mod error;

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::facts::PodFacts;
use crate::extension::agent::AgentConfig;
use crate::extension::contract::{OnFailure, Probe};

pub use error::{ActionError, FailedStep, FailureKind};

/// More variables for templates and expressions: `request`, `changed`, `primary`, `target`, `members`, `role`,
/// `is_primary`, `old`.
pub type Extras = Map<String, Value>;

/// What an actor stands on.
#[derive(Clone, Debug)]
pub struct ActorSettings {
    pub config: Arc<AgentConfig>,
    /// Where PID 1 of the middleware's container listens.
    pub control: PathBuf,
    /// A file per secret.
    pub secrets: PathBuf,
    /// `ca.crt`, `tls.crt` and `tls.key`, where TLS is on.
    pub tls: PathBuf,
    pub facts: PodFacts,
}

/// Runs the actions of one pod. A new configuration takes a new actor; both may be used at once.
#[derive(Debug)]
pub struct Actor {
    settings: ActorSettings,
}

/// What a pod's own answer to the question for its role was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleSeen {
    pub role: String,
    /// How far its data reaches.
    pub position: Option<u64>,
    /// Bytes it is behind.
    pub lag: Option<u64>,
    /// The host it follows; none where it follows nobody.
    pub follows: Option<String>,
}

impl Actor {
    pub fn new(settings: ActorSettings) -> Self {
        Self { settings }
    }

    /// Runs an action; nothing where it is not declared, or its `when` does not hold. Its answer is its `result`.
    pub async fn run(&self, action: &str, extras: Extras) -> Result<Option<Value>, ActionError> {
        let _ = extras;
        if self.settings.config.action(action).is_none() { Ok(None) } else { Err(self.not_yet(action)) }
    }

    /// Runs an operation of the package with checked parameters, which its steps read as `request`.
    pub async fn operation(
        &self,
        name: &str,
        parameters: Map<String, Value>,
        extras: Extras,
    ) -> Result<Value, ActionError> {
        let _ = (parameters, extras);
        Err(self.not_yet(name))
    }

    /// Asks a probe once.
    pub async fn probe(&self, probe: &Probe, extras: Extras) -> Result<(), ActionError> {
        let _ = (probe, extras);
        Err(self.not_yet("probe"))
    }

    /// Asks for the role; fails where the package declares no such question.
    pub async fn role(&self, extras: Extras) -> Result<RoleSeen, ActionError> {
        let _ = extras;
        Err(self.not_yet("role"))
    }

    fn not_yet(&self, action: &str) -> ActionError {
        ActionError {
            action: action.to_owned(),
            step: None,
            kind: FailureKind::Unknown,
            reason: "cannot be run yet".to_owned(),
            on_failure: OnFailure::Fail,
        }
    }
}
