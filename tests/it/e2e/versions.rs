//! Versions and packages that no other test starts: each comes up from its package and answers its own client.

use std::path::Path;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use midship::api::instance::Phase;
use serde_json::{Value, json};

use super::stage::{IN_TIME, NAME, PATIENT, Stage, package_test, stage_test};
use crate::harness::wait_for;

/// Little of everything.
fn small(component: &str, replicas: u32, memory: &str) -> Value {
    json!([{ "name": component, "replicas": replicas, "storage": { "data": { "size": "256Mi" } },
        "resources": { "requests": { "cpu": "10m", "memory": memory }, "limits": { "memory": "256Mi" } } }])
}

/// The first pod of the instance.
async fn first(stage: &Stage<'_>) -> String {
    stage.pods().await.first().expect("a pod").name_any()
}

/// How much memory a container may take, as its node has set it.
fn memory(pod: &Pod, container: &str) -> Option<String> {
    let states = pod.status.as_ref()?.container_statuses.as_ref()?;
    let state = states.iter().find(|state| state.name == container)?;
    Some(state.resources.as_ref()?.limits.as_ref()?.get("memory")?.0.clone())
}

async fn redis_answers(stage: &Stage<'_>, version: &str) {
    let spec = json!({ "version": version, "topology": "standalone", "deletionPolicy": "Delete",
        "components": small("redis", 1, "32Mi") });
    stage.create(spec).await;
    let primary = stage.primary().await;
    let ask = async |words: &str| {
        let script = format!("REDISCLI_AUTH=$(cat /midship/secrets/password) redis-cli {words}");
        stage.answer(&stage.scene.namespace, &primary, "redis", &["sh", "-c", &script]).await
    };
    assert_eq!(ask("set greeting hello").await, "OK");
    assert_eq!(ask("get greeting").await, "hello");
    let server = ask("info server").await;
    let of_this_version = format!("redis_version:{version}.");
    assert!(server.lines().any(|line| line.starts_with(&of_this_version)), "{server}");
    stage.delete().await;
    assert_eq!(stage.claims().await, Vec::<String>::new(), "its volumes went with it");
}

#[test]
fn the_newest_redis_that_there_is_an_image_of_answers_its_own_client() {
    stage_test("redis/1.1.0", "redis-8.0", async |stage| redis_answers(stage, "8.0").await);
}

#[test]
fn a_memcached_keeps_what_it_is_given() {
    stage_test("memcached/1.0.0", "memcached-1.6", async |stage| {
        let resources = json!({ "requests": { "cpu": "10m", "memory": "32Mi" }, "limits": { "memory": "96Mi" } });
        stage
            .create(json!({ "version": "1.6", "deletionPolicy": "Delete",
                "components": [{ "name": "memcached", "replicas": 1, "resources": resources }] }))
            .await;
        stage.is(Phase::Running, |_| true).await;
        let pod = first(stage).await;
        // it has no client but its protocol
        let talk =
            "exec 3<>/dev/tcp/127.0.0.1/11211; printf 'set a 0 0 5\\r\\nhello\\r\\nget a\\r\\nquit\\r\\n' >&3; cat <&3";
        let said = stage.answer(&stage.scene.namespace, &pod, "memcached", &["bash", "-c", talk]).await;
        let lines: Vec<&str> = said.lines().map(str::trim_end).collect();
        assert_eq!(lines, ["STORED", "VALUE a 0 5", "hello", "END"]);
        stage.delete().await;
    });
}

/// A middleware that nothing in this repository but its package knows (`tests/packages/valkey`, written from the
/// documentation alone): it comes up, is reconfigured, hands over, and loses nothing by it.
#[test]
fn a_valkey_known_by_its_package_alone_is_reconfigured_grows_and_hands_over() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/packages/valkey/1.0.0");
    package_test(&package, "valkey-8.0", async |stage| {
        let spec = json!({ "version": "8.0", "deletionPolicy": "Delete", "failover": { "timeout": PATIENT },
            "components": [{ "name": "server", "replicas": 2 }] });
        stage.create(spec).await;
        let primary = stage.primary().await;
        let ask = async |pod: &str, words: &str| {
            let script = format!("REDISCLI_AUTH=$(cat /midship/secrets/password) valkey-cli {words}");
            stage.answer(&stage.scene.namespace, pod, "server", &["sh", "-c", &script]).await
        };
        assert_eq!(ask(&primary, "set greeting hello").await, "OK");

        let parameters = json!({ "spec": { "components": [{ "name": "server", "replicas": 2,
            "parameters": { "maxmemory-policy": "allkeys-lru" } }] } });
        stage.instances().patch(NAME, &PatchParams::default(), &Patch::Merge(&parameters)).await.expect("it is legal");
        wait_for("the server to know the parameter", IN_TIME, async || {
            let found = ask(&primary, "config get maxmemory-policy").await;
            if found.ends_with("allkeys-lru") { Ok(()) } else { Err(found) }
        })
        .await;

        // more memory, and what is set by it, while pods and processes stay
        let before = (stage.identities("server").await, stage.restarts().await);
        let larger = json!({ "spec": { "components": [{ "name": "server", "replicas": 2,
            "parameters": { "maxmemory-policy": "allkeys-lru" }, "resources": { "limits": { "memory": "96Mi" } } }] } });
        stage.instances().patch(NAME, &PatchParams::default(), &Patch::Merge(&larger)).await.expect("it is legal");
        wait_for("the pods to have more memory", IN_TIME, async || {
            let found: Vec<_> = stage.pods().await.iter().map(|pod| memory(pod, "server")).collect();
            if found.iter().all(|most| most.as_deref() == Some("96Mi")) { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
        wait_for("the server to use it", IN_TIME, async || {
            let found = ask(&primary, "config get maxmemory").await;
            if found.ends_with("\n70464307") { Ok(()) } else { Err(found) }
        })
        .await;
        assert_eq!(stage.primary().await, primary);
        assert_eq!((stage.identities("server").await, stage.restarts().await), before);

        let told = stage.midship(&["switchover", NAME]);
        assert!(told.code == 0, "{told}");
        stage.is(Phase::Running, |status| status.primary.as_ref().is_some_and(|now| *now != primary)).await;
        let heir = stage.primary().await;
        assert_eq!(ask(&heir, "get greeting").await, "hello");
        assert_eq!(ask(&heir, "set answer 42").await, "OK");
        wait_for("the old primary to follow", IN_TIME, async || {
            let found = ask(&primary, "get answer").await;
            if found == "42" { Ok(()) } else { Err(found) }
        })
        .await;
        stage.delete().await;
    });
}

/// A program that does nothing, and says on its volume that it was told before it was stopped.
const PACKAGE: &str = r#"type: parting
version: 1.0.0
versions: [{version: "1.36", image: "docker.io/library/busybox:1.36"}]
components:
  sitter:
    command: [sh, -c, "trap 'echo stopped >>/data/said; exit 0' TERM; echo began >>/data/said; while :; do sleep 1; done"]
    volumes: {data: {path: /data, size: 64Mi}}
    probes: {ready: {steps: [{exec: ["true"]}]}}
    actions:
      beforeStop: {timeout: 20s, steps: [{exec: [sh, -c, "sleep 2; echo parted >>/data/said"]}]}
"#;

#[test]
fn a_process_is_told_before_its_pod_goes_and_only_then_stopped() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("extension.yaml"), PACKAGE).expect("it can be written");
    package_test(folder.path(), "busybox", async |stage| {
        stage.create(json!({ "version": "1.36", "deletionPolicy": "Delete" })).await;
        stage.is(Phase::Running, |_| true).await;
        let before = stage.identities("sitter").await;
        let pod = first(stage).await;
        let pods = stage.scene.objects::<k8s_openapi::api::core::v1::Pod>();
        pods.delete(&pod, &DeleteParams::default()).await.expect("it can be deleted");
        wait_for("another pod in its place", IN_TIME, async || {
            let now = stage.identities("sitter").await;
            if now.get(&pod).is_some_and(|one| Some(one) != before.get(&pod)) {
                Ok(())
            } else {
                Err(format!("{now:?}"))
            }
        })
        .await;
        stage.is(Phase::Running, |_| true).await;
        let said = wait_for("the new process to have begun", IN_TIME, async || {
            let said = stage.exec(&pod, "sitter", &["cat", "/data/said"])?;
            if said.lines().count() == 4 { Ok(said) } else { Err(said) }
        })
        .await;
        assert_eq!(said.lines().collect::<Vec<_>>(), ["began", "parted", "stopped", "began"], "{NAME}");
        stage.delete().await;
    });
}
