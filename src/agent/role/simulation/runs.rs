//! What happens to the simulated world, and what must hold then and in the end.

use proptest::prelude::*;

use super::*;

impl World {
    fn harm(&mut self) {
        let index = usize::try_from(self.random.below(self.pods.len() as u64)).unwrap();
        let span = self.random.below(20_000);
        match self.random.below(12) {
            0 => {
                if matches!(self.pods[index].run, Run::Running { .. }) {
                    self.end(index, false);
                }
            }
            1 => {
                self.pods[index].state = None;
                self.pods[index].life += 1;
                self.pods[index].agent_at = self.now + span / 4;
            }
            2 => self.pods[index].paused_until = self.now + span,
            3 => self.pods[index].cut_until = self.now + span,
            4 => self.outage_until = self.now + span / 2,
            5 => self.take_down(index, self.now + span / 4),
            6 => {
                let target = self.random.chance(50).then(|| format!("p-{}", span % self.pods.len() as u64));
                if self.now >= self.pods[index].paused_until {
                    self.feed(index, Event::Switchover { ticket: span, target, force: false });
                }
            }
            7 => {
                if self.now >= self.pods[index].paused_until {
                    self.pods[index].stopping = true;
                    self.feed(index, Event::Stop);
                }
            }
            8 => self.outage_until = self.now + 10 * span,
            9 => self.pods[index].deaf_until = self.now + 3 * span,
            10 => {
                self.apart = (index, (index + 1) % self.pods.len());
                self.apart_until = self.now + 3 * span;
            }
            _ => {
                if matches!(self.pods[index].run, Run::Running { .. }) {
                    self.end(index, true);
                    // somebody starts it again some day
                    if self.pods[index].run == Run::Stopped {
                        self.pods[index].run = Run::Off { asks_at: self.now + span };
                    }
                }
            }
        }
    }

    /// The process hangs, and perhaps does not even end when it is killed.
    fn hang(&mut self, index: usize, until: u64, resists: bool) {
        (self.pods[index].hung_until, self.pods[index].resists) = (until, resists);
    }

    /// Another number of pods is wanted; each agent hears of it in its own time, and who is to go is told to end.
    fn resize(&mut self, size: usize) {
        (self.size, self.resized) = (size, true);
        for index in 0..self.pods.len() {
            let (settings, after) = (self.settings(index), self.random.below(10_000));
            let pod = &mut self.pods[index];
            if index < size && pod.gone_until > self.now {
                (pod.gone_until, pod.agent_at) = (0, self.now + after);
                pod.run = Run::Off { asks_at: self.now + after };
                continue;
            }
            pod.leaves_at = self.now + 15_000 + after;
            self.post(index, after, Mail::Tell(Event::Configured(settings)));
            if index >= size {
                self.post(index, after, Mail::Tell(Event::Stop));
            }
        }
    }

    /// The pod is gone; what is on its volume stays.
    pub(super) fn remove(&mut self, index: usize) {
        if self.pods[index].gone_until <= self.now {
            self.take_down(index, u64::MAX);
            self.pods[index].gone_until = u64::MAX;
        }
    }

    /// The pod ends, and comes again as another one.
    fn take_down(&mut self, index: usize, again: u64) {
        self.hang(index, 0, false);
        self.end(index, false);
        let pod = &mut self.pods[index];
        (pod.state, pod.life, pod.uid, pod.label, pod.parked) = (None, pod.life + 1, pod.uid + 1, None, false);
        (pod.agent_at, pod.run) = (again, Run::Off { asks_at: again });
    }

    fn go(&mut self, seconds: u64) {
        let end = self.now + seconds * 1_000;
        while self.now < end {
            self.step();
        }
    }

    fn describe(&self) -> String {
        let pod = |pod: &Pod| {
            let state = pod.state.as_ref();
            let reason = state.map_or("no agent", |state| &state.reason);
            format!("\n{} {:?} data {:?} label {:?}: {reason}\n   {state:?}", pod.name, pod.run, pod.mark, pod.label)
        };
        format!("{:?}{}", self.lease, self.pods.iter().map(pod).collect::<String>())
    }

    /// All is well again: one serves, all others follow it, and the labels say so.
    fn assert_settled(&self) {
        let writers = self.writers();
        assert_eq!(writers.len(), 1, "at {}: {}", self.now, self.describe());
        for (index, pod) in self.pods.iter().take(self.size).enumerate() {
            let wanted = if writers.contains(&index) { "primary" } else { "replica" };
            assert_eq!(pod.label.as_deref(), Some(wanted), "{}: {}", pod.name, self.describe());
        }
    }
}

fn survives(seed: u64, pods: usize, synchronous: usize, lasting: bool) {
    survives_also(seed, pods, (synchronous, lasting), |_| ());
}

/// As much harm as ever, and more of another kind.
fn survives_also(seed: u64, pods: usize, (synchronous, lasting): (usize, bool), more: impl Fn(&mut World)) {
    let mut world = World::new(seed, pods, synchronous, lasting);
    world.demotes_by_stopping = world.random.chance(30);
    world.attach_within = seed.is_multiple_of(2).then_some(20_000);
    world.go(70);
    for _ in 0..12 {
        world.harm();
        more(&mut world);
        let pause = world.random.below(18);
        world.go(pause);
    }
    world.calm = true;
    (world.outage_until, world.apart_until) = (0, 0);
    world.pods.iter_mut().for_each(|pod| (pod.deaf_until, pod.hung_until) = (0, 0));
    world.go(200);
    world.assert_settled();
}

/// A node is lost, and somebody makes Kubernetes forget its pod: another one of that name begins at once elsewhere.
fn is_forgotten(world: &mut World) {
    if world.random.chance(40) {
        let index = usize::try_from(world.random.below(world.pods.len() as u64)).unwrap();
        let again = world.now + world.random.below(2_000);
        let pod = &world.pods[index];
        if matches!(pod.run, Run::Running { writable: true, .. })
            && let Some(fuse) = pod.fuse
        {
            world.ghosts.push(Ghost { drift: pod.drift, fuse });
        }
        world.take_down(index, again);
    }
}

/// Pods are added and taken away.
fn grows_and_shrinks(world: &mut World) {
    if world.random.chance(40) {
        let size = 1 + usize::try_from(world.random.below(world.pods.len() as u64)).unwrap();
        world.resize(size);
    }
}

/// A process that hangs, now and then one that cannot even be killed.
fn hangs_somewhere(world: &mut World) {
    world.flaky = world.random.chance(50);
    if world.random.chance(40) {
        let index = usize::try_from(world.random.below(world.pods.len() as u64)).unwrap();
        let (span, resists) = (world.random.below(60_000), world.random.chance(50));
        world.hang(index, world.now + span, resists);
    }
}

proptest! {
    #![proptest_config(crate::chance::cases(15))]

    #[test]
    fn there_are_never_two_writers_and_in_the_end_there_is_one(seed in any::<u64>(), pods in 2usize..5) {
        survives(seed, pods, 0, true);
    }

    #[test]
    fn no_confirmed_write_is_lost_with_synchronous_replication(seed in any::<u64>()) {
        survives(seed, 3, 1, true);
    }

    #[test]
    fn pods_without_lasting_data_agree_as_well(seed in any::<u64>()) {
        survives(seed, 3, 0, false);
    }

    #[test]
    fn pods_forgotten_while_their_node_is_lost_make_no_second_writer(seed in any::<u64>(), pods in 1usize..4) {
        survives_also(seed, pods, (0, true), is_forgotten);
    }

    #[test]
    fn no_confirmed_write_is_lost_while_pods_come_and_go(seed in any::<u64>()) {
        survives_also(seed, 4, (1, true), grows_and_shrinks);
    }

    #[test]
    fn pods_that_come_go_and_hang_make_no_second_writer(seed in any::<u64>()) {
        survives_also(seed, 4, (0, true), |world| {
            grows_and_shrinks(world);
            hangs_somewhere(world);
        });
    }

    #[test]
    fn processes_that_hang_or_cannot_be_killed_make_no_second_writer(seed in any::<u64>(), pods in 2usize..5) {
        survives_also(seed, pods, (usize::from(pods > 2), true), hangs_somewhere);
    }
}

#[test]
fn the_first_of_new_pods_begins() {
    let mut world = World::new(7, 3, 0, true);
    world.calm = true;
    world.go(20);
    world.assert_settled();
    assert_eq!(world.writers(), [0]);
}

#[test]
fn after_everything_was_down_the_last_holder_comes_first() {
    let mut world = World::new(11, 3, 0, true);
    world.calm = true;
    world.go(20);
    world.feed(0, Event::Switchover { ticket: 1, target: Some("p-2".to_owned()), force: false });
    world.go(10);
    assert_eq!((world.writers(), world.answers.clone()), (vec![2], vec![Ok(())]));
    let again = world.now + 5_000;
    (0..3).for_each(|index| world.take_down(index, again));
    world.go(60);
    world.assert_settled();
    assert_eq!(world.writers(), [2]);
}

/// Three pods that were all down, with the last to serve coming later than the others.
fn all_down(seed: u64, last_comes: u64) -> (World, i64) {
    let mut world = World::new(seed, 3, 0, true);
    world.calm = true;
    world.go(20);
    // whoever serves goes on alone for a while
    let soon = world.now + 20_000;
    (1..3).for_each(|index| world.take_down(index, soon));
    world.go(10);
    let (written, again) = (world.pods[0].position, world.now + last_comes);
    world.take_down(0, again);
    (world, written)
}

#[test]
fn after_everything_was_down_the_last_holder_is_waited_for_while_its_pod_is_there() {
    let (mut world, written) = all_down(41, 120_000);
    world.go(110);
    assert_eq!(world.writers(), [0usize; 0], "{}", world.describe());
    let reason = &world.pods[1].state.as_ref().unwrap().reason;
    assert!(reason.contains("waits for p-0, which had it last"), "{reason}");
    world.go(60);
    world.assert_settled();
    assert_eq!(world.writers(), [0]);
    assert!(world.pods[0].position >= written, "what was written last is there");
}

#[test]
fn a_last_holder_whose_pod_is_gone_or_never_returns_is_not_waited_for_for_ever() {
    let (mut world, _) = all_down(43, u64::MAX / 2);
    world.go(300);
    assert_eq!(world.writers(), [0usize; 0], "{}", world.describe());
    world.go(360);
    assert_eq!(world.writers().len(), 1, "{}", world.describe());

    let (mut world, _) = all_down(47, u64::MAX / 2);
    world.pods[0].gone_until = u64::MAX;
    world.go(60);
    assert_eq!(world.writers().len(), 1, "{}", world.describe());
}

#[test]
fn a_process_that_was_stopped_for_the_role_runs_again_under_the_next_agent() {
    for (pods, seed) in [(1, 53), (3, 59)] {
        let mut world = World::new(seed, pods, 0, true);
        (world.calm, world.demotes_by_stopping) = (true, true);
        world.go(40);
        world.assert_settled();
        // the agent alone is ended, as for another image of it
        world.feed(0, Event::Stop);
        world.go(40);
        world.assert_settled();
        // an agent ends between the end of the process and its start
        let holder = world.writers()[0];
        if pods > 1 {
            world.feed(holder, Event::Switchover { ticket: 1, target: None, force: false });
        } else {
            world.feed(holder, Event::Stop);
        }
        while world.pods[holder].run != Run::Stopped {
            world.step();
        }
        let pod = &mut world.pods[holder];
        (pod.state, pod.life, pod.agent_at) = (None, pod.life + 1, world.now + 1_000);
        world.go(60);
        world.assert_settled();
    }
}

#[test]
fn terms_count_on_where_the_lease_is_lost_and_old_data_stays_old() {
    let mut world = World::new(37, 3, 0, true);
    world.calm = true;
    world.go(20);
    for (from, to) in [(0, "p-1"), (1, "p-0")] {
        world.feed(from, Event::Switchover { ticket: 1, target: Some(to.to_owned()), force: false });
        world.go(10);
    }
    // one is away while the others go on
    world.take_down(2, u64::MAX);
    for (from, to) in [(0, "p-1"), (1, "p-0")] {
        world.feed(from, Event::Switchover { ticket: 1, target: Some(to.to_owned()), force: false });
        world.go(10);
    }
    let (newest, old) = (world.pods[0].mark, world.pods[2].mark);
    assert!(newest > old && old > Some(0), "{}", world.describe());

    // all are down, and the lease is gone with what it knew
    let again = world.now + 5_000;
    (0..2).for_each(|index| world.take_down(index, again));
    world.lease = None;
    world.go(60);
    assert_eq!(world.writers(), [0], "{}", world.describe());
    assert!(world.pods[0].mark > newest, "{}", world.describe());

    // whoever was away does not begin with what it has
    let much_later = world.now + 120_000;
    (0..2).for_each(|index| world.take_down(index, much_later));
    world.pods[2].agent_at = world.now;
    world.pods[2].run = Run::Off { asks_at: world.now };
    world.go(100);
    assert_eq!(world.writers(), [0usize; 0], "{}", world.describe());
    world.go(100);
    world.assert_settled();
    assert_eq!(world.writers(), [0], "{}", world.describe());
}

#[test]
fn a_server_that_went_back_to_a_backup_of_its_own_leaves_nobody_without_a_primary() {
    for switchovers in 1..4 {
        let mut world = World::new(71, 3, 0, true);
        world.calm = true;
        world.go(20);
        let (backup, version) = (world.lease.clone(), world.version);
        for _ in 0..switchovers {
            let holder = world.writers()[0];
            world.feed(holder, Event::Switchover { ticket: 1, target: None, force: false });
            world.go(10);
        }
        let newest = world.pods.iter().map(|pod| pod.mark).max();
        (world.lease, world.version) = (backup, version);
        world.go(90);
        world.assert_settled();
        let terms = world.lease.as_ref().map(|(record, _)| Some(record.epoch));
        assert!(terms > newest, "terms count on: {terms:?} after {newest:?}");
    }
}

#[test]
fn a_server_that_went_back_names_an_agent_that_has_just_started_while_the_holder_is_cut_off() {
    for seed in 0..5 {
        let mut world = World::new(79 + seed, 2, 0, true);
        world.calm = true;
        world.go(20);
        let (backup, version) = (world.lease.clone(), world.version);
        world.feed(0, Event::Switchover { ticket: 1, target: Some("p-1".to_owned()), force: false });
        world.go(10);
        assert_eq!(world.writers(), [1], "{}", world.describe());
        // it had not come to follow yet
        world.end(0, false);
        let pod = &mut world.pods[0];
        (pod.state, pod.life, pod.agent_at, pod.mark) = (None, pod.life + 1, world.now + 100, Some(0));
        world.pods[1].cut_until = world.now + 60_000;
        (world.lease, world.version) = (backup, version);
        // never two of them
        world.go(30);
        assert_eq!(world.writers().len(), 1, "{}", world.describe());
    }
}

#[test]
fn a_pod_with_the_data_begins_though_the_lease_names_another_one_alone() {
    for overtaken in [false, true] {
        let mut world = World::new(73, 2, 0, true);
        world.calm = true;
        world.go(20);
        world.feed(0, Event::Switchover { ticket: 1, target: Some("p-1".to_owned()), force: false });
        world.go(10);
        assert_eq!(world.writers(), [1]);
        // all end while the other one, which was alone for a while, has the lease and does not serve yet
        let again = world.now + 5_000;
        (0..2).for_each(|index| world.take_down(index, again));
        let (mut record, version) = world.lease.clone().unwrap();
        record.holder = Some(Holder { pod: "p-0".to_owned(), uid: "before".to_owned() });
        (record.epoch, record.members) = (record.epoch + 1, BTreeSet::from(["p-0".to_owned()]));
        (world.lease, world.version) = (Some((record, version + 1)), version + 1);
        if overtaken {
            world.pods[0].mark = Some(0);
        }
        world.go(60);
        world.assert_settled();
        assert_eq!(world.writers(), [1], "{overtaken}: {}", world.describe());
    }
}

#[test]
fn an_empty_pod_takes_over_from_nobody() {
    let mut world = World::new(13, 2, 0, true);
    world.calm = true;
    world.go(20);
    // the one with the data goes, and the other one loses its own
    world.pods[1].mark = None;
    world.end(1, false);
    world.pods[1].state = None;
    let again = world.now + 200_000;
    world.take_down(0, again);
    world.go(200);
    assert_eq!(world.writers(), [0usize; 0]);
    world.go(60);
    world.assert_settled();
    assert_eq!(world.writers(), [0]);
}

#[test]
fn a_crashed_holder_is_replaced_at_once_and_follows_afterwards() {
    let mut world = World::new(17, 3, 0, true);
    world.calm = true;
    world.go(20);
    world.end(0, false);
    world.go(4);
    assert_ne!(world.writers(), [0], "{}", world.describe());
    assert_eq!(world.writers().len(), 1, "{}", world.describe());
    world.go(5);
    world.assert_settled();
}

#[test]
fn a_holder_whose_process_cannot_be_killed_makes_room_and_follows_once_it_is_gone() {
    for resists in [false, true] {
        let mut world = World::new(61, 3, 0, true);
        world.calm = true;
        world.go(20);
        world.hang(0, world.now + 120_000, resists);
        world.go(30);
        assert_ne!(world.writers(), [0], "{resists}: {}", world.describe());
        assert_eq!(world.writers().len(), 1, "{resists}: {}", world.describe());
        assert_eq!(world.pods[0].run == Run::Undead, resists, "{}", world.describe());
        if resists {
            let reason = &world.pods[0].state.as_ref().unwrap().reason;
            assert!(reason.starts_with("the process was killed and does not end"), "{reason}");
        }
        world.pods[0].hung_until = 0;
        world.go(30);
        world.assert_settled();
        assert_ne!(world.writers(), [0], "{resists}: {}", world.describe());
    }
}

#[test]
fn a_holder_whose_process_hung_before_its_agent_was_started_anew_makes_room() {
    let mut world = World::new(67, 3, 0, true);
    world.calm = true;
    world.go(20);
    world.hang(0, world.now + 600_000, false);
    let pod = &mut world.pods[0];
    (pod.state, pod.life, pod.agent_at) = (None, pod.life + 1, world.now + 1_000);
    world.go(120);
    assert_eq!(world.writers(), [0], "it may still come up: {}", world.describe());
    world.go(120);
    assert_ne!(world.writers(), [0], "{}", world.describe());
    world.pods[0].hung_until = 0;
    world.go(30);
    world.assert_settled();
}

#[test]
fn a_holder_that_gave_the_role_away_before_is_replaced_when_it_crashes() {
    let mut world = World::new(31, 3, 0, false);
    world.calm = true;
    world.go(20);
    for (from, to) in [(0, "p-1"), (1, "p-0")] {
        world.feed(from, Event::Switchover { ticket: 1, target: Some(to.to_owned()), force: false });
        world.go(10);
    }
    assert_eq!((world.writers(), world.answers.clone()), (vec![0], vec![Ok(()), Ok(())]));
    // its memory is gone, and the others have all of it
    world.end(0, false);
    world.go(4);
    assert_ne!(world.writers(), [0], "{}", world.describe());
    assert_eq!(world.writers().len(), 1, "{}", world.describe());
    world.go(5);
    world.assert_settled();
}

#[test]
fn a_holder_serves_through_an_outage_of_the_server_with_the_lease() {
    for pods in 1..4 {
        let mut world = World::new(19, pods, 0, true);
        world.calm = true;
        world.go(80);
        let holder = world.writers();
        world.outage_until = world.now + 200_000;
        for _ in 0..180 {
            world.go(1);
            assert_eq!(world.writers(), holder, "{pods} pods at {}: {}", world.now, world.describe());
        }
        // even a new process of it
        world.end(holder[0], false);
        world.go(5);
        assert_eq!(world.writers(), holder, "{pods} pods: {}", world.describe());
        world.go(30);
        world.assert_settled();
        assert_eq!(world.lease.as_ref().map(|(record, _)| record.epoch), Some(0), "nobody took it");
    }
}

#[test]
fn a_holder_that_alone_misses_the_lease_makes_room() {
    let mut world = World::new(23, 3, 0, true);
    world.calm = true;
    world.go(80);
    world.pods[0].deaf_until = world.now + 120_000;
    world.go(40);
    assert_eq!(world.writers().len(), 1, "{}", world.describe());
    assert_ne!(world.writers(), [0], "{}", world.describe());
    world.go(120);
    world.assert_settled();
}

#[test]
fn a_holder_that_cannot_ask_all_others_ends_in_an_outage() {
    let mut world = World::new(29, 3, 0, true);
    world.calm = true;
    world.go(80);
    (world.outage_until, world.apart, world.apart_until) = (world.now + 60_000, (0, 2), world.now + 60_000);
    world.go(12);
    assert_eq!(world.writers(), [0usize; 0], "{}", world.describe());
    world.go(100);
    world.assert_settled();
}
