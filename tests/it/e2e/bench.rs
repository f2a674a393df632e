//! What agents hold in pods that have nothing to do.

use std::fs;
use std::time::Duration;

use kube::ResourceExt;
use serde_json::json;

use super::stage::stage_test;

/// What either may hold, as people run them, in MiB.
const TARGETS: [(&str, f64); 2] = [("init", 4.0), ("serve", 16.0)];
const IDLE: Duration = Duration::from_secs(30);

#[test]
fn bench_agents_of_idle_pods_are_small() {
    stage_test("redis/1.1.0", "redis-7.0", async |stage| {
        let component = json!({ "name": "redis", "replicas": 3, "storage": { "data": { "size": "64Mi" } } });
        stage
            .create(json!({ "version": "7.0", "topology": "replication", "deletionPolicy": "Delete", "components": [component] }))
            .await;
        stage.runs().await;
        // no wait for something to happen: what was needed to start is given back meanwhile
        tokio::time::sleep(IDLE).await;
        let pods: Vec<String> = stage.pods().await.iter().filter_map(ResourceExt::uid).collect();
        for (role, target) in TARGETS {
            let held: Vec<f64> = pods.iter().flat_map(|pod| resident(pod, role)).collect();
            assert!(!held.is_empty(), "no {role} in the pods {pods:?}");
            let most = held.iter().copied().fold(0.0, f64::max);
            println!("midship-agent {role}: {held:.1?} MiB resident, at most {:.2} × the target", most / target);
        }
    });
}

/// MiB of each process of a pod that is the agent in this role.
fn resident(pod: &str, role: &str) -> Vec<f64> {
    let processes = fs::read_dir("/proc").expect("processes").flatten().map(|entry| entry.path());
    let of_pod = processes.filter(|path| {
        let groups = fs::read_to_string(path.join("cgroup")).unwrap_or_default();
        groups.replace('_', "-").contains(pod)
    });
    of_pod
        .filter_map(|path| {
            let line = fs::read_to_string(path.join("cmdline")).ok()?;
            let mut words = line.split('\0');
            if !words.next()?.ends_with("midship-agent") || words.next()? != role {
                return None;
            }
            let status = fs::read_to_string(path.join("status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
            Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
        })
        .collect()
}
