//! What others are told of a pod: the label with its role, and a summary.

use super::{LINGER, Millis, Order, Process, State, Summary};

impl State {
    pub(super) fn show(&mut self, now: Millis, out: &mut Vec<Order>) {
        let label = if self.lingers(now) { self.label.clone().flatten() } else { self.confirmed() };
        if self.label.as_ref() != Some(&label) {
            self.label = Some(label.clone());
            self.labelled_holding = self.tenure.is_some();
            out.push(Order::Label(label));
        }
    }

    /// Whether the label stays though the role is given away. It accepts no writes, and says so to whoever comes.
    fn lingers(&mut self, now: Millis) -> bool {
        let next_serves = self.leaving.as_ref().is_some_and(|leaving| {
            self.seen()
                .is_some_and(|seen| seen.record.epoch > leaving.epoch && seen.record.served == Some(seen.record.epoch))
        });
        let stays = self.tenure.is_some() && !self.demoted && self.switchover.is_none();
        let Some(leaving) = &mut self.leaving else { return false };
        if next_serves && !leaving.served {
            leaving.served = true;
            leaving.until = leaving.until.min(now.saturating_add(LINGER));
        }
        if stays || self.stopping || now >= leaving.until {
            self.leaving = None;
        }
        self.leaving.is_some()
    }

    /// The role others may rely on.
    fn confirmed(&self) -> Option<String> {
        let observed = self.role.as_ref().filter(|_| self.process == Process::Up && !self.demoted);
        let shown = self.label.as_ref().and_then(Clone::clone);
        match (&self.tenure, observed) {
            (Some(tenure), Some(observed)) => {
                let serving = self.seen().is_some_and(|seen| seen.record.served == Some(tenure.epoch));
                (observed.exclusive && serving).then(|| observed.role.clone())
            }
            (None, Some(observed)) => {
                let settled = self.seen().is_some_and(|seen| self.followed(seen.record.epoch)) || self.vacant.is_some();
                // what could not attach before is not relied on until it has
                (!observed.exclusive && settled && self.anew == 0).then(|| observed.role.clone())
            }
            // one answer that is missing changes nothing; the probe of readiness takes it out of service
            (tenure, None) if self.process == Process::Up && !self.demoted && self.doing.is_none() => {
                shown.filter(|_| tenure.is_some() == self.labelled_holding)
            }
            _ => None,
        }
    }

    /// How often it was started anew since it followed somebody.
    #[must_use]
    pub const fn anew(&self) -> u32 {
        self.anew
    }

    pub fn summary(&self) -> Summary {
        let seen = self.seen();
        Summary {
            holds: self.tenure.is_some(),
            holder: seen.and_then(|seen| seen.record.holder.as_ref()).map(|holder| holder.pod.clone()),
            epoch: seen.map(|seen| seen.record.epoch),
            data: self.data,
            vacant: self.vacant.is_some(),
            role: self.label.clone().flatten(),
            reason: self.reason.clone(),
        }
    }
}
