//! Doing what was planned: server-side apply and deletion, kind by kind, many at a time.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::{StreamExt, stream};
use kube::Client;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::{Value, json};

use super::live::Observed;
use super::look::Seen;
use super::objects::{self, DIGEST};
use super::settings::Settings;
use crate::api::labels;
use crate::cluster::problem::Problem;
use crate::plan::source::{Action, Desired, ObjectId, ObjectKind, Plan, What};

/// Requests at a time.
const AT_ONCE: usize = 24;

/// How one action ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub id: ObjectId,
    pub what: What,
    /// Why it was not done.
    pub failure: Option<String>,
}

/// Does everything that was planned. Kinds follow one another; within a kind the order does not matter.
pub async fn carry_out(
    plan: &Plan,
    seen: &Seen,
    live: &Observed,
    settings: &Settings,
    client: &Client,
) -> Vec<Outcome> {
    let desired: BTreeMap<&ObjectId, &Desired> = seen.desired.iter().map(|desired| (&desired.id, desired)).collect();
    let mut outcomes = Vec::with_capacity(plan.actions.len());
    let waves =
        plan.actions.chunk_by(|a, b| (a.id.kind, a.what == What::Delete) == (b.id.kind, b.what == What::Delete));
    for wave in waves {
        let mut all = Vec::with_capacity(wave.len());
        for action in wave {
            let desired = desired.get(&action.id).copied();
            all.push(one(action, desired, seen, live, settings, client));
        }
        outcomes.extend(stream::iter(all).buffered(AT_ONCE).collect::<Vec<_>>().await);
    }
    outcomes
}

async fn one(
    action: &Action,
    desired: Option<&Desired>,
    seen: &Seen,
    live: &Observed,
    settings: &Settings,
    client: &Client,
) -> Outcome {
    let failure: Result<(), String> = match (action.what, desired) {
        (What::Delete, _) => delete(action, live, client).await,
        (_, Some(desired)) => apply(action, desired, seen, settings, client).await,
        (_, None) => Ok(()),
    };
    let failure = failure.err().map(|reason| match seen.bodies.get(&action.id) {
        Some(body) if action.id.kind == ObjectKind::Secret => without_values(reason, body),
        _ => reason,
    });
    Outcome { id: action.id.clone(), what: action.what, failure }
}

/// What the API server said of a Secret, without any value of it that it may have quoted.
fn without_values(mut reason: String, secret: &Value) -> String {
    for value in secret["data"].as_object().into_iter().flatten().filter_map(|(_, value)| value.as_str()) {
        let plain = BASE64.decode(value).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        for text in [Some(value.to_owned()), plain].into_iter().flatten().filter(|text| text.len() > 3) {
            reason = reason.replace(&text, "(secret)");
        }
    }
    reason
}

async fn apply(
    action: &Action,
    desired: &Desired,
    seen: &Seen,
    settings: &Settings,
    client: &Client,
) -> Result<(), String> {
    let Some(body) = seen.bodies.get(&action.id) else { return Ok(()) };
    let mut body = Value::clone(body);
    let metadata = &mut body["metadata"];
    metadata["labels"][labels::SOURCE] = json!(settings.label);
    metadata["annotations"][labels::SOURCE_PATH] = json!(desired.path);
    metadata["annotations"][labels::SOURCE_COMMIT] = json!(seen.commit.id.to_string());
    metadata["annotations"][DIGEST] = json!(desired.digest);
    // fields of ours that somebody changed are taken back; those of others only where the source was told to
    let force = action.what == What::Revert || settings.take_over;
    let parameters = PatchParams { force, ..PatchParams::apply(labels::MANAGER) };
    let applied = objects::api(client, &action.id).patch(&action.id.name, &parameters, &Patch::Apply(&body)).await;
    applied.map(drop).map_err(|error| explain(&error))
}

async fn delete(action: &Action, live: &Observed, client: &Client) -> Result<(), String> {
    // exactly the object that was looked at, not a namesake made since
    let preconditions =
        live.uids.get(&action.id).map(|uid| Preconditions { uid: Some(uid.clone()), resource_version: None });
    let parameters = DeleteParams { preconditions, ..DeleteParams::background() };
    match objects::api(client, &action.id).delete(&action.id.name, &parameters).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(explain(&error)),
    }
}

/// What the API server said, with the other manager's name where it is a conflict.
fn explain(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 409 => {
            let causes = status.details.iter().flat_map(|details| &details.causes);
            let fields: Vec<String> = causes
                .map(|cause| format!("{} ({})", cause.field, cause.message))
                .filter(|text| text.len() > 3)
                .collect();
            if fields.is_empty() {
                return status.message.clone();
            }
            format!(
                "others manage {}; remove these fields from the file, or take them over with spec.conflicts: TakeOver",
                fields.join(", ")
            )
        }
        kube::Error::Api(status) if status.code == 422 || status.code == 400 => status.message.clone(),
        error => Problem::from_kube(error).to_string(),
    }
}

/// What was done in a few words: `2 created, 1 updated`.
pub fn summary(outcomes: &[Outcome]) -> String {
    let mut counts: BTreeMap<What, usize> = BTreeMap::new();
    for outcome in outcomes.iter().filter(|outcome| outcome.failure.is_none()) {
        *counts.entry(outcome.what).or_default() += 1;
    }
    let word = |what| match what {
        What::Create => "created",
        What::Adopt => "adopted",
        What::Update => "updated",
        What::Revert => "reverted",
        What::Delete => "deleted",
    };
    let parts: Vec<String> = counts.into_iter().map(|(what, count)| format!("{count} {}", word(what))).collect();
    if parts.is_empty() { "nothing to do".to_owned() } else { parts.join(", ") }
}
