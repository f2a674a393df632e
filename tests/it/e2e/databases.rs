//! A PostgreSQL with a replica: it comes up from its package, hands over, and is told how it is.

use std::time::Instant;

use kube::ResourceExt;
use midship::api::instance::Phase;
use serde_json::json;

use super::stage::{IN_TIME, NAME, Stage, stage_test};
use crate::harness::wait_for;

const SERVER: &str = "postgres";

#[test]
fn a_postgresql_with_a_replica_comes_up_restarts_and_hands_over() {
    stage_test("postgresql/1.1.0", "postgres-17", async |stage| {
        stage
            .create(json!({ "version": "17", "topology": "replication", "deletionPolicy": "Delete",
                "components": [{ "name": "postgres", "replicas": 2, "storage": { "data": { "size": "256Mi" } },
                    "resources": { "requests": { "cpu": "10m", "memory": "128Mi" }, "limits": { "memory": "256Mi" } } }] }))
            .await;
        let primary = stage.primary().await;
        sql(stage, &primary, "CREATE TABLE sold (what text); INSERT INTO sold VALUES ('a lamp')").await;

        let before = stage.identities(SERVER).await;
        let status = stage.done("restart", json!({ "type": "Restart" })).await;
        assert!(status.steps.last().is_some_and(|step| step.name.ends_with(&primary)), "{:?}", status.steps);
        assert_eq!(stage.identities(SERVER).await, before, "pods and containers are the same");

        let pods = stage.pods().await;
        let heir = pods.iter().map(ResourceExt::name_any).find(|name| *name != primary).expect("a replica");
        let begun = Instant::now();
        let told = stage.midship(&["switchover", NAME, "--to", &heir]);
        assert!(told.code == 0, "{told}");
        println!("a switchover took {:.1} s", begun.elapsed().as_secs_f64());
        stage.is(Phase::Running, |status| status.primary.as_deref() == Some(heir.as_str())).await;
        assert_eq!(sql(stage, &heir, "SELECT what FROM sold").await, "a lamp");
        sql(stage, &heir, "INSERT INTO sold VALUES ('a chair')").await;
        wait_for("the old primary to follow", IN_TIME, async || {
            let found = sql(stage, &primary, "SELECT count(*) FROM sold").await;
            if found == "2" { Ok(()) } else { Err(found) }
        })
        .await;

        stage.delete().await;
        assert_eq!(stage.claims().await, Vec::<String>::new(), "its volumes went with it");
    });
}

/// What the server in this pod answers.
async fn sql(stage: &Stage<'_>, pod: &str, command: &str) -> String {
    let ask = ["psql", "-U", "postgres", "-h", "/var/run/postgresql", "-tAc", command];
    let password = format!("PGPASSWORD={}", stage.password().await);
    let mut all = vec!["env", password.as_str()];
    all.extend(ask);
    wait_for("an answer", IN_TIME, async || stage.exec(pod, SERVER, &all)).await
}
