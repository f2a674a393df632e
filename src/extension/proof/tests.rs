//! What is said of packages that only rendering shows to be wrong.

use super::*;
use crate::extension::cue::Nobody;
use crate::extension::wrong_tests::{MANIFEST_TEXT, load};

const GOOD: &str = "count {{ params.count }}\n";

/// What the proof says of the package after a change.
fn says(from: &str, to: &str, config: &str) -> String {
    assert!(MANIFEST_TEXT.contains(from), "the base has no {from}");
    let package = load(&MANIFEST_TEXT.replacen(from, to, 1), config, None);
    let package = package.unwrap_or_else(|problems| panic!("{problems}"));
    check(&package, &Nobody).problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_package_that_is_right_has_nothing_to_mend_unless_there_is_no_time() {
    assert_eq!(says("env: {}", "env: {}", GOOD), "");
    let package = load(MANIFEST_TEXT, GOOD, None).unwrap_or_else(|problems| panic!("{problems}"));
    let told: Vec<String> =
        check_while(&package, &Nobody, &|| false).problems.iter().map(ToString::to_string).collect();
    assert_eq!(told, [format!("extension.yaml:7:1: {TOO_LONG}")]);
}

#[test]
fn defaults_that_would_be_refused_are_the_packages_fault() {
    let cases = [
        (
            "environments: {}",
            "environments: {small: {topology: sharded, components: {server: {parameters: {low: 4, high: 2}}}}}",
            "extension.yaml:15:16: an instance that asks for nothing (topology sharded, environment small) is refused: \
                 spec.components[server].parameters: parameter high: 2 is less than the minimum of 4",
        ),
        (
            "environments: {}",
            "environments: {small: {components: {server: {replicas: 9}}}}",
            "extension.yaml:15:16: an instance that asks for nothing (topology pair, environment small) is refused: \
                 spec.components[server].replicas: replicas of component server: 9 is not allowed; allowed is 1 to 5",
        ),
    ];
    for (from, to, expected) in cases {
        assert_eq!(says(from, to, GOOD), expected);
    }
}

/// What the proof says of a package with an object.
fn with_object(text: &str) -> String {
    let manifest = MANIFEST_TEXT.replacen("objects: []", "objects: [{template: templates/more.yaml.j2}]", 1);
    let files = [
        (MANIFEST, manifest.as_str()),
        ("config/demo.conf.j2", GOOD),
        ("params/rules.json", crate::extension::wrong_tests::RULES),
        ("templates/more.yaml.j2", text),
    ];
    let files = files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
    let package = Package::load(crate::extension::PackageFiles::new(files).expect("plain files"));
    let package = package.unwrap_or_else(|problems| panic!("{problems}"));
    check(&package, &Nobody).problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn objects_give_nobody_more_than_pods_of_the_instance_have() {
    let job = |pod: &str| {
        format!(
            "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: '{{{{ instance }}}}-job'}}\nspec: {{template: {{spec: {pod}}}}}\n"
        )
    };
    let map =
        |more: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: '{{{{ instance }}}}-more'{more}}}\n");
    let cases = [
            (job("{containers: [{name: a, image: 'a:1'}]}"), ""),
            (job("{hostPID: true, containers: [{name: a, image: 'a:1'}]}"), "Job: hostPID is not allowed"),
            (
                job("{serviceAccountName: admin, containers: [{name: a, image: 'a:1'}]}"),
                "Job: serviceAccountName is not",
            ),
            (
                job("{containers: [{name: a, image: 'a:1', securityContext: {privileged: true}}]}"),
                "Job: privileged: true of container \"a\" is not allowed",
            ),
            (
                job("{volumes: [{name: b, secret: {secretName: sample-ca}}], containers: [{name: a, image: 'a:1'}]}"),
                "Job: volume \"b\": Secret \"sample-ca\" is not a package's to use",
            ),
            (
                job("{volumes: [{name: b, hostPath: {path: /}}], containers: [{name: a, image: 'a:1'}]}"),
                "Job: volume \"b\", a hostPath, is not allowed",
            ),
            (map(""), ""),
            (map(", finalizers: [a/b]"), "ConfigMap: finalizers is not a package's to decide"),
            (map(", ownerReferences: [{name: a}]"), "ConfigMap: ownerReferences is not a package's to decide"),
            (map("") + "data: {a: '{{ secret.token }}'}\n", "ConfigMap: `secret`, `username` and `pod` are filled in"),
            (
                "apiVersion: evil.example.com/v1\nkind: Gateway\nmetadata: {name: sample-a}\n".to_owned(),
                "a Gateway of evil.example.com/v1 cannot be added; that of gateway.networking.k8s.io can",
            ),
            (
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: sample-server-config}\n".to_owned(),
                "ConfigMap sample-server-config is made twice",
            ),
            (
                "{% for n in range(1001) %}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: 'sample-{{ n }}'}\n{% endfor %}\n"
                    .to_owned(),
                "makes too many objects; all templates of an instance make at most 1000",
            ),
        ];
    for (text, expected) in cases {
        let found = with_object(&text);
        let said = if expected.is_empty() { found.is_empty() } else { found.contains(expected) };
        assert!(said, "{text}\n{found}");
    }
}

#[test]
fn objects_serve_their_instance_and_reach_nothing_of_others() {
    let object = |version: &str, kind: &str, spec: &str| {
        format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: '{{{{ instance }}}}-more'}}\nspec: {spec}\n")
    };
    let service = |spec: &str| object("v1", "Service", spec);
    let policy = |spec: &str| object("networking.k8s.io/v1", "NetworkPolicy", spec);
    let monitor = |spec: &str| object("monitoring.coreos.com/v1", "ServiceMonitor", spec);
    let certificate = |spec: &str| object("cert-manager.io/v1", "Certificate", spec);
    let scaler = |name: &str| {
        let target = format!("{{apiVersion: midship.dev/v1alpha1, kind: Component, name: {name}}}");
        object("autoscaling/v2", "HorizontalPodAutoscaler", &format!("{{scaleTargetRef: {target}, maxReplicas: 3}}"))
    };
    let ingress = |name: &str| {
        let backend = format!("{{service: {{name: {name}, port: {{number: 80}}}}}}");
        object("networking.k8s.io/v1", "Ingress", &format!("{{defaultBackend: {backend}}}"))
    };
    let cases = [
        (service("{selector: {midship.dev/component: server}, ports: [{port: 80}]}"), ""),
        (service("{externalIPs: [10.0.0.1]}"), "Service: spec.externalIPs would draw traffic that is not"),
        (service("{type: ExternalName}"), "Service: spec.type ExternalName leads elsewhere"),
        (
            service("{selector: {midship.dev/instance: other}}"),
            "Service: spec.selector chooses what is of instance \"other\"",
        ),
        (policy("{podSelector: {}, ingress: [{}]}"), ""),
        (policy("{podSelector: all}"), "NetworkPolicy: spec.podSelector is no object"),
        (monitor("{endpoints: [{port: client, basicAuth: {password: {name: sample-scrape, key: a}}}]}"), ""),
        (monitor("{namespaceSelector: {any: true}}"), "ServiceMonitor: spec.namespaceSelector would look into"),
        (
            monitor("{endpoints: [{bearerTokenFile: /var/run/secrets/token}]}"),
            "ServiceMonitor: bearerTokenFile would hand out what is Prometheus's own",
        ),
        (
            monitor("{endpoints: [{authorization: {credentials: {name: other, key: a}}}]}"),
            "ServiceMonitor: credentials: Secret \"other\" is not a package's to use",
        ),
        (certificate("{secretName: sample-web, dnsNames: [demo.example.com, sample.default.svc]}"), ""),
        (certificate("{secretName: sample-x-tls}"), "Certificate: spec.secretName \"sample-x-tls\" may be somebody"),
        (certificate("{secretName: sample-web, isCA: true}"), "Certificate: spec.isCA would let the instance sign"),
        (
            certificate("{secretName: sample-web, dnsNames: ['*.other.default.svc.cluster.local']}"),
            "Certificate: \"*.other.default.svc.cluster.local\" is a name of the cluster",
        ),
        (scaler("sample-server"), ""),
        (
            scaler("other-server"),
            "spec.scaleTargetRef is no Component (midship.dev/v1alpha1) of the instance; there is",
        ),
        (ingress("sample"), ""),
        (ingress("other"), "Ingress: Service \"other\" is not the instance's; lead to sample or sample-…"),
        (
            object(
                "batch/v1",
                "Job",
                "{manualSelector: true, template: {spec: {containers: [{name: a, image: 'a:1'}]}}}",
            ),
            "Job: manualSelector would take over pods of others",
        ),
        (
            object(
                "batch/v1",
                "Job",
                "{template: {metadata: {labels: {midship.dev/role: primary}}, spec: {containers: [{name: a, image: 'a:1'}]}}}",
            ),
            "Job: label midship.dev/role of its pod would make it one of an instance",
        ),
    ];
    for (text, expected) in cases {
        let found = with_object(&text);
        let said = if expected.is_empty() { found.is_empty() } else { found.contains(expected) };
        assert!(said, "{text}\n{found}");
    }
}

#[test]
fn pods_use_by_name_what_is_the_instances_and_nothing_else() {
    let volume = |source: &str| format!("volumes: [{{name: a, {source}}}]");
    let refused = |name: &str| {
        format!(
            "Secret \"{name}\" is not a package's to use; there is sample-credentials, sample-connection and sample-tls, what the instance \
                 names itself, and others called sample-… that do not end in -agent, -ca, -config, -connection, -credentials and -tls"
        )
    };
    let cases = [
        (volume("secret: {secretName: sample-credentials}"), String::new()),
        (volume("secret: {secretName: '{{ instance }}-license', optional: true}"), String::new()),
        (volume("configMap: {name: kube-root-ca.crt}"), String::new()),
        (volume("persistentVolumeClaim: {claimName: sample-import}"), String::new()),
        (volume("secret: {secretName: other-credentials}"), format!("volume \"a\": {}", refused("other-credentials"))),
        (volume("secret: {secretName: '{{ instance }}-agent'}"), refused("sample-agent")),
        (volume("projected: {sources: [{secret: {name: sample-ca}}]}"), refused("sample-ca")),
        (
            volume("projected: {sources: [{serviceAccountToken: {path: a}}]}"),
            "volume \"a\": serviceAccountToken is not a package's to have".to_owned(),
        ),
        (
            volume("persistentVolumeClaim: {claimName: data-other-server-0}"),
            "volume \"a\": claim \"data-other-server-0\" is not a package's to use".to_owned(),
        ),
        (
            volume("ephemeral: {volumeClaimTemplate: {spec: {dataSource: {kind: PersistentVolumeClaim, name: b}}}}"),
            "volume \"a\": dataSource would fill it with what others have".to_owned(),
        ),
        (
            "containers: [{name: server, envFrom: [{secretRef: {name: sample-x-credentials}}]}]".to_owned(),
            format!("container \"server\": {}", refused("sample-x-credentials")),
        ),
        (
            "containers: [{name: server, env: [{name: A, valueFrom: {secretKeyRef: {name: b, key: c}}}]}]".to_owned(),
            format!("container \"server\": {}", refused("b")),
        ),
        ("imagePullSecrets: [{name: other}]".to_owned(), format!("imagePullSecrets: {}", refused("other"))),
    ];
    for (pod, expected) in cases {
        let found = says("env: {}", &format!("pod: {{{pod}}}"), GOOD);
        let said = if expected.is_empty() { found.is_empty() } else { found.contains(&expected) };
        assert!(said, "{pod}\n{found}");
    }
}

#[test]
fn what_the_exporter_is_told_is_filled_in_by_kubernetes_or_refused() {
    let spoilt = |exporter: &str| {
        let image = "image: \"demo:2.0\", images: {exporter: \"exporter:1\"}";
        let manifest = MANIFEST_TEXT.replacen("image: \"demo:2.0\"", image, 1);
        let monitoring = format!("monitoring: {{exporter: {{component: server, port: 9000, {exporter}}}}}");
        manifest.replacen("monitoring: {thresholds: {memory: 0.9}}", &monitoring, 1)
    };
    let found = |exporter: &str| match load(&spoilt(exporter), GOOD, None) {
        Ok(package) => check(&package, &Nobody).problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        Err(problems) => problems.to_string(),
    };
    let cases = [
        ("env: {URI: \"demo://a:{{ secret.token }}@localhost/{{ pod.name }}\"}, command: [x, \"{{ pod.ip }}\"]", ""),
        ("command: [\"--x={{ nonsense.y }}\"]", "\"nonsense\" is not defined; there is instance, namespace"),
        ("command: [\"{{ secret.token }}\"]", "a secret among the words of a command is seen by everybody"),
        ("env: {ZONE: \"{{ pod.zone }}\"}", "pod zone is not known here: nobody fills it in in a container of another"),
    ];
    for (exporter, expected) in cases {
        let found = found(exporter);
        let said = if expected.is_empty() { found.is_empty() } else { found.contains(expected) };
        assert!(said, "{exporter}\n{found}");
    }
    let package = load(&spoilt(cases[0].0), GOOD, None).unwrap_or_else(|problems| panic!("{problems}"));
    let spec =
        json!({ "type": "demo", "extensionVersion": "1.0.0", "version": "2.0", "monitoring": { "exporter": true } });
    let rendered = crate::extension::tests::sample(&package, spec).1;
    let pod = rendered.components[0].spec.groups[0].template.spec.open();
    let container = &pod["containers"][2];
    assert_eq!(container["command"], json!(["x", "$(MIDSHIP_POD_IP)"]));
    let names: Vec<&str> =
        container["env"].as_array().expect("variables").iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["MIDSHIP_POD", "MIDSHIP_POD_IP", "MIDSHIP_SECRET_0", "URI"]);
    assert_eq!(container["env"][3]["value"], "demo://a:$(MIDSHIP_SECRET_0)@localhost/$(MIDSHIP_POD)");
    let added = says(
        "env: {}",
        "pod: {containers: [{name: a, image: 'a:1', env: [{name: A, value: '{{ secret.token }}'}]}]}",
        GOOD,
    );
    assert!(added.contains("${secret:token} would stay as it is: nobody fills it in here"), "{added}");
}

/// Rules that allow nothing.
struct Never;

impl CueCheck for Never {
    fn check(&self, _: &str, value: &serde_json::Value) -> Result<(), cue::Objection> {
        let empty = value.as_object().is_none_or(serde_json::Map::is_empty);
        let reason = if empty { "parameter count: incomplete value int" } else { "parameter count: invalid value 3" };
        Err(cue::Objection::Broken(vec![reason.to_owned()]))
    }
}

#[test]
fn defaults_are_held_to_the_rules_and_what_could_not_be_asked_is_told() {
    let manifest = MANIFEST_TEXT.replacen("rules: {schema: params/rules.json}", "rules: {cue: params/rules.cue}", 1);
    let rules = ("params/rules.cue", "#Parameters: {count: <2, ...}\n");
    let files = [(MANIFEST, manifest.as_str()), ("config/demo.conf.j2", GOOD), rules];
    let files = files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
    let package = Package::load(crate::extension::PackageFiles::new(files).expect("plain files"));
    let package = package.unwrap_or_else(|problems| panic!("{problems}"));
    let proof = check(&package, &Never);
    let told: Vec<String> = proof.problems.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 3, "one for each topology: {told:?}");
    assert!(told[0].ends_with("spec.components[server].parameters: parameter count: invalid value 3"), "{told:?}");
    let unasked = check(&package, &Nobody);
    assert_eq!(unasked.problems, []);
    assert_eq!(unasked.notes, ["the rules of server could not be checked: nobody can be asked here"]);
    assert_eq!(unasked.unchecked.as_ref(), unasked.notes.first());
}

#[test]
fn mistakes_that_only_rendering_shows_have_a_place() {
    let cases = [
        ("low: {type: integer, default: 1}", "low: {type: integer, default: \"{{ instance }}\"}"),
        ("low: {type: integer, default: 1}", "low: {type: integer, default: \"{{ params.high }}\"}"),
        ("command: [demod, \"{{ files['demo.conf'] }}\"]", "command: [demod, \"{{ secret.token }}\"]"),
        ("env: {}", "env: {TOKEN: \"Bearer {{ secret.token }}\"}"),
        ("env: {}", "pod: {spec: {nodeSelector: {disk: fast}}}"),
        ("env: {}", "pod: {containers: [{name: server, volumeMount: [{name: data}]}]}"),
        ("env: {}", "pod: {terminationGracePeriodSeconds: soon}"),
        ("env: {}", "pod: {hostNetwork: true}"),
        ("env: {}", "pod: {serviceAccountName: admin}"),
        ("env: {}", "pod: {containers: [{name: helper, image: \"helper:1\"}]}"),
        ("env: {}", "pod: {securityContext: null}"),
        ("env: {}", "pod: {containers: [{name: server, command: [sh]}]}"),
        ("env: {}", "pod: {containers: [{name: midship, image: \"evil:1\"}]}"),
        ("env: {}", "pod: {containers: [{name: helper}]}"),
        ("command: [demod, \"{{ files['demo.conf'] }}\"]", "command: [\"{{ environment }}\"]"),
        ("env: {}", "services: {main: {when: topology != 'sharded'}}"),
    ];
    let told = cases.map(|(from, to)| format!("{to}\n  {}\n", says(from, to, GOOD).replace('\n', "\n  ")));
    insta::assert_snapshot!(told.concat());
    assert_eq!(
        says("env: {}", "env: {}", "a\n{{ params.count | upcase }}\n"),
        "config/demo.conf.j2:2: unknown filter: filter upcase is unknown"
    );
}

#[test]
fn a_file_is_of_the_format_that_is_declared_for_it() {
    let config = |format: &str, text: &str| {
        let file = format!("demo.conf: {{template: config/demo.conf.j2, format: {format}}}");
        says("demo.conf: config/demo.conf.j2", &file, text)
    };
    for (format, text) in [
        ("yaml", "a: [{{ pod.host }}, {{ secret.token }}]\nb: {{ params.count }}\n"),
        ("yaml", "a: 1\n---\nb: 2\n"),
        ("json", "{\"a\": {{ pod.ordinal }}, \"b\": ${pod:ordinal+1}, \"c\": \"{{ secret.token }}\"}\n"),
        ("json", "\n"),
        ("words", "a: [\n"),
    ] {
        assert_eq!(config(format, text), "", "{text}");
    }
    let yaml = config("yaml", "a: {{ params.count }}\nb: [\n");
    assert_eq!(yaml, "extension.yaml:24:7: config/demo.conf.j2 renders no YAML: line 2: unclosed bracket '['");
    let json = config("json", "{\"a\": {{ params.count }}\n");
    assert!(json.starts_with("extension.yaml:24:7: config/demo.conf.j2 renders no JSON: EOF while parsing"), "{json}");
}

#[test]
fn tests_that_cannot_be_read_are_found_without_running_them() {
    let files = [
        (MANIFEST, MANIFEST_TEXT),
        ("config/demo.conf.j2", GOOD),
        ("params/rules.json", crate::extension::wrong_tests::RULES),
        ("tests/a.yaml", "cases: [\n"),
        ("tests/b.yaml", "cases:\n  - name: b\n    componets: {}\n    expct: []\n"),
    ];
    let files = files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
    let package = Package::load(crate::extension::PackageFiles::new(files).expect("plain files"));
    let package = package.unwrap_or_else(|problems| panic!("{problems}"));
    let told: Vec<String> = check(&package, &Nobody).problems.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0].starts_with("tests/a.yaml:1:") && told[0].ends_with("unclosed bracket '['"), "{told:?}");
    assert_eq!(
        told[1..],
        [
            "tests/b.yaml:3:5: cases[0].componets: unknown field \"componets\"; known are before, changes, defaults, errors, expect, \
             instance, name, namespace, spec",
            "tests/b.yaml:4:5: cases[0].expct: unknown field \"expct\"; did you mean \"expect\"?"
        ]
    );
}
