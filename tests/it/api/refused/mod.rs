//! What the API server refuses, and what it says to the person: one room per kind, one line per mistake.
//!
//! Each mistake is a merge patch on an object that is accepted. The expected text is everything the server has to say, so
//! that a changed rule, a lost rule and a second complaint are all noticed.

#[rustfmt::skip]
mod backups;
#[rustfmt::skip]
mod extension;
#[rustfmt::skip]
mod generated;
#[rustfmt::skip]
mod git_source;
#[rustfmt::skip]
mod instance;
#[rustfmt::skip]
mod operation;

use std::fmt::Write;

use axum::http::Request;
use kube::Client;
use kube::core::Status;
use midship::api::Kind;
use midship::extension::check;
use serde_json::{Value, json};

use crate::harness::{Scene, api_test};

/// What is wrong, the patch that makes it wrong, and what is said.
type Mistake = (&'static str, Value, &'static str);
/// What is changed, the patch for the object that exists, the patch for the update, and what is said.
type Change = (&'static str, Value, Value, &'static str);

/// Every mistake is refused with its message, by the server and by the check that needs no server.
fn refused(kind: Kind, good: &Value, mistakes: &[Mistake]) {
    api_test(async |scene| {
        let place = Place::of(scene, kind);
        let mut wrong = String::new();
        if let Err(causes) = place.create(good).await {
            panic!("the object that all mistakes start from is refused:\n{causes}");
        }
        for (what, patch, expected) in mistakes {
            let object = patched(good, patch);
            let said = place.create(&object).await.err().unwrap_or_else(|| "accepted".to_owned());
            if said != *expected {
                writeln!(wrong, "{what}:\n  expected {expected}\n  was told {said}").expect("a String");
            }
            if let Some(missed) = missed_offline(kind, good, &object, &said) {
                writeln!(wrong, "{what}: {missed}").expect("a String");
            }
        }
        assert!(wrong.is_empty(), "{wrong}");
    });
}

/// Every change of an object that exists is refused with its message.
fn refused_changes(kind: Kind, good: &Value, changes: &[Change]) {
    api_test(async |scene| {
        let place = Place::of(scene, kind);
        let mut wrong = String::new();
        for (what, first, second, expected) in changes {
            let said = place.update(&patched(good, first), second).await.err().unwrap_or_else(|| "accepted".to_owned());
            if said != *expected {
                writeln!(wrong, "{what}:\n  expected {expected}\n  was told {said}").expect("a String");
            }
        }
        assert!(wrong.is_empty(), "{wrong}");
    });
}

/// Every change of an object that exists is accepted: the rules are no stricter than they are meant to be.
fn accepted_changes(kind: Kind, good: &Value, changes: &[(&str, Value, Value)]) {
    api_test(async |scene| {
        let place = Place::of(scene, kind);
        for (what, first, second) in changes {
            if let Err(causes) = place.update(&patched(good, first), second).await {
                panic!("{what}:\n{causes}");
            }
        }
    });
}

/// The schema of a spec, and the rules in it, are checked without a server too. The name and unknown fields outside the
/// spec are looked at elsewhere.
fn missed_offline(kind: Kind, good: &Value, object: &Value, said: &str) -> Option<String> {
    if object["spec"] == good["spec"] {
        return None;
    }
    let mistakes = check::spec(kind, &object["spec"]);
    if mistakes.is_empty() {
        return Some("the check that needs no server finds nothing".to_owned());
    }
    let in_words = |mistake: &check::Mistake| mistake.code != "rule" || said.contains(last_part(&mistake.message));
    let other = mistakes.iter().find(|mistake| !in_words(mistake))?;
    Some(format!("the check that needs no server says something else: {}", other.message))
}

/// The words of a rule, without the value in front of them.
fn last_part(message: &str) -> &str {
    message.strip_prefix('"').and_then(|rest| rest.split_once("\": ")).map_or(message, |(_, words)| words)
}

/// Where objects of a kind are on the server.
struct Place {
    client: Client,
    path: String,
}

impl Place {
    fn of(scene: &Scene, kind: Kind) -> Self {
        let scope = match kind {
            Kind::Extension => String::new(),
            _ => format!("/namespaces/{}", scene.namespace),
        };
        Self { client: scene.client.clone(), path: format!("/apis/midship.dev/v1alpha1{scope}/{}", kind.plural()) }
    }

    /// Creates it as `kubectl apply` does, but leaves nothing behind. An error is all that the server said.
    async fn create(&self, object: &Value) -> Result<Value, String> {
        let request = Request::post(format!("{}?dryRun=All&fieldValidation=Strict", self.path));
        self.send(request, object).await
    }

    /// Creates the object, changes it, and takes it away again.
    async fn update(&self, object: &Value, patch: &Value) -> Result<Value, String> {
        let name = object["metadata"]["name"].as_str().expect("a name");
        let one = format!("{}/{name}", self.path);
        let created = self.send(Request::post(format!("{}?fieldValidation=Strict", self.path)), object).await;
        created.unwrap_or_else(|causes| panic!("the object to be changed is refused:\n{causes}"));
        let change = Request::patch(format!("{one}?dryRun=All&fieldValidation=Strict"));
        let change = change.header("content-type", "application/merge-patch+json");
        let outcome = self.send(change, patch).await;
        self.send(Request::delete(one), &json!({})).await.expect("it can be deleted");
        outcome
    }

    async fn send(&self, request: axum::http::request::Builder, body: &Value) -> Result<Value, String> {
        let request = request.body(serde_json::to_vec(body).expect("plain data")).expect("a request");
        self.client.request::<Value>(request).await.map_err(|error| match error {
            kube::Error::Api(status) => causes(&status),
            other => panic!("the server could not be asked: {other}"),
        })
    }
}

/// All that the server says, without the object's kind and name in front.
fn causes(status: &Status) -> String {
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
    if causes.is_empty() {
        let message = &status.message;
        return message.split_once("strict decoding error: ").map_or(message.as_str(), |(_, error)| error).to_owned();
    }
    let causes = causes.iter().filter(|cause| !cause.message.contains("some validation rules were not checked"));
    let mut lines: Vec<_> = causes.map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
    lines.sort();
    lines.join("; ")
}

/// Stands in a patch for a null that stays.
const EMPTY: &str = "<null>";

/// A JSON merge patch: null takes a field away, lists are replaced.
fn patched(object: &Value, patch: &Value) -> Value {
    let changes = match patch {
        Value::Object(changes) => changes,
        Value::Array(items) => return items.iter().map(|item| patched(&Value::Null, item)).collect(),
        _ if patch == EMPTY => return Value::Null,
        _ => return patch.clone(),
    };
    let mut object = object.as_object().cloned().unwrap_or_default();
    for (field, change) in changes {
        if change.is_null() {
            object.remove(field);
        } else {
            let before = object.get(field).cloned().unwrap_or(Value::Null);
            object.insert(field.clone(), patched(&before, change));
        }
    }
    Value::Object(object)
}
