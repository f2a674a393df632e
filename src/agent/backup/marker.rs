//! The note on a volume that says what was restored to it, written last; and who has to wait for it.

use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use serde_with::skip_serializing_none;

use super::{BackupError, note};
use crate::backup::id::Id;

const NAME: &str = ".midship-restored.json";

/// What was restored.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Marker {
    /// The restore the pod's configuration asked for; nothing where somebody ordered it without.
    pub restore: Option<String>,
    pub backup: Id,
    /// The method it was made by, whose checks prove it; nothing where an older agent restored it.
    pub method: Option<String>,
    /// The time that was asked for.
    pub until: Option<Timestamp>,
    /// The same as steps are told; empty for the backup alone.
    #[serde(default)]
    pub target: String,
    /// What was known of the data when the backup was made, for the checks.
    #[serde(default)]
    pub facts: Map<String, Value>,
    pub at: Timestamp,
}

impl Marker {
    pub fn read(data: &Path) -> Result<Option<Self>, BackupError> {
        note::read(data, NAME)
    }

    pub fn write(&self, data: &Path) -> Result<(), BackupError> {
        note::write(data, NAME, self)
    }

    pub fn remove(data: &Path) -> Result<(), BackupError> {
        note::remove(data, NAME)
    }
}

/// What decides whether a pod's process may start.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::struct_excessive_bools)] // facts about one pod, each by itself
pub struct Facts<'a> {
    /// The restore the configuration asks for.
    pub wanted: Option<&'a str>,
    /// The restore the volume's marker names.
    pub restored: Option<&'a str>,
    /// Data is being put back now.
    pub restoring: bool,
    /// A restore that nobody asks for again by himself began to change the volume, and did not end.
    pub interrupted: bool,
    /// Backups are restored to this pod; the others follow it.
    pub first: bool,
    /// Midship hands out an exclusive role, so that the others have somebody to follow.
    pub handed_out: bool,
    /// The pod has data of its set already.
    pub member: bool,
    /// Another pod holds the role.
    pub led: bool,
}

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The end of the restore under way.
    Restoring,
    /// Somebody has to restore anew: what is on the volume is neither the old data nor the new.
    Interrupted,
    /// Somebody has to ask for the restore of this name.
    Restore(String),
    /// The first pod of the set has to be restored and to take the role.
    First,
}

/// Why the process may not start now, if so.
pub fn hold(facts: Facts<'_>) -> Option<Hold> {
    if facts.restoring {
        return Some(Hold::Restoring);
    }
    // whoever follows somebody gets data from there
    if facts.interrupted && !facts.led && !facts.member {
        return Some(Hold::Interrupted);
    }
    let wanted = facts.wanted?;
    // whoever lost its volume later copies what the others have, and whoever has their data keeps it
    if facts.restored == Some(wanted) || facts.led || facts.member {
        return None;
    }
    match (facts.first, facts.handed_out) {
        (true, _) => Some(Hold::Restore(wanted.to_owned())),
        (false, true) => Some(Hold::First),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_restored_starts_first_and_the_others_follow() {
        let first = Facts { wanted: Some("r"), first: true, handed_out: true, ..Facts::default() };
        let other = Facts { first: false, ..first };
        assert_eq!(hold(first), Some(Hold::Restore("r".into())));
        assert_eq!(hold(other), Some(Hold::First));
        assert_eq!(hold(Facts { restored: Some("old"), ..first }), Some(Hold::Restore("r".into())));
        assert_eq!(hold(Facts { restored: Some("r"), ..first }), None);
        assert_eq!(hold(Facts { restored: Some("r"), restoring: true, ..first }), Some(Hold::Restoring));
        for led in [first, other] {
            assert_eq!(hold(Facts { led: true, ..led }), None, "the data comes from whoever has the role");
        }
        assert_eq!(hold(Facts { handed_out: false, ..other }), None);
        assert_eq!(hold(Facts { first: true, ..Facts::default() }), None);
    }

    #[test]
    fn what_a_restore_left_half_done_never_starts_by_itself() {
        let half = Facts { interrupted: true, first: true, ..Facts::default() };
        let asked = Facts { wanted: Some("r"), ..half };
        for alone in [half, asked, Facts { handed_out: true, ..half }, Facts { restored: Some("r"), ..asked }] {
            assert_eq!(hold(alone), Some(Hold::Interrupted));
        }
        assert_eq!(hold(Facts { restoring: true, ..half }), Some(Hold::Restoring));
        assert_eq!(hold(Facts { led: true, ..half }), None, "it gets the data of whoever leads");
        assert_eq!(hold(Facts { member: true, ..half }), None, "it was begun, and nothing was changed yet");
    }

    #[test]
    fn a_marker_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Marker::read(dir.path()).unwrap(), None);
        let at = Timestamp::UNIX_EPOCH;
        let marker = Marker {
            restore: Some("r".into()),
            backup: Id::new(at),
            method: Some("m".into()),
            until: Some(at),
            target: "latest".into(),
            facts: Map::from_iter([("rows".to_owned(), Value::from(3))]),
            at,
        };
        marker.write(dir.path()).unwrap();
        assert_eq!(Marker::read(dir.path()).unwrap(), Some(marker));
        Marker::remove(dir.path()).unwrap();
        Marker::remove(dir.path()).unwrap();
        assert_eq!(Marker::read(dir.path()).unwrap(), None);
    }
}
