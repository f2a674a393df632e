//! Where backups lie: a store of objects that are written once. One trait, two implementations (S3 and a file system), and
//! around them what every use needs: deadlines, retries, a bound on what happens at once.
//!
//! Guarantees every implementation gives, held by `conformance`:
//! - `put_new` writes an object whole or not at all, and never over another one;
//! - what was written is found by `get`, `head` and `list` at once;
//! - every key is listed once, however many pages it takes; in which order, each store decides for itself.

#[cfg(test)]
mod conformance;
mod error;
pub mod filesystem;
mod key;
#[cfg(test)]
pub mod memory;
pub mod probe;
mod resilient;
pub mod s3;
#[cfg(test)]
mod subject {
    pub use super::probe::probe;
    pub use super::*;
    pub use crate::backup::digest::Digest;
}
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::ops::Range;

use bytes::Bytes;
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};

pub use error::{Cause, Doing, StoreError};
pub use filesystem::Filesystem;
pub use key::{Key, KeyError};
pub use resilient::{Patience, Resilient};
pub use s3::S3;

use super::digest::Digest;

/// No object of ours is larger: chunks are at most 32 MiB before they are sealed. Whoever puts a larger one there does not
/// make us hold it in memory.
pub const LARGEST_OBJECT: u64 = 48 << 20;

/// What the names of one listing may take together, and what a name and a page take beside their letters. The longest backup
/// there can be takes three quarters of that. Tests have no room for so many.
const MOST_LISTED: usize = if cfg!(test) { 8 << 20 } else { 256 << 20 };
/// Of folders and notes, where many are listed at the same time.
const FEW_LISTED: usize = MOST_LISTED / 8;
const PER_NAME: usize = 96;
const PER_PAGE: usize = 1 << 10;

pub type StoreFuture<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// What is to be written.
#[derive(Clone, Debug)]
pub struct Body {
    pub bytes: Bytes,
    /// Of `bytes`. The store refuses what arrives with another one.
    pub sha256: Digest,
}

impl Body {
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let sha256 = Digest::of(&bytes);
        Self { bytes, sha256 }
    }
}

/// An object as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    pub key: Key,
    pub size: u64,
    pub modified: Timestamp,
}

/// What to list.
#[derive(Clone, Debug, Default)]
pub struct List {
    /// What the keys begin with; ends in '/' or is empty.
    pub prefix: String,
    /// Stop at the next '/' and name folders instead of what is in them.
    pub folders: bool,
    /// Where the last page ended.
    pub after: Option<String>,
    /// At most so many on a page; the store may give fewer.
    pub limit: Option<usize>,
}

/// A page of a listing.
#[derive(Clone, Debug, Default)]
pub struct Page {
    pub objects: Vec<ObjectInfo>,
    /// Names of folders, without the prefix and without '/'.
    pub folders: Vec<String>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

/// What a store says it can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    pub versioning: bool,
    pub object_lock: bool,
}

pub trait Store: Send + Sync + std::fmt::Debug {
    /// The store in short, such as `s3://bucket/prefix`.
    fn address(&self) -> String;

    /// Writes an object that must not exist yet.
    fn put_new<'a>(&'a self, key: &'a Key, body: Body) -> StoreFuture<'a, ()>;

    /// Reads an object, or a part of it. Never more than `LARGEST_OBJECT`.
    fn get<'a>(&'a self, key: &'a Key, range: Option<Range<u64>>) -> StoreFuture<'a, Bytes>;

    fn head<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, ObjectInfo>;

    fn list<'a>(&'a self, list: &'a List) -> StoreFuture<'a, Page>;

    /// Removes an object. One that is gone already is no error.
    fn delete<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, ()>;

    fn features(&self) -> StoreFuture<'_, Features>;

    /// Locks an object that is there against deletion, for as long as if it were written now; where the store does not lock,
    /// nothing happens.
    fn lock<'a>(&'a self, _key: &'a Key) -> StoreFuture<'a, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// For how long it locks what a restore needs; nothing where it does not.
    fn locks_for(&self) -> Option<SignedDuration> {
        None
    }

    /// Until when nobody may delete an object; nothing where it is not locked, or where the store does not say.
    fn locked_until<'a>(&'a self, _key: &'a Key) -> StoreFuture<'a, Option<Timestamp>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Whether it refuses what was changed on the way to it. Where not, what was written is read again.
    fn checks_content(&self) -> bool {
        true
    }
}

/// Every object under a prefix, in the order of their keys.
pub async fn list_all(store: &dyn Store, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
    Ok(every_page(store, prefix, false, MOST_LISTED).await?.0)
}

/// The same of notes, of which there are few.
pub async fn list_notes(store: &dyn Store, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
    Ok(every_page(store, prefix, false, FEW_LISTED).await?.0)
}

/// When the newest object under a prefix was written. What is listed is not held.
pub async fn newest(store: &dyn Store, prefix: &str) -> Result<Option<Timestamp>, StoreError> {
    let mut newest = None;
    pages(store, prefix, false, MOST_LISTED, &mut |page: Page| {
        newest = newest.max(page.objects.iter().map(|object| object.modified).max());
    })
    .await?;
    Ok(newest)
}

/// Every folder right under a prefix.
pub async fn list_folders(store: &dyn Store, prefix: &str) -> Result<Vec<String>, StoreError> {
    Ok(list_level(store, prefix).await?.1)
}

/// Objects and folders right under a prefix.
pub async fn list_level(store: &dyn Store, prefix: &str) -> Result<(Vec<ObjectInfo>, Vec<String>), StoreError> {
    every_page(store, prefix, true, FEW_LISTED).await
}

/// All pages of a listing as one. Servers that are changed meanwhile, or put together from several, show an object on two
/// pages: it counts once.
async fn every_page(
    store: &dyn Store,
    prefix: &str,
    folders: bool,
    most: usize,
) -> Result<(Vec<ObjectInfo>, Vec<String>), StoreError> {
    let (mut objects, mut names) = (Vec::new(), Vec::new());
    pages(store, prefix, folders, most, &mut |page: Page| {
        objects.extend(page.objects);
        names.extend(page.folders);
    })
    .await?;
    objects.sort_by(|a, b| a.key.cmp(&b.key));
    // what it shows in two ways stays in both: whoever compares is to see that
    objects.dedup();
    names.sort_unstable();
    names.dedup();
    Ok((objects, names))
}

/// One page after the other. A server that sends us back to a page we had, or shows ever more, would keep us for ever.
async fn pages(
    store: &dyn Store,
    prefix: &str,
    folders: bool,
    most: usize,
    take: &mut (dyn FnMut(Page) + Send),
) -> Result<(), StoreError> {
    let mut list = List { prefix: prefix.to_owned(), folders, ..List::default() };
    let (mut gone_on_at, mut listed) = (HashSet::new(), 0);
    let odd = |what: &str| {
        let cause = Cause::Unavailable(what.to_owned());
        Err(StoreError::new(&store.address(), Doing::List, prefix, cause))
    };
    loop {
        let mut page = store.list(&list).await?;
        let shown =
            page.objects.iter().map(|object| object.key.as_str()).chain(page.folders.iter().map(String::as_str));
        listed += PER_PAGE + page.next.as_ref().map_or(0, String::len);
        listed += shown.map(|name| name.len() + PER_NAME).sum::<usize>();
        if listed > most {
            return odd("its listing is longer than that of any repository");
        }
        let next = page.next.take();
        take(page);
        let Some(next) = next else { return Ok(()) };
        if !gone_on_at.insert(next.clone()) {
            return odd("it gives the same page of the listing again and again");
        }
        list.after = Some(next);
    }
}
