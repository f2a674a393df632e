//! Operations and backups that ended: what is told of them on the audit branch. Which ones are not told of yet follows
//! from the files of the branch, so that none is forgotten and none is told of twice.

use std::collections::{BTreeMap, BTreeSet};

use kube::{Resource, ResourceExt};
use serde_json::{Value, json};

use super::super::settings::Settings;
use crate::api::backup::BackupPhase;
use crate::api::operation::OperationPhase;
use crate::api::{Backup, Instance, Operation, labels};
use crate::cluster::Key;
use crate::controller::caches::Caches;
use crate::names::InstanceName;
use crate::plan::source::source_label;
use crate::repo::{ObjectId as GitId, blob_id};

/// Something that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    object: String,
    result: String,
    message: Option<String>,
    pub failed: bool,
    pub path: String,
    pub content: Vec<u8>,
}

/// What there is to tell: what ended since, and files of what is not in the cluster any more.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct News {
    pub ended: Vec<Ended>,
    pub gone: Vec<String>,
}

impl Ended {
    /// What it is and how it ended, in a line.
    pub fn title(&self) -> String {
        let message = self.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
        format!("{} {}{message}", self.object, self.result.to_lowercase())
    }

    /// The same for programs, in the shape of what is applied.
    pub fn action(&self) -> Value {
        json!({ "object": self.object, "action": self.result, "result": if self.failed { "failed" } else { "done" },
                "reason": self.message })
    }
}

/// The source that tells of an operation or a backup: the one that applied it, or that applied its instance.
pub fn source_of(caches: &Caches, key: &Key, own: Option<&String>, instance: Option<&str>) -> Option<Key> {
    let of_instance = |name: &str| {
        let key = Key { namespace: key.namespace.clone(), name: name.to_owned() };
        caches
            .instances
            .get(&key)
            .and_then(|instance: std::sync::Arc<Instance>| instance.labels().get(labels::SOURCE).cloned())
    };
    let label = own.cloned().or_else(|| of_instance(instance?))?;
    let is_it = |source: &crate::api::GitSource| {
        source_label(&source.namespace().unwrap_or_default(), &source.name_any()) == label
    };
    caches.git_sources.select(is_it).first().map(|source| Key::of(source.as_ref()))
}

/// The source of an operation that ended.
pub fn of_operation(caches: &Caches, operation: &Operation) -> Option<Key> {
    ended_operation(operation)?;
    let own = operation.labels().get(labels::SOURCE);
    source_of(caches, &Key::of(operation), own, Some(operation.spec.instance.as_str()))
}

/// The source of a backup that ended.
pub fn of_backup(caches: &Caches, backup: &Backup) -> Option<Key> {
    ended_backup(backup)?;
    let instance = backup.spec.instance.name.as_ref().map(InstanceName::as_str);
    source_of(caches, &Key::of(backup), backup.labels().get(labels::SOURCE), instance)
}

/// What the branch does not tell yet.
pub fn news(caches: &Caches, settings: &Settings, source: &Key, files: &BTreeMap<String, GitId>) -> News {
    let prefix = format!("{}/finished/", settings.folder());
    let operations = caches.operations.select(|one| of_operation(caches, one).as_ref() == Some(source));
    let backups = caches.backups.select(|one| of_backup(caches, one).as_ref() == Some(source));
    let ended = operations
        .iter()
        .filter_map(|one| told(&prefix, "Operation", one.as_ref(), ended_operation(one)?))
        .chain(backups.iter().filter_map(|one| told(&prefix, "Backup", one.as_ref(), ended_backup(one)?)));
    fresh(ended.collect(), &prefix, files)
}

fn fresh(all: Vec<Ended>, prefix: &str, files: &BTreeMap<String, GitId>) -> News {
    let there: BTreeSet<&str> = all.iter().map(|ended| ended.path.as_str()).collect();
    let gone = files.keys().filter(|path| path.starts_with(prefix) && !there.contains(path.as_str()));
    let gone = gone.cloned().collect();
    let ended = all.into_iter().filter(|ended| files.get(&ended.path) != Some(&blob_id(&ended.content))).collect();
    News { ended, gone }
}

/// How something ended.
struct End {
    result: String,
    failed: bool,
    more: Value,
}

fn ended_operation(operation: &Operation) -> Option<End> {
    let status = operation.status.as_ref()?;
    let failed = match status.phase? {
        OperationPhase::Succeeded => false,
        OperationPhase::Failed | OperationPhase::Cancelled => true,
        OperationPhase::Pending | OperationPhase::Running | OperationPhase::Paused => return None,
    };
    let more = json!({
        "instance": operation.spec.instance, "type": operation.spec.type_, "requestedBy": status.requested_by,
        "startedAt": status.started_at, "finishedAt": status.finished_at, "message": status.message,
        "steps": status.steps,
    });
    Some(End { result: format!("{:?}", status.phase?), failed, more })
}

fn ended_backup(backup: &Backup) -> Option<End> {
    let status = backup.status.as_ref()?;
    let failed = match status.phase? {
        BackupPhase::Completed | BackupPhase::Expiring => false,
        BackupPhase::Failed | BackupPhase::Damaged => true,
        BackupPhase::Running => return None,
    };
    // that it will go soon is no other end than that it was made
    let result = if failed { format!("{:?}", status.phase?) } else { "Completed".to_owned() };
    let more = json!({
        "instance": backup.spec.instance, "repository": backup.spec.repository, "id": backup.spec.id,
        "type": status.type_, "method": status.method, "parent": status.parent, "startedAt": status.started_at,
        "finishedAt": status.completed_at, "storedBytes": status.stored_bytes,
        "message": if failed { status.message.clone() } else { None },
    });
    Some(End { result, failed, more })
}

fn told<K: Resource<DynamicType = ()>>(prefix: &str, kind: &str, object: &K, end: End) -> Option<Ended> {
    let meta = object.meta();
    let (namespace, name) = (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref()?);
    let mut whole = json!({
        "kind": kind, "namespace": namespace, "name": name, "uid": meta.uid, "result": &end.result,
    });
    if let (Some(whole), Value::Object(more)) = (whole.as_object_mut(), end.more) {
        whole.extend(more.into_iter().filter(|(_, value)| !value.is_null()));
    }
    Some(Ended {
        object: format!("{kind} {namespace}/{name}"),
        message: whole["message"].as_str().map(str::to_owned),
        result: end.result,
        failed: end.failed,
        path: format!("{prefix}{namespace}/{}/{name}.json", kind.to_lowercase()),
        content: serde_json::to_vec_pretty(&whole).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(phase: &str) -> Operation {
        serde_json::from_value(json!({
            "apiVersion": "midship.dev/v1alpha1", "kind": "Operation",
            "metadata": { "name": "restart-1", "namespace": "shop", "uid": "u" },
            "spec": { "instance": "cache", "type": "Restart" },
            "status": { "phase": phase, "finishedAt": "2026-01-02T03:04:05Z", "message": "2 of 2 pods" },
        }))
        .expect("an operation")
    }

    fn all(phase: &str) -> Vec<Ended> {
        let operation = operation(phase);
        ended_operation(&operation)
            .and_then(|end| told("f/finished/", "Operation", &operation, end))
            .into_iter()
            .collect()
    }

    #[test]
    fn what_goes_on_is_not_told_of() {
        assert!(all("Running").is_empty() && all("Paused").is_empty());
    }

    #[test]
    fn what_ended_is_told_of_once() {
        let ended = all("Failed");
        assert_eq!(ended[0].title(), "Operation shop/restart-1 failed: 2 of 2 pods");
        let path = "f/finished/shop/operation/restart-1.json";
        assert_eq!((ended[0].path.as_str(), ended[0].failed), (path, true));
        let told = BTreeMap::from([(path.to_owned(), blob_id(&ended[0].content))]);
        assert_eq!(fresh(ended.clone(), "f/finished/", &BTreeMap::new()).ended, ended);
        assert_eq!(fresh(ended, "f/finished/", &told), News::default());
    }

    #[test]
    fn a_backup_is_told_of_when_it_is_complete_or_failed_and_not_again_when_it_expires() {
        let told = |phase: &str| {
            let backup: Backup = serde_json::from_value(json!({
                "apiVersion": "midship.dev/v1alpha1", "kind": "Backup",
                "metadata": { "name": "vault-1", "namespace": "shop", "uid": "u" },
                "spec": { "repository": "vault", "id": "01JD3F7K2M8Q5R9T1V4W6X0Y2Z", "instance": { "name": "cache" } },
                "status": { "phase": phase, "message": "no room" },
            }))
            .expect("a backup");
            told("f/finished/", "Backup", &backup, ended_backup(&backup)?)
        };
        assert_eq!(told("Running"), None);
        assert_eq!(told("Completed"), told("Expiring"));
        let title = |phase: &str| told(phase).map(|ended| (ended.title(), ended.failed));
        assert_eq!(title("Completed"), Some(("Backup shop/vault-1 completed".to_owned(), false)));
        assert_eq!(title("Failed"), Some(("Backup shop/vault-1 failed: no room".to_owned(), true)));
    }

    #[test]
    fn the_file_of_what_is_not_there_any_more_goes() {
        let path = "f/finished/shop/operation/restart-1.json".to_owned();
        let told = BTreeMap::from([(path.clone(), blob_id(b"x")), ("f/record.json".to_owned(), blob_id(b"y"))]);
        assert_eq!(fresh(Vec::new(), "f/finished/", &told).gone, [path]);
    }
}
