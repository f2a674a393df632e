//! Backups, retention, verification, restores and kill -9, in any order and at the same time: no backup that is believed is
//! ever unrestorable, and nothing that something needs is ever removed.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use jiff::SignedDuration;
use proptest::prelude::*;

use super::faults::{Fault, Faulty};
use super::killed::retain;
use super::world::{World, owner, rows};
use crate::backup::id::Id;
use crate::backup::manifest::Level;
use crate::backup::read::{Catalog, Found, Target};
use crate::backup::repository::Repository;
use crate::backup::store::{Body, Features, Key, List, ObjectInfo, Page, Store, StoreFuture};
use crate::backup::sweep::Wishes;
use crate::backup::verify;
use crate::plan::retention::Rules;

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// Full, or adding to one of the backups; killed after so many calls, or not.
    BackUp {
        parent: Option<prop::sample::Index>,
        killed: Option<usize>,
    },
    Retain {
        count: usize,
        killed: Option<usize>,
    },
    /// A backup and retention at the same time, taking turns as the numbers say.
    Both {
        parent: Option<prop::sample::Index>,
        count: usize,
        turns: Vec<u8>,
    },
    /// A restore and a verification of backups that retention may be removing, taking turns as the numbers say.
    Beside {
        chosen: prop::sample::Index,
        count: usize,
        hours: i64,
        turns: Vec<u8>,
    },
    Verify(prop::sample::Index),
    Hold(prop::sample::Index),
    Pass {
        hours: i64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    let killed = || prop::option::weighted(0.4, 0usize..40);
    prop_oneof![
        3 => (prop::option::of(index()), killed()).prop_map(|(parent, killed)| Step::BackUp { parent, killed }),
        3 => (1usize..4, killed()).prop_map(|(count, killed)| Step::Retain { count, killed }),
        3 => (prop::option::of(index()), 1usize..3, prop::collection::vec(0u8..6, 30))
            .prop_map(|(parent, count, turns)| Step::Both { parent, count, turns }),
        3 => (index(), 1usize..3, 0i64..40, prop::collection::vec(0u8..6, 60))
            .prop_map(|(chosen, count, hours, turns)| Step::Beside { chosen, count, hours, turns }),
        1 => index().prop_map(Step::Verify),
        1 => index().prop_map(Step::Hold),
        3 => (1i64..40).prop_map(|hours| Step::Pass { hours }),
    ]
}

/// Lets others go first, as often as the numbers say.
#[derive(Clone, Debug)]
struct Turns {
    inner: Arc<dyn Store>,
    turns: Arc<Mutex<Vec<u8>>>,
}

impl Turns {
    async fn wait(&self) {
        let turns = self.turns.lock().expect("nobody panicked").pop().unwrap_or_default();
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    }
}

impl Store for Turns {
    fn address(&self) -> String {
        self.inner.address()
    }
    fn put_new<'a>(&'a self, key: &'a Key, body: Body) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            self.wait().await;
            self.inner.put_new(key, body).await
        })
    }
    fn get<'a>(&'a self, key: &'a Key, range: Option<Range<u64>>) -> StoreFuture<'a, Bytes> {
        Box::pin(async move {
            self.wait().await;
            self.inner.get(key, range).await
        })
    }
    fn head<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, ObjectInfo> {
        Box::pin(async move {
            self.wait().await;
            self.inner.head(key).await
        })
    }
    fn list<'a>(&'a self, list: &'a List) -> StoreFuture<'a, Page> {
        Box::pin(async move {
            self.wait().await;
            self.inner.list(list).await
        })
    }
    fn delete<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            self.wait().await;
            self.inner.delete(key).await
        })
    }
    fn features(&self) -> StoreFuture<'_, Features> {
        self.inner.features()
    }
}

struct Story {
    world: World,
    wishes: Wishes,
    /// What each backup was made from, also when its writer was killed and never knew.
    written: BTreeMap<u8, Vec<u8>>,
    /// What is in those whose writer knew.
    made: BTreeMap<Id, Vec<u8>>,
    next: u8,
}

impl Story {
    async fn parent(&self, chosen: Option<&prop::sample::Index>) -> Option<Found> {
        let catalog = self.world.catalog().await;
        chosen.filter(|_| !catalog.found.is_empty()).map(|index| index.get(&catalog.found).clone())
    }

    fn content(&mut self) -> Vec<u8> {
        self.next = self.next.wrapping_add(1);
        let bytes = rows(1500, self.next);
        self.written.insert(self.next, bytes.clone());
        bytes
    }

    async fn take(&mut self, step: Step) {
        let memory: Arc<dyn Store> = Arc::new(self.world.memory.clone());
        match step {
            Step::BackUp { parent, killed } => {
                let (parent, bytes) = (self.parent(parent.as_ref()).await, self.content());
                let store = Faulty::new(memory, killed.map_or(usize::MAX, |at| at + 2), Fault::Kill);
                let through = self.world.through(Arc::new(store)).await;
                // with a condemned parent, or killed, there is none
                let made = self.world.back_up(&through, parent, &bytes).await;
                self.made.extend(made.ok().map(|made| (made.place.id, bytes)));
            }
            Step::Retain { count, killed } => {
                let store = Faulty::new(memory, killed.map_or(usize::MAX, |at| at + 2), Fault::Kill);
                let through = self.world.through(Arc::new(store)).await;
                let rules = Rules { count: Some(count), ..Rules::default() };
                let _ = retain(&self.world, &through, rules, &self.wishes).await;
            }
            Step::Both { parent, count, turns } => {
                let (parent, bytes) = (self.parent(parent.as_ref()).await, self.content());
                let turns = Turns { inner: memory, turns: Arc::new(Mutex::new(turns)) };
                let through = self.world.through(Arc::new(turns)).await;
                let rules = Rules { count: Some(count), ..Rules::default() };
                let (made, _) = futures::join!(
                    self.world.back_up(&through, parent, &bytes),
                    retain(&self.world, &through, rules, &self.wishes)
                );
                self.made.extend(made.ok().map(|made| (made.place.id, bytes)));
            }
            Step::Beside { chosen, count, hours, turns } => {
                self.world.memory.pass(SignedDuration::from_hours(hours));
                let catalog = self.world.catalog().await;
                if catalog.found.is_empty() {
                    return;
                }
                let found = chosen.get(&catalog.found);
                let turns = Turns { inner: memory, turns: Arc::new(Mutex::new(turns)) };
                let through = self.world.through(Arc::new(turns)).await;
                let rules = Rules { count: Some(count), ..Rules::default() };
                let (restored, (), _) = futures::join!(
                    self.world.restore_through(&through, Target::Backup(found.place.id)),
                    self.prove(&through, &catalog, found),
                    retain(&self.world, &through, rules, &self.wishes)
                );
                // what goes meanwhile may fail; what comes back is never something else
                if let Ok(chain) = restored {
                    assert!(chain.iter().all(|bytes| self.written.values().any(|known| known == bytes)));
                    assert!(self.made.get(&found.place.id).is_none_or(|bytes| chain.last() == Some(bytes)));
                }
            }
            Step::Verify(index) => {
                let catalog = self.world.catalog().await;
                if catalog.found.is_empty() {
                    return;
                }
                let found = index.get(&catalog.found);
                let repository = &self.world.repository;
                let mut problems = verify::list(repository, &catalog, found).await.expect("memory answers");
                problems.extend(verify::read(repository, found, None).await.expect("memory answers"));
                assert_eq!(problems, [""; 0], "{}", found.place.id);
                let at = self.world.now();
                verify::record(repository, found, (Level::Read, None), problems, &self.world.key, at)
                    .await
                    .expect("recorded");
            }
            Step::Hold(index) => {
                let catalog = self.world.catalog().await;
                if !catalog.found.is_empty() {
                    self.wishes.hold.insert(index.get(&catalog.found).place.id);
                }
            }
            Step::Pass { hours } => self.world.memory.pass(SignedDuration::from_hours(hours)),
        }
        self.world.memory.pass(SignedDuration::from_secs(1));
    }

    /// As the daily look does: also what it says of a backup that goes away under its hands is written down.
    async fn prove(&self, through: &Repository, catalog: &Catalog, found: &Found) {
        let Ok(mut problems) = verify::list(through, catalog, found).await else { return };
        let Ok(read) = verify::read(through, found, None).await else { return };
        problems.extend(read);
        let _ = verify::record(through, found, (Level::Read, None), problems, &self.world.key, self.world.now()).await;
    }

    /// Every backup that is shown can be restored, with all it adds to.
    async fn check(&self) {
        let catalog = self.world.catalog().await;
        assert_eq!(catalog.problems, []);
        for found in &catalog.found {
            let restored = self.world.restore(Target::Backup(found.place.id)).await;
            let chain = restored.unwrap_or_else(|reason| panic!("{} is shown: {reason}", found.place.id));
            assert!(chain.iter().all(|bytes| self.written.values().any(|known| known == bytes)));
            assert!(self.made.get(&found.place.id).is_none_or(|bytes| chain.last() == Some(bytes)));
        }
        assert!(self.made.is_empty() || !catalog.found.is_empty(), "all that was made is gone");
        let there: Vec<Id> = catalog.found.iter().map(|found| found.place.id).collect();
        assert!(self.wishes.hold.iter().all(|held| there.contains(held)), "what is held is gone");
        assert!(catalog.chain(&owner(), Target::Newest).is_ok() || there.is_empty());
    }
}

proptest! {
    #![proptest_config(crate::chance::cases(48))]

    #[test]
    fn no_backup_that_is_shown_is_ever_unrestorable(steps in prop::collection::vec(step(), 1..14)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let world = World::new(false).await;
            let mut story = Story { world, wishes: Wishes::default(), written: BTreeMap::new(), made: BTreeMap::new(), next: 0 };
            for step in steps {
                story.take(step).await;
                story.check().await;
            }
        });
    }
}
