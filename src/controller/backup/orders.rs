//! What an agent is asked about backups: which pod, which method, with which keys.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::{Map, json};

use super::open::Opened;
use super::place::Place;
use crate::api::operation::BackupType;
use crate::api::pod_report::PodReport;
use crate::api::{Instance, labels};
use crate::backup::keys::SigningKey;
use crate::backup::layout::{Owner, Uid};
use crate::backup::read::{Catalog, Target};
use crate::extension::contract::BackupMethod;
use crate::extension::{Package, install};
use crate::lifecycle::backup::{ArchiveOrder, BackupOrder, RepositoryPlace, StorePlace, Writer};
use crate::names::RoleName;
use crate::plan::schedule::{Parent, Type, type_to_make};

/// Incremental backups that are made upon one full one; restoring needs them all.
const LONGEST_CHAIN: usize = 24;

#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    #[error("{0} declares no way of making backups; give its package `backup.methods`")]
    NoMethods(String),
    #[error("{package} has no backup method {wanted:?}; it has {there}")]
    NoSuchMethod { package: String, wanted: String, there: String },
    #[error("{0} has several backup methods and no default: name one of {1}")]
    NoDefault(String, String),
    #[error("the method {0} makes a backup of each group, which cannot be ordered yet; choose another method")]
    EachGroup(String),
    #[error("the method {method} makes no {wanted:?} backups")]
    NoSuchType { method: String, wanted: BackupType },
    #[error("no pod of {0} is ready to be backed up; see `midship describe inst/{0}`")]
    NoPod(String),
    #[error("the repository is only read here: give it access: ReadWrite, or name another one")]
    ReadOnly,
    #[error("instance {0} has no UID yet")]
    NoUid(String),
}

/// A method and its name.
pub fn method<'a>(package: &'a Package, wanted: Option<&str>) -> Result<(&'a str, &'a BackupMethod), OrderError> {
    let called = install::name(&package.manifest.type_, &package.manifest.version);
    let backup = package.manifest.backup.as_ref().filter(|backup| !backup.methods.is_empty());
    let backup = backup.ok_or_else(|| OrderError::NoMethods(called.clone()))?;
    let there = || backup.methods.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let found = match wanted.or(backup.default.as_deref()) {
        Some(name) => backup.methods.get_key_value(name).ok_or_else(|| OrderError::NoSuchMethod {
            package: called,
            wanted: name.to_owned(),
            there: there(),
        })?,
        None => match backup.methods.iter().next() {
            Some(only) if backup.methods.len() == 1 => only,
            _ => return Err(OrderError::NoDefault(called, there())),
        },
    };
    if found.1.each_group {
        return Err(OrderError::EachGroup(found.0.clone()));
    }
    Ok((found.0, found.1))
}

/// The pod a backup is taken from: one with the preferred role, else the one with the exclusive role, else the first.
pub fn choose(
    instance: &Instance,
    pods: &[Arc<Pod>],
    method: &BackupMethod,
    prefer: Option<&RoleName>,
) -> Result<Arc<Pod>, OrderError> {
    let role = |pod: &Pod| pod.labels().get(labels::ROLE).cloned();
    let mut able: Vec<&Arc<Pod>> = pods.iter().filter(|pod| has_data(pod, method) && is_ready(pod)).collect();
    able.sort_by_key(|pod| ordinal(pod));
    let wanted = prefer.or(method.prefer.as_ref()).map(RoleName::as_str);
    let preferred = able.iter().find(|pod| wanted.is_some() && role(pod).as_deref() == wanted);
    let primary = instance.status.as_ref().and_then(|status| status.primary.clone());
    let holder = able.iter().find(|pod| primary.as_ref() == Some(&pod.name_any()));
    let chosen = preferred.or(holder).or(able.first());
    chosen.map(|pod| Arc::clone(pod)).ok_or_else(|| OrderError::NoPod(instance.name_any()))
}

/// The pod whose log is archived: the one with the exclusive role, or the only one.
pub fn writes_log(instance: &Instance, pods: &[Arc<Pod>], method: &BackupMethod) -> Option<Arc<Pod>> {
    let primary = instance.status.as_ref().and_then(|status| status.primary.clone());
    let mut able = pods.iter().filter(|pod| has_data(pod, method) && is_ready(pod));
    match primary {
        Some(primary) => able.find(|pod| pod.name_any() == primary).cloned(),
        None => able.min_by_key(|pod| ordinal(pod)).cloned(),
    }
}

fn has_data(pod: &Pod, method: &BackupMethod) -> bool {
    let component = pod.labels().get(labels::COMPONENT);
    method.component.as_ref().is_none_or(|wanted| component.is_some_and(|of| of == wanted.as_str()))
}

fn is_ready(pod: &Pod) -> bool {
    let reported = PodReport::of(pod.metadata.annotations.as_ref()).is_some_and(|report| report.ready);
    let address = pod.status.as_ref().is_some_and(|status| status.pod_ip.is_some());
    reported && address && pod.metadata.deletion_timestamp.is_none()
}

/// Its place in its group; what has none comes last.
pub fn ordinal(pod: &Pod) -> u32 {
    pod.labels().get(labels::ORDINAL).and_then(|text| text.parse().ok()).unwrap_or(u32::MAX)
}

pub fn repository(opened: &Opened) -> RepositoryPlace {
    let store = match &opened.place {
        Place::S3(settings) => StorePlace::S3((**settings).clone()),
        Place::Folder(path) => StorePlace::Filesystem(path.clone()),
    };
    RepositoryPlace { store, root: opened.repository.root() }
}

fn writer(opened: &Opened) -> Result<Writer, OrderError> {
    let key: Arc<SigningKey> = opened.key.clone().ok_or(OrderError::ReadOnly)?;
    Ok(Writer { key, epoch: opened.epoch.as_ref().map(|epoch| epoch.name.clone()) })
}

/// Who an instance is in the repository.
pub fn owner(cluster: &Uid, instance: &Instance) -> Result<Owner, OrderError> {
    let uid = instance.uid().unwrap_or_default();
    let instance = Uid::parse(&uid).map_err(|_| OrderError::NoUid(instance.name_any()))?;
    Ok(Owner { cluster: cluster.clone(), instance })
}

/// What is wanted of a backup.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    pub job: String,
    pub method: (&'a str, &'a BackupMethod),
    pub type_: BackupType,
    pub labels: BTreeMap<String, String>,
    /// Bytes per second.
    pub bandwidth: Option<u64>,
    pub timeout: Duration,
}

/// The order, and why it is for another type than was wanted.
pub fn backup(
    wanted: Wanted<'_>,
    instance: &Instance,
    owner: Owner,
    opened: &Opened,
    catalog: &Catalog,
) -> Result<(BackupOrder, Option<&'static str>), OrderError> {
    let Wanted { job, method: (name, method), type_, labels, bandwidth, timeout } = wanted;
    let declared =
        |type_| if method.types.is_empty() { type_ == BackupType::Full } else { method.types.contains(&type_) };
    if !declared(type_) {
        return Err(OrderError::NoSuchType { method: name.to_owned(), wanted: type_ });
    }
    let writer = writer(opened)?;
    let newest = catalog.found.iter().filter(|found| found.place.owner == owner);
    let newest = newest.max_by_key(|found| (found.manifest.completed_at, found.place.id));
    let parent = newest.map(|newest| {
        let chain = catalog.chain(&owner, Target::Backup(newest.place.id));
        Parent {
            sound: chain.is_ok(),
            condemned: newest.tombstone.is_some(),
            fits: newest.manifest.method == name && newest.manifest.epoch == writer.epoch,
            length: chain.map_or(0, |chain| chain.len()),
        }
    });
    let asked = match type_ {
        BackupType::Full => Type::Full,
        BackupType::Incremental => Type::Incremental,
    };
    let (made, why) = type_to_make(asked, parent, LONGEST_CHAIN);
    let (type_, parent) = match made {
        Type::Full => (BackupType::Full, None),
        Type::Incremental => (BackupType::Incremental, newest.map(|newest| newest.place.id)),
    };
    let order = BackupOrder {
        job,
        repository: repository(opened),
        writer,
        owner,
        method: name.to_owned(),
        type_,
        parent,
        labels,
        description: description(instance),
        bandwidth,
        timeout,
        may_shrink: false,
    };
    Ok((order, why))
}

/// What only those with a key may read: what the instance was, so that it can be made again as it was.
fn description(instance: &Instance) -> Map<String, serde_json::Value> {
    let resolved = instance.status.as_ref().and_then(|status| status.resolved.clone());
    let all = json!({
        "instance": instance.name_any(),
        "namespace": instance.namespace(),
        "labels": instance.labels(),
        "spec": instance.spec,
        "resolved": resolved,
    });
    match all {
        serde_json::Value::Object(map) => map,
        _ => Map::new(),
    }
}

pub fn archive(method: &str, opened: &Opened) -> Result<ArchiveOrder, OrderError> {
    Ok(ArchiveOrder { method: method.to_owned(), repository: repository(opened), writer: writer(opened)? })
}
