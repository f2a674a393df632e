//! Faults at random, one after another, as many as `MIDSHIP_CHAOS_FAULTS` says, to pods on three nodes. What came of them is
//! printed; `MIDSHIP_SEED` repeats them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::faults::{self, Cut};
use super::nodes::{self, Broken, node_of};
use super::trial::{Trial, trial};
use super::writer::Kind;
use crate::harness::Random;

const FAULTS: u64 = 100;

fn setting(name: &str, or: u64) -> u64 {
    std::env::var(name).map_or(or, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

#[test]
fn chaos_loses_no_confirmed_write_of_postgres() {
    nodes::add();
    let more = json!({ "failover": { "synchronous": 1 }, "scheduling": nodes::on(&["node-1", "node-2", "node-3"]) });
    trial(Kind::Postgres, 3, more, async |trial| run(trial, true).await);
}

#[test]
fn chaos_never_lets_two_redis_servers_write() {
    nodes::add();
    let more = json!({ "scheduling": nodes::on(&["node-1", "node-2", "node-3"]) });
    trial(Kind::Redis, 3, more, async |trial| run(trial, false).await);
}

async fn run(trial: &Trial<'_>, keeps_all: bool) {
    let mut random = Random::new();
    let (mut kinds, mut gone, mut confirmed) = (BTreeMap::<&str, Vec<Duration>>::new(), 0, 0);
    for round in 0..setting("MIDSHIP_CHAOS_FAULTS", FAULTS) {
        let primary = trial.settled().await;
        let pods = trial.pods().await;
        // mostly the one that matters
        let other = pods[usize::try_from(random.below(pods.len() as u64)).expect("small")].metadata.name.clone();
        let victim = if random.below(3) > 0 { primary } else { other.expect("a name") };
        let pause = Duration::from_millis(random.below(25_000));
        let fault = random.below(6);
        let mut what = "";
        let (report, lost) = trial.writing(async |_| what = harm(trial, &victim, fault, pause).await).await;
        let (gap, all) = (&report.gap, report.acknowledged.len());
        println!("{round}: {what} ({victim}): {gap}, {lost} of {all} lost");
        kinds.entry(what).or_default().push(gap.lasted);
        (gone, confirmed) = (gone + lost, confirmed + all);
        assert!(!keeps_all || lost == 0, "{lost} of {all} confirmed writes are gone");
    }
    for (what, mut gaps) in kinds {
        gaps.sort();
        let (middle, longest) = (gaps[gaps.len() / 2].as_secs_f64(), gaps[gaps.len() - 1].as_secs_f64());
        println!("{what}, {} times: {middle:.1} s without writes in the middle, {longest:.1} s at most", gaps.len());
    }
    println!("{gone} of {confirmed} confirmed writes are gone; never did two pods accept writes at once");
}

/// Does it, and undoes what would not pass by itself.
async fn harm(trial: &Trial<'_>, victim: &str, fault: u64, pause: Duration) -> &'static str {
    match fault {
        0 => {
            faults::signal(trial, victim, "KILL");
            "process killed"
        }
        1 => {
            faults::delete(trial, victim).await;
            "pod deleted"
        }
        2 => {
            faults::signal(trial, victim, "STOP");
            sleep(pause).await;
            trial.inside(victim, "/midship/bin/midship-agent ctl signal CONT || true");
            "process paused"
        }
        3 => {
            let cut = Cut::whole(trial, victim).await;
            sleep(pause).await;
            drop(cut);
            "network cut"
        }
        4 => {
            let node = one_that_may_crash(trial, victim).await;
            let crashed = Broken::crashed(&node);
            sleep(pause).await;
            drop(crashed);
            "node crashed"
        }
        _ => {
            let mut cuts = Vec::new();
            for pod in trial.pods().await {
                cuts.push(Cut::from_api(trial, pod.metadata.name.as_deref().expect("a name")).await);
            }
            sleep(pause).await;
            drop(cuts);
            "API server out of reach"
        }
    }
}

/// The pod's own, unless that is the first, which the cluster itself needs.
async fn one_that_may_crash(trial: &Trial<'_>, pod: &str) -> String {
    let node = node_of(trial, pod).await;
    if node == "node-1" { "node-2".to_owned() } else { node }
}
