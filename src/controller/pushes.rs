//! What is being applied right now: instances that a push makes are taken up once all of it is applied, so that what they
//! need does not keep the rest of the push waiting.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use super::queues::Queues;
use crate::api::Kind;
use crate::cluster::Key;

/// Sources that are applying, by the label of what they apply, and the instances that wait for each.
#[derive(Default)]
pub struct Pushes {
    under_way: Mutex<BTreeMap<String, BTreeSet<Key>>>,
}

/// A push under way. When it ends, however it does, those that waited for it are taken up.
pub struct Push {
    pushes: Arc<Pushes>,
    queues: Queues,
    source: String,
}

impl Pushes {
    pub fn begin(self: &Arc<Self>, source: &str, queues: &Queues) -> Push {
        self.held().insert(source.to_owned(), BTreeSet::new());
        Push { pushes: self.clone(), queues: queues.clone(), source: source.to_owned() }
    }

    /// Whether the source is still applying; then the instance is queued when it is done.
    pub fn waits(&self, source: &str, instance: &Key) -> bool {
        match self.held().get_mut(source) {
            Some(waiting) => {
                waiting.insert(instance.clone());
                true
            }
            None => false,
        }
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<String, BTreeSet<Key>>> {
        self.under_way.lock().expect("no panic while it is held")
    }
}

impl Drop for Push {
    fn drop(&mut self) {
        let waited = self.pushes.held().remove(&self.source).unwrap_or_default();
        for instance in waited {
            self.queues.of(Kind::Instance).add(&instance);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_waits_for_the_push_that_made_it_and_for_no_other() {
        let (pushes, queues) = (Arc::<Pushes>::default(), Queues::default());
        let push = pushes.begin("team.main", &queues);
        let cache = Key::new("shop", "cache");
        assert!(!pushes.waits("team.other", &cache));
        assert!(pushes.waits("team.main", &cache));
        assert!(queues.of(Kind::Instance).is_empty());
        drop(push);
        assert_eq!(queues.of(Kind::Instance).len(), 1);
        assert!(!pushes.waits("team.main", &cache));
    }
}
