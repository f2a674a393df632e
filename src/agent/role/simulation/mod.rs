//! Several agents with a lease between them, in a world that delays, loses, stops, kills and cuts whatever it can: what
//! must hold whatever happens in whatever order.

mod process;
mod random;
mod runs;

use std::collections::BTreeMap;

use self::random::Random;
use super::*;

/// Small steps of time, in milliseconds.
const STEP_MS: u64 = 20;
const TIMEOUT: u64 = 3_000;
/// The ticket of whoever asks for a promise.
const PLEA: Ticket = u64::MAX;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Run {
    /// Stopped on purpose.
    Stopped,
    /// PID 1 is about to ask.
    Off {
        asks_at: u64,
    },
    Asking,
    Running {
        primary: bool,
        writable: bool,
        follows: Option<String>,
        up_at: u64,
    },
    /// Killed, and still there: it waits for a disk. It writes nothing any more.
    Undead,
}

/// What is on its way.
#[derive(Clone, Debug)]
enum Mail {
    Tell(Event),
    Fuse(Option<Millis>),
    Write { purpose: Purpose, record: Record, version: Option<String>, sent: Millis, answered: bool },
    Do { deed: Deed, run: u64 },
    Prepared { grant: Grant, run: u64 },
    Look,
    Peers,
    Plead { pods: BTreeSet<String>, epoch: u64, duration: Millis },
}

struct Pod {
    name: String,
    uid: u32,
    /// Nothing while the agent does not run.
    state: Option<State>,
    agent_at: u64,
    /// Counts the agents, so that mail of an earlier one is lost with it.
    life: u64,
    /// Thousandths of a second per second that its clock is fast.
    drift: u64,
    paused_until: u64,
    /// From everybody.
    cut_until: u64,
    /// From the server that has the lease, and from nobody else.
    deaf_until: u64,
    run: Run,
    run_id: u64,
    /// Until then the process neither answers nor writes: somebody stopped it, or its disk does not answer.
    hung_until: u64,
    /// It does not end before that, though it is killed.
    resists: bool,
    fuse: Option<Millis>,
    mark: Option<u64>,
    /// What is written down for the next agent: the process was stopped for the role's sake.
    parked: bool,
    /// Until then there is no pod of this name.
    gone_until: u64,
    /// When a pod that is to be removed has had time enough to end in good order.
    leaves_at: u64,
    position: i64,
    /// What it said when it was probed last.
    told: i64,
    /// From when on it can say that: until then it reads what it had before its start.
    knows_at: u64,
    label: Option<String>,
    stopping: bool,
}

/// The process of a pod that Kubernetes was told to forget while its node is lost: it writes until its fuse ends it.
struct Ghost {
    drift: u64,
    fuse: Millis,
}

// facts that hold or not, each on its own
#[allow(clippy::struct_excessive_bools)]
struct World {
    random: Random,
    now: u64,
    pods: Vec<Pod>,
    ghosts: Vec<Ghost>,
    /// How many of them there are to be; the others are removed, or were never made.
    size: usize,
    resized: bool,
    lease: Option<(Record, u64)>,
    version: u64,
    mail: Vec<(u64, usize, u64, Mail)>,
    outage_until: u64,
    /// Two pods that do not reach each other.
    apart: (usize, usize),
    apart_until: u64,
    acked: i64,
    synchronous: usize,
    lasting: bool,
    standby: bool,
    /// A process that gives the role up is stopped.
    demotes_by_stopping: bool,
    answers: Vec<Result<(), String>>,
    /// How the last promise asked for was answered.
    promised: Result<(), String>,
    /// PID 1 does not always answer.
    flaky: bool,
    /// How long a follower may be without connection.
    attach_within: Option<Millis>,
    calm: bool,
}

/// What a clock with this drift says.
fn clock(now: u64, drift: u64) -> Millis {
    1_000_000 + now * drift / 1_000
}

impl World {
    fn new(seed: u64, pods: usize, synchronous: usize, lasting: bool) -> Self {
        let mut random = Random::new(seed);
        (0..8).for_each(|_| {
            random.next();
        });
        let standby = random.chance(50);
        let make = |index: usize, random: &mut Random| Pod {
            name: format!("p-{index}"),
            uid: 0,
            state: None,
            agent_at: random.below(4_000),
            life: 0,
            drift: 990 + random.below(21),
            paused_until: 0,
            cut_until: 0,
            deaf_until: 0,
            run: Run::Off { asks_at: random.below(4_000) },
            run_id: 0,
            hung_until: 0,
            resists: false,
            fuse: None,
            mark: None,
            parked: false,
            gone_until: 0,
            leaves_at: 0,
            position: 0,
            told: 0,
            knows_at: 0,
            label: None,
            stopping: false,
        };
        let size = pods;
        let pods = (0..pods).map(|index| make(index, &mut random)).collect();
        Self {
            random,
            now: 0,
            pods,
            ghosts: Vec::new(),
            size,
            resized: false,
            lease: None,
            version: 0,
            mail: Vec::new(),
            outage_until: 0,
            apart: (0, 0),
            apart_until: 0,
            acked: 0,
            synchronous,
            lasting,
            standby,
            demotes_by_stopping: false,
            answers: Vec::new(),
            promised: Ok(()),
            flaky: false,
            attach_within: None,
            calm: false,
        }
    }

    fn settings(&self, index: usize) -> Settings {
        Settings {
            me: Holder { pod: self.pods[index].name.clone(), uid: self.pods[index].uid.to_string() },
            // whoever is to go still knows itself
            pods: (0..self.pods.len())
                .filter(|n| *n < self.size || *n == index)
                .map(|n| Member { name: format!("p-{n}"), ordinal: u16::try_from(n).unwrap() })
                .collect(),
            duration: 10_000,
            automatic: true,
            lasting: self.lasting,
            synchronous: self.synchronous,
            max_lag: None,
            attach_within: self.attach_within,
        }
    }

    /// The pod's own clock.
    fn clock(&self, index: usize) -> Millis {
        clock(self.now, self.pods[index].drift)
    }

    fn delay(&mut self) -> u64 {
        let most = if self.calm || self.random.chance(90) { 60 } else { 2_000 };
        5 + self.random.below(most)
    }

    fn post(&mut self, index: usize, after: u64, mail: Mail) {
        let life = self.pods[index].life;
        self.mail.push((self.now + after, index, life, mail));
    }

    fn feed(&mut self, index: usize, event: Event) {
        let now = self.clock(index);
        let Some(state) = self.pods[index].state.take() else { return };
        let (state, orders) = next(state, event, now);
        self.pods[index].parked = state.parks();
        self.pods[index].state = Some(state);
        for order in orders {
            self.carry_out(index, order);
        }
    }

    fn carry_out(&mut self, index: usize, order: Order) {
        let (delay, run) = (self.delay(), self.pods[index].run_id);
        match order {
            Order::Look => self.post(index, delay, Mail::Look),
            Order::Write { purpose, record, version } => {
                let sent = self.clock(index);
                let lost = !self.calm && self.random.chance(5);
                // one that is late arrives though nobody waits for it any more
                let after = if lost && self.random.chance(50) { TIMEOUT + self.random.below(12_000) } else { delay };
                self.post(index, after, Mail::Write { purpose, record, version, sent, answered: !lost });
                if lost {
                    let result = Written::Failed("lost".to_owned());
                    self.post(index, TIMEOUT, Mail::Tell(Event::Written { purpose, sent, result }));
                }
            }
            // in the order given
            Order::Fuse { at } => self.post(index, 10, Mail::Fuse(at)),
            Order::Grant(grant) => {
                let after = 50 + self.random.below(1_000);
                self.post(index, after, Mail::Prepared { grant, run });
            }
            Order::Do(deed) => {
                let after = 20 + self.random.below(if self.calm { 300 } else { 3_000 });
                self.post(index, after, Mail::Do { deed, run });
            }
            Order::AskPeers => self.post(index, delay, Mail::Peers),
            Order::ClearLabels => {
                for other in (0..self.pods.len()).filter(|other| *other != index) {
                    if self.pods[other].label.as_deref() == Some("primary") {
                        self.pods[other].label = None;
                    }
                }
            }
            Order::Label(label) => self.pods[index].label = label,
            Order::Remember(epoch) => self.pods[index].mark = Some(epoch),
            Order::Answer { ticket: PLEA, result } => self.promised = result,
            Order::Answer { result, .. } => self.answers.push(result),
            Order::Plead { pods, epoch, duration } => self.post(index, delay, Mail::Plead { pods, epoch, duration }),
            Order::LookFor(names) => {
                // everybody is named in the lease: only whoever had it last is waited for
                let last = self.lease.as_ref().and_then(|(record, _)| record.last.clone());
                let expected = self.resized || last.is_some_and(|last| names.contains(&last));
                assert!(expected, "{names:?} are looked for: {:?}", self.lease);
                let gone = |pod: &&Pod| self.now < pod.gone_until && names.contains(&pod.name);
                let gone = self.pods.iter().filter(gone).map(|pod| pod.name.clone()).collect();
                self.post(index, delay, Mail::Tell(Event::Gone(gone)));
            }
            Order::Exit => {
                self.pods[index].state = None;
                self.pods[index].life += 1;
                self.pods[index].agent_at = self.now + 2_000;
            }
        }
    }

    fn reaches_api(&self, index: usize) -> bool {
        let pod = &self.pods[index];
        self.now >= self.outage_until && self.now >= pod.cut_until && self.now >= pod.deaf_until
    }

    /// Whether two pods reach each other.
    fn meet(&self, one: usize, other: usize) -> bool {
        let apart = self.now < self.apart_until && [(one, other), (other, one)].contains(&self.apart);
        !apart && self.now >= self.pods[one].cut_until && self.now >= self.pods[other].cut_until
    }

    /// Asks each for its promise; answers are lost on their way as well.
    fn plead(&mut self, index: usize, pods: &BTreeSet<String>, epoch: u64, duration: Millis) {
        let holder = self.settings(index).me;
        let mut by = BTreeSet::new();
        for other in (0..self.pods.len()).filter(|other| *other != index) {
            let name = self.pods[other].name.clone();
            let awake = self.pods[other].state.is_some() && self.now >= self.pods[other].paused_until;
            if !pods.contains(&name) || !awake || !self.meet(index, other) {
                continue;
            }
            self.promised = Err("no answer".to_owned());
            self.feed(other, Event::Plea { ticket: PLEA, holder: holder.clone(), epoch, duration });
            if self.promised.is_ok() && (self.calm || self.random.chance(95)) {
                by.insert(name);
            }
        }
        let delay = self.delay();
        self.post(index, delay, Mail::Tell(Event::Promised { epoch, by }));
    }

    fn deliver(&mut self, index: usize, mail: Mail) {
        match mail {
            Mail::Tell(event) => self.feed(index, event),
            Mail::Fuse(at) => {
                let done = self.calm || !self.flaky || self.random.chance(85);
                // what is not answered may have been heard all the same
                if done || self.random.chance(50) {
                    self.pods[index].fuse = at;
                }
                self.feed(index, Event::Fused { at, done });
            }
            Mail::Write { purpose, record, version, sent, answered } => {
                let result = if self.reaches_api(index) {
                    let current = self.lease.as_ref().map(|(_, version)| version.to_string());
                    if current == version {
                        self.version += 1;
                        self.lease = Some((record.clone(), self.version));
                        Written::Done(Seen { record, version: self.version.to_string() })
                    } else {
                        Written::Conflict
                    }
                } else {
                    Written::Failed("cut".to_owned())
                };
                if answered {
                    let delay = self.delay();
                    self.post(index, delay, Mail::Tell(Event::Written { purpose, sent, result }));
                }
            }
            Mail::Plead { pods, epoch, duration } => self.plead(index, &pods, epoch, duration),
            Mail::Do { deed, run } => self.deed(index, deed, run),
            Mail::Prepared { grant, run } => self.start(index, &grant, run),
            Mail::Look => {
                if self.reaches_api(index) {
                    let seen = self.seen();
                    let delay = self.delay();
                    self.post(index, delay, Mail::Tell(Event::Lease(seen)));
                }
            }
            Mail::Peers => {
                let mut peers = BTreeMap::new();
                // not everybody can ask the process in time
                let hasty = !self.calm && self.random.chance(20);
                let asker = self.pods[index].state.as_ref();
                let known: Vec<String> =
                    asker.iter().flat_map(|state| &state.settings.pods).map(|pod| pod.name.clone()).collect();
                for other in (0..self.pods.len()).filter(|other| *other != index) {
                    let pod = &self.pods[other];
                    if !known.contains(&pod.name) {
                        continue;
                    }
                    let cut = !self.meet(index, other);
                    let Some(state) = pod.state.as_ref().filter(|_| !cut && self.now >= pod.paused_until) else {
                        continue;
                    };
                    let up = matches!(pod.run, Run::Running { up_at, .. } if self.now >= up_at);
                    let hasty = hasty || self.hangs(other);
                    let data = state.summary().data;
                    let position = if hasty { pod.told.min(pod.position) } else { pod.position };
                    let position = (up && self.now >= pod.knows_at).then_some(position);
                    let follows = Some(self.attached(other).unwrap_or_default());
                    peers.insert(pod.name.clone(), Peer { up, data, position, exact: !hasty, lag: None, follows });
                }
                self.feed(index, Event::Peers(peers));
            }
        }
    }

    fn seen(&self) -> Option<Seen> {
        self.lease.as_ref().map(|(record, version)| Seen { record: record.clone(), version: version.to_string() })
    }

    fn step(&mut self) {
        self.now += STEP_MS;
        for index in 0..self.pods.len() {
            let clock = self.clock(index);
            if self.pods[index].fuse.is_some_and(|at| clock >= at) {
                self.end(index, false);
            }
            if self.pods[index].run == Run::Undead && !self.hangs(index) {
                self.end(index, false);
            }
            if matches!(self.pods[index].run, Run::Off { asks_at } if self.now >= asks_at) {
                self.pods[index].run = Run::Asking;
            }
            // whoever takes pods away waits until another one has served since
            let last = self.lease.as_ref().and_then(|(record, _)| record.last.as_ref());
            let needed = last.is_none_or(|last| *last == self.pods[index].name);
            if index >= self.size && !needed && self.now >= self.pods[index].leaves_at {
                self.remove(index);
            }
            if self.pods[index].state.is_none() && self.now >= self.pods[index].agent_at {
                self.pods[index].life += 1;
                self.pods[index].stopping = false;
                let pod = &self.pods[index];
                let state = State::new(self.settings(index), pod.mark, clock).resumed(pod.parked);
                self.pods[index].state = Some(state);
            }
        }
        self.replicate();
        let now = self.now;
        let paused = |world: &Self, index: usize| now < world.pods[index].paused_until;
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.mail).into_iter().partition(|(at, index, _, mail)| {
                // what is under way to the server or PID 1 needs the agent no more
                let waits =
                    matches!(mail, Mail::Tell(_) | Mail::Prepared { .. } | Mail::Do { .. }) && paused(self, *index);
                *at <= now && !waits
            });
        self.mail = later;
        for (_, index, life, mail) in due {
            if self.pods[index].life == life || matches!(mail, Mail::Write { .. } | Mail::Fuse(_)) {
                self.deliver(index, mail);
                self.check();
            }
        }
        for index in 0..self.pods.len() {
            if self.pods[index].state.is_none() || paused(self, index) {
                continue;
            }
            self.look_at_process(index);
            if now.is_multiple_of(5_000) && self.pods[index].label.is_none() {
                self.pods[index].label = self.pods[index].state.as_ref().and_then(|state| state.summary().role);
            }
            if now.is_multiple_of(500) {
                self.probe(index);
                self.post(index, 5, Mail::Look);
            }
            let clock = self.clock(index);
            if self.pods[index]
                .state
                .as_ref()
                .is_some_and(|state| state.wake_at(clock.saturating_sub(STEP_MS)) <= clock)
            {
                self.feed(index, Event::Tick);
            }
            self.check();
        }
    }

    /// The primary writes, replicas copy; what enough of them have is confirmed.
    fn replicate(&mut self) {
        let Some(index) = self.writers().into_iter().find(|index| !self.hangs(*index)) else { return };
        let name = self.pods[index].name.clone();
        self.pods[index].position += 1;
        let position = self.pods[index].position;
        let mut confirmed = 0;
        // whose word counts is what its agent has last been told
        let asked = self.pods[index].state.as_ref().map(|state| state.settings.pods.clone());
        for other in (0..self.pods.len()).filter(|other| *other != index) {
            let lucky = self.random.chance(70);
            let reached = self.meet(index, other) && !self.hangs(other);
            let pod = &mut self.pods[other];
            if let Run::Running { follows: Some(follows), .. } = &pod.run
                && *follows == name
                && reached
                && lucky
            {
                pod.position = position;
                // only a member of this term's data counts as one
                let told = asked.as_ref().is_none_or(|asked| asked.iter().any(|one| one.name == pod.name));
                // it takes longer to copy the data than to name a pod in the lease
                let counts = told && self.lease.as_ref().is_some_and(|(record, _)| record.members.contains(&pod.name));
                confirmed +=
                    usize::from(counts && self.lease.as_ref().is_some_and(|(record, _)| pod.mark >= record.served));
            }
        }
        let served = self.lease.as_ref().is_some_and(|(record, _)| record.served == Some(record.epoch));
        if served && confirmed >= self.synchronous {
            self.acked = self.acked.max(position);
        }
    }

    fn writers(&self) -> Vec<usize> {
        let writable = |pod: &Pod| matches!(pod.run, Run::Running { writable: true, .. });
        (0..self.pods.len()).filter(|index| writable(&self.pods[*index])).collect()
    }

    fn check(&self) {
        let clock_over = |index: &usize| self.pods[*index].fuse.is_some_and(|at| self.clock(*index) >= at);
        let writers: Vec<usize> = self.writers().into_iter().filter(|index| !clock_over(index)).collect();
        let lives = |ghost: &&Ghost| clock(self.now, ghost.drift) < ghost.fuse;
        let ghosts = self.ghosts.iter().filter(lives).count();
        let all = writers.len() + ghosts;
        assert!(all <= 1, "{}: {writers:?} and {ghosts} lost ones write at once; lease {:?}", self.now, self.lease);
    }
}
