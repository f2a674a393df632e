//! Nodes that only pretend: pods get running and ready, containers get new identifiers when their image changes, and pods
//! that are to go are gone. What a kubelet would write is written here.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use crate::harness::Scene;

/// Ends with the test.
pub struct Nodes {
    refused: Arc<Mutex<BTreeSet<String>>>,
    _task: AbortOnDropHandle<()>,
}

impl Nodes {
    pub fn start(scene: &Scene) -> Self {
        let refused: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let (pods, claims) = (scene.objects::<Pod>(), scene.objects::<PersistentVolumeClaim>());
        let task = {
            let refused = refused.clone();
            async move {
                loop {
                    let refused = refused.lock().expect("no panic").clone();
                    for pod in pods.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default() {
                        run(&pods, &pod, &refused).await;
                    }
                    for claim in claims.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default() {
                        bind(&claims, &claim).await;
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        };
        Self { refused, _task: AbortOnDropHandle::new(tokio::spawn(task)) }
    }

    /// Pods with this image never get ready.
    pub fn refuse(&self, image: &str) {
        self.refused.lock().expect("no panic").insert(image.to_owned());
    }

    pub fn accept(&self, image: &str) {
        self.refused.lock().expect("no panic").remove(image);
    }
}

async fn run(pods: &Api<Pod>, pod: &Pod, refused: &BTreeSet<String>) {
    let name = pod.name_any();
    if pod.metadata.deletion_timestamp.is_some() {
        let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        // it may be gone by now
        let _ = pods.delete(&name, &at_once).await;
        return;
    }
    let status = wanted(pod, refused);
    let now = serde_json::to_value(pod.status.clone().unwrap_or_default()).expect("plain data");
    // what has ended never runs again
    let ended = matches!(now["phase"].as_str(), Some("Failed" | "Succeeded"));
    let same = now["phase"] == status["phase"]
        && now["containerStatuses"][0]["containerID"] == status["containerStatuses"][0]["containerID"]
        && ready(&now) == ready(&status);
    if !same && !ended {
        let patch = json!({ "metadata": { "uid": pod.metadata.uid }, "status": status });
        // the next round tries again
        let _ = pods.patch_status(&name, &PatchParams::default(), &Patch::Strategic(&patch)).await;
    }
}

fn wanted(pod: &Pod, refused: &BTreeSet<String>) -> Value {
    let spec = pod.spec.clone().unwrap_or_default();
    let image = spec.containers[0].image.clone().unwrap_or_default();
    let serves = !refused.contains(&image);
    let now = Timestamp::now();
    let waiting = json!({ "waiting": { "reason": "ImagePullBackOff", "message": format!("no {image} anywhere") } });
    let state = if serves {
        json!({ "running": { "startedAt": now }, "waiting": null })
    } else {
        json!({ "running": null, "waiting": waiting["waiting"] })
    };
    json!({
        "phase": "Running",
        "qosClass": "Burstable",
        "conditions": [
            { "type": "Ready", "status": if serves { "True" } else { "False" }, "lastTransitionTime": now },
        ],
        "containerStatuses": [{
            "name": spec.containers[0].name,
            "image": image,
            "imageID": "",
            "containerID": format!("test://{}/{image}", pod.uid().unwrap_or_default()),
            "ready": serves,
            "restartCount": 0,
            "state": state,
        }],
    })
}

fn ready(status: &Value) -> Option<String> {
    let conditions = status["conditions"].as_array()?;
    let found = conditions.iter().find(|condition| condition["type"] == "Ready")?;
    Some(found["status"].as_str()?.to_owned())
}

async fn bind(claims: &Api<PersistentVolumeClaim>, claim: &PersistentVolumeClaim) {
    let bound = claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
    if !bound {
        let patch = json!({ "status": { "phase": "Bound" } });
        let _ = claims.patch_status(&claim.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await;
    }
}
