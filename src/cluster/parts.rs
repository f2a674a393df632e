//! What Midship made of other people's kinds: ConfigMaps, Secrets, Services and the like, watched by their metadata alone.
//! Little of each is kept: whose it is, and what tells whether somebody changed it.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, RwLock};

use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DynamicObject, ObjectMeta, PartialObjectMeta};
use kube::core::ApiResource;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::cache::{Key, describe};
use super::scope::Scope;
use super::watching::{self, Trouble};
use crate::api::labels;

/// The kinds that are watched: group, version, kind, plural.
pub const KINDS: [(&str, &str, &str, &str); 8] = [
    ("", "v1", "ConfigMap", "configmaps"),
    ("", "v1", "Secret", "secrets"),
    ("", "v1", "Service", "services"),
    ("", "v1", "ServiceAccount", "serviceaccounts"),
    ("rbac.authorization.k8s.io", "v1", "Role", "roles"),
    ("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings"),
    ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
];

/// Labels that are kept of each.
const WHOSE: [&str; 3] = [labels::MANAGED_BY, labels::INSTANCE, labels::EXTENSION];

/// What is known of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    pub uid: String,
    /// The object that controls it.
    pub owner: Option<OwnerReference>,
    /// Changes whenever somebody changes the object; what others say in its status does not count.
    pub version: String,
    /// Its version within the API server, which tells old news from new.
    pub resource_version: u64,
    pub deleting: bool,
    /// Those that tell whose it is.
    pub labels: BTreeMap<String, String>,
    /// The value of [`labels::INVENTORY`].
    pub inventory: Option<String>,
}

impl Part {
    pub fn of(meta: &ObjectMeta) -> Self {
        let annotations = meta.annotations.as_ref();
        let labels = meta.labels.iter().flatten();
        Self {
            uid: meta.uid.clone().unwrap_or_default(),
            owner: meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true)).cloned(),
            version: version(meta),
            resource_version: resource_version(meta),
            deleting: meta.deletion_timestamp.is_some(),
            labels: labels
                .filter(|(key, _)| WHOSE.contains(&key.as_str()))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            inventory: annotations.and_then(|all| all.get(labels::INVENTORY)).cloned(),
        }
    }
}

/// Objects with a generation have a status that others write, and which is no change of ours.
pub fn version(meta: &ObjectMeta) -> String {
    match meta.generation {
        None => meta.resource_version.clone().unwrap_or_default(),
        Some(generation) => {
            let mut hasher = DefaultHasher::new();
            (&meta.labels, &meta.annotations).hash(&mut hasher);
            for owner in meta.owner_references.iter().flatten() {
                (&owner.uid, owner.controller).hash(&mut hasher);
            }
            format!("{generation}-{:x}", hasher.finish())
        }
    }
}

pub fn resource_version(meta: &ObjectMeta) -> u64 {
    meta.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or_default()
}

/// Told of every part that appears, changes or goes.
pub type OnChange = Arc<dyn Fn(&ObjectMeta) + Send + Sync>;

type Seen = RwLock<HashMap<(usize, Key), Part>>;

/// All parts in a scope, as last seen. Dropping it ends its watches.
pub struct Parts {
    seen: Arc<Seen>,
    watches: Vec<Watch>,
}

struct Watch {
    trouble: Arc<Trouble>,
    synced: watch::Receiver<bool>,
    _task: AbortOnDropHandle<()>,
}

impl Parts {
    pub fn start(client: &Client, scope: &Scope, on_change: &OnChange) -> Self {
        let seen: Arc<Seen> = Arc::default();
        let mut watches = Vec::new();
        for number in 0..KINDS.len() {
            let resource = resource(number);
            for part in scope.parts() {
                let api: Api<PartialObjectMeta<DynamicObject>> = match part {
                    None => Api::all_with(client.clone(), &resource),
                    Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
                };
                let place = Place { kind: number, namespace: part.map(str::to_owned) };
                watches.push(Watch::start(place, api, seen.clone(), on_change.clone()));
            }
        }
        Self { seen, watches }
    }

    pub fn get(&self, kind: &str, key: &Key) -> Option<Part> {
        let number = KINDS.iter().position(|(_, _, known, _)| *known == kind)?;
        self.seen.read().expect("no panic while it is held").get(&(number, key.clone())).cloned()
    }

    /// The parts in a namespace with this label: kind, name, and what is known.
    pub fn labelled(&self, namespace: &str, label: &str, value: &str) -> Vec<(&'static str, String, Part)> {
        let seen = self.seen.read().expect("no panic while it is held");
        let here = seen.iter().filter(|((_, key), part)| {
            key.namespace.as_deref() == Some(namespace) && part.labels.get(label).is_some_and(|found| found == value)
        });
        here.map(|((number, key), part)| (KINDS[*number].2, key.name.clone(), part.clone())).collect()
    }

    pub fn len(&self) -> usize {
        self.seen.read().expect("no panic while it is held").len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What keeps a watch from running, where something does.
    pub fn problem(&self) -> Option<String> {
        self.watches.iter().find_map(|watch| watch.trouble.now())
    }

    /// Returns once every part has been seen.
    pub async fn synced(&self) {
        for watch in &self.watches {
            // an error means that the task is gone, and with it these parts
            let _ = watch.synced.clone().wait_for(|synced| *synced).await;
        }
    }
}

/// Whether objects of a kind are watched here.
pub fn is_watched(kind: &str) -> bool {
    KINDS.iter().any(|(_, _, known, _)| *known == kind)
}

/// `apiVersion` of a kind that is watched here.
pub fn api_version(kind: &str) -> String {
    match KINDS.iter().find(|(_, _, known, _)| *known == kind) {
        Some(("", version, ..)) => (*version).to_owned(),
        Some((group, version, ..)) => format!("{group}/{version}"),
        None => String::new(),
    }
}

fn resource(number: usize) -> ApiResource {
    let (group, version, kind, plural) = KINDS[number];
    let api_version = api_version(kind);
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version,
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

/// What one watch covers.
struct Place {
    kind: usize,
    namespace: Option<String>,
}

impl Watch {
    fn start(place: Place, api: Api<PartialObjectMeta<DynamicObject>>, seen: Arc<Seen>, on_change: OnChange) -> Self {
        let trouble: Arc<Trouble> = Arc::default();
        let (sender, synced) = watch::channel(false);
        let mut config = watcher::Config::default().timeout(290);
        config.label_selector = Some(format!("{}={}", labels::MANAGED_BY, labels::MANAGER));
        let said = trouble.clone();
        let task = async move {
            let mut stream = std::pin::pin!(watcher(api, config).backoff(watching::backoff()));
            // names of a list that has begun: what is not among them at its end is gone
            let mut listed: HashMap<Key, ObjectMeta> = HashMap::new();
            while let Some(event) = stream.next().await {
                let event = match event {
                    Ok(event) => event,
                    Err(error) => {
                        said.happened(KINDS[place.kind].2, &describe(&error), &error);
                        continue;
                    }
                };
                said.is_over();
                match event {
                    Event::Apply(object) => {
                        put(&seen, place.kind, &object.metadata);
                        on_change(&object.metadata);
                    }
                    Event::Delete(object) => {
                        let key = (place.kind, Key::of_meta(&object.metadata));
                        seen.write().expect("no panic while it is held").remove(&key);
                        on_change(&object.metadata);
                    }
                    Event::Init => listed.clear(),
                    Event::InitApply(object) => {
                        listed.insert(Key::of_meta(&object.metadata), object.metadata);
                    }
                    Event::InitDone => {
                        for meta in place.replace(&seen, &listed) {
                            on_change(&meta);
                        }
                        listed = HashMap::new();
                        sender.send_replace(true);
                    }
                }
            }
        };
        Self { trouble, synced, _task: AbortOnDropHandle::new(tokio::spawn(task)) }
    }
}

impl Place {
    /// Puts a whole list in the place of what was known, and says what is to be told of.
    fn replace(&self, seen: &Seen, listed: &HashMap<Key, ObjectMeta>) -> Vec<ObjectMeta> {
        let mut seen = seen.write().expect("no panic while it is held");
        let mut told: Vec<ObjectMeta> = listed.values().cloned().collect();
        seen.retain(|(kind, key), part| {
            let covered = *kind == self.kind && (self.namespace.is_none() || self.namespace == key.namespace);
            let keep = !covered || listed.contains_key(key);
            if !keep {
                told.push(ObjectMeta {
                    name: Some(key.name.clone()),
                    namespace: key.namespace.clone(),
                    labels: Some(part.labels.clone()),
                    owner_references: part.owner.clone().map(|owner| vec![owner]),
                    ..ObjectMeta::default()
                });
            }
            keep
        });
        seen.extend(listed.values().map(|meta| ((self.kind, Key::of_meta(meta)), Part::of(meta))));
        told
    }
}

fn put(seen: &Seen, kind: usize, meta: &ObjectMeta) {
    seen.write().expect("no panic while it is held").insert((kind, Key::of_meta(meta)), Part::of(meta));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(name: &str, version: &str) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some("shop".to_owned()),
            resource_version: Some(version.to_owned()),
            labels: Some(BTreeMap::from([(labels::INSTANCE.to_owned(), "cache".to_owned())])),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn what_a_new_list_does_not_have_is_gone_and_told_of() {
        let seen: Seen = RwLock::default();
        let place = Place { kind: 0, namespace: None };
        for name in ["a", "b"] {
            put(&seen, 0, &meta(name, "1"));
        }
        put(&seen, 1, &meta("of another kind", "1"));
        let listed = HashMap::from([(Key::new("shop", "a"), meta("a", "2"))]);
        let mut told: Vec<_> = place.replace(&seen, &listed).into_iter().filter_map(|meta| meta.name).collect();
        told.sort();
        assert_eq!(told, ["a", "b"]);
        let seen = seen.into_inner().expect("no panic");
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[&(0, Key::new("shop", "a"))].resource_version, 2);
    }

    #[test]
    fn somebody_s_status_is_no_change_and_a_label_is_one() {
        let first = ObjectMeta { generation: Some(1), ..meta("a", "1") };
        let status = ObjectMeta { generation: Some(1), ..meta("a", "2") };
        assert_eq!(version(&first), version(&status));
        let label = ObjectMeta { labels: None, ..status };
        assert_ne!(version(&first), version(&label));
        assert_ne!(version(&meta("a", "1")), version(&meta("a", "2")));
    }
}
