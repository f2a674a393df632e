//! A store that fails where it is told to, in all the ways a store can.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use crate::backup::store::{Body, Cause, Doing, Features, Key, List, ObjectInfo, Page, Store, StoreError, StoreFuture};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// From here on nothing happens any more, as after kill -9 of whoever asks.
    Kill,
    /// It is not done, and that is said.
    Fails(Cause),
    /// It is done, and the answer is lost.
    AnswerLost,
    /// It is not done, and success is said: 200 with nothing behind it.
    Lies,
    /// No answer ever comes.
    Stalls,
    /// From here on no answer ever comes.
    Hangs,
    /// What arrives is another object's size of zeros: a proxy that answers with a page of its own.
    Garbles,
}

/// Does `fault` at the call with this number, from 0.
#[derive(Clone, Debug)]
pub struct Faulty {
    inner: Arc<dyn Store>,
    at: usize,
    fault: Fault,
    calls: Arc<AtomicUsize>,
}

impl Faulty {
    pub fn new(inner: Arc<dyn Store>, at: usize, fault: Fault) -> Self {
        Self { inner, at, fault, calls: Arc::default() }
    }

    /// Whether the fault has happened.
    pub fn happened(&self) -> bool {
        self.calls.load(Ordering::SeqCst) > self.at
    }

    async fn meet<T>(
        &self,
        doing: Doing,
        object: &str,
        call: StoreFuture<'_, T>,
        lie: impl FnOnce() -> Option<T>,
    ) -> Result<T, StoreError> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst);
        let fails = |cause| Err(StoreError::new("a faulty store", doing, object, cause));
        if number < self.at || (number > self.at && !matches!(self.fault, Fault::Kill | Fault::Hangs)) {
            return call.await;
        }
        match &self.fault {
            Fault::Kill => fails(Cause::Refused("killed".into())),
            Fault::Fails(cause) => fails(cause.clone()),
            Fault::AnswerLost => {
                let _ = call.await;
                fails(Cause::Unavailable("the answer is lost".into()))
            }
            Fault::Stalls | Fault::Hangs => std::future::pending().await,
            Fault::Lies | Fault::Garbles => match lie() {
                Some(lie) => Ok(lie),
                None => call.await,
            },
        }
    }
}

impl Store for Faulty {
    fn address(&self) -> String {
        self.inner.address()
    }

    fn put_new<'a>(&'a self, key: &'a Key, body: Body) -> StoreFuture<'a, ()> {
        Box::pin(self.meet(Doing::Write, key.as_str(), self.inner.put_new(key, body), || {
            (self.fault == Fault::Lies).then_some(())
        }))
    }

    fn get<'a>(&'a self, key: &'a Key, range: Option<Range<u64>>) -> StoreFuture<'a, Bytes> {
        Box::pin(self.meet(Doing::Read, key.as_str(), self.inner.get(key, range), || {
            (self.fault == Fault::Garbles).then(|| Bytes::from_static(b"<html>Welcome to the hotel</html>"))
        }))
    }

    fn head<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, ObjectInfo> {
        Box::pin(self.meet(Doing::LookAt, key.as_str(), self.inner.head(key), || None))
    }

    fn list<'a>(&'a self, list: &'a List) -> StoreFuture<'a, Page> {
        Box::pin(self.meet(Doing::List, &list.prefix, self.inner.list(list), || {
            matches!(self.fault, Fault::Lies | Fault::Garbles).then(Page::default)
        }))
    }

    fn delete<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, ()> {
        Box::pin(
            self.meet(Doing::Delete, key.as_str(), self.inner.delete(key), || {
                (self.fault == Fault::Lies).then_some(())
            }),
        )
    }

    fn features(&self) -> StoreFuture<'_, Features> {
        self.inner.features()
    }
}
