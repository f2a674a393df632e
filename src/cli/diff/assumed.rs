//! Instances whose files stay as they are, and that become something else because `midship.yaml` does.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::preview::NoPreview;
use super::super::snapshot::Snapshot;
use super::meaning::{Try, is_suspended, sentences, try_out, unread};
use crate::cue::Cue;
use crate::diff::{Changes, Fate, ObjectChange};
use crate::names::{EnvironmentName, NamespaceName};
use crate::plan::source::manifest::SETTINGS;
use crate::plan::source::{Manifest, ObjectId, ObjectKind};

/// Adds them to what changes: until now each counts as unchanged.
pub fn add(changes: &mut Changes, base: &Snapshot, head: &Snapshot) {
    if base.own == head.own {
        return;
    }
    let rules = Cue::default();
    let before = base.defined.objects.iter().map(|manifest| (&manifest.id, manifest));
    let before: BTreeMap<&ObjectId, &Manifest> = before.collect();
    for manifest in head.defined.objects.iter().filter(|manifest| manifest.id.kind == ObjectKind::Instance) {
        let Some(old) = before.get(&manifest.id).filter(|old| old.body == manifest.body) else { continue };
        let (was, is) = (assumed(base, old), assumed(head, manifest));
        if was == is {
            continue;
        }
        let tried = (try_out(base, Some(*old), &rules), try_out(head, Some(manifest), &rules));
        if alike(&tried.0, &tried.1) {
            continue;
        }
        changes.unchanged = changes.unchanged.saturating_sub(1);
        changes.changes.push(ObjectChange {
            object: manifest.id.to_string(),
            fate: Fate::Update,
            before: Some(with(manifest, was)),
            after: Some(with(manifest, is)),
            effects: sentences(tried.0, tried.1, is_suspended(manifest)),
        });
    }
}

/// What the repository's settings say of an instance: its environment, and what is assumed there.
fn assumed(snapshot: &Snapshot, manifest: &Manifest) -> Value {
    if snapshot.own.is_none() {
        return json!({ "wrong": unread() });
    }
    let own = manifest.body["spec"]["environment"].as_str().and_then(|name| EnvironmentName::parse(name).ok());
    let Ok(namespace) = NamespaceName::parse(manifest.id.namespace.as_deref().unwrap_or_default()) else {
        return Value::Null;
    };
    match snapshot.surroundings(own.as_ref(), &namespace) {
        Ok(found) => json!({
            "environment": found.environment.map(|name| name.to_string()),
            "assumes": found.defaults,
        }),
        Err(reason) => json!({ "wrong": reason }),
    }
}

/// Whether an instance is the same either way, as far as that can be told.
fn alike(old: &Try, new: &Try) -> bool {
    match (old, new) {
        (Some(Ok(old)), Some(Ok(new))) => {
            old.resolved == new.resolved && old.rendered.manifests() == new.rendered.manifests()
        }
        (Some(Err(NoPreview::Refused(old))), Some(Err(NoPreview::Refused(new)))) => old == new,
        _ => false,
    }
}

/// The instance together with what is said of it elsewhere.
fn with(manifest: &Manifest, assumed: Value) -> Value {
    let mut body = Value::clone(&manifest.body);
    body[SETTINGS] = assumed;
    body
}
