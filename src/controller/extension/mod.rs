//! Extension: read the files, judge them, keep the package at hand for instances, hold a deletion while it is in use.

mod read;
mod status;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::caches::Caches;
use super::frame::{Failure, Next, Reconciler};
use super::packages::{Packages, State, UNCHECKED, runs_on, used_by};
use super::queues::Queues;
use super::said::Said;
use crate::api::extension::PartKind;
use crate::api::{Extension, ExtensionStatus, Instance, Kind, labels};
use crate::cluster::events::Events;
use crate::cluster::problem::Problem;
use crate::cluster::{Key, Scope};
use crate::cue::Cue;
use crate::extension::{Package, install};
use read::{Judged, Judging, Unusable};
use status::Verdict;

/// When files that are missing or wrong are looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// When rules that could not be checked are tried again, at first and after many tries: to try may use a processor for long.
const FIRST_TRY: Duration = Duration::from_secs(5);
const LAST_TRY: Duration = Duration::from_mins(5);

/// Keeps packages ready for use.
pub struct Extensions {
    client: Client,
    caches: Arc<Caches>,
    queues: Queues,
    events: Events,
    scope: Scope,
    /// The namespace Midship runs in.
    home: String,
    packages: Arc<Packages>,
    rules: Arc<Cue>,
    memory: Mutex<HashMap<Key, Memory>>,
    /// What is being judged, by the names of packages. It outlives the reconcile that began it.
    judging: Mutex<HashMap<String, UnderWay>>,
}

/// A judgement under way, and what it is of.
type UnderWay = ((String, PartsSeen), Judging);

/// What is kept between reconciles; all of it can be lost.
#[derive(Clone, Default)]
struct Memory {
    said: Said<ExtensionStatus>,
    /// The digest that was asked for, and how the parts were, when the files were last read.
    read: Option<(String, PartsSeen)>,
    /// How that went.
    verdict: Option<Result<(), Unusable>>,
    /// How often its rules could not be checked, or not all of it in time, and when that is tried again.
    tries: u32,
    next_try: Option<Instant>,
}

/// The versions of the parts, as far as they are watched.
type PartsSeen = Vec<Option<String>>;

impl Extensions {
    pub fn new(
        client: Client,
        caches: Arc<Caches>,
        queues: Queues,
        events: Events,
        place: (Scope, String),
        rules: Arc<Cue>,
    ) -> Self {
        let (scope, home) = place;
        let (packages, memory, judging) = (Arc::default(), Mutex::default(), Mutex::default());
        Self { client, caches, queues, events, scope, home, packages, rules, memory, judging }
    }

    /// The packages that can be used, for the controllers of other kinds.
    pub fn packages(&self) -> Arc<Packages> {
        self.packages.clone()
    }
}

impl Reconciler for Extensions {
    const KIND: &'static str = "Extension";

    async fn reconcile(&self, key: &Key) -> Result<Next, Failure> {
        let Some(extension) = self.caches.extensions.get(key) else {
            if let Some(reason) = self.caches.extensions.unreadable(key) {
                return Err(Failure::new("Unreadable", reason));
            }
            self.memory().remove(key);
            self.judging().remove(&key.name);
            if self.packages.remove(&key.name) {
                self.tell_instances(&key.name);
            }
            return Ok(Next::WhenChanged);
        };
        // what is given up at its deadline is remembered as it was
        let mut memory = self.memory().get(key).cloned().unwrap_or_default();
        let outcome = self.look(key, &extension, &mut memory).await;
        self.memory().insert(key.clone(), memory);
        outcome
    }
}

impl Extensions {
    async fn look(&self, key: &Key, extension: &Extension, memory: &mut Memory) -> Result<Next, Failure> {
        let keeps = self.keeps(extension);
        let deleting = extension.metadata.deletion_timestamp.is_some();
        // what only asks for it waits, and is not waited for
        let users = self.users(&key.name, if deleting { runs_on } else { used_by });
        if deleting && (users.is_empty() || delete_anyway(extension)) {
            if keeps {
                self.release(extension).await?;
            }
            return Ok(Next::WhenChanged);
        }
        if keeps && !deleting {
            self.hold(extension).await?;
        }
        let verdict = self.judged(extension, memory).await;
        let sound = verdict.as_ref().err().is_none_or(|unusable| unusable.reason == UNCHECKED);
        if keeps && sound {
            self.own_parts(extension).await?;
        }
        let ready = verdict.as_ref().ok().and_then(|()| self.packages.ready(&key.name));
        let said = match (&verdict, &ready) {
            _ if deleting => Verdict::Held(&users),
            (Err(unusable), _) => Verdict::Unusable(unusable),
            (Ok(()), Some(package)) => Verdict::Ready(package),
            (Ok(()), None) => return Err(Failure::new("Forgotten", "the package was read and is not kept")),
        };
        if keeps {
            self.say(extension, memory, &said, users.len()).await?;
        }
        match verdict {
            Err(_) => Ok(Next::After(match memory.next_try {
                Some(at) => at.saturating_duration_since(Instant::now()),
                // files that are not watched may have been put right
                None => LOOK_AGAIN,
            })),
            Ok(()) => Ok(Next::WhenChanged),
        }
    }

    /// Of several installations of Midship, one writes to an Extension: the one that can see its files.
    fn keeps(&self, extension: &Extension) -> bool {
        let sees = |namespace: &str| match &self.scope {
            Scope::Cluster => true,
            Scope::Namespaces(names) => names.iter().any(|name| name.as_str() == namespace) || namespace == self.home,
        };
        extension.spec.parts.iter().all(|part| sees(part.namespace.as_str()))
    }

    /// Reads the files again where anything about them changed.
    async fn judged(&self, extension: &Extension, memory: &mut Memory) -> Result<(), Unusable> {
        let name = extension.name_any();
        let wanted = install::name(&extension.spec.type_, &extension.spec.version);
        if name != wanted {
            return Err(Unusable {
                reason: "WrongName",
                message: format!("an Extension is named after its type and version; call this one {wanted}"),
                errors: Vec::new(),
                passing: false,
            });
        }
        let now = (extension.spec.digest.clone(), self.parts_seen(extension));
        let watched = now.1.iter().all(Option::is_some);
        if let Some(verdict) = memory.verdict.clone().filter(|_| memory.read.as_ref() == Some(&now))
            && verdict.as_ref().err().is_none_or(|unusable| match memory.next_try {
                Some(at) => Instant::now() < at,
                None => !unusable.passing && watched,
            })
        {
            return verdict;
        }
        let before = memory.verdict.take();
        let verdict = match self.read(&name, &now, extension).await {
            Ok(Judged { package, wrong: Some(unusable), .. }) => {
                Err(self.refuse(extension, before.as_ref(), Some(package), unusable).await)
            }
            Ok(Judged { package, unchecked: Some(why), .. }) if !self.was_checked(&name, &package) => {
                let unusable = Unusable::unchecked(&why);
                if self.packages.put(&name, State::Unchecked(package, unusable.message.clone())) {
                    self.tell_instances(&name);
                }
                self.warn(extension, before.as_ref(), &unusable).await;
                Err(unusable)
            }
            Ok(Judged { package, .. }) => {
                tracing::info!(extension = name, digest = package.digest, "the package can be used");
                if self.packages.put(&name, State::Ready(package)) {
                    self.tell_instances(&name);
                    if self.keeps(extension) {
                        let note = "it can be used".to_owned();
                        self.events.normal(extension, "Installed", &extension.spec.digest, note).await;
                    }
                }
                Ok(())
            }
            Err(unusable) => Err(self.refuse(extension, before.as_ref(), None, unusable).await),
        };
        (memory.tries, memory.next_try) = match &verdict {
            Err(unusable) if [UNCHECKED, read::TOO_SLOW].contains(&unusable.reason) => {
                (memory.tries.saturating_add(1), Some(Instant::now() + pause(memory.tries)))
            }
            _ => (0, None),
        };
        memory.read = Some(now);
        memory.verdict = Some(verdict.clone());
        verdict
    }

    /// Nothing begins to use the package. What was found right once goes on serving the instances that run on it: by this
    /// process, or by one before it, since its files are the same for ever.
    async fn refuse(
        &self,
        extension: &Extension,
        before: Option<&Result<(), Unusable>>,
        package: Option<Arc<Package>>,
        mut unusable: Unusable,
    ) -> Unusable {
        let name = extension.name_any();
        let digest = &extension.spec.digest;
        let is_right = |state: State| matches!(state, State::Ready(package) if package.digest == *digest);
        let kept = self.packages.state(&name).is_some_and(is_right);
        let was_right = extension.status.as_ref().is_some_and(|status| status.summary.is_some());
        // read before, and in doubt since: now there is another reason
        let before_that = self.packages.ready(&name).filter(|package| package.digest == *digest);
        let state = match package.filter(|_| was_right).or(before_that) {
            Some(package) => {
                unusable.message += "; what runs on this version goes on, and nothing begins to use it";
                State::Refused(package, unusable.message.clone())
            }
            None => State::Broken(unusable.message.clone()),
        };
        if !kept && self.packages.put(&name, state) {
            self.tell_instances(&name);
        }
        self.warn(extension, before, &unusable).await;
        unusable
    }

    /// Reads and judges. What is being judged already is waited for, and never begun beside itself.
    async fn read(&self, name: &str, now: &(String, PartsSeen), extension: &Extension) -> Result<Judged, Unusable> {
        loop {
            let running = self.judging().get(name).cloned();
            let Some((of, judging)) = running else { break };
            let verdict = judging.await;
            self.judging().remove(name);
            if of == *now {
                return verdict;
            }
        }
        let parts = read::read(&self.client, &extension.spec).await?;
        let judging = read::begin(extension.spec.clone(), parts, self.rules.clone());
        self.judging().insert(name.to_owned(), (now.clone(), judging.clone()));
        let verdict = judging.await;
        self.judging().remove(name);
        verdict
    }

    fn judging(&self) -> MutexGuard<'_, HashMap<String, UnderWay>> {
        self.judging.lock().expect("no panic while it is held")
    }

    /// Whether the rules of these very files passed before.
    fn was_checked(&self, name: &str, package: &Package) -> bool {
        matches!(self.packages.state(name), Some(State::Ready(known)) if known.digest == package.digest)
    }

    /// An event for what was not said before.
    async fn warn(&self, extension: &Extension, before: Option<&Result<(), Unusable>>, unusable: &Unusable) {
        let said = before.is_some_and(|before| before.as_ref().err() == Some(unusable));
        if self.keeps(extension) && !said {
            let note = unusable.message.clone();
            self.events.warning(extension, unusable.reason, &extension.spec.digest, note).await;
        }
    }

    fn parts_seen(&self, extension: &Extension) -> PartsSeen {
        let kind = |kind| if kind == PartKind::ConfigMap { "ConfigMap" } else { "Secret" };
        let parts = extension.spec.parts.iter();
        // owner references are ours: that they change is no news about files, which is why the UID counts and no version
        parts
            .map(|part| {
                let key = Key::new(part.namespace.as_str(), part.name.as_str());
                self.caches.parts.get(kind(part.kind), &key).map(|part| part.uid)
            })
            .collect()
    }

    /// The instances that use a version, in this meaning of use.
    fn users(&self, name: &str, uses: impl Fn(&Instance) -> BTreeSet<String>) -> Vec<String> {
        let mut users: Vec<String> = self
            .caches
            .instances
            .select(|instance| uses(instance).contains(name))
            .iter()
            .map(|instance| Key::of(instance.as_ref()).to_string())
            .collect();
        users.sort();
        users
    }

    fn tell_instances(&self, name: &str) {
        for instance in self.caches.instances.select(|instance| used_by(instance).contains(name)) {
            self.queues.of(Kind::Instance).add(&Key::of(instance.as_ref()));
        }
    }

    async fn hold(&self, extension: &Extension) -> Result<(), Failure> {
        if extension.finalizers().iter().any(|one| one == labels::FINALIZER) {
            return Ok(());
        }
        let mut finalizers = extension.finalizers().to_vec();
        finalizers.push(labels::FINALIZER.to_owned());
        self.set_finalizers(extension, &finalizers).await
    }

    async fn release(&self, extension: &Extension) -> Result<(), Failure> {
        if !extension.finalizers().iter().any(|one| one == labels::FINALIZER) {
            return Ok(());
        }
        let left: Vec<String> =
            extension.finalizers().iter().filter(|one| *one != labels::FINALIZER).cloned().collect();
        self.set_finalizers(extension, &left).await
    }

    async fn set_finalizers(&self, extension: &Extension, finalizers: &[String]) -> Result<(), Failure> {
        let api: Api<Extension> = Api::all(self.client.clone());
        // the version makes sure that nobody else's finalizer is lost
        let metadata = json!({ "finalizers": finalizers, "resourceVersion": extension.metadata.resource_version });
        gone_or(
            api.patch_metadata(&extension.name_any(), &manager(), &Patch::Merge(json!({ "metadata": metadata }))).await,
        )
    }

    /// The ConfigMaps of an installed package go with its Extension.
    async fn own_parts(&self, extension: &Extension) -> Result<(), Failure> {
        let name = extension.name_any();
        for part in extension.spec.parts.iter().filter(|part| part.kind == PartKind::ConfigMap) {
            let key = Key::new(part.namespace.as_str(), part.name.as_str());
            let Some(seen) = self.caches.parts.get("ConfigMap", &key) else { continue };
            if seen.owner.is_some() || seen.labels.get(labels::EXTENSION) != Some(&name) {
                continue;
            }
            let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), part.namespace.as_str());
            let owner = owner_of(extension);
            let patch = json!({ "metadata": { "ownerReferences": [owner], "uid": seen.uid } });
            gone_or(api.patch_metadata(part.name.as_str(), &manager(), &Patch::Merge(&patch)).await)?;
        }
        Ok(())
    }

    async fn say(
        &self,
        extension: &Extension,
        memory: &mut Memory,
        verdict: &Verdict<'_>,
        users: usize,
    ) -> Result<(), Failure> {
        let before = memory.said.newest(extension, extension.status.as_ref());
        let after = status::next(&before, extension.metadata.generation, verdict, users, &Time(Timestamp::now()));
        let api: Api<Extension> = Api::all(self.client.clone());
        memory.said.say(&api, &extension.name_any(), &before, after).await
    }

    fn memory(&self) -> MutexGuard<'_, HashMap<Key, Memory>> {
        self.memory.lock().expect("no panic while it is held")
    }
}

/// How long after so many tries in vain the next one is due.
fn pause(tries: u32) -> Duration {
    FIRST_TRY.saturating_mul(2u32.saturating_pow(tries.min(20))).min(LAST_TRY)
}

fn delete_anyway(extension: &Extension) -> bool {
    extension.annotations().get(labels::DELETE_ANYWAY).is_some_and(|value| value == "true")
}

fn manager() -> PatchParams {
    PatchParams { field_manager: Some(labels::MANAGER.to_owned()), ..PatchParams::default() }
}

fn owner_of(extension: &Extension) -> Value {
    json!({
        "apiVersion": crate::api::API_VERSION,
        "kind": Kind::Extension.as_str(),
        "name": extension.name_any(),
        "uid": extension.uid().unwrap_or_default(),
        "controller": true,
    })
}

/// An object that is gone or changed meanwhile is looked at again because of that.
fn gone_or<T>(outcome: Result<T, kube::Error>) -> Result<(), Failure> {
    match outcome {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(error)) if error.code == 404 => Ok(()),
        Err(error) => Err(Failure::new("NotWritten", Problem::from_kube(&error))),
    }
}
