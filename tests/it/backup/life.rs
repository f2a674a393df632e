//! A backup's life on a real store: made, listed, proven, restored on another cluster from the bucket, a kit and a key, and
//! removed again.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use midship::api::operation::BackupType;
use midship::backup::clock::Clock;
use midship::backup::keys::{Epoch, Identity, Kit, SigningKey};
use midship::backup::layout::{Owner, Uid};
use midship::backup::read::{Catalog, Content, Keyring, Target};
use midship::backup::repository::{Repository, Trust};
use midship::backup::store::{Filesystem, Patience, Resilient, S3, Store, list_all};
use midship::backup::sweep::{Wishes, facts, sweep};
use midship::backup::verify;
use midship::backup::write::{EndMark, Gate, Request, Settings, Source, SourceEnd, Writing};
use midship::plan::retention::{Guards, Rules, plan};

use super::servers::Server;

pub fn owner() -> Owner {
    let uid = |text| Uid::parse(text).expect("an identity");
    Owner { cluster: uid("0b8f1c6e"), instance: uid("5d1e-77") }
}

pub fn request(epoch: &Epoch) -> Request {
    Request {
        owner: owner(),
        type_: BackupType::Full,
        parent: None,
        method: "archive".into(),
        engine: "1.0".into(),
        labels: BTreeMap::new(),
        description: BTreeMap::from([("name".into(), "orders".into())]),
        holder: "a test".into(),
        epoch: Some(epoch.clone()),
    }
}

pub fn source(name: &str, bytes: Vec<u8>, mark: EndMark) -> Source {
    Source {
        name: name.into(),
        format: "tar".into(),
        reader: Box::pin(std::io::Cursor::new(bytes)),
        end: Box::pin(async { Ok(SourceEnd { code: Some(0), said: String::new() }) }),
        gate: Gate::new(mark),
        expected: None,
    }
}

async fn lives(store: Arc<dyn Store>) {
    let store: Arc<dyn Store> = Arc::new(Resilient::new(store, Patience::default()));
    let (key, identity) = (SigningKey::generate(), Identity::generate());
    let made = Repository::create(store.clone(), &key, &Trust::Anybody, Timestamp::now()).await.expect("made");
    let epoch = Epoch::begin(&made, &[identity.recipient()], &key, Timestamp::now()).await.expect("begun");
    let kit = Kit::parse(&Kit::of(&made).await.expect("a kit").text(Timestamp::now())).expect("it reads back");

    let mut bytes: Vec<u8> = (0..700_000u32).flat_map(|number| (number ^ number >> 7).to_le_bytes()).collect();
    bytes.extend_from_slice(b"end");
    let settings = Settings { chunk: 256 << 10, memory: 2 << 20, ..Settings::default() };
    let mut writing = Writing::begin(&made, &key, Clock::system(), request(&epoch), settings).await.expect("begun");
    let progress = writing.progress();
    writing.stream(source("data", bytes.clone(), EndMark::Ends(b"end".to_vec()))).await.expect("written");
    let committed = writing.commit(None).await.expect("committed");
    let seen = progress.snapshot(std::time::Instant::now());
    assert_eq!((seen.source_bytes, seen.chunks), (bytes.len() as u64, committed.manifest.chunks.count));
    assert_eq!(committed.manifest.chunks.count, 11);

    // elsewhere
    let there = Repository::open(store.clone(), &kit.trust()).await.expect("it is the one");
    let catalog = Catalog::read(&there).await.expect("read");
    assert_eq!((catalog.found.len(), catalog.problems.len()), (1, 0));
    let chain = catalog.chain(&owner(), Target::Newest).expect("a backup");
    assert_eq!(verify::list(&there, &catalog, chain[0]).await.expect("looked"), [""; 0]);
    assert_eq!(verify::read(&there, chain[0], None).await.expect("looked"), [""; 0]);
    let ring = Keyring::unlock(&there, &identity, Some(&kit)).await.expect("unlocked");
    let opener = ring.opener(chain[0].manifest.epoch.as_ref()).expect("open");
    let content = Content::open(&there, chain[0], opener).await.expect("the index is right");
    let mut restored = Vec::new();
    content.restore("data", &mut restored, 4).await.expect("restored");
    assert!(restored == bytes);

    // and gone: a second backup takes its place, and a day passes
    let again = Settings { chunk: 256 << 10, memory: 2 << 20, ..Settings::default() };
    let mut writing = Writing::begin(&made, &key, Clock::system(), request(&epoch), again).await.expect("begun");
    writing
        .stream(source("data", bytes[bytes.len() - 3..].to_vec(), EndMark::Ends(b"end".to_vec())))
        .await
        .expect("written");
    let second = writing.commit(None).await.expect("committed");
    let rules = Rules { count: Some(1), ..Rules::default() };
    let rules = BTreeMap::from([(owner().instance.to_string(), rules)]);
    for hours in [0, 25] {
        let now = Timestamp::now() + SignedDuration::from_hours(hours);
        let catalog = Catalog::read(&there).await.expect("read");
        let facts = facts(&catalog, &owner().cluster, &Wishes::default(), SignedDuration::ZERO);
        let plan = plan(&facts, &rules, &Guards::default(), now);
        sweep(&there, &key, &catalog, &plan, now, now).await.expect("swept");
    }
    let catalog = Catalog::read(&there).await.expect("read");
    assert_eq!(catalog.found.iter().map(|found| found.place.id).collect::<Vec<_>>(), [second.place.id]);
    assert!(list_all(&*store, &committed.place.folder()).await.expect("listed").is_empty());
}

#[tokio::test]
async fn a_backup_lives_on_the_first_server() {
    lives(Arc::new(S3::new(&Server::start("seaweedfs", false).settings()).expect("settings"))).await;
}

#[tokio::test]
async fn a_backup_lives_on_the_second_server() {
    lives(Arc::new(S3::new(&Server::start("versitygw", false).settings()).expect("settings"))).await;
}

#[tokio::test]
async fn a_backup_lives_in_a_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    lives(Arc::new(Filesystem::open(folder.path()).await.expect("it opens"))).await;
}
