//! Whether what is encrypted to an epoch can still be opened, as far as that is seen: without any private key that its
//! document, its canary and a slot are there and whole, and with one that they open. Nothing of it is written down beside
//! backups: with a recovery kit they can be restored all the same, and once the keys are back, they are whole.

use std::collections::BTreeMap;

use super::epoch::{Epoch, EpochError, StoredSlot, stored_slots};
use super::{Identity, Kit};
use crate::backup::document::DocumentError;
use crate::backup::layout::{self, Uid};
use crate::backup::repository::Repository;
use crate::backup::store::{Cause, StoreError};

/// Looks at each epoch once, however many backups are encrypted to it.
#[derive(Debug, Default)]
pub struct KeyCheck<'a> {
    kit: Option<&'a Kit>,
    identity: Option<&'a Identity>,
    looked: BTreeMap<Uid, Vec<String>>,
}

impl<'a> KeyCheck<'a> {
    /// More is seen by who has a recovery kit, or a private key.
    pub fn with(kit: Option<&'a Kit>, identity: Option<&'a Identity>) -> Self {
        Self { kit, identity, looked: BTreeMap::new() }
    }

    /// What is wrong with the keys of a backup of this epoch. A store that does not answer, or lets us not read, is no damage.
    pub async fn problems(&mut self, repository: &Repository, epoch: Option<&Uid>) -> Result<Vec<String>, StoreError> {
        let Some(name) = epoch else { return Ok(Vec::new()) };
        if let Some(known) = self.looked.get(name) {
            return Ok(known.clone());
        }
        let problems = self.look(repository, name).await?;
        self.looked.insert(name.clone(), problems.clone());
        Ok(problems)
    }

    async fn look(&self, repository: &Repository, name: &Uid) -> Result<Vec<String>, StoreError> {
        let mut problems = Vec::new();
        let mut slots = stored_slots(repository, name).await?;
        if !has_whole(&slots) {
            // somebody may have given it to others between the listing and the look
            slots = stored_slots(repository, name).await?;
        }
        if !has_whole(&slots) {
            problems.push(unopened(name, &slots));
        }
        match Epoch::named(repository, name).await {
            Ok(epoch) => self.look_into(repository, &epoch, &slots, &mut problems).await?,
            Err(error) => {
                let document = layout::epoch(name);
                let reason = match error {
                    EpochError::NotThere(_) => format!("{document} is not there"),
                    error => damage(error)?,
                };
                problems.push(format!(
                    "its key epoch {name} cannot be believed: {reason}; put {document} back from a copy or an older version \
                     of the store, or restore with the recovery kit"
                ));
            }
        }
        Ok(problems)
    }

    async fn look_into(
        &self,
        repository: &Repository,
        epoch: &Epoch,
        slots: &[StoredSlot],
        problems: &mut Vec<String>,
    ) -> Result<(), StoreError> {
        let name = &epoch.name;
        let ours = self.identity.map(|identity| identity.recipient().fingerprint());
        let mut opened = None;
        // one that was made for others has no slot, which is no damage
        if let Some(identity) = self.identity
            && slots.iter().any(|slot| slot.wrong.is_none() && Some(&slot.recipient) == ours.as_ref())
        {
            match epoch.unlock(repository, identity).await {
                Ok(key) => opened = Some(key),
                Err(error) => problems.push(format!(
                    "its key epoch {name} does not open with the private key: {}; put the slot back from the recovery kit",
                    damage(error)?
                )),
            }
        }
        if let Err(error) = epoch.check_canary(repository, opened.as_ref()).await {
            let canary = layout::canary(name);
            problems.push(format!(
                "its key epoch {name} cannot be believed: {}; put {canary} back from a copy or an older version of the store",
                damage(error)?
            ));
        }
        let known = self.kit.into_iter().flat_map(|kit| &kit.slots).filter(|known| known.epoch == *name);
        for known in known {
            let there = slots.iter().find(|slot| slot.recipient == known.recipient && slot.wrong.is_none());
            let opens = opened.is_some() && ours.as_ref() == Some(&known.recipient);
            if let Some(slot) = there.filter(|slot| slot.stored != known.stored && !opens) {
                problems.push(format!(
                    "its key epoch {name} has another slot than the recovery kit: {} was replaced; put it back from the kit, \
                     or print a new kit if somebody made the slot anew",
                    slot.place
                ));
            }
        }
        Ok(())
    }
}

fn has_whole(slots: &[StoredSlot]) -> bool {
    slots.iter().any(|slot| slot.wrong.is_none())
}

/// What to say where there is no slot that anybody could open.
fn unopened(name: &Uid, slots: &[StoredSlot]) -> String {
    let wrong = slots.iter().filter_map(|slot| Some(format!("{}: {}", slot.place, slot.wrong.as_ref()?)));
    let wrong = wrong.collect::<Vec<_>>().join(", ");
    let folder = layout::epoch_folder(name);
    let wrong = if wrong.is_empty() { format!("{folder} has none") } else { wrong };
    format!("its key epoch {name} has no slot that can be read: {wrong}; put {folder}*.age back from the recovery kit")
}

/// What is said of damage. What cannot be reached now is none, and neither is what we may not read.
fn damage(error: EpochError) -> Result<String, StoreError> {
    match error {
        EpochError::Document(DocumentError::Store(error))
            if !matches!(error.cause, Cause::NotFound | Cause::TooLarge { .. }) =>
        {
            Err(error)
        }
        error => Ok(error.to_string()),
    }
}
