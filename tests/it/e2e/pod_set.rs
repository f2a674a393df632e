//! Pod sets on a real kubelet: volumes keep their data, grow while they are in use, CPU and memory change while containers
//! run, and changes go from pod to pod.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use midship::api::conditions::find;
use midship::api::{Component, PodSet};
use serde_json::{Value, json};

use super::{SOON, images};
use crate::api::controller::process::Controller;
use crate::harness::{Scene, e2e_test, install_definitions, wait_for};

struct Stage<'a> {
    scene: &'a Scene,
    image: String,
    _controller: Controller,
}

/// Runs `body` with a controller that looks after the test's namespace.
fn stage_test(body: impl AsyncFnOnce(&Stage<'_>)) {
    e2e_test(async |scene| {
        install_definitions(&scene.client).await;
        let namespace = scene.namespace.as_str();
        let args = ["--namespaces", namespace, "--lease-namespace", namespace, "--leader-elect=false"];
        let controller = Controller::start("controller", &scene.kubeconfig(), &args);
        let stage = Stage { scene, image: images::load("busybox"), _controller: controller };
        stage.service().await;
        body(&stage).await;
    });
}

impl Stage<'_> {
    async fn service(&self) {
        let service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "shop-store-pods" },
            "spec": { "clusterIP": "None", "publishNotReadyAddresses": true,
                "selector": { "midship.dev/instance": "shop" }, "ports": [{ "port": 80 }] } });
        let service: k8s_openapi::api::core::v1::Service = serde_json::from_value(service).expect("a Service");
        let api = self.scene.objects::<k8s_openapi::api::core::v1::Service>();
        api.create(&kube::api::PostParams::default(), &service).await.expect("it can be made");
    }

    /// Pods that write their start into their volume, and are ready once they have.
    fn template(&self) -> Value {
        let script = "echo started >> /data/starts; touch /tmp/ready; trap 'exit 0' TERM; while true; do sleep 1 & wait $!; done";
        json!({
            "metadata": { "labels": { "team": "shop" } },
            "spec": {
                "terminationGracePeriodSeconds": 5,
                "containers": [{ "name": "store", "image": self.image, "imagePullPolicy": "IfNotPresent",
                    "command": ["sh", "-c", script],
                    "resources": { "requests": { "cpu": "10m", "memory": "16Mi" }, "limits": { "cpu": "200m", "memory": "64Mi" } },
                    "readinessProbe": { "exec": { "command": ["test", "-e", "/tmp/ready"] }, "periodSeconds": 1 },
                    "volumeMounts": [{ "name": "data", "mountPath": "/data" }] }],
            },
            "volumes": { "data": { "size": "32Mi" } },
        })
    }

    async fn apply(&self, replicas: i32, offline: &[u16], template: Value) {
        let object = json!({ "apiVersion": "midship.dev/v1alpha1", "kind": "Component",
            "metadata": { "name": "shop-store" },
            "spec": { "instance": "shop", "component": "store", "serviceName": "shop-store-pods",
                "groups": [{ "name": "default", "replicas": replicas, "offline": offline, "template": template }] } });
        let api: Api<Component> = self.scene.objects();
        let how = PatchParams::apply("a-test").force();
        api.patch("shop-store", &how, &Patch::Apply(&object)).await.expect("it can be applied");
    }

    /// Waits until what was applied last is all done.
    async fn settles(&self) {
        wait_for("the component to be ready", SOON, async || {
            let component =
                self.scene.objects::<Component>().get("shop-store").await.map_err(|error| error.to_string())?;
            let set = self.scene.objects::<PodSet>().get("shop-store").await.map_err(|error| error.to_string())?;
            let status = component.status.unwrap_or_default();
            let current = status.observed_generation == component.metadata.generation
                && set.status.as_ref().and_then(|status| status.observed_generation) == set.metadata.generation;
            match find(&status.conditions, "Ready") {
                Some(ready) if ready.reason == "Ready" && current => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }

    async fn pods(&self) -> BTreeMap<String, Pod> {
        let mine = ListParams::default().labels("midship.dev/component=store");
        let pods = self.scene.objects::<Pod>().list(&mine).await.expect("pods can be listed");
        pods.into_iter().map(|pod| (pod.name_any(), pod)).collect()
    }

    fn exec(&self, ordinal: u16, command: &str) -> String {
        let pod = format!("shop-store-{ordinal}");
        let run = self.scene.kubectl(["exec", pod.as_str(), "-c", "store", "--", "sh", "-c", command]);
        run.stdout().trim().to_owned()
    }
}

fn container(pod: &Pod) -> String {
    let status = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref()).expect("it ran");
    status[0].container_id.clone().expect("it runs")
}

#[test]
fn a_chosen_pod_leaves_and_finds_its_data_when_it_comes_back() {
    stage_test(async |stage| {
        stage.apply(3, &[], stage.template()).await;
        stage.settles().await;
        assert_eq!(stage.exec(1, "echo hers > /data/name; hostname"), "shop-store-1");
        let name = format!("shop-store-2.shop-store-pods.{}.svc", stage.scene.namespace);
        wait_for("the pods to know each other by name", SOON, async || {
            let output = stage.exec(1, &format!("nslookup {name} >/dev/null 2>&1 && echo known || echo unknown"));
            if output == "known" { Ok(()) } else { Err(output) }
        })
        .await;

        stage.apply(2, &[1], stage.template()).await;
        stage.settles().await;
        assert_eq!(stage.pods().await.keys().collect::<Vec<_>>(), ["shop-store-0", "shop-store-2"]);
        stage.apply(3, &[], stage.template()).await;
        stage.settles().await;
        assert_eq!(stage.exec(1, "cat /data/name; wc -l < /data/starts"), "hers\n2");
        assert_eq!(stage.exec(0, "wc -l < /data/starts"), "1", "the others were left alone");
    });
}

#[test]
fn cpu_memory_and_volumes_grow_while_the_container_runs() {
    stage_test(async |stage| {
        stage.apply(2, &[], stage.template()).await;
        stage.settles().await;
        let before = stage.pods().await;
        let kilobytes = "df -k /data | tail -1 | awk '{print $2}'";
        let size: u64 = stage.exec(0, kilobytes).parse().expect("a number");

        let mut larger = stage.template();
        larger["spec"]["containers"][0]["resources"] =
            json!({ "requests": { "cpu": "20m", "memory": "32Mi" }, "limits": { "cpu": "400m", "memory": "96Mi" } });
        larger["volumes"]["data"]["size"] = json!("96Mi");
        stage.apply(2, &[], larger).await;
        wait_for("the limit to be in force", SOON, async || {
            let limit = stage.exec(
                0,
                "cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes",
            );
            if limit == (96 << 20).to_string() { Ok(()) } else { Err(limit) }
        })
        .await;
        wait_for("the volume to be larger", SOON, async || {
            let now: u64 = stage.exec(0, kilobytes).parse().expect("a number");
            if now > size * 2 { Ok(()) } else { Err(format!("{now} KiB, {size} KiB before")) }
        })
        .await;
        stage.settles().await;
        let after = stage.pods().await;
        for (name, pod) in &before {
            assert_eq!(container(pod), container(&after[name]), "{name}: the same container runs on");
        }
    });
}

#[test]
fn a_change_goes_from_pod_to_pod_each_after_the_one_before_is_ready() {
    stage_test(async |stage| {
        stage.apply(3, &[], stage.template()).await;
        stage.settles().await;
        let before = stage.pods().await;
        let mut changed = stage.template();
        changed["spec"]["containers"][0]["env"] = json!([{ "name": "COLOUR", "value": "green" }]);
        stage.apply(3, &[], changed).await;
        let mut order = Vec::new();
        wait_for("all pods to be made anew", SOON, async || {
            let now = stage.pods().await;
            let ready = now.values().filter(|pod| {
                let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
                conditions.into_iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True")
            });
            assert!(ready.count() >= 2, "more than one pod is down");
            for (name, pod) in &now {
                if pod.uid() != before[name].uid() && !order.contains(name) {
                    order.push(name.clone());
                }
            }
            if order.len() == 3 { Ok(()) } else { Err(format!("{order:?}")) }
        })
        .await;
        assert_eq!(order, ["shop-store-2", "shop-store-1", "shop-store-0"]);
        stage.settles().await;
        assert_eq!(stage.exec(0, "echo $COLOUR"), "green");
        let events = stage.scene.kubectl(["get", "events"]).stdout();
        assert!(events.contains("a new pod, because more than images and resources changes"), "{events}");
    });
}
