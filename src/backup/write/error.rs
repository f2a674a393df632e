//! Why there is no backup.

use std::time::Duration;

use jiff::SignedDuration;

use super::gate::GateRefusal;
use crate::backup::document::DocumentError;
use crate::backup::keys::SealError;
use crate::backup::keys::epoch::EpochError;
use crate::backup::store::{Key, StoreError};
use crate::backup::words::in_bytes;

#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error(transparent)]
    Document(#[from] DocumentError),
    #[error(transparent)]
    Epoch(#[from] EpochError),
    #[error("the parent of this incremental backup cannot be used: {0}; make a full one")]
    Parent(String),
    #[error(
        "the clock here and that of the store are {0:#} apart: nobody could tell when the backup was made; set it right"
    )]
    Clock(SignedDuration),
    #[error("stream {stream:?}: {refusal}")]
    Gate { stream: String, refusal: GateRefusal },
    #[error("stream {stream:?} broke off after {}: {reason}", in_bytes(*bytes))]
    Source { stream: String, bytes: u64, reason: String },
    #[error("stream {stream:?} gave nothing for {after:?}")]
    Stalled { stream: String, after: Duration },
    #[error("{what} is no name for a stream: use letters, digits, '.', '_' and '-', each name once")]
    StreamName { what: String },
    #[error("chunk {number}: {error}")]
    Seal { number: u64, error: SealError },
    #[error("the backup has no streams")]
    Nothing,
    #[error("it took longer than {0:?}, and may be taken for abandoned")]
    LeaseOver(Duration),
    #[error("somebody declared it abandoned: {0}")]
    Fenced(String),
    #[error("the store does not hold what it said it had written: {0}")]
    NotStored(String),
    #[error("the index has {0} bytes: the backup has too many chunks; use larger ones")]
    IndexTooLarge(usize),
    #[error("the log that the backup needs is not complete: {0}")]
    Log(String),
    #[error(
        "whether {0} was written is not known: look into the repository before you count on it or on its absence ({1})"
    )]
    Unknown(Key, StoreError),
    #[error("a worker died: {0}")]
    Worker(String),
}

impl From<StoreError> for WriteError {
    fn from(error: StoreError) -> Self {
        Self::Document(error.into())
    }
}
