//! A store that is asked with patience: every call has a deadline, is tried again with growing, random pauses when that can
//! help, and waits its turn when too many are under way.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Semaphore;

use super::{Body, Cause, Doing, Features, Key, List, ObjectInfo, Page, Store, StoreError, StoreFuture};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How long one try may take.
    pub timeout: Duration,
    /// How often a call is tried.
    pub tries: u32,
    /// The first pause; each further one is up to twice as long.
    pub first_pause: Duration,
    pub longest_pause: Duration,
    /// Calls at the same time.
    pub concurrency: usize,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            timeout: Duration::from_mins(2),
            tries: 6,
            first_pause: Duration::from_millis(250),
            longest_pause: Duration::from_secs(20),
            concurrency: 8,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Resilient {
    inner: Arc<dyn Store>,
    patience: Patience,
    turns: Arc<Semaphore>,
}

impl Resilient {
    pub fn new(inner: Arc<dyn Store>, patience: Patience) -> Self {
        Self { inner, patience, turns: Arc::new(Semaphore::new(patience.concurrency.max(1))) }
    }

    async fn once<T>(&self, doing: Doing, object: &str, call: StoreFuture<'_, T>) -> Result<T, StoreError> {
        let turn = self.turns.acquire().await;
        let answer = tokio::time::timeout(self.patience.timeout, call).await;
        drop(turn);
        answer.unwrap_or_else(|_| {
            let cause = Cause::TimedOut(self.patience.timeout);
            Err(StoreError::new(&self.inner.address(), doing, object, cause))
        })
    }

    async fn with_retries<'a, T>(
        &'a self,
        doing: Doing,
        object: &str,
        mut call: impl FnMut() -> StoreFuture<'a, T>,
    ) -> Result<T, StoreError> {
        let mut tried = 1;
        loop {
            match self.once(doing, object, call()).await {
                Err(error) if error.is_transient() && tried < self.patience.tries => {
                    self.pause(tried, &error).await;
                    tried += 1;
                }
                answer => return answer,
            }
        }
    }

    async fn pause(&self, tried: u32, error: &StoreError) {
        let doubled = self.patience.first_pause.saturating_mul(2u32.saturating_pow(tried - 1));
        let most = doubled.min(self.patience.longest_pause);
        let pause = most.mul_f64(0.5 + 0.5 * chance());
        tracing::debug!(%error, ?pause, "the store is asked again");
        tokio::time::sleep(pause).await;
    }

    /// An answer can be lost after the object was written: then the next try finds it there, and it is ours when it is the
    /// same.
    async fn put(&self, key: &Key, body: Body) -> Result<(), StoreError> {
        let mut tried = 1;
        let mut maybe_written = false;
        loop {
            match self.once(Doing::Write, key.as_str(), self.inner.put_new(key, body.clone())).await {
                Err(error) if error.already_exists() && maybe_written => {
                    let there = self.with_retries(Doing::Read, key.as_str(), || self.inner.get(key, None)).await?;
                    return if there == body.bytes { Ok(()) } else { Err(error) };
                }
                Err(error) if error.is_transient() && tried < self.patience.tries => {
                    maybe_written = true;
                    self.pause(tried, &error).await;
                    tried += 1;
                }
                answer => return answer,
            }
        }
    }
}

/// From 0 to 1. Without randomness all who failed together would come back together; that is a pity, not an error.
fn chance() -> f64 {
    let mut byte = [0x80];
    let _ = aws_lc_rs::rand::fill(&mut byte);
    f64::from(byte[0]) / 255.0
}

impl Store for Resilient {
    fn address(&self) -> String {
        self.inner.address()
    }

    fn put_new<'a>(&'a self, key: &'a Key, body: Body) -> StoreFuture<'a, ()> {
        Box::pin(self.put(key, body))
    }

    fn get<'a>(&'a self, key: &'a Key, range: Option<Range<u64>>) -> StoreFuture<'a, Bytes> {
        Box::pin(self.with_retries(Doing::Read, key.as_str(), move || self.inner.get(key, range.clone())))
    }

    fn head<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, ObjectInfo> {
        Box::pin(self.with_retries(Doing::LookAt, key.as_str(), move || self.inner.head(key)))
    }

    fn list<'a>(&'a self, list: &'a List) -> StoreFuture<'a, Page> {
        Box::pin(self.with_retries(Doing::List, &list.prefix, move || self.inner.list(list)))
    }

    fn delete<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, ()> {
        Box::pin(self.with_retries(Doing::Delete, key.as_str(), move || self.inner.delete(key)))
    }

    fn features(&self) -> StoreFuture<'_, Features> {
        Box::pin(self.with_retries(Doing::LookAt, "what it can do", move || self.inner.features()))
    }

    fn lock<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, ()> {
        Box::pin(self.with_retries(Doing::Lock, key.as_str(), move || self.inner.lock(key)))
    }

    fn locks_for(&self) -> Option<SignedDuration> {
        self.inner.locks_for()
    }

    fn locked_until<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Option<Timestamp>> {
        Box::pin(self.with_retries(Doing::LookAt, key.as_str(), move || self.inner.locked_until(key)))
    }

    fn checks_content(&self) -> bool {
        self.inner.checks_content()
    }
}
