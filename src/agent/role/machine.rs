//! What each event teaches, and what follows from everything known at any moment.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    CLEAR_LATER, Deed, Event, FRESH, Grant, HAND_OVER, HEARD_OF, Millis, Observed, Order, Peer, Process, Purpose,
    Record, SWITCHOVER, Seen, Settings, State, Switchover, Tenure, View, Written,
};

impl State {
    /// `data` is the epoch the data is from, where a mark of it was found.
    pub fn new(settings: Settings, data: Option<u64>, now: Millis) -> Self {
        Self {
            settings,
            view: View::Unseen,
            tenure: None,
            writing: None,
            releasing: false,
            process: Process::Unknown,
            process_since: now,
            granted: None,
            role: None,
            fuse: None,
            fuse_told: 0,
            fuse_heard: 0,
            fuse_void: 0,
            data,
            doing: None,
            retry_at: 0,
            start_again: 0,
            following: None,
            peers: BTreeMap::new(),
            asking: None,
            peers_at: None,
            peers_from: 0,
            vacant: None,
            yielding: None,
            offered: false,
            answered: false,
            position: None,
            vain: 0,
            adrift: None,
            anew: 0,
            found: false,
            killed: None,
            deliberate: false,
            parked: false,
            starting: false,
            demoted: false,
            // what an agent before this one had begun with a process that runs is not known
            undo: true,
            failures: 0,
            stopping: false,
            exited: false,
            switchover: None,
            label: None,
            leaving: None,
            given: false,
            clear_at: None,
            labelled_holding: false,
            born: now,
            named: BTreeSet::new(),
            dismissed: None,
            pleading: None,
            plead_at: 0,
            promise: None,
            doubt: None,
            contact: None,
            vanished: false,
            absent_from: 0,
            back_since: None,
            gone: BTreeMap::new(),
            gone_at: None,
            reason: "waits for a look at the lease".to_owned(),
        }
    }

    pub(super) fn take(&mut self, event: Event, now: Millis, out: &mut Vec<Order>) {
        match event {
            Event::Lease(seen) => self.looked(seen, now, out),
            Event::Written { purpose, sent, result } => self.written(purpose, sent, result, now, out),
            Event::Fused { at, done } => {
                self.fuse_heard += 1;
                if done && self.fuse_heard > self.fuse_void {
                    self.fuse = at;
                }
            }
            Event::Process(process) => self.process(process, now),
            Event::Prepared { ok, told } => self.prepared(ok, told, now),
            Event::Data(data) => self.data = data,
            Event::Role(observed) => self.observed(observed, now),
            Event::Peers(peers) => {
                // how far they were when they were asked, not when the answer came
                let asked = self.asking.take().filter(|asked| *asked >= self.peers_from);
                (self.peers, self.peers_at) = (peers, asked);
            }
            Event::Plea { ticket, holder, epoch, duration } => {
                self.plea(ticket, (&holder, epoch, duration), now, out);
            }
            Event::Promised { epoch, by } => self.promised(epoch, &by, now, out),
            Event::Gone(pods) => self.looked_for(pods, now),
            Event::Did { deed, result } => self.did(&deed, result, now, out),
            Event::Restarting => self.deliberate = true,
            Event::NotSpared => self.deliberate = false,
            Event::Switchover { ticket, target, force } => self.switchover(ticket, (target, force), now, out),
            Event::Stop => self.stopping = true,
            Event::Configured(settings) => self.configured(settings, now),
            Event::Tick => {}
        }
    }

    fn looked(&mut self, seen: Option<Seen>, now: Millis, out: &mut Vec<Order>) {
        self.contact = Some(now);
        let Some(seen) = seen else {
            if matches!(self.view, View::Seen { .. }) && !self.vanished {
                // asked, perhaps, before the lease was made: once more
                self.vanished = true;
                return out.push(Order::Look);
            }
            // a lease that vanishes has been anybody's for as long as it may have been unknown to us
            if self.view != View::Absent {
                self.vacant = None;
                let me = &self.settings.me;
                let held = self.seen().and_then(|seen| seen.record.holder.as_ref()).is_some_and(|holder| holder != me);
                self.absent_from = self.expires_at().filter(|_| held).unwrap_or(now);
            }
            self.view = View::Absent;
            return;
        };
        self.vanished = false;
        let known = self.seen();
        if known.is_some_and(|known| seen.is_before(known)) {
            // no answer is under way for so long: the server was put back to a backup of its own, and goes on from there
            let since = *self.back_since.get_or_insert(now);
            if now.saturating_sub(since) < self.settings.duration {
                return;
            }
        } else if known == Some(&seen) {
            self.back_since = None;
            return;
        }
        self.back_since = None;
        self.view = View::Seen { alive: self.view != View::Unseen, seen, since: now };
    }

    fn written(&mut self, purpose: Purpose, sent: Millis, result: Written, now: Millis, out: &mut Vec<Order>) {
        self.writing = None;
        match result {
            Written::Done(seen) => {
                self.releasing = false;
                self.contact = Some(now);
                let (epoch, duration) = (seen.record.epoch, seen.record.duration);
                self.named.clone_from(&seen.record.members);
                if !self.seen().is_some_and(|known| seen.is_before(known)) {
                    self.back_since = None;
                    self.view = View::Seen { seen, since: now, alive: true };
                }
                match purpose {
                    // it may have been seen before the answer came
                    Purpose::Release if self.tenure.is_some() => self.released(epoch, now),
                    Purpose::Release => {}
                    Purpose::Take | Purpose::Renew => self.renewed((purpose, epoch, duration), sent, now, out),
                }
            }
            Written::Conflict => {
                // a lease that nobody else may write was written: what it says now tells whether it is still ours
                out.push(Order::Look);
                self.postpone_renewal(now);
            }
            Written::Failed(why) => {
                self.reason = format!("the lease cannot be written: {why}");
                out.push(Order::Look);
                self.postpone_renewal(now);
            }
        }
    }

    fn postpone_renewal(&mut self, now: Millis) {
        let retry = self.settings.retry();
        self.retry_at = self.retry_at.max(now.saturating_add(retry));
        if let Some(tenure) = &mut self.tenure {
            tenure.renew_at = now.saturating_add(retry);
        }
    }

    fn renewed(
        &mut self,
        (purpose, epoch, duration): (Purpose, u64, Millis),
        sent: Millis,
        now: Millis,
        out: &mut Vec<Order>,
    ) {
        let duration = duration.min(self.settings.duration);
        let renew_at = sent.saturating_add(self.settings.renew_every());
        match &mut self.tenure {
            Some(tenure) if tenure.epoch == epoch => {
                (tenure.renewed, tenure.renew_at, tenure.duration) = (sent, renew_at, duration);
            }
            _ => {
                // an agent that goes on where another one ended knows from the lease how far its own data was
                let said = |seen: &&Seen| seen.record.last.as_ref() == Some(&self.settings.me.pod);
                let own = self.seen().filter(said).and_then(|seen| seen.record.position);
                self.position = own.filter(|_| purpose == Purpose::Renew);
                (self.vain, self.anew) = (0, 0);
                self.tenure = Some(Tenure { epoch, renewed: sent, renew_at, duration, promised: None, silent: now });
                (self.vacant, self.yielding, self.failures) = (None, None, 0);
                // what was known of the others was for another question
                self.ask_anew(now);
                if purpose == Purpose::Take && self.given {
                    self.clear_at = Some(now.saturating_add(CLEAR_LATER));
                } else if purpose == Purpose::Take && self.until().is_some_and(|until| now < until) {
                    out.push(Order::ClearLabels);
                }
            }
        }
        self.light_fuse(now, out);
    }

    /// Lets PID 1 know how long the process may go on.
    pub(super) fn light_fuse(&mut self, now: Millis, out: &mut Vec<Order>) {
        let Some(until) = self.until() else { return };
        if until > now {
            self.tell_fuse(Some(until), out);
        }
    }

    fn tell_fuse(&mut self, at: Option<Millis>, out: &mut Vec<Order>) {
        self.fuse_told += 1;
        out.push(Order::Fuse { at });
    }

    fn fusing(&self) -> bool {
        self.fuse_told > self.fuse_heard
    }

    /// A process that is about to start needs a fuse of its own: PID 1 forgets it with the process before.
    pub(super) fn fuse_for_start(&mut self, now: Millis, out: &mut Vec<Order>) {
        if self.fuse.is_none() && !self.fusing() {
            self.light_fuse(now, out);
        }
    }

    fn released(&mut self, epoch: u64, now: Millis) {
        (self.tenure, self.releasing) = (None, false);
        (self.following, self.vacant) = (None, None);
        // one that runs has its data still, and offers the role anew should it end
        self.offered = self.process != Process::Up;
        self.yielding = Some(now.saturating_add(HAND_OVER));
        if let Some(switchover) = &mut self.switchover {
            switchover.handed = Some(epoch);
        }
    }

    fn process(&mut self, process: Process, now: Millis) {
        // one that asks does not run; a permission that was given is used until something else is known
        let stale = self.process == Process::Asking && process == Process::Up;
        if stale || process == self.process {
            return;
        }
        if matches!(process, Process::Down | Process::Asking) {
            if !matches!(self.process, Process::Down | Process::Asking) {
                // it wrote until now, and the others came further since they were asked
                self.ask_anew(now);
            }
            self.forget_process();
        }
        let lived = self.answered && now.saturating_sub(self.process_since) >= LIVED;
        match (&self.process, &process) {
            (Process::Up, Process::Down | Process::Asking | Process::Unknown) if lived => self.vain = 0,
            (Process::Starting | Process::Up, Process::Down | Process::Asking) if !self.deliberate => {
                self.vain = self.vain.saturating_add(1);
            }
            _ => {}
        }
        if process == Process::Up {
            self.silent(now);
            self.role = None;
            self.found = self.process == Process::Unknown;
            (self.deliberate, self.offered, self.answered) = (false, false, false);
        }
        (self.process, self.process_since) = (process, now);
    }

    /// The process ended: what was known of it is void.
    fn forget_process(&mut self) {
        (self.fuse, self.fuse_void) = (None, self.fuse_told);
        (self.role, self.adrift, self.killed) = (None, None, None);
        if let Some(all) = &mut self.dismissed {
            // the next one may count from somewhere else
            all.until = None;
        }
        (self.following, self.granted, self.demoted, self.undo) = (None, None, false, false);
        if !self.settings.lasting {
            self.data = None;
        }
    }

    fn silent(&mut self, now: Millis) {
        if let Some(tenure) = &mut self.tenure {
            tenure.silent = now;
        }
    }

    fn prepared(&mut self, ok: bool, told: bool, now: Millis) {
        let Some(grant) = self.granted.clone() else { return };
        self.answered = false;
        if !ok {
            // PID 1 waits a little and asks again
            (self.granted, self.deliberate) = (None, false);
            self.vain = self.vain.saturating_add(1);
            self.process(Process::Down, now);
            return;
        }
        if let (Grant::Follower { primary }, true) = (&grant, told)
            && let Some(seen) = self.seen()
            && seen.record.holder.as_ref().is_some_and(|holder| holder.pod == *primary)
        {
            self.following = Some((primary.clone(), seen.record.epoch));
        }
        (self.process, self.process_since) = (Process::Starting, now);
        self.silent(now);
        (self.parked, self.starting) = (false, false);
    }

    fn observed(&mut self, observed: Option<Observed>, now: Millis) {
        if self.process != Process::Up {
            return;
        }
        if let Some(observed) = &observed {
            (self.answered, self.killed) = (true, None);
            self.silent(now);
            // one that has only just started may still read what it had, and say less
            let settled = now.saturating_sub(self.process_since) >= LIVED;
            if observed.exclusive && self.tenure.is_some() {
                self.position = if settled { observed.position } else { self.position.max(observed.position) };
                if observed.position == self.position {
                    self.reached(now);
                }
            }
        }
        self.role = observed;
    }

    fn did(&mut self, deed: &Deed, result: Result<(), String>, now: Millis, out: &mut Vec<Order>) {
        self.doing = None;
        // what was seen before says nothing about now
        self.role = None;
        self.silent(now);
        let failed = result.is_err();
        self.retry_at = if failed { now.saturating_add(STEP_AFTER_FAILURE) } else { now };
        match deed {
            Deed::Promote if failed => self.failures += 1,
            Deed::Promote => (self.failures, self.undo, self.demoted, self.parked) = (0, false, false, false),
            Deed::Follow { primary } if !failed => {
                if let Some(seen) = self.seen()
                    && seen.record.holder.as_ref().is_some_and(|holder| holder.pod == *primary)
                {
                    self.following = Some((primary.clone(), seen.record.epoch));
                }
                // it runs: from now on only somebody else stops it
                (self.demoted, self.undo, self.parked) = (false, false, false);
                self.adrift = None;
            }
            Deed::Demote | Deed::Switchover { .. } => {
                self.parked = true;
                self.demoted = !failed;
                self.ask_anew(now);
                self.undo = failed;
                if let Err(reason) = &result
                    && let Some(switchover) = self.switchover.take()
                {
                    out.push(Order::Answer { ticket: switchover.ticket, result: Err(reason.clone()) });
                }
            }
            // it was asked for; whether it begins shows when permission is asked
            Deed::Start => {
                (self.parked, self.starting) = (failed, !failed);
                self.start_again = now.saturating_add(START_AGAIN);
            }
            Deed::Stop => self.parked = true,
            // heard of late, it may be about a process that has ended, and says nothing about the one after it
            Deed::Kill if !failed && matches!(self.process, Process::Up | Process::Unknown) => {
                self.killed = self.killed.or(Some(now));
            }
            Deed::Follow { .. } | Deed::Kill => {}
        }
        if let Err(reason) = result {
            self.reason = reason;
        }
    }

    fn switchover(
        &mut self,
        ticket: super::Ticket,
        (target, force): (Option<String>, bool),
        now: Millis,
        out: &mut Vec<Order>,
    ) {
        let mut refuse = |reason: String| out.push(Order::Answer { ticket, result: Err(reason) });
        if self.tenure.is_none() {
            let holder = self.summary().holder;
            return refuse(match holder {
                Some(holder) => format!("{} does not have the role; ask {holder}", self.settings.me.pod),
                None => "nobody has the role at the moment; wait until somebody does".to_owned(),
            });
        }
        if self.switchover.is_some() {
            return refuse("a switchover is under way already; wait for it to end".to_owned());
        }
        if target.as_ref() == Some(&self.settings.me.pod) {
            return out.push(Order::Answer { ticket, result: Ok(()) });
        }
        // whoever was added a moment ago is waited for: the kubelet brings the list of pods in its own time
        let unheard = target.as_ref().map_or(self.settings.alone(), |target| !self.settings.knows(target));
        let patience = if unheard { HEARD_OF } else { SWITCHOVER };
        self.ask_anew(now);
        self.switchover = Some(Switchover {
            ticket,
            wanted: target,
            force,
            target: None,
            waits: None,
            deadline: now.saturating_add(patience),
            patience,
            handed: None,
        });
    }

    /// Everything that follows from what is known.
    pub(super) fn decide(&mut self, now: Millis, out: &mut Vec<Order>) {
        if self.exited {
            return;
        }
        if self.fuse.is_some_and(|at| now >= at) {
            self.fuse = None;
        }
        self.settle(now);
        self.look_at_tenure(now, out);
        self.end_switchover(now, out);
        self.remember(out);
        if self.tenure.is_some() {
            self.hold(now, out);
        } else {
            self.wait(now, out);
        }
        self.unfuse(out);
        self.show(now, out);
    }

    /// Whether it is still ours: not when its time is over, and not when somebody else's name is in it.
    fn look_at_tenure(&mut self, now: Millis, out: &mut Vec<Order>) {
        let Some(until) = self.until() else { return };
        let taken = match &self.view {
            View::Seen { seen, .. } => seen.record.holder.as_ref() != Some(&self.settings.me),
            View::Absent => true,
            View::Unseen => false,
        };
        if !taken && now < until {
            return;
        }
        if taken
            && self.releasing
            && let Some(epoch) = self.tenure.as_ref().map(|tenure| tenure.epoch)
        {
            // nobody took it away: what this pod wrote is seen before its answer came, or instead of it
            return self.released(epoch, now);
        }
        self.tenure = None;
        self.following = None;
        self.reason =
            if taken { "the role was taken away" } else { "the lease could not be renewed in time" }.to_owned();
        if !matches!(self.process, Process::Down | Process::Asking) || self.granted.is_some() {
            // PID 1 does so by itself at the same moment; when it was taken away before, it has to be told
            self.tell_fuse(Some(0), out);
        }
    }

    /// A process that nobody needs to fear any more is left alone.
    fn unfuse(&mut self, out: &mut Vec<Order>) {
        let harmless = match self.process {
            Process::Asking => self.granted.is_none(),
            Process::Down => true,
            Process::Up => {
                self.following.is_some()
                    && self.doing.is_none()
                    && self.role.as_ref().is_some_and(|observed| !observed.exclusive)
            }
            Process::Unknown | Process::Starting => false,
        };
        if self.tenure.is_none()
            && self.writing != Some(Purpose::Take)
            && self.fuse.is_some()
            && !self.fusing()
            && harmless
        {
            self.tell_fuse(None, out);
        }
    }

    /// Data is of an epoch once the pod served in it, or follows who does.
    fn remember(&mut self, out: &mut Vec<Order>) {
        let Some(seen) = self.seen() else { return };
        let (epoch, serving) = (seen.record.epoch, seen.record.served == Some(seen.record.epoch));
        let Some(observed) = self.role.as_ref().filter(|_| self.process == Process::Up) else { return };
        let belongs = if self.tenure.is_some() {
            // marked before anybody is told that data from before is old
            observed.exclusive
        } else if !serving {
            false
        } else {
            let holder = seen.record.holder.as_ref().map(|holder| holder.pod.as_str());
            let attached = observed.follows.as_deref().is_none_or(|follows| Some(follows) == holder);
            !observed.exclusive && attached && self.followed(epoch)
        };
        if belongs && self.data != Some(epoch) {
            self.data = Some(epoch);
            out.push(Order::Remember(epoch));
        }
    }

    /// Whether the process was told to follow the holder of this epoch.
    pub(super) fn followed(&self, epoch: u64) -> bool {
        self.following.as_ref().is_some_and(|(_, of)| *of == epoch)
    }

    pub(super) fn seen(&self) -> Option<&Seen> {
        match &self.view {
            View::Seen { seen, .. } => Some(seen),
            View::Unseen | View::Absent => None,
        }
    }

    /// When the process may go on no longer.
    pub(super) fn until(&self) -> Option<Millis> {
        self.tenure.as_ref().map(Tenure::until)
    }

    /// The other pods, as far as they answered lately; asks them otherwise.
    pub(super) fn fresh_peers(&mut self, now: Millis, out: &mut Vec<Order>) -> bool {
        if self.settings.alone() {
            self.peers.clear();
            return true;
        }
        let fresh = self.peers_at.is_some_and(|at| now.saturating_sub(at) <= FRESH);
        if !fresh && self.asking.is_none() {
            self.asking = Some(now);
            out.push(Order::AskPeers);
        }
        fresh
    }

    /// What the others said so far is out of date.
    pub(super) fn ask_anew(&mut self, now: Millis) {
        (self.peers_at, self.peers_from) = (None, now);
    }

    pub(super) fn write(&mut self, purpose: Purpose, record: Record, out: &mut Vec<Order>) {
        let version = self.seen().map(|seen| seen.version.clone());
        self.writing = Some(purpose);
        self.note_write(purpose, &record, version.as_ref());
        out.push(Order::Write { purpose, record, version });
    }

    pub(super) fn order(&mut self, deed: Deed, out: &mut Vec<Order>) {
        self.doing = Some(deed.clone());
        out.push(Order::Do(deed));
    }

    pub(super) fn grant(&mut self, grant: Grant, out: &mut Vec<Order>) {
        self.granted = Some(grant.clone());
        out.push(Order::Grant(grant));
    }

    /// The other pod that has the most, with the data of this epoch, running, and not too far behind.
    pub(super) fn best_peer(&self, epoch: Option<u64>) -> Option<(&String, &Peer)> {
        self.peers
            .iter()
            .filter(|(_, peer)| peer.up && peer.data >= epoch)
            .filter(|(_, peer)| self.is_near(peer))
            .max_by_key(|(name, peer)| (peer.data, peer.position, std::cmp::Reverse(self.settings.ordinal(name))))
    }
}

/// A process that lived for so long had come up.
pub(super) const LIVED: Millis = 180_000;
/// When a start is asked for again of which nothing was seen.
const START_AGAIN: Millis = 5_000;
/// Between two tries of a deed that failed.
const STEP_AFTER_FAILURE: Millis = 1_000;
