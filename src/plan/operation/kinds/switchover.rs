//! Switchover: the pod that has the exclusive role hands it to another.

use super::{Kind, never};
use crate::api::values::Duration;
use crate::plan::operation::deed::{Deed, Planned};
use crate::plan::operation::world::{Pod, World};

pub const KIND: Kind =
    Kind { after_changes: true, needs_package: never, expand, recall: |_, name| recall(name), change: None };

/// Agents give a switchover up after five minutes; who takes a role by other means has as long to show it.
const PATIENCE: Duration = Duration(std::time::Duration::from_mins(6));

fn expand(world: &World<'_>) -> Result<Vec<Planned>, String> {
    let asked = world.spec().switchover.clone().unwrap_or_default();
    let force = asked.force == Some(true);
    if force && asked.to.is_none() {
        return Err("switchover.force needs switchover.to: name the pod whose data is to be kept".to_owned());
    }
    let there = |name: &str| {
        let known = world.pods.iter().map(|pod| pod.name.as_str());
        world.pod(name).ok_or_else(|| crate::extension::problem::unknown("pod", name, known))
    };
    let to = asked.to.as_ref().map(|to| there(to.as_str())).transpose()?;
    let from = match &asked.from {
        Some(from) => {
            let from = there(from.as_str())?;
            if !from.leads {
                let has = from.role.as_ref().map_or("no role".to_owned(), |role| format!("the role {role}"));
                return Err(format!("{} has {has} now, and not the one that is to be handed over", from.name));
            }
            from
        }
        None => leader(world, to)?,
    };
    if let Some(to) = to {
        if to.leads {
            return Err(format!("{} has the role already", to.name));
        }
        if (&to.component, &to.group) != (&from.component, &from.group) {
            return Err(format!("{} cannot take the role of {}: it is of another group", to.name, from.name));
        }
    }
    let beside = |pod: &&Pod| pod.name != from.name && (&pod.component, &pod.group) == (&from.component, &from.group);
    if !world.pods.iter().any(|pod| beside(&pod)) {
        return Err(format!("{} is alone in its group: nobody can take the role over", from.name));
    }
    Ok(vec![step(&from.name, to.map(|to| to.name.as_str()), force)])
}

/// Who has the role now: the only one, or the one beside the pod that is to have it.
fn leader<'w>(world: &'w World<'_>, to: Option<&Pod>) -> Result<&'w Pod, String> {
    let beside =
        |pod: &&Pod| to.is_none_or(|to| (&pod.component, &pod.group) == (&to.component, &to.group)) && pod.leads;
    let mut all = world.pods.iter().filter(beside);
    let Some(first) = all.next() else {
        return Err("no pod has an exclusive role now: there is nothing to hand over".to_owned());
    };
    match all.next() {
        None => Ok(first),
        Some(other) => Err(format!(
            "{} and {} each have the role of their group; say which with switchover.from",
            first.name, other.name
        )),
    }
}

const GIVEN: &str = "hand over from ";
const FORCED: &str = "hand over by force from ";

fn step(from: &str, to: Option<&str>, force: bool) -> Planned {
    let begin = if force { FORCED } else { GIVEN };
    let name = match to {
        Some(to) => format!("{begin}{from} to {to}"),
        None => format!("{begin}{from}"),
    };
    let deed = Deed::HandOver { from: from.to_owned(), to: to.map(str::to_owned), force };
    Planned { timeout: Some(PATIENCE), ..Planned::new(name, deed, 0) }
}

fn recall(name: &str) -> Option<Planned> {
    let (pods, force) = match name.strip_prefix(GIVEN) {
        Some(pods) => (pods, false),
        None => (name.strip_prefix(FORCED)?, true),
    };
    Some(match pods.split_once(" to ") {
        Some((from, to)) => step(from, Some(to), force),
        None => step(pods, None, force),
    })
}
