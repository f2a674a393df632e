//! What retention decides from: what is in a repository, and what people asked for.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

/// A backup that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupFacts {
    /// Unique in the repository.
    pub id: String,
    pub instance: String,
    /// The group of pods whose data it is: each has data of its own.
    pub group: Option<String>,
    /// Whether it is ours to decide on. Another cluster's backups count for what they need, and are left alone.
    pub ours: bool,
    pub completed_at: Timestamp,
    pub parent: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub hold: bool,
    /// Not known to be damaged.
    pub sound: bool,
    /// What it is a part of: the backups that one operation made of all groups. All of them stay or go.
    pub set: Option<PartOf>,
    pub restored_at: Option<Timestamp>,
    pub condemned_at: Option<Timestamp>,
    pub bytes: u64,
    pub log: Option<LogNeed>,
}

/// A part of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartOf {
    /// Unique in the repository.
    pub id: String,
    /// Whether the set can be put back as far as it is known: no part is missing or damaged, and they fit together.
    pub whole: bool,
    /// Whether parts are missing, which may still come.
    pub lacks: bool,
}

/// The log a backup needs, from this segment on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogNeed {
    pub system: String,
    pub first: u64,
}

/// What is no backup: not yet, or not any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptFacts {
    pub id: String,
    pub instance: String,
    pub ours: bool,
    pub parent: Option<String>,
    pub started_at: Timestamp,
    /// When it last wrote something.
    pub active_at: Timestamp,
    pub lease: SignedDuration,
    pub remains: Remains,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remains {
    /// It can still become a backup.
    Open,
    /// It failed, and its chunks are there.
    Over { at: Timestamp },
    /// It failed, and nothing but the note of it is there.
    Note { at: Timestamp },
    /// Its manifest was removed, and the rest has to follow.
    Leftover,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub backups: Vec<BackupFacts>,
    pub attempts: Vec<AttemptFacts>,
    /// What could not be read or believed.
    pub unreadable: Vec<String>,
    /// How far the clock of the store is from ours.
    pub clock_skew: SignedDuration,
}

/// How long backups of an instance are kept: as long as any of these says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    pub count: Option<usize>,
    pub age: Option<SignedDuration>,
    pub by_label: Vec<(String, String, SignedDuration)>,
}

impl Rules {
    pub fn is_empty(&self) -> bool {
        self.count.is_none() && self.age.is_none() && self.by_label.is_empty()
    }
}
