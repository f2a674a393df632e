//! One queue per kind of ours, and which of them hear of a change.

use std::collections::BTreeMap;

use kube::api::ObjectMeta;

use super::frame::Queue;
use crate::api::{Kind, labels};
use crate::cluster::Key;

/// The queues of all controllers.
#[derive(Clone)]
pub struct Queues {
    by_kind: BTreeMap<Kind, Queue>,
}

impl Default for Queues {
    fn default() -> Self {
        Self { by_kind: Kind::ALL.into_iter().map(|kind| (kind, Queue::default())).collect() }
    }
}

impl Queues {
    /// The queue of a kind.
    pub fn of(&self, kind: Kind) -> &Queue {
        &self.by_kind[&kind]
    }

    /// An object of ours changed: it and the object that made it are looked at.
    pub fn changed(&self, kind: Kind, key: &Key, meta: Option<&ObjectMeta>) {
        self.of(kind).add(key);
        self.part_changed(meta);
        if kind == Kind::PodSet {
            // its members are shown by the instance, two owners up
            let labels = meta.and_then(|meta| meta.labels.as_ref());
            if let Some(name) = labels.and_then(|labels| labels.get(labels::INSTANCE)) {
                self.of(Kind::Instance).add(&Key { namespace: key.namespace.clone(), name: name.clone() });
            }
        }
    }

    /// Something that one of our objects made changed: that object is looked at.
    pub fn part_changed(&self, meta: Option<&ObjectMeta>) {
        if let Some((kind, key)) = meta.and_then(maker) {
            self.of(kind).add(&key);
        }
        let labels = meta.and_then(|meta| meta.labels.as_ref());
        if let Some(name) = labels.and_then(|labels| labels.get(labels::EXTENSION)) {
            self.of(Kind::Extension).add(&Key { namespace: None, name: name.clone() });
        }
    }
}

/// The object of ours that controls this one.
fn maker(meta: &ObjectMeta) -> Option<(Kind, Key)> {
    let owner = meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))?;
    if !owner.api_version.starts_with("midship.dev/") {
        return None;
    }
    let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == owner.kind)?;
    // what lives in no namespace may own what does
    let namespace = meta.namespace.clone().filter(|_| kind != Kind::Extension);
    Some((kind, Key { namespace, name: owner.name.clone() }))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    use super::*;

    fn owned(api_version: &str, controller: bool) -> ObjectMeta {
        let owner = OwnerReference {
            api_version: api_version.to_owned(),
            kind: "Instance".to_owned(),
            name: "cache".to_owned(),
            controller: Some(controller),
            ..OwnerReference::default()
        };
        ObjectMeta { namespace: Some("shop".to_owned()), owner_references: Some(vec![owner]), ..ObjectMeta::default() }
    }

    #[test]
    fn whoever_made_an_object_hears_of_its_changes() {
        let queues = Queues::default();
        queues.changed(Kind::Component, &Key::new("shop", "cache-main"), Some(&owned("midship.dev/v1alpha1", true)));
        assert_eq!(queues.of(Kind::Component).len(), 1);
        assert_eq!(queues.of(Kind::Instance).len(), 1);
    }

    #[test]
    fn owners_that_are_not_ours_or_do_not_control_hear_nothing() {
        let queues = Queues::default();
        queues.part_changed(Some(&owned("apps/v1", true)));
        queues.part_changed(Some(&owned("midship.dev/v1alpha1", false)));
        queues.part_changed(None);
        assert!(Kind::ALL.into_iter().all(|kind| queues.of(kind).is_empty()));
    }
}
