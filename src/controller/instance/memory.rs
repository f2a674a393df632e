//! What is kept of instances between reconciles; all of it can be lost.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

use crate::api::InstanceStatus;
use crate::cluster::Key;
use crate::controller::said::Said;
use crate::extension::secret::SecretValue;
use crate::plan::instance::parts::{Applied, Live, PartId};

/// For so long after a write caches may not have heard of it.
const LAG: Duration = Duration::from_secs(5);
/// What is not watched is applied again after so long.
const UNWATCHED: Duration = Duration::from_mins(10);

/// The values of a Secret of ours.
pub type Values = BTreeMap<String, SecretValue>;

/// One instance.
#[derive(Default)]
pub struct Remembered {
    pub said: Said<InstanceStatus>,
    pub applied: BTreeMap<PartId, Kept>,
    /// Secrets of ours as they were read last, with the version they had then.
    pub secrets: BTreeMap<String, (Option<String>, Values)>,
    /// How often each pod failed at what is done once.
    pub attempts: HashMap<String, u32>,
    /// How a restore failed last, by what its attempts are counted by.
    pub failures: HashMap<String, String>,
    /// The refusal an event was made of last, so that it is told once.
    pub told: Option<String>,
    /// How full volumes were when an event was made of it last.
    pub filling: BTreeMap<String, i32>,
}

/// What was applied, and when.
pub struct Kept {
    pub applied: Applied,
    pub at: Instant,
    /// A cache has seen it.
    pub seen: bool,
}

impl Remembered {
    /// What was applied, as far as it still counts.
    pub fn applied(&self) -> BTreeMap<PartId, Applied> {
        let counts = |id: &PartId, kept: &Kept| super::observe::is_watched(id) || kept.at.elapsed() < UNWATCHED;
        let kept = self.applied.iter().filter(|(id, kept)| counts(id, kept));
        kept.map(|(id, kept)| (id.clone(), kept.applied.clone())).collect()
    }

    /// A Secret of ours is going to have these values.
    pub fn expect(&mut self, name: &str, values: &Values) {
        if self.secrets.get(name).is_none_or(|(_, known)| known != values) {
            self.secrets.insert(name.to_owned(), (None, values.clone()));
        }
    }

    /// Adds to what caches know what they have not heard of yet. Returns whether something is being waited for.
    pub fn overlay(&mut self, live: &mut BTreeMap<PartId, Live>, owner: &str) -> bool {
        let mut waits = false;
        for (id, kept) in &mut self.applied {
            if let Some(here) = live.get(id) {
                kept.seen |= here.counter >= kept.applied.counter;
            } else if !super::observe::is_watched(id) || (!kept.seen && kept.at.elapsed() < LAG) {
                waits |= super::observe::is_watched(id);
                live.insert(
                    id.clone(),
                    Live {
                        uid: kept.applied.uid.clone(),
                        owner: Some((owner.to_owned(), String::new())),
                        version: super::observe::is_watched(id).then(|| kept.applied.version.clone()),
                        counter: kept.applied.counter,
                        deleting: false,
                        labelled: true,
                    },
                );
            }
        }
        waits
    }
}

/// All instances.
#[derive(Default)]
pub struct Memory {
    instances: Mutex<HashMap<Key, Arc<AsyncMutex<Remembered>>>>,
}

impl Memory {
    pub fn of(&self, key: &Key) -> Arc<AsyncMutex<Remembered>> {
        self.instances.lock().unwrap_or_else(PoisonError::into_inner).entry(key.clone()).or_default().clone()
    }

    pub fn forget(&self, key: &Key) {
        self.instances.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}
