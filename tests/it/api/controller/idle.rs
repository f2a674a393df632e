//! What a controller costs: with nothing to do one small write every two seconds, and little memory; and never more requests
//! than it was allowed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use midship::api::{GitSource, Kind};
use serde_json::{Value, json};

use super::account::Account;
use super::door::Door;
use super::process::{Controller, SOON};
use super::scratch::scratch_test;
use super::{create, git_source, readiness, repository};
use crate::harness::{api_test, install_definitions, wait_for};

const IDLE: Duration = Duration::from_secs(20);
/// How often the lease is renewed.
const RENEWED_EVERY: Duration = Duration::from_secs(2);
/// What a debug build may hold: most of it are the pages of a program without optimisation.
const MOST_MIB: f64 = 120.0;

#[test]
fn an_idle_controller_writes_nothing_but_its_lease() {
    scratch_test(async |scratch| {
        install_definitions(&scratch.client).await;
        let account = Account::new(&scratch.client, scratch.namespace, "midship").await;
        account.grant_everywhere(json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }])).await;
        let folder = tempfile::tempdir().expect("a folder");
        let config = account.kubeconfig(&scratch.kubeconfig(), &folder.path().join("kubeconfig"));
        let (_repository, url) = repository(scratch.namespace);
        create::<GitSource>(&scratch.client, scratch.namespace, git_source("quiet", &url)).await;

        let controller = Controller::start("idle", &config, &["--lease-namespace", scratch.namespace]);
        controller.ready(SOON).await;
        let sources: kube::Api<GitSource> = kube::Api::namespaced(scratch.client.clone(), scratch.namespace);
        // where the record is comes last in the status
        wait_for("the repository to be applied and recorded", SOON, async || {
            let source = sources.get("quiet").await.map_err(|error| error.to_string())?;
            readiness(&source)?;
            let told = source.status.and_then(|status| status.audit);
            if told.as_ref().is_some_and(|told| told.commit.is_some()) { Ok(()) } else { Err(format!("{told:?}")) }
        })
        .await;
        let user = format!("system:serviceaccount:{}:midship", scratch.namespace);
        let written = |known: usize| -> (Vec<Value>, Vec<Value>) {
            let written = scratch.audit().split_off(known).into_iter().filter(|entry| is_write(entry, &user));
            written.partition(|entry| entry["objectRef"]["resource"] == "leases")
        };
        // nothing begins before the lease was renewed again: by then the server has written down what came before
        let before = scratch.audit().len();
        wait_for(
            "the next renewal",
            SOON,
            async || {
                if written(before).0.is_empty() { Err("none yet") } else { Ok(()) }
            },
        )
        .await;
        let (known, since) = (scratch.audit().len(), Instant::now());
        // this is no wait for something to happen: nothing may happen for that long
        tokio::time::sleep(IDLE).await;
        let (leases, others) = written(known);
        let elapsed = since.elapsed();

        assert!(others.is_empty(), "{others:#?}");
        eprintln!("in {elapsed:?}: {} renewals of the lease, and nothing else", leases.len());
        let most = usize::try_from(elapsed.as_secs() / RENEWED_EVERY.as_secs()).expect("a small number") + 1;
        assert!((1..=most).contains(&leases.len()), "{} renewals in {elapsed:?}", leases.len());

        let mut watched: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for entry in scratch.audit() {
            if entry["user"]["username"] == user.as_str() && entry["verb"] == "watch" {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                // Secrets of ours and those of others are told apart: none is in both
                let others = text(&entry["requestURI"]).contains("managed-by%21%3D");
                let what = text(&entry["objectRef"]["resource"]) + if others { " of others" } else { "" };
                let open = watched.entry(what).or_default();
                // the server ends one by itself when a definition is new
                if entry["stage"] == "ResponseComplete" {
                    open.remove(&text(&entry["auditID"]));
                } else {
                    open.insert(text(&entry["auditID"]));
                }
            }
        }
        assert!(watched.len() > Kind::ALL.len(), "{watched:?}");
        watched.retain(|_, watches| watches.len() > 1);
        assert!(watched.is_empty(), "one watch of each kind is enough for all controllers: {watched:?}");

        let mib = controller.resident_mib();
        eprintln!("resident memory: {mib:.1} MiB");
        assert!(mib < MOST_MIB, "{mib:.1} MiB");
    });
}

/// Requests per second, and at once, that the controller is told.
const QPS: u32 = 4;
/// So many requests tell whether it keeps to that: without a limit they come within a second.
const MANY: usize = 20;

#[test]
fn requests_keep_to_the_rate_that_was_chosen() {
    api_test(async |scene| {
        let door = Door::open(&scene.client, &scene.kubeconfig()).await;
        let (namespace, seen) = (scene.namespace.clone(), Arc::new(Mutex::new(Vec::new())));
        let (noted, inside) = (seen.clone(), format!("/namespaces/{namespace}/"));
        door.judge(move |_, path| {
            // what is asked at the start has no limit; all of this has
            if path.contains(&inside) && !path.contains("/leases") {
                noted.lock().expect("nobody panicked").push(Instant::now());
            }
            None
        });
        let rate = QPS.to_string();
        let args = ["--namespaces", &namespace, "--lease-namespace", &namespace, "--qps", &rate, "--burst", &rate];
        let started = Instant::now();
        let _controller = Controller::start("slow", &door.kubeconfig, &args);
        let seen = wait_for("the watches to begin", SOON, async || {
            let seen = seen.lock().expect("nobody panicked").clone();
            if seen.len() >= MANY { Ok(seen) } else { Err(format!("{} requests", seen.len())) }
        })
        .await;
        for (number, at) in seen.iter().enumerate() {
            let others = u32::try_from(number + 1).expect("a small number").saturating_sub(QPS);
            let earliest = Duration::from_secs(1) * others / QPS;
            let after = at.duration_since(started);
            assert!(after >= earliest, "request {number} came after {after:?}, and not before {earliest:?}");
        }
    });
}

/// What an idle controller may hold, as people run it.
const TARGET_MIB: f64 = 30.0;

#[test]
fn bench_an_idle_controller_is_small() {
    scratch_test(async |scratch| {
        install_definitions(&scratch.client).await;
        let controller = Controller::start("idle", &scratch.kubeconfig(), &["--lease-namespace", scratch.namespace]);
        controller.ready(SOON).await;
        // no wait for something to happen: what was needed to start is given back meanwhile
        tokio::time::sleep(IDLE).await;
        let mib = controller.resident_mib();
        println!("resident memory of an idle controller: {mib:.1} MiB, {:.2} × the target", mib / TARGET_MIB);
    });
}

fn is_write(entry: &Value, user: &str) -> bool {
    let writes = ["create", "update", "patch", "delete", "deletecollection"];
    entry["user"]["username"] == user && entry["verb"].as_str().is_some_and(|verb| writes.contains(&verb))
}
