//! A role that is handed over on request: what clients notice of it.

use kube::ResourceExt;
use serde_json::json;

use super::trial::{Trial, trial};
use super::writer::Kind;
use crate::e2e::stage::PATIENT;

/// There and back, so that each pod gives the role up and takes it.
const ROUNDS: usize = 4;

#[test]
fn a_switchover_of_redis_loses_no_write() {
    trial(Kind::Redis, 3, json!({ "failover": { "timeout": PATIENT } }), async |trial| hand_over(trial).await);
}

#[test]
fn a_switchover_of_postgres_loses_no_write() {
    trial(Kind::Postgres, 2, json!({ "failover": { "timeout": PATIENT } }), async |trial| hand_over(trial).await);
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
        println!("a switchover: {}, {lost} of {} lost", report.gap, report.acknowledged.len());
        assert_eq!((lost, trial.settled().await), (0, heir), "of {} confirmed writes", report.acknowledged.len());
        assert_eq!(trial.terms().await, terms + 1, "it was handed over once");
    }
}
