//! A database under the rights that the chart gives, and no others: first for the whole cluster, then for its namespace alone.
//! A new controller takes over what the old one made, and touches no pod for it.

use std::path::Path;

use midship::api::InstanceStatus;
use midship::api::instance::Phase;
use serde_json::{Value, json};

use crate::chart::helm::{chart, helm};
use crate::e2e::stage::{NAME, PATIENT, Stage};
use crate::harness::{Scene, e2e_test};

const SERVER: &str = "redis";

/// Midship in a namespace of its own. It goes when this is dropped, also when a test fails: others share the cluster with it.
struct Release<'a> {
    scene: &'a Scene,
    home: String,
    image: String,
}

impl<'a> Release<'a> {
    fn install(scene: &'a Scene, image: &str) -> Self {
        let home = format!("{}-home", scene.namespace);
        scene.kubectl(["create", "namespace", &home]).stdout();
        let labels = ["midship.dev/test=true", "pod-security.kubernetes.io/enforce=restricted"];
        scene.kubectl(["label", "namespace", &home]).args(labels).stdout();
        let release = Self { scene, home, image: image.to_owned() };
        release.apply("install", &[]);
        release
    }

    /// For this namespace and no other.
    fn narrow(&self) {
        let namespaces = format!("namespaces={{{}}}", self.scene.namespace);
        self.apply("upgrade", &["--set", &namespaces]);
    }

    /// Waits until the new controller is ready and the old one is gone.
    fn apply(&self, action: &str, more: &[&str]) {
        let (repository, tag) = self.image.rsplit_once(':').expect("a tag");
        let image = [format!("image.repository={repository}"), format!("image.tag={tag}")];
        let run = helm().env("KUBECONFIG", self.scene.kubeconfig()).args([action, "midship", "--take-ownership"]);
        let run = run.arg(chart()).args(["--namespace", &self.home, "--set", "crds.install=false,replicas=1"]);
        let run = image.iter().fold(run, |run, one| run.args(["--set-string", one]));
        run.args(more).stdout();
        let deployment = ["rollout", "status", "deployment/midship", "--timeout=240s"];
        self.scene.kubectl(deployment).args(["--namespace", &self.home]).stdout();
    }
}

impl Drop for Release<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let logs = self.scene.kubectl(["logs", "deployment/midship", "--tail=100", "--namespace", &self.home]);
            eprintln!("{}", logs.output());
        }
        let uninstall = helm().env("KUBECONFIG", self.scene.kubeconfig());
        let gone = uninstall.args(["uninstall", "midship", "--namespace", &self.home]).output();
        let namespace = self.scene.kubectl(["delete", "namespace", &self.home, "--wait=false"]).output();
        if !std::thread::panicking() {
            assert_eq!((gone.code, namespace.code), (0, 0), "{gone}\n{namespace}");
        }
    }
}

async fn redis(stage: &Stage<'_>, pod: &str, words: &str) -> String {
    let script = format!("REDISCLI_AUTH=$(cat /midship/secrets/password) redis-cli {words}");
    stage.answer(&stage.scene.namespace, pod, SERVER, &["sh", "-c", &script]).await
}

fn replicas(number: u16) -> Value {
    json!({ "type": "HorizontalScale", "horizontalScale": { "component": SERVER, "replicas": number } })
}

#[test]
fn a_database_is_made_for_the_whole_cluster_and_changed_for_one_namespace_under_the_charts_own_rights() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("extensions/redis/1.1.0");
    e2e_test(async |scene| {
        let stage = Stage::set(scene, &package, "redis-7.0").await;
        let release = Release::install(scene, &stage.agent);
        stage.install();
        stage
            .create(json!({ "version": "7.0", "topology": "replication", "deletionPolicy": "Delete",
                "tls": { "issuer": "builtin" }, "network": { "policy": true }, "failover": { "timeout": PATIENT },
                "components": [{ "name": SERVER, "replicas": 1, "storage": { "data": { "size": "32Mi" } },
                    "resources": { "requests": { "cpu": "10m", "memory": "64Mi" }, "limits": { "memory": "128Mi" } } }] }))
            .await;
        let primary = stage.primary().await;
        assert_eq!(redis(&stage, &primary, "--tls --insecure set greeting hello").await, "OK");
        let before = stage.identities(SERVER).await;

        release.narrow();
        stage.done("out", replicas(2)).await;
        let now = stage.identities(SERVER).await;
        assert_eq!(now.len(), 2, "{now:?}");
        for (pod, identity) in &before {
            assert_eq!(now.get(pod), Some(identity), "{pod} was touched by an upgrade of the controller");
        }
        let primary = stage.primary().await;
        // the agent of the primary has not heard of the other pod yet: the kubelet brings its pod the new list
        let told = stage.midship(&["switchover", NAME]);
        assert!(told.code == 0 && told.stdout.contains("succeeded"), "{told}");
        let other = |status: &InstanceStatus| status.primary.as_ref().is_some_and(|one| *one != primary);
        let heir = stage.is(Phase::Running, other).await.primary.expect("there is one");
        assert_eq!(redis(&stage, &heir, "--tls --insecure get greeting").await, "hello");

        stage.delete().await;
        assert_eq!(stage.claims().await, Vec::<String>::new(), "its volumes went with it");
        stage.clear().await;
        drop(release);
    });
}
