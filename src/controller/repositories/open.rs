//! Opening a repository: its store is reached, tried, and believed; its keys are there.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::Client;

use super::keys::{self, Keys, KeysError};
use super::place::{Place, PlaceError};
use crate::api::backup_repository::{Access, BackupRepositorySpec};
use crate::backup::keys::epoch::EpochError;
use crate::backup::keys::{Epoch, KeyProblem, PublicKey, Recipient, SigningKey};
use crate::backup::layout::{self, Uid};
use crate::backup::repository::{Repository, RepositoryError, Trust};
use crate::backup::store::probe::{Capabilities, Probe, probe};
use crate::backup::store::{Cause, Patience, StoreError};

/// The controller looks again by itself: it need not insist as long as a backup does.
const PATIENCE: Patience = Patience {
    timeout: Duration::from_secs(20),
    tries: 3,
    first_pause: Duration::from_millis(250),
    longest_pause: Duration::from_secs(5),
    concurrency: 8,
};

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    #[error(transparent)]
    Epoch(#[from] EpochError),
    #[error("spec.encryption.recipients: {0}")]
    Recipient(#[from] KeyProblem),
    #[error(
        "the repository {uuid} was in {store} and is not there any more: bring it back, or delete the Secret {secret} to \
         begin a new one"
    )]
    Gone { uuid: Uid, store: String, secret: String },
    #[error("{store} holds the repository {found}, and {known} was there before: somebody replaced it")]
    Replaced { store: String, found: Uid, known: Uid },
    #[error(
        "the repository in {store} takes no signatures of this cluster's key {key}: let a cluster that may write to it \
         vouch for it (annotation {annotation} on its BackupRepository), or say access: ReadOnly",
        annotation = ADD_SIGNER
    )]
    NotASigner { store: String, key: PublicKey },
    #[error(
        "spec.s3.lock is given, and {0} locks nothing, or does not let us ask (s3:GetBucketObjectLockConfiguration): make a \
         bucket with object lock, or leave spec.s3.lock out"
    )]
    NoLock(String),
}

/// Lets another cluster's key sign as well: its public key.
pub const ADD_SIGNER: &str = "midship.dev/add-signer";

impl OpenError {
    /// One word for conditions.
    pub fn reason(&self) -> &'static str {
        let of_store = |error: &StoreError| match error.cause {
            Cause::Denied(_) => "AccessDenied",
            Cause::Setting(_) => "InvalidStore",
            Cause::Full(_) => "StoreFull",
            Cause::Unavailable(_) | Cause::TimedOut(_) => "StoreUnavailable",
            Cause::NotFound
            | Cause::AlreadyExists
            | Cause::Checksum(_)
            | Cause::TooLarge { .. }
            | Cause::Locked(_)
            | Cause::Refused(_) => "StoreRefuses",
        };
        match self {
            Self::Place(PlaceError::NoSecret { .. }) => "SecretMissing",
            Self::Place(PlaceError::NoKey { .. } | PlaceError::NoText { .. }) => "SecretIncomplete",
            Self::Place(PlaceError::NotMounted(_)) => "NotMounted",
            Self::Place(PlaceError::Nowhere) | Self::Recipient(_) => "InvalidSpec",
            Self::Place(PlaceError::Cluster(_)) | Self::Keys(KeysError::Cluster(_) | KeysError::Read(_)) => "NotRead",
            Self::Keys(KeysError::Malformed(..)) => "SigningKeyUnusable",
            Self::Store(error) => of_store(error),
            Self::Repository(error) => match error {
                RepositoryError::NotThere(_) => "NoRepository",
                RepositoryError::TooNew { .. } => "TooNew",
                RepositoryError::Stranger { .. } => "AnotherRepository",
                RepositoryError::NoConditionalCreate(_) => "NoConditionalCreate",
                RepositoryError::Document(error) => match error {
                    crate::backup::document::DocumentError::Store(error) => of_store(error),
                    _ => "Forged",
                },
            },
            Self::Epoch(_) => "EpochUnusable",
            Self::Gone { .. } => "RepositoryGone",
            Self::Replaced { .. } => "AnotherRepository",
            Self::NotASigner { .. } => "NotASigner",
            Self::NoLock(_) => "NoObjectLock",
        }
    }

    /// Whether it can pass by itself.
    pub fn passing(&self) -> bool {
        matches!(self.reason(), "StoreUnavailable" | "NotRead" | "StoreFull")
    }
}

/// A repository that can be used.
#[derive(Clone, Debug)]
pub struct Opened {
    pub repository: Repository,
    pub place: Place,
    /// None where nothing may be written.
    pub key: Option<Arc<SigningKey>>,
    pub keys: Keys,
    /// What backups are encrypted to; none where encryption is disabled, and where nothing is written.
    pub epoch: Option<Epoch>,
    /// Not tried where nothing may be written.
    pub capabilities: Option<Capabilities>,
    /// How far the clock of the store is ahead of ours.
    pub clock_ahead: SignedDuration,
    /// What cannot be believed of its keys; the rest of it can be used.
    pub strange: Vec<String>,
    /// What was done on the way that people should hear of.
    pub news: Vec<(&'static str, String)>,
}

/// A repository as its object describes it.
#[derive(Clone, Copy, Debug)]
pub struct Described<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub spec: &'a BackupRepositorySpec,
    /// A new epoch is asked for, under this name of the wish.
    pub new_epoch: Option<&'a str>,
    pub add_signer: Option<&'a str>,
}

impl Described<'_> {
    pub fn writes(&self) -> bool {
        self.spec.access != Some(Access::ReadOnly)
    }
}

/// Opens it, and makes what is missing where it may.
pub async fn open(client: &Client, described: &Described<'_>, folders: &Path) -> Result<Opened, OpenError> {
    let Described { namespace, name, spec, .. } = *described;
    let place = Place::of(client, (namespace, name), spec, folders).await?;
    let recipients: Vec<Recipient> =
        spec.encryption.recipients.iter().map(|text| Recipient::parse(text)).collect::<Result<_, _>>()?;
    let store = place.open(PATIENCE).await?;
    let keys = keys::ensure(client, namespace, name, described.writes()).await?;
    let mut news = Vec::new();
    let now = Timestamp::now();
    let mut tried = None;
    let found = match (&keys.uuid, described.writes(), &keys.signing) {
        (Some(known), ..) => {
            let found = match Repository::open(store.clone(), &keys.trust()).await {
                Err(RepositoryError::NotThere(address)) => {
                    let secret = keys::secret_name(name);
                    return Err(OpenError::Gone { uuid: known.clone(), store: address, secret });
                }
                answer => answer?,
            };
            if found.uuid() != known {
                let (found, known) = (found.uuid().clone(), known.clone());
                return Err(OpenError::Replaced { store: store.address(), found, known });
            }
            found
        }
        (None, true, Some(key)) => {
            // the order of writes rests on it: without, nothing is begun
            tried = Some(try_out(&*store, spec).await?);
            let found = Repository::create(store.clone(), key, &keys.trust(), now).await?;
            keys::pin(client, namespace, name, &found).await?;
            let what = if found.root() == key.public() { "made" } else { "found" };
            news.push(("Opened", format!("{what} the repository {} in {}", found.uuid(), store.address())));
            found
        }
        (None, ..) => {
            let found = Repository::open(store.clone(), &keys.trust()).await?;
            keys::pin(client, namespace, name, &found).await?;
            let note = format!("found the repository {}, signed by {}", found.uuid(), found.root());
            news.push(("Opened", note));
            found
        }
    };
    let mut opened = Opened {
        repository: found,
        place,
        key: keys.signing.clone().filter(|_| described.writes()),
        keys,
        epoch: None,
        capabilities: None,
        clock_ahead: SignedDuration::ZERO,
        strange: Vec::new(),
        news,
    };
    if let Some(key) = opened.key.clone() {
        if !opened.repository.signers().knows(&key.public()) {
            return Err(OpenError::NotASigner { store: store.address(), key: key.public() });
        }
        let tried = match tried {
            Some(tried) => tried,
            None => try_out(&*store, spec).await?,
        };
        (opened.capabilities, opened.clock_ahead) = (Some(tried.capabilities), tried.clock_ahead);
        vouch(&mut opened, described, &key, now).await?;
        opened.epoch = epoch(client, &mut opened, described, &recipients, &key, now).await?;
        // without these no backup can be believed or opened, however new it is
        let locked = opened.repository.lock().await;
        if let Err(error) = locked {
            let note = format!("the locks of the repository's keys cannot be renewed: {error}");
            opened.news.push(("NotLocked", note));
        }
    }
    Ok(opened)
}

impl Opened {
    /// The same repository, reached with other credentials.
    pub async fn reached_by(&self, place: Place) -> Result<Self, OpenError> {
        let store = place.open(PATIENCE).await?;
        let repository = Repository::open(store, &Trust::Keys(vec![self.repository.root()])).await?;
        if repository.uuid() != self.repository.uuid() {
            let (found, known) = (repository.uuid().clone(), self.repository.uuid().clone());
            return Err(OpenError::Replaced { store: repository.store().address(), found, known });
        }
        Ok(Self { repository, place, ..self.clone() })
    }
}

async fn try_out(store: &dyn crate::backup::store::Store, spec: &BackupRepositorySpec) -> Result<Probe, OpenError> {
    let found = probe(store, Timestamp::now).await?;
    let locks = spec.s3.as_ref().is_some_and(|s3| s3.lock.is_some());
    if locks && !found.capabilities.object_lock {
        return Err(OpenError::NoLock(store.address()));
    }
    if !found.capabilities.conditional_create {
        return Err(RepositoryError::NoConditionalCreate(store.address()).into());
    }
    Ok(found)
}

async fn vouch(
    opened: &mut Opened,
    described: &Described<'_>,
    key: &SigningKey,
    now: Timestamp,
) -> Result<(), OpenError> {
    let Some(wanted) = described.add_signer else { return Ok(()) };
    match wanted.parse::<PublicKey>() {
        Ok(new) if opened.repository.signers().knows(&new) => {}
        Ok(new) => {
            opened.repository.add_signer(new, key, now).await?;
            opened.news.push(("SignerAdded", format!("{new} may sign from now on")));
        }
        Err(reason) => opened.news.push(("SignerRefused", format!("annotation {ADD_SIGNER}: {reason}"))),
    }
    Ok(())
}

/// The epoch that new backups are encrypted to: the newest that is for exactly these recipients, unless somebody asked for
/// another. Others may write here as well, each for recipients of their own. The cluster holds no private key, so older
/// backups stay with those they were made for.
async fn epoch(
    client: &Client,
    opened: &mut Opened,
    described: &Described<'_>,
    recipients: &[Recipient],
    key: &SigningKey,
    now: Timestamp,
) -> Result<Option<Epoch>, OpenError> {
    let epochs = Epoch::all(&opened.repository).await?;
    opened.strange.extend(epochs.unusable.values().cloned());
    if recipients.is_empty() {
        return Ok(None);
    }
    let wanted: Vec<String> = recipients.iter().map(Recipient::fingerprint).collect();
    let asked = described.new_epoch.filter(|asked| opened.keys.epoch_asked.as_deref() != Some(asked));
    let mut why = others(&epochs.sound, recipients);
    match (epochs.newest_for(&wanted), asked) {
        (_, Some(_)) => ", as somebody asked".clone_into(&mut why),
        (None, None) => {}
        (Some(epoch), None) => match epoch.check_canary(&opened.repository, None).await {
            Ok(()) => return Ok(Some(epoch.clone())),
            Err(error) if error.is_about_epoch() => {
                opened.strange.push(error.to_string());
                ", because the one before cannot be believed any more".clone_into(&mut why);
            }
            Err(error) => return Err(error.into()),
        },
    }
    let begun = Epoch::begin(&opened.repository, recipients, key, now).await?;
    if let Some(asked) = asked {
        keys::remember_epoch_asked(client, described.namespace, described.name, asked).await?;
        opened.keys.epoch_asked = Some(asked.to_owned());
    }
    opened.news.push(("EpochBegun", format!("backups are encrypted to the epoch {} from now on{why}", begun.name)));
    Ok(Some(begun))
}

/// Why none of these epochs is for exactly these recipients. Whether somebody took slots away, or they never had any, is not
/// known: what there is, is told.
fn others(epochs: &[Epoch], recipients: &[Recipient]) -> String {
    if epochs.is_empty() {
        return String::new();
    }
    let short = epochs.iter().rev().find_map(|epoch| {
        let without = recipients.iter().filter(|one| !epoch.slots.contains(&one.fingerprint()));
        let without: Vec<&str> = without.map(Recipient::as_str).collect();
        let lacks = !without.is_empty() && epoch.slots.len() + without.len() == recipients.len();
        lacks.then_some((epoch, without))
    });
    let Some((newest, without)) = short else {
        return ", because the recipients are others; older backups stay with those they were made for".into();
    };
    format!(
        ", because {} has no slot for {}: these recipients are new, or their slots were lost; where they were, put them back \
         from the recovery kit, or older backups stay closed to them",
        layout::epoch_folder(&newest.name),
        without.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::keys::Identity;
    use crate::backup::store::memory::Memory;

    #[tokio::test]
    async fn a_slot_that_is_not_there_is_not_told_as_another_recipient() {
        let memory = Memory::default();
        let (key, now) = (SigningKey::generate(), memory.now());
        let made = Repository::create(Arc::new(memory.clone()), &key, &Trust::Anybody, now).await.expect("made");
        let both = [Identity::generate().recipient(), Identity::generate().recipient()];
        let begun = Epoch::begin(&made, &both, &key, now).await.expect("begun");
        memory.tamper(&layout::slot(&begun.name, &both[1].fingerprint()), |_| None);
        let found = Epoch::named(&made, &begun.name).await.expect("found");
        assert_eq!(
            others(std::slice::from_ref(&found), &both),
            format!(
                ", because keys/{}/ has no slot for {}: these recipients are new, or their slots were lost; where they were, \
                 put them back from the recovery kit, or older backups stay closed to them",
                begun.name, both[1]
            )
        );
        let told = ", because the recipients are others; older backups stay with those they were made for";
        assert_eq!(others(&[found], &[Identity::generate().recipient()]), told);
        assert_eq!(others(&[begun], &both[..1]), told, "one was taken away");
        assert_eq!(others(&[], &both), "", "the first one needs no reason");
    }
}
