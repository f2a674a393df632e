//! What is known of repositories between two looks, shared by all who work with backups. All of it can be lost.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};
use tokio::sync::OnceCell;

use super::open::Opened;
use crate::api::{BackupRepository, Kind};
use crate::backup::id::Id;
use crate::backup::layout::Uid;
use crate::backup::read::Catalog;
use crate::cluster::Key;
use crate::cluster::problem::Problem;
use crate::controller::frame::Failure;
use crate::controller::queues::Queues;
use crate::names::ObjectName;

/// The namespace whose UID stands for the cluster: every cluster has it, and it is never made anew.
const CLUSTER_NAMESPACE: &str = "kube-system";

/// Credentials are read again after this time at the earliest: many orders may come at once.
const CREDENTIALS: Duration = Duration::from_secs(5);

/// Room for a dash and an identity in a name of 253 characters.
const LONGEST_PREFIX: usize = 226;

/// The name of the object of a backup.
pub fn object_name(repository: &ObjectName, id: Id) -> String {
    let prefix: String = repository.as_str().chars().take(LONGEST_PREFIX).collect();
    format!("{}-{}", prefix.trim_end_matches(['.', '-']), id.to_string().to_lowercase())
}

/// A repository that was looked through.
#[derive(Clone, Debug)]
pub struct Look {
    pub opened: Arc<Opened>,
    pub catalog: Arc<Catalog>,
    pub at: Timestamp,
}

#[derive(Default)]
struct Entry {
    look: Option<Look>,
    /// Changes in the store that were told of, and how many of them the look has seen.
    changes: u64,
    seen: u64,
    credentials_read: Option<Instant>,
}

/// One for all controllers.
pub struct Known {
    client: Client,
    queues: Queues,
    cluster: OnceCell<Uid>,
    entries: Mutex<HashMap<Key, Entry>>,
    /// From when to when one can go back, by the UID of the instance.
    windows: Mutex<HashMap<String, (Timestamp, Timestamp)>>,
}

impl Known {
    pub fn new(client: Client, queues: Queues) -> Self {
        Self { client, queues, cluster: OnceCell::new(), entries: Mutex::default(), windows: Mutex::default() }
    }

    /// Who we are in repositories that several clusters share.
    pub async fn cluster(&self) -> Result<&Uid, Failure> {
        let ask = || async { cluster(&self.client).await.map_err(|error| Failure::new("ClusterUnknown", error)) };
        self.cluster.get_or_try_init(ask).await
    }

    pub fn look(&self, repository: &Key) -> Option<Look> {
        self.entries().get(repository)?.look.clone()
    }

    /// What was found, with credentials as they are now: people rotate them, and nobody tells. Asked for before each order.
    pub async fn renewed(&self, object: &BackupRepository) -> Option<Look> {
        let repository = Key::of(object);
        let look = self.look(&repository)?;
        let asked = {
            let mut entries = self.entries();
            let before = entries.get_mut(&repository)?.credentials_read.replace(Instant::now());
            before.is_none_or(|before| before.elapsed() >= CREDENTIALS)
        };
        if !asked {
            return Some(look);
        }
        let namespace = repository.namespace.clone().unwrap_or_default();
        let place = match look.opened.place.renewed(&self.client, &namespace, &object.spec).await {
            Ok(Some(place)) => place,
            Ok(None) => return Some(look),
            Err(error) => {
                // the next look of the repository tells of it
                tracing::warn!(%repository, %error, "the credentials of the store cannot be read");
                self.changed(&repository);
                return Some(look);
            }
        };
        tracing::info!(%repository, "the credentials of the store are others");
        let renewed = match look.opened.reached_by(place).await {
            Ok(opened) => Look { opened: Arc::new(opened), ..look.clone() },
            Err(error) => {
                tracing::warn!(%repository, %error, "the store cannot be reached with its new credentials");
                self.changed(&repository);
                return Some(look);
            }
        };
        if let Some(entry) = self.entries().get_mut(&repository) {
            // a look that ended meanwhile has read them itself
            if entry.look.as_ref().is_some_and(|now| now.at == look.at) {
                entry.look = Some(renewed.clone());
            }
        }
        Some(renewed)
    }

    pub fn is_stale(&self, repository: &Key) -> bool {
        self.entries().get(repository).is_none_or(|entry| entry.seen != entry.changes || entry.look.is_none())
    }

    /// How many changes were told of: asked before a look, which sees at least these.
    pub fn changes(&self, repository: &Key) -> u64 {
        self.entries().get(repository).map_or(0, |entry| entry.changes)
    }

    /// What a look found that began after so many changes.
    pub fn put(&self, repository: &Key, look: Look, seen: u64) {
        {
            let mut entries = self.entries();
            let entry = entries.entry(repository.clone()).or_default();
            (entry.look, entry.seen) = (Some(look), seen);
        }
        self.tell(repository);
    }

    pub fn forget(&self, repository: &Key) {
        self.entries().remove(repository);
    }

    /// Has the store looked through again soon.
    pub fn changed(&self, repository: &Key) {
        self.entries().entry(repository.clone()).or_default().changes += 1;
        self.queues.of(Kind::BackupRepository).add(repository);
    }

    /// What was in the store when it was last looked through, after a change that was just made there.
    pub fn amend(&self, repository: &Key, change: impl FnOnce(&mut Catalog)) {
        if let Some(look) = self.entries().get_mut(repository).and_then(|entry| entry.look.as_mut()) {
            change(Arc::make_mut(&mut look.catalog));
        }
        self.tell(repository);
    }

    pub fn window(&self, instance: &str) -> Option<(Timestamp, Timestamp)> {
        self.windows.lock().expect("no panic while it is held").get(instance).copied()
    }

    /// What can be gone back to, as the store has it now; the instance shows it.
    pub fn put_window(&self, instance: &Key, uid: &str, window: Option<(Timestamp, Timestamp)>) {
        let mut windows = self.windows.lock().expect("no panic while it is held");
        let before = match window {
            Some(window) => windows.insert(uid.to_owned(), window),
            None => windows.remove(uid),
        };
        if before != window {
            self.queues.of(Kind::Instance).add(instance);
        }
    }

    /// Instances whose backups were found show the newest.
    pub fn tell_instances(&self, instances: impl Iterator<Item = Key>) {
        for instance in instances {
            self.queues.of(Kind::Instance).add(&instance);
        }
    }

    fn tell(&self, repository: &Key) {
        self.queues.of(Kind::BackupRepository).add(repository);
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.entries.lock().expect("no panic while it is held")
    }
}

/// The UID of the cluster.
pub async fn cluster(client: &Client) -> Result<Uid, Problem> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let place = format!("Namespace {CLUSTER_NAMESPACE}");
    let found = namespaces.get_metadata(CLUSTER_NAMESPACE).await;
    let found = found.map_err(|error| Problem::from_kube(&error).at(&place))?;
    let uid = found.metadata.uid.unwrap_or_default();
    let odd = |error| Problem::new(format!("the UID of the cluster cannot be used: {error}"), "report this").at(place);
    Uid::parse(&uid).map_err(odd)
}
