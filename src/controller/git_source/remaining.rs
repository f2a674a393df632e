//! What is in the cluster by now of what a source applied that is deleted, and whose it is: its last record says so.

use std::collections::{BTreeMap, BTreeSet};

use kube::api::{ListParams, ObjectMeta};
use kube::{Resource, ResourceExt};

use super::{GitSources, objects};
use crate::api::{GitSource, labels};
use crate::cluster::problem::Problem;
use crate::cluster::{Cache, Key};
use crate::plan::source::{ObjectId, ObjectKind, source_label};

/// The objects that are there, and of each the source that has it now, or takes it up; none where it is nobody's.
pub type Remaining = BTreeMap<ObjectId, Option<String>>;

impl GitSources {
    /// What remains of these objects of a source.
    pub(super) async fn remaining(&self, source: &GitSource, of: &BTreeSet<ObjectId>) -> Remaining {
        let label = source_label(&source.namespace().unwrap_or_default(), &source.name_any());
        let mut remaining = self.there(of).await;
        let all: Vec<ObjectId> = remaining.keys().cloned().collect();
        let powerless = self.powerless(&label, &all).await;
        for (id, whose) in &mut remaining {
            if whose.as_ref().is_none_or(|found| *found == label) {
                // whoever defines it may not have taken it up yet
                *whose = self.claim(&label, id, &powerless).filter(|claim| claim.certain).map(|claim| claim.by);
            }
        }
        remaining
    }

    /// Those that are there, with the source whose name they have. What is not watched is asked for by namespaces: as many
    /// questions as that, and not one for each object.
    async fn there(&self, all: &BTreeSet<ObjectId>) -> Remaining {
        let caches = &self.caches;
        let mut found = Remaining::new();
        let mut asked: BTreeSet<(ObjectKind, Option<String>)> = BTreeSet::new();
        for id in all {
            // what nobody watches or can look at is not said to be gone
            if id.kind.is_watched() && id.namespace.as_deref().is_some_and(|place| !caches.git_sources.covers(place)) {
                found.insert(id.clone(), None);
                continue;
            }
            let meta = match id.kind {
                ObjectKind::Namespace | ObjectKind::Secret | ObjectKind::ConfigMap => {
                    asked.insert((id.kind, id.namespace.clone()));
                    None
                }
                ObjectKind::Extension => meta_of(&caches.extensions, id),
                ObjectKind::BackupRepository => meta_of(&caches.backup_repositories, id),
                ObjectKind::BackupPolicy => meta_of(&caches.backup_policies, id),
                ObjectKind::GitSource => meta_of(&caches.git_sources, id),
                ObjectKind::Instance => meta_of(&caches.instances, id),
                ObjectKind::Operation => meta_of(&caches.operations, id),
            };
            if let Some(meta) = meta {
                found.insert(id.clone(), whose(&meta));
            }
        }
        for (kind, namespace) in asked {
            let api = objects::within(&self.client, kind, namespace.as_deref());
            match api.list_metadata(&ListParams::default()).await {
                Ok(list) => {
                    let there = list.items.into_iter().map(|object| object.metadata);
                    let there = there.map(|meta| (id_of(kind, &meta), whose(&meta)));
                    found.extend(there.filter(|(id, _)| all.contains(id)));
                }
                Err(error) => {
                    let problem = Problem::from_kube(&error);
                    tracing::warn!(%problem, ?kind, ?namespace, "whether what the source applied is gone cannot be seen");
                    let unseen = all.iter().filter(|id| id.kind == kind && id.namespace == namespace);
                    found.extend(unseen.map(|id| (id.clone(), None)));
                }
            }
        }
        found
    }
}

fn meta_of<K>(cache: &Cache<K>, id: &ObjectId) -> Option<ObjectMeta>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let key = Key { namespace: id.namespace.clone(), name: id.name.clone() };
    // one that cannot be read is there all the same, and nobody can tell whose it is
    let unreadable = || cache.unreadable(&key).map(|_| ObjectMeta::default());
    cache.get(&key).map(|object| object.meta().clone()).or_else(unreadable)
}

fn id_of(kind: ObjectKind, meta: &ObjectMeta) -> ObjectId {
    ObjectId { kind, namespace: meta.namespace.clone(), name: meta.name.clone().unwrap_or_default() }
}

fn whose(meta: &ObjectMeta) -> Option<String> {
    meta.labels.as_ref()?.get(labels::SOURCE).cloned()
}
