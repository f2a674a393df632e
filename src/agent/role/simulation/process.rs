//! The processes of the simulated world: what becomes of them when something is done to them, and what they say.

use super::*;

impl World {
    /// Whether what `name` holds would be the data of this pod's process after a start or a follow.
    pub(super) fn copy_from(&mut self, index: usize, name: &str) {
        let source = self.pods.iter().find(|pod| pod.name == name);
        if let Some(Pod { run: Run::Running { .. }, position, .. }) = source {
            self.pods[index].position = *position;
        }
    }

    pub(super) fn start(&mut self, index: usize, grant: &Grant, run: u64) {
        if self.pods[index].run != Run::Asking || self.pods[index].run_id != run {
            return;
        }
        if !self.calm && self.random.chance(5) {
            self.pods[index].run = Run::Off { asks_at: self.now + 1_000 };
            return self.feed(index, Event::Prepared { ok: false, told: false });
        }
        let up_at = self.now + 20 + self.random.below(500);
        let (primary, follows) = match grant {
            Grant::Holder => (!self.standby || self.pods[index].mark.is_none(), None),
            Grant::Follower { primary } => (false, Some(primary.clone())),
        };
        if primary {
            self.becomes_writable(index);
        }
        let replays = self.random.below(if self.calm { 300 } else { 5_000 });
        self.pods[index].knows_at = up_at + replays;
        self.pods[index].run = Run::Running { primary, writable: primary, follows, up_at };
        self.feed(index, Event::Prepared { ok: true, told: true });
    }

    pub(super) fn becomes_writable(&mut self, index: usize) {
        let pod = &self.pods[index];
        assert!(pod.fuse.is_some(), "{}: {} writes without a fuse", self.now, pod.name);
        if self.synchronous > 0 {
            let (position, acked) = (pod.position, self.acked);
            assert!(position >= acked, "{}: {} has {position} of {acked} confirmed writes", self.now, pod.name);
        }
    }

    pub(super) fn deed(&mut self, index: usize, deed: Deed, run: u64) {
        let fails = !self.calm && self.random.chance(10);
        // a deed works on whatever runs by then
        let same = self.pods[index].run_id == run;
        let running = matches!(self.pods[index].run, Run::Running { .. } | Run::Undead);
        // whoever does not answer does nothing that is asked of it, but most can be killed
        let deaf = self.hangs(index)
            && match deed {
                Deed::Kill | Deed::Start => false,
                Deed::Stop => self.pods[index].resists,
                _ => true,
            };
        let mut result = if fails || deaf || (!running && deed != Deed::Start) { Err("no".to_owned()) } else { Ok(()) };
        if result.is_ok() {
            match &deed {
                Deed::Promote => {
                    if self.pods[index].run_id == run {
                        self.becomes_writable(index);
                        if let Run::Running { primary, writable, follows, .. } = &mut self.pods[index].run {
                            (*primary, *writable, *follows) = (true, true, None);
                        }
                    } else {
                        result = Err("another process runs".to_owned());
                    }
                }
                Deed::Demote if self.demotes_by_stopping => self.end(index, true),
                Deed::Demote => {
                    if let Run::Running { writable, .. } = &mut self.pods[index].run {
                        *writable = false;
                    }
                }
                Deed::Switchover { target } => {
                    if let Run::Running { writable, .. } = &mut self.pods[index].run {
                        *writable = false;
                    }
                    let position = self.pods[index].position;
                    if let Some(pod) = self.pods.iter_mut().find(|pod| pod.name == *target)
                        && matches!(pod.run, Run::Running { .. })
                    {
                        pod.position = position;
                    } else {
                        result = Err("the target is gone".to_owned());
                    }
                    if self.demotes_by_stopping && result.is_ok() {
                        self.end(index, true);
                    }
                }
                Deed::Follow { primary: name } => {
                    if let Run::Running { primary, writable, follows, .. } = &mut self.pods[index].run {
                        (*primary, *writable, *follows) = (false, false, Some(name.clone()));
                    }
                    let name = name.clone();
                    self.copy_from(index, &name);
                }
                Deed::Kill if same => self.end(index, false),
                Deed::Stop => self.end(index, true),
                Deed::Start => {
                    if self.pods[index].run == Run::Stopped {
                        self.pods[index].run = Run::Off { asks_at: self.now };
                    }
                }
                Deed::Kill => {}
            }
        }
        self.feed(index, Event::Did { deed, result });
    }

    pub(super) fn end(&mut self, index: usize, stopped: bool) {
        let asks_at = self.now + 50 + self.random.below(500);
        let lingers = self.hangs(index) && self.pods[index].resists;
        let pod = &mut self.pods[index];
        if lingers && matches!(pod.run, Run::Running { .. } | Run::Undead) {
            (pod.run, pod.fuse) = (Run::Undead, None);
            return;
        }
        (pod.run_id, pod.fuse) = (pod.run_id + 1, None);
        pod.run = if stopped { Run::Stopped } else { Run::Off { asks_at } };
        if !self.lasting {
            (pod.position, pod.mark) = (0, None);
        }
    }

    /// Whether the process neither answers nor writes.
    pub(super) fn hangs(&self, index: usize) -> bool {
        self.now < self.pods[index].hung_until
    }

    pub(super) fn look_at_process(&mut self, index: usize) {
        let now = self.now;
        let process = match &self.pods[index].run {
            Run::Stopped | Run::Off { .. } => Process::Down,
            Run::Asking => Process::Asking,
            // PID 1 still sees it
            Run::Undead => Process::Up,
            Run::Running { up_at, .. } if now >= *up_at => Process::Up,
            Run::Running { .. } => return,
        };
        self.feed(index, Event::Process(process));
    }

    pub(super) fn probe(&mut self, index: usize) {
        if self.pods[index].run == Run::Undead {
            return self.feed(index, Event::Role(None));
        }
        let Run::Running { primary, up_at, .. } = self.pods[index].run else { return };
        if self.now < up_at || self.hangs(index) || (!self.calm && self.random.chance(5)) {
            return self.feed(index, Event::Role(None));
        }
        let name = if primary { "primary" } else { "replica" };
        let attached = self.attached(index);
        if let Some(name) = &attached {
            self.copy_from(index, name);
        }
        let pod = &mut self.pods[index];
        pod.told = pod.position;
        let position = (primary || self.now >= pod.knows_at).then_some(pod.position);
        let follows = Some(attached.unwrap_or_default());
        let observed = Observed { role: name.to_owned(), exclusive: primary, position, lag: None, follows };
        self.feed(index, Event::Role(Some(observed)));
    }

    /// Whom it follows, as far as both are there.
    pub(super) fn attached(&self, index: usize) -> Option<String> {
        let Run::Running { follows, .. } = &self.pods[index].run else { return None };
        follows.clone().filter(|name| self.serves(name) && self.now >= self.pods[index].cut_until)
    }

    pub(super) fn serves(&self, name: &str) -> bool {
        self.pods.iter().any(|pod| {
            pod.name == name && self.now >= pod.cut_until && matches!(pod.run, Run::Running { primary: true, .. })
        })
    }
}
