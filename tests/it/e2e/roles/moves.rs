//! A role that is handed over on request, and one whose node crashes: what clients notice of it.

use kube::ResourceExt;
use serde_json::json;

use super::trial::{Trial, trial};
use super::writer::Kind;
use crate::e2e::cluster;

/// There and back, so that each pod gives the role up and takes it.
const ROUNDS: usize = 4;

#[test]
fn a_switchover_of_redis_loses_no_write() {
    trial(Kind::Redis, 3, json!({}), async |trial| hand_over(trial).await);
}

#[test]
fn a_switchover_of_postgres_loses_no_write() {
    trial(Kind::Postgres, 2, json!({}), async |trial| hand_over(trial).await);
}

async fn hand_over(trial: &Trial<'_>) {
    for round in 0..ROUNDS {
        let primary = trial.settled().await;
        let pods = trial.pods().await;
        let heir = pods.iter().map(ResourceExt::name_any).find(|name| *name != primary).expect("another pod");
        let terms = trial.terms().await;
        let (report, lost) = trial
            .writing(async |_| {
                let asked = json!({ "type": "Switchover", "switchover": { "to": heir } });
                trial.stage.done(&format!("switchover-{round}"), asked).await;
            })
            .await;
        println!("a switchover: {:?} without writes, {lost} of {} lost", report.gap, report.acknowledged.len());
        assert_eq!((lost, trial.settled().await), (0, heir), "of {} confirmed writes", report.acknowledged.len());
        assert_eq!(trial.terms().await, terms + 1, "it was handed over once");
    }
}

/// Needs three nodes and adds them where there are fewer: one runs the cluster, the pods are on the others, and nobody
/// else's are.
#[test]
fn chaos_a_node_that_crashes_loses_the_role_and_comes_back_as_a_replica() {
    cluster::order(&["up", "--nodes", "3"]);
    cluster::kubectl(&["taint", "nodes", "node-2", "node-3", "midship.test/crashes=yes:NoSchedule", "--overwrite"]);
    let hosts = json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [
        { "matchExpressions": [{ "key": "kubernetes.io/hostname", "operator": "In", "values": ["node-2", "node-3"] }] }] } } });
    let scheduling = json!({ "spread": "node", "strict": true, "affinity": hosts,
        "tolerations": [{ "key": "midship.test/crashes", "operator": "Exists" }] });
    trial(Kind::Redis, 2, json!({ "scheduling": scheduling }), async |trial| {
        for fault in ["a node that crashes", "a node that is cut off"] {
            let primary = trial.settled().await;
            let node = node_of(trial, &primary).await;
            let number = node.rsplit('-').next().expect("it ends in a number").to_owned();
            let (ends, mends) =
                if fault == "a node that crashes" { ("stop-node", "start-node") } else { ("cut-node", "heal-node") };
            let (report, lost) = trial
                .writing(async |writers| {
                    cluster::order(&[ends, &number]);
                    trial.writes_go_on(writers).await;
                    cluster::order(&[mends, &number]);
                })
                .await;
            println!("{fault}: {:?} without writes, {lost} of {} lost", report.gap, report.acknowledged.len());
            assert_ne!(trial.settled().await, primary, "another one has the role");
        }
    });
}

async fn node_of(trial: &Trial<'_>, pod: &str) -> String {
    let pods = trial.pods().await;
    let found = pods.iter().find(|one| one.name_any() == pod).and_then(|one| one.spec.as_ref()?.node_name.clone());
    found.expect("it runs on a node")
}
