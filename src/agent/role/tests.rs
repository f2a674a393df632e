//! Single decisions, told one by one.

use super::*;

fn settings(pods: usize) -> Settings {
    Settings {
        me: Holder { pod: "p-0".into(), uid: "a".into() },
        pods: (0..pods).map(|n| Member { name: format!("p-{n}"), ordinal: u16::try_from(n).unwrap() }).collect(),
        duration: 10_000,
        automatic: true,
        lasting: true,
        synchronous: 0,
        max_lag: None,
        attach_within: None,
    }
}

fn feed(state: State, event: Event, now: Millis) -> (State, Vec<Order>) {
    next(state, event, now)
}

#[test]
fn a_pod_alone_takes_the_role_and_starts_only_with_the_fuse_lit() {
    let state = State::new(settings(1), None, 0);
    let (state, _) = feed(state, Event::Process(Process::Asking), 0);
    let (state, orders) = feed(state, Event::Lease(None), 10);
    let [Order::Write { purpose: Purpose::Take, record, version: None }] = &orders[..] else { panic!("{orders:?}") };
    assert_eq!((record.epoch, record.duration), (0, 10_000));
    let seen = Seen { record: record.clone(), version: "1".into() };
    let written = Event::Written { purpose: Purpose::Take, sent: 10, result: Written::Done(seen) };
    let (state, orders) = feed(state, written, 40);
    assert_eq!(orders, [Order::ClearLabels, Order::Fuse { at: Some(8_010) }]);
    let (_, orders) = feed(state, Event::Fused { at: Some(8_010), done: true }, 41);
    assert_eq!(orders, [Order::Grant(Grant::Holder)]);
}

#[test]
fn a_switchover_is_refused_with_the_name_of_the_pod_to_ask() {
    let state = State::new(settings(2), None, 0);
    let holder = Some(Holder { pod: "p-1".into(), uid: "b".into() });
    let seen = Seen { record: Record { holder, ..Record::default() }, version: "1".into() };
    let (state, _) = feed(state, Event::Lease(Some(seen)), 0);
    let (_, orders) = feed(state, Event::Switchover { ticket: 3, target: None, force: false }, 1);
    assert_eq!(orders, [Order::Answer { ticket: 3, result: Err("p-0 does not have the role; ask p-1".to_owned()) }]);
}

#[test]
fn a_look_that_was_long_under_way_takes_nothing_away() {
    let state = State::new(settings(2), None, 0);
    let (state, _) = feed(state, Event::Process(Process::Asking), 0);
    let record = Record { holder: Some(state.settings.me.clone()), epoch: 3, duration: 10_000, ..Record::default() };
    let seen = Seen { record: record.clone(), version: "12".into() };
    let written = Event::Written { purpose: Purpose::Take, sent: 10, result: Written::Done(seen) };
    let (state, _) = feed(state, written, 40);
    let holder = Some(Holder { pod: "p-1".into(), uid: "b".into() });
    let before = Seen { record: Record { holder, epoch: 2, ..record }, version: "9".into() };
    let (state, orders) = feed(state, Event::Lease(Some(before)), 50);
    assert_eq!((state.summary().holds, orders), (true, vec![]));
}

#[test]
fn a_promise_is_given_to_the_holder_alone_and_not_by_who_reaches_the_lease() {
    let holder = Holder { pod: "p-1".into(), uid: "b".into() };
    let record = Record { holder: Some(holder.clone()), epoch: 3, duration: 10_000, ..Record::default() };
    let (state, _) =
        feed(State::new(settings(2), Some(3), 0), Event::Lease(Some(Seen { record, version: "1".into() })), LATE);
    let ask = |epoch, now| {
        let plea = Event::Plea { ticket: 1, holder: holder.clone(), epoch, duration: 10_000 };
        let (state, orders) = feed(state.clone(), plea, now);
        let answer = orders.into_iter().find_map(|order| match order {
            Order::Answer { result, .. } => Some(result.is_ok()),
            _ => None,
        });
        (answer, state)
    };
    assert_eq!(ask(3, LATE + 1_000).0, Some(false), "it has just heard from the server");
    assert_eq!(ask(2, LATE + 4_000).0, Some(false), "that term is over");
    let (answer, state) = ask(3, LATE + 4_000);
    assert_eq!(answer, Some(true));
    // the lease is over at 10.5 s, the promise at 14 s
    let stands = |at: Millis| {
        let (state, _) = feed(state.clone(), Event::Process(Process::Up), at - 1);
        feed(state, Event::Tick, at).0.summary().vacant
    };
    assert_eq!((stands(LATE + 11_000), stands(LATE + 14_001)), (false, true));
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
    let (state, _) = feed(State::new(settings(2), Some(3), 0).resumed(true), Event::Process(Process::Down), 0);
    let (state, orders) = feed(state, led("1", false), 10);
    assert_eq!(orders, [Order::Do(Deed::Start)]);
    let (mut state, _) = feed(state, Event::Did { deed: Deed::Start, result: Ok(()) }, 20);
    for event in [led("2", false), Event::Process(Process::Asking), Event::Data(Some(4))] {
        state = feed(state, event, 30).0;
    }
    let (state, _) = feed(feed(state, Event::Prepared { ok: true, told: true }, 40).0, Event::Process(Process::Up), 50);
    let (_, orders) = feed(state, led("3", true), 1_000);
    assert!(matches!(orders[..], [Order::Write { purpose: Purpose::Take, .. }]), "{orders:?}");
}

#[test]
fn a_pod_that_is_left_alone_does_not_begin_without_what_another_one_had() {
    let stands = |data, last: &str, later: Millis| {
        let record = Record { epoch: 3, served: Some(3), last: Some(last.into()), ..Record::default() };
        let state = State::new(settings(1), data, 0);
        let (state, _) = feed(state, Event::Process(Process::Asking), 0);
        let (state, _) = feed(state, Event::Lease(Some(Seen { record, version: "1".into() })), 10);
        let (state, orders) = feed(state, Event::Tick, later);
        (orders.iter().any(|order| matches!(order, Order::Write { purpose: Purpose::Take, .. })), state.reason)
    };
    let (takes, reason) = stands(None, "p-1", 10_000_000);
    let told = "nobody has the role; this pod has no data, and waits for one that has; p-1 had the role last: bring it \
                back, or delete the lease to begin without what it had";
    assert_eq!((takes, reason.as_str()), (false, told));
    assert!(!stands(Some(2), "p-1", 10_000_000).0, "its data was overtaken");
    // what it lost itself nobody else has
    assert!(stands(None, "p-0", 40_000).0);
    assert!(stands(Some(3), "p-1", 10_000_000).0);
}

#[test]
fn a_restart_on_purpose_keeps_the_role_unless_the_process_had_to_be_killed() {
    let record = Record { holder: Some(settings(2).me), epoch: 3, served: Some(3), ..Record::default() };
    let record = Record { duration: 10_000, ..record };
    let (state, _) = feed(State::new(settings(2), Some(3), 0), Event::Process(Process::Up), 0);
    let (state, _) = feed(state, Event::Lease(None), 10);
    let seen = Seen { record, version: "12".into() };
    let (state, _) = feed(state, Event::Written { purpose: Purpose::Take, sent: 10, result: Written::Done(seen) }, 40);
    let (state, _) = feed(state, Event::Fused { at: Some(8_010), done: true }, 50);
    let (state, _) = feed(state, Event::Restarting, 100);
    let starts = |state: State| {
        let (state, asked) = feed(state, Event::Process(Process::Asking), 200);
        let (state, fused) = feed(state, Event::Fused { at: Some(8_010), done: true }, 210);
        let peer = Peer { up: true, data: Some(3), position: Some(5), exact: true, lag: None, follows: None };
        let (_, heard) = feed(state, Event::Peers(BTreeMap::from([("p-1".to_owned(), peer)])), 220);
        [asked, fused, heard].concat()
    };
    let kept = starts(state.clone());
    assert!(kept.contains(&Order::Grant(Grant::Holder)), "{kept:?}");
    let (state, _) = feed(state, Event::NotSpared, 190);
    let given = starts(state);
    let released = |order: &Order| matches!(order, Order::Write { purpose: Purpose::Release, .. });
    assert!(given.iter().any(released) && !given.contains(&Order::Grant(Grant::Holder)), "{given:?}");
}

/// A holder whose process has said how far it is, and then asks for permission to start again.
fn crashed(max_lag: Option<i64>, position: i64) -> State {
    let record = Record { holder: Some(settings(2).me), epoch: 3, served: Some(3), ..Record::default() };
    let seen = Seen { record: Record { duration: 10_000, ..record }, version: "12".into() };
    let state = State::new(Settings { max_lag, ..settings(2) }, Some(3), 0);
    let (state, _) = feed(state, Event::Process(Process::Up), 0);
    let (state, _) = feed(state, Event::Lease(None), 10);
    let (state, _) = feed(state, Event::Written { purpose: Purpose::Take, sent: 10, result: Written::Done(seen) }, 40);
    let (mut state, _) = feed(state, Event::Fused { at: Some(8_010), done: true }, 50);
    state.undo = false;
    let primary =
        Observed { role: "primary".into(), exclusive: true, position: Some(position), lag: None, follows: None };
    let (state, _) = feed(state, Event::Role(Some(primary)), 60);
    asks(state, 100)
}

fn asks(state: State, now: Millis) -> State {
    let (state, _) = feed(state, Event::Process(Process::Asking), now);
    feed(state, Event::Fused { at: Some(8_010), done: true }, now + 10).0
}

/// What the holder does when the other pod has got so far: whether it starts again, and whether it gives the role up.
fn decides(state: State, position: i64, now: Millis) -> (State, (bool, bool)) {
    let follows = Some(String::new());
    let peer = Peer { up: true, data: Some(3), position: Some(position), exact: true, lag: None, follows };
    let (state, orders) = feed(state, Event::Peers(BTreeMap::from([("p-1".to_owned(), peer)])), now);
    let released = |order: &Order| matches!(order, Order::Write { purpose: Purpose::Release, .. });
    (state, (orders.contains(&Order::Grant(Grant::Holder)), orders.iter().any(released)))
}

#[test]
fn a_process_that_can_start_again_yields_to_nobody_who_lacks_much_of_its_data() {
    let starts = (true, false);
    let gives_up = (false, true);
    assert_eq!(decides(crashed(None, 1 << 30), 1, 120).1, starts, "a gigabyte would be lost");
    assert_eq!(decides(crashed(None, 1 << 30), (1 << 30) - 4096, 120).1, gives_up, "a moment would be lost");
    assert_eq!(decides(crashed(Some(1024), 1 << 30), (1 << 30) - 4096, 120).1, starts, "that is more than maxLag");
}

#[test]
fn a_kill_that_is_heard_of_late_says_nothing_about_the_next_process() {
    let mut state = crashed(None, 1 << 30);
    (state.process, state.granted, state.doing) = (Process::Up, None, Some(Deed::Kill));
    let did = Event::Did { deed: Deed::Kill, result: Ok(()) };
    let (killed, _) = feed(state.clone(), did.clone(), 200);
    assert_eq!(killed.killed, Some(200));
    let (state, _) = feed(state, Event::Process(Process::Asking), 200);
    let (state, _) = feed(state, did, 210);
    assert_eq!(state.killed, None);
}

#[test]
fn a_pod_that_does_not_run_is_no_way_around_one_that_is_too_far_behind() {
    let mut record = Record { epoch: 3, served: Some(3), last: Some("p-1".into()), ..Record::default() };
    record.position = Some(1_000);
    let state = State::new(Settings { max_lag: Some(100), ..settings(3) }, Some(3), 0);
    let (state, _) = feed(state, Event::Process(Process::Asking), 0);
    let (state, _) = feed(state, Event::Lease(Some(Seen { record, version: "1".into() })), 10);
    let (mut state, _) = feed(state, Event::Tick, 400);
    let peer = Peer { up: true, data: Some(3), position: Some(5), exact: true, lag: None, follows: None };
    for second in 1..60 {
        let peers = BTreeMap::from([("p-2".to_owned(), peer.clone())]);
        let (asked, first) = feed(state, Event::Peers(peers), 400 + second * 1_000);
        let (ticked, then) = feed(asked, Event::Tick, 900 + second * 1_000);
        assert!(![first, then].concat().iter().any(|order| matches!(order, Order::Write { .. })), "{}", ticked.reason);
        state = ticked;
    }
    let told = "nobody has the role; the process of this pod does not run, so that nobody knows how far its data reaches, \
                and failover.maxLag allows 100 bytes: bring p-1 back, or delete the lease to begin all the same";
    assert_eq!(state.reason, told);
    let (state, asks) = feed(state, Event::Tick, 70_000);
    assert_eq!(asks, [Order::AskPeers], "it may have ended since");
    let (_, waits) = feed(state, Event::Peers(BTreeMap::new()), 70_010);
    assert!(matches!(waits[..], [Order::LookFor(_)]), "nothing runs: {waits:?}");
}

#[test]
fn whoever_is_further_behind_than_allowed_takes_over_only_when_it_was_given_the_role() {
    let stands = |max_lag, position, change: &dyn Fn(&mut Record)| {
        let mut record = Record { epoch: 3, served: Some(3), last: Some("p-1".into()), ..Record::default() };
        record.position = Some(1_000);
        change(&mut record);
        let state = State::new(Settings { max_lag, ..settings(2) }, Some(3), 0);
        let (state, _) = feed(state, Event::Process(Process::Up), 0);
        let replica = Observed { role: "replica".into(), exclusive: false, position, lag: None, follows: None };
        let (state, _) = feed(state, Event::Role(Some(replica)), 5);
        let (state, first) = feed(state, Event::Lease(Some(Seen { record, version: "1".into() })), 10);
        let (state, _) = feed(state, Event::Tick, 400);
        let (state, then) = feed(state, Event::Peers(BTreeMap::new()), 410);
        let orders = [first, then].concat();
        (orders.iter().any(|order| matches!(order, Order::Write { purpose: Purpose::Take, .. })), state.reason)
    };
    let (takes, reason) = stands(Some(100), Some(800), &|_| ());
    let told = "nobody has the role; this pod is 200 bytes behind what p-1 had, and failover.maxLag allows 100: bring p-1 \
                back, allow more, or delete the lease to begin with what this pod has";
    assert_eq!((takes, reason.as_str()), (false, told));
    assert!(stands(Some(200), Some(800), &|_| ()).0, "it is near enough");
    assert!(!stands(Some(200), None, &|_| ()).0, "it does not know how far it is");
    assert!(stands(None, Some(1), &|_| ()).0, "nobody said how near it has to be");
    assert!(stands(Some(100), Some(800), &|record| record.candidate = Some("p-0".into())).0, "it was given to it");
    assert!(stands(Some(100), Some(800), &|record| record.last = Some("p-0".into())).0, "it was the last itself");
}

#[test]
fn a_process_that_never_comes_up_again_yields_to_whoever_runs() {
    let mut state = crashed(None, 1 << 30);
    for attempt in 1..=2 {
        let now = 100 + attempt * 200;
        let (granted, decided) = decides(state, 1, now);
        assert_eq!(decided, (true, false), "attempt {attempt}");
        let (tried, _) = feed(granted, Event::Prepared { ok: true, told: false }, now + 1);
        let (tried, _) = feed(tried, Event::Process(Process::Down), now + 2);
        state = asks(tried, now + 3);
    }
    assert_eq!(decides(state, 1, 900).1, (false, true));
}

#[test]
fn a_follower_that_never_attaches_is_started_anew_and_has_no_role_until_it_does() {
    let holder = Some(Holder { pod: "p-1".into(), uid: "b".into() });
    let record = Record { holder, epoch: 3, served: Some(3), duration: 10_000_000, ..Record::default() };
    let observed = |follows: &str, position| {
        let follows = Some(follows.to_owned());
        Event::Role(Some(Observed { role: "replica".into(), exclusive: false, position, lag: None, follows }))
    };
    let state = State::new(Settings { attach_within: Some(60_000), ..settings(2) }, Some(3), 0);
    let (state, _) = feed(state, Event::Lease(Some(Seen { record: record.clone(), version: "12".into() })), 10);
    let (state, _) = feed(state, Event::Lease(Some(Seen { record, version: "13".into() })), 15);
    let (state, _) = feed(state, Event::Process(Process::Up), 20);
    let (state, _) = feed(state, observed("", Some(5)), 30);
    let follow = Deed::Follow { primary: "p-1".into() };
    let (state, _) = feed(state, Event::Did { deed: follow, result: Ok(()) }, 40);
    let (state, _) = feed(state, observed("", Some(5)), 100);
    // it gets further, or does not know: it reads what was kept for it
    let (state, _) = feed(state, observed("", Some(6)), 50_000);
    let (state, _) = feed(state, observed("", None), 90_000);
    let (state, orders) = feed(state, observed("", Some(7)), 140_000);
    assert!(!orders.contains(&Order::Do(Deed::Stop)), "{orders:?}");
    assert_eq!(state.summary().role.as_deref(), Some("replica"));
    let lost = |state: State, up, now: Millis| {
        let (state, _) = feed(state, observed("", Some(7)), now);
        let peer = Peer { up, data: Some(3), position: Some(9), exact: true, lag: None, follows: None };
        feed(state, Event::Peers(BTreeMap::from([("p-1".to_owned(), peer)])), now + 10)
    };
    let stops = |orders: &[Order]| orders.contains(&Order::Do(Deed::Stop));
    let (_, orders) = lost(state.clone(), false, 200_000);
    assert!(!stops(&orders), "nobody has what it needs: {orders:?}");
    let (state, orders) = lost(state, true, 200_000);
    assert!(stops(&orders), "{orders:?}");

    let again = |state: State, now: Millis| {
        let (state, _) = feed(state, Event::Process(Process::Down), now);
        let (state, _) = feed(state, Event::Did { deed: Deed::Stop, result: Ok(()) }, now);
        let (state, orders) = feed(state, Event::Tick, now + 1);
        assert!(orders.contains(&Order::Do(Deed::Start)) || state.doing == Some(Deed::Start), "{orders:?}");
        let (state, _) = feed(state, Event::Did { deed: Deed::Start, result: Ok(()) }, now + 5);
        let (state, _) = feed(state, Event::Process(Process::Asking), now + 10);
        let (state, _) = feed(state, Event::Prepared { ok: true, told: true }, now + 20);
        let (state, _) = feed(state, Event::Process(Process::Up), now + 30);
        feed(state, observed("", Some(7)), now + 40).0
    };
    let state = again(state, 200_020);
    assert_eq!((state.summary().role, state.anew()), (None, 1));
    let (state, orders) = lost(state, true, 300_000);
    assert!(!stops(&orders), "it is given twice the time: {orders:?}");
    let (state, _) = feed(state, observed("p-1", Some(8)), 310_000);
    assert_eq!((state.summary().role.as_deref(), state.anew()), (Some("replica"), 0));
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

#[test]
fn a_server_that_answers_most_requests_with_errors_costs_nobody_the_role() {
    let settings = settings(2);
    let record = Record { holder: Some(settings.me.clone()), epoch: 3, duration: 10_000, ..Record::default() };
    let (state, _) = feed(State::new(settings, Some(3), 0), Event::Process(Process::Up), 0);
    let (state, _) = feed(state, Event::Lease(None), 10);
    let seen = Seen { record, version: "1".into() };
    let written = Event::Written { purpose: Purpose::Take, sent: 10, result: Written::Done(seen) };
    let (mut state, mut orders) = feed(state, written, 40);
    state.undo = false;
    let primary = Observed { role: "primary".into(), exclusive: true, position: Some(5), lag: None, follows: None };
    let (mut asked, mut now) = (0_u64, 40);
    while now < 60_000 {
        let mut events = vec![Event::Role(Some(primary.clone()))];
        for order in std::mem::take(&mut orders) {
            match order {
                Order::Write { purpose: Purpose::Renew, record, .. } => {
                    asked += 1;
                    let done = Seen { record, version: (asked + 1).to_string() };
                    let failed = Written::Failed("TooManyRequests".to_owned());
                    let result = if asked.is_multiple_of(4) { Written::Done(done) } else { failed };
                    events.push(Event::Written { purpose: Purpose::Renew, sent: now, result });
                }
                Order::Fuse { at } => events.push(Event::Fused { at, done: true }),
                Order::Do(deed) => panic!("{deed:?} at {now}"),
                // looks are answered with errors too, and those are no events
                _ => {}
            }
        }
        for event in events {
            let (next, more) = feed(state, event, now + 20);
            state = next;
            orders.extend(more);
        }
        now += 100;
        let (next, more) = feed(state, Event::Tick, now);
        state = next;
        orders.extend(more);
        assert!(state.summary().holds && state.fuse.is_some_and(|at| at > now), "at {now}: {}", state.reason);
    }
    assert!(asked > 40, "{asked}");
}

#[test]
fn an_agent_that_finds_its_own_lease_goes_on_only_with_a_process_that_had_the_role() {
    let found = |process, role: Option<bool>, at: Millis| {
        let record = Record { holder: Some(settings(2).me), epoch: 3, duration: 10_000, ..Record::default() };
        let (state, _) = feed(State::new(settings(2), Some(3), 0), Event::Process(process), 0);
        let seen = Seen { record, version: "12".into() };
        let (mut state, mut orders) = feed(state, Event::Lease(Some(seen)), 10);
        if let Some(exclusive) = role {
            let role = Observed { role: "any".into(), exclusive, position: None, lag: None, follows: None };
            let (next, more) = feed(state, Event::Role(Some(role)), 20);
            state = next;
            orders.extend(more);
        }
        orders.extend(feed(state, Event::Tick, at).1);
        orders.iter().any(|order| matches!(order, Order::Write { purpose: Purpose::Renew, .. }))
    };
    assert!(found(Process::Up, Some(true), 30), "its fuse burns");
    assert!(!found(Process::Up, None, 1_990) && found(Process::Up, None, 2_000), "one that hangs says nothing");
    // the server may have gone back to a backup, and another one may write that cannot reach it
    for (process, role) in [(Process::Asking, None), (Process::Down, None), (Process::Up, Some(false))] {
        assert!(!found(process, role, 10_500), "{process:?}");
        assert!(found(process, role, 10_520), "{process:?}: by now it would be over");
    }
}

#[test]
fn who_had_a_lease_that_vanishes_is_given_the_time_to_end() {
    let holder = Some(Holder { pod: "p-1".into(), uid: "b".into() });
    let record = Record { holder, epoch: 3, duration: 10_000, ..Record::default() };
    let (state, _) = feed(State::new(settings(2), Some(3), 0), Event::Process(Process::Up), 0);
    let (state, _) = feed(state, Event::Lease(Some(Seen { record, version: "1".into() })), 10);
    let (state, orders) = feed(state, Event::Lease(None), 5_000);
    assert!(orders.contains(&Order::Look), "{orders:?}");
    let (state, _) = feed(state, Event::Lease(None), 5_010);
    assert_eq!(state.reason, "the lease has vanished; waits until whoever had it has ended");
    let vacant = |at| feed(state.clone(), Event::Tick, at).0.summary().vacant;
    assert_eq!((vacant(5_020), vacant(10_500), vacant(10_512)), (false, false, true));
    // of a lease that was never seen nobody is known who had it
    let (state, _) = feed(State::new(settings(2), Some(3), 0), Event::Lease(None), 10);
    assert!(state.summary().vacant);
}
