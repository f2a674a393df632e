//! Operations on a Redis with TLS and what a user brings along: processes are restarted, roles handed over, pods come and
//! go, parameters change.

use std::collections::BTreeMap;
use std::time::Instant;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use midship::api::instance::Phase;
use midship::api::operation::OperationPhase;
use serde_json::json;

use super::stage::{IN_TIME, NAME, PATIENT, Stage, stage_test};
use crate::harness::wait_for;

const SERVER: &str = "redis";
const CA: &str = "/midship/tls/ca.crt";
/// With letters that mean something in a URI and in a file.
const PASSWORD: &str = "p@ss:w0rd/#1%";

#[test]
fn a_redis_with_tls_is_operated_from_its_creation_to_its_end() {
    stage_test("redis/1.1.0", "redis-7.0", async |stage| {
        own(stage).await;
        stage
            .create(json!({ "version": "7.0", "topology": "replication", "deletionPolicy": "Delete",
                "tls": { "issuer": "builtin" }, "credentials": { "secretName": "mine" }, "failover": { "timeout": PATIENT },
                "components": [{ "name": "redis", "replicas": 3, "storage": { "data": { "size": "32Mi" } },
                    "configFiles": { "users.acl": { "secret": { "name": "users", "key": "acl" } },
                        "redis.conf": { "configMap": { "name": "settings", "key": "conf" } } },
                    "resources": { "requests": { "cpu": "10m", "memory": "64Mi" }, "limits": { "memory": "128Mi" } } }] }))
            .await;
        let primary = stage.primary().await;
        wait_for("people to see it run", IN_TIME, async || {
            let table = stage.scene.kubectl(["get", "instances"]).output();
            let all = [primary.as_str(), "Running", "3/3"].iter().all(|part| table.stdout.contains(part));
            if all { Ok(()) } else { Err(table) }
        })
        .await;
        assert_eq!(redis(stage, &["set", "greeting", "hello"]).await, "OK");

        seen_by_people(stage, &primary);
        accounts(stage).await;
        restart(stage).await;
        crash(stage).await;
        switchover(stage).await;
        batch(stage).await;
        controller_dies(stage).await;
        parameters(stage).await;
        grow(stage).await;
        scale(stage).await;
        stop_and_start(stage).await;
        assert_eq!(redis(stage, &["get", "greeting"]).await, "hello");
        wait_for("accounts to outlive restarts and new pods", IN_TIME, async || reads(stage, "second").await).await;

        stage.delete().await;
        assert_eq!(stage.claims().await, Vec::<String>::new(), "its volumes went with it");
    });
}

/// What a user brings along: a password, accounts in a Secret, and settings in a ConfigMap.
async fn own(stage: &Stage<'_>) {
    let secret = |name: &str, key: &str, text: &str| {
        let data = json!({ key: text });
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "stringData": data })
    };
    stage.make::<Secret>(secret("mine", "password", PASSWORD)).await;
    stage.make::<Secret>(secret("users", "acl", &reader("first"))).await;
    let settings = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "settings" },
        "data": { "conf": "slowlog-max-len 77\nlist-compress-depth 1\n" } });
    stage.make::<ConfigMap>(settings).await;
}

/// An account that may read, as a line of the file of accounts.
fn reader(password: &str) -> String {
    format!("user reader on >{password} ~* &* -@all +@read +@connection\n")
}

/// What this account is answered.
async fn reads(stage: &Stage<'_>, password: &str) -> Result<String, String> {
    let pods = stage.pods().await;
    let pod = pods.iter().find(|pod| is_ready(pod)).ok_or_else(|| "no pod is ready".to_owned())?;
    let host = format!("{NAME}.{}.svc", stage.scene.namespace);
    let mut ask = vec!["redis-cli", "-h", host.as_str(), "--tls", "--cacert", CA, "--no-auth-warning"];
    ask.extend(["--user", "reader", "--pass", password, "get", "greeting"]);
    let said = stage.exec(&pod.name_any(), SERVER, &ask)?;
    if said == "hello" { Ok(said) } else { Err(said) }
}

/// Who may log in is taken over while it runs, and settings of the user's own hold.
async fn accounts(stage: &Stage<'_>) {
    assert_eq!(stage.password().await, PASSWORD);
    for (name, value) in [("slowlog-max-len", "77"), ("list-compress-depth", "1")] {
        assert!(redis(stage, &["config", "get", name]).await.ends_with(value), "{name}");
    }
    wait_for("an account to read", IN_TIME, async || reads(stage, "first").await).await;
    let restarts = stage.restarts().await;
    let changed = Patch::Merge(json!({ "stringData": { "acl": reader("second") } }));
    let secrets = stage.scene.objects::<Secret>();
    secrets.patch("users", &PatchParams::default(), &changed).await.expect("it can be changed");
    // who does not want to wait until somebody looks
    let touched = Patch::Merge(json!({ "metadata": { "annotations": { "example.com/touched": "yes" } } }));
    stage.instances().patch(NAME, &PatchParams::default(), &touched).await.expect("it can be touched");
    wait_for("the other password to be taken", IN_TIME, async || reads(stage, "second").await).await;
    let refused = reads(stage, "first").await.expect_err("it is another now");
    assert!(refused.contains("WRONGPASS") || refused.contains("NOAUTH"), "{refused}");
    assert_eq!(stage.restarts().await, restarts, "nothing was restarted for it");
}

/// One page tells how it is, and its own client opens with the password and the certificates it needs.
fn seen_by_people(stage: &Stage<'_>, primary: &str) {
    let page = stage.midship(&["describe", NAME]);
    assert_eq!(page.code, 0, "{page}");
    for told in [primary, "primary", "replica", "replication", "3/3", "data-shop-redis-0", "32Mi"] {
        assert!(page.stdout.contains(told), "{told}: {page}");
    }
    let said = stage.midship_with(&["connect", NAME, "--client"], "GET greeting\nROLE\n");
    assert!(said.code == 0 && said.stdout.contains("hello") && said.stdout.contains("master"), "{said}");
}

/// Pods and containers stay, processes are new, and the primary comes last.
async fn restart(stage: &Stage<'_>) {
    let primary = stage.primary().await;
    let (before, restarts) = (stage.identities(SERVER).await, stage.restarts().await);
    stage.ask("restart", json!({ "type": "Restart" })).await;
    stage.ask("waits", json!({ "type": "Reload" })).await;
    wait_for("the second to say for whom it waits", IN_TIME, async || {
        let status =
            stage.operations().get("waits").await.map_err(|error| error.to_string())?.status.unwrap_or_default();
        let message = status.message.clone().unwrap_or_default();
        let over = status.phase == Some(OperationPhase::Succeeded);
        if over || message.contains("waits for Operation restart") { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
    let status = stage.ends("restart", OperationPhase::Succeeded).await;
    let steps: Vec<&str> = status.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(steps.last().copied(), Some(format!("restart {primary}").as_str()), "{steps:?}");
    assert!(
        status
            .steps
            .iter()
            .all(|step| step.attempts == 1 && step.message.as_deref().is_some_and(|it| it.contains("PID")))
    );
    stage.ends("waits", OperationPhase::Succeeded).await;
    assert_eq!(stage.identities(SERVER).await, before, "pods and containers are the same");
    wait_for("every process to be a new one", IN_TIME, async || {
        let now = stage.restarts().await;
        if now.iter().all(|(pod, count)| *count == restarts[pod] + 1) { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await;
    stage.runs().await;
}

/// A process that is killed is up again; the pod does not notice.
async fn crash(stage: &Stage<'_>) {
    let status = stage.runs().await;
    let replica = status.members.iter().find(|member| Some(&member.name) != status.primary.as_ref()).expect("one");
    let (before, restarts) = (stage.identities(SERVER).await, stage.restarts().await);
    let killed = Instant::now();
    stage
        .exec(
            &replica.name,
            SERVER,
            &["sh", "-c", "kill -9 $(cat /proc/[0-9]*/stat | grep '(redis-server)' | cut -d' ' -f1)"],
        )
        .expect("killed");
    wait_for("the process to be up again", IN_TIME, async || {
        let now = stage.restarts().await;
        if now[&replica.name] == restarts[&replica.name] + 1 { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await;
    println!("a killed process was up again, and that was known, in {:.1} s", killed.elapsed().as_secs_f64());
    stage.runs().await;
    assert_eq!(stage.identities(SERVER).await, before);
}

/// By the command, which follows it to its end.
async fn switchover(stage: &Stage<'_>) {
    let status = stage.runs().await;
    let primary = status.primary.clone().expect("one");
    let heir = status.members.iter().find(|member| member.name != primary).expect("a replica").name.clone();
    let begun = Instant::now();
    let told = stage.midship(&["switchover", NAME, "--to", &heir]);
    assert!(told.code == 0 && told.stdout.contains("succeeded"), "{told}");
    println!("a switchover took {:.1} s", begun.elapsed().as_secs_f64());
    // each pod says its role by itself
    stage
        .is(Phase::Running, |status| {
            let is = |name: &str| if name == heir { "primary" } else { "replica" };
            status.primary.as_ref() == Some(&heir)
                && status.members.iter().all(|member| member.role.as_deref() == Some(is(&member.name)))
        })
        .await;
    let refused = stage.refused("again", json!({ "type": "Switchover", "switchover": { "from": primary } })).await;
    assert!(refused.contains("has the role replica now"), "{refused}");
}

/// Replicas are stopped two at a time, leave their Service, and start again.
async fn batch(stage: &Stage<'_>) {
    let restarts = stage.restarts().await;
    let target = json!({ "role": "replica" });
    let stop = json!({ "type": "Process", "target": target, "process": { "action": "Stop", "concurrency": 2 } });
    let status = stage.done("halt", stop).await;
    assert_eq!(status.progress.as_deref(), Some("2/2"));
    let stopped: Vec<String> =
        status.steps.iter().filter_map(|step| step.name.strip_prefix("stop ")).map(str::to_owned).collect();
    wait_for("the stopped ones to leave their Service", IN_TIME, async || {
        let pods = stage.pods().await;
        let ready: Vec<String> = pods.iter().filter(|pod| is_ready(pod)).map(ResourceExt::name_any).collect();
        if ready.iter().any(|pod| stopped.contains(pod)) { Err(format!("{ready:?}")) } else { Ok(()) }
    })
    .await;
    let start = json!({ "type": "Process", "target": { "pods": stopped }, "process": { "action": "Start", "concurrency": 2, "interval": "1s" } });
    stage.done("go", start).await;
    stage.runs().await;
    tell_of_a_start(stage, &restarts, &stopped).await;
}

/// Waits until each of these pods tells that its process was started again since.
async fn tell_of_a_start(stage: &Stage<'_>, since: &BTreeMap<String, u64>, pods: &[String]) {
    wait_for("pods to tell of a start", IN_TIME, async || {
        let now = stage.restarts().await;
        if pods.iter().all(|pod| now[pod] > since[pod]) { Ok(()) } else { Err(format!("{now:?} after {since:?}")) }
    })
    .await;
}

/// A controller that is killed while it works, and one that starts, touch no pod; the operation goes on.
async fn controller_dies(stage: &mut Stage<'_>) {
    let before = stage.identities(SERVER).await;
    let restarts = stage.restarts().await;
    let batch = json!({ "action": "Restart", "interval": "3s" });
    stage.ask("outlives", json!({ "type": "Process", "process": batch })).await;
    wait_for("it to have begun", IN_TIME, async || {
        let status =
            stage.operations().get("outlives").await.map_err(|error| error.to_string())?.status.unwrap_or_default();
        if status.steps.iter().any(|step| step.phase == OperationPhase::Succeeded) {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await;
    stage.kill_controller();
    stage.start_controller();
    let status = stage.ends("outlives", OperationPhase::Succeeded).await;
    assert!(status.steps.iter().all(|step| step.attempts == 1), "{:?}", status.steps);
    wait_for("every process to have been restarted once", IN_TIME, async || {
        let now = stage.restarts().await;
        if now.iter().all(|(pod, count)| *count == restarts[pod] + 1) {
            Ok(())
        } else {
            Err(format!("{now:?} after {restarts:?}"))
        }
    })
    .await;
    stage.runs().await;
    assert_eq!(stage.identities(SERVER).await, before);
}

/// One parameter is taken over while it runs, one with a restart of the processes, and an invalid one is refused.
async fn parameters(stage: &Stage<'_>) {
    let configure = |parameters: serde_json::Value, more: serde_json::Value| {
        let mut spec = json!({ "type": "Configure", "configure": { "component": "redis", "parameters": parameters } });
        spec.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        spec
    };
    let (before, restarts) = (stage.identities(SERVER).await, stage.restarts().await);
    stage.done("hot", configure(json!({ "maxmemory-policy": "allkeys-lru" }), json!({}))).await;
    wait_for("it to be in effect", IN_TIME, async || {
        let answer = redis(stage, &["config", "get", "maxmemory-policy"]).await;
        if answer.ends_with("allkeys-lru") { Ok(()) } else { Err(answer) }
    })
    .await;
    assert_eq!(stage.restarts().await, restarts, "nothing was restarted for it");
    stage.done("cold", configure(json!({ "databases": 32 }), json!({}))).await;
    // the Service has to find whoever was restarted last
    wait_for("the other one to be in effect", IN_TIME, async || {
        let answer = redis(stage, &["config", "get", "databases"]).await;
        if answer.ends_with("32") { Ok(()) } else { Err(answer) }
    })
    .await;
    tell_of_a_start(stage, &restarts, &restarts.keys().cloned().collect::<Vec<_>>()).await;
    assert_eq!(stage.identities(SERVER).await, before, "processes were restarted, not pods");
    let wrong = configure(json!({ "databases": 0 }), json!({ "onFailure": "Rollback" }));
    let refused = stage.refused("wrong", wrong).await;
    assert!(refused.contains("databases") && refused.ends_with("the change was taken back"), "{refused}");
    assert_eq!(stage.instance().await.spec.components[0].parameters.as_ref().expect("parameters")["databases"], 32);
}

/// Volumes grow under running processes, whose pods stay.
async fn grow(stage: &Stage<'_>) {
    let primary = stage.primary().await;
    let (pods, restarts) = (stage.identities(SERVER).await, stage.restarts().await);
    let before = kibibytes(stage, &primary).await;
    let larger = json!({ "component": "redis", "sizes": { "data": "96Mi" } });
    stage.done("grow", json!({ "type": "VolumeExpand", "volumeExpand": larger })).await;
    wait_for("every claim to say that it has grown", IN_TIME, async || {
        let said = stage.scene.kubectl(["get", "pvc", "-o", "jsonpath={.items[*].status.capacity.storage}"]).output();
        let grown = said.stdout.split_whitespace().all(|size| size == "96Mi");
        if said.code == 0 && grown { Ok(()) } else { Err(said) }
    })
    .await;
    wait_for("the process to have the room", IN_TIME, async || {
        let now = kibibytes(stage, &primary).await;
        if now >= before + 48 * 1024 { Ok(()) } else { Err(format!("{now} KiB, and before {before}")) }
    })
    .await;
    assert_eq!(stage.identities(SERVER).await, pods, "pods and containers are the same");
    assert_eq!(stage.restarts().await, restarts, "nothing was restarted for it");
    stage.runs().await;
}

/// The size of the file system that the process keeps its data on.
async fn kibibytes(stage: &Stage<'_>, pod: &str) -> u64 {
    let ask = ["df", "-k", "--output=size", "/data"];
    let said = stage.answer(&stage.scene.namespace, pod, SERVER, &ask).await;
    said.split_whitespace().last().and_then(|size| size.parse().ok()).unwrap_or_else(|| panic!("{said:?}"))
}

/// One more pod, then a chosen one leaves; one that is not there is refused.
async fn scale(stage: &Stage<'_>) {
    let to = |replicas: u16, offline: &[u16]| {
        let scale = json!({ "component": "redis", "replicas": replicas, "offline": offline });
        json!({ "type": "HorizontalScale", "horizontalScale": scale })
    };
    stage.done("out", to(4, &[])).await;
    assert_eq!(stage.pods().await.len(), 4);
    let refused = stage.refused("nobody", to(3, &[9])).await;
    assert!(refused.starts_with("there is no ordinal \"9\""), "{refused}");
    let primary = stage.primary().await;
    let chosen: u16 = if primary.ends_with("-1") { 2 } else { 1 };
    stage.done("in", to(3, &[chosen])).await;
    let names: Vec<String> = stage.pods().await.iter().map(ResourceExt::name_any).collect();
    assert!(names.len() == 3 && !names.iter().any(|name| name.ends_with(&format!("-{chosen}"))), "{names:?}");
}

/// No pod is left, volumes stay; and all is there again, also where it is kept in another way from then on.
async fn stop_and_start(stage: &Stage<'_>) {
    stage.done("stop", json!({ "type": "Stop" })).await;
    assert_eq!(stage.pods().await.len(), 0);
    assert!(stage.claims().await.len() >= 3);
    let mut components = stage.instance().await.spec.components;
    components[0].parameters.get_or_insert_default().insert("appendonly".to_owned(), json!(true));
    let changed = Patch::Merge(json!({ "spec": { "components": components } }));
    stage.instances().patch(NAME, &PatchParams::default(), &changed).await.expect("it can be changed");
    stage.done("start", json!({ "type": "Start" })).await;
    assert!(redis(stage, &["config", "get", "appendonly"]).await.ends_with("yes"));
    assert_eq!(redis(stage, &["get", "greeting"]).await, "hello", "a server reads nothing but the files it is to keep");
    let told = stage.midship(&["describe", &format!("inst/{NAME}")]);
    assert!(told.code == 0 && told.stdout.contains("Start"), "{told}");
    let suspended = json!({ "spec": { "ttl": "0s" } });
    stage
        .operations()
        .patch("stop", &PatchParams::default(), &Patch::Merge(&suspended))
        .await
        .expect("its time can be changed");
    wait_for("an operation whose time is over to be gone", IN_TIME, async || {
        match stage.operations().get_opt("stop").await {
            Ok(None) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

fn is_ready(pod: &k8s_openapi::api::core::v1::Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True")
}

/// What the server behind the instance's Service answers over TLS.
async fn redis(stage: &Stage<'_>, command: &[&str]) -> String {
    let password = stage.password().await;
    let mut ask = vec!["redis-cli", "-h", NAME, "--tls", "--cacert", CA, "--no-auth-warning", "-a", password.as_str()];
    ask.extend(command);
    wait_for("an answer", IN_TIME, async || {
        let pods = stage.pods().await;
        let pod = pods.iter().find(|pod| is_ready(pod)).ok_or_else(|| "no pod is ready".to_owned())?;
        stage.exec(&pod.name_any(), SERVER, &ask)
    })
    .await
}
