//! What a new commit says of which objects: where only some files changed, only what they define is looked at.

use std::collections::BTreeSet;

use super::live::Part;
use super::look::Seen;
use super::memory::Remembered;
use super::settings::Settings;
use crate::plan::source::{Desired, ObjectId};

/// What has to be looked at for a commit: what it changed, and what somebody touched, where the one before it left nothing
/// open. Everything otherwise.
pub fn part(remembered: &Remembered, settings: &Settings, seen: &Seen, touched: Part) -> Part {
    let follows = remembered.plain && !remembered.unsettled && !remembered.is_asked_anew();
    let follows = follows && (settings.audit.is_none() || remembered.ledger.knows_branch());
    let before = remembered.planned.as_ref().filter(|before| follows && !before.is(seen));
    let changed = before.and_then(|before| between(before, seen));
    changed.map_or(Part::Everything, |changed| touched.and(changed))
}

/// The objects that a commit says something new of; none where everything has to be looked at for it, as for whatever
/// is defined no more.
fn between(before: &Seen, now: &Seen) -> Option<BTreeSet<ObjectId>> {
    let same = before.branch == now.branch
        && before.settings == now.settings
        && before.errors == now.errors
        && before.unknown == now.unknown
        && before.untrusted == now.untrusted
        && before.ignored == now.ignored
        && before.may_be_ignored == now.may_be_ignored;
    if !same {
        return None;
    }
    changed(&before.desired, &now.desired).filter(|ids| ids.iter().all(|id| id.kind.is_watched()))
}

/// Both are in the order of their ids.
fn changed(before: &[Desired], now: &[Desired]) -> Option<BTreeSet<ObjectId>> {
    let mut changed = BTreeSet::new();
    let mut before = before.iter().peekable();
    for desired in now {
        let known = before.next_if(|known| known.id <= desired.id);
        if known.is_some_and(|known| known.id < desired.id) {
            return None;
        }
        if known != Some(desired) {
            changed.insert(desired.id.clone());
        }
    }
    before.next().is_none().then_some(changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::source::ObjectKind;

    fn all(names: &[(&str, &str)]) -> Vec<Desired> {
        let id =
            |name: &str| ObjectId { kind: ObjectKind::Instance, namespace: Some("shop".into()), name: name.into() };
        let desired = |(name, digest): &(&str, &str)| Desired {
            id: id(name),
            path: format!("{name}.yaml"),
            digest: (*digest).into(),
        };
        names.iter().map(desired).collect()
    }

    fn names(before: &[(&str, &str)], now: &[(&str, &str)]) -> Option<Vec<String>> {
        Some(changed(&all(before), &all(now))?.into_iter().map(|id| id.name).collect())
    }

    #[test]
    fn what_is_new_and_what_says_something_else_is_looked_at() {
        let before = [("b", "1"), ("d", "1"), ("f", "1")];
        assert_eq!(names(&before, &before), Some(vec![]));
        let now = [("a", "1"), ("b", "1"), ("c", "1"), ("d", "2"), ("f", "1"), ("g", "1")];
        assert_eq!(names(&before, &now), Some(vec!["a".into(), "c".into(), "d".into(), "g".into()]));
    }

    #[test]
    fn what_is_defined_no_more_asks_for_a_look_at_everything() {
        let before = [("b", "1"), ("d", "1"), ("f", "1")];
        for now in [&before[1..], &before[..2], &[("b", "1"), ("c", "1"), ("f", "1")][..], &[]] {
            assert_eq!(names(&before, now), None, "{now:?}");
        }
    }
}
