//! What a pod's agent stands on here: a real PID 1, a configuration, a repository in a folder, keys.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use midship::agent::actions::{Actor, ActorSettings, Extras};
use midship::agent::backup::{Backups, Surroundings};
use midship::agent::facts::PodFacts;
use midship::agent::pid1::Pid1;
use midship::api::operation::BackupType;
use midship::backup::keys::{Epoch, Identity, PublicKey, SigningKey};
use midship::backup::layout::{Owner, Uid};
use midship::backup::read::Catalog;
use midship::backup::repository::{Repository, Trust};
use midship::backup::store::{Filesystem, S3, Store, s3};
use midship::extension::agent::AgentConfig;
use midship::lifecycle::Problem;
use midship::lifecycle::backup::{
    ArchiveOrder, ArchiveStatus, BackupOrder, JobProgress, Outcome, RepositoryPlace, RestoreOrder, StorePlace, Until,
    Writer,
};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::timeout;

/// Longer than anything here takes on a busy machine.
pub const LONG: Duration = Duration::from_mins(3);

/// A repository, and everything that opens it.
pub struct Vault {
    /// Where it lies, unless it is in a bucket.
    pub dir: TempDir,
    /// How agents get there.
    store: StorePlace,
    pub repository: Repository,
    key: Arc<SigningKey>,
    epoch: Uid,
    pub identity: Identity,
}

impl Vault {
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Filesystem::open(dir.path()).await.unwrap());
        let place = StorePlace::Filesystem(dir.path().to_owned());
        Self::at(dir, store, place).await
    }

    /// In a bucket; agents get there by other settings than we, such as through a proxy.
    pub async fn in_bucket(ours: &s3::Settings, agents: s3::Settings) -> Self {
        let store = Arc::new(S3::new(ours).unwrap());
        Self::at(tempfile::tempdir().unwrap(), store, StorePlace::S3(agents)).await
    }

    async fn at(dir: TempDir, store: Arc<dyn Store>, place: StorePlace) -> Self {
        let (key, identity) = (SigningKey::generate(), Identity::generate());
        let repository = Repository::create(store, &key, &Trust::Anybody, Timestamp::now()).await.unwrap();
        let epoch = Epoch::begin(&repository, &[identity.recipient()], &key, Timestamp::now()).await.unwrap();
        Self { dir, store: place, repository, key: Arc::new(key), epoch: epoch.name, identity }
    }

    pub fn root(&self) -> PublicKey {
        self.repository.root()
    }

    pub fn place(&self) -> RepositoryPlace {
        RepositoryPlace { store: self.store.clone(), root: self.root() }
    }

    pub fn writer(&self) -> Writer {
        Writer { key: self.key.clone(), epoch: Some(self.epoch.clone()) }
    }

    pub fn backup(&self, job: &str, method: &str) -> BackupOrder {
        BackupOrder {
            job: job.to_owned(),
            repository: self.place(),
            writer: self.writer(),
            owner: owner(),
            method: method.to_owned(),
            type_: BackupType::Full,
            parent: None,
            labels: [("kind".to_owned(), "test".to_owned())].into(),
            description: Map::from_iter([("instance".to_owned(), json!("sample"))]),
            bandwidth: None,
            timeout: LONG,
            may_shrink: false,
            with_log: false,
        }
    }

    pub fn restore(&self, job: &str, until: Until) -> RestoreOrder {
        RestoreOrder {
            job: job.to_owned(),
            repository: self.place(),
            identity: Some(self.identity.clone()),
            kit: None,
            owner: owner(),
            backup: None,
            until,
            timeout: LONG,
            replace: false,
        }
    }

    pub fn archive(&self, method: &str) -> ArchiveOrder {
        let (repository, writer) = (self.place(), self.writer());
        ArchiveOrder { method: method.to_owned(), repository, writer, owner: owner(), interval: None }
    }

    /// What is in the repository.
    pub async fn catalog(&self) -> Catalog {
        Catalog::of(&self.repository, &owner()).await.unwrap()
    }
}

pub fn owner() -> Owner {
    Owner { cluster: Uid::parse("c1").unwrap(), instance: Uid::parse("i1").unwrap() }
}

/// The rest of the agent.
pub struct Around {
    actor: Arc<Actor>,
    control: PathBuf,
    records: PathBuf,
    pub archives: Mutex<Option<ArchiveStatus>>,
}

impl Surroundings for Around {
    fn actor(&self) -> Arc<Actor> {
        self.actor.clone()
    }

    fn pid1(&self) -> Pid1 {
        Pid1::new(&self.control)
    }

    fn extras(&self) -> Extras {
        let extras = json!({ "role": "primary", "is_primary": true, "primary": null, "members": [] });
        extras.as_object().unwrap().clone()
    }

    fn records(&self) -> PathBuf {
        self.records.clone()
    }

    fn archives(&self, status: Option<ArchiveStatus>) {
        *self.archives.lock().unwrap() = status;
    }
}

/// The agent of one pod.
pub struct Bench {
    pub around: Arc<Around>,
    pub backups: Arc<Backups>,
}

impl Bench {
    pub fn new(config: AgentConfig, control: &Path, secrets: &Path, records: &Path) -> Self {
        let facts = PodFacts::new(&config, |name| (name == "MIDSHIP_POD").then(|| "sample-0".to_owned()));
        let actor = Arc::new(Actor::new(ActorSettings {
            config: Arc::new(config),
            control: control.to_owned(),
            secrets: secrets.to_owned(),
            known: Arc::default(),
            tls: secrets.join("tls"),
            facts,
        }));
        let (control, records) = (control.to_owned(), records.to_owned());
        let around = Arc::new(Around { actor, control, records, archives: Mutex::default() });
        Self { backups: Backups::new(around.clone()), around }
    }

    pub async fn backup(&self, order: BackupOrder) -> JobProgress {
        over(self.backups.backup(order).unwrap()).await
    }

    pub async fn restore(&self, order: RestoreOrder) -> JobProgress {
        over(self.backups.restore(order).unwrap()).await
    }
}

/// How a job ended.
pub async fn over(progress: watch::Receiver<JobProgress>) -> JobProgress {
    within(progress, LONG).await
}

pub async fn within(mut progress: watch::Receiver<JobProgress>, time: Duration) -> JobProgress {
    let ended = timeout(time, progress.wait_for(|progress| progress.state.is_over())).await;
    ended.expect("the job ends").unwrap().clone()
}

/// Why it failed.
#[track_caller]
pub fn failure(progress: &JobProgress) -> &Problem {
    match &progress.outcome {
        Some(Outcome::Failed(problem)) => problem,
        other => panic!("it was to fail: {other:?}"),
    }
}

#[track_caller]
pub fn done(progress: &JobProgress) -> &Outcome {
    match &progress.outcome {
        Some(Outcome::Failed(problem)) => panic!("{problem}"),
        Some(outcome) => outcome,
        None => panic!("{progress:?}"),
    }
}

/// The configuration of an agent with these fields.
pub fn config(fields: Value) -> AgentConfig {
    let mut config = json!({
        "instance": "shop", "namespace": "team", "component": "db", "group": "default", "port": 7440,
        "ports": {}, "tls": false, "login": false, "failover": false, "context": { "version": "1.0" },
    });
    let (Value::Object(map), Value::Object(fields)) = (&mut config, fields) else { panic!("objects") };
    map.extend(fields);
    serde_json::from_value(config).unwrap()
}
