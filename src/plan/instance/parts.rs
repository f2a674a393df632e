//! What of an instance is applied and what is deleted: only what differs from what was applied, and what somebody changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

/// An object of an instance, in the instance's namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartId {
    pub api_version: String,
    pub kind: String,
    pub name: String,
}

impl PartId {
    pub fn new(api_version: &str, kind: &str, name: &str) -> Self {
        Self { api_version: api_version.to_owned(), kind: kind.to_owned(), name: name.to_owned() }
    }

    /// The object a manifest is of.
    pub fn of(manifest: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let name = text(&manifest["metadata"]["name"]);
        Self { api_version: text(&manifest["apiVersion"]), kind: text(&manifest["kind"]), name }
    }

    /// As it stands in an inventory.
    pub fn listed(&self) -> String {
        format!("{} {} {}", self.api_version, self.kind, self.name)
    }

    /// One line of an inventory.
    pub fn from_listed(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let (api_version, kind, name) = (words.next()?, words.next()?, words.next()?);
        Some(Self::new(api_version, kind, name))
    }
}

impl fmt::Display for PartId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// What is known of an object that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    pub uid: String,
    /// UID of the object that controls it, and what that one is, for people.
    pub owner: Option<(String, String)>,
    /// Changes whenever somebody changes the object; none where it is not watched.
    pub version: Option<String>,
    /// Counts up with every change, so that old news is known as such.
    pub counter: u64,
    pub deleting: bool,
    /// Whether it says that it is this instance's.
    pub labelled: bool,
}

/// What was applied, as far as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Digest of what was asked for.
    pub digest: String,
    pub uid: String,
    pub version: String,
    pub counter: u64,
}

/// Why an object is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// It is not there.
    Missing,
    /// It is there, and it is not known what was last asked for.
    Unverified,
    /// Something else is asked for now.
    Changed,
    /// Somebody changed it.
    Drifted,
}

/// What is done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order of what is wanted.
    pub apply: Vec<(PartId, Why)>,
    /// With the UID, so that no namesake goes instead.
    pub delete: Vec<(PartId, Option<String>)>,
    /// Objects that belong to somebody else, and to whom.
    pub foreign: Vec<(PartId, String)>,
}

impl Plan {
    pub fn is_quiet(&self) -> bool {
        self.apply.is_empty() && self.delete.is_empty()
    }
}

/// What decides. `live` is all that is known to be there, of this instance and of others by the same names.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// The instance's UID.
    pub owner: &'a str,
    /// What is wanted, with the digest of each.
    pub wanted: &'a [(PartId, String)],
    /// Wanted too, and not to be applied now: as far as anybody knows, the cluster does not have their kind. They stay.
    pub held: &'a BTreeSet<PartId>,
    pub live: &'a BTreeMap<PartId, Live>,
    pub applied: &'a BTreeMap<PartId, Applied>,
}

/// Decides.
pub fn plan(situation: Situation<'_>) -> Plan {
    let Situation { owner, wanted, held, live, applied } = situation;
    let mut plan = Plan::default();
    for (id, digest) in wanted {
        let (here, known) = (live.get(id), applied.get(id));
        let why = match (here, known) {
            (Some(here), _) if here.owner.as_ref().is_some_and(|(uid, _)| uid != owner) => {
                let of = here.owner.as_ref().map(|(_, of)| of.clone()).unwrap_or_default();
                plan.foreign.push((id.clone(), of));
                continue;
            }
            (Some(here), None) if here.version.is_some() && here.owner.is_none() && !here.labelled => {
                plan.foreign.push((id.clone(), "somebody else".to_owned()));
                continue;
            }
            // it goes, and is made anew after that
            (Some(here), _) if here.deleting => continue,
            (_, None) if here.is_none() => Some(Why::Missing),
            (_, None) => Some(Why::Unverified),
            (_, Some(known)) if known.digest != *digest => Some(Why::Changed),
            (None, Some(_)) => Some(Why::Missing),
            (Some(here), Some(known)) => drift(here, known),
        };
        plan.apply.extend(why.map(|why| (id.clone(), why)));
    }
    let wanted = |id: &PartId| wanted.iter().any(|(known, _)| known == id);
    for (id, here) in live {
        let ours = here.owner.as_ref().map_or(here.version.is_none(), |(uid, _)| uid == owner);
        if ours && !here.deleting && !wanted(id) && !held.contains(id) {
            plan.delete.push((id.clone(), Some(here.uid.clone()).filter(|uid| !uid.is_empty())));
        }
    }
    plan
}

fn drift(here: &Live, known: &Applied) -> Option<Why> {
    let version = here.version.as_ref()?;
    let old_news = here.counter < known.counter;
    let same = *version == known.version && here.uid == known.uid;
    (!same && !old_news).then_some(Why::Drifted)
}
