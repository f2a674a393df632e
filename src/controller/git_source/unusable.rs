//! Why a source cannot be worked with as it is.

use std::time::Duration;

/// What is wrong with a spec, or with a Secret that it names.
#[derive(Clone, Debug)]
pub struct Problem {
    pub reason: &'static str,
    pub message: String,
    /// Whether it may pass without a change of the spec.
    pub passing: bool,
}

impl Problem {
    pub fn of_spec(message: impl ToString) -> Self {
        Self { reason: "InvalidSpec", message: message.to_string(), passing: false }
    }

    pub fn of_secret(message: String) -> Self {
        Self { reason: "InvalidCredentials", message, passing: true }
    }

    pub fn retry_in(&self) -> Duration {
        Duration::from_secs(if self.passing { 10 } else { 300 })
    }
}
