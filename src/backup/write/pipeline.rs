//! From a stream to chunks in the store. Memory is fixed: a chunk takes what it may need from the budget before it is read,
//! and gives back what it does not need any more. A slow store therefore slows the source down, and nothing piles up.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::gate::{Gate, SourceEnd, TAIL};
use super::{Progress, Settings, WriteError, kib};
use crate::backup::digest::Digest;
use crate::backup::keys::Sealer;
use crate::backup::layout::Place;
use crate::backup::manifest::{IndexEntry, Stored, Stream};
use crate::backup::store::{Body, Store};

/// A stream to back up.
pub struct Source {
    pub name: String,
    /// For people, such as `tar`.
    pub format: String,
    pub reader: Pin<Box<dyn AsyncRead + Send>>,
    /// Comes once the stream has ended: how its program did.
    pub end: BoxFuture<'static, Result<SourceEnd, String>>,
    pub gate: Gate,
    /// What it will give, as far as one knows.
    pub expected: Option<u64>,
}

pub(super) struct Pipeline {
    pub store: Arc<dyn Store>,
    pub place: Place,
    pub sealer: Sealer,
    pub settings: Settings,
    pub budget: Arc<Semaphore>,
    pub workers: Arc<Semaphore>,
    pub progress: Arc<Progress>,
}

impl Pipeline {
    /// Writes a stream as chunks from number `first` on.
    pub async fn run(&self, source: Source, first: u64) -> Result<(Stream, Vec<IndexEntry>), WriteError> {
        let Source { name, format, mut reader, end, gate, expected } = source;
        self.progress.expect(expected.unwrap_or_default());
        let mut tail = VecDeque::new();
        // dropped with everything under way when this ends early
        let mut under_way: JoinSet<Result<IndexEntry, WriteError>> = JoinSet::new();
        let mut entries = Vec::new();
        let (mut number, mut bytes) = (first, 0u64);
        loop {
            let memory = self.memory(&mut under_way, &mut entries).await?;
            let plain = self.fill(&name, bytes, &mut reader).await?;
            if plain.is_empty() {
                break;
            }
            remember(&mut tail, &plain);
            bytes += plain.len() as u64;
            self.progress.read(plain.len() as u64);
            if let Some(bandwidth) = &self.settings.bandwidth {
                bandwidth.pass(plain.len()).await;
            }
            under_way.spawn(self.chunk(number, plain, memory));
            number += 1;
        }
        while let Some(done) = under_way.join_next().await {
            entries.push(done.map_err(|error| WriteError::Worker(error.to_string()))??);
        }
        let end = tokio::time::timeout(self.settings.stall, end).await;
        let end = end.map_err(|_| WriteError::Stalled { stream: name.clone(), after: self.settings.stall })?;
        let end = end.map_err(|reason| WriteError::Source { stream: name.clone(), bytes, reason })?;
        gate.check(&end, bytes, tail.make_contiguous())
            .map_err(|refusal| WriteError::Gate { stream: name.clone(), refusal })?;
        entries.sort_by_key(|entry| entry.number);
        Ok((Stream { name, format, first, chunks: number - first, bytes }, entries))
    }

    /// Waits until there is room for one more chunk; what fails meanwhile ends the wait.
    async fn memory(
        &self,
        under_way: &mut JoinSet<Result<IndexEntry, WriteError>>,
        entries: &mut Vec<IndexEntry>,
    ) -> Result<OwnedSemaphorePermit, WriteError> {
        let permit = self.budget.clone().acquire_many_owned(self.settings.need());
        tokio::pin!(permit);
        loop {
            tokio::select! {
                biased;
                Some(done) = under_way.join_next() => {
                    entries.push(done.map_err(|error| WriteError::Worker(error.to_string()))??);
                }
                permit = &mut permit => return Ok(permit.expect("the budget is never closed")),
            }
        }
    }

    async fn fill(
        &self,
        name: &str,
        before: u64,
        reader: &mut Pin<Box<dyn AsyncRead + Send>>,
    ) -> Result<Vec<u8>, WriteError> {
        let size = self.settings.chunk();
        let mut plain = Vec::with_capacity(size);
        while plain.len() < size {
            let room = (size - plain.len()) as u64;
            let mut part = reader.take(room);
            let read = tokio::time::timeout(self.settings.stall, part.read_buf(&mut plain)).await;
            let stalled = |_| WriteError::Stalled { stream: name.to_owned(), after: self.settings.stall };
            let broken = |error: std::io::Error| WriteError::Source {
                stream: name.to_owned(),
                bytes: before,
                reason: error.to_string(),
            };
            if read.map_err(stalled)?.map_err(broken)? == 0 {
                break;
            }
        }
        Ok(plain)
    }

    fn chunk(
        &self,
        number: u64,
        plain: Vec<u8>,
        mut memory: OwnedSemaphorePermit,
    ) -> impl Future<Output = Result<IndexEntry, WriteError>> + Send + 'static {
        let (store, place, sealer) = (self.store.clone(), self.place.clone(), self.sealer.clone());
        let (workers, progress) = (self.workers.clone(), self.progress.clone());
        async move {
            let turn = workers.acquire_owned().await.expect("the workers are never closed");
            let suffix = sealer.suffix();
            let sealed = tokio::task::spawn_blocking(move || {
                let sha256 = Digest::of(&plain);
                let bytes = plain.len() as u64;
                let sealed = sealer.seal(&plain).map_err(|error| WriteError::Seal { number, error })?;
                drop(turn);
                Ok::<_, WriteError>((bytes, sha256, Body::new(sealed)))
            });
            let (bytes, sha256, body) = sealed.await.map_err(|error| WriteError::Worker(error.to_string()))??;
            // the plain bytes are gone: only what is sealed still takes room
            let spare = memory.num_permits().saturating_sub(kib(body.bytes.len()));
            drop(memory.split(spare));
            let stored = Stored { bytes: body.bytes.len() as u64, sha256: body.sha256 };
            let key = place.chunk(number, &stored.sha256, suffix);
            store.put_new(&key, body).await?;
            progress.stored(stored.bytes);
            drop(memory);
            Ok(IndexEntry { number, bytes, sha256, stored })
        }
    }
}

/// What does not compress grows a little.
pub(super) fn sealed_at_most(plain: usize) -> usize {
    plain + plain / 128 + (4 << 10)
}

/// Keeps the last bytes of a stream.
fn remember(tail: &mut VecDeque<u8>, bytes: &[u8]) {
    let from = bytes.len().saturating_sub(TAIL);
    tail.extend(&bytes[from..]);
    let over = tail.len().saturating_sub(TAIL);
    tail.drain(..over);
}
