//! What every store must do. The same file is part of the unit tests, where it is held against memory and a folder, and of
//! the integration tests, where it is held against real S3 servers: `subject` is what each of them calls a store.

use std::sync::Arc;

use jiff::Timestamp;

use super::subject::{Body, Cause, Digest, Key, List, Store, list_all, list_folders, probe};

fn key(text: &str) -> Key {
    Key::parse(text).expect("a key")
}

pub async fn holds(store: Arc<dyn Store>) {
    written_once(&*store).await;
    read_in_parts(&*store).await;
    listed_once(&*store).await;
    deleted_quietly(&*store).await;
    damaged_on_the_way(&*store).await;
    raced_for(store.clone()).await;
}

async fn written_once(store: &dyn Store) {
    let at = key("once/manifest.json");
    assert!(store.get(&at, None).await.expect_err("not there yet").is_not_found());
    assert!(store.head(&at).await.expect_err("not there yet").is_not_found());
    store.put_new(&at, Body::new("first")).await.expect("it is new");
    let error = store.put_new(&at, Body::new("second")).await.expect_err("it is there");
    assert!(error.already_exists(), "{error}");
    assert!(error.to_string().contains("once/manifest.json"), "{error}");
    assert_eq!(store.get(&at, None).await.expect("it is there"), "first");
    let head = store.head(&at).await.expect("it is there");
    assert_eq!((head.size, &head.key), (5, &at));
    store.put_new(&key("once/empty"), Body::new("")).await.expect("an empty object is one");
    assert_eq!(store.get(&key("once/empty"), None).await.expect("it is there"), "");
}

async fn read_in_parts(store: &dyn Store) {
    let at = key("parts/chunk");
    let bytes: Vec<u8> = (0..300_000u32).map(|n| u8::try_from(n * 7 % 251).expect("small")).collect();
    store.put_new(&at, Body::new(bytes.clone())).await.expect("it is new");
    assert_eq!(store.get(&at, None).await.expect("whole"), bytes);
    for range in [0..1, 0..10, 99_999..100_003, 299_990..300_000, 299_990..400_000, 7..7] {
        let part = store.get(&at, Some(range.clone())).await.expect("a part");
        let (from, to) = (usize::try_from(range.start).expect("small"), usize::try_from(range.end).expect("small"));
        assert_eq!(part, bytes[from..to.min(bytes.len())], "{range:?}");
    }
}

async fn listed_once(store: &dyn Store) {
    let names = ["l/a", "l/b-1", "l/b.1", "l/b/1", "l/b/2/x", "l/b0", "l/c/1", "l/d/1", "la/1"];
    for name in names.iter().rev() {
        store.put_new(&key(name), Body::new(*name)).await.expect("it is new");
    }
    for limit in [1, 2, 3, 1000] {
        let mut list = List { prefix: "l/".into(), limit: Some(limit), ..List::default() };
        let mut found = Vec::new();
        loop {
            let page = store.list(&list).await.expect("a page");
            assert!(page.objects.len() <= limit && page.folders.is_empty());
            found.extend(page.objects.into_iter().map(|object| object.key.to_string()));
            list.after = page.next;
            if list.after.is_none() {
                break;
            }
        }
        // some servers list folder by folder
        found.sort();
        assert_eq!(found, names[..8], "pages of {limit}");
    }
    assert_eq!(list_folders(store, "l/").await.expect("folders"), ["b", "c", "d"]);
    let mut list = List { prefix: "l/".into(), folders: true, limit: Some(1), after: None };
    let (mut folders, mut objects) = (Vec::new(), Vec::new());
    loop {
        let page = store.list(&list).await.expect("a page");
        folders.extend(page.folders);
        objects.extend(page.objects.into_iter().map(|object| object.key.to_string()));
        list.after = page.next;
        if list.after.is_none() {
            break;
        }
    }
    folders.sort();
    objects.sort();
    assert_eq!((folders.join(" "), objects.join(" ")), ("b c d".into(), "l/a l/b-1 l/b.1 l/b0".into()));
    assert!(list_all(store, "nothing/here/").await.expect("an empty listing").is_empty());
    assert!(list_folders(store, "nothing/").await.expect("an empty listing").is_empty());
}

async fn deleted_quietly(store: &dyn Store) {
    let at = key("gone/deep/down");
    store.delete(&at).await.expect("what is not there is gone");
    store.put_new(&at, Body::new("x")).await.expect("it is new");
    store.delete(&at).await.expect("it is there");
    assert!(store.get(&at, None).await.expect_err("gone").is_not_found());
    assert!(list_all(store, "gone/").await.expect("a listing").is_empty());
    store.put_new(&at, Body::new("y")).await.expect("its place is free again");
}

async fn damaged_on_the_way(store: &dyn Store) {
    let at = key("damaged/object");
    let body = Body { sha256: Digest::of(b"what was meant"), ..Body::new("what arrives") };
    let error = store.put_new(&at, body).await.expect_err("the digest is another one");
    assert!(matches!(error.cause, Cause::Checksum(_)), "{error}");
    assert!(store.head(&at).await.expect_err("nothing was stored").is_not_found());
}

async fn raced_for(store: Arc<dyn Store>) {
    for round in 0..10 {
        let at = key(&format!("race/{round}"));
        let writers = (0..20).map(|writer| {
            let (store, at) = (store.clone(), at.clone());
            tokio::spawn(async move { store.put_new(&at, Body::new(format!("writer {writer}"))).await })
        });
        let outcomes = futures::future::join_all(writers).await;
        let (mut winners, mut unheard) = (Vec::new(), Vec::new());
        for (writer, outcome) in outcomes.into_iter().enumerate() {
            match outcome.expect("no panic") {
                Ok(()) => winners.push(writer),
                Err(error) if error.is_transient() => unheard.push(writer),
                Err(error) => assert!(error.already_exists(), "{error}"),
            }
        }
        assert!(winners.len() <= 1, "round {round}: {winners:?}");
        // where nobody heard that they won, it was one of those who heard nothing
        let wrote = if winners.is_empty() { unheard } else { winners };
        let there = store.get(&at, None).await.expect("it is there");
        assert!(wrote.iter().any(|writer| there == format!("writer {writer}")), "round {round}: {there:?}, {wrote:?}");
    }
    let found = probe(&*store, Timestamp::now).await.expect("it can be tried");
    assert!(found.capabilities.conditional_create);
    assert!(list_all(&*store, "probe/").await.expect("a listing").is_empty());
}
