//! Runs the real helm on the chart and gives back what it rendered, as objects.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use crate::harness::Run;

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn chart() -> PathBuf {
    root().join("charts/midship")
}

/// A file of the chart.
pub fn file(name: &str) -> String {
    let path = chart().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn helm() -> Run {
    Run::new(program())
}

/// The helm in MIDSHIP_TEST_BIN, or the one `tests/tools/tool` builds.
pub fn program() -> &'static Path {
    static HELM: OnceLock<PathBuf> = OnceLock::new();
    HELM.get_or_init(|| {
        let given = std::env::var_os("MIDSHIP_TEST_BIN").map(|folder| PathBuf::from(folder).join("helm"));
        given.filter(|file| file.is_file()).unwrap_or_else(|| {
            let tool = root().join("tests/tools/tool");
            let output = Command::new(&tool).arg("helm").output().unwrap_or_else(|e| panic!("{}: {e}", tool.display()));
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{} could not get helm:\n{complaint}", tool.display());
            PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
        })
    })
}

fn template(set: &[&str]) -> Run {
    let run = helm().args(["template", "midship"]).arg(chart()).args(["--namespace", "midship-system"]);
    set.iter().fold(run, |run, one| run.args(["--set", one]))
}

/// What the chart becomes with these values.
#[track_caller]
pub fn render(set: &[&str]) -> Rendered {
    let text = template(set).stdout();
    Rendered { objects: objects(&text), text }
}

/// What the chart becomes with a file of values, which Helm reads in another way than `--set`.
#[track_caller]
pub fn render_file(values: &str) -> Rendered {
    let text = with_file(values).stdout();
    Rendered { objects: objects(&text), text }
}

/// What somebody is told who gives this file of values.
#[track_caller]
pub fn refusal_of_file(values: &str) -> String {
    with_file(values).complaint()
}

fn with_file(values: &str) -> Run {
    let run = template(&["crds.install=false"]);
    let file = run.home().join("values.yaml");
    std::fs::write(&file, values).expect("it can be written");
    run.arg("--values").arg(&file)
}

/// What somebody is told who gives these values.
#[track_caller]
pub fn refusal(set: &[&str]) -> String {
    template(set).complaint()
}

/// The documents of a YAML stream; empty ones are left out.
#[track_caller]
pub fn objects(text: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

/// A rendered chart.
pub struct Rendered {
    pub text: String,
    pub objects: Vec<Value>,
}

impl Rendered {
    pub fn of_kind(&self, kind: &str) -> Vec<&Value> {
        self.objects.iter().filter(|object| object["kind"] == kind).collect()
    }

    #[track_caller]
    pub fn only(&self, kind: &str) -> &Value {
        let found = self.of_kind(kind);
        assert_eq!(found.len(), 1, "{kind}: {found:#?}");
        found[0]
    }

    #[track_caller]
    pub fn pod(&self) -> &Value {
        &self.only("Deployment")["spec"]["template"]
    }

    #[track_caller]
    pub fn container(&self) -> &Value {
        let containers = self.pod()["spec"]["containers"].as_array().expect("containers");
        assert_eq!(containers.len(), 1);
        &containers[0]
    }

    #[track_caller]
    pub fn args(&self) -> Vec<&str> {
        self.container()["args"].as_array().expect("args").iter().filter_map(Value::as_str).collect()
    }

    /// `(kind namespace/name, rules)` of each role.
    pub fn roles(&self) -> Vec<(String, &Vec<Value>)> {
        let roles = self.objects.iter().filter(|object| object["kind"] == "ClusterRole" || object["kind"] == "Role");
        roles.map(|role| (name_of(role), role["rules"].as_array().expect("rules"))).collect()
    }
}

/// `Kind namespace/name`, or `Kind name` where there is no namespace.
pub fn name_of(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}
