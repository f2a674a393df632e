//! A stage on which clients write: the Service of the primary is opened to this machine, and writers are judged.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt};
use midship::api::instance::Phase;
use midship::api::pod_report::PodReport;
use serde_json::{Value, json};

use super::writer::{Access, Kind, Report, Writers, lost, prepare};
use crate::e2e::stage::{IN_TIME, NAME, Stage, stage_test};
use crate::harness::wait_for;

pub struct Trial<'a> {
    pub stage: &'a Stage<'a>,
    pub access: Access,
    port: u16,
    container: &'static str,
}

/// Runs `body` with an instance of that many pods that serves, where `more` says more of it.
pub fn trial(kind: Kind, replicas: usize, more: Value, body: impl AsyncFnOnce(&Trial<'_>)) {
    let (package, image, version, container, port, size) = match kind {
        Kind::Redis => ("redis/1.1.0", "redis-7.0", "7.0", "redis", 6379, "64Mi"),
        Kind::Postgres => ("postgresql/1.1.0", "postgres-17", "17", "postgres", 5432, "2Gi"),
    };
    stage_test(package, image, async |stage| {
        let mut component = json!({ "name": container, "replicas": replicas, "storage": { "data": { "size": size } } });
        let mut spec = json!({ "version": version, "topology": "replication", "deletionPolicy": "Delete" });
        let Value::Object(more) = more else { panic!("{more} says no more of the instance") };
        for (key, value) in more {
            let into = if key == "scheduling" { &mut component } else { &mut spec };
            into[key] = value;
        }
        spec["components"] = json!([component]);
        stage.create(spec).await;
        let access = Access {
            kind,
            service: SocketAddr::from(([0, 0, 0, 0], 0)),
            password: String::new(),
            pods: Arc::new(Mutex::new(BTreeMap::new())),
        };
        let mut trial = Trial { stage, access, port, container };
        trial.settled().await;
        trial.access.password = stage.password().await;
        trial.access.service = trial.open().await;
        wait_for("the server to take a table", IN_TIME, async || prepare(&trial.access).await).await;
        body(&trial).await;
    });
}

impl Trial<'_> {
    /// The Service of the primary, opened to this machine: the same selection behind a port of the nodes.
    async fn open(&self) -> SocketAddr {
        let services = self.stage.scene.objects::<Service>();
        let main = services.get(NAME).await.expect("the instance has a Service");
        let selector = main.spec.and_then(|spec| spec.selector).expect("it selects the primary");
        let service = json!({ "metadata": { "name": "outside" }, "spec": { "type": "NodePort", "selector": selector,
            "ports": [{ "port": self.port, "targetPort": self.port }] } });
        let service: Service = serde_json::from_value(service).expect("a Service");
        let made = services.create(&PostParams::default(), &service).await.expect("a port");
        let ports = made.spec.and_then(|spec| spec.ports).expect("it has ports");
        let port = ports[0].node_port.and_then(|port| u16::try_from(port).ok()).expect("a port of the nodes");
        let nodes = Api::<Node>::all(self.stage.scene.client.clone());
        let mut nodes = nodes.list(&ListParams::default()).await.expect("nodes").items;
        // the first one never crashes
        nodes.sort_by_key(ResourceExt::name_any);
        let addresses = nodes[0].status.as_ref().and_then(|status| status.addresses.clone()).unwrap_or_default();
        let address = addresses.iter().find(|address| address.type_ == "InternalIP").expect("nodes have addresses");
        SocketAddr::new(address.address.parse().expect("an address"), port)
    }

    /// Waits until all pods serve, and one as primary; returns its name.
    pub async fn settled(&self) -> String {
        wait_for("the instance to run with a primary", IN_TIME, async || {
            self.look().await;
            let instance = self.stage.instances().get(NAME).await.map_err(|error| error.to_string())?;
            let generation = instance.metadata.generation;
            let status = instance.status.unwrap_or_default();
            let current = status.observed_generation == generation && status.phase == Some(Phase::Running);
            let pods = self.pods().await;
            let ready = pods.iter().all(|pod| pod.metadata.deletion_timestamp.is_none() && is_ready(pod));
            match &status.primary {
                Some(primary) if current && ready && is_labelled(&pods, primary) && follow(&pods) => {
                    Ok(primary.clone())
                }
                _ => Err(format!("{:?}, primary {:?}, {:?}", status.phase, status.primary, status.ready)),
            }
        })
        .await
    }

    /// Waits until writes go on, by whoever takes them.
    pub async fn writes_go_on(&self, writers: &Writers) {
        let (before, _) = writers.progress();
        wait_for("writes to go on", IN_TIME, async || {
            self.look().await;
            let (count, silent) = writers.progress();
            if count > before + 20 { Ok(()) } else { Err(format!("{count} writes, none for {silent:?}")) }
        })
        .await;
    }

    pub async fn pods(&self) -> Vec<Pod> {
        let pods = self.stage.pods().await;
        pods.into_iter().filter(|pod| pod.spec.as_ref().is_some_and(|spec| spec.containers.len() > 1)).collect()
    }

    /// Notes where pods are by now.
    pub async fn look(&self) {
        for pod in self.pods().await {
            let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_ref()).and_then(|ip| ip.parse().ok());
            if let Some(address) = address {
                let address = SocketAddr::new(address, self.port);
                self.access.pods.lock().expect("nobody panicked").insert(pod.name_any(), address);
            }
        }
    }

    /// How often somebody took the role.
    pub async fn terms(&self) -> usize {
        let leases = self.stage.scene.objects::<Lease>();
        let lease = leases.get(&format!("{NAME}-{}", self.container)).await.expect("a lease");
        lease.spec.and_then(|spec| spec.lease_transitions).and_then(|terms| usize::try_from(terms).ok()).unwrap_or(0)
    }

    /// Runs something in the middleware's container.
    pub fn inside(&self, pod: &str, script: &str) -> String {
        self.stage.scene.kubectl(["exec", pod, "-c", self.container, "--", "sh", "-c", script]).stdout()
    }

    /// Writes all the while something is done; returns what was seen, and how many acknowledged writes are gone.
    pub async fn writing(&self, body: impl AsyncFnOnce(&Writers)) -> (Report, usize) {
        let terms = self.terms().await;
        let writers = Writers::start(&self.access);
        self.writes_go_on(&writers).await;
        body(&writers).await;
        self.judge(writers, terms).await
    }

    /// Ends the writers, waits until all is well, and holds that one pod wrote at a time; returns what was seen and how
    /// many acknowledged writes are gone.
    pub async fn judge(&self, writers: Writers, began: usize) -> (Report, usize) {
        self.writes_go_on(&writers).await;
        let report = writers.end();
        self.settled().await;
        report.assert_one_at_a_time(self.terms().await - began);
        let gone = wait_for("the server to answer", IN_TIME, async || lost(&self.access, &report).await).await;
        (report, gone)
    }
}

/// Whether the data of all is from the same term: whoever has only just begun to follow takes nothing over.
fn follow(pods: &[Pod]) -> bool {
    let terms: Vec<Option<u64>> =
        pods.iter().map(|pod| PodReport::of(pod.metadata.annotations.as_ref())?.data_epoch).collect();
    terms.iter().all(|term| term.is_some() && *term == terms[0])
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True")
}

/// Whether what the instance says is what the pods say.
fn is_labelled(pods: &[Pod], primary: &str) -> bool {
    let leads = |pod: &&Pod| pod.labels().get("midship.dev/role").is_some_and(|role| role == "primary");
    let leaders: Vec<String> = pods.iter().filter(leads).map(ResourceExt::name_any).collect();
    leaders == [primary]
}
