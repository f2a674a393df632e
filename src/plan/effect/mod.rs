//! What a change of an instance means for its pods: what is added, removed, reloaded, resized, restarted or made anew, in
//! which order, and whether somebody who uses it will notice.

mod template;
mod words;

use crate::extension::changes::{self, ParameterChange};
use crate::extension::contract::{Change, Component};
use crate::extension::gates::{self, Stand, Step};
use crate::extension::resolved::{ResolvedComponent, ResolvedGroup};
use crate::extension::{Package, Refusal, Rendered, Resolved, naming};

use crate::api::component::ComponentGroup;
use crate::api::instance::UpdateStrategy;
use crate::api::values::DeletionPolicy;

/// One state of an instance: what was decided, and what follows from it.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    pub package: &'a Package,
    pub resolved: &'a Resolved,
    pub rendered: &'a Rendered,
}

/// How far pods that stay are disturbed, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Disturbance {
    /// Not at all.
    None,
    /// The process reads its configuration again.
    Reload,
    /// CPU and memory change while the process runs.
    Resize,
    /// The process starts anew; the pod stays.
    Restart,
    /// The container starts anew from another image; the pod stays.
    Image,
    /// The pod is made anew.
    Recreate,
}

/// What happens to one group of pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupEffect {
    pub component: String,
    pub group: String,
    pub added: Vec<String>,
    pub removed: Vec<String>,
    /// Pods that are there before and after.
    pub staying: usize,
    pub disturbance: Disturbance,
    /// Why, each in a few words.
    pub reasons: Vec<String>,
    /// Volumes that grow, in a few words each.
    pub volumes: Vec<String>,
    /// The role that one pod alone may have, where there is one.
    pub exclusive: Option<String>,
    /// Whether that role can be handed over without losing anything.
    pub hand_over: bool,
    pub strategy: Strategy,
}

/// In which way pods are disturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    OneByOne,
    AllAtOnce,
    /// Not before somebody deletes them.
    ByHand,
}

/// What happens to the instance as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whole {
    Created {
        pods: usize,
    },
    Deleted {
        pods: usize,
        volumes: DeletionPolicy,
    },
    Stopped {
        pods: usize,
    },
    Started {
        pods: usize,
    },
    Upgrade(Step),
    Topology {
        from: String,
        to: String,
    },
    /// What becomes of the volumes once the instance is deleted is another thing by now.
    Volumes(DeletionPolicy),
    /// Only what is around the pods changes.
    Continues,
}

/// Everything a change means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    pub whole: Vec<Whole>,
    pub groups: Vec<GroupEffect>,
    /// Why the change will not be made.
    pub refusals: Vec<Refusal>,
}

/// What it means to go from one state to the other.
pub fn effect(old: Option<Side<'_>>, new: Option<Side<'_>>) -> Effect {
    let mut effect = Effect { whole: Vec::new(), groups: Vec::new(), refusals: Vec::new() };
    match (old, new) {
        (None, None) => {}
        (None, Some(new)) => effect.whole.push(Whole::Created { pods: running(new.resolved) }),
        (Some(old), None) => {
            let volumes = old.resolved.deletion_policy;
            effect.whole.push(Whole::Deleted { pods: running(old.resolved), volumes });
        }
        (Some(old), Some(new)) => effect.change(old, new),
    }
    effect
}

fn running(resolved: &Resolved) -> usize {
    if resolved.stopped { 0 } else { resolved.pods().len() }
}

impl Effect {
    fn change(&mut self, old: Side<'_>, new: Side<'_>) {
        let stand = |side: &Side<'_>| {
            (side.resolved.extension_version.as_str().to_owned(), side.resolved.version.as_str().to_owned())
        };
        let ((old_extension, old_version), (new_extension, new_version)) = (stand(&old), stand(&new));
        let mut installed = vec![&old.package.manifest];
        if new_extension != old_extension {
            installed.push(&new.package.manifest);
        }
        let from = Stand { extension: &old_extension, version: &old_version };
        let to = Stand { extension: &new_extension, version: &new_version };
        match gates::step(&installed, from, to) {
            Ok(Step::None) => {}
            Ok(step) => self.whole.push(Whole::Upgrade(step)),
            Err(refusal) => self.refusals.push(refusal),
        }
        let parameters = match changes::between(new.package, old.resolved, new.resolved) {
            Ok(parameters) => parameters,
            Err(refusals) => {
                self.refusals.extend(refusals.0);
                return;
            }
        };
        if old.resolved.topology != new.resolved.topology {
            let (from, to) = (old.resolved.topology.to_string(), new.resolved.topology.to_string());
            self.whole.push(Whole::Topology { from, to });
        }
        if old.resolved.deletion_policy != new.resolved.deletion_policy {
            self.whole.push(Whole::Volumes(new.resolved.deletion_policy));
        }
        match (old.resolved.stopped, new.resolved.stopped) {
            (false, true) => return self.whole.push(Whole::Stopped { pods: old.resolved.pods().len() }),
            (true, false) => return self.whole.push(Whole::Started { pods: new.resolved.pods().len() }),
            (true, true) => return,
            (false, false) => {}
        }
        for component in &new.resolved.components {
            let before = old.resolved.component(component.name.as_str());
            for group in &component.groups {
                let was = before.and_then(|before| before.group(group.name.as_str()));
                self.groups.extend(group_effect((old, was), (new, component, group), &parameters));
            }
        }
        for component in &old.resolved.components {
            let after = new.resolved.component(component.name.as_str());
            for group in &component.groups {
                if after.and_then(|after| after.group(group.name.as_str())).is_none() {
                    self.groups
                        .push(GroupEffect { removed: pods(old, component, group), ..empty(old, component, group) });
                }
            }
        }
        if self.whole.is_empty() && self.groups.is_empty() {
            self.whole.push(Whole::Continues);
        }
    }

    /// Whether it is expected that the instance does not serve for a moment.
    pub fn interrupts(&self) -> bool {
        let whole = |one: &Whole| matches!(one, Whole::Deleted { .. } | Whole::Stopped { .. });
        self.whole.iter().any(whole) || self.groups.iter().any(GroupEffect::interrupts)
    }
}

fn pods(side: Side<'_>, component: &ResolvedComponent, group: &ResolvedGroup) -> Vec<String> {
    let name =
        |ordinal| naming::pod(side.resolved.name.as_str(), component.name.as_str(), group.name.as_str(), ordinal);
    group.ordinals().into_iter().map(name).collect()
}

fn empty(side: Side<'_>, component: &ResolvedComponent, group: &ResolvedGroup) -> GroupEffect {
    let declared = side.package.component(component.name.as_str());
    let exclusive = declared.and_then(|declared| declared.roles.iter().find(|role| role.exclusive));
    GroupEffect {
        component: component.name.to_string(),
        group: group.name.to_string(),
        added: Vec::new(),
        removed: Vec::new(),
        staying: 0,
        disturbance: Disturbance::None,
        reasons: Vec::new(),
        volumes: Vec::new(),
        exclusive: exclusive.map(|role| role.name.to_string()),
        hand_over: declared.is_some_and(|declared| declared.actions.switchover.is_some()),
        strategy: match component.update.strategy {
            Some(UpdateStrategy::Parallel) => Strategy::AllAtOnce,
            Some(UpdateStrategy::OnDelete) => Strategy::ByHand,
            _ => Strategy::OneByOne,
        },
    }
}

/// What happens to a group; nothing where it stays as it is.
fn group_effect(
    (old, was): (Side<'_>, Option<&ResolvedGroup>),
    (new, component, group): (Side<'_>, &ResolvedComponent, &ResolvedGroup),
    parameters: &[ParameterChange],
) -> Option<GroupEffect> {
    let mut effect = empty(new, component, group);
    let after = pods(new, component, group);
    let before = was.map(|was| pods(old, component, was)).unwrap_or_default();
    effect.added = after.iter().filter(|pod| !before.contains(pod)).cloned().collect();
    effect.removed = before.iter().filter(|pod| !after.contains(pod)).cloned().collect();
    effect.staying = after.len() - effect.added.len();
    if let (Some(was), true) = (was, effect.staying > 0) {
        let name = (component.name.as_str(), group.name.as_str());
        let mine = parameters.iter().filter(|change| (change.component.as_str(), change.group.as_str()) == name);
        for change in mine {
            effect.disturb(needed(change.needs), words::parameter(change));
        }
        if let (Some(before), Some(declared)) = (old.resolved.component(name.0), new.package.component(name.0)) {
            let restarts = declared.config.iter().filter(|(_, config)| config.user_file_restarts());
            for (file, _) in
                restarts.filter(|(file, _)| before.config_files.get(*file) != component.config_files.get(*file))
            {
                effect.disturb(Disturbance::Restart, format!("another {file}"));
            }
        }
        let explained = !effect.reasons.is_empty();
        let reloads = new.package.component(component.name.as_str()).is_some_and(Component::reloads);
        if let (Some(from), Some(to)) = (made_from(old, name), made_from(new, name)) {
            for (disturbance, reason) in template::differences(from, to, explained, reloads) {
                effect.disturb(disturbance, reason);
            }
        }
        for (volume, storage) in &group.storage {
            if let Some(before) = was.storage.get(volume).filter(|before| before.size != storage.size) {
                effect.volumes.push(format!("volume {volume} from {} to {}", before.size.0, storage.size.0));
            }
        }
    }
    let quiet =
        effect.added.is_empty() && effect.removed.is_empty() && effect.volumes.is_empty() && effect.reasons.is_empty();
    (!quiet).then_some(effect)
}

fn made_from<'a>(side: Side<'a>, (component, group): (&str, &str)) -> Option<&'a ComponentGroup> {
    let found = side.rendered.components.iter().find(|made| made.spec.component.as_str() == component)?;
    found.spec.groups.iter().find(|made| made.name.as_str() == group)
}

fn needed(change: Change) -> Disturbance {
    match change {
        Change::None => Disturbance::None,
        Change::Reload => Disturbance::Reload,
        Change::Restart => Disturbance::Restart,
        // what cannot be changed is refused before
        Change::Recreate | Change::Immutable => Disturbance::Recreate,
    }
}

impl GroupEffect {
    fn disturb(&mut self, disturbance: Disturbance, reason: String) {
        self.disturbance = self.disturbance.max(disturbance);
        if !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }

    /// Whether pods that stay are away for a moment.
    fn starts_anew(&self) -> bool {
        self.disturbance >= Disturbance::Restart
    }

    fn interrupts(&self) -> bool {
        let alone = self.staying == 1 || self.strategy == Strategy::AllAtOnce;
        self.starts_anew()
            && self.strategy != Strategy::ByHand
            && (alone || (self.exclusive.is_some() && !self.hand_over))
    }
}

#[cfg(test)]
mod tests;
