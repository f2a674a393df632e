//! The agent's hands: runs what a package declares (actions, operations, probes, the question for the role) over
//! drivers that know protocols and no product.

mod error;
mod render;
mod run;
mod scope;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::drivers::{Drivers, ExecCall, Live, Session};
use super::facts::PodFacts;
use super::secrets::{LastKnown, Secrets};
use crate::extension::agent::AgentConfig;
use crate::extension::contract::step::Exec;
use crate::extension::contract::{OnFailure, Probe, Step};
use crate::extension::template::Engine;
use run::{ACTION_TIMEOUT, Clock, Failure, Runner, results};
use scope::Scope;

pub use error::{ActionError, FailedStep, FailureKind};

/// How long an operation may take that says nothing else.
const OPERATION_TIMEOUT: Duration = Duration::from_mins(5);
/// How long a probe may take that says nothing else.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// The session that a freeze begins and an unfreeze ends: some servers hold a freeze only while its connection lasts.
const FREEZE: &str = "freeze";

/// More variables for templates and expressions: `request`, `changed`, `primary`, `target`, `members`, `role`,
/// `is_primary`, `old`, `anew`. What is left out is there as nothing.
pub type Extras = Map<String, Value>;

/// What an actor stands on.
#[derive(Clone, Debug)]
pub struct ActorSettings {
    pub config: Arc<AgentConfig>,
    /// Where PID 1 of the middleware's container listens.
    pub control: PathBuf,
    /// A file per secret.
    pub secrets: PathBuf,
    /// What servers were logged in to with last; one for all actors of a pod.
    pub known: Arc<LastKnown>,
    /// `ca.crt`, `tls.crt` and `tls.key`, where TLS is on.
    pub tls: PathBuf,
    pub facts: PodFacts,
}

/// Runs the actions of one pod. A new configuration takes a new actor; both may be used at once.
pub struct Actor {
    settings: ActorSettings,
    drivers: Box<dyn Drivers>,
    engine: Arc<Engine>,
    /// The variables every run begins with, and the secrets they were made from.
    base: Mutex<Option<(Secrets, Scope)>>,
    runs: AtomicU64,
}

impl fmt::Debug for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Actor").field("facts", &self.settings.facts).finish_non_exhaustive()
    }
}

/// What a pod's own answer to the question for its role was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleSeen {
    pub role: String,
    /// How far its data reaches; none where it does not know.
    pub position: Option<u64>,
    /// Bytes it is behind.
    pub lag: Option<u64>,
    /// The host it follows; none where it follows nobody.
    pub follows: Option<String>,
}

/// Steps that are no action of their own, such as those of a backup.
#[derive(Clone, Copy, Debug)]
pub struct Steps<'a> {
    /// What they are called in errors.
    pub name: &'a str,
    pub steps: &'a [Step],
    /// 30s, or what the steps name, where left out.
    pub timeout: Option<Duration>,
    /// Steps of the same session share connections, until [`Actor::end`].
    pub session: &'a Session,
}

impl Actor {
    pub fn new(settings: ActorSettings) -> Self {
        let ActorSettings { config, control, secrets, known, tls, facts: _ } = &settings;
        let drivers = Live::new(config, control, secrets, known.clone(), tls);
        Self::with(settings, Box::new(drivers))
    }

    /// Over other drivers.
    pub fn with(settings: ActorSettings, drivers: Box<dyn Drivers>) -> Self {
        Self { settings, drivers, engine: Arc::new(Engine::new()), base: Mutex::new(None), runs: AtomicU64::new(0) }
    }

    pub fn config(&self) -> &AgentConfig {
        &self.settings.config
    }

    /// Runs an action; nothing where it is not declared, or its `when` does not hold. Its answer is its `result`.
    /// A failure the package says to ignore is logged, and the answer is empty.
    pub async fn run(&self, action: &str, extras: Extras) -> Result<Option<Value>, ActionError> {
        let Some(declared) = self.settings.config.action(action) else { return Ok(None) };
        let on_failure = declared.on_failure.unwrap_or(OnFailure::Fail);
        let frozen = matches!(action, "freeze" | "unfreeze");
        let session = if frozen { Session::Named(FREEZE.to_owned()) } else { self.session() };
        let outcome = async {
            let scope = self.scope(&extras)?;
            let clock = Clock::new(None, ACTION_TIMEOUT);
            self.runner(&session).action(action, declared, &scope, clock, Vec::new()).await
        };
        let outcome = self.ending(&session, action != "freeze", outcome).await;
        match outcome {
            Ok(result) => Ok(result),
            Err(failure) => {
                let error = self.error(action.to_owned(), on_failure, failure);
                if on_failure == OnFailure::Ignore {
                    tracing::warn!(%error, "an action failed, which its package says to ignore");
                    return Ok(Some(json!({})));
                }
                Err(error)
            }
        }
    }

    /// Runs an operation of the package with checked parameters, which its steps read as `request`.
    pub async fn operation(
        &self,
        name: &str,
        parameters: Map<String, Value>,
        mut extras: Extras,
    ) -> Result<Value, ActionError> {
        let what = format!("operation {name}");
        let Some(operation) = self.settings.config.operations.get(name) else {
            let known: Vec<&str> = self.settings.config.operations.keys().map(String::as_str).collect();
            let reason = if known.is_empty() {
                "the component has no operations".to_owned()
            } else {
                format!("there is no such operation; there are {}", known.join(", "))
            };
            return Err(self.error(what, OnFailure::Fail, Failure::new(FailureKind::Unknown, reason)));
        };
        extras.insert("request".to_owned(), Value::Object(parameters));
        let session = self.session();
        let outcome = async {
            let mut scope = self.scope(&extras)?;
            let clock = Clock::new(operation.timeout.map(|timeout| timeout.0), OPERATION_TIMEOUT);
            self.runner(&session).steps(&operation.steps, &mut scope, clock, &[]).await?;
            results(&operation.result, &scope)
        };
        let outcome = self.ending(&session, true, outcome).await;
        outcome.map_err(|failure| self.error(what, OnFailure::Fail, failure))
    }

    /// Asks a probe once.
    pub async fn probe(&self, probe: &Probe, extras: Extras) -> Result<(), ActionError> {
        let timeout = probe.timeout.map_or(PROBE_TIMEOUT, |timeout| timeout.0);
        let asked = async {
            let mut scope = self.scope(&extras)?;
            let clock = Clock::new(Some(timeout), timeout);
            self.runner(&Session::Probe).steps(&probe.steps, &mut scope, clock, &[]).await
        };
        asked.await.map_err(|failure| self.error("probe".to_owned(), OnFailure::Fail, failure))
    }

    /// Asks for the role; fails where the package declares no such question.
    pub async fn role(&self, extras: Extras) -> Result<RoleSeen, ActionError> {
        let asked = async {
            let Some(probe) = &self.settings.config.role else {
                return Err(Failure::new(FailureKind::Unknown, "the component does not say how a role is found"));
            };
            let timeout = probe.timeout.map_or(PROBE_TIMEOUT, |timeout| timeout.0);
            let mut scope = self.scope(&extras)?;
            let clock = Clock::new(Some(timeout), timeout);
            self.runner(&Session::Probe).steps(&probe.steps, &mut scope, clock, &[]).await?;
            let value = |name: &str, source: &str| {
                scope.value(name, source).map_err(|error| Failure::new(FailureKind::Failed, error.to_string()))
            };
            let maybe = |name: &str, source: Option<&String>| {
                source.map(|source| value(name, source)).transpose().map(Option::unwrap_or_default)
            };
            let role = value("role", &probe.role)?;
            let role = role.as_str().unwrap_or_default();
            if !self.settings.config.roles.iter().any(|known| known.name.as_str() == role) {
                let reason = format!("the answer \"{role}\" is no role of the component");
                return Err(Failure::new(FailureKind::Failed, reason));
            }
            Ok(RoleSeen {
                role: role.to_owned(),
                position: number(&maybe("position", probe.position.as_ref())?),
                lag: number(&maybe("lag", probe.lag.as_ref())?),
                follows: maybe("follows", probe.follows.as_ref())?
                    .as_str()
                    .filter(|host| !host.is_empty())
                    .map(str::to_owned),
            })
        };
        asked.await.map_err(|failure| self.error("role".to_owned(), OnFailure::Fail, failure))
    }

    /// Runs steps that are no action of their own; answers what they saved, and the last answer as `reply`.
    pub async fn steps(&self, what: Steps<'_>, extras: Extras) -> Result<Saved, ActionError> {
        let ran = async {
            let mut scope = self.scope(&extras)?;
            let clock = Clock::new(what.timeout, ACTION_TIMEOUT);
            self.runner(what.session).steps(what.steps, &mut scope, clock, &[]).await?;
            Ok(Saved(scope))
        };
        ran.await.map_err(|failure| self.error(what.name.to_owned(), OnFailure::Fail, failure))
    }

    /// A command with its templates rendered, for whoever streams what it writes or reads.
    pub fn command(&self, what: &str, exec: &Exec, extras: &Extras) -> Result<ExecCall, ActionError> {
        self.scope(extras)
            .and_then(|scope| render::exec(exec, &scope).map_err(|reason| Failure::new(FailureKind::Invalid, reason)))
            .map_err(|failure| self.error(what.to_owned(), OnFailure::Fail, failure))
    }

    /// A text with its templates rendered. It may hold secrets.
    pub fn text(&self, what: &str, source: &str, extras: &Extras) -> Result<String, ActionError> {
        self.scope(extras)
            .and_then(|scope| {
                scope.text(what, source).map_err(|error| Failure::new(FailureKind::Invalid, error.to_string()))
            })
            .map_err(|failure| self.error(what.to_owned(), OnFailure::Fail, failure))
    }

    /// Whether an expression holds.
    pub fn holds(&self, what: &str, source: &str, extras: &Extras) -> Result<bool, ActionError> {
        self.scope(extras)
            .and_then(|scope| {
                let holds = scope.holds(what, Some(source));
                holds.map_err(|error| Failure::new(FailureKind::Invalid, error.to_string()))
            })
            .map_err(|failure| self.error(what.to_owned(), OnFailure::Fail, failure))
    }

    /// A session of its own; to be ended with [`Self::end`].
    pub fn session(&self) -> Session {
        Session::Run(self.runs.fetch_add(1, Ordering::Relaxed))
    }

    pub fn end(&self, session: &Session) {
        self.drivers.end(session);
    }

    fn runner<'a>(&'a self, session: &'a Session) -> Runner<'a> {
        Runner { config: &self.settings.config, drivers: self.drivers.as_ref(), session }
    }

    /// Waits for what runs in a session, and closes its connections even when the waiting is given up.
    async fn ending<T>(&self, session: &Session, ends: bool, work: impl Future<Output = T>) -> T {
        struct End<'a>(&'a dyn Drivers, &'a Session);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                self.0.end(self.1);
            }
        }
        let _end = ends.then(|| End(self.drivers.as_ref(), session));
        work.await
    }

    /// Variables for one run. Secrets are read anew, so that new ones are used at once.
    fn scope(&self, extras: &Extras) -> Result<Scope, Failure> {
        let secrets = Secrets::read(&self.settings.secrets)
            .map_err(|error| Failure::new(FailureKind::Failed, error.to_string()))?;
        let mut base = self.base.lock().unwrap_or_else(PoisonError::into_inner);
        let scope = match base.as_ref() {
            Some((known, scope)) if *known == secrets => scope.clone(),
            _ => {
                let context = &self.settings.config.context;
                let scope = Scope::base(Arc::clone(&self.engine), context, &self.settings.facts, &secrets);
                base.insert((secrets, scope)).1.clone()
            }
        };
        drop(base);
        Ok(scope.with(extras))
    }

    /// What is told of a failure, without any secret in it.
    fn error(&self, action: String, on_failure: OnFailure, failure: Failure) -> ActionError {
        let base = self.base.lock().unwrap_or_else(PoisonError::into_inner);
        let reason = match base.as_ref() {
            Some((secrets, _)) => secrets.redact(&failure.reason),
            None => failure.reason,
        };
        ActionError { action, step: failure.step, kind: failure.kind, reason, on_failure }
    }
}

/// What steps saved. It may hold secrets.
pub struct Saved(Scope);

impl Saved {
    /// The value of an expression over it.
    pub fn value(&self, source: &str) -> Option<Value> {
        self.0.value("value", source).ok()
    }

    /// What was saved first, and then this.
    #[must_use]
    pub fn after(&self, first: &Self) -> Self {
        Self(first.0.clone().and(&self.0))
    }

    /// A command that may use what was saved.
    pub fn command(&self, exec: &Exec) -> Result<ExecCall, String> {
        render::exec(exec, &self.0)
    }

    /// A text that may use what was saved.
    pub fn text(&self, source: &str) -> Result<String, String> {
        self.0.text("text", source).map_err(|error| error.to_string())
    }
}

/// A number however the server writes it; less than nothing is none.
fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}
