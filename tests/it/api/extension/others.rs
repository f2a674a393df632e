//! Packages that somebody else wrote (`tests/packages`): installed while the controller runs, and what becomes of them.

use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use midship::api::conditions::find;
use midship::api::{Component, PodSet};
use serde_json::json;

use super::kit::{Kit, SOON, kit_test};
use crate::harness::wait_for;

async fn file(kit: &Kit<'_>, config: &str, name: &str) -> String {
    kit.there::<ConfigMap>(config).await.data.expect("files")[name].clone()
}

/// Waits until a file says something.
async fn says(kit: &Kit<'_>, config: &str, name: &str, text: &str) {
    wait_for(&format!("{config} to say {text}"), SOON, async || {
        let found = file(kit, config, name).await;
        if found.contains(text) { Ok(()) } else { Err(found) }
    })
    .await;
}

#[test]
fn two_components_of_which_one_knows_the_pods_of_the_other() {
    kit_test(async |kit| {
        let extension = kit.install_other("pooled").await;
        let summary = extension.status.expect("a status").summary;
        assert_eq!(summary.as_deref(), Some("1.6 · routed, bare"));
        let mut spec = json!({ "version": "1.6", "components": [] });
        kit.instance("cache", spec.clone()).await;
        kit.becomes("cache", "Creating").await;

        let server: Component = kit.there("cache-server").await;
        assert_eq!(server.spec.groups[0].replicas.or(server.spec.replicas), Some(3));
        let routes = file(kit, "cache-router-config", "routes.json").await;
        let routes: serde_json::Value = serde_json::from_str(&routes).expect("JSON");
        let third = format!("cache-server-2.cache-server-pods.{}.svc:11211", kit.scene.namespace);
        assert_eq!(routes["pools"]["all"]["servers"][2], third);
        // clients see the router's port and nothing that is internal
        let service: Service = kit.there("cache").await;
        let ports = service.spec.expect("a spec").ports.expect("ports");
        assert_eq!(ports.iter().map(|port| port.port).collect::<Vec<_>>(), [5000]);
        let admin: ConfigMap = kit.there("cache-admin").await;
        assert_eq!(admin.data.expect("values")["pods"], "cache-router-0,cache-router-1");
        // routers wait for servers
        kit.there::<PodSet>("cache-server").await;
        assert!(kit.scene.objects::<PodSet>().get_opt("cache-router").await.expect("it answers").is_none());

        spec["components"] = json!([{ "name": "server", "replicas": 4 }]);
        kit.patch("cache", json!({ "spec": spec })).await;
        says(kit, "cache-router-config", "routes.json", "cache-server-3.").await;
        // a topology that routers have no part in is refused: this package knows no way back
        kit.patch("cache", json!({ "spec": { "topology": "bare" } })).await;
        let status = kit.becomes("cache", "Immutable").await;
        let message = &find(&status.conditions, "Stalled").expect("somebody has to act").message;
        assert!(message.starts_with("spec.topology: "), "{message}");
    });
}

#[test]
fn shards_come_and_go_each_with_files_and_pods_of_its_own() {
    kit_test(async |kit| {
        kit.install_other("sharded").await;
        let shards = |names: &[&str]| {
            let groups: Vec<_> = names.iter().map(|name| json!({ "name": name, "replicas": 2 })).collect();
            json!({ "version": "4", "components": [{ "name": "data", "groups": groups }] })
        };
        kit.instance("docs", shards(&["shard-0", "shard-1"])).await;
        kit.becomes("docs", "Creating").await;
        for shard in ["shard-0", "shard-1"] {
            let config = file(kit, &format!("docs-data-{shard}-config"), "documents.ini").await;
            assert!(config.contains(&format!("shard = {shard}\n")) && config.contains("format = 4\n"), "{config}");
        }
        let keepers: Vec<String> =
            (0..3).map(|number| format!("docs-keeper-{number}.docs-keeper-pods.{}.svc", kit.scene.namespace)).collect();
        let connection: Secret = kit.there("docs-connection").await;
        let connection = connection.data.expect("values");
        assert_eq!(String::from_utf8_lossy(&connection["keepers"].0), keepers.join(","));
        // each member of the cluster has the same secret, made once
        let credentials: Secret = kit.there("docs-credentials").await;
        assert_eq!(credentials.data.expect("values")["cluster"].0.len(), 48);

        kit.patch("docs", json!({ "spec": shards(&["shard-0", "shard-1", "shard-2"]) })).await;
        says(kit, "docs-data-shard-2-config", "documents.ini", "shard = shard-2\n").await;
        wait_for("the third shard", SOON, async || {
            let groups = kit.there::<Component>("docs-data").await.spec.groups.len();
            if groups == 3 { Ok(()) } else { Err(format!("{groups} groups")) }
        })
        .await;

        let mut spec = shards(&["shard-0", "shard-1", "shard-2"]);
        let components = spec["components"].as_array_mut().expect("a list");
        components.push(json!({ "name": "keeper", "replicas": 4 }));
        kit.patch("docs", json!({ "spec": spec })).await;
        let status = kit.becomes("docs", "Invalid").await;
        let message = &find(&status.conditions, "Stalled").expect("somebody has to act").message;
        assert!(message.contains("4 is even, and a majority needs an odd number"), "{message}");
        let keepers = kit.there::<Component>("docs-keeper").await.spec;
        assert_eq!(keepers.groups[0].replicas.or(keepers.replicas), Some(3));
    });
}
