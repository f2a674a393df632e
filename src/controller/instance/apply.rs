//! Doing what was planned: server-side apply in order, many at a time, and deletion of what is not wanted any more.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::{StreamExt, stream};
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::kinds::Served;
use super::memory::{Kept, Remembered};
use super::observe;
use crate::api::{API_VERSION, Instance, Kind, labels};
use crate::cluster::discovery::OptionalKind;
use crate::cluster::parts::{Part, resource_version, version};
use crate::cluster::problem::Problem;
use crate::controller::frame::Failure;
use crate::extension::naming;
use crate::extension::render::{Rendered, grant};
use crate::extension::secret::SecretObject;
use crate::plan::instance::parts::{Applied, Live, PartId, Plan, Why};

/// Where a free number of pods stands until the bill is written.
const FREE: &str = "free";
/// Owns the number of pods of components that others may scale.
const SCALE_MANAGER: &str = "midship-scale";
/// Requests at a time for one instance.
const AT_ONCE: usize = 8;

/// One object that is wanted.
pub struct Wanted {
    pub id: PartId,
    pub digest: String,
    body: Value,
    wave: u8,
    /// The number of pods a component begins with that is free to be scaled by others.
    free: Option<u16>,
}

/// Everything that is wanted, in the order it is applied in.
pub struct Bill {
    pub wanted: Vec<Wanted>,
    /// What is wanted of kinds that the cluster does not have, or of which nobody can tell. What there is of it stays.
    pub held: BTreeMap<PartId, OptionalKind>,
}

/// What was done.
#[derive(Default)]
pub struct Done {
    /// Objects that somebody had changed or deleted.
    pub repaired: Vec<PartId>,
    pub deleted: Vec<PartId>,
    /// Objects that belong to somebody else.
    pub foreign: Vec<(PartId, String)>,
    pub failed: Option<Failure>,
}

/// Writes the bill: what was rendered, with owner and inventory. What pods need comes before what makes pods.
pub fn bill(
    instance: &Instance,
    rendered: &Rendered,
    more: &[SecretObject],
    served: &Served,
    live: &BTreeMap<PartId, Live>,
) -> Bill {
    let owner = json!([{
        "apiVersion": API_VERSION,
        "kind": Kind::Instance.as_str(),
        "name": instance.name_any(),
        "uid": instance.uid().unwrap_or_default(),
        "controller": true,
        "blockOwnerDeletion": true,
    }]);
    let secrets = rendered.secrets.iter().chain(more).map(secret);
    let components = rendered.components.iter().map(|component| {
        let mut body = serde_json::to_value(component).unwrap_or_default();
        if let Some(body) = body.as_object_mut() {
            body.remove("status");
        }
        // people and autoscalers decide: what is applied here would be taken back from them
        if let Some(free) = body["spec"].as_object_mut().and_then(|spec| spec.remove("replicas")) {
            body["metadata"][FREE] = free;
        }
        body
    });
    let first = rendered.access.iter().cloned().chain(secrets).chain(rendered.config_maps.iter().cloned());
    let first = first.chain(rendered.services.iter().cloned()).chain(rendered.network_policies.iter().cloned());
    let first = first.chain(rendered.disruption_budgets.iter().cloned()).chain(rendered.objects.iter().cloned());
    let waves = [(0, first.collect::<Vec<_>>()), (1, components.collect()), (2, rendered.monitoring.clone())];
    let mut held = BTreeMap::new();
    let mut unwatched = Vec::new();
    let mut bodies: Vec<(u8, Value)> = Vec::new();
    for (wave, list) in waves {
        for body in list {
            let id = PartId::of(&body);
            let optional = OptionalKind::ALL.into_iter().find(|optional| format!("{optional:?}") == id.kind);
            let missing = optional.filter(|optional| served.get(optional) != Some(&true));
            // what was made of it once is still this instance's
            if !observe::is_watched(&id) && (missing.is_none() || live.contains_key(&id)) {
                unwatched.push(id.listed());
            }
            if let Some(optional) = missing {
                held.insert(id, optional);
            } else {
                bodies.push((wave, body));
            }
        }
    }
    let metadata = naming::metadata(&instance.name_any());
    let wanted = bodies.into_iter().map(|(wave, mut body)| {
        let free = body["metadata"].as_object_mut().and_then(|metadata| metadata.remove(FREE));
        let free = free.and_then(|free| u16::try_from(free.as_u64()?).ok());
        body["metadata"]["ownerReferences"] = owner.clone();
        let id = PartId::of(&body);
        if id.kind == "ConfigMap" && id.name == metadata && !unwatched.is_empty() {
            body["metadata"]["annotations"][labels::INVENTORY] = json!(unwatched.join("\n"));
        }
        let digest = hex::encode(Sha256::digest(body.to_string()));
        Wanted { id, digest, body, wave, free }
    });
    Bill { wanted: wanted.collect(), held }
}

/// As the API server keeps it: what is applied as text would be owned under another name.
fn secret(secret: &SecretObject) -> Value {
    let data: BTreeMap<&String, String> =
        secret.data.iter().map(|(key, value)| (key, BASE64.encode(value.expose()))).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": secret.name, "namespace": secret.namespace, "labels": secret.labels },
        "type": secret.type_,
        "data": data,
    })
}

/// Writes for one instance.
pub struct Hand<'a> {
    pub client: &'a Client,
    pub namespace: &'a str,
    pub instance: &'a str,
}

impl Hand<'_> {
    /// Does everything that was planned. What comes later waits for what comes first, and stays undone where that fails.
    pub async fn carry_out(&self, plan: &Plan, bill: &Bill, known: bool, remembered: &mut Remembered) -> Done {
        let mut done = Done { foreign: plan.foreign.clone(), ..Done::default() };
        for wave in 0..=2 {
            let mut requests = Vec::new();
            for (id, why) in &plan.apply {
                let Some(wanted) = bill.wanted.iter().find(|wanted| wanted.id == *id && wanted.wave == wave) else {
                    continue;
                };
                requests.push(self.one(wanted, *why));
            }
            let outcomes: Vec<_> = stream::iter(requests).buffered(AT_ONCE).collect().await;
            for (wanted, why, outcome) in outcomes {
                match outcome {
                    Ok(Outcome::Applied(applied)) => {
                        if known
                            && matches!(why, Why::Drifted | Why::Missing)
                            && remembered.applied.contains_key(&wanted.id)
                        {
                            done.repaired.push(wanted.id.clone());
                        }
                        let kept = Kept { applied, at: Instant::now(), seen: false };
                        remembered.applied.insert(wanted.id.clone(), kept);
                    }
                    Ok(Outcome::Foreign(whose)) => done.foreign.push((wanted.id.clone(), whose)),
                    Err(failure) => done.failed = done.failed.or(Some(failure)),
                }
            }
            if done.failed.is_some() || !done.foreign.is_empty() {
                return done;
            }
        }
        for (id, uid) in &plan.delete {
            match self.delete(id, uid.as_deref()).await {
                Ok(()) => {
                    remembered.applied.remove(id);
                    done.deleted.push(id.clone());
                }
                Err(failure) => done.failed = Some(failure),
            }
        }
        done
    }

    async fn one<'w>(&self, wanted: &'w Wanted, why: Why) -> (&'w Wanted, Why, Result<Outcome, Failure>) {
        (wanted, why, self.apply(wanted, why).await)
    }

    async fn apply(&self, wanted: &Wanted, why: Why) -> Result<Outcome, Failure> {
        let api = self.api(&wanted.id);
        let refused = |error: &kube::Error| refused(&wanted.id, error);
        if why == Why::Missing {
            // something by that name that does not say whose it is would be taken over
            let there = api.get_metadata_opt(&wanted.id.name).await.map_err(|error| refused(&error))?;
            if let Some(there) = there {
                let live = observe::live_of(&Part::of(&there.metadata), self.instance);
                match live.owner {
                    Some((uid, of)) if Some(uid.as_str()) != owner_uid(wanted) => return Ok(Outcome::Foreign(of)),
                    None if !live.labelled => return Ok(Outcome::Foreign("somebody else".to_owned())),
                    _ => {}
                }
            }
        }
        let parameters = PatchParams { force: true, ..PatchParams::apply(labels::MANAGER) };
        let mut body = std::borrow::Cow::Borrowed(&wanted.body);
        if let Some(begins_with) = wanted.free {
            let there = api.get_opt(&wanted.id.name).await.map_err(|error| refused(&error))?;
            match there.as_ref().map(|there| there.data["spec"]["replicas"].as_i64()) {
                Some(chosen) => {
                    self.share_replicas(&wanted.id, chosen.unwrap_or_else(|| i64::from(begins_with))).await?;
                }
                None => body.to_mut()["spec"]["replicas"] = json!(begins_with),
            }
        }
        let applied = api.patch(&wanted.id.name, &parameters, &Patch::Apply(body.as_ref())).await;
        let applied = applied.map_err(|error| refused(&error))?;
        if let Some(chosen) = body["spec"]["replicas"].as_i64().filter(|_| wanted.free.is_some()) {
            self.share_replicas(&wanted.id, chosen).await?;
        }
        Ok(Outcome::Applied(Applied {
            digest: wanted.digest.clone(),
            uid: applied.uid().unwrap_or_default(),
            version: version(&applied.metadata),
            counter: resource_version(&applied.metadata),
        }))
    }

    pub async fn delete(&self, id: &PartId, uid: Option<&str>) -> Result<(), Failure> {
        let preconditions = uid.map(|uid| Preconditions { uid: Some(uid.to_owned()), resource_version: None });
        let parameters = DeleteParams { preconditions, ..DeleteParams::background() };
        match self.api(id).delete(&id.name, &parameters).await {
            Ok(_) => Ok(()),
            // gone, or somebody else's by now
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
            Err(error) => Err(refused(id, &error)),
        }
    }

    fn api(&self, id: &PartId) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), self.namespace, &resource(id))
    }

    /// Owns the number of pods under a name of its own and without force: what others choose later stays, and nothing is
    /// taken away once the component itself is applied without a number.
    async fn share_replicas(&self, id: &PartId, replicas: i64) -> Result<(), Failure> {
        let body = json!({
            "apiVersion": id.api_version,
            "kind": id.kind,
            "metadata": { "name": id.name },
            "spec": { "replicas": replicas },
        });
        match self.api(id).patch(&id.name, &PatchParams::apply(SCALE_MANAGER), &Patch::Apply(&body)).await {
            Ok(_) => Ok(()),
            // somebody chose another number by now
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Err(error) => Err(refused(id, &error)),
        }
    }
}

enum Outcome {
    Applied(Applied),
    Foreign(String),
}

fn owner_uid(wanted: &Wanted) -> Option<&str> {
    wanted.body["metadata"]["ownerReferences"][0]["uid"].as_str()
}

fn resource(id: &PartId) -> ApiResource {
    let (group, version) = id.api_version.split_once('/').unwrap_or(("", &id.api_version));
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &id.kind))
}

fn refused(id: &PartId, error: &kube::Error) -> Failure {
    match error {
        kube::Error::Api(status) if status.code == 422 || status.code == 400 => {
            Failure::new("NotApplied", format!("{id}: {}", status.message))
        }
        error => {
            let group = id.api_version.split_once('/').map_or("", |(group, _)| group);
            let forbidden = matches!(error, kube::Error::Api(status) if status.code == 403);
            let value = grant(group, &id.kind).filter(|_| forbidden);
            let more =
                value.map(|value| format!(" (the value {value}: true of the chart grants it)")).unwrap_or_default();
            Failure::new("NotApplied", format!("{id}: {}{more}", Problem::from_kube(error)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forbidden_names_the_value_that_grants_it() {
        let error = kube::Error::Api(Box::new(kube::core::Status {
            code: 403,
            message: "jobs is forbidden".into(),
            ..kube::core::Status::default()
        }));
        let told = refused(&PartId::new("batch/v1", "Job", "x"), &error).message;
        assert!(told.ends_with("(the value integrations.jobs: true of the chart grants it)"), "{told}");
        let told = refused(&PartId::new("v1", "ConfigMap", "x"), &error).message;
        assert!(!told.contains("integrations"), "{told}");
    }

    #[test]
    fn what_is_left_out_stays_listed_once_it_was_made() {
        let object = |api_version: &str, kind: &str, name: &str| json!({ "apiVersion": api_version, "kind": kind, "metadata": { "name": name } });
        let mut instance = object(API_VERSION, "Instance", "cache");
        instance["spec"] = json!({ "type": "cache", "extensionVersion": "1.0.0", "version": "1.0" });
        let instance: Instance = serde_json::from_value(instance).expect("an instance");
        let group = "monitoring.coreos.com/v1";
        let rendered = Rendered {
            config_maps: vec![object("v1", "ConfigMap", "cache-metadata")],
            monitoring: vec![object(group, "PodMonitor", "cache"), object(group, "PrometheusRule", "cache")],
            ..Rendered::default()
        };
        let written = |served: &Served, live: &BTreeMap<PartId, Live>| {
            let bill = bill(&instance, &rendered, &[], served, live);
            let wanted: Vec<String> = bill.wanted.iter().map(|wanted| wanted.id.to_string()).collect();
            let listed = bill.wanted[0].body["metadata"]["annotations"][labels::INVENTORY].as_str().map(str::to_owned);
            (wanted.join(", "), bill.held.len(), listed.unwrap_or_default())
        };
        let all = [OptionalKind::PodMonitor, OptionalKind::PrometheusRule];
        let lines = [format!("{group} PodMonitor cache"), format!("{group} PrometheusRule cache")];

        let (wanted, held, listed) = written(&Served::from(all.map(|kind| (kind, true))), &BTreeMap::new());
        assert_eq!(wanted, "ConfigMap cache-metadata, PodMonitor cache, PrometheusRule cache");
        assert_eq!((held, listed), (0, lines.join("\n")));
        // of the second kind nothing is known, and the first is not there
        let unserved = Served::from([(OptionalKind::PodMonitor, false)]);
        let nothing = ("ConfigMap cache-metadata".to_owned(), 2, String::new());
        assert_eq!(written(&unserved, &BTreeMap::new()), nothing, "what was never made is not listed");
        let made = Live { uid: String::new(), owner: None, version: None, counter: 0, deleting: false, labelled: true };
        let live: BTreeMap<PartId, Live> = [(PartId::new(group, "PrometheusRule", "cache"), made)].into();
        assert_eq!(written(&unserved, &live).2, lines[1]);
    }

    #[test]
    fn kinds_are_addressed_as_the_api_server_knows_them() {
        let plural = |api_version: &str, kind: &str| resource(&PartId::new(api_version, kind, "x")).plural;
        assert_eq!(plural("networking.k8s.io/v1", "NetworkPolicy"), "networkpolicies");
        assert_eq!(plural("networking.k8s.io/v1", "Ingress"), "ingresses");
        assert_eq!(plural("gateway.networking.k8s.io/v1", "Gateway"), "gateways");
        assert_eq!(plural("midship.dev/v1alpha1", "Component"), "components");
        for (_, _, kind, wanted) in crate::cluster::parts::KINDS {
            assert_eq!(plural("v1", kind), wanted);
        }
    }
}
