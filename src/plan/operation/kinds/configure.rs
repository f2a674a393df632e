//! Configure: other parameters for a component. What is invalid is refused by the instance, and nothing of it reaches a pod.

use serde_json::{Map, Value};

use super::{Kind, MakeChange, expand_change, known_component, never, recall_change};
use crate::plan::operation::change::{Change, Place};

const PARAMETERS: MakeChange = |spec, instance| {
    let asked = spec.configure.as_ref().ok_or("spec.configure is missing")?;
    let components = instance["components"].as_array();
    let component = components.into_iter().flatten().find(|one| one["name"] == asked.component.as_str());
    let mut parameters: Map<String, Value> =
        component.and_then(|component| component["parameters"].as_object()).cloned().unwrap_or_default();
    for (name, value) in asked.parameters.iter().flatten() {
        if value.is_null() {
            parameters.remove(name);
        } else {
            parameters.insert(name.clone(), value.clone());
        }
    }
    let value = if parameters.is_empty() { Value::Null } else { Value::Object(parameters) };
    let place = Place::Component { component: asked.component.to_string() };
    Ok(Change::new(place, [("parameters", value)]))
};

pub const KIND: Kind = Kind {
    after_changes: false,
    needs_package: never,
    expand: |world| {
        let asked = world.spec().configure.as_ref().ok_or("spec.configure is missing")?;
        known_component(world, asked.component.as_str())?;
        if asked.revision.is_some() {
            return Err("configure.revision is not carried out by this version: give the parameters themselves; \
                        `midship history` shows what they were"
                .to_owned());
        }
        if asked.dry_run == Some(true) {
            return Err(
                "configure.dryRun is not carried out by this version: `midship diff` checks a changed file".to_owned()
            );
        }
        expand_change(world, PARAMETERS)
    },
    recall: recall_change,
    change: Some(PARAMETERS),
};
