//! What one audit commit says: the files that hold what is applied, a message for people, a record for programs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::super::apply::summary;
use super::super::failed::{self, Failed};
use super::super::remaining::Remaining;
use super::super::settings::{Destination, Settings};
use super::finished::Ended;
use super::{Sync, verb};
use crate::diff::Redaction;
use crate::plan::source::{ObjectId, ObjectKind, What};
use crate::repo::{Draft, Edit, ObjectId as GitId, Person, Record, blob_id, short};

/// The trailer with a commit that was applied before, and that no record of its own tells of.
pub const ALSO: &str = "Midship-Also-Applied";
/// The result of a source's last record.
const ENDED: &str = "deleted";
/// How many objects a message names.
const NAMED: usize = 100;

/// Where a record goes, and the one before it: the chain shows where some were taken out.
pub type To<'a> = (&'a Destination, Option<String>);

/// The file with the newest record of a source.
pub fn marker(folder: &str) -> String {
    format!("{folder}/record.json")
}

/// The file that says what is not done of what the repository asks for; there is none where everything is.
pub fn failures(folder: &str) -> String {
    format!("{folder}/failed.json")
}

/// What names a record: it follows from what it says.
pub fn id_of(text: &[u8]) -> String {
    hex::encode(&Sha256::digest(text)[..16])
}

/// The commit a record is of; none where it tells of something else, or is none of ours.
pub fn commit_of(text: &[u8]) -> Option<String> {
    field_of(text, "commit")
}

/// The record before a record; none where it is the first, or is none of ours.
pub fn previous_of(text: &[u8]) -> Option<String> {
    field_of(text, "previous")
}

/// The source, by its uid, whose end a record tells; none where it tells of something else.
pub fn ended_of(text: &[u8]) -> Option<String> {
    (field_of(text, "result")? == ENDED).then(|| field_of(text, "uid")).flatten()
}

fn field_of(text: &[u8], field: &str) -> Option<String> {
    serde_json::from_slice::<Value>(text).ok()?[field].as_str().map(str::to_owned)
}

/// Where the applied state of an object is on the branch.
fn file_of(settings: &Settings, id: &ObjectId) -> String {
    let namespace = id.namespace.as_deref().unwrap_or("_cluster");
    format!("{}/objects/{namespace}/{}/{}.yaml", settings.folder(), id.kind.as_str().to_lowercase(), id.name)
}

/// The object whose applied state a file of the branch holds, where it is one of this source.
pub fn object_at(settings: &Settings, path: &str) -> Option<ObjectId> {
    let place = path.strip_prefix(&settings.folder())?.strip_prefix("/objects/")?.strip_suffix(".yaml")?;
    let mut parts = place.splitn(3, '/');
    let (namespace, kind, name) = (parts.next()?, parts.next()?, parts.next()?);
    let kind = ObjectKind::ALL.into_iter().find(|known| known.as_str().to_lowercase() == kind)?;
    let namespace = kind.is_namespaced().then(|| namespace.to_owned());
    Some(ObjectId { kind, namespace, name: name.to_owned() })
}

/// The files that are to change: new content, or none for a file that goes.
pub fn files(
    settings: &Settings,
    sync: &Sync<'_>,
    before: &BTreeMap<String, GitId>,
    redaction: &Redaction,
) -> BTreeMap<String, Option<Vec<u8>>> {
    let unsettled: BTreeSet<&ObjectId> = sync
        .results
        .iter()
        .filter(|result| result.failure.is_some())
        .map(|result| &result.id)
        .chain(sync.plan.foreign.keys())
        .chain(&sync.plan.leaving)
        .chain(sync.plan.refused.keys())
        .chain(sync.plan.kept.keys())
        .collect();
    let mut files = BTreeMap::new();
    let mut kept: BTreeSet<String> = unsettled.iter().map(|id| file_of(settings, id)).collect();
    for desired in sync.part.desired(sync.seen).into_iter().filter(|desired| !unsettled.contains(&desired.id)) {
        let Some(body) = sync.seen.body(&desired.id) else { continue };
        let body = if desired.id.kind == ObjectKind::Secret { &redaction.of_secret(body) } else { body.as_ref() };
        // an object that cannot be written down keeps the file it has
        let Ok(yaml) = serde_saphyr::to_string(body) else {
            tracing::warn!(object = %desired.id, "the record cannot show this object");
            kept.insert(file_of(settings, &desired.id));
            continue;
        };
        let path = file_of(settings, &desired.id);
        files.insert(path.clone(), Some(format!("# from {}\n{yaml}", desired.path).into_bytes()));
        kept.insert(path);
    }
    // nothing is defined no more, or everything would have been looked at
    if !sync.part.is_everything() {
        return files;
    }
    // what is still there although no file defines it: held back, or from a file that cannot be read
    let done = sync.results.iter().filter(|result| result.what == What::Delete && result.failure.is_none());
    let deleted: BTreeSet<&ObjectId> = done.map(|result| &result.id).collect();
    let ours = sync.live.objects.iter().filter(|(_, live)| live.source.as_deref() == Some(&settings.label));
    kept.extend(ours.filter(|(id, _)| !deleted.contains(id)).map(|(id, _)| file_of(settings, id)));
    let prefix = format!("{}/objects/", settings.folder());
    for path in before.keys().filter(|path| path.starts_with(&prefix) && !kept.contains(*path)) {
        files.insert(path.clone(), None);
    }
    files
}

/// Only what differs from what is there.
pub fn edits(before: &BTreeMap<String, GitId>, after: BTreeMap<String, Option<Vec<u8>>>) -> Vec<Edit> {
    let differs = |edit: &Edit| match &edit.content {
        Some(content) => before.get(&edit.path) != Some(&blob_id(content)),
        None => before.contains_key(&edit.path),
    };
    after.into_iter().map(|(path, content)| Edit { path, content }).filter(differs).collect()
}

/// The commit.
pub fn record(settings: &Settings, to: To<'_>, sync: &Sync<'_>, failed: &[Failed], edits: Vec<Edit>) -> Record {
    let now = Timestamp::now();
    let commit = &sync.seen.commit;
    let outcome = if failed.iter().all(Failed::is_held) {
        "applied"
    } else if failed::is_applied(failed, sync.plan, sync.results) {
        "partly applied"
    } else {
        "failed"
    };
    let actions: Vec<_> = sync
        .results
        .iter()
        .map(|result| {
            json!({ "object": result.id.to_string(), "action": verb(result.what), "why": result.why,
                    "result": if result.failure.is_some() { "failed" } else { "done" }, "reason": result.failure,
                    "tookMs": millis(result.took) })
        })
        .collect();
    let machine = json!({
        "cluster": to.0.cluster, "source": settings.folder(), "url": settings.url.to_string(),
        "commit": commit.id.to_string(), "branch": sync.seen.branch,
        "author": commit.author.to_string(), "committer": commit.committer.to_string(),
        "at": now.to_string(), "result": outcome, "tookMs": millis(sync.took), "actions": actions,
        "failed": failed::shown(failed),
        "rewritten": sync.rewrite.map(|rewrite| json!({ "previous": rewrite.previous.to_string() })),
        "alsoApplied": sync.also,
        "held": sync.plan.held.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "drifted": sync.plan.drifted.keys().map(ToString::to_string).collect::<Vec<_>>(),
    });
    let mut trailers = vec![("Midship-Commit".into(), commit.id.to_string())];
    trailers.extend(sync.rewrite.map(|rewrite| ("Midship-Rewritten-From".into(), rewrite.previous.to_string())));
    trailers.extend(sync.also.iter().map(|also| (ALSO.into(), also.clone())));
    let entry = Entry {
        author: commit.author.clone(),
        message: message(sync, failed),
        trailers,
        result: outcome,
        machine,
        edits,
    };
    entry.record(settings, to, now)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A commit that tells of what ended: operations and backups.
pub fn of_ended(settings: &Settings, to: To<'_>, ended: &[Ended], gone: &[String]) -> Record {
    let now = Timestamp::now();
    let failed = ended.iter().any(|one| one.failed);
    let title = match ended {
        [one] => one.title(),
        several => format!("{} operations and backups ended", several.len()),
    };
    let mut message = title;
    if let [_, _, ..] = ended {
        let lines: Vec<String> = ended.iter().take(NAMED).map(|one| format!("- {}", one.title())).collect();
        message.push_str(&format!("\n\n{}\n", lines.join("\n")));
    }
    let edits = ended.iter().map(|one| Edit { path: one.path.clone(), content: Some(one.content.clone()) });
    let gone = gone.iter().map(|path| Edit { path: path.clone(), content: None });
    let result = if failed { "failed" } else { "done" };
    let entry = Entry {
        author: committer(&to.0.committer, now),
        message,
        trailers: Vec::new(),
        result,
        machine: json!({
            "cluster": to.0.cluster, "source": settings.folder(), "at": now.to_string(), "result": result,
            "actions": ended.iter().map(Ended::action).collect::<Vec<_>>(),
        }),
        edits: edits.chain(gone).collect(),
    };
    entry.record(settings, to, now)
}

/// The end of a source.
pub struct End<'a> {
    pub uid: Option<&'a str>,
    /// What remains of what it applied, where it took that along.
    pub remaining: Option<&'a Remaining>,
}

/// A commit that tells of a source's end. The files of objects that went along, or to another source, go too.
pub fn of_end(settings: &Settings, to: To<'_>, end: &End<'_>, before: &BTreeMap<String, GitId>) -> Record {
    let now = Timestamp::now();
    let objects: Vec<(&String, ObjectId)> =
        before.keys().filter_map(|path| Some((path, object_at(settings, path)?))).collect();
    // the source that has an object now, where it is there, and where it is somebody's
    let whose = |id: &ObjectId| match end.remaining {
        Some(remaining) => remaining.get(id).map(Option::as_deref),
        None => Some(None),
    };
    let stays = |id: &ObjectId| whose(id) == Some(None);
    let stay: Vec<String> = objects.iter().filter(|(_, id)| stays(id)).map(|(_, id)| id.to_string()).collect();
    let handed_over: Vec<(String, &str)> =
        objects.iter().filter_map(|(_, id)| Some((id.to_string(), whose(id)??))).collect();
    let deleted = objects.len() - stay.len() - handed_over.len();
    let fate = fate(end.remaining.is_some(), deleted, handed_over.len(), stay.len());
    let mut message = format!("GitSource {} was deleted: {fate}", settings.folder());
    if end.remaining.is_some_and(|remaining| !remaining.is_empty()) {
        message.push('\n');
        let lines = handed_over.iter().map(|(id, by)| format!("{id} to the GitSource {by}"));
        section(&mut message, "Handed over:\n", lines.collect());
        section(&mut message, "Still there:\n", stay.clone());
    }
    let edits = objects.iter().filter(|(_, id)| !stays(id));
    let edits = edits.map(|(path, _)| Edit { path: (*path).clone(), content: None });
    let told = match (end.remaining.is_some(), handed_over.len() + stay.len()) {
        (true, 0) => "deleted",
        (true, _) if deleted > 0 => "partly deleted",
        _ => "left",
    };
    let handed_over: Vec<Value> = handed_over.iter().map(|(id, by)| json!({ "object": id, "to": by })).collect();
    let entry = Entry {
        author: committer(&to.0.committer, now),
        message,
        trailers: Vec::new(),
        result: ENDED,
        machine: json!({
            "cluster": to.0.cluster, "source": settings.folder(), "uid": end.uid, "url": settings.url.to_string(),
            "at": now.to_string(), "result": ENDED, "objects": told, "handedOver": handed_over, "left": stay,
        }),
        edits: edits.collect(),
    };
    entry.record(settings, to, now)
}

/// What became of the objects of a source that ended, in a few words.
fn fate(took_along: bool, deleted: usize, handed_over: usize, stay: usize) -> String {
    match (took_along, handed_over + stay) {
        (true, 0) => return "what it applied is deleted too".to_owned(),
        (false, 1) => return "the object it applied stays".to_owned(),
        (false, number) => return format!("the {number} objects it applied stay"),
        (true, _) => {}
    }
    let is = |number: usize, one: &str, many: &str| match number {
        0 => None,
        1 => Some(format!("1 object {one}")),
        number => Some(format!("{number} objects {many}")),
    };
    let parts = [
        is(deleted, "is deleted too", "are deleted too"),
        is(handed_over, "was handed over", "were handed over"),
        is(stay, "stays", "stay"),
    ];
    format!("of what it applied {}", parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

/// What every commit has in common.
struct Entry {
    author: Person,
    message: String,
    trailers: Vec<(String, String)>,
    result: &'static str,
    machine: Value,
    edits: Vec<Edit>,
}

impl Entry {
    fn record(mut self, settings: &Settings, (destination, previous): To<'_>, now: Timestamp) -> Record {
        self.machine["previous"] = json!(previous);
        let text = serde_json::to_vec_pretty(&self.machine).expect("keys are texts");
        let id = id_of(&text);
        let marker = marker(&settings.folder());
        self.edits.push(Edit { path: marker.clone(), content: Some(text) });
        let mut trailers =
            vec![("Midship-Cluster".into(), destination.cluster.clone()), ("Midship-Source".into(), settings.folder())];
        trailers.append(&mut self.trailers);
        trailers.push(("Midship-Result".into(), self.result.into()));
        let draft = Draft {
            author: self.author,
            committer: committer(&destination.committer, now),
            message: self.message,
            trailers,
            edits: self.edits,
        };
        Record { id, marker, draft }
    }
}

/// Midship as a person in commits.
pub fn committer((name, email): &(String, String), now: Timestamp) -> Person {
    let (name, email) = (name.clone(), email.clone());
    Person { name, email, seconds: now.as_second(), offset_minutes: 0 }
}

/// What a person reads in `git log`.
fn message(sync: &Sync<'_>, failed: &[Failed]) -> String {
    let commit = &sync.seen.commit;
    let mut text = format!("{}@{}: {}\n", sync.seen.branch, short(&commit.id), title(sync, failed));
    if !commit.summary().is_empty() {
        text.push_str(&format!("\n{} ({})\n", commit.summary(), commit.author.name));
    }
    if let Some(rewrite) = &sync.rewrite {
        text.push_str(&format!("\nHistory: {}\n", rewrite.told()));
    }
    if !sync.also.is_empty() {
        let also: Vec<&str> = sync.also.iter().map(|also| also.get(..7).unwrap_or(also)).collect();
        text.push_str(&format!(
            "\nBefore it {} began to be applied, and the controller ended before it could record that: what was changed by it \
             is told here.\n",
            also.join(", ")
        ));
    }
    let done = sync.results.iter().filter(|result| result.failure.is_none());
    section(&mut text, "", done.map(|result| format!("{} {}", verb(result.what), result.id)).collect());
    let (held, failed): (Vec<&Failed>, Vec<&Failed>) = failed.iter().partition(|one| one.is_held());
    section(&mut text, "Failed:\n", failed.into_iter().map(Failed::line).collect());
    section(&mut text, "Held:\n", held.into_iter().map(Failed::line).collect());
    text
}

/// What was done, and how much was not.
fn title(sync: &Sync<'_>, failed: &[Failed]) -> String {
    let held = failed.iter().filter(|one| one.is_held()).count();
    let (failed, done) = (failed.len() - held, sync.results.iter().any(|result| result.failure.is_none()));
    let parts = [
        done.then(|| summary(sync.results)),
        (failed > 0).then(|| format!("{failed} failed")),
        (held > 0).then(|| format!("{held} held")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "record what is applied".to_owned() } else { parts.join(", ") }
}

/// A list in a message; what is too much for one is in the files.
fn section(text: &mut String, heading: &str, mut lines: Vec<String>) {
    let more = lines.len().saturating_sub(NAMED);
    lines.truncate(NAMED);
    if lines.is_empty() {
        return;
    }
    text.push_str(&format!("\n{heading}- {}\n", lines.join("\n- ")));
    if more > 0 {
        text.push_str(&format!("- and {more} more, in record.json\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_source_says_what_became_of_everything_it_applied() {
        for (took_along, deleted, handed_over, stay, told) in [
            (true, 3, 0, 0, "what it applied is deleted too"),
            (true, 0, 0, 0, "what it applied is deleted too"),
            (true, 1, 2, 1, "of what it applied 1 object is deleted too, 2 objects were handed over, 1 object stays"),
            (true, 0, 1, 2, "of what it applied 1 object was handed over, 2 objects stay"),
            (false, 0, 0, 1, "the object it applied stays"),
            (false, 0, 0, 4, "the 4 objects it applied stay"),
        ] {
            assert_eq!(fate(took_along, deleted, handed_over, stay), told);
        }
    }

    #[test]
    fn only_the_last_record_of_a_source_tells_of_its_end() {
        let ended = |text: &str| ended_of(text.as_bytes());
        assert_eq!(ended(r#"{"result": "deleted", "uid": "1-2-3"}"#), Some("1-2-3".to_owned()));
        assert_eq!(ended(r#"{"result": "applied", "uid": "1-2-3"}"#), None);
        assert_eq!(ended(r#"{"result": "deleted"}"#), None, "one of before");
        assert_eq!(ended("{"), None);
    }
}
