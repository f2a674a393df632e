//! What a package does once, when all pods of a new instance run: its `create` actions, asked of the agents.

use std::time::Duration;

use kube::ResourceExt;
use serde_json::Map;

use super::Work;
use super::decide::Going;
use crate::api::conditions::{CREATED, ConditionStatus, Finding, find};
use crate::api::{InstanceStatus, labels};
use crate::extension::context;
use crate::extension::contract::Action;
use crate::extension::resolved::ResolvedComponent;
use crate::extension::template::{self, Engine};
use crate::lifecycle::problem::Code;
use crate::lifecycle::values::Task;

const ACTION: &str = "create";
/// An action without a timeout of its own has this one.
const TIMEOUT: Duration = Duration::from_secs(30);
/// No look waits longer for an answer, since what it saw is shown only at its end, and others wait for theirs. The agent goes
/// on meanwhile, and is asked again by the same key.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether it was done.
pub fn is_done(before: &InstanceStatus) -> bool {
    find(&before.conditions, CREATED).is_some_and(|found| found.status == ConditionStatus::True)
}

impl Work<'_> {
    /// Why it is not done yet, and the condition that it is.
    pub(super) async fn create(&mut self, going: &Going) -> (Option<String>, Option<Finding>) {
        let declared = going.resolved.components.iter().filter_map(|component| {
            let actions = &going.package.component(component.name.as_str())?.actions;
            Some((component.name.to_string(), actions.create.clone()?))
        });
        let declared: Vec<(String, Action)> = declared.collect();
        if is_done(self.before) || declared.is_empty() {
            return (None, None);
        }
        for (component, action) in &declared {
            if let Err(reason) = self.create_component(going, component, action).await {
                return (Some(reason), None);
            }
        }
        let names: Vec<&str> = declared.iter().map(|(component, _)| component.as_str()).collect();
        let message = format!("{} of {} was done", ACTION, crate::extension::problem::listed(names));
        (None, Some(Finding::new(CREATED, ConditionStatus::True, "Done", message)))
    }

    async fn create_component(&mut self, going: &Going, component: &str, action: &Action) -> Result<(), String> {
        let Some(resolved) = going.resolved.component(component).filter(|resolved| asks(going, resolved, action))
        else {
            return Ok(());
        };
        let wanted: usize = resolved.groups.iter().map(|group| usize::from(group.replicas)).sum();
        let pods = self.pods_of(component, action.on.as_deref());
        if let Some(reason) = too_few(component, action.on.as_deref(), pods.len(), wanted) {
            return Err(reason);
        }
        for (pod, host) in pods {
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

/// Whether there is anything to do, as far as that can be told without a pod.
fn asks(going: &Going, component: &ResolvedComponent, action: &Action) -> bool {
    let Some(group) = component.groups.first() else { return true };
    let mut data = context::group(&going.package, &going.resolved, component, group);
    // of these it has placeholders, which are like no value
    if let Some(data) = data.as_object_mut() {
        data.retain(|name, _| !["pod", "secret", "username"].contains(&name.as_str()));
    }
    Engine::new().holds(ACTION, action.when.as_deref(), &template::context(&data)).unwrap_or(true)
}

/// Why fewer pods would do it than it is for: once it is done, nobody does it in their stead.
fn too_few(component: &str, on: Option<&str>, there: usize, wanted: usize) -> Option<String> {
    let reason = match on {
        _ if wanted == 0 => return None,
        None | Some("pod" | "all") if there < wanted => {
            format!("only {there} of {wanted} pods of {component} can be asked to create yet")
        }
        Some("any") if there == 0 => format!("no pod of {component} can be asked to create yet"),
        Some(role) if there == 0 => format!("no pod of {component} has the role {role} yet, whose create is due"),
        _ => return None,
    };
    Some(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_once_waits_for_all_who_are_to_do_it() {
        let said = |on: Option<&str>, there, wanted| too_few("server", on, there, wanted).unwrap_or_default();
        assert_eq!(said(Some("primary"), 0, 3), "no pod of server has the role primary yet, whose create is due");
        assert_eq!(said(Some("any"), 0, 3), "no pod of server can be asked to create yet");
        assert_eq!(said(None, 2, 3), "only 2 of 3 pods of server can be asked to create yet");
        for (on, there) in [(Some("primary"), 1), (Some("any"), 1), (None, 3), (Some("all"), 4)] {
            assert_eq!(said(on, there, 3), "");
        }
        assert_eq!(said(Some("primary"), 0, 0), "", "a component without pods has nobody to do it");
    }
}
