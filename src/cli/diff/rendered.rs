//! `midship diff --rendered`: the objects that instances become. An instance that is refused keeps what it became before.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::super::preview::{NoPreview, Preview};
use super::super::snapshot::Snapshot;
use super::meaning::{is_suspended, sentences, try_out};
use crate::cue::Cue;
use crate::diff::{Changes, Fate, Manifests, ObjectChange, compare_manifests};
use crate::plan::source::{Manifest, ObjectId};

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
        let reason = match made {
            Ok(made) => {
                is.extend(made);
                continue;
            }
            Err(reason) => reason,
        };
        let old = before.get(&manifest.id);
        if let Some((_, Ok(made))) = old {
            is.extend(made.clone());
        }
        let is_news = old.is_none_or(|(old, made)| {
            old.body != manifest.body || made.as_ref().err().is_none_or(|before| *before != reason)
        });
        if is_news {
            stay.push(stays(old.map(|(old, _)| *old), manifest, reason));
        }
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

/// An instance whose objects stay as they are, or do not come, and why.
fn stays(old: Option<&Manifest>, new: &Manifest, reason: NoPreview) -> ObjectChange {
    let body = |manifest: &Manifest| Value::clone(&manifest.body);
    ObjectChange {
        object: new.id.to_string(),
        fate: if old.is_some() { Fate::Update } else { Fate::Create },
        before: old.map(body),
        after: Some(body(new)),
        effects: sentences(None, Some(Err(reason)), is_suspended(new)),
    }
}
