//! Stop and Start: the state in the instance's spec, which is the one thing that says whether it runs.

use serde_json::{Value, json};

use super::{Kind, MakeChange, expand_change, never, recall_change};
use crate::plan::operation::change::{Change, Place};

const STOPPED: MakeChange = |_, _| Ok(Change::new(Place::Spec, [("state", json!("Stopped"))]));

/// A state that is not said is Running.
const RUNNING: MakeChange = |_, spec| {
    let said = if spec["state"] == "Running" { json!("Running") } else { Value::Null };
    Ok(Change::new(Place::Spec, [("state", said)]))
};

pub const STOP: Kind = Kind {
    after_changes: false,
    needs_package: never,
    expand: |world| expand_change(world, STOPPED),
    recall: recall_change,
    change: Some(STOPPED),
};

pub const START: Kind = Kind {
    after_changes: false,
    needs_package: never,
    expand: |world| expand_change(world, RUNNING),
    recall: recall_change,
    change: Some(RUNNING),
};
