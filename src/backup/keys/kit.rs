//! The recovery kit: a page to print and keep away from the cluster. With it and one private key, backups can be read when
//! nothing else is left but the bucket, and it is known whose they are. It holds no secret by itself.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use super::epoch::{Epoch, EpochError};
use super::{Identity, PublicKey};
use crate::backup::layout::Uid;
use crate::backup::repository::{Repository, Trust};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KitError {
    #[error("this is no recovery kit: it has no line {0:?}")]
    Missing(&'static str),
    #[error("line {line} of the recovery kit cannot be read: {reason}")]
    Malformed { line: usize, reason: String },
}

/// What a kit says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kit {
    pub store: String,
    pub repository: Uid,
    pub signer: PublicKey,
    pub slots: Vec<KitSlot>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KitSlot {
    pub epoch: Uid,
    pub recipient: String,
    pub stored: Vec<u8>,
}

impl Kit {
    pub async fn of(repository: &Repository) -> Result<Self, EpochError> {
        let mut slots = Vec::new();
        for epoch in Epoch::all(repository).await?.sound {
            for (recipient, stored) in epoch.stored_slots(repository).await? {
                slots.push(KitSlot { epoch: epoch.name.clone(), recipient, stored });
            }
        }
        let store = repository.store().address();
        Ok(Self { store, repository: repository.uuid().clone(), signer: repository.root(), slots })
    }

    pub fn trust(&self) -> Trust {
        Trust::Keys(vec![self.signer])
    }

    /// Opens an epoch whose slots are gone from the repository.
    pub fn unlock(&self, epoch: &Epoch, identity: &Identity) -> Option<Result<Identity, EpochError>> {
        let fingerprint = identity.recipient().fingerprint();
        let slot = self.slots.iter().find(|slot| slot.epoch == epoch.name && slot.recipient == fingerprint)?;
        Some(epoch.open_slot("the slot in the recovery kit", &slot.stored, identity))
    }

    pub fn text(&self, now: Timestamp) -> String {
        let mut text = format!(
            "# Recovery kit\n#\n\
             # Made at {now}. Print it, and keep it where neither the cluster nor the bucket can take it along.\n\
             # With this page and ONE private key (AGE-SECRET-KEY-1…) of those it is encrypted to, backups can be\n\
             # restored when nothing else is left. Keep the private key apart from this page: this page is no secret,\n\
             # the private key is. Make a new page whenever recipients or keys change.\n#\n\
             # With Midship:       midship restore --from {store} --kit THIS-FILE --identity PRIVATE-KEY-FILE\n\
             # Without Midship:    docs/backup-by-hand.md; the programs age, zstd and tar are enough. A slot below is\n\
             #                     base64 of a file that age opens with the private key; it holds the epoch's key.\n\n\
             store: {store}\nrepository: {}\nsigner: {}\n",
            self.repository,
            self.signer,
            store = self.store,
        );
        for KitSlot { epoch, recipient, stored } in &self.slots {
            let _ = writeln!(text, "slot: {epoch} {recipient} {}", STANDARD.encode(stored));
        }
        text
    }

    pub fn parse(text: &str) -> Result<Self, KitError> {
        let (mut store, mut repository, mut signer, mut slots) = (None, None, None, Vec::new());
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            let malformed = |reason: String| KitError::Malformed { line: number + 1, reason };
            let Some((name, value)) = line.split_once(':').filter(|_| !line.starts_with('#')) else { continue };
            let value = value.trim();
            match name {
                "store" => store = Some(value.to_owned()),
                "repository" => repository = Some(Uid::parse(value).map_err(|error| malformed(error.to_string()))?),
                "signer" => signer = Some(value.parse().map_err(malformed)?),
                "slot" => {
                    let words: Vec<&str> = value.split_whitespace().collect();
                    let [epoch, recipient, stored] = words[..] else {
                        return Err(malformed("a slot has an epoch, a fingerprint and base64".into()));
                    };
                    slots.push(KitSlot {
                        epoch: Uid::parse(epoch).map_err(|error| malformed(error.to_string()))?,
                        recipient: recipient.to_owned(),
                        stored: STANDARD.decode(stored).map_err(|error| malformed(error.to_string()))?,
                    });
                }
                _ => return Err(malformed(format!("{name:?} is not known; is it from a newer version?"))),
            }
        }
        Ok(Self {
            store: store.ok_or(KitError::Missing("store:"))?,
            repository: repository.ok_or(KitError::Missing("repository:"))?,
            signer: signer.ok_or(KitError::Missing("signer:"))?,
            slots,
        })
    }
}
