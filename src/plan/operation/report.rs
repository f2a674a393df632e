//! What an operation says of itself: progress, the step that runs, conditions.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::world::World;
use super::{is_end, is_finished};
use crate::api::conditions::{ConditionStatus, Finding, READY, RECONCILING, STALLED, merge};
use crate::api::operation::{OperationPhase, OperationStatus, StepStatus};

/// Steps that are named in a message.
const NAMED: usize = 3;

/// Fills in what follows from the rest.
pub fn complete(status: &mut OperationStatus, world: &World<'_>) {
    let all = status.steps.len();
    let finished = status.steps.iter().filter(|step| is_end(step.phase)).count();
    status.progress = (all > 0).then(|| format!("{finished}/{all}"));
    let running: Vec<&StepStatus> = status.steps.iter().filter(|step| step.phase == OperationPhase::Running).collect();
    status.current_step = running.first().map(|step| step.name.clone());
    if status.phase == Some(OperationPhase::Running) && !running.is_empty() {
        status.message = Some(doing(status));
    }
    let findings = findings(status);
    let now = Time(world.now);
    status.conditions = merge(&status.conditions, &findings, world.operation.metadata.generation, &now);
}

/// What is done now, in a few words.
pub fn doing(status: &OperationStatus) -> String {
    let running: Vec<&StepStatus> = status.steps.iter().filter(|step| step.phase == OperationPhase::Running).collect();
    let told = |step: &&&StepStatus| match &step.message {
        Some(message) => format!("{}: {message}", step.name),
        None => step.name.clone(),
    };
    let mut said: Vec<String> = running.iter().take(NAMED).map(|step| told(&step)).collect();
    if running.len() > NAMED {
        said.push(format!("{} more", running.len() - NAMED));
    }
    if said.is_empty() {
        return status.message.clone().unwrap_or_default();
    }
    said.join("; ")
}

fn findings(status: &OperationStatus) -> Vec<Finding> {
    let message = status.message.clone().unwrap_or_default();
    let phase = status.phase.unwrap_or(OperationPhase::Pending);
    let word = format!("{phase:?}");
    let ready = if phase == OperationPhase::Succeeded { ConditionStatus::True } else { ConditionStatus::False };
    let mut all = vec![Finding::new(READY, ready, word.clone(), message.clone())];
    match phase {
        OperationPhase::Failed | OperationPhase::Cancelled | OperationPhase::Paused => {
            all.push(Finding::new(STALLED, ConditionStatus::True, word, message));
        }
        _ if !is_finished(status) => all.push(Finding::new(RECONCILING, ConditionStatus::True, word, message)),
        _ => {}
    }
    all
}
