//! What every other pod does: follow the holder, and notice when there is none.

use super::{Deed, Grant, Millis, Order, Process, Purpose, Record, State, View};

/// What the lease says about everybody else.
enum Reading {
    Unknown,
    /// It may look free, but somebody was promised that this pod would wait.
    Bound,
    /// It is ours by name, though we do not know since when.
    Ours,
    /// Somebody who cannot reach the lease may still write, for this reason.
    Perhaps(&'static str),
    Led {
        by: String,
        epoch: u64,
        serving: bool,
        alive: bool,
    },
    Vacant,
}

impl State {
    pub(super) fn wait(&mut self, now: Millis, out: &mut Vec<Order>) {
        if self.stopping
            && self.writing.is_none()
            && self.doing.is_none()
            && !matches!(self.reading(now), Reading::Ours)
        {
            self.exited = true;
            out.push(Order::Exit);
            return;
        }
        let reading = self.reading(now);
        if !matches!(reading, Reading::Led { .. }) {
            self.adrift = None;
        }
        match reading {
            Reading::Bound => {
                self.vacant = None;
                self.because("promised the holder of the role to wait, since the lease cannot be renewed");
            }
            Reading::Unknown => self.because("waits for a look at the lease"),
            Reading::Perhaps(reason) => {
                self.vacant = None;
                self.because(reason);
            }
            Reading::Ours => {
                self.vacant = None;
                if self.writing.is_none()
                    && now >= self.retry_at
                    && let Some(seen) = self.seen().cloned()
                {
                    // whoever had it before knew who left, and the lease still does
                    let known: Vec<String> = seen.record.members.iter().cloned().collect();
                    self.leave_out(known, now);
                    let record = self.own_record(seen.record.epoch, &seen.record);
                    self.write(Purpose::Renew, record, out);
                }
            }
            Reading::Led { by, epoch, serving, alive } => {
                // somebody took what was offered
                (self.vacant, self.yielding, self.offered) = (None, None, false);
                if !self.stopping {
                    self.follow(&by, (epoch, serving, alive), now, out);
                }
            }
            Reading::Vacant => {
                self.vacant.get_or_insert(now);
                if !self.stopping {
                    self.stand(now, out);
                }
            }
        }
    }

    fn reading(&self, now: Millis) -> Reading {
        let (seen, since, alive) = match &self.view {
            View::Unseen => return Reading::Unknown,
            View::Absent if self.bound(now) => return Reading::Bound,
            View::Absent if now < self.absent_from => return Reading::Perhaps(VANISHED),
            View::Absent => return Reading::Vacant,
            View::Seen { seen, since, alive } => (seen, *since, *alive),
        };
        let record = &seen.record;
        match &record.holder {
            None if self.bound(now) => Reading::Bound,
            None => Reading::Vacant,
            Some(holder) if *holder == self.settings.me && self.bound(now) => Reading::Bound,
            // a lease from before what this pod has since served or followed, which a backup brought back, is nobody's;
            // whoever held the one after it may write for as long as that one would have been valid
            Some(holder) if *holder == self.settings.me && self.data > Some(record.epoch) => {
                if self.is_over(record, since, now) { Reading::Vacant } else { Reading::Unknown }
            }
            // so it may be told by a server that was put back to a backup of its own
            Some(holder) if *holder == self.settings.me => {
                let known = alive || self.goes_on(now) || self.is_over(record, since, now);
                if known { Reading::Ours } else { Reading::Perhaps(NOTHING_GOES_ON) }
            }
            Some(holder) => {
                if self.is_over(record, since, now) && !self.bound(now) {
                    return Reading::Vacant;
                }
                let serving = record.served == Some(record.epoch);
                Reading::Led { by: holder.pod.clone(), epoch: record.epoch, serving, alive }
            }
        }
    }

    /// Whether an agent that has only just started found a process that may have the role: it ends with its fuse otherwise.
    fn goes_on(&self, now: Millis) -> bool {
        let has_it = match &self.role {
            Some(observed) => observed.exclusive,
            // one that hangs has not said a word
            None => !self.answered && now.saturating_sub(self.born) >= FIRST_WORD,
        };
        self.settings.alone() || (self.process == Process::Up && has_it)
    }

    /// Whether a lease that was first seen like this at that moment is valid no longer.
    fn is_over(&self, record: &Record, since: Millis, now: Millis) -> bool {
        let valid = record.duration.max(self.settings.duration).saturating_add(self.settings.margin());
        now.saturating_sub(since) > valid
    }

    /// When a lease that nobody renews is over.
    pub(super) fn expires_at(&self) -> Option<Millis> {
        let View::Seen { seen, since, .. } = &self.view else { return None };
        let valid = seen.record.duration.max(self.settings.duration).saturating_add(self.settings.margin());
        seen.record.holder.as_ref().map(|_| since.saturating_add(valid).saturating_add(1))
    }

    fn follow(&mut self, by: &str, (epoch, serving, alive): (u64, bool, bool), now: Millis, out: &mut Vec<Order>) {
        // a process that is restarted to follow asks meanwhile
        let restarting = matches!(self.doing, Some(Deed::Follow { .. })) && self.process == Process::Asking;
        if self.doing.is_some() && !restarting {
            return;
        }
        if by == self.settings.me.pod {
            return self.because("waits until the lease of the pod that had this name before is over");
        }
        match self.process {
            Process::Asking if self.granted.is_none() => {
                if serving && alive {
                    self.reason = format!("prepares to follow {by}");
                    self.grant(Grant::Follower { primary: by.to_owned() }, out);
                } else {
                    self.reason = format!("waits until {by} serves");
                }
            }
            Process::Down if self.starts(now) => self.order(Deed::Start, out),
            Process::Up => {
                if self.killed.is_some() {
                    self.because(UNDEAD);
                }
                let Some(observed) = &self.role else { return };
                let elsewhere = observed.follows.as_deref().is_some_and(|follows| !follows.is_empty() && follows != by);
                let due = observed.exclusive || (serving && (!self.followed(epoch) || elsewhere));
                if due && now >= self.retry_at {
                    self.reason = format!("is told to follow {by}");
                    self.order(Deed::Follow { primary: by.to_owned() }, out);
                } else if !due && serving {
                    self.reason = format!("follows {by}");
                    self.look_whether_it_drifts(by, now, out);
                }
            }
            _ => {}
        }
    }

    /// One that was told to follow, does not, and gets no further: only a start that prepares its data anew helps. It is
    /// stopped for that in good order, and only while there is somebody whose data it can take.
    fn look_whether_it_drifts(&mut self, by: &str, now: Millis, out: &mut Vec<Order>) {
        let drifts = self.role.as_ref().filter(|observed| observed.follows.as_deref() == Some(""));
        let (Some(within), Some(observed)) = (self.settings.attach_within, drifts) else {
            (self.adrift, self.anew) = (None, 0);
            return;
        };
        let position = observed.position;
        let since = match self.adrift {
            // one that does not know how far it is reads what it had before
            Some((since, known)) if known == position && position.is_some() => since,
            _ => now,
        };
        self.adrift = Some((since, position));
        self.reason = format!("was told to follow {by}, and is not connected to it");
        let within = within << self.anew.min(ANEW_AT_MOST);
        let late = now.saturating_sub(since) >= within;
        if late && now >= self.retry_at && self.fresh_peers(now, out) {
            if !self.peers.get(by).is_some_and(|peer| peer.up) {
                // once it runs again, it is given a moment
                self.adrift = Some((now.saturating_sub(within.saturating_sub(GRACE)), position));
                return;
            }
            self.reason = format!("did not get to follow {by}: starts anew");
            (self.adrift, self.anew) = (None, self.anew.saturating_add(1));
            self.order(Deed::Stop, out);
        }
    }
}

/// What became of a holder whose process could not be ended.
const UNDEAD: &str = "the process was killed and does not end, most likely because a volume does not answer; the role \
                      went to another pod";
const NOTHING_GOES_ON: &str =
    "the lease names this pod, where nothing goes on; waits until a holder of before has ended";
const VANISHED: &str = "the lease has vanished; waits until whoever had it has ended";
/// How long a process that was found running has to say who it is.
const FIRST_WORD: Millis = 2_000;
/// For whoever could not follow because the other one did not run.
const GRACE: Millis = 30_000;
/// So often the time until the next start that prepares the data anew is doubled.
const ANEW_AT_MOST: u32 = 4;
