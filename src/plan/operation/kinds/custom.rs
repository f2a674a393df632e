//! Custom: an operation that the package declares, or steps of one's own.

use serde_json::Map;

use super::{ACTIONS, Kind, time, word};
use crate::api::operation::{AgentCall, OperationSpec, Step, Target};
use crate::extension::contract;
use crate::extension::problem::unknown;
use crate::names::RoleName;
use crate::plan::operation::deed::{Deed, Pace, Planned, Task};
use crate::plan::operation::world::{Pod, World, pods_of};

pub const KIND: Kind = Kind { after_changes: false, needs_package: declared, expand, recall, change: None };

/// A pod may take so long where the package says nothing.
const ON_ONE_POD: std::time::Duration = std::time::Duration::from_mins(5);

fn declared(spec: &OperationSpec) -> bool {
    spec.custom.as_ref().is_some_and(|custom| custom.name.is_some())
}

fn expand(world: &World<'_>) -> Result<Vec<Planned>, String> {
    let spec = world.spec();
    let custom = spec.custom.as_ref().ok_or("spec.custom is missing")?;
    if let Some(name) = &custom.name {
        let operation = of_package(world, name)?;
        let pods = chosen(world, operation)?;
        let parameters = custom.parameters.clone().unwrap_or_default().into_iter().collect();
        return Ok(pods.iter().map(|pod| declared_step(name, operation, &pod.name, &parameters)).collect());
    }
    let mut all = Vec::new();
    for (stage, step) in custom.steps.iter().enumerate() {
        match &step.call {
            Some(call) => {
                let pods = world.targeted(spec.target.as_ref()).map_err(|why| format!("step {}: {why}", step.name))?;
                all.extend(pods.iter().map(|pod| call_step(world, (step, call), stage, &pod.name)));
            }
            None => all.push(own_step(step, stage).ok_or_else(|| format!("step {} does nothing", step.name))?),
        }
    }
    Ok(all)
}

fn recall(world: &World<'_>, name: &str) -> Option<Planned> {
    let custom = world.spec().custom.as_ref()?;
    let (first, pod) = name.rsplit_once(' ').unwrap_or((name, ""));
    if let Some(declared) = &custom.name {
        let operation = of_package(world, declared).ok()?;
        let parameters = custom.parameters.clone().unwrap_or_default().into_iter().collect();
        return (first == declared).then(|| declared_step(declared, operation, pod, &parameters));
    }
    let at = |wanted: &str| custom.steps.iter().enumerate().find(|(_, step)| step.name == wanted);
    if let Some((stage, step)) = at(name).filter(|(_, step)| step.call.is_none()) {
        return own_step(step, stage);
    }
    let (stage, step) = at(first)?;
    Some(call_step(world, (step, step.call.as_ref()?), stage, pod))
}

fn of_package<'w>(world: &'w World<'_>, name: &str) -> Result<&'w contract::Operation, String> {
    let package = world.package.as_ref().ok_or("the extension of the instance is not ready")?;
    let all = &package.manifest.operations;
    all.get(name).ok_or_else(|| unknown("operation", name, all.keys().map(String::as_str)))
}

/// The pods that carry a declared operation out: as the package says, narrowed by the target.
fn chosen<'w>(world: &'w World<'_>, operation: &contract::Operation) -> Result<Vec<&'w Pod>, String> {
    let mut pods = world.targeted(world.spec().target.as_ref())?;
    if let Some(component) = &operation.component {
        pods.retain(|pod| pod.component == component.as_str());
    }
    match operation.on.as_deref() {
        None | Some("all") => {}
        Some("any") => {
            pods.sort_by_key(|pod| !pod.ready);
            pods.truncate(1);
        }
        Some(role) => {
            let role = RoleName::parse(role).map_err(|error| error.to_string())?;
            let target = Target { role: Some(role), ..Target::default() };
            let with_role: Vec<&str> =
                pods_of(&world.pods, Some(&target)).iter().map(|pod| pod.name.as_str()).collect();
            pods.retain(|pod| with_role.contains(&pod.name.as_str()));
        }
    }
    if pods.is_empty() {
        let whom = operation.on.as_deref().map(|on| format!(" ({on})")).unwrap_or_default();
        return Err(format!("no pod is there that the operation is for{whom}"));
    }
    Ok(pods)
}

fn declared_step(
    name: &str,
    operation: &contract::Operation,
    pod: &str,
    parameters: &Map<String, serde_json::Value>,
) -> Planned {
    let task = Task::Operation(name.to_owned());
    let deed = Deed::Call { pod: pod.to_owned(), task, parameters: parameters.clone() };
    let concurrency = operation.concurrency.map(i32::from);
    Planned {
        timeout: Some(operation.timeout.unwrap_or(crate::api::values::Duration(ON_ONE_POD))),
        ..Planned::new(format!("{name} {pod}"), deed, 0).at_pace(Pace::of(concurrency, None))
    }
}

/// A call of one's own: something with the process, or an action of the package by either spelling of its name.
fn call_step(world: &World<'_>, (step, call): (&Step, &AgentCall), stage: usize, pod: &str) -> Planned {
    let process = ACTIONS.into_iter().find(|action| word(*action) == call.action);
    let timeout = process.and_then(|action| time::allowed(world, pod, action));
    let deed = match process {
        Some(action) => Deed::Process { pod: pod.to_owned(), action },
        None => Deed::Call {
            pod: pod.to_owned(),
            task: Task::Action(camel(&call.action)),
            parameters: call.parameters.clone().unwrap_or_default().into_iter().collect(),
        },
    };
    let planned = Planned { timeout, ..Planned::new(format!("{} {pod}", step.name), deed, stage) };
    limits(planned.at_pace(Pace::of(call.concurrency, call.interval)), step)
}

fn own_step(step: &Step, stage: usize) -> Option<Planned> {
    let deed = match (&step.apply, &step.delete, &step.wait) {
        (Some(object), ..) => Deed::Apply(object.clone()),
        (_, Some(target), _) => Deed::Delete(target.clone()),
        (_, _, Some(wait)) => Deed::Wait(wait.clone()),
        _ => return None,
    };
    Some(limits(Planned::new(step.name.clone(), deed, stage), step))
}

fn limits(planned: Planned, step: &Step) -> Planned {
    Planned { timeout: step.timeout.or(planned.timeout), retries: step.retries, ..planned }
}

/// `pre-scale-in` as packages write it: `preScaleIn`.
fn camel(name: &str) -> String {
    let mut parts = name.split('-');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut letters = part.chars();
        text.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        text.push_str(letters.as_str());
    }
    text
}
