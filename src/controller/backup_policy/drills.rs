//! Drills: on a schedule the newest backup of each instance is restored into a scratch instance of its own, which has to serve
//! and to pass the package's checks. What came of it is written into the repository; the scratch instance goes.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::{BackupPolicies, Ground, Memory, newest_of, without_nulls};
use crate::api::conditions::{ConditionStatus, READY, find};
use crate::api::{API_VERSION, Instance, labels};
use crate::backup::manifest::Level;
use crate::backup::read::Found;
use crate::backup::verify;
use crate::cluster::problem::Problem;
use crate::controller::frame::Failure;
use crate::controller::packages::used_by;
use crate::controller::repositories::known::Look;
use crate::controller::repositories::words::moment;
use crate::extension::Package;
use crate::plan::schedule::Schedule;

/// The backup that a scratch instance tries.
pub const DRILL: &str = "midship.dev/drill";
/// The instance whose backup it is, by its UID.
const OF: &str = "midship.dev/drill-of";

/// How long a drill may take where the policy names no time.
const LONGEST: Duration = Duration::from_hours(1);
/// The conditions of a scratch instance whose data is there and was found whole.
const PROOFS: [&str; 3] = ["Restored", "Proven", READY];

/// How drills ended last, by the UID of the instance.
pub type Ended = BTreeMap<String, (Timestamp, bool, String)>;

/// What there is to say of them.
#[derive(Default)]
pub struct Drills {
    pub busy: bool,
    pub next: Option<Timestamp>,
    /// Whether all went well, in a sentence.
    pub said: Option<(bool, String)>,
}

/// What became of a scratch instance.
enum Became {
    Goes,
    Proven,
    Failed(String),
}

impl BackupPolicies {
    pub(super) async fn drill(
        &self,
        ground: &Ground<'_>,
        memory: &mut Memory,
        now: Timestamp,
    ) -> Result<Drills, Failure> {
        let mut drills = Drills::default();
        let uid = ground.policy.uid().unwrap_or_default();
        let scratch = self.around.caches.instances.select(|instance| {
            instance.namespace() == ground.policy.namespace()
                && instance.labels().get(labels::BACKUP_POLICY) == Some(&uid)
                && instance.annotations().contains_key(DRILL)
        });
        let wanted = ground.policy.spec.verification.as_ref().filter(|wanted| wanted.restore.is_some());
        let (Some(wanted), Some(look)) = (wanted, ground.look.as_ref()) else {
            if wanted.is_none() {
                for instance in &scratch {
                    self.clear(instance).await?;
                }
                memory.drills.clear();
            }
            return Ok(drills);
        };
        for instance in &scratch {
            drills.busy |= self.follow(ground, look, instance, memory, now).await?;
        }
        let cron = wanted.restore.as_ref().map_or("", |cron| cron.0.as_str());
        let schedule = match Schedule::parse(cron, None) {
            Ok(schedule) => schedule,
            Err(error) => {
                drills.said = Some((false, format!("spec.verification.restore: {error}")));
                return Ok(drills);
            }
        };
        let suspended = ground.policy.spec.suspend.unwrap_or_default();
        for instance in ground.instances.iter().filter(|_| !suspended) {
            let uid = instance.uid().unwrap_or_default();
            let Ok(next) = schedule.next(&uid, handled(ground, look, instance, memory)) else { continue };
            if next > now {
                drills.next = drills.next.into_iter().chain([next]).min();
            } else if scratch.is_empty() && !drills.busy {
                // one at a time: a drill takes room beside what serves
                drills.busy = self.begin_drill(ground, look, instance, memory, now).await?;
            }
        }
        memory.drills.retain(|uid, _| ground.instances.iter().any(|instance| instance.uid().as_ref() == Some(uid)));
        drills.said = said(memory);
        Ok(drills)
    }

    /// Looks how a scratch instance fares. True while it is still there.
    async fn follow(
        &self,
        ground: &Ground<'_>,
        look: &Look,
        scratch: &Instance,
        memory: &mut Memory,
        now: Timestamp,
    ) -> Result<bool, Failure> {
        if scratch.metadata.deletion_timestamp.is_some() {
            return Ok(true);
        }
        let id = scratch.annotations().get(DRILL).cloned().unwrap_or_default();
        let of = scratch.annotations().get(OF).cloned().unwrap_or_default();
        let found = look.catalog.found.iter().find(|found| found.place.id.to_string() == id);
        let longest = ground.policy.spec.timeout.map_or(LONGEST, |timeout| timeout.0);
        let (Some(found), Some(key)) = (found, look.opened.key.as_ref()) else {
            self.clear(scratch).await?;
            return Ok(true);
        };
        let ended = match became(scratch, longest, now) {
            Became::Goes => return Ok(true),
            Became::Proven => {
                let repository = &look.opened.repository;
                let recorded = verify::record(repository, found, Level::Restored, Vec::new(), key, now).await;
                recorded
                    .map_err(|error| Failure::new("NotRecorded", format!("the drill cannot be recorded: {error}")))?;
                self.around.known.changed(&ground.repository);
                let note = format!("the backup {id} was restored as a test, and serves");
                self.events.normal(ground.policy, "Restorable", &id, note.clone()).await;
                (now, true, note)
            }
            Became::Failed(why) => {
                let note = format!("the backup {id} could not be restored as a test: {why}");
                self.events.warning(ground.policy, "DrillFailed", &id, note.clone()).await;
                (now, false, note)
            }
        };
        memory.drills.insert(of, ended);
        self.clear(scratch).await?;
        Ok(true)
    }

    /// Makes a scratch instance. False where there is nothing to try, or it cannot be.
    async fn begin_drill(
        &self,
        ground: &Ground<'_>,
        look: &Look,
        instance: &Instance,
        memory: &mut Memory,
        now: Timestamp,
    ) -> Result<bool, Failure> {
        let (name, uid) = (instance.name_any(), instance.uid().unwrap_or_default());
        let Some(found) = newest_of(look, &uid) else { return Ok(false) };
        let identity = ground.policy.spec.verification.as_ref().and_then(|wanted| wanted.identity.as_ref());
        if found.manifest.epoch.is_some() && identity.is_none() {
            let why =
                format!("the backups of {name} are encrypted: give spec.verification.identity, a Secret with the key");
            memory.drills.insert(uid, (now, false, why));
            return Ok(false);
        }
        let packages = used_by(instance);
        let package = packages.iter().find_map(|used| self.around.packages.ready(used));
        let id = found.place.id.to_string();
        let restore = json!({ "repository": ground.policy.spec.repository, "instance": { "uid": uid }, "id": id,
            "identity": identity.map(|identity| json!({ "name": identity.name })) });
        let spec = scratch_spec(instance, package.as_deref(), found, restore)?;
        let policy = ground.policy;
        let object = json!({
            "apiVersion": API_VERSION,
            "kind": "Instance",
            "metadata": {
                "name": format!("drill-{}", id.to_lowercase()),
                "labels": { labels::MANAGED_BY: labels::MANAGER, labels::BACKUP_POLICY: policy.uid() },
                "annotations": { DRILL: id, OF: uid },
                "ownerReferences": [{ "apiVersion": API_VERSION, "kind": "BackupPolicy", "name": policy.name_any(),
                    "uid": policy.uid(), "controller": true }],
            },
            "spec": spec,
        });
        let scratch: Instance =
            serde_json::from_value(without_nulls(object)).map_err(|error| Failure::new("NotWritten", error))?;
        let how = PostParams { field_manager: Some(labels::MANAGER.to_owned()), ..PostParams::default() };
        match self.instances(policy.namespace()).create(&how, &scratch).await {
            Ok(_) => {
                let note = format!("the backup {id} of {name} is restored as a test into {}", scratch.name_any());
                self.events.normal(policy, "DrillBegun", &id, note).await;
                Ok(true)
            }
            // it was begun before a crash, or the one before is going
            Err(kube::Error::Api(error)) if error.code == 409 => Ok(true),
            Err(error) => {
                let problem = Problem::from_kube(&error).at(format!("Instance {}", scratch.name_any()));
                Err(Failure::new("NotWritten", problem))
            }
        }
    }

    /// Removes a scratch instance with its volumes.
    async fn clear(&self, scratch: &Instance) -> Result<(), Failure> {
        if scratch.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let exactly = Preconditions { uid: scratch.uid(), resource_version: None };
        let how = DeleteParams { preconditions: Some(exactly), ..DeleteParams::default() };
        match self.instances(scratch.namespace()).delete(&scratch.name_any(), &how).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(error)) if error.code == 404 || error.code == 409 => Ok(()),
            Err(error) => Err(Failure::new("NotDeleted", Problem::from_kube(&error))),
        }
    }

    fn instances(&self, namespace: Option<String>) -> Api<Instance> {
        Api::namespaced(self.client.clone(), &namespace.unwrap_or_default())
    }
}

fn became(scratch: &Instance, longest: Duration, now: Timestamp) -> Became {
    let status = scratch.status.clone().unwrap_or_default();
    let holds = |type_: &&str| find(&status.conditions, type_).is_some_and(|it| it.status == ConditionStatus::True);
    if PROOFS.iter().all(&holds) {
        return Became::Proven;
    }
    let created = scratch.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
    if now.duration_since(created).unsigned_abs() < longest {
        return Became::Goes;
    }
    let wanting = PROOFS.iter().find(|type_| !holds(type_)).and_then(|type_| find(&status.conditions, type_));
    let why = wanting.or_else(|| find(&status.conditions, READY)).map(|condition| condition.message.clone());
    Became::Failed(why.unwrap_or_else(|| format!("it was not taken up within {longest:?}")))
}

/// When a drill of the instance was last made, or was not yet wanted.
fn handled(ground: &Ground<'_>, look: &Look, instance: &Instance, memory: &Memory) -> Timestamp {
    let uid = instance.uid().unwrap_or_default();
    let proven = last(look, &uid);
    let born = [&ground.policy.metadata.creation_timestamp, &instance.metadata.creation_timestamp];
    let born = born.into_iter().flatten().map(|time| time.0);
    let ended = memory.drills.get(&uid).map(|(at, _, _)| *at);
    proven.into_iter().chain(born).chain(ended).max().unwrap_or(Timestamp::UNIX_EPOCH)
}

/// When a backup of the instance was last restored as a test.
pub fn last(look: &Look, uid: &str) -> Option<Timestamp> {
    let own = look.catalog.found.iter().filter(|found| found.place.owner.instance.as_str() == uid);
    own.filter_map(|found| Some(found.verified.get(&Level::Restored)?.at)).max()
}

fn said(memory: &Memory) -> Option<(bool, String)> {
    let worst = memory.drills.values().filter(|(_, well, _)| !well).max_by_key(|(at, _, _)| *at);
    let (at, well, note) = worst.or_else(|| memory.drills.values().max_by_key(|(at, _, _)| *at))?;
    Some((*well, format!("{note} ({})", moment(*at))))
}

/// As the instance is, but alone, small, closed, and with nothing that belongs to the one that serves.
fn scratch_spec(
    instance: &Instance,
    package: Option<&Package>,
    found: &Found,
    restore: Value,
) -> Result<Value, Failure> {
    let mut spec = serde_json::to_value(&instance.spec).map_err(|error| Failure::new("NotWritten", error))?;
    let fields = spec.as_object_mut().ok_or_else(|| Failure::new("NotWritten", "a spec is a mapping"))?;
    for field in ["state", "suspend", "backup", "credentials", "maintenance", "failover"] {
        fields.remove(field);
    }
    fields.insert("deletionPolicy".to_owned(), json!("Delete"));
    fields.insert("network".to_owned(), json!({ "policy": true }));
    fields.insert("monitoring".to_owned(), json!({ "exporter": false, "podMonitor": false, "alerts": false }));
    fields.insert("restore".to_owned(), restore);
    let topology = instance.status.as_ref().and_then(|status| status.resolved.as_ref()?.topology.clone());
    let method = package.and_then(|package| package.manifest.backup.as_ref()?.methods.get(&found.manifest.method));
    let component = method.and_then(|method| method.component.clone());
    let topologies = package.map(|package| &package.manifest.topologies);
    let topology = topologies
        .into_iter()
        .flatten()
        .find(|(name, _)| topology.as_deref().is_some_and(|wanted| wanted == name.as_str()))
        .map(|(_, topology)| topology);
    let components = fields.get_mut("components").and_then(Value::as_array_mut);
    for one in components.into_iter().flatten().filter_map(Value::as_object_mut) {
        one.remove("service");
        let name = one.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let has_data = component.as_ref().is_none_or(|component| component.as_str() == name);
        let declared = topology.and_then(|topology| {
            topology.components.iter().find(|(known, _)| known.as_str() == name).map(|(_, declared)| declared)
        });
        if let Some(declared) = declared.filter(|_| has_data && !one.contains_key("groups")) {
            let least = declared.replicas.as_ref().and_then(|count| count.min).unwrap_or(1).max(1);
            one.insert("replicas".to_owned(), json!(least));
        }
    }
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(conditions: &[(&str, &str)]) -> Instance {
        let conditions: Vec<Value> = conditions
            .iter()
            .map(|(type_, status)| {
                json!({ "type": type_, "status": status, "reason": "R", "message": format!("{type_} says"),
                    "lastTransitionTime": "2026-03-01T12:00:00Z" })
            })
            .collect();
        serde_json::from_value(json!({ "apiVersion": API_VERSION, "kind": "Instance",
            "metadata": { "name": "drill", "creationTimestamp": "2026-03-01T12:00:00Z" },
            "spec": { "type": "t", "extensionVersion": "1.0.0", "version": "1" },
            "status": { "conditions": conditions } }))
        .expect("an instance")
    }

    #[test]
    fn only_data_that_serves_and_was_checked_counts_and_nobody_waits_for_ever() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let (soon, late) = (at("2026-03-01T12:10:00Z"), at("2026-03-01T13:10:00Z"));
        let hour = Duration::from_hours(1);
        let all = scratch(&[("Restored", "True"), ("Proven", "True"), ("Ready", "True")]);
        assert!(matches!(became(&all, hour, soon), Became::Proven));
        let unproven = scratch(&[("Restored", "True"), ("Proven", "False"), ("Ready", "False")]);
        assert!(matches!(became(&unproven, hour, soon), Became::Goes));
        let Became::Failed(why) = became(&unproven, hour, late) else { panic!("its time is over") };
        assert_eq!(why, "Proven says");
    }
}
