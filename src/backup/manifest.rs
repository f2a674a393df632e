//! What a backup says of itself. `manifest.json` is written once, last, and signed: from then on there is a backup. What
//! stands in it can be checked without any key; names of tenants are sealed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::digest::Digest;
use super::id::Id;
use super::layout::{Line, Owner, Uid};
use crate::api::operation::BackupType;

/// `attempt.json`: somebody has begun.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    pub format: u32,
    pub owner: Owner,
    pub id: Id,
    #[serde(rename = "type")]
    pub type_: BackupType,
    pub parent: Option<Parent>,
    pub started_at: Timestamp,
    /// After this long without a manifest, nobody works on it any more.
    pub lease_seconds: i64,
    /// Who works on it, for people.
    pub holder: String,
}

/// The backup an incremental one adds to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    pub id: Id,
    /// Of its manifest: another backup under the same identity is no parent.
    pub manifest: Digest,
}

/// What lies under `manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Commit {
    Backup(Box<Manifest>),
    /// There will be no backup here: whoever worked on it failed or is gone. Taking the place of the manifest, it keeps a
    /// writer that comes back from committing what is being removed.
    Void(Void),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Void {
    pub format: u32,
    pub owner: Owner,
    pub id: Id,
    pub at: Timestamp,
    pub reason: String,
}

#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub format: u32,
    pub owner: Owner,
    pub id: Id,
    #[serde(rename = "type")]
    pub type_: BackupType,
    pub parent: Option<Parent>,
    /// As the extension names it.
    pub method: String,
    /// The version of the engine that was backed up.
    pub engine: String,
    pub started_at: Timestamp,
    pub completed_at: Timestamp,
    /// What it is encrypted to; none where encryption was disabled.
    pub epoch: Option<Uid>,
    pub streams: Vec<Stream>,
    pub chunks: Chunks,
    pub index: Stored,
    /// The part of a log without which the backup cannot be restored.
    pub log: Option<LogSpan>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What only those with a key may read, such as names: JSON, sealed, base64.
    pub description: String,
    /// The program that wrote it.
    pub writer: String,
}

/// Bytes that belong together, such as an archive of files or a dump: a run of chunks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stream {
    pub name: String,
    /// For people and restores by hand, such as `tar`.
    pub format: String,
    pub first: u64,
    pub chunks: u64,
    pub bytes: u64,
}

/// All chunks of a backup, as a listing of the store must show them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Chunks {
    pub count: u64,
    pub source_bytes: u64,
    pub stored_bytes: u64,
    /// Over number, digest and size of each.
    pub listing: Digest,
}

/// What is read in one turn is one share of so many at most.
pub const SHARES: u64 = 28;

impl Chunks {
    /// How many turns it takes until all of it was read.
    pub fn shares(&self) -> u64 {
        SHARES.min(self.count.max(1))
    }
}

/// An object: its size and what its bytes come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    pub bytes: u64,
    pub sha256: Digest,
}

/// From segment `first` to segment `last` of a log, both included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSpan {
    #[serde(flatten)]
    pub line: Line,
    pub first: u64,
    pub last: u64,
}

/// A line of the index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexEntry {
    pub number: u64,
    /// Before it was sealed.
    pub bytes: u64,
    pub sha256: Digest,
    pub stored: Stored,
}

/// The digest over a listing of chunks, which a signature makes whole: nothing can be added, left out, changed or swapped.
pub fn listing_digest<'a>(chunks: impl Iterator<Item = (u64, &'a Digest, u64)>) -> Digest {
    let mut text = String::new();
    for (number, digest, size) in chunks {
        text.push_str(&format!("{number:08}-{digest} {size}\n"));
    }
    Digest::of(text.as_bytes())
}

/// `tombstone.json`: this backup is going to be removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    pub at: Timestamp,
    pub reason: String,
}

/// `wishes/<time>.json`: what people want of this backup beyond the rules. The newest counts.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wish {
    pub at: Timestamp,
    /// Retention never removes it.
    pub hold: bool,
    /// In place of the labels it was made with.
    pub labels: Option<BTreeMap<String, String>>,
}

/// `verify/<time>.json`: what was looked at, and what was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    pub at: Timestamp,
    pub level: Level,
    /// Which share of the bytes was read, where it was not all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<u64>,
    /// How many shares were found right one after the other, this one included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_a_row: Option<u64>,
    /// Empty when all was well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

impl Verification {
    /// Whether it is of all of the backup.
    pub fn is_whole(&self, shares: u64) -> bool {
        self.part.is_none() || self.in_a_row.unwrap_or(0) >= shares
    }
}

/// How well a backup is proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Level {
    /// It was complete when it was committed.
    Committed,
    /// Everything is still there, and nothing else.
    Listed,
    /// Its bytes were read and are right; of what was read share by share, that holds once it was all of them.
    Read,
    /// It was restored, and its engine found the data whole.
    Restored,
}
