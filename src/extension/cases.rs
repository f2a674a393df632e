//! A package's own tests: an instance, and what must be rendered or refused.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::changes;
use super::check::{self, Mistake};
use super::contract::Change;
use super::cue::{self, CueCheck};
use super::defaults::Defaults;
use super::elsewhere::{self, Elsewhere};
use super::package::Package;
use super::problem::{Code, Problem, Refusals, TOO_LONG};
use super::render::{Inputs, Rendered, render, secret_needs};
use super::resolve::{Asked, Surroundings, resolve};
use super::resolved::Resolved;
use super::secret::SecretValue;
use super::yaml::{self, Positions};
use crate::api::Kind;
use crate::api::instance::InstanceSpec;
use crate::api::values::KeyRef;
use crate::names::{InstanceName, NamespaceName};

/// A file in `tests/`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CaseFile {
    pub cases: Vec<Case>,
}

/// One test.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Case {
    /// What is shown, as a sentence.
    pub name: String,
    /// The instance's spec. Type and versions may be left out: this package, the newest middleware version.
    #[serde(default)]
    pub spec: BTreeMap<String, Value>,
    /// The instance's name; `sample` where left out.
    pub instance: Option<InstanceName>,
    /// Its namespace; `default` where left out.
    pub namespace: Option<NamespaceName>,
    /// Defaults of a repository for the instance's environment.
    pub defaults: Option<Defaults>,
    /// What the instance was before, to test changes.
    pub before: Option<BTreeMap<String, Value>>,
    /// Changed parameters and what they need.
    #[serde(default)]
    pub changes: BTreeMap<String, Change>,
    /// What has to be rendered.
    #[serde(default)]
    pub expect: Vec<Expectation>,
    /// The exact errors.
    #[serde(default)]
    pub errors: Vec<String>,
}

/// What has to be true of one rendered object.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Expectation {
    pub kind: String,
    pub name: String,
    /// There must be no such object.
    #[serde(default)]
    pub missing: bool,
    /// The object has these fields and perhaps others. Lists match item by item, those with names by name.
    pub has: Option<Value>,
    /// Values by JSON pointer; null for what must not be there.
    #[serde(default)]
    pub at: BTreeMap<String, Value>,
    /// The key of a ConfigMap or Secret that `contains` and `lacks` look at.
    pub file: Option<String>,
    #[serde(default)]
    pub contains: Vec<String>,
    #[serde(default)]
    pub lacks: Vec<String>,
}

/// How a case went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub path: String,
    pub line: usize,
    pub name: String,
    /// Nothing where it passed.
    pub failures: Vec<String>,
    /// Why rules in CUE could not be checked; what they refuse is then not missed.
    pub unchecked: Option<String>,
    /// Whether the test is about what could not be checked: it passed without showing it.
    pub untold: bool,
}

impl Outcome {
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passed() { "ok" } else { "FAILED" };
        write!(f, "{}:{}: {}: {verdict}", self.path, self.line, self.name)?;
        for failure in &self.failures {
            write!(f, "\n    {failure}")?;
        }
        Ok(())
    }
}

/// More cases than this are not run.
const MOST: usize = 500;

/// Runs every case of a package.
pub fn run(package: &Package, rules: &dyn CueCheck) -> Vec<Outcome> {
    run_while(package, rules, &|| true)
}

/// The same, as long as there is time for it.
pub fn run_while(package: &Package, rules: &dyn CueCheck, time_is_left: &dyn Fn() -> bool) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> = Vec::new();
    for path in package.files.below("tests") {
        let text = package.files.text(path).map_err(|problem| vec![problem]);
        match text.and_then(|text| Ok((text, yaml::read::<CaseFile>(path, text)?))) {
            Ok((text, file)) => {
                let positions = Positions::read(text);
                for (place, case) in file.cases.iter().enumerate() {
                    let (line, _) = positions.of(&format!("cases[{place}]"));
                    let stop = if outcomes.len() >= MOST {
                        Some(format!("a package has at most {MOST} tests; say more in one, or leave some out"))
                    } else {
                        (!time_is_left()).then(|| TOO_LONG.to_owned())
                    };
                    let (path, name) = (path.to_owned(), case.name.clone());
                    if let Some(reason) = stop {
                        let failures = vec![reason];
                        outcomes.push(Outcome { path, line, name, failures, unchecked: None, untold: false });
                        return outcomes;
                    }
                    let judged = judge(package, case, rules);
                    let Judged { failures, unchecked, untold } = judged;
                    outcomes.push(Outcome { path, line, name, failures, unchecked, untold });
                }
            }
            Err(problems) => outcomes.extend(problems.into_iter().map(|problem| Outcome {
                path: path.to_owned(),
                line: problem.line,
                name: "reads".to_owned(),
                failures: vec![problem.reason],
                unchecked: None,
                untold: false,
            })),
        }
    }
    outcomes
}

/// What keeps a package's own tests from being read.
pub fn misread(package: &Package) -> Vec<Problem> {
    let wrong = |path: &str| {
        let text = package.files.text(path).map_err(|problem| vec![problem]);
        text.and_then(|text| yaml::read::<CaseFile>(path, text)).err()
    };
    package.files.below("tests").filter_map(wrong).flatten().collect()
}

/// Resolves and renders a spec with made-up secrets, as tests, previews and benchmarks do.
pub fn preview(
    package: &Package,
    asked: Asked<'_>,
    surroundings: &Surroundings,
) -> Result<(Resolved, Rendered), Refusals> {
    preview_with(package, asked, surroundings, &|_| None).map(|(resolved, rendered, _)| (resolved, rendered))
}

/// The same where keys of ConfigMaps may be known. Besides, it says which of the user's own files were not looked at.
pub fn preview_with(
    package: &Package,
    asked: Asked<'_>,
    surroundings: &Surroundings,
    known: &dyn Fn(&KeyRef) -> Option<String>,
) -> Result<(Resolved, Rendered, Vec<String>), Refusals> {
    let resolved = resolve(package, asked, surroundings)?;
    let Elsewhere { files: user_files, unseen } = elsewhere::files(package, &resolved, known);
    let secrets = secret_needs(package, &resolved)
        .into_iter()
        .map(|need| {
            let value = match need.source {
                super::render::SecretSource::Fixed(text) => text,
                _ => format!("made-up-{}", need.name),
            };
            (need.name, SecretValue::new(value))
        })
        .collect();
    let agent_image = "midship-agent:preview".to_owned();
    let inputs = Inputs { agent_image, secrets, user_files, ..Inputs::default() };
    let rendered = render(package, &resolved, &inputs)?;
    Ok((resolved, rendered, unseen))
}

/// A spec with what a case leaves out.
fn complete(package: &Package, spec: &BTreeMap<String, Value>) -> Result<InstanceSpec, Vec<String>> {
    let mut spec = spec.clone();
    let newest = package.manifest.versions.iter().map(|version| version.version.as_str());
    let newest = newest.max_by(|a, b| super::versions::order(a, b)).unwrap_or_default();
    spec.entry("type".to_owned()).or_insert_with(|| json!(package.manifest.type_));
    spec.entry("extensionVersion".to_owned()).or_insert_with(|| json!(package.manifest.version));
    spec.entry("version".to_owned()).or_insert_with(|| json!(newest));
    let written = json!(spec);
    // a cluster refuses what it does not know; a test with such a thing would show something else than it says
    let mistakes = check::spec(Kind::Instance, &written);
    if mistakes.is_empty() {
        return serde_json::from_value(written).map_err(|error| vec![format!("spec: {error}")]);
    }
    let whole = json!({ "spec": written });
    let told = |mistake: &Mistake| format!("{}: {}", check::field_of(&whole, &mistake.pointer), mistake.message);
    Err(mistakes.iter().map(told).collect())
}

/// What came of a case.
#[derive(Default)]
struct Judged {
    failures: Vec<String>,
    unchecked: Option<String>,
    untold: bool,
}

fn judge(package: &Package, case: &Case, rules: &dyn CueCheck) -> Judged {
    let mut judged = Judged::default();
    judged.failures = failures(package, case, rules, &mut judged);
    judged
}

fn failures(package: &Package, case: &Case, rules: &dyn CueCheck, judged: &mut Judged) -> Vec<String> {
    let name = case.instance.clone().or_else(|| InstanceName::parse("sample").ok());
    let namespace = case.namespace.clone().or_else(|| NamespaceName::parse("default").ok());
    let (Some(name), Some(namespace)) = (name, namespace) else { return Vec::new() };
    let spec = match complete(package, &case.spec) {
        Ok(spec) => spec,
        Err(reasons) => return reasons,
    };
    if case.expect.is_empty() && case.errors.is_empty() && case.before.is_none() {
        return vec!["shows nothing: give `expect`, `errors`, or `before` and `changes`".to_owned()];
    }
    let surroundings = Surroundings { defaults: case.defaults.iter().cloned().collect(), ..Surroundings::default() };
    let asked = Asked { name: &name, namespace: &namespace, spec: &spec };
    let mut failures = Vec::new();
    let mut errors: Vec<String> = Vec::new();
    match preview(package, asked, &surroundings) {
        Ok((resolved, rendered)) => {
            for refusal in cue::check(package, rendered.with_files.as_ref().unwrap_or(&resolved), rules) {
                match refusal.code {
                    Code::Unchecked => judged.unchecked = Some(refusal.reason),
                    _ => errors.push(refusal.to_string()),
                }
            }
            if let Some(before) = &case.before {
                match complete(package, before)
                    .and_then(|spec| {
                        let asked = Asked { name: &name, namespace: &namespace, spec: &spec };
                        resolve(package, asked, &surroundings).map_err(|refusals| vec![format!("before: {refusals}")])
                    })
                    .map(|old| changes::between(package, &old, &resolved))
                {
                    Ok(Ok(found)) => {
                        let found: BTreeMap<String, Change> =
                            found.into_iter().map(|change| (change.name, change.needs)).collect();
                        if found != case.changes {
                            failures.push(format!("changes are {found:?}, expected {:?}", case.changes));
                        }
                    }
                    Ok(Err(refusals)) => errors.extend(refusals.0.iter().map(ToString::to_string)),
                    Err(reasons) => failures.extend(reasons),
                }
            }
            if case.errors.is_empty() {
                let manifests = manifests(&rendered);
                failures.extend(case.expect.iter().flat_map(|expected| unmet(expected, &manifests)));
            }
        }
        Err(refusals) => errors.extend(refusals.0.iter().map(ToString::to_string)),
    }
    for error in errors.iter().filter(|error| !case.errors.contains(error)) {
        failures.push(format!("unexpected error: {error}"));
    }
    let of_rules = |error: &str| {
        package.manifest.components.keys().any(|name| error.starts_with(&format!("{}: ", cue::field(name.as_str()))))
    };
    for error in case.errors.iter().filter(|error| !errors.contains(error)) {
        if judged.unchecked.is_some() && of_rules(error) {
            judged.untold = true;
        } else {
            failures.push(format!("missing error: {error}"));
        }
    }
    failures
}

/// Tests see secrets: they are made up.
fn manifests(rendered: &Rendered) -> Vec<Value> {
    let mut all = rendered.manifests();
    all.retain(|manifest| manifest["kind"] != "Secret");
    all.extend(rendered.secrets.iter().map(super::secret::SecretObject::manifest));
    all
}

fn unmet(expected: &Expectation, manifests: &[Value]) -> Vec<String> {
    let what = format!("{} {}", expected.kind, expected.name);
    let found = manifests.iter().find(|manifest| {
        manifest["kind"] == expected.kind.as_str() && manifest["metadata"]["name"] == expected.name.as_str()
    });
    let Some(manifest) = found else {
        if expected.missing {
            return Vec::new();
        }
        let names = manifests
            .iter()
            .filter(|manifest| manifest["kind"] == expected.kind.as_str())
            .filter_map(|manifest| manifest["metadata"]["name"].as_str());
        return vec![format!("there is no {what}; there is {}", super::problem::listed(names))];
    };
    if expected.missing {
        return vec![format!("there is a {what}")];
    }
    let mut failures = Vec::new();
    if let Some(has) = &expected.has {
        differences(&what, has, manifest, &mut failures);
    }
    for (pointer, value) in &expected.at {
        let found = manifest.pointer(pointer).unwrap_or(&Value::Null);
        if found != value {
            failures.push(format!("{what}{pointer} is {found}, expected {value}"));
        }
    }
    let text = match &expected.file {
        None => manifest.to_string(),
        Some(file) => {
            let data = manifest.get("data").or_else(|| manifest.get("stringData"));
            let Some(text) = data.and_then(|data| data.get(file)).and_then(Value::as_str) else {
                failures.push(format!("{what} has no {file}"));
                return failures;
            };
            text.to_owned()
        }
    };
    let place = expected.file.as_ref().map_or_else(|| what.clone(), |file| format!("{file} of {what}"));
    for part in expected.contains.iter().filter(|part| !text.contains(part.as_str())) {
        failures.push(format!("{place} does not contain {part:?}; it is:\n{text}"));
    }
    for part in expected.lacks.iter().filter(|part| text.contains(part.as_str())) {
        failures.push(format!("{place} contains {part:?}"));
    }
    failures
}

fn differences(path: &str, expected: &Value, found: &Value, failures: &mut Vec<String>) {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            for (key, value) in expected {
                match found.get(key) {
                    Some(found) => differences(&format!("{path}/{key}"), value, found, failures),
                    None => failures.push(format!("{path} has no {key}")),
                }
            }
        }
        (Value::Array(expected), Value::Array(found)) => {
            for (place, value) in expected.iter().enumerate() {
                let same_name = |item: &&Value| value.get("name").is_some() && item.get("name") == value.get("name");
                match found.iter().find(same_name).or_else(|| found.get(place)) {
                    Some(item) => differences(&format!("{path}/{place}"), value, item, failures),
                    None => failures.push(format!("{path} has no item {place}")),
                }
            }
        }
        (expected, found) if expected != found => {
            failures.push(format!("{path} is {found}, expected {expected}"));
        }
        _ => {}
    }
}
