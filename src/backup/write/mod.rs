//! Making a backup. The order of what is written is the protocol:
//!
//! 1. `attempt.json` says that somebody works on it, and for how long at most;
//! 2. chunks, each written once under the digest of what is in it;
//! 3. the sources must have said that they are complete (`gate`), and the log the backup needs must be there;
//! 4. the index; the listing of the store must show exactly the chunks of the index, and a sample is read back;
//! 5. `manifest.json`, created once. Before it there is no backup, after it there is a whole one.
//!
//! Who is killed anywhere leaves an attempt behind that retention clears away.

mod attempt;
mod bandwidth;
mod error;
pub mod gate;
mod pipeline;
mod progress;

use std::sync::Arc;
use std::time::Duration;

pub(crate) use attempt::void;
pub use attempt::{Committed, Request, Writing};
pub use bandwidth::Bandwidth;
pub use error::WriteError;
pub use gate::{EndMark, Gate, GateRefusal, SourceEnd};
pub use pipeline::Source;
pub use progress::{Progress, Snapshot};

/// No chunk is larger before it is sealed.
pub const LARGEST_CHUNK: usize = 32 << 20;

/// How a backup is written.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bytes of a chunk before it is sealed.
    pub chunk: usize,
    /// Bytes that buffers may take, over all streams of the backup. At least two chunks.
    pub memory: usize,
    /// Chunks that are sealed at the same time: threads.
    pub workers: usize,
    pub bandwidth: Option<Bandwidth>,
    /// A source that gives nothing for so long has failed.
    pub stall: Duration,
    /// How long the whole backup may take.
    pub lease: Duration,
    /// Chunks that are read back before the commit.
    pub sample: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            chunk: 16 << 20,
            memory: 96 << 20,
            workers: 2,
            bandwidth: None,
            stall: Duration::from_mins(10),
            lease: Duration::from_hours(24),
            sample: 3,
        }
    }
}

impl Settings {
    fn chunk(&self) -> usize {
        self.chunk.clamp(1 << 10, LARGEST_CHUNK)
    }

    /// Memory is counted in KiB, so that it fits a semaphore.
    fn budget(&self) -> Arc<tokio::sync::Semaphore> {
        Arc::new(tokio::sync::Semaphore::new(kib(self.memory.max(2 * self.chunk() + (64 << 10)))))
    }
}

fn kib(bytes: usize) -> usize {
    bytes.div_ceil(1 << 10)
}
