//! BackupPolicy: begins a backup whenever it is somebody's turn, has logs archived, and says how the policy fares. How long
//! backups are kept and how they are proven, the repository's controller carries out.

mod drills;
mod logs;
mod status;
mod tried;
mod turns;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::agents::Agents;
use super::caches::Caches;
use super::frame::{Failure, Next, Reconciler};
use super::kept::Kept;
use super::packages::{Packages, used_by};
use super::repositories::coverage::{Coverage, signed};
use super::repositories::known::{Known, Look};
use super::said::Said;
use crate::api::backup_policy::Schedule;
use crate::api::operation::{OperationPhase, OperationType};
use crate::api::pod_report::PodReport;
use crate::api::{API_VERSION, BackupPolicy, BackupPolicyStatus, Instance, Operation, labels};
use crate::backup::manifest::Level;
use crate::backup::read::Found;
use crate::cluster::events::Events;
use crate::cluster::problem::Problem;
use crate::cluster::{Cache, Key};
use crate::extension::methods::is_detached;
use crate::names::RoleName;
use crate::plan::drill::Results;
use crate::plan::schedule::{Waiting, admit};
use crate::serve::metrics::Metrics;
use status::{Made, Seen, Works};
use turns::{Asker, Due, Handled, Schedules, Turn, is_as_asked, recalled, told};

/// The schedule it was begun by.
pub const SCHEDULE: &str = "midship.dev/backup-schedule";
/// When it was scheduled for.
pub const TURN: &str = "midship.dev/backup-turn";

/// Backups of one repository at the same time, where nobody says.
const AT_ONCE: usize = 2;
/// A policy is looked at this often at least: what is under way ends, and clocks are set.
const LOOK_AGAIN: Duration = Duration::from_mins(1);
/// While backups run, or wait for each other.
const WHILE_BUSY: Duration = Duration::from_secs(10);
/// While logs are archived.
const WITH_LOGS: Duration = Duration::from_secs(30);

/// What policies need of the other rooms.
pub struct Around {
    pub caches: Arc<Caches>,
    pub pods: Arc<Cache<Pod>>,
    pub agents: Arc<Agents>,
    pub packages: Arc<Packages>,
    pub known: Arc<Known>,
    pub metrics: Arc<Metrics>,
}

/// Keeps policies.
pub struct BackupPolicies {
    client: Client,
    events: Events,
    around: Around,
    memory: Mutex<HashMap<Key, Memory>>,
}

/// What is kept between reconciles; all of it can be lost.
#[derive(Default)]
struct Memory {
    said: Said<BackupPolicyStatus>,
    /// Turns that were begun or passed; Operations that are gone are not begun again.
    handled: Handled,
    /// Turns that came in time and wait for a place.
    waiting: Handled,
    /// Whether those that the status tells of were taken up.
    recalls: bool,
    problem: Option<String>,
    /// How drills ended, by the UID of the instance that was backed up.
    drills: Results,
    /// Whether what the status says of drills was taken up.
    remembers: bool,
    /// Since when nothing is known of the store.
    blind: Option<Timestamp>,
    /// Instances that metrics were told of.
    measured: Vec<(String, String)>,
}

impl BackupPolicies {
    pub fn new(client: Client, events: Events, around: Around) -> Self {
        Self { client, events, around, memory: Mutex::default() }
    }

    fn memory(&self) -> MutexGuard<'_, HashMap<Key, Memory>> {
        self.memory.lock().expect("no panic while it is held")
    }
}

impl Reconciler for BackupPolicies {
    const KIND: &'static str = "BackupPolicy";

    async fn reconcile(&self, key: &Key) -> Result<Next, Failure> {
        let policy = self.around.caches.backup_policies.get(key);
        let Some(policy) = policy.filter(|policy| policy.metadata.deletion_timestamp.is_none()) else {
            if let Some(reason) = self.around.caches.backup_policies.unreadable(key) {
                return Err(Failure::new("Unreadable", reason));
            }
            let memory = self.memory().remove(key).unwrap_or_default();
            self.around.metrics.backups.forget(&memory.measured);
            return Ok(Next::WhenChanged);
        };
        let mut memory = Kept::of(&self.memory, key);
        self.bring_on(&policy, &mut memory).await
    }
}

/// A policy that can be followed.
struct Ground<'a> {
    policy: &'a BackupPolicy,
    schedules: Schedules,
    instances: Vec<Arc<Instance>>,
    operations: Vec<Arc<Operation>>,
    repository: Key,
    look: Option<Look>,
}

impl BackupPolicies {
    async fn bring_on(&self, policy: &BackupPolicy, memory: &mut Memory) -> Result<Next, Failure> {
        let ground = match self.ground(policy) {
            Ok(ground) => ground,
            Err(seen) => {
                if let Seen::Unusable { reason, message, .. } = &seen
                    && memory.problem.replace(message.clone()).as_ref() != Some(message)
                {
                    self.events.warning(policy, reason, "plan", message.clone()).await;
                }
                self.say(policy, memory, &seen).await?;
                self.give_up_drills(policy, Timestamp::now()).await?;
                return Ok(Next::After(LOOK_AGAIN));
            }
        };
        memory.problem = None;
        let now = Timestamp::now();
        let kept = policy.status.as_ref().map_or(&[][..], |status| status.waiting.as_slice());
        // what was begun of it, and whose Operation is gone, the repository tells
        if !memory.recalls && ground.look.is_some() {
            memory.waiting = recalled(kept);
            memory.recalls = true;
        }
        let due = due(&ground, memory, now)?;
        let suspended = policy.spec.suspend.unwrap_or_default();
        let waiting = if suspended { 0 } else { self.begin(&ground, &due, memory).await? };
        let logs = self.archive(&ground).await;
        let troubled = !logs.is_empty();
        self.windows(&ground).await;
        let drills = self.drill(&ground, memory, now).await;
        let works = Works {
            instances: ground.instances.len(),
            suspended,
            operations: ground.operations.iter().map(|operation| made(operation)).collect(),
            newest: newest(&ground).map(|found| found.manifest.completed_at).max(),
            oldest_proof: oldest_proof(&ground),
            alert: policy.spec.verification.as_ref().and_then(|verification| verification.alert).map(signed),
            next: due.next.clone().filter(|_| !suspended && !ground.instances.is_empty()),
            logs,
            drilled: policy.spec.verification.as_ref().is_some_and(|wanted| wanted.restore.is_some()),
            restorable: drills.said,
            failed_drills: drills.failed,
            waiting: if memory.recalls { told(&memory.waiting, &memory.handled) } else { kept.to_vec() },
        };
        self.measure(&ground, memory);
        self.say(policy, memory, &Seen::Works(Box::new(works))).await?;
        let busy = troubled
            || drills.busy
            || waiting > 0
            || ground.look.is_none()
            || ground.operations.iter().any(|operation| is_open(operation));
        let archives = policy.spec.logs.as_ref().is_some_and(|logs| logs.enabled);
        let most = if busy {
            WHILE_BUSY
        } else if archives {
            WITH_LOGS
        } else {
            LOOK_AGAIN
        };
        let next = due.next.map(|(at, _)| at).into_iter().chain(drills.next).min();
        let next = next.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
        Ok(Next::After(next.map_or(most, |next| (next + Duration::from_secs(1)).min(most))))
    }

    fn ground<'a>(&self, policy: &'a BackupPolicy) -> Result<Ground<'a>, Seen> {
        let unusable = |reason, message: String, passing| Seen::Unusable { reason, message, passing };
        let schedules = Schedules::of(&policy.spec.schedules)
            .map_err(|(name, error)| unusable("InvalidSchedule", format!("schedule {name}: {error}"), false))?;
        let coverage = Coverage::of(policy).map_err(|error| unusable("InvalidSelector", error.to_string(), false))?;
        let repository = Key { namespace: policy.namespace(), name: policy.spec.repository.to_string() };
        if self.around.caches.backup_repositories.get(&repository).is_none() {
            let message = format!("there is no BackupRepository {repository}; make it, or name another one");
            return Err(unusable("RepositoryMissing", message, true));
        }
        let look = self.around.known.look(&repository);
        if look.as_ref().is_some_and(|look| look.opened.key.is_none()) {
            let message = format!("BackupRepository {repository} is only read; backups cannot be made into it");
            return Err(unusable("RepositoryReadOnly", message, false));
        }
        let mut instances = self.around.caches.instances.select(|instance| coverage.covers(instance));
        instances.sort_by_key(|instance| instance.name_any());
        let uid = policy.uid().unwrap_or_default();
        let operations = self.around.caches.operations.select(|operation| {
            operation.namespace() == policy.namespace() && operation.labels().get(labels::BACKUP_POLICY) == Some(&uid)
        });
        Ok(Ground { policy, schedules, instances, operations, repository, look })
    }

    /// Begins those whose turn it is; how many have to wait.
    async fn begin(&self, ground: &Ground<'_>, due: &Due, memory: &mut Memory) -> Result<usize, Failure> {
        for (instance, schedule, count) in &due.missed {
            let note = format!("{count} backups of {instance} by schedule {schedule} were missed and are left out");
            self.events.warning(ground.policy, "Missed", schedule, note).await;
        }
        memory.handled.extend(due.passed.clone());
        let limits = self.around.caches.backup_repositories.get(&ground.repository);
        let limits = limits.and_then(|repository| repository.spec.limits.as_ref()?.concurrency);
        let at_once = limits.and_then(|number| usize::try_from(number).ok()).unwrap_or(AT_ONCE);
        let running: Vec<String> =
            self.running(ground).iter().map(|operation| operation.spec.instance.to_string()).collect();
        let waiting: Vec<Waiting> = due
            .turns
            .iter()
            .map(|turn| Waiting { instance: turn.instance.clone(), due_at: turn.last, by_hand: false })
            .collect();
        let admitted = admit(&waiting, &running, at_once);
        let turns = due.turns.iter().zip(&waiting);
        let begun: Vec<&Turn> = turns
            .filter(|(_, waiting)| admitted.iter().any(|one| std::ptr::eq(*one, *waiting)))
            .map(|(turn, _)| turn)
            .collect();
        memory.waiting = due.turns.iter().map(|turn| ((turn.uid.clone(), turn.name.clone()), turn.at)).collect();
        for turn in &begun {
            self.create(ground, turn).await?;
            memory.handled.insert((turn.uid.clone(), turn.name.clone()), turn.at);
        }
        Ok(due.turns.len() - begun.len())
    }

    /// Backups into the same repository that did not end yet, whoever asked for them.
    fn running(&self, ground: &Ground<'_>) -> Vec<Arc<Operation>> {
        self.around.caches.operations.select(|operation| {
            let into = operation.spec.backup.as_ref().and_then(|backup| backup.repository.as_ref());
            operation.spec.type_ == OperationType::Backup
                && operation.namespace() == ground.policy.namespace()
                && into.is_none_or(|into| into.as_str() == ground.repository.name)
                && is_open(operation)
        })
    }

    async fn create(&self, ground: &Ground<'_>, turn: &Turn) -> Result<(), Failure> {
        let policy = ground.policy;
        let schedule = &policy.spec.schedules[turn.schedule];
        let uid = policy.uid().unwrap_or_default();
        let name = turn.operation(&uid);
        let instance = ground.instances.iter().find(|instance| instance.uid().as_ref() == Some(&turn.uid));
        let role = instance.and_then(|instance| self.preferred(policy, instance));
        let object = json!({
            "apiVersion": API_VERSION,
            "kind": "Operation",
            "metadata": {
                "name": name,
                "labels": { labels::MANAGED_BY: labels::MANAGER, labels::INSTANCE: turn.instance, labels::BACKUP_POLICY: uid,
                    SCHEDULE: turn.name },
                "annotations": { TURN: turn.at.to_string() },
                "ownerReferences": [{ "apiVersion": API_VERSION, "kind": "BackupPolicy", "name": policy.name_any(),
                    "uid": uid, "controller": true }],
            },
            "spec": {
                "instance": turn.instance,
                "type": "Backup",
                "backup": { "repository": policy.spec.repository, "method": policy.spec.method,
                    "type": schedule.type_, "labels": schedule.labels },
                "timeout": policy.spec.timeout,
                "target": role.map(|role| json!({ "role": role })),
            },
        });
        let operation: Operation =
            serde_json::from_value(without_nulls(object)).map_err(|error| Failure::new("NotWritten", error))?;
        let api: Api<Operation> = Api::namespaced(self.client.clone(), &policy.namespace().unwrap_or_default());
        let how = PostParams { field_manager: Some(labels::MANAGER.to_owned()), ..PostParams::default() };
        match api.create(&how, &operation).await {
            Ok(_) => {
                let note = format!("a backup of {} begins by schedule {}: Operation {name}", turn.instance, turn.name);
                self.events.normal(policy, "BackupBegun", &turn.name, note).await;
                Ok(())
            }
            // it was begun before a crash
            Err(kube::Error::Api(error)) if error.code == 409 => Ok(()),
            Err(error) => Err(Failure::new("NotWritten", Problem::from_kube(&error).at(format!("Operation {name}")))),
        }
    }

    /// The role backups are to be taken from, where a pod has it that is ready and has the newest data.
    fn preferred<'a>(&self, policy: &'a BackupPolicy, instance: &Instance) -> Option<&'a RoleName> {
        let role = policy.spec.prefer.as_ref()?;
        let (name, packages) = (instance.name_any(), used_by(instance));
        let package = packages.iter().find_map(|used| self.around.packages.ready(used));
        let detached = |pod: &Pod, report: &PodReport| {
            let component = pod.labels().get(labels::COMPONENT).map_or("", String::as_str);
            let follows = report.follows.is_some();
            package.as_ref().is_some_and(|it| is_detached(it, component, Some(role.as_str()), follows))
        };
        let has_it = self.around.pods.select(|pod| {
            pod.namespace() == policy.namespace()
                && pod.labels().get(labels::INSTANCE).is_some_and(|of| *of == name)
                && pod.labels().get(labels::ROLE).is_some_and(|found| found == role.as_str())
                && PodReport::of(pod.metadata.annotations.as_ref())
                    .is_some_and(|report| report.ready && !detached(pod, &report))
        });
        (!has_it.is_empty()).then_some(role)
    }

    fn measure(&self, ground: &Ground<'_>, memory: &mut Memory) {
        let metrics = &self.around.metrics.backups;
        let namespace = ground.policy.namespace().unwrap_or_default();
        let failures = self.failures(&namespace);
        let policies = self.around.caches.backup_policies.list();
        let mut measured = Vec::new();
        for instance in &ground.instances {
            let (name, uid) = (instance.name_any(), instance.uid().unwrap_or_default());
            metrics.covered(&namespace, &name);
            if let Some(at) = ground.look.as_ref().and_then(|look| drills::last(look, &uid)) {
                metrics.restored(&namespace, &name, at);
            }
            let covers = |policy: &&Arc<BackupPolicy>| {
                policy.metadata.deletion_timestamp.is_none()
                    && Coverage::of(policy).is_ok_and(|coverage| coverage.covers(instance))
            };
            let since =
                policies.iter().filter(covers).filter_map(|policy| drills::wanted_since(policy, instance)).min();
            metrics.drilled(&namespace, &name, since);
            let newest =
                ground.look.as_ref().and_then(|look| Some(self.of_all(look, instance, newest_of(look, &uid)?)));
            if let Some(manifest) = newest.map(|found| &found.manifest) {
                let took = manifest.completed_at.duration_since(manifest.started_at);
                metrics.newest(&namespace, &name, manifest.completed_at, manifest.chunks.stored_bytes, took);
            }
            if let Some(at) = failures.get(&name) {
                metrics.failed(&namespace, &name, *at);
            }
            measured.push((namespace.clone(), name));
        }
        let gone: Vec<(String, String)> =
            memory.measured.iter().filter(|one| !measured.contains(one)).cloned().collect();
        metrics.forget(&gone);
        memory.measured = measured;
    }

    /// Where each group of pods has a part of the data, the newest backup of the group whose newest is the oldest: that is how
    /// old the data would be.
    fn of_all<'a>(&self, look: &'a Look, instance: &Instance, newest: &'a Found) -> &'a Found {
        let packages = used_by(instance);
        let package = packages.iter().find_map(|used| self.around.packages.ready(used));
        let each = package.is_some_and(|package| {
            let methods = package.manifest.backup.as_ref().map(|backup| &backup.methods);
            methods.and_then(|methods| methods.get(&newest.manifest.method)).is_some_and(|method| method.each_group)
        });
        if !each {
            return newest;
        }
        // half a set is no backup, however new it is
        if let Ok(set) = look.catalog.newest_set(&newest.place.owner, Timestamp::MAX)
            && let Some((_, oldest)) = set.parts.into_iter().min_by_key(|(_, part)| part.manifest.completed_at)
        {
            return oldest;
        }
        let (name, namespace) = (instance.name_any(), instance.namespace());
        let there = self.around.pods.select(|pod| {
            pod.namespace() == namespace && pod.labels().get(labels::INSTANCE).is_some_and(|of| *of == name)
        });
        // groups that are gone count no more
        let lives = |group: &str| there.iter().any(|pod| pod.labels().get(labels::GROUP).is_some_and(|of| of == group));
        let parts = look.catalog.parts(newest).into_iter().filter(|(group, _)| lives(group));
        parts.map(|(_, found)| found).min_by_key(|found| found.manifest.completed_at).unwrap_or(newest)
    }

    /// When a backup of each instance last failed, whoever asked for it.
    fn failures(&self, namespace: &str) -> BTreeMap<String, Timestamp> {
        let failed = self.around.caches.operations.select(|operation| {
            operation.spec.type_ == OperationType::Backup
                && operation.namespace().as_deref() == Some(namespace)
                && operation.status.as_ref().and_then(|status| status.phase) == Some(OperationPhase::Failed)
        });
        let mut newest = BTreeMap::new();
        for operation in failed {
            let ended = operation.status.as_ref().and_then(|status| status.finished_at.as_ref());
            if let Some(at) = ended.and_then(|ended| ended.parse::<Timestamp>().ok()) {
                let known = newest.entry(operation.spec.instance.to_string()).or_insert(at);
                *known = at.max(*known);
            }
        }
        newest
    }

    async fn say(&self, policy: &BackupPolicy, memory: &mut Memory, seen: &Seen) -> Result<(), Failure> {
        let before = memory.said.newest(policy, policy.status.as_ref());
        let after = status::next(&before, policy.metadata.generation, seen, &Time(Timestamp::now()));
        let api: Api<BackupPolicy> = Api::namespaced(self.client.clone(), &policy.namespace().unwrap_or_default());
        memory.said.say(&api, &policy.name_any(), &before, after).await
    }
}

/// Whose turn it is, after what was begun before.
fn due(ground: &Ground<'_>, memory: &mut Memory, now: Timestamp) -> Result<Due, Failure> {
    let created = |time: Option<Time>| time.map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let since = created(ground.policy.metadata.creation_timestamp.clone());
    let askers: Vec<Asker> = ground
        .instances
        .iter()
        .map(|instance| Asker {
            name: instance.name_any(),
            uid: instance.uid().unwrap_or_default(),
            since: since.max(created(instance.metadata.creation_timestamp.clone())),
        })
        .collect();
    let uids: BTreeMap<&str, &str> = askers.iter().map(|asker| (asker.name.as_str(), asker.uid.as_str())).collect();
    for operation in &ground.operations {
        let turn = operation.annotations().get(TURN).and_then(|text| text.parse::<Timestamp>().ok());
        let schedule = operation.labels().get(SCHEDULE);
        let uid = uids.get(operation.spec.instance.as_str());
        if let (Some(turn), Some(schedule), Some(uid)) = (turn, schedule, uid) {
            let handled = memory.handled.entry(((*uid).to_owned(), schedule.clone())).or_insert(turn);
            *handled = turn.max(*handled);
        }
    }
    memory.handled.retain(|(uid, _), _| askers.iter().any(|asker| asker.uid == *uid));
    // of turns whose Operations are gone, the repository tells
    for asker in &askers {
        for schedule in &ground.policy.spec.schedules {
            let key = (asker.uid.clone(), schedule.name.to_string());
            if let Entry::Vacant(entry) = memory.handled.entry(key)
                && let Some(begun) = ground.look.as_ref().and_then(|look| begun_for(look, &asker.uid, schedule))
            {
                entry.insert(begun);
            }
        }
    }
    let due = ground.schedules.due(&askers, &memory.handled, &memory.waiting, now);
    let mut due = due.map_err(|error| Failure::new("InvalidSchedule", error))?;
    if ground.look.is_none() {
        // nobody knows yet
        due.missed.clear();
        due.passed.clear();
    }
    Ok(due)
}

/// When the newest backup was begun that is what a schedule asks for.
fn begun_for(look: &Look, uid: &str, schedule: &Schedule) -> Option<Timestamp> {
    let own = look.catalog.found.iter().filter(|found| found.place.owner.instance.as_str() == uid);
    let manifests = own.map(|found| &found.manifest);
    let as_asked = manifests.filter(|manifest| is_as_asked(schedule, manifest.type_, &manifest.labels));
    as_asked.map(|manifest| manifest.started_at).max()
}

/// The newest sound backup of each instance; half a set is none, nor is what adds to one that is damaged.
fn newest<'a>(ground: &'a Ground<'_>) -> impl Iterator<Item = &'a Found> {
    ground.instances.iter().filter_map(|instance| newest_of(ground.look.as_ref()?, &instance.uid()?))
}

fn newest_of<'a>(look: &'a Look, uid: &str) -> Option<&'a Found> {
    let of_instance = look.catalog.found.iter().filter(|found| found.place.owner.instance.as_str() == uid);
    let mut sound: Vec<&Found> = of_instance.filter(|found| found.damage().is_none()).collect();
    sound.sort_by_key(|found| found.manifest.completed_at);
    sound.into_iter().rev().find(|found| look.catalog.is_restorable(found))
}

/// The instance whose newest proven backup is the oldest.
fn oldest_proof(ground: &Ground<'_>) -> Option<(String, Option<Timestamp>)> {
    let look = ground.look.as_ref()?;
    let proof = |instance: &Arc<Instance>| {
        let uid = instance.uid().unwrap_or_default();
        let own = look.catalog.found.iter().filter(|found| found.place.owner.instance.as_str() == uid);
        let mut proven: Vec<&Found> = own.filter(|found| is_proven(found)).collect();
        proven.sort_by_key(|found| found.manifest.completed_at);
        // a set is proven as well as its part that is proven least
        let all = |found: &Found| {
            let set = look.catalog.set_of(found);
            set.is_none_or(|set| set.parts.iter().all(|(_, part)| is_proven(part)))
        };
        let newest = proven.into_iter().rev().find(|&found| look.catalog.is_restorable(found) && all(found));
        (instance.name_any(), newest.map(|found| found.manifest.completed_at))
    };
    ground.instances.iter().map(proof).min_by_key(|(_, proven)| *proven)
}

fn is_proven(found: &Found) -> bool {
    found.damage().is_none() && found.proof().0 > Level::Committed
}

fn is_open(operation: &Operation) -> bool {
    let phase = operation.status.as_ref().and_then(|status| status.phase);
    !matches!(phase, Some(OperationPhase::Succeeded | OperationPhase::Failed | OperationPhase::Cancelled))
}

fn made(operation: &Operation) -> Made {
    let status = operation.status.clone().unwrap_or_default();
    Made {
        name: operation.name_any(),
        instance: operation.spec.instance.to_string(),
        phase: status.phase,
        ended_at: status.finished_at.and_then(|text| text.parse().ok()),
        message: status.message.unwrap_or_default(),
    }
}

fn without_nulls(mut value: serde_json::Value) -> serde_json::Value {
    match &mut value {
        serde_json::Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            for value in map.values_mut() {
                *value = without_nulls(value.take());
            }
        }
        serde_json::Value::Array(all) => all.iter_mut().for_each(|value| *value = without_nulls(value.take())),
        _ => {}
    }
    value
}
