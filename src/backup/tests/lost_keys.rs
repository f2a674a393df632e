//! Keys that are lost, cut or replaced are found before somebody needs them, and a recovery kit helps as far as it can.

use std::collections::BTreeSet;

use super::world::{World, rows};
use crate::backup::keys::{Epoch, Identity, KeyCheck, Kit, KitError};
use crate::backup::layout::{self, Uid};
use crate::backup::read::{Content, Keyring, Target};
use crate::backup::store::{Key, Store};

/// Where the keys of a repository with one recipient lie.
struct Places {
    name: Uid,
    document: Key,
    canary: Key,
    slot: Key,
}

impl Places {
    fn of(world: &World) -> Self {
        let name = world.epoch.clone().expect("encrypted").name;
        let slot = layout::slot(&name, &world.identity.recipient().fingerprint());
        Self { document: layout::epoch(&name), canary: layout::canary(&name), slot, name }
    }

    fn all(&self) -> [&Key; 3] {
        [&self.document, &self.canary, &self.slot]
    }

    fn unopened(&self, why: &str) -> String {
        let name = &self.name;
        let put = format!("put keys/{name}/*.age back from the recovery kit");
        format!("its key epoch {name} has no slot that can be read: {why}; {put}")
    }
}

async fn problems(world: &World, kit: Option<&Kit>, identity: Option<&Identity>) -> Vec<String> {
    let mut keys = KeyCheck::with(kit, identity);
    let epoch = world.epoch.as_ref().map(|epoch| &epoch.name);
    keys.problems(&world.repository, epoch).await.expect("memory answers")
}

fn named(world: &World) -> BTreeSet<Uid> {
    world.epoch.iter().map(|epoch| epoch.name.clone()).collect()
}

#[tokio::test]
async fn keys_that_are_lost_or_cut_are_found_without_a_private_key() {
    let world = World::new(true).await;
    let places = Places::of(&world);
    assert_eq!(problems(&world, None, None).await, [""; 0]);
    let Places { name, document, canary, slot } = &places;
    let after = "back from a copy or an older version of the store";
    let cases: [(&Key, Option<usize>, String); 6] = [
        (slot, None, places.unopened(&format!("keys/{name}/ has none"))),
        (slot, Some(5), places.unopened(&format!("{slot}: it is no file of age, or what is left of one"))),
        (
            document,
            None,
            format!(
                "its key epoch {name} cannot be believed: {document} is not there; put {document} {after}, or restore with \
                 the recovery kit"
            ),
        ),
        (
            document,
            Some(40),
            format!("its key epoch {name} cannot be believed: {document} is no document of a repository"),
        ),
        (
            canary,
            Some(50),
            format!(
                "its key epoch {name} cannot be believed: {canary} does not open to what was put into it: somebody \
                 replaced it; put {canary} {after}"
            ),
        ),
        (
            canary,
            None,
            format!(
                "its key epoch {name} cannot be believed: cannot read {canary} in memory://: it is not there; put {canary} \
                 {after}"
            ),
        ),
    ];
    for (key, left, wanted) in cases {
        let original = world.memory.get(key, None).await.expect("there").to_vec();
        world.memory.tamper(key, |_| left.map(|left| original[..left].to_vec()));
        let found = problems(&world, None, None).await;
        assert!(found.len() == 1 && found[0].starts_with(&wanted), "{key} {left:?}: {found:?}, not {wanted}");
        world.memory.tamper(key, |_| Some(original));
    }
    // all but the last byte of it is there
    let whole = world.memory.get(slot, None).await.expect("there").to_vec();
    world.memory.tamper(slot, |_| Some(whole[..whole.len() - 1].to_vec()));
    let found = problems(&world, None, None).await;
    assert!(found.len() == 1 && found[0].contains("that a key takes there: it was cut; put"), "{found:?}");
    world.memory.tamper(slot, |_| Some(vec![7; 20 << 10]));
    let found = problems(&world, None, None).await;
    assert_eq!(found, [places.unopened(&format!("{slot}: it has 20480 bytes, and no slot has so many"))]);
    world.memory.tamper(slot, |_| Some(whole));
    assert_eq!(problems(&world, None, Some(&world.identity)).await, [""; 0]);
}

#[tokio::test]
async fn sound_keys_are_never_told_damaged() {
    let clear = World::new(false).await;
    assert_eq!(problems(&clear, None, Some(&Identity::generate())).await, [""; 0], "nothing is encrypted");
    let mut world = World::new(true).await;
    let kit = Kit::of(&world.repository).await.expect("a kit");
    let (first, second) = (world.identity.clone(), Identity::generate());
    // in the middle of a rotation, after it, and with keys that are for another epoch
    let mut epoch = world.epoch.clone().expect("encrypted");
    for recipients in [vec![first.recipient(), second.recipient()], vec![second.recipient()]] {
        let by = if recipients.len() == 2 { &first } else { &second };
        epoch.rewrap(&world.repository, by, &recipients).await.expect("given to others");
        for identity in [None, Some(&first), Some(&second)] {
            assert_eq!(problems(&world, None, identity).await, [""; 0]);
            assert_eq!(problems(&world, Some(&kit), identity).await, [""; 0]);
        }
    }
    let begun = Epoch::begin(&world.repository, &[first.recipient()], &world.key, world.now()).await.expect("begun");
    world.epoch = Some(begun);
    assert_eq!(problems(&world, Some(&kit), Some(&second)).await, [""; 0], "the kit is older than the epoch");
    // one that was begun and not ended is nobody's
    let other = Uid::parse("0009-abcdef").expect("an identity");
    world.memory.tamper(&layout::canary(&other), |_| Some(vec![1]));
    assert_eq!(problems(&world, Some(&kit), Some(&first)).await, [""; 0]);
    let (made, lacks) = Kit::complete(&world.repository, &named(&world), Some(&kit)).await.expect("a kit");
    assert_eq!(lacks, [""; 0]);
    assert_eq!((made.slots.len(), made.slots.contains(&kit.slots[0])), (3, true), "what was printed stays");
}

#[tokio::test]
async fn a_slot_that_was_replaced_is_found_by_who_has_the_kit_or_the_key() {
    let world = World::new(true).await;
    let places = Places::of(&world);
    let kit = Kit::of(&world.repository).await.expect("a kit");
    let stranger = World::new(true).await;
    let theirs = Places::of(&stranger);
    let slot = stranger.memory.get(&theirs.slot, None).await.expect("there").to_vec();
    world.memory.tamper(&places.slot, |_| Some(slot));
    assert_eq!(problems(&world, None, None).await, [""; 0], "nobody can know");
    let name = &places.name;
    assert_eq!(
        problems(&world, Some(&kit), None).await,
        [format!(
            "its key epoch {name} has another slot than the recovery kit: {} was replaced; put it back from the kit, or \
             print a new kit if somebody made the slot anew",
            places.slot
        )]
    );
    let found = problems(&world, None, Some(&world.identity)).await;
    let wanted = format!("its key epoch {name} does not open with the private key: {}: ", places.slot);
    assert!(found.len() == 1 && found[0].starts_with(&wanted), "{found:?}");
}

#[tokio::test]
async fn no_kit_is_made_that_opens_nothing_and_an_old_one_helps() {
    let world = World::new(true).await;
    let places = Places::of(&world);
    let kit = Kit::of(&world.repository).await.expect("a kit");
    let make = async |old| Kit::complete(&world.repository, &named(&world), old).await.map(|(kit, _)| kit);
    let (name, slot) = (&places.name, &places.slot);
    world.memory.tamper(slot, |bytes| bytes.map(|bytes| bytes[..5].to_vec()));
    let junk = format!("{slot}: it is no file of age, or what is left of one");
    assert_eq!(make(None).await, Err(KitError::Worthless(vec![junk.clone()])));
    assert_eq!(
        Kit::of(&world.repository).await.expect_err("junk").to_string(),
        format!("a recovery kit would open nothing here: {junk}")
    );
    assert_eq!(make(Some(&kit)).await, Ok(kit.clone()), "what it has is better");
    for key in places.all() {
        world.memory.tamper(key, |_| None);
        let nothing = format!("keys/{name}/ has no slot, and there are backups that are encrypted to it");
        if key == slot {
            assert_eq!(make(None).await, Err(KitError::Worthless(vec![nothing])));
        }
        assert_eq!(make(Some(&kit)).await, Ok(kit.clone()));
    }
}

#[tokio::test]
async fn a_kit_is_made_of_what_is_left_and_it_is_told_what_it_lacks() {
    let world = World::new(true).await;
    let slot = Places::of(&world).slot;
    world.memory.tamper(&slot, |_| Some(vec![7; 5]));
    let begun = Epoch::begin(&world.repository, &[world.identity.recipient()], &world.key, world.now()).await;
    let begun = begun.expect("begun");
    let (kit, lacks) = Kit::complete(&world.repository, &named(&world), None).await.expect("a kit");
    assert_eq!(kit.epochs(), BTreeSet::from([&begun.name]));
    assert_eq!(lacks, [format!("{slot}: it is no file of age, or what is left of one")]);
}

#[tokio::test]
async fn a_kit_and_a_private_key_are_enough_when_all_keys_are_gone() {
    let world = World::new(true).await;
    let places = Places::of(&world);
    let bytes = rows(2000, 3);
    let made = world.back_up(&world.repository, None, &bytes).await.expect("made");
    let kit = Kit::of(&world.repository).await.expect("a kit");
    let kit = Kit::parse(&kit.text(world.now())).expect("reads back");
    // first the document is damaged, then nothing is left
    for left in [Some(b"{}".to_vec()), None] {
        for key in places.all() {
            world.memory.tamper(key, |_| left.clone());
        }
        let without = Keyring::unlock(&world.repository, &world.identity, None).await.expect("read");
        assert!(without.opener(Some(&places.name)).is_err());
        let ring = Keyring::unlock(&world.repository, &world.identity, Some(&kit)).await.expect("read");
        assert!(!ring.opens_nothing() && ring.locked().next().is_none());
        let catalog = world.catalog().await;
        let chain = catalog.chain(&made.place.owner, Target::Newest).expect("a backup");
        let opener = ring.opener(Some(&places.name)).expect("the kit has the key");
        let content = Content::open(&world.repository, chain[0], opener).await.expect("opened");
        let mut restored = Vec::new();
        content.restore("data", &mut restored, 3).await.expect("restored");
        assert_eq!(restored, bytes);
    }
    // the key of another epoch in its place is not taken
    let mut forged = kit.clone();
    let other = World::new(true).await;
    let theirs = Epoch::begin(&other.repository, &[world.identity.recipient()], &other.key, other.now()).await;
    let theirs = layout::slot(&theirs.expect("begun").name, &world.identity.recipient().fingerprint());
    forged.slots[0].stored = other.memory.get(&theirs, None).await.expect("there").to_vec();
    let ring = Keyring::unlock(&world.repository, &world.identity, Some(&forged)).await.expect("read");
    let wrong = format!(
        "the slot in the recovery kit holds another key than that of the epoch {}: somebody replaced it",
        places.name
    );
    assert_eq!(ring.locked().collect::<Vec<_>>(), [wrong.as_str()]);
    assert!(ring.opens_nothing());
}
