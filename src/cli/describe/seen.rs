//! Everything that is to be told of an instance, collected from the cluster.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde::Serialize;

use super::super::error::CommandError;
use super::super::session::Session;
use crate::api::instance::Member;
use crate::api::labels;
use crate::api::pod_report::PodReport;
use crate::api::{Instance, Operation};

/// Operations that are shown, the newest first.
const OPERATIONS: usize = 5;
/// Events that are shown, the newest last.
const EVENTS: usize = 15;

#[derive(Serialize)]
pub struct Seen {
    pub instance: Instance,
    pub pods: Vec<PodSeen>,
    pub volumes: Vec<VolumeSeen>,
    pub operations: Vec<Operation>,
    pub events: Vec<EventSeen>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSeen {
    #[serde(flatten)]
    pub member: Member,
    /// Starts of the process after the first.
    pub restarts: u64,
    pub config_revision: Option<String>,
    pub pending_restart: Vec<String>,
}

#[derive(Serialize)]
pub struct VolumeSeen {
    pub name: String,
    pub size: String,
    pub class: String,
    pub phase: String,
}

#[derive(Serialize)]
pub struct EventSeen {
    pub at: Option<jiff::Timestamp>,
    #[serde(rename = "type")]
    pub type_: String,
    pub reason: String,
    pub object: String,
    pub message: String,
    pub count: i32,
}

pub async fn look(session: &Session<'_>, name: &str) -> Result<Seen, CommandError> {
    let instance = session.instance(name).await?;
    let ours = ListParams::default().labels(&format!("{}={name}", labels::INSTANCE));
    let pods: Api<Pod> = Api::namespaced(session.client.clone(), &session.namespace);
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(session.client.clone(), &session.namespace);
    let pods = session.ask(pods.list(&ours)).await?.items;
    let mut volumes: Vec<VolumeSeen> = session.ask(claims.list(&ours)).await?.items.iter().map(volume).collect();
    volumes.sort_by(|a, b| a.name.cmp(&b.name));
    let mut operations = session.ask(session.operations().list(&ListParams::default())).await?.items;
    operations.retain(|operation| operation.spec.instance.as_str() == name);
    operations.sort_by_key(|operation| std::cmp::Reverse(operation.creation_timestamp().map(|time| time.0)));
    operations.truncate(OPERATIONS);
    let mut about: BTreeSet<String> = BTreeSet::from([name.to_owned()]);
    about.extend(pods.iter().map(ResourceExt::name_any));
    about.extend(volumes.iter().map(|volume| volume.name.clone()));
    about.extend(operations.iter().map(ResourceExt::name_any));
    let events = events(session, &about.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    let pods = members(&instance, &pods);
    Ok(Seen { instance, pods, volumes, operations, events })
}

/// The pods the instance tells of, and those that are there although it does not.
fn members(instance: &Instance, pods: &[Pod]) -> Vec<PodSeen> {
    let known = instance.status.as_ref().map(|status| status.members.clone()).unwrap_or_default();
    let report = |name: &str| {
        let pod = pods.iter().find(|pod| pod.name_any() == name)?;
        PodReport::of(pod.metadata.annotations.as_ref())
    };
    let untold = pods.iter().filter(|pod| known.iter().all(|member| member.name != pod.name_any()));
    let mut all: Vec<Member> = known.iter().cloned().chain(untold.map(member)).collect();
    all.sort_by(|a, b| (&a.component, &a.name).cmp(&(&b.component, &b.name)));
    all.into_iter()
        .map(|mut member| {
            let report = report(&member.name).unwrap_or_default();
            member.lag = member.lag.or(report.lag);
            PodSeen {
                member,
                restarts: report.restarts,
                config_revision: report.config_revision,
                pending_restart: report.pending_restart,
            }
        })
        .collect()
}

fn member(pod: &Pod) -> Member {
    let label = |key: &str| pod.labels().get(key).cloned();
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"));
    let phase = pod.status.as_ref().and_then(|status| status.phase.clone());
    Member {
        name: pod.name_any(),
        component: label(labels::COMPONENT).unwrap_or_default(),
        role: label(labels::ROLE),
        ready,
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        reason: if ready { None } else { phase },
        ..Member::default()
    }
}

fn volume(claim: &PersistentVolumeClaim) -> VolumeSeen {
    let storage = |map: Option<
        &std::collections::BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>,
    >| { map.and_then(|map| map.get("storage")).map(|size| size.0.clone()) };
    let asked =
        claim.spec.as_ref().and_then(|spec| spec.resources.as_ref()).and_then(|all| storage(all.requests.as_ref()));
    let has = claim.status.as_ref().and_then(|status| storage(status.capacity.as_ref()));
    let size = match (asked, has) {
        (Some(asked), Some(has)) if asked != has => format!("{has}, to be {asked}"),
        (asked, has) => has.or(asked).unwrap_or_default(),
    };
    VolumeSeen {
        name: claim.name_any(),
        size,
        class: claim.spec.as_ref().and_then(|spec| spec.storage_class_name.clone()).unwrap_or_default(),
        phase: claim.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default(),
    }
}

/// The latest events about objects of these names.
pub async fn events(session: &Session<'_>, names: &[&str]) -> Result<Vec<EventSeen>, CommandError> {
    let api: Api<Event> = Api::namespaced(session.client.clone(), &session.namespace);
    let list = session.ask(api.list(&ListParams::default())).await?;
    let about = |event: &&Event| event.involved_object.name.as_deref().is_some_and(|name| names.contains(&name));
    let mut events: Vec<EventSeen> = list.items.iter().filter(about).map(event).collect();
    events.sort_by_key(|event| event.at);
    Ok(events.split_off(events.len().saturating_sub(EVENTS)))
}

fn event(event: &Event) -> EventSeen {
    let series = event.series.as_ref();
    let last = series.and_then(|series| series.last_observed_time.as_ref().map(|time| time.0));
    let at = last
        .or_else(|| event.last_timestamp.as_ref().map(|time| time.0))
        .or_else(|| event.event_time.as_ref().map(|time| time.0))
        .or_else(|| event.metadata.creation_timestamp.as_ref().map(|time| time.0));
    let object = &event.involved_object;
    EventSeen {
        at,
        type_: event.type_.clone().unwrap_or_default(),
        reason: event.reason.clone().unwrap_or_default(),
        object: format!(
            "{}/{}",
            object.kind.as_deref().unwrap_or_default(),
            object.name.as_deref().unwrap_or_default()
        ),
        message: event.message.clone().unwrap_or_default(),
        count: series.and_then(|series| series.count).or(event.count).unwrap_or(1),
    }
}
