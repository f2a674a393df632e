//! Who of a set of pods has the exclusive role: a pure state machine without clock, cluster or processes.
//!
//! One lease per set is the authority. Whoever holds it has a fuse burning beside the process that PID 1 kills the process
//! by; each renewal moves it on, counted from before the request. Others take the lease only after it was unchanged for its
//! whole duration by their own clock, or was released, which happens only once the process cannot write any more. So there
//! are never two, whatever is lost, late or stopped on the way.
//!
//! While the lease cannot be written, its holder may ask all others named in it to let it go on: each promises not to take
//! the lease for a lease's duration (`promise`). A lease that names nobody else needs nobody's promise.
//!
//! The edge carries orders out one after another in the order given, and reports what came of each as an event. The same
//! order is not given again before that.

mod election;
mod holding;
mod machine;
mod promise;
mod shown;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};

/// Milliseconds of a clock that never goes back and also counts while the machine sleeps.
pub type Millis = u64;
/// Names a request that waits for an answer.
pub type Ticket = u64;

/// A pod, and which one of those that had this name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder {
    pub pod: String,
    pub uid: String,
}

/// A pod of the set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    pub ordinal: u16,
}

/// What does not change from event to event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub me: Holder,
    /// All pods of the set, this one too.
    pub pods: Vec<Member>,
    /// How long the lease is valid without renewal.
    pub duration: Millis,
    /// Whether the role moves without anybody asking.
    pub automatic: bool,
    /// Whether what the process knows outlives the pod.
    pub lasting: bool,
    /// How many others have confirmed each write before its client heard of it.
    pub synchronous: usize,
    /// How many bytes a pod may be behind and still be chosen.
    pub max_lag: Option<i64>,
    /// How long a follower may be without connection and without progress; for ever where nothing is said.
    pub attach_within: Option<Millis>,
}

impl Settings {
    /// How long others wait beyond the duration, since clocks differ.
    fn margin(&self) -> Millis {
        (self.duration / 20).max(200)
    }

    /// For how long a renewal lets the process go on: an answer that comes later is of no use.
    pub fn fuse(&self) -> Millis {
        promise::fuse(self.duration)
    }

    fn renew_every(&self) -> Millis {
        (self.duration / 5).min(2_000)
    }

    /// How long the lease has not been heard of before it is believed that nobody can write it.
    fn quiet(&self) -> Millis {
        (self.duration / 10 * 3).min(3_000)
    }

    /// Between two tries of what failed.
    fn retry(&self) -> Millis {
        (self.renew_every() / 4).max(100)
    }

    fn alone(&self) -> bool {
        self.pods.iter().all(|pod| pod.name == self.me.pod)
    }

    fn knows(&self, pod: &str) -> bool {
        self.pods.iter().any(|member| member.name == pod)
    }

    fn ordinal(&self, pod: &str) -> u16 {
        self.pods.iter().find(|member| member.name == pod).map_or(u16::MAX, |member| member.ordinal)
    }
}

/// How long one pod goes before the next one in line.
const STEP: Millis = 2_000;
/// How long others have to take what was released for them, before whoever released it may take it back.
const HAND_OVER: Millis = 5_000;
/// How long the last holder is waited for when nothing runs anywhere.
const RETURN: Millis = 15_000;
/// How long it is waited for at most while its pod is there.
const RETURN_AT_MOST: Millis = 600_000;
/// How long the pods have to say how far their data reaches.
const SPEAK: Millis = 300;
/// How long an answer of another pod is worth something.
const FRESH: Millis = 3_000;
/// Between two questions to the others while one of them is waited for.
const ASK_AGAIN: Millis = 300;
/// How long a stopped process is waited for before the role goes elsewhere.
const ABSENCE: Millis = 5_000;
/// How long a write may be under way.
const LATE: Millis = 30_000;
/// Between two looks at whether pods are gone.
const LOOK_FOR: Millis = 5_000;
/// The longest promise.
const LONGEST_PROMISE: Millis = 600_000;
/// How long a pod that gave the role away keeps its label once another one serves: clients find the new one first, so that
/// there is never a moment in which their Service leads nowhere.
const LINGER: Millis = 500;
/// How long it keeps it at most.
const LINGER_AT_MOST: Millis = 10_000;
/// When the labels of others are cleared by whoever was given the role: they do so themselves, unless something is wrong.
const CLEAR_LATER: Millis = 3_000;
/// After so long the process has been told that fewer pods confirm its writes.
const TOLD: Millis = 10_000;
/// How long a switchover may take in all.
const SWITCHOVER: Millis = 60_000;
/// How long it may take in all where another pod has to be heard of first: kubelets look every minute or so.
const HEARD_OF: Millis = 120_000;

/// What the lease says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Nothing once it was released.
    pub holder: Option<Holder>,
    /// Counts up with each new holder.
    pub epoch: u64,
    /// The last epoch in which somebody really served in the role: data from before it is old.
    pub served: Option<u64>,
    /// Who held it last.
    pub last: Option<String>,
    /// How far the data of whoever served last reached when it last said so.
    pub position: Option<i64>,
    /// For whom it was released.
    pub candidate: Option<String>,
    /// The pods that may take it without its being released, the holder's own name among them; all where none is named.
    pub members: BTreeSet<String>,
    pub duration: Millis,
}

/// The lease as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub record: Record,
    /// Which write it was; each write names the one it replaces.
    pub version: String,
}

impl Seen {
    /// An answer that was long under way tells what the lease said before. Versions are numbers that only grow.
    fn is_before(&self, known: &Self) -> bool {
        let number = |seen: &Self| seen.version.parse::<u64>().ok();
        number(self).zip(number(known)).is_some_and(|(this, known)| this < known)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "there is one for each role")]
enum View {
    Unseen,
    /// There is none.
    Absent,
    Seen {
        seen: Seen,
        /// When it was first seen like this.
        since: Millis,
        /// It changed before our eyes: whoever holds it lives.
        alive: bool,
    },
}

/// What is known of the process of this pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    /// PID 1 does not answer.
    Unknown,
    /// Nothing runs, and nothing is about to without permission.
    Down,
    /// It wants to start, and waits for permission.
    Asking,
    /// It may start, and probably does.
    Starting,
    Up,
}

/// What the process was found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    pub role: String,
    /// Whether that is the exclusive role.
    pub exclusive: bool,
    pub position: Option<i64>,
    pub lag: Option<i64>,
    /// The pod it follows; empty where it follows nobody, nothing where that is not known.
    pub follows: Option<String>,
}

/// What another pod says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its process runs.
    pub up: bool,
    /// The epoch its data is from.
    pub data: Option<u64>,
    pub position: Option<i64>,
    /// Whether the position is the one of when it was asked, or of later.
    pub exact: bool,
    pub lag: Option<i64>,
    /// The pod it follows; empty where it follows nobody, nothing where that is not known.
    pub follows: Option<String>,
}

impl Peer {
    /// Whether what it says is all it has, and not what it had a moment ago.
    fn knows(&self) -> bool {
        self.exact && self.position.is_some()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// Start with the exclusive role.
    Holder,
    /// Start and follow.
    Follower { primary: String },
}

/// What the edge does with the process, one at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    Promote,
    /// Afterwards it accepts no writes.
    Demote,
    Follow {
        primary: String,
    },
    /// Everything reaches the target; afterwards this one accepts no writes.
    Switchover {
        target: String,
    },
    /// It does not answer any more: kill it, so that it asks for permission anew.
    Kill,
    /// End it for good.
    Stop,
    Start,
}

/// Why the lease is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It was nobody's, or somebody's whose time is over.
    Take,
    Renew,
    Release,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    Done(Seen),
    /// Somebody else was faster.
    Conflict,
    /// Nobody knows whether it was written.
    Failed(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The lease was looked at.
    Lease(Option<Seen>),
    /// A write that was sent at `sent`.
    Written {
        purpose: Purpose,
        sent: Millis,
        result: Written,
    },
    /// PID 1 kills the process at this moment; `done` is false where PID 1 did not answer.
    Fused {
        at: Option<Millis>,
        done: bool,
    },
    Process(Process),
    /// The epoch the data is from, as its mark says by now.
    Data(Option<u64>),
    /// The preparation for a start has ended; whether it told the process whom to follow.
    Prepared {
        ok: bool,
        told: bool,
    },
    /// The role was looked for; nothing where the process did not answer.
    Role(Option<Observed>),
    /// The other pods were asked; those that did not answer are not in it.
    Peers(BTreeMap<String, Peer>),
    /// Another pod holds the role, cannot renew, and asks for a promise.
    Plea {
        ticket: Ticket,
        holder: Holder,
        epoch: u64,
        duration: Millis,
    },
    /// The others were asked to promise; these did.
    Promised {
        epoch: u64,
        by: BTreeSet<String>,
    },
    /// These were looked for, and no pod of that name is there any more.
    Gone(BTreeSet<String>),
    Did {
        deed: Deed,
        result: Result<(), String>,
    },
    /// The process is about to be restarted on purpose: no reason to give anything up.
    Restarting,
    /// It is not restarted after all, or had to be killed for it: what it comes up with counts like that after a crash.
    NotSpared,
    /// Somebody wants the role elsewhere.
    Switchover {
        ticket: Ticket,
        target: Option<String>,
        /// Go on although the target is behind.
        force: bool,
    },
    /// The agent was told to end.
    Stop,
    Configured(Settings),
    Tick,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Look at the lease now.
    Look,
    Write {
        purpose: Purpose,
        record: Record,
        /// What it replaces; nothing to make the lease.
        version: Option<String>,
    },
    /// Have PID 1 kill the process at this moment, or never.
    Fuse {
        at: Option<Millis>,
    },
    /// Prepare the start, and permit it.
    Grant(Grant),
    Do(Deed),
    AskPeers,
    /// Ask these to let this holder go on without renewing.
    Plead {
        pods: BTreeSet<String>,
        epoch: u64,
        duration: Millis,
    },
    /// See which of these pods are gone.
    LookFor(BTreeSet<String>),
    /// No other pod is to be labelled with the exclusive role.
    ClearLabels,
    Label(Option<String>),
    /// The data is from this epoch: write that where it outlives the pod.
    Remember(u64),
    Answer {
        ticket: Ticket,
        result: Result<(), String>,
    },
    /// Nothing is left to be done: end.
    Exit,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Tenure {
    epoch: u64,
    /// When the last renewal that succeeded was sent.
    renewed: Millis,
    renew_at: Millis,
    /// For how long a renewal counts, as the lease itself says.
    duration: Millis,
    /// When the others were asked the last time that all of them promised to wait.
    promised: Option<Millis>,
    /// Since when the process has been without an answer to who it is.
    silent: Millis,
}

/// Pods that are no longer of the set, and may be the only ones to have confirmed writes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Dismissed {
    pods: BTreeSet<String>,
    since: Millis,
    /// How far the data reached when none of them was asked to confirm any more.
    until: Option<i64>,
}

/// Not to take the lease, and not to write as its holder.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Promise {
    epoch: u64,
    until: Millis,
}

/// A write whose end nobody knows.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Doubt {
    /// The version it was to replace; nothing where it was to make the lease.
    replaces: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Switchover {
    ticket: Ticket,
    /// The one that was asked for.
    wanted: Option<String>,
    /// Nobody waits until the target has everything.
    force: bool,
    /// The one that was chosen.
    target: Option<String>,
    /// Why none was chosen yet.
    waits: Option<String>,
    deadline: Millis,
    /// How long it was given.
    patience: Millis,
    /// It was handed over in this epoch, and the target is waited for.
    handed: Option<u64>,
}

/// The role is given away, and the label stays for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Leaving {
    /// The epoch it is given up in.
    epoch: u64,
    until: Millis,
    /// Another one serves by now.
    served: bool,
}

/// Everything an agent knows of the role.
#[derive(Clone, Debug)]
// facts that hold or not, each on its own: there is no state machine in them
#[allow(clippy::struct_excessive_bools)]
pub struct State {
    pub settings: Settings,
    view: View,
    tenure: Option<Tenure>,
    writing: Option<Purpose>,
    /// A release was sent and nobody knows whether it arrives: nothing may start before a later write has succeeded.
    releasing: bool,
    process: Process,
    process_since: Millis,
    /// A permission is being prepared or was given.
    granted: Option<Grant>,
    role: Option<Observed>,
    /// When PID 1 kills the process, as far as we know.
    fuse: Option<Millis>,
    /// How often PID 1 was told about the fuse, how often it answered, and the answers that are about an earlier process.
    fuse_told: u64,
    fuse_heard: u64,
    fuse_void: u64,
    /// The epoch the data is from; nothing where there is none.
    data: Option<u64>,
    doing: Option<Deed>,
    /// When a deed that failed may be tried again.
    retry_at: Millis,
    /// A start was asked for, and is not asked for again before.
    start_again: Millis,
    following: Option<(String, u64)>,
    peers: BTreeMap<String, Peer>,
    /// Since when an answer of theirs is waited for.
    asking: Option<Millis>,
    /// When those were asked whose answers are here.
    peers_at: Option<Millis>,
    /// Answers to what was asked before this say nothing any more.
    peers_from: Millis,
    /// Since when nobody has had the lease, as far as we saw.
    vacant: Option<Millis>,
    /// Until when others go first, since this pod gave the lease up.
    yielding: Option<Millis>,
    /// The role was offered to others since the process ended, and nobody took it.
    offered: bool,
    /// The process has said who it is since it started.
    answered: bool,
    /// How far the data of the holder was when it said so the last time, also when its process has ended since.
    position: Option<i64>,
    /// Since when it has been following nobody though it was told to, and how far it was then.
    adrift: Option<(Millis, Option<i64>)>,
    /// How often it was started anew for that.
    anew: u32,
    /// Starts in a row that ended before the process said who it is.
    vain: u32,
    /// The process ran already when it was first heard of: an agent before this one knew whether it had come up.
    found: bool,
    /// When PID 1 said that it killed the process, of which no end was seen since.
    killed: Option<Millis>,
    /// The next start of the process was asked for.
    deliberate: bool,
    /// The process was stopped for the role's sake, and is started again for it.
    parked: bool,
    /// It was told to start again, and has not asked for permission since.
    starting: bool,
    /// The process accepts no writes, because it was told so.
    demoted: bool,
    /// A demotion failed halfway, and is to be undone.
    undo: bool,
    /// Promotions that failed in a row.
    failures: u32,
    stopping: bool,
    exited: bool,
    switchover: Option<Switchover>,
    /// The label this pod was given last, which may be none at all; nothing where it was not given one yet.
    // compared and told as the optional role it is: an enum would only be turned back into one
    #[allow(clippy::option_option)]
    label: Option<Option<String>>,
    leaving: Option<Leaving>,
    /// The lease was released for this pod.
    given: bool,
    /// When the labels of others are cleared.
    clear_at: Option<Millis>,
    /// Whether the label was given as the holder.
    labelled_holding: bool,
    /// When this agent began.
    born: Millis,
    /// All who may be named in the lease: those it named last, and those in writes nobody knows the end of.
    named: BTreeSet<String>,
    /// Those that left the set under this holder, until the others have what they confirmed.
    dismissed: Option<Dismissed>,
    /// Since when the others are asked to promise, and who.
    pleading: Option<(Millis, BTreeSet<String>)>,
    /// Until when they are not asked again.
    plead_at: Millis,
    /// What this pod promised.
    promise: Option<Promise>,
    /// A write that takes the lease in place of this version may still arrive.
    doubt: Option<Doubt>,
    /// When the lease was last heard of.
    contact: Option<Millis>,
    /// The last look found no lease where there had been one.
    vanished: bool,
    /// A lease that vanished says nothing of who had it: that one may write for as long as it would have been valid.
    absent_from: Millis,
    /// Since when every look has shown a lease of before: the server itself went back.
    back_since: Option<Millis>,
    /// Pods of the lease that are gone, each since when that is known, and when it was last asked.
    gone: BTreeMap<String, Millis>,
    gone_at: Option<Millis>,
    /// What it waits for, in a sentence.
    pub reason: String,
}

/// What people and other pods are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Whether this pod holds the lease.
    pub holds: bool,
    /// The holder, as far as known.
    pub holder: Option<String>,
    pub epoch: Option<u64>,
    /// The epoch the data is from.
    pub data: Option<u64>,
    /// Nobody holds the lease: positions are worth telling exactly.
    pub vacant: bool,
    /// The role, once it is confirmed.
    pub role: Option<String>,
    pub reason: String,
}

/// The state after `event`, and what to do about it.
pub fn next(mut state: State, event: Event, now: Millis) -> (State, Vec<Order>) {
    let mut orders = Vec::new();
    state.take(event, now, &mut orders);
    state.decide(now, &mut orders);
    (state, orders)
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
