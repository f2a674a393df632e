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
use crate::backup::read::{Catalog, Found, Target};
use crate::extension::contract::BackupMethod;
use crate::lifecycle::backup::{ArchiveOrder, BackupOrder, RepositoryPlace, StorePlace, Writer};
use crate::plan::schedule::{Parent, Type, type_to_make};

/// Incremental backups that are made upon one full one; restoring needs them all.
const LONGEST_CHAIN: usize = 24;

#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    #[error("the method {method} makes no {wanted:?} backups")]
    NoSuchType { method: String, wanted: BackupType },
    #[error("the repository is only read here: give it access: ReadWrite, or name another one")]
    ReadOnly,
    #[error("instance {0} has no UID yet")]
    NoUid(String),
    #[error(
        "the repository is a file system, and pods do not reach it: it is mounted into the controller alone, for looking \
         through it and for the command line; use a store with spec.s3 for backups from pods and for restores to them"
    )]
    OnlyHere,
}

/// Agents write into stores and read from them over the network; no volume of a repository is mounted into their pods.
pub fn reachable(opened: &Opened) -> Result<(), OrderError> {
    match &opened.place {
        Place::S3(_) => Ok(()),
        Place::Folder(_) => Err(OrderError::OnlyHere),
    }
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

/// The other pods on whose disks a part of the log can lie: what they wrote while they led, and could not archive any more.
pub fn wrote_log<'a>(pods: &'a [Arc<Pod>], method: &BackupMethod, writes: &Pod) -> Vec<&'a Arc<Pod>> {
    let of_same = |pod: &Pod| {
        let same = |label: &str| pod.labels().get(label) == writes.labels().get(label);
        pod.name_any() != writes.name_any() && same(labels::COMPONENT) && same(labels::GROUP)
    };
    pods.iter().filter(|pod| has_data(pod, method) && is_ready(pod) && of_same(pod)).collect()
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
    /// Whether its log is archived.
    pub with_log: bool,
    /// What it is a part of: the name of the set, and how many parts that has.
    pub set: Option<(String, usize)>,
}

/// The order, and why it is for another type than was wanted.
pub fn backup(
    wanted: Wanted<'_>,
    instance: &Instance,
    owner: Owner,
    opened: &Opened,
    catalog: &Catalog,
) -> Result<(BackupOrder, Option<&'static str>), OrderError> {
    let Wanted { job, method: (name, method), type_, labels: mut own, bandwidth, timeout, with_log, set } = wanted;
    let declared =
        |type_| if method.types.is_empty() { type_ == BackupType::Full } else { method.types.contains(&type_) };
    if !declared(type_) {
        return Err(OrderError::NoSuchType { method: name.to_owned(), wanted: type_ });
    }
    reachable(opened)?;
    let writer = writer(opened)?;
    let newest = newest(catalog, &owner, name);
    let parent = newest.map(|newest| {
        let chain = catalog.chain(&owner, Target::Backup(newest.place.id));
        Parent {
            sound: chain.is_ok(),
            condemned: newest.tombstone.is_some(),
            fits: newest.manifest.epoch == writer.epoch,
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
    // nobody else says what belongs together
    own.retain(|name, _| ![labels::SET, labels::SET_SIZE, labels::SET_SAME].contains(&name.as_str()));
    if let Some((id, size)) = set {
        own.extend([(labels::SET.to_owned(), id), (labels::SET_SIZE.to_owned(), size.to_string())]);
    }
    let order = BackupOrder {
        job,
        repository: repository(opened),
        writer,
        owner,
        method: name.to_owned(),
        type_,
        parent,
        labels: own,
        description: description(instance),
        bandwidth,
        timeout,
        may_shrink: false,
        with_log,
    };
    Ok((order, why))
}

/// The newest backup of an instance by a method. One made in another way is not what is added to, and does not stand between
/// a backup and what it adds to.
fn newest<'a>(catalog: &'a Catalog, owner: &Owner, method: &str) -> Option<&'a Found> {
    let same = |found: &&Found| found.place.owner == *owner && found.manifest.method == method;
    catalog.found.iter().filter(same).max_by_key(|found| (found.manifest.completed_at, found.place.id))
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

pub fn archive(method: &str, owner: Owner, opened: &Opened, interval: Duration) -> Result<ArchiveOrder, OrderError> {
    reachable(opened)?;
    let (repository, writer) = (repository(opened), writer(opened)?);
    Ok(ArchiveOrder { method: method.to_owned(), repository, writer, owner, interval: Some(interval) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::tests::world::{World, owner, rows, source};
    use crate::backup::write::Writing;

    #[tokio::test]
    async fn a_backup_adds_to_the_newest_by_its_method_whatever_was_made_otherwise_since() {
        let world = World::new(false).await;
        let mut made = Vec::new();
        for (method, data) in [("base", 1), ("base", 2), ("dump", 3)] {
            let mut request = world.request(None);
            request.method = method.to_owned();
            let begun =
                Writing::begin(&world.repository, &world.key, world.clock(), request, world.settings.clone()).await;
            let mut writing = begun.expect("begun");
            writing.stream(source("data", rows(10, data))).await.expect("written");
            made.push(writing.commit(None).await.expect("committed").place);
            world.memory.pass(jiff::SignedDuration::from_secs(1));
        }
        let catalog = world.catalog().await;
        let found = |method| newest(&catalog, &owner(), method).map(|found| &found.place);
        assert_eq!((found("base"), found("dump"), found("other")), (Some(&made[1]), Some(&made[2]), None));
        let another = Owner { instance: Uid::parse("another").expect("an identity"), ..owner() };
        assert_eq!(newest(&catalog, &another, "base"), None);
    }
}
