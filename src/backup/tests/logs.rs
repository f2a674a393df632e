//! Logs: archived twice, torn in two, with gaps, and on another timeline.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::faults::{Fault, Faulty};
use super::world::{World, rows, source, uid};
use crate::backup::keys::{Epoch, Opener, Sealer};
use crate::backup::layout::{Line, Segment};
use crate::backup::log::{Archive, Arrival, History, LogError, Range, check_seals, histories, seal, window};
use crate::backup::manifest::LogSpan;
use crate::backup::read::Keyring;
use crate::backup::repository::Repository;
use crate::backup::store::Store;
use crate::backup::sweep::{Swept, Wishes, facts, sweep_logs};
use crate::backup::write::Writing;
use crate::plan::retention::{Guards, plan};

pub fn line(timeline: u32) -> Line {
    Line { system: uid("7300000000000000001"), timeline }
}

fn segment(number: u64) -> Segment {
    Segment { number, name: uid(&format!("segment{number}")) }
}

pub async fn push(
    world: &World,
    timeline: u32,
    number: u64,
    content: &[u8],
    until: Timestamp,
) -> Result<Arrival, LogError> {
    let archive = Archive { repository: &world.repository, line: line(timeline) };
    let (sealer, epoch) = match &world.epoch {
        Some(epoch) => (Sealer::To(epoch.recipient.clone()), Some(&epoch.name)),
        None => (Sealer::Clear, None),
    };
    archive.push(&segment(number), content.to_vec(), until, &sealer, epoch, &world.key).await
}

#[tokio::test]
async fn the_same_segment_may_come_twice_and_another_one_may_not() {
    let world = World::new(true).await;
    let until = world.now();
    assert_eq!(push(&world, 1, 5, b"changes", until).await.expect("new"), Arrival::New);
    assert_eq!(
        push(&world, 1, 5, b"changes", until + SignedDuration::from_secs(9)).await.expect("again"),
        Arrival::Again
    );
    let error = push(&world, 1, 5, b"other changes", until).await.expect_err("two histories");
    assert!(error.to_string().contains("(split brain)"), "{error}");
    assert_eq!(push(&world, 2, 5, b"other changes", until).await.expect("a history of its own"), Arrival::New);

    let epoch = world.epoch.clone().expect("encrypted");
    let opener = Opener::With(epoch.unlock(&world.repository, &world.identity).await.expect("unlocked"));
    let archive = Archive { repository: &world.repository, line: line(1) };
    assert_eq!(archive.fetch(&segment(5), &opener).await.expect("fetched"), b"changes");
    assert!(matches!(archive.fetch(&segment(6), &opener).await, Err(LogError::NotThere(_))));

    // claimed and not stored: the writer was killed in between, and comes back
    let stored = line(1).segment(&segment(5), ".zst.age");
    world.memory.delete(&stored).await.expect("deleted");
    assert!(matches!(archive.fetch(&segment(5), &opener).await, Err(LogError::NotThere(_))));
    assert_eq!(push(&world, 1, 5, b"changes", until).await.expect("new"), Arrival::New);
    world.memory.tamper(&stored, |bytes| bytes.map(|bytes| bytes[..bytes.len() - 1].to_vec()));
    assert!(matches!(archive.fetch(&segment(5), &opener).await, Err(LogError::Damaged { .. })));
}

/// Archives a segment as a writer of this epoch.
async fn push_under(world: &World, repository: &Repository, epoch: &Epoch) -> Result<Arrival, LogError> {
    let archive = Archive { repository, line: line(1) };
    let sealer = Sealer::To(epoch.recipient.clone());
    archive.push(&segment(5), b"changes".to_vec(), world.now(), &sealer, Some(&epoch.name), &world.key).await
}

async fn brought(world: &World) -> Vec<u8> {
    let archive = Archive { repository: &world.repository, line: line(1) };
    let claim = archive.claim(&segment(5)).await.expect("claimed");
    let ring = Keyring::unlock(&world.repository, &world.identity, None).await.expect("unlocked");
    let opener = ring.opener(claim.epoch.as_ref()).expect("open");
    archive.fetch(&segment(5), &opener).await.expect("whole")
}

#[tokio::test]
async fn a_store_that_lies_about_a_segment_is_found_out_before_the_engine_gives_it_away() {
    for (step, wrong) in [(0, "the store does not hold its claim"), (1, "the store does not hold it")] {
        let world = World::new(true).await;
        let epoch = world.epoch.clone().expect("encrypted");
        let faulty = Faulty::new(Arc::new(world.memory.clone()), step + 2, Fault::Lies);
        let through = world.through(Arc::new(faulty)).await;
        let error = push_under(&world, &through, &epoch).await.expect_err("it is not there");
        let said = format!("segment 0000000000000005-segment5 is not what was archived: {wrong}");
        assert_eq!(error.to_string(), said);
        push_under(&world, &world.repository, &epoch).await.expect("archived");
        assert_eq!(brought(&world).await, b"changes");
    }
}

#[tokio::test]
async fn a_segment_whose_archiving_was_killed_at_any_step_is_archived_by_the_next_try() {
    for rotated in [false, true] {
        for step in 0..20 {
            let world = World::new(true).await;
            let mut epoch = world.epoch.clone().expect("encrypted");
            let faulty = Faulty::new(Arc::new(world.memory.clone()), step + 2, Fault::Kill);
            let through = world.through(Arc::new(faulty.clone())).await;
            let killed = push_under(&world, &through, &epoch).await;
            if rotated {
                let recipients = [world.identity.recipient()];
                let begun = Epoch::begin(&world.repository, &recipients, &world.key, world.now()).await;
                epoch = begun.expect("begun");
            }
            let mut arrived = push_under(&world, &world.repository, &epoch).await;
            if let Err(LogError::NotThere(_)) = arrived {
                // somebody had claimed it for another epoch and never stored it
                assert!(rotated, "killed at step {step}");
                arrived = push_under(&world, &world.repository, &epoch).await;
            }
            arrived.unwrap_or_else(|error| panic!("killed at step {step}: {error}"));
            assert_eq!(brought(&world).await, b"changes");
            if !faulty.happened() {
                assert!(killed.is_ok() && step >= 2, "there are more steps than {step}");
                break;
            }
            assert!(step < 19, "archiving has fewer steps");
        }
    }
}

#[tokio::test]
async fn one_can_go_back_as_far_as_the_log_has_no_gap() {
    let world = World::new(false).await;
    let minute = |minute| world.now() + SignedDuration::from_mins(minute);
    for number in [10u64, 11, 12, 13, 15, 16] {
        let at = i64::try_from(number).expect("small");
        push(&world, 1, number, format!("segment {number}").as_bytes(), minute(at)).await.expect("new");
    }
    let span = LogSpan { line: line(1), first: 11, last: 12 };
    let all = histories(&world.repository).await.expect("read");
    assert_eq!(all[0].gaps(), [Range { first: 14, last: 14 }]);
    let reach = |all| {
        let (world, span) = (&world, &span);
        async move { window(&world.repository, span, world.now(), all).await.expect("read") }
    };
    let there = reach(&all).await.expect("a window");
    assert_eq!((there.missing, there.recoverable_until), (14, minute(13)));

    // a replica took over in segment 13 and goes on on a timeline of its own
    for number in [13u64, 14, 15] {
        push(&world, 2, number, b"after the failover", minute(20 + i64::try_from(number).expect("small")))
            .await
            .expect("new");
    }
    let all = histories(&world.repository).await.expect("read");
    let there = reach(&all).await.expect("a window");
    assert_eq!((there.missing, there.recoverable_until), (16, minute(35)));

    // restored in place to what was in segment 12: what came after it is undone
    push(&world, 3, 12, b"after the restore", minute(60)).await.expect("new");
    let all = histories(&world.repository).await.expect("read");
    let there = reach(&all).await.expect("a window");
    assert_eq!((there.missing, there.recoverable_until), (13, minute(60)));

    let torn = LogSpan { first: 12, last: 15, ..span.clone() };
    assert_eq!(window(&world.repository, &torn, world.now(), &all[..1]).await.expect("read"), None);
}

#[tokio::test]
async fn sealed_segments_cannot_vanish_or_change_unseen() {
    let world = World::new(false).await;
    for number in 0..70 {
        push(&world, 1, number, format!("segment {number}").as_bytes(), world.now()).await.expect("new");
    }
    let made = seal(&world.repository, &line(1), &world.key, false).await.expect("sealed");
    assert_eq!(made, [Range { first: 0, last: 63 }]);
    assert!(seal(&world.repository, &line(1), &world.key, false).await.expect("nothing new").is_empty());
    let rest = seal(&world.repository, &line(1), &world.key, true).await.expect("sealed");
    assert_eq!(rest, [Range { first: 64, last: 69 }]);
    let first = line(1);
    let wrong = async |from: u64, part: u64, of: u64| {
        let history = History::read(&world.repository, &first).await.expect("listed");
        let found = check_seals(&world.repository, &history, from, &|number| number % of == part).await;
        found.expect("looked").into_keys().collect::<Vec<_>>()
    };
    assert_eq!(wrong(0, 0, 1).await, [0; 0]);
    world.memory.tamper(&line(1).segment(&segment(3), ".zst"), |_| None);
    let other = world.memory.get(&line(1).segment(&segment(4), ".zst"), None).await.expect("there").to_vec();
    world.memory.tamper(&line(1).segment(&segment(5), ".zst"), |_| Some(other));
    assert_eq!(wrong(0, 2, 2).await, [3], "nothing is read");
    assert_eq!(wrong(0, 0, 1).await, [3, 5]);
    assert_eq!(wrong(4, 1, 4).await, [5]);
    assert_eq!(wrong(4, 2, 4).await, [0; 0]);
    assert_eq!(wrong(6, 0, 1).await, [0; 0]);
}

#[tokio::test]
async fn segments_go_with_the_last_backup_that_needs_them() {
    let world = World::new(false).await;
    for number in 0..10 {
        push(&world, 1, number, b"changes", world.now()).await.expect("new");
    }
    let mut writing =
        Writing::begin(&world.repository, &world.key, world.clock(), world.request(None), world.settings.clone())
            .await
            .expect("begun");
    writing.stream(source("data", rows(10, 1))).await.expect("written");
    writing.commit(Some(LogSpan { line: line(1), first: 4, last: 6 })).await.expect("the log is there");
    let catalog = world.catalog().await;
    let seen = facts(&catalog, &uid("cluster-1"), &Wishes::default(), SignedDuration::ZERO);
    let plan = plan(&seen, &std::collections::BTreeMap::new(), &Guards::default(), world.now());
    let mut swept = Swept::default();
    let all = histories(&world.repository).await.expect("read");
    sweep_logs(&world.repository, &plan, &all, &mut swept).await.expect("swept");
    assert_eq!(swept.segments, 4);
    let left = histories(&world.repository).await.expect("read");
    assert_eq!(left[0].ranges, [Range { first: 4, last: 9 }]);
    assert!(!world.memory.keys().iter().any(|key| key.name() == "0000000000000003-segment3.claim"));
}
