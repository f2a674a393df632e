//! What pod sets ask of the agents in their pods.

use k8s_openapi::api::core::v1::Pod;

/// Why an agent did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CallError {
    pub message: String,
    /// Asking again changes nothing.
    pub refused: bool,
}

/// Calls to agents. Every call carries a key: the same key twice does a thing once.
pub trait Agents: Send + Sync + 'static {
    /// Starts the process anew; returns once it serves again.
    fn restart(&self, pod: &Pod, key: &str) -> impl Future<Output = Result<(), CallError>> + Send;
    /// Hands the pod's role to another pod; returns once that has it.
    fn switchover(&self, pod: &Pod, to: &str, key: &str) -> impl Future<Output = Result<(), CallError>> + Send;
    /// Moves away what only this pod has; returns once it may go. Done at once where the package declares nothing.
    fn pre_scale_in(&self, pod: &Pod, key: &str) -> impl Future<Output = Result<(), CallError>> + Send;
    /// The order in which pods want to be disturbed, where the package declares one.
    fn restart_order(&self, pod: &Pod) -> impl Future<Output = Result<Option<Vec<String>>, CallError>> + Send;
}

/// No way to call agents: everything that needs one waits and says so.
pub struct NoAgents;

impl NoAgents {
    fn unable() -> CallError {
        CallError { message: "agents cannot be called yet".to_owned(), refused: false }
    }
}

impl Agents for NoAgents {
    async fn restart(&self, _: &Pod, _: &str) -> Result<(), CallError> {
        Err(Self::unable())
    }

    async fn switchover(&self, _: &Pod, _: &str, _: &str) -> Result<(), CallError> {
        Err(Self::unable())
    }

    async fn pre_scale_in(&self, _: &Pod, _: &str) -> Result<(), CallError> {
        Err(Self::unable())
    }

    async fn restart_order(&self, _: &Pod) -> Result<Option<Vec<String>>, CallError> {
        Ok(None)
    }
}
