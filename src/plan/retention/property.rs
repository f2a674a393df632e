//! Whatever there is and whatever the rules say: no kept backup loses what it needs, and a plan that was carried out has
//! nothing more to do at the same time.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::tests::backup;
use super::*;

fn scene() -> impl Strategy<Value = Facts> {
    let one = (
        0i64..60,
        any::<Option<prop::sample::Index>>(),
        any::<bool>(),
        prop::bool::weighted(0.1),
        0u8..4,
        any::<bool>(),
    );
    prop::collection::vec(one, 1..25).prop_map(|rows| {
        let mut backups: Vec<BackupFacts> = Vec::new();
        for (number, (day, parent, sound, hold, condemned, part)) in rows.into_iter().enumerate() {
            let parent = parent.filter(|_| !backups.is_empty()).map(|index| index.get(&backups).clone());
            let mut one = backup(&format!("b{number:02}"), day);
            if let Some(parent) = parent {
                one.completed_at = one.completed_at.max(parent.completed_at);
                one.parent = Some(parent.id);
            }
            one.sound = sound;
            one.hold = hold;
            one.condemned_at = (condemned == 0).then_some(one.completed_at);
            // of those that were begun one after the other
            let id = format!("s{}", number / 3);
            one.set = part.then_some(PartOf { id, whole: number.is_multiple_of(2), lacks: number % 4 == 1 });
            backups.push(one);
        }
        Facts { backups, ..Facts::default() }
    })
}

proptest! {
    #![proptest_config(crate::chance::fixed())]

    #[test]
    fn what_stays_has_all_it_needs(facts in scene(), count in 0usize..5, age in 0i64..60, allow_many: bool) {
        let now = Timestamp::from_second(1_780_000_000 + 61 * 86_400).expect("a time");
        let rule = Rules { count: (count > 0).then_some(count), age: Some(SignedDuration::from_hours(24 * age)), ..Rules::default() };
        let rules = BTreeMap::from([("orders".to_owned(), rule)]);
        let guards = Guards { allow_many, ..Guards::default() };
        let first = plan(&facts, &rules, &guards, now);
        prop_assert_eq!(&first, &plan(&facts, &rules, &guards, now));

        let going: BTreeSet<&str> = first.decisions.iter()
            .filter(|one| !matches!(one.verdict, Verdict::Keep(_) | Verdict::Revive(_)))
            .map(|one| one.id.as_str()).collect();
        for one in facts.backups.iter().filter(|one| !going.contains(one.id.as_str())) {
            prop_assert!(one.parent.as_deref().is_none_or(|parent| !going.contains(parent)), "{} lost its parent", one.id);
        }
        let set = |one: &BackupFacts| one.set.as_ref().map(|set| set.id.clone());
        for one in facts.backups.iter().filter(|one| one.set.is_some() && !going.contains(one.id.as_str())) {
            let mut others = facts.backups.iter().filter(|other| set(other) == set(one));
            prop_assert!(others.all(|other| !going.contains(other.id.as_str())), "{} lost a part of its set", one.id);
        }
        for one in &facts.backups {
            prop_assert!(!(one.hold && going.contains(one.id.as_str())));
        }
        // one that can be restored is always left, if there was one
        let restorable = |facts: &Facts| facts.backups.iter().any(|one| {
            let mut next = Some(one);
            while let Some(now) = next {
                if !now.sound { return false; }
                next = now.parent.as_ref().and_then(|parent| facts.backups.iter().find(|other| other.id == *parent));
            }
            true
        });
        let removed: BTreeSet<&str> = first.decisions.iter().filter(|one| one.verdict == Verdict::Remove).map(|one| one.id.as_str()).collect();
        for one in facts.backups.iter().filter(|one| !removed.contains(one.id.as_str())) {
            prop_assert!(one.parent.as_deref().is_none_or(|parent| !removed.contains(parent)), "{} is shown without its parent", one.id);
        }
        if first.refusal.is_none() {
            let mut after = facts.clone();
            after.backups.retain(|one| !removed.contains(one.id.as_str()));
            for one in &mut after.backups {
                match first.decisions.iter().find(|decision| decision.id == one.id).map(|decision| &decision.verdict) {
                    Some(Verdict::Condemn) => one.condemned_at = Some(now),
                    Some(Verdict::Revive(_)) => one.condemned_at = None,
                    _ => {}
                }
            }
            prop_assert_eq!(restorable(&facts), restorable(&after));
            prop_assert!(plan(&after, &rules, &guards, now).is_idle());
        }
    }
}
