//! Reload: processes read their configuration again, one after another.

use super::{Kind, never, process_steps, recall_process};
use crate::api::operation::ProcessAction;
use crate::plan::operation::deed::Pace;

pub const KIND: Kind = Kind {
    after_changes: true,
    needs_package: never,
    expand: |world| {
        Ok(process_steps(world, &world.targeted(world.spec().target.as_ref())?, ProcessAction::Reload, Pace::ONE))
    },
    recall: |world, name| recall_process(world, name, Pace::ONE),
    change: None,
};
