//! What pods are told of files that change and of their end.

use serde_json::{Value, json};

use super::{Inputs, render};
use crate::extension::agent::{AGENT_FILE, AgentConfig, PROCESS_FILE};
use crate::extension::secret::SecretValue;
use crate::extension::tests::sample;
use crate::extension::wrong_tests::{MANIFEST_TEXT, RULES, load};
use crate::extension::{Package, PackageFiles, Rendered, problem::Problems};

/// A file that lists pods beside a parameter with a default and one without.
const PEERS: &str = "count {{ params.count }}\n{% for pod in components.server.pods %}peer {{ pod.host }}\n{% endfor %}\
                     {% if params.newer is defined %}newer {{ params.newer }}\n{% endif %}";

fn manifest(from: &str, to: &str) -> String {
    assert!(MANIFEST_TEXT.contains(from), "the base has no {from}");
    MANIFEST_TEXT.replacen(from, to, 1)
}

fn rendered(manifest: &str, server: &Value) -> Rendered {
    let package = load(manifest, PEERS, None).unwrap_or_else(|problems: Problems| panic!("{problems}"));
    let mut server = server.clone();
    server["name"] = json!("server");
    let spec = json!({ "type": "demo", "extensionVersion": "1.0.0", "version": "2.0", "components": [server] });
    sample(&package, spec).1
}

fn told(rendered: &Rendered) -> AgentConfig {
    let map = rendered.config_maps.iter().find(|map| map["metadata"]["name"] == "sample-server-config");
    let text = map.expect("a configuration")["data"][AGENT_FILE].as_str().expect("what the agent is told");
    serde_json::from_str(text).expect("it can read it")
}

#[test]
fn a_file_that_asks_for_it_restarts_the_process_when_pods_come_and_not_for_a_parameter() {
    let file = |more: &str| manifest("config/demo.conf.j2", &format!("{{template: config/demo.conf.j2{more}}}"));
    let mark = |manifest: &str, server: Value| told(&rendered(manifest, &server)).user_files.get("demo.conf").cloned();
    let asks = file(", onChange: restart");
    let two = mark(&asks, json!({ "replicas": 2 }));
    assert!(two.is_some());
    assert_eq!(two, mark(&asks, json!({ "replicas": 2, "parameters": { "count": 7, "newer": 1 } })));
    assert_ne!(two, mark(&asks, json!({ "replicas": 3 })));
    assert_eq!(mark(&file(""), json!({ "replicas": 2 })), None, "it has the process reload");
    let quiet = |manifest: &str| told(&rendered(manifest, &json!({}))).files[0].quiet;
    assert!(quiet(&file(", onChange: none")) && !quiet(&file("")) && !quiet(&asks));
}

#[test]
fn the_kubelet_asks_for_what_is_to_be_done_before_a_pod_goes_and_gives_it_time() {
    let pod = |manifest: &str| rendered(manifest, &json!({})).components[0].spec.groups[0].template.spec.open();
    let seconds = |pod: &Value| pod["terminationGracePeriodSeconds"].as_u64().expect("seconds");
    let plain = pod(MANIFEST_TEXT);
    assert_eq!(plain["containers"][0].get("lifecycle"), None);
    let action = "actions: {beforeStop: {timeout: 20s, retries: 1, steps: [{exec: [demo-leave]}]}}";
    let asks = pod(&manifest("    env: {}", &format!("    {action}")));
    let command = &asks["containers"][0]["lifecycle"]["preStop"]["exec"]["command"];
    assert_eq!(*command, json!(["/midship/bin/midship-agent", "leave", "--timeout", "40s"]));
    assert_eq!(seconds(&asks), seconds(&plain) + 40);
    // what is done may change without another pod
    let other = pod(&manifest("    env: {}", &format!("    {}", action.replace("demo-leave", "demo-go"))));
    assert_eq!(asks, other);
}

#[test]
fn a_process_whose_data_can_be_restored_waits_for_the_agent() {
    let asks = |manifest: &str| {
        let rendered = rendered(manifest, &json!({}));
        let map = rendered.config_maps.iter().find(|map| map["metadata"]["name"] == "sample-server-config");
        let text = map.expect("a configuration")["data"][PROCESS_FILE].as_str().expect("what PID 1 is told");
        let process: Value = serde_json::from_str(text).expect("it can read it");
        process.get("preStart").is_some()
    };
    assert!(!asks(MANIFEST_TEXT));
    let method = "{stream: {volume: {name: data}}, restore: {volume: data}}";
    assert!(asks(&manifest("backup: null", &format!("backup: {{methods: {{files: {method}}}}}"))));
}

#[test]
fn a_probe_is_asked_by_whoever_can_ask_all_of_it() {
    let check = |steps: &str| {
        let manifest = manifest("    env: {}", &format!("    probes: {{ready: {{steps: [{steps}]}}}}"));
        let rendered = rendered(&manifest, &json!({}));
        let map = rendered.config_maps.iter().find(|map| map["metadata"]["name"] == "sample-server-config");
        let text = map.expect("a configuration")["data"][PROCESS_FILE].as_str().expect("what PID 1 is told");
        let process: Value = serde_json::from_str(text).expect("JSON");
        process["readiness"]["check"].clone()
    };
    assert_eq!(check("{tcp: client}"), json!({ "tcp": { "port": 7000 } }));
    assert_eq!(check("{exec: [check, --all]}"), json!({ "exec": { "command": ["check", "--all"] } }));
    let asked_by_the_agent = [
        "{exec: [check, '{% if tls.enabled %}--tls{% endif %}']}",
        "{exec: [check], when: 'false'}",
        "{exec: [check], retries: 2}",
        "{exec: [check], ignoreFailure: true}",
        "{exec: {command: [check], env: {A: b}}}",
        "{tcp: '{{ ports.client }}'}",
        "{tcp: '7000'}",
        "{tcp: {port: client, read: 9}}",
        "{tcp: client, when: 'false'}",
    ];
    for steps in asked_by_the_agent {
        assert_eq!(check(steps)["file"]["path"], "/midship/run/ready", "{steps}");
    }
}

#[test]
fn clients_are_led_to_a_service_that_is_there() {
    let host = |server: &str, connection: &str| {
        let manifest = manifest("    env: {}", &format!("    {server}")).replacen("connection: {}", connection, 1);
        let rendered = rendered(&manifest, &json!({}));
        let secret = rendered.secrets.iter().find(|secret| secret.name == "sample-connection").expect("a Secret");
        secret.data["host"].expose().to_owned()
    };
    assert_eq!(host("env: {}", "connection: {}"), "sample.default.svc");
    assert_eq!(host("services: {web: {}}", "connection: {}"), "sample-web.default.svc");
    assert_eq!(host("services: {web: {}, more: {}}", "connection: {service: web}"), "sample-web.default.svc");
    assert_eq!(host("services: {}", "connection: null"), "sample-server-pods.default.svc");
}

#[test]
fn scripts_in_folders_and_programs_come_as_they_are() {
    let with = |scripts: &[(&str, &[u8])]| {
        let files = [("extension.yaml", MANIFEST_TEXT), ("config/demo.conf.j2", PEERS), ("params/rules.json", RULES)];
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()));
        let scripts = scripts.iter().map(|(path, bytes)| (format!("scripts/{path}"), bytes.to_vec()));
        Package::load(PackageFiles::new(files.chain(scripts)).expect("plain files"))
    };
    let made = |scripts: &[(&str, &[u8])]| {
        let package = with(scripts).unwrap_or_else(|problems| panic!("{problems}"));
        let rendered = sample(&package, json!({ "type": "demo", "extensionVersion": "1.0.0", "version": "2.0" })).1;
        let map = rendered.config_maps.iter().find(|map| map["metadata"]["name"] == "sample-scripts").cloned();
        let volumes = rendered.components[0].spec.groups[0].template.spec.open()["volumes"].clone();
        let volumes = volumes.as_array().cloned().unwrap_or_default();
        let volume = volumes.into_iter().find(|volume| volume["name"] == "midship-scripts");
        (map.expect("scripts"), volume.expect("their volume"))
    };
    let (map, volume) = made(&[("a_b.sh", b"text"), ("tool", &[0xff, 0])]);
    assert_eq!((&map["data"], &map["binaryData"]), (&json!({ "a_b.sh": "text" }), &json!({ "tool": "/wA=" })));
    assert_eq!(volume["configMap"].get("items"), None);
    let (map, volume) = made(&[("a_b.sh", b"text"), ("lib/x.sh", b"more")]);
    assert_eq!(map["data"], json!({ "a__b.sh": "text", "lib_.x.sh": "more" }));
    let items = json!([{ "key": "a__b.sh", "path": "a_b.sh" }, { "key": "lib_.x.sh", "path": "lib/x.sh" }]);
    assert_eq!(volume["configMap"]["items"], items);
    let large = vec![b'x'; 512 * 1024];
    let problems = with(&[("a", &large), ("b", &large), ("c", b"x")]).expect_err("too large").to_string();
    assert_eq!(problems, "scripts: have 1048577 bytes together; they lie in one ConfigMap, which keeps 1048576");
}

#[test]
fn a_package_may_have_a_volume_of_its_own_for_temporary_files() {
    for (volume, declared) in [
        ("tmp", "tmp: {path: /tmp, kind: Memory, size: 64Mi}"),
        ("scratch", "scratch: {path: /tmp}"),
        ("tmp", "more: {path: /more}"),
    ] {
        let manifest =
            manifest("data: {path: /data, size: 1Gi}", &format!("data: {{path: /data, size: 1Gi}}\n      {declared}"));
        let pod = rendered(&manifest, &json!({})).components[0].spec.groups[0].template.spec.open();
        let named = |list: &Value, key: &str, name: &str| {
            list.as_array().expect("a list").iter().filter(|item| item[key] == name).count()
        };
        assert_eq!(named(&pod["volumes"], "name", volume), 1, "{declared}");
        assert_eq!(named(&pod["containers"][0]["volumeMounts"], "mountPath", "/tmp"), 1, "{declared}");
        assert_eq!(named(&pod["volumes"], "name", "tmp"), usize::from(volume == "tmp"), "{declared}");
    }
}

#[test]
fn alerts_select_the_pods_of_their_own_instance() {
    let alert = "{Down: {expr: \"up{ {{ selector }} } == 0\", severity: critical, summary: down}}";
    let manifest = manifest("{thresholds: {memory: 0.9}}", &format!("{{alerts: {alert}}}"));
    let package = load(&manifest, PEERS, None).unwrap_or_else(|problems: Problems| panic!("{problems}"));
    let spec =
        json!({ "type": "demo", "extensionVersion": "1.0.0", "version": "2.0", "monitoring": { "alerts": true } });
    let rule = sample(&package, spec).1.monitoring[0]["spec"]["groups"][0]["rules"][0]["expr"].clone();
    let expected = r#"up{ namespace="default", pod=~"sample-.*", pod=~"(sample-server|sample-watcher)-[0-9]+" } == 0"#;
    assert_eq!(rule, expected);
}

#[test]
fn where_pods_may_run_reaches_them_as_it_was_asked_for() {
    let pod = |server: Value| rendered(MANIFEST_TEXT, &server).components[0].spec.groups[0].template.spec.open();
    let plain = pod(json!({}));
    let spread = &plain["topologySpreadConstraints"];
    assert_eq!(spread.as_array().map(Vec::len), Some(1));
    assert_eq!(
        (&spread[0]["topologyKey"], &spread[0]["whenUnsatisfiable"]),
        (&json!("kubernetes.io/hostname"), &json!("ScheduleAnyway"))
    );
    assert_eq!(plain["securityContext"]["seccompProfile"], json!({ "type": "RuntimeDefault" }));

    let affinity = json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{ "matchExpressions": [{ "key": "disk", "operator": "In", "values": ["ssd"] }] }] } } });
    let tolerations = json!([{ "key": "dedicated", "operator": "Exists" }]);
    let asked = pod(json!({
        "serviceAccountName": "keeper",
        "scheduling": { "spread": "zone", "strict": true, "affinity": affinity, "tolerations": tolerations,
            "nodeSelector": { "tier": "data" }, "priorityClassName": "high" },
    }));
    let spread = asked["topologySpreadConstraints"].as_array().expect("constraints");
    let keys: Vec<&Value> = spread.iter().map(|one| &one["topologyKey"]).collect();
    assert_eq!(keys, [&json!("topology.kubernetes.io/zone"), &json!("kubernetes.io/hostname")]);
    assert!(spread.iter().all(|one| one["whenUnsatisfiable"] == "DoNotSchedule"), "{spread:?}");
    assert_eq!(asked["affinity"], affinity);
    assert_eq!(asked["tolerations"], tolerations);
    assert_eq!(asked["nodeSelector"], json!({ "tier": "data" }));
    assert_eq!(asked["priorityClassName"], "high");
    assert_eq!(asked["serviceAccountName"], "keeper");

    let package = load(MANIFEST_TEXT, PEERS, None).unwrap_or_else(|problems: Problems| panic!("{problems}"));
    let secrets = json!([{ "name": "registry" }]);
    let spec = json!({ "type": "demo", "extensionVersion": "1.0.0", "version": "2.0", "imagePullSecrets": secrets });
    let pulled = sample(&package, spec).1.components[0].spec.groups[0].template.spec.open();
    assert_eq!(pulled["imagePullSecrets"], secrets);
}

#[test]
fn steps_are_told_that_the_instance_was_created_and_nothing_else_changes_with_that() {
    let package = load(MANIFEST_TEXT, PEERS, None).unwrap_or_else(|problems: Problems| panic!("{problems}"));
    let (mut resolved, before) =
        sample(&package, json!({ "type": "demo", "extensionVersion": "1.0.0", "version": "2.0" }));
    assert_eq!(told(&before).context.get("created"), None, "steps read false then");
    resolved.created = true;
    let secrets = [("token".to_owned(), SecretValue::new("made-up"))].into_iter().collect();
    let inputs = Inputs { agent_image: "agent:1".to_owned(), secrets, ..Inputs::default() };
    let after = render(&package, &resolved, &inputs).unwrap_or_else(|refusals| panic!("{refusals}"));
    assert_eq!(told(&after).context["created"], true);
    assert_eq!(told(&after).revision, told(&before).revision);
    assert_eq!(told(&after).files, told(&before).files);
}

#[test]
fn a_password_that_ends_with_its_line_is_refused() {
    let text = manifest("secrets: {token: 32}\n", "secrets: {token: 32}\ncredentials: {username: admin}\n");
    let package = load(&text, PEERS, None).unwrap_or_else(|problems: Problems| panic!("{problems}"));
    let spec = json!({ "type": "demo", "extensionVersion": "1.0.0", "version": "2.0",
        "credentials": { "secretName": "mine" } });
    let (resolved, _) = sample(&package, spec);
    let secrets = [("username", "admin"), ("password", "hunter2\n"), ("token", "made\nup")];
    let secrets = secrets.into_iter().map(|(name, value)| (name.to_owned(), SecretValue::new(value)));
    let inputs = Inputs { agent_image: "agent:1".to_owned(), secrets: secrets.collect(), ..Inputs::default() };
    let refusals = render(&package, &resolved, &inputs).expect_err("nobody could log in");
    assert_eq!(
        refusals.to_string(),
        "spec.credentials.secretName: key password of Secret mine has a line break or another control character, which \
         nobody could log in with; write it without, as with echo -n"
    );
}
