//! What a package does once, when all pods of a new instance run: its `create` actions, asked of the agents.

use std::time::Duration;

use kube::ResourceExt;
use serde_json::Map;

use super::Work;
use super::decide::Going;
use crate::api::conditions::{CREATED, ConditionStatus, Finding, find};
use crate::api::labels;
use crate::extension::contract::Action;
use crate::lifecycle::problem::Code;
use crate::lifecycle::values::Task;

const ACTION: &str = "create";
/// An action without a timeout of its own has this one.
const TIMEOUT: Duration = Duration::from_secs(30);
/// No reconcile waits longer for an answer; the agent goes on meanwhile, and is asked again.
const PATIENCE: Duration = Duration::from_mins(1);

impl Work<'_> {
    /// Why it is not done yet, and the condition that it is.
    pub(super) async fn create(&mut self, going: &Going) -> (Option<String>, Option<Finding>) {
        let done = find(&self.before.conditions, CREATED).is_some_and(|found| found.status == ConditionStatus::True);
        let declared = going.resolved.components.iter().filter_map(|component| {
            let actions = &going.package.component(component.name.as_str())?.actions;
            Some((component.name.to_string(), actions.create.clone()?))
        });
        let declared: Vec<(String, Action)> = declared.collect();
        if done || declared.is_empty() {
            return (None, None);
        }
        for (component, action) in &declared {
            if let Err(reason) = self.create_component(component, action).await {
                return (Some(reason), None);
            }
        }
        let names: Vec<&str> = declared.iter().map(|(component, _)| component.as_str()).collect();
        let message = format!("{} of {} was done", ACTION, crate::extension::problem::listed(names));
        (None, Some(Finding::new(CREATED, ConditionStatus::True, "Done", message)))
    }

    async fn create_component(&mut self, component: &str, action: &Action) -> Result<(), String> {
        for (pod, host) in self.pods_of(component, action.on.as_deref()) {
            let attempt = self.remembered.attempts.get(&pod).copied().unwrap_or(0);
            let key = format!("create-{}-{attempt}", self.instance.uid().unwrap_or_default());
            let (name, namespace) = (self.instance.name_any(), self.instance.namespace().unwrap_or_default());
            let client = self.shared.agents.client(&name, &namespace, &host).await;
            let client = client.map_err(|error| format!("{pod} cannot be asked to create: {error}"))?;
            let within = action.timeout.map_or(TIMEOUT, |timeout| timeout.0).min(PATIENCE);
            let task = Task::Action(ACTION.to_owned());
            if let Err(problem) = client.run(&task, Map::new(), Some(&key), within).await {
                // what was tried and failed is tried anew; what is under way is asked for again
                if problem.code == Code::Failed {
                    self.remembered.attempts.insert(pod.clone(), attempt + 1);
                }
                return Err(format!("the action create of {pod} did not succeed yet: {}", problem.message));
            }
        }
        Ok(())
    }

    /// The pods that do it, each with its address: one, all, or those with a role.
    fn pods_of(&self, component: &str, on: Option<&str>) -> Vec<(String, String)> {
        let (name, namespace) = (self.instance.name_any(), self.instance.namespace());
        let pods = self.shared.pods.select(|pod| {
            let labels = pod.labels();
            pod.metadata.namespace == namespace
                && labels.get(labels::INSTANCE) == Some(&name)
                && labels.get(labels::COMPONENT).is_some_and(|of| of == component)
                && match on {
                    None | Some("pod" | "all" | "any") => true,
                    Some(role) => labels.get(labels::ROLE).is_some_and(|found| found == role),
                }
        });
        let mut pods: Vec<(String, String)> =
            pods.iter().filter_map(|pod| Some((pod.name_any(), pod.status.as_ref()?.pod_ip.clone()?))).collect();
        pods.sort();
        if on == Some("any") {
            pods.truncate(1);
        }
        pods
    }
}
