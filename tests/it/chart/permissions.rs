//! What the controller and people may do: nothing by wildcard, nothing outside the namespaces that were named.

use serde_json::{Value, json};

use super::helm::{Rendered, render};

/// Whether some rule gives this verb on this resource (`group/resource`, no group before the slash for the core).
fn allows(rules: &[Value], verb: &str, resource: &str) -> bool {
    let (group, resource) = resource.split_once('/').expect("group/resource");
    let lists = |rule: &Value, field: &str, wanted: &str| {
        rule[field].as_array().is_some_and(|items| items.iter().any(|item| item == wanted))
    };
    rules
        .iter()
        .any(|rule| lists(rule, "apiGroups", group) && lists(rule, "resources", resource) && lists(rule, "verbs", verb))
}

#[track_caller]
fn rules<'a>(rendered: &'a Rendered, role: &str) -> &'a [Value] {
    let roles = rendered.roles();
    let found = roles.iter().find(|(name, _)| name == role);
    found.unwrap_or_else(|| panic!("no {role} in {:?}", roles.iter().map(|(name, _)| name).collect::<Vec<_>>())).1
}

const EVERYTHING: [&str; 4] = [
    "gitSources.impersonation[0].namespace=shop",
    "gitSources.impersonation[0].name=deployer",
    "metrics.readers[0].namespace=monitoring",
    "metrics.readers[0].name=prometheus",
];

#[test]
fn no_role_has_a_wildcard() {
    for mode in [&[][..], &["namespaces={shop-dev,shop-prod}", "rbac.inventory=true"]] {
        let rendered = render(&[mode, &EVERYTHING].concat());
        for (role, rules) in rendered.roles() {
            for rule in rules {
                for field in ["apiGroups", "resources", "verbs", "nonResourceURLs"] {
                    let items = rule[field].as_array().into_iter().flatten();
                    assert!(items.filter_map(Value::as_str).all(|item| !item.contains('*')), "{role}: {rule}");
                }
                let dangerous = ["escalate", "bind", "deletecollection"];
                let verbs = rule["verbs"].as_array().expect("verbs");
                assert!(!verbs.iter().any(|verb| dangerous.iter().any(|one| verb == one)), "{role}: {rule}");
            }
        }
    }
}

#[test]
fn the_whole_cluster_is_one_role() {
    let rendered = render(&[]);
    assert!(rendered.of_kind("Role").is_empty());
    let rules = rules(&rendered, "ClusterRole midship-system:midship");
    for kind in midship::api::Kind::ALL {
        let plural = kind.plural();
        for verb in ["get", "list", "watch", "create", "update", "patch", "delete"] {
            assert!(allows(rules, verb, &format!("midship.dev/{plural}")), "{verb} {plural}");
        }
        assert!(allows(rules, "patch", &format!("midship.dev/{plural}/status")), "{plural}/status");
        assert!(allows(rules, "update", &format!("midship.dev/{plural}/finalizers")), "{plural}/finalizers");
    }
    for resource in [
        "/nodes",
        "/persistentvolumes",
        "storage.k8s.io/storageclasses",
        "apiextensions.k8s.io/customresourcedefinitions",
    ] {
        assert!(allows(rules, "watch", resource) && !allows(rules, "patch", resource), "{resource}");
    }
    assert!(allows(rules, "create", "apps/controllerrevisions") && !allows(rules, "patch", "apps/controllerrevisions"));
    assert!(allows(rules, "patch", "/pods/resize"));
    assert!(allows(rules, "create", "/namespaces") && !allows(rules, "delete", "/namespaces"));
    for never in
        ["/pods/exec", "/pods/ephemeralcontainers", "/pods/portforward", "/nodes/proxy", "/serviceaccounts/token"]
    {
        for verb in ["get", "create", "update", "patch"] {
            assert!(!allows(rules, verb, never), "{verb} {never}");
        }
    }
}

#[test]
fn named_namespaces_leave_the_cluster_alone() {
    let rendered = render(&["namespaces={shop-dev,shop-prod}"]);
    let cluster = rules(&rendered, "ClusterRole midship-system:midship");
    for resource in [
        "/secrets",
        "/configmaps",
        "/pods",
        "/namespaces",
        "/nodes",
        "midship.dev/instances",
        "coordination.k8s.io/leases",
        "rbac.authorization.k8s.io/roles",
    ] {
        for verb in ["get", "list", "watch", "create", "patch", "delete"] {
            // one namespace can be read, whose UID is that of the cluster
            let uid = verb == "get" && resource == "/namespaces";
            assert!(uid || !allows(cluster, verb, resource), "{verb} {resource}");
        }
    }
    let uid =
        json!({ "apiGroups": [""], "resources": ["namespaces"], "resourceNames": ["kube-system"], "verbs": ["get"] });
    assert!(cluster.contains(&uid));
    assert!(allows(cluster, "watch", "midship.dev/extensions"));
    assert!(allows(cluster, "create", "authentication.k8s.io/tokenreviews"));
    for namespace in ["shop-dev", "shop-prod"] {
        let role = rules(&rendered, &format!("Role {namespace}/midship-system:midship"));
        assert!(allows(role, "watch", "/secrets") && allows(role, "create", "midship.dev/podsets"));
        assert!(allows(role, "delete", "/persistentvolumeclaims") && allows(role, "list", "apps/controllerrevisions"));
        assert!(!allows(role, "get", "midship.dev/extensions"), "it belongs to the cluster");
    }
    let home = rules(&rendered, "Role midship-system/midship-home");
    assert!(allows(home, "update", "coordination.k8s.io/leases"));
    assert!(!allows(home, "get", "/pods"));
}

#[test]
fn the_inventory_can_be_seen_from_named_namespaces_on_request() {
    let rendered = render(&["namespaces={shop}", "rbac.inventory=true"]);
    let cluster = rules(&rendered, "ClusterRole midship-system:midship");
    assert!(allows(cluster, "list", "/nodes") && allows(cluster, "get", "storage.k8s.io/storageclasses"));
    assert!(!allows(cluster, "create", "/namespaces") && !allows(cluster, "get", "/secrets"));
}

#[test]
fn only_listed_service_accounts_are_impersonated() {
    assert!(!render(&[]).text.contains("impersonate"));
    let rendered = render(&EVERYTHING);
    let role = rules(&rendered, "Role shop/midship-system:midship:as-deployer");
    assert_eq!(role.len(), 1);
    assert!(allows(role, "impersonate", "/serviceaccounts"));
    assert_eq!(role[0]["resourceNames"], serde_json::json!(["deployer"]));
    assert_eq!(rendered.text.matches("impersonate").count(), 1);
}

#[test]
fn integrations_that_are_off_need_no_permission() {
    let text =
        render(&["integrations.prometheusOperator=false", "integrations.certManager=false", "crds.install=false"]).text;
    assert!(!text.contains("monitoring.coreos.com") && !text.contains("cert-manager.io"));
}

#[test]
fn kinds_that_packages_may_add_are_granted_where_they_are_asked_for() {
    let kinds = [
        ("ingress", "networking.k8s.io/ingresses"),
        ("gateway", "gateway.networking.k8s.io/httproutes"),
        ("jobs", "batch/cronjobs"),
        ("autoscaling", "autoscaling/horizontalpodautoscalers"),
    ];
    let granted = |set: &[&str], resource: &str| {
        let rendered = render(set);
        allows(rules(&rendered, "ClusterRole midship-system:midship"), "patch", resource)
    };
    for (value, resource) in kinds {
        assert!(!granted(&[], resource), "{value}");
        assert!(granted(&[&format!("integrations.{value}=true")], resource), "{value}");
    }
}

#[test]
fn every_binding_names_a_role_and_account_of_this_chart() {
    for mode in [&[][..], &["namespaces={shop-dev,shop-prod}"]] {
        let rendered = render(&[mode, &EVERYTHING].concat());
        let bindings = [rendered.of_kind("ClusterRoleBinding"), rendered.of_kind("RoleBinding")].concat();
        assert!(bindings.len() >= 2);
        for binding in bindings {
            let (kind, name) = (binding["roleRef"]["kind"].as_str(), binding["roleRef"]["name"].as_str());
            let wanted = match (kind, binding["metadata"]["namespace"].as_str()) {
                (Some("Role"), Some(namespace)) => format!("Role {namespace}/{}", name.expect("a name")),
                _ => format!("ClusterRole {}", name.expect("a name")),
            };
            rules(&rendered, &wanted);
            let account = &binding["subjects"][0];
            let reader = account["namespace"] == "monitoring" && account["name"] == "prometheus";
            assert!(reader == wanted.ends_with("metrics-reader"), "{binding}");
            assert!(reader || (account["namespace"] == "midship-system" && account["name"] == "midship"), "{binding}");
        }
    }
}

#[test]
fn editors_of_a_namespace_edit_instances_but_make_no_git_sources() {
    let rendered = render(&[]);
    let view = rules(&rendered, "ClusterRole midship:view");
    let edit = rules(&rendered, "ClusterRole midship:edit");
    let platform = rules(&rendered, "ClusterRole midship:platform");
    for kind in midship::api::Kind::ALL {
        let resource = format!("midship.dev/{}", kind.plural());
        assert!(allows(view, "list", &resource), "{resource}");
        assert!(!allows(view, "patch", &resource) && !allows(view, "create", &resource), "{resource}");
    }
    assert!(allows(edit, "create", "midship.dev/instances") && allows(edit, "patch", "midship.dev/components/scale"));
    for verb in ["create", "update", "patch", "delete"] {
        assert!(!allows(edit, verb, "midship.dev/gitsources"), "{verb}");
        assert!(allows(platform, verb, "midship.dev/gitsources"), "{verb}");
        assert!(!allows(edit, verb, "midship.dev/podsets"), "{verb}: they are Midship's own");
    }
    assert!(!allows(edit, "create", "midship.dev/backups"), "a backup is found, not made by hand");
    let labels = |name: &str| {
        let roles = rendered.of_kind("ClusterRole");
        roles.iter().find(|role| role["metadata"]["name"] == name).expect("it is there")["metadata"]["labels"]
            .to_string()
    };
    assert!(labels("midship:view").contains("aggregate-to-view"));
    assert!(
        labels("midship:edit").contains("aggregate-to-edit") && !labels("midship:edit").contains("aggregate-to-view")
    );
    assert!(!labels("midship:platform").contains("aggregate"));
}
