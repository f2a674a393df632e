//! What is remembered of each source between reconciles. All of it can be lost: it is found again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

use super::audit::Ledger;
use super::drift::Proposed;
use super::live::{Part, Settled};
use super::look::Seen;
use super::once::Operations;
use super::secrets::Versions;
use super::settings::{Settings, WHOLE_LOOK};
use crate::api::{GitSource, GitSourceStatus, labels};
use crate::cluster::Key;
use crate::plan::source::contest::Reverts;
use crate::plan::source::{Desired, ObjectId, Unknown};

/// What a person asked for last: the generation, and annotations such as the one that asks for a sync now.
pub type Asked = Option<(i64, Option<BTreeMap<String, String>>)>;

/// What a source defines, for other sources that would delete it; none before its repository was read.
type Defined = Arc<Mutex<Option<Definitions>>>;

/// What a repository defined when it was last seen.
struct Definitions {
    /// Which source of this name asked, and in which generation: another one may look elsewhere.
    uid: Option<String>,
    generation: Option<i64>,
    /// In the order of ids.
    desired: Arc<Vec<Desired>>,
    /// Whether all of it could be read, and was trusted: otherwise nobody can tell what else it defines.
    whole: bool,
}

/// One source.
#[derive(Default)]
pub struct Remembered {
    /// Which source of this name it is.
    pub uid: Option<String>,
    pub asked: Asked,
    /// When the repository is asked again.
    pub poll_at: Option<Instant>,
    pub failed_looks: u32,
    /// When it last found no place to look: it asks again soon, with the settings that were read for that.
    pub waited: Option<Instant>,
    /// The Secrets that the source was last worked with.
    pub secrets: Option<Versions>,
    /// What was last seen in the repository.
    pub seen: Option<Seen>,
    /// What a plan was last carried out for, and what had been asked then.
    pub planned: Option<Seen>,
    pub asked_at_plan: Asked,
    /// Something could not be applied, or is not as the repository says and was left so: look at everything next time.
    pub unsettled: bool,
    /// Nothing but actions followed from what was looked at last, and all of them went well.
    pub plain: bool,
    /// Objects that need not be compared again as long as neither side changes.
    pub settled: Settled,
    /// The status that was last published.
    pub said: Option<GitSourceStatus>,
    /// Objects that had to be changed back.
    pub reverts: Reverts,
    /// What was last proposed to be taken over from the cluster.
    pub proposed: Option<Proposed>,
    /// The record of what was done.
    pub ledger: Ledger,
    /// When everything was last looked at.
    looked_at_all: Option<Instant>,
    /// When that was last looked at which is not watched.
    pub looked_at_unwatched: Option<Instant>,
    /// When a look was begun that did not come to its end: what was touched before it is forgotten.
    pub begun: Option<Instant>,
    /// Operations that were begun.
    pub operations: Operations,
    /// Others cut the audit branch, and it does not say yet what is applied.
    pub cut: bool,
    /// What the source was last worked with: until the next look, and for the day it is gone.
    pub settings: Option<(Arc<GitSource>, Settings)>,
    /// Objects that changed since the last plan.
    touched: Arc<Mutex<BTreeSet<ObjectId>>>,
    /// What the repository defines, as it was last seen.
    defined: Defined,
    /// Whether something ended that is told of on the audit branch, as far as it is known.
    ended: Arc<AtomicBool>,
    /// Whether a Secret that the source names changed since its settings were read.
    stale: Arc<AtomicBool>,
}

impl Remembered {
    /// The source with the status that was written last: the watch may not show it yet, and what was applied last decides
    /// what may follow.
    pub fn newest(&self, source: Arc<GitSource>) -> Arc<GitSource> {
        match &self.said {
            Some(said) if source.status.as_ref() != Some(said) => {
                let status = Some(said.clone());
                Arc::new(GitSource { status, ..source.as_ref().clone() })
            }
            _ => source,
        }
    }

    /// Remembers what was seen in the repository, also for other sources that would delete what this one defines.
    pub fn saw(&mut self, source: &GitSource, seen: Seen) {
        let whole = seen.untrusted.is_empty() && *seen.unknown == Unknown::default();
        let (uid, generation) = (source.metadata.uid.clone(), source.metadata.generation);
        *held(&self.defined) = Some(Definitions { uid, generation, desired: seen.desired.clone(), whole });
        self.seen = Some(seen);
    }

    pub fn take_touched(&self) -> BTreeSet<ObjectId> {
        std::mem::take(&mut *held(&self.touched))
    }

    /// Whether somebody asked for a look at everything since the last plan. Whoever pushed asks for what is new.
    pub fn is_asked_anew(&self) -> bool {
        let demanded = |asked: &Asked| {
            let (generation, annotations) = asked.clone()?;
            let mut annotations = annotations.unwrap_or_default();
            annotations.remove(labels::PUSHED_AT);
            Some((generation, annotations))
        };
        demanded(&self.asked) != demanded(&self.asked_at_plan)
    }

    /// A part, with what is due although nobody tells of a change: what is not watched; or everything, where that was not
    /// looked at for long, where the last look was interrupted, or where something was left as it is, for which the reason
    /// may have become another.
    pub fn with_due(&self, part: Part, pause: Duration) -> Part {
        let is_due = |last: Option<Instant>, pause: Duration| last.is_none_or(|last| last.elapsed() >= pause);
        let unwatched = is_due(self.looked_at_unwatched, pause);
        if self.begun.is_some() || is_due(self.looked_at_all, WHOLE_LOOK) || (unwatched && !self.plain) {
            Part::Everything
        } else if unwatched {
            part.and_unwatched()
        } else {
            part
        }
    }

    /// Remembers that a part was looked at.
    pub fn looked_at(&mut self, part: &Part) {
        let now = Some(Instant::now());
        if part.is_everything() {
            self.looked_at_all = now;
        }
        if part.has_unwatched() {
            self.looked_at_unwatched = now;
        }
    }

    /// The settings that the source was last worked with, where it is the same and nothing asks for others: what becomes of
    /// an object is no reason to ask for the Secrets that they are made of.
    pub fn known_settings(&self, source: &GitSource) -> Option<Settings> {
        if self.stale.swap(false, Ordering::Relaxed) {
            return None;
        }
        // other credentials may be taken where these were refused
        if self.ledger.retry_at().is_some_and(|at| at <= Instant::now()) {
            return None;
        }
        let identity = |source: &GitSource| (source.metadata.uid.clone(), source.metadata.generation);
        let (_, settings) = self.settings.as_ref().filter(|(known, _)| identity(known) == identity(source))?;
        Some(settings.clone())
    }

    /// The settings have to be read anew.
    pub fn leave_stale(&self) {
        self.stale.store(true, Ordering::Relaxed);
    }

    /// Whether other Secrets are there than the last time: what was refused with those may be granted now, and the other way
    /// round. Then nothing waits that waited for its time.
    pub fn renew(&mut self, secrets: &Versions) {
        let before = self.secrets.replace(secrets.clone());
        if before.is_some_and(|before| before != *secrets) {
            self.poll_at = None;
            self.ledger.push_now();
        }
    }

    pub fn take_ended(&self) -> bool {
        self.ended.swap(false, Ordering::Relaxed)
    }

    /// It has to be looked at again.
    pub fn leave_ended(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

/// All sources, and which of them wants each object.
#[derive(Default)]
pub struct Memory {
    sources: Mutex<HashMap<Key, Entry>>,
    owners: Mutex<HashMap<ObjectId, Key>>,
}

struct Entry {
    remembered: Arc<AsyncMutex<Remembered>>,
    touched: Arc<Mutex<BTreeSet<ObjectId>>>,
    defined: Defined,
    ended: Arc<AtomicBool>,
    stale: Arc<AtomicBool>,
}

impl Memory {
    pub fn of(&self, key: &Key) -> Arc<AsyncMutex<Remembered>> {
        let mut sources = held(&self.sources);
        let entry = sources.entry(key.clone()).or_insert_with(|| {
            let remembered = Remembered::default();
            // nobody told of what ended before
            remembered.leave_ended();
            let (touched, defined) = (remembered.touched.clone(), remembered.defined.clone());
            let (ended, stale) = (remembered.ended.clone(), remembered.stale.clone());
            Entry { touched, defined, ended, stale, remembered: Arc::new(AsyncMutex::new(remembered)) }
        });
        entry.remembered.clone()
    }

    pub fn forget(&self, key: &Key) {
        held(&self.sources).remove(key);
        held(&self.owners).retain(|_, owner| owner != key);
    }

    /// From now on these objects are wanted by this source, and no others.
    pub fn own(&self, key: &Key, objects: impl Iterator<Item = ObjectId>) {
        let mut owners = held(&self.owners);
        owners.retain(|_, owner| owner != key);
        owners.extend(objects.map(|id| (id, key.clone())));
    }

    /// These objects are wanted by this source as well.
    pub fn own_also(&self, key: &Key, objects: impl Iterator<Item = ObjectId>) {
        held(&self.owners).extend(objects.map(|id| (id, key.clone())));
    }

    /// Whether a source defines an object, as its repository was last seen. Nobody can tell before it was read, and that it
    /// does not is only known where all of it was read as the source asks for now.
    pub fn defines(&self, source: &GitSource, id: &ObjectId) -> Option<bool> {
        let defined = held(&self.sources).get(&Key::of(source))?.defined.clone();
        let defined = held(&defined);
        let Definitions { uid, generation, desired, whole } = defined.as_ref()?;
        if *uid != source.metadata.uid {
            return None;
        }
        if desired.binary_search_by(|desired| desired.id.cmp(id)).is_ok() {
            return Some(true);
        }
        (*whole && *generation == source.metadata.generation).then_some(false)
    }

    /// Remembers that something ended that this source tells of.
    pub fn ended(&self, source: &Key) {
        if let Some(entry) = held(&self.sources).get(source) {
            entry.ended.store(true, Ordering::Relaxed);
        }
    }

    /// Remembers that a Secret changed that this source names.
    pub fn secret_changed(&self, source: &Key) {
        if let Some(entry) = held(&self.sources).get(source) {
            entry.stale.store(true, Ordering::Relaxed);
        }
    }

    /// Remembers that an object changed, for the source that wants it.
    pub fn touched(&self, id: &ObjectId) -> Option<Key> {
        let owner = held(&self.owners).get(id).cloned()?;
        let sources = held(&self.sources);
        held(&sources.get(&owner)?.touched).insert(id.clone());
        Some(owner)
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no panic while it is held")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use kube::{Client, Config};
    use serde_json::json;

    use super::*;
    use crate::plan::source::ObjectKind;
    use crate::repo::Remotes;

    fn source(uid: &str, generation: i64) -> GitSource {
        let source = json!({ "metadata": { "name": "main", "namespace": "shop", "uid": uid, "generation": generation },
            "spec": { "url": "https://git.example.com/a.git" } });
        serde_json::from_value(source).expect("a source")
    }

    #[tokio::test]
    async fn what_a_source_was_worked_with_is_known_until_it_or_a_secret_says_something_else() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let nowhere = Config::new("http://127.0.0.1:1".parse().expect("an address"));
        let client = Client::try_from(nowhere).expect("a client");
        let first = source("a", 1);
        let settings = Settings::read(&first, &client, &Remotes::default(), false, "test").await;
        let mut remembered = Remembered::default();
        assert!(remembered.known_settings(&first).is_none());
        remembered.settings = Some((Arc::new(first.clone()), settings.expect("it names no Secret")));
        assert!(remembered.known_settings(&first).is_some());
        assert!(remembered.known_settings(&source("a", 2)).is_none(), "its spec is another");
        assert!(remembered.known_settings(&source("b", 1)).is_none(), "it is another source");
        remembered.leave_stale();
        assert!(remembered.known_settings(&first).is_none(), "a Secret of it is another");
    }

    #[tokio::test]
    async fn where_nothing_is_recorded_any_more_nothing_waits_for_a_push() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let nowhere = Config::new("http://127.0.0.1:1".parse().expect("an address"));
        let client = Client::try_from(nowhere).expect("a client");
        let mut source = source("a", 2);
        source.spec.audit = serde_json::from_value(json!({ "enabled": false })).expect("it is told so");
        let settings = Settings::read(&source, &client, &Remotes::default(), false, "test").await;
        let settings = settings.expect("it names no Secret");
        let mut ledger = Ledger::default();
        ledger.push_at(Some(Instant::now()));
        assert_eq!(ledger.push(&source, &settings, &client, Path::new("/nowhere")).await, None);
        assert_eq!(ledger.retry_at(), None, "whoever comes back for that comes back at once, again and again");
    }

    #[test]
    fn without_a_reason_only_that_is_looked_at_which_nobody_tells_of() {
        let (at_once, never) = (Duration::ZERO, Duration::MAX);
        let mut remembered = Remembered { plain: true, ..Remembered::default() };
        let due = |remembered: &Remembered, pause| remembered.with_due(Part::Only(BTreeSet::new()), pause);
        assert!(due(&remembered, never).is_everything(), "nothing was looked at yet");
        remembered.looked_at(&Part::Everything);
        assert!(due(&remembered, never).is_empty(), "nothing has to be looked at");
        assert!(matches!(due(&remembered, at_once), Part::Unwatched(ids) if ids.is_empty()));
        remembered.plain = false;
        assert!(due(&remembered, never).is_empty());
        assert!(due(&remembered, at_once).is_everything(), "what was left as it is is looked at with it");
        remembered.begun = Some(Instant::now());
        assert!(due(&remembered, never).is_everything(), "nobody knows any more what was touched");
    }

    #[tokio::test]
    async fn what_a_source_defines_is_known_to_others_once_its_repository_was_read() {
        let memory = Memory::default();
        let second = source("a", 1);
        let id =
            |name: &str| ObjectId { kind: ObjectKind::Instance, namespace: Some("shop".into()), name: name.into() };
        assert_eq!(memory.defines(&second, &id("i00")), None, "nobody knows it");
        let remembered = memory.of(&Key::of(&second));
        assert_eq!(memory.defines(&second, &id("i00")), None, "it was not read");
        let spec = "{type: cache, extensionVersion: 1.0.0, version: \"7.0\"}";
        let instance = |name: &str| {
            format!("apiVersion: midship.dev/v1alpha1\nkind: Instance\nmetadata: {{name: {name}}}\nspec: {spec}\n")
        };
        let mut files: Vec<(String, String)> =
            (0..60).map(|n| format!("i{n:02}")).map(|name| (format!("{name}.yaml"), instance(&name))).collect();
        let seen = |files: &[(String, String)]| {
            Seen::of_files(files.iter().map(|(path, text)| (path.as_str(), text.as_str())))
        };
        assert_eq!(seen(&files).desired.len(), 60);
        remembered.lock().await.saw(&second, seen(&files));
        assert!((0..60).all(|n| memory.defines(&second, &id(&format!("i{n:02}"))) == Some(true)));
        assert_eq!(memory.defines(&second, &id("i60")), Some(false));
        let elsewhere = source("a", 2);
        assert_eq!(memory.defines(&elsewhere, &id("i00")), Some(true), "it said so last");
        assert_eq!(memory.defines(&elsewhere, &id("i60")), None, "it may look elsewhere now");
        assert_eq!(memory.defines(&source("b", 1), &id("i00")), None, "it is another source");

        files.push(("broken.yaml".to_owned(), "a: [".to_owned()));
        remembered.lock().await.saw(&second, seen(&files));
        assert_eq!(memory.defines(&second, &id("i00")), Some(true));
        assert_eq!(memory.defines(&second, &id("i60")), None, "it may be in the file that cannot be read");
        memory.forget(&Key::of(&second));
        assert_eq!(memory.defines(&second, &id("i00")), None, "it is gone");
    }

    #[test]
    fn another_secret_ends_every_wait_and_the_same_one_none() {
        let version = |version: &str| BTreeMap::from([("login".to_owned(), version.to_owned())]);
        let mut remembered = Remembered::default();
        let later = Some(Instant::now() + std::time::Duration::from_mins(10));
        for (secrets, waits) in
            [(version("1"), true), (version("1"), true), (version("2"), false), (version("2"), true)]
        {
            remembered.poll_at = later;
            remembered.ledger.push_at(later);
            remembered.renew(&secrets);
            assert_eq!(remembered.poll_at.is_some(), waits, "{secrets:?}");
            assert_eq!(remembered.ledger.retry_at().is_some(), waits, "{secrets:?}");
        }
        remembered.poll_at = later;
        remembered.renew(&Versions::new());
        assert_eq!(remembered.poll_at, None, "one that is named no more is a change too");
    }
}
