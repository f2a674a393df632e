//! Rotation, lost keys, the recovery kit, and a second cluster that has nothing but the bucket, a kit and a key.

use std::sync::Arc;

use super::world::{World, rows};
use crate::backup::keys::epoch::EpochError;
use crate::backup::keys::{Epoch, Identity, Kit, SigningKey};
use crate::backup::layout;
use crate::backup::read::{Keyring, Target};
use crate::backup::repository::{Repository, Trust};
use crate::backup::store::Store;

#[tokio::test]
async fn rotation_writes_slots_and_touches_no_backup() {
    let mut world = World::new(true).await;
    let bytes = rows(2000, 1);
    world.back_up(&world.repository, None, &bytes).await.expect("made");
    let backups = |world: &World| {
        world.memory.keys().into_iter().filter(|key| key.as_str().starts_with("c/")).collect::<Vec<_>>()
    };
    let before = backups(&world);
    let new = Identity::generate();
    let mut epoch = world.epoch.clone().expect("encrypted");
    let both = [world.identity.recipient(), new.recipient()];
    epoch.rewrap(&world.repository, &world.identity, &both).await.expect("added");
    assert!(epoch.unlock(&world.repository, &new).await.is_ok());
    epoch.rewrap(&world.repository, &new, &[new.recipient()]).await.expect("the old one is gone");
    let error = epoch.unlock(&world.repository, &world.identity).await.expect_err("it has no slot");
    assert!(matches!(error, EpochError::NotForThisKey { .. }), "{error}");
    assert_eq!(backups(&world), before);
    world.identity = new;
    assert_eq!(world.restore(Target::Newest).await.expect("with the new key"), [bytes]);
}

#[tokio::test]
async fn a_new_epoch_shuts_out_who_had_the_old_key_from_what_comes() {
    let mut world = World::new(true).await;
    let old = world.identity.clone();
    world.back_up(&world.repository, None, &rows(100, 1)).await.expect("made");
    let new = Identity::generate();
    let recipients = [new.recipient()];
    let epoch = Epoch::begin(&world.repository, &recipients, &world.key, world.now()).await.expect("begun");
    assert!(epoch.name.as_str().starts_with("0002-"));
    world.epoch = Some(epoch);
    world.memory.pass(jiff::SignedDuration::from_secs(1));
    world.back_up(&world.repository, None, &rows(100, 2)).await.expect("made");
    let reason = world.restore(Target::Newest).await.expect_err("the old key does not open the new epoch");
    assert!(reason.starts_with("no slot of epoch 0002-"), "{reason}");
    world.identity = new;
    assert_eq!(world.restore(Target::Newest).await.expect("with the new key"), [rows(100, 2)]);
    let ring = Keyring::unlock(&world.repository, &old, None).await.expect("the old epoch");
    assert!(ring.opener(Some(&Epoch::all(&world.repository).await.expect("two").sound[0].name)).is_ok());
}

#[tokio::test]
async fn each_of_two_writers_finds_the_epoch_of_its_own_recipients() {
    let world = World::new(true).await;
    let (mine, theirs) = (world.identity.recipient().fingerprint(), Identity::generate().recipient());
    let begin = |to| {
        let world = &world;
        async move { Epoch::begin(&world.repository, &[to], &world.key, world.now()).await.expect("begun").name }
    };
    let first = world.epoch.clone().expect("encrypted").name;
    let second = begin(theirs.clone()).await;
    let epochs = Epoch::all(&world.repository).await.expect("read");
    let name = |recipients: &[String]| epochs.newest_for(recipients).map(|epoch| epoch.name.clone());
    assert_eq!((name(std::slice::from_ref(&mine)), name(&[theirs.fingerprint()])), (Some(first), Some(second)));
    assert_eq!(name(&[mine.clone(), theirs.fingerprint()]), None, "nobody has both");
    let third = begin(world.identity.recipient()).await;
    let epochs = Epoch::all(&world.repository).await.expect("read");
    assert_eq!(epochs.newest_for(&[mine]).map(|epoch| epoch.name.clone()), Some(third));
}

#[tokio::test]
async fn a_kit_and_a_key_are_enough_when_the_slots_are_gone() {
    let world = World::new(true).await;
    let bytes = rows(2000, 7);
    world.back_up(&world.repository, None, &bytes).await.expect("made");
    let text = Kit::of(&world.repository).await.expect("a kit").text(world.now());
    assert!(!text.contains("AGE-SECRET-KEY-1Q") && !text.contains("private:"));
    let kit = Kit::parse(&text).expect("reads back");
    assert_eq!(kit, Kit::of(&world.repository).await.expect("a kit"));
    for epoch in Epoch::all(&world.repository).await.expect("one").sound {
        for slot in &epoch.slots {
            world.memory.delete(&layout::slot(&epoch.name, slot)).await.expect("deleted");
        }
    }
    // somewhere else, with the bucket, the page and the key
    let there = Repository::open(Arc::new(world.memory.clone()), &kit.trust()).await.expect("it is the one");
    assert!(
        Keyring::unlock(&there, &world.identity, None).await.expect("read").opener(epoch_of(&world).as_ref()).is_err()
    );
    let ring = Keyring::unlock(&there, &world.identity, Some(&kit)).await.expect("read");
    ring.opener(epoch_of(&world).as_ref()).expect("the kit has the slot");
    assert!(Kit::parse("store: x\n").is_err());
    assert!(Kit::parse(&format!("{text}slot: only-one-word\n")).is_err());
}

fn epoch_of(world: &World) -> Option<crate::backup::layout::Uid> {
    world.epoch.as_ref().map(|epoch| epoch.name.clone())
}

#[tokio::test]
async fn a_second_cluster_signs_only_when_a_known_key_vouches_for_it() {
    let world = World::new(false).await;
    let second = SigningKey::generate();
    let mut repository = world.repository.clone();
    // it writes its own name, and nobody vouches
    let place = layout::signer(&second.public().id());
    let document = serde_json::json!({ "key": second.public(), "addedAt": world.now() });
    repository.put_document(&place, &document, &second).await.expect("anybody can write");
    let opened = Repository::open(Arc::new(world.memory.clone()), &Trust::Anybody).await.expect("it opens");
    assert!(!opened.signers().knows(&second.public()));
    world.memory.delete(&place).await.expect("deleted");
    repository.add_signer(second.public(), &world.key, world.now()).await.expect("vouched for");
    let third = SigningKey::generate();
    repository.add_signer(third.public(), &second, world.now()).await.expect("vouched for");
    let opened = Repository::open(Arc::new(world.memory.clone()), &Trust::Keys(vec![world.key.public()])).await;
    let opened = opened.expect("it opens");
    assert!(opened.signers().knows(&second.public()) && opened.signers().knows(&third.public()));
}

#[tokio::test]
async fn more_signing_keys_than_there_are_clusters_are_not_held_against_each_other() {
    let world = World::new(false).await;
    let open = async || Repository::open(Arc::new(world.memory.clone()), &Trust::Keys(vec![world.key.public()])).await;
    let put = |name: &str, size| world.memory.tamper(&layout::signer(name), |_| Some(vec![b' '; size]));
    put("large", 1 << 20);
    assert!(open().await.expect("that is none").signers().knows(&world.key.public()));
    for number in 0..200 {
        put(&number.to_string(), 1);
    }
    let error = open().await.expect_err("nobody has so many");
    assert!(error.to_string().contains("it shows more than 200 signing keys"), "{error}");
}

#[tokio::test]
async fn an_epoch_that_was_not_finished_is_none() {
    let world = World::new(true).await;
    let epoch = world.epoch.clone().expect("encrypted");
    world.memory.delete(&layout::epoch(&epoch.name)).await.expect("deleted");
    assert!(Epoch::all(&world.repository).await.expect("read").sound.is_empty());
    let error = Epoch::begin(&world.repository, &[], &world.key, world.now()).await.expect_err("for nobody");
    assert!(matches!(error, EpochError::NoRecipients));
}
