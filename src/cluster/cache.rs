//! A watch cache: one per kind, each with a back-off of its own, so that a kind that cannot be watched delays no other.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, RwLock};

use futures::StreamExt;
use kube::api::ObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::guard::Guard;
use super::problem::Problem;
use super::scope::{Scope, Watched};
use super::slim::Slim;
use super::watching::{self, Trouble};

/// Names an object within its kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub namespace: Option<String>,
    pub name: String,
}

impl Key {
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), name: name.to_owned() }
    }

    pub fn of<K: Resource>(object: &K) -> Self {
        Self { namespace: object.namespace(), name: object.name_any() }
    }

    pub fn of_meta(meta: &ObjectMeta) -> Self {
        Self { namespace: meta.namespace.clone(), name: meta.name.clone().unwrap_or_default() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        f.write_str(&self.name)
    }
}

/// Told of every object that appears, changes or goes: with what is known of it, which is nothing where it cannot be read.
pub type OnChange = Arc<dyn Fn(&Key, Option<&ObjectMeta>) + Send + Sync>;

/// All objects of one kind in a scope, as last seen. Dropping it ends its watches.
pub struct Cache<K: Resource<DynamicType = ()> + Clone + 'static> {
    parts: Vec<Part<K>>,
}

struct Part<K: Resource<DynamicType = ()> + Clone + 'static> {
    namespace: Option<String>,
    store: Store<K>,
    health: Arc<Health>,
    synced: watch::Receiver<bool>,
    _task: AbortOnDropHandle<()>,
}

/// What a watch has to say besides objects.
#[derive(Default)]
struct Health {
    trouble: Trouble,
    unreadable: RwLock<BTreeMap<Key, String>>,
}

impl<K> Cache<K>
where
    K: Resource<DynamicType = ()> + Watched + Slim + Clone + DeserializeOwned + fmt::Debug + Send + Sync + 'static,
{
    pub fn start(client: &Client, scope: &Scope, on_change: &OnChange) -> Self {
        Self::selected(client, scope, None, on_change)
    }

    /// Only those that have these labels.
    pub fn selected(client: &Client, scope: &Scope, labels: Option<&str>, on_change: &OnChange) -> Self {
        let parts = K::apis::<Guard<K>>(client, scope)
            .into_iter()
            .map(|(namespace, api)| Part::start(namespace, api, labels, on_change.clone()))
            .collect();
        Self { parts }
    }
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> Cache<K> {
    pub fn get(&self, key: &Key) -> Option<Arc<K>> {
        let mut reference = ObjectRef::<K>::new(&key.name);
        reference.namespace.clone_from(&key.namespace);
        self.parts
            .iter()
            .filter(|part| part.namespace.is_none() || part.namespace == key.namespace)
            .find_map(|part| part.store.get(&reference))
    }

    /// Whether everything in a namespace is seen.
    pub fn covers(&self, namespace: &str) -> bool {
        self.parts.iter().any(|part| part.namespace.as_deref().is_none_or(|watched| watched == namespace))
    }

    pub fn list(&self) -> Vec<Arc<K>> {
        self.parts.iter().flat_map(|part| part.store.state()).collect()
    }

    pub fn select(&self, wanted: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        self.parts.iter().flat_map(|part| part.store.state_filter(&wanted)).collect()
    }

    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.store.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Why an object is in the cluster and yet not here: it cannot be read as its kind.
    pub fn unreadable(&self, key: &Key) -> Option<String> {
        self.parts
            .iter()
            .find_map(|part| part.health.unreadable.read().expect("no panic while it is held").get(key).cloned())
    }

    /// What keeps the watch from running, where something does.
    pub fn problem(&self) -> Option<String> {
        self.parts.iter().find_map(|part| part.health.trouble.now())
    }

    /// Returns once every object has been seen.
    pub async fn synced(&self) {
        for part in &self.parts {
            // an error means that the task is gone, and with it this cache
            let _ = part.synced.clone().wait_for(|synced| *synced).await;
        }
    }
}

impl<K> Part<K>
where
    K: Resource<DynamicType = ()> + Slim + Clone + DeserializeOwned + fmt::Debug + Send + Sync + 'static,
{
    fn start(namespace: Option<String>, api: Api<Guard<K>>, labels: Option<&str>, on_change: OnChange) -> Self {
        let (store, mut writer) = store::<K>();
        let health = Arc::new(Health::default());
        let (synced_sender, synced) = watch::channel(false);
        // a watch that ends within the server's usual time keeps its answers well below the client's time-outs
        let mut config = Config::default().timeout(290);
        config.label_selector = labels.map(str::to_owned);
        let task = {
            let health = health.clone();
            async move {
                let stream = watcher(api, config).backoff(watching::backoff());
                let mut stream = std::pin::pin!(stream);
                while let Some(event) = stream.next().await {
                    match event {
                        Ok(event) => {
                            health.trouble.is_over();
                            let done = matches!(event, Event::InitDone);
                            if let Some(event) = readable(event, &health, &on_change) {
                                apply(&mut writer, &event, |meta| on_change(&Key::of_meta(meta), Some(meta)));
                            }
                            if done {
                                synced_sender.send_replace(true);
                            }
                        }
                        Err(error) => {
                            health.trouble.happened(&K::kind(&()), &describe(&error), &error);
                        }
                    }
                }
            }
        };
        Self { namespace, store, health, synced, _task: AbortOnDropHandle::new(tokio::spawn(task)) }
    }
}

/// The event without objects that cannot be read; those are remembered with the reason, and still told of.
fn readable<K: Resource<DynamicType = ()> + Slim>(
    event: Event<Guard<K>>,
    health: &Health,
    on_change: &OnChange,
) -> Option<Event<K>> {
    let mut unreadable = health.unreadable.write().expect("no panic while it is held");
    let mut sort = |guard: Guard<K>| {
        let key = Key::of(&guard);
        match guard.0 {
            Ok(mut object) => {
                unreadable.remove(&key);
                object.meta_mut().managed_fields = None;
                object.slim();
                Some(object)
            }
            Err(invalid) => {
                tracing::warn!(kind = %K::kind(&()), object = %key, error = invalid.reason, "the object cannot be read");
                unreadable.insert(key.clone(), invalid.reason);
                on_change(&key, None);
                None
            }
        }
    };
    match event {
        Event::Apply(guard) => sort(guard).map(Event::Apply),
        Event::InitApply(guard) => sort(guard).map(Event::InitApply),
        Event::Delete(guard) => {
            let key = Key::of(&guard);
            unreadable.remove(&key);
            let object = guard.0.ok();
            if object.is_none() {
                on_change(&key, None);
            }
            object.map(Event::Delete)
        }
        Event::Init => {
            unreadable.clear();
            Some(Event::Init)
        }
        Event::InitDone => Some(Event::InitDone),
    }
}

/// Brings the store up to date and tells of the objects that touches. What a list says is there once all of it was read: whoever
/// was told before would look at what was known until then, and be told no more. With it comes what went away unseen.
fn apply<K: Resource<DynamicType = ()> + Clone + 'static>(
    writer: &mut Writer<K>,
    event: &Event<K>,
    mut tell: impl FnMut(&ObjectMeta),
) {
    let before = if matches!(event, Event::InitDone) { writer.as_reader().state() } else { Vec::new() };
    writer.apply_watcher_event(event);
    match event {
        Event::Apply(object) | Event::Delete(object) => tell(object.meta()),
        Event::Init | Event::InitApply(_) => {}
        Event::InitDone => {
            let now = writer.as_reader();
            let gone = |object: &&Arc<K>| now.get(&ObjectRef::from_obj(object.as_ref())).is_none();
            before.iter().filter(gone).for_each(|object| tell(object.meta()));
            now.state().iter().for_each(|object| tell(object.meta()));
        }
    }
}

pub(super) fn describe(error: &kube::runtime::watcher::Error) -> String {
    use kube::runtime::watcher::Error;
    match error {
        Error::InitialListFailed(error) | Error::WatchStartFailed(error) | Error::WatchFailed(error) => {
            Problem::from_kube(error).to_string()
        }
        Error::WatchError(status) => status.message.clone(),
        Error::NoResourceVersion => "the API server sent a list without a version".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::json;

    use super::*;

    fn config_map(name: &str, version: &str) -> ConfigMap {
        let object = json!({ "metadata": { "name": name, "namespace": "shop", "resourceVersion": version } });
        serde_json::from_value(object).expect("a ConfigMap")
    }

    #[test]
    fn whoever_is_told_of_a_change_finds_it_in_the_store() {
        let (store, mut writer) = store::<ConfigMap>();
        let version = |name: &str| {
            let found = store.get(&ObjectRef::new(name).within("shop"));
            found.and_then(|object| object.metadata.resource_version.clone())
        };
        let mut told = |event: Event<ConfigMap>| {
            let mut told = Vec::new();
            apply(&mut writer, &event, |meta| {
                let name = meta.name.clone().expect("a name");
                assert!(version(&name).is_none_or(|there| Some(there) == meta.resource_version), "{name}");
                told.push(name);
            });
            told.sort();
            told
        };
        assert_eq!(told(Event::Init), Vec::<String>::new());
        assert_eq!(told(Event::InitApply(config_map("a", "1"))), Vec::<String>::new());
        assert_eq!(told(Event::InitApply(config_map("b", "1"))), Vec::<String>::new());
        assert_eq!(told(Event::InitDone), ["a", "b"]);
        assert_eq!(told(Event::Apply(config_map("b", "2"))), ["b"]);
        // the watch was interrupted: meanwhile a changed, b went, c came
        assert_eq!(told(Event::Init), Vec::<String>::new());
        assert_eq!(told(Event::InitApply(config_map("a", "5"))), Vec::<String>::new(), "nobody would see it yet");
        assert_eq!(told(Event::InitApply(config_map("c", "4"))), Vec::<String>::new());
        assert_eq!(told(Event::InitDone), ["a", "b", "c"]);
        assert_eq!((version("a").as_deref(), version("b"), version("c").as_deref()), (Some("5"), None, Some("4")));
    }
}
