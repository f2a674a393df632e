//! Which backups a restore needs: the one that was asked for, and those it adds to.

use jiff::Timestamp;

use super::{Catalog, Found};
use crate::backup::id::Id;
use crate::backup::layout::{Owner, Place};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The newest that can be believed.
    Newest,
    Backup(Id),
    /// The newest that was complete by then: where a log is replayed from.
    By(Timestamp),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    #[error("there is no backup of this instance{0}")]
    Nothing(String),
    #[error("there is no backup {0}")]
    NoSuchBackup(Id),
    #[error("backup {id} is damaged: {problem}")]
    Damaged { id: Id, problem: String },
    #[error("backup {child} adds to {parent}, which is not there")]
    ParentGone { child: Id, parent: Id },
    #[error("backup {child} adds to {parent}, and another backup lies in its place")]
    ParentChanged { child: Id, parent: Id },
    #[error("backup {0} adds to itself")]
    Circle(Id),
}

impl Catalog {
    /// From the full backup to the one that was asked for.
    pub fn chain(&self, owner: &Owner, target: Target) -> Result<Vec<&Found>, ChainError> {
        self.chain_where(owner, target, |_| true)
    }

    /// The same; of the newest ones only those for which `will_do` holds. What they add to may be anything.
    pub fn chain_where(
        &self,
        owner: &Owner,
        target: Target,
        will_do: impl Fn(&Found) -> bool,
    ) -> Result<Vec<&Found>, ChainError> {
        match target {
            Target::Backup(id) => {
                let place = Place { owner: owner.clone(), id };
                self.chain_to(self.get(&place).ok_or(ChainError::NoSuchBackup(id))?)
            }
            Target::Newest => self.newest(owner, Timestamp::MAX, "", will_do),
            Target::By(at) => self.newest(owner, at, &format!(" that was complete at {at}"), will_do),
        }
    }

    fn newest(
        &self,
        owner: &Owner,
        by: Timestamp,
        when: &str,
        will_do: impl Fn(&Found) -> bool,
    ) -> Result<Vec<&Found>, ChainError> {
        let wanted =
            |found: &&Found| found.place.owner == *owner && found.manifest.completed_at <= by && will_do(found);
        let mut candidates: Vec<&Found> = self.found.iter().filter(wanted).collect();
        candidates.sort_by_key(|found| (found.manifest.completed_at, found.place.id));
        let mut reason = None;
        for found in candidates.into_iter().rev() {
            match self.chain_to(found) {
                Ok(chain) => return Ok(chain),
                // the newest one's reason is the one to tell
                Err(error) => reason = reason.or(Some(error)),
            }
        }
        Err(reason.unwrap_or_else(|| ChainError::Nothing(when.to_owned())))
    }

    fn chain_to<'a>(&'a self, last: &'a Found) -> Result<Vec<&'a Found>, ChainError> {
        let mut chain = Vec::new();
        let mut next = last;
        loop {
            if chain.iter().any(|found: &&Found| found.place == next.place) {
                return Err(ChainError::Circle(next.place.id));
            }
            if let Some(damage) = next.damage() {
                return Err(ChainError::Damaged { id: next.place.id, problem: damage.problems.join("; ") });
            }
            chain.push(next);
            let Some(parent) = &next.manifest.parent else { break };
            let (child, place) = (next.place.id, Place { owner: last.place.owner.clone(), id: parent.id });
            next = self.get(&place).ok_or(ChainError::ParentGone { child, parent: parent.id })?;
            if next.digest != parent.manifest {
                return Err(ChainError::ParentChanged { child, parent: parent.id });
            }
        }
        chain.reverse();
        Ok(chain)
    }
}
