//! Objects of the cluster read into what plans are made from.

use k8s_openapi::api::core::v1::{self as core, ContainerStatus};
use k8s_openapi::api::storage::v1::StorageClass;

use super::observed::{Claim, Container, Node, Phase, Pod, Resizing};
use super::template::{AGENT, named_resources};
use crate::api::labels;
use crate::api::pod_report::PodReport;
use crate::api::pod_set::PodSetSpec;
use crate::api::values::Quantity;
use crate::names::Ordinal;

const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
/// How schedulers tell that a pod's volume cannot be reached from any node that would take it.
const BOUND_ELSEWHERE: [&str; 2] = ["volume node affinity conflict", "didn't match PersistentVolume's node affinity"];

/// The place of a pod in its set, by its name: that of the set and a number.
pub fn ordinal(set: &str, pod: &str) -> Option<u16> {
    let number = pod.strip_prefix(set)?.strip_prefix('-')?;
    number.parse::<Ordinal>().ok().map(Ordinal::get)
}

pub fn pod(pod: &core::Pod) -> Pod {
    let spec = pod.spec.clone().unwrap_or_default();
    let status = pod.status.clone().unwrap_or_default();
    let meta = &pod.metadata;
    let labels = meta.labels.clone().unwrap_or_default();
    let annotations = meta.annotations.clone().unwrap_or_default();
    let condition = |type_: &str| status.conditions.iter().flatten().find(|condition| condition.type_ == type_);
    let created = meta.creation_timestamp.as_ref().map(|time| time.0).unwrap_or_default();
    let ready_since = condition("Ready")
        .filter(|ready| ready.status == "True")
        .map(|ready| ready.last_transition_time.as_ref().map_or(created, |time| time.0));
    let unready_since = condition("Ready")
        .filter(|ready| ready.status != "True")
        .and_then(|ready| ready.last_transition_time.as_ref().map(|time| time.0));
    let ran = |container: &ContainerStatus| {
        let state = container.state.as_ref();
        container.restart_count > 0 || state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
    };
    let statuses = || status.container_statuses.iter().flatten();
    let resources = spec.containers.iter().filter_map(|container| {
        named_resources(&serde_json::json!({ "name": container.name, "resources": container.resources }))
    });
    let id = |name: &str| statuses().find(|one| one.name == name).and_then(|one| one.container_id.clone());
    let containers = spec.containers.iter().map(|one| {
        let container = Container { image: one.image.clone().unwrap_or_default(), id: id(&one.name) };
        (one.name.clone(), container)
    });
    let replaces = annotations.get(labels::REPLACES).into_iter().flat_map(|list| list.split(','));
    let uid = meta.uid.clone().unwrap_or_default();
    Pod {
        created,
        leaves_by: meta.deletion_timestamp.as_ref().map(|time| time.0),
        phase: match status.phase.as_deref() {
            Some("Running") => Phase::Running,
            Some("Succeeded" | "Failed") => Phase::Ended,
            Some("Unknown") => Phase::Unknown,
            _ => Phase::Pending,
        },
        ready_since,
        unready_since,
        started: statuses().any(ran),
        node: spec.node_name.clone(),
        revision: labels.get(labels::REVISION).cloned(),
        parts: annotations.get(labels::MADE_FROM).and_then(|text| serde_json::from_str(text).ok()),
        resources: resources.collect(),
        qos: status.qos_class.clone(),
        resize: resizing(&status),
        config_revision: annotations.get(labels::CONFIG_REVISION).cloned(),
        changed_at: annotations.get(labels::CHANGED_AT).and_then(|text| text.parse().ok()),
        containers: containers.collect(),
        replaces: replaces.map(str::to_owned).collect(),
        departed: annotations.get(labels::DEPARTED) == Some(&uid),
        restarted_for: annotations.get(labels::RESTARTED_FOR).cloned(),
        has_agent: spec.containers.iter().any(|container| container.name == AGENT),
        role: labels.get(labels::ROLE).cloned(),
        report: PodReport::of(meta.annotations.as_ref()),
        problem: problem(&status),
        finalizers: meta.finalizers.clone().unwrap_or_default(),
        uid,
        labels,
        annotations,
    }
}

fn resizing(status: &core::PodStatus) -> Resizing {
    let condition = |type_: &str| {
        status.conditions.iter().flatten().find(|condition| condition.type_ == type_ && condition.status == "True")
    };
    if let Some(pending) = condition("PodResizePending") {
        let message = pending.message.clone().unwrap_or_default();
        return match pending.reason.as_deref() {
            Some("Infeasible") => Resizing::Infeasible(message),
            _ => Resizing::Deferred(message),
        };
    }
    if condition("PodResizeInProgress").is_some() { Resizing::InProgress } else { Resizing::No }
}

/// What stands in a pod's way, where Kubernetes tells.
fn problem(status: &core::PodStatus) -> Option<String> {
    let told = |reason: Option<&String>, message: Option<&String>| match (reason, message) {
        (Some(reason), Some(message)) => format!("{reason}: {message}"),
        (Some(one), None) | (None, Some(one)) => one.clone(),
        (None, None) => "no reason is given".to_owned(),
    };
    if matches!(status.phase.as_deref(), Some("Failed" | "Succeeded")) {
        return Some(told(status.reason.as_ref(), status.message.as_ref()));
    }
    let unscheduled = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    if let Some(condition) = unscheduled {
        let mut told = told(condition.reason.as_ref(), condition.message.as_ref());
        if BOUND_ELSEWHERE.iter().any(|words| told.contains(words)) {
            told.push_str(
                "; its volume can be used on other nodes only, none of which takes it now: bring them back, or make room there. \
                 Where that cannot be, delete the claim: what the volume has is lost then, and the pod begins with an empty one",
            );
        }
        return Some(told);
    }
    let mut all = status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    let found = all.find_map(|container| {
        let state = container.state.as_ref()?;
        let passing = ["ContainerCreating", "PodInitializing"];
        if let Some(waiting) = &state.waiting
            && !waiting.reason.as_deref().is_some_and(|reason| passing.contains(&reason))
        {
            return Some(format!("{}: {}", container.name, told(waiting.reason.as_ref(), waiting.message.as_ref())));
        }
        let ended = state.terminated.as_ref().filter(|ended| ended.exit_code != 0)?;
        let how = told(ended.reason.as_ref(), ended.message.as_ref());
        Some(format!("{} ended with code {}: {how}", container.name, ended.exit_code))
    });
    found.or_else(|| {
        let mut all = status.conditions.iter().flatten();
        let prepared = all.find(|condition| condition.type_ == "PodReadyToStartContainers")?;
        let waits = prepared.status == "False" && status.phase.as_deref() == Some("Pending");
        waits.then(|| {
            "its volumes, its Secrets or its network are not there yet; where that lasts, `kubectl describe pod` tells why".to_owned()
        })
    })
}

/// A claim, seen from the pod set its name belongs to.
pub fn claim(claim: &core::PersistentVolumeClaim, set: &PodSetSpec) -> Claim {
    let spec = claim.spec.clone().unwrap_or_default();
    let status = claim.status.clone().unwrap_or_default();
    let labels = claim.metadata.labels.clone().unwrap_or_default();
    let has = |label: &str, value: &str| labels.get(label).is_some_and(|found| found == value);
    let asked = spec.resources.and_then(|resources| resources.requests?.get("storage").cloned());
    let growing = status.conditions.iter().flatten().find(|condition| {
        condition.status == "True"
            && ["Resizing", "FileSystemResizePending", "ControllerResizeError", "NodeResizeError"]
                .contains(&condition.type_.as_str())
    });
    Claim {
        uid: claim.metadata.uid.clone().unwrap_or_default(),
        deleting: claim.metadata.deletion_timestamp.is_some(),
        ours: has(labels::INSTANCE, set.instance.as_str())
            && has(labels::COMPONENT, set.component.as_str())
            && has(labels::GROUP, set.group.as_str()),
        asked: asked.and_then(|asked| Quantity(asked.0).bytes()),
        class: spec.storage_class_name,
        bound: status.phase.as_deref() == Some("Bound"),
        to_delete: claim.metadata.annotations.as_ref().and_then(|all| all.get(labels::DELETE_UID).cloned()),
        growing: growing.map(|condition| {
            let message = condition.message.as_deref().unwrap_or_default();
            format!("{} {message}", condition.type_).trim_end().to_owned()
        }),
        labels,
    }
}

pub fn node(node: &core::Node) -> Node {
    let status = node.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref()).into_iter().flatten();
    Node {
        ready: conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"),
        out_of_service: taints.into_iter().any(|taint| taint.key == OUT_OF_SERVICE),
    }
}

/// Whether volumes of a class can grow.
pub fn can_grow(class: &StorageClass) -> bool {
    class.allow_volume_expansion == Some(true)
}
