//! The role is handed over because somebody wants it elsewhere.

use super::*;

#[test]
fn a_switchover_is_refused_with_the_name_of_the_pod_to_ask() {
    let state = State::new(settings(2), None, 0);
    let holder = Some(Holder { pod: "p-1".into(), uid: "b".into() });
    let seen = Seen { record: Record { holder, ..Record::default() }, version: "1".into() };
    let (state, _) = feed(state, Event::Lease(Some(seen)), 0);
    let (_, orders) = feed(state, Event::Switchover { ticket: 3, target: None, force: false }, 1);
    let reason = "p-0 does not have the role; ask p-1".to_owned();
    assert_eq!(orders, [Order::Answer { ticket: 3, result: Err(reason) }]);
}

#[test]
fn a_release_that_is_seen_before_its_answer_hands_over_like_any_other() {
    let taken = |state: State| {
        let record = Record { holder: Some(state.settings.me.clone()), epoch: 3, served: Some(3), ..Record::default() };
        let record = Record { duration: 10_000, ..record };
        let (state, _) = feed(state, Event::Process(Process::Up), 0);
        let (state, _) = feed(state, Event::Lease(None), 10);
        let seen = Seen { record: record.clone(), version: "12".into() };
        let (state, _) =
            feed(state, Event::Written { purpose: Purpose::Take, sent: 10, result: Written::Done(seen) }, 40);
        (state, record)
    };
    let (state, record) = taken(State::new(settings(2), Some(3), 0));
    let (state, _) = feed(state, Event::Switchover { ticket: 7, target: Some("p-1".into()), force: false }, 100);
    let peer = Peer { up: true, data: Some(3), position: Some(5), exact: true, lag: None, follows: None };
    let (state, orders) = feed(state, Event::Peers(BTreeMap::from([("p-1".to_owned(), peer)])), 110);
    let deed = Deed::Switchover { target: "p-1".into() };
    assert_eq!(orders, [Order::Do(deed.clone())]);
    let (state, orders) = feed(state, Event::Did { deed, result: Ok(()) }, 200);
    let given = Record { holder: None, candidate: Some("p-1".into()), ..record.clone() };
    let write = Order::Write { purpose: Purpose::Release, record: given.clone(), version: Some("12".into()) };
    assert!(orders.contains(&write), "{orders:?}");

    // the watch is faster than the answer, and so is whoever takes it
    let released = Seen { record: given, version: "13".into() };
    let (state, orders) = feed(state, Event::Lease(Some(released.clone())), 210);
    assert!(!orders.iter().any(|order| matches!(order, Order::Answer { .. } | Order::Fuse { .. })), "{orders:?}");
    let holder = Some(Holder { pod: "p-1".into(), uid: "b".into() });
    let next = Record { holder, epoch: 4, ..record };
    let (state, _) = feed(state, Event::Lease(Some(Seen { record: next.clone(), version: "14".into() })), 220);
    let written = Event::Written { purpose: Purpose::Release, sent: 200, result: Written::Done(released) };
    let (state, orders) = feed(state, written, 230);
    assert!(!orders.iter().any(|order| matches!(order, Order::Answer { .. })), "{orders:?}");
    let serves = Seen { record: Record { served: Some(4), ..next }, version: "15".into() };
    let (_, orders) = feed(state, Event::Lease(Some(serves)), 300);
    assert!(orders.contains(&Order::Answer { ticket: 7, result: Ok(()) }), "{orders:?}");
}

#[test]
fn by_force_a_role_goes_to_a_pod_that_is_behind_but_not_to_one_with_old_data() {
    let mut settings = settings(3);
    settings.max_lag = Some(100);
    let record = Record { holder: Some(settings.me.clone()), epoch: 3, duration: 10_000, ..Record::default() };
    let state = State::new(settings, Some(3), 0);
    let (state, _) = feed(state, Event::Process(Process::Up), 0);
    let (state, _) = feed(state, Event::Lease(None), 10);
    let seen = Seen { record, version: "12".into() };
    let (state, _) = feed(state, Event::Written { purpose: Purpose::Take, sent: 10, result: Written::Done(seen) }, 40);
    let peer =
        |data| Peer { up: true, data: Some(data), position: Some(5), exact: true, lag: Some(1_000), follows: None };
    let peers = BTreeMap::from([("p-1".to_owned(), peer(3)), ("p-2".to_owned(), peer(2))]);
    let ask = |target: &str, force| {
        let asked = Event::Switchover { ticket: 7, target: Some(target.into()), force };
        let (state, _) = feed(state.clone(), asked, 100);
        feed(state, Event::Peers(peers.clone()), 110).1
    };
    assert_eq!(ask("p-1", false), [], "it waits until less is missing");
    assert_eq!(ask("p-1", true), [Order::Do(Deed::Demote)]);
    assert_eq!(ask("p-2", true), [], "a term is missing");
}

#[test]
fn a_switchover_waits_for_a_pod_that_can_take_over_and_says_what_it_waits_for() {
    let record = Record { holder: Some(settings(2).me.clone()), epoch: 3, duration: 100_000, ..Record::default() };
    let mut settings = settings(2);
    settings.duration = 100_000;
    let state = State::new(settings, Some(3), 0);
    let (state, _) = feed(state, Event::Process(Process::Up), 0);
    let (state, _) = feed(state, Event::Lease(None), 10);
    let seen = Seen { record: record.clone(), version: "12".into() };
    let (mut state, _) =
        feed(state, Event::Written { purpose: Purpose::Take, sent: 10, result: Written::Done(seen) }, 40);
    state.undo = false;
    let primary = Observed { role: "primary".into(), exclusive: true, position: Some(5), lag: None, follows: None };
    let (state, _) = feed(state, Event::Role(Some(primary)), 60);
    let asked = Event::Switchover { ticket: 7, target: None, force: false };
    let (state, orders) = feed(state, asked, 100);
    assert!(orders.contains(&Order::AskPeers), "{orders:?}");

    // its process has only just started: the data is there, and nothing comes in yet
    let peer = |follows: &str| {
        let follows = Some(follows.to_owned());
        let peer = Peer { up: true, data: Some(3), position: Some(5), exact: true, lag: None, follows };
        Event::Peers(BTreeMap::from([("p-1".to_owned(), peer)]))
    };
    let (state, orders) = feed(state, peer(""), 110);
    assert!(!orders.iter().any(|order| matches!(order, Order::Do(_) | Order::Answer { .. })), "{orders:?}");
    let told = "has the role, and is to hand it over, but p-1 does not follow p-0 yet, or has nothing of its data";
    assert_eq!(state.reason, told);
    let (late, orders) = feed(state.clone(), Event::Tick, 60_101);
    let result = Err("p-1 does not follow p-0 yet, or has nothing of its data; waited for that for 60 s".to_owned());
    assert!(orders.contains(&Order::Answer { ticket: 7, result }), "{orders:?}");
    assert_eq!(late.reason, "has the role");

    let (state, orders) = feed(state, Event::Tick, 500);
    assert!(orders.contains(&Order::AskPeers), "{orders:?}");
    let (_, orders) = feed(state, peer("p-0"), 510);
    assert!(orders.contains(&Order::Do(Deed::Switchover { target: "p-1".into() })), "{orders:?}");
}

#[test]
fn whoever_gives_the_role_away_keeps_its_label_until_clients_have_found_the_next() {
    let record = Record {
        holder: Some(settings(2).me.clone()),
        epoch: 3,
        served: Some(3),
        duration: 10_000,
        ..Record::default()
    };
    let observed = |role: &str| {
        let exclusive = role == "primary";
        let follows = Some(if exclusive { String::new() } else { "p-1".to_owned() });
        Event::Role(Some(Observed { role: role.into(), exclusive, position: Some(5), lag: None, follows }))
    };
    let labels = |orders: &[Order]| orders.iter().filter(|order| matches!(order, Order::Label(_))).count();
    let state = State::new(settings(2), Some(3), 0);
    let (state, _) = feed(state, Event::Process(Process::Up), 0);
    let (state, _) = feed(state, Event::Lease(None), 10);
    let seen = Seen { record: record.clone(), version: "12".into() };
    let (state, _) = feed(state, Event::Written { purpose: Purpose::Take, sent: 10, result: Written::Done(seen) }, 40);
    let (mut state, _) = feed(state, observed("primary"), 60);
    state.undo = false;
    let (state, _) = feed(state, Event::Tick, 70);
    assert_eq!(state.summary().role.as_deref(), Some("primary"));
    let (state, _) = feed(state, Event::Switchover { ticket: 7, target: Some("p-1".into()), force: false }, 100);
    let peer = Peer { up: true, data: Some(3), position: Some(5), exact: true, lag: None, follows: None };
    let (state, _) = feed(state, Event::Peers(BTreeMap::from([("p-1".to_owned(), peer)])), 110);
    let (state, orders) =
        feed(state, Event::Did { deed: Deed::Switchover { target: "p-1".into() }, result: Ok(()) }, 200);
    assert_eq!(labels(&orders), 0, "{orders:?}");
    let given = Record { holder: None, candidate: Some("p-1".into()), ..record.clone() };
    let written = Written::Done(Seen { record: given, version: "13".into() });
    let (state, orders) = feed(state, Event::Written { purpose: Purpose::Release, sent: 200, result: written }, 210);
    assert_eq!(labels(&orders), 0, "{orders:?}");
    let holder = Some(Holder { pod: "p-1".into(), uid: "b".into() });
    let next = Record { holder, epoch: 4, served: Some(4), ..record };
    let (state, orders) = feed(state, Event::Lease(Some(Seen { record: next, version: "14".into() })), 300);
    assert_eq!(labels(&orders), 0, "{orders:?}");
    let (state, orders) = feed(state, observed("primary"), 305);
    assert_eq!(labels(&orders), 0, "{orders:?}");
    let follow = Deed::Follow { primary: "p-1".into() };
    assert!(orders.contains(&Order::Do(follow.clone())), "{orders:?}");
    let (state, _) = feed(state, Event::Did { deed: follow, result: Ok(()) }, 310);
    let (state, orders) = feed(state, observed("replica"), 320);
    assert_eq!(labels(&orders), 0, "{orders:?}");
    assert!(state.wake_at(320) <= 1_300);
    let (state, orders) = feed(state, Event::Tick, 1_300);
    assert!(orders.contains(&Order::Label(Some("replica".into()))), "{orders:?}");

    // whoever stops its process from now on means it
    let (state, orders) = feed(state, Event::Process(Process::Down), 1_400);
    assert!(!orders.contains(&Order::Do(Deed::Start)), "{orders:?}");
    let (_, orders) = feed(state, Event::Tick, 5_000);
    assert!(!orders.contains(&Order::Do(Deed::Start)), "{orders:?}");
}

#[test]
fn whoever_started_again_a_moment_ago_takes_the_role_at_once_when_it_is_given_to_it() {
    let led = |version: &str, given: bool| {
        let holder = (!given).then(|| Holder { pod: "p-1".into(), uid: "b".into() });
        let candidate = given.then(|| "p-0".to_owned());
        let record = Record { holder, candidate, epoch: 4, served: Some(4), duration: 10_000, ..Record::default() };
        Event::Lease(Some(Seen { record, version: version.into() }))
    };
    let state = State::new(settings(2), Some(3), 0).resumed(true);
    let (state, _) = feed(state, Event::Process(Process::Down), 0);
    let (state, orders) = feed(state, led("1", false), 10);
    assert_eq!(orders, [Order::Do(Deed::Start)]);
    let (mut state, _) = feed(state, Event::Did { deed: Deed::Start, result: Ok(()) }, 20);
    for event in [led("2", false), Event::Process(Process::Asking), Event::Data(Some(4))] {
        state = feed(state, event, 30).0;
    }
    let (state, _) = feed(state, Event::Prepared { ok: true, told: true }, 40);
    let (state, _) = feed(state, Event::Process(Process::Up), 50);
    let (_, orders) = feed(state, led("3", true), 1_000);
    assert!(matches!(orders[..], [Order::Write { purpose: Purpose::Take, .. }]), "{orders:?}");
}

#[test]
fn a_switchover_right_after_scaling_out_waits_until_the_new_pod_is_heard_of() {
    let record = Record { holder: Some(settings(1).me.clone()), epoch: 3, duration: 200_000, ..Record::default() };
    let alone = Settings { duration: 200_000, ..settings(1) };
    let state = State::new(alone.clone(), Some(3), 0);
    let (state, _) = feed(state, Event::Process(Process::Up), 0);
    let (state, _) = feed(state, Event::Lease(None), 10);
    let seen = Seen { record, version: "12".into() };
    let (mut state, _) =
        feed(state, Event::Written { purpose: Purpose::Take, sent: 10, result: Written::Done(seen) }, 40);
    state.undo = false;
    let primary = Observed { role: "primary".into(), exclusive: true, position: Some(5), lag: None, follows: None };
    let (state, _) = feed(state, Event::Role(Some(primary)), 60);
    let ask = |target: Option<&str>| {
        feed(state.clone(), Event::Switchover { ticket: 7, target: target.map(str::to_owned), force: false }, 100)
    };
    let (unnamed, orders) = ask(None);
    assert!(!orders.iter().any(|order| matches!(order, Order::Answer { .. })), "{orders:?}");
    let told = "has the role, and is to hand it over, but p-0 has not heard of any other pod of its group";
    assert_eq!(unnamed.reason, told);
    let (named, orders) = ask(Some("p-1"));
    assert!(!orders.iter().any(|order| matches!(order, Order::Answer { .. })), "{orders:?}");
    let told = "has the role, and is to hand it over, but p-0 has not heard that p-1 is of its group, but only of p-0";
    assert_eq!(named.reason, told);

    // the list of pods comes after a minute
    let both = Settings { pods: settings(2).pods, ..alone };
    let peer = Peer { up: true, data: Some(3), position: Some(5), exact: true, lag: None, follows: Some("p-0".into()) };
    for state in [unnamed.clone(), named] {
        let (state, orders) = feed(state, Event::Configured(both.clone()), 70_000);
        assert!(orders.contains(&Order::AskPeers), "{orders:?}");
        let (_, orders) = feed(state, Event::Peers(BTreeMap::from([("p-1".to_owned(), peer.clone())])), 70_010);
        assert!(orders.contains(&Order::Do(Deed::Switchover { target: "p-1".into() })), "{orders:?}");
    }
    let (_, orders) = feed(unnamed, Event::Tick, 120_101);
    let result = Err("p-0 has not heard of any other pod of its group; waited for that for 120 s".to_owned());
    assert!(orders.contains(&Order::Answer { ticket: 7, result }), "{orders:?}");
}
