//! What is done to pods: their process killed or paused, the pod deleted, its network cut, or the API server out of reach.

use std::fs::File;
use std::os::fd::AsRawFd;

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::DeleteParams;
use kube::{Api, ResourceExt};
use serde_json::Value;

use super::trial::Trial;
use crate::harness::Run;

/// A signal to the middleware's process.
pub fn signal(trial: &Trial<'_>, pod: &str, signal: &str) {
    let status = trial.inside(pod, "/midship/bin/midship-agent ctl status -o json");
    let status: Value = serde_json::from_str(&status).expect("the status is JSON");
    let pid = status["result"]["pid"].as_u64().or_else(|| status["pid"].as_u64()).expect("it runs");
    trial.inside(pod, &format!("kill -s {signal} {pid}"));
}

pub async fn delete(trial: &Trial<'_>, pod: &str) {
    trial.stage.scene.objects::<Pod>().delete(pod, &DeleteParams::default()).await.expect("it can be deleted");
}

/// What a pod reaches no more, until this is dropped.
pub struct Cut {
    /// Held open: whichever process it was found with may end meanwhile.
    network: File,
    rule: Vec<String>,
}

impl Cut {
    /// From everybody.
    pub async fn whole(trial: &Trial<'_>, pod: &str) -> Self {
        Self::make(trial, pod, None).await
    }

    /// From the API server alone.
    pub async fn from_api(trial: &Trial<'_>, pod: &str) -> Self {
        let services: Api<Service> = Api::namespaced(trial.stage.scene.client.clone(), "default");
        let service = services.get("kubernetes").await.expect("the API server has a Service");
        let address = service.spec.and_then(|spec| spec.cluster_ip).expect("it has an address");
        Self::make(trial, pod, Some(&address)).await
    }

    async fn make(trial: &Trial<'_>, pod: &str, to: Option<&str>) -> Self {
        let pod = trial.stage.scene.objects::<Pod>().get(pod).await.expect("the pod is there");
        let network = network_of(&pod.uid().expect("it has a uid"));
        let to = to.map(|to| ["to", to]).into_iter().flatten();
        let rule: Vec<String> = to.chain(["pref", "1", "blackhole"]).map(str::to_owned).collect();
        let cut = Self { network, rule };
        cut.ip("add").stdout();
        cut
    }

    fn ip(&self, what: &str) -> Run {
        let network = format!("--net=/proc/{}/fd/{}", std::process::id(), self.network.as_raw_fd());
        Run::new("nsenter").args([network.as_str(), "ip", "rule", what]).args(&self.rule)
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        // a pod that is gone took its network along
        let _ = self.ip("del").output();
    }
}

/// The network of a pod whose agent knows its uid from its environment: nodes are namespaces of this machine.
fn network_of(uid: &str) -> File {
    let wanted = format!("MIDSHIP_POD_UID={uid}");
    let processes = std::fs::read_dir("/proc").expect("this machine has processes");
    for process in processes.filter_map(Result::ok) {
        let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
        let of_pod = environment.split(|byte| *byte == 0).any(|one| one == wanted.as_bytes());
        if of_pod && let Ok(network) = File::open(process.path().join("ns/net")) {
            return network;
        }
    }
    panic!("no process of the pod {uid} runs on this machine")
}
