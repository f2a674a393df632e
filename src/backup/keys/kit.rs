//! The recovery kit: a page to print and keep away from the cluster. With it and one private key, backups can be read when
//! nothing else is left but the bucket, and it is known whose they are. It holds no secret by itself.

use std::collections::BTreeSet;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use super::epoch::{Epoch, EpochError, slot_is_whole, stored_slots};
use super::{Identity, PublicKey};
use crate::backup::layout::{self, Uid};
use crate::backup::repository::{Repository, Trust};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KitError {
    #[error("this is no recovery kit: it has no line {0:?}")]
    Missing(&'static str),
    #[error("line {line} of the recovery kit cannot be read: {reason}")]
    Malformed { line: usize, reason: String },
    #[error("the keys in the repository cannot be read: {0}")]
    NotRead(String),
    #[error("a recovery kit would open nothing here: {}", .0.join("; "))]
    Worthless(Vec<String>),
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
    pub async fn of(repository: &Repository) -> Result<Self, KitError> {
        Self::complete(repository, &BTreeSet::new(), None).await.map(|(kit, _)| kit)
    }

    /// Also what it lacks: a slot is none, or an epoch that backups `named` has none. Refuses where nothing is left; what one
    /// epoch lost for good keeps nobody from a kit for the others. What was printed before is kept: the slots in the store are
    /// the same, or were replaced, cut, lost or taken away.
    pub async fn complete(
        repository: &Repository,
        named: &BTreeSet<Uid>,
        old: Option<&Self>,
    ) -> Result<(Self, Vec<String>), KitError> {
        let not_read = |error: EpochError| KitError::NotRead(error.to_string());
        let epochs = Epoch::all(repository).await.map_err(not_read)?;
        let mut names: BTreeSet<&Uid> = epochs.sound.iter().map(|epoch| &epoch.name).collect();
        names.extend(epochs.unusable.keys());
        names.extend(named);
        names.extend(old.into_iter().flat_map(Self::epochs));
        let (mut slots, mut wrong): (Vec<KitSlot>, Vec<String>) = (Vec::new(), Vec::new());
        for name in names {
            let (slots_before, wrong_before) = (slots.len(), wrong.len());
            let known = old.into_iter().flat_map(|old| &old.slots).filter(|known| known.epoch == *name);
            let known: Vec<&KitSlot> =
                known.filter(|known| slot_is_whole(repository, name, &known.stored).is_ok()).collect();
            let stored = stored_slots(repository, name).await.map_err(|error| not_read(error.into()))?;
            for slot in stored {
                match (known.iter().find(|known| known.recipient == slot.recipient), slot.wrong) {
                    (Some(&known), _) => slots.push(known.clone()),
                    (None, None) => {
                        slots.push(KitSlot { epoch: name.clone(), recipient: slot.recipient, stored: slot.stored });
                    }
                    (None, Some(reason)) => wrong.push(format!("{}: {reason}", slot.place)),
                }
            }
            for one in known {
                if !slots[slots_before..].iter().any(|slot| slot.recipient == one.recipient) {
                    slots.push(one.clone());
                }
            }
            if slots.len() == slots_before && wrong.len() == wrong_before && named.contains(name) {
                let folder = layout::epoch_folder(name);
                wrong.push(format!("{folder} has no slot, and there are backups that are encrypted to it"));
            }
        }
        if slots.is_empty() && !wrong.is_empty() {
            return Err(KitError::Worthless(wrong));
        }
        let store = repository.store().address();
        let kit = Self { store, repository: repository.uuid().clone(), signer: repository.root(), slots };
        Ok((kit, wrong))
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

    /// The same of an epoch whose document is gone as well, or damaged.
    pub fn unlock_lost(&self, epoch: &Uid, identity: &Identity) -> Option<Result<Identity, EpochError>> {
        let fingerprint = identity.recipient().fingerprint();
        let slot = self.slots.iter().find(|slot| slot.epoch == *epoch && slot.recipient == fingerprint)?;
        Some(Epoch::open_slot_of_lost(epoch, "the slot in the recovery kit", &slot.stored, identity))
    }

    /// The epochs of which it has a slot.
    pub fn epochs(&self) -> BTreeSet<&Uid> {
        self.slots.iter().map(|slot| &slot.epoch).collect()
    }

    pub fn text(&self, now: Timestamp) -> String {
        self.page(now, "")
    }

    /// The page; `reached` are the options that the store is reached with, beside its address.
    pub fn page(&self, now: Timestamp, reached: &str) -> String {
        // a folder is where the controller has it, which the object in the cluster says
        let known_as = if self.store.starts_with("s3://") { "" } else { " --repository REPOSITORY" };
        let with = "--kit THIS-FILE --identity PRIVATE-KEY-FILE";
        let mut text = format!(
            "# Recovery kit\n#\n\
             # Made at {now}. Print it, and keep it where neither the cluster nor the bucket can take it along.\n\
             # With this page and ONE private key (AGE-SECRET-KEY-1…) of those it is encrypted to, backups can be\n\
             # restored when nothing else is left. Keep the private key apart from this page: this page is no secret,\n\
             # the private key is. Make a new page whenever recipients or keys change.\n#\n\
             # With Midship:       the first shows which backups there are, the second makes a new instance NAME of one.\n\
             #   midship backup list --from {store}{reached} {with}\n\
             #   midship restore NAME{known_as} --from {store}{reached} --backup ID {with}\n\
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
