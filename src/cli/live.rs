//! A repository's files against a cluster, by the planner that the controller uses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use clap::Args;
use futures::{StreamExt, TryStreamExt, stream};
use kube::api::{DynamicObject, ListParams, TypeMeta};
use kube::{Api, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::connection::Connection;
use super::error::CommandError;
use super::guards::{Guards, guards};
use super::repository::Files;
use super::session::Session;
use super::snapshot::Snapshot;
use super::validate::counted;
use crate::api::git_source::{Drift, GitSourceStatus};
use crate::api::{BackupPolicy, BackupRepository, Extension, GitSource, Instance, Operation, labels};
use crate::controller::git_source::needed::claimed_by;
use crate::controller::git_source::objects::{self, DIGEST};
use crate::controller::git_source::once::kept;
use crate::controller::git_source::settings;
use crate::controller::packages::used_by;
use crate::extension::problem::listed;
use crate::names::NamespaceName;
use crate::plan::source::differences::differences;
use crate::plan::source::once::Begun;
use crate::plan::source::reserved::reserved;
use crate::plan::source::{
    Desired, Live, Manifest, ObjectId, ObjectKind, Plan, Prune, Situation, What, plan, source_label,
};
use crate::repo;

/// How many differences of an object are told.
const SHOWN: usize = 5;
/// Questions to the API server at a time.
const AT_ONCE: usize = 16;

#[derive(Args, Clone, Debug)]
pub struct Against {
    /// The GitSource that applies these files: NAME in the namespace, or NAMESPACE/NAME; the only one there is where
    /// left out.
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
}

/// A repository's files and the cluster, compared.
pub struct Compared {
    pub source: String,
    pub plan: Plan,
    pub snapshot: Snapshot,
    /// What is in the cluster of what is wanted or was applied, as far as a file could have said it.
    pub live: BTreeMap<ObjectId, Arc<Value>>,
    /// Objects whose file is there and left out, in a sentence.
    pub ignored: BTreeMap<ObjectId, String>,
    pub guards: Guards,
}

pub async fn compare(
    files: &Files,
    revision: Option<&str>,
    against: &Against,
    connection: &Connection,
) -> Result<Compared, CommandError> {
    let session = Session::open(connection).await?;
    let source = find_source(&session, against.source.as_deref()).await?;
    let namespace = source.namespace().unwrap_or_default();
    let placement = settings::placement(&source.spec, &namespace);
    let label = source_label(&namespace, &source.name_any());
    let mut guards = guards(&session, &source, files, revision).await?;
    let mut snapshot = files.placed(revision, &placement)?;
    snapshot.environment.clone_from(&source.spec.environment);
    snapshot.defined.objects.retain(|manifest| !guards.is_untrusted(&manifest.path));
    snapshot.defined.errors.retain(|error| !guards.is_untrusted(&error.path));
    let desired: Vec<Desired> = snapshot
        .defined
        .objects
        .iter()
        .map(|one| Desired { id: one.id.clone(), path: one.path.to_string(), digest: one.digest.clone() })
        .collect();
    let wanted: BTreeMap<&ObjectId, &Manifest> = snapshot.defined.objects.iter().map(|one| (&one.id, one)).collect();
    let found = observe(&session, &label, &wanted, placement.allowed.as_ref()).await?;
    let mut live = BTreeMap::new();
    let mut bodies = BTreeMap::new();
    let mut unopened = 0;
    for (id, object) in found {
        let body = asked_for(&id, &object)?;
        let manifest = wanted.get(&id);
        let wanted = manifest.map(|manifest| normal(id.kind, &manifest.body));
        let mut state = state(&id, &object, wanted.as_ref(), &body);
        let is_ours = state.source.as_deref() == Some(&*label);
        let closed = manifest.filter(|one| is_ours && is_as_applied(files, &snapshot, one, &source, &object));
        if let Some(manifest) = closed {
            state.digest = Some(manifest.digest.clone());
            state.differences.clear();
            unopened += 1;
        }
        live.insert(id.clone(), state);
        bodies.insert(id, Arc::new(body));
    }
    if unopened > 0 {
        let secrets = counted(unopened, "Secret");
        let note = format!("whether somebody changed {secrets} of encrypted files is not known: they stay closed here");
        guards.notes.push(note);
    }
    let around = Around { session: &session, source: &source, label: &label, wanted: &wanted };
    around.take_over_orphans(&mut live, &mut guards.notes).await;
    let users = around.users(&live, &mut guards.notes).await;
    let others = around.others(&live, &mut guards.notes).await;
    let prune = Prune { agreed: guards.agreed, ..settings::prune(source.spec.prune.as_ref()) };
    let left_out = |path: &str| snapshot.defined.ignored.get(path).cloned();
    let mut plan = plan(&Situation {
        source: &label,
        desired: &desired.iter().collect::<Vec<_>>(),
        live: &live,
        unknown: &snapshot.defined.unknown,
        untrusted: &|path| guards.is_untrusted(path),
        ignored: &left_out,
        may_be_ignored: snapshot.defined.may_be_ignored,
        needed: &|id| {
            let user = || users.get(&id.name).filter(|_| id.kind == ObjectKind::Extension).cloned();
            claimed_by(others.iter(), &label, id, &|_| None, &|_| true).map(|claim| claim.told).or_else(user)
        },
        whole_tree_read: snapshot.own.is_some(),
        prune: snapshot.own.as_ref().map_or(prune, |own| own.limit(prune)),
        drift: source.spec.drift.unwrap_or(Drift::Revert),
    });
    let acting = others.iter().filter(|other| other.spec.service_account_name.is_some());
    if plan.needed.keys().any(|id| claimed_by(acting.clone(), &label, id, &|_| None, &|_| true).is_some()) {
        let note = "another GitSource defines objects whose deletion is shown as held: where its spec.serviceAccountName may not \
                    write them, which the controller finds out, they are deleted";
        guards.notes.push(note.to_owned());
    }
    around.begun(&desired, &mut guards.notes).await.hold_back(&mut plan, &desired);
    let path_of = |id: &ObjectId| live.get(id)?.path.clone();
    let gone = plan.actions.iter().filter(|action| action.what == What::Delete).map(|action| &action.id);
    let ignored = gone.chain(&plan.held).filter_map(|id| {
        let path = path_of(id)?;
        Some((id.clone(), format!("{path} is ignored by {}", left_out(&path)?)))
    });
    let ignored = ignored.collect();
    let source = format!("{namespace}/{}", source.name_any());
    Ok(Compared { source, plan, snapshot, live: bodies, ignored, guards })
}

/// What a plan depends on beside the objects themselves. What cannot be found out is told, and no mistake.
struct Around<'a> {
    session: &'a Session<'a>,
    source: &'a GitSource,
    label: &'a str,
    wanted: &'a BTreeMap<&'a ObjectId, &'a Manifest>,
}

impl Around<'_> {
    /// What a source that is gone left behind is anybody's.
    async fn take_over_orphans(&self, live: &mut BTreeMap<ObjectId, Live>, notes: &mut Vec<String>) {
        let is_foreign = |live: &Live| live.source.as_deref().is_some_and(|source| source != self.label);
        if !live.iter().any(|(id, live)| is_foreign(live) && self.wanted.contains_key(id)) {
            return;
        }
        let everywhere: Api<GitSource> = Api::all(self.session.client.clone());
        let sources = match self.session.ask(everywhere.list(&ListParams::default())).await {
            Ok(sources) => sources.items,
            Err(error) => {
                notes
                    .push(format!("whether the sources of other objects are still there is not known: {}", error.what));
                return;
            }
        };
        let label = |source: &GitSource| source_label(&source.namespace().unwrap_or_default(), &source.name_any());
        let known: BTreeSet<String> = sources.iter().map(label).collect();
        for (_, live) in live.iter_mut().filter(|(id, _)| self.wanted.contains_key(id)) {
            // a label that was shortened does not tell which source it was
            let gone = |label: &String| label.len() < 63 && label.contains('.') && !known.contains(label);
            if is_foreign(live) {
                live.source.take_if(|label| gone(label));
            }
        }
    }

    /// Who needs the Extensions that no file defines any more.
    async fn users(&self, live: &BTreeMap<ObjectId, Live>, notes: &mut Vec<String>) -> BTreeMap<String, String> {
        let goes = |(id, live): (&ObjectId, &Live)| {
            let ours = live.source.as_deref() == Some(self.label);
            id.kind == ObjectKind::Extension && ours && !self.wanted.contains_key(id)
        };
        if !live.iter().any(goes) {
            return BTreeMap::new();
        }
        let everywhere: Api<Instance> = Api::all(self.session.client.clone());
        let instances = match self.session.ask(everywhere.list(&ListParams::default())).await {
            Ok(instances) => instances.items,
            Err(error) => {
                notes.push(format!("who uses the Extensions that would be deleted is not known: {}", error.what));
                return BTreeMap::new();
            }
        };
        users(&instances)
    }

    /// All sources, where something would be deleted that another one may define.
    async fn others(&self, live: &BTreeMap<ObjectId, Live>, notes: &mut Vec<String>) -> Vec<GitSource> {
        let goes = |(id, live): (&ObjectId, &Live)| {
            live.source.as_deref() == Some(self.label) && !self.wanted.contains_key(id)
        };
        if !live.iter().any(goes) {
            return Vec::new();
        }
        let everywhere: Api<GitSource> = Api::all(self.session.client.clone());
        match self.session.ask(everywhere.list(&ListParams::default())).await {
            Ok(sources) => sources.items,
            Err(error) => {
                notes.push(format!(
                    "whether another GitSource defines what would be deleted is not known: {}",
                    error.what
                ));
                Vec::new()
            }
        }
    }

    /// Operations that were begun before.
    async fn begun(&self, desired: &[Desired], notes: &mut Vec<String>) -> Begun {
        if !desired.iter().any(|desired| desired.id.kind == ObjectKind::Operation) {
            return Begun::default();
        }
        match kept(self.source, &self.session.client).await {
            Ok(begun) => begun,
            Err(failure) => {
                notes.push(failure.message);
                Begun::default()
            }
        }
    }
}

/// Who uses each Extension: the first of them, in a sentence.
pub fn users<'a>(instances: impl IntoIterator<Item = &'a Instance>) -> BTreeMap<String, String> {
    let mut users = BTreeMap::new();
    for instance in instances {
        let name = format!("{}/{}", instance.namespace().unwrap_or_default(), instance.name_any());
        for extension in used_by(instance) {
            users.entry(extension).or_insert_with(|| format!("{name} uses it"));
        }
    }
    users
}

/// The source that is named, or the only one there is.
pub async fn find_source(session: &Session<'_>, named: Option<&str>) -> Result<GitSource, CommandError> {
    if let Some(name) = named {
        let (namespace, name) = name.split_once('/').unwrap_or((session.namespace.as_str(), name));
        let namespace = NamespaceName::parse(namespace)
            .map_err(|error| CommandError::new(error.to_string()).remedy("write NAME, or NAMESPACE/NAME"))?;
        return session.in_namespace(namespace.as_str()).source(name).await;
    }
    let here = session.ask(session.sources().list(&ListParams::default())).await?.items;
    if let [only] = here.as_slice() {
        return Ok(only.clone());
    }
    let all = if here.is_empty() {
        let everywhere: Api<GitSource> = Api::all(session.client.clone());
        match session.ask(everywhere.list(&ListParams::default())).await {
            Ok(list) => list.items,
            // who may not look everywhere knows the namespace
            Err(_) => here,
        }
    } else {
        here
    };
    match all.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(CommandError::new("there is no GitSource")
            .at(session.server.clone())
            .remedy("name its namespace with -n, or make one: README.md shows how")),
        several => {
            let names: Vec<String> = several
                .iter()
                .map(|one| format!("{}/{}", one.namespace().unwrap_or_default(), one.name_any()))
                .collect();
            Err(CommandError::new("there are several GitSources")
                .at(listed(names.iter().map(String::as_str)))
                .remedy("say which with --source NAMESPACE/NAME"))
        }
    }
}

/// What is there of what is wanted, and of what this source applied.
async fn observe(
    session: &Session<'_>,
    label: &str,
    wanted: &BTreeMap<&ObjectId, &Manifest>,
    allowed: Option<&BTreeSet<String>>,
) -> Result<BTreeMap<ObjectId, DynamicObject>, CommandError> {
    let mut found = BTreeMap::new();
    let ours = ListParams::default().labels(&format!("{}={label}", labels::SOURCE));
    for kind in ObjectKind::ALL {
        let parts: Vec<Option<&str>> = match allowed {
            Some(namespaces) if kind.is_namespaced() => namespaces.iter().map(|name| Some(name.as_str())).collect(),
            _ => vec![None],
        };
        for part in parts {
            let list = session.ask(objects::within(&session.client, kind, part).list(&ours)).await?;
            let objects = list.items.into_iter().map(|object| (id_of(kind, &object), object));
            // the files of a package go with their Extension
            found
                .extend(objects.filter(|(id, object)| {
                    wanted.contains_key(id) || !object.labels().contains_key(labels::EXTENSION)
                }));
        }
    }
    let missing = wanted.keys().filter(|id| !found.contains_key(**id)).map(|id| async move {
        let object = session.ask(objects::api(&session.client, id).get_opt(&id.name)).await?;
        Ok::<_, CommandError>(object.map(|object| ((*id).clone(), object)))
    });
    let missing: Vec<_> = missing.collect();
    let others: Vec<_> = stream::iter(missing).buffered(AT_ONCE).try_collect().await?;
    found.extend(others.into_iter().flatten());
    Ok(found)
}

fn id_of(kind: ObjectKind, object: &DynamicObject) -> ObjectId {
    ObjectId { kind, namespace: object.metadata.namespace.clone(), name: object.name_any() }
}

fn state(id: &ObjectId, object: &DynamicObject, wanted: Option<&Value>, body: &Value) -> Live {
    let annotation = |key: &str| object.annotations().get(key).cloned();
    Live {
        source: object.labels().get(labels::SOURCE).cloned(),
        path: annotation(labels::SOURCE_PATH),
        digest: annotation(DIGEST),
        differences: wanted.map(|wanted| differences(wanted, body, SHOWN)).unwrap_or_default(),
        deleting: object.metadata.deletion_timestamp.is_some(),
        reserved: wanted.and_then(|wanted| reserved(id, &object.metadata, wanted)),
    }
}

/// Whether an object comes from an encrypted file that is what it was when it was applied.
fn is_as_applied(
    files: &Files,
    snapshot: &Snapshot,
    manifest: &Manifest,
    source: &GitSource,
    object: &DynamicObject,
) -> bool {
    let Some(now) = snapshot.sealed.get(&*manifest.path) else { return false };
    let Ok(history) = files.history() else { return false };
    let before = |commit: &String| -> Option<repo::ObjectId> {
        let tree = history.tree(history.resolve(commit).ok()?).ok()?;
        history.file(tree.commit(), &manifest.path).ok()?
    };
    // a file that was encrypted anew changes no object, so that the object names an older commit; where something was not
    // done, it may be this one, although the commit counts as applied
    let whole = |status: &&GitSourceStatus| status.counts.as_ref().is_none_or(|counts| counts.failed == 0);
    let last = source.status.as_ref().filter(whole).and_then(|status| status.applied_commit.as_ref());
    let commits = [last, object.annotations().get(labels::SOURCE_COMMIT)];
    commits.into_iter().flatten().any(|commit| before(commit).as_ref() == Some(now))
}

/// The object as a file could have said it: without status, and without what the API server and Midship added.
fn asked_for(id: &ObjectId, object: &DynamicObject) -> Result<Value, CommandError> {
    let types = Some(TypeMeta { api_version: id.kind.api_version().into(), kind: id.kind.as_str().into() });
    let whole = serde_json::to_value(DynamicObject { types, ..object.clone() })
        .map_err(|error| CommandError::new(format!("{id} cannot be read: {error}")))?;
    let mut body = normal(id.kind, &whole);
    let Some(map) = body.as_object_mut() else { return Ok(body) };
    map.remove("status");
    let Some(Value::Object(metadata)) = map.get_mut("metadata") else { return Ok(body) };
    metadata.retain(|field, _| ["name", "namespace", "labels", "annotations"].contains(&field.as_str()));
    for field in ["labels", "annotations"] {
        let Some(Value::Object(entries)) = metadata.get_mut(field) else { continue };
        entries.retain(|key, _| {
            !key.starts_with("midship.dev/source")
                && ![labels::RECONCILE_AT, labels::PUSHED_AT].contains(&key.as_str())
                && !key.starts_with("kubectl.kubernetes.io/")
                && key != "kubernetes.io/metadata.name"
        });
        if entries.is_empty() {
            metadata.remove(field);
        }
    }
    Ok(body)
}

/// The same through our types, so that only its meaning is compared: 24h is 1d.
pub fn normal(kind: ObjectKind, body: &Value) -> Value {
    let through = match kind {
        ObjectKind::Extension => through::<Extension>(body),
        ObjectKind::BackupRepository => through::<BackupRepository>(body),
        ObjectKind::BackupPolicy => through::<BackupPolicy>(body),
        ObjectKind::GitSource => through::<GitSource>(body),
        ObjectKind::Instance => through::<Instance>(body),
        ObjectKind::Operation => through::<Operation>(body),
        ObjectKind::Namespace | ObjectKind::Secret | ObjectKind::ConfigMap => None,
    };
    through.unwrap_or_else(|| body.clone())
}

fn through<K: Serialize + DeserializeOwned>(body: &Value) -> Option<Value> {
    serde_json::to_value(serde_json::from_value::<K>(body.clone()).ok()?).ok()
}
