//! From what an instance is to be restored from to what its agent is asked for.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::{Client, ResourceExt};

use super::known::{Known, Look};
use super::orders;
use super::place::{PlaceError, Read};
use crate::api::instance::{BackedUpInstance, RestoreSource};
use crate::api::values::LocalRef;
use crate::backup::id::Id;
use crate::backup::keys::epoch::EpochError;
use crate::backup::keys::{Identity, KeyProblem, Kit, KitError, Opener};
use crate::backup::layout::{Owner, Place};
use crate::backup::read::{ChainError, Content, Found, Keyring, ReadError, SetError, Target};
use crate::backup::replay::{self, Asked, ReplayError};
use crate::backup::store::StoreError;
use crate::backup::sweep;
use crate::cluster::Key;
use crate::controller::caches::Caches;
use crate::lifecycle::backup::{RestoreOrder, Until};

/// The key of the Secret that holds the private key.
const IDENTITY: &str = "identity";
/// The key of the same Secret that holds the recovery kit, for slots that the store has lost.
pub const KIT: &str = "kit";
/// A restore may take as long as a backup.
const TIMEOUT: Duration = Duration::from_hours(24);
/// Half of the day that a condemned backup waits is for whoever restores it.
const LATE: SignedDuration = SignedDuration::from_hours(12);

#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("there is no Backup {0}; see `midship backup list`")]
    NoBackup(Key),
    #[error("there is no BackupRepository {0}")]
    NoRepository(Key),
    #[error("BackupRepository {0} was not looked through yet: {1}")]
    NotLooked(Key, String),
    #[error("spec.restore names neither a backup nor a repository")]
    Nothing,
    #[error("the backups of {wanted} are not in {repository}; it has those of {there}")]
    NoInstance { wanted: String, repository: Key, there: String },
    #[error(
        "{repository} has backups of several instances called {name}: give spec.restore.instance.uid, one of {uids}"
    )]
    Several { name: String, repository: Key, uids: String },
    #[error(
        "each backup of {of} is of one of its {count} groups and has a part of the data ({groups}): give the new instance as \
         many groups, or restore each part into an instance of its own that has one, named by spec.restore.id ({newest})"
    )]
    Parts { of: String, count: usize, groups: String, newest: String },
    #[error(
        "the backup of {of} has {parts} parts, one for each of its groups, and this instance has {groups} groups: give it \
         {parts}; each part goes into one group"
    )]
    Groups { of: String, parts: usize, groups: usize },
    #[error(
        "the backup {0} is of one group of several and belongs to no set of all of them: restore it into an instance that has \
         one group"
    )]
    NoSet(Id),
    #[error(transparent)]
    Set(#[from] SetError),
    #[error(
        "spec.restore.pointInTime: the groups of an instance have no common log that leads to a moment: leave it out; a backup \
         of all groups is restored as it was made"
    )]
    NoMomentOfAll,
    #[error(
        "the backup {0} is encrypted: give spec.restore.identity, a Secret with the key `identity` and the private key in it"
    )]
    NoIdentity(Id),
    #[error(transparent)]
    Secret(#[from] PlaceError),
    #[error("the Secret of spec.restore.identity: {0}")]
    Key(#[from] KeyProblem),
    #[error("the Secret of spec.restore.identity: {0}")]
    Kit(#[from] KitError),
    #[error(transparent)]
    Epoch(#[from] EpochError),
    #[error("the backup {0} cannot be opened: {1}")]
    Locked(Id, String),
    #[error("the backup is about to be removed, and its tombstone cannot be taken away: {0}")]
    Condemned(StoreError),
    #[error(
        "the backup {0} was condemned at {1} and may be removed before it is restored: hold it from a cluster that may write"
    )]
    Going(Id, Timestamp),
    #[error(transparent)]
    Order(#[from] orders::OrderError),
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{0:?} is no moment")]
    Moment(String),
    #[error("{0} is no identity of a backup")]
    Id(String),
}

/// A restore that can be ordered.
#[derive(Debug)]
pub struct Restore {
    pub order: RestoreOrder,
    /// The method the backup was made by.
    pub method: String,
    /// Whose data it is, as far as that is known.
    pub from: String,
    look: Look,
}

/// What a source names.
struct Meant {
    repository: Key,
    look: Look,
    identity: Option<Identity>,
    kit: Option<Kit>,
    ring: Option<Keyring>,
    owner: Owner,
    /// The backup that is named, where no moment is.
    id: Option<Id>,
    at: Option<Timestamp>,
    /// Whose data it is, as far as that is known.
    from: String,
}

impl Meant {
    fn restore(&self, found: &Found, job: String) -> Restore {
        let order = RestoreOrder {
            job,
            repository: orders::repository(&self.look.opened),
            // a log can be encrypted where the backup it goes on from is not
            identity: self.identity.clone(),
            kit: self.kit.clone(),
            owner: self.owner.clone(),
            // which one a log goes on from to a time, the agent finds out: it can read how the log went
            backup: self.at.is_none().then_some(found.place.id),
            until: self.at.map_or(Until::Backup, Until::Time),
            timeout: TIMEOUT,
            replace: false,
        };
        let (method, from) = (found.manifest.method.clone(), self.from.clone());
        Restore { order, method, from, look: self.look.clone() }
    }
}

/// What is asked of the rooms around.
pub struct Around<'a> {
    pub client: &'a Client,
    pub caches: &'a Caches,
    pub known: &'a Known,
    pub namespace: &'a str,
}

impl Around<'_> {
    /// Finds the backup, makes sure that it can be opened, and says what to ask for. Where nobody says which, it is the newest
    /// that was complete by then: a backup made for safety's sake is not what somebody wants back.
    pub async fn order(
        &self,
        source: &RestoreSource,
        job: String,
        by: Option<Timestamp>,
    ) -> Result<Restore, RestoreError> {
        let meant = self.meant(source).await?;
        let Meant { look, owner, ring, id, at, from, .. } = &meant;
        let target = match (id, at) {
            (_, Some(at)) => Target::By(*at),
            (Some(id), None) => Target::Backup(*id),
            (None, None) => by.map_or(Target::Newest, Target::By),
        };
        let chain = look.catalog.chain(owner, target)?;
        for found in &chain {
            opens(found, ring.as_ref())?;
        }
        let last = chain.last().ok_or(RestoreError::Nothing)?;
        // a part that nobody asked for would pass for the whole
        let named = source.backup.is_some() || source.id.is_some();
        let count = if !named && last.is_part() { look.catalog.parts_of(last) } else { 1 };
        if count > 1 {
            let (of, parts) = (from.clone(), look.catalog.parts(last));
            let join = |texts: Vec<String>| texts.join(", ");
            let newest = parts.values().map(|found| found.place.id.to_string()).collect();
            let groups = parts.into_keys().map(str::to_owned).collect();
            return Err(RestoreError::Parts { of, count, groups: join(groups), newest: join(newest) });
        }
        if look.opened.key.is_some() {
            self.spare(&meant.repository, look, &chain).await?;
        }
        Ok(meant.restore(last, job))
    }

    /// The same for each of several groups, in their order: a set has a part for each. Where nobody says which, it is one that
    /// stays the same while newer ones are made: parts of two do not fit together.
    pub async fn orders(
        &self,
        source: &RestoreSource,
        groups: &[&str],
        job: impl Fn(&str) -> String,
        by: Timestamp,
    ) -> Result<Vec<Restore>, RestoreError> {
        let meant = self.meant(source).await?;
        let Meant { look, owner, ring, id, from, .. } = &meant;
        if meant.at.is_some() {
            return Err(RestoreError::NoMomentOfAll);
        }
        let set = match id {
            Some(id) => {
                let place = Place { owner: owner.clone(), id: *id };
                let found = look.catalog.get(&place).ok_or(ChainError::NoSuchBackup(*id))?;
                look.catalog.set_of(found).ok_or(RestoreError::NoSet(*id))?
            }
            None => look.catalog.newest_set(owner, by)?,
        };
        set.check()?;
        if set.size != groups.len() {
            return Err(RestoreError::Groups { of: from.clone(), parts: set.size, groups: groups.len() });
        }
        let parts: Vec<&Found> = set.parts.iter().map(|(_, part)| *part).collect();
        for part in &parts {
            opens(part, ring.as_ref())?;
        }
        if look.opened.key.is_some() {
            self.spare(&meant.repository, look, &parts).await?;
        }
        let filled = groups.iter().zip(parts);
        Ok(filled.map(|(&group, part)| meant.restore(part, job(group))).collect())
    }

    /// What a source names, as far as that is the same for one backup and for many.
    async fn meant(&self, source: &RestoreSource) -> Result<Meant, RestoreError> {
        let RestoreSource { backup, repository, instance, id, point_in_time, identity } = source;
        let (identity, kit) = match identity {
            Some(reference) => self.identity(reference).await.map(|(identity, kit)| (Some(identity), kit))?,
            None => (None, None),
        };
        let (repository, instance, id) = match (backup, repository) {
            (Some(name), _) => {
                let key = Key::new(self.namespace, name.as_str());
                let backup = self.caches.backups.get(&key).ok_or(RestoreError::NoBackup(key))?;
                let spec = &backup.spec;
                (spec.repository.clone(), spec.instance.clone(), Some(spec.id.clone()))
            }
            (None, Some(name)) => (name.clone(), instance.clone().ok_or(RestoreError::Nothing)?, id.clone()),
            (None, None) => return Err(RestoreError::Nothing),
        };
        let repository = Key::new(self.namespace, repository.as_str());
        let look = self.look(&repository).await?;
        orders::reachable(&look.opened)?;
        let ring = match &identity {
            Some(identity) => Some(Keyring::unlock(&look.opened.repository, identity, kit.as_ref()).await?),
            None => None,
        };
        let owner = self.owner(&look, &repository, &instance, ring.as_ref()).await?;
        let at = point_in_time.as_ref().map(|text| text.parse::<Timestamp>().map_err(|_| text.clone())).transpose();
        let at = at.map_err(RestoreError::Moment)?;
        // with a moment, what is named beside it says nothing
        let id = id.filter(|_| at.is_none()).map(|id| id.parse::<Id>().map_err(RestoreError::Id)).transpose()?;
        let from = instance.name.map_or_else(|| owner.instance.to_string(), |name| name.to_string());
        Ok(Meant { repository, look, identity, kit, ring, owner, id, at, from })
    }

    /// A backup is not removed under whoever restores it: what is condemned anew waits another day.
    async fn spare(&self, repository: &Key, look: &Look, chain: &[&Found]) -> Result<(), RestoreError> {
        // a younger one leaves time, and whoever restores asks again
        let before = Timestamp::now().checked_sub(LATE).unwrap_or(Timestamp::MIN);
        let spared = sweep::spare(&look.opened.repository, chain, before).await.map_err(RestoreError::Condemned)?;
        if !spared.is_empty() {
            self.known.amend(repository, |catalog| {
                for found in catalog.found.iter_mut().filter(|found| spared.contains(&found.place)) {
                    found.tombstone = None;
                }
            });
        }
        Ok(())
    }

    /// Whether it can be restored, as far as that can be known without touching anything: the agent does the same once more.
    pub async fn examine(&self, source: &RestoreSource, by: Option<Timestamp>) -> Result<Id, RestoreError> {
        let Restore { order, look, .. } = self.order(source, String::new(), by).await?;
        let repository = &look.opened.repository;
        let ring = match &order.identity {
            Some(identity) => Keyring::unlock(repository, identity, order.kit.as_ref()).await?,
            None => Keyring::default(),
        };
        let asked = Asked { owner: &order.owner, backup: order.backup, until: order.until };
        let chain = replay::choose(repository, &ring, asked, |_| true).await?;
        for found in &chain {
            if look.opened.key.is_none()
                && let Some(tombstone) = &found.tombstone
                // long ago nobody removes any more
                && (LATE..LATE * 4).contains(&Timestamp::now().duration_since(tombstone.at))
            {
                return Err(RestoreError::Going(found.place.id, tombstone.at));
            }
            let opener = ring.opener(found.manifest.epoch.as_ref());
            let opener = opener.map_err(|reason| RestoreError::Locked(found.place.id, reason))?;
            Content::open(repository, found, opener).await?;
        }
        let last = chain.last().ok_or(RestoreError::Nothing)?;
        if let Some(span) = &last.manifest.log {
            replay::route(repository, &ring, span, order.until).await?;
        }
        Ok(last.place.id)
    }

    /// The private key, and the recovery kit where somebody put it beside it.
    async fn identity(&self, reference: &LocalRef) -> Result<(Identity, Option<Kit>), RestoreError> {
        let secret = Read::of(self.client, self.namespace, reference.name.as_str(), IDENTITY).await?;
        let kit = secret.text(KIT)?.map(|text| Kit::parse(&text)).transpose()?;
        Ok((Identity::parse(&secret.required(IDENTITY)?)?, kit))
    }

    async fn look(&self, repository: &Key) -> Result<Look, RestoreError> {
        let object = self.caches.backup_repositories.get(repository);
        let object = object.ok_or_else(|| RestoreError::NoRepository(repository.clone()))?;
        if let Some(look) = self.known.renewed(&object).await {
            return Ok(look);
        }
        let conditions = object.status.clone().unwrap_or_default().conditions;
        let why = conditions.first().map_or("it is about to be".to_owned(), |ready| ready.message.clone());
        Err(RestoreError::NotLooked(repository.clone(), why))
    }

    /// By UID, or by the name that Backups show or only those with a key may read.
    async fn owner(
        &self,
        look: &Look,
        repository: &Key,
        wanted: &BackedUpInstance,
        ring: Option<&Keyring>,
    ) -> Result<Owner, RestoreError> {
        let mut owners: Vec<&Owner> = Vec::new();
        for found in look.catalog.found.iter().rev().filter(|found| found.damage().is_none()) {
            let owner = &found.place.owner;
            if owners.contains(&owner) {
                continue;
            }
            let meant = match &wanted.uid {
                Some(uid) => owner.instance.as_str() == uid,
                None => self.is_called(look, found, wanted, ring).await,
            };
            if meant {
                owners.push(owner);
            }
        }
        let name = || wanted.name.as_ref().map(ToString::to_string).or(wanted.uid.clone()).unwrap_or_default();
        match owners.as_slice() {
            [one] => Ok((*one).clone()),
            [] => {
                let mut there: Vec<String> =
                    look.catalog.found.iter().map(|found| found.place.owner.instance.to_string()).collect();
                there.sort();
                there.dedup();
                let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
                Err(RestoreError::NoInstance { wanted: name(), repository: repository.clone(), there })
            }
            several => {
                let uids = several.iter().map(|owner| owner.instance.to_string()).collect::<Vec<_>>().join(", ");
                Err(RestoreError::Several { name: name(), repository: repository.clone(), uids })
            }
        }
    }

    async fn is_called(&self, look: &Look, found: &Found, wanted: &BackedUpInstance, ring: Option<&Keyring>) -> bool {
        let Place { owner, id } = &found.place;
        let shown = self.caches.backups.select(|backup| {
            backup.namespace().as_deref() == Some(self.namespace)
                && (backup.spec.id == id.to_string()
                    || backup.spec.instance.uid.as_deref() == Some(owner.instance.as_str()))
        });
        let is = |one: &BackedUpInstance| {
            one.name.is_some()
                && one.name == wanted.name
                && (wanted.namespace.is_none() || wanted.namespace == one.namespace)
        };
        if shown.iter().any(|backup| is(&backup.spec.instance)) {
            return true;
        }
        let opener = match (ring, &found.manifest.epoch) {
            (_, None) => Ok(Opener::Clear),
            (Some(ring), epoch) => ring.opener(epoch.as_ref()),
            (None, Some(_)) => return false,
        };
        let Ok(opener) = opener else { return false };
        let described = match Content::open(&look.opened.repository, found, opener).await {
            Ok(content) => content.description(),
            Err(error) => Err(error),
        };
        match described {
            Ok(described) => {
                let said = |field: &str| described.get(field).and_then(|value| value.as_str()).map(str::to_owned);
                let name = wanted.name.as_ref().map(ToString::to_string);
                let namespace = wanted.namespace.as_ref().map(ToString::to_string);
                said("instance") == name && (namespace.is_none() || said("namespace") == namespace)
            }
            Err(error) => {
                tracing::warn!(backup = %id, %error, "the description of a backup cannot be read");
                false
            }
        }
    }
}

fn opens(found: &Found, ring: Option<&Keyring>) -> Result<(), RestoreError> {
    match (&found.manifest.epoch, ring) {
        (None, _) => Ok(()),
        (Some(_), None) => Err(RestoreError::NoIdentity(found.place.id)),
        (Some(epoch), Some(ring)) => {
            ring.opener(Some(epoch)).map(drop).map_err(|reason| RestoreError::Locked(found.place.id, reason))
        }
    }
}
