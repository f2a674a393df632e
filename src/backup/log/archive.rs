//! Archiving a segment: claim it, store it. The engine may hand in the same segment again, after a crash on either side,
//! and must never be told that a segment is safe when it is not, or that two histories are one.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::backup::digest::Digest;
use crate::backup::document::DocumentError;
use crate::backup::keys::{Opener, SealError, Sealer, SigningKey};
use crate::backup::layout::{Line, Segment, Uid};
use crate::backup::manifest::Stored;
use crate::backup::repository::{FORMAT, Repository};
use crate::backup::store::{Body, Key, LARGEST_OBJECT, StoreError};

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error(transparent)]
    Document(#[from] DocumentError),
    #[error(
        "segment {segment} of {line} is archived with other content: two systems write the same history (split brain), \
         or a server was reset; nothing was overwritten. Stop one of them, or give this one a history of its own"
    )]
    SplitBrain { line: String, segment: Segment },
    #[error("segment {0}: {1}")]
    Seal(Segment, SealError),
    #[error("segment {0} has {1} bytes, too many for one object")]
    TooLarge(Segment, usize),
    #[error("segment {0} is not archived")]
    NotThere(Segment),
    #[error("segment {segment} is not what was archived: {reason}")]
    Damaged { segment: Segment, reason: String },
    #[error("a worker died: {0}")]
    Worker(String),
}

impl From<StoreError> for LogError {
    fn from(error: StoreError) -> Self {
        Self::Document(error.into())
    }
}

/// What is in a segment, said before it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    pub format: u32,
    pub line: Line,
    pub segment: Segment,
    pub bytes: u64,
    pub sha256: Digest,
    pub epoch: Option<Uid>,
    /// Everything that was committed until then is in this segment or before it.
    pub covers_until: Timestamp,
}

/// How a segment came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    New,
    /// It was there already, and is the same.
    Again,
}

/// Where segments are archived and fetched.
pub struct Archive<'a> {
    pub repository: &'a Repository,
    pub line: Line,
}

impl Archive<'_> {
    /// Comes back when the segment is safe.
    pub async fn push(
        &self,
        segment: &Segment,
        plain: Vec<u8>,
        covers_until: Timestamp,
        sealer: &Sealer,
        epoch: Option<&Uid>,
        key: &SigningKey,
    ) -> Result<Arrival, LogError> {
        let claim = Claim {
            format: FORMAT,
            line: self.line.clone(),
            segment: segment.clone(),
            bytes: plain.len() as u64,
            sha256: Digest::of(&plain),
            epoch: epoch.cloned(),
            covers_until,
        };
        let place = self.line.claim(segment);
        let suffix = match self.repository.put_document(&place, &claim, key).await {
            Ok(()) => sealer.suffix(),
            Err(error) if error.already_exists() => {
                let before: Claim = self.repository.document(&place).await?;
                if before.sha256 != claim.sha256 || before.line != claim.line {
                    return Err(LogError::SplitBrain { line: self.line.folder(), segment: segment.clone() });
                }
                // whoever claimed it said how it is stored; an epoch may have begun meanwhile
                if before.epoch != claim.epoch {
                    return self.finish_other(segment, &before).await;
                }
                sealer.suffix()
            }
            Err(error) => return Err(error.into()),
        };
        let (sealer, named) = (sealer.clone(), segment.clone());
        let sealed = tokio::task::spawn_blocking(move || sealer.seal(&plain)).await;
        let sealed = sealed.map_err(|error| LogError::Worker(error.to_string()))?;
        let sealed = sealed.map_err(|error| LogError::Seal(named, error))?;
        if sealed.len() as u64 > LARGEST_OBJECT {
            return Err(LogError::TooLarge(segment.clone(), sealed.len()));
        }
        let (at, body) = (self.line.segment(segment, suffix), Body::new(sealed));
        let stored = Stored { bytes: body.bytes.len() as u64, sha256: body.sha256 };
        let arrival = match self.repository.store().put_new(&at, body).await {
            Ok(()) => {
                self.prove(&claim, &at, &stored).await?;
                Arrival::New
            }
            // each sealing gives other bytes; the claim says that what is in it is the same
            Err(error) if error.already_exists() => Arrival::Again,
            Err(error) => return Err(error.into()),
        };
        // nothing gives way to it any more
        self.repository.store().lock(&place).await?;
        Ok(arrival)
    }

    /// The engine gives a segment away once we say that it is safe: what the store holds is looked at before. What is not as it
    /// was written goes, so that the next try does not take it for its own.
    async fn prove(&self, claim: &Claim, at: &Key, stored: &Stored) -> Result<(), LogError> {
        let store = self.repository.store();
        let claimed = match self.claim(&claim.segment).await {
            Ok(found) => found.sha256 == claim.sha256 && found.epoch == claim.epoch,
            Err(LogError::NotThere(_)) => false,
            Err(error) => return Err(error),
        };
        let holds = if store.checks_content() {
            store.head(at).await.map(|object| object.size == stored.bytes)
        } else {
            store.get(at, None).await.map(|bytes| Digest::of(&bytes) == stored.sha256)
        };
        let reason = match holds {
            Ok(true) if claimed => return Ok(()),
            Ok(true) => "the store does not hold its claim",
            Ok(false) => "the store holds something else",
            Err(error) if error.is_not_found() => "the store does not hold it",
            Err(error) => return Err(error.into()),
        };
        store.delete(at).await?;
        Err(LogError::Damaged { segment: claim.segment.clone(), reason: reason.to_owned() })
    }

    /// It was claimed under another epoch: when it is stored, all is well; else the claim goes, so that the next try makes
    /// its own. Nothing is lost with it: a claim without a segment is a promise that nobody kept.
    async fn finish_other(&self, segment: &Segment, claim: &Claim) -> Result<Arrival, LogError> {
        match self.repository.store().head(&self.line.segment(segment, suffix(claim))).await {
            Ok(_) => {
                // whoever stored it may have been killed before this
                self.repository.store().lock(&self.line.claim(segment)).await?;
                Ok(Arrival::Again)
            }
            Err(error) if error.is_not_found() => {
                self.repository.store().delete(&self.line.claim(segment)).await?;
                Err(LogError::NotThere(segment.clone()))
            }
            Err(error) => Err(error.into()),
        }
    }

    pub async fn claim(&self, segment: &Segment) -> Result<Claim, LogError> {
        let claim: Claim = match self.repository.document(&self.line.claim(segment)).await {
            Err(DocumentError::Store(error)) if error.is_not_found() => {
                return Err(LogError::NotThere(segment.clone()));
            }
            answer => answer?,
        };
        if claim.line != self.line || claim.segment != *segment {
            return Err(DocumentError::Forged(self.line.claim(segment)).into());
        }
        Ok(claim)
    }

    /// The sealed bytes of a segment, and its claim.
    pub(super) async fn stored(&self, segment: &Segment) -> Result<(Claim, Stored, bytes::Bytes), LogError> {
        let claim = self.claim(segment).await?;
        let place = self.line.segment(segment, suffix(&claim));
        let sealed = match self.repository.store().get(&place, None).await {
            Err(error) if error.is_not_found() => return Err(LogError::NotThere(segment.clone())),
            answer => answer?,
        };
        let stored = Stored { bytes: sealed.len() as u64, sha256: Digest::of(&sealed) };
        Ok((claim, stored, sealed))
    }

    /// Brings a segment back as it was.
    pub async fn fetch(&self, segment: &Segment, opener: &Opener) -> Result<Vec<u8>, LogError> {
        let (claim, _, sealed) = self.stored(segment).await?;
        let (opener, most) = (opener.clone(), claim.bytes);
        let plain = tokio::task::spawn_blocking(move || opener.open(&sealed, most)).await;
        let plain = plain.map_err(|error| LogError::Worker(error.to_string()))?;
        let damaged = |reason: String| LogError::Damaged { segment: segment.clone(), reason };
        let plain = plain.map_err(|error| damaged(error.to_string()))?;
        if Digest::of(&plain) != claim.sha256 {
            return Err(damaged("its digest is not the one that was signed".into()));
        }
        Ok(plain)
    }
}

fn suffix(claim: &Claim) -> &'static str {
    match claim.epoch {
        Some(_) => crate::backup::keys::ENCRYPTED,
        None => crate::backup::keys::CLEAR,
    }
}
