//! The methods of our own packages with the real middleware: what was backed up comes back, to the second.

use std::time::Duration;

use jiff::Timestamp;
use midship::lifecycle::backup::{JobState, Until};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::bench::{LONG, Vault, done, failure};
use super::image::{Container, free_port, possible};

const REDIS: &str = "extensions/redis/1.1.0";
pub const POSTGRES: &str = "extensions/postgresql/1.1.0";

pub fn redis(parameters: Value, restored: bool) -> Container {
    let mut spec = json!({ "type": "redis", "extensionVersion": "1.1.0", "version": "7.0", "topology": "standalone",
        "components": [{ "name": "redis", "parameters": parameters }] });
    if restored {
        spec["restore"] = json!({ "backup": "b" });
    }
    Container::new("redis-7.0", REDIS, spec, (6379, free_port()))
}

#[tokio::test]
async fn redis_comes_back_from_a_snapshot_with_and_without_an_append_only_file() {
    if !possible("redis_comes_back_from_a_snapshot_with_and_without_an_append_only_file") {
        return;
    }
    let vault = Vault::new().await;
    let source = redis(json!({}), false);
    source.prepare().await;
    source.serve().await;
    let fill = "for i = 1, 100000 do redis.call('SET', 'key:' .. i, string.rep(i, 20)) end";
    source.ask(json!({ "resp": ["EVAL", fill, "0"] })).await;
    source.ask(json!({ "resp": ["SET", "greeting", "hello"] })).await;
    let ended = source.bench.backup(vault.backup("a", "rdb")).await;
    done(&ended);
    source.ask(json!({ "resp": ["SET", "greeting", "later"] })).await;
    assert!(ended.source_bytes > 500_000, "{ended:?}");
    for parameters in [json!({}), json!({ "appendonly": true })] {
        let target = redis(parameters.clone(), true);
        target.stop();
        done(&target.bench.restore(vault.restore("r", Until::Backup)).await);
        target.prepare().await;
        target.serve().await;
        assert_eq!(target.ask(json!({ "resp": ["DBSIZE"] })).await, json!(100_001), "{parameters}");
        assert_eq!(target.ask(json!({ "resp": ["GET", "greeting"] })).await, json!("hello"), "{parameters}");
    }
}

#[tokio::test]
async fn redis_keeps_what_it_has_where_its_users_own_file_asks_for_an_append_only_file() {
    if !possible("redis_keeps_what_it_has_where_its_users_own_file_asks_for_an_append_only_file") {
        return;
    }
    let spec = json!({ "type": "redis", "extensionVersion": "1.1.0", "version": "7.0", "topology": "standalone",
        "components": [{ "name": "redis", "configFiles": { "redis.conf": { "content": "appendonly yes\n" } } }] });
    let server = Container::new("redis-7.0", REDIS, spec, (6379, free_port()));
    server.prepare().await;
    server.serve().await;
    server.ask(json!({ "resp": ["SET", "greeting", "hello"] })).await;
    server.stop();
    server.prepare().await;
    server.start_again().await;
    assert_eq!(server.ask(json!({ "resp": ["GET", "greeting"] })).await, json!("hello"));
}

pub fn postgres(restored: bool) -> Container {
    let mut spec = json!({ "type": "postgresql", "extensionVersion": "1.1.0", "version": "17",
        "topology": "standalone", "backup": { "policy": "nightly" } });
    if restored {
        spec["restore"] = json!({ "backup": "b" });
    }
    Container::new("postgres-17", POSTGRES, spec, (5432, free_port()))
}

pub async fn sql(container: &Container, text: &str) -> Value {
    container.ask(json!({ "postgres": text })).await["rows"].clone()
}

/// Waits until nothing of the log waits, and so much of it is archived.
pub async fn archived(container: &Container, segment: &str) {
    let end = Instant::now() + LONG;
    loop {
        let status = container.bench.around.archives.lock().unwrap().clone().expect("it archives");
        assert!(status.error.is_none(), "{status:?}");
        if status.last.as_deref().is_some_and(|last| last >= segment) && status.pending == 0 {
            return;
        }
        assert!(Instant::now() < end, "{status:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

pub async fn restored(vault: &Vault, job: &str, until: Until) -> Container {
    let target = postgres(true);
    target.stop();
    done(&target.bench.restore(vault.restore(job, until)).await);
    target.prepare().await;
    target.serve().await;
    target
}

#[tokio::test]
async fn postgres_goes_back_to_the_moment_that_is_asked_for() {
    if !possible("postgres_goes_back_to_the_moment_that_is_asked_for") {
        return;
    }
    let vault = Vault::new().await;
    let source = postgres(false);
    source.prepare().await;
    source.serve().await;
    source.bench.backups.archive(Some(vault.archive("base"))).await.unwrap();
    sql(&source, "CREATE TABLE t (n int PRIMARY KEY, at timestamptz DEFAULT clock_timestamp())").await;
    sql(&source, "INSERT INTO t SELECT generate_series(1, 1000)").await;
    let mut order = vault.backup("a", "base");
    order.with_log = true;
    done(&source.bench.backup(order).await);
    let mut moments = Vec::new();
    for n in 1001..=1006 {
        sql(&source, &format!("INSERT INTO t VALUES ({n})")).await;
        sleep(Duration::from_millis(20)).await;
        moments.push((n, Timestamp::now()));
        sleep(Duration::from_millis(20)).await;
    }
    // how far a segment reaches is told with some care: one that is a little later covers all of them
    sleep(Duration::from_millis(1500)).await;
    sql(&source, "SELECT pg_create_restore_point('end')").await;
    let last = sql(&source, "SELECT pg_walfile_name(pg_switch_wal() - 1) AS name").await[0]["name"].clone();
    archived(&source, last.as_str().unwrap()).await;

    // nothing was archived that reaches further
    let far = Until::Time("2999-01-01T00:00:00Z".parse().unwrap());
    let target = postgres(true);
    target.stop();
    let refused = target.bench.restore(vault.restore("far", far)).await;
    assert!(failure(&refused).message.contains("does not reach 2999-01-01"), "{refused:?}");

    for (n, moment) in [moments[1], moments[4]] {
        // the segment may have been written a moment before its last second ended
        let target = restored(&vault, "t", Until::Time(moment)).await;
        let rows = sql(&target, "SELECT count(*) AS rows, max(n) AS last FROM t").await;
        assert_eq!(rows, json!([{ "rows": n, "last": n }]));
        // it takes writes, and its own password counts
        sql(&target, "INSERT INTO t VALUES (5000)").await;
    }
    let all = restored(&vault, "all", Until::Latest).await;
    assert_eq!(sql(&all, "SELECT max(n) AS last FROM t").await, json!([{ "last": 1006 }]));
    let alone = restored(&vault, "alone", Until::Backup).await;
    assert_eq!(sql(&alone, "SELECT max(n) AS last FROM t").await, json!([{ "last": 1000 }]));
    // whoever followed one of them does not go on with the other, though their timelines may have the same number
    let ids = "SELECT pg_read_file('restored.id', 0, 64, true) AS id";
    let (one, other) = (sql(&all, ids).await[0]["id"].clone(), sql(&alone, ids).await[0]["id"].clone());
    assert!(one.is_string() && other.is_string() && one != other, "{one} {other}");
}

#[tokio::test]
async fn postgres_comes_back_from_a_dump() {
    if !possible("postgres_comes_back_from_a_dump") {
        return;
    }
    let vault = Vault::new().await;
    let source = postgres(false);
    source.prepare().await;
    source.serve().await;
    sql(&source, "CREATE DATABASE shop").await;
    sql(&source, "CREATE ROLE app LOGIN PASSWORD 'x'").await;
    source.ask(json!({ "postgres": { "database": "shop", "sql": "CREATE TABLE t AS SELECT generate_series(1, 5000) AS n" } })).await;
    let ended = source.bench.backup(vault.backup("a", "dump")).await;
    assert_eq!(ended.state, JobState::Done, "{ended:?}");
    let target = postgres(true);
    target.stop();
    done(&target.bench.restore(vault.restore("r", Until::Backup)).await);
    target.prepare().await;
    target.serve().await;
    let rows =
        target.ask(json!({ "postgres": { "database": "shop", "sql": "SELECT sum(n)::int AS sum FROM t" } })).await;
    assert_eq!(rows["rows"], json!([{ "sum": 12_502_500 }]));
    assert_eq!(sql(&target, "SELECT count(*) AS n FROM pg_roles WHERE rolname = 'app'").await, json!([{ "n": 1 }]));
    never_heard_of_its_password(&target).await;
}

/// One that followed, and never heard of a password that was changed while all was stopped, is promoted, and told it then.
async fn never_heard_of_its_password(server: &Container) {
    server.stop();
    std::fs::write(server.data("pgdata/standby.signal"), "").unwrap();
    std::fs::write(server.data("../midship/files/admin.pass"), "*:*:*:postgres:another\n").unwrap();
    std::fs::write(server.data("../midship/secrets/password"), "another").unwrap();
    server.prepare().await;
    server.start_again().await;
    assert_eq!(sql(server, "SELECT pg_is_in_recovery() AS standby").await, json!([{ "standby": true }]));
    let is_let_in = async |password: &str| {
        let ask = [
            "{{ values.bin }}/psql",
            "-XAtqw",
            "-h",
            "127.0.0.1",
            "-p",
            "{{ ports.client }}",
            "-U",
            "postgres",
            "-c",
            "SELECT 1",
        ];
        let exec = json!({ "command": ask, "env": { "PGPASSWORD": password } });
        server.ask(json!({ "exec": exec, "expect": "reply.code >= 0" })).await["code"] == 0
    };
    assert!(is_let_in("none").await, "whoever promotes it has to get in");
    let around = &*server.bench.around;
    let mut extras = midship::agent::backup::Surroundings::extras(around);
    extras.insert("role".to_owned(), json!("replica"));
    midship::agent::backup::Surroundings::actor(around).run("promote", extras).await.unwrap();
    // the rules are read anew a moment after the server was told to
    let end = Instant::now() + LONG;
    while is_let_in("none").await {
        assert!(Instant::now() < end, "it lets everybody in");
        sleep(Duration::from_millis(50)).await;
    }
    assert!(!is_let_in("made-up-password").await, "the old one is no longer of use");
    assert!(is_let_in("another").await, "the new one is");
}
