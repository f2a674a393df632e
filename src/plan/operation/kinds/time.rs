//! How long a step may take by itself that starts, stops or reloads the process of a pod: as its package and the instance
//! say, so that one pod that does not come back leaves time for the others.

use std::time::Duration as StdDuration;

use crate::api::operation::ProcessAction;
use crate::api::values::Duration;
use crate::extension::contract::{Action, Process};
use crate::plan::operation::patience;
use crate::plan::operation::world::World;

/// What agents take where nothing else is said.
const STOPS: StdDuration = StdDuration::from_secs(30);
const STARTS: StdDuration = StdDuration::from_mins(1);
/// One that was not ready in time is started again and given twice the time, as after a crash of a large database: so many
/// times the first are four starts.
const TRIES: u32 = 1 + 2 + 4 + 8;
/// For the way there, a role that is handed over before, and a permission to start that is waited for.
const MARGIN: StdDuration = StdDuration::from_mins(5);

/// Nothing where nobody knows what the package says: the operation's own time bounds it then.
pub fn allowed(world: &World<'_>, pod: &str, action: ProcessAction) -> Option<Duration> {
    let component = &world.pod(pod)?.component;
    let mut all = world.package.as_ref()?.manifest.components.iter();
    let (_, declared) = all.find(|(name, _)| name.as_str() == component)?;
    let asked = world.instance?.spec.components.iter().find(|asked| asked.name.as_str() == component);
    let asked = asked.and_then(|asked| asked.process.as_ref());
    let process = declared.process.as_ref();
    let of_package = |time: fn(&Process) -> Option<Duration>| process.and_then(time);
    let stops = asked.and_then(|asked| asked.stop_timeout).or(of_package(|process| process.stop_timeout));
    let stops = stops.map_or(STOPS, |time| time.0).saturating_add(time_of(declared.actions.before_stop.as_ref()));
    let starts = asked.and_then(|asked| asked.start_timeout).or(of_package(|process| process.start_timeout));
    // a copy of all data may take a day; whoever wants to wait for that gives the operation that time
    let most = patience(world.spec()).0 / 2;
    let starts = starts
        .map_or(STARTS, |time| time.0)
        .saturating_mul(TRIES)
        .saturating_add(time_of(declared.actions.prepare.as_ref()).min(most))
        .saturating_add(time_of(declared.actions.started.as_ref()));
    let time = match action {
        ProcessAction::Start => starts,
        ProcessAction::Stop => stops,
        ProcessAction::Restart => stops.saturating_add(starts),
        ProcessAction::Reload => time_of(declared.actions.reload.as_ref()),
    };
    Some(Duration(time.saturating_add(MARGIN)))
}

fn time_of(action: Option<&Action>) -> StdDuration {
    action.map_or(StdDuration::ZERO, Action::time)
}
