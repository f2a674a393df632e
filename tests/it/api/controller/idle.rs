//! A controller with nothing to do costs the cluster one small write every two seconds, and itself little memory.

use std::time::Duration;

use midship::api::GitSource;
use serde_json::{Value, json};

use super::account::Account;
use super::process::{Controller, SOON};
use super::scratch::scratch_test;
use super::{create, git_source, readiness, repository};
use crate::harness::{install_definitions, wait_for};

const IDLE: Duration = Duration::from_secs(20);
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
        wait_for("the repository to be applied", SOON, async || {
            readiness(&sources.get("quiet").await.map_err(|error| error.to_string())?)
        })
        .await;
        // this is no wait for something to happen: nothing may happen for that long
        tokio::time::sleep(Duration::from_secs(2)).await;
        let known = scratch.audit().len();
        tokio::time::sleep(IDLE).await;

        let user = format!("system:serviceaccount:{}:midship", scratch.namespace);
        let written: Vec<Value> =
            scratch.audit().split_off(known).into_iter().filter(|entry| is_write(entry, &user)).collect();
        let (leases, others): (Vec<&Value>, Vec<&Value>) =
            written.iter().partition(|entry| entry["objectRef"]["resource"] == "leases");
        assert!(others.is_empty(), "{others:#?}");
        eprintln!("in {IDLE:?}: {} renewals of the lease, and nothing else", leases.len());
        assert!((8..=11).contains(&leases.len()), "{} renewals", leases.len());

        let mib = controller.resident_mib();
        eprintln!("resident memory: {mib:.1} MiB");
        assert!(mib < MOST_MIB, "{mib:.1} MiB");
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
