//! Two replicas: exactly one works, and the other takes over.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::Method;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use nix::sys::signal::Signal;

use super::door::{Door, Fault};
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
    start_at(scene, identity, &scene.kubeconfig())
}

fn start_at(scene: &Scene, identity: &str, kubeconfig: &Path) -> Controller {
    let args = ["--namespaces", &scene.namespace, "--lease-namespace", &scene.namespace, "--lease-name", LEASE];
    Controller::start(identity, kubeconfig, &args)
}

/// When a line was logged.
fn time(line: &serde_json::Value) -> Timestamp {
    let text = line["timestamp"].as_str().unwrap_or_else(|| panic!("no timestamp: {line}"));
    text.parse().unwrap_or_else(|error| panic!("{error}: {line}"))
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

/// The last renewal that succeeds is answered late, and from then on there are no answers at all.
#[test]
fn a_leader_without_answers_stops_before_another_may_begin() {
    api_test(async |scene| {
        let door = Door::open(&scene.client, &scene.kubeconfig()).await;
        let mut first = start_at(scene, "first", &door.kubeconfig);
        holds(scene, &first, SOON).await;
        let second = start(scene, "second");
        second.logs("another replica leads; standing by", SOON).await;

        let last: Arc<OnceLock<Timestamp>> = Arc::default();
        let renewed = last.clone();
        door.judge(move |method, path| {
            if !path.ends_with("/leases/midship") {
                return None;
            }
            if renewed.get().is_some() {
                return Some(Fault::Silence);
            }
            (*method == Method::PUT).then(|| {
                let _ = renewed.set(Timestamp::now());
                Fault::LateAnswer(Duration::from_secs(3))
            })
        });
        let lost = time(&first.logs("the lease could not be renewed", SOON).await);
        let renewed = *last.get().expect("it was renewed once more");
        let alone = lost.duration_since(renewed);
        eprintln!("stopped {alone:#} after the last renewal that succeeded");
        assert!(alone > SignedDuration::from_secs(8), "it gave up after {alone:#}");
        // counted from the answer, which came three seconds late, it would be 13
        assert!(alone < SignedDuration::from_millis(12_900), "it worked on for {alone:#}");

        holds(scene, &second, SOON).await;
        let taken = time(&second.logs("this replica leads", SOON).await);
        assert!(lost < taken, "the first led until {lost}, the second from {taken}");
        door.let_everything_pass();
        first.logs("another replica leads; standing by", SOON).await;
        assert!(first.still_runs());
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
