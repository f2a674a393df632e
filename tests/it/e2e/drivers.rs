//! Drivers against real servers, with and without TLS: those of the test images, started here and not in pods.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use midship::agent::actions::{Extras, RoleSeen};
use midship::extension::contract::Manifest;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::SOON;
use crate::agent::drivers::{Stage, certificates, operation};

/// A server in an image, in the network of the test.
struct Server {
    child: Child,
    port: u16,
    /// Whose certificate it has, where it speaks TLS.
    secure: Option<Stage>,
}

const NOBODY: &str = "/none";

impl Server {
    /// `script` starts it, with `$PORT`, and where it is to be secure `/tls/crt` and `/tls/key`.
    fn start(image: &str, script: &str, secure: bool) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let secure = secure.then(|| Stage::new(NOBODY.as_ref(), json!({})));
        let (certificate, key) = secure.as_ref().map(certificates).unwrap_or_default();
        // a file system of its own, to which a server may give up its rights
        let inside = format!(
            "chmod 755 /; mount -t proc proc /proc; [ -c /dev/null ] || mknod -m 666 /dev/null c 1 3; mkdir /tls; \
             printf %s \"$CERTIFICATE\" > /tls/crt; printf %s \"$KEY\" > /tls/key; chown 999:999 /tls/*; \
             chmod 600 /tls/key; {script}"
        );
        let child = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images/build"))
            .args(["--shell", image, "unshare", "--mount", "--propagation", "unchanged", "sh", "-ec", &inside])
            .env("PORT", port.to_string())
            .env("CERTIFICATE", certificate)
            .env("KEY", key)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        Self { child, port, secure }
    }

    /// An actor that knows this server, with these fields and this administrator.
    fn stage(&self, name: &str, fields: Value) -> Stage {
        let mut all = operation(self.port, json!({}));
        all["tls"] = json!(self.secure.is_some());
        all["roles"] = json!(["replica", { "name": "primary", "exclusive": true }]);
        all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let stage = Stage::new(NOBODY.as_ref(), all);
        std::fs::write(stage.dir.path().join("username"), name).unwrap();
        if let Some(secure) = &self.secure {
            std::fs::create_dir(stage.dir.path().join("tls")).unwrap();
            std::fs::copy(secure.dir.path().join("tls/ca.crt"), stage.dir.path().join("tls/ca.crt")).unwrap();
        }
        stage
    }

    async fn ask(&self, name: &str, step: Value) -> Result<Value, String> {
        self.stage(name, operation(self.port, step)).ask().await
    }

    async fn wait(&self, name: &str, step: Value) {
        let began = Instant::now();
        while let Err(error) = self.ask(name, step.clone()).await {
            assert!(began.elapsed() < SOON, "the server does not come up: {error}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = killpg(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

/// What a package of ours says of its main component.
fn package(name: &str, component: &str) -> Value {
    let path = format!("extensions/{name}/1.1.0/extension.yaml");
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&path)).unwrap();
    let manifest: Manifest = midship::extension::yaml::read(&path, &text).unwrap();
    let component = manifest.components.iter().find(|(known, _)| known.as_str() == component).unwrap().1;
    json!({ "actions": component.actions, "role": component.role, "ready": component.probes.as_ref().unwrap().ready,
        "operations": manifest.operations })
}

fn failed(driver: &str, reason: &str) -> Result<Value, String> {
    Err(format!("operation try: step 1 ({driver}): {reason}"))
}

#[tokio::test]
async fn redis_is_asked_in_its_own_protocol() {
    let script = "exec redis-server --port $PORT --requirepass hunter2-hunter2 --save '' --dir /tmp";
    let secure = "exec redis-server --port 0 --tls-port $PORT --tls-cert-file /tls/crt --tls-key-file /tls/key \
        --tls-ca-cert-file /tls/crt --tls-auth-clients no --requirepass hunter2-hunter2 --save '' --dir /tmp";
    for (script, tls) in [(script, false), (secure, true)] {
        let server = Server::start("redis-7.0", script, tls);
        server.wait("default", json!({ "resp": ["PING"], "expect": "reply == 'PONG'" })).await;
        let ask = async |step: Value| server.ask("default", step).await;
        assert_eq!(ask(json!({ "resp": ["SET", "a b", "ü\r\n"] })).await, Ok(json!("OK")));
        assert_eq!(ask(json!({ "resp": ["GET", "a b"] })).await, Ok(json!("ü\r\n")));
        assert_eq!(ask(json!({ "resp": ["MGET", "a b", "none"] })).await, Ok(json!(["ü\r\n", null])));
        assert!(ask(json!({ "resp": ["INFO"] })).await.unwrap().as_str().unwrap().contains("redis_version:7.0"));
        assert_eq!(ask(json!({ "resp": ["HELLO", "3"] })).await.unwrap()["proto"], 3);
        let error = "the server answered: ERR value is not an integer or out of range";
        assert_eq!(ask(json!({ "resp": ["INCR", "a b"] })).await, failed("resp", error));
        let stranger = json!({ "resp": { "command": ["PING"], "login": false } });
        let error = "the server answered: NOAUTH Authentication required.";
        assert_eq!(ask(stranger).await, failed("resp", error));

        let stage = server.stage("default", package("redis", "redis"));
        let seen = stage.actor.role(Extras::new()).await.unwrap();
        assert_eq!(seen, RoleSeen { role: "primary".to_owned(), position: Some(0), lag: None, follows: None });
        let primary = json!({ "primary": { "host": "127.0.0.9" } });
        let mut extras = primary.as_object().unwrap().clone();
        stage.actor.run("demote", Extras::new()).await.unwrap();
        stage.actor.run("follow", extras.clone()).await.unwrap_err(); // ports are the context's, which has none here
        let mut fields = package("redis", "redis");
        fields["context"] = json!({ "ports": { "client": server.port }, "topology": "replication" });
        let stage = server.stage("default", fields);
        stage.actor.run("follow", extras.clone()).await.unwrap();
        let seen = stage.actor.role(Extras::new()).await.unwrap();
        assert_eq!((seen.role.as_str(), seen.follows.as_deref()), ("replica", Some("127.0.0.9")));
        let error = stage.actor.run("healthCheck", Extras::new()).await.unwrap_err().to_string();
        assert_eq!(error, "healthCheck: step 3 (fail): the replica has no connection to its primary");
        stage.actor.run("promote", Extras::new()).await.unwrap();
        assert_eq!(stage.actor.role(Extras::new()).await.unwrap().role, "primary");
        extras.insert("changed".to_owned(), json!([{ "name": "maxmemory", "from": 0, "to": 104_857_600 }]));
        let error = stage.actor.run("reload", extras).await.unwrap_err().to_string();
        assert!(error.starts_with("reload: step 2 (resp): the server answered: ERR"), "{error}");
        let now = ask(json!({ "resp": ["CONFIG", "GET", "maxmemory"] })).await;
        assert_eq!(now, Ok(json!(["maxmemory", "104857600"])));
    }
}

#[tokio::test]
async fn postgres_is_asked_in_its_own_protocol() {
    let script = "export POSTGRES_PASSWORD=hunter2-hunter2 POSTGRES_INITDB_ARGS=--auth-host=scram-sha-256 PGDATA=/pgdata PGPORT=$PORT; \
        PATH=$(echo /usr/lib/postgresql/*/bin):$PATH; exec docker-entrypoint.sh postgres -p $PORT \
        -c dynamic_shared_memory_type=mmap -c fsync=off";
    let secure = format!("{script} -c ssl=on -c ssl_cert_file=/tls/crt -c ssl_key_file=/tls/key");
    for (image, script, tls) in [("postgres-15", script, false), ("postgres-17", secure.as_str(), true)] {
        let server = Server::start(image, script, tls);
        server.wait("postgres", json!({ "postgres": "SELECT 1" })).await;
        let ask = async |step: Value| server.ask("postgres", step).await;
        let sql = "SELECT true AS yes, 7::int8 AS whole, 1.5::numeric AS half, NULL AS nothing, 'a' AS text, \
            '{\"b\": [1]}'::jsonb AS json, '0/A'::pg_lsn AS at, ARRAY[1,2] AS list";
        let row = json!({ "yes": true, "whole": 7, "half": 1.5, "nothing": null, "text": "a", "json": { "b": [1] },
            "at": "0/A", "list": "{1,2}" });
        assert_eq!(ask(json!({ "postgres": sql })).await, Ok(json!({ "rows": [row], "affected": 1 })));
        let secured = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        assert_eq!(ask(json!({ "postgres": secured })).await.unwrap()["rows"][0]["ssl"], tls);

        let step = json!({ "postgres": { "sql": "SELECT $1::int + 1 AS n, $2 || '!' AS t, $3::bool IS NULL AS none",
            "values": ["41", "'it\\'s \\\\'", "none"] } });
        assert_eq!(ask(step).await.unwrap()["rows"], json!([{ "n": 42, "t": "it's \\!", "none": true }]));
        let several = "CREATE TABLE t (n int); INSERT INTO t SELECT generate_series(1, 5); DELETE FROM t WHERE n > 3";
        assert_eq!(ask(json!({ "postgres": several })).await, Ok(json!({ "rows": [], "affected": 2 })));
        assert_eq!(ask(json!({ "postgres": "VACUUM FULL t" })).await, Ok(json!({ "rows": [], "affected": 0 })));
        let error = ask(json!({ "postgres": "SELECT 1 / 0 AS x" })).await;
        assert_eq!(error, failed("postgres", "the server answered: ERROR 22012: division by zero"));
        let error = ask(json!({ "postgres": "SELEC 1; SELECT" })).await.unwrap_err();
        assert!(error.contains("ERROR 42601: syntax error at or near \"SELEC\""), "{error}");
        let error = ask(json!({ "postgres": { "sql": "SELECT 1", "database": "none" } })).await;
        let reason = "the server answered: FATAL 3D000: database \"none\" does not exist";
        assert_eq!(error, failed("postgres", reason));
        let stranger = server.stage("postgres", operation(server.port, json!({ "postgres": "SELECT 1" })));
        std::fs::write(stranger.dir.path().join("password"), "another-one").unwrap();
        let reason = "the server answered: FATAL 28P01: password authentication failed for user \"postgres\"";
        assert_eq!(stranger.ask().await, failed("postgres", reason));

        given_up_statements_end_on_the_server(&server).await;
        the_package_works(&server).await;
    }
}

async fn given_up_statements_end_on_the_server(server: &Server) {
    let slow = json!({ "postgres": "SELECT pg_sleep(1000)", "timeout": "500ms" });
    let error = server.ask("postgres", slow).await.unwrap_err();
    assert!(error.contains("took too long"), "{error}");
    let sleeping = "SELECT count(*) AS n FROM pg_stat_activity WHERE query LIKE '%pg_sleep(1000)' AND state = 'active'";
    let step = json!({ "postgres": sleeping, "until": "reply.rows[0].n == 0", "every": "50ms" });
    server.ask("postgres", step).await.unwrap();
}

async fn the_package_works(server: &Server) {
    let mut fields = package("postgresql", "postgres");
    fields["context"] = json!({ "replicas": 2 });
    let stage = server.stage("postgres", fields);
    stage.actor.probe(stage.actor.config().ready.as_ref().unwrap(), Extras::new()).await.unwrap();
    let seen = stage.actor.role(Extras::new()).await.unwrap();
    assert_eq!((seen.role.as_str(), seen.follows), ("primary", None));
    assert!(seen.position.unwrap() > 1_000_000);
    // a backup belongs to the connection that began it
    stage.actor.run("freeze", Extras::new()).await.unwrap();
    stage.actor.run("unfreeze", Extras::new()).await.unwrap();
    let error = stage.actor.run("unfreeze", Extras::new()).await.unwrap_err().to_string();
    assert!(error.contains("ERROR 55000: backup is not in progress"), "{error}");
    let extras = json!({ "is_primary": true }).as_object().unwrap().clone();
    let error = stage.actor.run("healthCheck", extras).await.unwrap_err().to_string();
    assert_eq!(error, "healthCheck: step 2 (fail): 0 of 1 replicas follow");
    let done = stage.actor.run("healthCheck", Extras::new()).await;
    assert_eq!(done, Ok(Some(json!({ "pendingRestart": 0 }))));
    let target = json!({ "target": { "name": "shop-postgres-1" } }).as_object().unwrap().clone();
    stage.actor.run("preScaleIn", target).await.unwrap();
    let parameters = json!({ "full": false }).as_object().unwrap().clone();
    stage.actor.operation("vacuum", parameters, Extras::new()).await.unwrap();
    let parameters = json!({ "idle": "10m" }).as_object().unwrap().clone();
    let closed = stage.actor.operation("terminate", parameters, Extras::new()).await;
    assert_eq!(closed, Ok(json!({ "closed": 0 })));
}
