//! Reading: which backups there are, and bringing them back. The store is the truth; nothing is believed that is not
//! signed, and no byte is handed out that is not the one that was written.

mod catalog;
mod chain;
mod restore;
mod sets;

use std::collections::BTreeMap;

pub use catalog::{Begun, Catalog, Failed, Found, Leftover, Problem};
pub use chain::{ChainError, Target};
pub use restore::{Content, ReadError};
pub use sets::{Set, SetError, in_order};

use super::keys::epoch::EpochError;
use super::keys::{Epoch, Identity, Kit, Opener};
use super::layout::Uid;
use super::repository::Repository;

/// The keys of epochs that one private key opens.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    keys: BTreeMap<Uid, Identity>,
    /// Why the others do not open.
    locked: BTreeMap<Uid, String>,
}

impl Keyring {
    /// Opens every epoch that can be opened. A kit helps where slots were lost, and documents of epochs.
    pub async fn unlock(repository: &Repository, identity: &Identity, kit: Option<&Kit>) -> Result<Self, EpochError> {
        let epochs = Epoch::all(repository).await?;
        let mut ring = Self { locked: epochs.unusable, ..Self::default() };
        for epoch in epochs.sound {
            let mut opened = epoch.unlock(repository, identity).await;
            if opened.is_err()
                && let Some(Ok(key)) = kit.and_then(|kit| kit.unlock(&epoch, identity))
            {
                opened = Ok(key);
            }
            match opened {
                Ok(key) => drop(ring.keys.insert(epoch.name, key)),
                Err(error) if !error.is_about_epoch() => return Err(error),
                Err(error) => drop(ring.locked.insert(epoch.name, error.to_string())),
            }
        }
        for name in kit.map(Kit::epochs).unwrap_or_default() {
            if ring.keys.contains_key(name) {
                continue;
            }
            match kit.and_then(|kit| kit.unlock_lost(name, identity)) {
                Some(Ok(key)) => {
                    ring.locked.remove(name);
                    ring.keys.insert(name.clone(), key);
                }
                Some(Err(error)) => {
                    ring.locked.entry(name.clone()).or_insert_with(|| error.to_string());
                }
                None => {}
            }
        }
        Ok(ring)
    }

    /// Whether there are epochs, and the private key opens none of them.
    pub fn opens_nothing(&self) -> bool {
        self.keys.is_empty() && !self.locked.is_empty()
    }

    /// Why epochs do not open.
    pub fn locked(&self) -> impl Iterator<Item = &str> {
        self.locked.values().map(String::as_str)
    }

    /// What opens a backup of this epoch.
    pub fn opener(&self, epoch: Option<&Uid>) -> Result<Opener, String> {
        let Some(epoch) = epoch else { return Ok(Opener::Clear) };
        match self.keys.get(epoch) {
            Some(key) => Ok(Opener::With(key.clone())),
            None => Err(self.locked.get(epoch).cloned().unwrap_or_else(|| format!("there is no epoch {epoch}"))),
        }
    }
}
