//! Sources that are down, empty, cut or slow; parents that do not fit; and memory that stays what it is.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};

use super::faults::{Fault, Faulty};
use super::world::{END, World, owner, rows, source, uid};
use crate::api::labels::{GROUP, PART, SET, SET_SAME, SET_SIZE};
use crate::backup::layout::{Line, Owner};
use crate::backup::manifest::{Level, LogSpan};
use crate::backup::read::{Content, Found, Keyring, SetError, Target};
use crate::backup::verify;
use crate::backup::write::{Gate, Settings, Source, SourceEnd, WriteError, Writing};

async fn fails(change: impl FnOnce(&mut Source), bytes: Vec<u8>) -> String {
    let world = World::new(false).await;
    let request = world.request(None);
    let mut writing = Writing::begin(&world.repository, &world.key, world.clock(), request, world.settings.clone())
        .await
        .expect("begun");
    let mut data = source("data", bytes);
    change(&mut data);
    let error = writing.stream(data).await.expect_err("it cannot be believed");
    writing.give_up(&error.to_string()).await.expect("noted");
    let catalog = world.catalog().await;
    assert!(catalog.found.is_empty());
    assert_eq!(catalog.failed[0].void.reason, error.to_string());
    error.to_string()
}

fn ended(code: Option<i32>, said: &'static str) -> impl FnOnce(&mut Source) {
    move |source| source.end = Box::pin(async move { Ok(SourceEnd { code, said: said.into() }) })
}

struct Breaks;

impl AsyncRead for Breaks {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Err(std::io::ErrorKind::ConnectionReset.into()))
    }
}

#[tokio::test]
async fn a_source_that_did_not_say_it_is_complete_is_not_believed() {
    let down = fails(ended(Some(1), "connection refused"), Vec::new()).await;
    assert_eq!(down, "stream \"data\": the source ended with code 1: connection refused");
    assert!(fails(|_| {}, Vec::new()).await.ends_with("the source gave nothing"));
    let cut = fails(|_| {}, rows(5000, 1)[..4000].to_vec()).await;
    assert_eq!(
        cut,
        "stream \"data\": the source did not say that it is complete: \"-- end --\" is not at the end of its 4000 bytes"
    );
    assert!(fails(ended(None, "out of memory"), rows(10, 1)).await.contains("the source was killed: out of memory"));
    let broken = fails(|source| source.reader = Box::pin(Breaks), Vec::new()).await;
    assert!(broken.starts_with("stream \"data\" broke off after 0 bytes: connection reset"), "{broken}");
    let shrunk = fails(|source| source.gate = Gate { before: Some(1000), ..source.gate.clone() }, rows(100, 1)).await;
    assert!(shrunk.contains("gave 109 bytes, less than 50% of the 1000"), "{shrunk}");
}

#[tokio::test]
async fn a_source_that_gives_nothing_for_long_has_failed() {
    let mut world = World::new(false).await;
    world.settings.stall = Duration::from_millis(20);
    let mut writing =
        Writing::begin(&world.repository, &world.key, world.clock(), world.request(None), world.settings.clone())
            .await
            .expect("begun");
    let (reader, _writer) = tokio::io::duplex(64);
    let stalled = Source { reader: Box::pin(reader), ..source("data", Vec::new()) };
    let error = writing.stream(stalled).await.expect_err("it stalls");
    assert_eq!(error.to_string(), "stream \"data\" gave nothing for 20ms");
}

#[tokio::test]
async fn incremental_backups_build_on_what_is_there() {
    let world = World::new(true).await;
    let (one, two) = (rows(3000, 1), rows(500, 2));
    let full = world.back_up(&world.repository, None, &one).await.expect("full");
    let parent = world.catalog().await.get(&full.place).cloned();
    world.memory.pass(jiff::SignedDuration::from_secs(1));
    let second = world.back_up(&world.repository, parent.clone(), &two).await.expect("incremental");
    assert_eq!(world.restore(Target::Newest).await.expect("a chain"), [one.clone(), two]);
    assert_eq!(world.restore(Target::Backup(full.place.id)).await.expect("the full one"), std::slice::from_ref(&one));
    assert_eq!(
        world.restore(Target::By(full.manifest.completed_at)).await.expect("the one there was then"),
        std::slice::from_ref(&one)
    );

    // of which some may not be chosen, and are added to all the same
    let catalog = world.catalog().await;
    let chain = |target, full| {
        let will_do = |found: &Found| found.manifest.parent.is_none() == full;
        catalog.chain_where(&owner(), target, will_do).map(|chain| chain.len())
    };
    assert_eq!((chain(Target::Newest, true), chain(Target::Newest, false)), (Ok(1), Ok(2)));
    let nothing = chain(Target::By(full.manifest.completed_at), false).expect_err("there was none then");
    assert!(nothing.to_string().starts_with("there is no backup of this instance that was complete at"), "{nothing}");

    let restorable = async || {
        let catalog = world.catalog().await;
        catalog.is_restorable(catalog.get(&second.place).expect("it is there"))
    };
    assert!(restorable().await);
    // in whatever order they are
    let mut turned = world.catalog().await;
    turned.found.reverse();
    assert!(turned.found.iter().all(|found| turned.get(&found.place) == Some(found) && turned.is_restorable(found)));

    // a parent that is gone is told before anything is read from the source
    world.memory.tamper(&full.place.manifest(), |_| None);
    assert!(!restorable().await, "it adds to what is gone");
    let error = world.back_up(&world.repository, parent.clone(), &one).await.expect_err("no parent");
    assert!(matches!(error, WriteError::Parent(_)), "{error}");
    assert_eq!(world.catalog().await.failed[0].void.reason, error.to_string());
    let reason = world.restore(Target::Backup(second.place.id)).await.expect_err("no parent");
    assert_eq!(reason, format!("backup {} adds to {}, which is not there", second.place.id, full.place.id));

    let mut request = world.request(parent);
    request.owner = Owner { instance: uid("another"), ..owner() };
    let begun = Writing::begin(&world.repository, &world.key, world.clock(), request, world.settings.clone()).await;
    assert!(matches!(begun, Err(WriteError::Parent(_))));
}

#[tokio::test]
async fn a_backup_that_needs_a_log_waits_for_none_that_is_missing() {
    let world = World::new(false).await;
    let mut writing =
        Writing::begin(&world.repository, &world.key, world.clock(), world.request(None), world.settings.clone())
            .await
            .expect("begun");
    writing.stream(source("data", rows(10, 1))).await.expect("written");
    let line = Line { system: uid("7"), timeline: 1 };
    let error = writing.commit(Some(LogSpan { line, first: 3, last: 5 })).await.expect_err("no log");
    assert!(error.to_string().contains("of the segments 0000000000000003 to 0000000000000005"), "{error}");
    assert!(world.catalog().await.found.is_empty());
}

#[tokio::test]
async fn nothing_readable_about_tenants_is_in_the_repository() {
    let world = World::new(true).await;
    let secret = b"a row of Alice ".repeat(300);
    let bytes = [secret.as_slice(), END].concat();
    let made = world.back_up(&world.repository, None, &bytes).await.expect("made");
    for key in world.memory.keys() {
        let stored = crate::backup::store::Store::get(&world.memory, &key, None).await.expect("there");
        for word in ["Alice", "orders"] {
            assert!(!stored.windows(word.len()).any(|part| part == word.as_bytes()), "{key} says {word}");
            assert!(!key.as_str().contains(word), "{key} is called {word}");
        }
    }
    let catalog = world.catalog().await;
    let found = catalog.get(&made.place).expect("found");
    let ring = Keyring::unlock(&world.repository, &world.identity, None).await.expect("unlocked");
    let opener = ring.opener(found.manifest.epoch.as_ref()).expect("open");
    let content = Content::open(&world.repository, found, opener).await.expect("read");
    assert_eq!(content.description().expect("read")["instance"], "orders");
    let error = content.restore("nope", &mut Vec::new(), 1).await.expect_err("no such stream");
    assert_eq!(error.to_string(), "this backup has no stream \"nope\"; it has config, data");
}

#[tokio::test]
async fn verification_is_written_down_and_read_again() {
    let world = World::new(true).await;
    let made = world.back_up(&world.repository, None, &rows(4000, 1)).await.expect("made");
    let catalog = world.catalog().await;
    let found = catalog.get(&made.place).expect("found");
    assert_eq!(verify::list(&world.repository, &catalog, found).await.expect("looked"), [""; 0]);
    assert_eq!(verify::read(&world.repository, found, None).await.expect("looked"), [""; 0]);
    let record = |level, problems: Vec<String>| {
        verify::record(&world.repository, found, (level, None), problems, &world.key, world.now())
    };
    record(Level::Listed, Vec::new()).await.expect("recorded");
    assert_eq!(world.catalog().await.found[0].proof().0, Level::Listed);
    world.memory.pass(jiff::SignedDuration::from_secs(1));
    record(Level::Read, vec!["chunk 3 is damaged".into()]).await.expect("recorded");
    let reason = world.restore(Target::Newest).await.expect_err("damaged");
    assert_eq!(reason, format!("backup {} is damaged: chunk 3 is damaged", made.place.id));
    world.memory.pass(jiff::SignedDuration::from_secs(1));
    record(Level::Listed, Vec::new()).await.expect("recorded");
    assert!(world.catalog().await.found[0].damage().is_some(), "a listing does not see what reading saw");
    let found = world.catalog().await.found.remove(0);
    assert_eq!(verify::turn(&found), None, "all of it is read before that counts as mended");
    world.memory.pass(jiff::SignedDuration::from_secs(1));
    record(Level::Read, Vec::new()).await.expect("recorded");
    assert_eq!(world.catalog().await.found[0].damage(), None);
    world.memory.pass(jiff::SignedDuration::from_secs(1));
    record(Level::Listed, vec!["chunk 4 is not there".into()]).await.expect("recorded");
    world.memory.pass(jiff::SignedDuration::from_secs(1));
    record(Level::Read, Vec::new()).await.expect("recorded");
    assert!(world.catalog().await.found[0].damage().is_some(), "who reads what is there does not see what is missing");
    world.memory.pass(jiff::SignedDuration::from_secs(1));
    record(Level::Restored, Vec::new()).await.expect("recorded");
    assert_eq!(world.catalog().await.found[0].damage(), None);
}

#[tokio::test]
async fn of_shards_each_has_a_newest_backup_of_its_own() {
    let world = World::new(false).await;
    let mut made = Vec::new();
    for group in ["shard-0", "shard-1", "shard-0"] {
        let mut request = world.request(None);
        request.labels.insert(GROUP.to_owned(), group.to_owned());
        request.labels.insert(PART.to_owned(), "true".to_owned());
        let mut writing = Writing::begin(&world.repository, &world.key, world.clock(), request, world.settings.clone())
            .await
            .expect("begun");
        writing.stream(source("data", rows(10, 0))).await.expect("written");
        made.push(writing.commit(None).await.expect("committed").place.id);
        world.memory.pass(jiff::SignedDuration::from_secs(1));
    }
    let catalog = world.catalog().await;
    assert!(catalog.found.iter().all(Found::is_part));
    let parts = catalog.parts(&catalog.found[0]);
    let parts: Vec<_> = parts.iter().map(|(group, found)| (*group, found.place.id)).collect();
    assert_eq!(parts, [("shard-0", made[2]), ("shard-1", made[1])]);
}

#[tokio::test]
async fn what_one_operation_made_of_all_groups_is_one_backup_or_none() {
    let world = World::new(false).await;
    let make = async |set: &str, group: &str, same: &str| {
        let mut request = world.request(None);
        let told = [(GROUP, group), (PART, "true"), (SET, set), (SET_SIZE, "3")];
        request.labels.extend(told.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let writing = Writing::begin(&world.repository, &world.key, world.clock(), request, world.settings.clone());
        let mut writing = writing.await.expect("begun");
        writing.stream(source("data", rows(10, 0))).await.expect("written");
        writing.label(SET_SAME, same.to_owned());
        let made = writing.commit(None).await.expect("committed");
        world.memory.pass(jiff::SignedDuration::from_secs(1));
        made.place
    };
    let newest = async || {
        world
            .catalog()
            .await
            .newest_set(&owner(), jiff::Timestamp::MAX)
            .map(|set| set.id.to_owned())
            .map_err(|it| it.to_string())
    };
    assert_eq!(newest().await.expect_err("nothing"), "there is no set of backups of all groups of this instance");
    let first = make("one", "shard-10", "a").await;
    let catalog = world.catalog().await;
    let alone = catalog.get(&first).expect("it is there");
    assert_eq!((catalog.parts(alone).len(), catalog.parts_of(alone)), (1, 3), "the first one does not pass for all");
    assert!(!catalog.is_restorable(alone));
    make("one", "shard-9", "a").await;
    assert_eq!(newest().await.expect_err("half"), "the set one has 2 of its 3 parts");
    make("one", "shard-1", "a").await;
    assert_eq!(newest().await.as_deref(), Ok("one"));
    // an agent that was started anew in the middle makes its part once more
    let again = make("one", "shard-10", "a").await;
    for group in ["shard-1", "shard-9"] {
        make("two", group, "b").await;
    }
    let catalog = world.catalog().await;
    assert!(catalog.is_restorable(catalog.get(&first).expect("it is there")));
    let set = catalog.set_of(catalog.get(&first).expect("it is there")).expect("a set");
    let parts: Vec<_> = set.parts.iter().map(|(group, _)| *group).collect();
    assert_eq!((parts, set.size), (vec!["shard-1", "shard-9", "shard-10"], 3), "as people count them");
    assert_eq!(set.parts[2].1.place, again);
    assert_eq!(newest().await.as_deref(), Ok("one"), "half a set is no backup");
    make("two", "shard-10", "c").await;
    let catalog = world.catalog().await;
    let last = catalog.found.last().and_then(|found| catalog.set_of(found)).expect("a set");
    assert_eq!(last.check(), Err(SetError::Moved("two".to_owned())));
    assert_eq!(newest().await.as_deref(), Ok("one"), "parts that do not fit together are no backup either");
    // whoever asked for the newest before a newer one was there goes on with what it was
    for group in ["shard-1", "shard-9", "shard-10"] {
        make("three", group, "d").await;
    }
    let catalog = world.catalog().await;
    let by = |at: jiff::Timestamp| catalog.newest_set(&owner(), at).map(|set| set.id).map_err(|it| it.to_string());
    let one = catalog.set_of(catalog.get(&first).expect("it is there")).expect("a set").completed_at();
    assert_eq!(newest().await.as_deref(), Ok("three"));
    assert_eq!(by(one), Ok("one"));
    assert_eq!(by(jiff::Timestamp::UNIX_EPOCH), Ok("one"), "what came first after it");
    // a part that is damaged damages its set
    let part = catalog.get(&again).expect("it is there");
    let damage = vec!["chunk 0 is damaged".to_owned()];
    let recorded = verify::record(&world.repository, part, (Level::Read, None), damage, &world.key, world.now()).await;
    recorded.expect("recorded");
    let catalog = world.catalog().await;
    let set = catalog.set_of(catalog.get(&first).expect("it is there")).expect("a set");
    let told = set.check().expect_err("damaged").to_string();
    assert_eq!(told, format!("the part {} (shard-10) of the set one is damaged: chunk 0 is damaged", again.id));
}

#[tokio::test]
async fn all_of_a_backup_is_read_part_after_part_however_rarely() {
    let world = World::new(false).await;
    world.back_up(&world.repository, None, &rows(400, 1)).await.expect("made");
    let mut parts = std::collections::BTreeSet::new();
    let shares = world.catalog().await.found[0].manifest.chunks.shares();
    assert_eq!(shares, 2, "no turn is spent on a share in which there is nothing");
    for _ in 0..shares {
        let found = world.catalog().await.found.remove(0);
        assert_eq!(found.proof().0, Level::Committed, "a share is not all of it");
        let part = verify::turn(&found);
        verify::record(&world.repository, &found, (Level::Read, part), Vec::new(), &world.key, world.now())
            .await
            .expect("recorded");
        parts.extend(part);
        world.memory.pass(jiff::SignedDuration::from_hours(168));
    }
    assert_eq!(parts.into_iter().collect::<Vec<_>>(), (0..shares).collect::<Vec<_>>());
    let found = world.catalog().await.found.remove(0);
    assert_eq!(found.proof().0, Level::Read);
    // damage that one share shows is gone only when all of it is read again
    let again = (Level::Read, verify::turn(&found));
    let problems = vec!["chunk 1 is damaged".to_owned()];
    verify::record(&world.repository, &found, again, problems, &world.key, world.now()).await.expect("recorded");
    let found = world.catalog().await.found.remove(0);
    assert_eq!((found.proof().0, verify::turn(&found)), (Level::Committed, None));
}

/// Gives bytes that do not compress, and counts how far it was read.
struct Endless {
    state: u64,
    given: Arc<AtomicUsize>,
}

impl AsyncRead for Endless {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        while to.remaining() > 0 {
            self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let bytes = (self.state >> 16).to_le_bytes();
            let size = to.remaining().min(4);
            to.put_slice(&bytes[..size]);
            self.given.fetch_add(size, Ordering::SeqCst);
        }
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_store_that_hangs_stops_the_source_and_memory_stays_what_it_is() {
    let mut world = World::new(false).await;
    world.settings = Settings { chunk: 64 << 10, memory: 512 << 10, ..Settings::default() };
    // the repository is opened, the attempt and three chunks are written
    let faulty = Faulty::new(Arc::new(world.memory.clone()), 6, Fault::Hangs);
    let through = world.through(Arc::new(faulty.clone())).await;
    let given = Arc::new(AtomicUsize::new(0));
    let endless = Endless { state: 1, given: given.clone() };
    let request = world.request(None);
    let writing = Writing::begin(&through, &world.key, world.clock(), request, world.settings.clone()).await;
    let mut writing = writing.expect("begun");
    let data = Source { reader: Box::pin(endless), ..source("data", Vec::new()) };
    let rests = async {
        let mut before = None;
        loop {
            let read = given.load(Ordering::SeqCst);
            if faulty.happened() && before == Some(read) {
                return;
            }
            before = Some(read);
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::select! {
        _ = writing.stream(data) => panic!("it waits for the store"),
        () = rests => {}
    }
    let (given, stored) = (given.load(Ordering::SeqCst), 3 * (64 << 10));
    assert!(given > stored && given <= stored + (512 << 10), "{given} bytes were read");
}
