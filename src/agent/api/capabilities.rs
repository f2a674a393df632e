//! What an agent offers, from what its package declares.

use std::time::Duration;

use crate::extension::agent::AgentConfig;
use crate::extension::contract::Action;
use crate::extension::contract::step::Step;
use crate::lifecycle::{Capabilities, Capability};

/// Where the package names no time.
const ACTION: Duration = Duration::from_secs(30);
const OPERATION: Duration = Duration::from_mins(5);
/// Between two attempts, and for the way to the answer.
const PAUSE: Duration = Duration::from_secs(1);
/// A step for each item of a list is given time for so many, since the list is not known before.
const ITEMS: u32 = 32;
/// Actions that run actions; the linter refuses circles.
const DEPTH: usize = 8;
/// Nothing runs for longer.
const LONGEST: Duration = Duration::from_hours(24);

/// What the API says of this configuration.
pub fn capabilities(config: &AgentConfig) -> Capabilities {
    let capability = |name: &str, description: &Option<String>, time: Duration| Capability {
        name: name.to_owned(),
        description: description.clone(),
        timeout_millis: u64::try_from((time.min(LONGEST) + PAUSE).as_millis()).unwrap_or(u64::MAX),
    };
    let actions = config.actions.declared().into_iter();
    let operations = config.operations.iter();
    Capabilities {
        actions: actions
            .map(|(name, action)| capability(name, &action.description, of_action(config, action, 0)))
            .collect(),
        operations: operations
            .map(|(name, operation)| {
                let time =
                    operation.timeout.map_or_else(|| of_steps(config, &operation.steps, OPERATION, 0), |time| time.0);
                capability(name, &operation.description, time)
            })
            .collect(),
        switchover: config.failover,
        roles: config.roles.iter().map(|role| role.name.to_string()).collect(),
        agent: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// All attempts together: a call must not end before the action would.
fn of_action(config: &AgentConfig, action: &Action, depth: usize) -> Duration {
    let once = action.timeout.map_or_else(|| of_steps(config, &action.steps, ACTION, depth), |time| time.0);
    let attempts = action.retries.unwrap_or(0).saturating_add(1);
    once.saturating_add(PAUSE).saturating_mul(attempts).min(LONGEST)
}

/// Steps of nobody's time have `otherwise` together; those with a time of their own have that besides.
fn of_steps(config: &AgentConfig, steps: &[Step], otherwise: Duration, depth: usize) -> Duration {
    let own = |step: &Step| {
        let nested = || {
            let action = config.action(step.run.as_ref()?)?;
            (depth < DEPTH).then(|| of_action(config, action, depth + 1))
        };
        let once = step.timeout.map(|time| time.0).or_else(nested).unwrap_or_default();
        once.saturating_mul(if step.for_each.is_some() { ITEMS } else { 1 })
    };
    steps.iter().map(own).fold(otherwise, Duration::saturating_add).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn seconds(actions: Value, name: &str) -> u64 {
        let config = json!({
            "instance": "cache", "namespace": "shop", "component": "server", "group": "default", "port": 7440, "ports": {},
            "tls": false, "login": false, "failover": true, "roles": ["replica", { "name": "primary", "exclusive": true }],
            "actions": actions, "operations": { "compact": { "description": "Saves room.", "steps": [] } }, "context": {},
        });
        let told = capabilities(&serde_json::from_value(config).unwrap());
        assert_eq!(told.roles, ["replica", "primary"]);
        assert!(told.switchover && told.operations[0].timeout_millis == 301_000);
        assert_eq!(told.operations[0].description.as_deref(), Some("Saves room."));
        told.actions.iter().find(|action| action.name == name).unwrap().timeout_millis / 1000
    }

    #[test]
    fn an_action_may_be_called_for_as_long_as_its_package_gives_it() {
        let step = json!({ "exec": ["true"] });
        assert_eq!(seconds(json!({ "reload": { "steps": [step] } }), "reload"), 30 + 2);
        assert_eq!(seconds(json!({ "reload": { "timeout": "5s", "steps": [step] } }), "reload"), 5 + 2);
        assert_eq!(
            seconds(json!({ "reload": { "timeout": "5s", "retries": 2, "steps": [step] } }), "reload"),
            3 * 6 + 1
        );
        let long = json!({ "exec": ["true"], "timeout": "10m" });
        assert_eq!(seconds(json!({ "reload": { "steps": [step, long] } }), "reload"), 630 + 2);
        let nested =
            json!({ "reload": { "steps": [{ "run": "freeze" }] }, "freeze": { "timeout": "1m", "steps": [step] } });
        assert_eq!(seconds(nested, "reload"), 30 + 61 + 2);
        let circle = json!({ "reload": { "steps": [{ "run": "reload" }] } });
        assert!(seconds(circle, "reload") < 600, "a circle is refused elsewhere and harms nobody here");
    }
}
