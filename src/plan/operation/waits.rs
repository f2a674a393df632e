//! Steps that only wait: whether what they wait for holds.

use jiff::Timestamp;

use super::change::Change;
use super::deed::Deed;
use super::world::World;
use super::{kinds, later};
use crate::api::conditions::{READY, STALLED};
use crate::api::instance::{DesiredState, InstanceStatus, Phase};
use crate::api::operation::WaitFor;
use crate::api::values::Duration;

/// A change that was written is seen within this time, unless somebody took it away again.
const SEEN: Duration = Duration(std::time::Duration::from_secs(30));

pub enum Held {
    Yes,
    NotYet {
        message: String,
        until: Option<Timestamp>,
    },
    /// Waiting longer changes nothing.
    Never(String),
}

pub fn look(world: &World<'_>, deed: &Deed, since: Timestamp) -> Held {
    match deed {
        Deed::Settle => {
            let change = kinds::of(world.spec().type_).and_then(|kind| kind.change);
            let change = change.map(|change| change(world.spec(), &world.instance_spec()));
            match change {
                Some(Ok(change)) if !change.shows(&world.instance_spec()) => unseen(world, &change, since),
                Some(Err(reason)) => Held::Never(reason),
                _ => settled(world),
            }
        }
        Deed::SettleBack => match world.before() {
            Some(before) if !before.shows(&world.instance_spec()) => unseen(world, &before, since),
            _ => settled(world),
        },
        Deed::Wait(WaitFor { duration: Some(duration), .. }) => {
            let until = later(since, *duration);
            if world.now >= until {
                return Held::Yes;
            }
            Held::NotYet { message: format!("waits for {duration}"), until: Some(until) }
        }
        Deed::Wait(WaitFor { condition: Some(condition), .. }) => {
            if world.instance_is_current() && world.holds(condition) {
                return Held::Yes;
            }
            let message = world.condition(condition).map(|condition| format!(": {}", condition.message));
            let message = format!("the instance is not {condition}{}", message.unwrap_or_default());
            Held::NotYet { message, until: None }
        }
        _ => Held::Yes,
    }
}

fn unseen(world: &World<'_>, change: &Change, since: Timestamp) -> Held {
    let until = later(since, SEEN);
    if world.now < until {
        return Held::NotYet { message: "the change is not seen yet".to_owned(), until: None };
    }
    Held::Never(format!("somebody changed {} meanwhile", change.fields_in_words()))
}

/// The instance has taken over what its spec says.
fn settled(world: &World<'_>) -> Held {
    let status = world.instance.and_then(|instance| instance.status.clone()).unwrap_or_default();
    if !world.instance_is_current() {
        return Held::NotYet { message: "the controller did not look at the instance yet".to_owned(), until: None };
    }
    let said = world.condition(READY).map(|ready| ready.message.clone()).unwrap_or_default();
    if let Some(stalled) = world.condition(STALLED).filter(|_| world.holds(STALLED)) {
        return Held::Never(stalled.message.clone());
    }
    let wanted = world.instance.and_then(|instance| instance.spec.state);
    let there = if wanted == Some(DesiredState::Stopped) { Phase::Stopped } else { Phase::Running };
    if status.phase == Some(there) && world.holds(READY) {
        return match without_configuration(world, &status) {
            None => Held::Yes,
            Some(message) => Held::NotYet { message, until: None },
        };
    }
    Held::NotYet { message: said, until: None }
}

/// The first pod whose process does not run with the configuration in force: agents take it over, which the instance's
/// readiness does not tell.
fn without_configuration(world: &World<'_>, status: &InstanceStatus) -> Option<String> {
    let behind = world.pods.iter().find(|pod| {
        let known = status.configuration.iter().find(|known| known.component == pod.component);
        let wanted = known.and_then(|known| known.revision.as_ref());
        // a list where groups differ
        let other =
            wanted.zip(pod.config.as_ref()).is_some_and(|(wanted, runs)| !wanted.split(", ").any(|one| one == runs));
        other || (pod.config.is_some() && pod.pending_restart)
    })?;
    Some(format!("{} does not run with the new configuration yet", behind.name))
}
