//! Stores that lock: what a restore needs, or whatever is written into them.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::killed::retain;
use super::world::{World, rows};
use crate::backup::layout::is_needed;
use crate::backup::manifest::{Level, Wish};
use crate::backup::read::Target;
use crate::backup::store::probe::probe;
use crate::backup::sweep::Wishes;
use crate::backup::{verify, wish};
use crate::plan::retention::Rules;

const LOCK: SignedDuration = SignedDuration::from_hours(10 * 24);

fn newest_only() -> Rules {
    Rules { count: Some(1), ..Rules::default() }
}

#[tokio::test]
async fn what_is_locked_stays_until_its_lock_ends_and_that_is_no_failure() {
    let world = World::new(false).await;
    world.memory.lock_for(LOCK, is_needed);
    let first = world.back_up(&world.repository, None, &rows(3000, 1)).await.expect("it is made");
    world.memory.pass(SignedDuration::from_secs(1));
    world.back_up(&world.repository, None, &rows(3000, 2)).await.expect("it is made");
    let sweep = async || retain(&world, &world.repository, newest_only(), &Wishes::default()).await.expect("swept");
    assert_eq!(sweep().await.condemned, 1);
    world.memory.pass(SignedDuration::from_hours(25));
    let before = world.memory.keys();
    for _ in 0..2 {
        let swept = sweep().await;
        assert_eq!((swept.removed, swept.locked, swept.problems.len()), (0, 1, 0), "{swept:?}");
    }
    assert_eq!(world.memory.keys(), before, "no part of a backup goes before its manifest does");
    let restored = world.restore(Target::Backup(first.place.id)).await.expect("all of it is there");
    assert_eq!(restored, [rows(3000, 1)]);
    world.memory.pass(LOCK);
    let swept = sweep().await;
    assert_eq!((swept.removed, swept.locked, swept.problems.len()), (1, 0, 0), "{swept:?}");
    let folder = first.place.folder();
    assert!(!world.memory.keys().iter().any(|key| key.as_str().starts_with(&folder)));
}

#[tokio::test]
async fn a_store_that_locks_whatever_is_written_can_be_used() {
    let world = World::new(true).await;
    world.memory.lock_for(LOCK, |_| true);
    let tried = probe(&world.memory, || world.now()).await.expect("it can be tried");
    assert!(tried.capabilities.conditional_create);
    let tries = || world.memory.keys().into_iter().filter(|key| key.as_str().starts_with("probe/")).count();
    let left = tries();
    assert!(left > 0, "they are locked");
    let first = world.back_up(&world.repository, None, &rows(3000, 1)).await.expect("it is made");
    for hold in [true, false] {
        let wanted = Wish { at: world.now(), hold, labels: Some(BTreeMap::new()) };
        wish::record(&world.repository, &first.place, &wanted, &world.key).await.expect("it is written");
        assert_eq!(world.catalog().await.found[0].wish, Some(wanted), "the newest counts");
    }
    for problems in [vec!["chunk 0 is not there".to_owned()], Vec::new()] {
        let found = world.catalog().await.found.remove(0);
        let wanted = problems.is_empty();
        let recorded =
            verify::record(&world.repository, &found, (Level::Listed, None), problems, &world.key, world.now());
        recorded.await.expect("it is written");
        assert_eq!(world.catalog().await.found[0].damage().is_none(), wanted, "the newest counts");
    }
    world.memory.pass(SignedDuration::from_secs(1));
    world.back_up(&world.repository, None, &rows(3000, 2)).await.expect("it is made");
    let sweep = async |rules| retain(&world, &world.repository, rules, &Wishes::default()).await.expect("swept");
    assert_eq!(sweep(newest_only()).await.condemned, 1);
    let revived = sweep(Rules { count: Some(2), ..Rules::default() }).await;
    assert_eq!((revived.revived, revived.locked, revived.problems.len()), (0, 1, 0), "{revived:?}");
    assert_eq!(world.catalog().await.found.len(), 2);
    world.memory.pass(LOCK);
    probe(&world.memory, || world.now()).await.expect("it can be tried");
    assert_eq!(tries(), left, "what may go by now is gone");
}
