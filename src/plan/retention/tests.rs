//! Retention decided on scenes, with the reasons a person reads.

use std::collections::BTreeMap;

use super::*;

fn at(day: i64) -> Timestamp {
    Timestamp::from_second(1_780_000_000 + day * 86_400).expect("a time")
}

fn days(days: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * days)
}

pub fn backup(id: &str, day: i64) -> BackupFacts {
    BackupFacts {
        id: id.into(),
        instance: "orders".into(),
        group: None,
        ours: true,
        completed_at: at(day),
        parent: None,
        labels: BTreeMap::new(),
        hold: false,
        sound: true,
        set: None,
        restored_at: None,
        condemned_at: None,
        bytes: 1,
        log: None,
    }
}

fn failed(day: i64, remains: Remains) -> AttemptFacts {
    AttemptFacts {
        id: format!("attempt-{day}"),
        instance: "orders".into(),
        ours: true,
        parent: None,
        started_at: at(day),
        active_at: at(day),
        lease: days(1),
        remains,
    }
}

fn rules(rules: Rules) -> BTreeMap<String, Rules> {
    BTreeMap::from([("orders".into(), rules)])
}

fn decide(facts: &Facts, by: Rules, day: i64) -> String {
    let plan = plan(facts, &rules(by), &Guards::default(), at(day));
    let lines = plan.decisions.iter().map(|one| format!("{}: {}", one.id, one.verdict));
    let refusal = plan.refusal.iter().map(|refusal| format!("refused: {refusal}"));
    refusal.chain(lines).collect::<Vec<_>>().join("\n")
}

fn facts(backups: impl IntoIterator<Item = BackupFacts>) -> Facts {
    Facts { backups: backups.into_iter().collect(), ..Facts::default() }
}

#[test]
fn the_newest_so_many_stay_and_damaged_ones_take_no_place() {
    let facts = facts([backup("a", 1), backup("b", 2), BackupFacts { sound: false, ..backup("c", 3) }, backup("d", 4)]);
    let decided = decide(&facts, Rules { count: Some(2), ..Rules::default() }, 5);
    insta::assert_snapshot!(decided, @r"
    a: goes: nothing keeps it; it waits with a tombstone first
    b: stays: number 2 of the newest 2
    c: goes: nothing keeps it; it waits with a tombstone first
    d: stays: the newest sound one of its instance; number 1 of the newest 2
    ");
}

#[test]
fn each_group_has_its_own_newest_and_its_own_failures() {
    let of = |id, day, group: &str| BackupFacts { group: Some(group.into()), ..backup(id, day) };
    let mut facts = facts([of("a1", 1, "a"), of("b1", 1, "b"), of("a2", 2, "a"), of("b2", 2, "b"), of("c2", 2, "c")]);
    let by = || Rules { count: Some(1), ..Rules::default() };
    let goes = |decided: &str| {
        let lines = decided.lines().filter(|line| line.contains("goes: nothing keeps it"));
        lines.map(|line| line[..2].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(goes(&decide(&facts, by(), 9)), ["a1", "b1"]);
    // that of another group came after it
    facts.attempts.push(failed(3, Remains::Note { at: at(3) }));
    facts.backups.push(of("b3", 4, "b"));
    let guarded = decide(&facts, by(), 9);
    assert_eq!(goes(&guarded), ["b1", "b2"], "{guarded}");
    assert!(guarded.contains("a1: stays: the last attempt"), "{guarded}");
}

/// A part of a set of two, of the group that its name begins with.
fn part(id: &str, day: i64, set: &str, whole: bool, lacks: bool) -> BackupFacts {
    let set = Some(PartOf { id: set.into(), whole, lacks });
    BackupFacts { group: Some(id[..1].into()), set, ..backup(id, day) }
}

#[test]
fn half_a_set_is_no_backup_and_a_part_that_stays_keeps_the_others() {
    let whole = |id, day, set| part(id, day, set, true, false);
    // of the third one part was never made, one of the fourth is damaged: neither pushes out what can be restored
    let half = part("a3", 3, "three", false, true);
    let (fine, broken) = (part("a4", 4, "four", false, false), part("b4", 4, "four", false, false));
    let all = [whole("a1", 1, "one"), whole("b1", 1, "one"), whole("a2", 2, "two"), whole("b2", 2, "two"), half, fine];
    let facts = facts(all.into_iter().chain([BackupFacts { sound: false, ..broken }]));
    insta::assert_snapshot!(decide(&facts, Rules { count: Some(1), ..Rules::default() }, 9), @r"
    refused: 3 of 4 backups would go at once, more than 30%, where each chain and each set counts as one: look at the plan and allow it if it is meant
    a1: goes: nothing keeps it; it waits with a tombstone first
    b1: goes: nothing keeps it; it waits with a tombstone first
    a2: stays: the newest sound one of its instance; number 1 of the newest 1
    b2: stays: the newest sound one of its instance; number 1 of the newest 1
    a3: goes: nothing keeps it; it waits with a tombstone first
    a4: goes: nothing keeps it; it waits with a tombstone first
    b4: goes: nothing keeps it; it waits with a tombstone first
    ");
    let mut held = facts;
    held.backups[1].hold = true;
    held.backups[0].condemned_at = Some(at(3));
    let decided = decide(&held, Rules { count: Some(1), ..Rules::default() }, 9);
    assert!(decided.contains("b1: stays: it is held\n"), "{decided}");
    assert!(decided.contains("a1: stays after all: b1, another part of its set, stays\n"), "{decided}");
}

#[test]
fn parts_that_were_made_by_themselves_do_not_push_out_the_newest_set() {
    let alone = |id: &str, day| BackupFacts { group: Some(id[..1].into()), ..backup(id, day) };
    let set = [part("a1", 1, "one", true, false), part("b1", 1, "one", true, false)];
    let facts = facts(set.into_iter().chain([alone("a2", 2), alone("b2", 2)]));
    let decided = decide(&facts, Rules { count: Some(1), ..Rules::default() }, 9);
    for stays in ["a1: stays: the newest sound one", "b1: stays: the newest sound one"] {
        assert!(decided.contains(stays), "{decided}");
    }
    assert!(decided.contains("a2: stays: the newest sound one of its instance; number 1 of the newest 1"), "{decided}");
}

#[test]
fn parts_of_a_set_that_is_being_made_wait_for_the_others() {
    let facts = facts([
        part("a1", 1, "one", true, false),
        part("b1", 1, "one", true, false),
        part("a2", 2, "two", false, true),
    ]);
    let by = || Rules { count: Some(1), ..Rules::default() };
    let now = decide(&facts, by(), 3);
    assert!(now.contains("a1: stays: the newest sound one of its instance"), "{now}");
    assert!(now.contains("a2: stays: other parts of its set may still come until "), "{now}");
    assert!(decide(&facts, by(), 9).contains("a2: goes: "), "{now}");
    // where there is nothing better, what there is stays
    let alone = BTreeMap::from([("orders".to_owned(), by())]);
    let plan =
        plan(&Facts { backups: vec![facts.backups[2].clone()], ..Facts::default() }, &alone, &Guards::default(), at(9));
    assert_eq!(plan.decisions[0].verdict, Verdict::Keep(vec![Reason::Newest]));
}

#[test]
fn what_a_kept_backup_adds_to_stays_with_it() {
    let child = |id, parent: &str, day| BackupFacts { parent: Some(parent.into()), ..backup(id, day) };
    let facts = facts([backup("full", 1), child("one", "full", 2), child("two", "one", 3), child("other", "full", 2)]);
    let decided = decide(&facts, Rules { count: Some(1), ..Rules::default() }, 100);
    insta::assert_snapshot!(decided, @r"
    full: stays: one adds to it
    one: stays: two adds to it
    two: stays: the newest sound one of its instance; number 1 of the newest 1
    other: goes: nothing keeps it; it waits with a tombstone first
    ");
}

#[test]
fn a_condemned_backup_waits_and_comes_back_when_somebody_holds_it() {
    let condemned = BackupFacts { condemned_at: Some(at(5)), ..backup("a", 1) };
    let all = |one: BackupFacts| facts([one, backup("b", 5)]);
    let by = || Rules { count: Some(1), ..Rules::default() };
    assert!(decide(&all(condemned.clone()), by(), 5).starts_with("a: goes: it is removed after"));
    assert!(decide(&all(condemned.clone()), by(), 6).starts_with("a: is removed"));
    let held = BackupFacts { hold: true, ..condemned };
    assert!(decide(&all(held), by(), 6).starts_with("a: stays after all: it is held"));
}

#[test]
fn a_parent_is_never_removed_before_its_child() {
    let parent = BackupFacts { condemned_at: Some(at(5)), ..backup("a", 1) };
    let child = |condemned_at| BackupFacts { condemned_at, parent: Some("a".into()), ..backup("b", 2) };
    let by = || Rules { count: Some(1), ..Rules::default() };
    let with = |child| facts([parent.clone(), child, backup("c", 9)]);
    assert!(decide(&with(child(Some(at(9)))), by(), 9).starts_with("a: goes: it is removed after"));
    assert!(decide(&with(child(None)), by(), 9).starts_with("a: goes: it is removed after"));
    assert!(decide(&with(child(Some(at(6)))), by(), 9).starts_with("a: is removed"));
}

#[test]
fn ages_and_labels_keep_as_long_as_they_say() {
    let labels = BTreeMap::from([("tier".to_owned(), "monthly".to_owned())]);
    let facts = facts([BackupFacts { labels, ..backup("a", 0) }, backup("b", 0), backup("c", 30)]);
    let by = || Rules {
        age: Some(days(7)),
        by_label: vec![("tier".into(), "monthly".into(), days(365))],
        ..Rules::default()
    };
    let decided = decide(&facts, by(), 31);
    assert!(decided.starts_with("a: stays: label tier=monthly keeps it until"), "{decided}");
    assert!(decided.contains("b: goes"), "{decided}");
    assert!(decide(&facts, by(), 400).contains("c: stays: the newest sound one"));
}

#[test]
fn nothing_goes_after_a_failure_or_without_rules() {
    let mut facts = facts([backup("a", 1), backup("b", 2)]);
    let by = || Rules { count: Some(1), ..Rules::default() };
    assert!(decide(&facts, Rules::default(), 9).starts_with("a: stays: nobody said"));
    facts.attempts.push(failed(3, Remains::Note { at: at(3) }));
    assert!(decide(&facts, by(), 9).starts_with("a: stays: the last attempt"));
    facts.attempts[0] = failed(1, Remains::Note { at: at(1) });
    assert!(decide(&facts, by(), 9).starts_with("a: goes"));
}

#[test]
fn guards_refuse_what_looks_like_a_mistake() {
    let many: Vec<BackupFacts> = (0..10).map(|day| backup(&day.to_string(), day)).collect();
    let mut facts = facts(many);
    let by = || Rules { count: Some(6), ..Rules::default() };
    assert!(decide(&facts, by(), 20).starts_with("refused: 4 of 10 backups would go at once, more than 30%"));
    assert!(!decide(&facts, Rules { count: Some(7), ..Rules::default() }, 20).contains("refused"));
    facts.clock_skew = SignedDuration::from_mins(-6);
    assert!(decide(&facts, by(), 20).starts_with("refused: the clock of the store"));
    facts.unreadable.push("c/1/2/b/3/manifest.json was changed".into());
    assert!(decide(&facts, by(), 20).starts_with("refused: 1 objects cannot be read"));
}

#[test]
fn a_chain_or_a_set_that_goes_as_a_whole_is_one_backup_of_many() {
    // a week's chain is as many backups as days, and goes with its last one: a third of three weeks is no mistake
    let chain = |name: &str, week: i64| -> Vec<BackupFacts> {
        let parent = |day: i64| (day > 0).then(|| format!("{name}{}", day - 1));
        let day = |day: i64| BackupFacts { parent: parent(day), ..backup(&format!("{name}{day}"), week * 7 + day) };
        (0..7).map(day).collect()
    };
    let going = |facts: &Facts, rules, now| {
        let all = BTreeMap::from([("orders".to_owned(), rules)]);
        let plan = plan(facts, &all, &Guards::default(), at(now));
        (plan.refusal, plan.decisions.iter().filter(|one| one.verdict == Verdict::Condemn).count())
    };
    let chains = facts(["a", "b", "c"].into_iter().zip(0..).flat_map(|(name, week)| chain(name, week)));
    let fortnight = || Rules { age: Some(days(14)), ..Rules::default() };
    assert_eq!(going(&chains, fortnight(), 20), (None, 7));
    let parts =
        |day: i64| ["a", "b", "c"].map(|group| part(&format!("{group}{day}"), day, &format!("s{day}"), true, false));
    let sets = facts((0..3).flat_map(parts));
    assert_eq!(going(&sets, Rules { count: Some(2), ..Rules::default() }, 9), (None, 3));
    // many of them are many
    let chains = facts(["a", "b", "c", "d"].into_iter().zip(0..).flat_map(|(name, week)| chain(name, week)));
    let refused = Refusal::TooMany { going: 3, all: 4, percent: 30 };
    assert_eq!(going(&chains, Rules { count: Some(1), ..Rules::default() }, 40), (Some(refused), 21));
}

#[test]
fn attempts_are_left_alone_while_somebody_may_work_on_them() {
    let verdict = |remains, day| {
        let facts = Facts { attempts: vec![failed(0, remains)], ..Facts::default() };
        plan(&facts, &BTreeMap::new(), &Guards::default(), at(day)).attempts[0].1
    };
    assert!(matches!(verdict(Remains::Open, 1), AttemptVerdict::Leave { .. }));
    assert_eq!(verdict(Remains::Open, 2), AttemptVerdict::Void);
    assert!(matches!(verdict(Remains::Over { at: at(2) }, 2), AttemptVerdict::Remember { .. }));
    assert_eq!(verdict(Remains::Over { at: at(2) }, 3), AttemptVerdict::Clear);
    assert!(matches!(verdict(Remains::Note { at: at(2) }, 30), AttemptVerdict::Remember { .. }));
    assert_eq!(verdict(Remains::Note { at: at(2) }, 33), AttemptVerdict::Forget);
    assert_eq!(verdict(Remains::Leftover, 0), AttemptVerdict::Clear);
    // an operation that was given all the time there is
    let for_ever = AttemptFacts { lease: SignedDuration::MAX, ..failed(0, Remains::Open) };
    let facts = Facts { attempts: vec![for_ever], ..Facts::default() };
    let left = plan(&facts, &BTreeMap::new(), &Guards::default(), at(9)).attempts[0].1;
    assert_eq!(left, AttemptVerdict::Leave { until: Timestamp::MAX });
}

#[test]
fn logs_stay_from_the_oldest_backup_that_is_there() {
    let with_log = |id, day, first| BackupFacts { log: Some(LogNeed { system: "7".into(), first }), ..backup(id, day) };
    let mut facts = facts([with_log("a", 1, 10), BackupFacts { ours: false, ..with_log("b", 2, 5) }]);
    let first = |facts: &Facts| plan(facts, &BTreeMap::new(), &Guards::default(), at(9)).logs.get("7").copied();
    assert_eq!(first(&facts), Some(5));
    facts.backups.pop();
    assert_eq!(first(&facts), Some(10));
}

#[test]
fn what_stays_says_until_when_where_that_is_known() {
    let full = backup("full", 0);
    let more = BackupFacts { parent: Some("full".into()), ..backup("more", 10) };
    let held = BackupFacts { hold: true, ..backup("held", 1) };
    let newest = backup("newest", 11);
    let facts = facts([full, more, held, newest]);
    let rules = BTreeMap::from([("orders".to_owned(), Rules { age: Some(days(20)), ..Rules::default() })]);
    let plan = plan(&facts, &rules, &Guards::default(), at(12));
    let known = BTreeMap::from([("full", Some(at(30))), ("more", Some(at(30))), ("held", None), ("newest", None)]);
    assert_eq!(plan.stays(), known);
}

#[test]
fn until_when_something_stays_is_known_for_long_chains_of_sets_and_for_rings() {
    let known = |backups: Vec<BackupFacts>, day: i64| {
        let facts = facts(backups);
        let plan = plan(&facts, &rules(Rules { age: Some(days(20)), ..Rules::default() }), &Guards::default(), at(day));
        plan.stays().into_iter().map(|(id, until)| (id.to_owned(), until)).collect::<BTreeMap<_, _>>()
    };
    // there are more ways from the first of them to the last than anybody can walk
    let parts = |day: i64| {
        ["a", "b", "c"].map(|group| BackupFacts {
            parent: (day > 0).then(|| format!("{group}{}", day - 1)),
            ..part(&format!("{group}{day}"), day, &format!("s{day}"), false, false)
        })
    };
    let alone = ["a", "b", "c"]
        .map(|group| BackupFacts { group: Some(group.into()), ..backup(&format!("{group}-alone"), 101) });
    let ends = known((0..100).flat_map(parts).chain(alone).collect(), 102);
    let (newest, chains): (Vec<_>, Vec<_>) = ends.iter().partition(|(id, _)| id.ends_with("-alone"));
    assert_eq!((newest.len(), chains.len()), (3, 300));
    assert!(newest.iter().all(|(_, until)| until.is_none()));
    assert!(chains.iter().all(|(_, until)| **until == Some(at(119))), "{chains:?}");

    // nothing that a store says makes this go on for ever
    let ring = |id: &str, day: i64, parent: &str| BackupFacts {
        parent: Some(parent.into()),
        ..part(id, day, "one", false, false)
    };
    let ring = vec![ring("a1", 1, "b1"), ring("b1", 2, "a1"), ring("c1", 3, "c1")];
    let until = Some(at(23));
    assert_eq!(known(ring, 22), BTreeMap::from(["a1", "b1", "c1"].map(|id| (id.to_owned(), until))));
}
