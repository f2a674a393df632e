//! Topologies that find their primaries by themselves: shards, which talk over TLS, come and go with their data, sentinels
//! replace a primary.

use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use midship::api::conditions::{READY, find};
use midship::api::instance::Phase;
use midship::api::{Backup, Component, Instance};
use serde_json::{Value, json};

use super::backup::drills;
use super::backup::vault::{IDENTITY, Vault};
use super::stage::{IN_TIME, NAME, Stage, stage_test};
use crate::harness::wait_for;

const KEYS: usize = 200;
/// What the command line waits at most.
const PATIENCE: &str = "480";
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
    let now = wait_for("the nodes to be counted", IN_TIME, async || counted(stage)).await;
    assert_eq!(now, (nodes, shards), "nothing changes once it runs");
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
    stage_test("redis/1.1.0", "redis-7.0", async |stage| {
        let mut spec = shards(&[1, 1, 1]);
        (spec["version"], spec["topology"], spec["deletionPolicy"]) = (json!("7.0"), json!("cluster"), json!("Delete"));
        spec["tls"] = json!({ "issuer": "builtin" });
        stage.create(spec).await;
        stage.is(Phase::Running, |_| true).await;
        grown(stage, 3, 3).await;
        let pod = format!("{NAME}-redis-shard-0-0");
        let fill = format!("for i in $(seq 1 {KEYS}); do echo SET key$i value$i; done | {CLIENT} -c | grep -c OK");
        wait_for("every key to be taken", IN_TIME, async || {
            let taken = redis(stage, &pod, &fill).await;
            if taken == KEYS.to_string() { Ok(()) } else { Err(taken) }
        })
        .await;

        // a shard gets slots of its own
        change(stage, shards(&[1, 1, 1, 1])).await;
        grown(stage, 4, 4).await;
        // a replica makes itself known, and goes again
        change(stage, shards(&[1, 1, 1, 2])).await;
        grown(stage, 5, 4).await;
        // whoever leaves is known no more
        change(stage, shards(&[1, 1, 1])).await;
        grown(stage, 3, 3).await;
        let password = stage.password().await;
        has_all(stage, &pod, &password).await;
        come_back_as_a_whole(stage).await;
    });
}

fn written() -> String {
    (1..=KEYS).map(|key| format!("value{key}")).collect::<Vec<_>>().join(" ")
}

/// Waits until each key has its value, wherever its slot is: shards hear of each other's slots within seconds.
async fn has_all(stage: &Stage<'_>, pod: &str, password: &str) {
    let read = format!(
        "export REDISCLI_AUTH={password}; for i in $(seq 1 {KEYS}); do echo GET key$i; done | {CLIENT} -c | grep value | xargs"
    );
    wait_for("every key to be there with its value", IN_TIME, async || {
        let found = stage.exec(pod, "redis", &["sh", "-c", &read])?;
        if found == written() { Ok(()) } else { Err(found) }
    })
    .await;
}

/// Shards whose slots are scattered by now are backed up, and restored into others.
async fn come_back_as_a_whole(stage: &Stage<'_>) {
    let vault = Vault::new(stage).await;
    vault.policy(stage, json!({})).await;
    // one that is known already is written to in the very first look at the operation
    vault.is_ready(stage).await;
    let made = stage.midship(&["backup", "create", NAME, "--timeout", PATIENCE]);
    assert!(made.code == 0, "{made}");
    let part = vault.backup(stage, "the last part", |one| has_group(one, "shard-2")).await;
    vault.backup(stage, "the first part", |one| has_group(one, "shard-0")).await;
    vault.backup(stage, "the part between", |one| has_group(one, "shard-1")).await;
    let listed = stage.midship(&["backup", "list", NAME]);
    for shard in ["shard-0 of 3", "shard-1 of 3", "shard-2 of 3"] {
        assert!(listed.code == 0 && listed.stdout.contains(shard), "{listed}");
    }
    assert!(!listed.stdout.contains("missing"), "{listed}");

    // into more shards they do not fit, and nothing is begun that would have to be cleared away
    let mut wide = shards(&[1, 1, 1, 1]);
    let more = json!({ "type": stage.type_, "extensionVersion": "1.1.0", "version": "7.0", "topology": "cluster",
        "deletionPolicy": "Delete", "tls": { "issuer": "builtin" },
        "restore": { "repository": part.spec.repository, "instance": { "name": NAME }, "identity": { "name": IDENTITY } } });
    wide.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    stage.make::<Instance>(json!({ "kind": "Instance", "metadata": { "name": "wide" }, "spec": wide })).await;
    let told = wait_for("the restore to be refused", IN_TIME, async || {
        let status = stage.instances().get("wide").await.map_err(|error| error.to_string())?.status.unwrap_or_default();
        let ready = find(&status.conditions, READY).map(|ready| ready.message.clone()).unwrap_or_default();
        if ready.contains("parts") { Ok(ready) } else { Err(ready) }
    })
    .await;
    let sentence =
        format!("the backup of {NAME} has 3 parts, one for each of its groups, and this instance has 4 groups");
    assert!(told.contains(&sentence), "{told}");
    let components = stage.scene.objects::<Component>().list(&ListParams::default()).await.expect("a list").items;
    assert!(components.iter().all(|component| component.spec.instance.as_str() != "wide"), "nothing was made of it");
    stage.instances().delete("wide", &DeleteParams::default()).await.expect("it can be deleted");

    // all of them are restored as a test beside that
    let scratch = drills::begin(stage, &vault).await;
    let told = vault.midship(stage, &["restore", "again", "--backup", &part.name_any(), "--timeout", PATIENCE]);
    assert!(told.code == 0 && told.stdout.contains("again serves"), "{told}");
    let status = stage.one_is("again", Phase::Running, |_| true).await;
    let restored = find(&status.conditions, "Restored").expect("it was restored");
    for shard in ["into shard-0", "into shard-1", "into shard-2"] {
        assert!(restored.message.contains(shard), "{restored:?}");
    }
    let proven = find(&status.conditions, "Proven").expect("it was checked");
    assert_eq!(proven.reason, "Checked", "{proven:?}");
    let password = stage.password_of("again").await;
    has_all(stage, "again-redis-shard-0-0", &password).await;
    for shard in ["shard-0", "shard-1", "shard-2"] {
        let proven = |one: &Backup| has_group(one, shard) && drills::is_proven(one);
        vault.backup(stage, "each part to be proven with the others", proven).await;
    }
    let told = drills::ended(stage, &scratch, "Restored").await;
    assert_eq!(told.failed_drills, []);
    stage
        .one_is(NAME, Phase::Running, |status| {
            status.backup.as_ref().is_some_and(|shown| shown.latest.is_some() && shown.latest == shown.latest_verified)
        })
        .await;
}

fn has_group(backup: &Backup, group: &str) -> bool {
    let labels = backup.status.as_ref().and_then(|status| status.labels.as_ref());
    labels.is_some_and(|labels| labels.get("midship.dev/group").is_some_and(|of| of == group))
}

/// Waits until each sentinel has heard of a replica and of another sentinel, which takes seconds: who knows of none replaces
/// nobody.
async fn know_each_other(stage: &Stage<'_>) {
    let ask = format!("REDISCLI_AUTH={} redis-cli -p 26379 sentinel master {NAME}", stage.password().await);
    wait_for("the sentinels to know whom there is", IN_TIME, async || {
        let pods = stage.pods().await;
        for pod in pods.iter().map(ResourceExt::name_any).filter(|name| name.contains("-sentinel-")) {
            let said = stage.exec(&pod, "sentinel", &["sh", "-c", &ask])?;
            let told: Vec<&str> = said.lines().map(str::trim).collect();
            let none = |what: &str| told.windows(2).any(|pair| pair == [what, "0"]);
            if none("num-slaves") || none("num-other-sentinels") {
                return Err(format!("{pod}: {said}"));
            }
        }
        Ok(())
    })
    .await;
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
        know_each_other(stage).await;
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
