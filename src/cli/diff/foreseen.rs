//! What the controller would hold and refuse, by its own planner, as if the base were applied and the cluster said nothing
//! else.

use std::collections::{BTreeMap, BTreeSet};

use super::super::error::CommandError;
use super::super::live::users;
use super::super::repository::{Files, history_problem};
use super::super::snapshot::Snapshot;
use crate::api::git_source::Drift;
use crate::api::{Instance, labels};
use crate::controller::git_source::settings;
use crate::diff::{Changes, Fate};
use crate::plan::source::{self, Desired, Live, Manifest, ObjectId, ObjectKind, Plan, Prune, Situation};

/// What stands for the source that applied the base.
const SOURCE: &str = "base";

/// How many deletions the commit that is compared agrees to; the files as they are have none yet.
pub fn agreed(files: &Files, head: Option<&str>) -> Result<usize, CommandError> {
    let Some(head) = head else { return Ok(0) };
    let history = files.history()?;
    let commit = history.resolve(head).map_err(|error| history_problem(&error, &files.path))?;
    let tree = history.tree(commit).map_err(|error| history_problem(&error.into(), &files.path))?;
    Ok(settings::agreed(tree.commit()))
}

/// Plans, and leaves in `head` what the controller leaves: what a file defined before it was broken, what nobody can tell
/// whether it is left out, and what the repository said of itself before that could not be read.
pub fn settle(head: &mut Snapshot, base: &Snapshot, agreed: usize) -> Plan {
    let defined: BTreeSet<&ObjectId> = head.defined.objects.iter().map(|manifest| &manifest.id).collect();
    let unknown = |manifest: &&Manifest| head.defined.unknown.covers(&manifest.id, Some(&manifest.path));
    let kept = base.defined.objects.iter().filter(unknown).filter(|manifest| !defined.contains(&manifest.id));
    let kept: Vec<Manifest> = kept.cloned().collect();
    let plan = plan(head, base, &kept, agreed);
    let objects = &mut head.defined.objects;
    objects.extend(kept);
    if !plan.refused.is_empty() {
        let is_refused = |manifest: &Manifest| plan.refused.contains_key(&manifest.id);
        objects.retain(|manifest| !is_refused(manifest));
        objects.extend(base.defined.objects.iter().filter(|manifest| is_refused(manifest)).cloned());
    }
    head.keep_settings(base);
    plan
}

fn plan(head: &Snapshot, base: &Snapshot, kept: &[Manifest], agreed: usize) -> Plan {
    let defined = &head.defined;
    let desired = defined.objects.iter().map(|manifest| Desired {
        id: manifest.id.clone(),
        path: manifest.path.to_string(),
        digest: manifest.digest.clone(),
    });
    let desired: Vec<Desired> = desired.collect();
    let wanted: BTreeSet<&ObjectId> = desired.iter().map(|desired| &desired.id).collect();
    // the files of a package go with their Extension
    let there = |manifest: &&Manifest| wanted.contains(&manifest.id) || package_of(manifest).is_none();
    let live = base.defined.objects.iter().filter(there).map(|manifest| (manifest.id.clone(), applied(manifest)));
    let live: BTreeMap<ObjectId, Live> = live.collect();
    let instances = defined.objects.iter().chain(kept).filter(|manifest| manifest.id.kind == ObjectKind::Instance);
    let instances = instances.filter_map(|one| serde_json::from_value::<Instance>(one.body.as_ref().clone()).ok());
    let users = users(&instances.collect::<Vec<Instance>>());
    let prune = Prune { agreed, ..settings::prune(None) };
    source::plan(&Situation {
        source: SOURCE,
        desired: &desired.iter().collect::<Vec<_>>(),
        live: &live,
        unknown: &defined.unknown,
        untrusted: &|_| false,
        ignored: &|path| defined.ignored.get(path).cloned(),
        may_be_ignored: defined.may_be_ignored,
        needed: &|id| users.get(&id.name).filter(|_| id.kind == ObjectKind::Extension).cloned(),
        whole_tree_read: head.own.is_some(),
        prune: head.own.as_ref().map_or(prune, |own| own.limit(prune)),
        drift: Drift::Revert,
    })
}

/// The Extension that a file of a package goes with.
fn package_of(manifest: &Manifest) -> Option<&str> {
    manifest.body["metadata"]["labels"][labels::EXTENSION].as_str()
}

fn applied(manifest: &Manifest) -> Live {
    Live {
        source: Some(SOURCE.to_owned()),
        path: Some(manifest.path.to_string()),
        digest: Some(manifest.digest.clone()),
        differences: Vec::new(),
        deleting: false,
        reserved: None,
    }
}

/// Says of deletions that they wait, and why, before what they mean.
pub fn tell(changes: &mut Changes, plan: &Plan, base: &Snapshot) {
    let held: BTreeSet<&ObjectId> = plan.held.iter().collect();
    let before: BTreeMap<String, &Manifest> =
        base.defined.objects.iter().map(|manifest| (manifest.id.to_string(), manifest)).collect();
    for change in changes.changes.iter_mut().filter(|change| change.fate == Fate::Delete) {
        let Some(manifest) = before.get(&change.object) else { continue };
        if let Some(why) = plan.left.get(&manifest.id) {
            change.effects.insert(0, why.clone());
            continue;
        }
        let of_package = package_of(manifest).map(|name| ObjectId {
            kind: ObjectKind::Extension,
            namespace: None,
            name: name.to_owned(),
        });
        let why = match (plan.needed.get(&manifest.id), of_package) {
            (Some(by), _) => by.clone(),
            (None, Some(extension)) if held.contains(&extension) => format!("it goes with {extension}"),
            (None, _) if held.contains(&manifest.id) => "its deletion waits".to_owned(),
            (None, _) => continue,
        };
        for effect in &mut change.effects {
            *effect = format!("once it is deleted: {effect}");
        }
        change.effects.insert(0, format!("will be held: {why}"));
    }
}
