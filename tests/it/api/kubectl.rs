//! What people see with kubectl alone: explanations, tables that fit a terminal, waiting, scaling.

use midship::api::Kind;
use serde_json::{Value, json};

use crate::harness::{Scene, api_test};

/// As wide as a terminal that people really have.
const TERMINAL: usize = 120;

const LONG_NAME: &str = "orders-cache-production-eu";
const CONDITIONS: [(&str, &str); 2] = [("Ready", "RolloutInProgress"), ("Reconciling", "RolloutInProgress")];

/// An object of each kind with names and values as long as they are in real life.
fn objects() -> Vec<(Kind, Value, Value)> {
    let long = |suffix: &str| format!("{LONG_NAME}{suffix}");
    let url = "https://git.example.com/platform-engineering/middleware-production.git";
    vec![
        (
            Kind::GitSource,
            json!({ "url": url }),
            json!({ "applied": "release-2026-11@7f9dd62c", "appliedAt": "2026-11-20T08:00:00Z" }),
        ),
        (
            Kind::Instance,
            json!({ "type": "postgresql", "extensionVersion": "1.10.0", "version": "17.10" }),
            json!({ "phase": "Upgrading", "ready": "10/12", "primary": long("-postgres-0"),
                    "resolved": { "topology": "replication" } }),
        ),
        (
            Kind::Component,
            json!({ "instance": LONG_NAME, "component": "postgres" }),
            json!({ "replicas": 12, "readyReplicas": 10 }),
        ),
        (
            Kind::PodSet,
            json!({ "instance": LONG_NAME, "component": "postgres", "group": "default", "replicas": 12,
                    "template": { "spec": {} } }),
            json!({ "replicas": 12, "readyReplicas": 10, "updatedReplicas": 3 }),
        ),
        (
            Kind::Operation,
            json!({ "instance": LONG_NAME, "type": "Restart" }),
            json!({ "phase": "Succeeded", "progress": "12/12", "currentStep": "wait for the replicas" }),
        ),
        (
            Kind::BackupRepository,
            json!({ "s3": { "bucket": "backups-production", "prefix": "middleware/eu-central-1",
                            "endpoint": "https://s3.eu-central-1.example.com", "region": "eu-central-1", "webIdentity": true },
                    "encryption": { "recipients": ["age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"] } }),
            json!({ "store": "s3://backups-production/middleware/eu-central-1", "backups": 12345, "size": "123.4 GiB",
                    "encrypted": true }),
        ),
        (
            Kind::BackupPolicy,
            json!({ "repository": "offsite", "schedules": [{ "name": "nightly", "cron": "0 3 * * *" }],
                    "retention": { "age": "14d" } }),
            json!({ "instances": 120, "lastSuccess": "2026-11-20T03:00:00Z", "next": "2026-11-21T03:00:00Z" }),
        ),
        (
            Kind::Backup,
            json!({ "repository": "offsite", "id": "01JD3F7K2M8Q5R9T1V4W6X0Y2Z",
                    "instance": { "name": LONG_NAME, "namespace": "shop", "uid": "0b7c2f5e-8d3a-4a1c-9f60-1d2e3f4a5b6c" } }),
            json!({ "type": "Incremental", "phase": "Completed", "size": "123.4 GiB", "verified": "Restored",
                    "completedAt": "2026-11-20T03:00:00Z" }),
        ),
    ]
}

fn with_conditions(mut status: Value) -> Value {
    status["conditions"] = CONDITIONS
        .iter()
        .map(|(kind, reason)| {
            json!({ "type": kind, "status": "True", "reason": reason, "lastTransitionTime": "2026-11-20T08:00:00Z",
                    "message": "2 of 12 pods run the new revision; waiting for the third to be ready" })
        })
        .collect();
    status
}

fn create(scene: &Scene, kind: Kind, name: &str, spec: &Value, status: Value) {
    let manifest = json!({ "apiVersion": "midship.dev/v1alpha1", "kind": kind.as_str(),
                           "metadata": { "name": name }, "spec": spec });
    scene.kubectl(["create", "-f", "-"]).input(manifest.to_string()).stdout();
    let patch = json!({ "status": with_conditions(status) }).to_string();
    let plural = kind.plural();
    scene.kubectl(["patch", &plural, name, "--subresource=status", "--type=merge", "-p", &patch]).stdout();
}

#[test]
fn tables_fit_a_terminal_and_say_more_when_asked() {
    api_test(async |scene| {
        let mut wrong = Vec::new();
        for (kind, spec, status) in objects() {
            create(scene, kind, LONG_NAME, &spec, status);
            let plural = kind.plural();
            let table = scene.kubectl(["get", &plural]).stdout();
            for line in table.lines().filter(|line| line.chars().count() > TERMINAL) {
                wrong.push(format!("{} columns: {line}", line.chars().count()));
            }
            let columns = table.lines().next().expect("a header").split_whitespace().count();
            let wide = scene.kubectl(["get", &plural, "-o", "wide"]).stdout();
            let more = wide.lines().next().expect("a header").split_whitespace().count();
            if columns < 4 || (more <= columns && kind != Kind::Component && kind != Kind::PodSet) {
                wrong.push(format!("{}: {columns} columns, {more} when asked for more", kind.as_str()));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}

#[test]
fn instances_operations_and_backups_of_all_namespaces_fit_a_terminal_together() {
    api_test(async |scene| {
        let (instance, repository) = ("orders-cache-eu", "offsite");
        for (kind, mut spec, mut status) in objects() {
            let name = match kind {
                Kind::Instance => instance.to_owned(),
                // as the command line and policies call theirs
                Kind::Operation => format!("{instance}-switchover-x7k2p"),
                Kind::Backup => format!("{repository}-{}", spec["id"].as_str().expect("an id").to_lowercase()),
                _ => continue,
            };
            match kind {
                Kind::Operation => spec["instance"] = json!(instance),
                Kind::Backup => spec["instance"]["name"] = json!(instance),
                Kind::Instance => status["primary"] = json!(format!("{instance}-postgres-0")),
                _ => {}
            }
            create(scene, kind, &name, &spec, status);
            let label = format!("fits={}", scene.namespace);
            scene.kubectl(["label", &kind.plural(), &name, &label]).stdout();
        }
        // what other tests make meanwhile is none of this table
        let table = scene.kubectl(["get", "inst,op,bak", "-A", "-l", &format!("fits={}", scene.namespace)]).stdout();
        // namespaces of tests have longer names than those of people
        let spare = scene.namespace.len() - "payments-prod".len();
        let lines: Vec<&str> = table.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(lines.len(), 6, "{table}");
        for line in lines {
            let columns = line.trim_end().chars().count() - spare;
            assert!(columns <= TERMINAL, "{columns} columns: {line}");
        }
    });
}

#[test]
fn one_word_lists_everything_of_ours() {
    api_test(async |scene| {
        for (kind, spec, status) in objects() {
            create(scene, kind, LONG_NAME, &spec, status);
        }
        let all = scene.kubectl(["get", "midship", "-o", "name"]).stdout();
        for (kind, ..) in objects() {
            let short = scene.kubectl(["get", kind.short(), "-o", "name"]).stdout();
            assert!(all.contains(short.trim()), "{} is not in\n{all}", short.trim());
        }
    });
}

#[test]
fn kubectl_explains_every_kind_and_field() {
    api_test(async |scene| {
        for kind in Kind::ALL {
            let text = scene.kubectl(["explain", &kind.plural()]).stdout();
            let description = text.split("DESCRIPTION:").nth(1).unwrap_or_default();
            assert!(!description.contains("<empty>") && description.len() > 40, "{text}");
        }
        let text = scene.kubectl(["explain", "inst.spec.components.storage"]).stdout();
        assert!(text.contains("Volumes of each pod, by the name the extension gives them"), "{text}");
    });
}

/// The fields of a schema as they are explained: how far they are moved in, and their names.
fn fields(schema: &Value, depth: usize, found: &mut Vec<String>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        found.push(format!("{}{name}\t<", "  ".repeat(depth)));
        fields(field, depth + 1, found);
    }
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() {
            fields(&schema[inner], depth, found);
        }
    }
}

#[test]
fn kubectl_explains_components_like_a_manual() {
    let definition = serde_json::to_value(Kind::Instance.crd()).expect("plain data");
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut wanted = Vec::new();
    fields(&schema["properties"]["spec"]["properties"]["components"], 1, &mut wanted);
    assert!(wanted.len() > 40, "{wanted:?}");
    api_test(async |scene| {
        let all = scene.kubectl(["explain", "instance.spec.components", "--recursive"]).stdout();
        let first = scene.kubectl(["explain", "instance.spec.components"]).stdout();
        let head = "GROUP:      midship.dev\nKIND:       Instance\nVERSION:    v1alpha1\n\nFIELD: components ";
        for text in [&all, &first] {
            assert!(text.starts_with(&format!("{head}<[]Object>\n")), "{text}");
            let description = text.split("DESCRIPTION:").nth(1).unwrap_or_default();
            let description = description.split("FIELDS:").next().unwrap_or_default().trim();
            assert!(description.len() > 20 && description != "<empty>", "{text}");
        }
        for field in &wanted {
            assert!(all.lines().any(|line| line.starts_with(field.as_str())), "{field:?} is not in\n{all}");
        }
        for field in wanted.iter().filter(|field| !field.starts_with("    ")) {
            let mut lines = first.lines().skip_while(|line| !line.starts_with(field.as_str())).skip(1);
            let text = lines.find(|line| !line.trim_start().starts_with("enum:")).unwrap_or_default();
            assert!(text.starts_with("    ") && text.trim().len() > 5, "{field:?} is not explained in\n{first}");
        }
        assert!(!first.contains("<no description>"), "{first}");
    });
}

#[test]
fn kubectl_waits_for_conditions_and_fields() {
    api_test(async |scene| {
        let (kind, spec, status) =
            objects().into_iter().find(|(kind, ..)| *kind == Kind::Instance).expect("it is there");
        create(scene, kind, LONG_NAME, &spec, status);
        let name = format!("inst/{LONG_NAME}");
        scene.kubectl(["wait", "--for=condition=Ready", &name, "--timeout=60s"]).stdout();
        scene.kubectl(["wait", "--for=jsonpath={.status.phase}=Upgrading", &name, "--timeout=60s"]).stdout();
    });
}

#[test]
fn kubectl_scales_a_component_and_never_its_instance() {
    api_test(async |scene| {
        let (kind, mut spec, status) =
            objects().into_iter().find(|(kind, ..)| *kind == Kind::Component).expect("it is there");
        spec["replicas"] = json!(2);
        create(scene, kind, LONG_NAME, &spec, status);
        let name = format!("comp/{LONG_NAME}");
        scene.kubectl(["scale", &name, "--replicas=5"]).stdout();
        let replicas = scene.kubectl(["get", &name, "-o", "jsonpath={.spec.replicas}"]).stdout();
        assert_eq!(replicas, "5");
        let refused = scene.kubectl(["scale", &name, "--replicas=1001"]).output();
        assert_eq!(refused.code, 1, "{refused}");
        assert!(refused.stderr.contains("should be less than or equal to 1000"), "{refused}");
    });
}
