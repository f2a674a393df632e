//! The chart's values: a mistyped one is refused in words, each is explained, and nothing in the chart has gone stale.

use serde_json::Value;

use super::helm::{chart, file, helm, name_of, objects, refusal, refusal_of_file, render, root};
use crate::harness::Run;

#[test]
fn a_mistyped_value_is_refused_and_named() {
    let cases: [(&str, &[&str]); 27] = [
        ("replica=3", &["additional properties 'replica' not allowed"]),
        ("image.tags=v1", &["at '/image'", "additional properties 'tags' not allowed"]),
        ("replicas=three", &["at '/replicas'", "got string, want integer"]),
        ("replicas=-1", &["at '/replicas'", "minimum"]),
        ("namespaces=shop", &["at '/namespaces'", "want array"]),
        ("namespaces={Shop}", &["at '/namespaces/0'", "does not match pattern"]),
        ("namespaces={a,a}", &["at '/namespaces'", "equal"]),
        ("image.digest=sha256:12", &["at '/image/digest'", "does not match pattern"]),
        ("image.pullPolicy=Sometimes", &["at '/image/pullPolicy'", "'Always', 'IfNotPresent', 'Never'"]),
        ("log.format=yaml", &["at '/log/format'", "'json', 'text'"]),
        ("otlp.endpoint=collector:4317", &["at '/otlp/endpoint'", "does not match pattern"]),
        ("gitSources.impersonation[0].name=x", &["at '/gitSources/impersonation/0'", "missing property 'namespace'"]),
        ("controller.workers=0", &["at '/controller/workers'", "minimum"]),
        ("runAsUser=0", &["at '/runAsUser'", "minimum"]),
        ("log.level=inof", &["at '/log/level'", "does not match pattern"]),
        ("log.level=midship", &["at '/log/level'", "does not match pattern"]),
        ("log.level=info #x", &["at '/log/level'", "does not match pattern"]),
        ("clusterName=prod..eu", &["at '/clusterName'", "does not match pattern"]),
        ("clusterName=prod.eu", &["at '/clusterName'", "does not match pattern"]),
        ("image.repository=r:5000/x:tag", &["at '/image/repository'", "does not match pattern"]),
        ("agentImage.repository=r/x:tag", &["at '/agentImage/repository'", "does not match pattern"]),
        ("podLabels.app\\.kubernetes\\.io/name=x", &["at '/podLabels/app.kubernetes.io~1name'"]),
        ("extraLabels.helm\\.sh/chart=x", &["at '/extraLabels/helm.sh~1chart'"]),
        ("serviceAccount.name=A..b", &["at '/serviceAccount/name'", "does not match pattern"]),
        ("nameOverride=1st", &["at '/nameOverride'", "does not match pattern"]),
        ("fullnameOverride=a.b", &["at '/fullnameOverride'", "does not match pattern"]),
        ("controller.burst=0", &["at '/controller/burst'", "minimum"]),
    ];
    for (set, parts) in cases {
        let message = refusal(&[set]);
        for part in parts {
            assert!(message.contains(part), "{set}: no {part:?} in\n{message}");
        }
        assert!(message.lines().count() <= 4, "{set}:\n{message}");
    }
}

#[test]
fn a_volume_without_a_source_is_refused_and_named() {
    for (volume, part) in
        [("{}", "minProperties"), ("{name: x}", "/volume/name'"), ("{nfs: {}, emptyDir: {}}", "maxProperties")]
    {
        let values = format!("backups: {{volumes: [{{namespace: shop, repository: vault, volume: {volume}}}]}}");
        let message = refusal_of_file(&values);
        assert!(message.contains("at '/backups/volumes/0/volume") && message.contains(part), "{message}");
    }
}

/// The schema's word on a log level is the program's.
#[test]
fn the_chart_takes_the_log_levels_that_the_program_takes() {
    for level in ["info", "off", "info,midship::repo=debug", "warn,kube=off,midship[x{y}]=trace"] {
        let level = format!("log.level={}", level.replace(',', "\\,").replace('{', "\\{").replace('}', "\\}"));
        let rendered = render(&[&level, "crds.install=false"]);
        // --help ends the program once all that stands before it was understood
        let output = Run::new(env!("CARGO_BIN_EXE_midship")).args(rendered.args()).arg("--help").output();
        assert_eq!(output.code, 0, "{level}: {output}");
    }
}

#[test]
fn values_that_contradict_each_other_are_refused_with_a_way_out() {
    let message = refusal(&["metrics.monitor.kind=PodMonitor"]);
    assert!(message.contains("metrics.monitor.tokenSecret.name: a PodMonitor needs a Secret"), "{message}");
    let message = refusal(&["serviceAccount.create=false"]);
    assert!(message.contains("serviceAccount.name: name the ServiceAccount to use"), "{message}");
}

#[test]
fn a_parent_chart_may_hand_down_globals() {
    render(&["global.region=eu"]);
}

/// The value at every name that can be set, with what the schema says of it, from the outside in.
fn leaves(schema: &Value) -> Vec<(String, Value)> {
    fn walk(path: &str, node: &Value, schema: &Value, found: &mut Vec<(String, Value)>) {
        for (name, child) in node["properties"].as_object().expect("properties") {
            let mut child = child.clone();
            if let Some(reference) = child["$ref"].as_str() {
                let mut whole = schema.pointer(reference.trim_start_matches('#')).expect("a definition").clone();
                whole.as_object_mut().expect("an object").extend(child.as_object().expect("an object").clone());
                child = whole;
            }
            let here = format!("{path}{name}");
            if child["properties"].is_object() {
                assert_eq!(child["additionalProperties"], false, "{here} takes any name");
                assert!(child["description"].is_string(), "{here} is not explained");
                walk(&format!("{here}."), &child, schema, found);
            } else if here != "global" {
                found.push((here, child));
            }
        }
    }
    let mut found = Vec::new();
    walk("", schema, schema, &mut found);
    found
}

fn schema() -> Value {
    serde_json::from_str(&file("values.schema.json")).expect("JSON")
}

fn assumed() -> Value {
    serde_saphyr::from_str(&file("values.yaml")).expect("YAML")
}

#[test]
fn the_readme_lists_every_value_with_its_meaning_and_what_is_assumed() {
    let assumed = assumed();
    let mut table = Vec::new();
    for (name, schema) in leaves(&schema()) {
        let description = schema["description"].as_str().unwrap_or_else(|| panic!("{name} is not explained"));
        let value = assumed.pointer(&format!("/{}", name.replace('.', "/"))).unwrap_or(&Value::Null);
        let value = match value {
            Value::String(text) if text.is_empty() => String::new(),
            Value::String(text) => format!("`{text}`"),
            Value::Null => String::new(),
            Value::Array(items) if items.is_empty() => String::new(),
            Value::Object(fields) if fields.is_empty() => String::new(),
            other => format!("`{other}`"),
        };
        table.push(format!("| `{name}` | {value} | {description} |"));
    }
    let readme = file("README.md");
    let mut listed: Vec<_> = readme.lines().filter(|line| line.starts_with("| `") && line.contains("` |")).collect();
    listed.sort_unstable();
    table.sort_unstable();
    assert_eq!(listed, table, "README.md has to list:\n{}", table.join("\n"));
}

#[test]
fn values_and_schema_know_the_same_names() {
    fn names(path: &str, value: &Value, schema: &[(String, Value)], found: &mut Vec<String>) {
        for (name, child) in value.as_object().into_iter().flatten() {
            let here = format!("{path}{name}");
            if schema.iter().any(|(leaf, _)| *leaf == here) {
                found.push(here);
            } else {
                let before = found.len();
                names(&format!("{here}."), child, schema, found);
                assert!(found.len() > before, "values.yaml: the schema does not know {here}");
            }
        }
    }
    let leaves = leaves(&schema());
    let mut found = Vec::new();
    names("", &assumed(), &leaves, &mut found);
    let missing: Vec<_> = leaves.iter().map(|(name, _)| name).filter(|name| !found.contains(name)).collect();
    assert_eq!(missing, ["resources.limits"], "values.yaml says nothing of these");
}

#[test]
fn the_chart_carries_the_version_of_the_program() {
    let chart: Value = serde_saphyr::from_str(&file("Chart.yaml")).expect("YAML");
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn the_definitions_are_those_of_this_program() {
    let rendered = render(&[]);
    let definitions = rendered.of_kind("CustomResourceDefinition");
    assert_eq!(definitions.len(), midship::api::Kind::ALL.len());
    for wanted in midship::api::crds() {
        let wanted = serde_json::to_value(wanted).expect("plain data");
        let name = wanted["metadata"]["name"].as_str().expect("a name");
        let copy = file(&format!("files/crds/{name}.yaml"));
        let original = std::fs::read_to_string(root().join(format!("crds/{name}.yaml"))).expect("a definition");
        assert!(copy == original, "{name}: the chart's copy is not that of crds/; run `make crds`");
        let stored = objects(&copy);
        assert_eq!(without_numbers_written_otherwise(&stored[0]), without_numbers_written_otherwise(&wanted), "{name}");
        let found =
            definitions.iter().find(|one| one["metadata"]["name"] == name).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(
            without_numbers_written_otherwise(&found["spec"]),
            without_numbers_written_otherwise(&wanted["spec"]),
            "{name}"
        );
        assert_eq!(found["metadata"]["annotations"]["helm.sh/resource-policy"], "keep", "{name}");
    }
    let copies = std::fs::read_dir(chart().join("files/crds")).expect("a folder").count();
    assert_eq!(copies, definitions.len());
}

/// `10` and `10.0` are one number in JSON Schema.
fn without_numbers_written_otherwise(value: &Value) -> Value {
    match value {
        Value::Number(number) => Value::from(number.as_f64()),
        Value::Array(items) => items.iter().map(without_numbers_written_otherwise).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| (key.clone(), without_numbers_written_otherwise(value))).collect()
        }
        other => other.clone(),
    }
}

#[test]
fn definitions_can_be_left_out_or_go_with_the_chart() {
    assert!(render(&["crds.install=false"]).of_kind("CustomResourceDefinition").is_empty());
    for definition in render(&["crds.keep=false"]).of_kind("CustomResourceDefinition") {
        assert!(definition["metadata"]["annotations"].is_null(), "{}", name_of(definition));
    }
}

#[test]
fn the_packed_chart_is_small_and_carries_its_readme() {
    let folder = tempfile::tempdir().expect("a directory");
    helm().arg("package").arg(chart()).arg("--destination").arg(folder.path()).stdout();
    let archive = folder.path().join(format!("midship-{}.tgz", env!("CARGO_PKG_VERSION")));
    let size = std::fs::metadata(&archive).expect("the archive").len();
    assert!(size < 64 * 1024, "{size} bytes");
    assert!(helm().args(["show", "readme"]).arg(&archive).stdout().contains("# Midship with Helm"));
}
