//! What roles cannot say: an agent changes the role of its own pod and its own report, and nothing else of any pod; and it
//! makes no lease but those of its instance.

use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};

use super::SOON;
use crate::chart::helm::{chart, helm};
use crate::harness::{Scene, api_test, wait_for};

const INSTANCE: &str = "orders";

#[test]
fn an_agent_changes_nothing_of_a_pod_but_its_role_and_its_own_report_and_makes_no_leases_of_others() {
    api_test(async |scene| {
        let namespace = &scene.namespace;
        let template = helm().args(["template", namespace]).arg(chart()).args(["--namespace", namespace]);
        let policy = template.args(["--show-only", "templates/agents.yaml"]).stdout();
        let objects = json!([
            { "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": INSTANCE } },
            { "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": { "name": INSTANCE },
              "rules": [{ "apiGroups": [""], "resources": ["pods"], "verbs": ["get", "patch"] },
                        { "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"] },
                        { "apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
                          "resourceNames": ["orders-cache"], "verbs": ["update"] }] },
            { "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": { "name": INSTANCE },
              "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": INSTANCE },
              "subjects": [{ "kind": "ServiceAccount", "name": INSTANCE, "namespace": namespace }] },
            pod("orders-cache-0"), pod("orders-cache-1"), pod("runner-0"),
        ]);
        let objects = json!({ "apiVersion": "v1", "kind": "List", "items": objects }).to_string();
        for text in [objects, policy.clone()] {
            scene.kubectl(["apply", "-f", "-"]).input(text).stdout();
        }
        let own = pods_of(scene, "orders-cache-1").await;
        let patch = async |pods: &Api<Pod>, name: &str, change: Value| {
            let done = pods.patch(name, &PatchParams::default(), &Patch::Strategic(&change)).await;
            done.map(|_| ()).map_err(|error| error.to_string())
        };
        let image = |tag: usize| {
            let image = format!("evil:{tag}");
            json!({ "spec": { "containers": [{ "name": "cache", "image": image }] } })
        };
        let mut tries = 0;
        wait_for("the policy to be in force", SOON, async || {
            tries += 1;
            let refused = patch(&own, "orders-cache-0", image(tries)).await;
            refused.err().filter(|why| why.contains("what a pod runs")).map(|_| ()).ok_or("the image can be changed")
        })
        .await;
        let label = |key: &str, value: Value| json!({ "metadata": { "labels": { key: value } } });
        let note = |key: &str| json!({ "metadata": { "annotations": { key: "x" } } });
        let (role, report) = ("midship.dev/role", "midship.dev/report");
        for (name, change, why) in [
            ("orders-cache-1", image(0), "what a pod runs"),
            ("orders-cache-1", label("midship.dev/instance", json!("users")), "changes midship.dev/role alone"),
            ("orders-cache-1", label("midship.dev/instance", Value::Null), "changes midship.dev/role alone"),
            ("orders-cache-0", label(role, json!("replica")), "to its own pod alone"),
            ("orders-cache-1", note("shop/owner"), "the report of its own alone"),
            ("orders-cache-0", note(report), "the report of its own alone"),
            ("orders-cache-1", json!({ "metadata": { "finalizers": ["shop/hold"] } }), "what holds it"),
        ] {
            let refusal = patch(&own, name, change.clone()).await.expect_err("it is refused");
            assert!(refusal.contains(why), "{name} {change}: {refusal}");
        }
        patch(&own, "orders-cache-1", label(role, json!("primary"))).await.expect("its own role");
        patch(&own, "orders-cache-1", note(report)).await.expect("its own report");
        patch(&own, "orders-cache-0", label(role, Value::Null)).await.expect("a role taken away");
        let leases = Api::<Lease>::namespaced(own.into_client(), namespace);
        let make = async |name: &str| {
            let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
            let made = leases.create(&PostParams::default(), &Lease { metadata, spec: None }).await;
            made.map(|_| ()).map_err(|error| error.to_string())
        };
        wait_for("the policy of leases to be in force", SOON, async || {
            tries += 1;
            let refused = make(&format!("users-cache-{tries}")).await;
            let told = refused.err().filter(|why| why.contains("no lease but those of its instance"));
            told.map(|_| ()).ok_or("any lease can be made")
        })
        .await;
        make("orders-cache").await.expect("the lease of its own role");
        // whoever is no agent is held to roles alone
        let runner = pods_of(scene, "runner-0").await;
        patch(&runner, "orders-cache-1", note("shop/owner")).await.expect("nobody's agent");
        scene.kubectl(["delete", "-f", "-"]).input(policy).stdout();
    });
}

fn pod(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "labels": { "midship.dev/instance": INSTANCE, "midship.dev/role": "primary" } },
        "spec": { "serviceAccountName": INSTANCE, "containers": [{ "name": "cache", "image": "cache" }] } })
}

/// Pods, with the token that a pod has.
async fn pods_of(scene: &Scene, pod: &str) -> Api<Pod> {
    let request = json!({ "metadata": {}, "spec": { "audiences": [], "boundObjectRef": { "apiVersion": "v1", "kind": "Pod", "name": pod } } });
    let request: TokenRequest = serde_json::from_value(request).expect("a request");
    let accounts: Api<ServiceAccount> = scene.objects();
    let answer = accounts.create_token_request(INSTANCE, &PostParams::default(), &request).await.expect("a token");
    let token = answer.status.and_then(|status| status.token).expect("a token");
    let kubeconfig = Kubeconfig::read_from(scene.kubeconfig()).expect("it can be read");
    let mut config =
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.expect("a cluster");
    config.auth_info = AuthInfo { token: Some(token.into()), ..AuthInfo::default() };
    Api::namespaced(Client::try_from(config).expect("a client"), &scene.namespace)
}
