//! What the holder of the role does: renew, serve, and give it up in good order.

use std::collections::BTreeSet;

use super::machine::LIVED;
use super::{
    ABSENCE, ASK_AGAIN, Deed, Grant, LINGER_AT_MOST, Leaving, Millis, Order, Peer, Process, Purpose, Record, State,
};

/// What becomes of the role.
enum Fate {
    Kept,
    /// It is released now; to nobody in particular where there is no candidate.
    Released {
        candidate: Option<String>,
    },
}

impl State {
    pub(super) fn hold(&mut self, now: Millis, out: &mut Vec<Order>) {
        if self.writing.is_none() {
            if let Fate::Released { candidate } = self.fate(now, out) {
                return self.release(candidate, out);
            }
            self.renew(now, out);
        }
        self.plead(now, out);
        self.dismiss(now, out);
        if self.clear_at.take_if(|at| now >= *at).is_some() {
            out.push(Order::ClearLabels);
        }
        if self.doing.is_some() || self.releasing {
            return;
        }
        match self.process {
            Process::Asking if self.granted.is_none() && !self.stopping => {
                self.fuse_for_start(now, out);
                if !self.may_yield(now, out) && self.fuse.is_some_and(|at| at > now) {
                    self.because("prepares the start of the process");
                    self.grant(Grant::Holder, out);
                }
            }
            Process::Down if self.starts(now) && !self.stopping && !self.hands_over() => {
                self.order(Deed::Start, out);
            }
            Process::Up => self.serve(now, out),
            _ => {}
        }
    }

    fn renew(&mut self, now: Millis, out: &mut Vec<Order>) {
        let Some(tenure) = self.tenure.clone() else { return };
        let Some(seen) = self.seen() else { return };
        let serves = self.process == Process::Up
            && !self.demoted
            && self.data == Some(tenure.epoch)
            && self.role.as_ref().is_some_and(|observed| observed.exclusive);
        let news = serves && seen.record.served != Some(tenure.epoch) && now >= self.retry_at;
        if now < tenure.renew_at && !news {
            return;
        }
        let mut record = self.own_record(tenure.epoch, &seen.record);
        if serves {
            record.served = Some(tenure.epoch);
            record.last = Some(self.settings.me.pod.clone());
            // as it counts by now: one that was started anew may count from somewhere else
            record.position = self.role.as_ref().and_then(|observed| observed.position);
        }
        self.write(Purpose::Renew, record, out);
    }

    pub(super) fn own_record(&self, epoch: u64, old: &Record) -> Record {
        Record {
            holder: Some(self.settings.me.clone()),
            epoch,
            served: old.served,
            last: old.last.clone(),
            position: old.position,
            candidate: None,
            members: self.members(),
            duration: self.settings.duration,
        }
    }

    fn members(&self) -> BTreeSet<String> {
        let of_set = self.settings.pods.iter().map(|pod| pod.name.clone());
        of_set.chain(self.dismissed.iter().flat_map(|all| all.pods.iter().cloned())).collect()
    }

    fn release(&mut self, candidate: Option<String>, out: &mut Vec<Order>) {
        let Some(seen) = self.seen().cloned() else { return };
        self.reason = match &candidate {
            Some(candidate) => format!("gave the role up for {candidate}"),
            None => "gave the role up".to_owned(),
        };
        let record = Record { holder: None, candidate, ..seen.record };
        self.releasing = true;
        self.write(Purpose::Release, record, out);
    }

    /// Nothing of this pod can write any more.
    fn dead(&self, now: Millis) -> bool {
        match self.process {
            Process::Down => true,
            Process::Asking => self.granted.is_none(),
            // PID 1 has killed it, or is gone together with it
            Process::Unknown => self.fuse.is_none() && now.saturating_sub(self.process_since) > self.settings.duration,
            Process::Up => self.undead(now),
            Process::Starting => false,
        }
    }

    /// PID 1 killed it again and again, and the kernel does not let it end: most likely it waits for a disk. It writes
    /// nothing any more, for nothing of it runs on but its end.
    fn undead(&self, now: Millis) -> bool {
        self.process == Process::Up && self.killed.is_some_and(|at| now.saturating_sub(at) >= ABSENCE)
    }

    /// Whether the role is to be released now, and for whom.
    fn fate(&mut self, now: Millis, out: &mut Vec<Order>) -> Fate {
        if self.doing.is_some() || !(self.dead(now) || self.demoted) {
            return Fate::Kept;
        }
        if let Some(target) = self.switchover.as_ref().and_then(|switchover| switchover.target.clone()) {
            return Fate::Released { candidate: Some(target) };
        }
        if self.stopping {
            return if self.fresh_peers(now, out) { self.given_up() } else { Fate::Kept };
        }
        let gone = match self.process {
            _ if self.cut_off(now) => false,
            Process::Asking => self.may_yield(now, out) && self.peers_known(now),
            Process::Down | Process::Unknown => {
                let absent = !self.parked && now.saturating_sub(self.process_since) >= ABSENCE;
                absent && self.settings.automatic && !self.settings.alone() && self.fresh_peers(now, out)
            }
            Process::Up => {
                let given = self.undead(now) && self.settings.automatic && !self.settings.alone();
                given && self.fresh_peers(now, out)
            }
            Process::Starting => false,
        };
        if gone && self.replaceable() { self.given_up() } else { Fate::Kept }
    }

    fn given_up(&self) -> Fate {
        Fate::Released { candidate: self.candidate() }
    }

    /// Whether the others may be better than a start of this one; asks them where that is not known yet.
    fn may_yield(&mut self, now: Millis, out: &mut Vec<Order>) -> bool {
        // nothing can be released while the lease cannot be written
        if self.deliberate || self.offered || self.cut_off(now) || !self.settings.automatic || self.settings.alone() {
            return false;
        }
        !self.fresh_peers(now, out) || self.replaceable()
    }

    fn peers_known(&self, now: Millis) -> bool {
        self.peers_at.is_some_and(|at| now.saturating_sub(at) <= super::FRESH)
    }

    /// Whether somebody else can go on where this pod ended.
    fn replaceable(&self) -> bool {
        let served = self.seen().and_then(|seen| seen.record.served);
        served.is_some() && self.spoken(served) && self.best_peer(served).is_some()
    }

    /// How far behind another pod may be to go on instead. One that can start again with all it had yields to nobody who
    /// would lose more than a moment of it, unless starts have been in vain.
    fn most_behind(&self) -> Option<i64> {
        self.settings.max_lag.or(self.returns().then_some(NEAR))
    }

    /// Whether its process can start again with all it had, as far as anybody knows.
    fn returns(&self) -> bool {
        self.process == Process::Asking && self.settings.lasting && self.vain < IN_VAIN
    }

    /// How many bytes a pod is behind what this one had when it was asked the last time.
    fn behind(&self, peer: &Peer) -> Option<i64> {
        // what it says itself may be a while ago
        behind(self.position, peer).or(peer.lag)
    }

    /// Whether a pod may go on in place of this one, as far as its data goes.
    pub(super) fn is_near(&self, peer: &Peer) -> bool {
        let Some(most) = self.most_behind() else { return true };
        match self.behind(peer) {
            Some(lag) => lag <= most,
            // it reads what it has, and may have little: as long as nobody knows, whoever has all of it starts again
            None => self.position.is_none() || !self.returns(),
        }
    }

    /// Whether so many others have told how far they are that one of them has every confirmed write.
    fn spoken(&self, served: Option<u64>) -> bool {
        let last = self.seen().and_then(|seen| seen.record.last.as_deref());
        let known = self
            .peers
            .iter()
            .filter(|(name, peer)| Some(name.as_str()) != last && peer.up && peer.data >= served && peer.knows());
        let all = self.seen().map_or(0, |seen| self.confirming(&seen.record));
        let enough = all.saturating_sub(self.settings.synchronous);
        self.settings.synchronous == 0 || known.count() >= enough
    }

    /// For whom it is released; nobody in particular where only they can tell who has the most.
    fn candidate(&self) -> Option<String> {
        let served = self.seen().and_then(|seen| seen.record.served);
        let (name, best) = self.best_peer(served)?;
        let rivals = self.peers.values().filter(|peer| peer.up && peer.data >= served).count();
        (self.spoken(served) && (best.exact || rivals == 1)).then(|| name.clone())
    }

    fn serve(&mut self, now: Millis, out: &mut Vec<Order>) {
        if self.stopping {
            return self.step_down(now, out);
        }
        if self.switchover.is_some() && !self.waits_for_heir(now, out) {
            return;
        }
        let Some(observed) = &self.role else { return self.watch_silence(now, out) };
        if observed.exclusive && !self.undo && !self.demoted {
            let waits = self.switchover.as_ref().and_then(|switchover| switchover.waits.as_deref());
            let reason = match waits {
                _ if self.stretched(now) => {
                    "has the role; the lease cannot be renewed, and nobody else takes it meanwhile".to_owned()
                }
                Some(waits) => format!("has the role, and is to hand it over, but {waits}"),
                None => "has the role".to_owned(),
            };
            return self.because(&reason);
        }
        if self.failures >= 3 {
            self.failures = 0;
            self.reason = format!("three promotions failed: {}", self.reason);
            return self.order(Deed::Kill, out);
        }
        // never without the fuse that ends it
        if now >= self.retry_at && self.fuse.is_some_and(|at| at > now) {
            self.order(Deed::Promote, out);
        }
    }

    /// A process that answered, and then does not for as long as a holder may be silent, is as good as gone.
    fn watch_silence(&mut self, now: Millis, out: &mut Vec<Order>) {
        let silent = self.tenure.as_ref().map_or(0, |tenure| now.saturating_sub(tenure.silent));
        // one that was found running had time enough to come up
        let came_up = self.answered || (self.found && now.saturating_sub(self.process_since) >= LIVED);
        if !came_up || !self.settings.automatic || silent < self.settings.duration {
            return;
        }
        if self.settings.alone() || !self.fresh_peers(now, out) || !self.replaceable() {
            return;
        }
        self.reason = format!("the process has not answered for {} s", silent / 1_000);
        self.order(Deed::Kill, out);
    }

    fn step_down(&mut self, now: Millis, out: &mut Vec<Order>) {
        if self.demoted {
            return;
        }
        if self.undo {
            if now >= self.retry_at {
                self.order(Deed::Stop, out);
            }
        } else {
            self.order(Deed::Demote, out);
        }
    }

    /// The role is being given away.
    fn hands_over(&self) -> bool {
        self.switchover.as_ref().is_some_and(|switchover| switchover.target.is_some())
    }

    /// Whether the switchover that somebody asked for waits until a pod can take the role over; else it begins, or has.
    fn waits_for_heir(&mut self, now: Millis, out: &mut Vec<Order>) -> bool {
        if self.demoted || self.hands_over() {
            return false;
        }
        if self.peers_at.is_some_and(|at| now.saturating_sub(at) >= ASK_AGAIN) {
            self.ask_anew(now);
        }
        if !self.fresh_peers(now, out) {
            return true;
        }
        let epoch = self.tenure.as_ref().map(|tenure| tenure.epoch);
        let Some(switchover) = &self.switchover else { return true };
        let (wanted, force) = (switchover.wanted.clone(), switchover.force);
        let chosen = match wanted {
            Some(wanted) => self.fit(&wanted, epoch, force).map(|()| wanted),
            None => self.heir(epoch),
        };
        let Some(switchover) = &mut self.switchover else { return true };
        match chosen {
            Ok(target) => {
                (switchover.target, switchover.waits) = (Some(target.clone()), None);
                let shown = matches!(self.label, Some(Some(_)));
                let until = now.saturating_add(LINGER_AT_MOST);
                self.leaving = epoch.filter(|_| shown).map(|epoch| Leaving { epoch, until, served: false });
                self.order(if force { Deed::Demote } else { Deed::Switchover { target } }, out);
                false
            }
            // whoever has only just started, or reads a copy of the data first, can do so in a moment
            Err(reason) => {
                switchover.waits = Some(reason);
                true
            }
        }
    }

    /// The one that has the most of those that can take over.
    fn heir(&self, epoch: Option<u64>) -> Result<String, String> {
        let fit = |name: &&String| self.fit(name, epoch, false).is_ok();
        let ahead = |name: &&String| {
            let position = self.peers.get(*name).and_then(|peer| peer.position);
            (position, std::cmp::Reverse(self.settings.ordinal(name)))
        };
        if let Some(name) = self.peers.keys().filter(fit).max_by_key(ahead) {
            return Ok(name.clone());
        }
        let others = self.settings.pods.iter().filter(|pod| pod.name != self.settings.me.pod);
        let why: Vec<String> = others.filter_map(|pod| self.fit(&pod.name, epoch, false).err()).collect();
        if why.is_empty() {
            return Err(format!("{} has not heard of any other pod of its group", self.settings.me.pod));
        }
        Err(why.join("; "))
    }

    /// Whether a pod can take over. By force it may be behind, but what it has is of this term.
    fn fit(&self, name: &str, epoch: Option<u64>, force: bool) -> Result<(), String> {
        if !self.settings.knows(name) {
            let known: Vec<&str> = self.settings.pods.iter().map(|pod| pod.name.as_str()).collect();
            let me = &self.settings.me.pod;
            return Err(format!("{me} has not heard that {name} is of its group, but only of {}", known.join(", ")));
        }
        let Some(peer) = self.peers.get(name) else {
            return Err(format!("{name} does not answer; a pod that takes over has to run"));
        };
        if !peer.up {
            return Err(format!("the process of {name} does not run"));
        }
        let me = &self.settings.me.pod;
        let elsewhere = peer.follows.as_ref().is_some_and(|follows| follows != me);
        if peer.data < epoch || (elsewhere && !force) {
            return Err(format!("{name} does not follow {me} yet, or has nothing of its data"));
        }
        let position = self.role.as_ref().and_then(|observed| observed.position);
        match (behind(position, peer).or(peer.lag), self.settings.max_lag) {
            (Some(lag), Some(most)) if lag > most && !force => {
                Err(format!("{name} is {lag} bytes behind, more than {most}"))
            }
            _ => Ok(()),
        }
    }

    /// Tells whoever asked for a switchover how it ended.
    pub(super) fn end_switchover(&mut self, now: Millis, out: &mut Vec<Order>) {
        let Some(switchover) = &self.switchover else { return };
        let meant = switchover.target.as_ref().or(switchover.wanted.as_ref());
        let target = meant.map_or("another pod", String::as_str);
        let result = match (switchover.handed, self.seen()) {
            (Some(handed), Some(seen)) if seen.record.epoch > handed => match &seen.record.holder {
                // labels are right by then, too
                Some(holder) if meant.is_none_or(|meant| *meant == holder.pod) => {
                    (seen.record.served == Some(seen.record.epoch) && self.leaving.is_none()).then_some(Ok(()))
                }
                Some(holder) => Some(Err(format!("{} took the role before {target} did", holder.pod))),
                None => None,
            },
            _ if self.tenure.is_none() && switchover.handed.is_none() => {
                Some(Err("the role was lost before it could be handed over".to_owned()))
            }
            _ => None,
        };
        let waited = switchover.patience / 1_000;
        let late = || match &switchover.waits {
            Some(reason) => format!("{reason}; waited for that for {waited} s"),
            None => format!("{target} did not take the role within {waited} s"),
        };
        let result = result.or_else(|| (now >= switchover.deadline).then(|| Err(late())));
        if let Some(result) = result {
            let ticket = switchover.ticket;
            self.switchover = None;
            self.undo |= self.demoted;
            out.push(Order::Answer { ticket, result });
        }
    }

    /// An agent that goes on where another one ended: whether that one had stopped the process for the role's sake.
    #[must_use]
    pub fn resumed(mut self, parked: bool) -> Self {
        self.parked = parked;
        self
    }

    /// Whether the process is stopped for the role's sake, or about to be. Whoever goes on after this agent has to know:
    /// nobody else starts it again.
    pub fn parks(&self) -> bool {
        self.is_to_start() || matches!(self.doing, Some(Deed::Demote | Deed::Switchover { .. } | Deed::Stop))
    }

    /// Whether the process was stopped for the role's sake, and has not asked for permission to start since.
    pub(super) fn is_to_start(&self) -> bool {
        self.parked || self.starting
    }

    /// Whether it is asked to start now.
    pub(super) fn starts(&self, now: Millis) -> bool {
        self.is_to_start() && now >= self.retry_at.max(self.start_again)
    }

    pub(super) fn because(&mut self, reason: &str) {
        if self.reason != reason {
            reason.clone_into(&mut self.reason);
        }
    }
}

fn behind(position: Option<i64>, peer: &Peer) -> Option<i64> {
    Some(position?.saturating_sub(peer.position?).max(0))
}

/// Bytes: what others lack of the data of a process that can start again, and may go on without.
const NEAR: i64 = 16 << 20;
/// After so many starts that came to nothing, whoever runs is better.
const IN_VAIN: u32 = 3;
