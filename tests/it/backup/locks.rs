//! Buckets that lock: what a restore needs outlives whoever deletes it, until its time has come.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Config, Region};
use aws_sdk_s3::types::ObjectLockMode;
use jiff::Timestamp;
use midship::backup::id::Id;
use midship::backup::layout::Place;
use midship::backup::store::s3::{Credentials, Lock, LockMode, Settings};
use midship::backup::store::{Body, S3, Store};

use super::life::owner;
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
}

#[tokio::test]
async fn what_a_restore_needs_is_locked_in_the_first_server() {
    locks("seaweedfs").await;
}

#[tokio::test]
async fn what_a_restore_needs_is_locked_in_the_second_server() {
    locks("versitygw").await;
}
