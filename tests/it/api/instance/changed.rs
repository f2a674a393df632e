//! Changes: those that are made, those that are refused, and those that nobody asked for.

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use midship::api::conditions::find;
use midship::api::instance::DesiredState;
use midship::api::{Component, Instance};
use serde_json::json;

use crate::api::extension::kit::{Kit, SOON, kit_test};
use crate::harness::wait_for;

async fn connections(kit: &Kit<'_>) -> String {
    let config: ConfigMap = kit.there("cache-server-config").await;
    config.data.expect("files")["server.conf"].clone()
}

fn parameter(value: i32) -> serde_json::Value {
    json!({ "spec": { "components": [{ "name": "server", "replicas": 2, "parameters": { "connections": value } }] } })
}

/// Everything of the namespace with its version.
async fn versions(kit: &Kit<'_>) -> Vec<String> {
    let mut all = Vec::new();
    macro_rules! add {
        ($($kind:ty),+) => {$(
            let api: Api<$kind> = kit.scene.objects();
            // one comes from Kubernetes, some time after the namespace
            let list = api.list_metadata(&ListParams::default()).await.expect("a list").items;
            for object in list.iter().filter(|object| object.name_any() != "kube-root-ca.crt") {
                let kind = stringify!($kind);
                all.push(format!("{kind} {} {:?}", object.name_any(), object.metadata.resource_version));
            }
        )+};
    }
    add!(ConfigMap, Secret, Service, Component, Instance);
    all
}

#[test]
fn a_changed_parameter_changes_the_file_alone() {
    kit_test(async |kit| {
        kit.install("1.0.0", "").await;
        kit.instance("cache", json!({})).await;
        kit.becomes("cache", "Creating").await;
        let service = kit.there::<Service>("cache").await.resource_version();
        kit.patch("cache", parameter(20)).await;
        wait_for("the file to change", SOON, async || match connections(kit).await.as_str() {
            "connections = 20\n" => Ok(()),
            other => Err(other.to_owned()),
        })
        .await;
        assert_eq!(kit.there::<Service>("cache").await.resource_version(), service);
    });
}

/// Also while something else is wrong with the instance.
async fn a_full_volume_is_told_of(kit: &Kit<'_>) {
    let report = json!({ "filling": { "data": 85 } }).to_string();
    let report = json!({ "metadata": { "annotations": { "midship.dev/report": report } } });
    wait_for("an agent to report", SOON, async || {
        let (pods, how): (Api<Pod>, _) = (kit.scene.objects(), PatchParams::default());
        let patched = pods.patch("cache-server-0", &how, &Patch::Merge(&report)).await;
        patched.map(drop).map_err(|error| error.to_string())
    })
    .await;
    let wanted = "volume data of pod cache-server-0 is at least 85 % full: raise \
                  spec.components[server].storage.data.size; where a volume is a part of its node's disk, make room there";
    wait_for("the volume to be told of", SOON, async || {
        let status = kit.instances().get("cache").await.map_err(|error| error.to_string())?.status.unwrap_or_default();
        let told = find(&status.conditions, "VolumesFilling").map(|found| found.message.clone());
        if told.as_deref() == Some(wanted) { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
    wait_for("the event", SOON, async || {
        let events = kit.scene.kubectl(["get", "events"]).stdout();
        let told = |line: &str| line.contains("VolumeFilling") && line.contains(wanted);
        if events.lines().any(told) { Ok(()) } else { Err(events) }
    })
    .await;
}

#[test]
fn a_wrong_parameter_is_refused_and_nothing_changes() {
    kit_test(async |kit| {
        kit.install("1.0.0", "").await;
        kit.instance("cache", json!({})).await;
        kit.becomes("cache", "Creating").await;
        let component = kit.there::<Component>("cache-server").await.metadata.generation;
        kit.patch("cache", parameter(1000)).await;
        let status = kit.becomes("cache", "Invalid").await;
        let wanted = "spec.components[server].parameters.connections: parameter connections: 1000 is too large; allowed \
                      is 1 to 100; what runs stays as it is";
        assert_eq!(find(&status.conditions, "Stalled").map(|found| found.message.as_str()), Some(wanted));
        assert_eq!(status.configuration[0].state.as_deref(), Some("Rejected"));
        assert_eq!(connections(kit).await, "connections = 10\n");
        assert_eq!(kit.there::<Component>("cache-server").await.metadata.generation, component);
        a_full_volume_is_told_of(kit).await;
        kit.patch("cache", parameter(30)).await;
        kit.becomes("cache", "Creating").await;
        assert_eq!(connections(kit).await, "connections = 30\n");
    });
}

#[test]
fn steps_between_versions_are_taken_one_at_a_time() {
    kit_test(async |kit| {
        kit.install("1.0.0", "").await;
        kit.install("1.1.0", "1.0.0").await;
        kit.install("1.2.0", "1.1.0").await;
        kit.instance("cache", json!({})).await;
        kit.becomes("cache", "Creating").await;
        kit.patch("cache", json!({ "spec": { "extensionVersion": "1.2.0" } })).await;
        let status = kit.becomes("cache", "UpgradePath").await;
        let wanted = "spec.extensionVersion: 1.0.0 to 1.2.0 is 2 steps; take one at a time: 1.0.0 to 1.1.0 to 1.2.0; next \
                      is 1.1.0; what runs stays as it is";
        assert_eq!(status.conditions[0].message, wanted);
        kit.patch("cache", json!({ "spec": { "extensionVersion": "1.1.0" } })).await;
        let status = kit.becomes("cache", "Upgrading").await;
        let resolved = status.resolved.expect("what is in force");
        assert_eq!(resolved.extension_version.as_deref(), Some("1.0.0"));
        let target = resolved.target.expect("where it leads");
        assert_eq!(target.extension_version.as_deref(), Some("1.1.0"));
    });
}

#[test]
fn a_stopped_instance_says_so_to_its_components() {
    kit_test(async |kit| {
        kit.install("1.0.0", "").await;
        kit.instance("cache", json!({ "state": "Stopped" })).await;
        kit.becomes("cache", "Stopped").await;
        let component: Component = kit.there("cache-server").await;
        assert_eq!(component.spec.state, Some(DesiredState::Stopped));
        kit.there::<Secret>("cache-credentials").await;
    });
}

#[test]
fn what_somebody_changed_or_deleted_is_repaired() {
    kit_test(async |kit| {
        kit.install("1.0.0", "").await;
        kit.instance("cache", json!({})).await;
        kit.becomes("cache", "Creating").await;
        let password = kit.there::<Secret>("cache-credentials").await.data.expect("values")["password"].clone();
        let patch = Patch::Merge(json!({ "data": { "server.conf": "mine" } }));
        let maps = kit.scene.objects::<ConfigMap>();
        maps.patch("cache-server-config", &PatchParams::default(), &patch).await.expect("it can be changed");
        let deleted = kit.there::<Service>("cache").await.uid();
        kit.scene.objects::<Service>().delete("cache", &DeleteParams::default()).await.expect("it can be deleted");
        let secrets = kit.scene.objects::<Secret>();
        secrets.delete("cache-credentials", &DeleteParams::default()).await.expect("it can be deleted");
        wait_for("the file to be as it was", SOON, async || match connections(kit).await.as_str() {
            "connections = 10\n" => Ok(()),
            other => Err(other.to_owned()),
        })
        .await;
        wait_for("the Service to be there again", SOON, async || {
            let uid = kit.there::<Service>("cache").await.uid();
            if uid == deleted { Err("the old one".to_owned()) } else { Ok(()) }
        })
        .await;
        let again = kit.there::<Secret>("cache-credentials").await.data.expect("values")["password"].clone();
        assert_eq!(again, password, "the password is the same one");
        let labels = json!({ "midship.dev/instance": "other", "app.kubernetes.io/managed-by": null });
        let patch = Patch::Merge(json!({ "metadata": { "labels": labels } }));
        secrets.patch("cache-credentials", &PatchParams::default(), &patch).await.expect("it can be changed");
        wait_for("the labels to be as they were", SOON, async || {
            let secret: Secret = kit.there("cache-credentials").await;
            let labels = secret.metadata.labels.clone().unwrap_or_default();
            match labels.get("midship.dev/instance").map(String::as_str) {
                Some("cache") => Ok(()),
                _ => Err(format!("{labels:?}")),
            }
        })
        .await;
        let again = kit.there::<Secret>("cache-credentials").await.data.expect("values")["password"].clone();
        assert_eq!(again, password, "whoever changes labels changes no password");
    });
}

#[test]
fn nothing_is_written_once_everything_is_as_it_should_be() {
    kit_test(async |kit| {
        kit.install("1.0.0", "").await;
        kit.instance("cache", json!({ "tls": { "issuer": "builtin" } })).await;
        kit.becomes("cache", "Creating").await;
        kit.quiet("cache").await;
        let (before, times) = (versions(kit).await, kit.rendered("cache"));
        // whoever asks for a look gets one, and it finds nothing to do: it has ended once the next one has begun
        for turn in 1..=2_usize {
            let asked = json!({ "metadata": { "annotations": { "midship.dev/reconcile-at": turn.to_string() } } });
            kit.patch("cache", asked).await;
            wait_for("a look", SOON, async || match kit.rendered("cache") {
                now if now >= times + turn => Ok(()),
                now => Err(format!("rendered {now} times, {times} before")),
            })
            .await;
        }
        let of_others = |all: &[String]| -> Vec<String> {
            all.iter().filter(|line| !line.starts_with("Instance")).cloned().collect()
        };
        assert_eq!(of_others(&versions(kit).await), of_others(&before));
    });
}

#[test]
fn a_suspended_instance_is_left_as_it_is() {
    kit_test(async |kit| {
        kit.install("1.0.0", "").await;
        kit.instance("cache", json!({})).await;
        kit.becomes("cache", "Creating").await;
        kit.patch("cache", json!({ "spec": { "suspend": true } })).await;
        kit.becomes("cache", "Suspended").await;
        kit.patch("cache", parameter(50)).await;
        kit.becomes("cache", "Suspended").await;
        assert_eq!(connections(kit).await, "connections = 10\n");
        kit.patch("cache", json!({ "spec": { "suspend": null } })).await;
        kit.becomes("cache", "Creating").await;
        assert_eq!(connections(kit).await, "connections = 50\n");
    });
}
