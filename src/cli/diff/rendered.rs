//! `midship diff --rendered`: the objects that instances become. An instance that is refused keeps what it became before, and
//! a package that is refused is told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::super::preview::{NoPreview, Preview};
use super::super::snapshot::Snapshot;
use super::meaning::{is_suspended, republished, sentences, try_out};
use crate::cue::Cue;
use crate::diff::{Changes, Fate, Manifests, ObjectChange, compare_manifests};
use crate::plan::source::{Manifest, ObjectId, ObjectKind};

/// What an instance becomes, or why that cannot be told.
type Made = Result<Manifests, NoPreview>;

pub fn changes(base: &Snapshot, head: &Snapshot) -> Changes {
    let rules = Cue::default();
    let mut before: BTreeMap<&ObjectId, (&Manifest, Made)> = BTreeMap::new();
    for (manifest, made) in instances(base, &rules) {
        before.insert(&manifest.id, (manifest, made));
    }
    let (mut was, mut is) = (Manifests::new(), Manifests::new());
    for (_, made) in before.values() {
        if let Ok(made) = made {
            was.extend(made.clone());
        }
    }
    let mut stay = Vec::new();
    for (manifest, made) in instances(head, &rules) {
        let old = before.get(&manifest.id);
        let (reason, is_news) = match (made, old) {
            // what there is of it already is not known
            (Ok(_), Some((_, Err(unknown)))) if base.own.is_none() => (unknown.clone(), true),
            (Ok(made), _) => {
                is.extend(made);
                continue;
            }
            (Err(reason), Some((_, Ok(made)))) => {
                is.extend(made.clone());
                (reason, true)
            }
            (Err(reason), Some((old, Err(former)))) => {
                let is_news = old.body != manifest.body || *former != reason;
                (reason, is_news)
            }
            (Err(reason), None) => (reason, true),
        };
        if is_news {
            let effects = sentences(None, Some(Err(reason)), is_suspended(manifest));
            stay.push(stays(old.map(|(old, _)| *old), manifest, effects));
        }
    }
    let there: BTreeSet<&ObjectId> = head.defined.objects.iter().map(|manifest| &manifest.id).collect();
    for (id, (manifest, made)) in before {
        if let Err(reason @ NoPreview::Package(_)) = made
            && !there.contains(id)
        {
            stay.push(goes(manifest, sentences(Some(Err(reason)), None, false)));
        }
    }
    for (old, new) in packages(base, head) {
        // what it makes is shown all the same, to whoever is still at work on it
        stay.extend(republished(Some(old), Some(new)).map(|told| stays(Some(old), new, vec![told])));
    }
    let mut changes = compare_manifests(&was, &is);
    changes.changes.extend(stay);
    changes
}

fn instances<'a>(snapshot: &'a Snapshot, rules: &'a Cue) -> impl Iterator<Item = (&'a Manifest, Made)> {
    snapshot.defined.objects.iter().filter_map(move |manifest| {
        let tried = try_out(snapshot, Some(manifest), rules)?;
        Some((manifest, tried.map(|preview| made(&preview))))
    })
}

fn made(preview: &Preview) -> Manifests {
    preview.rendered.manifests().into_iter().map(|object| (name(&object), Arc::new(object))).collect()
}

fn name(object: &Value) -> String {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    format!("{} {}/{}", text("/kind"), text("/metadata/namespace"), text("/metadata/name"))
}

/// The packages that are there before and after.
fn packages<'a>(base: &'a Snapshot, head: &'a Snapshot) -> impl Iterator<Item = (&'a Manifest, &'a Manifest)> {
    let before: BTreeMap<&ObjectId, &Manifest> = extensions(base).map(|manifest| (&manifest.id, manifest)).collect();
    extensions(head).filter_map(move |manifest| Some((*before.get(&manifest.id)?, manifest)))
}

fn extensions(snapshot: &Snapshot) -> impl Iterator<Item = &Manifest> {
    snapshot.defined.objects.iter().filter(|manifest| manifest.id.kind == ObjectKind::Extension)
}

/// What stays as it is, or does not come, and why.
fn stays(old: Option<&Manifest>, new: &Manifest, effects: Vec<String>) -> ObjectChange {
    let body = |manifest: &Manifest| Value::clone(&manifest.body);
    ObjectChange {
        object: new.id.to_string(),
        fate: if old.is_some() { Fate::Update } else { Fate::Create },
        before: old.map(body),
        after: Some(body(new)),
        effects,
    }
}

/// An instance of which nobody can tell which objects go with it.
fn goes(old: &Manifest, effects: Vec<String>) -> ObjectChange {
    ObjectChange {
        object: old.id.to_string(),
        fate: Fate::Delete,
        before: Some(Value::clone(&old.body)),
        after: None,
        effects,
    }
}
