//! A PostgreSQL with a replica: it comes up from its package, hands over, and is told how it is.

use std::fs;
use std::path::Path;
use std::time::Instant;

use kube::ResourceExt;
use midship::api::instance::Phase;
use midship::api::pod_report::PodReport;
use serde_json::json;

use super::stage::{IN_TIME, NAME, PATIENT, Stage, package_test, stage_test};
use crate::harness::{Run, wait_for};

const SERVER: &str = "postgres";

#[test]
fn a_postgresql_with_a_replica_restarts_hands_over_and_is_replaced_where_it_hangs() {
    stage_test("postgresql/1.1.0", "postgres-17", async |stage| {
        stage
            .create(json!({ "version": "17", "topology": "replication", "deletionPolicy": "Delete",
                "failover": { "timeout": PATIENT },
                "components": [{ "name": "postgres", "replicas": 2, "storage": { "data": { "size": "256Mi" } },
                    "resources": { "requests": { "cpu": "10m", "memory": "128Mi" }, "limits": { "memory": "256Mi" } } }] }))
            .await;
        let primary = stage.primary().await;
        sql(stage, &primary, "CREATE TABLE sold (what text); INSERT INTO sold VALUES ('a lamp')").await;
        fewer_connections(stage, &primary).await;

        let before = stage.identities(SERVER).await;
        let status = stage.done("restart", json!({ "type": "Restart" })).await;
        assert!(status.steps.last().is_some_and(|step| step.name.ends_with(&primary)), "{:?}", status.steps);
        assert_eq!(stage.identities(SERVER).await, before, "pods and containers are the same");
        for pod in stage.pods().await {
            assert_eq!(sql(stage, &pod.name_any(), "SHOW max_connections").await, "50", "{}", pod.name_any());
        }

        let pods = stage.pods().await;
        let heir = pods.iter().map(ResourceExt::name_any).find(|name| *name != primary).expect("a replica");
        let begun = Instant::now();
        let told = stage.midship(&["switchover", NAME, "--to", &heir]);
        assert!(told.code == 0, "{told}");
        println!("a switchover took {:.1} s", begun.elapsed().as_secs_f64());
        stage.is(Phase::Running, |status| status.primary.as_deref() == Some(heir.as_str())).await;
        assert_eq!(sql(stage, &heir, "SELECT what FROM sold").await, "a lamp");
        sql(stage, &heir, "INSERT INTO sold VALUES ('a chair')").await;
        has_sold(stage, &primary, "2").await;
        // a file for each timeline of a segment is kept until that segment is old
        let timelines = "SELECT count(DISTINCT left(name, 8)) FROM pg_ls_waldir() \
                         WHERE substr(name, 9, 16) = substr(pg_walfile_name(pg_current_wal_insert_lsn()), 9)";
        assert_eq!(sql(stage, &heir, timelines).await, "1", "whoever came back had the new primary begin a segment");
        assert_eq!(sql(stage, &heir, "SHOW max_wal_size").await, "64MB", "a quarter of its volume");
        hangs_with_what_nobody_else_has(stage, &heir, &primary).await;

        stage.delete().await;
        assert_eq!(stage.claims().await, Vec::<String>::new(), "its volumes went with it");
    });
}

/// A primary that hangs is replaced, and gives up what it did not hand on before it follows.
async fn hangs_with_what_nobody_else_has(stage: &Stage<'_>, primary: &str, heir: &str) {
    let sender = sql(stage, primary, "SELECT pid FROM pg_stat_replication").await;
    stage.exec(primary, SERVER, &["kill", "-STOP", &sender]).expect("it can be stopped");
    sql(stage, primary, "INSERT INTO sold VALUES ('a bed')").await;
    // everything in the container but PID 1
    stage.exec(primary, SERVER, &["sh", "-c", "kill -STOP -1"]).expect("they can be stopped");
    stage.is(Phase::Running, |status| status.primary.as_deref() == Some(heir)).await;
    rejoins(stage, primary, "its data was rewound: what it alone had is gone").await;
    sql(stage, heir, "INSERT INTO sold VALUES ('a table')").await;
    has_sold(stage, primary, "3").await;
    assert_eq!(sql(stage, primary, "SELECT count(*) FROM sold WHERE what = 'a bed'").await, "0");
}

/// A standby that has less than its primary had does not start: the primary goes first, and stays what it is.
async fn fewer_connections(stage: &Stage<'_>, primary: &str) {
    let configure = json!({ "component": "postgres", "parameters": { "max_connections": 50 } });
    stage.done("fewer", json!({ "type": "Configure", "configure": configure })).await;
    assert_eq!(stage.primary().await, primary, "nobody took over");
    assert_eq!(sql(stage, primary, "SHOW max_connections").await, "50");
    for pod in stage.pods().await {
        assert_eq!(sql(stage, &pod.name_any(), "SELECT what FROM sold").await, "a lamp");
    }
}

#[test]
fn a_replica_whose_log_is_gone_at_the_primary_is_copied_anew() {
    // nobody waits minutes for what is certain at once; whoever was killed looks for its primary again every 5 s
    let package = tempfile::tempdir().expect("a folder");
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("extensions/postgresql/1.1.0");
    let copied = Run::new("cp").arg("-r").arg(format!("{}/.", ours.display())).arg(package.path()).output();
    assert_eq!(copied.code, 0, "{copied}");
    let manifest = package.path().join("extension.yaml");
    let text = fs::read_to_string(&manifest).expect("a manifest");
    assert!(text.contains("attachWithin: 5m"), "{text}");
    fs::write(&manifest, text.replace("attachWithin: 5m", "attachWithin: 20s")).expect("it can be written");

    package_test(package.path(), "postgres-17", async |stage| {
        stage
            .create(json!({ "version": "17", "topology": "replication", "deletionPolicy": "Delete",
                "failover": { "timeout": PATIENT },
                "components": [{ "name": "postgres", "replicas": 2, "storage": { "data": { "size": "256Mi" } },
                    "parameters": { "wal_keep_size": 0, "min_wal_size": "32Mi", "max_wal_size": "32Mi" },
                    "resources": { "requests": { "cpu": "10m", "memory": "128Mi" }, "limits": { "memory": "256Mi" } } }] }))
            .await;
        let primary = stage.primary().await;
        let pods = stage.pods().await;
        let replica = pods.iter().map(ResourceExt::name_any).find(|name| *name != primary).expect("a replica");
        sql(stage, &primary, "CREATE TABLE sold (what text)").await;
        stage
            .is(Phase::Running, |status| {
                status.members.iter().any(|member| member.name == replica && member.lag == Some(0))
            })
            .await;

        // what a backup would leave for those that add to it
        let left = ["sh", "-c", "mkdir /data/.midship-kept && touch /data/.midship-kept/one"];
        stage.exec(&replica, SERVER, &left).expect("it can be left");
        let told = stage.midship(&["process", "stop", NAME, "--pod", &replica]);
        assert!(told.code == 0, "{told}");
        let slot = format!("{}_slot", replica.replace('-', "_"));
        wait_for("the primary to let go of the replica", IN_TIME, async || {
            try_sql(stage, &primary, &format!("SELECT pg_drop_replication_slot('{slot}')")).await
        })
        .await;
        for number in 0..4 {
            sql(stage, &primary, &format!("INSERT INTO sold VALUES ('{number}')")).await;
            sql(stage, &primary, "SELECT pg_switch_wal()").await;
            sql(stage, &primary, "CHECKPOINT").await;
        }

        let told = stage.midship(&["process", "start", NAME, "--pod", &replica]);
        assert!(told.code == 0, "{told}");
        has_sold(stage, &replica, "4").await;
        stage
            .is(Phase::Running, |status| {
                status.members.iter().any(|member| member.name == replica && member.role.as_deref() == Some("replica"))
            })
            .await;
        rejoins(stage, &replica, "its data was copied anew, because it did not get to follow with what it had").await;
        let gone = ["sh", "-c", "test ! -e /data/.midship-kept"];
        stage.exec(&replica, SERVER, &gone).expect("what backups of other data left is gone");

        // one that is killed while it follows goes on with what it has
        let kill = ["sh", "-c", "kill -9 $(head -n 1 /data/pgdata/postmaster.pid)"];
        stage.exec(&replica, SERVER, &kill).expect("it can be killed");
        rejoins(stage, &replica, "its data was kept").await;
        sql(stage, &primary, "INSERT INTO sold VALUES ('5')").await;
        has_sold(stage, &replica, "5").await;
        stage.delete().await;
    });
}

/// Until a server that follows has so many rows.
async fn has_sold(stage: &Stage<'_>, pod: &str, rows: &str) {
    wait_for(&format!("{pod} to have {rows} rows"), IN_TIME, async || {
        let found = sql(stage, pod, "SELECT count(*) FROM sold").await;
        if found == rows { Ok(()) } else { Err(found) }
    })
    .await;
}

/// Until the pod tells that it came to follow in this way.
async fn rejoins(stage: &Stage<'_>, pod: &str, how: &str) {
    wait_for(how, IN_TIME, async || {
        let pods = stage.pods().await;
        let found = pods.iter().find(|one| one.name_any() == pod);
        let told = found.and_then(|one| PodReport::of(one.metadata.annotations.as_ref())?.rejoined);
        if told.as_ref().is_some_and(|told| told.starts_with(how)) { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
}

/// What the server in this pod answers.
async fn sql(stage: &Stage<'_>, pod: &str, command: &str) -> String {
    wait_for("an answer", IN_TIME, async || try_sql(stage, pod, command).await).await
}

async fn try_sql(stage: &Stage<'_>, pod: &str, command: &str) -> Result<String, String> {
    let password = format!("PGPASSWORD={}", stage.password().await);
    let ask = ["env", password.as_str(), "psql", "-U", "postgres", "-h", "/var/run/postgresql", "-tAc", command];
    stage.exec(pod, SERVER, &ask)
}
