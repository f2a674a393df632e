//! Components and pod sets against a real API server: pods and volumes come, change and leave.

mod changes;
mod faults;
mod nodes;
mod volumes;

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use midship::api::conditions::find;
use midship::api::{Component, PodSet};
use serde_json::{Value, json};

use crate::api::controller::process::Controller;
use crate::harness::{Scene, api_test, wait_for};
use nodes::Nodes;

/// Deadline of what takes a second or two on a machine with nothing else to do.
const SOON: Duration = Duration::from_mins(2);

/// A component with three pods, a controller that looks after its namespace, and nodes that run the pods.
struct Stage<'a> {
    scene: &'a Scene,
    controller: Controller,
    nodes: Nodes,
}

/// Runs `body` on an empty stage.
fn stage_test(body: impl AsyncFnOnce(&mut Stage<'_>)) {
    api_test(async |scene| {
        let nodes = Nodes::start(scene);
        let mut stage = Stage { scene, controller: start(scene), nodes };
        body(&mut stage).await;
    });
}

fn start(scene: &Scene) -> Controller {
    let namespace = scene.namespace.as_str();
    let args = ["--namespaces", namespace, "--lease-namespace", namespace, "--leader-elect=false"];
    Controller::start("controller", &scene.kubeconfig(), &args)
}

fn template(image: &str) -> Value {
    json!({
        "configRevision": "c1",
        "metadata": { "labels": { "team": "shop" } },
        "spec": {
            "terminationGracePeriodSeconds": 5,
            "containers": [{ "name": "store", "image": image, "command": ["sleep", "inf"],
                "resources": { "requests": { "cpu": "10m", "memory": "16Mi" } },
                "volumeMounts": [{ "name": "data", "mountPath": "/data" }] }],
        },
        "volumes": { "data": { "size": "64Mi" } },
    })
}

impl Stage<'_> {
    fn pods(&self) -> Api<Pod> {
        self.scene.objects()
    }

    fn claims(&self) -> Api<PersistentVolumeClaim> {
        self.scene.objects()
    }

    /// Makes or changes the component.
    async fn apply(&self, more: Value) {
        let mut spec = json!({
            "instance": "shop", "component": "store", "serviceName": "shop-store-pods",
            "groups": [{ "name": "default", "replicas": 3, "template": template("store:1") }],
        });
        spec.as_object_mut().expect("a mapping").extend(more.as_object().expect("a mapping").clone());
        let object = json!({ "apiVersion": "midship.dev/v1alpha1", "kind": "Component",
            "metadata": { "name": "shop-store" }, "spec": spec });
        let api: Api<Component> = self.scene.objects();
        let how = PatchParams::apply("a-test").force();
        api.patch("shop-store", &how, &Patch::Apply(&object)).await.expect("it can be applied");
    }

    /// Changes the one group.
    async fn group(&self, more: Value) {
        let mut group = json!({ "name": "default", "replicas": 3, "template": template("store:1") });
        group.as_object_mut().expect("a mapping").extend(more.as_object().expect("a mapping").clone());
        self.apply(json!({ "groups": [group] })).await;
    }

    async fn component(&self) -> Component {
        self.scene.objects::<Component>().get("shop-store").await.expect("it is there")
    }

    async fn set(&self) -> PodSet {
        self.scene.objects::<PodSet>().get("shop-store").await.expect("it is there")
    }

    /// Waits until the component is ready for this reason at its newest generation; returns its message.
    async fn becomes(&self, reason: &str) -> String {
        wait_for(&format!("the component to be {reason}"), SOON, async || {
            let component = self.component().await;
            let status = component.status.unwrap_or_default();
            let set = self.scene.objects::<PodSet>().get_opt("shop-store").await.map_err(|error| error.to_string())?;
            let current = |observed: Option<i64>, generation: Option<i64>| observed == generation;
            let Some(ready) = find(&status.conditions, "Ready") else { return Err("nothing is said".to_owned()) };
            let settled = current(status.observed_generation, component.metadata.generation)
                && set.is_some_and(|set| {
                    let status = set.status.unwrap_or_default();
                    let said = find(&status.conditions, "Ready").is_some_and(|said| said.reason == reason);
                    said && current(status.observed_generation, set.metadata.generation)
                });
            if ready.reason == reason && settled {
                Ok(ready.message.clone())
            } else {
                Err(format!("{}: {}", ready.reason, ready.message))
            }
        })
        .await
    }

    /// Waits until exactly these ordinals run.
    async fn runs(&self, wanted: &[&str]) {
        let names: Vec<String> = wanted.iter().map(|ordinal| format!("shop-store-{ordinal}")).collect();
        wait_for(&format!("{names:?} to run"), SOON, async || {
            let pods = self.pods().list(&ListParams::default()).await.map_err(|error| error.to_string())?;
            let mut there: Vec<String> = pods.iter().map(ResourceExt::name_any).collect();
            there.sort();
            if there == names { Ok(()) } else { Err(format!("{there:?}")) }
        })
        .await;
    }

    async fn uids(&self) -> BTreeMap<String, String> {
        let pods = self.pods().list(&ListParams::default()).await.expect("pods can be listed");
        pods.iter().map(|pod| (pod.name_any(), pod.uid().expect("a uid"))).collect()
    }
}

#[test]
fn a_component_becomes_pods_with_names_labels_and_volumes() {
    stage_test(async |stage| {
        stage.apply(json!({})).await;
        assert_eq!(stage.becomes("Ready").await, "3 pods are ready");
        stage.runs(&["0", "1", "2"]).await;
        let pod = stage.pods().get("shop-store-1").await.expect("it is there");
        let labels = pod.labels();
        for (label, value) in [
            ("midship.dev/instance", "shop"),
            ("midship.dev/component", "store"),
            ("midship.dev/group", "default"),
            ("midship.dev/ordinal", "1"),
            ("app.kubernetes.io/managed-by", "midship"),
            ("team", "shop"),
        ] {
            assert_eq!(labels.get(label).map(String::as_str), Some(value), "{label}");
        }
        let spec = pod.spec.as_ref().expect("a spec");
        assert_eq!(spec.hostname.as_deref(), Some("shop-store-1"));
        assert_eq!(spec.subdomain.as_deref(), Some("shop-store-pods"));
        let claim = stage.claims().get("data-shop-store-1").await.expect("it is there");
        assert!(claim.owner_references().is_empty(), "volumes outlive pods and pod sets");
        let status = stage.set().await.status.expect("a status");
        assert_eq!(status.pods.len(), 3);
        assert_eq!(status.last_good_revision, status.revision);
        let columns = stage.scene.kubectl(["get", "podset", "shop-store", "--no-headers"]).stdout();
        assert!(columns.contains("Ready"), "{columns}");
    });
}

#[test]
fn once_everything_runs_nothing_is_written() {
    stage_test(async |stage| {
        stage.apply(json!({})).await;
        stage.becomes("Ready").await;
        let versions = async || {
            let set = stage.set().await.resource_version();
            let pods = stage.pods().list(&ListParams::default()).await.expect("listed");
            let claims = stage.claims().list(&ListParams::default()).await.expect("listed");
            let parts: Vec<_> = pods.iter().map(ResourceExt::resource_version).collect();
            // Kubernetes' own controllers write to claims as well
            let ours = |claim: &PersistentVolumeClaim| {
                let fields = claim.managed_fields().iter().filter(|field| field.manager.as_deref() == Some("midship"));
                fields.map(|field| field.time.clone()).collect::<Vec<_>>()
            };
            let claims: Vec<_> = claims.iter().map(ours).collect();
            (set, stage.component().await.resource_version(), parts, claims)
        };
        let mut before = versions().await;
        wait_for("everything to come to rest", SOON, async || {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let now = versions().await;
            let same = now == before;
            before = now;
            if same { Ok(()) } else { Err(format!("it changes: {before:?}")) }
        })
        .await;
        // this is no wait for something to happen: nothing may happen for that long
        tokio::time::sleep(Duration::from_secs(8)).await;
        assert_eq!(versions().await, before);
    });
}

#[test]
fn kubectl_scales_a_component_whose_number_of_pods_is_free() {
    stage_test(async |stage| {
        let group = json!({ "name": "default", "template": template("store:1") });
        stage.apply(json!({ "groups": [group], "replicas": 2 })).await;
        stage.becomes("Ready").await;
        stage.scene.kubectl(["scale", "component", "shop-store", "--replicas=4"]).stdout();
        stage.runs(&["0", "1", "2", "3"]).await;
        stage.becomes("Ready").await;
        let status = stage.component().await.status.expect("a status");
        assert_eq!(status.replicas, Some(4));
        stage.scene.kubectl(["scale", "component", "shop-store", "--replicas=1"]).stdout();
        stage.runs(&["0"]).await;
    });
}

#[test]
fn the_named_ordinal_leaves_and_an_unknown_one_is_refused() {
    stage_test(async |stage| {
        stage.apply(json!({})).await;
        stage.becomes("Ready").await;
        let before = stage.uids().await;
        stage.group(json!({ "replicas": 2, "offline": [7] })).await;
        let message = stage.becomes("UnknownOrdinal").await;
        assert!(message.contains("offline names 7, which never was; there are 0, 1, 2"), "{message}");
        assert_eq!(stage.uids().await, before, "nothing is done");
        stage.group(json!({ "replicas": 2, "offline": [1] })).await;
        stage.runs(&["0", "2"]).await;
        stage.becomes("Ready").await;
        stage.claims().get("data-shop-store-1").await.expect("its volume is kept");
        let after = stage.uids().await;
        assert!(after.iter().all(|(name, uid)| before.get(name) == Some(uid)), "the others were left alone");
    });
}

#[test]
fn stopped_pods_leave_and_their_volumes_stay() {
    stage_test(async |stage| {
        stage.apply(json!({})).await;
        stage.becomes("Ready").await;
        stage.apply(json!({ "state": "Stopped" })).await;
        stage.runs(&[]).await;
        stage.becomes("Stopped").await;
        assert_eq!(stage.claims().list(&ListParams::default()).await.expect("listed").items.len(), 3);
        stage.apply(json!({ "state": "Running" })).await;
        stage.runs(&["0", "1", "2"]).await;
        stage.becomes("Ready").await;
    });
}

#[test]
fn a_group_that_is_removed_loses_its_pods_before_its_pod_set_goes() {
    stage_test(async |stage| {
        let shard = |name: &str| json!({ "name": name, "replicas": 1, "template": template("store:1") });
        stage.apply(json!({ "groups": [shard("default"), shard("extra")] })).await;
        wait_for("both groups to run", SOON, async || match stage.uids().await.len() {
            2 => Ok(()),
            other => Err(format!("{other} pods")),
        })
        .await;
        stage.apply(json!({ "groups": [shard("default")] })).await;
        stage.runs(&["0"]).await;
        wait_for("the pod set to go", SOON, async || {
            let found = stage.scene.objects::<PodSet>().get_opt("shop-store-extra").await;
            match found.map_err(|error| error.to_string())? {
                None => Ok(()),
                Some(set) => Err(format!("{:?}", set.status)),
            }
        })
        .await;
    });
}

#[test]
fn a_component_starts_after_the_one_it_needs() {
    stage_test(async |stage| {
        stage.nodes.refuse("base:1");
        let base = json!({ "apiVersion": "midship.dev/v1alpha1", "kind": "Component", "metadata": { "name": "shop-base" },
            "spec": { "instance": "shop", "component": "base",
                "groups": [{ "name": "default", "replicas": 1, "template": template("base:1") }] } });
        let base: Component = serde_json::from_value(base).expect("a component");
        stage.scene.objects::<Component>().create(&PostParams::default(), &base).await.expect("it can be made");
        stage.apply(json!({ "after": ["base"] })).await;
        wait_for("the component to wait", SOON, async || {
            let status = stage.component().await.status.unwrap_or_default();
            match find(&status.conditions, "Ready") {
                Some(ready) if ready.message == "shop-store starts once base is ready" => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        assert!(!stage.uids().await.keys().any(|name| name.starts_with("shop-store-")));
        stage.nodes.accept("base:1");
        stage.becomes("Ready").await;
    });
}
