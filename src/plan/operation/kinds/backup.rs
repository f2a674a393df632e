//! Backup: the agent of one pod makes a backup. Which pod is decided once: one with the role the method prefers, else the
//! one that leads, else the first.

use super::Kind;
use crate::extension::methods;
use crate::plan::operation::deed::{Deed, Planned};
use crate::plan::operation::world::{Pod, World, pods_of};

pub const KIND: Kind =
    Kind { after_changes: false, needs_package: |_| true, expand, recall: |_, name| recall(name), change: None };

fn expand(world: &World<'_>) -> Result<Vec<Planned>, String> {
    let spec = world.spec();
    let package = world.package.as_ref().ok_or("its package cannot be used")?;
    let wanted = spec.backup.as_ref().and_then(|backup| backup.method.as_deref());
    let (_, method) = methods::choose(package, wanted).map_err(|error| error.to_string())?;
    let has_data = |pod: &&Pod| method.component.as_ref().is_none_or(|component| pod.component == component.as_str());
    let mut able: Vec<&Pod> =
        pods_of(&world.pods, spec.target.as_ref()).into_iter().filter(has_data).filter(|pod| pod.ready).collect();
    able.sort_by_key(|pod| (pod.component.clone(), pod.group.clone(), pod.ordinal));
    let preferred = method.prefer.as_ref();
    let preferred = able.iter().find(|pod| preferred.is_some_and(|role| pod.role.as_deref() == Some(role.as_str())));
    let chosen = preferred.or(able.iter().find(|pod| pod.leads)).or(able.first());
    let chosen = chosen.ok_or_else(|| {
        let instance = &spec.instance;
        format!("no pod of {instance} is ready to be backed up; see `midship describe inst/{instance}`")
    })?;
    Ok(vec![step(&chosen.name)])
}

fn step(pod: &str) -> Planned {
    Planned::new(format!("back up {pod}"), Deed::BackUp { pod: pod.to_owned() }, 0)
}

fn recall(name: &str) -> Option<Planned> {
    name.strip_prefix("back up ").map(step)
}
