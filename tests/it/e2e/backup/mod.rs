//! Backups as a whole: from a pod into a bucket and back into another instance, with nothing in between but Midship.

mod chains;
pub mod drills;
mod elsewhere;
mod in_place;
pub mod vault;

use kube::ResourceExt;
use midship::api::instance::Phase;
use serde_json::{Value, json};

use super::stage::{IN_TIME, NAME, Stage, stage_test};
use crate::harness::wait_for;
use vault::Vault;

/// What the command line waits at most.
const PATIENCE: &str = "480";

fn one_pod(component: &str, version: &str, size: &str, memory: &str) -> Value {
    json!({ "version": version, "topology": "standalone", "deletionPolicy": "Delete",
        "components": [{ "name": component, "storage": { "data": { "size": size } },
            "resources": { "requests": { "cpu": "10m", "memory": memory }, "limits": { "memory": memory } } }] })
}

/// What a server answers.
async fn redis(stage: &Stage<'_>, instance: &str, command: &[&str]) -> String {
    let password = stage.password_of(instance).await;
    let mut ask = vec!["redis-cli", "--no-auth-warning", "-a", password.as_str()];
    ask.extend(command);
    stage.answer(&stage.scene.namespace, &format!("{instance}-redis-0"), "redis", &ask).await
}

/// One word for everything that is in it.
async fn digest(stage: &Stage<'_>, instance: &str) -> String {
    const ALL: &str = "local keys = redis.call('KEYS', '*') table.sort(keys) local all = '' \
        for _, key in ipairs(keys) do all = redis.sha1hex(all .. key .. redis.call('GET', key)) end return #keys .. ' ' .. all";
    redis(stage, instance, &["EVAL", ALL, "0"]).await
}

#[test]
fn a_redis_is_backed_up_by_schedule_and_comes_back_as_another_instance() {
    stage_test("redis/1.1.0", "redis-7.0", async |stage| {
        let vault = Vault::new(stage).await;
        stage.create(one_pod("redis", "7.0", "32Mi", "64Mi")).await;
        stage.runs().await;
        let fill = "for i = 1, 2000 do redis.call('SET', 'key:' .. i, string.rep(i, 50)) end return 'OK'";
        assert_eq!(redis(stage, NAME, &["EVAL", fill, "0"]).await, "OK");
        let before = digest(stage, NAME).await;
        vault.policy(stage, json!({ "schedules": [{ "name": "often", "cron": "* * * * *" }] })).await;
        vault.backup(stage, "a scheduled backup", |_| true).await;
        vault.change_policy(stage, json!({ "suspend": true })).await;
        // on a busy machine another turn may have come meanwhile
        let backup = vault.newest(stage).await;
        assert_eq!(redis(stage, NAME, &["FLUSHALL"]).await, "OK");

        let name = backup.name_any();
        let listed = stage.midship(&["backup", "list", NAME]);
        assert!(listed.code == 0 && listed.stdout.contains(&name) && listed.stdout.contains("Completed"), "{listed}");
        let described = vault.midship(stage, &["backup", "describe", &name]);
        assert!(described.code == 0 && described.stdout.contains(&format!("{NAME} in t-")), "{described}");

        let told = vault.midship(stage, &["restore", "again", "--backup", &name, "--timeout", PATIENCE]);
        assert!(told.code == 0 && told.stdout.contains("again serves: restored the backup"), "{told}");
        let status = stage.one_is("again", Phase::Running, |status| status.primary.is_some()).await;
        assert_eq!(digest(stage, "again").await, before);
        let proven = status.conditions.iter().find(|one| one.type_ == "Proven").expect("it was checked");
        assert_eq!(proven.reason, "Checked", "{proven:?}");
        stage
            .one_is(NAME, Phase::Running, |status| {
                status.backup.as_ref().is_some_and(|backup| backup.latest.as_ref() == Some(&name))
            })
            .await;
    });
}

/// What `psql` prints.
async fn sql(stage: &Stage<'_>, instance: &str, text: &str) -> Result<String, String> {
    let password = format!("PGPASSWORD={}", stage.password_of(instance).await);
    let ask = [
        "env",
        &password,
        "psql",
        "-h",
        "/var/run/postgresql",
        "-U",
        "postgres",
        "-XAtq",
        "-v",
        "ON_ERROR_STOP=1",
        "-c",
        text,
    ];
    stage.exec(&format!("{instance}-postgres-0"), "postgres", &ask)
}

const NOW: &str = r#"SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"#;

#[test]
fn a_postgresql_goes_back_to_the_moment_before_a_table_was_dropped() {
    stage_test("postgresql/1.1.0", "postgres-17", async |stage| {
        let vault = Vault::new(stage).await;
        vault.policy(stage, json!({ "logs": { "enabled": true } })).await;
        let mut spec = one_pod("postgres", "17", "512Mi", "256Mi");
        spec["backup"] = json!({ "policy": "policy" });
        spec["components"][0]["parameters"] = json!({ "summarize_wal": true });
        stage.create(spec).await;
        stage.runs().await;
        let ask = async |text: &str| wait_for("an answer", IN_TIME, async || sql(stage, NAME, text).await).await;
        ask("CREATE TABLE orders (id int PRIMARY KEY, what text); INSERT INTO orders SELECT n, md5(n::text) FROM generate_series(1, 5000) n").await;
        let made = stage.midship(&["backup", "create", NAME, "--timeout", PATIENCE]);
        assert!(made.code == 0, "{made}");
        let backup = vault.backup(stage, "the backup to be shown", |_| true).await;
        ask("INSERT INTO orders SELECT n, md5(n::text) FROM generate_series(5001, 6000) n").await;
        let all = "SELECT count(*), md5(string_agg(what, ',' ORDER BY id)) FROM orders";
        let before = ask(all).await;
        let moment = ask(NOW).await;
        ask("DROP TABLE orders").await;
        // changes are dated before they are written: a segment that ends a little later holds everything until that moment
        ask("SELECT pg_sleep(1.5)").await;
        ask("CREATE TABLE later (); SELECT pg_switch_wal()").await;
        ask("CREATE TABLE much_later (); SELECT pg_switch_wal()").await;

        stage
            .one_is(NAME, Phase::Running, |status| {
                let until = status.backup.as_ref().and_then(|backup| backup.recoverable_until.clone());
                until.is_some_and(|until| until.trim_end_matches('Z') > moment.split('.').next().unwrap_or_default())
            })
            .await;
        // what is added by now is tried beside the restore to the moment before
        let scratch = chains::begin(stage, &vault).await;
        let uid = backup.spec.instance.uid.clone().expect("a UID");
        let told =
            vault.midship(stage, &["restore", "again", "--instance", &uid, "--at", &moment, "--timeout", PATIENCE]);
        assert!(told.code == 0 && told.stdout.contains("again serves: restored the backup"), "{told}");
        stage.one_is("again", Phase::Running, |status| status.primary.is_some()).await;
        let restored = wait_for("an answer", IN_TIME, async || sql(stage, "again", all).await).await;
        assert_eq!(restored, before);
        let refused = sql(stage, "again", "SELECT * FROM later").await.expect_err("it came after that moment");
        assert!(refused.contains("does not exist"), "{refused}");
        chains::is_proven(stage, &vault, &scratch, &backup).await;
        chains::is_nothing_without_the_full_one(stage, &vault, &backup).await;
    });
}
