//! What is made of kinds that a cluster need not have: noticed when it comes to have them, and kept while nobody can tell.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client, ResourceExt};
use midship::api::conditions::find;
use midship::cluster::discovery::OptionalKind;
use serde_json::{Value, json};

use crate::api::controller::door::{Door, Fault};
use crate::api::controller::process::Controller;
use crate::api::controller::scratch::scratch_test;
use crate::api::extension::kit::{Kit, SOON};
use crate::harness::{install_definitions, wait_for};

/// What the package of these tests has besides.
const MONITORING: &str = r#"
monitoring:
  metrics: {port: client}
  alerts: {Down: {expr: "up{ {{ selector }} } == 0", severity: critical, summary: "{{ instance }} does not answer."}}
"#;
/// What is looked after: the kind, and the name of the object.
const MADE: [(OptionalKind, &str); 3] = [
    (OptionalKind::PodMonitor, "cache"),
    (OptionalKind::PrometheusRule, "cache"),
    (OptionalKind::Certificate, "secured-tls"),
];
const NOTHING: &str = "nothing to be warned of";

fn names(kind: OptionalKind) -> (&'static str, &'static str, String, &'static str) {
    let (group_version, plural) = kind.address();
    let (group, version) = group_version.split_once('/').expect("a group");
    (group, version, format!("{kind:?}"), plural)
}

/// Definitions by the names of the real ones, which take everything.
async fn define_all(client: &Client) {
    for kind in OptionalKind::ALL {
        let (group, version, name, plural) = names(kind);
        let definition = json!({ "metadata": { "name": format!("{plural}.{group}") }, "spec": {
            "group": group, "scope": "Namespaced",
            "names": { "kind": name, "listKind": format!("{name}List"), "plural": plural, "singular": name.to_lowercase() },
            "versions": [{ "name": version, "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } } }],
        } });
        let definition: CustomResourceDefinition = serde_json::from_value(definition).expect("a definition");
        Api::all(client.clone()).create(&PostParams::default(), &definition).await.expect("it can be made");
    }
}

fn objects(kit: &Kit<'_>, kind: OptionalKind) -> Api<DynamicObject> {
    let (group, version, name, plural) = names(kind);
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, &name), plural);
    Api::namespaced_with(kit.scene.client.clone(), &kit.scene.namespace, &resource)
}

/// The UID of everything that is made, once all of it is there.
async fn all_made(kit: &Kit<'_>) -> Vec<String> {
    wait_for("everything to be made of the optional kinds", SOON, async || {
        let mut found = Vec::new();
        for (kind, name) in MADE {
            let object = objects(kit, kind).get(name).await.map_err(|error| format!("{kind:?} {name}: {error}"))?;
            found.push(object.uid().unwrap_or_default());
        }
        Ok::<_, String>(found)
    })
    .await
}

/// Waits until a condition of the newest spec says this.
async fn says(kit: &Kit<'_>, name: &str, condition: &str, wanted: &str) {
    wait_for(&format!("{condition} of {name} to say {wanted:?}"), SOON, async || {
        let found = kit.instances().get(name).await.map_err(|error| error.to_string())?;
        let status = found.status.unwrap_or_default();
        let said = find(&status.conditions, condition).map(|said| said.message.clone()).unwrap_or_default();
        let seen = status.observed_generation == found.metadata.generation;
        if seen && said.contains(wanted) { Ok(()) } else { Err(format!("its newest spec was seen: {seen}; {said}")) }
    })
    .await;
}

fn connections(number: u8) -> Value {
    json!({ "spec": { "components": [{ "name": "server", "replicas": 2, "parameters": { "connections": number } }] } })
}

/// Nobody can tell any more which kinds there are. Returns how often somebody asked in vain.
fn keep_silent(door: &Door) -> Arc<AtomicUsize> {
    let refused = Arc::new(AtomicUsize::new(0));
    let counted = refused.clone();
    door.judge(move |_, path| {
        let asked = OptionalKind::ALL.iter().any(|kind| path == format!("/apis/{}", kind.address().0));
        asked.then(|| {
            counted.fetch_add(1, Ordering::Relaxed);
            Fault::Status(500)
        })
    });
    refused
}

#[test]
fn optional_kinds_are_noticed_when_they_come_and_kept_while_nobody_can_tell() {
    scratch_test(async |scratch| {
        install_definitions(&scratch.client).await;
        let scene = scratch.scene();
        let door = Door::open(&scene.client, &scene.kubeconfig()).await;
        let namespace = scene.namespace.as_str();
        let args = ["--namespaces", namespace, "--lease-namespace", namespace, "--leader-elect=false"];
        let controller = Controller::start("first", &door.kubeconfig, &args);
        let mut kit = Kit { scene: &scene, type_: "watched".into(), controller };
        let files = kit.files("1.0.0", "", |path, text| match path {
            "extension.yaml" => text + MONITORING,
            _ => text,
        });
        kit.create(&kit.objects_of(files)).await;
        kit.extension("1.0.0", "True", "Installed").await;

        // without the kinds everything else is made
        kit.instance("cache", json!({ "monitoring": { "podMonitor": true, "alerts": true } })).await;
        kit.instance("secured", json!({ "tls": { "certManager": { "name": "issuer" } } })).await;
        says(&kit, "cache", "Warnings", "the cluster does not know the kind: PodMonitor, PrometheusRule").await;
        says(&kit, "secured", "Ready", "cert-manager is not installed in this cluster").await;

        // nobody touches the instances: they are looked at by themselves
        define_all(&scene.client).await;
        let made = all_made(&kit).await;
        says(&kit, "cache", "Warnings", NOTHING).await;
        says(&kit, "secured", "Warnings", NOTHING).await;

        // what was known stands while there is no other answer, also where instances change meanwhile
        let refused = keep_silent(&door);
        let mut number = 10;
        wait_for("the controller to ask in vain", SOON, async || {
            number = if number == 20 { 21 } else { 20 };
            kit.patch("cache", connections(number)).await;
            let times = refused.load(Ordering::Relaxed);
            if times >= OptionalKind::ALL.len() { Ok(()) } else { Err(format!("{times} questions were refused")) }
        })
        .await;
        kit.controller.logs("nobody can tell which optional kinds there are", SOON).await;
        for name in ["cache", "secured"] {
            kit.patch(name, connections(42)).await;
            says(&kit, name, "Warnings", NOTHING).await;
        }
        assert_eq!(all_made(&kit).await, made, "nothing is deleted and made anew");

        // a controller that was never told anything leaves all of it alone, and goes on when it is told
        kit.controller = Controller::start("second", &door.kubeconfig, &args);
        let unknown = "nobody can tell whether the cluster knows the kind: PodMonitor, PrometheusRule";
        says(&kit, "cache", "Warnings", unknown).await;
        says(&kit, "secured", "Warnings", "nobody can tell whether the cluster knows the kind: Certificate").await;
        kit.instance("newcomer", json!({ "tls": { "certManager": { "name": "issuer" } } })).await;
        says(&kit, "newcomer", "Ready", "nobody can tell whether cert-manager is installed").await;
        assert_eq!(all_made(&kit).await, made, "nothing is deleted for want of an answer");
        door.let_everything_pass();
        for name in ["cache", "secured", "newcomer"] {
            says(&kit, name, "Warnings", NOTHING).await;
        }
        assert_eq!(all_made(&kit).await, made);

        // what was kept all the time is still known as the instance's
        kit.patch("cache", json!({ "spec": { "monitoring": null } })).await;
        wait_for("what is not wanted any more to go", SOON, async || {
            let mut left = Vec::new();
            for (kind, name) in &MADE[..2] {
                let found = objects(&kit, *kind).get_opt(name).await.map_err(|error| error.to_string())?;
                left.extend(found.map(|_| *kind));
            }
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        })
        .await;
    });
}
