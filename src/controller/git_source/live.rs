//! What is in the cluster of the objects a source wants, or once applied.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use futures::{StreamExt, stream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DynamicObject, ListParams, ObjectList, TypeMeta};
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::look::Seen;
use super::objects::{self, DIGEST};
use super::rights::Powerless;
use super::settings::Settings;
use crate::api::{GitSource, labels};
use crate::cluster::parts::version;
use crate::cluster::problem::Problem;
use crate::cluster::{Cache, Key};
use crate::controller::caches::Caches;
use crate::controller::frame::Failure;
use crate::plan::source::differences::differences;
use crate::plan::source::reserved::reserved;
use crate::plan::source::{Desired, Live, ObjectId, ObjectKind, source_label};

/// How many differences of an object are told.
const SHOWN: usize = 5;
/// Questions to the API server at a time.
const AT_ONCE: usize = 16;
/// Objects that were found to be as the repository says: in which version of what they ask for, and what it said.
pub type Settled = HashMap<ObjectId, (String, Arc<Value>)>;

/// Live objects by name, and the identity of those that are not wanted: exactly these may be deleted.
#[derive(Default)]
pub struct Observed {
    pub objects: BTreeMap<ObjectId, Live>,
    pub uids: BTreeMap<ObjectId, String>,
    /// What may not be looked at, and why: nothing is done to it.
    pub unseen: BTreeMap<ObjectId, String>,
    /// Who else defines what would be deleted, and may not write it.
    pub powerless: Powerless,
}

/// Which objects are looked at.
pub enum Part {
    Everything,
    /// What is not watched, so that nobody tells of it, and these.
    Unwatched(BTreeSet<ObjectId>),
    Only(BTreeSet<ObjectId>),
}

impl Part {
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Only(ids) if ids.is_empty())
    }

    pub fn is_everything(&self) -> bool {
        matches!(self, Self::Everything)
    }

    /// Whether what nobody tells of is looked at as well.
    pub fn has_unwatched(&self) -> bool {
        !matches!(self, Self::Only(_))
    }

    /// The same with what nobody tells of.
    #[must_use]
    pub fn and_unwatched(self) -> Self {
        match self {
            Self::Only(ids) => Self::Unwatched(ids),
            wider => wider,
        }
    }

    /// The same with these.
    #[must_use]
    pub fn and(mut self, more: BTreeSet<ObjectId>) -> Self {
        if let Self::Unwatched(ids) | Self::Only(ids) = &mut self {
            ids.extend(more);
        }
        self
    }

    /// What is wanted of it, in the order of ids.
    pub fn desired<'a>(&self, seen: &'a Seen) -> Vec<&'a Desired> {
        match self {
            Self::Everything => seen.desired.iter().collect(),
            Self::Unwatched(ids) => {
                let watched = ids.iter().filter(|id| id.kind.is_watched()).filter_map(|id| seen.find(id));
                seen.unwatched().iter().chain(watched).collect()
            }
            Self::Only(ids) => ids.iter().filter_map(|id| seen.find(id)).collect(),
        }
    }
}

pub async fn observe(
    caches: &Caches,
    client: &Client,
    settings: &Settings,
    seen: &Seen,
    part: &Part,
    settled: &mut Settled,
) -> Result<Observed, Failure> {
    let sources = &caches.git_sources;
    let mut eye =
        Eye { label: &settings.label, seen, part, settled, sources, known: None, observed: Observed::default() };
    eye.watched(ObjectKind::Extension, &caches.extensions);
    eye.watched(ObjectKind::BackupRepository, &caches.backup_repositories);
    eye.watched(ObjectKind::BackupPolicy, &caches.backup_policies);
    eye.watched(ObjectKind::GitSource, &caches.git_sources);
    eye.watched(ObjectKind::Instance, &caches.instances);
    eye.watched(ObjectKind::Operation, &caches.operations);
    if !part.has_unwatched() {
        return Ok(eye.observed);
    }
    if part.is_everything() {
        eye.settled.retain(|id, _| seen.find(id).is_some());
    }
    eye.ask(client, settings).await.map_err(|error| Failure::new("NotObserved", Problem::from_kube(&error)))?;
    Ok(eye.observed)
}

/// Everything a source applied, in the order of application: what it is, its identity, and whether it is being deleted.
pub async fn applied(
    caches: &Caches,
    client: &Client,
    label: &str,
    namespaces: Option<&BTreeSet<String>>,
) -> Result<Vec<(ObjectId, String, bool)>, kube::Error> {
    fn watched<K>(kind: ObjectKind, cache: &Cache<K>, label: &str) -> Vec<(ObjectId, String, bool)>
    where
        K: Resource<DynamicType = ()> + Clone + 'static,
    {
        let ours = |meta: &ObjectMeta| {
            meta.labels.as_ref().and_then(|all| all.get(labels::SOURCE)).is_some_and(|one| one == label)
        };
        cache.list().iter().filter(|object| ours(object.meta())).map(|object| identified(kind, object.meta())).collect()
    }
    let mut found = watched(ObjectKind::Extension, &caches.extensions, label);
    found.extend(watched(ObjectKind::BackupRepository, &caches.backup_repositories, label));
    found.extend(watched(ObjectKind::BackupPolicy, &caches.backup_policies, label));
    found.extend(watched(ObjectKind::GitSource, &caches.git_sources, label));
    found.extend(watched(ObjectKind::Instance, &caches.instances, label));
    found.extend(watched(ObjectKind::Operation, &caches.operations, label));
    let ours = ListParams::default().labels(&format!("{}={label}", labels::SOURCE));
    for kind in unwatched() {
        for part in parts(kind, namespaces) {
            match objects::within(client, kind, part).list(&ours).await {
                Ok(list) => found.extend(list.items.iter().map(|object| identified(kind, &object.metadata))),
                Err(kube::Error::Api(status)) if status.code == 403 => {}
                Err(error) => return Err(error),
            }
        }
    }
    found.sort();
    Ok(found)
}

fn identified(kind: ObjectKind, meta: &ObjectMeta) -> (ObjectId, String, bool) {
    (id_of(kind, meta), meta.uid.clone().unwrap_or_default(), meta.deletion_timestamp.is_some())
}

struct Eye<'a> {
    label: &'a str,
    seen: &'a Seen,
    part: &'a Part,
    settled: &'a mut Settled,
    sources: &'a Cache<GitSource>,
    /// The labels of all sources, once somebody asked.
    known: Option<BTreeSet<String>>,
    observed: Observed,
}

impl Eye<'_> {
    fn watched<K>(&mut self, kind: ObjectKind, cache: &Cache<K>)
    where
        K: Resource<DynamicType = ()> + Clone + Serialize + DeserializeOwned + 'static,
    {
        let objects = match self.part {
            Part::Everything => cache.list(),
            Part::Unwatched(ids) | Part::Only(ids) => {
                let key = |id: &ObjectId| Key { namespace: id.namespace.clone(), name: id.name.clone() };
                ids.iter().filter(|id| id.kind == kind).filter_map(|id| cache.get(&key(id))).collect()
            }
        };
        for object in objects {
            self.note(id_of(kind, object.meta()), object.meta(), |body| {
                // what is wanted takes the same way through our types, so that only its meaning is compared: 24h is 1d
                let wanted: K = serde_json::from_value(body.clone()).ok()?;
                Some((serde_json::to_value(wanted).ok()?, serde_json::to_value(object.as_ref()).ok()?))
            });
        }
    }

    async fn ask(&mut self, client: &Client, settings: &Settings) -> Result<(), kube::Error> {
        let seen = self.seen;
        let ours = ListParams::default().labels(&format!("{}={}", labels::SOURCE, self.label));
        let mut lists = Vec::new();
        for kind in unwatched() {
            for part in parts(kind, settings.placement.allowed.as_ref()) {
                lists.push(list(client, kind, part, &ours));
            }
        }
        let lists: Vec<_> = stream::iter(lists).buffered(AT_ONCE).collect().await;
        let mut found: BTreeMap<ObjectId, DynamicObject> = BTreeMap::new();
        for (kind, answer) in lists {
            match answer {
                Ok(list) => found.extend(list.items.into_iter().map(|object| (id_of(kind, &object.metadata), object))),
                // what may not be listed may not have been applied either
                Err(kube::Error::Api(status)) if status.code == 403 => {}
                Err(error) => return Err(error),
            }
        }
        // what is not there, or nobody's, or somebody else's
        let mut single = Vec::new();
        for desired in seen.unwatched().iter().filter(|desired| !found.contains_key(&desired.id)) {
            single.push(get(client, &desired.id));
        }
        let answers: Vec<_> = stream::iter(single).buffered(AT_ONCE).collect().await;
        for (id, answer) in answers {
            match answer {
                Ok(object) => found.extend(object.map(|object| (id.clone(), object))),
                Err(kube::Error::Api(status)) if status.code == 403 => {
                    self.observed.unseen.insert(id.clone(), not_permitted(settings, &status.message));
                }
                Err(error) => return Err(error),
            }
        }
        for (id, object) in found {
            // what comes from a list does not say what it is
            let types = Some(TypeMeta { api_version: id.kind.api_version().into(), kind: id.kind.as_str().into() });
            let object = DynamicObject { types, ..object };
            self.note(id, &object.metadata, |body| Some((body.clone(), serde_json::to_value(&object).ok()?)));
        }
        Ok(())
    }

    /// Remembers an object that concerns this source. `comparable` gives what is wanted and what is there.
    fn note(&mut self, id: ObjectId, metadata: &ObjectMeta, comparable: impl FnOnce(&Value) -> Option<(Value, Value)>) {
        let label = metadata.labels.as_ref().and_then(|labels| labels.get(labels::SOURCE)).cloned();
        let body = self.seen.body(&id);
        let reserved = body.and_then(|body| reserved(&id, metadata, body));
        let label = label.filter(|label| body.is_none() || !self.is_orphaned(label));
        if body.is_none() && label.as_deref() != Some(self.label) {
            return;
        }
        // the files of a package go with their Extension, which waits for those who use it
        if body.is_none() && metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(labels::EXTENSION)) {
            return;
        }
        let annotation = |key: &str| metadata.annotations.as_ref().and_then(|all| all.get(key)).cloned();
        let live = Live {
            differences: body.map(|body| self.differences(&id, metadata, body, comparable)).unwrap_or_default(),
            source: label,
            path: annotation(labels::SOURCE_PATH),
            digest: annotation(DIGEST),
            deleting: metadata.deletion_timestamp.is_some(),
            reserved,
        };
        if body.is_none() {
            self.observed.uids.insert(id.clone(), metadata.uid.clone().unwrap_or_default());
        }
        self.observed.objects.insert(id, live);
    }

    /// Whether the source of this label is gone for certain: what it left behind is anybody's.
    fn is_orphaned(&mut self, label: &str) -> bool {
        if label == self.label {
            return false;
        }
        // a label that was shortened does not tell which source it was
        let Some((namespace, name)) = label.split_once('.').filter(|_| label.len() < 63) else { return false };
        if !self.sources.covers(namespace) || self.sources.unreadable(&Key::new(namespace, name)).is_some() {
            return false;
        }
        let sources = self.sources;
        let all = || {
            let label =
                |source: Arc<GitSource>| source_label(&source.namespace().unwrap_or_default(), &source.name_any());
            sources.list().into_iter().map(label).collect::<BTreeSet<String>>()
        };
        !self.known.get_or_insert_with(all).contains(label)
    }

    /// Where it is not as wanted. What was compared before and did not change since is not compared again.
    fn differences(
        &mut self,
        id: &ObjectId,
        metadata: &ObjectMeta,
        body: &Arc<Value>,
        comparable: impl FnOnce(&Value) -> Option<(Value, Value)>,
    ) -> Vec<String> {
        let version = version_of(metadata);
        let settled = self.settled.get(id);
        if settled.is_some_and(|(settled, then)| *settled == version && Arc::ptr_eq(then, body)) {
            return Vec::new();
        }
        let found = comparable(body).map(|(wanted, found)| differences(&wanted, &found, SHOWN)).unwrap_or_default();
        if found.is_empty() {
            self.settled.insert(id.clone(), (version, body.clone()));
        } else {
            self.settled.remove(id);
        }
        found
    }
}

async fn get<'a>(client: &Client, id: &'a ObjectId) -> (&'a ObjectId, Result<Option<DynamicObject>, kube::Error>) {
    (id, objects::api(client, id).get_opt(&id.name).await)
}

async fn list(
    client: &Client,
    kind: ObjectKind,
    namespace: Option<&str>,
    which: &ListParams,
) -> (ObjectKind, Result<ObjectList<DynamicObject>, kube::Error>) {
    (kind, objects::within(client, kind, namespace).list(which).await)
}

/// What the API server does not let us do, and whom to allow it.
pub fn not_permitted(settings: &Settings, message: &str) -> String {
    match settings.account() {
        Some(account) => format!(
            "not permitted: {message}; give the ServiceAccount {account} a role with it, or take the object out of the repository"
        ),
        None => format!("not permitted: {message}; the Helm chart's roles hold what Midship needs"),
    }
}

fn id_of(kind: ObjectKind, metadata: &ObjectMeta) -> ObjectId {
    ObjectId { kind, namespace: metadata.namespace.clone(), name: metadata.name.clone().unwrap_or_default() }
}

/// Changes with all that an object asks for. What is said in its status is no part of that, and one that was made anew is
/// another one.
fn version_of(metadata: &ObjectMeta) -> String {
    format!("{} {}", metadata.uid.as_deref().unwrap_or_default(), version(metadata))
}

/// Kinds that are asked for.
fn unwatched() -> impl Iterator<Item = ObjectKind> {
    ObjectKind::ALL.into_iter().filter(|kind| !kind.is_watched())
}

/// Where objects of a kind are looked for: everywhere, or in each namespace the source may write to.
fn parts(kind: ObjectKind, allowed: Option<&BTreeSet<String>>) -> Vec<Option<&str>> {
    match allowed {
        Some(namespaces) if kind.is_namespaced() => namespaces.iter().map(|name| Some(name.as_str())).collect(),
        _ => vec![None],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_compared_again_once_it_asks_for_something_else() {
        let meta = |uid: &str, generation: i64, resource_version: &str| ObjectMeta {
            uid: Some(uid.to_owned()),
            generation: Some(generation),
            resource_version: Some(resource_version.to_owned()),
            ..ObjectMeta::default()
        };
        let settled = version_of(&meta("a", 1, "7"));
        assert_eq!(version_of(&meta("a", 1, "8")), settled, "its status was written");
        assert_ne!(version_of(&meta("a", 2, "8")), settled, "its spec was");
        assert_ne!(version_of(&meta("b", 1, "8")), settled, "it was deleted, and made anew with who knows what");
        let labels = Some([("team".to_owned(), "shop".to_owned())].into());
        assert_ne!(version_of(&ObjectMeta { labels, ..meta("a", 1, "8") }), settled);
        let secret = |resource_version: &str| ObjectMeta { generation: None, ..meta("a", 1, resource_version) };
        assert_ne!(version_of(&secret("8")), version_of(&secret("7")), "what has no generation has only this");
    }

    #[test]
    fn what_nobody_tells_of_is_found_among_many_without_looking_at_them() {
        let mut files: Vec<(String, String)> = (0..100)
            .map(|n| {
                let spec = "spec: {type: cache, extensionVersion: 1.0.0, version: \"7.0\"}";
                let head = format!("apiVersion: midship.dev/v1alpha1\nkind: Instance\nmetadata: {{name: i{n:03}}}");
                (format!("i{n:03}.yaml"), format!("{head}\n{spec}\n"))
            })
            .collect();
        let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: map}\ndata: {a: b}\n";
        files.push(("map.yaml".to_owned(), map.to_owned()));
        let seen = Seen::of_files(files.iter().map(|(path, text)| (path.as_str(), text.as_str())));
        let named = |part: &Part| -> Vec<String> {
            part.desired(&seen).into_iter().map(|desired| desired.id.to_string()).collect()
        };
        let touched = ObjectId { kind: ObjectKind::Instance, namespace: Some("shop".into()), name: "i042".into() };
        let nothing = || Part::Only(BTreeSet::new());
        assert_eq!(named(&nothing()), Vec::<String>::new());
        assert_eq!(named(&nothing().and_unwatched()), ["ConfigMap shop/map"]);
        let both = nothing().and_unwatched().and([touched.clone()].into());
        assert_eq!(named(&both), ["ConfigMap shop/map", "Instance shop/i042"]);
        assert_eq!(named(&Part::Everything).len(), 101);
        assert_eq!(seen.line(&touched), Some(1));
        assert_eq!(seen.body(&touched).map(|body| body["metadata"]["name"].clone()), Some("i042".into()));
    }
}
