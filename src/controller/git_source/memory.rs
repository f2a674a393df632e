//! What is remembered of each source between reconciles. All of it can be lost: it is found again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

use super::audit::Ledger;
use super::look::Seen;
use crate::api::GitSourceStatus;
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
    /// What was last seen in the repository.
    pub seen: Option<Seen>,
    /// What a whole plan was last made for, and what had been asked then.
    pub planned: Option<Seen>,
    pub asked_at_plan: Asked,
    /// Something could not be applied, or is not as the repository says and was left so: look at everything next time.
    pub unsettled: bool,
    /// The status that was last published.
    pub said: Option<GitSourceStatus>,
    /// Objects that had to be changed back.
    pub reverts: Reverts,
    /// The record of what was done.
    pub ledger: Ledger,
    /// Objects that changed since the last plan.
    touched: Arc<Mutex<BTreeSet<ObjectId>>>,
}

impl Remembered {
    pub fn take_touched(&self) -> BTreeSet<ObjectId> {
        std::mem::take(&mut *held(&self.touched))
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
}

impl Memory {
    pub fn of(&self, key: &Key) -> Arc<AsyncMutex<Remembered>> {
        let mut sources = held(&self.sources);
        let entry = sources.entry(key.clone()).or_insert_with(|| {
            let remembered = Remembered::default();
            Entry { touched: remembered.touched.clone(), remembered: Arc::new(AsyncMutex::new(remembered)) }
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
