//! The exclusive role on real servers: nothing confirmed is lost, never two write, and an outage of the API server stops
//! nobody. How long it takes is printed, and not asserted.

mod absence;
mod chaos;
mod faults;
mod moves;
mod nodes;
mod trial;
mod writer;

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use self::faults::Cut;
use self::trial::trial;
use self::writer::Kind;
use super::stage::PATIENT;

/// Longer than a lease lasts.
const OUTAGE: Duration = Duration::from_secs(45);
/// An agent that has only just started promises nothing.
const TRUSTED: Duration = Duration::from_secs(31);

#[test]
fn a_deleted_pod_and_a_killed_process_are_replaced_while_one_pod_writes() {
    trial(Kind::Redis, 3, json!({}), async |trial| {
        let primary = trial.settled().await;
        let (report, lost) = trial.writing(async |_| faults::delete(trial, &primary).await).await;
        println!("a deleted pod: {}, {lost} of {} lost", report.gap, report.acknowledged.len());

        let primary = trial.settled().await;
        let (report, lost) = trial.writing(async |_| faults::signal(trial, &primary, "KILL")).await;
        println!("a killed process: {}, {lost} of {} lost", report.gap, report.acknowledged.len());
    });
}

#[test]
fn a_process_that_hangs_is_replaced_and_does_not_write_when_it_goes_on() {
    trial(Kind::Redis, 2, json!({}), async |trial| {
        let primary = trial.settled().await;
        let (report, lost) = trial
            .writing(async |writers| {
                faults::signal(trial, &primary, "STOP");
                trial.writes_go_on(writers).await;
            })
            .await;
        println!("a process that hangs: {}, {lost} of {} lost", report.gap, report.acknowledged.len());
        assert_ne!(trial.settled().await, primary, "another one has the role");
    });
}

#[test]
fn a_synchronous_replica_keeps_every_confirmed_write() {
    trial(Kind::Postgres, 3, json!({ "failover": { "synchronous": 1, "timeout": PATIENT } }), async |trial| {
        for fault in ["a killed process", "a network that is cut"] {
            let primary = trial.settled().await;
            let (report, lost) = trial
                .writing(async |writers| {
                    let cut = if fault == "a killed process" {
                        faults::signal(trial, &primary, "KILL");
                        None
                    } else {
                        Some(Cut::whole(trial, &primary).await)
                    };
                    trial.writes_go_on(writers).await;
                    drop(cut);
                })
                .await;
            println!("{fault}: {}, {lost} of {} lost", report.gap, report.acknowledged.len());
            assert_eq!(lost, 0, "of {} confirmed writes", report.acknowledged.len());
        }
    });
}

#[test]
fn nobody_stops_while_the_api_server_cannot_be_reached() {
    trial(Kind::Redis, 2, json!({ "failover": { "timeout": PATIENT } }), async |trial| {
        let primary = trial.settled().await;
        sleep(TRUSTED).await;
        let terms = trial.terms().await;
        let (report, _) = trial
            .writing(async |writers| {
                let mut cuts = Vec::new();
                for pod in trial.pods().await {
                    cuts.push(Cut::from_api(trial, pod.metadata.name.as_deref().expect("a name")).await);
                }
                sleep(OUTAGE).await;
                trial.writes_go_on(writers).await;
                drop(cuts);
            })
            .await;
        println!("an outage of {OUTAGE:?}: {}", report.gap);
        assert_eq!(trial.settled().await, primary, "it kept the role");
        assert_eq!(trial.terms().await, terms, "nobody else took it");
    });
}

#[test]
fn a_pod_alone_goes_on_while_the_api_server_cannot_be_reached() {
    trial(Kind::Redis, 1, json!({}), async |trial| {
        let primary = trial.settled().await;
        let terms = trial.terms().await;
        let (report, lost) = trial
            .writing(async |writers| {
                let cut = Cut::from_api(trial, &primary).await;
                sleep(OUTAGE / 2).await;
                trial.writes_go_on(writers).await;
                drop(cut);
            })
            .await;
        println!("an outage of {:?}: {}", OUTAGE / 2, report.gap);
        assert_eq!((lost, trial.terms().await), (0, terms), "it went on");
    });
}
