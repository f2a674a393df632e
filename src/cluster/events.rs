//! Kubernetes events: what happened to an object, for those who ask `kubectl describe`.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use serde_json::json;

/// Who tells.
const CONTROLLER: &str = "midship";
/// Where the API server takes events of objects that are in no namespace.
const OF_CLUSTER: &str = "default";
/// What happens again within this time is one event.
const SERIES: SignedDuration = SignedDuration::from_mins(6);

/// Tells events; a failure to tell is logged and stops nothing. Events of the same object, reason and action count as one
/// that happens again, so that the action says what was acted on, such as a commit. kube's own recorder keeps each event
/// whole for as long, which is megabytes where hundreds of instances come to be.
#[derive(Clone)]
pub struct Events {
    client: Client,
    instance: Arc<str>,
    home: Option<Arc<str>>,
    series: Arc<Series>,
}

/// What was told lately, by what makes two events the same.
#[derive(Default)]
struct Series(Mutex<HashMap<u64, Told>>);

/// An event that was told.
struct Told {
    name: String,
    times: i32,
    last: Timestamp,
}

impl Events {
    /// `home` is where events of what is in no namespace go, for who may write events in a few namespaces alone.
    pub fn new(client: Client, instance: &str, home: Option<&str>) -> Self {
        Self { client, instance: instance.into(), home: home.map(Arc::from), series: Arc::default() }
    }

    pub async fn normal<K: Resource<DynamicType = ()>>(&self, object: &K, reason: &str, action: &str, note: String) {
        self.tell(object.object_ref(&()), "Normal", reason, action, note).await;
    }

    pub async fn warning<K: Resource<DynamicType = ()>>(&self, object: &K, reason: &str, action: &str, note: String) {
        self.tell(object.object_ref(&()), "Warning", reason, action, note).await;
    }

    async fn tell(&self, regarding: ObjectReference, type_: &str, reason: &str, action: &str, mut note: String) {
        // the API server takes 1024 bytes
        if note.len() > 1000 {
            let cut = note.floor_char_boundary(1000);
            note.truncate(cut);
            note.push('…');
        }
        let now = Timestamp::now();
        let what = digest(&regarding, type_, reason, action);
        let (regarding, namespace) = placed(regarding, self.home.as_deref());
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let mut told = Ok(());
        if let Some((name, times)) = self.series.again(what, now) {
            let series = json!({ "series": { "count": times, "lastObservedTime": MicroTime(now) } });
            match api.patch(&name, &PatchParams::default(), &Patch::Merge(&series)).await {
                Ok(_) => return,
                // the API server keeps events for a while only
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => told = Err(error),
            }
        }
        if told.is_ok() {
            let name = format!("{}.{:x}", regarding.name.as_deref().unwrap_or(CONTROLLER), now.as_nanosecond());
            let event = Event {
                action: Some(action.to_owned()),
                event_time: Some(MicroTime(now)),
                metadata: ObjectMeta { name: Some(name.clone()), namespace: Some(namespace), ..ObjectMeta::default() },
                note: Some(note),
                reason: Some(reason.to_owned()),
                regarding: Some(regarding),
                reporting_controller: Some(CONTROLLER.to_owned()),
                reporting_instance: Some(self.instance.to_string()),
                type_: Some(type_.to_owned()),
                ..Event::default()
            };
            match api.create(&PostParams::default(), &event).await {
                Ok(_) => self.series.first(what, name, now),
                Err(error) => told = Err(error),
            }
        }
        if let Err(error) = told {
            tracing::warn!(%error, reason, "the event could not be recorded");
        }
    }
}

impl Series {
    /// It was told for the first time.
    fn first(&self, what: u64, name: String, now: Timestamp) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, told| told.last.saturating_add(SERIES).is_ok_and(|end| end > now));
        told.insert(what, Told { name, times: 1, last: now });
    }

    /// The event that happens again, and for which time, where it was told a while ago.
    fn again(&self, what: u64, now: Timestamp) -> Option<(String, i32)> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = told.get_mut(&what)?;
        if known.last.saturating_add(SERIES).is_ok_and(|end| end <= now) {
            told.remove(&what);
            return None;
        }
        known.times = known.times.saturating_add(1);
        known.last = now;
        Some((known.name.clone(), known.times))
    }
}

/// Where an event goes. The API server holds its namespace to that of the object it is about.
fn placed(mut regarding: ObjectReference, home: Option<&str>) -> (ObjectReference, String) {
    if regarding.namespace.is_none() {
        regarding.namespace = home.map(str::to_owned);
    }
    let namespace = regarding.namespace.clone().unwrap_or_else(|| OF_CLUSTER.to_owned());
    (regarding, namespace)
}

/// What makes two events the same.
fn digest(regarding: &ObjectReference, type_: &str, reason: &str, action: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&regarding.kind, &regarding.namespace, &regarding.name, &regarding.uid).hash(&mut hasher);
    (type_, reason, action).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_again_within_minutes_is_one_event() {
        let events = Series::default();
        let (now, later) =
            (Timestamp::UNIX_EPOCH, |minutes| Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes));
        assert_eq!(events.again(1, now), None);
        events.first(1, "first".to_owned(), now);
        assert_eq!(events.again(1, later(5)), Some(("first".to_owned(), 2)));
        assert_eq!(events.again(1, later(10)), Some(("first".to_owned(), 3)));
        assert_eq!(events.again(2, later(10)), None, "another one");
        assert_eq!(events.again(1, later(16)), None, "its time is over");
        events.first(2, "second".to_owned(), later(20));
        assert_eq!(events.0.lock().expect("nobody panicked").len(), 1, "what is over is not kept");
    }

    #[test]
    fn what_is_in_no_namespace_is_told_of_where_the_controller_may_write() {
        let about = |namespace: Option<&str>| ObjectReference {
            kind: Some("Extension".into()),
            namespace: namespace.map(str::to_owned),
            ..ObjectReference::default()
        };
        let told = |namespace, home| {
            let (regarding, namespace) = placed(about(namespace), home);
            (regarding.namespace, namespace)
        };
        assert_eq!(told(None, None), (None, "default".to_owned()), "kubectl describe looks there");
        assert_eq!(told(None, Some("midship")), (Some("midship".to_owned()), "midship".to_owned()));
        assert_eq!(told(Some("shop"), Some("midship")), (Some("shop".to_owned()), "shop".to_owned()));
    }

    #[test]
    fn another_object_or_action_is_another_event() {
        let one = ObjectReference { kind: Some("PodSet".into()), name: Some("a".into()), ..ObjectReference::default() };
        let other = ObjectReference { name: Some("b".into()), ..one.clone() };
        let same = digest(&one, "Normal", "CreatePod", "CreatePod a-0");
        assert_eq!(same, digest(&one, "Normal", "CreatePod", "CreatePod a-0"));
        assert_ne!(same, digest(&other, "Normal", "CreatePod", "CreatePod a-0"));
        assert_ne!(same, digest(&one, "Normal", "CreatePod", "CreatePod a-1"));
        assert_ne!(same, digest(&one, "Warning", "CreatePod", "CreatePod a-0"));
    }
}
