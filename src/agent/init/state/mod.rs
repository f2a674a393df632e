//! What is to happen to the supervised process next: a pure state machine without clock, processes or files.
//!
//! The edge carries the actions out at once and reports what came of them: after [`Action::RunHook`] and
//! [`Action::Spawn`] the next event is [`Event::Spawned`] or [`Event::SpawnFailed`], after [`Action::KillAll`] it is
//! [`Event::Swept`].

mod machine;

use std::fmt;

/// Milliseconds of a clock that never goes back.
pub type Millis = u64;
/// Names one request that waits for an answer.
pub type Ticket = u64;

/// How long the rest of a process tree may resist SIGKILL before PID 1 leaves all the same.
pub const QUIT_GRACE: Millis = 5_000;
/// How long until a tree that resists SIGKILL is killed again.
const KILL_AGAIN: Millis = 1_000;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
}

impl Exit {
    /// The exit status a shell would report.
    pub fn status(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

/// Whether a process that ended by itself is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    Always,
    OnFailure,
    Never,
}

/// What the configuration says about starting and stopping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub restart: Restart,
    /// PID 1 leaves as soon as the process has ended for good.
    pub exit_with_process: bool,
    pub stop_timeout: Millis,
    /// A process that was not ready by then has failed to start.
    pub start_timeout: Option<Millis>,
    /// The delay before the second restart in a row; the first one happens at once.
    pub delay: Millis,
    pub max_delay: Millis,
    /// A process that stayed up for so long has made good its earlier crashes.
    pub stable_after: Millis,
    pub crash_loop_after: u32,
    /// How long each command before the start may take.
    pub hooks: Vec<Millis>,
}

impl Policy {
    /// How long to wait before the start that follows crash number `crashes` in a row.
    pub fn delay_after(&self, crashes: u32) -> Millis {
        match crashes {
            0 | 1 => 0,
            n => self.delay.saturating_mul(1 << (n - 2).min(32)).min(self.max_delay),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    Run,
    Stop,
}

/// What somebody can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Start,
    Stop { timeout: Option<Millis> },
    Restart { timeout: Option<Millis> },
}

/// An order under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Start,
    Stop,
    Restart,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
        })
    }
}

/// Why nothing runs and nothing is about to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// There was no usable configuration yet.
    Unconfigured,
    Stopped,
    Completed,
    Failed,
}

/// What became of an attempt to run the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Nothing where no process came to be.
    pub exit: Option<Exit>,
    pub uptime: Millis,
    /// Somebody wanted it to end.
    pub asked: bool,
    /// It had to be killed because it did not stop in time.
    pub forced: bool,
    pub what: String,
}

/// What is over, and decides what follows once everything left behind is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// A command before the start succeeded; this one is next.
    Hook { next: usize, hooks: Vec<Millis> },
    /// The attempt to run the process.
    Attempt(Ended),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    Idle(Rest),
    /// A command before the start runs; no pid until the edge has reported it.
    Hook {
        index: usize,
        hooks: Vec<Millis>,
        pid: Option<i32>,
        kill_at: Millis,
        overdue: bool,
    },
    /// Forked, but not yet the program it is to be.
    Starting {
        pid: Option<i32>,
        since: Millis,
    },
    Up {
        pid: i32,
        since: Millis,
        ready: bool,
        /// It has been ready since it started.
        proven: bool,
    },
    /// Told to end.
    Stopping {
        pid: i32,
        started: Millis,
        kill_at: Millis,
        /// Since when it is being killed.
        forced: Option<Millis>,
        /// Why it has to go, unless somebody asked for it.
        why: Option<String>,
    },
    /// The process is gone; whatever it left behind is being killed.
    Sweeping {
        since: Millis,
        look_at: Millis,
        looks: u32,
        after: After,
    },
    /// Waits before the next start.
    Waiting {
        until: Millis,
        clean: bool,
    },
}

/// What people are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Shown {
    Starting,
    Running,
    Ready,
    Stopping,
    Stopped,
    Backoff,
    CrashLoop,
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub policy: Policy,
    pub phase: Phase,
    pub wish: Wish,
    /// PID 1 was told to end.
    pub quit: bool,
    pub operation: Option<Operation>,
    tickets: Vec<Ticket>,
    /// Crashes in a row.
    pub crashes: u32,
    /// Starts in a row that took too long.
    pub overran: u32,
    /// Times the process was started.
    pub starts: u64,
    /// When whatever runs is killed unless somebody says otherwise before, by a clock that counts while the machine sleeps.
    pub fuse: Option<Millis>,
    /// What ran last was killed because of it.
    pub burnt: bool,
    /// What PID 1 would exit with.
    last_status: i32,
    /// Why it is as it is, in a sentence.
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The first usable configuration is there.
    Boot {
        policy: Policy,
        run: bool,
    },
    /// Another configuration; whether it changes what is started.
    Configured {
        policy: Policy,
        launch_changed: bool,
    },
    Ask {
        ticket: Ticket,
        order: Order,
    },
    /// PID 1 was told to end.
    Terminate,
    Spawned {
        pid: i32,
    },
    SpawnFailed {
        what: String,
    },
    /// The process became the program it is to be.
    Executed {
        pid: i32,
    },
    /// A hook or the process ended; `what` tells more than the status where more is known.
    Exited {
        pid: i32,
        exit: Exit,
        what: Option<String>,
    },
    /// Everything below PID 1 was sent SIGKILL; so many still lived.
    Swept {
        left: usize,
    },
    Ready {
        ready: bool,
    },
    /// Sets, moves or (with nothing) takes away the moment at which whatever runs is killed.
    Fuse {
        at: Option<Millis>,
    },
    /// That moment has come.
    Burnt,
    Tick,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    RunHook {
        index: usize,
    },
    Spawn,
    /// Ask the process (or the hook that runs) to end.
    SignalStop {
        pid: i32,
    },
    /// SIGKILL for everything below PID 1.
    KillAll,
    /// Something worth remembering ended.
    Record {
        pid: Option<i32>,
        ended: Ended,
    },
    Answer {
        ticket: Ticket,
        result: Result<Done, Refusal>,
    },
    Quit {
        code: i32,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// Something had to be done.
    pub changed: bool,
    /// The process was killed because it did not stop in time.
    pub forced: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("a {0} is under way")]
    Busy(Operation),
    #[error("the container is being stopped")]
    Terminating,
    #[error("a stop was asked for in the meantime")]
    Superseded,
    #[error("there is no usable configuration")]
    Unconfigured,
    #[error("the process did not come up: {0}")]
    Failed(String),
}

impl Default for State {
    fn default() -> Self {
        Self {
            policy: Policy {
                restart: Restart::Always,
                exit_with_process: false,
                stop_timeout: 0,
                start_timeout: None,
                delay: 0,
                max_delay: 0,
                stable_after: 0,
                crash_loop_after: u32::MAX,
                hooks: Vec::new(),
            },
            phase: Phase::Idle(Rest::Unconfigured),
            wish: Wish::Run,
            quit: false,
            operation: None,
            tickets: Vec::new(),
            crashes: 0,
            overran: 0,
            starts: 0,
            fuse: None,
            burnt: false,
            last_status: 0,
            reason: "waits for a usable configuration".to_owned(),
        }
    }
}

/// So often the time of a start is doubled.
const MOST_DOUBLINGS: u32 = 5;

/// The state after `event`, and what to do about it.
pub fn next(mut state: State, event: Event, now: Millis) -> (State, Vec<Action>) {
    let mut actions = Vec::new();
    state.take(event, now, &mut actions);
    (state, actions)
}

impl State {
    /// When [`Event::Tick`] is due.
    pub fn wake_at(&self) -> Option<Millis> {
        match &self.phase {
            Phase::Idle(_) => None,
            Phase::Starting { since, .. } => self.start_limit().map(|limit| since.saturating_add(limit)),
            Phase::Hook { kill_at, .. } | Phase::Stopping { kill_at, .. } => Some(*kill_at),
            Phase::Up { since, proven, .. } => {
                let proof = self.start_limit().filter(|_| !proven).map(|limit| since.saturating_add(limit));
                let stable = (self.crashes > 0).then(|| since.saturating_add(self.policy.stable_after));
                proof.into_iter().chain(stable).min()
            }
            Phase::Sweeping { look_at, .. } => Some(*look_at),
            Phase::Waiting { until, .. } => Some(*until),
        }
    }

    /// How long this start may take. One that was given up only for its time is given more: what it reads on its way may
    /// take that long, and it would begin anew each time.
    fn start_limit(&self) -> Option<Millis> {
        let limit = self.policy.start_timeout?;
        Some(limit.saturating_mul(1 << self.overran.min(MOST_DOUBLINGS)))
    }

    pub fn shown(&self) -> Shown {
        match &self.phase {
            Phase::Idle(Rest::Stopped | Rest::Completed) => Shown::Stopped,
            Phase::Idle(Rest::Unconfigured | Rest::Failed) => Shown::Failed,
            Phase::Hook { .. } | Phase::Starting { .. } | Phase::Sweeping { after: After::Hook { .. }, .. } => {
                Shown::Starting
            }
            Phase::Up { ready: true, .. } => Shown::Ready,
            Phase::Up { ready: false, .. } => Shown::Running,
            Phase::Stopping { .. } | Phase::Sweeping { .. } => Shown::Stopping,
            Phase::Waiting { .. } if self.in_crash_loop() => Shown::CrashLoop,
            Phase::Waiting { .. } => Shown::Backoff,
        }
    }

    pub fn in_crash_loop(&self) -> bool {
        self.crashes >= self.policy.crash_loop_after
    }

    /// The pid of the process itself, while there is one.
    pub fn pid(&self) -> Option<i32> {
        match self.phase {
            Phase::Starting { pid, .. } => pid,
            Phase::Up { pid, .. } | Phase::Stopping { pid, .. } => Some(pid),
            _ => None,
        }
    }

    /// The process that is up, so that it can be probed and signalled.
    pub fn up(&self) -> Option<i32> {
        match self.phase {
            Phase::Up { pid, .. } => Some(pid),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
