//! Carrying a step out: whoever can do it is asked.

use super::Operations;
use crate::api::Operation;
use crate::plan::operation::{Deed, Outcome, Run, World};

/// What a step is carried out with.
pub struct Hands<'a> {
    pub shared: &'a Operations,
    pub operation: &'a Operation,
    pub world: &'a World<'a>,
}

impl Hands<'_> {
    pub async fn carry_out(&self, run: &Run) -> Outcome {
        match &run.planned.deed {
            Deed::Process { pod, action } => self.unless_given_up(run, self.process(run, pod, *action).await),
            Deed::HandOver { from, to, force } => {
                self.unless_given_up(run, self.hand_over(run, from, to.as_deref(), *force).await)
            }
            Deed::Call { pod, task, parameters } => {
                self.unless_given_up(run, self.call(run, pod, task, parameters).await)
            }
            Deed::BackUp { pod } => self.back_up(run, pod).await,
            Deed::Examine => self.examine().await,
            Deed::Fill { pod } => self.fill(run, pod).await,
            Deed::Prove { pod } => self.prove(run, pod).await,
            Deed::Change => self.change().await,
            Deed::ChangeBack => self.change_back().await,
            Deed::Apply(object) => self.apply(object).await,
            Deed::Delete(target) => self.delete(target).await,
            // these are seen, not done
            Deed::Settle | Deed::SettleBack | Deed::Wait(_) => Outcome::Goes("it is waited for".to_owned()),
        }
    }
}
