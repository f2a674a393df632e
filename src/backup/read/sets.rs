//! Sets: the backups that one operation made of all groups of an instance. Each is a part of the data, and only all of them
//! together are a backup of it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Catalog, Found, Target};
use crate::api::labels::{GROUP, SET, SET_SAME, SET_SIZE};
use crate::backup::id::Id;
use crate::backup::layout::Owner;

/// Why a set cannot be put back as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    #[error("the set {id} has {there} of its {size} parts")]
    Missing { id: String, there: usize, size: usize },
    #[error("the part {part} ({group}) of the set {id} is damaged: {problem}")]
    Damaged { id: String, part: Id, group: String, problem: String },
    #[error(
        "the data was spread over the groups anew while the parts of the set {0} were made: they do not fit together"
    )]
    Moved(String),
    #[error("there is no set of backups of all groups of this instance")]
    Nothing,
}

/// What one operation made of all groups.
#[derive(Clone, Debug, PartialEq)]
pub struct Set<'a> {
    pub id: &'a str,
    /// How many parts it takes.
    pub size: usize,
    /// The newest of each group, in the order of the groups.
    pub parts: Vec<(&'a str, &'a Found)>,
}

impl Found {
    /// The set it is a part of, and how many parts that has.
    pub fn set(&self) -> Option<(&str, usize)> {
        let labels = &self.manifest.labels;
        let id = labels.get(SET).filter(|_| self.is_part())?;
        Some((id.as_str(), labels.get(SET_SIZE)?.parse().ok()?))
    }
}

impl Set<'_> {
    /// Since when all of it is there.
    pub fn completed_at(&self) -> Timestamp {
        let times = self.parts.iter().map(|(_, part)| part.manifest.completed_at);
        times.max().unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// How many parts are not there.
    pub fn missing(&self) -> usize {
        self.size.saturating_sub(self.parts.len())
    }

    /// Whether all of it can be put back, as far as the repository tells.
    pub fn check(&self) -> Result<(), SetError> {
        let id = self.id.to_owned();
        if self.parts.len() != self.size {
            return Err(SetError::Missing { id, there: self.parts.len(), size: self.size });
        }
        for (group, part) in &self.parts {
            if let Some(damage) = part.damage() {
                let (part, group, problem) = (part.place.id, (*group).to_owned(), damage.problems.join("; "));
                return Err(SetError::Damaged { id, part, group, problem });
            }
        }
        let mut spread = self.parts.iter().map(|(_, part)| part.manifest.labels.get(SET_SAME));
        let first = spread.next().flatten();
        if first.is_none() || spread.any(|one| one != first) { Err(SetError::Moved(id)) } else { Ok(()) }
    }
}

impl Catalog {
    /// All sets, whole or not, by whose they are and what they are called.
    pub fn sets(&self) -> BTreeMap<(&Owner, &str), Set<'_>> {
        gather(self.found.iter())
    }

    /// The set that a backup is a part of.
    pub fn set_of(&self, found: &Found) -> Option<Set<'_>> {
        let wanted = found.set()?;
        let same = |one: &&Found| one.place.owner == found.place.owner && one.set() == Some(wanted);
        gather(self.found.iter().filter(same)).into_values().next()
    }

    /// Of how many parts a backup is one, as far as anybody knows: others may never have been made, or be damaged.
    pub fn parts_of(&self, found: &Found) -> usize {
        self.parts(found).len().max(found.set().map_or(0, |(_, size)| size))
    }

    /// Whether it can be put back, as far as the repository tells: with all it adds to, and where it is a part of a set, with
    /// the others and all that those add to.
    pub fn is_restorable(&self, found: &Found) -> bool {
        let whole = |one: &Found| self.chain(&one.place.owner, Target::Backup(one.place.id)).is_ok();
        let others = |set: Set<'_>| set.check().is_ok() && set.parts.iter().all(|(_, part)| whole(part));
        whole(found) && self.set_of(found).is_none_or(others)
    }

    /// The newest set of an instance that was whole by then, else the first after that; where none is whole, why the newest is
    /// not. Asked again while newer sets are made, it gives the same.
    pub fn newest_set(&self, owner: &Owner, by: Timestamp) -> Result<Set<'_>, SetError> {
        let own = self.found.iter().filter(|found| found.place.owner == *owner);
        let mut sets: Vec<Set<'_>> = gather(own).into_values().collect();
        sets.sort_by_key(Set::completed_at);
        let later = sets.partition_point(|set| set.completed_at() <= by);
        let reason = sets.last().map_or(Err(SetError::Nothing), Set::check);
        let after = sets.split_off(later);
        match sets.into_iter().rev().chain(after).find(|set| set.check().is_ok()) {
            Some(whole) => Ok(whole),
            None => Err(reason.err().unwrap_or(SetError::Nothing)),
        }
    }
}

fn gather<'a>(all: impl Iterator<Item = &'a Found>) -> BTreeMap<(&'a Owner, &'a str), Set<'a>> {
    let mut sets: BTreeMap<(&Owner, &str), Set<'_>> = BTreeMap::new();
    for found in all {
        let (Some((id, size)), Some(group)) = (found.set(), found.manifest.labels.get(GROUP)) else { continue };
        let set = sets.entry((&found.place.owner, id)).or_insert_with(|| Set { id, size, parts: Vec::new() });
        // an agent that was started anew in the middle may have made one twice
        match set.parts.iter().position(|(known, _)| *known == group.as_str()) {
            Some(at) if set.parts[at].1.manifest.completed_at >= found.manifest.completed_at => {}
            Some(at) => set.parts[at].1 = found,
            None => set.parts.push((group.as_str(), found)),
        }
    }
    for set in sets.values_mut() {
        set.parts.sort_by_key(|(group, _)| in_order(group));
    }
    sets
}

/// Groups in the order people count them: `shard-2` comes before `shard-10`.
pub fn in_order(group: &str) -> (String, u64, String) {
    let stem = group.trim_end_matches(|letter: char| letter.is_ascii_digit());
    let number = group[stem.len()..].parse().unwrap_or_default();
    (stem.to_owned(), number, group.to_owned())
}
