//! What an instance says of its backups: read from what was found in the repositories of its namespace.

use std::cmp::Reverse;

use kube::ResourceExt;

use super::Instances;
use crate::api::Instance;
use crate::api::instance::BackupSummary;
use crate::backup::manifest::Level;
use crate::cluster::Key;
use crate::controller::repositories::known::{Look, object_name};
use crate::controller::repositories::words::moment;
use crate::names::ObjectName;

/// Nothing where no repository was looked through yet: what was said before stays true.
pub fn summary(shared: &Instances, instance: &Instance) -> Option<BackupSummary> {
    let namespace = instance.namespace();
    let repositories = shared.caches.backup_repositories.select(|one| one.namespace() == namespace);
    let mut looks: Vec<(ObjectName, Look)> = Vec::new();
    for repository in repositories {
        let key = Key::of(repository.as_ref());
        // one that is only shown may have others of the same name; those of another cluster have other UIDs
        if let (Some(look), Ok(name)) = (shared.known.look(&key), ObjectName::parse(&key.name)) {
            looks.push((name, look));
        }
    }
    if looks.is_empty() {
        return None;
    }
    let uid = instance.uid().unwrap_or_default();
    let all = looks.iter().flat_map(|(name, look)| look.catalog.found.iter().map(move |found| (name, look, found)));
    let own = all.filter(|(_, _, found)| {
        found.place.owner.instance.as_str() == uid && found.damage().is_none() && found.tombstone.is_none()
    });
    let mut own: Vec<_> = own.collect();
    own.sort_by_key(|(_, _, found)| Reverse((found.manifest.completed_at, found.place.id)));
    let restored = own.iter().find(|(_, _, found)| {
        found.verified.get(&Level::Restored).is_some_and(|verification| verification.problems.is_empty())
    });
    // half a set is no backup, nor is what adds to one that is damaged
    let latest = own.iter().find(|(_, look, found)| look.catalog.is_restorable(found));
    let name = |(name, _, found): &(&ObjectName, &Look, &crate::backup::read::Found)| object_name(name, found.place.id);
    let window = shared.known.window(&uid);
    Some(BackupSummary {
        latest: latest.map(name),
        latest_verified: restored.map(name),
        recoverable_from: window.map(|(from, _)| moment(from)),
        recoverable_until: window.map(|(_, until)| moment(until)),
    })
}
