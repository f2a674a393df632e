//! PodSet: look at its pods and volumes, plan the next step, say so, carry it out.

pub mod agents;
mod carry_out;
mod memory;
mod observe;
mod revisions;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::PatchParams;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::sleep;

use super::caches::Caches;
use super::frame::{Failure, Next, Reconciler};
use super::hooks::About;
use super::said::whole;
use super::workloads::Workloads;
use crate::api::{PodSet, PodSetStatus};
use crate::cluster::Key;
use crate::cluster::events::Events;
use crate::cluster::problem::Problem;
use crate::plan::pod_set::{self, Observed, Plan, Template, status};
use agents::{Agents, Hook};
use carry_out::Hands;
use memory::{Memory, Refused, Remembered};

/// When to look again while something is waited for that gives no sign.
const LOOK_AGAIN: Duration = Duration::from_mins(5);
/// When to look again after something was done, should no change be seen.
const AFTER_A_STEP: Duration = Duration::from_secs(30);
/// While something is under way, what changes shows so often: who leads is known within a second.
const SHOWN: Duration = Duration::from_millis(500);
/// How long a pod that ended by itself has to run well until its past is forgotten.
const FORGIVEN: jiff::SignedDuration = jiff::SignedDuration::from_mins(5);

/// Brings pods to what pod sets say.
pub struct PodSets<A> {
    client: Client,
    caches: Arc<Caches>,
    workloads: Arc<Workloads>,
    events: Events,
    agents: A,
    memory: Memory,
}

impl<A: Agents> PodSets<A> {
    pub fn new(client: Client, caches: Arc<Caches>, workloads: Arc<Workloads>, events: Events, agents: A) -> Self {
        Self { client, caches, workloads, events, agents, memory: Memory::default() }
    }
}

impl<A: Agents> Reconciler for PodSets<A> {
    const KIND: &'static str = "PodSet";

    async fn reconcile(&self, key: &Key) -> Result<Next, Failure> {
        let Some(set) = self.caches.pod_sets.get(key) else {
            if let Some(reason) = self.caches.pod_sets.unreadable(key) {
                return Err(Failure::new("Unreadable", reason));
            }
            self.memory.forget(key);
            return Ok(Next::WhenChanged);
        };
        // its pods go with it, by their owner references; its volumes stay
        if set.metadata.deletion_timestamp.is_some() {
            self.memory.forget(key);
            return Ok(Next::WhenChanged);
        }
        let remembered = self.memory.of(key);
        let mut remembered = remembered.lock().await;
        remembered.begin(set.metadata.uid.as_ref());
        self.bring_on(&set, &mut remembered).await
    }
}

impl<A: Agents> PodSets<A> {
    async fn bring_on(&self, set: &PodSet, remembered: &mut Remembered) -> Result<Next, Failure> {
        let name = set.name_any();
        let current = Template::of(&set.spec, &set.spec.template);
        revisions::keep(&self.client, set, remembered, &current).await?;
        let good_before = remembered.said.as_ref().or(set.status.as_ref());
        let good_before = good_before.and_then(|status| status.last_good_revision.clone());
        self.ask_order(set, remembered, &current).await;
        let before = remembered.said.clone().or_else(|| set.status.clone()).unwrap_or_default();
        let namespace = set.namespace().unwrap_or_default();
        let gives_away = self.agents.asks(&about(set, &namespace, None), Hook::PreScaleIn);
        let (seen, live) = observe::observe(&name, set, &before, &self.workloads, gives_away, remembered);
        forgive(&seen, remembered);
        self.tell_of_returns(set, &seen, remembered).await;
        let plan = pod_set::plan(&seen);
        remembered.unwell.clone_from(&plan.unwell);
        if plan.actions.is_empty() {
            remembered.refused = None;
        }
        let generation = set.metadata.generation;
        let refused = remembered.refused.clone().filter(|refused| refused.generation == generation);
        // what has to be remembered is written before it is acted upon
        let report = status::status(&seen, &plan, generation, refused.as_ref().map(Refused::told));
        self.publish(set, remembered, report).await?;
        if plan.actions.is_empty() {
            if plan.record.last_good != good_before {
                let good = plan.record.last_good.as_deref();
                let needed: Vec<&str> = good.into_iter().chain([current.revision.as_str()]).collect();
                revisions::prune(&self.client, set, &needed).await?;
            }
            return Ok(next(&plan, remembered, seen.now));
        }
        let mut templates = vec![current];
        templates.extend(seen.kept.values().map(|kept| Template::of(&set.spec, kept)));
        let hands = Hands {
            client: &self.client,
            events: &self.events,
            agents: &self.agents,
            set,
            live: &live,
            templates: &templates,
            namespace: &namespace,
        };
        let asks = plan.actions.iter().any(|action| action.what.asks_agents());
        let done = {
            let shared = Arc::new(Mutex::new(&mut *remembered));
            let steps = Box::pin(carry_out::carry_out(&hands, &seen, &plan, &shared));
            if asks { self.shown_while(set, Some(&plan), &shared, steps).await } else { steps.await }
        };
        if let Err(failure) = done {
            let since = refused.map_or(seen.now, |refused| refused.since);
            remembered.refused = Some(Refused { generation, why: failure.clone(), since });
            self.show(set, Some(&plan), remembered).await?;
            return Err(Failure::new("NotCarriedOut", failure));
        }
        if remembered.refused.take().is_some() {
            self.show(set, Some(&plan), remembered).await?;
        }
        let wait = match next(&plan, remembered, seen.now) {
            Next::After(wait) => wait.min(AFTER_A_STEP),
            Next::WhenChanged => AFTER_A_STEP,
        };
        Ok(Next::After(wait))
    }

    /// Does something that may wait for an agent, and shows meanwhile what changes: one that hangs hides no other.
    async fn shown_while<T>(
        &self,
        set: &PodSet,
        plan: Option<&Plan>,
        remembered: &Mutex<&mut Remembered>,
        work: impl Future<Output = T>,
    ) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = work.as_mut() => return done,
                () = sleep(SHOWN) => {}
            }
            // it does not go on meanwhile: what it holds it would hold for ever
            let Ok(mut remembered) = remembered.try_lock() else { continue };
            if let Err(error) = self.show(set, plan, &mut remembered).await {
                tracing::debug!(%error, "what changed meanwhile is not shown yet");
            }
        }
    }

    /// Publishes what is there by now: of the plan that is carried out, or of what would be planned.
    async fn show(&self, set: &PodSet, plan: Option<&Plan>, remembered: &mut Remembered) -> Result<(), Failure> {
        // one that was made meanwhile, by the same name, is not told what is of this one
        let there = self.caches.pod_sets.get(&Key::of(set));
        if there.is_none_or(|there| there.metadata.uid != set.metadata.uid) {
            return Ok(());
        }
        let (name, namespace) = (set.name_any(), set.namespace().unwrap_or_default());
        let before = remembered.said.clone().or_else(|| set.status.clone()).unwrap_or_default();
        let gives_away = self.agents.asks(&about(set, &namespace, None), Hook::PreScaleIn);
        let (seen, _) = observe::observe(&name, set, &before, &self.workloads, gives_away, remembered);
        let made = plan.is_none().then(|| pod_set::plan(&seen));
        let Some(plan) = plan.or(made.as_ref()) else { return Ok(()) };
        let generation = set.metadata.generation;
        let refused = remembered.refused.clone();
        let refused = refused.filter(|refused| refused.generation == generation && !plan.actions.is_empty());
        let status = status::status(&seen, plan, generation, refused.as_ref().map(Refused::told));
        self.publish(set, remembered, status).await
    }

    /// Whoever came to follow another pod says how: what it had alone may be gone.
    async fn tell_of_returns(&self, set: &PodSet, seen: &Observed<'_>, remembered: &mut Remembered) {
        remembered.rejoined.retain(|uid, _| seen.pods.values().any(|pod| pod.uid == *uid));
        for (ordinal, pod) in &seen.pods {
            let Some(report) = &pod.report else { continue };
            let (Some(how), Some(at)) = (&report.rejoined, &report.rejoined_at) else { continue };
            let before = remembered.rejoined.insert(pod.uid.clone(), at.clone());
            // what was long before this controller began was told by the one before it
            let old = at.parse().is_ok_and(|at: Timestamp| seen.now.duration_since(at) > FORGIVEN);
            if before.as_ref() != Some(at) && !old {
                let name = seen.pod_name(*ordinal);
                self.events.normal(set, "Rejoined", &format!("Rejoined {name}"), format!("{name}: {how}")).await;
            }
        }
    }

    /// Asks the pods, once for each change, in which order they want to be disturbed.
    async fn ask_order(&self, set: &PodSet, remembered: &mut Remembered, current: &Template) {
        let config = set.spec.template.config_revision.clone().unwrap_or_default();
        let Some(good) = set.status.as_ref().and_then(|status| status.last_good_revision.as_ref()) else { return };
        if !current.has_agent() {
            return;
        }
        let mine = |pod: &Pod| pod.owner_references().iter().any(|owner| Some(&owner.uid) == set.metadata.uid.as_ref());
        let pods = self.workloads.pods.select(mine);
        let restarts =
            |pod: &pod_set::Pod| pod.report.as_ref().is_some_and(|report| !report.pending_restart.is_empty());
        let views: Vec<pod_set::Pod> = pods.iter().map(|pod| pod_set::view::pod(pod)).collect();
        if *good == current.revision && !views.iter().any(restarts) {
            return;
        }
        // whoever leads may be the first, so that another one who does is another question
        let last = set.spec.role_order.last().map(crate::names::RoleName::as_str);
        let leads = views.iter().find(|view| last.is_some() && view.role.as_deref() == last);
        let about = format!("{}/{config}/{}", current.revision, leads.map_or("", |view| view.uid.as_str()));
        if remembered.asked_order.as_ref().is_some_and(|(asked, _)| *asked == about) {
            return;
        }
        // one that has not heard of the configuration yet knows no order for it
        let told = set.spec.template.config_revision.as_deref();
        let ready = || pods.iter().zip(&views).filter(|(_, view)| view.ready());
        let Some((pod, _)) = ready().find(|(_, view)| view.has_heard(told)).or_else(|| ready().next()) else { return };
        let name = set.name_any();
        let asked = {
            let shared = Mutex::new(&mut *remembered);
            self.shown_while(set, None, &shared, Box::pin(self.agents.restart_order(pod))).await
        };
        let order = match asked {
            Ok(order) => order,
            Err(error) => {
                tracing::warn!(%error, "pods could not be asked for their order; it goes by role");
                None
            }
        };
        let ordinals = |names: Vec<String>| {
            names.iter().filter_map(|pod| pod_set::view::ordinal(&name, pod)).collect::<Vec<u16>>()
        };
        remembered.asked_order = Some((about, order.map(ordinals)));
    }

    async fn publish(&self, set: &PodSet, remembered: &mut Remembered, status: PodSetStatus) -> Result<(), Failure> {
        if remembered.said.as_ref() == Some(&status)
            || (remembered.said.is_none() && set.status.as_ref() == Some(&status))
        {
            remembered.said = Some(status);
            return Ok(());
        }
        let api: Api<PodSet> = Api::namespaced(self.client.clone(), &set.namespace().unwrap_or_default());
        match api.patch_status(&set.name_any(), &PatchParams::default(), &whole(&status)?).await {
            Ok(_) => {
                remembered.said = Some(status);
                Ok(())
            }
            // it was deleted meanwhile
            Err(kube::Error::Api(error)) if error.code == 404 => Ok(()),
            Err(error) => Err(Failure::new("StatusNotWritten", Problem::from_kube(&error))),
        }
    }
}

/// The package is asked about a set, or about one of its pods.
fn about<'a>(set: &'a PodSet, namespace: &'a str, pod: Option<&'a str>) -> About<'a> {
    let spec = &set.spec;
    About {
        namespace,
        instance: spec.instance.as_str(),
        component: spec.component.as_str(),
        group: spec.group.as_str(),
        pod,
        leading: spec.role_order.last().map(crate::names::RoleName::as_str),
    }
}

fn owner_reference(set: &PodSet) -> Value {
    json!({
        "apiVersion": crate::api::API_VERSION,
        "kind": "PodSet",
        "name": set.name_any(),
        "uid": set.metadata.uid,
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// Pods that have run well for a while count as new.
fn forgive(seen: &Observed<'_>, remembered: &mut Remembered) {
    remembered.replaced.retain(|ordinal, _| {
        let since = seen.pods.get(ordinal).and_then(|pod| pod.ready_since);
        since.is_none_or(|since| seen.now.duration_since(since) < FORGIVEN)
    });
}

/// When to look again.
fn next(plan: &Plan, remembered: &Remembered, now: Timestamp) -> Next {
    let waited = plan.waits.iter().filter_map(|wait| wait.until).min();
    let waited = waited.map(|until| Duration::try_from(until.duration_since(now)).unwrap_or_default());
    let waited = waited.map(|wait| wait + Duration::from_millis(50));
    let anything = (!plan.waits.is_empty()).then_some(LOOK_AGAIN);
    match waited.into_iter().chain(remembered.next_look()).chain(anything).min() {
        Some(wait) => Next::After(wait),
        None => Next::WhenChanged,
    }
}
