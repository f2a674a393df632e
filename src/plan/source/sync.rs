//! The sync planner: from the objects a repository defines and those in the cluster to what is done about each.

use std::collections::{BTreeMap, BTreeSet};

use super::object::{ObjectId, ObjectKind};
use super::unknown::Unknown;
use crate::api::git_source::Drift;

/// An object as the repository defines it.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    pub id: ObjectId,
    /// The file it is in.
    pub path: String,
    /// Digest of what it asks for.
    pub digest: String,
}

/// The same object as it is in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// The source that applied it, where one did.
    pub source: Option<String>,
    /// The file it was applied from.
    pub path: Option<String>,
    /// Digest of what was applied.
    pub digest: Option<String>,
    /// Where it is not what is wanted.
    pub differences: Vec<String>,
    /// It is being deleted already.
    pub deleting: bool,
    /// Why nobody's file may take it over, where Midship made it for itself.
    pub reserved: Option<String>,
}

/// What the spec says about objects whose file is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prune {
    pub enabled: bool,
    pub max_count: usize,
    pub max_percent: usize,
    /// Deletions that the commit itself agrees to.
    pub agreed: usize,
}

/// Everything a plan is made from.
pub struct Situation<'a> {
    /// The source's own name, as it stands in the label of what it applied.
    pub source: &'a str,
    pub desired: &'a [&'a Desired],
    /// Objects in the cluster that are wanted or were applied by this source.
    pub live: &'a BTreeMap<ObjectId, Live>,
    /// What cannot be read: what was applied of it stays as it is.
    pub unknown: &'a Unknown,
    /// Whether a file is one that nobody trusted vouches for: what was applied from it stays as it is.
    pub untrusted: &'a dyn Fn(&str) -> bool,
    /// The place that leaves a file of the repository out, where one does.
    pub ignored: &'a dyn Fn(&str) -> Option<String>,
    /// Whether any file from which nothing was applied yet may be one that is left out: nobody can tell.
    pub may_be_ignored: bool,
    /// Who still needs an object, so that it cannot go.
    pub needed: &'a dyn Fn(&ObjectId) -> Option<String>,
    /// Whether every file of the tree was looked at.
    pub whole_tree_read: bool,
    pub prune: Prune,
    pub drift: Drift,
}

/// What is done about an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    Create,
    /// It is there, applied by nobody; the source takes it over.
    Adopt,
    Update,
    /// Somebody changed it; it is changed back.
    Revert,
    Delete,
}

/// One thing to do, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    pub id: ObjectId,
    pub what: What,
    pub reason: String,
}

/// Why something the repository asks for is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// A short name that does not change.
    pub code: &'static str,
    pub message: String,
}

/// What is to be done, and what is not and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order of application; deletions last, in the opposite order.
    pub actions: Vec<Action>,
    /// Deletions that wait.
    pub held: Vec<ObjectId>,
    pub held_because: Option<String>,
    /// Those of them that somebody else needs, and who.
    pub needed: BTreeMap<ObjectId, String>,
    /// Objects that somebody changed and that are left so.
    pub drifted: BTreeMap<ObjectId, Vec<String>>,
    /// Objects that another source applied, with its name.
    pub foreign: BTreeMap<ObjectId, String>,
    /// Objects that stay as they are because of the file they were applied from, and that file.
    pub kept: BTreeMap<ObjectId, String>,
    /// Objects that somebody keeps changing and that are left for a while, and what to do about it.
    pub contested: BTreeMap<ObjectId, String>,
    /// Objects that the repository asks for and does not get.
    pub refused: BTreeMap<ObjectId, Refused>,
    /// Operations that were begun before, and are not again.
    pub done: BTreeMap<ObjectId, String>,
    /// Objects that no file defines any more and that are never deleted for that, and why.
    pub left: BTreeMap<ObjectId, String>,
    /// Objects that are still being deleted. Those that are wanted are made again once they are gone.
    pub leaving: BTreeSet<ObjectId>,
    /// Objects that are as they should be.
    pub in_sync: usize,
}

impl Plan {
    /// Whether there is nothing to do and nothing to tell.
    pub fn is_quiet(&self) -> bool {
        self.actions.is_empty() && self.held.is_empty() && self.drifted.is_empty() && self.foreign.is_empty()
    }

    /// Whether nothing but actions follows: no object is left as the repository does not say it.
    pub fn is_plain(&self) -> bool {
        let Self {
            actions: _,
            in_sync: _,
            done: _,
            held_because: _,
            needed: _,
            held,
            drifted,
            foreign,
            kept,
            contested,
            refused,
            left,
            leaving,
        } = self;
        held.is_empty()
            && drifted.is_empty()
            && foreign.is_empty()
            && kept.is_empty()
            && contested.is_empty()
            && refused.is_empty()
            && left.is_empty()
            && leaving.is_empty()
    }

    /// Whether something stays as the repository does not say, even when everything planned was done.
    pub fn leaves_open(&self) -> bool {
        !(self.drifted.is_empty() && self.foreign.is_empty() && self.contested.is_empty() && self.leaving.is_empty())
    }
}

pub fn plan(situation: &Situation<'_>) -> Plan {
    let mut plan = Plan::default();
    let mut desired = situation.desired.to_vec();
    desired.sort_by(|a, b| a.id.cmp(&b.id));
    for desired in &desired {
        decide(desired, situation, &mut plan);
    }
    prune(situation, &desired, &mut plan);
    plan
}

fn decide(desired: &Desired, situation: &Situation<'_>, plan: &mut Plan) {
    let mut act = |what, reason: String| plan.actions.push(Action { id: desired.id.clone(), what, reason });
    let mut refuse = |code, message: String| {
        plan.refused.insert(desired.id.clone(), Refused { code, message });
    };
    let unsure = || {
        format!(
            "{} may be a file that midship.yaml leaves out, and that cannot be read: {} is applied from it once it can be",
            desired.path, desired.id
        )
    };
    let Some(live) = situation.live.get(&desired.id) else {
        if situation.may_be_ignored {
            return refuse("settings", unsure());
        }
        return act(What::Create, format!("{} defines it", desired.path));
    };
    let kept = live.path.as_ref().filter(|path| live.source.is_some() && (situation.untrusted)(path));
    if let Some(path) = kept {
        plan.kept.insert(desired.id.clone(), path.clone());
        return;
    }
    match live.source.as_deref() {
        Some(other) if other != situation.source => {
            plan.foreign.insert(desired.id.clone(), other.to_owned());
        }
        None if let Some(reason) = &live.reserved => {
            refuse("reserved", format!("{} is not taken over: {reason}; give yours another name", desired.id));
        }
        None if situation.may_be_ignored => refuse("settings", unsure()),
        None => act(What::Adopt, format!("{} defines it, and it is there already", desired.path)),
        Some(_) if live.deleting => {
            plan.leaving.insert(desired.id.clone());
        }
        Some(_) if situation.may_be_ignored && live.path.as_ref() != Some(&desired.path) => {
            refuse("settings", unsure());
        }
        Some(_) if live.digest.as_deref() != Some(&desired.digest) => {
            act(What::Update, format!("{} changed", desired.path));
        }
        // where it is defined decides what becomes of it once nobody can read that
        Some(_) if live.path.as_ref() != Some(&desired.path) => {
            act(What::Update, format!("it moved to {}", desired.path));
        }
        Some(_) if live.differences.is_empty() => plan.in_sync += 1,
        Some(_) if situation.drift == Drift::Revert => {
            act(What::Revert, format!("somebody changed {}", live.differences.join(", ")));
        }
        Some(_) => {
            plan.drifted.insert(desired.id.clone(), live.differences.clone());
        }
    }
}

/// What is wanted is in the order of ids.
fn prune(situation: &Situation<'_>, wanted: &[&Desired], plan: &mut Plan) {
    let is_wanted = |id: &ObjectId| wanted.binary_search_by(|desired| desired.id.cmp(id)).is_ok();
    let ours = |live: &Live| live.source.as_deref() == Some(situation.source);
    let unwanted: Vec<_> = situation.live.iter().filter(|(id, live)| ours(live) && !is_wanted(id)).collect();
    // Counting what is to come as well: the share is the same before and after the rest of the commit is applied.
    let total = unwanted.len() + wanted.len();
    let kept = |id: &ObjectId, live: &Live| {
        let path = live.path.as_deref();
        situation.unknown.covers(id, path) || path.is_some_and(|path| (situation.untrusted)(path))
    };
    let (leaving, staying): (Vec<_>, Vec<_>) = unwanted.into_iter().partition(|(_, live)| live.deleting);
    plan.leaving.extend(leaving.into_iter().map(|(id, _)| id.clone()));
    let gone: Vec<(&ObjectId, &Live)> = staying.into_iter().filter(|(id, live)| !kept(id, live)).collect();
    let gone = leave_namespaces(gone, plan);
    if !situation.prune.enabled {
        return;
    }
    let gone = keep_needed(gone, situation, plan);
    if gone.is_empty() {
        return;
    }
    let held_because = if !situation.whole_tree_read {
        Some("the repository could not be read in full; nothing is deleted until it can be".to_owned())
    } else if situation.desired.is_empty() {
        Some("the repository defines no object any more; an empty repository never deletes. Delete the GitSource instead, with spec.deletionPolicy set to Delete, or the objects by hand".to_owned())
    } else if let Some(place) = may_define_them(situation).filter(|_| gone.len() > situation.prune.agreed) {
        Some(format!(
            "{place} cannot be read, and may define what is defined nowhere else any more: nothing is deleted until it can be, \
             or a commit with the trailer Midship-Allow-Deletions: {} agrees",
            gone.len()
        ))
    } else {
        over_budget(gone.len(), total, situation.prune)
    };
    let left_out =
        |live: &Live| live.path.as_deref().and_then(|path| Some((path.to_owned(), (situation.ignored)(path)?)));
    if let Some(because) = held_because {
        let ignored: Vec<(String, String)> = gone.iter().filter_map(|(_, live)| left_out(live)).collect();
        plan.held.extend(gone.into_iter().map(|(id, _)| id.clone()));
        plan.held.sort();
        let because = because + &told_ignored(&ignored);
        // what is needed waits whatever becomes of the rest
        plan.held_because = Some(match plan.held_because.take() {
            Some(needed) => format!("{because}; besides, {needed}"),
            None => because,
        });
        return;
    }
    plan.actions.extend(gone.into_iter().rev().map(|(id, live)| Action {
        id: id.clone(),
        what: What::Delete,
        reason: match left_out(live) {
            Some((path, place)) => format!("{path} is ignored by {place}"),
            None => format!("{} does not define it any more", live.path.as_deref().unwrap_or("the repository")),
        },
    }));
}

/// What somebody else needs is held, each for whom it is, and the rest is returned.
fn keep_needed<'a>(
    gone: Vec<(&'a ObjectId, &'a Live)>,
    situation: &Situation<'_>,
    plan: &mut Plan,
) -> Vec<(&'a ObjectId, &'a Live)> {
    let mut free = Vec::with_capacity(gone.len());
    for (id, live) in gone {
        match (situation.needed)(id) {
            Some(by) => {
                plan.needed.insert(id.clone(), by);
            }
            None => free.push((id, live)),
        }
    }
    let Some((id, by)) = plan.needed.first_key_value() else { return free };
    let more = match plan.needed.len() - 1 {
        0 => String::new(),
        more => format!("; {more} more are needed, too, and status.held says by whom"),
    };
    let because = format!("{id} is not defined any more, and {by}; it is deleted once nobody needs it{more}");
    plan.held_because = Some(because);
    plan.held = plan.needed.keys().cloned().collect();
    free
}

/// Which of the files from which something is gone are there and left out.
fn told_ignored(ignored: &[(String, String)]) -> String {
    match ignored {
        [] => String::new(),
        [(path, place)] => format!("; {path} is ignored by {place}"),
        [(path, place), rest @ ..] => {
            format!("; {path} is ignored by {place}, and so on for {} more", rest.len())
        }
    }
}

/// A file that is new and cannot be read: what was moved into it would look as if it were gone.
fn may_define_them<'a>(situation: &Situation<'a>) -> Option<&'a String> {
    let ours = situation.live.values().filter(|live| live.source.as_deref() == Some(situation.source));
    situation.unknown.anything(ours.filter_map(|live| live.path.as_deref()))
}

/// A Namespace takes everything in it along, also what others put there: it stays, and that is told.
fn leave_namespaces<'a>(gone: Vec<(&'a ObjectId, &'a Live)>, plan: &mut Plan) -> Vec<(&'a ObjectId, &'a Live)> {
    let (namespaces, others): (Vec<_>, Vec<_>) = gone.into_iter().partition(|(id, _)| id.kind == ObjectKind::Namespace);
    for (id, live) in namespaces {
        let message = format!(
            "{id} is not defined by {} any more and stays: it would take along everything in it. Delete it by hand \
             (kubectl delete namespace {}), or take its label midship.dev/source off",
            live.path.as_deref().unwrap_or("the repository"),
            id.name
        );
        plan.left.insert(id.clone(), message);
    }
    others
}

fn over_budget(deletions: usize, total: usize, prune: Prune) -> Option<String> {
    if deletions <= prune.agreed {
        return None;
    }
    let share = (total * prune.max_percent / 100).max(1);
    let budget = prune.max_count.min(share);
    (deletions > budget).then(|| {
        format!(
            "{deletions} of {total} objects would be deleted, more than the {budget} that the budget allows \
             (prune.maxCount {}, prune.maxPercent {}); to agree, push a commit with the trailer \
             Midship-Allow-Deletions: {deletions}, or raise the budget",
            prune.max_count, prune.max_percent
        )
    })
}

#[cfg(test)]
#[path = "sync_tests.rs"]
mod tests;
