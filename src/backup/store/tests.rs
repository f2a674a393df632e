//! Stores that need no server, held to what every store must do.

use std::sync::Arc;

use super::conformance::holds;
use super::*;

#[tokio::test]
async fn memory_is_a_store() {
    holds(Arc::new(memory::Memory::default())).await;
}

#[tokio::test]
async fn a_folder_is_a_store() {
    let folder = tempfile::tempdir().expect("a folder");
    holds(Arc::new(Filesystem::open(folder.path()).await.expect("it opens"))).await;
    let left = std::fs::read_dir(folder.path().join(".incoming")).expect("it is there").count();
    assert_eq!(left, 0, "what was written on the way was taken away");
}

#[tokio::test]
async fn a_folder_that_is_only_read_stays_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("repo.json"), "x").expect("written");
    let store = Filesystem::open(folder.path()).await.expect("it opens");
    assert_eq!(store.get(&Key::parse("repo.json").expect("a key"), None).await.expect("read"), "x");
    assert_eq!(std::fs::read_dir(folder.path()).expect("listed").count(), 1, "nothing was made in it");
}

#[tokio::test]
async fn a_store_asked_with_patience_is_a_store() {
    let inner = Arc::new(memory::Memory::default());
    holds(Arc::new(Resilient::new(inner, Patience { tries: 2, ..Patience::default() }))).await;
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_never_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("not-mounted");
    let error = Filesystem::open(&missing).await.expect_err("not there");
    assert!(error.to_string().starts_with("cannot open the folder in file:///"), "{error}");
    assert!(!missing.exists());
}
