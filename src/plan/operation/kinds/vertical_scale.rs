//! `VerticalScale`: other CPU and memory for a component.

use serde_json::json;

use super::{Kind, MakeChange, expand_change, known_component, never, recall_change};
use crate::plan::operation::change::{Change, Place};

const RESOURCES: MakeChange = |spec, _| {
    let asked = spec.vertical_scale.as_ref().ok_or("spec.verticalScale is missing")?;
    let place = Place::Component { component: asked.component.to_string() };
    Ok(Change::new(place, [("resources", json!(asked.resources))]))
};

pub const KIND: Kind = Kind {
    after_changes: false,
    needs_package: never,
    expand: |world| {
        let asked = world.spec().vertical_scale.as_ref().ok_or("spec.verticalScale is missing")?;
        known_component(world, asked.component.as_str())?;
        expand_change(world, RESOURCES)
    },
    recall: recall_change,
    change: Some(RESOURCES),
};
