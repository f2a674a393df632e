//! Buckets that lock: what a restore needs outlives whoever deletes it, until its time has come.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Config, Region};
use aws_sdk_s3::types::ObjectLockMode;
use jiff::Timestamp;
use midship::backup::clock::Clock;
use midship::backup::id::Id;
use midship::backup::keys::{Epoch, Identity, SigningKey};
use midship::backup::layout::Place;
use midship::backup::locks::{Kept, Locks, lengthen};
use midship::backup::read::Catalog;
use midship::backup::repository::{Repository, Trust};
use midship::backup::store::s3::{Credentials, Lock, LockMode, Settings};
use midship::backup::store::{Body, S3, Store, list_all};
use midship::backup::write::{EndMark, Settings as Writes, Writing};

use super::life::{owner, request, source};
use super::servers::Server;

/// Asks what stores of ours do not ask: for versions, and for locks.
fn client(settings: &Settings) -> Client {
    let Credentials::Keys { access_key_id, secret_access_key, .. } = &settings.credentials else {
        panic!("the server has keys");
    };
    let credentials =
        aws_sdk_s3::config::Credentials::new(access_key_id, secret_access_key.expose(), None, None, "a test");
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(settings.region.clone().map(Region::new))
        .endpoint_url(settings.endpoint.clone().expect("the server has an address"))
        .force_path_style(true)
        .credentials_provider(credentials);
    Client::from_conf(config.build())
}

async fn locks(implementation: &str) {
    let bucket = format!("locked-{}", Id::new(Timestamp::now()).to_string().to_lowercase());
    let settings = Settings { bucket, ..Server::start(implementation, false).settings() };
    let client = client(&settings);
    let made = client.create_bucket().bucket(&settings.bucket).object_lock_enabled_for_bucket(true).send().await;
    made.expect("the server makes buckets that lock");
    let hour = Lock { mode: LockMode::Governance, time: Duration::from_hours(1) };
    let store = S3::new(&Settings { lock: Some(hour), ..settings.clone() }).expect("the settings are fine");
    assert!(store.features().await.expect("it says what it can do").object_lock);
    let place = Place { owner: owner(), id: Id::new(Timestamp::now()) };
    let (needed, note) = (place.manifest(), place.attempt());
    for key in [&needed, &note] {
        store.put_new(key, Body::new("x")).await.expect("it is new");
        let error = store.put_new(key, Body::new("y")).await.expect_err("it is there");
        assert!(error.already_exists(), "{error}");
    }
    let head =
        |key: &str| client.head_object().bucket(&settings.bucket).key(format!("{}/{key}", settings.prefix)).send();
    assert!(head(note.as_str()).await.expect("it is there").object_lock_mode().is_none(), "notes come and go");
    let first = head(needed.as_str()).await.expect("it is there");
    assert_eq!(first.object_lock_mode(), Some(&ObjectLockMode::Governance));
    let until = first.object_lock_retain_until_date().expect("locked until then").secs();
    assert!(until > Timestamp::now().as_second());

    let day = Lock { time: Duration::from_hours(24), ..hour };
    let longer = S3::new(&Settings { lock: Some(day), ..settings.clone() }).expect("the settings are fine");
    longer.lock(&needed).await.expect("a lock can be made longer");
    let second = head(needed.as_str()).await.expect("it is there");
    assert!(second.object_lock_retain_until_date().expect("locked until then").secs() > until);

    let full = format!("{}/{needed}", settings.prefix);
    let version = first.version_id().map(str::to_owned);
    let gone = client.delete_object().bucket(&settings.bucket).key(&full).set_version_id(version.clone()).send().await;
    gone.expect_err("it is locked");
    // what we remove is either kept as an older version, or stays
    if let Err(error) = store.delete(&needed).await {
        assert!(error.is_refusal(), "{error}");
    }
    let kept = client.get_object().bucket(&settings.bucket).key(&full).set_version_id(version).send().await;
    let kept = kept.expect("it is there").body.collect().await.expect("it can be read").into_bytes();
    assert_eq!(kept, "x");
    store.delete(&note).await.expect("nobody locked it");
    made_longer(&client, &settings, hour, day).await;
}

/// What is kept for longer than it is locked is locked for longer, once, and by no shorter period after that.
async fn made_longer(client: &Client, settings: &Settings, short: Lock, long: Lock) {
    let with =
        |lock| Arc::new(S3::new(&Settings { lock: Some(lock), ..settings.clone() }).expect("the settings are fine"));
    let (key, identity) = (SigningKey::generate(), Identity::generate());
    let made = Repository::create(with(short), &key, &Trust::Anybody, Timestamp::now()).await.expect("made");
    let epoch = Epoch::begin(&made, &[identity.recipient()], &key, Timestamp::now()).await.expect("begun");
    let begun = Writing::begin(&made, &key, Clock::system(), request(&epoch), Writes::default()).await;
    let mut writing = begun.expect("begun");
    let data = source("data", b"rows and their end".to_vec(), EndMark::Ends(b"end".to_vec()));
    writing.stream(data).await.expect("written");
    let place = writing.commit(None).await.expect("committed").place;

    let trust = Trust::Keys(vec![key.public()]);
    let lengthened = async |lock| {
        let repository = Repository::open(with(lock), &trust).await.expect("it is the one");
        let catalog = Catalog::read(&repository).await.expect("read");
        let found = catalog.get(&place).expect("it is there");
        lengthen(&repository, &[Kept { found, until: None }], &[], Timestamp::now()).await
    };
    let ends = async || {
        let mut ends = BTreeMap::new();
        for object in list_all(&*with(short), &place.folder()).await.expect("listed") {
            let name = format!("{}/{}", settings.prefix, object.key);
            let answer = client.head_object().bucket(&settings.bucket).key(name).send().await.expect("it is there");
            ends.extend(answer.object_lock_retain_until_date().map(|until| (object.key, until.secs())));
        }
        ends
    };
    let before = ends().await;
    assert_eq!(before.len(), 3, "the chunk, the index and the manifest: {before:?}");
    assert_eq!(lengthened(short).await, Locks::default(), "none ends soon");
    assert_eq!(lengthened(long).await, Locks { lengthened: 3, problems: Vec::new() });
    let after = ends().await;
    assert!(before.iter().all(|(key, until)| after[key] > *until), "{before:?}, {after:?}");
    for lock in [long, short] {
        assert_eq!(lengthened(lock).await, Locks::default(), "they are locked for that long");
    }
    assert_eq!(ends().await, after);
}

#[tokio::test]
async fn what_a_restore_needs_is_locked_in_the_first_server() {
    locks("seaweedfs").await;
}

#[tokio::test]
async fn what_a_restore_needs_is_locked_in_the_second_server() {
    locks("versitygw").await;
}
