//! A PostgreSQL with much of a user's own: the password, clients that have to show certificates, access rules in a Secret and
//! settings in a ConfigMap. All that can change while it runs does.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::stage::{IN_TIME, NAME, PATIENT, Stage, stage_test};
use crate::harness::wait_for;

const SERVER: &str = "postgres";
/// All that means something to a shell, to SQL, in a URI, or in a file of passwords.
const PASSWORD: &str = r#"it's: a "long" \ one @ $HOME"#;
/// What takes its place.
const ANOTHER: &str = r"it's \another: one";
/// A role that is turned away until its rule is gone.
const AWAY: &str = "hostssl all auditor all reject\n";

#[test]
fn a_postgresql_15_keeps_to_its_users_own_password_certificates_rules_and_settings() {
    stage_test("postgresql/1.0.0", "postgres-15", async |stage| {
        own(stage).await;
        let primary = stage.primary().await;
        assert!(sql(stage, &primary, "SHOW server_version").await.starts_with("15."));
        assert_eq!(sql(stage, &primary, "SHOW log_line_prefix").await, "mine %p");
        sql(stage, &primary, "CREATE ROLE auditor LOGIN PASSWORD 'seen'; CREATE TABLE sold AS SELECT 'a lamp' AS what")
            .await;

        let pods = stage.pods().await;
        let replica = pods.iter().map(ResourceExt::name_any).find(|name| *name != primary).expect("a replica");
        wait_for("the replica to have the row", IN_TIME, async || {
            let found = sql(stage, &replica, "SELECT count(*) FROM pg_class WHERE relname = 'sold'").await;
            if found == "1" { Ok(()) } else { Err(found) }
        })
        .await;
        let streams = "SELECT bool_and(ssl) FROM pg_stat_replication JOIN pg_stat_ssl USING (pid)";
        wait_for("replication to be over TLS", IN_TIME, async || {
            let found = sql(stage, &primary, streams).await;
            if found == "t" { Ok(()) } else { Err(found) }
        })
        .await;

        let ca = connection(stage, "ca").await;
        stage.exec(&replica, SERVER, &["sh", "-c", "printf %s \"$1\" >/tmp/ca", "sh", &ca]).expect("it can be written");
        let client = Client { stage, pod: &replica };
        client.takes("postgres", PASSWORD, SHOWN).await;
        let refused =
            client.ask("postgres", PASSWORD, "sslmode=verify-full sslrootcert=/tmp/ca").expect_err("no certificate");
        assert!(refused.contains("connection requires a valid client certificate"), "{refused}");
        let refused = client.ask("postgres", PASSWORD, "sslmode=disable").expect_err("it is in the clear");
        assert!(refused.contains("no encryption"), "{refused}");
        let refused = client.ask("auditor", "seen", SHOWN).expect_err("there is a rule");
        assert!(refused.contains("pg_hba.conf rejects connection"), "{refused}");

        let restarts = stage.restarts().await;
        change(stage, "rules", json!({ "hba": "# nobody is turned away\n" })).await;
        change(stage, "mine", json!({ "password": ANOTHER })).await;
        // who does not want to wait until somebody looks
        let touched = Patch::Merge(json!({ "metadata": { "annotations": { "example.com/touched": "yes" } } }));
        stage.instances().patch(NAME, &PatchParams::default(), &touched).await.expect("it can be touched");
        client.takes("auditor", "seen", SHOWN).await;
        client.takes("postgres", ANOTHER, SHOWN).await;
        assert_eq!(stage.restarts().await, restarts, "nothing was restarted for it");
        assert_eq!(sql(stage, &replica, "SELECT what FROM sold").await, "a lamp");

        // a server that does not run cannot be told, and lets nobody in who could tell it later
        stage.done("stop", json!({ "type": "Stop" })).await;
        change(stage, "mine", json!({ "password": PASSWORD })).await;
        stage.done("start", json!({ "type": "Start" })).await;
        let primary = stage.primary().await;
        assert_eq!(stage.password().await, PASSWORD);
        assert_eq!(sql(stage, &primary, "SELECT what FROM sold").await, "a lamp");
        stage.delete().await;
    });
}

async fn own(stage: &Stage<'_>) {
    let secret = |name: &str, key: &str, text: &str| {
        let data = json!({ key: text });
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "stringData": data })
    };
    stage.make::<Secret>(secret("mine", "password", PASSWORD)).await;
    stage.make::<Secret>(secret("rules", "hba", AWAY)).await;
    let settings = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "settings" },
        "data": { "conf": "log_line_prefix = 'mine %p '\n" } });
    stage.make::<ConfigMap>(settings).await;
    stage
        .create(json!({ "version": "15", "topology": "replication", "deletionPolicy": "Delete",
            "credentials": { "secretName": "mine" },
            "tls": { "issuer": "builtin", "clientCertificates": "Required" }, "failover": { "timeout": PATIENT },
            "components": [{ "name": "postgres", "replicas": 2, "storage": { "data": { "size": "256Mi" } },
                "resources": { "requests": { "cpu": "10m", "memory": "128Mi" }, "limits": { "memory": "256Mi" } },
                "configFiles": { "pg_hba.conf": { "secret": { "name": "rules", "key": "hba" } },
                    "postgresql.conf": { "configMap": { "name": "settings", "key": "conf" } } } }] }))
        .await;
}

/// Changes a Secret of the user's.
async fn change(stage: &Stage<'_>, name: &str, to: serde_json::Value) {
    let patch = Patch::Merge(json!({ "stringData": to }));
    stage.scene.objects::<Secret>().patch(name, &PatchParams::default(), &patch).await.expect("it can be changed");
}

/// What the connection Secret says under this key.
async fn connection(stage: &Stage<'_>, key: &str) -> String {
    let secret = stage.scene.objects::<Secret>().get(&format!("{NAME}-connection")).await.expect("it is there");
    String::from_utf8(secret.data.expect("it has data")[key].0.clone()).expect("text")
}

/// How a client connects that has all it needs: the authority of the connection Secret, and a certificate.
const SHOWN: &str = "sslmode=verify-full sslrootcert=/tmp/ca sslcert=/midship/tls/tls.crt sslkey=/midship/tls/tls.key";

/// One that comes over the network, through the Service.
struct Client<'a> {
    stage: &'a Stage<'a>,
    pod: &'a str,
}

impl Client<'_> {
    fn ask(&self, user: &str, password: &str, how: &str) -> Result<String, String> {
        let host = format!("{NAME}.{}.svc", self.stage.scene.namespace);
        let to = format!("host={host} dbname=postgres user={user} connect_timeout=10 {how}");
        let password = format!("PGPASSWORD={password}");
        self.stage.exec(self.pod, SERVER, &["env", &password, "psql", "-XAtqw", "-d", &to, "-c", "SELECT current_user"])
    }

    /// Waits until it is let in.
    async fn takes(&self, user: &str, password: &str, how: &str) {
        wait_for(&format!("{user} to be let in"), IN_TIME, async || {
            let said = self.ask(user, password, how)?;
            if said == user { Ok(()) } else { Err(said) }
        })
        .await;
    }
}

/// What the server in this pod answers within the pod, where no certificate is asked for.
async fn sql(stage: &Stage<'_>, pod: &str, command: &str) -> String {
    wait_for("an answer", IN_TIME, async || {
        let password = format!("PGPASSWORD={}", stage.password().await);
        let ask = ["env", &password, "psql", "-U", "postgres", "-h", "/var/run/postgresql", "-XAtqc", command];
        stage.exec(pod, SERVER, &ask)
    })
    .await
}
