//! Follows an Operation to its end. One that nobody takes up is withdrawn, so that it does not surprise anybody later.

use std::time::Duration;

use kube::ResourceExt;
use kube::api::{DeleteParams, Preconditions};
use tokio::time::Instant;

use super::super::Outcome;
use super::super::error::CommandError;
use super::super::output::{self, Format, printable};
use super::super::session::Session;
use super::super::wait::{Look, watch};
use crate::api::Operation;
use crate::api::operation::{OperationPhase, OperationStatus};

/// How soon a controller has to take an operation up.
const TAKEN_UP: Duration = Duration::from_secs(15);

enum End {
    Done(Box<Operation>),
    /// Nobody took it up; the object as it was last seen.
    Ignored(Box<Operation>),
    /// Somebody deleted it.
    Deleted,
}

pub async fn to_its_end(
    session: &Session<'_>,
    made: &Operation,
    timeout: u64,
    format: Format,
) -> Result<Outcome, CommandError> {
    let name = made.name_any();
    let place = format!("Operation {}/{name}", session.namespace);
    let mut begun = Instant::now();
    let api = session.operations();
    // the controller ends it in time itself; what is added is for its last word
    let seen = watch(Duration::from_secs(timeout) + TAKEN_UP, async || {
        let operation = match session.glance(api.get_opt(&name)).await? {
            Ok(Some(operation)) => operation,
            Ok(None) => return Ok(Look::Ended(End::Deleted)),
            // it goes on without anybody who watches, and controllers did not see it meanwhile either
            Err(away) => {
                begun = Instant::now();
                return Ok(Look::Waiting(away));
            }
        };
        let status = operation.status.clone().unwrap_or_default();
        Ok(match status.phase {
            Some(OperationPhase::Succeeded | OperationPhase::Failed | OperationPhase::Cancelled) => {
                Look::Ended(End::Done(Box::new(operation)))
            }
            None if begun.elapsed() > TAKEN_UP => Look::Ended(End::Ignored(Box::new(operation))),
            _ => Look::Waiting(told(&status)),
        })
    })
    .await?;
    let look = format!("midship describe op/{name} -n {}", session.namespace);
    match seen {
        Look::Ended(End::Done(operation)) => {
            let status = operation.status.clone().unwrap_or_default();
            if status.phase == Some(OperationPhase::Succeeded) {
                let sentence = format!("{name} succeeded: {}", printable(&told(&status)));
                output::told(format, &operation, &sentence)?;
                return Ok(Outcome::Done);
            }
            let word = if status.phase == Some(OperationPhase::Cancelled) { "was cancelled" } else { "failed" };
            Err(CommandError::new(format!("the operation {word}: {}", printable(&told(&status))))
                .at(place)
                .remedy(look))
        }
        Look::Ended(End::Deleted) => {
            Err(CommandError::new("somebody deleted the operation before it ended; what it had begun may go on")
                .at(place)
                .remedy(format!("see how it is: midship describe {} -n {}", made.spec.instance, session.namespace)))
        }
        Look::Ended(End::Ignored(operation)) => {
            let withdrawn = withdraw(session, &operation).await?;
            let fate =
                if withdrawn { "it was withdrawn, so that nothing happens later" } else { "it was just taken up" };
            Err(CommandError::new(format!(
                "no controller took the operation up within {} s; {fate}",
                TAKEN_UP.as_secs()
            ))
            .at(place)
            .remedy("see whether the controller runs: midship doctor")
            .remedy("a controller of this version may not carry out operations of this type yet: CHANGELOG.md"))
        }
        Look::Waiting(told) => Err(CommandError::new(format!("the operation did not end within {timeout} s"))
            .at(format!("{place}: {}", printable(&told)))
            .remedy(look)),
    }
}

/// What an operation does, in a sentence.
fn told(status: &OperationStatus) -> String {
    let message = status.message.clone().or_else(|| status.current_step.clone());
    match (status.progress.clone(), message, status.phase) {
        (Some(progress), Some(message), _) => format!("{progress} {message}"),
        (Some(text), None, _) | (None, Some(text), _) => text,
        (None, None, Some(phase)) => format!("{phase:?}"),
        (None, None, None) => "waits for a controller to take it up".to_owned(),
    }
}

/// Deletes it as it was seen; false where somebody took it up in between.
async fn withdraw(session: &Session<'_>, operation: &Operation) -> Result<bool, CommandError> {
    let preconditions = Preconditions { uid: operation.uid(), resource_version: operation.resource_version() };
    let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    let (api, name) = (session.operations(), operation.name_any());
    let withdrawn = async {
        match api.delete(&name, &parameters).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => Ok(false),
            Err(error) => Err(error),
        }
    };
    session.ask(withdrawn).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_tells_its_progress_and_what_it_does() {
        let status = |progress: Option<&str>, message: Option<&str>, phase| OperationStatus {
            progress: progress.map(str::to_owned),
            message: message.map(str::to_owned),
            phase,
            ..OperationStatus::default()
        };
        assert_eq!(told(&status(Some("1/3"), Some("restarting a-0"), None)), "1/3 restarting a-0");
        assert_eq!(told(&status(None, None, Some(OperationPhase::Pending))), "Pending");
        assert_eq!(told(&status(None, None, None)), "waits for a controller to take it up");
    }
}
