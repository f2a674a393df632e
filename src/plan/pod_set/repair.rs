//! Pods that ended, and pods on nodes that are lost. A second pod of an ordinal can never be: both have the same name, and
//! the first is taken away without its node's word only where it is proven that the node runs nothing any more.

use jiff::{SignedDuration, Timestamp};

use super::Planner;
use super::observed::{Phase, Pod};
use super::steps::{Proof, What};

/// How much later than promised a pod may be gone before somebody should look.
const LATE: SignedDuration = SignedDuration::from_secs(30);
/// The longest pause between two attempts to run a pod that ends by itself.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_mins(5);

impl Planner<'_> {
    pub(super) fn repair(&mut self) {
        let seen = self.seen;
        for (&ordinal, pod) in &seen.pods {
            let name = seen.pod_name(ordinal);
            if let Some((node, proof)) = self.proof(pod) {
                let what = What::ForceDelete { uid: pod.uid.clone(), node: node.clone(), proof };
                let reason = match proof {
                    Proof::NodeGone => format!("node {node} is gone, and {name} with it"),
                    Proof::OutOfService => format!("node {node} was declared out of service"),
                };
                self.act(ordinal, what, reason);
            } else if let Some(leaves_by) = pod.leaves_by {
                let overdue = leaves_by.saturating_add(LATE).unwrap_or(leaves_by);
                if seen.now < overdue {
                    self.wait(ordinal, "PodLeaves", format!("{name} stops")).until(overdue);
                } else {
                    let held = || {
                        let all = (!pod.finalizers.is_empty()).then(|| pod.finalizers.join(", "))?;
                        Some(format!("the finalizer {all} holds it, which whoever set it has to take away"))
                    };
                    let lost = self.lost(pod).or_else(held);
                    let lost = lost.unwrap_or_else(|| "its node does not say that it stopped".to_owned());
                    self.wait(
                        ordinal,
                        "PodStuck",
                        format!("{name} should be gone since {leaves_by}: {lost}; no other takes its place before"),
                    )
                    .stalled();
                }
            } else if pod.phase == Phase::Ended {
                let problem = pod.problem.clone().unwrap_or_default();
                match self.pause(ordinal) {
                    Some(until) => {
                        let message = format!("{name} ended again ({problem}); it is tried again at {until}");
                        self.wait(ordinal, "PodEnds", message).until(until);
                    }
                    None => {
                        self.act(ordinal, What::DeletePod { uid: pod.uid.clone() }, format!("{name} ended: {problem}"));
                    }
                }
            } else if let Some(lost) = self.lost(pod) {
                self.wait(ordinal, "NodeLost", format!("{name}: {lost}"));
            }
        }
    }

    /// Proof that nothing of a pod runs any more, where there is one.
    fn proof(&self, pod: &Pod) -> Option<(String, Proof)> {
        let (node, nodes) = (pod.node.as_ref()?, self.seen.nodes.as_ref()?);
        let proof = match nodes.get(node) {
            None => Proof::NodeGone,
            // the taint alone is a promise for the future; a pod that is to go is gone
            Some(state) if state.out_of_service && !state.ready && pod.leaving() => Proof::OutOfService,
            Some(_) => return None,
        };
        Some((node.clone(), proof))
    }

    fn lost(&self, pod: &Pod) -> Option<String> {
        let node = pod.node.as_ref()?;
        let state = self.seen.nodes.as_ref()?.get(node)?;
        (!state.ready).then(|| {
            format!("node {node} does not answer; it may still run there until the node is back, deleted, or declared out of service")
        })
    }

    /// Until when a pod that ends by itself is not tried again.
    pub(super) fn pause(&self, ordinal: u16) -> Option<Timestamp> {
        let replaced = self.seen.replaced.get(&ordinal)?;
        let seconds = 1_i64 << replaced.times.min(9);
        let pause = SignedDuration::from_secs(seconds).min(LONGEST_PAUSE);
        let until = replaced.last.saturating_add(pause).ok()?;
        (until > self.seen.now).then_some(until)
    }

    /// Whether a pod is beyond its time and keeps nobody waiting.
    pub(super) fn overdue(&self, pod: &Pod) -> bool {
        pod.leaves_by.is_some_and(|by| by.saturating_add(LATE).is_ok_and(|late| late <= self.seen.now))
    }
}
