//! Installing with helm: everything is accepted, pods are admitted, and roles give what they promise and nothing else.

use midship::cluster::{Scope, access};
use midship::names::NamespaceName;
use serde_json::{Value, json};

use super::SOON;
use crate::chart::helm::{chart, helm};
use crate::harness::{api_test, wait_for};

/// These belong to nobody's namespace, and the server under test has them already.
const WITHOUT_SHARED: [&str; 4] = ["--set", "crds.install=false", "--set", "rbac.aggregate=false"];

#[test]
fn every_object_is_accepted() {
    api_test(async |scene| {
        let namespace = &scene.namespace;
        let named = format!("namespaces={{{namespace}}}");
        let impersonation =
            format!("gitSources.impersonation[0].namespace={namespace},gitSources.impersonation[0].name=deployer");
        for mode in ["replicas=3", named.as_str()] {
            let template = helm().args(["template", "midship"]).arg(chart()).args(["--namespace", namespace]);
            let template =
                template.args(["--set", mode, "--set", &impersonation, "--set", "networkPolicy.enabled=true"]);
            let template =
                template.args(["--set", "metrics.readers[0].namespace=monitoring,metrics.readers[0].name=prometheus"]);
            let apply = scene.kubectl([
                "apply",
                "--server-side",
                "--force-conflicts",
                "--dry-run=server",
                "--validate=strict",
                "-f",
                "-",
            ]);
            let output = apply.input(template.stdout()).output();
            assert_eq!(output.code, 0, "{mode}: {output}");
            assert!(!output.stderr.contains("Warning"), "{mode}: {output}");
            assert!(output.stdout.contains("deployment.apps/midship"), "{mode}: {output}");
        }
    });
}

#[test]
fn its_pods_are_admitted_where_pod_security_is_restricted() {
    api_test(async |scene| {
        let namespace = &scene.namespace;
        scene.kubectl(["label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted"]).stdout();
        scene.helm(["install", "midship"]).arg(chart()).args(WITHOUT_SHARED).stdout();
        wait_for("two pods to be made", SOON, async || {
            let seen = scene.kubectl(["get", "deployment", "midship", "-o", "json"]).stdout();
            let seen: Value = serde_json::from_str(&seen).map_err(|error| error.to_string())?;
            if seen["status"]["replicas"] == 2 { Ok(()) } else { Err(seen["status"].to_string()) }
        })
        .await;
        scene.helm(["uninstall", "midship"]).stdout();
    });
}

#[test]
fn for_the_whole_cluster_it_may_work_in_any_namespace() {
    api_test(async |scene| {
        scene.helm(["install", "midship"]).arg(chart()).args(WITHOUT_SHARED).stdout();
        let midship = format!("system:serviceaccount:{}:midship", scene.namespace);
        let may = [
            "get /secrets",
            "create /configmaps",
            "patch /pods/resize",
            "create events.k8s.io/events",
            "patch midship.dev/instances",
            "patch midship.dev/instances/status",
            "create midship.dev/podsets",
            "update coordination.k8s.io/leases",
            "create rbac.authorization.k8s.io/roles",
        ];
        scene.assert_can(&midship, "default", &may).await;
        let may = [
            "list /secrets",
            "list /nodes",
            "create /namespaces",
            "watch midship.dev/extensions",
            "create authentication.k8s.io/tokenreviews",
            "create authorization.k8s.io/subjectaccessreviews",
        ];
        scene.assert_can(&midship, "", &may).await;
        let may_not = [
            "create /pods/exec",
            "patch /pods/ephemeralcontainers",
            "create /serviceaccounts/token",
            "impersonate /serviceaccounts",
            "escalate rbac.authorization.k8s.io/roles",
            "bind rbac.authorization.k8s.io/roles",
            "create apps/deployments",
        ];
        scene.assert_cannot(&midship, "default", &may_not).await;
        let may_not = [
            "delete /namespaces",
            "patch /nodes",
            "impersonate /users",
            "create rbac.authorization.k8s.io/clusterroles",
            "patch apiextensions.k8s.io/customresourcedefinitions",
        ];
        scene.assert_cannot(&midship, "", &may_not).await;
        scene.helm(["uninstall", "midship"]).stdout();
    });
}

#[test]
fn for_named_namespaces_it_sees_no_secret_elsewhere() {
    api_test(async |scene| {
        let home = &scene.namespace;
        let shop = &format!("{home}-shop");
        scene.kubectl(["create", "namespace", shop]).stdout();
        let install = scene.helm(["install", "midship"]).arg(chart()).args(WITHOUT_SHARED);
        let impersonation =
            format!("gitSources.impersonation[0].namespace={shop},gitSources.impersonation[0].name=deployer");
        install.args(["--set", &format!("namespaces={{{shop}}}"), "--set", &impersonation]).stdout();

        let midship = &format!("system:serviceaccount:{home}:midship");
        let there = [
            "get /secrets",
            "delete /pods",
            "patch midship.dev/instances",
            "create rbac.authorization.k8s.io/rolebindings",
            "impersonate /serviceaccounts deployer",
        ];
        scene.assert_can(midship, shop, &there).await;
        scene.assert_cannot(midship, shop, &["impersonate /serviceaccounts default", "create /pods/exec"]).await;
        let at_home = ["update coordination.k8s.io/leases", "create /configmaps", "create events.k8s.io/events"];
        scene.assert_can(midship, home, &at_home).await;
        scene.assert_cannot(midship, home, &["list /pods", "create midship.dev/instances"]).await;
        let everywhere = ["watch midship.dev/extensions", "create authorization.k8s.io/subjectaccessreviews"];
        scene.assert_can(midship, "", &everywhere).await;
        let nowhere = ["list /secrets", "list /pods", "list /namespaces", "create /namespaces", "list /nodes"];
        scene.assert_cannot(midship, "", &nowhere).await;
        for namespace in ["default", "kube-system"] {
            scene.assert_cannot(midship, namespace, &["get /secrets", "get midship.dev/instances"]).await;
        }
        scene.helm(["uninstall", "midship"]).stdout();
        scene.assert_cannot(midship, shop, &["get /secrets"]).await;
        scene.kubectl(["delete", "namespace", shop, "--wait=false"]).stdout();
    });
}

#[test]
fn in_either_mode_it_has_every_permission_it_asks_for() {
    api_test(async |scene| {
        let home = scene.namespace.as_str();
        let scopes = [
            (Scope::Cluster, "replicas=2".to_owned()),
            (
                Scope::from_namespaces(vec![NamespaceName::parse(home).expect("a name")]),
                format!("namespaces={{{home}}}"),
            ),
        ];
        for (scope, set) in scopes {
            scene.helm(["install", "midship"]).arg(chart()).args(WITHOUT_SHARED).args(["--set", &set]).stdout();
            let midship = format!("system:serviceaccount:{home}:midship");
            for needed in access::needed(&scope, home) {
                let sub = needed.subresource.map(|sub| format!("/{sub}")).unwrap_or_default();
                let what = format!("{} {}/{}{sub}", needed.verb, needed.group, needed.resource);
                scene.assert_can(&midship, needed.namespace.as_deref().unwrap_or_default(), &[&what]).await;
            }
            scene.helm(["uninstall", "midship"]).stdout();
        }
    });
}

#[test]
fn a_role_made_for_an_agent_may_not_exceed_midships_own() {
    api_test(async |scene| {
        let home = &scene.namespace;
        scene.helm(["install", "midship"]).arg(chart()).args(WITHOUT_SHARED).stdout();
        let midship = format!("system:serviceaccount:{home}:midship");
        let role = |name: &str, resource: &str, verb: &str| {
            let role = json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": { "name": name },
                "rules": [{ "apiGroups": [""], "resources": [resource], "verbs": [verb] }] });
            scene.kubectl(["create", "--as", &midship, "-f", "-"]).input(role.to_string()).output()
        };
        scene.assert_can(&midship, home, &["create rbac.authorization.k8s.io/roles", "patch /pods"]).await;
        let agent = role("agent", "pods", "patch");
        assert_eq!(agent.code, 0, "{agent}");
        let shell = role("shell", "pods/exec", "create");
        assert!(shell.stderr.contains("attempting to grant RBAC permissions not currently held"), "{shell}");
        scene.helm(["uninstall", "midship"]).stdout();
    });
}

#[test]
fn two_releases_live_side_by_side() {
    api_test(async |scene| {
        let (home, other) = (&scene.namespace, &format!("{}-other", scene.namespace));
        scene.kubectl(["create", "namespace", other]).stdout();
        let named = format!("namespaces={{{home},{other}}}");
        for namespace in [home, other] {
            let install = scene.helm(["install", "midship", "-n", namespace]).arg(chart()).args(WITHOUT_SHARED);
            install.args(["--set", &named]).stdout();
        }
        scene.helm(["uninstall", "midship", "-n", home]).stdout();
        scene.assert_can(&format!("system:serviceaccount:{other}:midship"), home, &["get /secrets"]).await;
        scene.assert_cannot(&format!("system:serviceaccount:{home}:midship"), other, &["get /secrets"]).await;
        scene.helm(["uninstall", "midship", "-n", other]).stdout();
        scene.kubectl(["delete", "namespace", other, "--wait=false"]).stdout();
    });
}
