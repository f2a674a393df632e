//! A repository with a clock of its own, and sources that give what they are told.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::api::operation::BackupType;
use crate::backup::clock::Clock;
use crate::backup::keys::{Epoch, Identity, SigningKey};
use crate::backup::layout::{Owner, Uid};
use crate::backup::read::{Catalog, Content, Found, Keyring, Target};
use crate::backup::repository::{Repository, Trust};
use crate::backup::store::Store;
use crate::backup::store::memory::Memory;
use crate::backup::write::{Committed, EndMark, Gate, Request, Settings, Source, SourceEnd, WriteError, Writing};

pub struct World {
    pub memory: Memory,
    pub key: SigningKey,
    pub identity: Identity,
    pub repository: Repository,
    pub epoch: Option<Epoch>,
    pub settings: Settings,
}

pub const END: &[u8] = b"-- end --";

pub fn uid(text: &str) -> Uid {
    Uid::parse(text).expect("an identity")
}

pub fn owner() -> Owner {
    Owner { cluster: uid("cluster-1"), instance: uid("instance-1") }
}

/// Rows and their end mark.
pub fn rows(count: usize, seed: u8) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        (0..count).map(|at| u8::try_from((at * 31 + at / 256) % 251).expect("small") ^ seed).collect();
    bytes.extend_from_slice(END);
    bytes
}

pub fn source(name: &str, bytes: Vec<u8>) -> Source {
    Source {
        name: name.into(),
        format: "test".into(),
        reader: Box::pin(std::io::Cursor::new(bytes)),
        end: Box::pin(async { Ok(SourceEnd { code: Some(0), said: String::new() }) }),
        gate: Gate::new(EndMark::Ends(END.to_vec())),
        expected: None,
    }
}

pub fn settings() -> Settings {
    Settings { chunk: 1 << 10, memory: 8 << 10, workers: 2, ..Settings::default() }
}

impl World {
    pub async fn new(encrypted: bool) -> Self {
        let memory = Memory::default();
        let (key, identity) = (SigningKey::generate(), Identity::generate());
        let now = memory.now();
        let repository = Repository::create(Arc::new(memory.clone()), &key, &Trust::Anybody, now).await.expect("made");
        let mut epoch = None;
        if encrypted {
            epoch = Some(Epoch::begin(&repository, &[identity.recipient()], &key, now).await.expect("begun"));
        }
        Self { memory, key, identity, repository, epoch, settings: settings() }
    }

    pub fn now(&self) -> Timestamp {
        self.memory.now()
    }

    pub fn clock(&self) -> Clock {
        let memory = self.memory.clone();
        Clock::new(move || memory.now())
    }

    /// The same repository, seen through another store.
    pub async fn through(&self, store: Arc<dyn Store>) -> Repository {
        Repository::open(store, &Trust::Keys(vec![self.key.public()])).await.expect("it opens")
    }

    pub fn request(&self, parent: Option<Found>) -> Request {
        Request {
            owner: owner(),
            type_: if parent.is_some() { BackupType::Incremental } else { BackupType::Full },
            parent,
            method: "stream".into(),
            engine: "1.0".into(),
            labels: BTreeMap::new(),
            description: BTreeMap::from([("instance".into(), "orders".into())]),
            holder: "a test".into(),
            epoch: self.epoch.clone(),
        }
    }

    pub async fn back_up(
        &self,
        repository: &Repository,
        parent: Option<Found>,
        bytes: &[u8],
    ) -> Result<Committed, WriteError> {
        let request = self.request(parent);
        let mut writing = Writing::begin(repository, &self.key, self.clock(), request, self.settings.clone()).await?;
        writing.stream(source("config", rows(10, 0))).await?;
        writing.stream(source("data", bytes.to_vec())).await?;
        writing.commit(None).await
    }

    pub async fn catalog(&self) -> Catalog {
        Catalog::read(&self.repository).await.expect("memory answers")
    }

    /// What the newest chain holds, one stream after the other, or why it cannot be read.
    pub async fn restore(&self, target: Target) -> Result<Vec<Vec<u8>>, String> {
        self.restore_through(&self.repository, target).await
    }

    pub async fn restore_through(&self, repository: &Repository, target: Target) -> Result<Vec<Vec<u8>>, String> {
        let catalog = Catalog::read(repository).await.map_err(|error| error.to_string())?;
        let chain = catalog.chain(&owner(), target).map_err(|error| error.to_string())?;
        let ring = Keyring::unlock(repository, &self.identity, None).await.map_err(|error| error.to_string())?;
        let mut all = Vec::new();
        for found in chain {
            let opener = ring.opener(found.manifest.epoch.as_ref())?;
            let content = Content::open(repository, found, opener).await.map_err(|error| error.to_string())?;
            content.description().map_err(|error| error.to_string())?;
            let mut bytes = Vec::new();
            content.restore("data", &mut bytes, 3).await.map_err(|error| error.to_string())?;
            all.push(bytes);
        }
        Ok(all)
    }
}
