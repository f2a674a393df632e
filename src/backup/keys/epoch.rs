//! Epochs: the keys backups are encrypted to, one after the other. An epoch's private key is made in memory, encrypted to
//! every recipient, and forgotten. Its document comes last: an epoch that is there can be opened.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::seal::{SealError, is_whole, unwrap, wrap};
use super::{Identity, Recipient, SigningKey};
use crate::backup::digest::Digest;
use crate::backup::document::{DocumentError, put_same};
use crate::backup::layout::{self, Uid};
use crate::backup::repository::Repository;
use crate::backup::store::{Cause, Key, StoreError, list_all, list_folders, list_notes};
use crate::backup::words::in_bytes;

/// What a slot has at most; one is half a KiB.
const LARGEST_SLOT: u64 = 16 << 10;

#[derive(Debug, thiserror::Error)]
pub enum EpochError {
    #[error(transparent)]
    Document(#[from] DocumentError),
    #[error("there are no recipients: name at least one age public key")]
    NoRecipients,
    #[error("{0}: {1}")]
    Seal(String, SealError),
    #[error("no slot of epoch {epoch} is for {recipient}; it is for the keys with the fingerprints {there}")]
    NotForThisKey { epoch: Uid, recipient: Recipient, there: String },
    #[error("{slot} holds another key than that of the epoch {epoch}: somebody replaced it")]
    WrongKey { epoch: Uid, slot: String },
    #[error("{0} does not open to what was put into it: somebody replaced it")]
    Canary(String),
    #[error("no epoch {0}: its key is not in the repository any more; a recovery kit may have it")]
    NotThere(Uid),
}

impl EpochError {
    /// Whether it is about one epoch: others can be used.
    pub fn is_about_epoch(&self) -> bool {
        match self {
            Self::Document(error) => error.is_about_object(),
            Self::NoRecipients => false,
            Self::Seal(..)
            | Self::NotForThisKey { .. }
            | Self::WrongKey { .. }
            | Self::Canary(_)
            | Self::NotThere(_) => true,
        }
    }
}

impl From<StoreError> for EpochError {
    fn from(error: StoreError) -> Self {
        Self::Document(error.into())
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct EpochDocument {
    name: Uid,
    recipient: String,
    created_at: Timestamp,
    canary: Digest,
}

/// What backups are encrypted to, and who can open it.
#[derive(Clone, Debug)]
pub struct Epoch {
    pub name: Uid,
    pub recipient: Recipient,
    pub created_at: Timestamp,
    /// Fingerprints of the recipients that have a slot.
    pub slots: Vec<String>,
    canary: Digest,
}

/// The epochs of a repository.
#[derive(Clone, Debug, Default)]
pub struct Epochs {
    /// The newest last.
    pub sound: Vec<Epoch>,
    /// Those whose document cannot be read or believed, and why: what is encrypted to others is none the worse for it.
    pub unusable: BTreeMap<Uid, String>,
}

impl Epochs {
    /// The highest number that was given.
    fn highest(&self) -> u32 {
        let names = self.sound.iter().map(|epoch| &epoch.name).chain(self.unusable.keys());
        names.map(number).max().unwrap_or_default()
    }

    /// The newest that exactly these recipients can open, by their fingerprints.
    pub fn newest_for(&self, recipients: &[String]) -> Option<&Epoch> {
        let sorted = |names: &[String]| {
            let mut names = names.to_vec();
            names.sort();
            names
        };
        let wanted = sorted(recipients);
        self.sound.iter().rev().find(|epoch| sorted(&epoch.slots) == wanted)
    }
}

fn number(name: &Uid) -> u32 {
    name.as_str().split('-').next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

/// What the canary says when it opens.
fn song(repository: &Repository, epoch: &Uid) -> String {
    format!("midship canary\nrepository {}\nepoch {epoch}\n", repository.uuid())
}

impl Epoch {
    /// Begins a new epoch for these recipients.
    pub async fn begin(
        repository: &Repository,
        recipients: &[Recipient],
        key: &SigningKey,
        now: Timestamp,
    ) -> Result<Self, EpochError> {
        if recipients.is_empty() {
            return Err(EpochError::NoRecipients);
        }
        let number = Self::all(repository).await?.highest().saturating_add(1);
        let identity = Identity::generate();
        let recipient = identity.recipient();
        // the fingerprint keeps two who begin at once apart
        let name = Uid::parse(&format!("{number:04}-{}", recipient.fingerprint())).expect("digits and letters");
        let store = repository.store();
        for one in recipients {
            put_slot(repository, &name, &identity, one).await?;
        }
        let place = layout::canary(&name);
        let canary = wrap(song(repository, &name).as_bytes(), &recipient)
            .map_err(|error| EpochError::Seal(place.to_string(), error))?;
        let digest = Digest::of(&canary);
        put_same(store, &place, canary).await?;
        let document =
            EpochDocument { name: name.clone(), recipient: recipient.to_string(), created_at: now, canary: digest };
        repository.put_document(&layout::epoch(&name), &document, key).await?;
        let slots = recipients.iter().map(Recipient::fingerprint).collect();
        Ok(Self { name, recipient, created_at: now, slots, canary: digest })
    }

    /// Every epoch. What was begun and not ended is none.
    pub async fn all(repository: &Repository) -> Result<Epochs, EpochError> {
        let mut epochs = Epochs::default();
        for folder in list_folders(repository.store(), layout::EPOCHS).await? {
            let Ok(name) = Uid::parse(&folder) else { continue };
            match Self::named(repository, &name).await {
                Ok(epoch) => epochs.sound.push(epoch),
                Err(EpochError::NotThere(_)) => {}
                Err(EpochError::Document(error)) if error.is_about_object() => {
                    epochs.unusable.insert(name, error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        epochs.sound.sort_by(|a, b| (number(&a.name), &a.name).cmp(&(number(&b.name), &b.name)));
        Ok(epochs)
    }

    pub async fn named(repository: &Repository, name: &Uid) -> Result<Self, EpochError> {
        let place = layout::epoch(name);
        let document: EpochDocument = match repository.document(&place).await {
            Err(DocumentError::Store(error)) if error.is_not_found() => {
                return Err(EpochError::NotThere(name.clone()));
            }
            answer => answer?,
        };
        let recipient = Recipient::parse(&document.recipient)
            .map_err(|error| DocumentError::Malformed(place.clone(), error.to_string()))?;
        if document.name != *name {
            return Err(DocumentError::Forged(place).into());
        }
        let objects = list_all(repository.store(), &layout::epoch_folder(name)).await?;
        let slot = |key: &str| key.strip_suffix(".age").filter(|slot| *slot != "canary").map(str::to_owned);
        let slots = objects.iter().filter_map(|object| slot(object.key.name())).collect();
        Ok(Self { name: name.clone(), recipient, created_at: document.created_at, slots, canary: document.canary })
    }

    /// The private key of the epoch, for one who has a recipient's.
    pub async fn unlock(&self, repository: &Repository, identity: &Identity) -> Result<Identity, EpochError> {
        let fingerprint = identity.recipient().fingerprint();
        let place = layout::slot(&self.name, &fingerprint);
        let stored = match repository.store().get(&place, None).await {
            Err(error) if error.is_not_found() => return Err(self.not_for(identity)),
            answer => answer?,
        };
        self.open_slot(place.as_str(), &stored, identity)
    }

    fn not_for(&self, identity: &Identity) -> EpochError {
        let there = if self.slots.is_empty() { "(none)".into() } else { self.slots.join(", ") };
        EpochError::NotForThisKey { epoch: self.name.clone(), recipient: identity.recipient(), there }
    }

    pub(super) fn open_slot(&self, slot: &str, stored: &[u8], identity: &Identity) -> Result<Identity, EpochError> {
        // the document of the epoch is signed; the slot is not
        open_slot(&self.name, (slot, stored), identity, |opened| opened.recipient() == self.recipient)
    }

    /// The same where the document was lost: the name of the epoch, which stands in signed manifests, says whose key it is.
    pub(super) fn open_slot_of_lost(
        name: &Uid,
        slot: &str,
        stored: &[u8],
        identity: &Identity,
    ) -> Result<Identity, EpochError> {
        let fingerprint = name.as_str().split_once('-').map(|(_, fingerprint)| fingerprint);
        open_slot(name, (slot, stored), identity, |opened| {
            fingerprint == Some(opened.recipient().fingerprint().as_str())
        })
    }

    /// Whether the canary is as it was written, which needs no key; with the epoch's key also that it opens.
    pub async fn check_canary(&self, repository: &Repository, opened: Option<&Identity>) -> Result<(), EpochError> {
        let place = layout::canary(&self.name);
        let stored = repository.store().get(&place, None).await?;
        let sings = match opened {
            Some(key) => unwrap(&stored, key)
                .map_err(|error| EpochError::Seal(place.to_string(), error))?
                .eq(song(repository, &self.name).as_bytes()),
            None => true,
        };
        if Digest::of(&stored) != self.canary || !sings {
            return Err(EpochError::Canary(place.to_string()));
        }
        Ok(())
    }

    /// Gives the epoch to these recipients and to nobody else. Only slots are written: no backup is touched. Who had the
    /// key before may have kept it, so begin a new epoch as well when somebody is to be shut out of what comes.
    pub async fn rewrap(
        &mut self,
        repository: &Repository,
        identity: &Identity,
        recipients: &[Recipient],
    ) -> Result<(), EpochError> {
        if recipients.is_empty() {
            return Err(EpochError::NoRecipients);
        }
        let opened = self.unlock(repository, identity).await?;
        self.check_canary(repository, Some(&opened)).await?;
        let wanted: Vec<String> = recipients.iter().map(Recipient::fingerprint).collect();
        for one in recipients.iter().filter(|one| !self.slots.contains(&one.fingerprint())) {
            put_slot(repository, &self.name, &opened, one).await?;
        }
        // new slots are there before old ones go: whoever stops here has locked nobody out
        for gone in self.slots.iter().filter(|slot| !wanted.contains(slot)) {
            repository.store().delete(&layout::slot(&self.name, gone)).await?;
        }
        self.slots = wanted;
        Ok(())
    }
}

/// What is in a slot, where it is the key that is meant.
fn open_slot(
    epoch: &Uid,
    (slot, stored): (&str, &[u8]),
    identity: &Identity,
    is_meant: impl Fn(&Identity) -> bool,
) -> Result<Identity, EpochError> {
    let plain = unwrap(stored, identity).map_err(|error| EpochError::Seal(slot.to_owned(), error))?;
    let plain = zeroize::Zeroizing::new(plain);
    let wrong = || EpochError::WrongKey { epoch: epoch.clone(), slot: slot.to_owned() };
    let text = std::str::from_utf8(&plain).map_err(|_| wrong())?;
    let opened = Identity::parse(text).map_err(|_| wrong())?;
    if is_meant(&opened) { Ok(opened) } else { Err(wrong()) }
}

/// A slot as it is stored.
#[derive(Clone, Debug)]
pub(super) struct StoredSlot {
    pub place: Key,
    /// The fingerprint of who can open it.
    pub recipient: String,
    pub stored: Vec<u8>,
    /// Why nobody can open it, as far as that is seen without a private key.
    pub wrong: Option<String>,
}

/// The slots of an epoch, whatever became of its document.
pub(super) async fn stored_slots(repository: &Repository, epoch: &Uid) -> Result<Vec<StoredSlot>, StoreError> {
    let mut slots = Vec::new();
    for object in list_notes(repository.store(), &layout::epoch_folder(epoch)).await? {
        let place = object.key;
        let Some(recipient) = place.name().strip_suffix(".age").map(str::to_owned) else { continue };
        if place != layout::slot(epoch, &recipient) || place == layout::canary(epoch) {
            continue;
        }
        let (stored, wrong) = if object.size > LARGEST_SLOT {
            (Vec::new(), Some(format!("it has {}, and no slot has so many", in_bytes(object.size))))
        } else {
            match repository.store().get(&place, None).await {
                Ok(stored) => (stored.to_vec(), slot_is_whole(repository, epoch, &stored).err()),
                // it was taken away meanwhile
                Err(error) if error.is_not_found() => continue,
                Err(StoreError { cause: cause @ Cause::TooLarge { .. }, .. }) => (Vec::new(), Some(cause.to_string())),
                Err(error) => return Err(error),
            }
        };
        slots.push(StoredSlot { place, recipient, stored, wrong });
    }
    Ok(slots)
}

/// Whether a slot is a file of age that has room for the key of the epoch. Whose key is in it, only a private key tells.
pub(super) fn slot_is_whole(repository: &Repository, epoch: &Uid, stored: &[u8]) -> Result<(), String> {
    // every key is as long as any other
    let text = slot_text(repository, epoch, &Identity::generate());
    is_whole(stored, text.len()).map_err(|error| error.to_string())
}

/// What is in a slot, for people and the program `age`.
fn slot_text(repository: &Repository, epoch: &Uid, key: &Identity) -> zeroize::Zeroizing<String> {
    let secret = key.secret();
    zeroize::Zeroizing::new(format!(
        "# midship: key of epoch {epoch} of repository {}\n# public key: {}\n{}\n",
        repository.uuid(),
        key.recipient(),
        secret.expose()
    ))
}

async fn put_slot(repository: &Repository, epoch: &Uid, key: &Identity, to: &Recipient) -> Result<(), EpochError> {
    let place = layout::slot(epoch, &to.fingerprint());
    let text = slot_text(repository, epoch, key);
    let stored = wrap(text.as_bytes(), to).map_err(|error| EpochError::Seal(place.to_string(), error))?;
    match repository.store().put_new(&place, crate::backup::store::Body::new(stored)).await {
        // every sealing is another one; the fingerprint says that it is for the same recipient
        Err(error) if error.already_exists() => Ok(()),
        answer => Ok(answer?),
    }
}
