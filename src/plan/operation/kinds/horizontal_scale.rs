//! `HorizontalScale`: another number of pods, and which ordinals leave.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Kind, MakeChange, expand_change, known_component, never, recall_change};
use crate::api::operation::HorizontalScale;
use crate::extension::naming::DEFAULT_GROUP;
use crate::extension::problem::unknown;
use crate::plan::operation::change::{Change, Place};
use crate::plan::operation::deed::Planned;
use crate::plan::operation::world::World;

const REPLICAS: MakeChange = |spec, instance| {
    let asked = spec.horizontal_scale.as_ref().ok_or("spec.horizontalScale is missing")?;
    let components = instance["components"].as_array();
    let component = components.into_iter().flatten().find(|one| one["name"] == asked.component.as_str());
    let groups: Vec<&Value> =
        component.and_then(|component| component["groups"].as_array()).into_iter().flatten().collect();
    let group = asked.group.as_ref().map_or(DEFAULT_GROUP, |group| group.as_str());
    let (place, there) = if groups.is_empty() && group == DEFAULT_GROUP {
        (Place::Component { component: asked.component.to_string() }, component)
    } else {
        let names = groups.iter().filter_map(|group| group["name"].as_str());
        let there = groups.iter().find(|one| one["name"] == group);
        let there = there.ok_or_else(|| unknown("group", group, names))?;
        (Place::Group { component: asked.component.to_string(), group: group.to_owned() }, Some(*there))
    };
    let before = there.and_then(|there| there["offline"].as_array()).into_iter().flatten();
    let mut offline: BTreeSet<u64> = before.filter_map(Value::as_u64).collect();
    offline.extend(asked.offline.iter().map(|ordinal| u64::from(ordinal.get())));
    Ok(Change::new(place, [("replicas", json!(asked.replicas)), ("offline", json!(offline))]))
};

pub const KIND: Kind =
    Kind { after_changes: false, needs_package: never, expand, recall: recall_change, change: Some(REPLICAS) };

fn expand(world: &World<'_>) -> Result<Vec<Planned>, String> {
    let asked = world.spec().horizontal_scale.as_ref().ok_or("spec.horizontalScale is missing")?;
    known_component(world, asked.component.as_str())?;
    there_are(world, asked)?;
    expand_change(world, REPLICAS)
}

/// An ordinal that is not there cannot leave, and then nothing is done at all.
fn there_are(world: &World<'_>, asked: &HorizontalScale) -> Result<(), String> {
    let group = asked.group.as_ref().map_or(DEFAULT_GROUP, |group| group.as_str());
    let here = |pod: &&super::Pod| pod.component == asked.component.as_str() && pod.group == group;
    let known: BTreeSet<u16> = world.pods.iter().filter(here).map(|pod| pod.ordinal).collect();
    let known_words: Vec<String> = known.iter().map(ToString::to_string).collect();
    match asked.offline.iter().find(|ordinal| !known.contains(&ordinal.get())) {
        None => Ok(()),
        Some(missing) => {
            let wrong = unknown("ordinal", &missing.to_string(), known_words.iter().map(String::as_str));
            Err(format!("{wrong}; nothing is done"))
        }
    }
}
