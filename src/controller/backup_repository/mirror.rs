//! What a repository holds, as Backup objects: computed purely. The repository is the truth.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::backup::{Backup, BackupPhase, BackupSpec, BackupStatus, Verified};
use crate::api::conditions::{ConditionStatus, Finding, READY, merge};
use crate::api::instance::BackedUpInstance;
use crate::api::labels::{GROUP, PART, SET, SET_SIZE};
use crate::api::operation::BackupType;
use crate::backup::id::Id;
use crate::backup::layout::Owner;
use crate::backup::manifest::Level;
use crate::backup::read::{Begun, Catalog, Failed, Found};
use crate::controller::repositories::known::object_name;
use crate::controller::repositories::words::{moment, size};
use crate::names::{InstanceName, NamespaceName, ObjectName};

/// How an instance is called in the cluster that looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Called {
    pub name: Option<InstanceName>,
    pub namespace: Option<NamespaceName>,
}

/// A Backup object as it is to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    pub name: String,
    /// For an object that is not there yet.
    pub spec: BackupSpec,
    /// Everything but what depends on the object that is there.
    pub status: BackupStatus,
    pub finding: Finding,
}

/// What the objects are made from.
pub struct Seen<'a> {
    pub repository: &'a ObjectName,
    pub catalog: &'a Catalog,
    /// By the UID of the instance.
    pub called: &'a BTreeMap<String, Called>,
    /// When retention removes what it condemned.
    pub expires: &'a BTreeMap<Id, Timestamp>,
}

pub fn wanted(seen: &Seen<'_>) -> Vec<Wanted> {
    let found = seen.catalog.found.iter().map(|found| committed(seen, found));
    let begun = seen.catalog.begun.iter().map(|begun| running(seen, begun));
    let failed = seen.catalog.failed.iter().map(|one| failed(seen, one));
    found.chain(begun).chain(failed).collect()
}

fn spec(seen: &Seen<'_>, owner: &Owner, id: Id) -> BackupSpec {
    let called = seen.called.get(owner.instance.as_str()).cloned().unwrap_or_default();
    BackupSpec {
        repository: seen.repository.clone(),
        id: id.to_string(),
        instance: BackedUpInstance {
            name: called.name,
            namespace: called.namespace,
            uid: Some(owner.instance.to_string()),
        },
        hold: None,
        labels: None,
    }
}

fn committed(seen: &Seen<'_>, found: &Found) -> Wanted {
    let manifest = &found.manifest;
    let spec = spec(seen, &found.place.owner, manifest.id);
    let mut labels =
        found.wish.as_ref().and_then(|wish| wish.labels.clone()).unwrap_or_else(|| manifest.labels.clone());
    // what belongs together is not for people to say
    let own = |name: &&String| found.set().is_some() && [GROUP, PART, SET, SET_SIZE].contains(&name.as_str());
    labels.extend(
        manifest.labels.iter().filter(|(name, _)| own(name)).map(|(name, value)| (name.clone(), value.clone())),
    );
    let (level, proven_at) = found.proof();
    let damage = found.damage().map(|one| one.problems.join("; "));
    let message = damage.clone().or_else(|| Some(found.tombstone.as_ref()?.reason.clone()));
    let status = BackupStatus {
        phase: Some(found.phase()),
        type_: Some(manifest.type_),
        method: Some(manifest.method.clone()),
        parent: manifest.parent.as_ref().map(|parent| parent.id.to_string()),
        started_at: Some(moment(manifest.started_at)),
        completed_at: Some(moment(manifest.completed_at)),
        size: Some(size(manifest.chunks.stored_bytes)),
        source_bytes: Some(saturated(manifest.chunks.source_bytes)),
        stored_bytes: Some(saturated(manifest.chunks.stored_bytes)),
        verified: Some(verified(level)),
        verified_at: Some(moment(proven_at)),
        message,
        held: found.wish.as_ref().map(|wish| wish.hold).filter(|hold| *hold),
        labels: Some(labels).filter(|labels| !labels.is_empty()),
        expires_at: seen.expires.get(&manifest.id).map(|at| moment(*at)),
        ..BackupStatus::default()
    };
    let finding = match damage {
        Some(problem) => Finding::new(READY, ConditionStatus::False, "Damaged", problem),
        None if found.tombstone.is_some() => {
            Finding::new(READY, ConditionStatus::True, "Expiring", "it can be restored until it is removed")
        }
        None => Finding::new(READY, ConditionStatus::True, "Completed", "it is complete"),
    };
    Wanted { name: object_name(seen.repository, manifest.id), spec, status, finding }
}

fn running(seen: &Seen<'_>, begun: &Begun) -> Wanted {
    let status = BackupStatus {
        phase: Some(BackupPhase::Running),
        type_: Some(begun.attempt.type_),
        parent: begun.attempt.parent.as_ref().map(|parent| parent.id.to_string()),
        started_at: Some(moment(begun.attempt.started_at)),
        ..BackupStatus::default()
    };
    let message = format!("{} works on it", begun.attempt.holder);
    Wanted {
        name: object_name(seen.repository, begun.place.id),
        spec: spec(seen, &begun.place.owner, begun.place.id),
        status,
        finding: Finding::new(READY, ConditionStatus::False, "Running", message),
    }
}

fn failed(seen: &Seen<'_>, failed: &Failed) -> Wanted {
    let status = BackupStatus {
        phase: Some(BackupPhase::Failed),
        type_: None::<BackupType>,
        started_at: Some(moment(failed.place.id.made_at())),
        message: Some(failed.void.reason.clone()),
        ..BackupStatus::default()
    };
    Wanted {
        name: object_name(seen.repository, failed.place.id),
        spec: spec(seen, &failed.place.owner, failed.place.id),
        status,
        finding: Finding::new(READY, ConditionStatus::False, "Failed", &failed.void.reason),
    }
}

impl Wanted {
    /// The status of an object that has this one now.
    pub fn status_after(&self, before: &BackupStatus, generation: Option<i64>, now: &Time) -> BackupStatus {
        let conditions = merge(&before.conditions, std::slice::from_ref(&self.finding), generation, now);
        BackupStatus { observed_generation: generation, conditions, ..self.status.clone() }
    }
}

/// What an object says whose backup is not in the repository, or cannot be read there.
pub fn without(backup: &Backup, catalog: &Catalog) -> (BackupPhase, Finding) {
    let id = format!("/{}/", backup.spec.id);
    let unreadable = catalog.problems.iter().find(|problem| problem.object.contains(&id));
    if let Some(problem) = unreadable {
        return (BackupPhase::Damaged, Finding::new(READY, ConditionStatus::False, "Unreadable", &problem.reason));
    }
    let message = format!(
        "there is no backup {} in the repository {}; delete this object: it shows nothing",
        backup.spec.id, backup.spec.repository
    );
    (BackupPhase::Failed, Finding::new(READY, ConditionStatus::False, "NotInRepository", message))
}

fn verified(level: Level) -> Verified {
    match level {
        Level::Committed => Verified::Committed,
        Level::Listed => Verified::Listed,
        Level::Read => Verified::Read,
        Level::Restored => Verified::Restored,
    }
}

fn saturated(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
