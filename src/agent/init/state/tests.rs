//! The state machine against a small world of processes: what must hold whatever happens in whatever order.

use proptest::prelude::*;

use super::*;

fn policy() -> Policy {
    Policy {
        restart: Restart::Always,
        exit_with_process: false,
        stop_timeout: 2_000,
        start_timeout: None,
        delay: 1_000,
        max_delay: 10_000,
        stable_after: 5_000,
        crash_loop_after: 3,
        hooks: Vec::new(),
    }
}

/// The edge, as it promises to behave, with processes that behave as they like.
#[allow(clippy::struct_excessive_bools)]
struct World {
    state: State,
    now: Millis,
    next_pid: i32,
    /// The hook or process that lives.
    child: Option<i32>,
    hook: bool,
    /// Left behind by the last child; each look finds them until so many looks are over.
    stragglers: u32,
    obeys_stop: bool,
    spawn_fails: bool,
    open: Vec<Ticket>,
    answers: Vec<(Ticket, Result<Done, Refusal>)>,
    records: Vec<Ended>,
    spawns: u32,
    quit: Option<i32>,
    asked_to_stop: bool,
}

impl World {
    fn new(policy: Policy) -> Self {
        let mut world = Self {
            state: State::default(),
            now: 1_000,
            next_pid: 100,
            child: None,
            hook: false,
            stragglers: 0,
            obeys_stop: true,
            spawn_fails: false,
            open: Vec::new(),
            answers: Vec::new(),
            records: Vec::new(),
            spawns: 0,
            quit: None,
            asked_to_stop: false,
        };
        world.feed(Event::Boot { policy, run: true });
        world
    }

    fn feed(&mut self, event: Event) {
        let mut events = std::collections::VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            if self.quit.is_some() {
                return;
            }
            let (state, actions) = next(std::mem::take(&mut self.state), event, self.now);
            self.state = state;
            for action in actions {
                events.extend(self.carry_out(action));
            }
        }
    }

    fn carry_out(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::RunHook { .. } => Some(self.start(true)),
            Action::Spawn => {
                self.spawns += 1;
                Some(self.start(false))
            }
            Action::SignalStop { pid } => {
                assert_eq!(self.child, Some(pid), "only what lives is told to stop");
                self.asked_to_stop = true;
                None
            }
            Action::KillAll => {
                // the end of the child itself is reported later, as the kernel does
                let left = self.stragglers;
                self.stragglers = self.stragglers.saturating_sub(1);
                Some(Event::Swept { left: left as usize + usize::from(self.child.is_some()) })
            }
            Action::Record { ended, .. } => {
                self.records.push(ended);
                None
            }
            Action::Answer { ticket, result } => {
                let index = self.open.iter().position(|open| *open == ticket).expect("each ticket is answered once");
                self.open.swap_remove(index);
                self.answers.push((ticket, result));
                None
            }
            Action::Quit { code } => {
                self.quit = Some(code);
                None
            }
        }
    }

    fn start(&mut self, hook: bool) -> Event {
        assert_eq!(self.child, None, "never two processes");
        assert_eq!(self.stragglers, 0, "nothing starts while something of the last one lives");
        assert!(!self.state.quit, "nothing starts once PID 1 was told to end");
        assert_eq!(self.state.wish, Wish::Run, "nothing starts that was stopped on purpose");
        if self.spawn_fails {
            return Event::SpawnFailed { what: "no".to_owned() };
        }
        self.next_pid += 1;
        (self.child, self.hook, self.asked_to_stop) = (Some(self.next_pid), hook, false);
        Event::Spawned { pid: self.next_pid }
    }

    fn up(&mut self) {
        if let Some(pid) = self.child.filter(|_| !self.hook) {
            self.feed(Event::Executed { pid });
        }
    }

    fn exit(&mut self, exit: Exit, stragglers: u32) {
        if let Some(pid) = self.child.take() {
            self.stragglers = stragglers;
            self.feed(Event::Exited { pid, exit, what: None });
        }
    }

    fn ask(&mut self, order: Order) -> Ticket {
        let ticket = self.now * 1_000 + self.open.len() as u64 + self.answers.len() as u64 * 100;
        self.open.push(ticket);
        self.feed(Event::Ask { ticket, order });
        ticket
    }

    fn answer(&self, ticket: Ticket) -> Option<&Result<Done, Refusal>> {
        self.answers.iter().find(|(known, _)| *known == ticket).map(|(_, result)| result)
    }

    /// Lets time pass, up to the next thing that is due.
    fn pass(&mut self, at_most: Millis) {
        let until = self.now + at_most;
        while self.quit.is_none() {
            match self.state.wake_at() {
                Some(at) if at <= until => {
                    self.now = self.now.max(at);
                    self.feed(Event::Tick);
                    self.world_reacts();
                    if self.quit.is_none() {
                        let again = self.state.wake_at().is_none_or(|next| next > self.now);
                        assert!(again, "a tick that changes nothing would be repeated for ever: {:?}", self.state);
                    }
                }
                _ => break,
            }
        }
        self.now = self.now.max(until);
    }

    /// Processes that obey end when asked; killed ones end anyway.
    fn world_reacts(&mut self) {
        let killed = matches!(self.state.phase, Phase::Stopping { forced: Some(_), .. })
            || matches!(self.state.phase, Phase::Hook { overdue: true, .. });
        if killed {
            self.exit(Exit::Signal(9), 0);
        } else if self.asked_to_stop && self.obeys_stop {
            self.exit(Exit::Code(0), 0);
        }
    }
}

#[test]
fn a_process_that_is_up_and_ready_is_shown_as_such() {
    let mut world = World::new(policy());
    assert_eq!(world.state.shown(), Shown::Starting);
    world.up();
    assert_eq!(world.state.shown(), Shown::Running);
    world.feed(Event::Ready { ready: true });
    assert_eq!(world.state.shown(), Shown::Ready);
    assert_eq!(world.state.wake_at(), None, "nothing is due while all is well");
}

#[test]
fn the_first_crash_is_repaired_at_once_and_further_ones_ever_later() {
    let mut world = World::new(policy());
    let mut delays = Vec::new();
    for _ in 0..8 {
        world.up();
        let crashed = world.now;
        world.exit(Exit::Code(1), 0);
        delays.push(world.state.wake_at().map_or(0, |at| at - crashed));
        world.pass(delays[delays.len() - 1]);
    }
    assert_eq!(delays, [0, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000, 10_000]);
}

#[test]
fn a_crash_loop_is_shown_and_forgiven_after_a_stable_time() {
    let mut world = World::new(policy());
    for _ in 0..3 {
        world.up();
        world.exit(Exit::Signal(11), 0);
        if world.state.crashes < 3 {
            world.pass(world.state.wake_at().map_or(0, |at| at - world.now));
        }
    }
    assert_eq!(world.state.shown(), Shown::CrashLoop);
    assert_eq!(world.state.reason, "the process was ended by SIGSEGV");
    world.pass(4_000);
    world.up();
    assert!(world.state.in_crash_loop());
    world.pass(5_000);
    assert_eq!((world.state.crashes, world.state.in_crash_loop()), (0, false));
}

#[test]
fn a_deliberate_stop_is_no_crash_and_lasts() {
    let mut world = World::new(policy());
    world.up();
    let ticket = world.ask(Order::Stop { timeout: None });
    assert_eq!(world.state.shown(), Shown::Stopping);
    world.exit(Exit::Code(7), 0);
    assert_eq!(world.state.shown(), Shown::Stopped);
    assert_eq!(world.answer(ticket), Some(&Ok(Done { changed: true, forced: false })));
    assert!(world.records[0].asked);
    world.pass(1_000_000);
    assert_eq!((world.spawns, world.state.crashes), (1, 0));
}

#[test]
fn a_process_that_does_not_stop_is_killed_after_the_deadline() {
    let mut world = World::new(policy());
    world.up();
    world.obeys_stop = false;
    let ticket = world.ask(Order::Stop { timeout: Some(500) });
    assert_eq!(world.state.wake_at(), Some(world.now + 500));
    world.pass(600);
    assert_eq!(world.answer(ticket), Some(&Ok(Done { changed: true, forced: true })));
    assert_eq!(world.records[0].what, "the process was ended by SIGKILL because it did not stop in time");
}

#[test]
fn nothing_starts_before_everything_left_behind_is_gone() {
    let mut world = World::new(policy());
    world.up();
    let ticket = world.ask(Order::Restart { timeout: None });
    world.exit(Exit::Code(0), 5);
    assert_eq!((world.state.shown(), world.spawns), (Shown::Stopping, 1));
    world.pass(1_000);
    assert_eq!(world.spawns, 2);
    assert_eq!(world.answer(ticket), None, "a restart has ended once the new process is up");
    world.up();
    assert_eq!(world.answer(ticket), Some(&Ok(Done { changed: true, forced: false })));
}

#[test]
fn orders_do_not_mix_but_a_stop_always_comes_through() {
    let mut world = World::new(policy());
    world.up();
    let restart = world.ask(Order::Restart { timeout: None });
    let start = world.ask(Order::Start);
    assert_eq!(world.answer(start), Some(&Err(Refusal::Busy(Operation::Restart))));
    let stop = world.ask(Order::Stop { timeout: None });
    assert_eq!(world.answer(restart), Some(&Err(Refusal::Superseded)));
    let again = world.ask(Order::Stop { timeout: None });
    world.exit(Exit::Code(0), 0);
    assert!(matches!(world.answer(stop), Some(Ok(_))) && matches!(world.answer(again), Some(Ok(_))));
    assert_eq!(world.spawns, 1);
}

#[test]
fn hooks_run_in_order_before_every_start_and_a_failed_one_prevents_it() {
    let mut world = World::new(Policy { hooks: vec![100, 100], ..policy() });
    assert!(world.hook);
    world.exit(Exit::Code(0), 0);
    assert!(world.hook && world.spawns == 0);
    world.exit(Exit::Code(0), 0);
    assert!(!world.hook && world.spawns == 1);
    world.up();
    world.exit(Exit::Code(1), 0);
    assert!(world.hook);
    world.exit(Exit::Code(3), 0);
    assert_eq!(world.state.reason, "command 1 before the start exited with code 3");
    assert_eq!(world.state.shown(), Shown::Backoff);
}

#[test]
fn a_hook_that_takes_too_long_is_killed() {
    let mut world = World::new(Policy { hooks: vec![100], ..policy() });
    world.pass(150);
    assert_eq!(world.records[0].what, "command 1 before the start took longer than 100 ms");
}

#[test]
fn a_process_that_does_not_become_ready_in_time_has_crashed() {
    let mut world = World::new(Policy { start_timeout: Some(3_000), ..policy() });
    world.up();
    world.pass(3_000);
    assert_eq!(world.spawns, 2, "the first crash is repaired at once");
    assert_eq!(world.records[0].what, "the process was not ready within 3000 ms");
    assert!(!world.records[0].asked);
    world.pass(3_000);
    assert_eq!(world.records.len(), 1, "each time it is given twice as long: what it reads may have to be read");
    world.pass(3_000);
    assert_eq!(world.records.len(), 2, "nor may it take longer to become its program");
    assert_eq!(world.records[1].what, "the process was not ready within 6000 ms");
    world.pass(1_000);
    world.up();
    world.feed(Event::Ready { ready: true });
    world.feed(Event::Ready { ready: false });
    world.pass(100_000);
    assert_eq!(world.spawns, 3, "once ready, it may take its time");
}

#[test]
fn restart_policies_decide_what_follows_an_end() {
    for (restart, exit, shown) in [
        (Restart::OnFailure, Exit::Code(0), Shown::Stopped),
        (Restart::OnFailure, Exit::Code(1), Shown::Starting),
        (Restart::Never, Exit::Code(0), Shown::Stopped),
        (Restart::Never, Exit::Signal(6), Shown::Failed),
        (Restart::Always, Exit::Code(0), Shown::Starting),
    ] {
        let mut world = World::new(Policy { restart, ..policy() });
        world.up();
        world.exit(exit, 0);
        assert_eq!(world.state.shown(), shown, "{restart:?} {exit:?}");
    }
}

#[test]
fn the_exit_code_of_the_process_becomes_that_of_pid_1() {
    for (exit, code) in [(Exit::Code(0), 0), (Exit::Code(42), 42), (Exit::Signal(15), 143)] {
        let mut world = World::new(policy());
        world.up();
        world.feed(Event::Terminate);
        world.exit(exit, 0);
        assert_eq!(world.quit, Some(code));
        let once = Policy { restart: Restart::Never, exit_with_process: true, ..policy() };
        let mut world = World::new(once);
        world.up();
        world.exit(exit, 0);
        assert_eq!(world.quit, Some(code));
    }
}

#[test]
fn a_changed_command_is_tried_at_once_where_the_old_one_failed() {
    let mut world = World::new(policy());
    world.spawn_fails = true;
    world.feed(Event::Tick);
    world.exit(Exit::Code(1), 0);
    world.pass(50_000);
    assert!(matches!(world.state.shown(), Shown::Backoff | Shown::CrashLoop));
    world.spawn_fails = false;
    world.feed(Event::Configured { policy: policy(), launch_changed: true });
    assert_eq!((world.state.shown(), world.state.crashes), (Shown::Starting, 0));
}

#[derive(Clone, Debug)]
enum Step {
    Start,
    Stop(Option<Millis>),
    Restart(Option<Millis>),
    Up,
    Exit(Exit, u32),
    Ready(bool),
    Obey(bool),
    SpawnFails(bool),
    Pass(Millis),
    Configure(Policy, bool),
    Terminate,
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let restart = prop_oneof![Just(Restart::Always), Just(Restart::OnFailure), Just(Restart::Never)];
    let hooks = prop::collection::vec(1..5_000u64, 0..3);
    let times = (0..5_000u64, prop::option::of(100..5_000u64), 100..5_000u64, 100..60_000u64, 100..60_000u64);
    (restart, any::<bool>(), times, 1..6u32, hooks).prop_map(|(restart, exit_with_process, times, loops, hooks)| {
        let (stop_timeout, start_timeout, delay, max_delay, stable_after) = times;
        let crash_loop_after = loops;
        Policy {
            restart,
            exit_with_process,
            stop_timeout,
            start_timeout,
            delay,
            max_delay,
            stable_after,
            crash_loop_after,
            hooks,
        }
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    let timeout = || prop::option::of(0..10_000u64);
    let exit = prop_oneof![(0..3i32).prop_map(Exit::Code), Just(Exit::Signal(9)), Just(Exit::Signal(15))];
    prop_oneof![
        2 => Just(Step::Start),
        2 => timeout().prop_map(Step::Stop),
        2 => timeout().prop_map(Step::Restart),
        6 => Just(Step::Up),
        6 => (exit, 0..4u32).prop_map(|(exit, stragglers)| Step::Exit(exit, stragglers)),
        2 => any::<bool>().prop_map(Step::Ready),
        1 => any::<bool>().prop_map(Step::Obey),
        1 => any::<bool>().prop_map(Step::SpawnFails),
        6 => (0..20_000u64).prop_map(Step::Pass),
        1 => (any_policy(), any::<bool>()).prop_map(|(policy, changed)| Step::Configure(policy, changed)),
        1 => Just(Step::Terminate),
    ]
}

proptest! {
    #![proptest_config(crate::chance::cases(2_000))]

    /// Never two processes, nothing started that was stopped, every question answered once, every wait bounded:
    /// [`World`] checks these at each step; here also that a stop stays one and that PID 1 always ends when told to.
    #[test]
    fn whatever_happens_the_promises_hold(policy in any_policy(), steps in prop::collection::vec(any_step(), 0..80)) {
        let mut world = World::new(policy);
        for step in steps {
            if world.quit.is_some() {
                break;
            }
            let (stopped, spawns) = (world.state.wish == Wish::Stop, world.spawns);
            let ordered = matches!(step, Step::Start | Step::Restart(_));
            match step {
                Step::Start => drop(world.ask(Order::Start)),
                Step::Stop(timeout) => drop(world.ask(Order::Stop { timeout })),
                Step::Restart(timeout) => drop(world.ask(Order::Restart { timeout })),
                Step::Up => world.up(),
                Step::Exit(exit, stragglers) => world.exit(exit, stragglers),
                Step::Ready(ready) => world.feed(Event::Ready { ready }),
                Step::Obey(obeys) => world.obeys_stop = obeys,
                Step::SpawnFails(fails) => world.spawn_fails = fails,
                Step::Pass(time) => world.pass(time),
                Step::Configure(policy, launch_changed) => world.feed(Event::Configured { policy, launch_changed }),
                Step::Terminate => world.feed(Event::Terminate),
            }
            if stopped && !ordered {
                prop_assert_eq!(world.spawns, spawns, "a deliberate stop is not undone by itself");
            }
            if let Phase::Waiting { until, .. } = world.state.phase {
                prop_assert!(until <= world.now + 60_000, "no wait is longer than the longest delay");
            }
        }
        // whatever is under way: a start that is asked for once all is quiet succeeds where the process behaves
        if !world.state.quit {
            (world.obeys_stop, world.spawn_fails) = (true, false);
            world.ask(Order::Stop { timeout: Some(0) });
            world.exit(Exit::Code(0), 0);
            world.pass(100_000);
            prop_assert_eq!(world.state.shown(), Shown::Stopped);
            let ticket = world.ask(Order::Start);
            while world.hook && world.child.is_some() {
                world.exit(Exit::Code(0), 0);
            }
            world.up();
            let started = matches!(world.answer(ticket), Some(Ok(done)) if done.changed);
            prop_assert!(started, "{:?}", world.state);
        }
        // whatever is under way: told to end, it ends in bounded time, even with a process that ignores being asked
        world.obeys_stop = false;
        world.feed(Event::Terminate);
        let told = world.now;
        world.pass(QUIT_GRACE + 5_000 + 2_000);
        prop_assert!(world.quit.is_some(), "{:?} since {}", world.state, told);
        prop_assert!(world.open.is_empty(), "somebody still waits for an answer: {:?}", world.open);
    }
}

#[test]
fn a_burnt_fuse_kills_at_once_and_what_follows_begins_with_the_first_command() {
    let mut world = World::new(Policy { hooks: vec![1_000], ..policy() });
    world.exit(Exit::Code(0), 0);
    world.up();
    world.feed(Event::Fuse { at: Some(5) });
    assert_eq!(world.state.fuse, Some(5));
    world.feed(Event::Burnt);
    assert!(!world.asked_to_stop, "nobody is asked to end in peace");
    world.exit(Exit::Signal(9), 0);
    assert!(world.hook, "permission is asked for anew");
    assert_eq!((world.state.fuse, world.state.crashes), (None, 0));
}

#[test]
fn a_fuse_that_burns_during_a_command_before_the_start_voids_it() {
    let mut world = World::new(Policy { hooks: vec![1_000], ..policy() });
    world.feed(Event::Fuse { at: Some(5) });
    world.feed(Event::Burnt);
    world.exit(Exit::Signal(9), 0);
    assert!(world.hook && world.spawns == 0);
    world.exit(Exit::Code(0), 0);
    assert_eq!(world.spawns, 1);
}
