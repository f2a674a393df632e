//! Why an action failed, in words that name the action, the step and the driver.

use std::fmt;

use crate::extension::contract::OnFailure;

/// An action, probe or operation that did not succeed. Secrets are left out of its words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ActionError {
    /// What was to be done: an action's name, `probe`, `role`, `operation vacuum`.
    pub action: String,
    /// The step it failed at.
    pub step: Option<FailedStep>,
    pub kind: FailureKind,
    pub reason: String,
    /// What the package says a failure means.
    pub on_failure: OnFailure,
}

/// A step by its place and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedStep {
    /// Counted from 1.
    pub number: usize,
    /// What the step is called, else its driver.
    pub name: String,
    pub driver: &'static str,
}

/// What went wrong, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// There is no such action or operation.
    Unknown,
    /// A template or expression, or what was given to it, is wrong: trying again does not help.
    Invalid,
    /// The driver could not do it, or what it answered is not what is expected.
    Failed,
    /// The package gives up with a message of its own.
    GivenUp,
    TimedOut,
}

impl fmt::Display for ActionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.action)?;
        if let Some(step) = &self.step {
            write!(f, "step {}", step.number)?;
            if step.name == step.driver {
                write!(f, " ({}): ", step.driver)?;
            } else {
                write!(f, " ({}, {}): ", step.name, step.driver)?;
            }
        }
        f.write_str(&self.reason)
    }
}
