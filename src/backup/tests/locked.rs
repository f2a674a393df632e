//! Stores that lock: what a restore needs, or whatever is written into them.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::killed::retain;
use super::logs::{line, push};
use super::world::{World, rows, source};
use crate::backup::layout::{Segment, is_needed};
use crate::backup::locks::{Kept, Locks, lengthen};
use crate::backup::log::histories;
use crate::backup::manifest::{Level, LogSpan, Wish};
use crate::backup::read::Target;
use crate::backup::store::probe::probe;
use crate::backup::store::{Key, Store};
use crate::backup::sweep::Wishes;
use crate::backup::write::Writing;
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
async fn what_a_locked_backup_adds_to_waits_for_its_lock_as_well() {
    let world = World::new(false).await;
    world.memory.lock_for(LOCK, |_| false);
    world.back_up(&world.repository, None, &rows(3000, 1)).await.expect("it is made");
    let full = world.catalog().await.found.remove(0);
    world.memory.pass(SignedDuration::from_secs(1));
    let more = world.back_up(&world.repository, Some(full), &rows(3000, 2)).await.expect("it is made").place;
    world.memory.pass(SignedDuration::from_secs(1));
    world.back_up(&world.repository, None, &rows(3000, 3)).await.expect("it is made");
    world.memory.lock(&more.manifest()).await.expect("it is there");
    let sweep = async || retain(&world, &world.repository, newest_only(), &Wishes::default()).await.expect("swept");
    assert_eq!(sweep().await.condemned, 2);
    world.memory.pass(SignedDuration::from_hours(25));
    let swept = sweep().await;
    assert_eq!((swept.removed, swept.locked, swept.problems.len()), (0, 1, 0), "{swept:?}");
    world.restore(Target::Backup(more.id)).await.expect("what is shown can be restored");
    world.memory.pass(LOCK);
    let swept = sweep().await;
    assert_eq!((swept.removed, swept.locked, swept.problems.len()), (2, 0, 0), "{swept:?}");
    assert_eq!(world.catalog().await.found.len(), 1);
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

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Locks anew what is kept: the backups with these numbers, the oldest is 0, and until when, where that is known.
async fn keep_locked(world: &World, kept: &[(usize, Option<Timestamp>)]) -> Locks {
    let catalog = world.catalog().await;
    let kept: Vec<Kept<'_>> =
        kept.iter().map(|(at, until)| Kept { found: &catalog.found[*at], until: *until }).collect();
    let all = histories(&world.repository).await.expect("read");
    lengthen(&world.repository, &kept, &all, world.now()).await
}

/// What a restore needs that somebody could delete now.
async fn open_to_deletion(world: &World, keys: &[Key]) -> Vec<String> {
    let mut open = Vec::new();
    for key in keys {
        let until = world.memory.locked_until(key).await.expect("it is there");
        if until.is_none_or(|until| until <= world.now()) {
            open.push(key.to_string());
        }
    }
    open
}

#[tokio::test]
async fn what_is_kept_for_longer_than_the_period_stays_locked_with_its_chain_and_its_log() {
    let world = World::new(false).await;
    world.memory.lock_for(LOCK, is_needed);
    world.back_up(&world.repository, None, &rows(3000, 1)).await.expect("it is made");
    let full = world.catalog().await.found.remove(0);
    world.memory.pass(SignedDuration::from_secs(1));
    world.back_up(&world.repository, Some(full), &rows(3000, 2)).await.expect("it is made");
    for number in 3..140 {
        push(&world, 1, number, format!("segment {number}").as_bytes(), world.now()).await.expect("new");
        world.memory.pass(SignedDuration::from_mins(20));
    }
    let begun =
        Writing::begin(&world.repository, &world.key, world.clock(), world.request(None), world.settings.clone());
    let mut writing = begun.await.expect("begun");
    writing.stream(source("data", rows(3000, 3))).await.expect("written");
    writing.commit(Some(LogSpan { line: line(1), first: 5, last: 139 })).await.expect("the log is there");

    let in_the_log = |key: &Key| Segment::read(key).is_some_and(|segment| segment.number >= 5);
    let of_logs = |key: &Key| key.as_str().starts_with("log/");
    let of_backups = |key: &Key| key.as_str().starts_with("c/") && is_needed(key);
    let needed: Vec<Key> =
        world.memory.keys().into_iter().filter(|key| of_backups(key) || (of_logs(key) && in_the_log(key))).collect();
    assert!(needed.len() > 280, "chunks, segments and claims: {}", needed.len());
    let mut lengthened = 0;
    for day in 0..40 {
        let locks = keep_locked(&world, &[(0, None), (1, None), (2, None)]).await;
        assert_eq!(locks.problems, [""; 0]);
        lengthened += locks.lengthened;
        world.memory.pass(DAY);
        assert_eq!(open_to_deletion(&world, &needed).await, [""; 0], "on day {day}");
        assert_eq!(keep_locked(&world, &[]).await, Locks::default(), "nothing is kept");
    }
    assert!(lengthened <= needed.len() * 8, "only what ends soon is locked anew: {lengthened} of {}", needed.len());
    world.memory.pass(LOCK);
    assert_eq!(open_to_deletion(&world, &needed).await.len(), needed.len(), "none is locked for ever");
}

#[tokio::test]
async fn no_lock_is_made_longer_than_retention_keeps_a_backup() {
    let world = World::new(false).await;
    world.memory.lock_for(LOCK, is_needed);
    for seed in 0..3 {
        world.back_up(&world.repository, None, &rows(3000, seed)).await.expect("it is made");
        world.memory.pass(SignedDuration::from_secs(1));
    }
    world.memory.pass(DAY * 9);
    // the first one goes, the second one before its lock ends, and the third one nobody knows when
    let soon = world.now() + SignedDuration::from_hours(12);
    let before = world.memory.keys();
    let locks = keep_locked(&world, &[(1, Some(soon)), (2, None)]).await;
    let third = world.catalog().await.found.remove(2).place.folder();
    let of_third: Vec<Key> =
        before.iter().filter(|key| key.as_str().starts_with(&third) && is_needed(key)).cloned().collect();
    assert_eq!((locks.lengthened, locks.problems.len()), (of_third.len(), 0));
    world.memory.pass(DAY * 2);
    assert_eq!(open_to_deletion(&world, &of_third).await, [""; 0]);
    let others: Vec<Key> = before
        .into_iter()
        .filter(|key| key.as_str().starts_with("c/") && is_needed(key) && !of_third.contains(key))
        .collect();
    assert_eq!(open_to_deletion(&world, &others).await.len(), others.len());
}

#[tokio::test]
async fn what_cannot_be_locked_is_told_and_tried_again_and_others_are_locked() {
    let world = World::new(false).await;
    let first = world.back_up(&world.repository, None, &rows(3000, 1)).await.expect("it is made");
    world.memory.pass(SignedDuration::from_secs(1));
    let second = world.back_up(&world.repository, None, &rows(3000, 2)).await.expect("it is made");
    // written before anybody wanted locks: they come with the first look
    world.memory.lock_for(LOCK, |_| false);
    let index = first.place.index(".zst");
    let mut bytes = None;
    world.memory.tamper(&index, |before| {
        bytes = before;
        None
    });
    for _ in 0..2 {
        let locks = keep_locked(&world, &[(0, None), (1, None)]).await;
        assert_eq!(locks.problems, [format!("cannot look at {index} in memory://: it is not there")]);
    }
    assert_eq!(open_to_deletion(&world, &[first.place.manifest()]).await.len(), 1, "it tells of all the others");
    assert_eq!(open_to_deletion(&world, &[second.place.manifest()]).await, [""; 0]);
    world.memory.tamper(&index, |_| bytes);
    assert_eq!(keep_locked(&world, &[(0, None), (1, None)]).await.problems, [""; 0]);
    assert_eq!(open_to_deletion(&world, &[first.place.manifest(), index]).await, [""; 0]);
}

#[tokio::test]
async fn however_many_lack_an_object_the_others_are_locked() {
    let world = World::new(false).await;
    let mut made = Vec::new();
    for seed in 0..5 {
        made.push(world.back_up(&world.repository, None, &rows(3000, seed)).await.expect("it is made").place);
        world.memory.pass(SignedDuration::from_secs(1));
    }
    world.memory.lock_for(LOCK, |_| false);
    for place in &made[..4] {
        world.memory.tamper(&place.index(".zst"), |_| None);
    }
    let all: Vec<(usize, Option<Timestamp>)> = (0..5).map(|at| (at, None)).collect();
    assert_eq!(keep_locked(&world, &all).await.problems.len(), 4);
    assert_eq!(open_to_deletion(&world, &[made[4].manifest(), made[4].index(".zst")]).await, [""; 0]);
}
