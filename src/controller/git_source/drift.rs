//! What somebody changed by hand and is left so: which values, by whom, and, where the source is told to adopt it, the
//! branch with a commit that takes it over.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use futures::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::Client;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::audit::committer;
use super::brief;
use super::look::{Seen, cache_of};
use super::objects;
use super::settings::Settings;
use crate::api::git_source::{Drift as Policy, DriftedObject};
use crate::api::labels;
use crate::cluster::problem::Problem;
use crate::plan::source::adopt::{Change, changes};
use crate::plan::source::{ObjectId, ObjectKind, Plan};
use crate::repo::{Bounds, Cache, Draft, Edit, Limits, ObjectId as CommitId, PushOutcome, propose, short};
use crate::source::edited;

/// How many objects are looked at closely.
const LOOKED_AT: usize = 50;
/// Questions to the API server at a time.
const AT_ONCE: usize = 16;

/// What somebody changed, as far as it was looked at.
#[derive(Clone, Debug, Default)]
pub struct Drift {
    pub objects: Vec<Drifted>,
    /// What became of the proposal to take it over, in a sentence.
    pub proposal: Option<String>,
}

/// One object.
#[derive(Clone, Debug)]
pub struct Drifted {
    id: ObjectId,
    path: String,
    fields: Vec<String>,
    changes: Vec<Change>,
    /// Who changed it, as the API server knows them: a program's name.
    managers: Vec<String>,
}

impl Drifted {
    pub fn shown(&self) -> DriftedObject {
        let manager = (!self.managers.is_empty()).then(|| self.managers.join(", "));
        let fields = self.fields.iter().cloned().map(brief::field).collect();
        DriftedObject { object: self.id.to_string(), fields, manager }
    }
}

impl Drift {
    /// Looks closely at what the plan leaves as somebody made it.
    pub async fn look(plan: &Plan, seen: &Seen, client: &Client) -> Self {
        let looks = plan.drifted.iter().take(LOOKED_AT).map(|(id, fields)| {
            let path = seen.find(id).map(|desired| desired.path.clone()).unwrap_or_default();
            one(id.clone(), path, fields.clone(), seen, client)
        });
        let looks: Vec<_> = looks.collect();
        Self { objects: stream::iter(looks).buffered(AT_ONCE).collect().await, proposal: None }
    }

    /// Puts a commit on a branch of its own that takes over what was changed, where the source is told to. The same
    /// changes make the same branch, however often that is asked for.
    pub async fn propose(
        &mut self,
        seen: &Seen,
        settings: &Settings,
        cluster: &str,
        cache_dir: &Path,
        before: &mut Option<Proposed>,
    ) {
        let adopts = settings.drift == Policy::Adopt;
        // what was encrypted is not written into a file in the clear
        let objects: Vec<Drifted> = self
            .objects
            .iter()
            .filter(|one| adopts && one.id.kind != ObjectKind::Secret && !one.changes.is_empty())
            .cloned()
            .collect();
        if objects.is_empty() {
            *before = None;
            return;
        }
        let branch = branch(&objects, settings, cluster);
        if let Some(done) = before.as_ref().filter(|done| done.branch == branch) {
            self.proposal = Some(done.told.clone());
            return;
        }
        let work = Work {
            objects,
            branch: branch.clone(),
            base: seen.commit.id,
            settings: settings.clone(),
            cache: cache_of(settings, cache_dir),
            followed: seen.branch.clone(),
        };
        let ended = tokio::task::spawn_blocking(move || work.run()).await;
        match ended.unwrap_or_else(|_| {
            Err("making the commit panicked; this is a defect of Midship, please report it".to_owned())
        }) {
            Ok(told) => {
                self.proposal = Some(told.clone());
                *before = Some(Proposed { branch, told });
            }
            Err(problem) => {
                tracing::warn!(problem, branch, "what was changed by hand could not be proposed");
                self.proposal = Some(format!("it could not be proposed: {problem}"));
                *before = None;
            }
        }
    }
}

/// A proposal that was made.
#[derive(Clone, Debug)]
pub struct Proposed {
    branch: String,
    told: String,
}

async fn one(id: ObjectId, path: String, fields: Vec<String>, seen: &Seen, client: &Client) -> Drifted {
    let found = objects::api(client, &id).get_opt(&id.name).await;
    let mut drifted = Drifted { id, path, fields, changes: Vec::new(), managers: Vec::new() };
    match found {
        Ok(Some(object)) => {
            let managed = object.metadata.managed_fields.clone().unwrap_or_default();
            let live = serde_json::to_value(&object).unwrap_or_default();
            if let Some(body) = seen.body(&drifted.id) {
                drifted.changes = changes(body, &live);
                drifted.changes.retain(|change| change.pointer != "/apiVersion" && change.pointer != "/kind");
            }
            let who: BTreeSet<String> =
                drifted.changes.iter().filter_map(|change| who_changed(&managed, &change.pointer)).collect();
            drifted.managers = who.into_iter().collect();
        }
        Ok(None) => {}
        Err(error) => {
            let problem = Problem::from_kube(&error);
            tracing::warn!(object = %drifted.id, %problem, "who changed it cannot be found out");
        }
    }
    drifted
}

/// The manager who wrote a field last, other than Midship. Within lists it is not told apart who wrote which entry.
fn who_changed(managed: &[ManagedFieldsEntry], pointer: &str) -> Option<String> {
    let owns = |entry: &&ManagedFieldsEntry| {
        let mut here = entry.fields_v1.as_ref().map(|fields| &fields.0);
        for part in pointer.split('/').skip(1) {
            let key = format!("f:{}", part.replace("~1", "/").replace("~0", "~"));
            match here.and_then(|fields| fields.get(&key)) {
                Some(next) => here = Some(next),
                // the entries of a list, or the leaf of a field that is written as a whole
                None => return here.is_some_and(|fields| fields.as_object().is_some_and(is_list_or_leaf)),
            }
        }
        true
    };
    let others =
        managed.iter().filter(|entry| entry.manager.as_deref() != Some(labels::MANAGER) && entry.subresource.is_none());
    let last = others.filter(owns).max_by_key(|entry| entry.time.as_ref().map(|time| time.0))?;
    last.manager.clone()
}

fn is_list_or_leaf(fields: &serde_json::Map<String, Value>) -> bool {
    fields.is_empty()
        || fields.keys().any(|key| key.starts_with("k:") || key.starts_with("v:") || key.starts_with("i:"))
}

/// The same for the same changes.
fn branch(objects: &[Drifted], settings: &Settings, cluster: &str) -> String {
    let mut digest = Sha256::new();
    for one in objects {
        digest.update(format!("{}\n", one.id));
        for change in &one.changes {
            digest.update(format!("{} {:?}\n", change.pointer, change.live));
        }
    }
    format!("midship/adopt/{cluster}/{}/{}/{}", settings.namespace, settings.name, hex::encode(&digest.finalize()[..6]))
}

/// Making the commit; blocks.
struct Work {
    objects: Vec<Drifted>,
    branch: String,
    base: CommitId,
    settings: Settings,
    cache: Cache,
    followed: String,
}

impl Work {
    fn run(self) -> Result<String, String> {
        let Self { objects, branch, base, settings, cache, followed } = self;
        let bounds = Bounds::new(settings.timeout).pack_bytes(settings.fetch_bytes);
        let mut files: BTreeMap<String, String> = BTreeMap::new();
        let (mut taken, mut left) = (Vec::new(), Vec::new());
        for one in &objects {
            let text = match files.get(&one.path) {
                Some(text) => text.clone(),
                None => read(&cache, &settings, base, &one.path, &bounds)?.unwrap_or_default(),
            };
            match edited(&one.path, &text, &settings.placement, &one.id, &one.changes) {
                Some(new) => {
                    files.insert(one.path.clone(), new);
                    taken.push(one);
                }
                None => left.push(one.id.to_string()),
            }
        }
        if taken.is_empty() {
            return Err(format!(
                "{} cannot be changed in the files that define it; change them by hand",
                left.join(", ")
            ));
        }
        let edits = files.into_iter().map(|(path, text)| Edit { path, content: Some(text.into_bytes()) }).collect();
        let person = committer(&settings.committer, Timestamp::now());
        let draft = Draft {
            author: person.clone(),
            committer: person,
            message: message(&taken, &left, &base, &followed),
            trailers: vec![
                ("Midship-Source".into(), format!("{}/{}", settings.namespace, settings.name)),
                ("Midship-Commit".into(), base.to_string()),
            ],
            edits,
        };
        if let Some(audit) = &settings.audit {
            audit.usable()?;
        }
        let signer = settings.audit.as_ref().and_then(|audit| audit.signer.clone());
        let pushed = propose(&settings.pushing, &cache, base, &branch, &draft, signer.as_deref(), &bounds);
        match pushed.map_err(|error| error.to_string())?.1 {
            // somebody took it for this before, upon an older commit: it stands there to be merged
            PushOutcome::Pushed | PushOutcome::LostRace { .. } => {
                Ok(format!("the branch {branch} takes it over; merge it, or change the objects back"))
            }
            PushOutcome::Refused { reason } => Err(format!(
                "the push to {branch} was refused: {reason}; let these credentials push there, or name others in spec.audit.credentials"
            )),
            PushOutcome::Unreachable(error) => Err(error.to_string()),
        }
    }
}

fn read(
    cache: &Cache,
    settings: &Settings,
    base: CommitId,
    path: &str,
    bounds: &Bounds,
) -> Result<Option<String>, String> {
    let limits: &Limits = &settings.limits;
    let read = cache.read(&settings.remote, base, bounds, |tree| tree.content(path, limits));
    let (bytes, _) = read.map_err(|error| error.to_string())?;
    Ok(bytes.and_then(|bytes| String::from_utf8(bytes).ok()))
}

fn message(taken: &[&Drifted], left: &[String], base: &CommitId, followed: &str) -> String {
    let title = match taken {
        [one] => format!("Take over what was changed in {}", one.id),
        several => format!("Take over what was changed in {} objects", several.len()),
    };
    let mut text = format!("{title}\n\nIn the cluster these are not as {followed}@{} says:\n", short(base));
    for one in taken {
        let who = if one.managers.is_empty() { String::new() } else { format!(", by {}", one.managers.join(", ")) };
        text.push_str(&format!("\n- {}{who}\n", one.id));
        for change in &one.changes {
            let live = change.live.as_ref().map_or_else(|| "removed".to_owned(), ToString::to_string);
            text.push_str(&format!(
                "  {}: {} → {live}\n",
                change.pointer.trim_start_matches('/').replace('/', "."),
                change.wanted
            ));
        }
    }
    if !left.is_empty() {
        text.push_str(&format!(
            "\nNot taken over, because their files cannot be changed like this: {}\n",
            left.join(", ")
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(manager: &str, second: i64, fields: Value) -> ManagedFieldsEntry {
        serde_json::from_value(json!({
            "manager": manager, "operation": "Update", "time": Timestamp::from_second(second).expect("a time").to_string(),
            "fieldsType": "FieldsV1", "fieldsV1": fields,
        }))
        .expect("an entry")
    }

    #[test]
    fn whoever_wrote_a_field_last_is_named() {
        let version = json!({ "f:spec": { "f:version": {} } });
        let list = json!({ "f:spec": { "f:components": { "k:{\"name\":\"server\"}": { "f:replicas": {} } } } });
        let managed = [
            entry("midship", 9, version.clone()),
            entry("kubectl-edit", 2, version.clone()),
            entry("robot", 1, version),
            entry("scaler", 3, list),
        ];
        assert_eq!(who_changed(&managed, "/spec/version").as_deref(), Some("kubectl-edit"));
        assert_eq!(who_changed(&managed, "/spec/components/0/replicas").as_deref(), Some("scaler"));
        assert_eq!(who_changed(&managed, "/spec/topology"), None);
    }
}
