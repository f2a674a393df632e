//! Actions that packages declare for moments controllers know of, such as scaling: found in the package that is in force,
//! and asked of the pods the package names for them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::{Map, Value, json};

use super::agents::Agents;
use super::caches::Caches;
use super::packages::Packages;
use crate::api::labels;
use crate::cluster::{Cache, Key};
use crate::extension::contract::Action;
use crate::extension::template::{self, Engine};
use crate::lifecycle::problem::{Code, Problem};
use crate::lifecycle::values::Task;

/// How long one call may take. What was begun goes on; the same key asks for its end.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long a failure counts that nobody tried to mend; agents forget their answers sooner.
const REMEMBERED: Duration = Duration::from_hours(1);

/// Whom an action is about.
pub struct About<'a> {
    pub namespace: &'a str,
    pub instance: &'a str,
    pub component: &'a str,
    pub group: &'a str,
    /// The pod it is about, where it is about one; it may be gone already.
    pub pod: Option<&'a str>,
    /// The role that leads, where roles differ.
    pub leading: Option<&'a str>,
}

pub struct Hooks {
    caches: Arc<Caches>,
    packages: Arc<Packages>,
    pods: Arc<Cache<Pod>>,
    agents: Arc<Agents>,
    /// How often what a key stands for has failed: what ended is begun anew only by another key.
    failed: Mutex<HashMap<String, (Instant, u32)>>,
}

impl Hooks {
    pub fn new(caches: Arc<Caches>, packages: Arc<Packages>, pods: Arc<Cache<Pod>>, agents: Arc<Agents>) -> Self {
        Self { caches, packages, pods, agents, failed: Mutex::default() }
    }

    /// The action as the package in force declares it; nothing where it declares none.
    pub fn declared(&self, about: &About<'_>, action: &str) -> Result<Option<Action>, Problem> {
        let unknown = |what: &str| Problem::new(Code::Unavailable, format!("{} {what}", about.instance));
        let instance = self.caches.instances.get(&Key::new(about.namespace, about.instance));
        let instance = instance.ok_or_else(|| unknown("is not known yet"))?;
        let package = self.packages.in_force(&instance).ok_or_else(|| unknown("has no package that can be used"))?;
        let Some(component) = package.component(about.component) else { return Ok(None) };
        let declared = component.actions.declared().into_iter().find(|(name, _)| *name == action);
        Ok(declared.map(|(_, declared)| declared.clone()))
    }

    /// Whether the package has something to do at this moment, as far as that can be told without a pod; nothing where the
    /// package is not known.
    pub fn asks(&self, about: &About<'_>, action: &str) -> Option<bool> {
        let Some(declared) = self.declared(about, action).ok()? else { return Some(false) };
        if declared.when.is_none() {
            return Some(true);
        }
        let instance = self.caches.instances.get(&Key::new(about.namespace, about.instance))?;
        let resolved = instance.status.as_ref().and_then(|status| status.resolved.as_ref());
        let known = json!({ "topology": resolved.and_then(|resolved| resolved.topology.as_ref()) });
        // what depends on more than the topology is asked where it is known
        Some(Engine::new().holds(action, declared.when.as_deref(), &template::context(&known)).unwrap_or(false))
    }

    /// Has it done, where the package declares it; the same key does it once, unless it failed.
    pub async fn run(&self, about: &About<'_>, action: &str, key: &str) -> Result<(), Problem> {
        let known = || self.failed.lock().expect("no panic while it is held");
        let attempt = known().get(key).map_or(0, |(_, failures)| *failures);
        let done = self.attempt(about, action, &format!("{key}/{attempt}")).await;
        match &done {
            Ok(()) => {
                known().remove(key);
            }
            Err(problem) if under_way(problem.code) => {}
            Err(_) => {
                let mut known = known();
                known.retain(|_, (at, _)| at.elapsed() < REMEMBERED);
                known.insert(key.to_owned(), (Instant::now(), attempt.saturating_add(1)));
            }
        }
        done
    }

    async fn attempt(&self, about: &About<'_>, action: &str, key: &str) -> Result<(), Problem> {
        let Some(declared) = self.declared(about, action)? else { return Ok(()) };
        let of_group = |pod: &Pod| {
            let is = |label: &str, value: &str| pod.labels().get(label).is_some_and(|found| found == value);
            pod.metadata.namespace.as_deref() == Some(about.namespace)
                && is(labels::INSTANCE, about.instance)
                && is(labels::COMPONENT, about.component)
                && is(labels::GROUP, about.group)
                && pod.metadata.deletion_timestamp.is_none()
        };
        let mut pods = self.pods.select(of_group);
        pods.sort_by_key(|pod| pod.name_any());
        let chosen = choose(about, declared.on.as_deref(), &pods);
        if chosen.is_empty() {
            let whom = declared.on.as_deref().unwrap_or("pod");
            let message = format!("nobody can do {action} now: it is for {whom}, and no such pod is ready");
            return Err(Problem::new(Code::Unavailable, message));
        }
        for pod in chosen {
            let mut parameters = Map::new();
            parameters.insert("group".to_owned(), Value::from(about.group));
            if let Some(target) = about.pod {
                parameters.insert("target".to_owned(), Value::from(target));
            }
            let address = pod.status.as_ref().and_then(|status| status.pod_ip.clone()).unwrap_or_default();
            let client = self.agents.client(about.instance, about.namespace, &address).await;
            let client = client.map_err(|error| Problem::new(Code::Unavailable, error.to_string()))?;
            let key = format!("{key}/{}", pod.uid().unwrap_or_default());
            let task = Task::Action(action.to_owned());
            match client.run(&task, parameters, Some(&key), PATIENCE).await {
                Ok(_) => {}
                // its agent does not know the package as it is by now; before something leaves, that is waited for
                Err(problem) if problem.code == Code::NotFound && !action.starts_with("pre") => {}
                Err(problem) => {
                    let message = format!("{action} on {}: {}", pod.name_any(), problem.message);
                    let code = if problem.code == Code::NotFound { Code::Unavailable } else { problem.code };
                    return Err(Problem { code, message, ..problem });
                }
            }
        }
        Ok(())
    }
}

/// Whether what was begun may go on, so that the same key asks for its end.
fn under_way(code: Code) -> bool {
    matches!(code, Code::Timeout | Code::Unavailable | Code::Busy | Code::TooMany)
}

/// The pods that do it: the one it is about, one, all, or those with a role.
fn choose<'p>(about: &About<'_>, on: Option<&str>, pods: &'p [Arc<Pod>]) -> Vec<&'p Arc<Pod>> {
    let has_role = |pod: &Arc<Pod>, role: &str| pod.labels().get(labels::ROLE).is_some_and(|found| found == role);
    let it = |pod: &&Arc<Pod>| about.pod == Some(pod.name_any().as_str());
    let there: Vec<&Arc<Pod>> = pods.iter().filter(|pod| has_address(pod)).collect();
    // whoever leads knows most; one that leaves or has just come knows least
    let best = || {
        let rank = |pod: &&&Arc<Pod>| {
            let leads = about.leading.is_some_and(|role| has_role(pod, role));
            (is_ready(pod), !it(pod), leads, std::cmp::Reverse(pod.name_any()))
        };
        there.iter().max_by_key(rank).copied().into_iter().collect()
    };
    match on {
        None | Some("pod") => {
            let own: Vec<&Arc<Pod>> = there.iter().copied().filter(|pod| it(pod)).collect();
            if own.is_empty() { best() } else { own }
        }
        Some("any") => best(),
        Some("all") => there,
        Some(role) => there.into_iter().filter(|pod| has_role(pod, role)).collect(),
    }
}

fn has_address(pod: &Pod) -> bool {
    pod.status.as_ref().is_some_and(|status| status.pod_ip.is_some())
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_done_by_whom_the_package_names() {
        let pod = |name: &str, role: &str, ready: &str| {
            let pod = json!({
                "metadata": { "name": name, "labels": { "midship.dev/role": role } },
                "status": { "podIP": "10.0.0.1", "conditions": [{ "type": "Ready", "status": ready }] },
            });
            Arc::new(serde_json::from_value::<Pod>(pod).expect("a pod"))
        };
        let pods = [pod("p-0", "replica", "True"), pod("p-1", "primary", "True"), pod("p-2", "replica", "False")];
        let who = |on: Option<&str>, about: Option<&str>| {
            let about = About {
                namespace: "shop",
                instance: "cache",
                component: "store",
                group: "default",
                pod: about,
                leading: Some("primary"),
            };
            choose(&about, on, &pods).iter().map(|pod| pod.name_any()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(who(None, Some("p-2")), "p-2");
        assert_eq!(who(None, Some("p-3")), "p-1", "it has left");
        assert_eq!(who(Some("primary"), Some("p-2")), "p-1");
        assert_eq!(who(Some("any"), Some("p-1")), "p-0");
        assert_eq!(who(Some("all"), None), "p-0 p-1 p-2");
        assert_eq!(who(Some("arbiter"), None), "");
    }
}
