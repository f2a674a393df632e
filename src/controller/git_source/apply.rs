//! Doing what was planned: server-side apply and deletion, kind by kind, many at a time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::brief;
use super::live::{Observed, not_permitted};
use super::look::Seen;
use super::objects::{self, DIGEST};
use super::settings::Settings;
use crate::api::labels;
use crate::cluster::problem::Problem;
use crate::plan::source::differences::{differences, without_foreign_entries};
use crate::plan::source::{Action, Desired, ObjectId, ObjectKind, Plan, What};
use crate::repo::plain;

/// How many differences of an object are told.
const SHOWN: usize = 5;
/// Requests at a time.
const AT_ONCE: usize = 24;

/// Who needs an object by now, so that it cannot go: asked right before it is deleted, which may be long after the plan.
pub type Needed<'a> = &'a (dyn Fn(&ObjectId) -> Option<String> + Sync);

/// How one action ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub id: ObjectId,
    pub what: What,
    /// Why it was to be done.
    pub why: String,
    /// Why it was not done.
    pub failure: Option<String>,
    pub took: Duration,
}

/// Does everything that was planned, and tells how long that took. Kinds follow one another; within a kind the order does not
/// matter. What turns out to be as wanted before it is changed back has no outcome: nothing was done.
pub async fn carry_out(
    plan: &Plan,
    seen: &Seen,
    live: &Observed,
    settings: &Settings,
    client: &Client,
    needed: Needed<'_>,
) -> (Vec<Outcome>, Duration) {
    let began = Instant::now();
    let mut outcomes = Vec::with_capacity(plan.actions.len());
    let waves =
        plan.actions.chunk_by(|a, b| (a.id.kind, a.what == What::Delete) == (b.id.kind, b.what == What::Delete));
    for wave in waves {
        let mut waiting = wave.iter().enumerate();
        let mut under_way = FuturesUnordered::new();
        let mut ended = Vec::with_capacity(wave.len());
        loop {
            // each is begun when its turn has come: thousands of requests that only wait would fill the memory
            while under_way.len() < AT_ONCE
                && let Some((place, action)) = waiting.next()
            {
                let outcome = one(action, seen.find(&action.id), seen, live, settings, client, needed);
                under_way.push(outcome.map(move |outcome| (place, outcome)));
            }
            let Some(outcome) = under_way.next().await else { break };
            ended.push(outcome);
        }
        // one that takes long keeps no other waiting, and is told where it belongs all the same
        ended.sort_by_key(|(place, _)| *place);
        outcomes.extend(ended.into_iter().filter_map(|(_, outcome)| outcome));
    }
    (outcomes, began.elapsed())
}

async fn one(
    action: &Action,
    desired: Option<&Desired>,
    seen: &Seen,
    live: &Observed,
    settings: &Settings,
    client: &Client,
    needed: Needed<'_>,
) -> Option<Outcome> {
    let began = Instant::now();
    if action.what == What::Revert && is_as_wanted(action, seen, client).await {
        return None;
    }
    let failure: Result<(), String> = match (action.what, desired) {
        _ if live.unseen.contains_key(&action.id) => Err(live.unseen[&action.id].clone()),
        (What::Delete, _) => match needed(&action.id) {
            Some(by) => Err(format!("it stays: {by}")),
            None => delete(action, live, settings, client).await,
        },
        (_, Some(desired)) => apply(action, desired, seen, settings, client).await,
        (_, None) => Ok(()),
    };
    let failure = failure.err().map(|reason| match seen.body(&action.id) {
        Some(body) if action.id.kind == ObjectKind::Secret => without_values(reason, body),
        _ => reason,
    });
    // it repeats what is in files
    let failure = failure.map(|reason| brief::message(plain(&reason)));
    let (id, why, took) = (action.id.clone(), plain(&action.reason), began.elapsed());
    Some(Outcome { id, what: action.what, why, failure, took })
}

/// Whether an object is as wanted by now. What was planned from may be older than what was done last: it would be changed
/// back, told and recorded a second time.
async fn is_as_wanted(action: &Action, seen: &Seen, client: &Client) -> bool {
    let Some(wanted) = seen.body(&action.id) else { return false };
    // whoever may change it and not look goes by what was seen
    let Ok(Some(there)) = objects::api(client, &action.id).get_opt(&action.id.name).await else { return false };
    serde_json::to_value(&there).is_ok_and(|found| differences(wanted, &found, 1).is_empty())
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
    let Some(body) = seen.body(&action.id) else { return Ok(()) };
    let mut body = Value::clone(body);
    let metadata = &mut body["metadata"];
    metadata["labels"][labels::SOURCE] = json!(settings.label);
    metadata["annotations"][labels::SOURCE_PATH] = json!(desired.path);
    metadata["annotations"][labels::SOURCE_COMMIT] = json!(seen.commit.id.to_string());
    metadata["annotations"][DIGEST] = json!(desired.digest);
    // fields of ours that somebody changed are taken back; those of others only where the source was told to
    let force = action.what == What::Revert || settings.take_over;
    let parameters = PatchParams { force, ..PatchParams::apply(labels::MANAGER) };
    let api = objects::api(client, &action.id);
    let applied = api.patch(&action.id.name, &parameters, &Patch::Apply(&body)).await;
    let there = applied.map_err(|error| explain(&error, settings))?;
    if action.what == What::Revert { changed_back(&api, &body, there, settings).await } else { Ok(()) }
}

/// Whether an object is as wanted after it was changed back. What others put into its lists stays where they are merged
/// entry by entry: that is taken out, of exactly the version that was looked at.
async fn changed_back(
    api: &Api<DynamicObject>,
    wanted: &Value,
    there: DynamicObject,
    settings: &Settings,
) -> Result<(), String> {
    let found = serde_json::to_value(&there).map_err(|error| error.to_string())?;
    let Some(mended) = without_foreign_entries(wanted, &found) else {
        return still_different(wanted, &found);
    };
    // lists are replaced as a whole by this kind of patch
    let mut patch = json!({ "metadata": { "resourceVersion": there.metadata.resource_version } });
    for (key, value) in wanted.as_object().into_iter().flatten() {
        if value.is_object() && key != "metadata" {
            patch[key.as_str()] = mended[key.as_str()].clone();
        }
    }
    let parameters = PatchParams { field_manager: Some(labels::MANAGER.into()), ..PatchParams::default() };
    let name = there.metadata.name.unwrap_or_default();
    let changed = api.patch(&name, &parameters, &Patch::Merge(&patch)).await;
    let there = changed.map_err(|error| {
        format!("entries that others added could not be taken out of it: {}", explain(&error, settings))
    })?;
    still_different(wanted, &serde_json::to_value(&there).map_err(|error| error.to_string())?)
}

fn still_different(wanted: &Value, found: &Value) -> Result<(), String> {
    let left = differences(wanted, found, SHOWN);
    if left.is_empty() {
        return Ok(());
    }
    Err(format!(
        "it was changed back, and {} is still not as wanted; something in the cluster changes it as it is written: look for \
         admission webhooks and policies",
        left.join(", ")
    ))
}

async fn delete(action: &Action, live: &Observed, settings: &Settings, client: &Client) -> Result<(), String> {
    let api = objects::api(client, &action.id);
    // what was seen may be old news: another source may have taken it over since
    match api.get_metadata_opt(&action.id.name).await {
        Ok(Some(there)) if there.labels().get(labels::SOURCE) == Some(&settings.label) => {}
        Ok(Some(_)) => {
            return Err(
                "it is not this source's any more: its label midship.dev/source changed since; it stays".to_owned()
            );
        }
        Ok(None) => return Ok(()),
        // whoever may delete and not look goes by what was seen
        Err(kube::Error::Api(status)) if status.code == 403 => {}
        Err(error) => return Err(explain(&error, settings)),
    }
    // exactly the object that was looked at, not a namesake made since
    let preconditions =
        live.uids.get(&action.id).map(|uid| Preconditions { uid: Some(uid.clone()), resource_version: None });
    let parameters = DeleteParams { preconditions, ..DeleteParams::background() };
    match api.delete(&action.id.name, &parameters).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(explain(&error, settings)),
    }
}

/// What the API server said, with the other manager's name where it is a conflict.
fn explain(error: &kube::Error, settings: &Settings) -> String {
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
        kube::Error::Api(status) if status.code == 403 && Problem::lacks_permission(&status.message) => {
            not_permitted(settings, &status.message)
        }
        kube::Error::Api(status)
            if status.code == 404 && status.details.as_ref().is_some_and(|details| details.kind == "namespaces") =>
        {
            format!("{}; define the Namespace in the repository, or create it", status.message)
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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    use kube::client::Body;

    use super::*;
    use crate::api::GitSource;
    use crate::repo::Remotes;

    const FILE: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: map}\ndata: {a: b}\n";

    /// A server that has the ConfigMap with this value and takes what is written, and what it was asked to do.
    fn server(value: &'static str) -> (Client, Arc<Mutex<Vec<String>>>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = asked.clone();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let method = request.method().to_string();
            heard.lock().expect("no panic while it is held").push(method.clone());
            let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "map", "namespace": "shop" },
                              "data": { "a": value } });
            async move {
                let written = request.into_body().collect_bytes().await.expect("a body").to_vec();
                let answer = if method == "GET" { map.to_string().into_bytes() } else { written };
                Ok::<_, Infallible>(http::Response::new(Body::from(answer)))
            }
        });
        (Client::new(service, "shop"), asked)
    }

    #[tokio::test]
    async fn what_is_as_wanted_by_now_is_not_changed_back_again() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let source = json!({ "apiVersion": "midship.dev/v1alpha1", "kind": "GitSource",
            "metadata": { "name": "main", "namespace": "shop" }, "spec": { "url": "https://git.example.com/a.git" } });
        let source: GitSource = serde_json::from_value(source).expect("a source");
        let seen = Seen::of_files([("map.yaml", FILE)]);
        let id = seen.desired[0].id.clone();
        let action = Action { id, what: What::Revert, reason: "somebody changed .data.a".into() };
        let plan = Plan { actions: vec![action], ..Plan::default() };
        for (value, done, expected) in [("b", 0, vec!["GET"]), ("c", 1, vec!["GET", "PATCH"])] {
            let (client, asked) = server(value);
            let settings = Settings::read(&source, &client, &Remotes::default(), false, "test").await;
            let settings = settings.expect("it names no Secret");
            let live = Observed::default();
            let (outcomes, _) = carry_out(&plan, &seen, &live, &settings, &client, &|_| None).await;
            let failures: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.failure.clone()).collect();
            assert_eq!((outcomes.len(), failures), (done, Vec::<String>::new()), "{value}");
            assert_eq!(*asked.lock().expect("no panic while it is held"), expected, "{value}");
        }
    }
}
