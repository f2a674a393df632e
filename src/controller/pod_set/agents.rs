//! What pod sets ask of the agents in their pods.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::{Map, Value};

use crate::api::labels;
use crate::controller::agents::Agents as Known;
use crate::controller::hooks::{About, Hooks};
use crate::lifecycle::Client;
use crate::lifecycle::problem::{Code, Problem};
use crate::lifecycle::values::{Order, Task, Transfer};
use crate::plan::pod_set::EMPTIED;

/// Why an agent did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CallError {
    pub message: String,
    /// Asking again changes nothing.
    pub refused: bool,
    /// It may be under way, or nobody could be asked: the same call asks for its end.
    pub goes_on: bool,
}

/// Calls to agents. Every call carries a key: the same key twice does a thing once.
pub trait Agents: Send + Sync + 'static {
    /// Starts the process anew; returns once it serves again.
    fn restart(&self, pod: &Pod, key: &str) -> impl Future<Output = Result<(), CallError>> + Send;
    /// Hands the pod's role to another pod; returns once that has it.
    fn switchover(&self, pod: &Pod, to: &str, key: &str) -> impl Future<Output = Result<(), CallError>> + Send;
    /// Has an action of the package done that is about a pod; done at once where the package declares none.
    fn hook(&self, about: About<'_>, action: Hook, key: &str) -> impl Future<Output = Result<(), CallError>> + Send;
    /// Whether the package has something to do at a moment of scaling; nothing where it is not known.
    fn asks(&self, about: &About<'_>, action: Hook) -> Option<bool>;
    /// The order in which pods want to be disturbed, where the package declares one.
    fn restart_order(&self, pod: &Pod) -> impl Future<Output = Result<Option<Vec<String>>, CallError>> + Send;
}

/// The moments of scaling at which a package may have something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Moves away what only this pod has; it may go once that is done.
    PreScaleIn,
    PostScaleIn,
    PostScaleOut,
}

impl Hook {
    fn action(self) -> &'static str {
        match self {
            Self::PreScaleIn => "preScaleIn",
            Self::PostScaleIn => "postScaleIn",
            Self::PostScaleOut => "postScaleOut",
        }
    }
}

/// How long one call may take. What was begun goes on; the same key asks for its end.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long a question may take that changes nothing.
const QUESTION: Duration = Duration::from_secs(10);

/// Calls over the network, with the controller's certificate.
pub struct Remote {
    agents: Arc<Known>,
    hooks: Arc<Hooks>,
}

impl Remote {
    pub fn new(agents: Arc<Known>, hooks: Arc<Hooks>) -> Self {
        Self { agents, hooks }
    }

    async fn client(&self, pod: &Pod) -> Result<Client, CallError> {
        let later = |message: String| CallError { message, refused: false, goes_on: true };
        let unknown = |what: &str| later(format!("the pod has no {what} yet"));
        let instance = pod.labels().get(labels::INSTANCE).ok_or_else(|| unknown("instance"))?;
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref());
        let address = address.ok_or_else(|| unknown("address"))?;
        let client = self.agents.client(instance, namespace, address).await;
        client.map_err(|error| later(error.to_string()))
    }

    /// Whether the package moves away what a pod has before it leaves.
    fn empties(&self, pod: &Pod) -> bool {
        let label = |name: &str| pod.labels().get(name).map(String::as_str).unwrap_or_default();
        let about = About {
            namespace: pod.metadata.namespace.as_deref().unwrap_or_default(),
            instance: label(labels::INSTANCE),
            component: label(labels::COMPONENT),
            group: label(labels::GROUP),
            pod: None,
            leading: None,
        };
        let declared = self.hooks.declared(&about, Hook::PreScaleIn.action());
        // one with a condition may do nothing here
        declared.is_ok_and(|declared| declared.is_some_and(|action| action.when.is_none()))
    }
}

impl Agents for Remote {
    async fn restart(&self, pod: &Pod, key: &str) -> Result<(), CallError> {
        self.client(pod).await?.process(Order::Restart, None, Some(key), PATIENCE).await?;
        Ok(())
    }

    async fn switchover(&self, pod: &Pod, to: &str, key: &str) -> Result<(), CallError> {
        let client = self.client(pod).await?;
        let transfer = Transfer { target: Some(to.to_owned()), force: false };
        match client.switchover(transfer, Some(key), PATIENCE).await {
            // the middleware hands it out by itself; the package may know how to ask it to
            Err(problem) if problem.code == Code::Unsupported => {}
            answer => return answer.map(|_| ()).map_err(CallError::from),
        }
        let mut parameters = Map::new();
        parameters.insert("target".to_owned(), Value::from(to));
        match client.run(&Task::Action("switchover".to_owned()), parameters, Some(key), PATIENCE).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => {
                let mut message = "the package has no way to hand its role over in this topology".to_owned();
                if self.empties(pod) {
                    message = format!("{message}; {EMPTIED}");
                }
                Err(CallError { message, refused: true, goes_on: false })
            }
            Err(problem) if problem.code == Code::NotFound && self.empties(pod) => {
                let message = format!("{problem}; {EMPTIED}");
                Err(CallError { message, refused: true, goes_on: false })
            }
            // only a package that declares nothing says for good that there is nothing to hand over by
            Err(problem) => {
                let refused = problem.code == Code::NotFound;
                Err(CallError { refused, ..CallError::from(problem) })
            }
        }
    }

    async fn hook(&self, about: About<'_>, action: Hook, key: &str) -> Result<(), CallError> {
        Ok(self.hooks.run(&about, action.action(), key).await?)
    }

    fn asks(&self, about: &About<'_>, action: Hook) -> Option<bool> {
        self.hooks.asks(about, action.action())
    }

    async fn restart_order(&self, pod: &Pod) -> Result<Option<Vec<String>>, CallError> {
        let task = Task::Action("restartOrder".to_owned());
        let answer = match self.client(pod).await?.run(&task, Map::new(), None, QUESTION).await {
            Err(problem) if problem.code == Code::NotFound => return Ok(None),
            answer => answer?,
        };
        let Some(order) = answer.as_ref().and_then(|answer| answer.get("order")) else { return Ok(None) };
        let names = order.as_array().map(|names| names.iter().filter_map(Value::as_str).map(str::to_owned).collect());
        names.map(Some).ok_or_else(|| CallError {
            message: format!("restartOrder gave no list of pods as order, but {order}"),
            refused: true,
            goes_on: false,
        })
    }
}

impl From<Problem> for CallError {
    fn from(problem: Problem) -> Self {
        let refused = match problem.code {
            Code::BadRequest | Code::Forbidden | Code::NotFound | Code::MethodNotAllowed | Code::Unsupported => true,
            Code::TooLarge
            | Code::KeyReused
            | Code::Busy
            | Code::Precondition
            | Code::TooMany
            | Code::Failed
            | Code::Unhealthy
            | Code::Unavailable
            | Code::Timeout => false,
        };
        let goes_on = matches!(problem.code, Code::Timeout | Code::Unavailable | Code::Busy | Code::TooMany);
        Self { message: problem.to_string(), refused, goes_on }
    }
}
