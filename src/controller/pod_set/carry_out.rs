//! Carrying a plan out: pod by pod side by side, the steps of one pod one after another. What cannot be done is told, and
//! leaves the later steps of that pod for the next plan.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use kube::core::ApiResource;
use kube::{Api, Client, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::about;
use super::agents::{Agents, CallError, Hook};
use super::memory::Remembered;
use super::observe::Live;
use crate::api::{PodSet, labels};
use crate::cluster::events::Events;
use crate::cluster::problem::Problem;
use crate::plan::pod_set::manifest::{self, Owner};
use crate::plan::pod_set::{Action, Attempt, Observed, Phase, Plan, Proof, Replaced, Template, What, view};

/// Pods that are worked on at a time.
const AT_ONCE: usize = 8;

/// What a plan is carried out with.
pub struct Hands<'a, A> {
    pub client: &'a Client,
    pub events: &'a Events,
    pub agents: &'a A,
    pub set: &'a PodSet,
    pub live: &'a Live,
    /// The templates pods can be made from.
    pub templates: &'a [Template],
    pub namespace: &'a str,
}

/// Why a step was not done.
enum Undone {
    /// It is remembered as a trouble, and tried again in its time.
    Later,
    Failed(String),
}

/// Carries everything out that can be, and says what could not. What is remembered is held for moments alone.
pub async fn carry_out<A: Agents>(
    hands: &Hands<'_, A>,
    seen: &Observed<'_>,
    plan: &Plan,
    shared: &Arc<Mutex<&mut Remembered>>,
) -> Result<(), String> {
    let mut by_pod: Vec<(u16, Vec<&Action>)> = Vec::new();
    for action in &plan.actions {
        match by_pod.iter_mut().find(|(ordinal, _)| *ordinal == action.ordinal) {
            Some((_, actions)) => actions.push(action),
            None => by_pod.push((action.ordinal, vec![action])),
        }
    }
    let one_pod = |(_, actions): (u16, Vec<&Action>)| {
        let shared = shared.clone();
        let actions: Vec<Action> = actions.into_iter().cloned().collect();
        async move {
            for action in actions {
                match hands.step(seen, &action, &shared).await {
                    Ok(()) => hands.tell(seen, &action).await,
                    Err(Undone::Later) => return Ok(()),
                    Err(Undone::Failed(why)) => {
                        let name = seen.pod_name(action.ordinal);
                        hands
                            .events
                            .warning(hands.set, "NotDone", &format!("{} {name}", action.what.word()), why.clone())
                            .await;
                        return Err(format!("{name}: {} failed: {why}", action.what.word()));
                    }
                }
            }
            Ok(())
        }
    };
    let mut all = Vec::with_capacity(by_pod.len());
    for one in by_pod {
        all.push(one_pod(one));
    }
    let results: Vec<Result<(), String>> = stream::iter(all).buffered(AT_ONCE).collect().await;
    let failures: Vec<String> = results.into_iter().filter_map(Result::err).collect();
    match failures.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        [first, rest @ ..] => Err(format!("{first} (and {} more)", rest.len())),
    }
}

impl<A: Agents> Hands<'_, A> {
    async fn step(&self, seen: &Observed<'_>, action: &Action, shared: &Mutex<&mut Remembered>) -> Result<(), Undone> {
        let name = seen.pod_name(action.ordinal);
        tracing::debug!(pod = name, what = action.what.word(), reason = action.reason, "a step");
        match &action.what {
            What::CreateClaim { name: claim, volume } => {
                let body = manifest::claim(self.namespace, claim, &self.set.spec, volume, action.ordinal);
                let Some(body) = body else {
                    return Err(Undone::Failed(format!("the spec no longer says how large volume {volume} is")));
                };
                let made = self.create("v1", "PersistentVolumeClaim", "persistentvolumeclaims", claim, body).await?;
                if let Some(made) = made {
                    shared.lock().await.claims.wrote(made);
                }
            }
            What::GrowClaim { name: claim, uid, size } => {
                let patch =
                    json!({ "metadata": { "uid": uid }, "spec": { "resources": { "requests": { "storage": size } } } });
                let grown = self.claims().patch(claim, &PatchParams::default(), &Patch::Merge(&patch)).await;
                let mut remembered = shared.lock().await;
                match grown {
                    Ok(claim) => {
                        remembered.worked(uid, Attempt::Expand);
                        remembered.claims.wrote(claim);
                    }
                    Err(error) => {
                        remembered.failed(action.ordinal, uid, Attempt::Expand, answered(&error));
                        return Err(Undone::Later);
                    }
                }
            }
            What::LabelClaim { name: claim, labels } => {
                self.patch_claim(claim, json!({ "metadata": { "labels": labels } }), shared).await?;
            }
            What::MarkClaim { name: claim, uid } => {
                let patch = json!({ "metadata": { "uid": uid, "annotations": { labels::DELETE_UID: uid } } });
                self.patch_claim(claim, patch, shared).await?;
            }
            What::UnmarkClaim { name: claim } => {
                let patch = json!({ "metadata": { "annotations": { labels::DELETE_UID: null } } });
                self.patch_claim(claim, patch, shared).await?;
            }
            What::DeleteClaim { name: claim, uid } => {
                self.no_pod_left(&name).await?;
                let parameters = only(uid, DeleteParams::background());
                let deleted = self.claims().delete(claim, &parameters).await;
                let mut remembered = shared.lock().await;
                if let Some(deleted) = unless_gone(deleted)?
                    && let Some(leaving) = deleted.left()
                {
                    remembered.claims.wrote(leaving);
                } else {
                    remembered.claims.gone(claim, uid);
                }
            }
            What::CreatePod { revision } => {
                let Some(template) = self.templates.iter().find(|template| template.revision == *revision) else {
                    return Err(Undone::Failed(format!("the template of revision {revision} is not there")));
                };
                let uid = self.set.metadata.uid.clone().unwrap_or_default();
                let set_name = self.set.name_any();
                let owner = Owner { name: &set_name, namespace: self.namespace, uid: &uid };
                let body = manifest::pod(owner, &self.set.spec, template, action.ordinal);
                if let Some(made) = self.create("v1", "Pod", "pods", &name, body).await? {
                    shared.lock().await.pods.wrote(made);
                }
            }
            What::DeletePod { uid } => {
                self.delete_pod(&name, uid, DeleteParams::default(), shared).await?;
                let ended = seen.pods.get(&action.ordinal).is_some_and(|pod| pod.phase == Phase::Ended);
                if ended {
                    let mut remembered = shared.lock().await;
                    let before = remembered.replaced.get(&action.ordinal).map_or(0, |replaced| replaced.times);
                    let replaced = Replaced { times: before.saturating_add(1), last: Timestamp::now() };
                    remembered.replaced.insert(action.ordinal, replaced);
                }
            }
            What::ForceDelete { uid, node, proof } => {
                self.still_proven(node, *proof).await?;
                let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
                self.delete_pod(&name, uid, at_once, shared).await?;
            }
            What::Patch { uid, patch, .. } => self.patch_pod(&name, uid, patch.clone(), shared).await?,
            What::Resize { uid, patch, then } => {
                let mut patch = patch.clone();
                patch["metadata"]["uid"] = json!(uid);
                let resized = self.pods().patch_resize(&name, &PatchParams::default(), &Patch::Strategic(&patch)).await;
                match resized {
                    Ok(pod) => {
                        let mut remembered = shared.lock().await;
                        remembered.worked(uid, Attempt::Resize);
                        remembered.worked(uid, Attempt::Allowed);
                        remembered.pods.wrote(pod);
                    }
                    Err(error) => {
                        let denied = matches!(&error, kube::Error::Api(status) if status.code == 403);
                        let attempt = if denied { Attempt::Allowed } else { Attempt::Resize };
                        shared.lock().await.failed(action.ordinal, uid, attempt, answered(&error));
                        return Err(Undone::Later);
                    }
                }
                if then.get("metadata").is_some() {
                    self.patch_pod(&name, uid, then.clone(), shared).await?;
                }
            }
            What::RestartProcess { uid, for_config, .. } => {
                let pod = self.pod(action.ordinal)?;
                let ended = shared.lock().await.ended(uid, Attempt::RestartProcess);
                let key = format!("{uid}/{for_config}/{ended}");
                self.call(action.ordinal, uid, Attempt::RestartProcess, self.agents.restart(pod, &key), shared).await?;
                let patch = manifest::annotate(&[(labels::RESTARTED_FOR, for_config)]);
                self.patch_pod(&name, uid, patch, shared).await?;
            }
            What::Switchover { uid, to } => {
                let (pod, heir) = (self.pod(action.ordinal)?, seen.pod_name(*to));
                let report = seen.pods.get(&action.ordinal).and_then(|pod| pod.report.as_ref());
                let since = report.and_then(|report| report.role_since.clone()).unwrap_or_default();
                let ended = shared.lock().await.ended(uid, Attempt::Switchover);
                let generation = self.set.metadata.generation.unwrap_or_default();
                // the same pod may lead again, and hand over again
                let key = format!("{uid}/{to}/{generation}/{since}/{ended}");
                self.call(action.ordinal, uid, Attempt::Switchover, self.agents.switchover(pod, &heir, &key), shared)
                    .await?;
                let message = format!("{heir} was asked to take the role over, and does not show it yet");
                shared.lock().await.unseen(action.ordinal, uid, Attempt::Switchover, message);
            }
            What::PreScaleIn { uid } => {
                let key = format!("{uid}/leave/{}", self.set.metadata.generation.unwrap_or_default());
                let asked =
                    self.agents.hook(about(self.set, self.namespace, Some(name.as_str())), Hook::PreScaleIn, &key);
                self.call(action.ordinal, uid, Attempt::PreScaleIn, asked, shared).await?;
                let patch = manifest::annotate(&[(labels::DEPARTED, uid)]);
                self.patch_pod(&name, uid, patch, shared).await?;
            }
            What::PostScaleOut { uid, members } => {
                let key = format!("{uid}/joined/{}", self.set.metadata.generation.unwrap_or_default());
                let asked =
                    self.agents.hook(about(self.set, self.namespace, Some(name.as_str())), Hook::PostScaleOut, &key);
                self.call(action.ordinal, uid, Attempt::PostScaleOut, asked, shared).await?;
                self.record_members(members, shared).await?;
            }
            What::PostScaleIn { uid, members } => {
                let key = format!("{name}/left/{}", self.set.metadata.generation.unwrap_or_default());
                let asked =
                    self.agents.hook(about(self.set, self.namespace, Some(name.as_str())), Hook::PostScaleIn, &key);
                self.call(action.ordinal, uid, Attempt::PostScaleIn, asked, shared).await?;
                self.record_members(members, shared).await?;
            }
            What::RecordMembers { members } => self.record_members(members, shared).await?,
        }
        Ok(())
    }

    fn pod(&self, ordinal: u16) -> Result<&Pod, Undone> {
        self.live.pods.get(&ordinal).ok_or_else(|| Undone::Failed("the pod is gone".to_owned()))
    }

    async fn record_members(&self, members: &BTreeSet<u16>, shared: &Mutex<&mut Remembered>) -> Result<(), Undone> {
        let all: Vec<String> = members.iter().map(u16::to_string).collect();
        let patch = json!({ "metadata": {
            "uid": self.set.metadata.uid, "annotations": { labels::MEMBERS: all.join(",") } } });
        let api: Api<PodSet> = Api::namespaced(self.client.clone(), self.namespace);
        let patched = api.patch(&self.set.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await;
        patched.map_err(|error| Undone::Failed(explain(&error)))?;
        shared.lock().await.members = Some(members.clone());
        Ok(())
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), self.namespace)
    }

    fn claims(&self) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.client.clone(), self.namespace)
    }

    /// Calls an agent, unless that failed a moment ago.
    async fn call(
        &self,
        ordinal: u16,
        uid: &str,
        attempt: Attempt,
        call: impl Future<Output = Result<(), CallError>>,
        shared: &Mutex<&mut Remembered>,
    ) -> Result<(), Undone> {
        if shared.lock().await.pauses(uid, attempt) {
            return Err(Undone::Later);
        }
        let answer = call.await;
        let mut remembered = shared.lock().await;
        match answer {
            Ok(()) => {
                // that a role was handed over shows in the roles alone
                if attempt != Attempt::Switchover {
                    remembered.worked(uid, attempt);
                }
                Ok(())
            }
            Err(error) => {
                let message = &error.message;
                tracing::info!(ordinal, ?attempt, message, "an agent did not do what it was asked for");
                remembered.failed(ordinal, uid, attempt, error);
                Err(Undone::Later)
            }
        }
    }

    /// Makes an object as it was written, with fields this program knows nothing of.
    async fn create<K: DeserializeOwned + Serialize>(
        &self,
        api_version: &str,
        kind: &str,
        plural: &str,
        name: &str,
        body: Value,
    ) -> Result<Option<K>, Undone> {
        let resource = ApiResource {
            group: String::new(),
            version: api_version.to_owned(),
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
        };
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), self.namespace, &resource);
        let object: DynamicObject =
            serde_json::from_value(body.clone()).map_err(|error| Undone::Failed(error.to_string()))?;
        let how = PostParams { field_manager: Some(labels::MANAGER.to_owned()), ..PostParams::default() };
        let made = match api.create(&how, &object).await {
            Ok(made) => made,
            Err(kube::Error::Api(status)) if status.code == 409 && status.reason == "AlreadyExists" => {
                let there = api.get(name).await.map_err(|error| Undone::Failed(explain(&error)))?;
                if is_ours(&there, &object) {
                    // the watch is late, or somebody took the label off by which it is watched
                    let patch = json!({ "metadata": { "labels": body["metadata"]["labels"] } });
                    let patched = api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
                    patched.map_err(|error| Undone::Failed(explain(&error)))?
                } else {
                    return Err(Undone::Failed(format!(
                        "there is a {kind} {name} that Midship did not make; delete it, or hand it over with the labels {}",
                        handed_over_by(&object)
                    )));
                }
            }
            Err(error) => return Err(Undone::Failed(explain(&error))),
        };
        Ok(serde_json::to_value(made).and_then(serde_json::from_value).ok())
    }

    async fn patch_pod(
        &self,
        name: &str,
        uid: &str,
        mut patch: Value,
        shared: &Mutex<&mut Remembered>,
    ) -> Result<(), Undone> {
        // exactly the pod that was looked at, not its successor
        patch["metadata"]["uid"] = json!(uid);
        let patched = self.pods().patch(name, &PatchParams::default(), &Patch::Strategic(&patch)).await;
        let pod = patched.map_err(|error| Undone::Failed(explain(&error)))?;
        shared.lock().await.pods.wrote(pod);
        Ok(())
    }

    async fn patch_claim(&self, name: &str, patch: Value, shared: &Mutex<&mut Remembered>) -> Result<(), Undone> {
        let patched = self.claims().patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        let claim = patched.map_err(|error| Undone::Failed(explain(&error)))?;
        shared.lock().await.claims.wrote(claim);
        Ok(())
    }

    async fn delete_pod(
        &self,
        name: &str,
        uid: &str,
        how: DeleteParams,
        shared: &Mutex<&mut Remembered>,
    ) -> Result<(), Undone> {
        let deleted = self.pods().delete(name, &only(uid, how)).await;
        let mut remembered = shared.lock().await;
        if let Some(deleted) = unless_gone(deleted)?
            && let Some(leaving) = deleted.left()
            && leaving.metadata.deletion_grace_period_seconds != Some(0)
        {
            remembered.pods.wrote(leaving);
        } else {
            remembered.pods.gone(name, uid);
        }
        Ok(())
    }

    /// Asks the API server itself before a pod is taken away without its node's word.
    async fn still_proven(&self, node: &str, proof: Proof) -> Result<(), Undone> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let found = nodes.get_opt(node).await.map_err(|error| Undone::Failed(explain(&error)))?;
        let proven = match (found, proof) {
            (None, _) => true,
            (Some(node), Proof::OutOfService) => {
                let state = view::node(&node);
                state.out_of_service && !state.ready
            }
            (Some(_), Proof::NodeGone) => false,
        };
        if proven { Ok(()) } else { Err(Undone::Failed(format!("node {node} is back; its pods are left to it"))) }
    }

    /// Asks the API server itself before a volume is deleted.
    async fn no_pod_left(&self, name: &str) -> Result<(), Undone> {
        match self.pods().get_metadata_opt(name).await {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(Undone::Failed(format!("pod {name} is still there; its volume is kept"))),
            Err(error) => Err(Undone::Failed(explain(&error))),
        }
    }

    async fn tell(&self, seen: &Observed<'_>, action: &Action) {
        let name = seen.pod_name(action.ordinal);
        let quiet = matches!(
            action.what,
            What::LabelClaim { .. } | What::Patch { restarts: false, .. } | What::RecordMembers { .. }
        );
        if !quiet {
            let note = format!("{name}: {}", action.reason);
            self.events.normal(self.set, action.what.word(), &format!("{} {name}", action.what.word()), note).await;
        }
    }
}

/// The labels and owners by which an object of ours is known.
fn is_ours(there: &DynamicObject, wanted: &DynamicObject) -> bool {
    let owners = wanted.owner_references();
    if !owners.is_empty() {
        return owners.iter().all(|owner| there.owner_references().iter().any(|other| other.uid == owner.uid));
    }
    [labels::INSTANCE, labels::COMPONENT, labels::GROUP]
        .iter()
        .all(|label| there.labels().get(*label).is_some_and(|value| wanted.labels().get(*label) == Some(value)))
}

fn handed_over_by(object: &DynamicObject) -> String {
    let all = [labels::INSTANCE, labels::COMPONENT, labels::GROUP]
        .iter()
        .filter_map(|label| Some(format!("{label}={}", object.labels().get(*label)?)));
    all.collect::<Vec<_>>().join(", ")
}

/// Deletes exactly the object that was looked at, not a namesake made since.
fn only(uid: &str, how: DeleteParams) -> DeleteParams {
    DeleteParams { preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }), ..how }
}

/// What is gone, or is another object by now, is as good as deleted.
fn unless_gone<T>(deleted: Result<T, kube::Error>) -> Result<Option<T>, Undone> {
    match deleted {
        Ok(deleted) => Ok(Some(deleted)),
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(None),
        Err(error) => Err(Undone::Failed(explain(&error))),
    }
}

/// What the API server answered; what it understood, it will refuse again.
fn answered(error: &kube::Error) -> CallError {
    let refused = matches!(error, kube::Error::Api(status) if matches!(status.code, 400 | 403 | 405 | 422));
    CallError { message: explain(error), refused, goes_on: false }
}

fn explain(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if matches!(status.code, 400 | 403 | 409 | 422) => status.message.clone(),
        error => Problem::from_kube(error).to_string(),
    }
}
