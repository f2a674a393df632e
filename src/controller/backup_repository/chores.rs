//! What a repository needs from time to time: proof that everything is still there and readable, and the removal of what
//! nothing keeps. It can take long, and runs beside the controller; whoever is interrupted begins again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::backup::document::DocumentError;
use crate::backup::id::Id;
use crate::backup::keys::{KeyCheck, SigningKey};
use crate::backup::layout::{Place, Uid};
use crate::backup::locks::{self, Kept, Locks};
use crate::backup::log::{self, History, LogError};
use crate::backup::manifest::Level;
use crate::backup::read::{Catalog, Found};
use crate::backup::store::StoreError;
use crate::backup::store::probe::clock_ahead;
use crate::backup::sweep::{self, SweepError, Swept, Wishes};
use crate::backup::verify::{self, VerifyError};
use crate::controller::repositories::open::Opened;
use crate::plan::retention::{Guards, Plan, Reason, Rules, Verdict, plan};
use crate::plan::schedule::Schedule;

/// After so many backups in a row that could not be looked at, it is the store that cannot.
const GIVES_UP: usize = 3;
/// Of archived logs one part of so many is read in each hour: all of them within four weeks.
const LOG_PARTS: u64 = 28 * 24;

#[derive(Debug, thiserror::Error)]
pub enum ChoreError {
    #[error("the repository cannot be looked through: {0}")]
    Store(#[from] StoreError),
    #[error("a backup cannot be verified: {0}")]
    Verify(#[from] VerifyError),
    #[error("what was verified cannot be written down: {0}")]
    Record(#[from] DocumentError),
    #[error("what nothing keeps cannot be removed: {0}")]
    Sweep(#[from] SweepError),
    #[error("logs cannot be looked through: {0}")]
    Log(#[from] log::LogError),
}

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Chores {
    pub opened: Arc<Opened>,
    /// Whose backups are ours to decide on.
    pub cluster: Uid,
    /// By the UID of the instance.
    pub rules: BTreeMap<String, Rules>,
    /// When the bytes of an instance's backups are read, by its UID.
    pub reads: BTreeMap<String, Schedule>,
    /// How often the listing of each backup is proven.
    pub list_every: SignedDuration,
    /// Whether it is us who remove; another BackupRepository may show the same store.
    pub sweeps: bool,
    /// The backups that were seen before: one that a listing leaves out now is not gone.
    pub before: BTreeSet<Place>,
    /// Segments of logs that were found damaged: they are read again.
    pub damaged_logs: BTreeSet<(String, u64)>,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub listed: usize,
    pub read: usize,
    /// Backups that were found damaged.
    pub damaged: Vec<Id>,
    /// What is wrong with the logs that backups need, by line and segment.
    pub logs: BTreeMap<(String, u64), String>,
    /// Why backups cannot be opened any more, by the epoch whose keys were lost or damaged.
    pub keys: BTreeMap<Uid, String>,
    /// Backups that could not be looked at, and why.
    pub unproven: Vec<String>,
    pub swept: Swept,
    /// Of what is kept.
    pub locks: Locks,
    /// Why nothing may be removed.
    pub refusal: Option<String>,
    /// The backups that are there, also those that the listing left out.
    pub seen: BTreeSet<Place>,
    /// When what is condemned goes.
    pub expires: BTreeMap<Id, Timestamp>,
}

impl ChoreError {
    /// Whether it is about one object: others can be looked at.
    fn is_about_object(&self) -> bool {
        match self {
            Self::Store(error) | Self::Verify(VerifyError::Store(error)) => error.is_about_object(),
            Self::Record(error)
            | Self::Verify(VerifyError::Log(log::LogError::Document(error)))
            | Self::Log(log::LogError::Document(error)) => error.is_about_object(),
            Self::Verify(VerifyError::Log(_)) | Self::Log(_) => true,
            Self::Sweep(_) => false,
        }
    }

    /// Whether the store took us for somebody else: credentials may have been rotated.
    pub fn is_denied(&self) -> bool {
        let document = |error: &DocumentError| matches!(error, DocumentError::Store(error) if error.is_denied());
        match self {
            Self::Store(error) | Self::Verify(VerifyError::Store(error)) => error.is_denied(),
            Self::Record(error)
            | Self::Sweep(SweepError::Document(error))
            | Self::Log(log::LogError::Document(error)) => document(error),
            Self::Verify(VerifyError::Log(_)) | Self::Sweep(_) | Self::Log(_) => false,
        }
    }
}

impl Report {
    /// Whether the store is another one than before.
    pub fn changed(&self) -> bool {
        let Swept { condemned, revived, removed, voided, cleared, segments, locked: _, problems: _ } = &self.swept;
        self.listed + self.read + condemned + revived + removed + voided + cleared + segments > 0
    }
}

impl Chores {
    pub async fn run(&self, key: &SigningKey) -> Result<Report, ChoreError> {
        let repository = &self.opened.repository;
        let mut report = Report::default();
        let catalog = Catalog::read(repository).await?;
        let mut in_a_row = 0;
        for found in catalog.found.iter().filter(|found| found.place.owner.cluster == self.cluster) {
            match self.prove(&catalog, found, key, &mut report).await {
                Ok(()) => in_a_row = 0,
                Err(error) if in_a_row + 1 < GIVES_UP || error.is_about_object() => {
                    in_a_row += 1;
                    tracing::warn!(backup = %found.place.id, %error, "a backup could not be looked at");
                    report.unproven.push(format!("{}: {error}", found.place.id));
                }
                Err(error) => return Err(error),
            }
        }
        self.check_keys(&catalog, &mut report).await;
        let histories = log::histories(repository).await?;
        self.check_logs(&catalog, &histories, &mut report).await?;
        // what was just found damaged counts
        let catalog = if report.changed() { Catalog::read(repository).await? } else { catalog };
        let removed = if self.sweeps { self.remove(&catalog, &histories, key, &mut report).await } else { Ok(()) };
        report.locks = self.lengthen(&catalog, &histories).await;
        removed?;
        Ok(report)
    }

    /// What retention keeps stays locked for as long, whether anything may be removed or not, and by whom. Damage is told
    /// elsewhere.
    async fn lengthen(&self, catalog: &Catalog, histories: &[History]) -> Locks {
        if self.opened.repository.store().locks_for().is_none() {
            return Locks::default();
        }
        let now = Timestamp::now();
        let plan = decide(catalog, &self.cluster, &self.rules, self.opened.clock_ahead, Guards::default(), now);
        let stays = plan.stays();
        let sound = catalog.found.iter().filter(|found| found.damage().is_none());
        let kept = sound.filter_map(|found| {
            let until = stays.get(sweep::name(&found.place).as_str())?;
            Some(Kept { found, until: *until })
        });
        let kept: Vec<Kept<'_>> = kept.collect();
        locks::lengthen(&self.opened.repository, &kept, histories, now).await
    }

    async fn prove(
        &self,
        catalog: &Catalog,
        found: &Found,
        key: &SigningKey,
        report: &mut Report,
    ) -> Result<(), ChoreError> {
        let repository = &self.opened.repository;
        let now = Timestamp::now();
        let last = |level| found.verified.get(&level).map(|one| one.at);
        if last(Level::Listed).is_none_or(|at| now.duration_since(at) >= self.list_every) {
            let problems = verify::list(repository, catalog, found).await?;
            report.damaged.extend((!problems.is_empty()).then_some(found.place.id));
            verify::record(repository, found, (Level::Listed, None), problems, key, now).await?;
            report.listed += 1;
        }
        let Some(schedule) = self.reads.get(found.place.owner.instance.as_str()) else { return Ok(()) };
        let handled = last(Level::Read).unwrap_or(found.manifest.completed_at);
        if schedule.next(&found.place.id.to_string(), handled).is_ok_and(|due| due <= now) {
            let part = verify::turn(found);
            let problems = verify::read(repository, found, part).await?;
            report.damaged.extend((!problems.is_empty()).then_some(found.place.id));
            verify::record(repository, found, (Level::Read, part), problems, key, now).await?;
            report.read += 1;
        }
        Ok(())
    }

    /// Whether what is ours can still be opened. That is told and not written down beside backups, for what is written down
    /// there keeps people from restoring them with a recovery kit, and retention from keeping them.
    async fn check_keys(&self, catalog: &Catalog, report: &mut Report) {
        let mut encrypted: BTreeMap<&Uid, Vec<Id>> = BTreeMap::new();
        for found in catalog.found.iter().filter(|found| found.place.owner.cluster == self.cluster) {
            if let Some(epoch) = &found.manifest.epoch {
                encrypted.entry(epoch).or_default().push(found.place.id);
            }
        }
        let mut keys = KeyCheck::default();
        for (epoch, backups) in encrypted {
            match keys.problems(&self.opened.repository, Some(epoch)).await {
                Ok(problems) if problems.is_empty() => {}
                Ok(problems) => {
                    let [first, rest @ ..] = backups.as_slice() else { continue };
                    let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
                    report.keys.insert(epoch.clone(), format!("{first}{more}: {}", problems.join("; ")));
                }
                Err(error) => {
                    let passes = !error.is_about_object();
                    report.unproven.push(format!("the keys of the epoch {epoch}: {error}"));
                    if passes {
                        // the other chores need no keys: locks have to be made longer in time
                        return;
                    }
                }
            }
        }
    }

    /// Whether the logs that backups need are what was sealed. Their bytes are read where those of the backups are.
    async fn check_logs(
        &self,
        catalog: &Catalog,
        histories: &[History],
        report: &mut Report,
    ) -> Result<(), ChoreError> {
        let mut needed: BTreeMap<&str, (u64, bool)> = BTreeMap::new();
        for found in &catalog.found {
            let Some(span) = &found.manifest.log else { continue };
            let read = self.reads.contains_key(found.place.owner.instance.as_str());
            let (first, reads) = needed.entry(span.line.system.as_str()).or_insert((span.first, read));
            (*first, *reads) = (span.first.min(*first), read || *reads);
        }
        let hours = (Timestamp::now().as_second() / 3600).unsigned_abs();
        for history in histories {
            let Some((first, reads)) = needed.get(history.line.system.as_str()) else { continue };
            let folder = history.line.folder();
            let its_turn = |number: u64| {
                *reads
                    && (number % LOG_PARTS == hours % LOG_PARTS
                        || self.damaged_logs.contains(&(folder.clone(), number)))
            };
            let checked = log::check_seals(&self.opened.repository, history, *first, &its_turn).await;
            let problems = match checked.map_err(ChoreError::Log) {
                Ok(problems) => problems,
                // what cannot be reached now is no damage
                Err(ChoreError::Log(LogError::Document(DocumentError::Store(error)))) if error.is_about_object() => {
                    report.unproven.push(format!("{folder}: {error}"));
                    let known = self.damaged_logs.iter().filter(|(of, _)| *of == folder);
                    report.logs.extend(known.map(|(of, number)| {
                        ((of.clone(), *number), format!("{of}{number} was damaged when it was last read"))
                    }));
                    continue;
                }
                Err(error) if error.is_about_object() => BTreeMap::from([(0, error.to_string())]),
                Err(error) => return Err(error),
            };
            let problems = problems.into_iter().map(|(number, problem)| ((folder.clone(), number), problem));
            report.logs.extend(problems);
        }
        Ok(())
    }

    async fn remove(
        &self,
        catalog: &Catalog,
        histories: &[History],
        key: &SigningKey,
        report: &mut Report,
    ) -> Result<(), ChoreError> {
        let repository = &self.opened.repository;
        let left_out = sweep::left_out(repository, catalog, &self.before).await?;
        report.seen = catalog.found.iter().map(|found| found.place.clone()).chain(left_out.iter().cloned()).collect();
        if let [first, ..] = left_out.as_slice() {
            let (many, first) = (left_out.len(), first.id);
            report.refusal = Some(format!(
                "the store's listing leaves out {many} backups that are there, such as {first}: nobody knows what is needed"
            ));
            return Ok(());
        }
        let now = Timestamp::now();
        let plan = |ahead| decide(catalog, &self.cluster, &self.rules, ahead, Guards::default(), now);
        let plan = match plan(self.opened.clock_ahead) {
            idle if idle.is_idle() => idle,
            // a clock may have been set since the store was opened
            _ => plan(clock_ahead(repository.store(), Timestamp::now).await?),
        };
        report.expires = expires(catalog, &self.cluster, &plan);
        if let Some(refusal) = &plan.refusal {
            report.refusal = Some(refusal.to_string());
            return Ok(());
        }
        if !plan.is_idle() {
            report.swept = sweep::sweep(repository, key, catalog, &plan, now, Timestamp::now()).await?;
        }
        sweep::sweep_logs(repository, &plan, histories, &mut report.swept).await?;
        Ok(())
    }
}

/// The plan of retention for what is there.
pub fn decide(
    catalog: &Catalog,
    cluster: &Uid,
    rules: &BTreeMap<String, Rules>,
    clock_ahead: SignedDuration,
    guards: Guards,
    now: Timestamp,
) -> Plan {
    let facts = sweep::facts(catalog, cluster, &Wishes::of(catalog), clock_ahead);
    plan(&facts, rules, &guards, now)
}

/// When each backup goes, as far as it is known: after its tombstone, or when the last of its reasons ends.
pub fn expires(catalog: &Catalog, cluster: &Uid, plan: &Plan) -> BTreeMap<Id, Timestamp> {
    let ours = catalog.found.iter().filter(|found| found.place.owner.cluster == *cluster);
    let by_name: BTreeMap<String, Id> = ours.map(|found| (sweep::name(&found.place), found.place.id)).collect();
    let until = |verdict: &Verdict| match verdict {
        Verdict::Wait { until } => Some(*until),
        Verdict::Keep(reasons) => {
            let ends = reasons.iter().map(|reason| match reason {
                Reason::Age { until } | Reason::Unfinished { until } | Reason::Label { until, .. } => Some(*until),
                _ => None,
            });
            ends.collect::<Option<Vec<_>>>()?.into_iter().max()
        }
        Verdict::Revive(_) | Verdict::Condemn | Verdict::Remove => None,
    };
    let dated = plan.decisions.iter();
    dated.filter_map(|decision| Some((*by_name.get(&decision.id)?, until(&decision.verdict)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::layout;
    use crate::backup::tests::world::{World, owner, rows};
    use crate::controller::repositories::keys::Keys;
    use crate::controller::repositories::place::Place as Store;

    #[tokio::test]
    async fn lost_keys_are_told_and_not_written_down_beside_backups() {
        let world = World::new(true).await;
        for seed in [1, 2] {
            world.back_up(&world.repository, None, &rows(100, seed)).await.expect("made");
        }
        let opened = Opened {
            repository: world.repository.clone(),
            place: Store::Folder("/nowhere".into()),
            key: None,
            keys: Keys::default(),
            epoch: None,
            capabilities: None,
            clock_ahead: SignedDuration::ZERO,
            strange: Vec::new(),
            news: Vec::new(),
        };
        let chores = Chores {
            opened: Arc::new(opened),
            cluster: owner().cluster,
            rules: BTreeMap::new(),
            reads: BTreeMap::new(),
            list_every: SignedDuration::from_hours(24),
            sweeps: false,
            before: BTreeSet::new(),
            damaged_logs: BTreeSet::new(),
        };
        let well = chores.run(&world.key).await.expect("looked");
        assert_eq!((well.listed, well.keys.len(), well.damaged.len()), (2, 0, 0));
        let name = world.epoch.clone().expect("encrypted").name;
        world.memory.tamper(&layout::slot(&name, &world.identity.recipient().fingerprint()), |_| None);
        let told = chores.run(&world.key).await.expect("looked");
        let catalog = world.catalog().await;
        let wanted = format!(
            "{} and 1 more: its key epoch {name} has no slot that can be read: keys/{name}/ has none; put keys/{name}/*.age \
             back from the recovery kit",
            catalog.found[0].place.id
        );
        assert_eq!(told.keys, BTreeMap::from([(name, wanted)]));
        // a recovery kit restores them all the same
        assert!(told.damaged.is_empty() && catalog.found.iter().all(|found| found.damage().is_none()));
    }
}
