//! Component: plan its pod sets from its groups, apply them, say how they are.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::caches::Caches;
use super::frame::{Failure, Next, Reconciler};
use super::hooks::{About, Hooks};
use super::said::whole;
use crate::api::conditions::{self, CREATED, ConditionStatus, READY};
use crate::api::instance::DesiredState;
use crate::api::pod_set::PodSetSpec;
use crate::api::{Component, ComponentStatus, PodSet, labels};
use crate::cluster::Key;
use crate::cluster::events::Events;
use crate::cluster::problem::Problem;
use crate::plan::component::{self, Action, Other, Set, Share, Situation, What};

/// When to look again while something is waited for that gives no sign.
const LOOK_AGAIN: Duration = Duration::from_mins(5);

/// What a package does after a group was added, and before one leaves.
const AFTER_JOINING: &str = "postGroupAdd";
const BEFORE_LEAVING: &str = "preGroupRemove";
/// What it does once for a new instance.
const FORMS: &str = "create";

/// Brings pod sets to what components say.
pub struct Components {
    client: Client,
    caches: Arc<Caches>,
    events: Events,
    hooks: Arc<Hooks>,
    said: Mutex<HashMap<Key, ComponentStatus>>,
}

impl Components {
    pub fn new(client: Client, caches: Arc<Caches>, events: Events, hooks: Arc<Hooks>) -> Self {
        Self { client, caches, events, hooks, said: Mutex::default() }
    }

    fn situation<'a>(&self, component: &'a Component) -> Situation<'a> {
        let mine = |set: &PodSet| {
            set.metadata.namespace == component.metadata.namespace
                && set.owner_references().iter().any(|owner| Some(&owner.uid) == component.metadata.uid.as_ref())
        };
        let sets = self.caches.pod_sets.select(mine).into_iter().map(|set| (set.name_any(), seen(&set)));
        let beside = |other: &Component| {
            other.metadata.namespace == component.metadata.namespace
                && other.spec.instance == component.spec.instance
                && other.spec.component != component.spec.component
        };
        let others = self.caches.components.select(beside).into_iter().map(|other| {
            let status = other.status.clone().unwrap_or_default();
            let ready = conditions::find(&status.conditions, READY);
            let stopped = other.spec.state == Some(DesiredState::Stopped);
            let state = Other {
                // where it is stopped it cannot be ready for anybody
                ready: !stopped && ready.is_some_and(|ready| ready.status == ConditionStatus::True),
                after: other.spec.after.iter().map(ToString::to_string).collect(),
                pods: status.replicas.unwrap_or_default(),
                stopped,
            };
            (other.spec.component.to_string(), state)
        });
        let namespace = component.namespace().unwrap_or_default();
        // where the package is not known, leaving waits until it is
        let declared = self.hooks.declared(&about(component, &namespace, ""), BEFORE_LEAVING);
        let moves_shares = declared.map_or(true, |declared| declared.is_some());
        Situation {
            spec: &component.spec,
            sets: sets.collect(),
            others: others.collect(),
            moves_shares,
            forming: self.forming(component, &namespace),
        }
    }

    /// Whether the package has something to do once for the instance, and has not done it yet.
    fn forming(&self, component: &Component, namespace: &str) -> bool {
        let declared = self.hooks.declared(&about(component, namespace, ""), FORMS);
        let formed =
            self.caches.instances.get(&Key::new(namespace, component.spec.instance.as_str())).is_some_and(|it| {
                let conditions = it.status.as_ref().map_or(&[][..], |status| status.conditions.as_slice());
                conditions::find(conditions, CREATED).is_some_and(|created| created.status == ConditionStatus::True)
            });
        !formed && declared.is_ok_and(|declared| declared.is_some())
    }

    /// The components that wait for this one, or this one for them.
    pub fn neighbours(&self, key: &Key) -> Vec<Key> {
        let Some(component) = self.caches.components.get(key) else { return Vec::new() };
        let waits = |one: &Component, two: &Component| one.spec.after.contains(&two.spec.component);
        let beside = |other: &Component| {
            other.metadata.namespace == component.metadata.namespace
                && other.spec.instance == component.spec.instance
                && (waits(other, &component) || waits(&component, other))
        };
        self.caches.components.select(beside).iter().map(|other| Key::of(other.as_ref())).collect()
    }

    async fn carry_out(&self, component: &Component, action: &Action) -> Result<(), String> {
        let api: Api<PodSet> = Api::namespaced(self.client.clone(), &component.namespace().unwrap_or_default());
        let done = match &action.what {
            What::Apply(spec) => {
                let how = PatchParams::apply(labels::MANAGER).force();
                let body = manifest(component, &action.set, spec);
                api.patch(&action.set, &how, &Patch::Apply(&body)).await.map(drop)
            }
            What::Delete { uid } => {
                let preconditions = Some(Preconditions { uid: Some(uid.clone()), resource_version: None });
                let how = DeleteParams { preconditions, ..DeleteParams::background() };
                api.delete(&action.set, &how).await.map(drop)
            }
            What::Join { uid } => {
                self.ask(component, action, AFTER_JOINING, uid).await?;
                mark(&api, &action.set, uid, labels::GROUP_JOINED).await
            }
            What::CountIn { uid } => mark(&api, &action.set, uid, labels::GROUP_JOINED).await,
            What::Depart { uid } => {
                self.ask(component, action, BEFORE_LEAVING, uid).await?;
                mark(&api, &action.set, uid, labels::GROUP_DEPARTED).await
            }
        };
        match done {
            Ok(()) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 && matches!(action.what, What::Delete { .. }) => Ok(()),
            Err(error) => Err(format!("{}: {}", action.set, Problem::from_kube(&error))),
        }
    }

    /// Has the package do what it does when a group comes or goes.
    async fn ask(&self, component: &Component, action: &Action, hook: &str, uid: &str) -> Result<(), String> {
        let namespace = component.namespace().unwrap_or_default();
        let set = self.caches.pod_sets.get(&Key::new(&namespace, &action.set));
        let group = set.map(|set| set.spec.group.to_string()).unwrap_or_default();
        let key = format!("{uid}/{hook}/{}", component.metadata.generation.unwrap_or_default());
        let done = self.hooks.run(&about(component, &namespace, &group), hook, &key).await;
        done.map_err(|problem| format!("{}: {}: {problem}", action.set, action.reason))
    }

    async fn publish(&self, component: &Component, status: ComponentStatus) -> Result<(), Failure> {
        let key = Key::of(component);
        let known = self.said.lock().expect("no panic while it is held").get(&key).cloned();
        if known.or_else(|| component.status.clone()).as_ref() == Some(&status) {
            return Ok(());
        }
        let api: Api<Component> = Api::namespaced(self.client.clone(), &component.namespace().unwrap_or_default());
        match api.patch_status(&component.name_any(), &PatchParams::default(), &whole(&status)?).await {
            Ok(_) => {
                self.said.lock().expect("no panic while it is held").insert(key, status);
                Ok(())
            }
            // it was deleted meanwhile
            Err(kube::Error::Api(error)) if error.code == 404 => Ok(()),
            Err(error) => Err(Failure::new("StatusNotWritten", Problem::from_kube(&error))),
        }
    }
}

impl Reconciler for Components {
    const KIND: &'static str = "Component";

    async fn reconcile(&self, key: &Key) -> Result<Next, Failure> {
        let Some(component) = self.caches.components.get(key) else {
            if let Some(reason) = self.caches.components.unreadable(key) {
                return Err(Failure::new("Unreadable", reason));
            }
            self.said.lock().expect("no panic while it is held").remove(key);
            return Ok(Next::WhenChanged);
        };
        if component.metadata.deletion_timestamp.is_some() {
            self.said.lock().expect("no panic while it is held").remove(key);
            return Ok(Next::WhenChanged);
        }
        let situation = self.situation(&component);
        let plan = component::plan(&situation);
        let mut failures = Vec::new();
        for action in &plan.actions {
            match self.carry_out(&component, action).await {
                Ok(()) => {
                    let word = match action.what {
                        What::Apply(_) => "ApplyPodSet",
                        What::Delete { .. } => "DeletePodSet",
                        What::Join { .. } => "GroupJoined",
                        What::Depart { .. } => "GroupDeparted",
                        What::CountIn { .. } => continue,
                    };
                    let note = format!("{}: {}", action.set, action.reason);
                    self.events.normal(component.as_ref(), word, &format!("{word} {}", action.set), note).await;
                }
                Err(failure) => failures.push(failure),
            }
        }
        let said = self.said.lock().expect("no panic while it is held").get(key).cloned();
        let before = said.or_else(|| component.status.clone()).unwrap_or_default();
        let generation = component.metadata.generation;
        let (failure, now) = (failures.first().map(String::as_str), Time(Timestamp::now()));
        let status = component::status(&situation, &plan, &before, generation, failure, &now);
        self.publish(&component, status).await?;
        match failures.into_iter().next() {
            Some(failure) => Err(Failure::new("NotCarriedOut", failure)),
            None if plan.waits.is_empty() => Ok(Next::WhenChanged),
            None => Ok(Next::After(LOOK_AGAIN)),
        }
    }
}

/// Whom an action of the package is about: a group of this component.
fn about<'a>(component: &'a Component, namespace: &'a str, group: &'a str) -> About<'a> {
    let spec = &component.spec;
    About {
        namespace,
        instance: spec.instance.as_str(),
        component: spec.component.as_str(),
        group,
        pod: None,
        leading: spec.role_order.last().map(crate::names::RoleName::as_str),
    }
}

/// Notes on a pod set what was done about its group.
async fn mark(api: &Api<PodSet>, set: &str, uid: &str, what: &str) -> kube::Result<()> {
    let departed = (what == labels::GROUP_DEPARTED).then_some(uid);
    let mut patch = json!({ "metadata": { "uid": uid, "annotations": { labels::GROUP_DEPARTED: departed } } });
    patch["metadata"]["annotations"][what] = json!(uid);
    api.patch(set, &PatchParams::default(), &Patch::Merge(&patch)).await.map(drop)
}

fn seen(set: &PodSet) -> Set {
    let marked = |what: &str| set.annotations().get(what) == set.metadata.uid.as_ref();
    let status = set.status.clone().unwrap_or_default();
    Set {
        spec: set.spec.clone(),
        current: status.observed_generation.is_some() && status.observed_generation == set.metadata.generation,
        status,
        uid: set.metadata.uid.clone().unwrap_or_default(),
        deleting: set.metadata.deletion_timestamp.is_some(),
        share: match (marked(labels::GROUP_DEPARTED), marked(labels::GROUP_JOINED)) {
            // a group that is named again gets its share again
            (true, _) => Share::GivenAway,
            (false, true) => Share::Has,
            (false, false) => Share::NotYet,
        },
    }
}

fn manifest(component: &Component, name: &str, spec: &PodSetSpec) -> Value {
    let mut all: BTreeMap<String, String> = component.metadata.labels.clone().unwrap_or_default();
    // where a component came from is not where its parts came from
    all.retain(|key, _| key != labels::SOURCE);
    all.insert(labels::MANAGED_BY.to_owned(), labels::MANAGER.to_owned());
    all.insert(labels::INSTANCE.to_owned(), spec.instance.to_string());
    all.insert(labels::COMPONENT.to_owned(), spec.component.to_string());
    all.insert(labels::GROUP.to_owned(), spec.group.to_string());
    json!({
        "apiVersion": crate::api::API_VERSION,
        "kind": "PodSet",
        "metadata": {
            "name": name,
            "namespace": component.metadata.namespace,
            "labels": all,
            "ownerReferences": [{
                "apiVersion": crate::api::API_VERSION,
                "kind": "Component",
                "name": component.name_any(),
                "uid": component.metadata.uid,
                "controller": true,
                "blockOwnerDeletion": true,
            }],
        },
        "spec": spec,
    })
}
