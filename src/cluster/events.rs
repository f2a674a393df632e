//! Kubernetes events: what happened to an object, for those who ask `kubectl describe`.

use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};

/// Tells events; a failure to tell is logged and stops nothing. Events of the same object, reason and action count as one
/// that happens again, so that the action says what was acted on, such as a commit.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
}

impl Events {
    pub fn new(client: Client, instance: &str) -> Self {
        let reporter = Reporter { controller: "midship".into(), instance: Some(instance.to_owned()) };
        Self { recorder: Recorder::new(client, reporter) }
    }

    pub async fn normal<K: Resource<DynamicType = ()>>(&self, object: &K, reason: &str, action: &str, note: String) {
        self.tell(object, EventType::Normal, reason, action, note).await;
    }

    pub async fn warning<K: Resource<DynamicType = ()>>(&self, object: &K, reason: &str, action: &str, note: String) {
        self.tell(object, EventType::Warning, reason, action, note).await;
    }

    async fn tell<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        type_: EventType,
        reason: &str,
        action: &str,
        mut note: String,
    ) {
        // the API server takes 1024 bytes
        if note.len() > 1000 {
            let cut = note.floor_char_boundary(1000);
            note.truncate(cut);
            note.push('…');
        }
        let event =
            Event { type_, reason: reason.to_owned(), note: Some(note), action: action.to_owned(), secondary: None };
        if let Err(error) = self.recorder.publish(&event, &object.object_ref(&())).await {
            tracing::warn!(%error, reason, "the event could not be recorded");
        }
    }
}
