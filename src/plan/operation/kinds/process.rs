//! Process: chosen processes are started, stopped, restarted or reloaded, some at a time. It does not wait for a change that
//! is under way: it is what helps when one hangs.

use super::{Kind, never, process_steps, recall_process};
use crate::api::operation::OperationSpec;
use crate::plan::operation::deed::Pace;

pub const KIND: Kind = Kind {
    after_changes: false,
    needs_package: never,
    expand: |world| {
        let spec = world.spec();
        let batch = spec.process.as_ref().ok_or("spec.process is missing")?;
        Ok(process_steps(world, &world.targeted(spec.target.as_ref())?, batch.action, pace(spec)))
    },
    recall: |world, name| recall_process(world, name, pace(world.spec())),
    change: None,
};

fn pace(spec: &OperationSpec) -> Pace {
    spec.process.as_ref().map_or(Pace::ONE, |batch| Pace::of(batch.concurrency, batch.interval))
}
