//! Real buckets are held to what every store must do, and what is wrong with them is said in words.

use std::sync::Arc;
use std::time::Duration;

use midship::backup::store::s3::{Checksums, Credentials, Settings};
use midship::backup::store::{Body, Cause, Key, Patience, Resilient, S3, Store};
use midship::secret::Secret;

use super::conformance::holds;
use super::servers::Server;

fn store(settings: &Settings) -> Arc<dyn Store> {
    Arc::new(S3::new(settings).expect("the settings are fine"))
}

/// An error of a write with these settings.
async fn refused(settings: &Settings) -> (Cause, String) {
    let key = Key::parse("refused").expect("a key");
    let error = store(settings).put_new(&key, Body::new("x")).await.expect_err("it cannot be written");
    (error.cause.clone(), error.to_string())
}

#[tokio::test]
async fn the_first_server_is_a_store() {
    holds(store(&Server::start("seaweedfs", false).settings())).await;
}

#[tokio::test]
async fn the_second_server_is_a_store() {
    holds(store(&Server::start("versitygw", false).settings())).await;
}

#[tokio::test]
async fn a_server_with_a_certificate_of_its_own_is_a_store_for_those_who_trust_it() {
    let settings = Server::start("versitygw", true).settings();
    holds(store(&settings)).await;
    let (cause, said) = refused(&Settings { ca: None, ..settings.clone() }).await;
    assert!(matches!(cause, Cause::Unavailable(_)) && said.contains("certificate"), "{said}");
    let nonsense = S3::new(&Settings { ca: Some("not a certificate".into()), ..settings });
    assert!(nonsense.expect_err("no certificate").to_string().contains("ca.crt holds no certificate"));
}

#[tokio::test]
async fn without_checksums_of_ours_it_is_still_written_once() {
    for implementation in ["seaweedfs", "versitygw"] {
        let settings =
            Settings { checksums: Checksums::WhenRequired, ..Server::start(implementation, false).settings() };
        let (store, key) = (store(&settings), Key::parse("a/b").expect("a key"));
        store.put_new(&key, Body::new("first")).await.expect("it is new");
        assert!(store.put_new(&key, Body::new("second")).await.expect_err("it is there").already_exists());
        assert_eq!(store.get(&key, None).await.expect("it is there"), "first");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_bucket_is_said() {
    // the other server makes a bucket that is not there
    let strict = Server::start("versitygw", false).settings();
    let (cause, said) = refused(&Settings { bucket: "not-there".into(), ..strict }).await;
    assert!(matches!(cause, Cause::Setting(_)) && said.contains("make the bucket"), "{said}");
    let settings = Server::start("seaweedfs", false).settings();
    let credentials = Credentials::Keys {
        access_key_id: "somebody".into(),
        secret_access_key: Secret::new("else"),
        session_token: None,
    };
    let (cause, said) = refused(&Settings { credentials, ..settings.clone() }).await;
    assert!(matches!(cause, Cause::Denied(_)) && said.contains("check the credentials"), "{said}");
    let nobody = Settings { endpoint: Some("http://127.0.0.1:1".into()), ..settings };
    let (cause, said) = refused(&nobody).await;
    assert!(matches!(cause, Cause::Unavailable(_)), "{said}");
    let patience = Patience {
        tries: 2,
        first_pause: Duration::from_millis(1),
        timeout: Duration::from_secs(5),
        ..Patience::default()
    };
    let patient = Resilient::new(store(&nobody), patience);
    let error = patient.head(&Key::parse("x").expect("a key")).await.expect_err("nobody there");
    assert!(error.is_transient(), "{error}");
}
