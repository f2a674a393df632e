//! What many instances cost: how long until everything of each is made, and what the controller holds then.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use midship::api::PodSet;
use serde_json::json;

use crate::api::extension::kit::kit_test;
use crate::harness::wait_for;

const INSTANCES: usize = 300;
/// Longer than it takes on a slow machine.
const PATIENCE: Duration = Duration::from_mins(15);
const TARGET: Duration = Duration::from_mins(2);
const TARGET_MIB: f64 = 120.0;

#[test]
fn bench_three_hundred_instances_of_a_thousand_pods() {
    kit_test(async |kit| {
        kit.install("1.0.0", "").await;
        let started = Instant::now();
        let mut pods = 0;
        for number in 0..INSTANCES {
            let replicas = if number % 3 == 0 { 4 } else { 3 };
            pods += replicas;
            let more = json!({ "components": [{ "name": "server", "replicas": replicas }] });
            kit.instance(&format!("cache-{number:03}"), more).await;
        }
        // no node is there: pods are wanted, and none is ever started
        wait_for("everything of every instance to be made", PATIENCE, async || {
            let sets = kit.scene.objects::<PodSet>().list(&ListParams::default()).await.expect("a list").items;
            let seen = sets
                .iter()
                .filter(|set| {
                    set.status.as_ref().is_some_and(|status| status.replicas.is_some_and(|number| number > 0))
                })
                .count();
            let made =
                kit.scene.objects::<Pod>().list_metadata(&ListParams::default()).await.expect("a list").items.len();
            if seen == INSTANCES {
                Ok(())
            } else {
                Err(format!("{} PodSets, {seen} with pods, {made} pods", sets.len()))
            }
        })
        .await;
        let took = started.elapsed();
        let made = kit.scene.objects::<Pod>().list_metadata(&ListParams::default()).await.expect("a list").items.len();
        let mib = kit.controller.resident_mib();
        println!(
            "{INSTANCES} instances of {pods} pods ({made} made so far) in {took:.1?}, {:.2} × the target; \
             resident {mib:.1} MiB, {:.2} × the target",
            took.as_secs_f64() / TARGET.as_secs_f64(),
            mib / TARGET_MIB
        );
    });
}
