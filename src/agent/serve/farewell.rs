//! Before the process goes with its pod: the kubelet asks before it stops the middleware's container, and the package's
//! `beforeStop` is run while everything still works. Whatever comes of it, the pod ends.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use super::shared::Shared;

/// The action.
const ACTION: &str = "beforeStop";
/// How long the kubelet may take to ask once the agent was told to end: it tells all containers of a pod at once.
const ASKED_WITHIN: Duration = Duration::from_secs(5);

/// Whether the package wants to do something before the process is stopped, and there is one.
fn wanted(shared: &Shared) -> Option<Duration> {
    let runs = shared.findings.borrow().process.as_ref().is_some_and(|process| process.pid.is_some());
    shared.place().config.farewell().filter(|_| runs)
}

/// Does what is to be done before the process is stopped, within its time.
pub async fn say(shared: &Shared) -> Result<(), String> {
    let Some(patience) = wanted(shared) else { return Ok(()) };
    if shared.parting.send_replace(true) {
        return Err(format!("{ACTION} is under way already"));
    }
    let begun = Instant::now();
    tracing::info!(action = ACTION, "the container is to be stopped");
    let ran = timeout(patience, shared.actor().run(ACTION, shared.extras())).await;
    shared.parting.send_replace(false);
    let result = match ran {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("{ACTION} took longer than {} s", patience.as_secs())),
    };
    let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    match &result {
        Ok(()) => tracing::info!(action = ACTION, milliseconds, "done; the process can be stopped"),
        Err(error) => tracing::warn!(action = ACTION, milliseconds, error, "the process is stopped all the same"),
    }
    result
}

/// Waits until the kubelet had its turn to ask, and until what it asked for is done or the process is gone.
pub async fn wait(shared: &Shared) {
    let mut until = Instant::now() + ASKED_WITHIN;
    let (mut parting, mut findings) = (shared.parting.subscribe(), shared.findings.subscribe());
    let mut under_way = false;
    while let Some(patience) = wanted(shared) {
        let now_under_way = *parting.borrow_and_update();
        findings.mark_unchanged();
        if now_under_way && !under_way {
            until = Instant::now() + patience;
        } else if under_way && !now_under_way {
            return;
        }
        under_way = now_under_way;
        tokio::select! {
            _ = parting.changed() => {}
            _ = findings.changed() => {}
            () = sleep_until(until) => return,
        }
    }
}
