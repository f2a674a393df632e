//! BackupRepository: open or make the repository in the store, look through it, show what it holds as Backups, prove it,
//! and remove what nothing keeps.

mod apply;
pub mod chores;
pub mod mirror;
mod status;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Api, Client, ResourceExt};
use tokio_util::task::AbortOnDropHandle;

use super::caches::Caches;
use super::frame::{Failure, Next, Reconciler};
use super::kept::Kept;
use super::repositories::coverage::{Coverage, add, rules, signed};
use super::repositories::known::{Known, Look};
use super::repositories::open::{ADD_SIGNER, Described, OpenError, open};
use super::said::Said;
use crate::api::backup_repository::Access;
use crate::api::values::Duration as Length;
use crate::api::{BackupPolicy, BackupRepository, BackupRepositoryStatus, Instance, labels};
use crate::backup::read::Catalog;
use crate::cluster::Key;
use crate::cluster::events::Events;
use crate::names::{InstanceName, NamespaceName, ObjectName};
use crate::plan::retention::Rules;
use crate::plan::schedule::Schedule;
use apply::Mirror;
use chores::{ChoreError, Chores, Report};
use mirror::Called;
use status::Seen;

/// Asks for a new epoch: any value that was not given before.
pub const NEW_EPOCH: &str = "midship.dev/new-epoch";

/// How often a store is looked through where nobody says.
const LIST_INTERVAL: Length = Length(Duration::from_hours(24));
/// When a store that cannot be used is tried again. Secrets of other people are not watched.
const TRY_AGAIN: Duration = Duration::from_secs(10);
const TRY_AGAIN_AT_MOST: Duration = Duration::from_mins(1);
/// Chores are looked at this often, so that a change of rules or a due verification is not left until the next listing.
const CHORES_INTERVAL: Duration = Duration::from_hours(1);

/// Looks after repositories.
pub struct BackupRepositories {
    client: Client,
    caches: Arc<Caches>,
    events: Events,
    known: Arc<Known>,
    /// Where file systems are mounted.
    folders: PathBuf,
    memory: Mutex<HashMap<Key, Memory>>,
}

/// What is kept between reconciles; all of it can be lost.
#[derive(Default)]
struct Memory {
    said: Said<BackupRepositoryStatus>,
    /// What the last look was of: spec and wishes.
    looked_for: Option<(Option<i64>, Wishes)>,
    failures: u32,
    problem: Option<&'static str>,
    chores: Option<AbortOnDropHandle<()>>,
    /// When they were begun last, and for which rules.
    chores_begun: Option<(Timestamp, BTreeMap<String, Rules>)>,
    done: Arc<Mutex<Option<Result<Report, String>>>>,
    /// What the last of them that went well found.
    found: Report,
}

/// What people ask for by annotation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Wishes {
    look: Option<String>,
    new_epoch: Option<String>,
    add_signer: Option<String>,
}

impl Wishes {
    fn of(repository: &BackupRepository) -> Self {
        let said = |annotation: &str| repository.annotations().get(annotation).cloned();
        Self { look: said(labels::RECONCILE_AT), new_epoch: said(NEW_EPOCH), add_signer: said(ADD_SIGNER) }
    }
}

impl BackupRepositories {
    pub fn new(client: Client, caches: Arc<Caches>, events: Events, known: Arc<Known>, folders: PathBuf) -> Self {
        Self { client, caches, events, known, folders, memory: Mutex::default() }
    }

    fn memory(&self) -> MutexGuard<'_, HashMap<Key, Memory>> {
        self.memory.lock().expect("no panic while it is held")
    }
}

impl Reconciler for BackupRepositories {
    const KIND: &'static str = "BackupRepository";

    async fn reconcile(&self, key: &Key) -> Result<Next, Failure> {
        let Some(repository) = self.caches.backup_repositories.get(key) else {
            if let Some(reason) = self.caches.backup_repositories.unreadable(key) {
                return Err(Failure::new("Unreadable", reason));
            }
            self.memory().remove(key);
            self.known.forget(key);
            return Ok(Next::WhenChanged);
        };
        // its Backups go with it, by their owner references; the store stays as it is
        if repository.metadata.deletion_timestamp.is_some() {
            return Ok(Next::WhenChanged);
        }
        let mut memory = Kept::of(&self.memory, key);
        self.bring_on(key, &repository, &mut memory).await
    }
}

impl BackupRepositories {
    async fn bring_on(&self, key: &Key, repository: &BackupRepository, memory: &mut Memory) -> Result<Next, Failure> {
        let wishes = Wishes::of(repository);
        let asked_for = (repository.metadata.generation, wishes.clone());
        let every = repository.spec.list_interval.unwrap_or(LIST_INTERVAL);
        let due = |look: &Look| Timestamp::now().duration_since(look.at) >= signed(every);
        let fresh = memory.looked_for.as_ref() == Some(&asked_for) && !self.known.is_stale(key);
        let changes = self.known.changes(key);
        let look = match self.known.look(key).filter(|look| fresh && !due(look)) {
            Some(look) => look,
            None => match self.look(repository, &wishes, memory).await {
                Ok(look) => {
                    memory.looked_for = Some(asked_for);
                    memory.failures = 0;
                    self.known.put(key, look.clone(), changes);
                    self.tell_instances(key, &look);
                    look
                }
                Err(error) => return self.unusable(repository, memory, &error).await,
            },
        };
        self.tend(key, repository, &look, memory).await?;
        let report = memory.done.lock().expect("no panic while it is held").clone();
        self.mirror(repository, &look.catalog, report.as_ref()).await?;
        let seen = Seen::Usable { opened: &look.opened, catalog: &look.catalog, chores: report.as_ref() };
        self.say(repository, memory, &seen).await?;
        let left = signed(every) - Timestamp::now().duration_since(look.at);
        let left = Duration::try_from(left).unwrap_or_default().max(Duration::from_secs(1));
        Ok(Next::After(left.min(CHORES_INTERVAL)))
    }

    fn tell_instances(&self, key: &Key, look: &Look) {
        let owners: BTreeSet<&str> = look.catalog.found.iter().map(|one| one.place.owner.instance.as_str()).collect();
        let backed_up = |instance: &Instance| {
            instance.namespace() == key.namespace && instance.uid().is_some_and(|uid| owners.contains(uid.as_str()))
        };
        self.known.tell_instances(self.caches.instances.select(backed_up).iter().map(|one| Key::of(one.as_ref())));
    }

    /// Opens the repository and reads what is in it.
    async fn look(
        &self,
        repository: &BackupRepository,
        wishes: &Wishes,
        memory: &mut Memory,
    ) -> Result<Look, OpenError> {
        let (namespace, name) = (repository.namespace().unwrap_or_default(), repository.name_any());
        let described = Described {
            namespace: &namespace,
            name: &name,
            spec: &repository.spec,
            new_epoch: wishes.new_epoch.as_deref(),
            add_signer: wishes.add_signer.as_deref(),
        };
        let at = Timestamp::now();
        let opened = open(&self.client, &described, &self.folders).await?;
        for (reason, note) in &opened.news {
            tracing::info!(reason, "{note}");
            self.events.normal(repository, reason, opened.repository.uuid().as_str(), note.clone()).await;
        }
        let catalog = Catalog::read(&opened.repository).await?;
        if memory.problem.take().is_some() {
            self.events.normal(repository, "Available", "look", "the store can be used again".to_owned()).await;
        }
        Ok(Look { opened: Arc::new(opened), catalog: Arc::new(catalog), at })
    }

    async fn unusable(
        &self,
        repository: &BackupRepository,
        memory: &mut Memory,
        error: &OpenError,
    ) -> Result<Next, Failure> {
        let (reason, message) = (error.reason(), error.to_string());
        if memory.problem.replace(reason) != Some(reason) {
            memory.failures = 0;
            tracing::warn!(reason, "{message}");
            self.events.warning(repository, reason, "look", message.clone()).await;
        }
        let seen = Seen::Unusable { reason, message, passing: error.passing() };
        self.say(repository, memory, &seen).await?;
        let wait = TRY_AGAIN.saturating_mul(2u32.saturating_pow(memory.failures)).min(TRY_AGAIN_AT_MOST);
        memory.failures = memory.failures.saturating_add(1);
        Ok(Next::After(wait))
    }

    /// Begins chores where they are due, and takes up what came of them.
    async fn tend(
        &self,
        key: &Key,
        repository: &BackupRepository,
        look: &Look,
        memory: &mut Memory,
    ) -> Result<(), Failure> {
        let Some(signing) = look.opened.key.clone() else { return Ok(()) };
        if memory.chores.as_ref().is_some_and(|running| !running.is_finished()) {
            return Ok(());
        }
        if memory.chores.take().is_some() {
            self.tell_chores(repository, memory).await;
        }
        let (rules, reads) = self.wanted(look);
        let again = |(begun, of): &(Timestamp, BTreeMap<String, Rules>)| {
            *begun < look.at
                || *of != rules
                || Timestamp::now().duration_since(*begun) >= signed(Length(CHORES_INTERVAL))
        };
        if !memory.chores_begun.as_ref().is_none_or(again) {
            return Ok(());
        }
        memory.chores_begun = Some((Timestamp::now(), rules.clone()));
        let done = memory.done.lock().expect("no panic while it is held").clone();
        if let Some(Ok(report)) = done {
            memory.found = report;
        }
        let (mut seen, damaged) = (memory.found.seen.clone(), memory.found.logs.keys().cloned().collect());
        seen.extend(look.catalog.found.iter().map(|found| found.place.clone()));
        let chores = Chores {
            opened: look.opened.clone(),
            cluster: self.known.cluster().await?.clone(),
            rules,
            reads,
            list_every: signed(repository.spec.list_interval.unwrap_or(LIST_INTERVAL)),
            sweeps: self.is_first_of_store(key, look),
            before: seen,
            damaged_logs: damaged,
        };
        let (done, known, key) = (memory.done.clone(), self.known.clone(), key.clone());
        memory.chores = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            let report = chores.run(&signing).await;
            // who is denied may have credentials that were rotated: they are read anew with the next look
            let changed = report.as_ref().map_or_else(ChoreError::is_denied, Report::changed);
            let report = report.map_err(|error| error.to_string());
            *done.lock().expect("no panic while it is held") = Some(report);
            if changed { known.changed(&key) } else { known.amend(&key, |_| {}) }
        })));
        Ok(())
    }

    async fn tell_chores(&self, repository: &BackupRepository, memory: &Memory) {
        let report = memory.done.lock().expect("no panic while it is held").clone();
        match report {
            Some(Err(message)) => self.events.warning(repository, "ChoresFailed", "tend", message).await,
            Some(Ok(report)) => {
                if !report.damaged.is_empty() {
                    let ids: Vec<String> = report.damaged.iter().map(ToString::to_string).collect();
                    let note = format!("damaged: {}; restore from others, and look at the store", ids.join(", "));
                    self.events.warning(repository, "Damaged", "verify", note).await;
                }
                if let Some(first) = report.keys.values().next() {
                    let note = format!("keys are lost or damaged: {first}");
                    self.events.warning(repository, "Damaged", "keys", note).await;
                }
                if let Some(first) = report.logs.values().next() {
                    let more = report.logs.len() - 1;
                    let more = if more == 0 { String::new() } else { format!(", and {more} more") };
                    let note = format!("a log is damaged: {first}{more}; make new backups, and look at the store");
                    self.events.warning(repository, "Damaged", "logs", note).await;
                }
                if let [first, rest @ ..] = report.unproven.as_slice() {
                    let more = if rest.is_empty() { String::new() } else { format!(", and {} more", rest.len()) };
                    let note = format!("could not be looked at: {first}{more}; it is tried again");
                    self.events.warning(repository, "NotVerified", "verify", note).await;
                }
                if let Some(first) = report.locks.problems.first() {
                    let note = format!("a lock is not made longer: {first}");
                    self.events.warning(repository, "NotLocked", "lock", note).await;
                }
                if report.swept.removed + report.swept.condemned > 0 {
                    let swept = &report.swept;
                    let note = format!("{} backups were condemned, {} removed", swept.condemned, swept.removed);
                    self.events.normal(repository, "Swept", "sweep", note).await;
                }
            }
            None => {}
        }
    }

    /// What policies say about the backups in this store, whichever BackupRepository they name.
    fn wanted(&self, look: &Look) -> (BTreeMap<String, Rules>, BTreeMap<String, Schedule>) {
        let uuid = look.opened.repository.uuid();
        let (mut all, mut reads) = (BTreeMap::new(), BTreeMap::new());
        for policy in self.caches.backup_policies.list() {
            if !self.leads_to(&policy, uuid.as_str()) {
                continue;
            }
            let Ok(coverage) = Coverage::of(&policy) else { continue };
            let read = policy.spec.verification.as_ref().and_then(|verification| verification.read.as_ref());
            let read = read.and_then(|cron| Schedule::parse(&cron.0, None).ok());
            for instance in self.caches.instances.select(|instance| coverage.covers(instance)) {
                let uid = instance.uid().unwrap_or_default();
                add(&mut all, &uid, rules(&policy.spec.retention));
                reads.extend(read.clone().map(|read| (uid, read)));
            }
        }
        (all, reads)
    }

    fn leads_to(&self, policy: &BackupPolicy, uuid: &str) -> bool {
        let key = Key { namespace: policy.namespace(), name: policy.spec.repository.to_string() };
        self.known.look(&key).is_some_and(|look| look.opened.repository.uuid().as_str() == uuid)
    }

    /// Of several BackupRepositories that show the same store, one removes.
    fn is_first_of_store(&self, key: &Key, look: &Look) -> bool {
        let uuid = look.opened.repository.uuid();
        let others = self.caches.backup_repositories.select(|other| other.spec.access != Some(Access::ReadOnly));
        !others.iter().map(|other| Key::of(other.as_ref())).any(|other| {
            other < *key && self.known.look(&other).is_some_and(|there| there.opened.repository.uuid() == uuid)
        })
    }

    async fn mirror(
        &self,
        repository: &BackupRepository,
        catalog: &Catalog,
        report: Option<&Result<Report, String>>,
    ) -> Result<(), Failure> {
        let namespace = repository.namespace();
        let name = ObjectName::parse(&repository.name_any())
            .map_err(|error| Failure::new("Unreadable", format!("its name: {error}")))?;
        let present =
            self.caches.backups.select(|backup| backup.namespace() == namespace && backup.spec.repository == name);
        let mut called: BTreeMap<String, Called> = BTreeMap::new();
        for backup in &present {
            let instance = &backup.spec.instance;
            if let (Some(uid), Some(name)) = (&instance.uid, &instance.name) {
                let is = Called { name: Some(name.clone()), namespace: instance.namespace.clone() };
                called.insert(uid.clone(), is);
            }
        }
        for instance in self.caches.instances.list() {
            let is = Called {
                name: InstanceName::parse(&instance.name_any()).ok(),
                namespace: instance.namespace().and_then(|namespace| NamespaceName::parse(&namespace).ok()),
            };
            called.insert(instance.uid().unwrap_or_default(), is);
        }
        let none = BTreeMap::new();
        let expires = report.and_then(|report| report.as_ref().ok()).map_or(&none, |report| &report.expires);
        let seen = mirror::Seen { repository: &name, catalog, called: &called, expires };
        let wanted = mirror::wanted(&seen);
        Mirror { client: &self.client, repository, present }.carry_out(&wanted, catalog).await
    }

    async fn say(&self, repository: &BackupRepository, memory: &mut Memory, seen: &Seen<'_>) -> Result<(), Failure> {
        let before = memory.said.newest(repository, repository.status.as_ref());
        let now = Time(Timestamp::now());
        let after = status::next(&before, &repository.spec, repository.metadata.generation, seen, &now);
        let api: Api<BackupRepository> =
            Api::namespaced(self.client.clone(), &repository.namespace().unwrap_or_default());
        memory.said.say(&api, &repository.name_any(), &before, after).await
    }
}
