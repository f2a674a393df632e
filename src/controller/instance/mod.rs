//! Instance: observe, decide, gather, render, apply, say so. A refused change leaves what runs as it is.

mod apply;
mod assumed;
mod backups;
mod certificates;
mod create;
mod decide;
mod filling;
mod inputs;
mod kinds;
mod memory;
mod observe;
mod remove;
mod restore;
mod shards;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::agents::Agents;
use super::caches::Caches;
use super::frame::{Failure, Next, Reconciler};
use super::packages::{Packages, UNCHECKED, Uses, used_by};
use super::pushes::Pushes;
use super::queues::Queues;
use super::repositories::coverage::collectors;
use super::repositories::known::Known;
use crate::api::conditions::{ConditionStatus, Finding};
use crate::api::instance::BackupSummary;
use crate::api::{Instance, InstanceStatus, Kind, labels};
use crate::cluster::discovery::OptionalKind;
use crate::cluster::events::Events;
use crate::cluster::{Cache, Key};
use crate::cue::Cue;
use crate::extension::gates::Step;
use crate::extension::problem::Code;
use crate::extension::render::{Inputs, Rendered, object_labels};
use crate::extension::secret::SecretObject;
use crate::extension::{Refusal, Refusals, Resolved, Surroundings, install, naming, render};
use crate::plan::instance::health::{ComponentSeen, Verdict};
use crate::plan::instance::parts::{PartId, Situation, plan};
use crate::plan::instance::versions::between;
use crate::serve::metrics::Metrics;
use apply::{Bill, Done, Hand};
use assumed::Assumptions;
use certificates::Trust;
use decide::{Going, Installed, SoFar, refused};
use inputs::Reader;
use kinds::{Kinds, LeftOut};
use memory::{Memory, Remembered};
use observe::Observed;
use remove::Progress;
use status::{InForce, Report};

/// What waits for something that is not watched looks again after so long.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// What is being waited for within seconds.
const SOON: Duration = Duration::from_secs(2);
/// Secrets and files of users may change without anybody saying so.
const FOREIGN: Duration = Duration::from_mins(5);
/// What is not watched is looked after in such steps.
const UNWATCHED: Duration = Duration::from_mins(11);
/// Rules that could not be checked are tried again so often: it may be the rules that eat what they are given.
const RULES: Duration = Duration::from_mins(1);

/// Brings instances to what they ask for.
pub struct Instances {
    client: Client,
    caches: Arc<Caches>,
    queues: Queues,
    pushes: Arc<Pushes>,
    events: Events,
    metrics: Arc<Metrics>,
    packages: Arc<Packages>,
    uses: Uses,
    cue: Arc<Cue>,
    agents: Arc<Agents>,
    pods: Arc<Cache<Pod>>,
    known: Arc<Known>,
    agent_image: String,
    /// The namespace Midship runs in.
    home: String,
    kinds: Kinds,
    assumptions: Assumptions,
    memory: Memory,
}

impl Instances {
    pub fn new(
        client: Client,
        caches: Arc<Caches>,
        (queues, pushes): (Queues, Arc<Pushes>),
        (events, metrics): (Events, Arc<Metrics>),
        shelf: (Arc<Packages>, Arc<Cue>),
        agents: (Arc<Agents>, Arc<Cache<Pod>>, Arc<Known>),
        place: (String, String),
    ) -> Self {
        let (home, agent_image) = place;
        let (packages, cue) = shelf;
        let (agents, pods, known) = agents;
        let assumptions = Assumptions::of(&caches);
        let kinds = Kinds::new(client.clone());
        Self {
            client,
            caches,
            queues,
            pushes,
            events,
            metrics,
            packages,
            uses: Uses::default(),
            cue,
            agents,
            pods,
            known,
            agent_image,
            home,
            kinds,
            assumptions,
            memory: Memory::default(),
        }
    }
}

impl Reconciler for Instances {
    const KIND: &'static str = "Instance";

    async fn reconcile(&self, key: &Key) -> Result<Next, Failure> {
        let Some(instance) = self.caches.instances.get(key) else {
            if let Some(reason) = self.caches.instances.unreadable(key) {
                return Err(Failure::new("Unreadable", reason));
            }
            self.memory.forget(key);
            let namespace = key.namespace.as_deref().unwrap_or_default();
            self.metrics.volumes.filled(namespace, &key.name, std::iter::empty());
            self.kinds.left_out(key, LeftOut::new());
            self.tell_extensions(key, BTreeSet::new());
            return Ok(Next::WhenChanged);
        };
        self.tell_extensions(key, used_by(&instance));
        let source = instance.labels().get(labels::SOURCE).filter(|_| is_new(&instance));
        if source.is_some_and(|source| self.pushes.waits(source, key)) {
            return Ok(Next::WhenChanged);
        }
        let remembered = self.memory.of(key);
        let mut remembered = remembered.lock().await;
        let before = remembered.said.newest(instance.as_ref(), instance.status.as_ref());
        let work = Work { shared: self, instance: &instance, before: &before, remembered: &mut remembered };
        work.run().await
    }
}

/// Whether nothing was made for it yet.
fn is_new(instance: &Instance) -> bool {
    instance.finalizers().is_empty() && instance.status.is_none()
}

impl Instances {
    fn tell_extensions(&self, key: &Key, now: BTreeSet<String>) {
        for name in self.uses.changed(key, now) {
            self.queues.of(Kind::Extension).add(&Key { namespace: None, name });
        }
    }

    /// Notices kinds that come to be there, for as long as it is polled.
    pub async fn notice_kinds(self: Arc<Self>) {
        self.kinds.notice(self.queues.of(Kind::Instance)).await;
    }
}

/// One look at one instance.
struct Work<'a> {
    shared: &'a Instances,
    instance: &'a Instance,
    before: &'a InstanceStatus,
    remembered: &'a mut Remembered,
}

/// What is said of one look.
struct Said<'a> {
    verdict: &'a Verdict,
    in_force: Option<InForce<'a>>,
    unfinished: Option<String>,
    restoring: Option<String>,
    also: Vec<Finding>,
}

impl<'a> Said<'a> {
    fn of(verdict: &'a Verdict) -> Self {
        Self { verdict, in_force: None, unfinished: None, restoring: None, also: Vec::new() }
    }
}

/// What came of trying to put something in force.
struct Made {
    rendered: Rendered,
    done: Done,
    left_out: LeftOut,
    again: Option<Duration>,
}

impl Work<'_> {
    async fn run(mut self) -> Result<Next, Failure> {
        let name = self.instance.name_any();
        let mut observed = observe::observe(&self.shared.caches, self.instance);
        if self.instance.metadata.deletion_timestamp.is_some() {
            return self.remove(&observed).await;
        }
        let owner = self.instance.uid().unwrap_or_default();
        let lags = self.remembered.overlay(&mut observed.live, &owner);
        let newest: BTreeMap<PartId, u64> =
            self.remembered.applied.iter().map(|(id, kept)| (id.clone(), kept.applied.counter)).collect();
        let components = observed.seen(&newest);
        if self.instance.spec.suspend == Some(true) {
            self.say(Said::of(&Verdict::Suspended), &observed, &components).await?;
            return Ok(Next::WhenChanged);
        }
        self.hold().await?;
        let (replicas, restored) = (observed.chosen_replicas(), restore::is_done(self.before));
        let surroundings = match assumed::surroundings(&self.shared.caches, self.instance, self.before) {
            Ok(assumed) => {
                let policies = self.shared.caches.backup_policies.list();
                let collectors = collectors(policies.iter().map(AsRef::as_ref), self.instance);
                let created = create::is_done(self.before);
                Surroundings { replicas, restored, created, collectors: Some(collectors), ..assumed }
            }
            Err(verdict) => return self.stays(&verdict, &observed, &components).await,
        };
        let spec = &self.instance.spec;
        let extension = Key { namespace: None, name: install::name(&spec.type_, &spec.extension_version) };
        let installed = Installed::of(self.shared.caches.extensions.get(&extension).as_deref());
        let settled = status::settled(&name, self.before, &observed, &components);
        let so_far = SoFar { settled, served: observed.served() };
        let decided = decide::decide(
            self.instance,
            self.before,
            &self.shared.packages,
            installed,
            &surroundings,
            so_far,
            &self.shared.cue,
        );
        let going = match decided.await {
            Ok(going) => going,
            // its package is being read; that wakes it
            Err(None) => return Ok(Next::WhenChanged),
            Err(Some(verdict)) => return self.stays(&verdict, &observed, &components).await,
        };
        if let Some(verdict) = self.misfit(&going).await {
            return self.stays(&verdict, &observed, &components).await;
        }
        self.begin(&going).await?;
        let made = match self.make(&going, &observed).await? {
            Ok(made) => made,
            Err(refusals) => {
                let only = |code: Code| refusals.0.iter().all(|refusal| refusal.code == code);
                let passing = [(Code::Missing, "Missing"), (Code::Unchecked, UNCHECKED)];
                let verdict = match passing.into_iter().find(|(code, _)| only(*code)) {
                    Some((_, reason)) => Verdict::Waits { reason, message: refusals.to_string().replace('\n', "; ") },
                    None => Verdict::Refused(refusals),
                };
                return self.stays(&verdict, &observed, &components).await;
            }
        };
        self.tell(&going, &made.done).await;
        if !made.done.foreign.is_empty() {
            let verdict = Verdict::Refused(foreign(&made.done.foreign));
            return self.stays(&verdict, &observed, &components).await;
        }
        if let Some(failure) = made.done.failed {
            let verdict = Verdict::Waits { reason: "NotApplied", message: failure.message.clone() };
            self.say(Said::of(&verdict), &observed, &components).await?;
            return Err(failure);
        }
        // what was written just now is not what components were seen with
        let newest: BTreeMap<PartId, u64> =
            self.remembered.applied.iter().map(|(id, kept)| (id.clone(), kept.applied.counter)).collect();
        let components = observed.seen(&newest);
        let mut also = warnings(&going, &made.left_out);
        let ready = status::settled(&name, self.before, &observed, &components) && !going.resolved.stopped;
        let (mut unfinished, created) = if ready { self.create(&going).await } else { (None, None) };
        also.extend(created);
        if ready {
            let (waits, proven) = self.prove(&going).await;
            unfinished = unfinished.or(waits);
            also.extend(proven);
        }
        let mut restoring = None;
        if !going.resolved.stopped {
            let (waits, restored) = self.restore(&going).await;
            restoring.clone_from(&waits);
            unfinished = waits.or(unfinished);
            also.extend(restored);
        }
        let in_force = InForce {
            package: &going.package,
            resolved: &going.resolved,
            rendered: &made.rendered,
            runs: going.runs.clone(),
            target: going.target.clone(),
        };
        let waits = unfinished.is_some();
        let said = Said { verdict: &Verdict::InForce, in_force: Some(in_force), unfinished, restoring, also };
        self.say(said, &observed, &components).await?;
        let again = made.again.into_iter().chain((lags || waits).then_some(SOON)).min();
        Ok(again.map_or(Next::WhenChanged, Next::After))
    }

    /// The finalizer, before anything is made.
    async fn hold(&self) -> Result<(), Failure> {
        if self.instance.finalizers().iter().any(|one| one == labels::FINALIZER) {
            return Ok(());
        }
        let mut finalizers = self.instance.finalizers().to_vec();
        finalizers.push(labels::FINALIZER.to_owned());
        let version = &self.instance.metadata.resource_version;
        let patch = json!({ "metadata": { "finalizers": finalizers, "resourceVersion": version } });
        remove::patch(&self.shared.client, self.instance, patch).await
    }

    async fn remove(&mut self, observed: &Observed) -> Result<Next, Failure> {
        match remove::remove(&self.shared.client, self.instance, observed).await? {
            Progress::Gone => Ok(Next::WhenChanged),
            Progress::Waits { message, overdue } => {
                let verdict = Verdict::Deleting { waits: Some(message), overdue };
                let components = observed.seen(&BTreeMap::new());
                self.say(Said::of(&verdict), observed, &components).await?;
                Ok(Next::After(remove::LOOK_AGAIN))
            }
        }
    }

    /// Where an upgrade leads is written down before its first object is.
    async fn begin(&mut self, going: &Going) -> Result<(), Failure> {
        let Some(step) = &going.begins else { return Ok(()) };
        if *step == Step::None {
            return Ok(());
        }
        let mut status = self.before.clone();
        if let Some(resolved) = &mut status.resolved {
            resolved.target = going.target.as_ref().map(|target| crate::api::instance::UpgradeTarget {
                version: Some(target.version.clone()),
                extension_version: Some(target.extension.clone()),
            });
        }
        let api: Api<Instance> =
            Api::namespaced(self.shared.client.clone(), &self.instance.namespace().unwrap_or_default());
        self.remembered.said.say(&api, &self.instance.name_any(), self.before, status).await?;
        let note = match &going.target {
            Some(target) => format!("upgrade {}", between(&going.runs, target)),
            None => format!("back to {} {}", going.runs.extension, going.runs.version),
        };
        self.shared.events.normal(self.instance, "UpgradeBegins", &note, note.clone()).await;
        Ok(())
    }

    /// Gathers, renders and applies.
    async fn make(&mut self, going: &Going, observed: &Observed) -> Result<Result<Made, Refusals>, Failure> {
        let (namespace, name) = (self.instance.namespace().unwrap_or_default(), self.instance.name_any());
        let resolved = &going.resolved;
        let now = Timestamp::now();
        let owner = self.instance.uid().unwrap_or_default();
        let mut reader = Reader::new(&self.shared.client, &self.shared.caches.parts, &namespace, owner);
        let secrets = reader.secrets(self.remembered, &going.package, resolved).await?;
        let user_files = reader.user_files(resolved).await?;
        let trust = certificates::trust(&mut reader, self.remembered, resolved, now).await?;
        let inputs = Inputs {
            agent_image: agent_image(going, observed).unwrap_or_else(|| self.shared.agent_image.clone()),
            secrets,
            user_files,
            ca: trust.ca(),
            controller_namespace: Some(self.shared.home.clone()),
            existing_pods: observed.pods().into_iter().collect(),
        };
        let (package, wanted) = (going.package.clone(), resolved.clone());
        // a package may take its time, and others are not kept waiting by it
        let work = tokio::task::spawn_blocking(move || render(&package, &wanted, &inputs));
        let panicked = |_| Failure::new("Panic", "rendering panicked; this is a defect of Midship, please report it");
        let rendered = match work.await.map_err(panicked)? {
            Ok(rendered) => rendered,
            Err(refusals) => return Ok(Err(refusals)),
        };
        if let Some(with_files) = rendered.with_files.clone() {
            let refusals = refused(going.package.clone(), with_files, self.shared.cue.clone()).await;
            if !refusals.is_empty() {
                return Ok(Err(Refusals(refusals)));
            }
        }
        tracing::debug!(package = going.package.name(), "rendered");
        let mut again = reader.foreign.then_some(FOREIGN);
        let (secret, due) = self.agent_secret(&mut reader, resolved).await?;
        again = Some(again.map_or(due, |again| again.min(due)));
        let mut more = vec![secret];
        if let (Trust::Own(authority), Some(need)) = (&trust, &rendered.certificate) {
            let (secrets, due) = authority.secrets(&mut reader, self.remembered, resolved, need, now).await?;
            more.extend(secrets);
            let wait = due.duration_since(now).unsigned_abs();
            again = Some(again.map_or(wait, |again| again.min(wait)).max(LOOK_AGAIN));
        }
        let served = self.shared.kinds.served().await;
        if resolved.tls.as_ref().is_some_and(|tls| tls.cert_manager.is_some()) {
            let there = served.get(&OptionalKind::Certificate);
            let made = PartId::new(OptionalKind::Certificate.address().0, "Certificate", &naming::tls(&name));
            // one that was made is left as it is while nobody can tell
            let goes_on = there.copied().unwrap_or_else(|| observed.live.contains_key(&made));
            if !goes_on {
                let absent = "cert-manager is not installed in this cluster; install it, or use issuer: builtin";
                let unknown = "nobody can tell whether cert-manager is installed; midship doctor says why";
                let reason = if there.is_some() { absent } else { unknown };
                return Ok(Err(Refusals(vec![Refusal::new("spec.tls.certManager", Code::Missing, reason)])));
            }
        }
        let bill = apply::bill(self.instance, &rendered, &more, &served, &observed.live);
        let left_out: LeftOut = bill.held.values().map(|kind| (*kind, served.get(kind).copied())).collect();
        self.shared.kinds.left_out(&Key::new(&namespace, &name), left_out.clone());
        if bill.wanted.iter().any(|wanted| !observe::is_watched(&wanted.id)) {
            again = Some(again.map_or(UNWATCHED, |again| again.min(UNWATCHED)));
        }
        let done = self.apply(&bill, observed, (&namespace, &name)).await;
        Ok(Ok(Made { rendered, done, left_out, again }))
    }

    /// The certificate of the instance's agents, and how long it can stay.
    async fn agent_secret(
        &mut self,
        reader: &mut Reader<'_>,
        resolved: &Resolved,
    ) -> Result<(SecretObject, Duration), Failure> {
        let (instance, namespace) = (resolved.name.as_str(), resolved.namespace.as_str());
        let held = reader.own(self.remembered, instance, &naming::agent_tls(instance)).await?;
        let held: BTreeMap<String, ByteString> =
            held.iter().map(|(key, value)| (key.clone(), ByteString(value.expose().as_bytes().to_vec()))).collect();
        let made = self.shared.agents.secret(instance, namespace, Some(&held).filter(|held| !held.is_empty())).await;
        let mut made = made.map_err(|error| Failure::new("NoAgentCertificate", error))?;
        made.secret.labels = object_labels(resolved, None);
        self.remembered.expect(&made.secret.name, &made.secret.data);
        let wait = made.look_again.duration_since(Timestamp::now());
        Ok((made.secret, if wait.is_negative() { LOOK_AGAIN } else { wait.unsigned_abs().max(LOOK_AGAIN) }))
    }

    async fn apply(&mut self, bill: &Bill, observed: &Observed, place: (&str, &str)) -> Done {
        let wanted: Vec<(PartId, String)> =
            bill.wanted.iter().map(|wanted| (wanted.id.clone(), wanted.digest.clone())).collect();
        let owner = self.instance.uid().unwrap_or_default();
        let held: BTreeSet<PartId> = bill.held.keys().cloned().collect();
        // once their kind is there again, nobody knows what became of them
        self.remembered.applied.retain(|id, _| !held.contains(id));
        let applied = self.remembered.applied();
        let live = &observed.live;
        let situation = Situation { owner: &owner, wanted: &wanted, held: &held, live, applied: &applied };
        let plan = plan(situation);
        if !plan.is_quiet() {
            tracing::debug!(apply = ?plan.apply, delete = ?plan.delete, foreign = ?plan.foreign, "planned");
        }
        let hand = Hand { client: &self.shared.client, namespace: place.0, instance: place.1 };
        if !plan.foreign.is_empty() {
            return Done { foreign: plan.foreign, ..Done::default() };
        }
        let known = self.before.resolved.is_some();
        hand.carry_out(&plan, bill, known, self.remembered).await
    }

    /// Nothing is changed, and it is said why.
    async fn stays(
        &mut self,
        verdict: &Verdict,
        observed: &Observed,
        components: &[ComponentSeen],
    ) -> Result<Next, Failure> {
        if let Verdict::Refused(refusals) = verdict {
            let text = refusals.to_string().replace('\n', "; ");
            if self.remembered.told.as_ref() != Some(&text) {
                self.shared.events.warning(self.instance, "Refused", "Refuse", text.clone()).await;
                self.remembered.told = Some(text);
            }
        }
        self.say(Said::of(verdict), observed, components).await?;
        Ok(match verdict {
            Verdict::Waits { reason: "Missing" | shards::WAITS, .. } => Next::After(LOOK_AGAIN),
            Verdict::Waits { reason: UNCHECKED, .. } => Next::After(RULES),
            // somebody else's object may be gone by then
            Verdict::Refused(_) => Next::After(FOREIGN),
            _ => Next::WhenChanged,
        })
    }

    /// Events for what was done.
    async fn tell(&mut self, going: &Going, done: &Done) {
        self.remembered.told = None;
        let events = &self.shared.events;
        if !going.changes.is_empty() {
            let shown = |value: &Option<serde_json::Value>| {
                value.as_ref().map_or_else(|| "not set".to_owned(), crate::extension::parameters::plain)
            };
            let list: Vec<String> = going
                .changes
                .iter()
                .map(|change| {
                    let needs = format!("{:?}", change.needs).to_lowercase();
                    let (from, to) = (shown(&change.from), shown(&change.to));
                    format!("{}/{} {}: {from} to {to} ({needs})", change.component, change.group, change.name)
                })
                .collect();
            let generation = self.instance.metadata.generation.unwrap_or_default();
            events.normal(self.instance, "Changed", &format!("Apply generation {generation}"), list.join("; ")).await;
        }
        if !done.repaired.is_empty() {
            let list: Vec<String> = done.repaired.iter().take(10).map(ToString::to_string).collect();
            let note = format!("somebody changed or deleted {}; it is as it was again", list.join(", "));
            events.normal(self.instance, "Repaired", &list.join(", "), note).await;
        }
    }

    async fn say(&mut self, said: Said<'_>, observed: &Observed, components: &[ComponentSeen]) -> Result<(), Failure> {
        let Said { verdict, in_force, unfinished, restoring, mut also } = said;
        let name = self.instance.name_any();
        let now = Time(Timestamp::now());
        // an upgrade that began meanwhile is in what was said
        let before = self.remembered.said.newest(self.instance, Some(self.before));
        let filling = filling::of(self.instance, &observed.pod_sets);
        also.extend(filling::finding(&filling, &before.conditions));
        self.tell_of_filling(&filling, &before).await;
        let report = Report { verdict, in_force, observed, components, unfinished, restoring, also };
        let mut after = status::next(&name, &before, self.instance.metadata.generation, &report, &now);
        if let Some(summary) = backups::summary(self.shared, self.instance) {
            after.backup = (summary != BackupSummary::default()).then_some(summary);
        }
        if before.phase != after.phase
            && let Some(phase) = after.phase
        {
            let ready = after.conditions.first().map(|ready| ready.message.clone()).unwrap_or_default();
            let word = format!("{phase:?}");
            self.shared.events.normal(self.instance, &word, &word, ready).await;
        }
        let api: Api<Instance> =
            Api::namespaced(self.shared.client.clone(), &self.instance.namespace().unwrap_or_default());
        self.remembered.said.say(&api, &name, &before, after).await
    }
}

/// The agent that pods have already: a new one comes with an upgrade or a start, and never by itself.
fn agent_image(going: &Going, observed: &Observed) -> Option<String> {
    if going.target.is_some() || going.begins.is_some() || going.resolved.stopped {
        return None;
    }
    let mut groups = observed.components.iter().flat_map(|component| &component.spec.groups);
    groups.find_map(|group| {
        let spec = group.template.spec.open();
        let init = spec["initContainers"].as_array()?.iter().find(|container| container["name"] == "midship-init")?;
        init["image"].as_str().map(str::to_owned)
    })
}

fn foreign(list: &[(PartId, String)]) -> Refusals {
    let refusals = list.iter().map(|(id, whose)| {
        let reason = format!("{id} exists already and belongs to {whose}; delete or rename it, or rename the instance");
        Refusal::new("metadata.name", Code::Invalid, reason)
    });
    Refusals(refusals.collect())
}

fn warnings(going: &Going, left_out: &LeftOut) -> Vec<Finding> {
    let mut said: Vec<String> = going.doubt.clone().into_iter().chain(going.resolved.warnings.clone()).collect();
    said.extend(kinds::notes(left_out));
    let (status, reason) =
        if said.is_empty() { (ConditionStatus::False, "None") } else { (ConditionStatus::True, "Warnings") };
    let message = if said.is_empty() { "nothing to be warned of".to_owned() } else { said.join("; ") };
    vec![Finding::new("Warnings", status, reason, message)]
}
