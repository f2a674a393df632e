//! Nodes that crash, are cut off or drained while clients write to pods on them, beside the one that the rest of the tests
//! runs on.

use kube::ResourceExt;
use midship::api::instance::Phase;
use serde_json::{Value, json};

use super::trial::{Trial, trial};
use super::writer::Kind;
use crate::e2e::cluster;
use crate::e2e::stage::{NAME, PATIENT};
use crate::harness::skip;

/// The numbers of the nodes that may break.
const MAY_BREAK: [&str; 2] = ["2", "3"];
/// The number of the node that is added for one test among others: no cluster has as many of its own.
const LENT: &str = "9";

/// A node that is broken, until this is dropped.
pub struct Broken {
    number: String,
    mends: &'static str,
}

impl Broken {
    /// All that runs on it dies at once.
    pub fn crashed(node: &str) -> Self {
        Self::after(node, "stop-node", "start-node")
    }

    /// It reaches nobody, and goes on.
    pub fn cut_off(node: &str) -> Self {
        Self::after(node, "cut-node", "heal-node")
    }

    fn after(node: &str, breaks: &str, mends: &'static str) -> Self {
        let number = node.rsplit('-').next().expect("it ends in a number").to_owned();
        let broken = Self { number, mends };
        cluster::order(&[breaks, &broken.number]);
        broken
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        cluster::restore(&[self.mends, &self.number]);
    }
}

/// A node that takes no pods, until this is dropped.
struct Drained(String);

impl Drained {
    fn from(node: &str, timeout: &str) -> (Self, crate::harness::Output) {
        let mine =
            ["drain", node, "--pod-selector", "midship.dev/instance=shop", "--delete-emptydir-data", "--timeout"];
        let drained = Self(node.to_owned());
        let output = cluster::kubectl(&mine).arg(timeout).output();
        (drained, output)
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        cluster::kubectl(&["uncordon", &self.0]).stdout();
    }
}

/// Adds the nodes that may break where they are missing. They stay, and nobody's pods come onto them who does not say so.
pub fn add() {
    for number in MAY_BREAK {
        cluster::order(&["start-node", number]);
    }
    let taint = format!("{}=yes:NoSchedule", cluster::CRASHES);
    cluster::kubectl(&["taint", "nodes", "node-2", "node-3", &taint, "--overwrite"]).stdout();
}

/// A node that goes when this is dropped, disk and all, since it costs the other tests room. What a killed test left is
/// taken up, and goes then.
struct Lent;

impl Lent {
    fn added() -> Self {
        let lent = Self;
        cluster::order(&["start-node", LENT]);
        lent
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        cluster::restore(&["remove-node", LENT]);
    }
}

/// Pods on these nodes, one on each.
pub fn on(nodes: &[&str]) -> Value {
    let hosts = json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [
        { "matchExpressions": [{ "key": "kubernetes.io/hostname", "operator": "In", "values": nodes }] }] } } });
    json!({ "spread": "node", "strict": true, "affinity": hosts,
        "tolerations": [{ "key": cluster::CRASHES, "operator": "Exists" }] })
}

pub async fn node_of(trial: &Trial<'_>, pod: &str) -> String {
    let pods = trial.pods().await;
    let found = pods.iter().find(|one| one.name_any() == pod).and_then(|one| one.spec.as_ref()?.node_name.clone());
    found.expect("it runs on a node")
}

/// Breaks the node of the primary while clients write, and mends it: another pod has the role then.
async fn takes_the_role_away(trial: &Trial<'_>, primary: &str, breaks: fn(&str) -> Broken) {
    let node = node_of(trial, primary).await;
    let mut what = "";
    let (report, lost) = trial
        .writing(async |writers| {
            let broken = breaks(&node);
            what = broken.mends;
            trial.writes_go_on(writers).await;
            drop(broken);
        })
        .await;
    println!("{node}, {what}: {}, {lost} of {} lost", report.gap, report.acknowledged.len());
    assert_ne!(trial.settled().await, primary, "another one has the role");
}

/// Gives the role to the pod on this node where another one has it; returns the pod's name.
async fn led_from(trial: &Trial<'_>, node: &str) -> String {
    let first = trial.settled().await;
    if node_of(trial, &first).await == node {
        return first;
    }
    let told = trial.stage.midship(&["switchover", NAME]);
    assert_eq!(told.code, 0, "{told}");
    trial.stage.is(Phase::Running, |status| status.primary.as_ref().is_some_and(|one| *one != first)).await;
    let primary = trial.settled().await;
    assert_eq!(node_of(trial, &primary).await, node, "there is no other pod than this");
    primary
}

#[test]
fn a_node_that_crashes_loses_the_role_and_comes_back_as_a_replica() {
    if cluster::program().is_none() {
        skip(
            "a_node_that_crashes_loses_the_role_and_comes_back_as_a_replica",
            "nodes of a cluster that is not ours are not broken",
        );
        return;
    }
    let lent = Lent::added();
    let node = format!("node-{LENT}");
    let more = json!({ "failover": { "timeout": PATIENT }, "scheduling": on(&["node-1", &node]) });
    trial(Kind::Redis, 2, more, async |trial| {
        let primary = led_from(trial, &node).await;
        takes_the_role_away(trial, &primary, Broken::crashed).await;
    });
    drop(lent);
}

#[test]
fn chaos_a_node_that_is_cut_off_loses_the_role_and_comes_back_as_a_replica() {
    add();
    trial(Kind::Redis, 2, json!({ "scheduling": on(&["node-2", "node-3"]) }), async |trial| {
        let primary = trial.settled().await;
        takes_the_role_away(trial, &primary, Broken::cut_off).await;
    });
}

#[test]
fn chaos_a_node_that_is_drained_gives_the_role_away_and_the_last_pod_is_not_evicted() {
    add();
    trial(Kind::Redis, 2, json!({ "scheduling": on(&["node-2", "node-3"]) }), async |trial| {
        let primary = trial.settled().await;
        let node = node_of(trial, &primary).await;
        let (report, lost) = trial
            .writing(async |writers| {
                let (drained, output) = Drained::from(&node, "120s");
                assert_eq!(output.code, 0, "{output}");
                trial.writes_go_on(writers).await;
                let other = if node == "node-2" { "node-3" } else { "node-2" };
                let (kept, output) = Drained::from(other, "5s");
                assert!(output.code != 0 && output.stderr.contains("disruption budget"), "{output}");
                trial.writes_go_on(writers).await;
                drop((drained, kept));
            })
            .await;
        println!("a drained node: {}, {lost} of {} lost", report.gap, report.acknowledged.len());
        assert_ne!(trial.settled().await, primary, "another one has the role");
    });
}
