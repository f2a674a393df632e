//! The exclusive role on real servers: nothing confirmed is lost, never two write, and an outage of the API server stops
//! nobody. How long it takes is printed, and not asserted.

mod chaos;
mod faults;
mod stage;
mod writer;

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use self::faults::Cut;
use self::stage::Stage;
use self::writer::{Kind, Writers};
use crate::harness::e2e_test;

/// Longer than a lease lasts.
const OUTAGE: Duration = Duration::from_secs(30);
/// An agent that has only just started promises nothing.
const TRUSTED: Duration = Duration::from_secs(31);

#[test]
fn a_deleted_pod_and_a_killed_process_are_replaced_while_one_pod_writes() {
    e2e_test(async |scene| {
        let stage = Stage::set(scene, Kind::Redis, 3, json!({})).await;
        let primary = stage.settled().await;
        let (writers, terms) = (Writers::start(&stage.access), stage.terms().await);
        stage.writes_go_on(&writers).await;
        faults::delete(&stage, &primary).await;
        let (report, lost) = stage.judge(writers, terms).await;
        println!("a deleted pod: {:?} without writes, {lost} of {} lost", report.gap, report.acknowledged.len());

        let primary = stage.settled().await;
        let (writers, terms) = (Writers::start(&stage.access), stage.terms().await);
        stage.writes_go_on(&writers).await;
        faults::signal(&stage, &primary, "KILL");
        let (report, lost) = stage.judge(writers, terms).await;
        println!("a killed process: {:?} without writes, {lost} of {} lost", report.gap, report.acknowledged.len());
        stage.clear().await;
    });
}

#[test]
fn chaos_a_synchronous_replica_keeps_every_confirmed_write() {
    e2e_test(async |scene| {
        let stage = Stage::set(scene, Kind::Postgres, 3, json!({ "synchronous": 1 })).await;
        for fault in ["a killed process", "a network that is cut"] {
            let primary = stage.settled().await;
            let (writers, terms) = (Writers::start(&stage.access), stage.terms().await);
            stage.writes_go_on(&writers).await;
            let cut = if fault == "a killed process" {
                faults::signal(&stage, &primary, "KILL");
                None
            } else {
                Some(Cut::whole(&stage, &primary).await)
            };
            stage.writes_go_on(&writers).await;
            drop(cut);
            let (report, lost) = stage.judge(writers, terms).await;
            println!("{fault}: {:?} without writes, {lost} of {} lost", report.gap, report.acknowledged.len());
            assert_eq!(lost, 0, "of {} confirmed writes", report.acknowledged.len());
        }
        stage.clear().await;
    });
}

#[test]
fn chaos_nobody_stops_while_the_api_server_cannot_be_reached() {
    e2e_test(async |scene| {
        let stage = Stage::set(scene, Kind::Redis, 2, json!({})).await;
        let primary = stage.settled().await;
        sleep(TRUSTED).await;
        let (writers, terms) = (Writers::start(&stage.access), stage.terms().await);
        stage.writes_go_on(&writers).await;
        let mut cuts = Vec::new();
        for pod in stage.pods().await {
            cuts.push(Cut::from_api(&stage, pod.metadata.name.as_deref().expect("a name")).await);
        }
        sleep(OUTAGE).await;
        stage.writes_go_on(&writers).await;
        drop(cuts);
        let (report, _) = stage.judge(writers, terms).await;
        println!("an outage of {OUTAGE:?}: {:?} without writes", report.gap);
        assert_eq!(stage.settled().await, primary, "it kept the role");
        assert_eq!(stage.terms().await, terms, "nobody else took it");
        stage.clear().await;
    });
}

#[test]
fn a_pod_alone_goes_on_while_the_api_server_cannot_be_reached() {
    e2e_test(async |scene| {
        let stage = Stage::set(scene, Kind::Redis, 1, json!({})).await;
        let primary = stage.settled().await;
        let (writers, terms) = (Writers::start(&stage.access), stage.terms().await);
        let cut = Cut::from_api(&stage, &primary).await;
        sleep(OUTAGE / 2).await;
        stage.writes_go_on(&writers).await;
        drop(cut);
        let (report, lost) = stage.judge(writers, terms).await;
        println!("an outage of {:?}: {:?} without writes", OUTAGE / 2, report.gap);
        assert_eq!((lost, stage.terms().await), (0, terms), "it went on");
        stage.clear().await;
    });
}
