//! Listings that show an object twice, or never end.

use std::ops::Range;

use bytes::Bytes;

use super::world::{World, rows};
use crate::backup::read::Target;
use crate::backup::store::memory::Memory;
use crate::backup::store::{
    Body, Features, Key, List, ObjectInfo, Page, Store, StoreFuture, list_all, list_folders, list_level,
};

#[derive(Clone, Copy, Debug)]
enum Way {
    /// Each page begins with the last object of the one before, and shows its folders again.
    Overlaps,
    /// After the last page comes the first.
    Circles,
}

#[derive(Debug)]
struct Odd {
    inner: Memory,
    way: Way,
}

impl Odd {
    async fn page(&self, list: &List) -> Result<Page, crate::backup::store::StoreError> {
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
        self.inner.delete(key)
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
async fn a_listing_that_comes_back_to_its_beginning_is_an_error() {
    let world = World::new(true).await;
    let odd = Odd { inner: world.memory.clone(), way: Way::Circles };
    for prefix in ["", "keys/"] {
        let error = list_all(&odd, prefix).await.expect_err("it has no end");
        assert!(error.to_string().contains("the same page of the listing again and again"), "{error}");
        assert!(list_folders(&odd, prefix).await.is_err());
    }
}
