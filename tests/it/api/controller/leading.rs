//! Two replicas: exactly one works, and the other takes over.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use nix::sys::signal::Signal;

use super::process::{Controller, SOON};
use super::scratch::took;
use crate::harness::{Scene, api_test, wait_for};

const LEASE: &str = "midship";

async fn holder(scene: &Scene) -> Option<String> {
    let lease = scene.objects::<Lease>().get_opt(LEASE).await.expect("leases can be read");
    lease.and_then(|lease| lease.spec).and_then(|spec| spec.holder_identity)
}

async fn holds(scene: &Scene, controller: &Controller, deadline: Duration) {
    let mine = format!("{}_{}", controller.identity, controller.pid());
    wait_for(&format!("{mine} to hold the lease"), deadline, async || match holder(scene).await {
        Some(holder) if holder == mine => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    controller.logs("this replica leads", deadline).await;
}

fn start(scene: &Scene, identity: &str) -> Controller {
    let args = ["--namespaces", &scene.namespace, "--lease-namespace", &scene.namespace, "--lease-name", LEASE];
    Controller::start(identity, &scene.kubeconfig(), &args)
}

#[test]
fn exactly_one_leads_and_the_other_takes_over() {
    api_test(async |scene| {
        let mut first = start(scene, "first");
        holds(scene, &first, SOON).await;
        let second = start(scene, "second");
        second.ready(SOON).await;
        let standing_by = second.logs("another replica leads; standing by", SOON).await;
        assert_eq!(standing_by["leader"], format!("first_{}", first.pid()));
        assert!(first.leads() && !second.leads());

        let asked = Instant::now();
        first.signal(Signal::SIGTERM);
        holds(scene, &second, SOON).await;
        took("handed over after SIGTERM", asked);
        assert_eq!(first.exit(SOON).await, 0);
        assert!(first.logged("the lease was released").is_some());

        let third = start(scene, "third");
        third.ready(SOON).await;
        assert!(!third.leads());
        let killed = Instant::now();
        second.signal(Signal::SIGKILL);
        // it waits until the lease has not changed for 15 s
        holds(scene, &third, SOON).await;
        took("taken over after SIGKILL", killed);
        third.ready(SOON).await;
    });
}

#[test]
fn a_leader_whose_lease_is_taken_ends_with_an_error() {
    api_test(async |scene| {
        let mut leader = start(scene, "leader");
        holds(scene, &leader, SOON).await;
        let patch = r#"{"spec":{"holderIdentity":"somebody"}}"#;
        scene.kubectl(["patch", "lease", LEASE, "--type=merge", "-p", patch]).stdout();
        assert_eq!(leader.exit(SOON).await, 1);
        let log = leader.log_text();
        assert!(log.contains("error: somebody leads now"), "{log}");
    });
}

#[test]
fn without_election_no_lease_is_needed() {
    api_test(async |scene| {
        let args = ["--namespaces", &scene.namespace, "--lease-namespace", &scene.namespace, "--leader-elect", "false"];
        let controller = Controller::start("alone", &scene.kubeconfig(), &args);
        controller.ready(SOON).await;
        assert_eq!(holder(scene).await, None);
    });
}
