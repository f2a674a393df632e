//! Drills: on a schedule the newest backup of each instance is restored into a scratch instance of its own, which has to serve
//! and to pass the package's checks. What came of it is written into the repository; the scratch instance goes.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::tried::{hopeless, tried};
use super::{BackupPolicies, Ground, Memory, newest_of, without_nulls};
use crate::api::backup_policy::FailedDrill;
use crate::api::labels::{self, DRILL};
use crate::api::{API_VERSION, BackupPolicy, Instance};
use crate::backup::manifest::Level;
use crate::backup::read::Found;
use crate::backup::verify;
use crate::cluster::Key;
use crate::cluster::problem::Problem;
use crate::controller::frame::Failure;
use crate::controller::packages::used_by;
use crate::controller::repositories::known::Look;
use crate::controller::repositories::words::moment;
use crate::plan::drill::{
    Became, Ended, became, failures, is_kept, is_overdue, lingers, remembered, scratch_spec, telling, tries,
};
use crate::plan::schedule::Schedule;

/// The instance whose backup it is, by its UID.
const OF: &str = "midship.dev/drill-of";

/// How long a drill may take where the policy names no time.
const LONGEST: Duration = Duration::from_hours(1);
/// How long a controller that has just begun may take to look through the store, before what it cannot write there is lost.
const LOOKS: SignedDuration = SignedDuration::from_mins(10);

/// What there is to say of them.
#[derive(Default)]
pub struct Drills {
    pub busy: bool,
    pub next: Option<Timestamp>,
    /// Whether all went well, in a sentence.
    pub said: Option<(bool, String)>,
    /// What is to outlive the controller.
    pub failed: Vec<FailedDrill>,
}

impl BackupPolicies {
    /// What stands in the way of drills is told like one that failed: backups go on.
    pub(super) async fn drill(&self, ground: &Ground<'_>, memory: &mut Memory, now: Timestamp) -> Drills {
        match self.bring_drills_on(ground, memory, now).await {
            Ok(drills) => drills,
            Err(failure) => {
                let note = self.held_up(ground, &failure).await;
                Drills { said: Some((false, note)), failed: failures(&memory.drills), ..Drills::default() }
            }
        }
    }

    async fn held_up(&self, ground: &Ground<'_>, failure: &Failure) -> String {
        let note = format!("backups cannot be restored as a test: {}", failure.message);
        self.events.warning(ground.policy, "DrillsHeldUp", "drill", note.clone()).await;
        note
    }

    async fn bring_drills_on(
        &self,
        ground: &Ground<'_>,
        memory: &mut Memory,
        now: Timestamp,
    ) -> Result<Drills, Failure> {
        let mut drills = Drills::default();
        let kept = ground.policy.status.as_ref().map_or(&[][..], |status| status.failed_drills.as_slice());
        if !memory.remembers {
            memory.drills = remembered(kept);
            memory.remembers = true;
        }
        memory.blind = ground.look.is_none().then(|| memory.blind.unwrap_or(now));
        let scratch = self.scratch_of(ground.policy);
        let wanted = ground.policy.spec.verification.as_ref().filter(|wanted| wanted.restore.is_some());
        let Some(wanted) = wanted else {
            for instance in &scratch {
                self.clear(instance).await?;
            }
            memory.drills.clear();
            return Ok(drills);
        };
        for instance in &scratch {
            drills.busy |= self.follow(ground, instance, kept, memory, now).await?;
        }
        drills.failed = failures(&memory.drills);
        let Some(look) = ground.look.as_ref() else {
            drills.said = said(memory);
            return Ok(drills);
        };
        let cron = wanted.restore.as_ref().map_or("", |cron| cron.0.as_str());
        let schedule = match Schedule::parse(cron, None) {
            Ok(schedule) => schedule,
            Err(error) => {
                drills.said = Some((false, format!("spec.verification.restore: {error}")));
                return Ok(drills);
            }
        };
        let suspended = ground.policy.spec.suspend.unwrap_or_default();
        let lingering = scratch.iter().find_map(|instance| lingers(instance, now));
        let mut held_up = lingering.map(|note| Failure::new("NotDeleted", note));
        for instance in ground.instances.iter().filter(|_| !suspended) {
            let uid = instance.uid().unwrap_or_default();
            let Ok(next) = schedule.next(&uid, handled(ground, look, instance, memory)) else { continue };
            if next > now {
                drills.next = drills.next.into_iter().chain([next]).min();
            } else if scratch.is_empty() && !drills.busy {
                // one at a time: a drill takes room beside what serves
                match self.begin_drill(ground, look, instance, memory, now).await {
                    Ok(begun) => drills.busy = begun,
                    Err(failure) => held_up = Some(failure),
                }
            }
        }
        memory.drills.retain(|uid, _| ground.instances.iter().any(|instance| instance.uid().as_ref() == Some(uid)));
        drills.failed = failures(&memory.drills);
        drills.said = said(memory);
        if let Some(failure) = held_up {
            drills.said = Some((false, self.held_up(ground, &failure).await));
        }
        Ok(drills)
    }

    fn scratch_of(&self, policy: &BackupPolicy) -> Vec<Arc<Instance>> {
        let uid = policy.uid().unwrap_or_default();
        self.around.caches.instances.select(|instance| {
            instance.namespace() == policy.namespace()
                && instance.labels().get(labels::BACKUP_POLICY) == Some(&uid)
                && instance.annotations().contains_key(DRILL)
                // a copy that somebody made to look at is that somebody's
                && instance.owner_references().iter().any(|owner| owner.uid == uid)
        })
    }

    /// Where the policy cannot be followed, and says why: what has taken too long goes, for it is a copy of the data.
    pub(super) async fn give_up_drills(&self, policy: &BackupPolicy, now: Timestamp) -> Result<(), Failure> {
        for scratch in self.scratch_of(policy) {
            if scratch.metadata.deletion_timestamp.is_none() && is_overdue(&scratch, longest(policy), now) {
                let id = scratch.annotations().get(DRILL).cloned().unwrap_or_default();
                let note =
                    format!("the backup {id} could not be proven by restoring it: its policy cannot be followed");
                self.events.warning(policy, "DrillFailed", &id, note).await;
                self.clear(&scratch).await?;
            }
        }
        Ok(())
    }

    /// Looks how a scratch instance fares. True while it is still there.
    async fn follow(
        &self,
        ground: &Ground<'_>,
        scratch: &Instance,
        kept: &[FailedDrill],
        memory: &mut Memory,
        now: Timestamp,
    ) -> Result<bool, Failure> {
        if scratch.metadata.deletion_timestamp.is_some() {
            return Ok(true);
        }
        let id = scratch.annotations().get(DRILL).cloned().unwrap_or_default();
        let of = scratch.annotations().get(OF).cloned().unwrap_or_default();
        let instance = ground.instances.iter().find(|instance| instance.uid().as_ref() == Some(&of));
        let removed = ground.look.as_ref().is_some_and(|look| with_id(look, &id).is_none());
        let tries = tries(scratch, &ground.policy.spec.repository, &of, &id);
        let Some(instance) = instance.filter(|_| tries && !removed).map(|instance| instance.name_any()) else {
            self.clear(scratch).await?;
            return Ok(true);
        };
        let begun = scratch.metadata.creation_timestamp.as_ref().map(|time| time.0);
        // clocks differ, and nothing that is told of it is older than it
        let at = begun.map_or(now, |begun| begun.max(now));
        let told = |well: bool| {
            let told = memory.drills.get(&of);
            told.is_some_and(|told| {
                told.well == well && told.backup == id && begun.is_none_or(|begun| told.at >= begun)
            })
        };
        let (told_well, told_failed) = (told(true), told(false));
        let longest = longest(ground.policy);
        let overdue = is_overdue(scratch, longest, now);
        let mut outcome = became(scratch, longest, now);
        if outcome == Became::Proven && !told_well {
            match self.record(ground, &id, now).await {
                Ok(()) => {
                    let note = format!("the backup {id} was restored as a test, and serves");
                    self.events.normal(ground.policy, "Restorable", &id, note.clone()).await;
                    let ended = Ended { at, well: true, instance: instance.clone(), backup: id.clone(), note };
                    memory.drills.insert(of.clone(), ended);
                }
                Err(_)
                    if ground.look.is_none() && memory.blind.is_none_or(|since| now.duration_since(since) < LOOKS) =>
                {
                    return Ok(true);
                }
                // a copy of the data does not wait for a store for ever
                Err(failure) if overdue => outcome = Became::Failed(failure.message),
                Err(failure) => return Err(failure),
            }
        }
        match outcome {
            Became::Goes => return Ok(true),
            // the scratch instance is what shows the failure until the status does, also to a controller after this one
            Became::Failed(why) if !is_kept(kept, &of, &id, scratch) => {
                if !told_failed {
                    let note = format!("the backup {id} could not be proven by restoring it: {why}");
                    self.events.warning(ground.policy, "DrillFailed", &id, note.clone()).await;
                    memory.drills.insert(of, Ended { at, well: false, instance, backup: id, note });
                }
                return Ok(true);
            }
            Became::Proven | Became::Failed(_) => {}
        }
        self.clear(scratch).await?;
        Ok(true)
    }

    /// Writes down that a backup was restored, and with a part all of its set.
    async fn record(&self, ground: &Ground<'_>, id: &str, now: Timestamp) -> Result<(), Failure> {
        let unrecorded = |why: String| Failure::new("NotRecorded", format!("the drill cannot be recorded: {why}"));
        let look = ground.look.as_ref().ok_or_else(|| unrecorded("the store was not looked through yet".to_owned()))?;
        let (Some(found), Some(key)) = (with_id(look, id), look.opened.key.as_ref()) else {
            return Err(unrecorded("the repository is only read, or does not have the backup any more".to_owned()));
        };
        let set = look.catalog.set_of(found);
        let parts = set.map_or_else(|| vec![found], |set| set.parts.into_iter().map(|(_, part)| part).collect());
        for part in parts {
            let how = (Level::Restored, None);
            let recorded = verify::record(&look.opened.repository, part, how, Vec::new(), key, now).await;
            recorded.map_err(|error| unrecorded(error.to_string()))?;
        }
        self.around.known.changed(&ground.repository);
        Ok(())
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
        let Some(found) = newest_of(look, &uid) else {
            if let Some(why) = hopeless(&look.catalog, &uid, now) {
                let note = format!("no backup of {name} can be restored: {why}");
                memory.drills.insert(uid, Ended { at: now, well: false, instance: name, backup: String::new(), note });
            }
            return Ok(false);
        };
        let identity = ground.policy.spec.verification.as_ref().and_then(|wanted| wanted.identity.as_ref());
        if found.manifest.epoch.is_some() && identity.is_none() {
            let why =
                format!("the backups of {name} are encrypted: give spec.verification.identity, a Secret with the key");
            let ended = Ended { at: now, well: false, instance: name, backup: String::new(), note: why };
            memory.drills.insert(uid, ended);
            return Ok(false);
        }
        let packages = used_by(instance);
        let package = packages.iter().find_map(|used| self.around.packages.ready(used));
        let method = package.as_deref().and_then(|it| it.manifest.backup.as_ref()?.methods.get(&found.manifest.method));
        let parted = method.is_some_and(|method| method.each_group) && look.catalog.parts(found).len() > 1;
        let found = match tried(look, found, instance, parted) {
            Ok(found) => found,
            Err(why) => {
                let note = format!("the backups of {name} cannot be restored as a test: {why}");
                memory.drills.insert(uid, Ended { at: now, well: false, instance: name, backup: String::new(), note });
                return Ok(false);
            }
        };
        let id = found.place.id.to_string();
        let restore = json!({ "repository": ground.policy.spec.repository, "instance": { "uid": uid }, "id": id,
            "identity": identity.map(|identity| json!({ "name": identity.name })) });
        let spec = scratch_spec(instance, package.as_deref(), &found.manifest.method, restore)
            .map_err(|error| Failure::new("NotWritten", error))?;
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
            Err(kube::Error::Api(error)) if error.code == 409 => {
                self.stranger(policy, &scratch.name_any()).map_or(Ok(true), Err)
            }
            Err(error) => {
                let problem = Problem::from_kube(&error).at(format!("Instance {}", scratch.name_any()));
                Err(Failure::new("NotWritten", problem))
            }
        }
    }

    /// Why a scratch instance cannot be made as long as an instance of somebody else has its name.
    fn stranger(&self, policy: &BackupPolicy, name: &str) -> Option<Failure> {
        let key = Key { namespace: policy.namespace(), name: name.to_owned() };
        let there = self.around.caches.instances.get(&key)?;
        let why = format!("Instance {key} is no test restore and has the name that one needs: give it another name");
        let tries = there.annotations().contains_key(DRILL)
            && there.owner_references().iter().any(|owner| owner.kind == "BackupPolicy");
        (!tries).then(|| Failure::new("NotWritten", why))
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

fn longest(policy: &BackupPolicy) -> Duration {
    policy.spec.timeout.map_or(LONGEST, |timeout| timeout.0)
}

fn said(memory: &Memory) -> Option<(bool, String)> {
    telling(&memory.drills).map(|ended| (ended.well, format!("{} ({})", ended.note, moment(ended.at))))
}

fn with_id<'a>(look: &'a Look, id: &str) -> Option<&'a Found> {
    look.catalog.found.iter().find(|found| found.place.id.to_string() == id)
}

/// When a drill of the instance was last made, or was not yet wanted.
fn handled(ground: &Ground<'_>, look: &Look, instance: &Instance, memory: &Memory) -> Timestamp {
    let uid = instance.uid().unwrap_or_default();
    let proven = last(look, &uid);
    let born = born(ground.policy, instance);
    let ended = memory.drills.get(&uid).map(|ended| ended.at);
    proven.into_iter().chain(born).chain(ended).max().unwrap_or(Timestamp::UNIX_EPOCH)
}

/// When both were there.
fn born(policy: &BackupPolicy, instance: &Instance) -> Option<Timestamp> {
    let born = [&policy.metadata.creation_timestamp, &instance.metadata.creation_timestamp];
    born.into_iter().flatten().map(|time| time.0).max()
}

/// Since when its backups are to be restored as a test; nothing where nobody wants that.
pub fn wanted_since(policy: &BackupPolicy, instance: &Instance) -> Option<Timestamp> {
    policy.spec.verification.as_ref()?.restore.as_ref()?;
    born(policy, instance)
}

/// When a backup of the instance was last restored as a test.
pub fn last(look: &Look, uid: &str) -> Option<Timestamp> {
    let own = look.catalog.found.iter().filter(|found| found.place.owner.instance.as_str() == uid);
    own.filter_map(|found| Some(found.verified.get(&Level::Restored)?.at)).max()
}
