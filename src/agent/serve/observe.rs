//! The package's probes at their intervals: who the process is, whether it is ready, whether it lives.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use super::deeds::{self, PROCESS_PATIENCE};
use super::shared::{Input, Shared};
use crate::agent::actions::RoleSeen;
use crate::agent::init::protocol::Op;
use crate::agent::init::state::Shown;
use crate::agent::role::{Event, Observed};
use crate::extension::contract::Probe;

/// What the agent touches while the process is ready.
const READY_FILE: &str = "ready";
const READY_EVERY: Duration = Duration::from_secs(2);
const ROLE_EVERY: Duration = Duration::from_secs(1);
const FAILURES: u32 = 3;
/// How often the questions are looked at where there is none to ask.
const IDLE: Duration = Duration::from_secs(1);

/// Asks for ever.
pub async fn run(shared: Arc<Shared>) {
    tokio::join!(roles(&shared), readiness(&shared), liveness(&shared));
}

/// The process that runs, by its pid.
fn running(shared: &Shared) -> Option<i32> {
    let findings = shared.findings.borrow();
    let status = findings.process.as_ref()?;
    matches!(status.state, Shown::Running | Shown::Ready).then_some(status.pid).flatten()
}

async fn next(every: Duration, began: Instant) {
    tokio::time::sleep_until(began + every).await;
}

async fn roles(shared: &Shared) {
    let mut misses = 0;
    loop {
        let began = Instant::now();
        let Some(every) =
            shared.place().config.role.as_ref().map(|probe| probe.every.map_or(ROLE_EVERY, |every| every.0))
        else {
            sleep(IDLE).await;
            continue;
        };
        if running(shared).is_some() {
            let observed = shared.actor().role(shared.extras()).await;
            misses = if observed.is_ok() { 0 } else { misses + 1 };
            match observed {
                Ok(seen) => {
                    note(shared, Some(understood(shared, seen)));
                    shared.probed.send_replace(Some(began));
                }
                // one answer that is missing says little
                Err(_) if misses < FAILURES => {}
                Err(_) => note(shared, None),
            }
        } else if shared.findings.borrow().role.is_some() {
            note(shared, None);
        }
        // a change is told within a second, however seldom the package wants to be asked
        let mut changes = shared.findings.subscribe();
        let process = running(shared);
        tokio::select! {
            () = next(every, began) => {}
            () = shared.role_changed.notified() => {}
            _ = changes.wait_for(|_| running(shared) != process) => {}
        }
    }
}

fn understood(shared: &Shared, seen: RoleSeen) -> Observed {
    let place = shared.place();
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let told = place.config.role.as_ref().is_some_and(|probe| probe.follows.is_some());
    Observed {
        exclusive: place.exclusive(&seen.role),
        role: seen.role,
        position: seen.position.map(number),
        lag: seen.lag.map(number),
        follows: told.then(|| seen.follows.map(|host| place.pod_at(&host)).unwrap_or_default()),
    }
}

fn note(shared: &Shared, observed: Option<Observed>) {
    shared.find(|findings| {
        let role = |observed: Option<&Observed>| observed.map(|observed| observed.role.clone());
        if role(findings.role.as_ref()) != role(observed.as_ref()) {
            findings.role_since = observed.is_some().then(|| Timestamp::now().to_string());
        }
        findings.role.clone_from(&observed);
    });
    shared.tell(Input::Role(Event::Role(observed)));
}

async fn readiness(shared: &Shared) {
    let file = shared.options.socket.with_file_name(READY_FILE);
    let mut started = None;
    loop {
        let began = Instant::now();
        let process = running(shared);
        let every =
            shared.place().config.ready.as_ref().and_then(|probe| probe.every).map_or(READY_EVERY, |every| every.0);
        if process.is_some() && process != started {
            match shared.actor().run("started", shared.extras()).await {
                Ok(_) => started = process,
                Err(error) => unready(shared, &file, &error.to_string()),
            }
        }
        if process.is_some() && process == started {
            let probe = shared.place().config.ready.clone().unwrap_or_default();
            match shared.actor().probe(&probe, shared.extras()).await {
                Ok(()) => ready(shared, &file),
                Err(error) => unready(shared, &file, &error.to_string()),
            }
        } else if process.is_none() {
            unready(shared, &file, "the process does not run");
        }
        let mut changes = shared.findings.subscribe();
        tokio::select! {
            () = next(every, began) => {}
            _ = changes.wait_for(|_| running(shared) != process) => {}
        }
    }
}

fn ready(shared: &Shared, file: &Path) {
    // its age counts, so it is written anew each time
    if let Err(error) = std::fs::write(file, b"") {
        return shared.find(|findings| findings.not_ready = Some(format!("{}: {error}", file.display())));
    }
    shared.find(|findings| findings.not_ready = None);
}

fn unready(shared: &Shared, file: &Path, reason: &str) {
    // where it cannot be removed its age says the same a little later
    let _ = std::fs::remove_file(file);
    shared.find(|findings| findings.not_ready = Some(reason.to_owned()));
}

/// A process that lived and does so no longer is restarted.
async fn liveness(shared: &Shared) {
    let (mut proven, mut failures) = (None, 0);
    loop {
        let began = Instant::now();
        let Some(probe): Option<Probe> = shared.place().config.live.clone() else {
            sleep(IDLE).await;
            continue;
        };
        if let Some(process) = running(shared) {
            match shared.actor().probe(&probe, shared.extras()).await {
                Ok(()) => (proven, failures) = (Some(process), 0),
                Err(error) if proven == Some(process) && running(shared) == Some(process) => {
                    failures += 1;
                    if failures >= probe.failures.unwrap_or(FAILURES) {
                        tracing::warn!(%error, failures, "the process does not live any more; it is restarted");
                        failures = 0;
                        if let Err(error) = deeds::order(shared, Op::Restart, None, PROCESS_PATIENCE).await {
                            tracing::warn!(error, "it could not be restarted");
                        }
                    }
                }
                Err(_) => {}
            }
        }
        next(probe.every.map_or(READY_EVERY, |every| every.0), began).await;
    }
}
