//! What a pod knows of itself: templates name these facts, files and steps have them filled in.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::extension::agent::AgentConfig;
use crate::extension::naming;
use crate::extension::placeholders;

/// Variables through which the pod's containers are told; see the pod's rendering.
const POD: &str = "MIDSHIP_POD";
const POD_IP: &str = "MIDSHIP_POD_IP";
const NODE: &str = "MIDSHIP_NODE";
const ZONE: &str = "MIDSHIP_ZONE";
const ORDINAL: &str = "MIDSHIP_ORDINAL";

/// Facts about a pod, by the names that templates use. One that is not known is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodFacts(BTreeMap<&'static str, String>);

impl PodFacts {
    /// As the container's environment and the configuration say.
    pub fn from_environment(config: &AgentConfig) -> Self {
        Self::new(config, |name| std::env::var(name).ok())
    }

    pub fn new(config: &AgentConfig, variable: impl Fn(&str) -> Option<String>) -> Self {
        let known = |name| variable(name).filter(|value| !value.is_empty());
        let mut facts = BTreeMap::new();
        let mut put = |name, value: Option<String>| {
            if let Some(value) = value {
                facts.insert(name, value);
            }
        };
        let ordinal = known(ORDINAL).or_else(|| {
            let (_, last) = known(POD)?.rsplit_once('-').map(|(front, last)| (front.to_owned(), last.to_owned()))?;
            last.parse::<u16>().ok().map(|number| number.to_string())
        });
        let host = ordinal.as_ref().and_then(|ordinal| ordinal.parse().ok()).map(|ordinal: u16| {
            let (instance, component) = (config.instance.as_str(), config.component.as_str());
            naming::host(instance, component, config.group.as_str(), ordinal, config.namespace.as_str())
        });
        put("name", known(POD));
        put("ip", known(POD_IP));
        put("node", known(NODE));
        put("zone", known(ZONE));
        put("group", Some(config.group.to_string()));
        put("ordinal", ordinal);
        put("host", host);
        Self(facts)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// As steps read them: the ordinal is a number there, and what is not known is empty.
    pub fn value(&self) -> Value {
        let facts = placeholders::POD.iter().map(|name| {
            let text = self.get(name).unwrap_or_default();
            let number = (*name == "ordinal").then(|| text.parse::<u16>().ok()).flatten();
            ((*name).to_owned(), number.map_or_else(|| Value::from(text), Value::from))
        });
        Value::Object(facts.collect::<Map<_, _>>())
    }
}
