//! Backup: the agent of one pod makes a backup, or that of one pod of each group. Which pod is decided once: one with the
//! role the method prefers, else the one that leads, else the first.

use super::Kind;
use crate::api::labels::BACKUP_POLICY;
use crate::api::operation::Target;
use crate::extension::methods;
use crate::names::ComponentName;
use crate::plan::operation::deed::{Deed, Planned};
use crate::plan::operation::world::{Pod, World, pods_of};

pub const KIND: Kind =
    Kind { after_changes: false, needs_package: |_| true, expand, recall: |_, name| recall(name), change: None };

fn expand(world: &World<'_>) -> Result<Vec<Planned>, String> {
    let spec = world.spec();
    let wanted = spec.backup.as_ref().and_then(|backup| backup.method.as_deref());
    if is_parted(world, wanted) {
        // one that is gone is not passed over: what the others have would pass for all that was meant
        world.has_named(spec.target.as_ref())?;
    }
    let chosen = pods(world, wanted, spec.target.as_ref());
    // what a policy prefers was there when it asked, and that it is gone by now is no reason to make no backup
    let by_policy = world.operation.metadata.labels.as_ref().is_some_and(|all| all.contains_key(BACKUP_POLICY));
    let chosen = if chosen.is_err() && by_policy { pods(world, wanted, None) } else { chosen };
    let chosen = chosen?;
    let names_pods = spec.target.as_ref().is_some_and(|target| !target.pods.is_empty());
    // who names one pod means what that one has
    let alone = names_pods && chosen.len() == 1;
    if let Some(groups) = set_size(world, wanted, spec.target.as_ref())
        && chosen.len() != groups
        && !alone
    {
        let (instance, there) = (&spec.instance, chosen.len());
        return Err(if names_pods {
            format!(
                "spec.target names pods of {there} of the {groups} groups of {instance}: a backup of several groups needs a part \
                 of each; name pods of all of them, or of one"
            )
        } else {
            format!(
                "{instance} is to have {groups} groups, and {there} of them have pods that can be backed up: a backup of it \
                 needs a part of each; make it once they have come or gone"
            )
        });
    }
    Ok(chosen.into_iter().map(|pod| step(&pod.name)).collect())
}

/// Whether each group has a part of the data; else any pod that is named has all of it.
fn is_parted(world: &World<'_>, wanted: Option<&str>) -> bool {
    let method = world.package.as_ref().and_then(|package| methods::choose(package, wanted).ok());
    method.is_some_and(|(_, method)| method.each_group)
}

/// How many parts a backup of all groups needs; nothing where it is not made of parts that belong together.
fn set_size(world: &World<'_>, wanted: Option<&str>, target: Option<&Target>) -> Option<usize> {
    let component = set_of(world, wanted, target)?;
    let told = world.instance?.status.as_ref()?.resolved.as_ref()?.components.as_ref()?.open();
    Some(told.get(component)?.get("groups")?.as_array()?.len())
}

/// The component all of whose groups are backed up together, where its package can put the parts together.
fn set_of<'w>(world: &'w World<'_>, wanted: Option<&str>, target: Option<&Target>) -> Option<&'w str> {
    let package = world.package.as_ref()?;
    let (_, method) = methods::choose(package, wanted).ok()?;
    method.set.as_ref().filter(|_| method.each_group)?;
    // who means one group of several makes a part by itself; to name the component is to mean all of its groups
    if target.is_some_and(|target| target.group.is_some()) {
        return None;
    }
    method.component.as_ref().or_else(|| package.main_component()).map(ComponentName::as_str)
}

/// How many parts the set has that this operation makes; nothing where it makes none.
pub fn parts(world: &World<'_>) -> Option<usize> {
    let spec = world.spec();
    let wanted = spec.backup.as_ref().and_then(|backup| backup.method.as_deref());
    set_of(world, wanted, spec.target.as_ref())?;
    let parts = world.status.steps.iter().filter(|step| recall(&step.name).is_some()).count();
    (parts > 1).then_some(parts)
}

/// Whether a step is the last one that makes a backup.
pub fn is_last(world: &World<'_>, index: usize) -> bool {
    world.status.steps.iter().skip(index + 1).all(|step| recall(&step.name).is_none())
}

/// Whose agents make it: one pod, or one of each group where each has data of its own.
pub(super) fn pods<'w>(
    world: &'w World<'_>,
    wanted: Option<&str>,
    target: Option<&Target>,
) -> Result<Vec<&'w Pod>, String> {
    let instance = &world.spec().instance;
    let package = world.package.as_ref().ok_or("its package cannot be used")?;
    let (_, method) = methods::choose(package, wanted).map_err(|error| error.to_string())?;
    let component = method.component.as_ref().or_else(|| package.main_component());
    let has_data = |pod: &&Pod| component.is_none_or(|component| pod.component == component.as_str());
    let mut all: Vec<&Pod> = pods_of(&world.pods, target).into_iter().filter(has_data).collect();
    all.sort_by_key(|pod| (pod.component.clone(), pod.group.clone(), pod.ordinal));
    // a group in which nobody has the role that is asked for is not left out: it has a part of the data as well
    let anybody = target.map(|target| Target { role: None, ..target.clone() });
    let mut groups: Vec<Option<(&str, &str)>> = if method.each_group {
        let there = pods_of(&world.pods, anybody.as_ref()).into_iter().filter(has_data);
        let mut there: Vec<_> = there.map(|pod| Some((pod.component.as_str(), pod.group.as_str()))).collect();
        there.sort_unstable();
        there
    } else {
        vec![None]
    };
    groups.dedup();
    let choose = |group: &Option<(&str, &str)>| {
        let of_it = |pod: &&&Pod| group.is_none_or(|group| group == (pod.component.as_str(), pod.group.as_str()));
        // what no longer follows is served as well, and is not what there is now
        let detached = |pod: &Pod| methods::is_detached(package, &pod.component, pod.role.as_deref(), pod.follows);
        let ready: Vec<&&Pod> = all.iter().filter(of_it).filter(|pod| pod.ready).collect();
        let able: Vec<&&Pod> = ready.iter().copied().filter(|pod| !detached(pod)).collect();
        // where nobody has newer data, what there is is worth keeping
        let led = world.pods.iter().any(|pod| pod.leads && pod.ready && has_data(&pod) && of_it(&&pod));
        let able = if able.is_empty() && !led { ready.clone() } else { able };
        let preferred = method.prefer.as_ref();
        let preferred =
            able.iter().find(|pod| preferred.is_some_and(|role| pod.role.as_deref() == Some(role.as_str())));
        let chosen = preferred.or(able.iter().find(|pod| pod.leads)).or(able.first());
        let of = group.map_or(String::new(), |(_, group)| format!(" of the group {group}"));
        chosen.map(|pod| **pod).ok_or_else(|| {
            let why = if ready.is_empty() {
                "is ready to be backed up"
            } else {
                "that may be backed up gets the newest data: none is connected to the one that has it"
            };
            format!("no pod of {instance}{of} {why}; see `midship describe inst/{instance}`")
        })
    };
    if groups.is_empty() {
        groups.push(None);
    }
    groups.iter().map(choose).collect()
}

pub(super) fn step(pod: &str) -> Planned {
    Planned::new(format!("back up {pod}"), Deed::BackUp { pod: pod.to_owned() }, 0)
}

pub(super) fn recall(name: &str) -> Option<Planned> {
    name.strip_prefix("back up ").map(step)
}
