//! Faults at random, one after another, for as long as `MIDSHIP_CHAOS_FAULTS` says.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::faults::{self, Cut};
use super::stage::Stage;
use super::writer::{Kind, Writers};
use crate::harness::e2e_test;

const FAULTS: u64 = 100;

/// A number from a seed that is printed, so that a run can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

fn setting(name: &str, or: u64) -> u64 {
    std::env::var(name).map_or(or, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

#[test]
fn chaos_loses_no_confirmed_write_of_postgres() {
    e2e_test(async |scene| {
        let stage = Stage::set(scene, Kind::Postgres, 3, json!({ "synchronous": 1 })).await;
        run(&stage, true).await;
        stage.clear().await;
    });
}

#[test]
fn chaos_never_lets_two_redis_servers_write() {
    e2e_test(async |scene| {
        let stage = Stage::set(scene, Kind::Redis, 3, json!({})).await;
        run(&stage, false).await;
        stage.clear().await;
    });
}

async fn run(stage: &Stage<'_>, keeps_all: bool) {
    let seed = setting("MIDSHIP_CHAOS_SEED", 0x5EED);
    println!("MIDSHIP_CHAOS_SEED={seed}");
    let mut random = Random(seed | 1);
    for round in 0..setting("MIDSHIP_CHAOS_FAULTS", FAULTS) {
        let primary = stage.settled().await;
        let pods = stage.pods().await;
        // mostly the one that matters
        let other = pods[usize::try_from(random.below(pods.len() as u64)).expect("small")].metadata.name.clone();
        let victim = if random.below(3) > 0 { primary } else { other.expect("a name") };
        let (writers, terms) = (Writers::start(&stage.access), stage.terms().await);
        stage.writes_go_on(&writers).await;
        let pause = Duration::from_millis(random.below(25_000));
        let what = match random.below(5) {
            0 => {
                faults::signal(stage, &victim, "KILL");
                "process killed"
            }
            1 => {
                faults::delete(stage, &victim).await;
                "pod deleted"
            }
            2 => {
                faults::signal(stage, &victim, "STOP");
                sleep(pause).await;
                stage.inside(&victim, "/midship/bin/midship-agent ctl signal CONT || true");
                "process paused"
            }
            3 => {
                let cut = Cut::whole(stage, &victim).await;
                sleep(pause).await;
                drop(cut);
                "network cut"
            }
            _ => {
                let mut cuts = Vec::new();
                for pod in stage.pods().await {
                    cuts.push(Cut::from_api(stage, pod.metadata.name.as_deref().expect("a name")).await);
                }
                sleep(pause).await;
                drop(cuts);
                "API server out of reach"
            }
        };
        let (report, lost) = stage.judge(writers, terms).await;
        let (gap, all) = (report.gap, report.acknowledged.len());
        println!("{round}: {what} ({victim}): {gap:?} without writes, {lost} of {all} lost");
        assert!(!keeps_all || lost == 0, "{lost} of {all} confirmed writes are gone");
    }
}
