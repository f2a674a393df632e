//! Listings that show an object twice, leave one out, or never end; and objects that may not be deleted.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use super::killed::retain;
use super::world::{World, rows};
use crate::backup::layout::Place;
use crate::backup::manifest::Tombstone;
use crate::backup::read::{Catalog, Target};
use crate::backup::store::memory::Memory;
use crate::backup::store::{
    Body, Cause, Doing, Features, Key, List, ObjectInfo, Page, Store, StoreError, StoreFuture, list_all, list_folders,
    list_level,
};
use crate::backup::sweep::{Wishes, left_out, spare};
use crate::plan::retention::Rules;

#[derive(Clone, Copy, Debug)]
enum Way {
    /// Each page begins with the last object of the one before, and shows its folders again.
    Overlaps,
    /// After the last page comes the first.
    Circles,
    /// There is always one more page.
    Grows,
    /// What is called so is not shown.
    LeavesOut(&'static str),
    /// What is called so may not be deleted.
    Keeps(&'static str),
}

#[derive(Debug)]
struct Odd {
    inner: Memory,
    way: Way,
}

impl Odd {
    async fn page(&self, list: &List) -> Result<Page, StoreError> {
        let wanted = List { after: list.after.clone().filter(|after| after != "anew"), limit: Some(2), ..list.clone() };
        let mut page = self.inner.list(&wanted).await?;
        match self.way {
            Way::Overlaps => {
                if let Some(again) = page.objects.last().cloned() {
                    page.objects.push(again);
                }
                page.folders.extend(page.folders.clone());
            }
            Way::Circles => page.next = page.next.or(Some("anew".into())),
            Way::Grows => {
                let from = list.after.as_deref().and_then(|after| after.parse().ok()).unwrap_or(0);
                let object = |number: u64| ObjectInfo {
                    key: Key::parse(&format!("{}{number:0150}", list.prefix)).expect("a key"),
                    size: 1,
                    modified: Timestamp::UNIX_EPOCH,
                };
                page.objects = (from..from + 1000).map(object).collect();
                page.next = Some((from + 1000).to_string());
            }
            Way::LeavesOut(name) => page.objects.retain(|object| object.key.name() != name),
            Way::Keeps(_) => {}
        }
        Ok(page)
    }
}

impl Store for Odd {
    fn address(&self) -> String {
        self.inner.address()
    }
    fn put_new<'a>(&'a self, key: &'a Key, body: Body) -> StoreFuture<'a, ()> {
        self.inner.put_new(key, body)
    }
    fn get<'a>(&'a self, key: &'a Key, range: Option<Range<u64>>) -> StoreFuture<'a, Bytes> {
        self.inner.get(key, range)
    }
    fn head<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, ObjectInfo> {
        self.inner.head(key)
    }
    fn list<'a>(&'a self, list: &'a List) -> StoreFuture<'a, Page> {
        Box::pin(self.page(list))
    }
    fn delete<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, ()> {
        match self.way {
            Way::Keeps(name) if key.name() == name => {
                let locked = Cause::Locked("a legal hold".into());
                let error = StoreError::new("odd", Doing::Delete, key, locked);
                Box::pin(async move { Err(error) })
            }
            _ => self.inner.delete(key),
        }
    }
    fn features(&self) -> StoreFuture<'_, Features> {
        self.inner.features()
    }
}

#[tokio::test]
async fn an_object_on_two_pages_counts_once() {
    let world = World::new(true).await;
    let odd = || Odd { inner: world.memory.clone(), way: Way::Overlaps };
    let through = world.through(std::sync::Arc::new(odd())).await;
    let bytes = rows(3000, 1);
    world.back_up(&through, None, &bytes).await.expect("nothing is wrong with it");
    assert_eq!(world.restore(Target::Newest).await.expect("whole"), [bytes]);
    assert_eq!(list_all(&odd(), "").await.expect("listed"), list_all(&world.memory, "").await.expect("listed"));
    let level = list_level(&world.memory, "").await.expect("listed");
    assert_eq!(list_level(&odd(), "").await.expect("listed"), level);
    assert_eq!(list_folders(&odd(), "").await.expect("listed"), level.1);
}

#[tokio::test]
async fn a_listing_without_an_end_is_an_error() {
    let world = World::new(true).await;
    let says = [
        (Way::Circles, "it gives the same page of the listing again and again"),
        (Way::Grows, "its listing is longer than that of any repository"),
    ];
    for (way, says) in says {
        let odd = Odd { inner: world.memory.clone(), way };
        for prefix in ["", "keys/"] {
            let error = list_all(&odd, prefix).await.expect_err("it has no end");
            assert!(error.to_string().contains(says), "{error}");
            assert!(list_folders(&odd, prefix).await.is_err());
        }
    }
}

#[tokio::test]
async fn what_a_listing_leaves_out_is_not_taken_for_gone() {
    let world = World::new(false).await;
    let made = world.back_up(&world.repository, None, &rows(3000, 1)).await.expect("it is made");
    let place = made.place.clone();
    let tombstone = Tombstone { at: world.now(), reason: "nothing keeps it".into() };
    world.repository.put_document(&place.tombstone(), &tombstone, &world.key).await.expect("written");
    let before = world.memory.keys();
    let odd = Odd { inner: world.memory.clone(), way: Way::LeavesOut("manifest.json") };
    let through = world.through(Arc::new(odd)).await;
    let catalog = Catalog::read(&through).await.expect("listed");
    assert!(catalog.found.is_empty() && catalog.leftovers.len() == 1, "{catalog:?}");
    let known: BTreeSet<Place> = [place.clone()].into();
    assert_eq!(left_out(&through, &catalog, &known).await.expect("asked"), std::slice::from_ref(&place));
    let swept = retain(&world, &through, Rules::default(), &Wishes::default()).await.expect("nothing goes");
    assert_eq!((swept.cleared, swept.problems.len()), (0, 1), "{swept:?}");
    assert_eq!(world.memory.keys(), before);
    // whoever restores it takes the tombstone away
    let catalog = world.catalog().await;
    assert!(left_out(&world.repository, &catalog, &known).await.expect("asked").is_empty());
    assert_eq!(
        spare(&world.repository, &[&catalog.found[0]], world.now()).await.expect("spared"),
        std::slice::from_ref(&place)
    );
    assert_eq!(world.catalog().await.found[0].tombstone, None);
}

#[tokio::test]
async fn what_may_not_be_deleted_does_not_count_as_cleared() {
    let world = World::new(false).await;
    let made = world.back_up(&world.repository, None, &rows(3000, 1)).await.expect("it is made");
    let tombstone = Tombstone { at: world.now(), reason: "nothing keeps it".into() };
    world.repository.put_document(&made.place.tombstone(), &tombstone, &world.key).await.expect("written");
    world.memory.delete(&made.place.manifest()).await.expect("removed");
    let odd = Odd { inner: world.memory.clone(), way: Way::Keeps("attempt.json") };
    let through = world.through(Arc::new(odd)).await;
    for _ in 0..2 {
        let swept = retain(&world, &through, Rules::default(), &Wishes::default()).await.expect("others go");
        assert_eq!((swept.cleared, swept.locked), (0, 1), "{swept:?}");
    }
    let swept = retain(&world, &world.repository, Rules::default(), &Wishes::default()).await.expect("it goes");
    assert_eq!((swept.cleared, swept.locked), (1, 0), "{swept:?}");
}

#[tokio::test]
async fn more_than_any_repository_has_is_not_looked_through() {
    let world = World::new(false).await;
    world.back_up(&world.repository, None, &rows(3000, 1)).await.expect("it is made");
    for number in 0..2_000 {
        let key = Key::parse(&format!("c/made-up/{number}/b/x")).expect("a key");
        world.memory.tamper(&key, |_| Some(vec![1]));
    }
    let error = Catalog::read(&world.repository).await.expect_err("nobody has so many");
    assert!(error.to_string().contains("it shows more than 2000 backups or instances"), "{error}");
}
