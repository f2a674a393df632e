//! Whatever goes wrong at whatever step: there is a whole backup, or none and a reason.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;

use super::faults::{Fault, Faulty};
use super::world::{World, owner, rows};
use crate::backup::clock::Clock;
use crate::backup::read::Target;
use crate::backup::repository::Repository;
use crate::backup::store::{Cause, Patience, Resilient, Store};
use crate::backup::sweep::{Swept, Wishes, facts, sweep};
use crate::backup::write::Writing;
use crate::plan::retention::{Guards, Rules, plan};

const STEPS: usize = 200;

fn patient(store: Faulty) -> Arc<dyn Store> {
    let pause = Duration::from_millis(1);
    let timeout = Duration::from_millis(200);
    let patience = Patience { timeout, tries: 3, first_pause: pause, longest_pause: pause, concurrency: 8 };
    Arc::new(Resilient::new(Arc::new(store), patience))
}

/// Runs retention as often as it has something to do.
pub async fn retain(world: &World, repository: &Repository, rules: Rules, wishes: &Wishes) -> Result<Swept, String> {
    let catalog = crate::backup::read::Catalog::read(repository).await.map_err(|error| error.to_string())?;
    let seen = facts(&catalog, &owner().cluster, wishes, SignedDuration::ZERO);
    let rules = BTreeMap::from([(owner().instance.to_string(), rules)]);
    let guards = Guards { allow_many: true, ..Guards::default() };
    let plan = plan(&seen, &rules, &guards, world.now());
    let swept = sweep(repository, &world.key, &catalog, &plan, world.now(), world.now()).await;
    swept.map_err(|error| error.to_string())
}

#[tokio::test]
async fn killed_at_any_step_leaves_a_whole_backup_or_none() {
    let bytes = rows(5000, 1);
    let mut complete = 0;
    for step in 0..STEPS {
        let world = World::new(false).await;
        let before = world.memory.keys();
        let faulty = Faulty::new(Arc::new(world.memory.clone()), step + 2, Fault::Kill);
        let through = world.through(Arc::new(faulty.clone())).await;
        let result = world.back_up(&through, None, &bytes).await;
        match world.restore(Target::Newest).await {
            Ok(found) => {
                assert_eq!(found, std::slice::from_ref(&bytes), "killed at step {step}");
                complete += 1;
            }
            Err(reason) => {
                assert_eq!(reason, "there is no backup of this instance", "killed at step {step}");
                assert!(result.is_err());
            }
        }
        if !faulty.happened() {
            assert!(step > 10, "there are more steps than {step}");
            assert!(complete >= 2, "one killed after the manifest, one not at all");
            return;
        }
        if complete == 0 {
            // what it left goes once nobody can be working on it, and nothing else
            world.memory.pass(SignedDuration::from_hours(26));
            retain(&world, &world.repository, Rules::default(), &Wishes::default()).await.expect("voided");
            world.memory.pass(SignedDuration::from_hours(25));
            retain(&world, &world.repository, Rules::default(), &Wishes::default()).await.expect("cleared");
            world.memory.pass(SignedDuration::from_hours(31 * 24));
            retain(&world, &world.repository, Rules::default(), &Wishes::default()).await.expect("forgotten");
            assert_eq!(world.memory.keys(), before, "killed at step {step}");
        }
    }
    panic!("a backup has fewer than {STEPS} steps");
}

#[tokio::test]
async fn retention_killed_at_any_step_leaves_whole_backups_and_the_next_ends_it() {
    let bytes = [rows(2000, 1), rows(2000, 2)];
    let rules = || Rules { count: Some(1), ..Rules::default() };
    for step in 0..STEPS {
        let world = World::new(false).await;
        let old = world.back_up(&world.repository, None, &bytes[0]).await.expect("made");
        world.memory.pass(SignedDuration::from_secs(1));
        world.back_up(&world.repository, None, &bytes[1]).await.expect("made");
        retain(&world, &world.repository, rules(), &Wishes::default()).await.expect("condemned");
        world.memory.pass(SignedDuration::from_hours(25));
        let faulty = Faulty::new(Arc::new(world.memory.clone()), step + 2, Fault::Kill);
        let through = world.through(Arc::new(faulty.clone())).await;
        let result = retain(&world, &through, rules(), &Wishes::default()).await;
        assert_eq!(world.restore(Target::Newest).await.expect("it stays"), std::slice::from_ref(&bytes[1]));
        if world.catalog().await.get(&old.place).is_some() {
            let restored = world.restore(Target::Backup(old.place.id)).await.expect("what is shown is whole");
            assert_eq!(restored, std::slice::from_ref(&bytes[0]), "killed at step {step}");
        }
        for _ in 0..3 {
            world.memory.pass(SignedDuration::from_hours(25));
            retain(&world, &world.repository, rules(), &Wishes::default()).await.expect("gone on with");
        }
        let folder = old.place.folder();
        let left: Vec<_> = world.memory.keys().into_iter().filter(|key| key.as_str().starts_with(&folder)).collect();
        assert_eq!(left, [], "killed at step {step}");
        if !faulty.happened() {
            assert!(step > 10 && result.is_ok(), "there are more steps than {step}");
            return;
        }
    }
    panic!("retention has fewer than {STEPS} steps");
}

#[tokio::test]
async fn what_passes_is_overcome_at_any_step() {
    let bytes = rows(3000, 2);
    for fault in [
        Fault::Fails(Cause::Unavailable("503 SlowDown".into())),
        Fault::Fails(Cause::Checksum("a bit flipped on the way".into())),
        Fault::AnswerLost,
        Fault::Stalls,
    ] {
        for step in 0..STEPS {
            let world = World::new(false).await;
            let faulty = Faulty::new(Arc::new(world.memory.clone()), step, fault.clone());
            let through = world.through(patient(faulty.clone())).await;
            world.back_up(&through, None, &bytes).await.unwrap_or_else(|error| panic!("{fault:?} at {step}: {error}"));
            assert_eq!(
                world.restore(Target::Newest).await.expect("whole"),
                std::slice::from_ref(&bytes),
                "{fault:?} at {step}"
            );
            if !faulty.happened() {
                break;
            }
        }
    }
}

#[tokio::test]
async fn what_does_not_pass_fails_with_its_reason_and_lies_are_found() {
    let bytes = rows(3000, 3);
    for fault in [
        Fault::Fails(Cause::Denied("403".into())),
        Fault::Fails(Cause::Full("507".into())),
        Fault::Lies,
        Fault::Garbles,
    ] {
        for step in 0..STEPS {
            let world = World::new(false).await;
            // the repository was opened before
            let faulty = Faulty::new(Arc::new(world.memory.clone()), step + 2, fault.clone());
            let through = world.through(patient(faulty.clone())).await;
            let result = world.back_up(&through, None, &bytes).await;
            match world.restore(Target::Newest).await {
                Ok(found) => assert_eq!(found, std::slice::from_ref(&bytes), "{fault:?} at {step}"),
                Err(reason) => assert_eq!(reason, "there is no backup of this instance", "{fault:?} at {step}"),
            }
            if !faulty.happened() {
                assert!(result.is_ok());
                break;
            }
            if let (Err(error), Fault::Fails(cause)) = (result, &fault) {
                assert!(error.to_string().contains(&cause.to_string()), "{fault:?} at {step}: {error}");
            }
        }
    }
}

#[tokio::test]
async fn a_writer_whose_clock_is_far_off_makes_no_backup_that_would_count_as_old_or_new() {
    for (hours, fits) in [(-11, true), (11, true), (-400 * 24, false), (13, false)] {
        let world = World::new(false).await;
        let memory = world.memory.clone();
        let clock = Clock::new(move || memory.now() + SignedDuration::from_hours(hours));
        let begun =
            Writing::begin(&world.repository, &world.key, clock, world.request(None), world.settings.clone()).await;
        assert_eq!(begun.is_ok(), fits, "{hours} hours off");
        let Err(error) = begun else { continue };
        let said = error.to_string();
        assert!(
            said.starts_with("the clock here and that of the store are ") && said.ends_with("; set it right"),
            "{said}"
        );
        let catalog = world.catalog().await;
        assert_eq!((catalog.begun.len(), catalog.failed[0].void.reason.as_str()), (0, said.as_str()));
    }
}

#[tokio::test]
async fn who_was_declared_gone_cannot_commit() {
    let world = World::new(false).await;
    let request = world.request(None);
    let settings = world.settings.clone();
    let clock = Clock::new({
        let at = world.now();
        // a clock that stands still: the writer does not see its lease end
        move || at
    });
    let mut writing = Writing::begin(&world.repository, &world.key, clock, request, settings).await.expect("begun");
    writing.stream(super::world::source("data", rows(3000, 1))).await.expect("written");
    world.memory.pass(SignedDuration::from_hours(26));
    let swept = retain(&world, &world.repository, Rules::default(), &Wishes::default()).await.expect("voided");
    assert_eq!(swept.voided, 1);
    let error = writing.commit(None).await.expect_err("it is over");
    assert_eq!(error.to_string(), "somebody declared it abandoned: nobody worked on it any more");
    assert_eq!(world.catalog().await.failed.len(), 1);
}
