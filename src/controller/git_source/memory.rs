//! What is remembered of each source between reconciles. All of it can be lost: it is found again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

use super::audit::Ledger;
use super::drift::Proposed;
use super::live::Settled;
use super::look::Seen;
use super::once::Operations;
use super::secrets::Versions;
use super::settings::Settings;
use crate::api::{GitSource, GitSourceStatus, labels};
use crate::cluster::Key;
use crate::plan::source::ObjectId;
use crate::plan::source::contest::Reverts;

/// What a person asked for last: the generation, and annotations such as the one that asks for a sync now.
pub type Asked = Option<(i64, Option<BTreeMap<String, String>>)>;

/// One source.
#[derive(Default)]
pub struct Remembered {
    pub asked: Asked,
    /// When the repository is asked again.
    pub poll_at: Option<Instant>,
    pub failed_looks: u32,
    /// The Secrets that the source was last worked with.
    pub secrets: Option<Versions>,
    /// What was last seen in the repository.
    pub seen: Option<Seen>,
    /// What a plan was last carried out for, and what had been asked then.
    pub planned: Option<Seen>,
    pub asked_at_plan: Asked,
    /// Something could not be applied, or is not as the repository says and was left so: look at everything next time.
    pub unsettled: bool,
    /// Nothing but actions followed from what was looked at last, and all of them went well.
    pub plain: bool,
    /// Objects that need not be compared again as long as neither side changes.
    pub settled: Settled,
    /// The status that was last published.
    pub said: Option<GitSourceStatus>,
    /// Objects that had to be changed back.
    pub reverts: Reverts,
    /// What was last proposed to be taken over from the cluster.
    pub proposed: Option<Proposed>,
    /// The record of what was done.
    pub ledger: Ledger,
    /// When everything was last looked at, also what is not watched.
    pub looked_at_all: Option<Instant>,
    /// Operations that were begun.
    pub operations: Operations,
    /// Others cut the audit branch, and it does not say yet what is applied.
    pub cut: bool,
    /// What the source was last worked with, for the day it is gone.
    pub settings: Option<(Arc<GitSource>, Settings)>,
    /// Objects that changed since the last plan.
    touched: Arc<Mutex<BTreeSet<ObjectId>>>,
    /// Whether something ended that is told of on the audit branch, as far as it is known.
    ended: Arc<AtomicBool>,
}

impl Remembered {
    pub fn take_touched(&self) -> BTreeSet<ObjectId> {
        std::mem::take(&mut *held(&self.touched))
    }

    /// Whether somebody asked for a look at everything since the last plan. Whoever pushed asks for what is new.
    pub fn is_asked_anew(&self) -> bool {
        let demanded = |asked: &Asked| {
            let (generation, annotations) = asked.clone()?;
            let mut annotations = annotations.unwrap_or_default();
            annotations.remove(labels::PUSHED_AT);
            Some((generation, annotations))
        };
        demanded(&self.asked) != demanded(&self.asked_at_plan)
    }

    /// Whether other Secrets are there than the last time: what was refused with those may be granted now, and the other way
    /// round. Then nothing waits that waited for its time.
    pub fn renew(&mut self, secrets: &Versions) {
        let before = self.secrets.replace(secrets.clone());
        if before.is_some_and(|before| before != *secrets) {
            self.poll_at = None;
            self.ledger.push_now();
        }
    }

    pub fn take_ended(&self) -> bool {
        self.ended.swap(false, Ordering::Relaxed)
    }

    /// It has to be looked at again.
    pub fn leave_ended(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

/// All sources, and which of them wants each object.
#[derive(Default)]
pub struct Memory {
    sources: Mutex<HashMap<Key, Entry>>,
    owners: Mutex<HashMap<ObjectId, Key>>,
}

struct Entry {
    remembered: Arc<AsyncMutex<Remembered>>,
    touched: Arc<Mutex<BTreeSet<ObjectId>>>,
    ended: Arc<AtomicBool>,
}

impl Memory {
    pub fn of(&self, key: &Key) -> Arc<AsyncMutex<Remembered>> {
        let mut sources = held(&self.sources);
        let entry = sources.entry(key.clone()).or_insert_with(|| {
            let remembered = Remembered::default();
            // nobody told of what ended before
            remembered.leave_ended();
            let (touched, ended) = (remembered.touched.clone(), remembered.ended.clone());
            Entry { touched, ended, remembered: Arc::new(AsyncMutex::new(remembered)) }
        });
        entry.remembered.clone()
    }

    pub fn forget(&self, key: &Key) {
        held(&self.sources).remove(key);
        held(&self.owners).retain(|_, owner| owner != key);
    }

    /// From now on these objects are wanted by this source, and no others.
    pub fn own(&self, key: &Key, objects: impl Iterator<Item = ObjectId>) {
        let mut owners = held(&self.owners);
        owners.retain(|_, owner| owner != key);
        owners.extend(objects.map(|id| (id, key.clone())));
    }

    /// These objects are wanted by this source as well.
    pub fn own_also(&self, key: &Key, objects: impl Iterator<Item = ObjectId>) {
        held(&self.owners).extend(objects.map(|id| (id, key.clone())));
    }

    /// Remembers that something ended that this source tells of.
    pub fn ended(&self, source: &Key) {
        if let Some(entry) = held(&self.sources).get(source) {
            entry.ended.store(true, Ordering::Relaxed);
        }
    }

    /// Remembers that an object changed, for the source that wants it.
    pub fn touched(&self, id: &ObjectId) -> Option<Key> {
        let owner = held(&self.owners).get(id).cloned()?;
        let sources = held(&self.sources);
        held(&sources.get(&owner)?.touched).insert(id.clone());
        Some(owner)
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no panic while it is held")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_secret_ends_every_wait_and_the_same_one_none() {
        let version = |version: &str| BTreeMap::from([("login".to_owned(), version.to_owned())]);
        let mut remembered = Remembered::default();
        let later = Some(Instant::now() + std::time::Duration::from_mins(10));
        for (secrets, waits) in
            [(version("1"), true), (version("1"), true), (version("2"), false), (version("2"), true)]
        {
            remembered.poll_at = later;
            remembered.ledger.push_at(later);
            remembered.renew(&secrets);
            assert_eq!(remembered.poll_at.is_some(), waits, "{secrets:?}");
            assert_eq!(remembered.ledger.retry_at().is_some(), waits, "{secrets:?}");
        }
        remembered.poll_at = later;
        remembered.renew(&Versions::new());
        assert_eq!(remembered.poll_at, None, "one that is named no more is a change too");
    }
}
