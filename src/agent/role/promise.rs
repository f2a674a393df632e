//! How a holder goes on while nobody can write the lease: all who may take it promise to wait.
//!
//! A promise lasts as long as the lease would by the clock of whoever gives it, counted from when it was asked for; the
//! holder counts four fifths of that from before it asked. So it ends like a renewal does, whatever is lost or late. Who
//! forgets a promise by starting anew waits at least as long before it takes a lease it has only just seen.

use std::collections::BTreeSet;

use super::{
    Dismissed, Doubt, Holder, LATE, LONGEST_PROMISE, LOOK_FOR, Millis, Order, Peer, Promise, Purpose, Record, Settings,
    State, TOLD, Tenure, Ticket, View,
};

/// From before a renewal or a promise until the process is killed.
pub(super) fn fuse(duration: Millis) -> Millis {
    duration / 5 * 4
}

impl Tenure {
    /// When the process may go on no longer.
    pub(super) fn until(&self) -> Millis {
        self.promised.map_or(self.renewed, |promised| promised.max(self.renewed)).saturating_add(fuse(self.duration))
    }
}

impl State {
    /// Renewals have failed for a while.
    pub(super) fn cut_off(&self, now: Millis) -> bool {
        let patience = self.settings.renew_every().saturating_mul(2);
        self.tenure.as_ref().is_some_and(|tenure| now.saturating_sub(tenure.renewed) >= patience)
    }

    /// It goes on by the promises of the others alone.
    pub(super) fn stretched(&self, now: Millis) -> bool {
        self.cut_off(now) && self.tenure.as_ref().is_some_and(|tenure| tenure.promised > Some(tenure.renewed))
    }

    /// Asks the others to let this holder go on, where it cannot renew.
    pub(super) fn plead(&mut self, now: Millis, out: &mut Vec<Order>) {
        if self.releasing || self.pleading.is_some() || !self.cut_off(now) {
            return;
        }
        let every = self.settings.renew_every();
        let Some(tenure) = &self.tenure else { return };
        let lately = tenure.promised.is_some_and(|at| now.saturating_sub(at) < every) || now < self.plead_at;
        // a lease that names nobody may be taken by anybody
        let bound = self.seen().is_some_and(|seen| seen.record.members.contains(&self.settings.me.pod));
        if lately || !bound {
            return;
        }
        let (epoch, duration) = (tenure.epoch, tenure.duration);
        let others = self.to_promise();
        if others.is_empty() {
            return self.stretch(now, now, out);
        }
        self.pleading = Some((now, others.clone()));
        out.push(Order::Plead { pods: others, epoch, duration });
    }

    /// All who might take the lease, or get into it.
    fn to_promise(&self) -> BTreeSet<String> {
        let mut others = self.named.clone();
        others.extend(self.settings.pods.iter().map(|pod| pod.name.clone()));
        others.remove(&self.settings.me.pod);
        others
    }

    pub(super) fn promised(&mut self, epoch: u64, by: &BTreeSet<String>, now: Millis, out: &mut Vec<Order>) {
        let Some((asked, whom)) = self.pleading.take() else { return };
        self.plead_at = now.saturating_add(self.settings.retry());
        if self.tenure.as_ref().is_none_or(|tenure| tenure.epoch != epoch) {
            return;
        }
        // somebody may have been named since
        let missing: Vec<String> = whom.union(&self.to_promise()).filter(|pod| !by.contains(*pod)).cloned().collect();
        if missing.is_empty() {
            self.stretch(asked, now, out);
        } else {
            self.reason = format!("the lease cannot be renewed, and {} did not promise to wait", missing.join(", "));
        }
    }

    fn stretch(&mut self, asked: Millis, now: Millis, out: &mut Vec<Order>) {
        if let Some(tenure) = &mut self.tenure {
            tenure.promised = Some(asked);
        }
        self.light_fuse(now, out);
    }

    /// Another pod asks this one to wait.
    pub(super) fn plea(
        &mut self,
        ticket: Ticket,
        (holder, epoch, duration): (&Holder, u64, Millis),
        now: Millis,
        out: &mut Vec<Order>,
    ) {
        let result = self.may_promise(holder, epoch, duration, now);
        if result.is_ok() {
            let until = now.saturating_add(duration);
            let until = self.promise.as_ref().map_or(until, |known| known.until.max(until));
            self.promise = Some(Promise { epoch, until });
        }
        out.push(Order::Answer { ticket, result });
        // whether this pod can do what the holder cannot is known by the next time
        out.push(Order::Look);
    }

    fn may_promise(&self, holder: &Holder, epoch: u64, duration: Millis, now: Millis) -> Result<(), String> {
        let me = &self.settings.me.pod;
        if duration > LONGEST_PROMISE {
            return Err(format!("{duration} ms is too long for a promise"));
        }
        let View::Seen { seen, .. } = &self.view else {
            return Err(format!("{me} does not know the lease"));
        };
        if seen.record.holder.as_ref() != Some(holder) || seen.record.epoch != epoch {
            return Err(format!("{me} knows of another holder of the role"));
        }
        if self.tenure.is_some() || self.writing.is_some() || self.doubt.is_some() {
            return Err(format!("{me} is about to take the role"));
        }
        if now.saturating_sub(self.born) < LATE {
            return Err(format!("{me} has only just started, and what it wrote before may still arrive"));
        }
        if self.contact.is_some_and(|at| now.saturating_sub(at) < self.settings.quiet()) {
            return Err(format!("{me} reaches the lease, and takes it if it is not renewed"));
        }
        Ok(())
    }

    /// Whether a promise keeps this pod from the lease as it is now.
    pub(super) fn bound(&self, now: Millis) -> bool {
        let Some(promise) = self.promise.as_ref().filter(|promise| now < promise.until) else { return false };
        // whoever was promised gave it up: nothing of it writes any more
        let given_up = |record: &Record| record.holder.is_none() && record.epoch == promise.epoch;
        !self.seen().is_some_and(|seen| given_up(&seen.record))
    }

    pub(super) fn configured(&mut self, settings: Settings, now: Millis) {
        let before = self.settings.pods.iter().map(|pod| pod.name.clone()).collect();
        self.settings = settings;
        if self.tenure.is_some() {
            self.leave_out(before, now);
        }
        // who is new is named before it has anything to confirm
        if let Some(tenure) = &mut self.tenure {
            tenure.renew_at = tenure.renew_at.min(now);
        }
    }

    /// Remembers those of these pods that are not of the set any more.
    pub(super) fn leave_out(&mut self, pods: Vec<String>, now: Millis) {
        let known = self.dismissed.take().into_iter().flat_map(|all| all.pods);
        let mut pods: BTreeSet<String> = pods.into_iter().chain(known).collect();
        pods.retain(|name| !self.settings.pods.iter().any(|pod| pod.name == *name));
        if self.settings.synchronous > 0 && !pods.is_empty() {
            self.dismissed = Some(Dismissed { pods, since: now, until: None });
        }
    }

    /// The process said how far it is: by then none of those that left is asked to confirm any more.
    pub(super) fn reached(&mut self, now: Millis) {
        if let Some(all) = &mut self.dismissed
            && now.saturating_sub(all.since) >= TOLD
        {
            all.until = all.until.or(self.position);
        }
    }

    /// Those that left are forgotten once enough of those that stay have what was written while they confirmed.
    pub(super) fn dismiss(&mut self, now: Millis, out: &mut Vec<Order>) {
        let Some(until) = self.dismissed.as_ref().and_then(|all| all.until) else { return };
        if !self.fresh_peers(now, out) {
            return;
        }
        let epoch = self.tenure.as_ref().map(|tenure| tenure.epoch);
        let have = |peer: &&Peer| peer.up && peer.data >= epoch && peer.position >= Some(until);
        let enough = self.settings.synchronous.min(self.settings.pods.len().saturating_sub(1));
        if self.peers.values().filter(have).count() >= enough {
            self.dismissed = None;
        }
    }

    /// How many pods may have confirmed writes.
    pub(super) fn confirming(&self, record: &Record) -> usize {
        let of_set = self.settings.pods.iter().map(|pod| &pod.name);
        of_set.chain(&record.members).collect::<BTreeSet<_>>().len()
    }

    /// A write of the lease begins.
    pub(super) fn note_write(&mut self, purpose: Purpose, record: &Record, version: Option<&String>) {
        self.named.extend(record.members.iter().cloned());
        // also a release by whoever does not hold it lets others take it
        if purpose == Purpose::Take || (purpose == Purpose::Release && self.tenure.is_none()) {
            self.doubt = Some(Doubt { replaces: version.cloned() });
        }
    }

    /// Forgets what the lease by now says is over.
    pub(super) fn settle(&mut self, now: Millis) {
        if !self.bound(now) {
            self.promise = None;
        }
        // once the lease is another one than that which was to be replaced, the write cannot arrive any more
        let current = self.seen().map(|seen| seen.version.clone());
        if self.doubt.as_ref().is_some_and(|doubt| doubt.replaces != current) {
            self.doubt = None;
        }
    }

    /// Whether this pod is one of those that may take the lease without its being released.
    pub(super) fn entitled(&mut self, record: &Record, now: Millis, out: &mut Vec<Order>) -> Result<(), String> {
        let known = &record.members;
        if record.holder.is_none() || known.is_empty() || known.contains(&self.settings.me.pod) {
            return Ok(());
        }
        let left: Vec<&str> = known.iter().filter(|pod| !self.gone.contains_key(*pod)).map(String::as_str).collect();
        if left.is_empty() {
            return Ok(());
        }
        let reason = format!("nobody has the role; waits for {}, or until no such pod is there", left.join(", "));
        self.look_for(record, now, out);
        Err(reason)
    }

    /// Sees now and then which pods are gone of those that have to be waited for.
    pub(super) fn look_for(&mut self, record: &Record, now: Millis, out: &mut Vec<Order>) {
        if self.gone_at.is_none_or(|at| now.saturating_sub(at) >= LOOK_FOR) {
            self.gone_at = Some(now);
            out.push(Order::LookFor(record.members.iter().chain(&record.last).cloned().collect()));
        }
    }

    /// These are gone, others are there.
    pub(super) fn looked_for(&mut self, gone: BTreeSet<String>, now: Millis) {
        // what was found at another time says nothing: it may have been there meanwhile
        let lately = |at: &Millis| self.vacant.is_none_or(|vacant| *at >= vacant);
        let since = |pod: String| (self.gone.get(&pod).copied().filter(lately).unwrap_or(now), pod);
        self.gone = gone.into_iter().map(since).map(|(at, pod)| (pod, at)).collect();
    }

    /// When a pod was first found to be gone, where it is.
    pub(super) fn left(&self, pod: &str) -> Option<Millis> {
        self.gone.get(pod).copied()
    }
}
