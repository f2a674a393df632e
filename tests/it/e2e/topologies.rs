//! Topologies that find their primaries by themselves: shards, which talk over TLS, come and go with their data, sentinels
//! replace a primary.

use kube::api::{Patch, PatchParams};
use midship::api::instance::Phase;
use serde_json::{Value, json};

use super::stage::{IN_TIME, NAME, Stage, stage_test};
use crate::harness::wait_for;

const KEYS: usize = 200;
/// As people talk to shards.
const CLIENT: &str = "redis-cli --tls --cacert /midship/tls/ca.crt";

fn small(more: Value) -> Value {
    let mut component = json!({ "name": "redis", "storage": { "data": { "size": "32Mi" } },
        "resources": { "requests": { "cpu": "10m", "memory": "64Mi" }, "limits": { "memory": "128Mi" } } });
    for (key, value) in more.as_object().cloned().unwrap_or_default() {
        component[key] = value;
    }
    json!({ "components": [component] })
}

fn shards(replicas: &[i32]) -> Value {
    let group = |(number, replicas): (usize, &i32)| json!({ "name": format!("shard-{number}"), "replicas": replicas });
    let groups: Vec<Value> = replicas.iter().enumerate().map(group).collect();
    small(json!({ "groups": groups }))
}

async fn redis(stage: &Stage<'_>, pod: &str, script: &str) -> String {
    let password = stage.password().await;
    let script = format!("export REDISCLI_AUTH={password}; {script}");
    stage.answer(&stage.scene.namespace, pod, "redis", &["sh", "-c", &script]).await
}

async fn change(stage: &Stage<'_>, spec: Value) {
    let patch = Patch::Merge(json!({ "spec": spec }));
    stage.instances().patch(NAME, &PatchParams::default(), &patch).await.expect("it can be changed");
}

/// Waits until the cluster has so many nodes, so many of them with slots, and the instance says that it runs.
async fn grown(stage: &Stage<'_>, nodes: usize, shards: usize) {
    wait_for(&format!("{nodes} nodes, {shards} of them with slots"), IN_TIME, async || {
        let seen = counted(stage);
        if seen.as_ref() == Ok(&(nodes, shards)) { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
    stage.is(Phase::Running, |_| true).await;
    assert_eq!(counted(stage), Ok((nodes, shards)), "nothing changes once it runs");
}

/// How many nodes the cluster knows, and how many of them have slots.
fn counted(stage: &Stage<'_>) -> Result<(usize, usize), String> {
    let pod = format!("{NAME}-redis-shard-0-0");
    let ask = format!("REDISCLI_AUTH=$(cat /midship/secrets/password) {CLIENT} cluster nodes");
    let nodes = stage.exec(&pod, "redis", &["sh", "-c", &ask])?;
    let with_slots = nodes.lines().filter(|line| line.split(' ').count() > 8).count();
    Ok((nodes.lines().count(), with_slots))
}

#[test]
fn shards_come_and_go_and_their_keys_stay() {
    stage_test("redis/1.0.0", "redis-7.0", async |stage| {
        let mut spec = shards(&[1, 1, 1]);
        (spec["version"], spec["topology"], spec["deletionPolicy"]) = (json!("7.0"), json!("cluster"), json!("Delete"));
        spec["tls"] = json!({ "issuer": "builtin" });
        stage.create(spec).await;
        stage.is(Phase::Running, |_| true).await;
        grown(stage, 3, 3).await;
        let pod = format!("{NAME}-redis-shard-0-0");
        let fill = format!("for i in $(seq 1 {KEYS}); do echo SET key$i value$i; done | {CLIENT} -c | grep -c OK");
        assert_eq!(redis(stage, &pod, &fill).await, KEYS.to_string());

        // a shard gets slots of its own
        change(stage, shards(&[1, 1, 1, 1])).await;
        grown(stage, 4, 4).await;
        // a replica makes itself known, and goes again
        change(stage, shards(&[1, 1, 1, 2])).await;
        grown(stage, 5, 4).await;
        // whoever leaves is known no more
        change(stage, shards(&[1, 1, 1])).await;
        grown(stage, 3, 3).await;
        let read = format!("for i in $(seq 1 {KEYS}); do echo GET key$i; done | {CLIENT} -c | grep -c value");
        assert_eq!(redis(stage, &pod, &read).await, KEYS.to_string(), "no key went with the shard");
    });
}

#[test]
fn sentinels_replace_a_primary_that_is_gone_and_it_is_shown() {
    stage_test("redis/1.0.0", "redis-7.0", async |stage| {
        let mut spec = small(json!({ "replicas": 2 }));
        (spec["version"], spec["topology"], spec["deletionPolicy"]) =
            (json!("7.0"), json!("sentinel"), json!("Delete"));
        // whoever is held up for some seconds on a busy machine is not down
        let sentinels = json!({ "name": "sentinel", "parameters": { "down-after": "10s" } });
        spec["components"].as_array_mut().expect("a list").push(sentinels);
        stage.create(spec).await;
        let first = stage.primary().await;
        assert_eq!(redis(stage, &first, "redis-cli set greeting hello").await, "OK");
        // not merely an end of the process, which would be started again sooner than anybody misses it
        stage
            .done("halt", json!({ "type": "Process", "target": { "pods": [first] }, "process": { "action": "Stop" } }))
            .await;
        let second = wait_for("another primary to be shown", IN_TIME, async || {
            let primary = stage.instance().await.status.unwrap_or_default().primary;
            primary.filter(|primary| *primary != first).ok_or_else(|| "nobody else leads".to_owned())
        })
        .await;
        assert_eq!(redis(stage, &second, "redis-cli get greeting").await, "hello");
        stage
            .done("go", json!({ "type": "Process", "target": { "pods": [first] }, "process": { "action": "Start" } }))
            .await;
        assert_eq!(stage.runs().await.primary, Some(second), "whoever comes back follows");
    });
}
