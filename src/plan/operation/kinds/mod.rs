//! The types of operations there are, each in a file of its own. This table is the one place that says which.

pub mod backup;
mod configure;
mod custom;
mod horizontal_scale;
mod process;
mod reload;
mod restart;
mod restore;
mod state;
mod switchover;
mod time;
mod vertical_scale;
mod volume_expand;

use serde_json::Value;

use super::change::Change;
use super::deed::{Deed, Pace, Planned};
use super::world::{Pod, World};
use crate::api::operation::{OperationSpec, OperationStatus, OperationType, ProcessAction};
use crate::api::packed::Packed;

/// Everything the machine has to know about a type.
pub struct Kind {
    /// It waits until a change of the instance that is under way has ended.
    pub after_changes: bool,
    /// Whether its steps are in the package.
    pub needs_package: fn(&OperationSpec) -> bool,
    /// Its steps, decided once when it starts; or why it cannot be done.
    pub expand: fn(&World<'_>) -> Result<Vec<Planned>, String>,
    /// What a step was, from its name.
    pub recall: fn(&World<'_>, &str) -> Option<Planned>,
    /// What it changes of the instance's spec, where it does.
    pub change: Option<MakeChange>,
}

/// From what is asked for and the instance's spec to what becomes of it.
pub type MakeChange = fn(&OperationSpec, &Value) -> Result<Change, String>;

/// The type as it is carried out; nothing where it is not yet.
pub fn of(type_: OperationType) -> Option<&'static Kind> {
    match type_ {
        OperationType::Restart => Some(&restart::KIND),
        OperationType::Reload => Some(&reload::KIND),
        OperationType::Stop => Some(&state::STOP),
        OperationType::Start => Some(&state::START),
        OperationType::Switchover => Some(&switchover::KIND),
        OperationType::Process => Some(&process::KIND),
        OperationType::VerticalScale => Some(&vertical_scale::KIND),
        OperationType::HorizontalScale => Some(&horizontal_scale::KIND),
        OperationType::VolumeExpand => Some(&volume_expand::KIND),
        OperationType::Configure => Some(&configure::KIND),
        OperationType::Custom => Some(&custom::KIND),
        OperationType::Backup => Some(&backup::KIND),
        OperationType::Restore => Some(&restore::KIND),
        OperationType::Upgrade | OperationType::Rollback | OperationType::Rotate => None,
    }
}

/// Whether it goes on although it is cancelled: what it stopped runs again only at its end.
pub fn goes_to_its_end(type_: OperationType, status: &OperationStatus) -> bool {
    type_ == OperationType::Restore && restore::filled(status)
}

/// What is done after it failed or was cancelled, where what it began can simply be ended: nothing was changed yet.
pub fn resume(type_: OperationType, status: &OperationStatus) -> Vec<Planned> {
    match type_ {
        OperationType::Restore => restore::resume(status),
        _ => Vec::new(),
    }
}

fn never(_: &OperationSpec) -> bool {
    false
}

/// How the name of a step ends that starts again what was stopped for an operation that failed.
pub const AGAIN: &str = ", again";
/// A change of the instance, and the wait for it.
pub const CHANGE: &str = "change the instance";
const SETTLE: &str = "wait for the instance";

/// The steps of everything that only changes the instance.
fn change_steps() -> Vec<Planned> {
    vec![Planned::new(CHANGE, Deed::Change, 0), Planned::new(SETTLE, Deed::Settle, 1)]
}

fn recall_change(_: &World<'_>, name: &str) -> Option<Planned> {
    change_steps().into_iter().find(|planned| planned.name == name)
}

/// For what only changes the instance: whether that can be done at all.
fn expand_change(world: &World<'_>, change: MakeChange) -> Result<Vec<Planned>, String> {
    change(world.spec(), &world.instance_spec())?;
    Ok(change_steps())
}

/// A component that the instance has.
fn known_component(world: &World<'_>, component: &str) -> Result<(), String> {
    let resolved = world.instance.and_then(|instance| instance.status.as_ref()?.resolved.as_ref());
    let told = resolved.and_then(|resolved| resolved.components.as_ref()).map(Packed::open);
    let Some(all) = told.as_ref().and_then(Value::as_object) else { return Ok(()) };
    if all.contains_key(component) {
        return Ok(());
    }
    Err(crate::extension::problem::unknown("component", component, all.keys().map(String::as_str)))
}

/// The steps that do something with the processes of pods.
fn process_steps(world: &World<'_>, pods: &[&Pod], action: ProcessAction, pace: Pace) -> Vec<Planned> {
    pods.iter().map(|pod| timed_step(world, &pod.name, action, pace)).collect()
}

/// With the time it may take by itself.
fn timed_step(world: &World<'_>, pod: &str, action: ProcessAction, pace: Pace) -> Planned {
    Planned { timeout: time::allowed(world, pod, action), ..process_step(pod, action, pace) }
}

fn process_step(pod: &str, action: ProcessAction, pace: Pace) -> Planned {
    let deed = Deed::Process { pod: pod.to_owned(), action };
    Planned::new(format!("{} {pod}", word(action)), deed, 0).at_pace(pace)
}

fn recall_process(world: &World<'_>, name: &str, pace: Pace) -> Option<Planned> {
    let (verb, pod) = name.split_once(' ')?;
    let action = ACTIONS.into_iter().find(|action| word(*action) == verb)?;
    Some(timed_step(world, pod, action, pace))
}

const ACTIONS: [ProcessAction; 4] =
    [ProcessAction::Start, ProcessAction::Stop, ProcessAction::Restart, ProcessAction::Reload];

fn word(action: ProcessAction) -> &'static str {
    match action {
        ProcessAction::Start => "start",
        ProcessAction::Stop => "stop",
        ProcessAction::Restart => "restart",
        ProcessAction::Reload => "reload",
    }
}
