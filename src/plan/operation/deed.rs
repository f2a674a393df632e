//! What a step does. Its name says it all, together with the spec: so it can be found out again after a restart.

use serde_json::{Map, Value};

use crate::api::operation::{ObjectTarget, ProcessAction, WaitFor};
use crate::api::values::Duration;

/// What one step does.
#[derive(Clone, Debug, PartialEq)]
pub enum Deed {
    /// Something is done with the process of a pod.
    Process {
        pod: String,
        action: ProcessAction,
    },
    /// The exclusive role goes from one pod to another, or to the best candidate.
    HandOver {
        from: String,
        to: Option<String>,
        /// Although the other pod is behind.
        force: bool,
    },
    /// An agent carries out something of the package.
    Call {
        pod: String,
        task: Task,
        parameters: Map<String, Value>,
    },
    /// The agent of a pod makes a backup.
    BackUp {
        pod: String,
    },
    /// The backup that is to be put back is looked at: whether it can be opened, and gone on from to the time.
    Examine,
    /// The agent of a pod puts a backup in the place of what is there.
    Fill {
        pod: String,
    },
    /// The agent of a pod runs the checks of what was restored.
    Prove {
        pod: String,
    },
    /// The instance's spec is changed as the operation asks.
    Change,
    /// The instance is as the change asks.
    Settle,
    /// The change is taken back.
    ChangeBack,
    /// The instance is as it was before.
    SettleBack,
    Apply(Value),
    Delete(ObjectTarget),
    Wait(WaitFor),
}

/// What an agent can carry out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    Action(String),
    Operation(String),
}

/// A step with everything that is decided about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    pub name: String,
    pub deed: Deed,
    /// Steps of a stage begin when those of the stages before have ended.
    pub stage: usize,
    pub pace: Pace,
    /// How long it may take, all attempts together.
    pub timeout: Option<Duration>,
    /// How often it is tried again, where it differs from the operation's.
    pub retries: Option<i32>,
}

/// How many steps of a stage at a time, and how long between one batch and the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    pub at_once: usize,
    pub interval: Option<Duration>,
}

impl Pace {
    pub const ONE: Self = Self { at_once: 1, interval: None };

    pub fn of(concurrency: Option<i32>, interval: Option<Duration>) -> Self {
        let at_once = concurrency.and_then(|number| usize::try_from(number).ok()).unwrap_or(1).max(1);
        Self { at_once, interval }
    }
}

impl Planned {
    pub fn new(name: impl Into<String>, deed: Deed, stage: usize) -> Self {
        Self { name: name.into(), deed, stage, pace: Pace::ONE, timeout: None, retries: None }
    }

    #[must_use]
    pub fn at_pace(self, pace: Pace) -> Self {
        Self { pace, ..self }
    }
}

impl Deed {
    /// The pod it is about.
    pub fn pod(&self) -> Option<&str> {
        match self {
            Self::Process { pod, .. }
            | Self::Call { pod, .. }
            | Self::BackUp { pod }
            | Self::Fill { pod }
            | Self::Prove { pod } => Some(pod),
            Self::HandOver { from, .. } => Some(from),
            Self::Examine
            | Self::Change
            | Self::Settle
            | Self::ChangeBack
            | Self::SettleBack
            | Self::Apply(_)
            | Self::Delete(_)
            | Self::Wait(_) => None,
        }
    }

    /// What can be done about it where it does not end.
    pub fn way_out(&self) -> String {
        let Self::Process { pod, .. } = self else { return String::new() };
        format!("; see why with midship logs, or delete the pod {pod}: it is made anew with the volumes it has")
    }

    /// Whether it only waits for something that can be seen.
    pub fn only_waits(&self) -> bool {
        matches!(self, Self::Settle | Self::SettleBack | Self::Wait(_))
    }
}

/// What a call carries so that it is carried out once, however often it has to be sent.
pub fn key(operation: &str, step: usize, attempt: i32, pod: &str) -> String {
    format!("{operation}/{step}.{attempt}/{pod}")
}
