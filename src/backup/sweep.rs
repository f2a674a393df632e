//! Carrying out what retention decided. A backup is condemned with a tombstone first; a day later, if still nothing keeps
//! it, its manifest goes, and then all the rest: at no moment is there a manifest without its chunks. Whoever is killed in
//! between is continued by the next one.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};

use super::document::DocumentError;
use super::id::Id;
use super::keys::SigningKey;
use super::layout::{Place, Uid};
use super::log::History;
use super::manifest::{Level, Tombstone};
use super::read::{Catalog, Found};
use super::repository::Repository;
use super::store::{Key, StoreError, list_all};
use super::write::{WriteError, void};
use crate::api::labels::GROUP;
use crate::plan::retention::{
    AttemptFacts, AttemptVerdict, BackupFacts, Facts, LogNeed, PartOf, Plan, Refusal, Remains, Verdict,
};

/// What was seen longer ago is looked at again before anything is removed.
const FRESH: SignedDuration = SignedDuration::from_hours(1);
const AT_ONCE: usize = 8;

#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    #[error("nothing is removed: {0}")]
    Refused(#[from] Refusal),
    #[error("the repository was looked at {0:#} ago: look again")]
    Stale(SignedDuration),
    #[error(transparent)]
    Document(#[from] DocumentError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl From<StoreError> for SweepError {
    fn from(error: StoreError) -> Self {
        Self::Document(error.into())
    }
}

/// What people want of single backups, beyond the rules.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    pub hold: BTreeSet<Id>,
    /// In place of the labels a backup was made with.
    pub labels: BTreeMap<Id, BTreeMap<String, String>>,
}

impl Wishes {
    /// Those that are written down in the repository.
    pub fn of(catalog: &Catalog) -> Self {
        let mut wishes = Self::default();
        for (id, wish) in catalog.found.iter().filter_map(|found| Some((found.place.id, found.wish.as_ref()?))) {
            if wish.hold {
                wishes.hold.insert(id);
            }
            if let Some(labels) = &wish.labels {
                wishes.labels.insert(id, labels.clone());
            }
        }
        wishes
    }
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub condemned: usize,
    pub revived: usize,
    pub removed: usize,
    pub voided: usize,
    pub cleared: usize,
    pub segments: usize,
    /// Objects that the store keeps locked; a sweep after that removes them.
    pub locked: usize,
    /// What could not be removed for another reason; the next sweep tries again.
    pub problems: Vec<String>,
}

impl Swept {
    /// Whether the store does not let this one go now; others may.
    fn stays(&mut self, error: &StoreError) -> bool {
        if error.is_locked() {
            self.locked += 1;
        } else if error.is_refusal() {
            self.problems.push(error.to_string());
        }
        error.is_refusal()
    }
}

/// The name of a backup among the facts.
pub fn name(place: &Place) -> String {
    format!("{}/{}/{}", place.owner.cluster, place.owner.instance, place.id)
}

/// What retention decides from. `cluster` is ours: what belongs to others counts, and is left alone.
pub fn facts(catalog: &Catalog, cluster: &Uid, wishes: &Wishes, clock_skew: SignedDuration) -> Facts {
    let sets = catalog.sets();
    let backups = catalog.found.iter().map(|found| {
        let manifest = &found.manifest;
        let set = found.set().and_then(|(id, _)| sets.get(&(&found.place.owner, id)));
        let parent = manifest.parent.as_ref();
        let in_place = |id| name(&Place { owner: found.place.owner.clone(), id });
        BackupFacts {
            id: name(&found.place),
            instance: found.place.owner.instance.to_string(),
            group: manifest.labels.get(GROUP).cloned(),
            ours: found.place.owner.cluster == *cluster,
            completed_at: manifest.completed_at,
            parent: parent.map(|parent| in_place(parent.id)),
            labels: wishes.labels.get(&found.place.id).unwrap_or(&manifest.labels).clone(),
            // what people want of it may be in what cannot be read
            hold: wishes.hold.contains(&found.place.id) || !found.unreadable.is_empty(),
            sound: found.damage().is_none(),
            set: set.map(|set| PartOf {
                id: format!("{}/{}/{}", found.place.owner.cluster, found.place.owner.instance, set.id),
                whole: set.check().is_ok(),
                lacks: set.missing() > 0,
            }),
            restored_at: found.verified.get(&Level::Restored).filter(|one| one.problems.is_empty()).map(|one| one.at),
            condemned_at: found.tombstone.as_ref().map(|tombstone| tombstone.at),
            bytes: manifest.chunks.stored_bytes,
            log: manifest.log.as_ref().map(|span| LogNeed { system: span.line.system.to_string(), first: span.first }),
        }
    });
    let begun = catalog.begun.iter().map(|begun| {
        let parent = begun.attempt.parent.as_ref();
        AttemptFacts {
            parent: parent.map(|parent| name(&Place { owner: begun.place.owner.clone(), id: parent.id })),
            started_at: begun.attempt.started_at,
            active_at: begun.active_at,
            lease: SignedDuration::from_secs(begun.attempt.lease_seconds),
            ..attempt(&begun.place, cluster, begun.active_at, Remains::Open)
        }
    });
    let failed = catalog.failed.iter().map(|failed| {
        let at = failed.void.at;
        let remains = if failed.remains { Remains::Over { at } } else { Remains::Note { at } };
        attempt(&failed.place, cluster, at, remains)
    });
    let left = catalog.leftovers.iter().map(|left| attempt(&left.place, cluster, left.newest, Remains::Leftover));
    Facts {
        backups: backups.collect(),
        attempts: begun.chain(failed).chain(left).collect(),
        unreadable: catalog.problems.iter().map(|problem| problem.reason.clone()).collect(),
        clock_skew,
    }
}

fn attempt(place: &Place, cluster: &Uid, at: Timestamp, remains: Remains) -> AttemptFacts {
    AttemptFacts {
        id: name(place),
        instance: place.owner.instance.to_string(),
        ours: place.owner.cluster == *cluster,
        parent: None,
        started_at: place.id.made_at(),
        active_at: at,
        lease: SignedDuration::ZERO,
        remains,
    }
}

/// Does what the plan says. `seen_at` is when the catalog was read.
pub async fn sweep(
    repository: &Repository,
    key: &SigningKey,
    catalog: &Catalog,
    plan: &Plan,
    seen_at: Timestamp,
    now: Timestamp,
) -> Result<Swept, SweepError> {
    if let Some(refusal) = &plan.refusal {
        return Err(refusal.clone().into());
    }
    let age = now.duration_since(seen_at);
    if age > FRESH {
        return Err(SweepError::Stale(age));
    }
    let mut swept = Swept::default();
    let backups: BTreeMap<String, &Found> = catalog.found.iter().map(|found| (name(&found.place), found)).collect();
    // the newest first: what adds to another goes before it, also when this is ended in between
    let mut decisions: Vec<_> = plan.decisions.iter().collect();
    decisions.sort_by_key(|decision| backups.get(&decision.id).map(|found| std::cmp::Reverse(found.place.id)));
    // what those add to that the store does not let go, or that somebody wants back
    let mut needed = BTreeSet::new();
    for decision in decisions {
        let Some(Found { place, manifest, .. }) = backups.get(&decision.id) else { continue };
        match &decision.verdict {
            Verdict::Keep(_) | Verdict::Wait { .. } => {}
            Verdict::Condemn => {
                let tombstone = Tombstone { at: now, reason: decision.verdict.to_string() };
                repository.put_document(&place.tombstone(), &tombstone, key).await?;
                swept.condemned += 1;
            }
            Verdict::Revive(_) => match repository.store().delete(&place.tombstone()).await {
                Err(error) if swept.stays(&error) => {}
                done => {
                    done?;
                    swept.revived += 1;
                }
            },
            Verdict::Remove => {
                if !needed.contains(&name(place)) && remove(repository, place, &mut swept).await? {
                    swept.removed += 1;
                } else if let Some(parent) = &manifest.parent {
                    needed.insert(name(&Place { owner: place.owner.clone(), id: parent.id }));
                }
            }
        }
    }
    attempts(repository, key, catalog, plan, now, &mut swept).await?;
    Ok(swept)
}

async fn attempts(
    repository: &Repository,
    key: &SigningKey,
    catalog: &Catalog,
    plan: &Plan,
    now: Timestamp,
    swept: &mut Swept,
) -> Result<(), SweepError> {
    let begun = catalog.begun.iter().map(|begun| &begun.place);
    let failed = catalog.failed.iter().map(|failed| &failed.place);
    let left = catalog.leftovers.iter().map(|left| &left.place);
    let places: BTreeMap<String, &Place> = begun.chain(failed).chain(left).map(|place| (name(place), place)).collect();
    for (id, verdict) in &plan.attempts {
        let Some(place) = places.get(id) else { continue };
        match verdict {
            AttemptVerdict::Leave { .. } | AttemptVerdict::Remember { .. } => {}
            AttemptVerdict::Void => match void(repository, key, place, "nobody worked on it any more", now).await {
                Ok(()) => swept.voided += 1,
                // it was committed after all
                Err(WriteError::Document(DocumentError::Store(error))) if error.already_exists() => {}
                Err(error) => return Err(error.into()),
            },
            AttemptVerdict::Clear => {
                let left = catalog.leftovers.iter().any(|left| left.place == **place);
                if left && is_there(repository, &place.manifest()).await? {
                    let manifest = place.manifest();
                    swept.problems.push(format!("{manifest} is there, and a listing left it out: all of it stays"));
                } else if clear(repository, place, swept).await? {
                    swept.cleared += 1;
                }
            }
            AttemptVerdict::Forget => {
                delete(repository, vec![place.manifest()], swept).await?;
            }
        }
    }
    Ok(())
}

/// Removes a backup, if it is still condemned.
async fn remove(repository: &Repository, place: &Place, swept: &mut Swept) -> Result<bool, SweepError> {
    match repository.document::<Tombstone>(&place.tombstone()).await {
        Ok(_) => {}
        Err(DocumentError::Store(error)) if error.is_not_found() => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    // while its manifest cannot be removed, neither may anything else
    match repository.store().delete(&place.manifest()).await {
        Ok(()) => {}
        Err(error) if swept.stays(&error) => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    clear(repository, place, swept).await?;
    Ok(true)
}

/// Removes all that lies around a manifest; what says why it goes, last. Whether all of it is gone.
async fn clear(repository: &Repository, place: &Place, swept: &mut Swept) -> Result<bool, SweepError> {
    let last = [place.attempt(), place.tombstone()];
    let objects = list_all(repository.store(), &place.folder()).await?;
    let keys = objects.into_iter().map(|object| object.key);
    let keys = keys.filter(|key| *key != place.manifest() && !last.contains(key)).collect();
    if !delete(repository, keys, swept).await? {
        return Ok(false);
    }
    for key in last {
        if !delete(repository, vec![key], swept).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether an object is there, whatever listings show.
async fn is_there(repository: &Repository, key: &Key) -> Result<bool, StoreError> {
    match repository.store().head(key).await {
        Ok(_) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) if error.is_about_object() => Ok(true),
        Err(error) => Err(error),
    }
}

/// Those of `before` that are there and that the listing left out: while there are any, nobody knows what is needed.
pub async fn left_out(
    repository: &Repository,
    catalog: &Catalog,
    before: &BTreeSet<Place>,
) -> Result<Vec<Place>, StoreError> {
    let mut left_out = Vec::new();
    let shown: BTreeSet<&Place> = catalog.found.iter().map(|found| &found.place).collect();
    for place in before {
        if !shown.contains(place) && is_there(repository, &place.manifest()).await? {
            left_out.push(place.clone());
        }
    }
    Ok(left_out)
}

/// Takes away the tombstones of a chain that are from before then, for somebody restores it: what is condemned anew waits anew.
/// Which had one.
pub async fn spare(repository: &Repository, chain: &[&Found], before: Timestamp) -> Result<Vec<Place>, StoreError> {
    let mut spared = Vec::new();
    for found in chain {
        if found.tombstone.as_ref().is_none_or(|tombstone| tombstone.at > before) {
            continue;
        }
        match repository.store().delete(&found.place.tombstone()).await {
            Ok(()) => spared.push(found.place.clone()),
            // where it may not be deleted, neither may the backup
            Err(error) if error.is_refusal() => tracing::warn!(%error, "a tombstone cannot be taken away"),
            Err(error) => return Err(error),
        }
    }
    Ok(spared)
}

/// Whether all of them are gone.
async fn delete(repository: &Repository, keys: Vec<Key>, swept: &mut Swept) -> Result<bool, StoreError> {
    let mut all = true;
    let mut deletions = futures::stream::iter(keys)
        .map(|key| async move { repository.store().delete(&key).await })
        .buffer_unordered(AT_ONCE);
    while let Some(done) = deletions.next().await {
        match done {
            Ok(()) => {}
            Err(error) if swept.stays(&error) => all = false,
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// Removes the segments of logs that no backup needs any more. A system that the plan does not name keeps all.
pub async fn sweep_logs(
    repository: &Repository,
    plan: &Plan,
    histories: &[History],
    swept: &mut Swept,
) -> Result<(), SweepError> {
    if let Some(refusal) = &plan.refusal {
        return Err(refusal.clone().into());
    }
    for history in histories {
        let Some(first) = plan.logs.get(history.line.system.as_str()) else { continue };
        let old: BTreeSet<u64> =
            history.segments.iter().map(|segment| segment.number).filter(|number| number < first).collect();
        if old.is_empty() {
            continue;
        }
        let objects = list_all(repository.store(), &history.line.folder()).await?;
        let number = |key: &Key| super::layout::Segment::read(key).map(|segment| segment.number);
        let is_old = |key: &Key| number(key).is_some_and(|number| old.contains(&number));
        let (claims, segments): (Vec<Key>, Vec<Key>) =
            objects.into_iter().map(|object| object.key).filter(is_old).partition(super::layout::Segment::is_claim);
        let going = segments.len();
        if delete(repository, segments, swept).await? {
            swept.segments += going;
            delete(repository, claims, swept).await?;
        }
    }
    Ok(())
}
