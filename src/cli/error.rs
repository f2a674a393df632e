//! The one place that turns errors into help for people: what is wrong, where, and what to do.

use anstyle::{AnsiColor, Style};

use crate::cluster::problem::Problem;

/// Why a command failed.
#[derive(Debug)]
pub struct CommandError {
    pub(super) what: String,
    pub(super) place: Option<String>,
    pub(super) remedies: Vec<String>,
}

impl CommandError {
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), place: None, remedies: Vec::new() }
    }

    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.place = Some(place.into());
        self
    }

    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedies.push(remedy.into());
        self
    }

    pub fn runtime(error: std::io::Error) -> Self {
        Self::new(format!("the system gives no threads or sockets: {error}"))
            .remedy("look for limits on processes and open files: ulimit -a")
    }

    pub fn print(&self) {
        let (error, label) = (AnsiColor::Red.on_default().bold(), Style::new().bold());
        eprintln!("{error}error:{error:#} {}", self.what);
        if let Some(place) = &self.place {
            eprintln!("  {label}where:{label:#} {place}");
        }
        for remedy in &self.remedies {
            eprintln!("  {label}to do:{label:#} {remedy}");
        }
    }
}

impl From<Problem> for CommandError {
    fn from(problem: Problem) -> Self {
        let Problem { what, place, remedy } = problem;
        Self { what, place, remedies: vec![remedy] }
    }
}

impl From<crate::serve::telemetry::TelemetryError> for CommandError {
    fn from(error: crate::serve::telemetry::TelemetryError) -> Self {
        use crate::serve::telemetry::TelemetryError;
        let (place, remedy) = match &error {
            TelemetryError::Level(level) => (
                format!("--log-level {level:?}"),
                "use error, warn, info, debug or trace, or a filter such as midship=debug,kube=warn",
            ),
            TelemetryError::Traces { endpoint, .. } => (
                format!("--otlp-endpoint {endpoint}"),
                "name the collector's address for OTLP over HTTP, such as http://otel:4318, or leave it out",
            ),
        };
        Self::new(error.to_string()).at(place).remedy(remedy)
    }
}

impl From<crate::controller::ControllerError> for CommandError {
    fn from(error: crate::controller::ControllerError) -> Self {
        use crate::controller::ControllerError;
        let (place, remedy) = match &error {
            ControllerError::Health { address, .. } => (
                format!("--health-address {address}"),
                "choose another address with --health-address, or end the process that has it",
            ),
            ControllerError::Webhook(_) => (
                "--webhook-address".to_owned(),
                "choose another address with --webhook-address, and check the files in the folder of --webhook-tls",
            ),
            ControllerError::Metrics(_) => {
                ("--metrics-address".to_owned(), "choose another address with --metrics-address, or leave it out")
            }
            ControllerError::Signals(_) => {
                ("this process".to_owned(), "look for limits on processes and open files: ulimit -a")
            }
            ControllerError::LeaseTaken { .. } => {
                ("the lease".to_owned(), "nothing: whoever started this replica starts it again")
            }
        };
        Self::new(error.to_string()).at(place).remedy(remedy)
    }
}
