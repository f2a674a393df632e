//! What is in a repository, read from its listing and its signed documents alone.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use serde::Serialize;

use crate::api::backup::BackupPhase;
use crate::api::labels::{GROUP, PART};
use crate::backup::digest::Digest;
use crate::backup::document::DocumentError;
use crate::backup::id::Id;
use crate::backup::layout::{self, Owner, Place, Uid};
use crate::backup::manifest::{Attempt, Commit, Level, Manifest, Tombstone, Verification, Void, Wish};
use crate::backup::repository::Repository;
use crate::backup::store::{Cause, Doing, Key, StoreError, list_folders, list_level, list_notes, newest};
use crate::backup::wish;

/// Folders that are looked into at the same time.
const AT_ONCE: usize = 8;
/// Notes beside a backup that are none, and are told all the same.
const STRANGE: usize = 8;
/// Backups, and instances that have them, in one repository; what shows more is none. Tests have no time for so many.
const MOST: usize = if cfg!(test) { 2_000 } else { 200_000 };

/// A backup that is there.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub place: Place,
    pub manifest: Manifest,
    /// Of the manifest's bytes.
    pub digest: Digest,
    /// The newest verification of each level.
    pub verified: BTreeMap<Level, Verification>,
    pub tombstone: Option<Tombstone>,
    /// What people want of it beyond the rules.
    pub wish: Option<Wish>,
    /// What lies beside it and cannot be read or believed. The backup is none the worse for it.
    pub unreadable: Vec<Problem>,
}

impl Found {
    /// What was found to be wrong, unless all of it was restored later: a listing sees no bytes, and who reads bytes does not
    /// see what is missing.
    pub fn damage(&self) -> Option<&Verification> {
        let restored = self.verified.get(&Level::Restored).filter(|one| one.problems.is_empty());
        let stands =
            |one: &&Verification| !one.problems.is_empty() && restored.is_none_or(|restored| restored.at <= one.at);
        self.verified.values().filter(stands).max_by_key(|one| one.at)
    }

    /// How it is with it: that it is damaged matters more than that it goes soon.
    pub fn phase(&self) -> BackupPhase {
        match (self.damage(), &self.tombstone) {
            (Some(_), _) => BackupPhase::Damaged,
            (None, Some(_)) => BackupPhase::Expiring,
            (None, None) => BackupPhase::Completed,
        }
    }

    /// Whether there is more of the data in backups of other groups of pods. Groups alone do not say so: each may have all.
    pub fn is_part(&self) -> bool {
        self.manifest.labels.contains_key(PART)
    }

    /// How well it is proven, and since when.
    pub fn proof(&self) -> (Level, Timestamp) {
        let shares = self.manifest.chunks.shares();
        let proves = |one: &Verification| one.problems.is_empty() && one.is_whole(shares);
        let good = self.verified.iter().rev().find(|(_, one)| proves(one));
        good.map_or((Level::Committed, self.manifest.completed_at), |(level, one)| (*level, one.at))
    }
}

/// Somebody works on it, or did.
#[derive(Clone, Debug, PartialEq)]
pub struct Begun {
    pub place: Place,
    pub attempt: Attempt,
    /// When the newest of its objects was written.
    pub active_at: Timestamp,
}

/// An attempt that is over.
#[derive(Clone, Debug, PartialEq)]
pub struct Failed {
    pub place: Place,
    pub void: Void,
    /// Whether more is left of it than the note that it failed.
    pub remains: bool,
}

/// What is left of a backup that is being removed: its manifest is gone already.
#[derive(Clone, Debug, PartialEq)]
pub struct Leftover {
    pub place: Place,
    pub newest: Timestamp,
}

/// What cannot be read or believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub object: String,
    pub reason: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalog {
    /// The oldest first, for each owner.
    pub found: Vec<Found>,
    pub begun: Vec<Begun>,
    pub failed: Vec<Failed>,
    pub leftovers: Vec<Leftover>,
    pub problems: Vec<Problem>,
}

enum Entry {
    Found(Box<Found>),
    Begun(Box<Begun>),
    Failed(Failed),
    Leftover(Leftover),
    Problem(Problem),
}

impl Catalog {
    /// Everything in the repository.
    pub async fn read(repository: &Repository) -> Result<Self, StoreError> {
        let mut owners = Vec::new();
        let mut problems = Vec::new();
        for cluster in list_folders(repository.store(), layout::CLUSTERS).await? {
            for instance in list_folders(repository.store(), &format!("{}{cluster}/", layout::CLUSTERS)).await? {
                match (Uid::parse(&cluster), Uid::parse(&instance)) {
                    (Ok(cluster), Ok(instance)) => owners.push(Owner { cluster, instance }),
                    _ => problems.push(stranger(format!("{}{cluster}/{instance}", layout::CLUSTERS))),
                }
            }
            within(repository, owners.len() + problems.len())?;
        }
        let mut all = Self { problems, ..Self::default() };
        for owner in owners {
            all.add(Self::of(repository, &owner).await?);
            within(repository, all.len())?;
        }
        Ok(all)
    }

    /// The backups of one instance.
    pub fn of<'a>(repository: &'a Repository, owner: &'a Owner) -> BoxFuture<'a, Result<Self, StoreError>> {
        Box::pin(Self::of_owner(repository, owner))
    }

    async fn of_owner(repository: &Repository, owner: &Owner) -> Result<Self, StoreError> {
        let names = list_folders(repository.store(), &owner.folder()).await?;
        within(repository, names.len())?;
        let looks = names.into_iter().map(|name| async move {
            match name.parse::<Id>() {
                Ok(id) => look(repository, Place { owner: owner.clone(), id }).await,
                Err(_) => Ok(Some(Entry::Problem(stranger(format!("{}{name}", owner.folder()))))),
            }
        });
        let entries: Vec<_> = futures::stream::iter(looks).buffered(AT_ONCE).try_collect().await?;
        let mut catalog = Self::default();
        for entry in entries.into_iter().flatten() {
            match entry {
                Entry::Found(found) => catalog.found.push(*found),
                Entry::Begun(begun) => catalog.begun.push(*begun),
                Entry::Failed(failed) => catalog.failed.push(failed),
                Entry::Leftover(leftover) => catalog.leftovers.push(leftover),
                Entry::Problem(problem) => catalog.problems.push(problem),
            }
        }
        Ok(catalog)
    }

    fn len(&self) -> usize {
        self.found.len() + self.begun.len() + self.failed.len() + self.leftovers.len() + self.problems.len()
    }

    fn add(&mut self, other: Self) {
        self.found.extend(other.found);
        self.begun.extend(other.begun);
        self.failed.extend(other.failed);
        self.leftovers.extend(other.leftovers);
        self.problems.extend(other.problems);
    }

    /// Everything that cannot be read or believed, also beside backups that are whole.
    pub fn told(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().chain(self.found.iter().flat_map(|found| &found.unreadable))
    }

    /// The newest sound backup of each group of pods, of those that were made by the same method of the same instance: each
    /// has data of its own where the groups are shards.
    pub fn parts(&self, of: &Found) -> BTreeMap<&str, &Found> {
        let mut parts: BTreeMap<&str, &Found> = BTreeMap::new();
        let same = |one: &&Found| one.place.owner == of.place.owner && one.manifest.method == of.manifest.method;
        for found in self.found.iter().filter(same).filter(|one| one.tombstone.is_none() && one.damage().is_none()) {
            let Some(group) = found.manifest.labels.get(GROUP) else { continue };
            let newest = parts.entry(group).or_insert(found);
            if found.manifest.completed_at > newest.manifest.completed_at {
                *newest = found;
            }
        }
        parts
    }

    pub fn get(&self, place: &Place) -> Option<&Found> {
        // they are read in this order; whoever has put them together in another one finds them all the same
        let at = self.found.binary_search_by(|found| found.place.cmp(place));
        at.map_or_else(|_| self.found.iter().find(|found| found.place == *place), |at| self.found.get(at))
    }
}

/// A store that shows ever more keeps nobody for ever, and fills nobody's memory.
fn within(repository: &Repository, many: usize) -> Result<(), StoreError> {
    if many <= MOST {
        return Ok(());
    }
    let cause = Cause::Unavailable(format!("it shows more than {MOST} backups or instances"));
    Err(StoreError::new(&repository.store().address(), Doing::List, layout::CLUSTERS, cause))
}

fn stranger(object: String) -> Problem {
    Problem { object, reason: "it is no part of a repository".into() }
}

/// What lies in the folder of one backup.
async fn look(repository: &Repository, place: Place) -> Result<Option<Entry>, StoreError> {
    let mut entry = look_once(repository, &place).await?;
    // it was removed, or committed, between the listing and the look
    if matches!(entry, Some(Entry::Problem(_))) {
        entry = look_once(repository, &place).await?;
    }
    Ok(entry)
}

async fn look_once(repository: &Repository, place: &Place) -> Result<Option<Entry>, StoreError> {
    let store = repository.store();
    let (objects, folders) = list_level(store, &place.folder()).await?;
    let has = |key: &Key| objects.iter().any(|object| object.key == *key);
    if objects.is_empty() && folders.is_empty() {
        return Ok(None);
    }
    if has(&place.manifest()) {
        let beside = Beside {
            tombstone: has(&place.tombstone()),
            wishes: folders.iter().any(|folder| folder == layout::WISHES),
            anything: objects.len() > 1 || !folders.is_empty(),
        };
        let looked = committed(repository, place, &beside).await;
        return problem(looked);
    }
    let Some(newest) = newest(store, &place.folder()).await? else { return Ok(None) };
    if has(&place.tombstone()) || !has(&place.attempt()) {
        return Ok(Some(Entry::Leftover(Leftover { place: place.clone(), newest })));
    }
    let attempt = repository.document::<Attempt>(&place.attempt()).await.and_then(|attempt| {
        if attempt.id == place.id && attempt.owner == place.owner {
            Ok(attempt)
        } else {
            Err(DocumentError::Forged(place.attempt()))
        }
    });
    problem(attempt.map(|attempt| Entry::Begun(Box::new(Begun { place: place.clone(), attempt, active_at: newest }))))
}

/// What cannot be believed is told; a store that does not answer ends the reading.
fn problem(looked: Result<Entry, DocumentError>) -> Result<Option<Entry>, StoreError> {
    match looked {
        Ok(entry) => Ok(Some(entry)),
        Err(DocumentError::Store(error)) if !error.is_about_object() => Err(error),
        Err(error) => Ok(Some(Entry::Problem(error.into()))),
    }
}

impl From<DocumentError> for Problem {
    fn from(error: DocumentError) -> Self {
        Self { object: error.object(), reason: error.to_string() }
    }
}

/// What lies beside a manifest.
struct Beside {
    tombstone: bool,
    wishes: bool,
    anything: bool,
}

async fn committed(repository: &Repository, place: &Place, beside: &Beside) -> Result<Entry, DocumentError> {
    let key = place.manifest();
    let bytes = repository.store().get(&key, None).await?;
    let commit: Commit = repository.domain().open(&key, &bytes, repository.signers())?;
    let manifest = match commit {
        Commit::Backup(manifest) if manifest.id == place.id && manifest.owner == place.owner => *manifest,
        Commit::Void(void) if void.id == place.id && void.owner == place.owner => {
            return Ok(Entry::Failed(Failed { place: place.clone(), void, remains: beside.anything }));
        }
        _ => return Err(DocumentError::Forged(key)),
    };
    let mut unreadable = Vec::new();
    let tombstone =
        if beside.tombstone { note_of(repository.document(&place.tombstone()).await, &mut unreadable)? } else { None };
    let verified = verifications(repository, place, &mut unreadable).await?;
    let wish = if beside.wishes { wish::newest(repository, place).await } else { Ok(None) };
    let wish = note_of(wish, &mut unreadable)?.flatten();
    let digest = Digest::of(&bytes);
    let place = place.clone();
    Ok(Entry::Found(Box::new(Found { place, manifest, digest, verified, tombstone, wish, unreadable })))
}

/// A note beside a backup. One that cannot be believed is told, and does not stand in the way of the backup.
fn note_of<T>(note: Result<T, DocumentError>, unreadable: &mut Vec<Problem>) -> Result<Option<T>, DocumentError> {
    match note {
        Ok(note) => Ok(Some(note)),
        // taken back, or replaced by a newer one, meanwhile
        Err(DocumentError::Store(error)) if error.is_not_found() => Ok(None),
        Err(error) if error.is_about_object() => {
            unreadable.push(error.into());
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The newest verification of each level; their names say which they are.
async fn verifications(
    repository: &Repository,
    place: &Place,
    unreadable: &mut Vec<Problem>,
) -> Result<BTreeMap<Level, Verification>, DocumentError> {
    let objects = list_notes(repository.store(), &place.verifications()).await?;
    let mut newest: BTreeMap<&str, &Key> = BTreeMap::new();
    for object in &objects {
        let level = object.key.name().split('.').nth(1).unwrap_or_default();
        newest.insert(level, &object.key);
    }
    // what is no level is read to be told of; whoever puts much of it there keeps nobody busy with it
    let known = [Level::Listed, Level::Read, Level::Restored].map(|level| format!("{level:?}").to_lowercase());
    let (known, strange): (Vec<_>, Vec<_>) =
        newest.into_iter().partition(|(level, _)| known.iter().any(|known| known == level));
    let mut found = BTreeMap::new();
    for (_, key) in known.into_iter().chain(strange.into_iter().take(STRANGE)) {
        let read: Result<Verification, _> = repository.document(key).await;
        if let Some(verification) = note_of(read, unreadable)? {
            found.insert(verification.level, verification);
        }
    }
    Ok(found)
}
