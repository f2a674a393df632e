//! What agents are asked about backups: orders, and how they go. Credentials and keys are in types that cannot be printed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use serde_with::skip_serializing_none;

use super::problem::Problem;
use crate::api::operation::BackupType;
use crate::backup::digest::Digest;
use crate::backup::id::Id;
use crate::backup::keys::{Identity, Kit, PublicKey, SigningKey};
use crate::backup::layout::{Owner, Uid};
pub use crate::backup::replay::Until;
use crate::backup::store::s3;

/// Where a repository is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorePlace {
    S3(s3::Settings),
    /// A directory of the pod.
    Filesystem(PathBuf),
}

/// A repository, and how it is known to be the right one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryPlace {
    pub store: StorePlace,
    /// The key `repo.json` must be signed with.
    pub root: PublicKey,
}

/// Who writes, and for whom. Two are the same where they sign with the same key.
#[derive(Clone, Debug)]
pub struct Writer {
    pub key: Arc<SigningKey>,
    /// None: in the clear, as somebody wanted it.
    pub epoch: Option<Uid>,
}

impl PartialEq for Writer {
    fn eq(&self, other: &Self) -> bool {
        self.key.public() == other.key.public() && self.epoch == other.epoch
    }
}

impl Eq for Writer {}

/// A backup that is to be made.
#[derive(Clone, Debug)]
pub struct BackupOrder {
    /// The same job is done once.
    pub job: String,
    pub repository: RepositoryPlace,
    pub writer: Writer,
    pub owner: Owner,
    pub method: String,
    pub type_: BackupType,
    /// For an incremental backup, the one it adds to.
    pub parent: Option<Id>,
    pub labels: BTreeMap<String, String>,
    /// What only those with a key may read.
    pub description: Map<String, Value>,
    /// Bytes per second.
    pub bandwidth: Option<u64>,
    pub timeout: Duration,
    /// Also a backup much smaller than the last one counts.
    pub may_shrink: bool,
    /// The log is archived: the backup needs its part of it, and waits until that is there. Only such a backup can be
    /// restored to a point in time.
    pub with_log: bool,
}

/// A log that is to be archived from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveOrder {
    pub method: String,
    pub repository: RepositoryPlace,
    pub writer: Writer,
    pub owner: Owner,
    /// How often the file that is being written is finished at least.
    pub interval: Option<Duration>,
}

/// A backup that is to be put back.
#[derive(Clone, Debug)]
pub struct RestoreOrder {
    /// The same job is done once.
    pub job: String,
    pub repository: RepositoryPlace,
    /// What opens it; none where it is in the clear.
    pub identity: Option<Identity>,
    /// For slots that the store has lost.
    pub kit: Option<Kit>,
    pub owner: Owner,
    /// The newest that will do where there is none.
    pub backup: Option<Id>,
    pub until: Until,
    pub timeout: Duration,
    /// Throw away the data that is there.
    pub replace: bool,
}

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobState {
    Preparing,
    Running,
    /// All bytes have gone through; the rest is proving and finishing.
    Completing,
    Done,
    Failed,
    Cancelled,
}

impl JobState {
    pub const ALL: [Self; 6] =
        [Self::Preparing, Self::Running, Self::Completing, Self::Done, Self::Failed, Self::Cancelled];

    pub fn name(self) -> &'static str {
        match self {
            Self::Preparing => "Preparing",
            Self::Running => "Running",
            Self::Completing => "Completing",
            Self::Done => "Done",
            Self::Failed => "Failed",
            Self::Cancelled => "Cancelled",
        }
    }

    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

/// What a job came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Committed {
        id: Id,
        manifest: Digest,
        completed_at: Timestamp,
        /// Why it is a full one, where an incremental one was ordered.
        full_because: Option<String>,
    },
    Restored {
        id: Id,
        /// The time asked for, where one was.
        until: Option<Timestamp>,
    },
    Failed(Problem),
}

/// How a backup or a restore goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobProgress {
    pub job: String,
    pub state: JobState,
    /// In a sentence.
    pub doing: String,
    pub source_bytes: u64,
    pub stored_bytes: u64,
    pub expected_bytes: Option<u64>,
    pub bytes_per_second: Option<u64>,
    pub left: Option<Duration>,
    pub started_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    /// There once it is over.
    pub outcome: Option<Outcome>,
}

impl JobProgress {
    pub fn new(job: &str, started_at: Timestamp) -> Self {
        Self {
            job: job.to_owned(),
            state: JobState::Preparing,
            doing: "opens the repository".to_owned(),
            source_bytes: 0,
            stored_bytes: 0,
            expected_bytes: None,
            bytes_per_second: None,
            left: None,
            started_at,
            ended_at: None,
            outcome: None,
        }
    }
}

/// How archiving a log goes.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ArchiveStatus {
    /// The method whose log it is; empty where nothing is archived.
    pub method: String,
    /// The segment that was archived last.
    pub last: Option<String>,
    pub last_at: Option<Timestamp>,
    /// Segments that wait.
    pub pending: u64,
    /// Why the next one cannot be archived. It is tried again.
    pub error: Option<String>,
    /// Segments that are missing between archived ones.
    pub missing: u64,
}
