//! Changes of an instance's spec that operations make: a few fields of one place in it, and how they are taken back.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Fields of one place and their values; null takes a field away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub place: Place,
    pub fields: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Place {
    Spec,
    Component { component: String },
    Group { component: String, group: String },
}

impl Change {
    pub fn new(place: Place, fields: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        Self { place, fields: fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect() }
    }

    /// What these fields are now: making this change takes the other back.
    #[must_use]
    pub fn inverse(&self, spec: &Value) -> Self {
        let there = self.place.find(spec);
        let now = |name: &String| there.and_then(|there| there.get(name)).cloned().unwrap_or_default();
        Self { place: self.place.clone(), fields: self.fields.keys().map(|name| (name.clone(), now(name))).collect() }
    }

    /// Whether the spec says so already.
    pub fn shows(&self, spec: &Value) -> bool {
        let there = self.place.find(spec);
        self.fields.iter().all(|(name, value)| {
            let now = there.and_then(|there| there.get(name)).unwrap_or(&Value::Null);
            now == value || (is_empty(now) && is_empty(value))
        })
    }

    /// A merge patch of the instance that makes it, and nothing else, as long as the spec is what it was made from.
    pub fn patch(&self, spec: &Value) -> Value {
        let mut changed = spec.clone();
        let (component, group) = match &self.place {
            Place::Spec => return json!({ "spec": self.fields }),
            Place::Component { component } => (component, None),
            Place::Group { component, group } => (component, Some(group)),
        };
        let mut entry = entry(&mut changed, "components", component);
        if let Some(group) = group {
            entry = self::entry(entry, "groups", group);
        }
        if let Value::Object(entry) = entry {
            for (name, value) in &self.fields {
                if value.is_null() {
                    entry.remove(name);
                } else {
                    entry.insert(name.clone(), value.clone());
                }
            }
        }
        json!({ "spec": { "components": changed["components"] } })
    }

    /// The fields as a person writes them in a file: `spec.components[cache].replicas`.
    pub fn fields_in_words(&self) -> String {
        let place = match &self.place {
            Place::Spec => "spec".to_owned(),
            Place::Component { component } => format!("spec.components[{component}]"),
            Place::Group { component, group } => format!("spec.components[{component}].groups[{group}]"),
        };
        let names: Vec<String> = self.fields.keys().map(|name| format!("{place}.{name}")).collect();
        names.join(" and ")
    }
}

impl Place {
    fn find<'v>(&self, spec: &'v Value) -> Option<&'v Value> {
        let named = |list: &'v Value, name: &str| list.as_array()?.iter().find(|one| one["name"] == name);
        match self {
            Self::Spec => Some(spec),
            Self::Component { component } => named(&spec["components"], component),
            Self::Group { component, group } => named(&named(&spec["components"], component)?["groups"], group),
        }
    }
}

/// The entry of a list that has this name; added where there is none.
fn entry<'v>(parent: &'v mut Value, list: &str, name: &str) -> &'v mut Value {
    if !parent[list].is_array() {
        parent[list] = json!([]);
    }
    let all = parent[list].as_array_mut().expect("it was just made one");
    let at = all.iter().position(|one| one["name"] == name).unwrap_or_else(|| {
        all.push(json!({ "name": name }));
        all.len() - 1
    });
    &mut all[at]
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_touches_its_fields_alone_and_can_be_taken_back() {
        let spec = json!({ "type": "t", "components": [{ "name": "a", "replicas": 3, "env": [1] }, { "name": "b" }] });
        let place = Place::Component { component: "a".to_owned() };
        let change = Change::new(place, [("replicas", json!(5)), ("offline", json!([1]))]);
        assert!(!change.shows(&spec));
        let patch = change.patch(&spec);
        let expected = json!([{ "name": "a", "replicas": 5, "offline": [1], "env": [1] }, { "name": "b" }]);
        assert_eq!(patch, json!({ "spec": { "components": expected } }));
        let changed = json!({ "type": "t", "components": expected });
        assert!(change.shows(&changed));
        let back = change.inverse(&spec);
        assert_eq!(back.patch(&changed), json!({ "spec": { "components": spec["components"] } }));
        assert_eq!(change.fields_in_words(), "spec.components[a].offline and spec.components[a].replicas");
    }

    #[test]
    fn a_component_that_is_not_written_down_yet_is_added() {
        let place = Place::Component { component: "a".to_owned() };
        let change = Change::new(place, [("replicas", json!(5))]);
        let spec = json!({ "type": "t" });
        assert_eq!(change.patch(&spec), json!({ "spec": { "components": [{ "name": "a", "replicas": 5 }] } }));
        let state = Change::new(Place::Spec, [("state", Value::Null)]);
        assert!(state.shows(&spec));
        assert_eq!(state.patch(&spec), json!({ "spec": { "state": null } }));
    }
}
