//! An instance of real middleware under a type of its own, with a controller that looks after this namespace alone.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Secret, Service};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use midship::api::instance::Phase;
use midship::api::{Extension, Instance};
use midship::extension::install;
use midship::extension::{Package, PackageFiles};
use midship::names::NamespaceName;
use serde_json::{Value, json};

use super::writer::{Access, Kind, Report, Writers, lost, prepare};
use crate::api::controller::process::Controller;
use crate::e2e::images;
use crate::harness::{Scene, install_definitions, wait_for};

/// Deadline of what needs volumes, images and a few pods on a busy machine.
pub const IN_TIME: Duration = Duration::from_mins(4);
const NAME: &str = "shop";

pub struct Stage<'a> {
    pub scene: &'a Scene,
    pub access: Access,
    type_: String,
    port: u16,
    container: &'static str,
    _controller: Controller,
}

/// What the type of middleware is called, who is in the package, and where it listens.
fn package(kind: Kind) -> (&'static str, &'static str, &'static str, &'static str, u16) {
    match kind {
        Kind::Redis => ("extensions/redis/1.1.0", "redis", "redis-7.0", "7.0", 6379),
        Kind::Postgres => ("extensions/postgresql/1.1.0", "postgres", "postgres-17", "17", 5432),
    }
}

fn files(folder: &Path, type_: &str) -> PackageFiles {
    fn collect(root: &Path, folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
        for entry in std::fs::read_dir(folder).expect("the package is there") {
            let path = entry.expect("it can be listed").path();
            if path.is_dir() {
                collect(root, &path, found);
            } else {
                let name = path.strip_prefix(root).expect("it is below").to_str().expect("text").to_owned();
                found.push((name, std::fs::read(&path).expect("it can be read")));
            }
        }
    }
    let mut found = Vec::new();
    collect(folder, folder, &mut found);
    // its tests name the type it has elsewhere
    found.retain(|(name, _)| !name.starts_with("tests/"));
    for (name, bytes) in &mut found {
        if name == "extension.yaml" {
            let text = String::from_utf8(bytes.clone()).expect("text");
            let lines = text.lines().filter(|line| !line.starts_with("upgradableFrom"));
            let lines =
                lines.map(|line| if line.starts_with("type:") { format!("type: {type_}") } else { line.into() });
            *bytes = lines.collect::<Vec<String>>().join("\n").into_bytes();
        }
    }
    PackageFiles::new(found).expect("plain files")
}

impl<'a> Stage<'a> {
    pub async fn set(scene: &'a Scene, kind: Kind, replicas: usize, failover: Value) -> Self {
        install_definitions(&scene.client).await;
        let (folder, container, image, version, port) = package(kind);
        let agent = images::load("midship");
        images::load(image);
        let namespace = scene.namespace.as_str();
        let scope = ["--namespaces", namespace, "--lease-namespace", namespace, "--leader-elect=false"];
        let args: Vec<&str> = scope.into_iter().chain(["--agent-image", agent.as_str()]).collect();
        let controller = Controller::start("controller", &scene.kubeconfig(), &args);
        let type_ = format!("t{}", namespace.rsplit('-').next().expect("it ends in letters of its own"));
        let package = Package::load(files(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &type_));
        let package = package.unwrap_or_else(|problems| panic!("{problems}"));
        let home = NamespaceName::parse(namespace).expect("a namespace");
        let objects = install::objects(&package, &home, None).expect("it fits");
        for part in &objects.parts {
            scene.objects::<ConfigMap>().create(&PostParams::default(), part).await.expect("a part");
        }
        let extensions: Api<Extension> = Api::all(scene.client.clone());
        extensions.create(&PostParams::default(), &objects.extension).await.expect("an Extension");
        let size = if kind == Kind::Redis { "64Mi" } else { "512Mi" };
        let instance = json!({ "apiVersion": "midship.dev/v1alpha1", "kind": "Instance", "metadata": { "name": NAME },
            "spec": { "type": type_, "extensionVersion": "1.1.0", "version": version, "topology": "replication",
                "failover": failover,
                "components": [{ "name": container, "replicas": replicas, "storage": { "data": { "size": size } } }] } });
        let instance: Instance = serde_json::from_value(instance).expect("an Instance");
        scene.objects::<Instance>().create(&PostParams::default(), &instance).await.expect("it can be made");

        let access = Access {
            kind,
            service: SocketAddr::from(([0, 0, 0, 0], 0)),
            password: String::new(),
            pods: Arc::new(Mutex::new(BTreeMap::new())),
        };
        let mut stage = Self { scene, access, type_, port, container, _controller: controller };
        stage.settled().await;
        stage.access.password = stage.password().await;
        stage.access.service = stage.open().await;
        wait_for("the server to take a table", IN_TIME, async || prepare(&stage.access).await).await;
        stage
    }

    async fn password(&self) -> String {
        let secret = self.scene.objects::<Secret>().get("shop-credentials").await.expect("there are credentials");
        String::from_utf8(secret.data.unwrap_or_default()["password"].0.clone()).expect("text")
    }

    /// The Service of the primary, opened to this machine: the same selection behind a port of the nodes.
    async fn open(&self) -> SocketAddr {
        let main = self.scene.objects::<Service>().get(NAME).await.expect("the instance has a Service");
        let selector = main.spec.and_then(|spec| spec.selector).expect("it selects the primary");
        let service = json!({ "metadata": { "name": "outside" }, "spec": { "type": "NodePort", "selector": selector,
            "ports": [{ "port": self.port, "targetPort": self.port }] } });
        let service: Service = serde_json::from_value(service).expect("a Service");
        let made = self.scene.objects::<Service>().create(&PostParams::default(), &service).await.expect("a port");
        let ports = made.spec.and_then(|spec| spec.ports).expect("it has ports");
        let port = ports[0].node_port.and_then(|port| u16::try_from(port).ok()).expect("a port of the nodes");
        let nodes = Api::<Node>::all(self.scene.client.clone()).list(&ListParams::default()).await.expect("nodes");
        let addresses = nodes.items[0].status.as_ref().and_then(|status| status.addresses.clone()).unwrap_or_default();
        let address = addresses.iter().find(|address| address.type_ == "InternalIP").expect("nodes have addresses");
        SocketAddr::new(address.address.parse().expect("an address"), port)
    }

    /// Waits until all pods serve, and one as primary; returns its name.
    pub async fn settled(&self) -> String {
        wait_for("the instance to run with a primary", IN_TIME, async || {
            self.look().await;
            let instance = self.scene.objects::<Instance>().get(NAME).await.map_err(|error| error.to_string())?;
            let generation = instance.metadata.generation;
            let status = instance.status.unwrap_or_default();
            let current = status.observed_generation == generation && status.phase == Some(Phase::Running);
            let pods = self.pods().await;
            let ready = pods.iter().all(|pod| pod.metadata.deletion_timestamp.is_none() && is_ready(pod));
            match &status.primary {
                Some(primary) if current && ready => Ok(primary.clone()),
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
        let of_instance = ListParams::default().labels(&format!("midship.dev/instance={NAME}"));
        let pods = self.scene.objects::<Pod>().list(&of_instance).await.map(|list| list.items).unwrap_or_default();
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
        let lease = self.scene.objects::<Lease>().get(&format!("{NAME}-{}", self.container)).await.expect("a lease");
        lease.spec.and_then(|spec| spec.lease_transitions).and_then(|terms| usize::try_from(terms).ok()).unwrap_or(0)
    }

    /// Runs something in the middleware's container.
    pub fn inside(&self, pod: &str, script: &str) -> String {
        self.scene.kubectl(["exec", pod, "-c", self.container, "--", "sh", "-c", script]).stdout()
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

    pub async fn clear(self) {
        let instances: Api<Instance> = self.scene.objects();
        instances.delete(NAME, &DeleteParams::default()).await.expect("it can be deleted");
        wait_for("the instance to be gone", IN_TIME, async || match instances.get_opt(NAME).await {
            Ok(None) => Ok(()),
            other => Err(format!("{:?}", other.map(|found| found.map(|found| found.metadata.finalizers)))),
        })
        .await;
        let extensions: Api<Extension> = Api::all(self.scene.client.clone());
        let name = format!("{}-1.1.0", self.type_);
        let anyway = Patch::Merge(json!({ "metadata": { "annotations": { "midship.dev/delete-anyway": "true" } } }));
        extensions.patch(&name, &PatchParams::default(), &anyway).await.expect("it can be patched");
        extensions.delete(&name, &DeleteParams::default()).await.expect("the package can be removed");
        wait_for("the package to be gone", IN_TIME, async || match extensions.get_opt(&name).await {
            Ok(None) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True")
}
