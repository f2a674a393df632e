//! What the change of an object means: of an instance for its pods, of a package that a version never changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::super::preview::{NoPreview, Preview, preview};
use super::super::snapshot::Snapshot;
use crate::cue::Cue;
use crate::diff::Changes;
use crate::plan::effect::effect;
use crate::plan::source::manifest::SETTINGS;
use crate::plan::source::{Manifest, ObjectId, ObjectKind};

/// An instance as it was tried out, where there is one.
pub type Try = Option<Result<Preview, NoPreview>>;

/// The objects of a repository by what people call them.
fn named(snapshot: &Snapshot) -> BTreeMap<String, &Manifest> {
    snapshot.defined.objects.iter().map(|manifest| (manifest.id.to_string(), manifest)).collect()
}

/// Says of each object that changes what that means.
pub fn explain(changes: &mut Changes, base: &Snapshot, head: &Snapshot) {
    let rules = Cue::default();
    let (before, after) = (named(base), named(head));
    for change in &mut changes.changes {
        let (old, new) = (before.get(&change.object).copied(), after.get(&change.object).copied());
        change.effects = meaning((base, old), (head, new), &rules);
    }
}

/// What it means that an object in the cluster becomes what the files say, or goes.
pub fn effects(id: &ObjectId, live: Option<&Arc<Value>>, stays: bool, snapshot: &Snapshot, rules: &Cue) -> Vec<String> {
    if !matches!(id.kind, ObjectKind::Instance | ObjectKind::Extension) {
        return Vec::new();
    }
    let there = live.map(|body| Manifest {
        id: id.clone(),
        path: "".into(),
        line: 1,
        body: body.clone(),
        digest: String::new(),
    });
    let wanted = snapshot.defined.objects.iter().find(|manifest| manifest.id == *id).filter(|_| stays);
    meaning((snapshot, there.as_ref()), (snapshot, wanted), rules)
}

fn meaning(
    (base, old): (&Snapshot, Option<&Manifest>),
    (head, new): (&Snapshot, Option<&Manifest>),
    rules: &Cue,
) -> Vec<String> {
    match old.or(new).map(|manifest| manifest.id.kind) {
        Some(ObjectKind::Instance) => {
            let suspended = new.is_some_and(is_suspended);
            sentences(try_out(base, old, rules), try_out(head, new, rules), suspended)
        }
        Some(ObjectKind::Extension) => republished(old, new).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// Tries out an instance as its repository has it. What one becomes whose repository's settings cannot be read is not
/// known.
pub fn try_out(snapshot: &Snapshot, manifest: Option<&Manifest>, rules: &Cue) -> Try {
    let instance = manifest.filter(|manifest| manifest.id.kind == ObjectKind::Instance)?;
    if snapshot.own.is_none() {
        return Some(Err(NoPreview::Package(unread())));
    }
    preview(snapshot, instance, rules)
}

pub fn unread() -> String {
    format!("{SETTINGS} cannot be read")
}

pub fn is_suspended(manifest: &Manifest) -> bool {
    manifest.body["spec"]["suspend"].as_bool() == Some(true)
}

pub fn sentences(old: Try, new: Try, suspended: bool) -> Vec<String> {
    let unknown = |reason: String| vec![format!("what it means for pods is not known here: {reason}")];
    let new = match new.transpose() {
        Err(NoPreview::Refused(refusals)) => {
            return refusals.iter().map(|refusal| format!("will be refused: {refusal}")).collect();
        }
        _ if suspended => return vec!["suspended: nothing is done until it is resumed".to_owned()],
        Err(NoPreview::Package(reason)) => return unknown(reason),
        Ok(new) => new,
    };
    let old = match old.transpose() {
        Ok(old) => old,
        Err(NoPreview::Package(reason)) => return unknown(reason),
        // what was refused before has no pods that could be told of
        Err(NoPreview::Refused(_)) => None,
    };
    effect(old.as_ref().map(Preview::side), new.as_ref().map(Preview::side)).sentences()
}

/// The API server refuses other content under a version that is installed.
pub fn republished(old: Option<&Manifest>, new: Option<&Manifest>) -> Option<String> {
    let digest = |manifest: &Manifest| manifest.body["spec"]["digest"].as_str().map(str::to_owned);
    let (was, is) = (digest(old?)?, digest(new?)?);
    (was != is).then(|| {
        format!(
            "will be refused: an installed version never changes: it was installed as {was}, and this is {is}; publish \
             the change under a new version"
        )
    })
}
