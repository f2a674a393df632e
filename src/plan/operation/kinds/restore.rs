//! Restore: a backup in the place of the data that is there. First it is looked at, and a safety backup is made; then every process of the component is
//! stopped, the pod that leads is filled and started, and the others follow it again.

use super::{AGAIN, Kind, backup, process_step};
use crate::api::operation::{
    FailurePolicy, InPlaceRestore, OperationPhase, OperationStatus, ProcessAction, StepStatus, UNTOUCHED,
};
use crate::api::values::Duration;
use crate::extension::contract::Topology;
use crate::extension::methods;
use crate::names::TopologyName;
use crate::plan::operation::deed::{Deed, Pace, Planned};
use crate::plan::operation::world::{Pod, World, pods_of};

pub const KIND: Kind = Kind { after_changes: false, needs_package: |_| true, expand, recall, change: None };

/// The stages, in their order.
const LOOK: usize = 0;
const SAFETY: usize = 1;
const STOP_OTHERS: usize = 2;
const STOP: usize = 3;
const FILL: usize = 4;
const START: usize = 5;
const PROVE: usize = 6;
const START_OTHERS: usize = 7;
/// After a failure that changed nothing.
const RESUME: usize = 8;

/// What was stopped has to run again within this time, or somebody has to look.
const RESUMES: Duration = Duration(std::time::Duration::from_hours(1));

const LAST: &str = ", the last one";
const FIRST: &str = ", the first one";
const EXAMINE: &str = "look at the backup";

fn expand(world: &World<'_>) -> Result<Vec<Planned>, String> {
    let spec = world.spec();
    let instance = &spec.instance;
    let InPlaceRestore { source: _, replace_data_of, skip_safety_backup } =
        spec.restore.as_ref().ok_or("spec.restore is missing")?;
    if replace_data_of != instance {
        return Err(format!("spec.restore.replaceDataOf says {replace_data_of}, and the instance is {instance}"));
    }
    if let Some(policy @ (FailurePolicy::Continue | FailurePolicy::Pause)) = spec.on_failure {
        // whoever is let pass over one step is let pass over the restore itself, and what is left starts
        return Err(format!(
            "onFailure: {policy:?} would go on although the backup of the data or the restore failed; leave it out"
        ));
    }
    let package = world.package.as_ref().ok_or("its package cannot be used")?;
    if world.pods.is_empty() {
        return Err(format!("{instance} has no pods to restore to: start it first"));
    }
    let topology = world.instance.and_then(|instance| instance.status.as_ref()?.resolved.as_ref()?.topology.clone());
    let topology = topology.and_then(|name| TopologyName::parse(&name).ok());
    let topology = topology.and_then(|name| package.manifest.topologies.get(&name));
    let (_, method) = methods::choose(package, None).map_err(|error| error.to_string())?;
    let has_data = |pod: &&Pod| method.component.as_ref().is_none_or(|component| pod.component == component.as_str());
    let mut pods: Vec<&Pod> = pods_of(&world.pods, None).into_iter().filter(has_data).collect();
    pods.sort_by_key(|pod| (pod.rank, std::cmp::Reverse(pod.ordinal)));
    if pods.iter().any(|pod| pod.group != pods[0].group || pod.component != pods[0].component) {
        return Err(format!(
            "{instance} has several groups with data of their own: they cannot be restored in place; make a new instance \
             with spec.restore and as many groups, and move clients to it"
        ));
    }
    if pods.len() > 1 && !topology.is_none_or(Topology::failover_by_midship) {
        return Err(format!(
            "{instance} chooses its primary by itself, which would not wait for the restore: make a new instance with \
             spec.restore"
        ));
    }
    let leader = pods.iter().find(|pod| pod.leads).or(pods.iter().min_by_key(|pod| pod.ordinal));
    let leader = leader.ok_or_else(|| format!("{instance} has no pod with the data of its package"))?.name.clone();
    let mut steps = vec![examine()];
    if *skip_safety_backup != Some(true) {
        let from = backup::pods(world, None, None).map_err(|reason| {
            format!("{reason}; to replace the data without a backup of it, say restore.skipSafetyBackup: true")
        })?;
        steps.extend(from.iter().map(|pod| safety(&pod.name)));
    }
    let others: Vec<&str> = pods.iter().map(|pod| pod.name.as_str()).filter(|name| *name != leader).collect();
    steps.extend(others.iter().map(|pod| process(pod, ProcessAction::Stop, STOP_OTHERS)));
    steps.push(process(&leader, ProcessAction::Stop, STOP));
    steps.push(fill(&leader));
    steps.push(process(&leader, ProcessAction::Start, START));
    steps.push(prove(&leader));
    steps.extend(others.iter().map(|pod| process(pod, ProcessAction::Start, START_OTHERS)));
    Ok(steps)
}

/// What the pod that leads does has a name of its own: the stage follows from it alone.
fn process(pod: &str, action: ProcessAction, stage: usize) -> Planned {
    let step = process_step(pod, action, Pace::ONE);
    let name = match stage {
        STOP => format!("{}{LAST}", step.name),
        START => format!("{}{FIRST}", step.name),
        RESUME => format!("{}{AGAIN}", step.name),
        _ => step.name.clone(),
    };
    let timeout = (stage == RESUME).then_some(RESUMES);
    Planned { name, stage, timeout, ..step }
}

fn safety(pod: &str) -> Planned {
    Planned { stage: SAFETY, ..backup::step(pod) }
}

fn examine() -> Planned {
    Planned::new(EXAMINE, Deed::Examine, LOOK)
}

fn filling(status: &OperationStatus) -> Option<&StepStatus> {
    status.steps.iter().find(|step| step.name.starts_with("restore "))
}

/// Whether the data is there.
pub fn filled(status: &OperationStatus) -> bool {
    filling(status).is_some_and(|fill| fill.phase == OperationPhase::Succeeded)
}

/// Where it ended before anything was changed: what was stopped for it starts again, the one that leads first, whoever could
/// not be stopped last.
pub fn resume(status: &OperationStatus) -> Vec<Planned> {
    let untouched = filling(status).is_none_or(|fill| {
        let said = fill.message.as_deref().is_some_and(|message| message.contains(UNTOUCHED));
        // failed, held for somebody to decide, or about to be tried again
        let over = !matches!(fill.phase, OperationPhase::Running | OperationPhase::Succeeded);
        fill.attempts == 0 || (over && said)
    });
    if !untouched {
        return Vec::new();
    }
    let begun = status.steps.iter().rev().filter(|step| step.attempts > 0);
    let (missed, stopped): (Vec<&StepStatus>, Vec<&StepStatus>) =
        begun.partition(|step| step.phase == OperationPhase::Failed);
    let pods = stopped.into_iter().chain(missed).filter_map(|step| step.name.strip_prefix("stop "));
    pods.map(|pod| process(pod.strip_suffix(LAST).unwrap_or(pod), ProcessAction::Start, RESUME)).collect()
}

fn fill(pod: &str) -> Planned {
    Planned::new(format!("restore {pod}"), Deed::Fill { pod: pod.to_owned() }, FILL)
}

fn prove(pod: &str) -> Planned {
    Planned::new(format!("check {pod}"), Deed::Prove { pod: pod.to_owned() }, PROVE)
}

fn recall(_: &World<'_>, name: &str) -> Option<Planned> {
    if name == EXAMINE {
        return Some(examine());
    }
    let (verb, pod) = name.split_once(' ')?;
    Some(match verb {
        "back" => Planned { stage: SAFETY, ..backup::recall(name)? },
        "stop" => match pod.strip_suffix(LAST) {
            Some(pod) => process(pod, ProcessAction::Stop, STOP),
            None => process(pod, ProcessAction::Stop, STOP_OTHERS),
        },
        "restore" => fill(pod),
        "start" => match (pod.strip_suffix(FIRST), pod.strip_suffix(AGAIN)) {
            (Some(pod), _) => process(pod, ProcessAction::Start, START),
            (None, Some(pod)) => process(pod, ProcessAction::Start, RESUME),
            (None, None) => process(pod, ProcessAction::Start, START_OTHERS),
        },
        "check" => prove(pod),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::plan::operation::tests::world::Scene;

    #[test]
    fn every_step_is_known_again_by_its_name() {
        let order = [LOOK, SAFETY, STOP_OTHERS, STOP, FILL, START, PROVE, START_OTHERS, RESUME];
        assert!(order.is_sorted(), "nobody starts before the data is there and proven");
        let steps = [
            examine(),
            process("a-1", ProcessAction::Start, RESUME),
            safety("a-1"),
            process("a-1", ProcessAction::Stop, STOP_OTHERS),
            process("a-0", ProcessAction::Stop, STOP),
            fill("a-0"),
            process("a-0", ProcessAction::Start, START),
            prove("a-0"),
            process("a-1", ProcessAction::Start, START_OTHERS),
        ];
        let scene = Scene::new(serde_json::json!({ "type": "Restore" }));
        for step in steps {
            assert_eq!(recall(&scene.seen(), &step.name).as_ref(), Some(&step));
        }
        assert_eq!(process("a-0", ProcessAction::Stop, STOP).name, "stop a-0, the last one");
    }
}
