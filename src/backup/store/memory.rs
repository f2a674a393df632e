//! A store in memory with a clock of its own, for tests that need millions of steps or another time. It passes the same
//! conformance as the real ones.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};

use super::{Body, Cause, Doing, Features, Key, List, ObjectInfo, Page, Store, StoreError, StoreFuture};
use crate::backup::digest::Digest;

#[derive(Clone, Debug, Default)]
pub struct Memory {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    objects: BTreeMap<Key, (Bytes, Timestamp)>,
    now: Timestamp,
    lock: Option<Lock>,
    /// Until when single ones are locked.
    longer: BTreeMap<Key, Timestamp>,
}

impl Inner {
    /// When the lock of an object ends.
    fn ends(&self, key: &Key) -> Option<Timestamp> {
        let (_, written) = self.objects.get(key)?;
        let first = self.lock.filter(|(_, which)| which(key)).map(|(time, _)| *written + time);
        first.max(self.longer.get(key).copied())
    }
}

/// Objects that cannot be deleted for so long after they were written.
type Lock = (SignedDuration, fn(&Key) -> bool);

impl Default for Inner {
    fn default() -> Self {
        let now = "2026-01-01T00:00:00Z".parse().expect("a time");
        Self { objects: BTreeMap::new(), now, lock: None, longer: BTreeMap::new() }
    }
}

impl Memory {
    fn state(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nobody panicked")
    }

    pub fn now(&self) -> Timestamp {
        self.state().now
    }

    pub fn pass(&self, time: SignedDuration) {
        self.state().now += time;
    }

    /// Lets nobody delete such objects until so long after they were written.
    pub fn lock_for(&self, time: SignedDuration, which: fn(&Key) -> bool) {
        self.state().lock = Some((time, which));
    }

    pub fn keys(&self) -> Vec<Key> {
        self.state().objects.keys().cloned().collect()
    }

    /// Changes an object behind the back of everybody; none removes it.
    pub fn tamper(&self, key: &Key, change: impl FnOnce(Option<Vec<u8>>) -> Option<Vec<u8>>) {
        let mut inner = self.state();
        let now = inner.now;
        let before = inner.objects.remove(key).map(|(bytes, _)| bytes.to_vec());
        if let Some(bytes) = change(before) {
            inner.objects.insert(key.clone(), (bytes.into(), now));
        }
    }

    fn answer<T>(&self, doing: Doing, object: &str, result: Result<T, Cause>) -> Result<T, StoreError> {
        result.map_err(|cause| StoreError::new(&self.address(), doing, object, cause))
    }
}

impl Store for Memory {
    fn address(&self) -> String {
        "memory://".into()
    }

    fn put_new<'a>(&'a self, key: &'a Key, body: Body) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let mut inner = self.state();
            let now = inner.now;
            let result = if Digest::of(&body.bytes) != body.sha256 {
                Err(Cause::Checksum("its digest is another one".into()))
            } else if inner.objects.contains_key(key) {
                Err(Cause::AlreadyExists)
            } else {
                inner.objects.insert(key.clone(), (body.bytes, now));
                Ok(())
            };
            self.answer(Doing::Write, key.as_str(), result)
        })
    }

    fn get<'a>(&'a self, key: &'a Key, range: Option<Range<u64>>) -> StoreFuture<'a, Bytes> {
        Box::pin(async move {
            let found = self.state().objects.get(key).map(|(bytes, _)| bytes.clone()).ok_or(Cause::NotFound);
            let found = found.map(|bytes| {
                let at = |place: u64| usize::try_from(place).unwrap_or(usize::MAX).min(bytes.len());
                range.map_or(bytes.clone(), |range| bytes.slice(at(range.start)..at(range.end)))
            });
            self.answer(Doing::Read, key.as_str(), found)
        })
    }

    fn head<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, ObjectInfo> {
        Box::pin(async move {
            let info = |(bytes, modified): &(Bytes, Timestamp)| ObjectInfo {
                key: key.clone(),
                size: bytes.len() as u64,
                modified: *modified,
            };
            let found = self.state().objects.get(key).map(info).ok_or(Cause::NotFound);
            self.answer(Doing::LookAt, key.as_str(), found)
        })
    }

    fn list<'a>(&'a self, list: &'a List) -> StoreFuture<'a, Page> {
        Box::pin(async move {
            let inner = self.state();
            let mut page = Page::default();
            let limit = list.limit.unwrap_or(1000).max(1);
            let mut last = list.after.clone().unwrap_or_default();
            for (key, (bytes, modified)) in &inner.objects {
                let Some(rest) = key.as_str().strip_prefix(&list.prefix) else { continue };
                let folder = rest.find('/').filter(|_| list.folders).map(|end| &rest[..end]);
                let name = folder.map_or(key.to_string(), |folder| format!("{}{folder}/", list.prefix));
                if name <= last {
                    continue;
                }
                if page.objects.len() + page.folders.len() == limit {
                    page.next = Some(last);
                    break;
                }
                match folder {
                    Some(folder) => page.folders.push(folder.to_owned()),
                    None => page.objects.push(ObjectInfo {
                        key: key.clone(),
                        size: bytes.len() as u64,
                        modified: *modified,
                    }),
                }
                last = name;
            }
            Ok(page)
        })
    }

    fn delete<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let mut inner = self.state();
            let now = inner.now;
            let result = if let Some(end) = inner.ends(key).filter(|end| *end > now) {
                Err(Cause::Locked(format!("until {end}")))
            } else {
                inner.objects.remove(key);
                inner.longer.remove(key);
                Ok(())
            };
            self.answer(Doing::Delete, key.as_str(), result)
        })
    }

    fn features(&self) -> StoreFuture<'_, Features> {
        Box::pin(async { Ok(Features::default()) })
    }

    fn lock<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let mut inner = self.state();
            let Some((time, _)) = inner.lock else { return Ok(()) };
            let until = inner.now + time;
            let result = if inner.objects.contains_key(key) {
                inner.longer.insert(key.clone(), until);
                Ok(())
            } else {
                Err(Cause::NotFound)
            };
            self.answer(Doing::Lock, key.as_str(), result)
        })
    }

    fn locks_for(&self) -> Option<SignedDuration> {
        self.state().lock.map(|(time, _)| time)
    }

    fn locked_until<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Option<Timestamp>> {
        Box::pin(async move {
            let inner = self.state();
            let found = if inner.objects.contains_key(key) { Ok(inner.ends(key)) } else { Err(Cause::NotFound) };
            self.answer(Doing::LookAt, key.as_str(), found)
        })
    }
}
