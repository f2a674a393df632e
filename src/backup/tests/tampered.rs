//! Whoever can write to the store can destroy, and cannot deceive: each object damaged in each way is found, and what is
//! restored is what was written or nothing.

use super::world::{World, rows};
use crate::backup::keys::{Epoch, Identity, KeyCheck, SigningKey};
use crate::backup::layout;
use crate::backup::manifest::{Commit, Level};
use crate::backup::read::{Catalog, Keyring, Target};
use crate::backup::repository::{Repository, RepositoryError, Trust};
use crate::backup::store::{Key, Store};
use crate::backup::sweep::{Wishes, facts};
use crate::backup::verify;

/// Everything that a look, a listing, a full read and the keys find, as `midship backup verify --read --identity` does.
async fn found_wrong(world: &World) -> Vec<String> {
    let trust = Trust::Keys(vec![world.key.public()]);
    let repository = match Repository::open(std::sync::Arc::new(world.memory.clone()), &trust).await {
        Ok(repository) => repository,
        Err(error) => return vec![error.to_string()],
    };
    let catalog = Catalog::read(&repository).await.expect("memory answers");
    let mut wrong: Vec<String> = catalog.told().map(|problem| problem.reason.clone()).collect();
    if catalog.found.len() != 2 {
        wrong.push(format!("{} backups", catalog.found.len()));
    }
    let mut keys = KeyCheck::with(None, Some(&world.identity));
    for found in &catalog.found {
        wrong.extend(verify::list(&repository, &catalog, found).await.expect("memory answers"));
        wrong.extend(verify::read(&repository, found, None).await.expect("memory answers"));
        let locked = keys.problems(&repository, found.manifest.epoch.as_ref()).await;
        wrong.extend(locked.expect("memory answers"));
    }
    wrong
}

#[tokio::test]
async fn every_object_damaged_in_every_way_is_found() {
    let world = World::new(true).await;
    let bytes = [rows(2500, 1), rows(1500, 2)];
    let full = world.back_up(&world.repository, None, &bytes[0]).await.expect("full");
    let parent = world.catalog().await.get(&full.place).cloned();
    world.back_up(&world.repository, parent, &bytes[1]).await.expect("incremental");
    assert_eq!(found_wrong(&world).await, [""; 0]);
    let keys = world.memory.keys();
    for key in &keys {
        // the note that somebody began means nothing once the backup is there
        if key.name() == "attempt.json" {
            continue;
        }
        let original = world.memory.get(key, None).await.expect("there").to_vec();
        let other_end = keys.iter().rev().find(|other| other.name() != key.name()).expect("another");
        let another = world.memory.get(other_end, None).await.expect("there").to_vec();
        let mut flipped = original.clone();
        flipped[original.len() / 2] ^= 4;
        let changes: [(&str, Option<Vec<u8>>); 5] = [
            ("deleted", None),
            ("a bit flipped", Some(flipped)),
            ("truncated", Some(original[..original.len() * 2 / 3].to_vec())),
            ("emptied", Some(Vec::new())),
            ("swapped", Some(another)),
        ];
        for (how, change) in changes {
            world.memory.tamper(key, |_| change);
            let wrong = found_wrong(&world).await;
            assert!(!wrong.is_empty(), "{key} {how}, and nothing was found");
            if let Ok(restored) = world.restore(Target::Newest).await {
                let (first, chain) = (&bytes[..1], &bytes[..]);
                assert!(restored == chain || restored == first, "{key} {how}, and something else was restored");
            }
        }
        world.memory.tamper(key, |_| Some(original));
    }
    let stranger = Key::parse(&format!("{}00000099-{}.zst.age", full.place.chunks(), full.digest)).expect("a key");
    world.memory.tamper(&stranger, |_| Some(vec![1]));
    assert!(!found_wrong(&world).await.is_empty(), "an object was added, and nothing was found");
}

#[tokio::test]
async fn errors_name_the_object_and_the_reason() {
    let world = World::new(true).await;
    let made = world.back_up(&world.repository, None, &rows(2500, 1)).await.expect("made");
    let chunk = world.memory.keys().into_iter().find(|key| key.name().starts_with("00000001-")).expect("a chunk");
    let original = world.memory.get(&chunk, None).await.expect("there").to_vec();
    world.memory.tamper(&chunk, |_| Some(original[..100].to_vec()));
    let reason = world.restore(Target::Newest).await.expect_err("cut");
    assert_eq!(reason, format!("{chunk} has 100 bytes and {} are wanted: it was cut or changed", original.len()));
    world.memory.tamper(&chunk, |_| None);
    let reason = world.restore(Target::Newest).await.expect_err("gone");
    assert_eq!(reason, format!("cannot read {chunk} in memory://: it is not there"));
    let catalog = world.catalog().await;
    let found = catalog.get(&made.place).expect("found");
    let problems = verify::list(&world.repository, &catalog, found).await.expect("looked");
    assert!(problems[0].ends_with("; chunk 00000001 is not there"), "{problems:?}");
}

#[tokio::test]
async fn a_forged_manifest_is_not_believed() {
    let world = World::new(false).await;
    let made = world.back_up(&world.repository, None, &rows(100, 1)).await.expect("made");
    let mut forged = made.manifest.clone();
    forged.method = "evil".into();
    let place = made.place.manifest();
    let commit = Commit::Backup(Box::new(forged));
    let bytes = world.repository.domain().sign(&place, &commit, &SigningKey::generate());
    world.memory.tamper(&place, |_| Some(bytes));
    let catalog = world.catalog().await;
    assert!(catalog.found.is_empty());
    assert!(catalog.problems[0].reason.contains("whom this repository does not know"), "{:?}", catalog.problems);
}

#[tokio::test]
async fn a_replayed_manifest_proves_nothing_in_another_place() {
    let world = World::new(false).await;
    let one = world.back_up(&world.repository, None, &rows(100, 1)).await.expect("made");
    let two = world.back_up(&world.repository, None, &rows(100, 2)).await.expect("made");
    let bytes = world.memory.get(&one.place.manifest(), None).await.expect("there").to_vec();
    world.memory.tamper(&two.place.manifest(), |_| Some(bytes));
    let catalog = world.catalog().await;
    assert_eq!((catalog.found.len(), catalog.problems.len()), (1, 1));
}

/// One bit is another one.
fn flip(world: &World, key: &Key) {
    world.memory.tamper(key, |bytes| {
        let mut bytes = bytes.expect("it is there");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        Some(bytes)
    });
}

#[tokio::test]
async fn a_damaged_note_is_told_and_its_backup_stays_what_it_is() {
    let world = World::new(true).await;
    let bytes = rows(2500, 1);
    let made = world.back_up(&world.repository, None, &bytes).await.expect("made");
    let catalog = world.catalog().await;
    let found = catalog.get(&made.place).expect("found");
    verify::record(&world.repository, found, (Level::Listed, None), Vec::new(), &world.key, world.now())
        .await
        .expect("noted");
    let note = made.place.verification(world.now(), "listed");
    flip(&world, &note);
    let catalog = world.catalog().await;
    let found = catalog.get(&made.place).expect("it is still there");
    assert!(catalog.problems.is_empty() && found.unreadable[0].object == note.to_string(), "{:?}", found.unreadable);
    assert_eq!(found.proof().0, Level::Committed, "what cannot be believed proves nothing");
    assert_eq!(world.restore(Target::Newest).await.expect("it is whole"), [bytes]);
    // nobody can say what people wanted of it: it is not removed
    let seen = facts(&catalog, &made.place.owner.cluster, &Wishes::of(&catalog), jiff::SignedDuration::ZERO);
    assert!(seen.backups[0].hold && seen.unreadable.is_empty());
    // the next look mends it
    world.memory.pass(jiff::SignedDuration::from_secs(1));
    verify::record(&world.repository, found, (Level::Listed, None), Vec::new(), &world.key, world.now())
        .await
        .expect("noted");
    assert!(world.catalog().await.found[0].unreadable.is_empty());
}

#[tokio::test]
async fn a_damaged_epoch_keeps_nobody_from_the_others() {
    let mut world = World::new(true).await;
    let first = world.epoch.clone().expect("encrypted");
    world.memory.pass(jiff::SignedDuration::from_secs(1));
    let recipients = [world.identity.recipient()];
    let second = Epoch::begin(&world.repository, &recipients, &world.key, world.now()).await.expect("begun");
    world.epoch = Some(second);
    let bytes = rows(100, 2);
    world.back_up(&world.repository, None, &bytes).await.expect("made");
    flip(&world, &layout::epoch(&first.name));
    let epochs = Epoch::all(&world.repository).await.expect("the others are read");
    assert_eq!((epochs.sound.len(), epochs.unusable.keys().collect::<Vec<_>>()), (1, vec![&first.name]));
    assert_eq!(world.restore(Target::Newest).await.expect("it has nothing to do with it"), [bytes]);
    let ring = Keyring::unlock(&world.repository, &world.identity, None).await.expect("unlocked");
    let reason = ring.opener(Some(&first.name)).expect_err("it cannot be believed");
    assert!(reason.contains("epoch.json"), "{reason}");
    let third = Epoch::begin(&world.repository, &recipients, &world.key, world.now()).await.expect("begun");
    assert!(third.name.as_str().starts_with("0003-"), "{}", third.name);
}

#[tokio::test]
async fn a_repository_that_was_replaced_is_not_the_one_that_is_known() {
    let world = World::new(true).await;
    let stranger = World::new(true).await;
    let theirs = stranger.memory.get(&layout::repository(), None).await.expect("there").to_vec();
    world.memory.tamper(&layout::repository(), |_| Some(theirs));
    let trust = Trust::Keys(vec![world.key.public()]);
    let opened = Repository::open(std::sync::Arc::new(world.memory.clone()), &trust).await;
    assert!(matches!(opened, Err(RepositoryError::Stranger { .. })));
    world.memory.tamper(&layout::repository(), |_| None);
    let opened = Repository::open(std::sync::Arc::new(world.memory.clone()), &trust).await;
    assert_eq!(opened.expect_err("gone").to_string(), "there is no repository in memory://: repo.json is not there");
}

#[tokio::test]
async fn a_slot_with_another_key_is_found_out() {
    let world = World::new(true).await;
    let epoch = world.epoch.clone().expect("encrypted");
    let slot = layout::slot(&epoch.name, &world.identity.recipient().fingerprint());
    let evil = Identity::generate();
    let secret = evil.secret();
    let wrapped = age::encrypt(
        &world.identity.recipient().as_str().parse::<age::x25519::Recipient>().expect("a key"),
        secret.expose().as_bytes(),
    );
    world.memory.tamper(&slot, |_| Some(wrapped.expect("encrypted")));
    let error = epoch.unlock(&world.repository, &world.identity).await.expect_err("another key");
    assert!(error.to_string().ends_with("somebody replaced it"), "{error}");
}
