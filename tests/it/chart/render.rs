//! What the chart becomes: pods that may do little, names that find each other, values that reach where they should.

use serde_json::{Value, json};

use super::helm::{Rendered, chart, helm, name_of, render, render_file};
use crate::harness::Run;

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Values people use, and what is to hold of every one of them is asserted over all.
const VARIANTS: [(&str, &[&str]); 12] = [
    ("webhooks", &["webhook.enabled=true", "webhook.tlsSecret=hooks", "networkPolicy.enabled=true"]),
    ("as it is", &[]),
    ("one controller", &["replicas=1", "podDisruptionBudget.enabled=false"]),
    ("named namespaces", &["namespaces={shop-dev,shop-prod}"]),
    ("its own namespace alone", &["namespaces={midship-system}", "rbac.inventory=true"]),
    ("somebody else's definitions", &["crds.install=false", "rbac.aggregate=false"]),
    ("somebody else's permissions", &["rbac.create=false", "serviceAccount.create=false", "serviceAccount.name=ours"]),
    (
        "monitored",
        &[
            "metrics.monitor.kind=ServiceMonitor",
            "metrics.readers[0].namespace=monitoring",
            "metrics.readers[0].name=prometheus",
            "networkPolicy.enabled=true",
        ],
    ),
    (
        "monitored by pod",
        &[
            "metrics.monitor.kind=PodMonitor",
            "metrics.monitor.tokenSecret.name=token",
            "metrics.monitor.labels.release=main",
        ],
    ),
    ("impersonating", &["gitSources.impersonation[0].namespace=shop", "gitSources.impersonation[0].name=deployer"]),
    (
        "placed",
        &[
            "priorityClassName=high",
            "nodeSelector.disk=ssd",
            "tolerations[0].key=infra",
            "tolerations[0].operator=Exists",
            "affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution={}",
            "extraLabels.team=platform",
            "podLabels.tier=control",
            "podAnnotations.note=hello",
            "extraEnv[0].name=HTTPS_PROXY",
            "extraEnv[0].value=http://proxy:3128",
            "resources.limits.memory=256Mi",
            "imagePullSecrets[0].name=registry",
            "runAsUser=null",
        ],
    ),
    (
        "tuned",
        &[
            "controller.workers=8",
            "controller.qps=50",
            "controller.burst=100",
            "log.format=text",
            "log.level=debug",
            "otlp.endpoint=http://collector:4318",
            "clusterName=prod-eu",
            "listenAddress=[::]",
            "metrics.alerts.enabled=true",
        ],
    ),
];

/// Every kind the chart may make, with its version.
const KINDS: [(&str, &str); 15] = [
    ("ClusterRole", "rbac.authorization.k8s.io/v1"),
    ("ClusterRoleBinding", "rbac.authorization.k8s.io/v1"),
    ("CustomResourceDefinition", "apiextensions.k8s.io/v1"),
    ("Deployment", "apps/v1"),
    ("NetworkPolicy", "networking.k8s.io/v1"),
    ("PodDisruptionBudget", "policy/v1"),
    ("PodMonitor", "monitoring.coreos.com/v1"),
    ("PrometheusRule", "monitoring.coreos.com/v1"),
    ("Role", "rbac.authorization.k8s.io/v1"),
    ("RoleBinding", "rbac.authorization.k8s.io/v1"),
    ("Service", "v1"),
    ("ServiceAccount", "v1"),
    ("ServiceMonitor", "monitoring.coreos.com/v1"),
    ("ValidatingAdmissionPolicy", "admissionregistration.k8s.io/v1"),
    ("ValidatingAdmissionPolicyBinding", "admissionregistration.k8s.io/v1"),
];

/// The rendered chart without its definitions, which take most of the time and are nobody's concern here.
fn without_definitions(set: &[&str]) -> Rendered {
    render(&[set, &["crds.install=false"]].concat())
}

fn cluster_scoped(kind: &Value) -> bool {
    [
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    ]
    .iter()
    .any(|one| kind == one)
}

#[test]
fn helm_finds_nothing_to_complain_of() {
    for (name, set) in VARIANTS {
        let lint = helm().args(["lint", "--strict"]).arg(chart());
        let output = set.iter().fold(lint, |run, one| run.args(["--set", one])).output();
        assert_eq!(output.code, 0, "{name}: {output}");
    }
}

#[test]
fn every_object_is_of_a_known_kind_and_says_whose_it_is() {
    for (variant, set) in VARIANTS {
        let rendered = render(set);
        let mut seen = Vec::new();
        for object in &rendered.objects {
            let name = name_of(object);
            let known = KINDS.iter().any(|(kind, version)| object["kind"] == *kind && object["apiVersion"] == *version);
            assert!(known, "{variant}: {name} of {}", object["apiVersion"]);
            assert_eq!(object["metadata"]["namespace"].is_null(), cluster_scoped(&object["kind"]), "{variant}: {name}");
            assert_eq!(object["metadata"]["labels"]["app.kubernetes.io/name"], "midship", "{variant}: {name}");
            assert_eq!(object["metadata"]["labels"]["app.kubernetes.io/managed-by"], "Helm", "{variant}: {name}");
            assert!(!seen.contains(&name), "{variant}: {name} is there twice");
            seen.push(name);
        }
    }
}

#[test]
fn the_pods_satisfy_pod_security_restricted() {
    for (variant, set) in VARIANTS {
        let rendered = without_definitions(set);
        let pod = &rendered.pod()["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{variant}");
        assert_eq!(pod["securityContext"]["seccompProfile"], json!({ "type": "RuntimeDefault" }), "{variant}");
        let container = &rendered.container()["securityContext"];
        let expected = json!({ "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] } });
        assert_eq!(container, &expected, "{variant}");
        for namespace in ["hostNetwork", "hostPID", "hostIPC"] {
            assert!(pod[namespace].is_null(), "{variant}: {namespace}");
        }
        for volume in pod["volumes"].as_array().expect("volumes") {
            assert!(volume["emptyDir"].is_object() || volume["secret"].is_object(), "{variant}: {volume}");
        }
    }
}

#[test]
fn the_process_is_user_65532_unless_the_platform_chooses() {
    let plain = render(&[]);
    for field in ["runAsUser", "runAsGroup", "fsGroup"] {
        assert_eq!(plain.pod()["spec"]["securityContext"][field], 65532, "{field}");
    }
    let chosen = render(&["runAsUser=null"]);
    for field in ["runAsUser", "runAsGroup", "fsGroup"] {
        assert!(chosen.pod()["spec"]["securityContext"][field].is_null(), "{field}");
    }
}

#[test]
fn two_controllers_run_and_one_leads() {
    let rendered = render(&[]);
    assert_eq!(rendered.only("Deployment")["spec"]["replicas"], 2);
    assert!(rendered.args().contains(&"--leader-elect=true"));
    assert!(rendered.args().contains(&"--lease-name=midship"));
    assert_eq!(rendered.only("PodDisruptionBudget")["spec"]["maxUnavailable"], 1);
    assert_eq!(
        render(&["podDisruptionBudget.maxUnavailable=50%"]).only("PodDisruptionBudget")["spec"]["maxUnavailable"],
        "50%"
    );
}

#[test]
fn selectors_find_the_pods() {
    for (variant, set) in VARIANTS {
        let rendered = without_definitions(set);
        let labels = &rendered.pod()["metadata"]["labels"];
        let mut selectors = vec![
            &rendered.only("Deployment")["spec"]["selector"]["matchLabels"],
            &rendered.pod()["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
        ];
        selectors.extend(rendered.of_kind("Service").iter().map(|it| &it["spec"]["selector"]));
        selectors
            .extend(rendered.of_kind("PodDisruptionBudget").iter().map(|it| &it["spec"]["selector"]["matchLabels"]));
        selectors.extend(rendered.of_kind("NetworkPolicy").iter().map(|it| &it["spec"]["podSelector"]["matchLabels"]));
        selectors.extend(rendered.of_kind("PodMonitor").iter().map(|it| &it["spec"]["selector"]["matchLabels"]));
        for selector in selectors {
            let selector = selector.as_object().unwrap_or_else(|| panic!("{variant}: {selector}"));
            assert_eq!(selector.len(), 2, "{variant}");
            assert!(selector.iter().all(|(key, value)| labels[key] == *value), "{variant}: {selector:?} in {labels}");
        }
    }
}

#[test]
fn probes_and_services_name_ports_that_are_there() {
    let rendered = render(&["networkPolicy.enabled=true", "metrics.monitor.kind=ServiceMonitor"]);
    let container = rendered.container();
    assert_eq!(
        container["ports"],
        json!([{ "name": "health", "containerPort": 8081 }, { "name": "metrics", "containerPort": 8443 }])
    );
    assert_eq!(container["livenessProbe"]["httpGet"], json!({ "path": "/livez", "port": "health" }));
    assert_eq!(container["readinessProbe"]["httpGet"], json!({ "path": "/readyz", "port": "health" }));
    assert_eq!(rendered.only("Service")["spec"]["ports"][0]["targetPort"], "metrics");
    assert_eq!(
        rendered.only("ServiceMonitor")["spec"]["endpoints"][0]["port"],
        rendered.only("Service")["spec"]["ports"][0]["name"]
    );
    let open: Vec<_> = rendered.only("NetworkPolicy")["spec"]["ingress"]
        .as_array()
        .expect("rules")
        .iter()
        .map(|rule| rule["ports"][0]["port"].clone())
        .collect();
    assert_eq!(open, ["health", "metrics"]);
}

#[test]
fn webhooks_are_taken_only_where_somebody_asked_for_them() {
    assert!(!render(&[]).args().iter().any(|arg| arg.contains("webhook")));
    let plain = render(&["webhook.enabled=true", "networkPolicy.enabled=true"]);
    assert!(plain.args().contains(&"--webhook-address=0.0.0.0:9443"));
    assert!(!plain.args().iter().any(|arg| arg.contains("webhook-tls")));
    let ingress = &plain.only("NetworkPolicy")["spec"]["ingress"];
    assert_eq!(ingress[2], json!({ "ports": [{ "port": "webhook" }] }));
    let tls = render(&["webhook.enabled=true", "webhook.tlsSecret=hooks"]);
    assert!(tls.args().contains(&"--webhook-tls=/etc/midship/webhook"));
    let mounts = tls.container()["volumeMounts"].as_array().expect("mounts");
    assert!(mounts.contains(&json!({ "name": "webhook-tls", "mountPath": "/etc/midship/webhook", "readOnly": true })));
    let volumes = tls.only("Deployment")["spec"]["template"]["spec"]["volumes"].as_array().expect("volumes");
    assert!(volumes.contains(&json!({ "name": "webhook-tls", "secret": { "secretName": "hooks" } })));
}

#[test]
fn a_digest_wins_over_a_tag() {
    let image = |set: &[&str]| render(set).container()["image"].as_str().expect("an image").to_owned();
    assert_eq!(image(&[]), format!("registry.midship.dev/midship:{}", env!("CARGO_PKG_VERSION")));
    assert_eq!(image(&["image.repository=my.example:5000/midship", "image.tag=v2"]), "my.example:5000/midship:v2");
    let digest = format!("image.digest={DIGEST}");
    assert_eq!(image(&["image.tag=v2", &digest]), format!("registry.midship.dev/midship@{DIGEST}"));
}

#[test]
fn agents_come_from_the_controllers_image_unless_another_is_named() {
    let agent = |set: &[&str]| {
        let rendered = render(set);
        let env = rendered.container()["env"].as_array().expect("variables");
        let found = env.iter().find(|one| one["name"] == "MIDSHIP_AGENT_IMAGE").expect("it is said");
        found["value"].as_str().expect("an image").to_owned()
    };
    let digest = format!("image.digest={DIGEST}");
    assert_eq!(agent(&[&digest]), format!("registry.midship.dev/midship@{DIGEST}"));
    assert_eq!(agent(&[&digest, "agentImage.repository=my.example/agent", "agentImage.tag=v1"]), "my.example/agent:v1");
}

#[test]
fn a_tag_or_digest_of_its_own_is_enough_for_the_agents_image() {
    let agent = |set: &[&str]| {
        let rendered =
            render(&[set, &["image.repository=my.example/midship", "image.tag=v1", "crds.install=false"]].concat());
        let env = rendered.container()["env"].as_array().expect("variables").clone();
        env.iter().find(|one| one["name"] == "MIDSHIP_AGENT_IMAGE").expect("it is said")["value"].clone()
    };
    assert_eq!(agent(&[]), "my.example/midship:v1");
    assert_eq!(agent(&["agentImage.tag=v2"]), "my.example/midship:v2");
    assert_eq!(agent(&[&format!("agentImage.digest={DIGEST}")]), format!("my.example/midship@{DIGEST}"));
}

#[test]
fn numbers_and_words_of_a_file_arrive_as_they_were_written() {
    let rendered = render_file(
        "controller: {burst: 1000000, workers: 12, qps: 2500000}
namespaces: ['123', 1e3x]
serviceAccount: {name: 1e3.x}
priorityClassName: '123'
metrics: {readers: [{namespace: '1', name: '2'}]}
gitSources: {impersonation: [{namespace: '3', name: '4'}]}
fullnameOverride: 'null'
log: {level: 'info,midship::repo=debug'}
",
    );
    let args = rendered.args();
    for flag in ["--burst=1000000", "--workers=12", "--namespaces=123,1e3x", "--lease-name=null"] {
        assert!(args.contains(&flag), "{flag} in {args:?}");
    }
    assert_eq!(args.len(), rendered.container()["args"].as_array().expect("args").len(), "{args:?}");
    let output = Run::new(env!("CARGO_BIN_EXE_midship")).args(args).arg("--help").output();
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(rendered.pod()["spec"]["priorityClassName"], "123");
    assert_eq!(rendered.pod()["spec"]["serviceAccountName"], "1e3.x");
    for object in &rendered.objects {
        let metadata = &object["metadata"];
        let namespace = metadata["namespace"].is_string() || metadata["namespace"].is_null();
        assert!(metadata["name"].is_string() && namespace, "{metadata}");
        for subject in object["subjects"].as_array().into_iter().flatten() {
            assert!(subject["name"].is_string() && subject["namespace"].is_string(), "{subject}");
        }
    }
}

#[test]
fn labels_that_are_given_twice_are_there_once() {
    let values = "extraLabels: {team: platform, tier: x}\npodLabels: {tier: control}\npodAnnotations: {kubectl.kubernetes.io/default-container: other}\nmetrics: {monitor: {kind: ServiceMonitor, labels: {team: main}}}";
    let rendered = render_file(values);
    assert_eq!(rendered.pod()["metadata"]["labels"]["tier"], "control");
    assert_eq!(rendered.pod()["metadata"]["labels"]["team"], "platform");
    assert_eq!(rendered.pod()["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"], "other");
    assert_eq!(rendered.only("ServiceMonitor")["metadata"]["labels"]["team"], "main");
}

#[test]
fn flags_are_left_out_where_the_program_decides() {
    let plain = render(&[]).args().join(" ");
    for flag in ["--namespaces", "--cluster-name", "--workers", "--qps", "--burst", "--otlp-endpoint"] {
        assert!(!plain.contains(flag), "{flag} in {plain}");
    }
    let tuned = render(VARIANTS.iter().find(|(name, _)| *name == "tuned").expect("there is one").1);
    let args = tuned.args();
    for flag in [
        "--workers=8",
        "--qps=50",
        "--burst=100",
        "--log-format=text",
        "--log-level=debug",
        "--cluster-name=prod-eu",
        "--otlp-endpoint=http://collector:4318",
        "--health-address=[::]:8081",
        "--metrics-address=[::]:8443",
    ] {
        assert!(args.contains(&flag), "{flag} in {args:?}");
    }
    assert!(render(&["namespaces={a,b}"]).args().contains(&"--namespaces=a,b"));
}

#[test]
fn the_program_knows_every_flag_it_is_given() {
    for (variant, set) in VARIANTS {
        // --help ends the program once all that stands before it was understood
        let output =
            Run::new(env!("CARGO_BIN_EXE_midship")).args(without_definitions(set).args()).arg("--help").output();
        assert_eq!(output.code, 0, "{variant}: {output}");
    }
}

#[test]
fn a_controller_knows_its_own_pod() {
    let rendered = render(&["extraEnv[0].name=HTTPS_PROXY", "extraEnv[0].value=http://proxy:3128"]);
    let env = rendered.container()["env"].as_array().expect("variables");
    let field = |name: &str| {
        env.iter().find(|one| one["name"] == name).map(|one| one["valueFrom"]["fieldRef"]["fieldPath"].clone())
    };
    assert_eq!(field("POD_NAME"), Some(json!("metadata.name")));
    assert_eq!(field("POD_NAMESPACE"), Some(json!("metadata.namespace")));
    assert!(env.contains(&json!({ "name": "HTTPS_PROXY", "value": "http://proxy:3128" })));
}

#[test]
fn what_is_said_of_placement_reaches_the_pods() {
    let rendered = render(VARIANTS.iter().find(|(name, _)| *name == "placed").expect("there is one").1);
    let pod = rendered.pod();
    assert_eq!(pod["spec"]["priorityClassName"], "high");
    assert_eq!(pod["spec"]["nodeSelector"], json!({ "disk": "ssd" }));
    assert_eq!(pod["spec"]["tolerations"], json!([{ "key": "infra", "operator": "Exists" }]));
    assert!(pod["spec"]["affinity"]["podAntiAffinity"].is_object());
    assert_eq!(pod["spec"]["imagePullSecrets"], json!([{ "name": "registry" }]));
    assert_eq!(pod["metadata"]["labels"]["tier"], "control");
    assert_eq!(pod["metadata"]["annotations"]["note"], "hello");
    assert_eq!(
        rendered.container()["resources"],
        json!({ "requests": { "cpu": "50m", "memory": "64Mi" }, "limits": { "memory": "256Mi" } })
    );
    for object in &rendered.objects {
        assert_eq!(object["metadata"]["labels"]["team"], "platform", "{}", name_of(object));
    }
    let spread = render(&["topologySpreadConstraints[0].topologyKey=zone", "topologySpreadConstraints[0].maxSkew=2"]);
    assert_eq!(spread.pod()["spec"]["topologySpreadConstraints"], json!([{ "topologyKey": "zone", "maxSkew": 2 }]));
}

#[test]
fn the_cache_is_bounded_and_the_only_place_to_write_but_tmp() {
    let rendered = render(&["cache.sizeLimit=5Gi"]);
    assert_eq!(rendered.pod()["spec"]["volumes"][0], json!({ "name": "cache", "emptyDir": { "sizeLimit": "5Gi" } }));
    assert!(rendered.args().contains(&"--cache-dir=/var/cache/midship"));
    let mounts: Vec<_> = rendered.container()["volumeMounts"]
        .as_array()
        .expect("mounts")
        .iter()
        .map(|it| it["mountPath"].clone())
        .collect();
    assert_eq!(mounts, ["/var/cache/midship", "/tmp"]);
}

#[test]
fn the_chart_as_it_is() {
    let text = render(&["crds.install=false"]).text.replace(env!("CARGO_PKG_VERSION"), "VERSION");
    let text: Vec<_> = text.lines().map(str::trim_end).collect();
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn the_notes_fit_ten_lines_and_a_terminal() {
    for set in [&[][..], &["namespaces={shop}"], &["crds.keep=false"]] {
        let install = helm().args(["install", "midship"]).arg(chart());
        let install = install.args(["-n", "midship-system", "--dry-run=client", "--set", "crds.install=false"]);
        let output = set.iter().fold(install, |run, one| run.args(["--set", one])).stdout();
        let (_, notes) = output.split_once("NOTES:\n").expect("there are notes");
        assert!(notes.lines().count() <= 10, "{notes}");
        assert!(notes.lines().all(|line| line.chars().count() <= 120), "{notes}");
        assert!(notes.contains("-n midship-system rollout status deployment/midship"), "{notes}");
    }
}
