//! The methods of our own packages with the real middleware: what was backed up comes back.

use midship::lifecycle::backup::{JobState, Until};
use serde_json::{Value, json};

use super::bench::{Vault, done};
use super::image::{Container, free_port, possible};

const REDIS: &str = "extensions/redis/1.1.0";
const POSTGRES: &str = "extensions/postgresql/1.1.0";

fn redis(parameters: Value, restored: bool) -> Container {
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

fn postgres(restored: bool) -> Container {
    let mut spec = json!({ "type": "postgresql", "extensionVersion": "1.1.0", "version": "17",
        "topology": "standalone", "backup": { "policy": "nightly" } });
    if restored {
        spec["restore"] = json!({ "backup": "b" });
    }
    Container::new("postgres-17", POSTGRES, spec, (5432, free_port()))
}

async fn sql(container: &Container, text: &str) -> Value {
    container.ask(json!({ "postgres": text })).await["rows"].clone()
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
}
