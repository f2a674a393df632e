//! Who takes a lease that nobody has: whoever has the most data, then the lowest ordinal, one after another.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::{
    ASK_AGAIN, Member, Millis, Order, Process, Purpose, RETURN, RETURN_AT_MOST, Record, SPEAK, STEP, State, View,
};

/// The greater goes first: runs, epoch of the data, position, was the last to serve, ordinal.
type Rank = (bool, Option<u64>, Option<i64>, bool, Reverse<u16>);

impl State {
    /// Nobody has the lease: take it when it is this pod's turn.
    pub(super) fn stand(&mut self, now: Millis, out: &mut Vec<Order>) {
        let since = self.vacant.unwrap_or(now);
        if self.writing.is_some() || self.doing.is_some() || now < self.retry_at {
            return;
        }
        let record = self.seen().map(|seen| seen.record.clone()).unwrap_or_default();
        let chosen = record.candidate.as_deref() == Some(self.settings.me.pod.as_str());
        if !chosen && self.yielding.is_some_and(|until| now < until) {
            return self.because("gave the role up, and waits for somebody to take it");
        }
        if let Err(reason) = self.able(&record).and_then(|()| self.entitled(&record, now, out)) {
            self.because(&reason);
            if self.settings.max_lag.is_some() {
                // whoever runs and is too far behind may have ended since
                self.fresh_peers(now, out);
            }
            return self.open(record, now, out);
        }
        if chosen {
            return self.seize(&record, now, out);
        }
        if !self.settings.alone() {
            // all say exactly how far they are once they notice; those who asked before that ask again
            let spoken = since.saturating_add(SPEAK);
            if now < spoken {
                return self.because("nobody has the role; asks the others how far their data reaches");
            }
            if self.peers_from < spoken {
                self.ask_anew(spoken);
            }
            if !self.fresh_peers(now, out) {
                return;
            }
        }
        match self.awaited(&record, now, out).and_then(|()| self.turn(&record)) {
            Err(reason) => {
                if self.peers_at.is_some_and(|at| now.saturating_sub(at) >= ASK_AGAIN) {
                    self.ask_anew(now);
                }
                self.because(&reason);
                self.open(record, now, out);
            }
            Ok(delay) if now.saturating_sub(since) < delay => {
                self.reason = format!("nobody has the role; others go first for {} s", delay / 1_000);
            }
            Ok(_) => self.seize(&record, now, out),
        }
    }

    /// Whoever is named in a lease that ran out and may not begin itself makes room for one that is not named and has the
    /// data: each would wait for the other otherwise.
    fn open(&mut self, record: Record, now: Millis, out: &mut Vec<Order>) {
        let named = |name: &str| record.members.contains(name);
        if record.holder.is_none() || record.served.is_none() || !named(&self.settings.me.pod) {
            return;
        }
        // it need not be of the set any more, and so is not asked
        let last = record.last.clone().filter(|last| !named(last));
        if last.is_none() && (self.settings.alone() || !self.fresh_peers(now, out)) {
            return;
        }
        let barred = self.peers.iter().find(|(name, peer)| !named(name) && peer.data >= record.served);
        let Some(name) = last.or_else(|| barred.map(|(name, _)| name.clone())) else { return };
        self.reason = format!("opens the lease to all, since {name} has the data and is not named in it");
        self.write(Purpose::Release, Record { holder: None, candidate: None, ..record }, out);
    }

    fn seize(&mut self, old: &Record, now: Millis, out: &mut Vec<Order>) {
        let known = (self.view != View::Absent).then_some(old.epoch);
        // where the lease was lost, terms count on from the marks: one from before would outrank what is written now
        let marks = self.peers.values().map(|peer| peer.data).chain([self.data]).max().flatten();
        let epoch = known.max(marks).map_or(0, |latest| latest.saturating_add(1));
        self.given = old.holder.is_none() && old.candidate.as_deref() == Some(self.settings.me.pod.as_str());
        self.clear_at = None;
        self.dismissed = None;
        self.leave_out(old.members.iter().cloned().collect(), now);
        let record = self.own_record(epoch, old);
        self.because("takes the role");
        self.write(Purpose::Take, record, out);
    }

    /// Whether this pod may have the role at all.
    fn able(&self, record: &Record) -> Result<(), String> {
        let mine = record.last.as_deref() == Some(self.settings.me.pod.as_str())
            || record.candidate.as_deref() == Some(self.settings.me.pod.as_str());
        if !self.settings.automatic && !mine && record.served.is_some() {
            return Err("nobody has the role, and failover is manual: ask for a switchover".to_owned());
        }
        let process = match self.process {
            // one that was killed and does not end takes nothing over
            Process::Up => self.killed.is_none(),
            // a preparation under way may be throwing the data away
            Process::Asking => self.granted.is_none(),
            Process::Down => self.is_to_start(),
            Process::Unknown | Process::Starting => false,
        };
        if !process {
            return Err("nobody has the role; the process of this pod does not run".to_owned());
        }
        let Some(served) = record.served else { return Ok(()) };
        self.near_enough(record)?;
        let another = record.last.as_deref().filter(|last| *last != self.settings.me.pod);
        // whoever is alone and lost what it had itself begins anew; what another one had may still be somewhere
        if self.data >= Some(served) || (self.settings.alone() && another.is_none()) {
            return Ok(());
        }
        let of_set = |last: &str| self.settings.pods.iter().any(|pod| pod.name == last);
        let way_out = match another {
            Some(last) if self.settings.alone() || !of_set(last) => {
                format!("; {last} had the role last: bring it back, or delete the lease to begin without what it had")
            }
            _ => String::new(),
        };
        match self.data {
            None if !self.settings.lasting => Ok(()),
            None => Err(format!("nobody has the role; this pod has no data, and waits for one that has{way_out}")),
            Some(data) => Err(format!(
                "nobody has the role; the data of this pod is of term {data}, and was overtaken in term {served}{way_out}"
            )),
        }
    }

    /// Nobody who is further behind than the instance allows takes over by itself; whom it was given to by force does.
    fn near_enough(&self, record: &Record) -> Result<(), String> {
        let me = Some(self.settings.me.pod.as_str());
        let (Some(last), Some(most)) = (record.last.as_deref(), self.settings.max_lag) else { return Ok(()) };
        let Some(reached) = record.position else { return Ok(()) };
        // what a backup put here is newer than anything that was served
        if record.last.as_deref() == me || record.candidate.as_deref() == me || self.data > record.served {
            return Ok(());
        }
        if self.process != Process::Up {
            // where nothing runs nobody knows; else one that does not run is no way around those that are too far behind
            if !self.runs_somewhere(record) {
                return Ok(());
            }
            return Err(format!(
                "nobody has the role; the process of this pod does not run, so that nobody knows how far its data reaches, \
                 and failover.maxLag allows {most} bytes: bring {last} back, or delete the lease to begin all the same"
            ));
        }
        let own = self.role.as_ref().and_then(|observed| observed.position);
        let Some(own) = own else {
            return Err("nobody has the role; this pod has not said yet how far its data reaches".to_owned());
        };
        let lag = reached.saturating_sub(own);
        if lag <= most {
            return Ok(());
        }
        Err(format!(
            "nobody has the role; this pod is {lag} bytes behind what {last} had, and failover.maxLag allows {most}: bring \
             {last} back, allow more, or delete the lease to begin with what this pod has"
        ))
    }

    /// Where nothing runs, whoever served last may have writes that nobody else has: it is waited for while its pod is there.
    fn awaited(&mut self, record: &Record, now: Millis, out: &mut Vec<Order>) -> Result<(), String> {
        let Some(last) = record.last.as_deref().filter(|last| *last != self.settings.me.pod) else { return Ok(()) };
        let since = self.vacant.unwrap_or(now);
        // with synchronous replication others know what was confirmed; without lasting data nothing comes back; and what a
        // backup put here is newer than anything that was served
        let newer = self.data > record.served;
        let matters = record.served.is_some() && self.settings.synchronous == 0 && self.settings.lasting && !newer;
        if !matters || self.runs_somewhere(record) || now.saturating_sub(since) >= RETURN_AT_MOST {
            return Ok(());
        }
        if self.left(last).is_some_and(|at| at >= since && now.saturating_sub(at) >= RETURN) {
            return Ok(());
        }
        self.look_for(record, now, out);
        Err(format!(
            "nobody has the role; waits for {last}, which had it last and may have writes that nobody else has, for as \
             long as its pod is there, at most {} min",
            RETURN_AT_MOST / 60_000
        ))
    }

    /// Whether the process of any pod with data of this term runs.
    fn runs_somewhere(&self, record: &Record) -> bool {
        self.process == Process::Up || self.peers.values().any(|peer| peer.up && peer.data >= record.served)
    }

    fn rank(&self, name: &str, up: bool, data: Option<u64>, position: Option<i64>, record: &Record) -> Rank {
        let last = record.last.as_deref() == Some(name);
        // where nothing runs, nobody knows positions, and the last to serve comes first
        (up, data, position.filter(|_| up), last, Reverse(self.settings.ordinal(name)))
    }

    /// How long to wait from the moment nobody had the lease.
    fn turn(&self, record: &Record) -> Result<Millis, String> {
        let me = self.settings.me.pod.as_str();
        let up = self.process == Process::Up;
        let position = self.role.as_ref().and_then(|observed| observed.position);
        let mine = self.rank(me, up, self.data, position, record);
        let current = |data: Option<u64>| record.served.is_none() || data >= record.served;
        let others: Vec<Rank> = self
            .peers
            .iter()
            .filter(|(_, peer)| current(peer.data))
            .map(|(name, peer)| self.rank(name, peer.up, peer.data, peer.position, record))
            .collect();
        self.complete(record, up, position)?;
        let ahead = others.iter().filter(|other| **other > mine).count();
        let mut delay = STEP.saturating_mul(u64::try_from(ahead).unwrap_or(u64::MAX));
        if others.iter().any(|other| other.0 && (other.1, other.2) > (mine.1, mine.2)) {
            if self.settings.synchronous > 0 && record.last.as_deref() != Some(me) {
                return Err("nobody has the role; another pod that runs has more of the data".to_owned());
            }
            // it may have begun to wait for the end of the lease later than this one
            delay = delay.saturating_add(self.settings.duration).saturating_add(self.settings.margin());
        }
        let last = record.last.as_deref();
        let runs = up || others.iter().any(|other| other.0);
        if !runs && let Some(last) = last.filter(|last| *last != me) {
            if self.settings.synchronous > 0 && record.served.is_some() {
                // nobody knows how far the data of a process reaches that does not run
                return Err(format!(
                    "nobody has the role; waits for {last}, the only one known to have every confirmed write; delete the \
                     lease to begin without it"
                ));
            }
            delay = delay.saturating_add(RETURN);
        }
        if record.candidate.is_some() {
            delay = delay.saturating_add(STEP);
        }
        if !current(self.data) {
            // without anything to keep, a pod begins anew only once nobody with data turned up
            delay = delay.saturating_add(2 * RETURN);
        }
        if record.served.is_none() {
            let absent = |pod: &&Member| pod.ordinal < self.settings.ordinal(me) && !self.peers.contains_key(&pod.name);
            let lower = self.settings.pods.iter().filter(absent).count();
            delay = delay.saturating_add(RETURN.saturating_mul(u64::try_from(lower).unwrap_or(u64::MAX)));
        }
        Ok(delay)
    }

    /// With synchronous replication, enough pods have to have spoken that one of them has every confirmed write.
    fn complete(&self, record: &Record, up: bool, position: Option<i64>) -> Result<(), String> {
        let synchronous = self.settings.synchronous;
        let me = self.settings.me.pod.as_str();
        let last = record.last.as_deref();
        if synchronous == 0 || record.served.is_none() || last == Some(me) {
            return Ok(());
        }
        let others = self.peers.iter().filter(|(name, peer)| {
            Some(name.as_str()) != last && peer.up && peer.data >= record.served && peer.knows()
        });
        let known = others.count() + usize::from(up && position.is_some());
        let enough = self.confirming(record).saturating_sub(synchronous);
        if known >= enough || (known == 0 && !up) {
            return Ok(());
        }
        let of_set = self.settings.pods.iter().map(|pod| pod.name.as_str());
        let all: BTreeSet<&str> = of_set.chain(record.members.iter().map(String::as_str)).collect();
        let silent = |name: &&str| *name != me && !self.peers.get(*name).is_some_and(|peer| peer.up);
        let missing: Vec<&str> = all.into_iter().filter(silent).collect();
        if missing.is_empty() {
            return Err("nobody has the role; waits until the others have said how far their data reaches".to_owned());
        }
        Err(format!(
            "nobody has the role; waits for {}, which may have confirmed writes; delete the lease to begin without them",
            missing.join(", ")
        ))
    }

    /// When something has to be decided though nothing has happened.
    pub fn wake_at(&self, now: Millis) -> Millis {
        let busy = self.cut_off(now)
            || self.vacant.is_some()
            || self.yielding.is_some()
            || self.switchover.is_some()
            || self.stopping;
        let next = if busy { 100 } else { 1_000 };
        let due = [
            self.tenure.as_ref().map(|tenure| tenure.renew_at),
            self.until(),
            self.tenure.is_none().then(|| self.expires_at()).flatten(),
            (self.retry_at > now).then_some(self.retry_at),
            (self.start_again > now).then_some(self.start_again),
            self.leaving.as_ref().map(|leaving| leaving.until),
            self.clear_at,
        ];
        let least = now.saturating_add(20);
        due.into_iter().flatten().chain([now.saturating_add(next)]).min().unwrap_or(now).max(least)
    }
}
