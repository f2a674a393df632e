//! What the role's machine has done to the process: the package's actions, or what stands for those it does not declare.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::shared::Shared;
use crate::agent::actions::Extras;
use crate::agent::init::protocol::{Op, Request};
use crate::agent::role::Deed;

/// How long a process may take to stop and, for a restart, to start again.
pub const PROCESS_PATIENCE: Duration = Duration::from_mins(15);
/// What a preparation answers of how the data came to follow another pod.
const REJOINED: &str = "rejoined";
/// How long PID 1 may take to answer what it answers at once.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Before a start; whether the package was asked, and so told the process whom to follow.
pub async fn prepare(shared: &Shared, extras: Map<String, Value>) -> Result<bool, String> {
    let primary = extras.get("primary").and_then(|primary| primary["name"].as_str()).map(str::to_owned);
    let answer = shared.actor().run("prepare", extras).await.map_err(|error| error.to_string())?;
    let how = answer.as_ref().and_then(|answer| answer[REJOINED].as_str()).filter(|how| !how.is_empty());
    if let Some(how) = how {
        let how = primary.map_or_else(|| how.to_owned(), |primary| format!("{how}, to follow {primary}"));
        tracing::info!(how, "has the data to follow with");
        shared.find(|findings| findings.rejoined = Some((how, Timestamp::now().to_string())));
    }
    Ok(answer.is_some())
}

pub async fn run(shared: &Shared, deed: &Deed) -> Result<(), String> {
    let place = shared.place();
    let role = shared.findings.borrow().role.as_ref().map(|observed| observed.role.clone());
    let role = role.as_deref();
    let me = Some(place.pod.as_str());
    match deed {
        Deed::Promote => act(shared, "promote", place.extras(role, true, me)).await.map(drop),
        Deed::Demote => give_up(shared, place.extras(role, true, me)).await,
        Deed::Follow { primary } => {
            let extras = place.extras(role, false, Some(primary));
            if act(shared, "follow", extras).await? {
                return Ok(());
            }
            // its preparation tells a process whom to follow, so a new one is needed
            order(shared, Op::Restart, None, PROCESS_PATIENCE).await
        }
        Deed::Switchover { target } => {
            let mut extras = place.extras(role, true, me);
            extras.insert("target".to_owned(), place.pod(target));
            if act(shared, "switchover", extras.clone()).await? { Ok(()) } else { give_up(shared, extras).await }
        }
        Deed::Kill => {
            let mut request = Request::new(Op::Fuse);
            request.deadline = Some(0);
            ask(shared, &request, AT_ONCE).await
        }
        Deed::Stop => order(shared, Op::Stop, None, PROCESS_PATIENCE).await,
        Deed::Start => {
            // it asks for permission, and whoever gives that waits for this: so it is not waited for
            let pid1 = shared.pid1.clone();
            tokio::spawn(async move {
                let request = Request::new(Op::Start);
                if let Err(error) = pid1.ask(&request, Instant::now() + PROCESS_PATIENCE).await {
                    tracing::warn!(%error, "the process could not be started");
                }
            });
            Ok(())
        }
    }
}

/// Afterwards nothing is written any more.
async fn give_up(shared: &Shared, extras: Extras) -> Result<(), String> {
    if act(shared, "demote", extras).await? {
        return Ok(());
    }
    order(shared, Op::Stop, None, PROCESS_PATIENCE).await
}

/// Whether the package declares the action and had something to do.
async fn act(shared: &Shared, name: &str, extras: Extras) -> Result<bool, String> {
    let answer = shared.actor().run(name, extras).await;
    answer.map(|answer| answer.is_some()).map_err(|error| error.to_string())
}

/// Has PID 1 do something with the process.
pub async fn order(shared: &Shared, op: Op, timeout: Option<Duration>, patience: Duration) -> Result<(), String> {
    let mut request = Request::new(op);
    request.timeout = timeout.map(crate::api::values::Duration);
    ask(shared, &request, patience).await
}

async fn ask(shared: &Shared, request: &Request, patience: Duration) -> Result<(), String> {
    let answer = shared.pid1.ask(request, Instant::now() + patience).await;
    answer.map(drop).map_err(|error| error.to_string())
}

/// A parameter that changed, as `reload` reads it.
pub fn changed(name: &str, from: Option<&Value>, to: Option<&Value>) -> Value {
    json!({ "name": name, "from": from, "to": to })
}
