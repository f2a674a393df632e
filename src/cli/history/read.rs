//! Reads the audit branch for what it tells of one object.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::error::CommandError;
use super::super::origin::{Opened, damaged};
use super::super::session::{Target, is_namespaced};
use crate::diff::fields::{FieldChange, changes};
use crate::extension::problem::listed;
use crate::repo::{Commit, ObjectId, ParseLimits, Touched, TreeError, parse};

/// More than this is no file of ours.
const LARGEST: u64 = 16 << 20;

/// One thing that happened to an object.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Seconds since 1970.
    pub at: i64,
    pub action: String,
    /// `done`, or `failed`.
    pub result: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub object: String,
    /// The commit it was applied from.
    pub commit: String,
    pub summary: String,
    /// Who wrote that commit.
    pub author: String,
    pub source: String,
    pub audit_commit: String,
    pub changes: Vec<FieldChange>,
}

/// The part of `record.json` that concerns single objects.
#[derive(Deserialize, Default)]
struct Record {
    #[serde(default)]
    actions: Vec<RecordedAction>,
}

#[derive(Deserialize)]
struct RecordedAction {
    object: String,
    action: String,
    result: String,
    reason: Option<String>,
}

/// What happened to an object, the newest first.
pub fn entries(
    opened: &Opened,
    target: &Target,
    namespace: Option<&str>,
    limit: usize,
) -> Result<Vec<Entry>, CommandError> {
    let wrong = |error: TreeError| damaged(&opened.place, &error);
    let mut entries = Vec::new();
    for commit in opened.history.commits(opened.tip).map_err(wrong)? {
        let commit = commit.map_err(wrong)?;
        let touched = opened.history.changes(&commit).map_err(wrong)?;
        entries.extend(of_commit(opened, &commit, &touched, target, namespace).map_err(wrong)?);
        if entries.len() >= limit {
            break;
        }
    }
    entries.truncate(limit);
    let mut objects: Vec<&str> = entries.iter().map(|entry| entry.object.as_str()).collect();
    objects.sort_unstable();
    objects.dedup();
    if objects.len() > 1 {
        return Err(CommandError::new("there are several objects of this name")
            .at(listed(objects))
            .remedy("name the namespace with -n"));
    }
    Ok(entries)
}

fn of_commit(
    opened: &Opened,
    commit: &Commit,
    touched: &[Touched],
    target: &Target,
    namespace: Option<&str>,
) -> Result<Vec<Entry>, TreeError> {
    let mut found = Vec::new();
    let records = touched.iter().filter(|one| one.path.ends_with("/record.json"));
    for one in records {
        let Some(id) = one.new else { continue };
        let bytes = opened.history.blob(id, LARGEST)?;
        let record: Record = serde_json::from_slice(&bytes).unwrap_or_default();
        for action in record.actions.into_iter().filter(|action| names(&action.object, target, namespace)) {
            found.push(entry(commit, action, Vec::new()));
        }
    }
    for one in touched {
        let Some(object) = object_of(&one.path).filter(|object| names(object, target, namespace)) else { continue };
        let read = |id: Option<ObjectId>| id.map(|id| document(opened, id)).transpose().map(Option::flatten);
        let (old, new) = (read(one.old)?, read(one.new)?);
        let changes = changes(old.as_ref(), new.as_ref());
        if let Some(entry) = found.iter_mut().find(|entry| entry.object == object) {
            entry.changes = changes;
        } else {
            let action = match (&old, &new) {
                (None, _) => "Create",
                (_, None) => "Delete",
                _ => "Update",
            };
            let action = RecordedAction { object, action: action.into(), result: "done".into(), reason: None };
            found.push(entry(commit, action, changes));
        }
    }
    Ok(found)
}

fn entry(commit: &Commit, action: RecordedAction, changes: Vec<FieldChange>) -> Entry {
    let RecordedAction { object, action, result, reason } = action;
    let about = commit.message.split("\n\n").nth(1).unwrap_or_default().lines().next().unwrap_or_default();
    Entry {
        at: commit.committer.seconds,
        action,
        result,
        reason,
        object,
        commit: commit.trailer("Midship-Commit").unwrap_or_default(),
        summary: about.to_owned(),
        author: commit.author.name.clone(),
        source: commit.trailer("Midship-Source").unwrap_or_default(),
        audit_commit: commit.id.to_string(),
        changes,
    }
}

/// The object of a file on the audit branch, in lower case but for its name: `…/objects/shop/instance/orders.yaml`.
fn object_of(path: &str) -> Option<String> {
    let parts: Vec<&str> = path.split('/').collect();
    let [.., "objects", namespace, kind, file] = parts.as_slice() else { return None };
    let name = file.strip_suffix(".yaml")?;
    let kind = crate::plan::source::ObjectKind::ALL.into_iter().find(|known| known.as_str().to_lowercase() == *kind)?;
    Some(match *namespace {
        "_cluster" => format!("{} {name}", kind.as_str()),
        namespace => format!("{} {namespace}/{name}", kind.as_str()),
    })
}

/// Whether `Instance shop/orders` is what was asked for.
fn names(object: &str, target: &Target, namespace: Option<&str>) -> bool {
    let Some((kind, name)) = object.split_once(' ') else { return false };
    if kind != target.kind.as_str() {
        return false;
    }
    match name.split_once('/') {
        Some((found, name)) => name == target.name && namespace.is_none_or(|namespace| namespace == found),
        None => !is_namespaced(target.kind) && name == target.name,
    }
}

fn document(opened: &Opened, id: ObjectId) -> Result<Option<Value>, TreeError> {
    let bytes = opened.history.blob(id, LARGEST)?;
    let documents = parse("record", &bytes, &ParseLimits::default()).unwrap_or_default();
    Ok(documents.into_iter().next().map(|document| document.value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_found_by_their_files() {
        let object = object_of("team/main/objects/shop/instance/orders.yaml").expect("an object");
        assert_eq!(object, "Instance shop/orders");
        assert_eq!(object_of("team/main/objects/_cluster/namespace/shop.yaml").as_deref(), Some("Namespace shop"));
        assert_eq!(object_of("team/main/record.json"), None);
        let target = Target { kind: crate::api::Kind::Instance, name: "orders".into() };
        assert!(names(&object, &target, None) && names(&object, &target, Some("shop")));
        assert!(!names(&object, &target, Some("team")));
    }
}
