//! A repository in a store: its identity, and whose signatures count in it.

use std::sync::Arc;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::document::{DocumentError, Domain, Signers, put_same};
use super::id::Id;
use super::keys::{PublicKey, SigningKey};
use super::layout::{self, Uid};
use super::store::{Cause, Doing, Key, Store, StoreError, list_all, list_notes};

/// What this program writes, and the newest it can read.
pub const FORMAT: u32 = 1;

/// Keys that sign in one repository, one for each cluster, and what one is written in: each is held against each.
const MOST_SIGNERS: usize = 200;
const LARGEST_SIGNER: usize = 16 << 10;

#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    #[error(transparent)]
    Document(#[from] DocumentError),
    #[error("there is no repository in {0}: repo.json is not there")]
    NotThere(String),
    #[error("the repository in {store} has format {format}, and this program reads up to {FORMAT}: use a newer one")]
    TooNew { store: String, format: u32 },
    #[error(
        "the repository in {store} is signed by {found}, which is none of the keys that are known: it is another \
         repository, or somebody replaced it"
    )]
    Stranger { store: String, found: PublicKey },
    #[error("{0} does not let one writer win when several create the same object: no backup could be committed safely")]
    NoConditionalCreate(String),
}

impl From<StoreError> for RepositoryError {
    fn from(error: StoreError) -> Self {
        Self::Document(error.into())
    }
}

/// Whom to believe when a repository is opened.
#[derive(Clone, Debug)]
pub enum Trust {
    /// One of these keys, from a recovery kit or from the cluster.
    Keys(Vec<PublicKey>),
    /// Whoever signed it: for the first look at a repository of which nothing else is known.
    Anybody,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RepositoryDocument {
    format: u32,
    uuid: Uid,
    created_at: Timestamp,
    signer: PublicKey,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SignerDocument {
    key: PublicKey,
    added_at: Timestamp,
}

/// An open repository.
#[derive(Clone, Debug)]
pub struct Repository {
    store: Arc<dyn Store>,
    uuid: Uid,
    signers: Signers,
    root: PublicKey,
}

impl Repository {
    /// Makes a repository, unless one is there: then that one is opened, if it is to be believed.
    pub async fn create(
        store: Arc<dyn Store>,
        key: &SigningKey,
        trust: &Trust,
        now: Timestamp,
    ) -> Result<Self, RepositoryError> {
        let uuid = Uid::parse(&Id::new(now).to_string().to_lowercase()).expect("letters and digits");
        let document = RepositoryDocument { format: FORMAT, uuid, created_at: now, signer: key.public() };
        let place = layout::repository();
        let bytes = Self::root_domain().sign(&place, &document, key);
        match store.put_new(&place, super::store::Body::new(bytes)).await {
            Ok(()) => Self::open(store, &Trust::Keys(vec![key.public()])).await,
            Err(error) if error.already_exists() => Self::open(store, trust).await,
            Err(error) => Err(error.into()),
        }
    }

    pub async fn open(store: Arc<dyn Store>, trust: &Trust) -> Result<Self, RepositoryError> {
        let place = layout::repository();
        let bytes = match store.get(&place, None).await {
            Err(error) if error.is_not_found() => return Err(RepositoryError::NotThere(store.address())),
            answer => answer?,
        };
        let (document, signer): (RepositoryDocument, _) = Self::root_domain().open_self_signed(&place, &bytes)?;
        if document.format > FORMAT {
            return Err(RepositoryError::TooNew { store: store.address(), format: document.format });
        }
        let believed = match trust {
            Trust::Keys(keys) => keys.contains(&signer),
            Trust::Anybody => true,
        };
        if !believed || document.signer != signer {
            return Err(RepositoryError::Stranger { store: store.address(), found: signer });
        }
        let mut signers = Signers::default();
        signers.add(signer);
        let mut repository = Self { store, uuid: document.uuid, signers, root: signer };
        repository.read_signers().await?;
        Ok(repository)
    }

    /// `repo.json` is read before its uuid is known.
    fn root_domain() -> Domain {
        Domain(String::new())
    }

    /// Signers vouch for each other; one for whom nobody of ours vouches does not count.
    async fn read_signers(&mut self) -> Result<(), RepositoryError> {
        let mut waiting = Vec::new();
        let objects = list_notes(&*self.store, layout::SIGNERS).await?;
        if objects.len() > MOST_SIGNERS {
            let cause = Cause::Unavailable(format!("it shows more than {MOST_SIGNERS} signing keys"));
            return Err(StoreError::new(&self.store.address(), Doing::List, layout::SIGNERS, cause).into());
        }
        for object in objects {
            let bytes = self.store.get(&object.key, None).await?;
            if bytes.len() <= LARGEST_SIGNER {
                waiting.push((object.key, bytes));
            }
        }
        loop {
            let before = waiting.len();
            waiting.retain(|(place, bytes)| match self.domain().open::<SignerDocument>(place, bytes, &self.signers) {
                Ok(document) if *place == layout::signer(&document.key.id()) => {
                    self.signers.add(document.key);
                    false
                }
                _ => true,
            });
            if waiting.len() == before {
                break;
            }
        }
        for (place, _) in waiting {
            tracing::warn!(%place, store = self.store.address(), "nobody this repository knows vouches for this signing key");
        }
        Ok(())
    }

    /// Lets another key sign as well: of another cluster, or the next one of this.
    pub async fn add_signer(&mut self, new: PublicKey, by: &SigningKey, now: Timestamp) -> Result<(), RepositoryError> {
        if self.signers.knows(&new) {
            return Ok(());
        }
        self.put_document(&layout::signer(&new.id()), &SignerDocument { key: new, added_at: now }, by).await?;
        self.signers.add(new);
        Ok(())
    }

    /// Locks anew what every backup needs to be believed and opened, where the store locks.
    pub async fn lock(&self) -> Result<(), StoreError> {
        let mut keys = vec![layout::repository()];
        for prefix in [layout::SIGNERS, layout::EPOCHS] {
            keys.extend(list_all(&*self.store, prefix).await?.into_iter().map(|object| object.key));
        }
        for key in keys {
            self.store.lock(&key).await?;
        }
        Ok(())
    }

    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    pub fn shared_store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    pub fn uuid(&self) -> &Uid {
        &self.uuid
    }

    pub fn signers(&self) -> &Signers {
        &self.signers
    }

    /// The key `repo.json` is signed with: what a recovery kit holds.
    pub fn root(&self) -> PublicKey {
        self.root
    }

    pub fn domain(&self) -> Domain {
        Domain(self.uuid.to_string())
    }

    pub async fn document<T: DeserializeOwned>(&self, place: &Key) -> Result<T, DocumentError> {
        let bytes = self.store.get(place, None).await?;
        self.domain().open(place, &bytes, &self.signers)
    }

    /// Writes a document that must not be there yet.
    pub async fn put_document<T: Serialize>(
        &self,
        place: &Key,
        document: &T,
        key: &SigningKey,
    ) -> Result<(), StoreError> {
        // Ed25519 gives the same signature for the same document: writing it twice is writing it once
        put_same(&*self.store, place, self.domain().sign(place, document, key)).await
    }
}
