//! `VolumeExpand`: larger volumes for a component.

use serde_json::{Map, Value, json};

use super::{Kind, MakeChange, expand_change, known_component, never, recall_change};
use crate::plan::operation::change::{Change, Place};

const SIZES: MakeChange = |spec, instance| {
    let asked = spec.volume_expand.as_ref().ok_or("spec.volumeExpand is missing")?;
    let components = instance["components"].as_array();
    let component = components.into_iter().flatten().find(|one| one["name"] == asked.component.as_str());
    let mut storage: Map<String, Value> =
        component.and_then(|component| component["storage"].as_object()).cloned().unwrap_or_default();
    for (volume, size) in &asked.sizes {
        let volume = storage.entry(volume.clone()).or_insert_with(|| json!({}));
        volume["size"] = json!(size);
    }
    let place = Place::Component { component: asked.component.to_string() };
    Ok(Change::new(place, [("storage", Value::Object(storage))]))
};

pub const KIND: Kind = Kind {
    after_changes: false,
    needs_package: never,
    expand: |world| {
        let asked = world.spec().volume_expand.as_ref().ok_or("spec.volumeExpand is missing")?;
        known_component(world, asked.component.as_str())?;
        expand_change(world, SIZES)
    },
    recall: recall_change,
    change: Some(SIZES),
};
