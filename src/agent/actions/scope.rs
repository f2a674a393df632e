//! What templates and expressions of steps can read: the package's context with real values, and what steps saved.

use std::collections::BTreeMap;
use std::sync::Arc;

use minijinja::Value as Variable;
use serde_json::{Map, Value, json};

use super::Extras;
use crate::agent::facts::PodFacts;
use crate::agent::secrets::Secrets;
use crate::extension::budget::Budget;
use crate::extension::template::{self, Engine, TemplateError};

/// Variables of one run. Copies share what they have in common.
#[derive(Clone)]
pub struct Scope {
    engine: Arc<Engine>,
    variables: BTreeMap<String, Variable>,
}

impl Scope {
    /// What every step can read: each name the documentation lists is there, if only as nothing.
    pub fn base(engine: Arc<Engine>, context: &Value, facts: &PodFacts, secrets: &Secrets) -> Self {
        let mut scope = Self { engine, variables: BTreeMap::new() };
        let nothing = json!({ "request": {}, "changed": [], "primary": null, "target": null, "members": [],
            "role": "", "is_primary": false, "old": null, "anew": 0, "created": false, "reply": null });
        let filled = secrets.fill(context, facts).unwrap_or_default();
        for (name, value) in nothing.as_object().into_iter().chain(filled.as_object()).flatten() {
            scope.set(name, value);
        }
        scope.set("pod", &facts.value());
        scope
    }

    #[must_use]
    pub fn with(mut self, extras: &Extras) -> Self {
        for (name, value) in extras {
            self.set(name, value);
        }
        self
    }

    /// With all of another one, which says what counts.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.variables.extend(other.variables.clone());
        self
    }

    pub fn set(&mut self, name: &str, value: &Value) {
        self.variables.insert(name.to_owned(), template::context(value));
    }

    /// What a step that is not done would have saved: nothing, unless an earlier one saved it.
    pub fn leave_empty<'a>(&mut self, names: impl Iterator<Item = &'a String>) {
        for name in names {
            self.variables.entry(name.clone()).or_insert_with(|| template::context(&Value::Null));
        }
    }

    pub fn text(&self, name: &str, source: &str) -> Result<String, TemplateError> {
        self.engine.text(name, source, &self.all(), &Budget::default())
    }

    pub fn value(&self, name: &str, source: &str) -> Result<Value, TemplateError> {
        self.engine.expression(name, source, &self.all())
    }

    pub fn holds(&self, name: &str, source: Option<&str>) -> Result<bool, TemplateError> {
        match source {
            None => Ok(true),
            Some(_) => self.engine.holds(name, source, &self.all()),
        }
    }

    /// Every text within a value, rendered.
    pub fn texts(&self, name: &str, value: &Value) -> Result<Value, TemplateError> {
        Ok(match value {
            Value::String(source) => Value::String(self.text(name, source)?),
            Value::Array(list) => {
                Value::Array(list.iter().map(|item| self.texts(name, item)).collect::<Result<_, _>>()?)
            }
            Value::Object(map) => Value::Object(
                map.iter()
                    .map(|(key, value)| Ok((key.clone(), self.texts(name, value)?)))
                    .collect::<Result<Map<_, _>, TemplateError>>()?,
            ),
            other => other.clone(),
        })
    }

    fn all(&self) -> Variable {
        Variable::from(self.variables.clone())
    }
}
